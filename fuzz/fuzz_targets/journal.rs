//! A journal whose file is damaged in any way opens, and gives back nothing that was not put in.
//!
//! The input is a list of three-byte steps: records first, then (behind a zero step) damage.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slmd::journal::{Durability, EntryId, Journal, Limits, Record};
use std::path::Path;
use std::time::Duration;

const LIMITS: Limits = Limits { entries: 100, bytes: 1 << 20, age: Duration::MAX };

fn blob(id: u64, part: u8, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i as u8).wrapping_mul(31) ^ part ^ id as u8).collect()
}

fn open(dir: &Path) -> (Journal, slmd::journal::Recovered) {
    Journal::open(dir, LIMITS, Durability::Volatile).expect("any file can be opened")
}

fn write(dir: &Path, steps: &[[u8; 3]]) {
    let (journal, _) = open(dir);
    let mut next = 1;
    for [kind, which, size] in steps {
        let (id, size) = (EntryId(u64::from(*which) % next.max(1) + 1), usize::from(*size));
        match kind % 6 {
            0 => {
                let (head, body) = (blob(next, 1, size % 50), blob(next, 2, size * 4));
                journal.append(Record::Accepted { id: EntryId(next), head: &head, body: &body });
                next += 1;
            }
            1 => drop(journal.append(Record::Started { id })),
            2 => {
                let answer = blob(id.0, 3, size);
                journal.append(Record::Answered { id, answer: &answer });
            }
            3 => drop(journal.append(Record::Delivered { id, reason: *which })),
            4 => drop(journal.append(Record::Forgotten { id })),
            _ => {
                journal.append(Record::Note { key: *which % 4, bytes: &blob(0, 4, size) });
            }
        }
    }
}

/// Puts bytes anywhere into the segments, or cuts them off.
fn damage(dir: &Path, steps: &[[u8; 3]]) {
    for file in std::fs::read_dir(dir).expect("readable").flatten() {
        if file.path().extension().is_none_or(|ending| ending != "seg") {
            continue;
        }
        let mut bytes = std::fs::read(file.path()).expect("readable");
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 30);
        for [low, high, value] in steps {
            let at = usize::from(u16::from_le_bytes([*low, *high])) % used;
            match value {
                0 => bytes.truncate(at),
                value => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= value),
            }
        }
        std::fs::write(file.path(), bytes).expect("writable");
    }
}

fn check(dir: &Path) {
    let (journal, found) = open(dir);
    for entry in &found.entries {
        let id = entry.id.0;
        assert!(entry.head == blob(id, 1, entry.head.len()), "an altered head");
        let body = entry.body.as_deref().unwrap_or_default();
        assert!(body == blob(id, 2, body.len()), "an altered body");
        // Ids are taken anew after a damaged end, never those that are there.
        assert!(entry.id < found.next_id);
        if let Some(answer) = journal.read_answer(entry.id).expect("it was just found whole") {
            assert!(answer == blob(id, 3, answer.len()), "an altered answer");
        }
    }
    for bytes in found.notes.values() {
        assert!(*bytes == blob(0, 4, bytes.len()), "an altered note");
    }
}

fuzz_target!(|input: &[u8]| {
    let (steps, _) = input.as_chunks::<3>();
    let split = steps.iter().position(|step| *step == [0; 3]).unwrap_or(steps.len());
    let dir = std::env::temp_dir().join(format!("slmd-fuzz-journal-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    write(&dir, &steps[..split]);
    damage(&dir, &steps[split..]);
    check(&dir);
    // What was found once is sound from then on.
    let (_, found) = open(&dir);
    assert_eq!(found.bytes_lost, 0);
});
