//! The supplementary groups of a socket's peer: the one socket option without a safe wrapper.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Groups asked for at first; more are asked for again.
const USUAL: usize = 64;

/// All supplementary groups of the peer, as they were when it connected (Linux 4.13).
///
/// `SO_PEERCRED` alone names the primary group only, and membership in `slmd` is hardly ever that.
pub fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups = vec![0; USUAL];
    loop {
        let room = groups.len();
        match read(socket, &mut groups) {
            Ok(count) => {
                groups.truncate(count);
                return Ok(groups);
            }
            Err((e, count)) if e.raw_os_error() == Some(libc::ERANGE) && count > room => {
                groups.resize(count, 0);
            }
            Err((e, _)) => return Err(e),
        }
    }
}

/// Fills `groups`; on `ERANGE` the count is what would be needed.
fn read(socket: BorrowedFd<'_>, groups: &mut [libc::gid_t]) -> Result<usize, (io::Error, usize)> {
    const WIDTH: usize = size_of::<libc::gid_t>();
    let mut bytes = libc::socklen_t::try_from(groups.len() * WIDTH).unwrap_or(libc::socklen_t::MAX);
    // SAFETY: the descriptor is open for the whole call; `groups` is writable for `bytes` bytes,
    // which is its exact size; any bit pattern is a valid gid_t; `bytes` is a valid out pointer.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    let count = bytes as usize / WIDTH;
    if rc == 0 { Ok(count) } else { Err((io::Error::last_os_error(), count)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_peers_groups_are_ours() {
        let (near, _far) = UnixStream::pair().expect("a pair");
        let ours: Vec<u32> =
            nix::unistd::getgroups().expect("groups").into_iter().map(|g| g.as_raw()).collect();
        assert_eq!(peer_groups(near.as_fd()).expect("supported"), ours);
    }
}
