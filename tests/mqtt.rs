//! MQTT end to end: the real binary, a real mosquitto, foreign clients.

mod common;

use common::daemon::Daemon;
use common::mosquitto::{Mosquitto, program};
use common::requester::{Requester, request};
use nix::sys::signal::Signal;
use rumqttc::mqttbytes::v5::PublishProperties;
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(10);

/// The configuration of a daemon on this broker, with the embedded model.
fn config(broker: &Mosquitto, node: &str, more: &str) -> String {
    format!(
        "engine = \"tract\"\n[mqtt]\nurl = {:?}\nnode = {node:?}\nreply-topics = [\"clients/#\"]\n\
         status-interval-s = 1\n{more}\n",
        broker.url()
    )
}

fn start(more: &str) -> Option<(Mosquitto, Daemon)> {
    let broker = Mosquitto::start("")?;
    let daemon = Daemon::start(&config(&broker, "n", more), &[]);
    wait_until_online(&broker, "n");
    Some((broker, daemon))
}

fn wait_until_online(broker: &Mosquitto, node: &str) -> Value {
    wait_for_status(broker, node, |status| status["state"] == "online")
}

fn wait_for_status(broker: &Mosquitto, node: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let topic = format!("slmd/{node}/status");
    let watcher = Requester::connect(broker.port(), &format!("watcher-{node}"), &[&topic]);
    let began = Instant::now();
    loop {
        let heard = watcher.hear(SOON).expect("a status");
        let status = heard.json();
        if wanted(&status) {
            return status;
        }
        assert!(began.elapsed() < SOON, "the last status was {status}");
    }
}

fn story(tokens: u32) -> Value {
    json!({ "prompt": "Once", "max_tokens": tokens })
}

fn vehicle() -> Value {
    json!({ "prompt": "open the window a bit" })
}

#[test]
fn a_request_is_answered_with_its_correlation() {
    let Some((broker, _daemon)) = start("") else { return };
    let client = Requester::connect(broker.port(), "a", &["clients/a"]);
    let correlation = "\u{0}\u{1}bytes\u{7f}";
    let mut properties = request("clients/a", correlation);
    properties.content_type = Some("text/plain".into());
    client.publish("slmd/n/request/vehicle", "warmer in the back", properties);
    let heard = client.hear(SOON).expect("an answer");
    assert_eq!(heard.correlation.as_deref(), Some(correlation.as_bytes()));
    assert_eq!(heard.content_type.as_deref(), Some("application/json"));
    let answer = heard.json();
    assert_eq!((&answer["status"], &answer["id"]), (&json!("ok"), &Value::Null));
    let text: Value = serde_json::from_str(answer["text"].as_str().expect("text")).expect("JSON");
    assert!(text.is_object() || text.is_array(), "{text}");
    assert!(answer["usage"]["completion_tokens"].as_u64().expect("a number") > 0);
    let json = client.ask(
        "slmd/n/request",
        "clients/a",
        "2",
        json!({
            "task": "vehicle", "prompt": "warmer in the back", "id": "my-id",
        }),
    );
    let json = json.expect("an answer");
    assert_eq!((&json["id"], &json["text"]), (&json!("my-id"), &answer["text"]));
}

#[test]
fn foreign_clients_are_served() {
    let Some((broker, _daemon)) = start("") else { return };
    let port = broker.port().to_string();
    let Some(rr) = program("mosquitto_rr") else {
        eprintln!("SKIP: no mosquitto_rr: apt-get install mosquitto-clients");
        return;
    };
    let output = Command::new(rr)
        .args(["-p", &port, "-V", "5", "-q", "1", "-W", "10"])
        .args(["-t", "slmd/n/request/vehicle", "-e", "clients/rr", "-m", "lights on"])
        .args(["-D", "publish", "correlation-data", "rr-1"])
        .output()
        .expect("it runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["status"], "ok", "{output:?}");
    // 3.1.1 has neither response topic nor correlation data.
    let (publish, subscribe) = (program("mosquitto_pub"), program("mosquitto_sub"));
    let subscriber = Command::new(subscribe.expect("beside mosquitto_rr"))
        .args(["-p", &port, "-V", "311", "-q", "1", "-W", "10", "-C", "1", "-t", "clients/old"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    std::thread::sleep(Duration::from_millis(500));
    let body =
        json!({ "prompt": "lights on", "task": "vehicle", "id": "7", "reply_to": "clients/old" });
    let published = Command::new(publish.expect("beside mosquitto_rr"))
        .args([
            "-p",
            &port,
            "-V",
            "311",
            "-q",
            "1",
            "-t",
            "slmd/n/request",
            "-m",
            &body.to_string(),
        ])
        .status()
        .expect("it runs");
    assert!(published.success());
    let heard = subscriber.wait_with_output().expect("it ends");
    let old: Value = serde_json::from_slice(&heard.stdout).expect("JSON");
    assert_eq!((&old["id"], &old["text"]), (&json!("7"), &answer["text"]));
}

#[test]
fn what_is_wrong_is_refused_by_code_and_nothing_breaks() {
    let Some((broker, _daemon)) = start("") else { return };
    let client = Requester::connect(broker.port(), "a", &["clients/#", "slmd/n/status"]);
    let code = |topic: &str, correlation: &str, body: &[u8]| {
        client.publish(topic, body, request("clients/a", correlation));
        let heard = client.hear_on("clients/a", SOON).expect("a refusal");
        assert_eq!(heard.correlation.as_deref(), Some(correlation.as_bytes()));
        heard.json()["error"]["code"].as_str().map(str::to_owned)
    };
    let large = format!("{{\"prompt\":\"{}\"}}", "x".repeat(70 << 10));
    for (topic, body, wanted) in [
        ("slmd/n/request", &b"{\"prompt\":"[..], "bad_request"),
        ("slmd/n/request", b"{\"prompt\":1}", "bad_request"),
        ("slmd/n/request", b"{\"op\":\"status\"}", "bad_request"),
        ("slmd/n/request", b"\xff\xfe", "bad_request"),
        ("slmd/n/request/nonsense", b"x", "unknown_task"),
        ("slmd/n/request/vehicle/x", b"x", "unknown_task"),
        ("slmd/n/request", large.as_bytes(), "too_large"),
    ] {
        let correlation = format!("{topic}{}", body.len());
        assert_eq!(code(topic, &correlation, body).as_deref(), Some(wanted), "{topic} {wanted}");
    }
    let late = code("slmd/n/request/vehicle", "late", br#"{"prompt":"x","deadline_ms":1}"#);
    assert!(matches!(late.as_deref(), Some("deadline_infeasible" | "expired")), "{late:?}");
    // Nowhere to answer, or nowhere allowed: acknowledged, and no answer.
    client.publish("slmd/n/request/vehicle", "x", PublishProperties::default());
    client.publish("slmd/n/request/vehicle", "x", request("elsewhere", "1"));
    client.publish("slmd/n/request/vehicle", "x", request("slmd/n/request", "2"));
    client.publish("slmd/n/cancel/nobody", "", PublishProperties::default());
    client.retain("slmd/n/request/vehicle", "x");
    let good = client.ask("slmd/n/request/vehicle", "clients/a", "good", vehicle());
    assert_eq!(good.expect("an answer")["status"], "ok");
    let status = wait_for_status(&broker, "n", |s| s["mqtt"]["ignored"].as_u64() >= Some(3));
    assert_eq!(status["mqtt"]["connections"], 1, "one connection all along: {status}");
}

#[test]
fn a_packet_over_the_announced_limit_harms_nobody() {
    let Some((broker, _daemon)) = start("") else { return };
    let client = Requester::connect(broker.port(), "a", &["clients/a"]);
    // The broker drops it in silence (MQTT 5.0, section 3.1.2.11.4).
    let huge = "x".repeat(400 << 10);
    client.publish("slmd/n/request/vehicle", huge, request("clients/a", "huge"));
    let good = client.ask("slmd/n/request/vehicle", "clients/a", "good", vehicle());
    assert_eq!(good.expect("an answer")["status"], "ok");
    let status = wait_for_status(&broker, "n", |_| true);
    assert_eq!(status["mqtt"]["connections"], 1);
}

#[test]
fn an_answer_over_the_brokers_limit_is_one_error() {
    let Some(broker) = Mosquitto::start("max_packet_size 700") else { return };
    let _daemon = Daemon::start(
        &config(&broker, "n", ""),
        &[
            "--model",
            &match common::model_dir("stories260k-fp32") {
                Some(model) => model.display().to_string(),
                None => return,
            },
        ],
    );
    let client = Requester::connect(broker.port(), "a", &["clients/a"]);
    let began = Instant::now();
    let answer = loop {
        // There is no status to wait for: it does not fit either.
        let answer = client.ask("slmd/n/request", "clients/a", "1", story(400));
        match answer {
            Some(answer) => break answer,
            None => assert!(began.elapsed() < SOON, "no answer"),
        }
    };
    assert_eq!(answer["error"]["code"], "too_large", "{answer}");
    let short = client.ask("slmd/n/request", "clients/a", "2", story(5)).expect("an answer");
    assert_eq!(short["status"], "ok");
}

#[test]
fn the_same_key_is_answered_once_and_always_alike() {
    let Some((broker, _daemon)) = start("") else { return };
    let client = Requester::connect(broker.port(), "a", &["clients/a"]);
    let body = json!({ "prompt": "open the window", "temperature": 5.0, "task": "vehicle" });
    for _ in 0..100 {
        client.publish("slmd/n/request", body.to_string(), request("clients/a", "same"));
    }
    let first = client.hear_on("clients/a", SOON).expect("an answer");
    client.hear_all(Duration::from_millis(500));
    for _ in 0..5 {
        client.publish("slmd/n/request", body.to_string(), request("clients/a", "same"));
        let again = client.hear_on("clients/a", SOON).expect("an answer");
        assert_eq!(again.payload, first.payload);
    }
    let status = wait_for_status(&broker, "n", |s| s["mqtt"]["repeated"].as_u64() >= Some(104));
    assert_eq!((&status["mqtt"]["accepted"], &status["answered"]), (&json!(1), &json!(1)));
}

#[test]
fn a_client_in_the_dark_finds_its_answer_later() {
    let Some((broker, _daemon)) = start("") else { return };
    let sender = Requester::connect(broker.port(), "sender", &["clients/other"]);
    sender.publish("slmd/n/request/vehicle", "lights on", request("clients/late", "k"));
    wait_for_status(&broker, "n", |s| s["mqtt"]["unheard"] == 1);
    let client = Requester::connect(broker.port(), "late", &["clients/late"]);
    assert!(client.hear(Duration::from_millis(300)).is_none());
    let answer = client.ask("slmd/n/request/vehicle", "clients/late", "k", json!("ignored"));
    assert_eq!(answer.expect("the kept answer")["status"], "ok");
}

#[test]
fn deltas_stream_to_the_id() {
    let Some(model) = common::model_dir("stories260k-fp32") else { return };
    let Some(broker) = Mosquitto::start("") else { return };
    let model = model.display().to_string();
    let _daemon = Daemon::start(&config(&broker, "n", ""), &["--model", &model]);
    wait_until_online(&broker, "n");
    let client = Requester::connect(broker.port(), "a", &["clients/a", "slmd/n/stream/s-1"]);
    let body = json!({ "prompt": "Once", "max_tokens": 60, "stream": true, "id": "s-1" });
    client.publish("slmd/n/request", body.to_string(), request("clients/a", "c"));
    let mut streamed = String::new();
    let answer = loop {
        let heard = client.hear(SOON).expect("an answer");
        match heard.topic.as_str() {
            "clients/a" => break heard.json(),
            _ => streamed.push_str(heard.json()["delta"].as_str().expect("a delta")),
        }
    };
    // Deltas have QoS 0 and may still be on their way.
    for heard in client.hear_all(Duration::from_millis(300)) {
        streamed.push_str(heard.json()["delta"].as_str().expect("a delta"));
    }
    assert_eq!(answer["text"].as_str(), Some(streamed.as_str()));
}

/// So many tokens, one a digit: random weights would come to an end by themselves.
fn long_tale(tokens: u32) -> Value {
    json!({
        "prompt": "Once", "best_effort": true, "deadline_ms": 120_000, "max_tokens": tokens,
        "response_format": { "type": "regex", "regex": format!("[0-9]{{{tokens}}}") },
    })
}

/// A model that takes its time, so that there is something to wait behind.
fn slow(more: &str) -> Option<(Mosquitto, Daemon)> {
    let model = common::model_dir("smollm2-135m-int4")?.display().to_string();
    let broker = Mosquitto::start("")?;
    let daemon = Daemon::start(&config(&broker, "n", more), &["--model", &model]);
    wait_until_online(&broker, "n");
    Some((broker, daemon))
}

#[test]
fn urgent_prompts_and_cancels_arrive_while_the_queue_is_full() {
    let queue = "[budget]\nqueue = 4\nsessions = 1\ncontext-tokens = 1024\n";
    let Some((broker, _daemon)) = slow(queue) else { return };
    let client = Requester::connect(broker.port(), "a", &["clients/#"]);
    let long = |id: &str| {
        let mut body = long_tale(900);
        body["id"] = id.into();
        body.to_string()
    };
    for i in 0..5 {
        let id = format!("long-{i}");
        client.publish("slmd/n/request", long(&id), request("clients/long", &id));
    }
    wait_for_status(&broker, "n", |s| s["queue"]["waiting"] == 4);
    let refused = client.ask("slmd/n/request", "clients/more", "more", json!({ "prompt": "x" }));
    assert_eq!(refused.expect("a reply")["error"]["code"], "busy");
    let urgent = json!({ "prompt": "hi", "max_tokens": 2, "priority": "urgent" });
    let asked = Instant::now();
    let answer = client.ask("slmd/n/request", "clients/urgent", "u", urgent).expect("a reply");
    assert_eq!(answer["status"], "ok", "{answer}");
    println!("urgent after {:?}", asked.elapsed());
    let asked = Instant::now();
    client.publish("slmd/n/cancel/long-0", "", PublishProperties::default());
    let cancelled = loop {
        let heard = client.hear(SOON).expect("the cancelled one");
        if heard.correlation.as_deref() == Some(b"long-0") {
            break heard.json();
        }
    };
    println!("cancelled after {:?}", asked.elapsed());
    assert_eq!(cancelled["error"]["code"], "cancelled");
    for i in 1..5 {
        client.publish(&format!("slmd/n/cancel/long-{i}"), "", PublishProperties::default());
    }
}

#[test]
fn quotas_hold_by_topic() {
    let more = "[[mqtt.quota]]\ntopic = \"slmd/n/request/vehicle\"\nrequests-per-minute = 2\n\
                max-priority = \"normal\"\n";
    let Some((broker, _daemon)) = start(more) else { return };
    let client = Requester::connect(broker.port(), "a", &["clients/a"]);
    let ask = |correlation: &str, body: Value| {
        let answer = client.ask("slmd/n/request/vehicle", "clients/a", correlation, body);
        let answer = answer.expect("a reply");
        answer["error"]["code"].as_str().unwrap_or("ok").to_owned()
    };
    assert_eq!(ask("0", json!({ "prompt": "x", "priority": "urgent" })), "over_quota");
    assert_eq!(ask("1", vehicle()), "ok");
    assert_eq!(ask("2", vehicle()), "ok");
    assert_eq!(ask("3", vehicle()), "over_quota");
    assert_eq!(ask("2", vehicle()), "ok", "a known key costs nothing");
}

#[test]
fn presence_tells_life_and_death() {
    let more = "home-assistant = \"homeassistant\"\n";
    let Some((broker, mut daemon)) = start(more) else { return };
    let watcher = Requester::connect(broker.port(), "w", &["slmd/n/status", "homeassistant/#"]);
    let heard = watcher.hear_all(Duration::from_secs(1));
    let configs = heard.iter().filter(|h| h.topic.ends_with("/config")).count();
    assert_eq!(configs, 4);
    let status = heard.iter().find(|h| h.topic == "slmd/n/status").expect("retained").json();
    for field in ["boot_id", "version", "model", "engine", "queue", "rss_bytes", "journal", "mqtt"]
    {
        assert!(!status[field].is_null(), "{field} in {status}");
    }
    daemon.kill();
    let lost = watcher.hear_on("slmd/n/status", SOON).expect("the will").json();
    assert_eq!((&lost["state"], &lost["reason"]), (&json!("offline"), &json!("lost")));
    daemon.start_again();
    daemon.wait_until_it_serves();
    let back = watcher.hear_on("slmd/n/status", SOON).expect("back").json();
    assert_eq!(back["state"], "online");
    daemon.terminate();
    assert!(daemon.wait().success());
    let stopped = loop {
        let status = watcher.hear_on("slmd/n/status", SOON).expect("a good-bye").json();
        if status["state"] == "offline" {
            break status;
        }
    };
    assert_eq!(stopped["reason"], "stopped");
}

#[test]
fn killed_at_work_it_answers_after_the_restart() {
    let Some((broker, mut daemon)) = slow("[budget]\ncontext-tokens = 512\n") else { return };
    let client = Requester::connect(broker.port(), "a", &["clients/a"]);
    for i in 0..6 {
        let body =
            json!({ "prompt": format!("tale {i}"), "max_tokens": 60, "deadline_ms": 60_000 });
        client.publish("slmd/n/request", body.to_string(), request("clients/a", &i.to_string()));
    }
    let first = client.hear(SOON).expect("an answer");
    daemon.kill();
    daemon.start_again();
    let mut answers = std::collections::BTreeMap::new();
    answers.insert(first.correlation.clone(), first.payload.clone());
    while answers.len() < 6 {
        let heard = client.hear(Duration::from_secs(30)).expect("all are answered");
        assert_eq!(heard.json()["status"], "ok", "{heard:?}");
        let before = answers.insert(heard.correlation.clone(), heard.payload.clone());
        assert!(before.is_none_or(|b| b == heard.payload), "two answers for one key");
    }
}

#[test]
fn stopped_in_order_it_keeps_what_it_could_not_finish() {
    let Some((broker, mut daemon)) = slow("[budget]\ncontext-tokens = 1024\nsessions = 1\n") else {
        return;
    };
    let client = Requester::connect(broker.port(), "a", &["clients/a"]);
    for i in 0..5 {
        let body = long_tale(100);
        client.publish("slmd/n/request", body.to_string(), request("clients/a", &i.to_string()));
    }
    wait_for_status(&broker, "n", |s| s["mqtt"]["accepted"] == 5);
    daemon.signal(Signal::SIGTERM);
    // The second signal ends the wait for what is under way.
    std::thread::sleep(Duration::from_millis(300));
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().success());
    daemon.start_again();
    let mut answered = std::collections::BTreeSet::new();
    while answered.len() < 5 {
        let heard = client.hear(Duration::from_secs(60)).expect("all are answered");
        assert_eq!(heard.json()["status"], "ok", "{heard:?}");
        answered.insert(heard.correlation);
    }
}

#[test]
fn a_broker_without_memory_gets_all_unconfirmed_answers_again() {
    let Some((mut broker, _daemon)) = slow("[budget]\ncontext-tokens = 1024\n") else { return };
    let client = Requester::connect(broker.port(), "a", &["clients/a"]);
    for i in 0..4 {
        let body = long_tale(200);
        client.publish("slmd/n/request", body.to_string(), request("clients/a", &i.to_string()));
    }
    wait_for_status(&broker, "n", |s| s["mqtt"]["accepted"] == 4);
    drop(client);
    broker.kill();
    broker.forget();
    std::thread::sleep(Duration::from_secs(3));
    broker.restart();
    let client = Requester::connect(broker.port(), "b", &["clients/a"]);
    let mut answered = std::collections::BTreeSet::new();
    while answered.len() < 4 {
        let heard = client.hear(Duration::from_secs(60)).expect("all are published again");
        answered.insert(heard.correlation);
    }
}

#[test]
fn watches_turn_sensors_into_alerts() {
    let more = "[[watch]]\nname = \"hot\"\ntopic = \"factory/+/temperature\"\nvalue = \"/c\"\n\
                window = \"60s\"\nmin-samples = 1\nwhen = \"last > 80\"\nclear = \"last < 70\"\n\
                task = \"alert\"\npublish = \"factory/{1}/alert\"\nretain = true\n";
    let Some((broker, _daemon)) = start(more) else { return };
    let client = Requester::connect(broker.port(), "a", &["factory/+/alert"]);
    let sample = |value: f32| {
        let body = json!({ "c": value }).to_string();
        client.publish("factory/press/temperature", body, PublishProperties::default());
    };
    [60.0, 70.0, 79.0].into_iter().for_each(sample);
    assert!(client.hear(Duration::from_millis(500)).is_none(), "the rule does not hold");
    sample(85.0);
    let alert = client.hear(SOON).expect("an alert");
    assert_eq!(alert.topic, "factory/press/alert");
    let body = alert.json();
    assert_eq!((&body["state"], body["stats"]["last"].as_f64()), (&json!("alert"), Some(85.0)));
    assert!(body["answer"].is_object(), "{body}");
    sample(75.0);
    assert!(client.hear(Duration::from_millis(500)).is_none(), "hysteresis");
    sample(65.0);
    assert_eq!(client.hear(SOON).expect("it is over").json()["state"], "cleared");
    let late = Requester::connect(broker.port(), "late", &["factory/+/alert"]);
    let kept = late.hear(SOON).expect("retained");
    assert!(kept.retain);
    assert_eq!(kept.json()["state"], "cleared");
}

#[test]
fn a_group_shares_the_work_and_a_draining_member_leaves_first() {
    let Some(broker) = Mosquitto::start("") else { return };
    let member = |node: &str| Daemon::start(&config(&broker, node, "groups = [\"line\"]"), &[]);
    let (mut one, two) = (member("one"), member("two"));
    wait_until_online(&broker, "one");
    wait_until_online(&broker, "two");
    let client = Requester::connect(broker.port(), "a", &["clients/a"]);
    for i in 0..20 {
        let answer =
            client.ask("slmd/group/line/request/vehicle", "clients/a", &i.to_string(), vehicle());
        assert_eq!(answer.expect("an answer")["status"], "ok");
    }
    for node in ["one", "two"] {
        let status = wait_for_status(&broker, node, |s| s["answered"].as_u64() >= Some(8));
        assert!(status["answered"].as_u64() <= Some(12), "{status}");
    }
    one.terminate();
    assert!(one.wait().success());
    for i in 20..30 {
        let answer =
            client.ask("slmd/group/line/request/vehicle", "clients/a", &i.to_string(), vehicle());
        assert_eq!(answer.expect("the other one answers")["status"], "ok");
    }
    drop(two);
}
