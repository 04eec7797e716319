//! The journal as a model: records in memory with a horizon of what is committed. A crash keeps all
//! that is committed and a random part of what follows.

use super::random::Random;
use slmd::journal::{Entry, EntryId, Record};
use slmd::transport::mqtt::desk::Log;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Debug, Clone)]
pub enum Kept {
    Accepted { id: EntryId, head: Vec<u8>, body: Vec<u8>, at_ms: u64 },
    Started(EntryId),
    Parked(EntryId),
    Answered(EntryId, Vec<u8>),
    Delivered(EntryId, u8),
    Forgotten(EntryId),
    Nothing,
}

/// An entry as the records leave it.
#[derive(Debug, Clone)]
pub struct Live {
    pub entry: Entry,
    pub topic: String,
    pub arrived_ms: u64,
    /// The place of the prompt's record.
    pub accepted_at: usize,
    pub answer: Option<Vec<u8>>,
    /// The place of the answer's record.
    pub answered_at: usize,
}

#[derive(Default)]
pub struct Disk {
    pub records: Vec<Kept>,
    /// Records of earlier runs.
    pub base: usize,
    pub committed: usize,
    pub is_full: bool,
    pub now_ms: u64,
    pub live: BTreeMap<EntryId, Live>,
    pub highest: u64,
}

impl Disk {
    fn apply(&mut self, place: usize) {
        let live = &mut self.live;
        match &self.records[place] {
            Kept::Accepted { id, head, body, at_ms } => {
                let text: serde_json::Value = serde_json::from_slice(head).expect("a head");
                let entry = Entry {
                    id: *id,
                    head: head.clone(),
                    body: Some(body.clone()),
                    starts: 0,
                    answered: false,
                    delivered: None,
                    written_at: super::unix_ms(*at_ms) / 1000,
                };
                let topic = text["reply_topic"].as_str().expect("a topic").to_owned();
                let new = Live {
                    entry,
                    topic,
                    arrived_ms: *at_ms,
                    accepted_at: place,
                    answer: None,
                    answered_at: usize::MAX,
                };
                assert!(live.insert(*id, new).is_none(), "{id:?} was given twice");
                self.highest = self.highest.max(id.0);
            }
            Kept::Started(id) => live.get_mut(id).expect("started").entry.starts += 1,
            Kept::Parked(id) => live.get_mut(id).expect("parked").entry.starts -= 1,
            Kept::Answered(id, answer) => {
                let slot = live.get_mut(id).expect("an answer's entry");
                assert!(!slot.entry.answered, "{id:?} is answered twice");
                (slot.entry.answered, slot.entry.body) = (true, None);
                (slot.answer, slot.answered_at) = (Some(answer.clone()), place);
            }
            Kept::Delivered(id, reason) => {
                live.get_mut(id).expect("delivered").entry.delivered = Some(*reason);
            }
            Kept::Forgotten(id) => drop(live.remove(id).expect("forgotten once")),
            Kept::Nothing => {}
        }
    }

    /// The process or the power is gone; gives how many records are left.
    pub fn crash(&mut self, random: &mut Random) -> usize {
        let left = random.between(self.committed, self.records.len());
        self.reopen(left);
        left
    }

    fn reopen(&mut self, left: usize) {
        self.records.truncate(left);
        (self.base, self.committed, self.is_full) = (left, left, false);
        self.live.clear();
        (0..left).for_each(|place| self.apply(place));
    }

    /// Closed in order.
    pub fn close(&mut self) -> usize {
        let all = self.records.len();
        self.reopen(all);
        all
    }

    /// As the desk counts them.
    pub fn committed_number(&self) -> u64 {
        (self.committed - self.base) as u64
    }
}

impl Live {
    /// Whether its answer is a refusal that may turn out otherwise.
    pub fn is_passing(&self) -> bool {
        let reply = |answer: &Vec<u8>| serde_json::from_slice(&answer[1..]).expect("JSON");
        let reply: Option<serde_json::Value> = self.answer.as_ref().map(reply);
        reply.is_some_and(|reply| reply["error"]["retryable"] == true)
    }
}

/// What the desk holds of the disk.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Disk>>);

impl Journal {
    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().expect("nobody panicked with it")
    }
}

impl Log for Journal {
    fn append(&mut self, record: Record<'_>) -> u64 {
        let mut disk = self.disk();
        let at_ms = disk.now_ms;
        disk.records.push(match record {
            Record::Accepted { id, head, body } => {
                Kept::Accepted { id, head: head.into(), body: body.into(), at_ms }
            }
            Record::Started { id } => Kept::Started(id),
            Record::Parked { id } => Kept::Parked(id),
            Record::Answered { id, answer } => Kept::Answered(id, answer.into()),
            Record::Delivered { id, reason } => Kept::Delivered(id, reason),
            Record::Forgotten { id } => Kept::Forgotten(id),
            Record::Note { .. } => Kept::Nothing,
        });
        let place = disk.records.len() - 1;
        disk.apply(place);
        (place + 1 - disk.base) as u64
    }

    fn read_answer(&self, id: EntryId) -> io::Result<Option<Vec<u8>>> {
        Ok(self.disk().live.get(&id).and_then(|live| live.answer.clone()))
    }
}
