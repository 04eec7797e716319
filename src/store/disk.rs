//! What the store does to a disk, operation by operation, as a trait: tests end the process at each of
//! them, fill the disk, and look whether what must be durable was made so.
//!
//! Reading is not part of it: what only reads leaves nothing behind.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of every folder.
const FOLDER_MODE: u32 = 0o755;
/// Mode of every file: the daemon may be another user than who installs.
const FILE_MODE: u32 = 0o644;

/// Every way in which the store changes a disk. Each call is one change, which is there when it
/// returns, but survives a power loss only after the `sync` that goes with it.
pub trait Disk {
    /// A new folder; it must not be there.
    ///
    /// # Errors
    /// The system's, as of all others.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// A new, empty file; it must not be there.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// All of `bytes`, at the end of a file of [`Disk::create`].
    fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Afterwards the file's bytes survive a power loss.
    fn sync(&self, file: &File, path: &Path) -> io::Result<()>;
    /// Afterwards the names in the folder do.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// Atomic; replaces a file or link that has the name `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// A new symbolic link at `path`, with this text.
    fn link(&self, text: &Path, path: &Path) -> io::Result<()>;
    /// Removes a file or a link.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;
    /// Bytes that may still be written where `path` is.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// The real one.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(FOLDER_MODE).create(path)?;
        // Whatever the process's mask is.
        std::fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE))
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path)?;
        file.set_permissions(Permissions::from_mode(FILE_MODE))?;
        Ok(file)
    }

    fn write(&self, file: &mut File, _path: &Path, bytes: &[u8]) -> io::Result<()> {
        file.write_all(bytes)
    }

    fn sync(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn link(&self, text: &Path, path: &Path) -> io::Result<()> {
        std::os::unix::fs::symlink(text, path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    #[allow(clippy::useless_conversion, reason = "they have 32 bits on some machines")]
    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(path)?;
        Ok(u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size())))
    }
}

/// Writes a whole file, so that it is durable but for its name.
pub(super) fn write_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = disk.create(path)?;
    disk.write(&mut file, path, bytes)?;
    disk.sync(&file, path)
}

/// Removes whatever has this name, folders with all that is in them; links are not followed. What is
/// not there need not be removed.
pub(super) fn remove_tree(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let meta = match path.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        meta => meta?,
    };
    if !meta.is_dir() {
        return disk.remove_file(path);
    }
    for entry in std::fs::read_dir(path)? {
        remove_tree(disk, &entry?.path())?;
    }
    disk.remove_folder(path)
}
