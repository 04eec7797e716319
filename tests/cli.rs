//! The `slmd` command against a fake daemon: output, exit codes, Ctrl-C.

#![allow(clippy::unwrap_used, reason = "a test that fails here has said enough")]

mod fake_daemon;

use fake_daemon::{Daemon, eventually};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn slmd(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slmd"));
    command.env_clear().env("SLMD_SOCKET", socket).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(daemon: &Daemon, args: &[&str]) -> Output {
    slmd(&daemon.path, args).output().unwrap()
}

fn run_with_input(daemon: &Daemon, args: &[&str], input: &str) -> Output {
    let mut child = slmd(&daemon.path, args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn ask_prints_the_text_to_a_pipe_and_the_reply_with_json() {
    let daemon = Daemon::start();
    let out = run(&daemon, &["ask", "echo warm and dry"]);
    assert_eq!((text(&out.stdout), text(&out.stderr)), ("warm and dry\n", ""));
    assert_eq!(out.status.code(), Some(0));

    let out = run(&daemon, &["ask", "--json", "echo warm"]);
    let reply: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!((&reply["text"], &reply["status"]), (&"warm".into(), &"ok".into()));

    let out = run_with_input(&daemon, &["ask", "-"], "echo from a pipe\n");
    assert_eq!(text(&out.stdout), "from a pipe\n");
}

#[test]
fn each_end_has_its_exit_code_and_says_what_to_do() {
    let daemon = Daemon::start();
    let long = "x".repeat(300_000);
    for (args, code, says) in [
        (&["ask", "busy"][..], 75, "the queue is full (busy)"),
        (&["ask", "--temperature", "11", "echo x"], 65, "`temperature` must be between 0 and 10"),
        (&["ask", "--max-tokens", "many", "echo x"], 64, "invalid value 'many'"),
        (&["sing"], 64, "unrecognized subcommand"),
        (&["ask", "--schema", "/no/such/file", "echo x"], 66, "cannot read /no/such/file"),
        (&["ask", "--socket", "/no/such/sock", "echo x"], 69, "`slmd serve` starts it"),
        (&["cancel", "seven"], 64, "`slmd status`"),
    ] {
        let out = run(&daemon, args);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains(says), "{args:?}: {}", text(&out.stderr));
        assert_eq!(text(&out.stdout), "");
    }
    let out = run_with_input(&daemon, &["ask", "-"], &long);
    assert_eq!(out.status.code(), Some(65), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("too_large"));
    let out = run(&daemon, &["ask", "--json", "busy"]);
    assert_eq!(out.status.code(), Some(75));
    let reply: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(reply["error"]["code"], "busy");
}

#[test]
fn a_deadline_that_passes_unanswered_is_a_timeout() {
    let daemon = Daemon::start();
    let out = run(&daemon, &["ask", "--deadline-ms", "1", "hang"]);
    assert_eq!(out.status.code(), Some(124), "{}", text(&out.stderr));
}

#[test]
fn ctrl_c_cancels_and_ends_with_130() {
    let daemon = Daemon::start();
    let child = slmd(&daemon.path, &["ask", "hang"]).spawn().unwrap();
    eventually("it hangs", || daemon.fake.hanging() == 1);
    std::thread::sleep(std::time::Duration::from_millis(200));
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130), "{}", text(&out.stderr));
    assert_eq!((daemon.fake.hanging(), daemon.fake.cancelled()), (0, 1));
}

#[test]
fn status_and_cancel_talk_to_the_daemon() {
    let daemon = Daemon::start();
    let out = run(&daemon, &["status"]);
    assert_eq!(text(&out.stdout), "engine   fake\nhanging  0\n");
    let out = run(&daemon, &["status", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(report["engine"], "fake");

    let mut client = daemon.connect();
    client.ask("7", "hang");
    eventually("it hangs", || daemon.fake.hanging() == 1);
    let out = run(&daemon, &["cancel", "0"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert_eq!(client.hear()["error"]["code"], "cancelled");
}

#[test]
fn chat_keeps_going_after_a_refusal_and_ends_with_its_input() {
    let daemon = Daemon::start();
    let out = run_with_input(&daemon, &["chat"], "/help\nbusy\n/reset\necho hello\n/quit\n");
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert_eq!(text(&out.stdout), "hello\n");
    for says in ["/reset and /quit", "the queue is full", "forgotten"] {
        assert!(text(&out.stderr).contains(says), "{}", text(&out.stderr));
    }
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let daemon = Daemon::start();
    let mut child = slmd(&daemon.path, &["ask", "flood 50000"]).spawn().unwrap();
    drop(child.stdout.take());
    let out = child.wait_with_output().unwrap();
    assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), ""));
}
