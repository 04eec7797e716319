//! Who may talk to the socket, as real peers of other users. Needs root; passes by otherwise.

#![allow(clippy::unwrap_used, reason = "a test that fails here has said enough")]

mod fake_daemon;

use fake_daemon::{CANCELLED_TOKENS, Daemon, Lines, eventually};
use serde_json::{Value, json};
use slmd::client::{Client, ClientError};
use slmd::core::request::Priority;
use slmd::runtime::Figures;
use slmd::transport::access::Access;
use slmd::transport::quota::{Quota, Selector};
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
    sharing(access, Vec::new())
}

fn sharing(access: Access, quotas: Vec<Quota>) -> Option<(Daemon, PathBuf)> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIP: needs root to change users");
        return None;
    }
    let daemon = Daemon::sharing(access, Limits::default(), quotas);
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

fn quota(selector: Selector) -> Quota {
    Quota {
        name: "somebody".into(),
        selector,
        requests_per_minute: Some(3),
        tokens_per_minute: None,
        max_priority: Priority::Normal,
    }
}

fn ask(client: &mut Lines, body: &Value) -> String {
    client.send(body);
    let reply = client.hear();
    reply["error"]["code"].as_str().unwrap_or("ok").to_owned()
}

/// What four requests hear, two on each connection.
fn two_by_two(path: &Path) -> Vec<String> {
    let mut heard = Vec::new();
    for _ in 0..2 {
        let mut client = Lines::new(UnixStream::connect(path).unwrap());
        heard.extend([(); 2].map(|()| ask(&mut client, &json!({"prompt": "echo x"}))));
    }
    heard
}

const USED_UP: [&str; 4] = ["ok", "ok", "ok", "over_quota"];

#[test]
fn a_users_quota_outlives_the_connection_and_leaves_root_alone() {
    let quotas = vec![quota(Selector::User(USER)), quota(Selector::Others)];
    let access = Access { uids: vec![USER], gids: vec![] };
    let Some((_daemon, path)) = sharing(access, quotas) else { return };
    let users = path.clone();
    assert_eq!(as_user(vec![], move || two_by_two(&users)), USED_UP);
    assert_eq!(two_by_two(&path), ["ok"; 4]);
}

#[test]
fn members_of_a_group_share_one_quota() {
    let access = Access { uids: vec![USER], gids: vec![] };
    let Some((_daemon, path)) = sharing(access, vec![quota(Selector::Group(GROUP))]) else {
        return;
    };
    let [members, again, others] = [(); 3].map(|()| path.clone());
    assert_eq!(as_user(vec![GROUP], move || two_by_two(&members)), USED_UP);
    assert_eq!(as_user(vec![1, GROUP], move || two_by_two(&again)), ["over_quota"; 4]);
    assert_eq!(as_user(vec![1], move || two_by_two(&others)), ["ok"; 4]);
}

#[test]
fn busy_and_too_high_a_priority_cost_nothing() {
    let access = Access { uids: vec![USER], gids: vec![] };
    let Some((_daemon, path)) = sharing(access, vec![quota(Selector::Others)]) else { return };
    as_user(vec![], move || {
        let mut client = Lines::new(UnixStream::connect(&path).unwrap());
        for _ in 0..4 {
            assert_eq!(ask(&mut client, &json!({"prompt": "busy"})), "busy");
            let urgent = json!({"prompt": "echo x", "priority": "urgent"});
            assert_eq!(ask(&mut client, &urgent), "over_quota");
        }
        assert_eq!(two_by_two(&path), USED_UP);
    });
}

#[test]
fn who_goes_away_pays_for_what_was_computed() {
    let quota = Quota { tokens_per_minute: Some(1), ..quota(Selector::Others) };
    let access = Access { uids: vec![USER], gids: vec![] };
    let Some((daemon, path)) = sharing(access, vec![quota]) else { return };
    let leaver = path.clone();
    let client = as_user(vec![], move || {
        let mut client = Lines::new(UnixStream::connect(&leaver).unwrap());
        client.send(&json!({"prompt": "hang"}));
        client
    });
    eventually("it hangs", || daemon.fake.hanging() == 1);
    drop(client);
    let owed = 1 - i64::from(CANCELLED_TOKENS);
    let left = || daemon.shares.figures()["quotas"][0]["tokens"]["left"].as_i64();
    eventually("it is booked", || left() == Some(owed));
    assert_eq!(as_user(vec![], move || two_by_two(&path)), ["over_quota"; 4]);
}
