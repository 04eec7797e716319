//! Random records, faults and power losses against a plain model in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::fault::{FaultDisk, Faults};
use super::writer::Tuning;
use super::*;

pub(super) const LIMITS: Limits =
    Limits { entries: 100, bytes: 1 << 20, age: Duration::from_secs(3600) };

/// Small segments, small slices, short waits.
pub(super) fn tuning() -> Tuning {
    Tuning {
        compact_from_bytes: 2048,
        slice_bytes: 300,
        compact_again: Duration::from_millis(1),
        lazy: Duration::from_millis(2),
        backoff: (Duration::from_micros(100), Duration::from_millis(1)),
        patience: Duration::from_millis(5),
        make_salt: fresh_salt,
    }
}

pub(super) fn open(disk: &FaultDisk) -> Result<(Journal, Recovered), JournalError> {
    open_with(disk, Durability::Sync, tuning())
}

pub(super) fn open_with(
    disk: &FaultDisk,
    durability: Durability,
    tuning: Tuning,
) -> Result<(Journal, Recovered), JournalError> {
    let path = Path::new("/nowhere");
    Journal::open_on(Arc::new(disk.clone()), path, LIMITS, durability, unix_s(), tuning)
}

pub(super) fn wait_until(journal: &Journal, done: impl Fn(&Progress) -> bool) -> bool {
    let (progress, start) = (journal.progress(), Instant::now());
    while !done(&progress.borrow()) {
        if start.elapsed() > Duration::from_secs(10) {
            return false;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    true
}

#[derive(Debug, Clone)]
enum Step {
    Accept(usize, usize),
    Start(u64),
    Park(u64),
    Answer(u64, usize),
    Deliver(u64, u8),
    Forget(u64),
    Note(u8, usize),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let back = 0..6u64;
    prop_oneof![
        4 => (0..40usize, 0..900usize).prop_map(|(head, body)| Step::Accept(head, body)),
        3 => back.clone().prop_map(Step::Start),
        1 => back.clone().prop_map(Step::Park),
        3 => (back.clone(), 0..900usize).prop_map(|(id, bytes)| Step::Answer(id, bytes)),
        2 => (back.clone(), any::<u8>()).prop_map(|(id, reason)| Step::Deliver(id, reason)),
        2 => back.prop_map(Step::Forget),
        1 => (0..3u8, 0..100usize).prop_map(|(key, bytes)| Step::Note(key, bytes)),
        3 => Just(Step::Wait),
    ]
}

/// Bytes that differ from record to record.
fn blob(bytes: usize, seed: u64) -> Vec<u8> {
    let mut random = random(seed);
    (0..bytes).map(|_| random() as u8).collect()
}

fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// All that was ever said about one entry, each with the number of its record.
#[derive(Debug, Default, Clone)]
struct Story {
    accepted: u64,
    head: Vec<u8>,
    body: Vec<u8>,
    starts: Vec<u64>,
    parks: Vec<u64>,
    answers: Vec<(u64, Vec<u8>)>,
    delivered: Vec<(u64, u8)>,
    forgotten: Vec<u64>,
}

#[derive(Debug, Default, Clone)]
struct Model {
    stories: BTreeMap<u64, Story>,
    notes: BTreeMap<u8, Vec<(u64, Vec<u8>)>>,
    next_id: u64,
    blobs: u64,
}

impl Model {
    /// What was recovered is the beginning of a new story: all of it is committed.
    fn begin(&mut self, journal: &Journal, found: &Recovered) {
        self.stories.clear();
        for entry in &found.entries {
            let answer = journal.read_answer(entry.id).unwrap();
            let story = Story {
                head: entry.head.clone(),
                body: entry.body.clone().unwrap_or_default(),
                starts: vec![0; entry.starts as usize],
                answers: answer.into_iter().map(|bytes| (0, bytes)).collect(),
                delivered: entry.delivered.into_iter().map(|reason| (0, reason)).collect(),
                ..Story::default()
            };
            self.stories.insert(entry.id.0, story);
        }
        let notes = found.notes.iter();
        self.notes = notes.map(|(key, bytes)| (*key, vec![(0, bytes.clone())])).collect();
        self.next_id = found.next_id.0;
    }

    fn run(&mut self, journal: &Journal, step: &Step) {
        self.blobs += 1;
        let seed = self.blobs;
        let next_id = self.next_id;
        let pick = |back: &u64| next_id.saturating_sub(1 + back).max(1);
        match step {
            Step::Accept(head, body) => {
                let (head, body) = (blob(*head, seed), blob(*body, !seed));
                let id = EntryId(self.next_id);
                let accepted = journal.append(Record::Accepted { id, head: &head, body: &body });
                self.stories.insert(id.0, Story { accepted, head, body, ..Story::default() });
                self.next_id += 1;
            }
            Step::Start(back) => {
                let seq = journal.append(Record::Started { id: EntryId(pick(back)) });
                self.stories.entry(pick(back)).and_modify(|s| s.starts.push(seq));
            }
            Step::Park(back) => {
                // As the caller does: only what was started.
                let running = self.stories.get(&pick(back));
                if running.is_some_and(|s| s.starts.len() > s.parks.len()) {
                    let seq = journal.append(Record::Parked { id: EntryId(pick(back)) });
                    self.stories.entry(pick(back)).and_modify(|s| s.parks.push(seq));
                }
            }
            Step::Answer(back, bytes) => {
                let (id, answer) = (EntryId(pick(back)), blob(*bytes, seed));
                let seq = journal.append(Record::Answered { id, answer: &answer });
                self.stories.entry(id.0).and_modify(|s| s.answers.push((seq, answer)));
            }
            Step::Deliver(back, reason) => {
                let (id, reason) = (EntryId(pick(back)), *reason);
                let seq = journal.append(Record::Delivered { id, reason });
                self.stories.entry(id.0).and_modify(|s| s.delivered.push((seq, reason)));
            }
            Step::Forget(back) => {
                let seq = journal.append(Record::Forgotten { id: EntryId(pick(back)) });
                self.stories.entry(pick(back)).and_modify(|s| s.forgotten.push(seq));
            }
            Step::Note(key, bytes) => {
                let bytes = blob(*bytes, seed);
                let seq = journal.append(Record::Note { key: *key, bytes: &bytes });
                self.notes.entry(*key).or_default().push((seq, bytes));
            }
            Step::Wait => {
                let start = Instant::now();
                while journal.figures().waiting_records > 0
                    && start.elapsed() < Duration::from_millis(4)
                {
                    std::thread::yield_now();
                }
            }
        }
    }

    /// Whether `found` can be what is left when all up to `committed` must be there, and of what
    /// came later anything may be.
    fn check(&self, journal: &Journal, found: &Recovered, committed: u64) {
        let entries: BTreeMap<u64, &Entry> = found.entries.iter().map(|e| (e.id.0, e)).collect();
        for id in entries.keys() {
            assert!(self.stories.contains_key(id), "entry {id} was invented");
            assert!(*id < found.next_id.0, "the next id was used before");
        }
        for (id, story) in &self.stories {
            let Some(entry) = entries.get(id) else {
                let may_be_gone = story.accepted > committed || !story.forgotten.is_empty();
                assert!(may_be_gone, "entry {id} was committed and is lost");
                continue;
            };
            assert!(!story.forgotten.iter().any(|seq| *seq <= committed), "{id} was forgotten");
            check_entry(journal, entry, story, committed);
        }
        for (key, versions) in &self.notes {
            let must = versions.iter().rposition(|(seq, _)| *seq <= committed);
            match found.notes.get(key) {
                None => assert_eq!(must, None, "note {key} is lost"),
                Some(bytes) => {
                    let may = &versions[must.unwrap_or(0)..];
                    assert!(may.iter().any(|(_, b)| b == bytes), "note {key} is an old one");
                }
            }
        }
        assert!(found.notes.keys().all(|key| self.notes.contains_key(key)), "an invented note");
    }
}

fn check_entry(journal: &Journal, entry: &Entry, story: &Story, committed: u64) {
    let (id, done) = (entry.id, |seq: &u64| *seq <= committed);
    assert_eq!(entry.head, story.head, "{id:?}");
    let must = story.answers.iter().rposition(|(seq, _)| done(seq));
    assert!(entry.answered || must.is_none(), "{id:?}: the answer is lost");
    assert_eq!(entry.body.is_none(), entry.answered, "{id:?}");
    if let Some(body) = &entry.body {
        assert_eq!(body, &story.body, "{id:?}");
    }
    let answer = journal.read_answer(id).unwrap();
    assert_eq!(answer.is_some(), entry.answered, "{id:?}");
    if let Some(answer) = answer {
        let may = &story.answers[must.unwrap_or(0)..];
        assert!(may.iter().any(|(_, a)| *a == answer), "{id:?}: an answer that is none");
    }
    let must = story.delivered.iter().rposition(|(seq, _)| done(seq));
    match entry.delivered {
        None => assert_eq!(must, None, "{id:?}: its delivery is forgotten"),
        Some(reason) => {
            let may = &story.delivered[must.unwrap_or(0)..];
            assert!(may.iter().any(|(_, r)| *r == reason), "{id:?}");
        }
    }
    let least = story.starts.iter().filter(|s| done(s)).count().saturating_sub(story.parks.len());
    assert!(entry.starts as usize >= least, "{id:?}: {} starts", entry.starts);
    let most = story.starts.len() - story.parks.iter().filter(|s| done(s)).count();
    assert!(entry.starts as usize <= most, "{id:?}: {} starts", entry.starts);
}

/// Opens, runs the steps, and loses power somewhere or closes; three times.
fn live_through(seed: u64, steps: &[Step], faults: &[Faults]) {
    let mut random = random(seed);
    let (mut disk, mut model) = (FaultDisk::default(), Model::default());
    for (life, faults) in faults.iter().enumerate() {
        let (journal, found) = open(&disk).expect("nothing fails yet");
        if life == 0 {
            assert_eq!(found.next_id, EntryId(1));
        }
        model.begin(&journal, &found);
        disk.set_faults(faults.clone());
        steps.iter().for_each(|step| model.run(&journal, step));
        let progress = journal.progress();
        if random().is_multiple_of(2) {
            disk.kill();
        }
        drop(journal);
        let committed = progress.borrow().committed;
        disk = disk.after_power_loss(&mut random);
        // The power may go again while it starts.
        let die_after = Some(random() % 12);
        disk.set_faults(Faults { die_after, ..Faults::default() });
        drop(open(&disk));
        disk = disk.after_power_loss(&mut random);
        let (journal, found) = open(&disk).expect("whatever is there can be opened");
        model.check(&journal, &found, committed);
        drop(journal);
    }
}

fn faults() -> impl Strategy<Value = Faults> {
    let die_after = proptest::option::weighted(0.7, 0..150u64);
    let failing = proptest::collection::vec(1..150u64, 0..6);
    let capacity_bytes = proptest::option::weighted(0.2, 8_000..200_000u64);
    let write_bytes = proptest::option::weighted(0.3, 1..3000usize);
    (die_after, failing, capacity_bytes, write_bytes).prop_map(
        |(die_after, failing, capacity_bytes, write_bytes)| Faults {
            die_after,
            failing,
            capacity_bytes,
            write_bytes,
            ..Faults::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn what_is_committed_survives_power_losses(
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 1..60),
        faults in proptest::collection::vec(faults(), 1..4),
    ) {
        live_through(seed, &steps, &faults);
    }

    /// Faults that pass leave no trace: all is there, each thing once.
    #[test]
    fn passing_faults_lose_and_double_nothing(
        steps in proptest::collection::vec(step(), 1..60),
        failing in proptest::collection::vec(1..200u64, 0..12),
        write_bytes in proptest::option::of(1..3000usize),
    ) {
        let (disk, mut model) = (FaultDisk::default(), Model { next_id: 1, ..Model::default() });
        let patient = Tuning { patience: Duration::from_secs(20), ..tuning() };
        let (journal, _) = open_with(&disk, Durability::Sync, patient).unwrap();
        disk.set_faults(Faults { failing, write_bytes, ..Faults::default() });
        steps.iter().for_each(|step| model.run(&journal, step));
        let progress = journal.progress();
        journal.close().unwrap();
        disk.set_faults(Faults::default());
        let committed = progress.borrow().committed;
        let disk = disk.after_power_loss(&mut random(1));
        let (journal, found) = open(&disk).unwrap();
        model.check(&journal, &found, u64::MAX);
        prop_assert_eq!(found.bytes_lost, 0);
        prop_assert_eq!(committed, progress.borrow().written);
    }
}
