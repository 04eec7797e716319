//! Who may talk to the socket, as real peers of other users. Needs root; passes by otherwise.

#![allow(clippy::unwrap_used, reason = "a test that fails here has said enough")]

mod fake_daemon;

use fake_daemon::{Daemon, Lines};
use serde_json::Value;
use slmd::client::{Client, ClientError};
use slmd::transport::access::Access;
use slmd::transport::unix::Limits;
use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

const USER: u32 = 65_534;
const GROUP: u32 = 64_999;

/// Runs `work` in a thread that belongs to [`USER`] and, besides its primary group, to `groups`.
fn as_user<T: Send + 'static>(groups: Vec<u32>, work: impl FnOnce() -> T + Send + 'static) -> T {
    let become_user = move || {
        // SAFETY: the raw calls, unlike libc's, change the calling thread alone, which ends after
        // `work`; `groups` is readable for its length.
        let failed = unsafe {
            libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) != 0
                || libc::syscall(libc::SYS_setresgid, USER, USER, USER) != 0
                || libc::syscall(libc::SYS_setresuid, USER, USER, USER) != 0
        };
        assert!(!failed, "{}", std::io::Error::last_os_error());
        work()
    };
    std::thread::spawn(become_user).join().unwrap()
}

/// A daemon whose socket the file system lets everybody connect to.
fn daemon(access: Access) -> Option<(Daemon, PathBuf)> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: needs root to change users");
        return None;
    }
    let daemon = Daemon::letting_in(access, Limits::default());
    let path = daemon.path.clone();
    set_permissions(path.parent().unwrap(), Permissions::from_mode(0o755)).unwrap();
    set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    Some((daemon, path))
}

fn first_reply(path: &Path) -> Value {
    let mut client = Lines::new(UnixStream::connect(path).unwrap());
    let _ = std::io::Write::write_all(&mut client.stream, b"{\"prompt\":\"echo x\"}\n");
    client.hear()
}

#[test]
fn a_stranger_hears_one_error() {
    let Some((_daemon, path)) = daemon(Access { uids: vec![], gids: vec![GROUP] }) else { return };
    let (json, frames) = as_user(vec![GROUP + 1], move || {
        (first_reply(&path), Client::connect(&path).expect_err("turned away"))
    });
    assert_eq!(json["error"]["code"], "bad_request");
    assert!(json["error"]["message"].as_str().unwrap().contains("uid 65534 is not allowed"));
    assert!(matches!(frames, ClientError::TurnedAway(_)), "{frames}");
}

#[test]
fn a_supplementary_group_lets_in() {
    let Some((_daemon, path)) = daemon(Access { uids: vec![], gids: vec![GROUP] }) else { return };
    let (reply, by_number) = as_user((GROUP - 100..=GROUP).collect(), move || {
        let mut client = Client::connect(&path).expect("let in");
        (first_reply(&path), client.cancel_number(1))
    });
    assert_eq!(reply["text"], "x");
    assert!(matches!(by_number, Err(ClientError::Rejected(_))), "not an owner");
}

#[test]
fn a_user_is_let_in_by_name() {
    let Some((_daemon, path)) = daemon(Access { uids: vec![USER], gids: vec![] }) else { return };
    assert_eq!(as_user(vec![], move || first_reply(&path))["text"], "x");
}
