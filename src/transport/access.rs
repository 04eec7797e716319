//! Who may talk to the socket.

use super::peer_groups::peer_groups;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Group, User, geteuid};
use std::io;
use std::os::fd::AsFd;

/// The other end of a connection, as the kernel names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The user.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// The process, 0 if it lives in another PID namespace.
    pub pid: i32,
}

impl Peer {
    /// Asks the kernel who is at the other end.
    ///
    /// # Errors
    /// If the socket is none, or the kernel older than Linux 4.13.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let credentials = getsockopt(socket, sockopt::PeerCredentials)?;
        Ok(Self {
            uid: credentials.uid(),
            gid: credentials.gid(),
            groups: peer_groups(socket.as_fd())?,
            pid: credentials.pid(),
        })
    }

    /// Root, or the daemon's own user: may also cancel what others asked.
    pub fn is_owner(&self) -> bool {
        self.uid == 0 || self.uid == geteuid().as_raw()
    }
}

/// Which peers are let in; root and the daemon's own user always are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Users.
    pub uids: Vec<u32>,
    /// Groups, primary or supplementary.
    pub gids: Vec<u32>,
}

impl Access {
    /// Looks up names, or takes numbers. Names that do not exist are left out and returned for a
    /// warning: a missing group locks nobody in.
    pub fn resolve(users: &[String], groups: &[String]) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let mut keep = |kind: &str, name: &String, found: Option<u32>| {
            if found.is_none() {
                warnings.push(format!("there is no {kind} {name:?} on this machine; left out"));
            }
            found
        };
        let uids = users.iter().filter_map(|n| keep("user", n, uid_of(n))).collect();
        let gids = groups.iter().filter_map(|n| keep("group", n, gid_of(n))).collect();
        (Self { uids, gids }, warnings)
    }

    /// Whether the peer is let in.
    pub fn allows(&self, peer: &Peer) -> bool {
        peer.is_owner()
            || self.uids.contains(&peer.uid)
            || self.gids.contains(&peer.gid)
            || peer.groups.iter().any(|g| self.gids.contains(g))
    }
}

/// The number of a user, by name or number.
pub fn uid_of(name: &str) -> Option<u32> {
    let found = User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
    found.or_else(|| name.parse().ok())
}

/// The number of a group, by name or number.
pub fn gid_of(name: &str) -> Option<u32> {
    let found = Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
    found.or_else(|| name.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, gid: u32, groups: &[u32]) -> Peer {
        Peer { uid, gid, groups: groups.to_vec(), pid: 1 }
    }

    #[test]
    fn users_and_any_of_their_groups_open_the_door() {
        let access = Access { uids: vec![70_001], gids: vec![80_001] };
        assert!(access.allows(&peer(0, 9, &[])));
        assert!(access.allows(&peer(geteuid().as_raw(), 9, &[])));
        assert!(access.allows(&peer(70_001, 9, &[])));
        assert!(access.allows(&peer(70_002, 80_001, &[])));
        assert!(access.allows(&peer(70_002, 9, &[5, 80_001])));
        assert!(!access.allows(&peer(70_002, 9, &[5, 6])));
        assert!(!Access::default().allows(&peer(70_001, 80_001, &[80_001])));
    }

    #[test]
    fn names_are_looked_up_and_missing_ones_reported() {
        let names = ["root".to_owned(), "no-such-name-here".to_owned(), "70001".to_owned()];
        let (access, warnings) = Access::resolve(&names, &names);
        assert_eq!(access, Access { uids: vec![0, 70_001], gids: vec![0, 70_001] });
        assert_eq!(warnings.len(), 2);
        assert!(warnings[1].contains("no group \"no-such-name-here\""));
    }
}
