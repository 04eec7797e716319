//! The thread that writes: takes all that gathered, one write, one sync, says so; compacts between.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::compaction::Compaction;
use super::disk::Disk;
use super::frame;
use super::queue::{Item, Shared, State, Urgency, unix_s};
use super::recovery;
use super::segment::{self, Segment};
use super::wear::Wear;

/// Sizes and times; tests use smaller ones.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// A segment below this size is not worth compacting, in bytes.
    pub compact_from_bytes: u64,
    /// Bytes of one step of a compaction: records that wait to be committed wait that long.
    pub slice_bytes: usize,
    /// After a compaction failed, the next is not tried for so long.
    pub compact_again: Duration,
    /// How long a record that nobody waits for may wait to be written.
    pub lazy: Duration,
    /// Waits after a failure: the first, and the longest.
    pub backoff: (Duration, Duration),
    /// How long `close` tries to write to a disk that does not take it.
    pub patience: Duration,
    /// Makes the salt of a new segment.
    pub make_salt: fn() -> u64,
}

impl Tuning {
    /// What the daemon uses.
    pub fn new(make_salt: fn() -> u64) -> Self {
        Self {
            compact_from_bytes: 256 * 1024,
            slice_bytes: 256 * 1024,
            compact_again: Duration::from_secs(5),
            lazy: Duration::from_secs(1),
            backoff: (Duration::from_millis(100), Duration::from_secs(5)),
            patience: Duration::from_secs(3),
            make_salt,
        }
    }
}

/// What the thread is made of.
pub struct Writer {
    pub shared: Arc<Shared>,
    pub disk: Arc<dyn Disk>,
    pub segment: Segment,
    pub wear: Wear,
    /// False where committed means written.
    pub sync: bool,
    tuning: Tuning,
    progress: Made,
}

/// What became of earlier work.
#[derive(Default)]
struct Made {
    /// The last record that was written, and the last that was synced.
    written: u64,
    synced: u64,
    /// A sync failed, or a name may have been taken: nothing is appended to this segment any more.
    poisoned: bool,
    /// Old segments that go when the directory is synced; true: put aside, for they are damaged.
    stale: Vec<(u64, bool)>,
    compaction: Option<Compaction>,
    compact_after: Option<Instant>,
    compactions: u64,
    lost_bytes: u64,
}

enum Task {
    Write,
    Compact,
    End,
}

impl Writer {
    /// A thread's worth of state; it starts with [`Writer::run`].
    pub fn new(
        shared: Arc<Shared>,
        disk: Arc<dyn Disk>,
        segment: Segment,
        wear: Wear,
        sync: bool,
        tuning: Tuning,
    ) -> Self {
        let progress = Made::default();
        Self { shared, disk, segment, wear, sync, tuning, progress }
    }

    /// Writes until the journal is closed.
    ///
    /// # Errors
    /// Why what was left could not be written.
    pub fn run(mut self) -> Result<(), String> {
        self.publish(0, None);
        loop {
            match self.next_task() {
                Task::Write => {
                    self.write(false)?;
                    // Here too, or a queue that is never empty would let the file grow for ever.
                    if self.has_to_compact() {
                        self.compact();
                    }
                }
                Task::Compact => self.compact(),
                Task::End => break,
            }
        }
        self.give_up_compaction();
        if self.sync && self.progress.synced < self.progress.written {
            self.write(true)?;
        }
        let _ = self.settle();
        Ok(())
    }

    fn next_task(&mut self) -> Task {
        let mut state = self.shared.lock();
        loop {
            let now = Instant::now();
            let due = state.due_in(now, self.tuning.lazy);
            if due == Some(Duration::ZERO) {
                return Task::Write;
            }
            if state.closing {
                return Task::End;
            }
            if self.progress.compaction.is_some() || self.wants_compaction(&state, now) {
                return Task::Compact;
            }
            state = self.shared.wait(state, due);
        }
    }

    fn has_to_compact(&self) -> bool {
        let state = self.shared.lock();
        self.progress.compaction.is_some() || self.wants_compaction(&state, Instant::now())
    }

    fn wants_compaction(&self, state: &State, now: Instant) -> bool {
        self.segment.end() > self.tuning.compact_from_bytes.max(2 * state.index.live_bytes())
            && self.progress.compact_after.is_none_or(|after| now >= after)
    }

    /// Writes all that gathered, however long that takes.
    fn write(&mut self, sync_anyway: bool) -> Result<(), String> {
        let mut backoff = self.tuning.backoff.0;
        let mut closing_since = None;
        loop {
            let batch = self.shared.lock().batch();
            let sync = sync_anyway || batch.iter().any(|item| item.urgency == Urgency::Sync);
            let Err(error) = self.try_write(&batch, sync && self.sync) else {
                self.took(&batch, sync);
                return Ok(());
            };
            self.stall(&error);
            if self.shared.lock().closing {
                let since = *closing_since.get_or_insert_with(Instant::now);
                if since.elapsed() > self.tuning.patience {
                    return Err(error.to_string());
                }
                std::thread::sleep(self.tuning.backoff.0);
            } else {
                self.shared.wait_for_close(backoff);
                backoff = (backoff * 2).min(self.tuning.backoff.1);
            }
        }
    }

    fn try_write(&mut self, batch: &[Arc<Item>], sync: bool) -> io::Result<()> {
        if self.progress.poisoned {
            self.rebuild()?;
        }
        self.settle()?;
        let frames = encode(batch, self.segment.pages().salt, self.segment.end());
        if let Err(error) = self.segment.append(&frames, &mut self.wear) {
            let live_bytes = self.shared.lock().index.live_bytes();
            if error.kind() == io::ErrorKind::StorageFull && self.segment.end() > 2 * live_bytes {
                // What nobody needs any more makes room, unless even the rest does not fit beside it.
                self.rebuild()?;
            }
            return Err(error);
        }
        if sync {
            // After a failed sync the kernel may call pages clean that are not on the medium, so a
            // second sync that succeeds would prove nothing.
            let synced = self.segment.sync(&mut self.wear);
            self.progress.poisoned = synced.is_err();
            return synced;
        }
        Ok(())
    }

    /// The batch is in the segment: the index takes it over from the queue.
    fn took(&mut self, batch: &[Arc<Item>], synced: bool) {
        let mut at = self.segment.end() - batch.iter().map(|i| i.frame_bytes()).sum::<u64>();
        let mut state = self.shared.lock();
        for item in batch {
            state.index.apply(item.kind, item.id, at, &item.payload);
            at += item.frame_bytes();
            state.prompts += u64::from(item.kind == frame::kind::ACCEPTED);
        }
        state.drop_written(batch.len());
        drop(state);
        self.progress.written = batch.last().map_or(self.progress.written, |item| item.seq);
        if synced {
            self.progress.synced = self.progress.written;
        }
        self.publish(self.committed(), None);
    }

    fn committed(&self) -> u64 {
        if self.sync { self.progress.synced } else { self.progress.written }
    }

    fn stall(&mut self, error: &io::Error) {
        let reason = error.to_string();
        if self.shared.progress.borrow().stalled.as_ref() != Some(&reason) {
            tracing::error!(error = reason, "the journal cannot be written; trying again");
        }
        self.publish(self.committed(), Some(reason));
    }

    fn publish(&mut self, committed: u64, stalled: Option<String>) {
        self.wear.today_bytes(unix_s());
        let mut state = self.shared.lock();
        state.file_bytes = self.segment.allocated();
        state.wear = self.wear.clone();
        (state.compactions, state.lost_bytes) =
            (self.progress.compactions, self.progress.lost_bytes);
        drop(state);
        let written = self.progress.written;
        self.shared.progress.send_if_modified(|progress| {
            if progress.stalled.is_some() && stalled.is_none() {
                tracing::info!("the journal can be written again");
            }
            let new = super::Progress { written, committed, stalled };
            let changed = *progress != new;
            *progress = new;
            changed
        });
    }

    /// One slice of a compaction; records that come meanwhile wait for that long at most.
    fn compact(&mut self) {
        let done = match self.progress.compaction.take() {
            Some(compaction) => self.compact_slice(compaction),
            None => self.start_compaction().map(|c| self.progress.compaction = Some(c)),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the journal could not be compacted; later again");
            self.progress.compact_after = Some(Instant::now() + self.tuning.compact_again);
        }
    }

    fn start_compaction(&mut self) -> io::Result<Compaction> {
        let index = self.shared.lock().index.clone();
        // A name is not used twice: not even one whose file is on its way out.
        let generation = self.segment.generation() + 1;
        let salt = (self.tuning.make_salt)();
        let (disk, wear) = (&*self.disk, &mut self.wear);
        Compaction::start(disk, &self.segment, &index, generation, salt, wear)
    }

    fn compact_slice(&mut self, mut compaction: Compaction) -> io::Result<()> {
        match compaction.step(
            self.segment.end(),
            self.tuning.slice_bytes,
            self.sync,
            &mut self.wear,
        ) {
            Ok(true) => self.install(compaction),
            Ok(false) => {
                self.progress.compaction = Some(compaction);
                Ok(())
            }
            Err(e) => {
                self.remove_unfinished(&compaction);
                Err(e)
            }
        }
    }

    /// Moves what is live to a new segment at once: this one takes nothing any more.
    fn rebuild(&mut self) -> io::Result<()> {
        self.give_up_compaction();
        let mut compaction = self.start_compaction()?;
        loop {
            match compaction.step(
                self.segment.end(),
                self.tuning.slice_bytes,
                self.sync,
                &mut self.wear,
            ) {
                Ok(false) => {}
                Ok(true) => return self.install(compaction),
                Err(e) => {
                    self.remove_unfinished(&compaction);
                    return Err(e);
                }
            }
        }
    }

    fn install(&mut self, compaction: Compaction) -> io::Result<()> {
        let damaged = compaction.lost_bytes() > 0;
        self.progress.lost_bytes += compaction.lost_bytes();
        let generation = compaction.generation();
        let (segment, index) = match compaction.finish(&*self.disk, self.sync, &mut self.wear) {
            Ok(new) => new,
            Err(e) => {
                // If the name was given in spite of the error, the new segment counts from then on
                // for who reads the directory: the old one must not grow any more.
                self.progress.poisoned = true;
                let _ = self.disk.remove(&segment::name(generation));
                return Err(e);
            }
        };
        self.progress.stale.push((self.segment.generation(), damaged));
        self.segment = segment;
        self.progress.poisoned = false;
        self.progress.compactions += 1;
        let mut state = self.shared.lock();
        (state.index, state.pages) = (index, self.segment.pages().clone());
        drop(state);
        if self.sync {
            // All that was written before is in it, and it is synced; its name is not yet.
            self.settle()?;
            self.progress.synced = self.progress.written;
        }
        let stalled = self.shared.progress.borrow().stalled.clone();
        self.publish(self.committed(), stalled);
        Ok(())
    }

    /// Makes the segment's name durable, then lets go of those before it.
    fn settle(&mut self) -> io::Result<()> {
        if self.progress.stale.is_empty() {
            return Ok(());
        }
        if self.sync {
            self.disk.sync_names()?;
        }
        for (generation, damaged) in self.progress.stale.drain(..) {
            recovery::retire(&*self.disk, generation, damaged);
        }
        recovery::clean(&*self.disk);
        Ok(())
    }

    fn give_up_compaction(&mut self) {
        if let Some(compaction) = self.progress.compaction.take() {
            self.remove_unfinished(&compaction);
        }
    }

    fn remove_unfinished(&self, compaction: &Compaction) {
        let _ = self.disk.remove(&segment::unfinished_name(compaction.generation()));
    }
}

fn encode(batch: &[Arc<Item>], salt: u64, end: u64) -> Vec<u8> {
    let bytes: u64 = batch.iter().map(|item| item.frame_bytes()).sum();
    let mut frames = Vec::with_capacity(bytes as usize);
    for item in batch {
        let at = end + frames.len() as u64;
        frame::push(&mut frames, salt, at, item.kind, item.id, &item.payload);
    }
    frames
}
