//! Installing: staged, checked, placed.

use super::check::{self, Policy};
use super::disk;
use super::error::StoreError;
use super::place::{self, CONTENT, Current, STAGING};
use super::source::Source;
use super::state::{Refusal, Slot};
use super::unpack::{Contents, Progress, Unpacker};
use super::{Store, now_unix_s};
use crate::bundle::{Bundle, MANIFEST};
use std::path::{Path, PathBuf};

/// The folder in `staging` of what is being installed.
const NEW: &str = "new";
/// Letters of the hash in a folder's name.
const HASH_LETTERS: usize = 12;

/// Where a model is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its slot.
    pub slot: Slot,
    /// Whether it was not there before.
    pub is_new: bool,
}

impl Store {
    /// Copies or unpacks a model into the slot that is not active, if it may be installed here. What was
    /// in that slot is gone then, also as the one to go back to.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then, but that the refusal is remembered.
    pub fn install(
        &mut self,
        source: &Path,
        policy: &Policy,
        progress: Progress<'_>,
    ) -> Result<Placed, StoreError> {
        let placed = self.stage(source, policy, progress);
        if let Err(error) = &placed {
            // The next command would do it: this one has a fault to tell already.
            let _ = disk::remove_tree(self.disk.as_ref(), &self.staged());
            if error.is_about_the_model() {
                let name = source.display().to_string();
                let _ = self.refuse(None, Refusal::now(&name, error.code(), error.to_string()));
            }
        }
        placed
    }

    fn staged(&self) -> PathBuf {
        self.root.join(STAGING).join(NEW)
    }

    fn stage(
        &mut self,
        source: &Path,
        policy: &Policy,
        progress: Progress<'_>,
    ) -> Result<Placed, StoreError> {
        let (staged, disk) = (self.staged(), self.disk.as_ref());
        let opened = Source::open(source, policy.limits())?;
        disk.make_folder(&staged).map_err(StoreError::io("create", &staged))?;
        let mut unpacker = Unpacker::into_folder(disk, &staged, progress);
        opened.drain(policy.limits(), &mut unpacker)?;
        let (folder, contents) = top(&staged, unpacker.finish()?, source)?;
        let vouched = check::vouch(&folder, &contents, policy)?;
        policy.counter(vouched.manifest.counter.unwrap_or(0), self.state.highest_counter)?;
        progress("reading it back");
        let bundle = Bundle::open(&folder, None)?;
        if let Some(slot) = self.same(&bundle.hash, policy, progress) {
            disk::remove_tree(disk, &staged).map_err(StoreError::io("remove", &staged))?;
            return Ok(Placed { slot, is_new: false });
        }
        let number = self.state.next_folder;
        let short: String = bundle.hash.chars().take(HASH_LETTERS).collect();
        let name = format!("{number:06}-{short}");
        let installed = vouched.installed(name.clone(), bundle.hash, now_unix_s());
        self.move_in(&folder, &name)?;
        let slot = self.free_slot()?;
        let replaced = self.state.slot_mut(slot).replace(installed);
        self.state.previous = self.state.previous.filter(|previous| *previous != slot);
        self.state.next_folder = number + 1;
        self.save()?;
        if let Some(old) = replaced {
            // Nothing holds it any more: the next command removes it, if this one cannot.
            let _ = disk::remove_tree(self.disk.as_ref(), &place::content(&self.root, &old.folder));
        }
        Ok(Placed { slot, is_new: true })
    }

    /// The slot that holds the same model, whole.
    fn same(&self, sha256: &str, policy: &Policy, progress: Progress<'_>) -> Option<Slot> {
        let (slot, installed) = self.state.installed().find(|(_, i)| i.sha256 == sha256)?;
        super::verify(&self.root, installed, policy, progress).is_ok().then_some(slot)
    }

    /// Gives the staged folder its place.
    fn move_in(&self, folder: &Path, name: &str) -> Result<(), StoreError> {
        let (disk, staging) = (self.disk.as_ref(), self.root.join(STAGING));
        let place = place::content(&self.root, name);
        disk.rename(folder, &place).map_err(StoreError::io("move", folder))?;
        let content = self.root.join(CONTENT);
        disk.sync_folder(&content).map_err(StoreError::io("sync", &content))?;
        // What was around it, if something was.
        let staged = self.staged();
        disk::remove_tree(disk, &staged).map_err(StoreError::io("remove", &staged))?;
        disk.sync_folder(&staging).map_err(StoreError::io("sync", &staging))
    }

    /// The slot that the active model does not have: an empty one, if there is.
    fn free_slot(&self) -> Result<Slot, StoreError> {
        let current = Current::read(&self.root)?;
        let active = current.folder().and_then(|folder| self.state.slot_of(folder));
        let mut free = Slot::ALL.into_iter().filter(|slot| Some(*slot) != active);
        let empty = free.clone().find(|slot| self.state.slot(*slot).is_none());
        let chosen = empty.or_else(|| free.find(|slot| self.state.previous != Some(*slot)));
        Ok(chosen.unwrap_or_else(|| active.map_or(Slot::A, Slot::other)))
    }
}

/// The folder with the manifest: the top, or the one folder in it that an archive was made of.
fn top(
    staged: &Path,
    contents: Contents,
    source: &Path,
) -> Result<(PathBuf, Contents), StoreError> {
    if contents.contains_key(MANIFEST) {
        return Ok((staged.to_owned(), contents));
    }
    let none = || StoreError::NoManifest { source_name: source.display().to_string() };
    let first = contents.keys().next().and_then(|name| name.split_once('/'));
    let prefix = first.map(|(folder, _)| format!("{folder}/")).ok_or_else(none)?;
    let inside: Option<Contents> = contents
        .into_iter()
        .map(|(name, found)| Some((name.strip_prefix(&prefix)?.to_owned(), found)))
        .collect();
    let inside = inside.filter(|inside| inside.contains_key(MANIFEST)).ok_or_else(none)?;
    Ok((staged.join(prefix.trim_end_matches('/')), inside))
}
