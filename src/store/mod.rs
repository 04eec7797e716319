//! Models on a disk: two slots, one of them active, and nothing in between.
//!
//! A model is copied or unpacked into a staging folder, held against its manifest, the signature and
//! the counter, and then gets a place by one rename; another rename of the link `current` makes it the
//! active one. Whatever ends a command, the next one finds a whole model behind `current`, and takes
//! away what is not one (docs/models.md, "What is on the disk").
//!
//! Knows bundles as files only: nothing of engines, sockets, or who asks. Whether a model is good enough
//! to be active is decided above.

pub mod archive;
mod check;
pub mod disk;
mod error;
mod install;
mod place;
mod recover;
mod source;
mod state;
mod unpack;

pub use check::{Policy, Vouched};
pub use error::StoreError;
pub use install::Placed;
pub use place::{CURRENT, Current};
pub use state::{Installed, Refusal, SignedBy, Slot, State};
pub use unpack::Progress;

use disk::Disk;
use place::{CONTENT, LOCK, STAGING};
use state::{Found, Pending};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The store, locked against other commands for as long as this lives.
pub struct Store {
    root: PathBuf,
    disk: Box<dyn Disk>,
    state: State,
    notes: Vec<String>,
    _lock: File,
}

/// What there is, for who only looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// What is remembered.
    pub state: State,
    /// What is active.
    pub current: Current,
    /// Whether the state could be read; the next command that changes something makes it anew.
    pub is_state_whole: bool,
}

impl Overview {
    /// The slot that is active.
    pub fn active(&self) -> Option<Slot> {
        self.state.slot_of(self.current.folder()?)
    }

    /// The slot that a name or `a`, `b` means.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::Ambiguous`].
    pub fn find(&self, name: &str) -> Result<Slot, StoreError> {
        find(&self.state, name)
    }
}

/// Looks at a store without changing or locking anything; one that does not exist is empty.
///
/// # Errors
/// The system's, or a state of a newer version.
pub fn look(root: &Path) -> Result<Overview, StoreError> {
    let current = Current::read(root)?;
    let (mut state, is_state_whole) = match state::read(root)? {
        Found::Whole(state) => (*state, true),
        Found::Absent => (State::default(), current == Current::Absent),
        Found::Damaged => (State::default(), false),
    };
    // As the next command will find it.
    state.settle(&current);
    Ok(Overview { state, current, is_state_whole })
}

/// Reads everything of an installed model and holds it against its manifest and the keys.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(
    root: &Path,
    installed: &Installed,
    policy: &Policy,
    progress: Progress<'_>,
) -> Result<Vouched, StoreError> {
    check::inspect(&place::content(root, &installed.folder), policy, progress)
}

impl Store {
    /// Locks the store, which is made if need be, and puts in order what was left in disorder.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another command holds it; the system's.
    pub fn open(root: &Path, disk: Box<dyn Disk>) -> Result<Self, StoreError> {
        make_folders(disk.as_ref(), root)?;
        let lock = lock(root)?;
        for name in [CONTENT, STAGING] {
            make_folders(disk.as_ref(), &root.join(name))?;
        }
        let mut notes = Vec::new();
        let state = recover::recover(disk.as_ref(), root, &mut notes)?;
        Ok(Self { root: root.to_owned(), disk, state, notes, _lock: lock })
    }

    /// What somebody should know of what was found.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What there is.
    ///
    /// # Errors
    /// The system's.
    pub fn overview(&self) -> Result<Overview, StoreError> {
        let current = Current::read(&self.root)?;
        Ok(Overview { state: self.state.clone(), current, is_state_whole: true })
    }

    /// The folder of a slot's model.
    pub fn folder(&self, slot: Slot) -> Option<PathBuf> {
        Some(place::content(&self.root, &self.state.slot(slot)?.folder))
    }

    /// The slot that was active before.
    ///
    /// # Errors
    /// [`StoreError::NoPrevious`].
    pub fn previous(&self) -> Result<Slot, StoreError> {
        let previous = self.state.previous.filter(|slot| self.state.slot(*slot).is_some());
        previous.ok_or(StoreError::NoPrevious)
    }

    /// Holds a slot's model against its manifest, the keys and the counter, as it must be to become
    /// active. Going back needs no counter.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(
        &self,
        slot: Slot,
        policy: &Policy,
        is_rollback: bool,
        progress: Progress<'_>,
    ) -> Result<Vouched, StoreError> {
        let installed = self.installed(slot)?;
        let vouched = verify(&self.root, installed, policy, progress)?;
        if !is_rollback {
            let counter = vouched.manifest.counter.unwrap_or(0);
            policy.counter(counter, self.state.highest_counter)?;
        }
        Ok(vouched)
    }

    /// Makes a slot's model the active one. Whether it should be is decided before.
    ///
    /// # Errors
    /// The system's. The active model is then the old one or the new one, whole in either case.
    pub fn activate(&mut self, slot: Slot) -> Result<(), StoreError> {
        let installed = self.installed(slot)?.clone();
        let from = Current::read(&self.root)?.folder().and_then(|f| self.state.slot_of(f));
        self.state.pending = Some(Pending {
            to: slot,
            from,
            highest_counter: installed.counter,
            at_unix_s: now_unix_s(),
        });
        self.save()?;
        let pointed = place::point(self.disk.as_ref(), &self.root, &installed.folder);
        self.state.settle(&Current::read(&self.root)?);
        self.save()?;
        pointed
    }

    /// Removes the model of a slot that is not active.
    ///
    /// # Errors
    /// [`StoreError::IsActive`]; the system's.
    pub fn remove(&mut self, slot: Slot) -> Result<Installed, StoreError> {
        if self.overview()?.active() == Some(slot) {
            return Err(StoreError::IsActive { slot: slot.name() });
        }
        let installed = self.installed(slot)?.clone();
        *self.state.slot_mut(slot) = None;
        self.state.previous = self.state.previous.filter(|previous| *previous != slot);
        self.save()?;
        let path = place::content(&self.root, &installed.folder);
        disk::remove_tree(self.disk.as_ref(), &path).map_err(StoreError::io("remove", &path))?;
        Ok(installed)
    }

    /// Remembers why a model was not taken; of an installed one also with its slot.
    ///
    /// # Errors
    /// The system's.
    pub fn refuse(&mut self, slot: Option<Slot>, refusal: Refusal) -> Result<(), StoreError> {
        if let Some(installed) = slot.and_then(|slot| self.state.slot_mut(slot).as_mut()) {
            installed.refusal = Some(refusal.clone());
        }
        self.state.last_refusal = Some(refusal);
        self.save()
    }

    fn installed(&self, slot: Slot) -> Result<&Installed, StoreError> {
        let unknown =
            || StoreError::Unknown { name: slot.name().into(), known: known(&self.state) };
        self.state.slot(slot).ok_or_else(unknown)
    }

    fn save(&self) -> Result<(), StoreError> {
        state::write(self.disk.as_ref(), &self.root, &self.state)
    }
}

impl Refusal {
    /// Of now.
    pub fn now(model: &str, code: &str, message: String) -> Self {
        Self { model: model.to_owned(), code: code.to_owned(), message, at_unix_s: now_unix_s() }
    }
}

fn find(state: &State, name: &str) -> Result<Slot, StoreError> {
    let by_slot = state.installed().find(|(slot, _)| slot.name() == name);
    if let Some((slot, _)) = by_slot {
        return Ok(slot);
    }
    let full = |i: &Installed| format!("{} {}", i.name, i.version);
    let is_meant = |i: &Installed| i.name == name || full(i) == name;
    let mut meant = state.installed().filter(|(_, i)| is_meant(i)).map(|(slot, _)| slot);
    match (meant.next(), meant.next()) {
        (Some(slot), None) => Ok(slot),
        (Some(_), Some(_)) => Err(StoreError::Ambiguous { name: name.to_owned() }),
        _ => Err(StoreError::Unknown { name: name.to_owned(), known: known(state) }),
    }
}

fn known(state: &State) -> Vec<String> {
    state
        .installed()
        .map(|(slot, i)| format!("{} ({} {})", slot.name(), i.name, i.version))
        .collect()
}

/// The folder, with those above it.
fn make_folders(disk: &dyn Disk, path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_folders(disk, parent)?;
    }
    disk.make_folder(path).map_err(StoreError::io("create", path))?;
    let parent = parent.unwrap_or(Path::new("."));
    disk.sync_folder(parent).map_err(StoreError::io("sync", parent))
}

fn lock(root: &Path) -> Result<File, StoreError> {
    let path = root.join(LOCK);
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o644).open(&path);
    let file = file.map_err(StoreError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: root.to_owned() }),
        Err(TryLockError::Error(e)) => Err(StoreError::io("lock", &path)(e)),
    }
}

fn now_unix_s() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod fault;
#[cfg(test)]
mod store_tests;
