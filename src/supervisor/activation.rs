//! The listening socket that systemd hands over (`sd_listen_fds(3)`), if it does.

use crate::transport::listen::{Listener, adopt};
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt,
};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;

/// What the unit calls the socket (`FileDescriptorName=`), and what systemd calls it without that.
const NAMES: [&str; 2] = ["slmd", "slmd.socket"];

/// What was handed over is not what can be served.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// The variables say nonsense.
    #[error("systemd's variables for handing over sockets: {0}")]
    Variables(#[from] std::io::Error),
    /// More than one.
    #[error(
        "systemd hands over {} sockets ({}), but slmd serves one: leave one ListenStream= in its \
         socket unit", names.len(), names.join(", ")
    )]
    Several {
        /// Their names.
        names: Vec<String>,
    },
    /// It belongs to something else.
    #[error(
        "systemd hands over a socket named {name:?}: expected `FileDescriptorName=slmd` in the \
         socket unit"
    )]
    Name {
        /// Its name.
        name: String,
    },
    /// Not a listening Unix stream socket.
    #[error(
        "the socket that systemd hands over is {found}: a ListenStream= with a path is expected \
         in the socket unit"
    )]
    Kind {
        /// What it is.
        found: &'static str,
    },
}

/// The socket, if there is one. The variables stay as they are: nothing that is started from here
/// is this process, and they name it.
///
/// # Errors
/// [`ActivationError`].
pub fn handed_over(configured: &Path) -> Result<Option<Listener>, ActivationError> {
    let has_names = std::env::var_os("LISTEN_FDNAMES").is_some();
    let mut given: Vec<(RawFd, String)> = match has_names {
        true => sd_notify::listen_fds_with_names()?.collect(),
        false => sd_notify::listen_fds()?.map(|fd| (fd, NAMES[0].to_owned())).collect(),
    };
    let Some((fd, name)) = given.pop() else { return Ok(None) };
    if !given.is_empty() {
        let mut names: Vec<String> = given.into_iter().map(|(_, name)| name).collect();
        names.push(name);
        return Err(ActivationError::Several { names });
    }
    if !NAMES.contains(&name.as_str()) {
        return Err(ActivationError::Name { name });
    }
    let socket = adopt(fd);
    if let Some(found) = fault(&socket) {
        return Err(ActivationError::Kind { found });
    }
    let address = socket.local_addr().ok();
    let path = address.as_ref().and_then(|a| a.as_pathname());
    tracing::info!(socket = ?path, "systemd hands over the socket");
    if path.is_some_and(|path| path != configured) {
        tracing::warn!(configured = %configured.display(), "`unix.path` is not what is served");
    }
    Ok(Some(Listener::from_socket(socket)))
}

/// What is wrong with it.
fn fault(socket: &impl AsRawFdAndFd) -> Option<&'static str> {
    let Ok(address) = getsockname::<SockaddrStorage>(socket.as_raw_fd()) else {
        return Some("no socket at all");
    };
    if address.family() != Some(AddressFamily::Unix) {
        return Some("no Unix socket");
    }
    if getsockopt(socket, sockopt::SockType) != Ok(SockType::Stream) {
        return Some("no stream socket");
    }
    if getsockopt(socket, sockopt::AcceptConn) != Ok(true) {
        return Some("not listening");
    }
    None
}

/// Both views of a descriptor.
trait AsRawFdAndFd: AsRawFd + AsFd {}

impl<T: AsRawFd + AsFd> AsRawFdAndFd for T {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    #[test]
    fn only_a_listening_unix_stream_socket_is_served() {
        let folder = tempfile::tempdir().expect("a folder");
        let unix = UnixListener::bind(folder.path().join("s")).expect("bound");
        assert_eq!(fault(&unix), None);
        let tcp = TcpListener::bind(("127.0.0.1", 0)).expect("bound");
        assert_eq!(fault(&tcp), Some("no Unix socket"));
        let datagram = UnixDatagram::bind(folder.path().join("d")).expect("bound");
        assert_eq!(fault(&datagram), Some("no stream socket"));
        let (one, _other) = UnixStream::pair().expect("a pair");
        assert_eq!(fault(&one), Some("not listening"));
        let file = std::fs::File::open("/dev/null").expect("there");
        assert_eq!(fault(&file), Some("no socket at all"));
    }
}
