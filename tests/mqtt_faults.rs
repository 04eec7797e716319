//! The scenarios of `benches/faults` with small counts: the same code, the same conditions.

mod common;
#[path = "common/fake_broker.rs"]
mod fake_broker;
#[path = "../benches/faults/scenario/mod.rs"]
mod scenario;

use common::daemon::Daemon;
use fake_broker::{CONNACK, FakeBroker, framed, publish};
use rumqttc::mqttbytes::v5::Packet;
use scenario::{Chance, Outcome, Setup, fleet, fresh_broker, kill_broker, kill_daemon, same_key};
use serde_json::Value;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// Runs one with the test model; skipped without it or without mosquitto.
fn check(run: impl FnOnce(&Setup) -> Option<Outcome>) {
    let Some(model) = common::model_dir("stories260k-fp32") else { return };
    let slmd = Path::new(env!("CARGO_BIN_EXE_slmd")).to_owned();
    let seed = Chance::fresh_seed();
    println!("seed {seed}");
    let Some(outcome) = run(&Setup { slmd, model, seed }) else { return };
    println!("{}", outcome.table());
    assert!(outcome.is_good(), "{}", outcome.table());
}

#[test]
fn slmd_killed_loses_nothing() {
    check(|setup| kill_daemon::run(setup, kill_daemon::Plan { count: 6, longest_ms: 800 }));
}

#[test]
fn the_broker_killed_loses_nothing_of_slmds() {
    check(|setup| {
        kill_broker::run(setup, kill_broker::Plan { count: 3, shortest_ms: 200, longest_ms: 1500 })
    });
}

#[test]
fn a_broker_without_memory_gets_every_unconfirmed_answer_again() {
    check(|setup| fresh_broker::run(setup, fresh_broker::Plan { count: 1, prompts: 32 }));
}

#[test]
fn one_key_is_one_inference() {
    check(|setup| same_key::run(setup, same_key::Plan { count: 100, rounds: 1 }));
}

#[test]
fn a_fleet_shares_the_work_and_loses_nothing() {
    check(|setup| fleet::run(setup, fleet::Plan { count: 120 }));
}

/// Confirms everything; a prompt of its own crosses slmd's good-bye. Says what slmd published
/// after that, and whether it acknowledged the prompt.
fn crossing(mut client: fake_broker::Client, said: &mpsc::Sender<(Option<Value>, bool)>) {
    client.say(CONNACK);
    let (mut refusal, mut is_acked) = (None, false);
    while let Some(bytes) = client.packet() {
        match Packet::read(&mut bytes.as_slice().into(), None) {
            Ok(Packet::Subscribe(subscribe)) => {
                let codes = vec![1; subscribe.filters.len()];
                let id = subscribe.pkid.to_be_bytes();
                client.say(&framed(0x90, &[&id[..], &[0], &codes].concat()));
            }
            Ok(Packet::Unsubscribe(unsubscribe)) => {
                let prompt = br#"{"prompt":"x","id":"7","reply_to":"slmd/n/response/a"}"#;
                client.say(&publish("slmd/n/request", 9, prompt));
                let codes = vec![0; unsubscribe.filters.len()];
                let id = unsubscribe.pkid.to_be_bytes();
                client.say(&framed(0xb0, &[&id[..], &[0], &codes].concat()));
            }
            Ok(Packet::Publish(message)) => {
                if message.topic == "slmd/n/response/a".as_bytes() {
                    refusal = serde_json::from_slice(&message.payload).ok();
                }
                client.say(&framed(0x40, &message.pkid.to_be_bytes()));
            }
            Ok(Packet::PubAck(ack)) => is_acked |= ack.pkid == 9,
            _ => {}
        }
    }
    let _ = said.send((refusal, is_acked));
}

#[test]
fn a_prompt_that_crosses_the_good_bye_is_refused_and_not_left_behind() {
    let (said, heard) = mpsc::channel();
    let broker = FakeBroker::start(move |client, _| crossing(client, &said));
    let config = format!(
        "engine = \"tract\"\n[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\nnode = \"n\"\n",
        broker.port()
    );
    let mut daemon = Daemon::start(&config, &[]);
    while broker.clients() == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(300));
    daemon.terminate();
    let (refusal, is_acked) = heard.recv_timeout(Duration::from_secs(20)).expect("it goes down");
    let refusal = refusal.expect("a reply to the prompt");
    assert_eq!(refusal["error"]["code"], "shutting_down", "{refusal}");
    assert_eq!(refusal["error"]["retryable"], true);
    assert!(is_acked, "the prompt is acknowledged once it is refused");
    assert!(daemon.wait().success());
}
