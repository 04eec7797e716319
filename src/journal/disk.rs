//! The directory a journal lives in, as a trait, so that tests can tear writes and pull the plug.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::JournalError;

/// The file whose lock says that the directory is in use.
const LOCK: &str = "lock";

/// What the journal asks of a directory. Names are plain file names.
pub trait Disk: Send + Sync {
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A new, empty file; one of that name is emptied.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// An existing file, to read and write.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Atomic; replaces what has the name `to`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; who has it open can still read it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Afterwards names given and taken away survive a power loss.
    fn sync_names(&self) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// As pread: may read less; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    /// As pwrite: may write less.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize>;
    /// Cuts the file, or makes it longer with zeroes.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// Bytes in the file.
    fn bytes(&self) -> io::Result<u64>;
    /// As fdatasync: afterwards all that was written survives a power loss.
    fn sync(&self) -> io::Result<()>;
}

/// Reads until `buffer` is full or the file ends; how many bytes that were.
pub fn read_full(file: &dyn DiskFile, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Writes all of `bytes`.
pub fn write_full(file: &dyn DiskFile, bytes: &[u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match file.write_at(&bytes[done..], at + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// A real directory, locked against other processes for as long as this lives.
pub struct Directory {
    path: PathBuf,
    handle: File,
    _lock: File,
}

impl Directory {
    /// Makes the directory if need be (mode 0700) and locks it.
    ///
    /// # Errors
    /// [`JournalError::Directory`] if it cannot be made or written to, [`JournalError::InUse`] if
    /// another process has it.
    pub fn lock(path: &Path) -> Result<Self, JournalError> {
        let fault = |source| JournalError::Directory { path: path.to_owned(), source };
        if !path.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fault)?;
            if let Some(parent) = path.parent() {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                File::open(parent).and_then(|p| p.sync_all()).map_err(fault)?;
            }
        }
        let handle = File::open(path).map_err(fault)?;
        let lock = options().truncate(false).open(path.join(LOCK)).map_err(fault)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(source)) => return Err(fault(source)),
            Err(TryLockError::WouldBlock) => {
                let holder = std::fs::read_to_string(path.join(LOCK)).unwrap_or_default();
                let holder = holder.trim().parse().ok();
                return Err(JournalError::InUse { path: path.to_owned(), holder });
            }
        }
        // Only a hint for who finds it locked: a full disk is no reason not to start.
        let pid = std::process::id().to_string();
        let _ = lock.set_len(0).and_then(|()| lock.write_all_at(pid.as_bytes(), 0));
        Ok(Self { path: path.to_owned(), handle, _lock: lock })
    }
}

/// To read and write, made if need be, for the owner only.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = std::fs::read_dir(&self.path)?;
        names.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(options().truncate(true).open(self.path.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, at)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
