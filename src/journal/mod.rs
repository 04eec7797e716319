//! The journal on disk by which slmd owns a prompt from its acknowledgement to the final state of
//! its answer.
//!
//! It remembers; it decides nothing. Prompts, answers and notes are opaque bytes: it knows of no
//! MQTT, no requests and no deadlines. Format and promises: `docs/journal.md`.
//!
//! One thread writes: records gather in memory, are written together and synced once, and
//! [`Progress::committed`] says how far that came. Nothing here blocks on the disk but
//! [`Journal::open`], [`Journal::read_answer`] and [`Journal::close`].

mod compaction;
mod disk;
mod frame;
mod index;
mod queue;
mod recovery;
mod segment;
mod wear;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use disk::{Directory, Disk};
use queue::{Shared, State, unix_s};
use wear::Wear;
use writer::{Tuning, Writer};

/// The number of an entry; the caller counts them, from [`Recovered::next_id`] on, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u64);

/// What the journal should hold at most. The caller evicts; see [`Figures::is_over`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Entries, finished or not.
    pub entries: usize,
    /// Live bytes.
    pub bytes: u64,
    /// Delivered entries older than this are dropped by [`Journal::open`]; unfinished ones never.
    pub age: Duration,
}

/// What *committed* means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On the medium (fdatasync): survives a power loss.
    Sync,
    /// Handed to the kernel: survives a crash of the process. For file systems in memory.
    Volatile,
}

/// One thing to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// A prompt; `body` is dropped once there is an answer. Synced.
    Accepted {
        /// A number never used before.
        id: EntryId,
        /// What is needed until the entry is forgotten.
        head: &'a [u8],
        /// What is needed until it is answered.
        body: &'a [u8],
    },
    /// Its inference begins. Written at once, without a sync of its own: the count survives a crash
    /// of the process, and a power loss says nothing against a prompt.
    Started {
        /// The entry.
        id: EntryId,
    },
    /// Its inference was taken back unharmed: takes one `Started` back. Lazy.
    Parked {
        /// The entry.
        id: EntryId,
    },
    /// Its answer; the last one counts. Synced.
    Answered {
        /// The entry.
        id: EntryId,
        /// What [`Journal::read_answer`] gives back.
        answer: &'a [u8],
    },
    /// The answer has left. Lazy.
    Delivered {
        /// The entry.
        id: EntryId,
        /// The caller's code.
        reason: u8,
    },
    /// The entry is gone. Lazy.
    Forgotten {
        /// The entry.
        id: EntryId,
    },
    /// Small state of the caller's; the last of a key counts. Synced.
    Note {
        /// Which.
        key: u8,
        /// What.
        bytes: &'a [u8],
    },
}

/// An entry as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub id: EntryId,
    /// The part of the prompt that is kept.
    pub head: Vec<u8>,
    /// The rest of it; None once it is answered.
    pub body: Option<Vec<u8>>,
    /// `Started` less `Parked`.
    pub starts: u32,
    /// Whether [`Journal::read_answer`] has something.
    pub answered: bool,
    /// How it was delivered, if it was.
    pub delivered: Option<u8>,
    /// When it was accepted, in Unix seconds of a clock that may have been wrong.
    pub written_at: u64,
}

/// What was found on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// By id.
    pub entries: Vec<Entry>,
    /// By key.
    pub notes: BTreeMap<u8, Vec<u8>>,
    /// The lowest number that was never used.
    pub next_id: EntryId,
    /// Bytes that were no records: a torn tail (cut off), or damage (the file is put aside).
    pub bytes_lost: u64,
    /// The format version of who began the file.
    pub from_version: u16,
}

impl Recovered {
    fn empty(from_version: u16) -> Self {
        let (entries, notes) = Default::default();
        Self { entries, notes, next_id: EntryId(1), bytes_lost: 0, from_version }
    }
}

/// How far the records got; numbers are those that [`Journal::append`] returned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// All up to this one are in the file: they survive a crash of the process.
    pub written: u64,
    /// All up to this one are as durable as [`Durability`] says. Records that are not synced on
    /// their own are committed with the next that is, or by [`Journal::close`].
    pub committed: u64,
    /// Why the disk takes nothing at the moment. Nothing is lost; it is tried again.
    pub stalled: Option<String>,
}

/// What the journal holds, and what it cost the medium.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Bytes of the segment file, zeroes ahead included.
    pub file_bytes: u64,
    /// Bytes that a segment needs for what is live.
    pub live_bytes: u64,
    /// Entries that are not forgotten.
    pub entries: usize,
    /// Records in memory that are not written yet.
    pub waiting_records: usize,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Bytes handed to the file system since the journal was opened, all included.
    pub written_bytes_total: u64,
    /// The same since midnight UTC.
    pub written_bytes_today: u64,
    /// `written_bytes_total` in pages of 4 KiB, each counted once per sync: nearer to what the
    /// medium sees. What the file system writes for itself is not in it.
    pub page_bytes_total: u64,
    /// Syncs of data since the journal was opened.
    pub syncs: u64,
    /// Prompts written since the journal was opened.
    pub prompts: u64,
    /// Compactions since the journal was opened.
    pub compactions: u64,
    /// Bytes that could not be read back since the journal was opened.
    pub lost_bytes: u64,
}

impl Figures {
    /// Whether the caller should forget something, with what waits taken into account.
    pub fn is_over(&self, limits: &Limits) -> bool {
        self.entries > limits.entries || self.live_bytes + self.waiting_bytes > limits.bytes
    }
}

/// Why a journal cannot be opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The directory cannot be used.
    #[error(
        "cannot write to the journal's directory {}: {source}; it must belong to the user that slmd \
         runs as (`chown -R`), or `state-dir` must name another",
        path.display()
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another process writes to it.
    #[error(
        "{} is the journal of another slmd that is running ({}): stop that one, or give this one \
         another `state-dir`",
        path.display(),
        Holder(*holder)
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other process.
        holder: Option<u32>,
    },
    /// A later version wrote it, in a way that this one cannot read.
    #[error(
        "{} was written by a newer slmd and needs format {needs}, this slmd reads up to {ours}: \
         install that version again, or move the file away (its prompts are then not answered)",
        path.display()
    )]
    Newer {
        /// The segment.
        path: PathBuf,
        /// The format that a reader must know.
        needs: u16,
        /// The format that this one knows.
        ours: u16,
    },
    /// The disk failed while the journal was opened.
    #[error("cannot {doing} the journal {}: {source}", path.display())]
    Disk {
        /// The directory or file.
        path: PathBuf,
        /// `read` or `write`.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// What was left at the end could not be written.
    #[error("{records} records of the journal could not be written: {reason}")]
    Unwritten {
        /// How many, as far as is known.
        records: usize,
        /// The cause.
        reason: String,
    },
}

struct Holder(Option<u32>);

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("`fuser` on its file `lock` tells which"),
        }
    }
}

/// The journal, open; dropping it closes it.
pub struct Journal {
    shared: Arc<Shared>,
    limits: Limits,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Journal {
    /// Opens the journal in `dir`, or begins one, and starts its thread.
    ///
    /// # Errors
    /// See [`JournalError`]; nothing was overwritten then.
    pub fn open(
        dir: &Path,
        limits: Limits,
        durability: Durability,
    ) -> Result<(Self, Recovered), JournalError> {
        let disk = Arc::new(Directory::lock(dir)?);
        Self::open_on(disk, dir, limits, durability, unix_s(), Tuning::new(fresh_salt))
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        limits: Limits,
        durability: Durability,
        now_s: u64,
        tuning: Tuning,
    ) -> Result<(Self, Recovered), JournalError> {
        let sync = durability == Durability::Sync;
        let mut wear = Wear::new(now_s);
        let age_s = limits.age.as_secs();
        let recovery =
            recovery::Recovery { disk: &*disk, path: dir, salt: (tuning.make_salt)(), sync };
        let found = recovery.run(&mut wear, |index| index.drop_old(now_s, age_s))?;
        let state = State::new(found.index, found.segment.pages().clone(), wear.clone());
        let shared = Arc::new(Shared::new(state));
        let writer = Writer::new(Arc::clone(&shared), disk, found.segment, wear, sync, tuning);
        let thread = std::thread::Builder::new().name("slmd-journal".into());
        let thread = thread.spawn(move || writer.run()).map_err(|source| JournalError::Disk {
            path: dir.to_owned(),
            doing: "start the thread of",
            source,
        })?;
        Ok((Self { shared, limits, thread: Some(thread) }, found.recovered))
    }

    /// Remembers a record; returns its number: 1, 2, 3 and so on. Never waits for the disk. While
    /// [`Progress::stalled`] records gather in memory: the caller bounds what it accepts.
    pub fn append(&self, record: Record<'_>) -> u64 {
        self.shared.push(&record)
    }

    /// How far the records got.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.subscribe()
    }

    /// The answer of an entry, be it written or not; None if there is none.
    ///
    /// # Errors
    /// What the disk says; `InvalidData` if it is not what was written.
    pub fn read_answer(&self, id: EntryId) -> io::Result<Option<Vec<u8>>> {
        let state = self.shared.lock();
        if let Some(item) = state.waiting_answer(id.0) {
            drop(state);
            let answer = if item.kind == frame::kind::ANSWERED { &item.payload[..] } else { &[] };
            return Ok(index::answer(answer).map(<[u8]>::to_vec));
        }
        let span = state.index.entries().get(&id.0).and_then(|slot| slot.answer);
        let pages = state.pages.clone();
        drop(state);
        let Some(span) = span else { return Ok(None) };
        // A segment that was compacted away meanwhile is still there for who has it open.
        let frame = pages.read(span.at, span.end())?;
        let answer = frame.as_ref().and_then(|(_, payload)| index::answer(payload));
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the answer is damaged");
        answer.map(|bytes| Some(bytes.to_vec())).ok_or_else(damaged)
    }

    /// What the journal holds and what it cost. What waits is in the figures of what waits only.
    pub fn figures(&self) -> Figures {
        let mut state = self.shared.lock();
        let (waiting_records, waiting_bytes) = state.waiting();
        Figures {
            file_bytes: state.file_bytes,
            live_bytes: state.index.live_bytes(),
            entries: state.index.entries().len(),
            waiting_records,
            waiting_bytes,
            written_bytes_total: state.wear.written_bytes,
            written_bytes_today: state.wear.today_bytes(unix_s()),
            page_bytes_total: state.wear.page_bytes,
            syncs: state.wear.syncs,
            prompts: state.prompts,
            compactions: state.compactions,
            lost_bytes: state.lost_bytes,
        }
    }

    /// What it was opened with.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Writes and syncs everything and ends the thread; a disk that takes nothing is given a few
    /// seconds.
    ///
    /// # Errors
    /// [`JournalError::Unwritten`]. Dropping the journal does the same and only logs it.
    pub fn close(mut self) -> Result<(), JournalError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), JournalError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.shared.close();
        let ended = thread.join().unwrap_or_else(|_| Err("its thread panicked".into()));
        let records = self.shared.lock().waiting().0;
        ended.map_err(|reason| JournalError::Unwritten { records, reason })
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "the journal was not closed cleanly");
        }
    }
}

/// Not to be guessed by who writes prompts.
fn fresh_salt() -> u64 {
    // Seeded by the operating system.
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod fault;

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "crash_tests.rs"]
mod crash_tests;

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod recovery_tests;
