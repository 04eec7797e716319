//! F7: an urgent prompt, and a cancel, while all seats are taken.

use crate::peer::{Heard, Peer, request};
use crate::report::{Report, Spread};
use crate::site::{self, REQUEST};
use clap::Args;
use serde_json::{Value, json};
use slmd::client::Client;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

const SESSIONS: usize = 2;
const QUEUE: usize = 8;
/// `latency.max-step-ms`, the default.
const STEP_MS: f64 = 60.0;
/// Beside one step.
const MARGIN_MS: f64 = 50.0;
const LONG: Duration = Duration::from_secs(120);

#[derive(Args, Clone)]
pub struct Options {
    /// Urgent prompts, and cancels, of each kind.
    #[arg(long, default_value_t = 40)]
    trials: usize,
    /// Tokens of the prompts and of the answers that fill the seats; the context is 1024. Of those
    /// that are promised a third, because an urgent prompt waits for their end.
    #[arg(long, default_value_t = 300)]
    tokens: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { trials: 40, tokens: 300 }
    }
}

pub fn measure(slmd: &Path, options: &Options) -> Report {
    let mut report = Report::new("urgent", &["what", "count", "median ms", "p99", "max"]);
    let Some(model) = site::test_model("smollm2-135m-int4") else { return report };
    let broker = site::bare_broker("");
    let budget = format!(
        "[budget]\nqueue = {QUEUE}\nsessions = {SESSIONS}\ncontext-tokens = 1024\n[latency]\n\
         max-step-ms = {STEP_MS}"
    );
    let config = site::config(&broker.url(), "status-interval-s = 3600", &budget);
    let daemon = site::start(slmd, "warn", &config, Some(&model), broker.port());
    let mut crowd = Crowd::open(broker.port(), daemon.client(), options.tokens);
    let idle: Vec<f64> = (0..options.trials).map(|_| crowd.urgent()).collect();
    tell(&mut report, "urgent, nothing else: first delta", &idle);
    for is_promised in [false, true] {
        run(&mut report, &mut crowd, options, is_promised);
    }
    report
}

fn run(report: &mut Report, crowd: &mut Crowd, options: &Options, is_promised: bool) {
    let kind = if is_promised { "promised" } else { "best effort" };
    let (mut urgent, mut waiting, mut running) = (Vec::new(), Vec::new(), Vec::new());
    let before = crowd.steps();
    for number in 1..=options.trials {
        crowd.fill(is_promised);
        // At any moment of a step.
        std::thread::sleep(Duration::from_millis(number as u64 * 37 % 101));
        urgent.push(crowd.urgent());
        crowd.fill(is_promised);
        // The oldest that is left runs, the newest waits.
        running.extend(crowd.cancel(false));
        crowd.fill(is_promised);
        waiting.extend(crowd.cancel(true));
        eprintln!("urgent: {kind}, {number} of {}", options.trials);
    }
    let after = crowd.steps();
    crowd.leave();
    let ms = |steps: usize, us: usize| (after[us] - before[us]) / (after[steps] - before[steps]);
    let (decode_ms, prefill_ms) = (ms(0, 1) / 1e3, ms(2, 3) / 1e3);
    let urgent_row = format!("urgent, seats taken by {kind} prompts: first delta");
    let urgent = tell(report, &urgent_row, &urgent);
    let cancels: Vec<f64> = running.iter().chain(&waiting).copied().collect();
    tell(report, &format!("cancel of one that runs ({kind})"), &running);
    tell(report, &format!("cancel of one that waits ({kind})"), &waiting);
    let steps = format!("steps meanwhile: decode {decode_ms:.1} ms, prefill {prefill_ms:.1} ms");
    let most = STEP_MS + MARGIN_MS;
    if is_promised {
        // A promise is not broken for an urgent prompt: it waits for a seat, and that is no aim.
        report.aim(format!("(urgent waits for a promised seat; {steps})"), true);
    } else {
        let aim = format!("urgent, {kind}: first delta within {STEP_MS} + {MARGIN_MS} ms; {steps}");
        report.aim(aim, urgent.high <= most);
    }
    let aim = format!("cancel, {kind}: within {STEP_MS} + {MARGIN_MS} ms");
    report.aim(aim, Spread::of(&cancels).high <= most);
}

fn tell(report: &mut Report, what: &str, ms: &[f64]) -> Spread {
    let spread = Spread::of(ms);
    let cells = [what.to_owned(), spread.count.to_string()].into_iter().chain(spread.cells());
    report.row(cells, json!({ "what": what, "ms": spread.json() }));
    spread
}

/// A client whose prompts take all seats.
struct Crowd {
    peer: Peer,
    socket: Client,
    tokens: usize,
    /// Numbers of those that were not answered yet.
    seated: BTreeSet<u64>,
    count: u64,
}

impl Crowd {
    fn open(port: u16, socket: Client, tokens: usize) -> Self {
        let peer = Peer::connect(port, &["clients/crowd", "slmd/n/stream/#"]);
        Self { peer, socket, tokens, seated: BTreeSet::new(), count: 0 }
    }

    /// Until every seat is taken.
    fn fill(&mut self, is_promised: bool) {
        let began = Instant::now();
        loop {
            while let Some(heard) = self.peer.hear(Duration::from_millis(1)) {
                self.note(&heard);
            }
            while self.seated.len() < SESSIONS + QUEUE {
                let number = self.fresh();
                self.peer.publish(REQUEST, self.tale(number, is_promised), Self::request(number));
                self.seated.insert(number);
            }
            let status = self.socket.status().expect("a status");
            let taken = &status["requests"];
            if taken["waiting"] == QUEUE && taken["running"] == SESSIONS {
                return;
            }
            assert!(began.elapsed() < LONG, "the seats are not taken: {taken}");
        }
    }

    /// The time to the first delta, in milliseconds; returns when the answer is there.
    fn urgent(&mut self) -> f64 {
        let number = self.fresh();
        let id = format!("u-{number}");
        let body = json!({
            "prompt": "hi", "max_tokens": 4, "priority": "urgent", "stream": true, "id": id,
            "response_format": { "type": "regex", "regex": "[0-9]{4}" }, "deadline_ms": 60_000,
        });
        let began = Instant::now();
        self.peer.publish(REQUEST, body.to_string(), Self::request(number));
        let (topic, mut first) = (format!("slmd/n/stream/{id}"), None);
        loop {
            let heard = self.peer.hear(LONG).expect("an answer");
            if heard.topic == topic {
                first.get_or_insert(heard.at);
            } else if heard.is_about(&number.to_string()) {
                let answer = heard.json();
                assert_eq!(answer["status"], "ok", "{answer}");
                return (first.unwrap_or(heard.at) - began).as_secs_f64() * 1e3;
            } else {
                self.note(&heard);
            }
        }
    }

    /// The time to the `cancelled` of the newest or the oldest; none if its answer was faster.
    fn cancel(&mut self, newest: bool) -> Option<f64> {
        let seated = &self.seated;
        let number = *if newest { seated.last() } else { seated.first() }.expect("all are taken");
        let began = Instant::now();
        self.peer.publish(&format!("slmd/n/cancel/c-{number}"), "", Default::default());
        loop {
            let heard = self.peer.hear(LONG).expect("an answer");
            self.note(&heard);
            if heard.is_about(&number.to_string()) {
                let took_ms = (heard.at - began).as_secs_f64() * 1e3;
                return (heard.json()["error"]["code"] == "cancelled").then_some(took_ms);
            }
        }
    }

    fn leave(&mut self) {
        while !self.seated.is_empty() {
            self.cancel(true);
        }
    }

    /// Steps so far and their microseconds: decode, then prefill.
    fn steps(&mut self) -> [f64; 4] {
        let status = self.socket.status().expect("a status");
        ["decode", "decode_us", "prefill", "prefill_us"]
            .map(|field| status["steps"][field].as_f64().expect("it counts its steps"))
    }

    fn note(&mut self, heard: &Heard) {
        let correlation = heard.properties.correlation_data.as_deref().unwrap_or_default();
        let number = std::str::from_utf8(correlation).ok().and_then(|text| text.parse().ok());
        if let Some(number) = number {
            self.seated.remove(&number);
        }
    }

    fn tale(&self, number: u64, is_promised: bool) -> String {
        let tokens = if is_promised { self.tokens / 3 } else { self.tokens };
        let mut body: Value = json!({
            "prompt": "the of and to in a is that for it ".repeat(tokens / 10),
            "max_tokens": tokens, "deadline_ms": 600_000, "best_effort": !is_promised,
            "response_format": { "type": "regex", "regex": format!("[0-9]{{{tokens}}}") },
        });
        body["id"] = format!("c-{number}").into();
        body.to_string()
    }

    fn request(number: u64) -> rumqttc::mqttbytes::v5::PublishProperties {
        request("clients/crowd", &number.to_string())
    }

    fn fresh(&mut self) -> u64 {
        self.count += 1;
        self.count
    }
}
