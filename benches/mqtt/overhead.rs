//! F10: the same prompt by the socket and by MQTT, and past slmd through the broker alone, in turns
//! on one daemon.

use crate::peer::Peer;
use crate::process::{Others, wait_for_quiet};
use crate::report::{Report, Spread};
use crate::site;
use clap::Args;
use serde_json::{Value, json};
use slmd::client::Client;
use slmd::wire::{Ask, Codec};
use std::path::Path;
use std::time::{Duration, Instant};

/// A block is calm if others used less of the processors; the same for whatever came out.
const CALM: f64 = 0.05;
/// Milliseconds over the socket, of 99 of 100 pairs.
const MOST_MS: f64 = 3.0;

#[derive(Args, Clone)]
pub struct Options {
    /// Blocks of pairs; each is judged by itself and all together.
    #[arg(long, default_value_t = 10)]
    blocks: usize,
    /// Pairs of one block.
    #[arg(long, default_value_t = 300)]
    requests: usize,
    /// Only the set-ups whose name has this in it.
    #[arg(long, default_value = "")]
    only: String,
    /// Of the random order within the pairs.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds to wait at most for a quiet machine before each block.
    #[arg(long, default_value_t = 20)]
    patience: u64,
    /// More lines of mosquitto's configuration, such as `set_tcp_nodelay true`.
    #[arg(long, default_value = "")]
    broker: String,
}

impl Default for Options {
    fn default() -> Self {
        let (only, broker) = (String::new(), String::new());
        Self { blocks: 10, requests: 300, only, seed: 1, patience: 20, broker }
    }
}

/// One prompt on one daemon.
struct Setup {
    name: &'static str,
    model: Option<&'static str>,
    task: Option<&'static str>,
    prompt: &'static str,
    max_tokens: Option<u32>,
    durability: &'static str,
}

const VEHICLE: Setup = Setup {
    name: "vehicle, sync",
    model: None,
    task: Some("vehicle"),
    prompt: "warmer in the back",
    max_tokens: None,
    durability: "sync",
};
const ONE_TOKEN: Setup = Setup {
    name: "one token, sync",
    model: Some("stories260k-fp32"),
    task: None,
    prompt: "Once",
    max_tokens: Some(1),
    durability: "sync",
};

const SETUPS: [Setup; 4] = [
    VEHICLE,
    Setup { name: "vehicle, volatile", durability: "volatile", ..VEHICLE },
    ONE_TOKEN,
    Setup { name: "one token, volatile", durability: "volatile", ..ONE_TOKEN },
];

pub fn measure(slmd: &Path, options: &Options) -> Report {
    let head = [
        "set-up",
        "ms",
        "pairs",
        "median",
        "p99",
        "max",
        "p99 of the blocks",
        "calm blocks",
        "p99 of those",
    ];
    let mut report = Report::new("overhead", &head);
    for setup in SETUPS.iter().filter(|s| s.name.contains(&options.only)) {
        let model = match setup.model.map(site::test_model) {
            Some(None) => continue,
            found => found.flatten(),
        };
        let blocks = run(slmd, options, setup, model.as_deref());
        tell(&mut report, setup, &blocks);
    }
    report
}

/// Milliseconds by each way, pair by pair.
#[derive(Default)]
struct Block {
    socket: Vec<f64>,
    mqtt: Vec<f64>,
    broker: Vec<f64>,
    /// The share of the processors that others used meanwhile.
    others: f64,
}

impl Block {
    fn differences(&self) -> Vec<f64> {
        self.mqtt.iter().zip(&self.socket).map(|(mqtt, socket)| mqtt - socket).collect()
    }
}

fn run(slmd: &Path, options: &Options, setup: &Setup, model: Option<&Path>) -> Vec<Block> {
    let broker = site::bare_broker(&options.broker);
    let journal = format!("[journal]\ndurability = {:?}", setup.durability);
    let config = site::config(&broker.url(), "status-interval-s = 3600", &journal);
    let daemon = site::start(slmd, "warn", &config, model, broker.port());
    echo(broker.port());
    let mut ways = Ways::open(&daemon.socket(), broker.port(), setup);
    // What is done once is not counted.
    ways.pairs(options.requests.min(50), &mut Order(options.seed));
    let mut order = Order(options.seed);
    let mut blocks = Vec::new();
    for number in 1..=options.blocks {
        wait_for_quiet(Duration::from_secs(options.patience));
        let others = Others::than(&[daemon.pid(), broker.pid()]);
        let block = ways.pairs(options.requests, &mut order);
        let block = Block { others: others.share(), ..block };
        eprintln!(
            "overhead: {}, block {number} of {}: p99 of the difference {:.2} ms, others {:.1} %",
            setup.name,
            options.blocks,
            Spread::of(&block.differences()).p99,
            block.others * 100.0
        );
        blocks.push(block);
    }
    blocks
}

/// Answers with what it hears, as slmd would: by the broker.
fn echo(port: u16) {
    let mut peer = Peer::connect(port, &["echo/request"]);
    std::thread::spawn(move || {
        while let Some(heard) = peer.hear(Duration::from_secs(3600)) {
            let mut properties = heard.properties;
            let topic = properties.response_topic.take().expect("asked with one");
            peer.publish(&topic, heard.payload, properties);
        }
    });
}

/// The three ways, each with an open connection.
struct Ways {
    socket: Client,
    peer: Peer,
    ask: Ask,
    body: String,
    count: u64,
}

impl Ways {
    fn open(socket: &Path, port: u16, setup: &Setup) -> Self {
        let mut body = json!({ "prompt": setup.prompt, "temperature": 0.0 });
        if let Some(task) = setup.task {
            body["task"] = task.into();
        }
        if let Some(max_tokens) = setup.max_tokens {
            body["max_tokens"] = max_tokens.into();
        }
        let ask = Ask {
            prompt: Some(setup.prompt.into()),
            task: setup.task.map(str::to_owned),
            max_tokens: setup.max_tokens,
            temperature: Some(0.0),
            ..Ask::default()
        };
        Self {
            socket: Client::connect_with(socket, Codec::JsonLines).expect("it listens"),
            peer: Peer::connect(port, &["clients/overhead"]),
            ask,
            body: body.to_string(),
            count: 0,
        }
    }

    fn pairs(&mut self, count: usize, order: &mut Order) -> Block {
        let mut block = Block::default();
        for _ in 0..count {
            for way in order.next() {
                match way {
                    0 => block.socket.push(self.by_socket()),
                    1 => block.mqtt.push(self.by_mqtt(site::REQUEST)),
                    _ => block.broker.push(self.by_mqtt("echo/request")),
                }
            }
        }
        block
    }

    fn by_socket(&mut self) -> f64 {
        let began = Instant::now();
        self.socket.ask(&self.ask, |_| {}).expect("an answer");
        began.elapsed().as_secs_f64() * 1e3
    }

    fn by_mqtt(&mut self, topic: &str) -> f64 {
        self.count += 1;
        let correlation = format!("overhead-{}", self.count);
        let body = self.body.as_bytes();
        let (ms, heard) = self.peer.ask(topic, "clients/overhead", &correlation, body);
        assert!(topic != site::REQUEST || heard.json()["status"] == "ok", "{:?}", heard.payload);
        ms
    }
}

/// Random orders of the three.
struct Order(u64);

impl Order {
    fn next(&mut self) -> [usize; 3] {
        // Knuth's MMIX generator; the upper bits are good enough to shuffle three.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match (self.0 >> 33) % 6 {
            0 => [0, 1, 2],
            1 => [0, 2, 1],
            2 => [1, 0, 2],
            3 => [1, 2, 0],
            4 => [2, 0, 1],
            _ => [2, 1, 0],
        }
    }
}

/// Of a block, in milliseconds.
type Figures = fn(&Block) -> Vec<f64>;

fn tell(report: &mut Report, setup: &Setup, blocks: &[Block]) {
    let parts: [(&str, Figures); 4] = [
        ("socket", |b| b.socket.clone()),
        ("MQTT", |b| b.mqtt.clone()),
        ("MQTT less socket", Block::differences),
        ("broker alone", |b| b.broker.clone()),
    ];
    let calm: Vec<&Block> = blocks.iter().filter(|b| b.others < CALM).collect();
    for (part, pick) in parts {
        let whole = Spread::of(&blocks.iter().flat_map(pick).collect::<Vec<_>>());
        let each: Vec<Spread> = blocks.iter().map(|b| Spread::of(&pick(b))).collect();
        let p99s = Spread::of(&each.iter().map(|s| s.p99).collect::<Vec<_>>());
        let calmly = Spread::of(&calm.iter().flat_map(|b| pick(b)).collect::<Vec<_>>());
        let cells = [setup.name.to_owned(), part.to_owned(), whole.count.to_string()];
        let more = [
            format!("{:.2}-{:.2}", p99s.low, p99s.high),
            format!("{} of {}", calm.len(), blocks.len()),
            format!("{:.2}", calmly.p99),
        ];
        let each: Vec<Value> = each.into_iter().map(Spread::json).collect();
        report.row(
            cells.into_iter().chain(whole.cells()).chain(more),
            json!({
                "setup": setup.name, "part": part, "ms": whole.json(), "calm_ms": calmly.json(),
                "blocks": each, "others": blocks.iter().map(|b| b.others).collect::<Vec<_>>(),
            }),
        );
        if part == "MQTT less socket" {
            let (all, calm) = (whole.p99, calmly.p99);
            let aim = format!(
                "{}: p99 {calm:.2} ms in calm blocks ({all:.2} in all), at most {MOST_MS}",
                setup.name
            );
            report.aim(aim, calm <= MOST_MS);
        }
    }
}
