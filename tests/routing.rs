//! What becomes of requests beside the model's answer, end to end: the real binary, a real mosquitto, real
//! programs, an endpoint that answers or hangs.

mod common;

use common::daemon::Daemon;
use common::mosquitto::Mosquitto;
use common::requester::Requester;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use slmd::client::Client;
use slmd::core::error::ErrorCode;
use slmd::core::tool::ToolChoice;
use slmd::wire::{self, Ask, Reply};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

const HEAD: &str = "engine = \"tract\"\nbudget.context-tokens = 512\n";

const OPERATOR: &str = "[task.operator]\ntools = [\"valve\"]\nmax-tokens = 120\n";

/// A tool whose arguments are few.
fn tool(daemon_folder: &std::path::Path, rest: &str) -> String {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["open"],
        "properties": {"open": {"enum": [10, 90]}},
    });
    let path = daemon_folder.join("valve.json");
    std::fs::write(&path, schema.to_string()).expect("written");
    format!("[tool.valve]\ndescription = \"Opens it\"\nparameters = {path:?}\n{rest}\n")
}

fn ask(task: &str) -> Ask {
    Ask { task: Some(task.into()), prompt: Some("too hot".into()), ..Ask::default() }
}

/// Whatever the model thinks of it.
fn must_call() -> Ask {
    let parallel_tool_calls = Some(false);
    Ask { tool_choice: ToolChoice::Required, parallel_tool_calls, ..ask("operator") }
}

fn routes(client: &mut Client) -> Value {
    client.status().expect("a status")["routes"].clone()
}

#[test]
fn a_program_is_run_and_the_model_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let script = format!("(cat; echo) >> {}; echo opened", log.display());
    let run = format!("run = [\"/bin/sh\", \"-c\", {script:?}]");
    let daemon = Daemon::start(&[HEAD, &tool(folder.path(), &run), OPERATOR].concat(), &[]);
    let mut client = daemon.client();
    let answer = client.ask(&must_call(), |_| ()).expect("an answer");
    assert!(answer.tool_calls.is_empty() && answer.cause != "tool_calls", "{answer:?}");
    let heard = std::fs::read_to_string(&log).expect("it ran");
    for call in heard.lines().map(|line| serde_json::from_str(line).expect("JSON")) {
        assert!([json!({"open": 10}), json!({"open": 90})].contains(&call), "{call}");
    }
    // It may have liked it, and called again.
    assert_eq!(routes(&mut client)["tool_calls"], json!({"valve": heard.lines().count()}));
}

#[test]
fn a_tool_is_asked_by_mqtt_and_answers() {
    let Some(broker) = Mosquitto::start("") else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mqtt = format!("[mqtt]\nurl = {:?}\nnode = \"n\"\n", broker.url());
    let publish = tool(folder.path(), "mqtt = \"plant/valve\"\nmqtt-answers = true");
    let mut daemon = Daemon::start(&[HEAD, &mqtt, &publish, OPERATOR].concat(), &[]);
    let plant = Requester::connect(broker.port(), "plant", &["plant/valve", "slmd/n/status"]);
    while plant.hear_on("slmd/n/status", SOON).expect("a status").json()["state"] != "online" {}
    let mut client = daemon.client();
    let asking = std::thread::spawn(move || {
        let answer = client.ask(&must_call(), |_| ()).expect("an answer");
        (answer, routes(&mut client))
    });
    let mut calls = 0;
    while !asking.is_finished() {
        let Some(call) = plant.hear_on("plant/valve", Duration::from_millis(50)) else { continue };
        calls += 1;
        assert!([json!({"open": 10}), json!({"open": 90})].contains(&call.json()), "{call:?}");
        let back = call.response_topic.clone().expect("it wants an answer");
        assert_eq!(back, format!("slmd/n/tool/{calls}"));
        plant.publish(&back, "it is open", Default::default());
    }
    let (answer, figures) = asking.join().expect("it ends");
    assert!(answer.tool_calls.is_empty() && calls > 0);
    assert_eq!(figures["tool_calls"], json!({"valve": calls}));
    assert_eq!(figures["tool_failures"], json!({}));
    // Without a broker the model is told so, at once.
    drop(broker);
    let mut client = daemon.client();
    let began = Instant::now();
    client.ask(&must_call(), |_| ()).expect("an answer");
    assert!(began.elapsed() < SOON);
    let failures = routes(&mut client)["tool_failures"]["valve"].as_u64();
    assert!(failures >= Some(1), "{failures:?}");
    daemon.terminate();
    assert!(daemon.wait().success());
}

#[test]
fn what_is_unsure_is_published_with_its_answer() {
    let Some(broker) = Mosquitto::start("") else { return };
    let mqtt = format!("[mqtt]\nurl = {:?}\nnode = \"n\"\n", broker.url());
    let task = "[task.alert]\noutput = { choice = [\"ok\", \"stop\"] }\nmin-confidence = 1.0\n\
                escalate = { mqtt = \"plant/escalated\" }\n";
    let daemon = Daemon::start(&[HEAD, &mqtt, task].concat(), &[]);
    let plant = Requester::connect(broker.port(), "plant", &["plant/escalated"]);
    let mut client = daemon.client();
    let asked = Ask { id: Some("a-7".into()), ..ask("alert") };
    let answer = client.ask(&asked, |_| ()).expect("an answer");
    assert_eq!((answer.escalated, answer.abstained), (true, Some(true)));
    let told = plant.hear(SOON).expect("it is told").json();
    assert_eq!((&told["task"], &told["why"]), (&json!("alert"), &json!("unsure")));
    assert_eq!(told["request"]["prompt"], "too hot");
    assert_eq!(told["reply"]["text"], json!(answer.text));
    assert_eq!(routes(&mut client)["escalated"], json!({"unsure": 1}));
}

/// Answers everybody so, or nobody ever.
fn endpoint(text: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut hanging = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            let _ = stream.read(&mut [0; 1 << 16]);
            let Some(text) = text else {
                hanging.push(stream);
                continue;
            };
            let body = json!({"choices": [{"message": {"content": text}}]}).to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).expect("it listens");
        }
    });
    format!("[endpoint.box]\nurl = \"http://{address}/v1\"\n")
}

const ASKS_BOX: &str = "[task.alert]\noutput = { choice = [\"ok\", \"stop\"] }\nmin-confidence = 1.0\n\
                        escalate = { endpoint = \"box\" }\n";

#[test]
fn an_endpoint_is_asked_and_a_reload_says_when() {
    let quiet = ASKS_BOX.replace("escalate = { endpoint = \"box\" }\n", "");
    let endpoint = endpoint(Some("stop"));
    let daemon = Daemon::start(&[HEAD, &endpoint, &quiet].concat(), &[]);
    let mut client = daemon.client();
    assert!(!client.ask(&ask("alert"), |_| ()).expect("an answer").escalated);
    let file = daemon.folder().join("config.toml");
    let before = std::fs::read_to_string(&file).expect("there");
    std::fs::write(&file, before.replace(&quiet, ASKS_BOX)).expect("written");
    daemon.signal(Signal::SIGHUP);
    let began = Instant::now();
    let answer = loop {
        let answer = client.ask(&ask("alert"), |_| ()).expect("an answer");
        if answer.escalated {
            break answer;
        }
        assert!(began.elapsed() < SOON, "the reload changes nothing");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!((&*answer.text, answer.answered_by.as_deref()), ("stop", Some("endpoint box")));
    let late = Ask { deadline_ms: Some(1), ..ask("alert") };
    match client.ask(&late, |_| ()) {
        Ok(answer) => assert!(answer.escalated),
        Err(error) => assert!(error.to_string().contains("deadline"), "{error}"),
    }
}

#[test]
fn going_down_an_answer_does_not_wait_for_who_hangs() {
    let mut daemon = Daemon::start(&[HEAD, &endpoint(None), ASKS_BOX].concat(), &[]);
    let mut client = daemon.client();
    let asking = std::thread::spawn(move || client.ask(&ask("alert"), |_| ()));
    std::thread::sleep(Duration::from_millis(500));
    let began = Instant::now();
    daemon.terminate();
    let answer = asking.join().expect("it ends").expect("an answer of this device");
    assert_eq!((answer.escalated, answer.answered_by), (true, None));
    assert!(daemon.wait().success());
    // Ten seconds to end what is under way, and no deadline of the bundle's task of that name.
    let took = began.elapsed();
    assert!((9..16).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn what_is_asked_elsewhere_can_be_cancelled() {
    let daemon = Daemon::start(&[HEAD, &endpoint(None), ASKS_BOX].concat(), &[]);
    let mut client = daemon.client();
    let asked = Ask { id: Some("7".into()), ..ask("alert") };
    client.send(&wire::Command::Ask(Box::new(asked))).expect("sent");
    std::thread::sleep(Duration::from_millis(300));
    client.canceller("7").and_then(|it| it.cancel()).expect("sent");
    let Reply::Error { reason, .. } = client.receive().expect("a reply") else {
        panic!("cancelled")
    };
    assert_eq!(reason.code, ErrorCode::Cancelled);
}

#[test]
fn a_second_model_is_asked_within_the_same_budget() {
    let second = concat!(env!("CARGO_MANIFEST_DIR"), "/onnx/default");
    let config = format!(
        "engine = \"tract\"\n[budget]\ncontext-tokens = 192\nmemory = \"256MiB\"\n\
         [second-model]\npath = {second:?}\ncontext-tokens = 512\n\
         [task.judge]\noutput = {{ choice = [\"ok\", \"stop\"] }}\n\
         escalate = {{ second-model = true }}\n"
    );
    let daemon = Daemon::start(&config, &[]);
    let mut client = daemon.client();
    // Too long for the first one.
    let long = "it is much too hot in here, and the noise is unbearable today. ".repeat(20);
    let asked = Ask { prompt: Some(long), ..ask("judge") };
    let answer = client.ask(&asked, |_| ()).expect("an answer");
    assert_eq!(answer.answered_by.as_deref(), Some("second model"), "{answer:?}");
    assert!(answer.choice.is_some() && answer.prompt_tokens > 192);
    let status = client.status().expect("a status");
    assert_eq!(status["routes"]["answered_by"], json!({"second model": 1}));
    assert_eq!(status["slots"]["context_tokens"], 192, "the figures are the first one's");
    // A reload exchanges the first one beside it.
    let file = daemon.folder().join("config.toml");
    let text = std::fs::read_to_string(&file).expect("there");
    std::fs::write(&file, text.replace("= 192", "= 224")).expect("written");
    daemon.signal(Signal::SIGHUP);
    let began = Instant::now();
    while client.status().expect("a status")["slots"]["context_tokens"] != 224 {
        assert!(began.elapsed() < 3 * SOON, "{}", daemon.stderr());
        std::thread::sleep(Duration::from_millis(50));
    }
    let answer = client.ask(&asked, |_| ()).expect("an answer");
    assert_eq!(answer.answered_by.as_deref(), Some("second model"), "{answer:?}");

    let plan = Command::new(env!("CARGO_BIN_EXE_slmd"))
        .args(["plan", "--json", "--config"])
        .arg(&file)
        .output()
        .expect("it runs");
    let sheet: Value = serde_json::from_slice(&plan.stdout).expect("JSON");
    let lines = sheet["lines"].as_array().expect("lines");
    let line = lines.iter().find(|line| line["item"] == "second-model").expect("a line");
    assert!(line["bytes"].as_u64().expect("bytes") > 1 << 20, "{line}");
}
