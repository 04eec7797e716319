//! Getting hold of the socket's path, and letting go of it.
//!
//! A lock file beside the socket decides between two daemons that start at once; without it both
//! could find the same stale socket, and the second would unlink the first one's fresh one.

use super::access::gid_of;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The path is taken, and its owner alive.
    #[error("another slmd is listening on {0}")]
    AnotherIsListening(PathBuf),
    /// The path is something else than a socket.
    #[error("{0} exists and is not a socket; remove it or configure another [unix] path")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A listening socket; a path of our own making is unlinked on drop, if it is still ours.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    /// The path, its device and inode; none for a socket that was passed in.
    ours: Option<(PathBuf, u64, u64)>,
    /// Held for as long as the socket lives; the file itself stays, since unlinking it races.
    _lock: Option<File>,
}

impl Listener {
    /// Listens on `path` with mode 0660 and the group `group`, if it exists. A missing directory is
    /// made, a dead daemon's socket replaced.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn bind(path: &Path, group: Option<&str>) -> Result<Self, ListenError> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|e| failed("make the directory", parent, e))?;
        }
        let lock = lock(path)?;
        clear_stale(path)?;
        let socket = UnixListener::bind(path).map_err(|e| failed("listen on", path, e))?;
        let meta = std::fs::symlink_metadata(path).map_err(|e| failed("look at", path, e))?;
        let ours = Some((path.to_owned(), meta.dev(), meta.ino()));
        let listener = Self { socket, ours, _lock: Some(lock) };
        std::fs::set_permissions(path, Permissions::from_mode(0o660))
            .map_err(|e| failed("set the mode of", path, e))?;
        set_group(path, group);
        Ok(listener)
    }

    /// Takes a socket that somebody else bound (socket activation); its path is not ours to unlink.
    pub fn from_socket(socket: UnixListener) -> Self {
        Self { socket, ours: None, _lock: None }
    }

    /// The socket, for the event loop; the path stays until this listener goes.
    ///
    /// # Errors
    /// If the descriptor cannot be duplicated.
    pub fn socket(&self) -> io::Result<UnixListener> {
        self.socket.try_clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Some((path, dev, ino)) = &self.ours else { return };
        let Ok(meta) = std::fs::symlink_metadata(path) else { return };
        if (meta.dev(), meta.ino()) == (*dev, *ino)
            && let Err(e) = std::fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), error = %e, "the socket stays behind");
        }
    }
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> ListenError {
    ListenError::Io { what, path: path.to_owned(), source }
}

fn lock(path: &Path) -> Result<File, ListenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&lock_path)
        .map_err(|e| failed("open the lock file", &lock_path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ListenError::AnotherIsListening(path.to_owned())),
        Err(TryLockError::Error(e)) => Err(failed("lock", &lock_path, e)),
    }
}

/// Removes a socket that nobody listens on.
fn clear_stale(path: &Path) -> Result<(), ListenError> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("look at", path, e)),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "replacing the socket of a dead daemon");
            std::fs::remove_file(path).map_err(|e| failed("remove the stale socket", path, e))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        // A full backlog (EAGAIN) is a living daemon too.
        Ok(_) => Err(ListenError::AnotherIsListening(path.to_owned())),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            Err(ListenError::AnotherIsListening(path.to_owned()))
        }
        Err(e) => Err(failed("find out who listens on", path, e)),
    }
}

/// A group that cannot be set leaves the socket to root and the daemon's own user: safe, so only a
/// warning.
fn set_group(path: &Path, group: Option<&str>) {
    let Some(group) = group else { return };
    let outcome = match gid_of(group) {
        None => Err("there is no such group".to_owned()),
        Some(gid) => chown(path, None, Some(gid)).map_err(|e| e.to_string()),
    };
    if let Err(why) = outcome {
        tracing::warn!(path = %path.display(), group, why, "the socket keeps its group");
    }
}

/// Takes over a listening socket that another process opened for this one.
pub fn adopt(descriptor: std::os::fd::RawFd) -> UnixListener {
    use std::os::fd::FromRawFd;
    // SAFETY: systemd passes the descriptor to this process alone, and it is taken over once.
    unsafe { UnixListener::from_raw_fd(descriptor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    #[test]
    fn a_socket_is_private_to_its_group_and_goes_with_its_listener() {
        let dir = dir();
        let path = dir.path().join("sub/slmd.sock");
        let listener = Listener::bind(&path, Some("no-such-group-here")).expect("free");
        let meta = std::fs::metadata(&path).expect("there");
        assert_eq!(meta.mode() & 0o777, 0o660);
        UnixStream::connect(&path).expect("listening");
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let dir = dir();
        let path = dir.path().join("slmd.sock");
        drop(UnixListener::bind(&path).expect("free"));
        assert!(path.exists(), "std leaves it behind");
        let first = Listener::bind(&path, None).expect("stale");
        for _ in 0..2 {
            let e = Listener::bind(&path, None).expect_err("taken");
            assert!(matches!(e, ListenError::AnotherIsListening(_)), "{e}");
        }
        UnixStream::connect(&path).expect("the first one still listens");
        drop(first);
        Listener::bind(&path, None).expect("free again");
    }

    #[test]
    fn a_living_socket_without_our_lock_is_respected_too() {
        let dir = dir();
        let path = dir.path().join("slmd.sock");
        let _foreign = UnixListener::bind(&path).expect("free");
        let e = Listener::bind(&path, None).expect_err("taken");
        assert!(matches!(e, ListenError::AnotherIsListening(_)), "{e}");
    }

    #[test]
    fn what_is_not_a_socket_or_not_ours_stays() {
        let dir = dir();
        let path = dir.path().join("slmd.sock");
        std::fs::write(&path, "precious").expect("writable");
        let e = Listener::bind(&path, None).expect_err("a file");
        assert!(matches!(e, ListenError::NotASocket(_)), "{e}");
        std::fs::remove_file(&path).expect("there");

        let listener = Listener::bind(&path, None).expect("free");
        std::fs::remove_file(&path).expect("there");
        let _other = UnixListener::bind(&path).expect("free");
        drop(listener);
        assert!(path.exists(), "not ours any more");
    }
}
