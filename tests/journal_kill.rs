//! A process that is killed while it writes: all that it called committed is found.

use slmd::journal::{Durability, EntryId, Journal, Limits, Record};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const CHILD: &str = "SLMD_TEST_JOURNAL_CHILD";
const LIMITS: Limits = Limits { entries: 1000, bytes: 1 << 20, age: Duration::from_secs(3600) };

fn body(id: u64) -> Vec<u8> {
    vec![id as u8; 700]
}

fn open(dir: &Path, durability: Durability) -> (Journal, u64, Vec<u64>) {
    let (journal, found) = Journal::open(dir, LIMITS, durability).expect("it can be opened");
    assert_eq!(found.from_version, 1);
    for entry in &found.entries {
        assert_eq!(entry.head, entry.id.0.to_le_bytes());
        assert_eq!(entry.body.clone().unwrap_or(body(entry.id.0)), body(entry.id.0));
    }
    let ids = found.entries.iter().map(|entry| entry.id.0).collect();
    (journal, found.next_id.0, ids)
}

/// Not a test by itself: writes until it is killed, and says what is committed.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let durability =
        if dir.ends_with("volatile") { Durability::Volatile } else { Durability::Sync };
    let (journal, first, _) = open(&dir, durability);
    let progress = journal.progress();
    for id in first.. {
        let head = id.to_le_bytes();
        let seq =
            journal.append(Record::Accepted { id: EntryId(id), head: &head, body: &body(id) });
        // Some gather while others are written.
        while !id.is_multiple_of(3) && progress.borrow().committed < seq {
            std::thread::yield_now();
        }
        if progress.borrow().committed >= seq {
            println!("committed {id}");
        }
        if id > 20 {
            // Old ones go, so that it compacts.
            journal.append(Record::Forgotten { id: EntryId(id - 20) });
        }
    }
}

#[test]
fn a_killed_writer_keeps_its_word() {
    let parent = tempfile::tempdir().unwrap();
    for name in ["sync", "volatile"] {
        let dir = parent.path().join(name);
        let mut total = 0;
        for life in 0..6 {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "child", "--nocapture"])
                .env(CHILD, &dir)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut said = Vec::new();
            for line in lines.map_while(Result::ok) {
                said.extend(line.strip_prefix("committed ").and_then(|id| id.parse::<u64>().ok()));
                if said.len() == 30 + 20 * life {
                    child.kill().unwrap();
                }
            }
            child.wait().unwrap();
            let last = *said.last().expect("it lived long enough");
            assert!(said.len() >= 30, "it was not killed but died");
            let (_, next, ids) = open(&dir, Durability::Sync);
            assert!(next > last, "{name}: a number would be given twice");
            // Those of the last twenty cannot have been forgotten.
            let kept = said.iter().filter(|id| **id + 20 >= next);
            let missing: Vec<u64> = kept.filter(|id| !ids.contains(id)).copied().collect();
            assert_eq!(missing, [0u64; 0], "{name}: of {last} committed");
            total += said.len();
        }
        assert!(total > 400, "{total}");
    }
}
