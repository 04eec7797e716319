//! Where things are in the store's folder, and the link that says which model is active.

use super::disk::{self, Disk};
use super::error::StoreError;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The link to the active model's folder.
pub const CURRENT: &str = "current";
/// Its successor, while it is made.
pub(super) const CURRENT_NEW: &str = "current.new";
/// The folder of the models' folders.
pub(super) const CONTENT: &str = "content";
/// The folder of what is not whole yet.
pub(super) const STAGING: &str = "staging";
/// The file whose lock says that a command is at work.
pub(super) const LOCK: &str = "lock";

/// What `current` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Current {
    /// Nothing: no model was ever active.
    Absent,
    /// A link to this folder in `content`.
    Folder(String),
    /// Something that the store did not make.
    Foreign(String),
}

impl Current {
    /// Looks.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn read(root: &Path) -> Result<Self, StoreError> {
        let path = root.join(CURRENT);
        match std::fs::read_link(&path) {
            Ok(text) => Ok(folder_of(&text).map_or_else(
                || Self::Foreign(format!("a link to {}", text.display())),
                Self::Folder,
            )),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::Absent),
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                Ok(Self::Foreign("it is no link".to_owned()))
            }
            Err(e) => Err(StoreError::io("read", &path)(e)),
        }
    }

    /// The folder in `content`.
    pub fn folder(&self) -> Option<&str> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Absent | Self::Foreign(_) => None,
        }
    }
}

/// `content/FOLDER`, and nothing else.
fn folder_of(text: &Path) -> Option<String> {
    let mut parts = text.components();
    match (parts.next()?, parts.next()?, parts.next()) {
        (Component::Normal(content), Component::Normal(folder), None) if content == CONTENT => {
            Some(folder.to_str()?.to_owned())
        }
        _ => None,
    }
}

/// The folder in `content` of that name.
pub(super) fn content(root: &Path, folder: &str) -> PathBuf {
    root.join(CONTENT).join(folder)
}

/// Makes `current` a link to a folder in `content`, in one step and durably.
///
/// # Errors
/// [`StoreError::ForeignCurrent`] if something is in its place that is no link; the system's.
pub(super) fn point(disk: &dyn Disk, root: &Path, folder: &str) -> Result<(), StoreError> {
    let (new, path) = (root.join(CURRENT_NEW), root.join(CURRENT));
    if let Current::Foreign(found) = Current::read(root)?
        && !path.is_symlink()
    {
        return Err(StoreError::ForeignCurrent { path, found });
    }
    disk::remove_tree(disk, &new).map_err(StoreError::io("remove", &new))?;
    // Relative, so that the whole store can be moved.
    let text = Path::new(CONTENT).join(folder);
    disk.link(&text, &new).map_err(StoreError::io("create", &new))?;
    disk.rename(&new, &path).map_err(StoreError::io("replace", &path))?;
    disk.sync_folder(root).map_err(StoreError::io("sync", root))
}
