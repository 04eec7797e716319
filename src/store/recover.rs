//! What a command that was ended in the middle left behind: finished, or taken away.

use super::check::{Policy, inspect};
use super::disk::{self, Disk};
use super::error::StoreError;
use super::place::{CONTENT, CURRENT_NEW, Current, STAGING, content};
use super::state::{self, Found, STATE_NEW, Slot, State};
use crate::bundle::Bundle;
use std::path::Path;

/// The state as it is after that; `notes` get what somebody should know.
///
/// # Errors
/// The system's, or a state of a newer version.
pub(super) fn recover(
    disk: &dyn Disk,
    root: &Path,
    notes: &mut Vec<String>,
) -> Result<State, StoreError> {
    let current = Current::read(root)?;
    let mut state = match state::read(root)? {
        Found::Whole(state) => *state,
        found => {
            let rebuilt = rebuild(root, &current)?;
            if found == Found::Damaged || rebuilt != State::default() {
                state::write(disk, root, &rebuilt)?;
                notes.push(
                    "the store's state was damaged or gone, and was made anew from the models that are \
                     there: signatures and refusals are forgotten, and the counter is the highest of \
                     these models"
                        .to_owned(),
                );
            }
            rebuilt
        }
    };
    if state.settle(&current) {
        state::write(disk, root, &state)?;
    }
    sweep(disk, root, &state, &current)?;
    Ok(state)
}

impl State {
    /// Finishes or forgets a change of the active model; whether there was one.
    pub(super) fn settle(&mut self, current: &Current) -> bool {
        let Some(pending) = self.pending.take() else { return false };
        let to = self.slot(pending.to).map(|i| i.folder.clone());
        if to.is_none() || current.folder() != to.as_deref() {
            return true;
        }
        self.previous = match pending.from {
            Some(from) if from != pending.to => Some(from),
            _ => self.previous.filter(|previous| *previous != pending.to),
        };
        self.highest_counter = self.highest_counter.max(pending.highest_counter);
        if let Some(installed) = self.slot_mut(pending.to) {
            installed.activated_at_unix_s = Some(pending.at_unix_s);
            installed.refusal = None;
        }
        true
    }
}

/// From what is on the disk: the active model, and the newest other one that is whole.
fn rebuild(root: &Path, current: &Current) -> Result<State, StoreError> {
    let mut folders = names(&root.join(CONTENT))?;
    // The newest first, the active one before it.
    folders.sort_by_key(|folder| {
        (current.folder() != Some(folder.as_str()), std::cmp::Reverse(number(folder)))
    });
    let mut state = State::default();
    let mut free = Slot::ALL.into_iter();
    for folder in &folders {
        state.next_folder = state.next_folder.max(number(folder) + 1);
        let path = content(root, folder);
        let Ok(vouched) = inspect(&path, &anything(), &|_| ()) else { continue };
        let Ok(bundle) = Bundle::open(&path, None) else { continue };
        let Some(slot) = free.next() else { break };
        let installed = vouched.installed(folder.clone(), bundle.hash, super::now_unix_s());
        // Better too high than too low: root can lower it, nobody can know it.
        state.highest_counter = state.highest_counter.max(installed.counter);
        if current.folder().is_some() && current.folder() != Some(folder.as_str()) {
            state.previous = Some(slot);
        }
        *state.slot_mut(slot) = Some(installed);
    }
    Ok(state)
}

/// These were taken when they were installed.
const fn anything() -> Policy {
    Policy {
        keys: Vec::new(),
        require_signature: false,
        max_bytes: u64::MAX,
        allow_downgrade: true,
    }
}

/// The number that a folder's name begins with.
fn number(folder: &str) -> u64 {
    folder.split('-').next().and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Removes whatever no slot holds.
fn sweep(disk: &dyn Disk, root: &Path, state: &State, current: &Current) -> Result<(), StoreError> {
    let staging = root.join(STAGING);
    let staged = names(&staging)?.into_iter().map(|name| staging.join(name));
    let unused = names(&root.join(CONTENT))?
        .into_iter()
        .filter(|folder| {
            state.slot_of(folder).is_none() && current.folder() != Some(folder.as_str())
        })
        .map(|folder| content(root, &folder));
    let files = [STATE_NEW, CURRENT_NEW].map(|name| root.join(name));
    for path in staged.chain(unused).chain(files) {
        disk::remove_tree(disk, &path).map_err(StoreError::io("remove", &path))?;
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let entries = std::fs::read_dir(folder).map_err(StoreError::io("read", folder))?;
    entries
        .map(|entry| {
            let entry = entry.map_err(StoreError::io("read", folder))?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        })
        .collect()
}
