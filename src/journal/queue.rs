//! What callers and the writing thread share: records that are not written yet, and the index.
//!
//! The lock is never held over a call to the disk.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use super::frame::{self, kind};
use super::index::Index;
use super::segment::Pages;
use super::wear::Wear;
use super::{Progress, Record};

/// How soon a record must reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Within a second or so.
    Lazy,
    /// At once, but not synced.
    Prompt,
    /// At once, and synced.
    Sync,
}

/// A record as it will be written.
pub struct Item {
    pub seq: u64,
    pub kind: u8,
    pub id: u64,
    pub payload: Vec<u8>,
    pub urgency: Urgency,
}

impl Item {
    /// Encodes a record; `now_s` is the time that an accepted one gets, in Unix seconds.
    pub fn new(seq: u64, record: &Record<'_>, now_s: u64) -> Self {
        let (kind, id, urgency, payload) = match record {
            Record::Accepted { id, head, body } => {
                (kind::ACCEPTED, id.0, Urgency::Sync, accepted(now_s, head, body))
            }
            Record::Started { id } => {
                (kind::STARTED, id.0, Urgency::Prompt, 1u32.to_le_bytes().to_vec())
            }
            Record::Parked { id } => (kind::PARKED, id.0, Urgency::Lazy, Vec::new()),
            Record::Answered { id, answer } => {
                (kind::ANSWERED, id.0, Urgency::Sync, with_length(&[], answer))
            }
            Record::Delivered { id, reason } => {
                (kind::DELIVERED, id.0, Urgency::Lazy, vec![*reason])
            }
            Record::Forgotten { id } => (kind::FORGOTTEN, id.0, Urgency::Lazy, Vec::new()),
            Record::Note { key, bytes } => {
                (kind::NOTE, 0, Urgency::Sync, with_length(&[*key], bytes))
            }
        };
        Self { seq, kind, id, payload, urgency }
    }

    /// Bytes that it takes in the file.
    pub fn frame_bytes(&self) -> u64 {
        frame::frame_bytes(self.payload.len() as u32)
    }
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).expect("a blob of 4 GiB does not fit the memory").to_le_bytes()
}

fn accepted(now_s: u64, head: &[u8], body: &[u8]) -> Vec<u8> {
    [&now_s.to_le_bytes()[..], &length(head), &length(body), head, body].concat()
}

fn with_length(before: &[u8], bytes: &[u8]) -> Vec<u8> {
    [before, &length(bytes), bytes].concat()
}

/// Unix seconds by the wall clock.
pub fn unix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// What is under the lock.
pub struct State {
    queue: VecDeque<Arc<Item>>,
    queued_bytes: u64,
    last_seq: u64,
    /// Since when the oldest record waits, if there is one.
    waiting_since: Option<Instant>,
    /// How soon the most urgent one must be written.
    urgency: Urgency,
    pub closing: bool,
    pub index: Index,
    /// Where the index points into.
    pub pages: Pages,
    pub file_bytes: u64,
    pub wear: Wear,
    pub prompts: u64,
    pub compactions: u64,
    pub lost_bytes: u64,
}

impl State {
    /// Nothing queued, and what was found on the disk.
    pub fn new(index: Index, pages: Pages, wear: Wear) -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            last_seq: 0,
            waiting_since: None,
            urgency: Urgency::Lazy,
            closing: false,
            index,
            pages,
            file_bytes: 0,
            wear,
            prompts: 0,
            compactions: 0,
            lost_bytes: 0,
        }
    }

    /// When the queue must be written; None if it is empty.
    pub fn due_in(&self, now: Instant, lazy: Duration) -> Option<Duration> {
        let since = self.waiting_since?;
        if self.urgency > Urgency::Lazy || self.closing {
            return Some(Duration::ZERO);
        }
        Some(lazy.saturating_sub(now.saturating_duration_since(since)))
    }

    /// All that waits; it stays in the queue until it is written.
    pub fn batch(&self) -> Vec<Arc<Item>> {
        self.queue.iter().cloned().collect()
    }

    /// The first `count` are written.
    pub fn drop_written(&mut self, count: usize) {
        self.queued_bytes -= self.queue.drain(..count).map(|i| i.frame_bytes()).sum::<u64>();
        self.urgency = self.queue.iter().map(|i| i.urgency).max().unwrap_or(Urgency::Lazy);
        self.waiting_since = if self.queue.is_empty() { None } else { Some(Instant::now()) };
        if self.queue.capacity() > 256 {
            self.queue.shrink_to(self.queue.len().max(16));
        }
    }

    /// Records that wait, and their bytes.
    pub fn waiting(&self) -> (usize, u64) {
        (self.queue.len(), self.queued_bytes)
    }

    /// The last waiting record that decides about the answer of `id`.
    pub fn waiting_answer(&self, id: u64) -> Option<Arc<Item>> {
        let decides = |kind| matches!(kind, kind::ANSWERED | kind::FORGOTTEN | kind::ACCEPTED);
        self.queue.iter().rev().find(|item| item.id == id && decides(item.kind)).cloned()
    }
}

/// What callers and the writing thread share.
pub struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    pub progress: watch::Sender<Progress>,
}

impl Shared {
    /// Shares a state.
    pub fn new(state: State) -> Self {
        let progress = watch::Sender::new(Progress::default());
        Self { state: Mutex::new(state), wake: Condvar::new(), progress }
    }

    /// The state, for a few microseconds.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere left no half-made state that would be worse than no journal.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something came, or for `longest`.
    pub fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        longest: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match longest {
            None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(longest) => {
                let waited = self.wake.wait_timeout(state, longest);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Waits for `longest`, but not when the journal is being closed.
    pub fn wait_for_close(&self, longest: Duration) {
        let waited = self.wake.wait_timeout_while(self.lock(), longest, |state| !state.closing);
        drop(waited);
    }

    /// Queues a record; its number.
    pub fn push(&self, record: &Record<'_>) -> u64 {
        let mut item = Item::new(0, record, unix_s());
        let mut state = self.lock();
        state.last_seq += 1;
        item.seq = state.last_seq;
        state.queued_bytes += item.frame_bytes();
        state.urgency = state.urgency.max(item.urgency);
        // The writer sleeps without a limit while nothing waits, and looks again in time for the oldest.
        let wake = item.urgency > Urgency::Lazy || state.waiting_since.is_none();
        state.waiting_since.get_or_insert_with(Instant::now);
        let seq = item.seq;
        state.queue.push_back(Arc::new(item));
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        seq
    }

    /// Asks the thread to write what is left and to end.
    pub fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }
}
