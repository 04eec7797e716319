//! What the store remembers beside the models: slots, the counter, refusals. A small file, replaced as
//! a whole, with its own hash in the first line.

use super::disk::{self, Disk};
use super::error::StoreError;
use crate::bundle::files::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The file's name.
pub const STATE: &str = "state";
/// Its successor, while it is written.
pub const STATE_NEW: &str = "state.new";
/// The format that this version reads and writes.
const FORMAT: u32 = 1;
/// The most bytes of it.
const LIMIT: u64 = 1 << 20;
/// The first line begins so.
const HEAD: &str = "slmd-models";

/// One of the two places for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Slot {
    /// The first.
    A,
    /// The second.
    B,
}

impl Slot {
    /// Both.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// `a` or `b`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }
}

/// Why a model was not taken. Times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The model, or the file that was to be installed.
    pub model: String,
    /// A stable name of the reason.
    pub code: String,
    /// The reason.
    pub message: String,
    /// When.
    pub at_unix_s: u64,
}

/// Who signed a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedBy {
    /// The key's number.
    pub key_id: String,
    /// The trusted comment.
    pub comment: String,
}

/// A model in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Its folder in `content`.
    pub folder: String,
    /// The manifest's name.
    pub name: String,
    /// The manifest's version.
    pub version: String,
    /// The manifest's counter; none: 0.
    pub counter: u64,
    /// SHA-256 over all that it uses, as `slmd status` shows it.
    pub sha256: String,
    /// Bytes of all its files.
    pub bytes: u64,
    /// When it was installed.
    pub installed_at_unix_s: u64,
    /// Who signed it, as it was installed; none: nobody, or not known.
    pub signed_by: Option<SignedBy>,
    /// When it was last made active.
    pub activated_at_unix_s: Option<u64>,
    /// Why it was not, the last time; gone when it is.
    pub refusal: Option<Refusal>,
}

/// A change of the active model that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The slot that becomes active.
    pub to: Slot,
    /// The slot that was.
    pub from: Option<Slot>,
    /// The highest counter from then on.
    pub highest_counter: u64,
    /// When it was begun.
    pub at_unix_s: u64,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// The number of the next folder.
    pub next_folder: u64,
    /// The highest counter of all models that were ever active.
    pub highest_counter: u64,
    /// What the slots hold.
    pub slots: [Option<Installed>; 2],
    /// The slot that was active before.
    pub previous: Option<Slot>,
    /// A change that may or may not have been made.
    pub pending: Option<Pending>,
    /// The last model that was refused, installed or not.
    pub last_refusal: Option<Refusal>,
}

impl State {
    /// What a slot holds.
    pub const fn slot(&self, slot: Slot) -> Option<&Installed> {
        self.slots[slot.index()].as_ref()
    }

    /// The same, to change.
    pub const fn slot_mut(&mut self, slot: Slot) -> &mut Option<Installed> {
        &mut self.slots[slot.index()]
    }

    /// The slot whose content is in `folder`.
    pub fn slot_of(&self, folder: &str) -> Option<Slot> {
        Slot::ALL.into_iter().find(|s| self.slot(*s).is_some_and(|i| i.folder == folder))
    }

    /// The slots that hold something.
    pub fn installed(&self) -> impl Iterator<Item = (Slot, &Installed)> {
        Slot::ALL.into_iter().filter_map(|slot| Some((slot, self.slot(slot)?)))
    }

    fn text(&self) -> String {
        let body = serde_json::to_string_pretty(self).expect("strings and numbers");
        let hash = hex(&Sha256::digest(body.as_bytes()));
        format!("{HEAD} {FORMAT} {hash}\n{body}\n")
    }

    fn parse(text: &str) -> Result<Self, Unreadable> {
        let (head, body) = text.split_once('\n').ok_or(Unreadable::Damaged)?;
        let mut words = head.split(' ');
        if words.next() != Some(HEAD) {
            return Err(Unreadable::Damaged);
        }
        let format = words.next().and_then(|w| w.parse().ok()).ok_or(Unreadable::Damaged)?;
        if format > FORMAT {
            return Err(Unreadable::Newer(format));
        }
        if format != FORMAT {
            return Err(Unreadable::Damaged);
        }
        let body = body.strip_suffix('\n').ok_or(Unreadable::Damaged)?;
        let hash = hex(&Sha256::digest(body.as_bytes()));
        match words.next() == Some(hash.as_str()) {
            true => serde_json::from_str(body).map_err(|_| Unreadable::Damaged),
            false => Err(Unreadable::Damaged),
        }
    }
}

enum Unreadable {
    Damaged,
    Newer(u32),
}

/// What was found where the state should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It.
    Whole(Box<State>),
    /// Nothing.
    Absent,
    /// Something that cannot be read.
    Damaged,
}

/// Reads the state in the store's folder.
///
/// # Errors
/// If a newer version wrote it, or the system does not let it be read.
pub fn read(root: &Path) -> Result<Found, StoreError> {
    let path = root.join(STATE);
    let mut bytes = Vec::new();
    match File::open(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Absent),
        file => file
            .and_then(|file| file.take(LIMIT).read_to_end(&mut bytes))
            .map_err(StoreError::io("read", &path))?,
    };
    match std::str::from_utf8(&bytes).map_err(|_| Unreadable::Damaged).and_then(State::parse) {
        Ok(state) => Ok(Found::Whole(Box::new(state))),
        Err(Unreadable::Damaged) => Ok(Found::Damaged),
        Err(Unreadable::Newer(format)) => Err(StoreError::Newer { path, format, ours: FORMAT }),
    }
}

/// Replaces the state, durably.
///
/// # Errors
/// The system's; the old state is still there then, or the new one.
pub fn write(disk: &dyn Disk, root: &Path, state: &State) -> Result<(), StoreError> {
    let (new, path) = (root.join(STATE_NEW), root.join(STATE));
    disk::remove_tree(disk, &new).map_err(StoreError::io("remove", &new))?;
    disk::write_file(disk, &new, state.text().as_bytes()).map_err(StoreError::io("write", &new))?;
    disk.rename(&new, &path).map_err(StoreError::io("replace", &path))?;
    disk.sync_folder(root).map_err(StoreError::io("sync", root))
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::*;

    fn state() -> State {
        State {
            next_folder: 3,
            highest_counter: 7,
            last_refusal: Some(Refusal {
                model: "m".into(),
                code: "golden".into(),
                message: "a\nb \"c\"".into(),
                at_unix_s: 5,
            }),
            ..State::default()
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), Found::Absent);
        std::fs::write(dir.path().join(STATE_NEW), "left behind").unwrap();
        write(&RealDisk, dir.path(), &state()).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Found::Whole(Box::new(state())));
        assert!(!dir.path().join(STATE_NEW).exists());
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let whole = state().text().into_bytes();
        for length in 0..whole.len() {
            std::fs::write(dir.path().join(STATE), &whole[..length]).unwrap();
            assert_eq!(read(dir.path()).unwrap(), Found::Damaged, "{length} bytes");
        }
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(dir.path().join(STATE), &changed).unwrap();
            assert!(matches!(read(dir.path()), Ok(Found::Damaged)), "byte {at}");
        }
    }

    #[test]
    fn a_newer_format_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(STATE), "slmd-models 2 x\n{}\n").unwrap();
        let error = read(dir.path()).unwrap_err();
        assert_eq!(error.code(), "newer");
        assert!(error.to_string().contains("format 2"), "{error}");
    }
}
