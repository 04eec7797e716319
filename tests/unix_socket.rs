//! The socket as clients meet it: real sockets, a fake service behind them.

#![allow(clippy::unwrap_used, reason = "a test that fails here has said enough")]

mod fake_daemon;

use fake_daemon::{Daemon, Lines, eventually};
use serde_json::{Value, json};
use slmd::client::{Client, ClientError};
use slmd::transport::listen::{ListenError, Listener};
use slmd::transport::unix::Limits;
use slmd::wire::frame::VERSION;
use slmd::wire::{Ask, Codec, Command, Reply};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

fn code(reply: &Value) -> &str {
    reply["error"]["code"].as_str().unwrap_or("none")
}

fn prompt(text: &str) -> Ask {
    Ask { prompt: Some(text.into()), ..Ask::default() }
}

#[test]
fn a_prompt_gets_its_answer_with_its_id() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.send(&json!({"id": "7", "prompt": "echo warm and dry", "stream": true}));
    for piece in ["warm ", "and ", "dry"] {
        assert_eq!(client.hear(), json!({"id": "7", "delta": piece}));
    }
    let answer = client.hear();
    assert_eq!(answer["id"], "7");
    assert_eq!(answer["status"], "ok");
    assert_eq!(answer["text"], "warm and dry");
    client.send(&json!({"prompt": "echo x"}));
    assert_eq!(client.hear()["id"], Value::Null);
}

#[test]
fn both_codecs_say_the_same() {
    let daemon = Daemon::start();
    let answers = [Codec::JsonLines, Codec::Postcard].map(|codec| {
        let mut client = Client::connect_with(&daemon.path, codec).unwrap();
        assert!(client.health().unwrap());
        assert_eq!(client.status().unwrap()["engine"], "fake");
        let mut heard = String::new();
        let ask = Ask { stream: true, ..prompt("echo warm and dry") };
        let answer = client.ask(&ask, |d| heard.push_str(d)).unwrap();
        assert_eq!(heard, answer.text);
        match client.ask(&prompt("busy"), |_| ()) {
            Err(ClientError::Rejected(reason)) => assert_eq!(reason.code(), "busy"),
            other => panic!("{other:?}"),
        }
        answer
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn a_slow_reader_stalls_nobody_and_gets_its_answer_whole() {
    let daemon = Daemon::start();
    let mut slow = daemon.connect();
    slow.send(&json!({"id": "s", "prompt": "flood 200000", "stream": true}));
    let mut quick = daemon.connect();
    let start = Instant::now();
    for _ in 0..50 {
        quick.ask("q", "echo x");
        assert_eq!(quick.hear()["text"], "x");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    std::thread::sleep(Duration::from_millis(300));
    let mut heard = String::new();
    let answer = loop {
        let reply = slow.hear();
        match reply["delta"].as_str() {
            Some(delta) => heard += delta,
            None => break reply,
        }
    };
    let text = answer["text"].as_str().unwrap();
    assert!(text.ends_with("199999 "));
    assert!(text.starts_with(&heard), "deltas are a prefix of the answer");
    assert!(heard.len() < text.len(), "some were dropped");
}

#[test]
fn a_client_that_never_reads_is_dropped_and_its_requests_end() {
    let limits = Limits { write_timeout: Duration::from_millis(200), ..Limits::default() };
    let daemon = Daemon::with(limits);
    let mut client = daemon.connect();
    client.ask("h", "hang");
    eventually("it hangs", || daemon.fake.hanging() == 1);
    client.ask("f", "flood 200000");
    eventually("the client is dropped", || daemon.fake.hanging() == 0);
    assert_eq!(daemon.fake.cancelled(), 1);
}

#[test]
fn a_client_that_goes_with_its_mail_unread_is_noticed() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.ask("h", "hang");
    client.ask("f", "flood 200000");
    eventually("it hangs", || daemon.fake.hanging() == 1);
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    drop(client);
    eventually("it is cancelled", || daemon.fake.hanging() == 0);
    assert!(start.elapsed() < Duration::from_secs(2), "not by the write timeout");
}

#[test]
fn garbage_gets_an_error_or_the_end_and_harms_nobody() {
    let daemon = Daemon::start();
    let mut seed = 0x9e37_79b9_u32;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed
    };
    let mut witness = daemon.connect();
    for round in 0..100 {
        let mut stream = UnixStream::connect(&daemon.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = random() % 5000;
        let mut bytes: Vec<u8> = (0..length).map(|_| random() as u8).collect();
        match round % 4 {
            0 => bytes.insert(0, b'{'),
            1 => bytes.insert(0, 0),
            2 => bytes.splice(0..0, [0, 1, 2, VERSION as u8, 0]).for_each(drop),
            _ => {}
        }
        // The daemon may have closed already.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut heard = Vec::new();
        if let Err(e) = stream.read_to_end(&mut heard) {
            assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset);
        }
        witness.ask("w", "echo fine");
        assert_eq!(witness.hear()["text"], "fine", "round {round}");
    }
}

#[test]
fn what_is_neither_codec_hears_why() {
    let daemon = Daemon::start();
    for (bytes, says) in [(&b"GET / HTTP/1.1\r\n\r\n"[..], "no HTTP"), (b"\x07", "0x07")] {
        let mut client = daemon.connect();
        client.raw(bytes);
        let reply = client.hear();
        assert_eq!(code(&reply), "bad_request");
        assert!(reply["error"]["message"].as_str().unwrap().contains(says), "{reply}");
        assert_eq!(client.next(), None);
    }
    let mut client = daemon.connect();
    client.raw(b" \r\n\t {\"id\":\"1\",\"prompt\":\"echo x\"}\n");
    assert_eq!(client.hear()["text"], "x");
}

#[test]
fn after_an_oversize_line_the_next_one_is_served() {
    let daemon = Daemon::with(Limits { message_bytes: 1000, ..Limits::default() });
    let mut client = daemon.connect();
    let long = json!({"id": "big", "prompt": "x".repeat(100_000)});
    client.send(&long);
    client.ask("7", "echo x");
    let refusal = client.hear();
    assert_eq!((code(&refusal), refusal["id"].as_str()), ("too_large", Some("big")));
    assert_eq!(client.hear()["id"], "7");

    let mut client = Client::connect(&daemon.path).unwrap();
    client.send(&Command::Ask(Box::new(prompt(&"x".repeat(5000))))).unwrap();
    match client.receive().unwrap() {
        Reply::Error { reason, .. } => assert_eq!(reason.code(), "too_large"),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.ask(&prompt("echo x"), |_| ()).unwrap().text, "x");
}

#[test]
fn requests_die_with_their_connection() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.ask("1", "hang");
    client.ask("2", "hang");
    eventually("both hang", || daemon.fake.hanging() == 2);
    drop(client);
    eventually("both are cancelled", || daemon.fake.hanging() == 0);
}

#[test]
fn a_half_closed_client_gets_its_answer_until_it_goes() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.raw(br#"{"id":"1","prompt":"hang"}"#);
    client.stream.shutdown(Shutdown::Write).unwrap();
    eventually("it hangs, without a line feed", || daemon.fake.hanging() == 1);
    std::thread::sleep(Duration::from_millis(250));
    assert_eq!(daemon.fake.hanging(), 1);
    daemon.fake.release();
    assert_eq!(client.hear()["text"], "released");
    assert_eq!(client.next(), None);

    let mut client = daemon.connect();
    client.ask("2", "hang");
    client.stream.shutdown(Shutdown::Write).unwrap();
    eventually("it hangs", || daemon.fake.hanging() == 1);
    drop(client);
    eventually("it is cancelled", || daemon.fake.hanging() == 0);
}

#[test]
fn a_request_is_cancelled_by_its_id_and_by_its_number() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    client.ask("1", "hang");
    client.send(&json!({"op": "cancel", "id": "none"}));
    client.send(&json!({"op": "cancel", "id": "1"}));
    let reply = client.hear();
    assert_eq!((code(&reply), reply["id"].as_str()), ("cancelled", Some("1")));

    client.ask("2", "hang");
    eventually("it hangs", || daemon.fake.hanging() == 1);
    let mut other = Client::connect(&daemon.path).unwrap();
    other.cancel_number(1).unwrap();
    assert_eq!(client.hear()["id"], "2");

    let mut third = Client::connect(&daemon.path).unwrap();
    let canceller = third.canceller("3").unwrap();
    let fake = daemon.fake.clone();
    let thread = std::thread::spawn(move || {
        eventually("it hangs", || fake.hanging() == 1);
        canceller.cancel().unwrap();
    });
    match third.ask(&Ask { id: Some("3".into()), ..prompt("hang") }, |_| ()) {
        Err(ClientError::Rejected(reason)) => assert_eq!(reason.code(), "cancelled"),
        other => panic!("{other:?}"),
    }
    thread.join().unwrap();
}

#[test]
fn one_client_has_so_many_requests_and_each_id_once() {
    let daemon = Daemon::with(Limits { pending_per_client: 2, ..Limits::default() });
    let mut client = daemon.connect();
    client.ask("1", "hang");
    client.ask("1", "hang");
    assert_eq!(code(&client.hear()), "bad_request");
    client.ask("2", "hang");
    client.ask("3", "hang");
    let reply = client.hear();
    assert_eq!((code(&reply), reply["id"].as_str()), ("over_quota", Some("3")));
    daemon.fake.release();
    assert_eq!(client.hear()["status"], "ok");
    assert_eq!(client.hear()["status"], "ok");
    client.ask("1", "echo again");
    assert_eq!(client.hear()["text"], "again");
}

#[test]
fn too_many_clients_are_turned_away_unless_one_is_idle() {
    let idle_grace = Duration::from_millis(200);
    let daemon = Daemon::with(Limits { clients: 2, idle_grace, ..Limits::default() });
    let mut busy = daemon.connect();
    busy.ask("1", "hang");
    let mut idle = daemon.connect();
    idle.ask("2", "echo x");
    idle.hear();
    assert_eq!(code(&daemon.connect().hear()), "busy");
    match Client::connect(&daemon.path) {
        Err(ClientError::TurnedAway(reason)) => assert_eq!(reason.code(), "busy"),
        other => panic!("{other:?}"),
    }
    std::thread::sleep(idle_grace + Duration::from_millis(50));
    let mut new = daemon.connect();
    new.ask("3", "echo y");
    assert_eq!(new.hear()["text"], "y");
    assert_eq!(idle.next(), None);
    daemon.fake.release();
    assert_eq!(busy.hear()["text"], "released");
}

#[test]
fn going_down_answers_what_was_accepted_and_nothing_else() {
    let daemon = Daemon::start();
    let mut idle = daemon.connect();
    let mut client = daemon.connect();
    client.ask("1", "hang");
    eventually("it hangs", || daemon.fake.hanging() == 1);
    daemon.stop();
    assert_eq!(idle.next(), None);
    eventually("the socket is gone", || !daemon.path.exists());
    client.ask("2", "echo x");
    assert_eq!(code(&client.hear()), "shutting_down");
    assert!(!daemon.has_ended());
    daemon.fake.release();
    assert_eq!(client.hear()["text"], "released");
    assert_eq!(client.next(), None);
    eventually("the daemon has ended", || daemon.has_ended());
}

#[test]
fn a_second_daemon_does_not_take_the_socket() {
    let daemon = Daemon::start();
    let e = Listener::bind(&daemon.path, None).unwrap_err();
    assert!(matches!(e, ListenError::AnotherIsListening(_)), "{e}");
    let mut client = daemon.connect();
    client.ask("1", "echo still here");
    assert_eq!(client.hear()["text"], "still here");
}

#[test]
fn a_postcard_client_greets_first_and_in_the_right_version() {
    let daemon = Daemon::start();
    // The next version, then a status without a hello.
    for bytes in [&[0, 1, 2, VERSION as u8 + 1, 0][..], &[0, 2, 4, 1, 0]] {
        let mut stream = UnixStream::connect(&daemon.path).unwrap();
        stream.write_all(bytes).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        assert_eq!(heard.pop(), Some(0));
        match slmd::wire::frame::decode_server(&mut heard).unwrap() {
            slmd::wire::frame::ServerFrame::Error(e) => assert_eq!(e.code, "bad_request"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_client_gives_up_when_nothing_comes() {
    let daemon = Daemon::start();
    let mut client = Client::connect(&daemon.path).unwrap();
    client.set_timeout(Duration::from_millis(100));
    assert!(matches!(client.ask(&prompt("hang"), |_| ()), Err(ClientError::TimedOut(_))));
}

#[test]
fn a_stream_of_small_requests_is_answered_in_order() {
    let daemon = Daemon::start();
    let mut client = daemon.connect();
    let mut reader = Lines::new(client.stream.try_clone().unwrap());
    let writer = std::thread::spawn(move || {
        for i in 0..2000 {
            client.ask(&i.to_string(), "busy");
        }
    });
    for i in 0..2000 {
        assert_eq!(reader.hear()["id"], i.to_string());
    }
    writer.join().unwrap();
}
