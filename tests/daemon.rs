//! The real binary as a daemon: the main job through the socket, on every engine, and what must
//! not break it.

mod common;

use common::daemon::Daemon;
use slmd::client::{Client, ClientError};
use slmd::core::error::ErrorCode;
use slmd::wire::{Answer, Ask, Codec, Command as Say, Reply};
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

fn prompt(text: &str, max_tokens: u32) -> Ask {
    Ask { prompt: Some(text.to_owned()), max_tokens: Some(max_tokens), ..Ask::default() }
}

fn answer(client: &mut Client, ask: &Ask) -> Answer {
    client.ask(ask, |_| {}).expect("an answer")
}

fn refusal(client: &mut Client, ask: &Ask) -> (ErrorCode, String) {
    match client.ask(ask, |_| {}) {
        Err(ClientError::Rejected(reason)) => (reason.code, reason.message),
        other => panic!("{other:?}"),
    }
}

fn engines() -> Vec<&'static str> {
    [("ort", cfg!(feature = "ort")), ("tract", cfg!(feature = "tract"))]
        .into_iter()
        .filter_map(|(name, there)| there.then_some(name))
        .collect()
}

fn stories(engine: &str, more: &str) -> Option<Daemon> {
    serve("stories260k-fp32", engine, more)
}

fn serve(model: &str, engine: &str, more: &str) -> Option<Daemon> {
    let model = common::model_dir(model)?;
    let config = format!(
        "model = {:?}\nengine = {engine:?}\n[budget]\ncontext-tokens = 512\n{more}",
        model.display().to_string()
    );
    Some(Daemon::start(&config, &[]))
}

#[test]
fn the_golden_story_comes_through_the_socket() {
    let Some(golden) = common::shared("models/stories260k/golden.json") else { return };
    let golden: serde_json::Value = serde_json::from_slice(&golden).expect("JSON");
    let steps = golden["steps"].as_u64().expect("steps") as u32;
    let models = ["stories260k-fp32", "stories260k-int8"];
    for (engine, model) in engines().into_iter().flat_map(|e| models.map(|m| (e, m))) {
        let Some(daemon) = serve(model, engine, "") else { return };
        let mut client = daemon.client();
        let mut streamed = String::new();
        let ask = Ask { stream: true, ..prompt("", steps) };
        let whole = client.ask(&ask, |delta| streamed.push_str(delta)).expect("an answer");
        let told = golden["text"].as_str().expect("text");
        assert_eq!(whole.text, told, "{model} on {engine}");
        assert_eq!(streamed, whole.text);
        assert_eq!((whole.finish_reason, whole.completion_tokens), ("length", steps));
        assert!(daemon.end().success());
    }
}

#[test]
fn other_prompts_match_the_plain_reference() {
    let Some(root) = common::shared_dir() else { return };
    let reference = |text: &str| -> Option<serde_json::Value> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/onnx/reference/llama2c.py");
        let output = Command::new(common::python())
            .arg(script)
            .arg(root.join("data/models/stories260k"))
            .args(["--prompt", text, "--steps", "60", "--json"])
            .output()
            .ok()
            .filter(|o| o.status.success());
        let Some(output) = output else {
            eprintln!("SKIP: Python cannot run onnx/reference/llama2c.py");
            return None;
        };
        Some(serde_json::from_slice(&output.stdout).expect("JSON"))
    };
    for engine in engines() {
        let Some(daemon) = stories(engine, "") else { return };
        let mut client = daemon.client();
        for text in
            ["Lily and Tom", "  two spaces", "Zoë 🦊 saw a dog", " ", "\n", "tab\there", "日本"]
        {
            let Some(expected) = reference(text) else { return };
            // The reference counts positions, prompt included, as the original program does.
            let tokens = expected["tokens"].as_array().expect("tokens").len() as u32;
            let ours = answer(&mut client, &prompt(text, tokens));
            let expected = expected["continuation"].as_str().expect("a continuation");
            assert_eq!(ours.text, expected, "{engine}: {text:?}");
        }
    }
}

#[test]
fn vehicle_commands_become_json_on_every_engine() {
    if !cfg!(feature = "default-model") {
        return;
    }
    for engine in engines() {
        let daemon = Daemon::start(&format!("engine = {engine:?}"), &[]);
        let mut client = daemon.client();
        for text in ["warmer in the back", "open the sunroof halfway", "qwzx plugh", ""] {
            let ask =
                Ask { task: Some("vehicle".into()), prompt: Some(text.into()), ..Ask::default() };
            let said = answer(&mut client, &ask);
            let json: serde_json::Value = serde_json::from_str(&said.text).expect("valid JSON");
            assert!(json.is_object() && said.finish_reason == "stop", "{engine}: {text}: {json}");
            // An answer that is whole with its last token is not cut.
            let exact = Ask { max_tokens: Some(said.completion_tokens), ..ask };
            let again = answer(&mut client, &exact);
            assert_eq!((again.text, again.finish_reason), (said.text, "stop"), "{engine}: {text}");
        }
    }
}

#[test]
fn each_token_says_how_likely_it_was() {
    if !cfg!(feature = "default-model") {
        return;
    }
    for engine in engines() {
        let daemon = Daemon::start(&format!("engine = {engine:?}"), &[]);
        for codec in [Codec::JsonLines, Codec::Postcard] {
            let client = &mut Client::connect_with(daemon.socket(), codec).expect("it serves");
            let ask = Ask {
                task: Some("vehicle".to_owned()),
                logprobs: Some(3),
                temperature: Some(0.0),
                repetition_penalty: Some(1.0),
                ..prompt("warmer in the back", 60)
            };
            let answer = answer(client, &ask);
            let places = answer.logprobs.as_deref().expect("asked for");
            assert_eq!(places.len() as u32, answer.completion_tokens, "{engine}");
            let bytes: Vec<u8> = places.iter().flat_map(|p| p.token.bytes.clone()).collect();
            assert_eq!(String::from_utf8(bytes).as_deref(), Ok(answer.text.as_str()), "{engine}");
            let (free, forced): (Vec<_>, Vec<_>) = places.iter().partition(|p| !p.top.is_empty());
            assert!(!free.is_empty() && !forced.is_empty(), "{engine}: JSON has both: {places:?}");
            assert!(forced.iter().all(|place| place.token.logprob == 0.0), "{engine}: {forced:?}");
            for place in free {
                // The temperature is 0: the likeliest is taken, and no more than everything is certain.
                assert_eq!(place.token, place.top[0], "{engine}");
                assert!(
                    place.top.is_sorted_by(|a, b| a.logprob >= b.logprob),
                    "{engine}: {place:?}"
                );
                let mass: f32 = place.top.iter().map(|t| t.logprob.exp()).sum();
                assert!(mass <= 1.0 + 1e-4, "{engine}: {place:?}");
            }
            let plain = client.ask(&prompt("warmer in the back", 60), |_| {}).expect("an answer");
            assert_eq!(plain.logprobs, None, "{engine}: not asked for");
        }
        let (code, message) = refusal(
            &mut daemon.client(),
            &Ask { logprobs: Some(5), ..prompt("warmer in the back", 400) },
        );
        assert_eq!(code, ErrorCode::BadRequest);
        assert!(message.contains("may be 341"), "{message}");
        assert!(daemon.end().success());
    }
}

#[test]
fn bad_input_gets_a_code_and_nothing_else_breaks() {
    let Some(daemon) = stories("auto", "") else { return };
    let mut client = daemon.client();
    let long = "once ".repeat(600);
    for (ask, code, word) in [
        (prompt("x", 0), ErrorCode::BadRequest, "max_tokens"),
        (
            Ask { temperature: Some(f32::NAN), ..prompt("x", 5) },
            ErrorCode::BadRequest,
            "temperature",
        ),
        (Ask { task: Some("nope".into()), ..prompt("x", 5) }, ErrorCode::UnknownTask, "nope"),
        (prompt(&long, 5), ErrorCode::MemoryInfeasible, "511 tokens fit"),
        (prompt("Once", 600), ErrorCode::MemoryInfeasible, "512"),
        (prompt("Once", u32::MAX), ErrorCode::MemoryInfeasible, "512"),
        (Ask { deadline_ms: Some(20), ..prompt("Once", 500) }, ErrorCode::DeadlineInfeasible, "ms"),
        (Ask::default(), ErrorCode::BadRequest, "prompt"),
    ] {
        let (found, message) = refusal(&mut client, &ask);
        assert!(found == code && message.contains(word), "{found}: {message}");
    }
    assert!(!answer(&mut client, &prompt("Once", 5)).text.is_empty());
}

#[test]
fn json_lines_survive_nonsense_and_half_closed_sockets_get_their_answers() {
    let Some(daemon) = stories("auto", "") else { return };
    let mut stream = UnixStream::connect(daemon.socket()).expect("it listens");
    let lines = concat!(
        "{\"id\":\"a\",\"prompt\":\"Once\",\"max_tokens\":3}\n",
        "{\"id\":\"b\"}\n",
        "{broken\n",
        "{\"id\":\"c\",\"prompt\":\"x\",\"max_tokens\":1e99}\n",
        "\n",
        "{\"id\":\"d\",\"prompt\":\"Lily\",\"max_tokens\":3,\"stream\":true}\n",
    );
    stream.write_all(lines.as_bytes()).expect("sent");
    stream.write_all(b"{\"id\":\"e\",\"prompt\":\"\xff\"}\n").expect("sent");
    stream.shutdown(Shutdown::Write).expect("half closed");
    let replies: Vec<serde_json::Value> = BufReader::new(stream)
        .lines()
        .map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON"))
        .collect();
    let terminal = |id: &str| {
        let of = replies.iter().filter(|r| r["id"] == id && r["status"].is_string());
        let of: Vec<_> = of.collect();
        assert_eq!(of.len(), 1, "{id}: {replies:#?}");
        of[0]["status"].as_str().expect("text").to_owned()
    };
    assert_eq!([terminal("a"), terminal("d")], ["ok", "ok"]);
    assert_eq!([terminal("b"), terminal("c")], ["error", "error"]);
}

#[test]
fn two_sessions_take_turns_and_a_cancelled_one_ends() {
    for engine in engines() {
        let Some(daemon) = stories(engine, "") else { return };
        let (mut one, mut two) = (daemon.client(), daemon.client());
        let ask = |id: &str| {
            Say::Ask(Box::new(Ask { id: Some(id.into()), stream: true, ..prompt("Once", 300) }))
        };
        one.send(&ask("one")).expect("sent");
        two.send(&ask("two")).expect("sent");
        let first = |client: &mut Client| match client.receive().expect("a reply") {
            Reply::Delta { .. } => {}
            other => panic!("{other:?}"),
        };
        first(&mut one);
        first(&mut two);
        one.send(&Say::Cancel { id: "one".into() }).expect("sent");
        let end = |client: &mut Client| loop {
            let reply = client.receive().expect("a reply");
            if reply.is_terminal() {
                break reply;
            }
        };
        let ended = end(&mut one);
        assert!(
            matches!(&ended, Reply::Error { reason, .. } if reason.code == ErrorCode::Cancelled)
                || matches!(&ended, Reply::Answer(_)),
            "{engine}: {ended:?}"
        );
        assert!(matches!(end(&mut two), Reply::Answer(_)), "{engine}");
    }
}

#[test]
fn a_full_queue_says_busy_and_every_request_gets_one_reply() {
    let Some(daemon) = stories("auto", "sessions = 1\nqueue = 2\n") else { return };
    let mut client = daemon.client();
    for id in 0..8 {
        let ask = Ask { id: Some(id.to_string()), ..prompt("Once", 400) };
        client.send(&Say::Ask(Box::new(ask))).expect("sent");
    }
    let mut busy = 0;
    for _ in 0..8 {
        match client.receive().expect("a reply") {
            Reply::Error { reason, .. } if reason.code == ErrorCode::Busy => busy += 1,
            Reply::Answer(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((1..=5).contains(&busy), "{busy} were busy");
}

#[test]
fn sigterm_lets_answers_end_and_refuses_new_ones() {
    let Some(mut daemon) = stories("auto", "") else { return };
    let (mut client, mut late) = (daemon.client(), daemon.client());
    let ask = Ask { id: Some("1".into()), stream: true, ..prompt("Once", 400) };
    client.send(&Say::Ask(Box::new(ask))).expect("sent");
    client.receive().expect("the first delta");
    daemon.terminate();
    std::thread::sleep(Duration::from_millis(20));
    let refused = late.ask(&prompt("x", 1), |_| {});
    assert!(
        match &refused {
            Err(ClientError::Rejected(reason)) => reason.code == ErrorCode::ShuttingDown,
            Err(ClientError::Closed | ClientError::Io(_)) => true,
            _ => false,
        },
        "{refused:?}"
    );
    let last = loop {
        let reply = client.receive().expect("a reply");
        if reply.is_terminal() {
            break reply;
        }
    };
    assert!(matches!(last, Reply::Answer(_)), "{last:?}");
    let socket = daemon.socket();
    assert!(daemon.wait().success());
    assert!(!socket.exists(), "the socket is left behind");
}

#[test]
fn a_second_daemon_is_refused_and_a_stale_socket_is_not_in_the_way() {
    let Some(mut daemon) = stories("auto", "") else { return };
    let second = Command::new(env!("CARGO_BIN_EXE_slmd"))
        .args(["serve", "--socket"])
        .arg(daemon.socket())
        .output()
        .expect("it runs");
    assert_eq!(second.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another slmd"));
    daemon.kill();
    assert!(daemon.socket().exists(), "a killed daemon leaves its socket");
    daemon.start_again();
    daemon.wait_until_it_serves();
}

#[test]
fn a_damaged_model_is_refused_by_file() {
    let Some(model) = common::model_dir("stories260k-fp32") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(&model).expect("a folder") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
    }
    let weights = folder.path().join("model.onnx.data");
    let good = std::fs::read(&weights).expect("weights");
    let refused = |why: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_slmd"))
            .args(["ask", "--model"])
            .arg(folder.path())
            .arg("x")
            .output()
            .expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(65), "{why}: {stderr}");
        assert!(stderr.contains("model.onnx.data"), "{why}: {stderr}");
    };
    let mut flipped = good.clone();
    flipped[1000] ^= 1;
    std::fs::write(&weights, &flipped).expect("written");
    refused("a flipped bit");
    std::fs::write(&weights, &good[..good.len() / 2]).expect("written");
    refused("cut in half");
    std::fs::remove_file(&weights).expect("removed");
    refused("gone");
}
