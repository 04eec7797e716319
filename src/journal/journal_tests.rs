//! The journal while it runs: when it syncs, when it compacts, what it does about a bad disk.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::crash_tests::{LIMITS, open, open_with, tuning, wait_until};
use super::fault::{FaultDisk, Faults};
use super::*;

const ID: EntryId = EntryId(1);

/// Nothing happens by itself for an hour.
fn unhurried() -> Tuning {
    Tuning { lazy: Duration::from_secs(3600), ..tuning() }
}

fn accept(journal: &Journal, id: u64, body: &[u8]) -> u64 {
    journal.append(Record::Accepted { id: EntryId(id), head: b"head", body })
}

fn committed(journal: &Journal, seq: u64) -> bool {
    wait_until(journal, |progress| progress.committed >= seq)
}

fn written(journal: &Journal, seq: u64) -> bool {
    wait_until(journal, |progress| progress.written >= seq)
}

fn until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(10), "it never came");
        std::thread::sleep(Duration::from_micros(100));
    }
}

#[test]
fn a_record_is_synced_at_once_or_goes_along() {
    let disk = FaultDisk::default();
    let (journal, _) = open_with(&disk, Durability::Sync, unhurried()).unwrap();
    let before = journal.figures().syncs;
    assert_eq!(accept(&journal, 1, b"body"), 1);
    assert!(committed(&journal, 1));
    assert_eq!(journal.figures().syncs, before + 1);
    // A start is written at once, without a sync.
    journal.append(Record::Started { id: ID });
    assert!(written(&journal, 2));
    assert_eq!((journal.figures().syncs, journal.progress().borrow().committed), (before + 1, 1));
    // These wait for the next that is synced.
    journal.append(Record::Delivered { id: ID, reason: 0 });
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(journal.figures().waiting_records, 1);
    journal.append(Record::Answered { id: ID, answer: b"answer" });
    assert!(committed(&journal, 4));
    let figures = journal.figures();
    assert_eq!((figures.syncs, figures.waiting_records, figures.prompts), (before + 2, 0, 1));
    assert_eq!(figures.waiting_bytes, 0);
}

#[test]
fn a_lazy_record_is_written_in_time_and_synced_by_close() {
    let disk = FaultDisk::default();
    let (journal, _) = open(&disk).unwrap();
    accept(&journal, 1, b"body");
    assert!(committed(&journal, 1));
    let before = journal.figures().syncs;
    journal.append(Record::Forgotten { id: ID });
    assert!(written(&journal, 2));
    assert_eq!((journal.figures().syncs, journal.progress().borrow().committed), (before, 1));
    let progress = journal.progress();
    journal.close().unwrap();
    assert_eq!(progress.borrow().committed, 2);
    let (_journal, found) = open(&disk.after_power_loss(&mut || 1)).unwrap();
    assert!(found.entries.is_empty());
    assert_eq!(found.next_id, EntryId(2));
}

#[test]
fn what_gathers_during_a_sync_shares_the_next() {
    let disk = FaultDisk::default();
    let (journal, _) = open(&disk).unwrap();
    disk.set_faults(Faults { sync_takes: Duration::from_millis(20), ..Faults::default() });
    let (before, start) = (journal.figures().syncs, Instant::now());
    let last = (1..=200).map(|id| accept(&journal, id, b"body")).max().unwrap();
    assert!(start.elapsed() < Duration::from_millis(20) * 100, "append waited for the disk");
    assert!(committed(&journal, last));
    let syncs = journal.figures().syncs - before;
    assert!(syncs < 50, "{syncs} syncs for 200 records");
}

#[test]
fn memory_alone_is_never_synced() {
    let disk = FaultDisk::default();
    let tuning = Tuning { compact_from_bytes: 500, ..tuning() };
    let (journal, _) = open_with(&disk, Durability::Volatile, tuning).unwrap();
    for id in 1..=50 {
        accept(&journal, id, &[1; 100]);
        let last = journal.append(Record::Forgotten { id: EntryId(id) });
        assert!(committed(&journal, last), "committed means written");
    }
    until(|| journal.figures().compactions > 0);
    assert_eq!(journal.figures().syncs, 0);
}

#[test]
fn an_answer_is_read_from_memory_and_from_the_disk() {
    let disk = FaultDisk::default();
    let (journal, _) = open_with(&disk, Durability::Sync, unhurried()).unwrap();
    assert_eq!(journal.read_answer(ID).unwrap(), None);
    accept(&journal, 1, b"body");
    assert!(committed(&journal, 1));
    disk.set_faults(Faults { sync_takes: Duration::from_millis(300), ..Faults::default() });
    journal.append(Record::Answered { id: ID, answer: b"" });
    journal.append(Record::Answered { id: ID, answer: b"answer" });
    assert!(journal.figures().waiting_records > 0);
    assert_eq!(journal.read_answer(ID).unwrap().unwrap(), b"answer");
    disk.set_faults(Faults::default());
    assert!(committed(&journal, 3));
    assert_eq!(journal.read_answer(ID).unwrap().unwrap(), b"answer");
    journal.append(Record::Forgotten { id: ID });
    assert_eq!(journal.figures().waiting_records, 1);
    assert_eq!(journal.read_answer(ID).unwrap(), None, "what waits counts");
    disk.set_faults(Faults { unreadable: Some((0, u64::MAX)), ..Faults::default() });
    journal.append(Record::Accepted { id: EntryId(2), head: b"", body: b"" });
    assert!(committed(&journal, 5));
    assert_eq!(journal.read_answer(ID).unwrap(), None);
}

#[test]
fn compaction_bounds_the_file_and_keeps_what_lives() {
    let disk = FaultDisk::default();
    let (journal, _) = open(&disk).unwrap();
    let keep = EntryId(1);
    accept(&journal, 1, &[7; 400]);
    journal.append(Record::Started { id: keep });
    journal.append(Record::Started { id: keep });
    journal.append(Record::Answered { id: keep, answer: b"kept" });
    for id in 2..500 {
        accept(&journal, id, &[9; 300]);
        let last = journal.append(Record::Forgotten { id: EntryId(id) });
        if id % 5 == 0 {
            assert!(committed(&journal, last - 1));
        }
    }
    until(|| journal.figures().waiting_records == 0);
    let figures = journal.figures();
    assert!(figures.compactions > 3, "{figures:?}");
    assert_eq!(figures.entries, 1);
    assert_eq!(journal.read_answer(keep).unwrap().unwrap(), b"kept");
    journal.close().unwrap();
    let (journal, found) = open(&disk).unwrap();
    assert_eq!(found.next_id, EntryId(500), "no number is given twice");
    let [entry] = &found.entries[..] else { panic!("{found:?}") };
    assert_eq!((entry.starts, entry.answered, &entry.head[..]), (2, true, &b"head"[..]));
    assert_eq!(disk.files().len(), 1, "{:?}", disk.files().keys());
    let [(_, bytes)] = &disk.segments()[..] else { panic!("one segment") };
    assert!(!bytes.windows(400).any(|w| w == [7; 400]), "the body of what is answered is gone");
    assert!(journal.figures().live_bytes < 300, "{:?}", journal.figures());
}

#[test]
fn a_queue_that_is_never_empty_does_not_keep_the_file_growing() {
    let disk = FaultDisk::default();
    let (journal, _) = open(&disk).unwrap();
    // A sync takes longer than the next records need to come: when it is done, more is due.
    disk.set_faults(Faults { sync_takes: Duration::from_millis(2), ..Faults::default() });
    let mut longest = 0;
    for id in 1..4000u64 {
        accept(&journal, id, &[3; 100]);
        journal.append(Record::Forgotten { id: EntryId(id) });
        std::thread::sleep(Duration::from_micros(100));
        longest = longest.max(journal.figures().file_bytes);
    }
    assert!(longest <= 256 * 1024, "{longest} bytes");
}

#[test]
fn a_prompt_is_committed_while_a_long_compaction_goes_on() {
    let disk = FaultDisk::default();
    let tuning = Tuning { compact_from_bytes: 20_000, slice_bytes: 1000, ..tuning() };
    let (journal, _) = open_with(&disk, Durability::Sync, tuning).unwrap();
    (1..=100).for_each(|id| _ = accept(&journal, id, &[5; 1000]));
    assert!(committed(&journal, 100));
    // Forty slices of at least 20 ms: the prompt must not wait for all of them.
    disk.set_faults(Faults { sync_takes: Duration::from_millis(20), ..Faults::default() });
    (1..=60).for_each(|id| _ = journal.append(Record::Forgotten { id: EntryId(id) }));
    until(|| disk.files().keys().any(|name| name.ends_with(".new")));
    let compactions = journal.figures().compactions;
    let seq = accept(&journal, 101, b"urgent");
    assert!(committed(&journal, seq));
    assert_eq!(journal.figures().compactions, compactions, "it was not waited for");
    until(|| journal.figures().compactions > compactions);
    journal.close().unwrap();
    let (_journal, found) = open(&disk).unwrap();
    assert_eq!(found.entries.len(), 41, "what came meanwhile is in the new segment");
}

#[test]
fn a_full_disk_stalls_and_loses_nothing() {
    let disk = FaultDisk::default();
    let (journal, _) = open(&disk).unwrap();
    accept(&journal, 1, &[1; 100]);
    assert!(committed(&journal, 1));
    let used = disk.files().values().map(|bytes| bytes.len() as u64).sum::<u64>();
    disk.set_faults(Faults { capacity_bytes: Some(used), ..Faults::default() });
    let body = vec![2; 90_000];
    accept(&journal, 2, &body);
    assert!(wait_until(&journal, |progress| progress.stalled.is_some()));
    accept(&journal, 3, b"behind it");
    assert_eq!(journal.progress().borrow().committed, 1);
    assert_eq!(journal.figures().waiting_records, 2);
    let (_, found) = open(&disk.after_power_loss(&mut || 1)).unwrap();
    assert_eq!(found.entries.len(), 1, "what is not committed is not there");
    disk.set_faults(Faults::default());
    assert!(committed(&journal, 3));
    assert_eq!(journal.progress().borrow().stalled, None);
    journal.close().unwrap();
    let (_journal, found) = open(&disk).unwrap();
    assert_eq!(found.entries.len(), 3);
    assert_eq!(found.entries[1].body.as_ref().unwrap(), &body);
}

#[test]
fn what_is_no_longer_needed_makes_room_on_a_full_disk() {
    let disk = FaultDisk::default();
    let never = Tuning { compact_from_bytes: u64::MAX, ..tuning() };
    let (journal, _) = open_with(&disk, Durability::Sync, never).unwrap();
    for id in 1..=100 {
        accept(&journal, id, &[1; 1000]);
        journal.append(Record::Forgotten { id: EntryId(id) });
    }
    assert!(committed(&journal, 199) && written(&journal, 200));
    disk.set_faults(Faults { capacity_bytes: Some(200_000), ..Faults::default() });
    let seq = accept(&journal, 101, &vec![2; 100_000]);
    assert!(committed(&journal, seq), "{:?}", journal.progress().borrow());
}

#[test]
fn after_a_failed_sync_the_segment_is_not_trusted() {
    let disk = FaultDisk::default();
    let (journal, _) = open(&disk).unwrap();
    accept(&journal, 1, b"one");
    assert!(committed(&journal, 1));
    let before = disk.segments();
    // The write, then the sync; the kernel then forgets the page, as it really does.
    disk.set_faults(Faults { failing: vec![2], ..Faults::default() });
    accept(&journal, 2, b"two");
    assert!(committed(&journal, 2));
    assert_ne!(disk.segments()[0].0, before[0].0, "a new segment was begun");
    assert_eq!(journal.progress().borrow().stalled, None);
    let (_, found) = open(&disk.after_power_loss(&mut || 1)).unwrap();
    assert_eq!(found.entries.len(), 2, "what was called committed is there");
}

#[test]
fn nothing_is_committed_to_a_file_whose_name_may_be_lost() {
    let disk = FaultDisk::default();
    let (journal, _) = open(&disk).unwrap();
    accept(&journal, 1, b"one");
    assert!(committed(&journal, 1));
    disk.set_faults(Faults { names_fail: true, ..Faults::default() });
    (0..100u8).for_each(|i| _ = journal.append(Record::Note { key: 1, bytes: &[i; 40] }));
    until(|| disk.segments().len() == 2);
    let seq = accept(&journal, 2, b"two");
    assert!(wait_until(&journal, |progress| progress.stalled.is_some()));
    std::thread::sleep(Duration::from_millis(20));
    assert!(journal.progress().borrow().committed < seq);
    // No change of names reached the medium.
    let (_, found) = open(&disk.after_power_loss(&mut || 0)).unwrap();
    assert_eq!(found.entries.len(), 1);
    disk.set_faults(Faults::default());
    assert!(committed(&journal, seq));
    until(|| disk.segments().len() == 1);
    let (_, found) = open(&disk.after_power_loss(&mut || 0)).unwrap();
    assert_eq!(found.entries.len(), 2);
}

#[test]
fn what_rots_while_it_runs_is_told_and_put_aside() {
    let disk = FaultDisk::default();
    let (journal, _) = open(&disk).unwrap();
    accept(&journal, 1, &[1; 100]);
    journal.append(Record::Answered { id: ID, answer: b"answer" });
    accept(&journal, 2, &[1; 100]);
    assert!(committed(&journal, 3));
    disk.set_faults(Faults { unreadable: Some((64, 300)), ..Faults::default() });
    assert!(journal.read_answer(ID).is_err());
    (0..100u8).for_each(|i| _ = journal.append(Record::Note { key: 1, bytes: &[i; 40] }));
    until(|| journal.figures().compactions > 0);
    assert!(journal.figures().lost_bytes > 100);
    until(|| disk.files().keys().any(|name| name.ends_with(".damaged")));
}

#[test]
fn closing_on_a_dead_disk_says_what_is_lost() {
    let disk = FaultDisk::default();
    let (journal, _) = open(&disk).unwrap();
    disk.kill();
    accept(&journal, 1, b"one");
    accept(&journal, 2, b"two");
    let error = journal.close().unwrap_err();
    assert!(matches!(error, JournalError::Unwritten { records: 2, .. }), "{error}");
}

#[test]
fn only_delivered_entries_grow_old() {
    let disk = FaultDisk::default();
    let open_at = |now_s| {
        let path = Path::new("/nowhere");
        Journal::open_on(Arc::new(disk.clone()), path, LIMITS, Durability::Sync, now_s, tuning())
    };
    let (journal, _) = open_at(unix_s()).unwrap();
    for id in 1..=3 {
        accept(&journal, id, b"body");
    }
    journal.append(Record::Answered { id: EntryId(2), answer: b"2" });
    journal.append(Record::Answered { id: EntryId(3), answer: b"3" });
    journal.append(Record::Delivered { id: EntryId(3), reason: 0 });
    journal.close().unwrap();
    let count = |now_s| open_at(now_s).unwrap().1.entries.len();
    assert_eq!(count(unix_s() + 3500), 3);
    assert_eq!(count(0), 3, "a clock that was set back");
    assert_eq!(count(unix_s() + 3700), 2, "the unfinished stay however old they are");
}

#[test]
fn the_figures_say_when_it_is_too_much() {
    let disk = FaultDisk::default();
    let (journal, _) = open(&disk).unwrap();
    (1..=100).for_each(|id| _ = accept(&journal, id, b""));
    assert!(committed(&journal, 100));
    assert!(!journal.figures().is_over(&LIMITS));
    assert!(journal.figures().is_over(&Limits { bytes: 1000, ..LIMITS }));
    accept(&journal, 101, b"");
    assert!(committed(&journal, 101));
    assert!(journal.figures().is_over(&journal.limits()), "one entry too many");
}

#[test]
fn a_directory_is_made_private_and_belongs_to_one_process() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("state/journal");
    let (journal, _) = Journal::open(&path, LIMITS, Durability::Sync).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    for file in std::fs::read_dir(&path).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    let error = Journal::open(&path, LIMITS, Durability::Sync).err().expect("locked");
    let holder = format!("process {}", std::process::id());
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&holder), "{error}");
    let last = accept(&journal, 1, b"body");
    assert!(committed(&journal, last));
    drop(journal);
    let (_journal, found) = Journal::open(&path, LIMITS, Durability::Volatile).unwrap();
    assert_eq!(found.entries[0].body.as_deref(), Some(&b"body"[..]));
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Journal::open(&file.join("journal"), LIMITS, Durability::Sync).err().unwrap();
    assert!(matches!(error, JournalError::Directory { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(file.to_str().unwrap()) && text.contains("state-dir"), "{text}");
}

/// A file system of 256 KiB, unmounted when dropped.
struct SmallMount(tempfile::TempDir);

impl SmallMount {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
            .arg(dir.path())
            .output();
        mount.is_ok_and(|done| done.status.success()).then_some(Self(dir))
    }
}

impl Drop for SmallMount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_file_system_that_is_really_full_is_waited_for() {
    let Some(mount) = SmallMount::new() else {
        println!("SKIP: a tmpfs cannot be mounted here");
        return;
    };
    let dir = mount.0.path();
    let (journal, _) = Journal::open(&dir.join("journal"), LIMITS, Durability::Sync).unwrap();
    let hog = dir.join("hog");
    let _ = std::fs::write(&hog, vec![1u8; 256 * 1024]);
    let last = (1..=20).map(|id| accept(&journal, id, &[id as u8; 5000])).max().unwrap();
    assert!(wait_until(&journal, |progress| progress.stalled.is_some()));
    let reason = journal.progress().borrow().stalled.clone().unwrap();
    assert!(reason.contains("No space left"), "{reason}");
    std::fs::remove_file(hog).unwrap();
    assert!(committed(&journal, last));
    assert_eq!(journal.progress().borrow().stalled, None);
    journal.close().unwrap();
    let (_journal, found) = Journal::open(&dir.join("journal"), LIMITS, Durability::Sync).unwrap();
    assert_eq!(found.entries.len(), 20);
    assert!(found.entries.iter().all(|e| e.body == Some(vec![e.id.0 as u8; 5000])));
}
