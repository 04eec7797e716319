//! F11: the daemon's memory without MQTT, with it, and with TLS.

use crate::mosquitto::{Mosquitto, free_port};
use crate::peer::Peer;
use crate::process::{Memory, memory_of};
use crate::report::{Report, Spread};
use crate::site;
use clap::Args;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use slmd::client::Client;
use slmd::wire::{Ask, Codec};
use std::path::Path;
use std::time::Duration;

/// Bytes over the daemon without MQTT.
const MOST_MORE: f64 = 2e6;

#[derive(Args, Clone)]
pub struct Options {
    /// Starts of each daemon, of which the median counts.
    #[arg(long, default_value_t = 3)]
    starts: usize,
    /// Requests between the two looks at one daemon.
    #[arg(long, default_value_t = 1000)]
    requests: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { starts: 3, requests: 1000 }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Socket,
    Plain,
    Tls,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Socket => "without [mqtt]",
            Self::Plain => "with [mqtt]",
            Self::Tls => "with [mqtt], TLS",
        }
    }
}

pub fn measure(slmd: &Path, options: &Options) -> Report {
    let head = [
        "daemon",
        "idle RSS MB",
        "idle anonymous MB",
        "RSS MB after the requests",
        "anonymous MB after the requests",
    ];
    let mut report = Report::new("memory", &head);
    let broker = Broker::start();
    let ways = [Way::Socket, Way::Plain, Way::Tls];
    let mut seen = ways.map(|way| (way, Vec::new()));
    // In turns, so that whatever the machine does meets all alike.
    for start in 0..options.starts {
        for (way, looks) in &mut seen {
            eprintln!("memory: {}, start {} of {}", way.name(), start + 1, options.starts);
            looks.push(look(slmd, &broker, *way, options.requests));
        }
    }
    let medians = seen.map(|(way, looks)| (way, Medians::of(&looks)));
    let base = medians[0].1;
    for (way, medians) in medians {
        let mb = |bytes: f64| format!("{:.2}", bytes / 1e6);
        let cells = std::iter::once(way.name().to_owned()).chain(medians.0.map(mb));
        report.row(cells, json!({ "daemon": way.name(), "bytes": medians.json() }));
        if way == Way::Socket {
            continue;
        }
        for (figure, what) in Medians::NAMES.iter().enumerate() {
            let more = medians.0[figure] - base.0[figure];
            let aim = format!("{}: {what} {:+.2} MB, at most +2", way.name(), more / 1e6);
            report.aim(aim, more <= MOST_MORE);
        }
    }
    report
}

/// RSS and anonymous memory, idle; the same after the requests. In bytes.
#[derive(Clone, Copy)]
struct Medians([f64; 4]);

impl Medians {
    const NAMES: [&'static str; 4] =
        ["idle RSS", "idle anonymous", "RSS after the requests", "anonymous after the requests"];

    fn of(looks: &[[Memory; 2]]) -> Self {
        let median = |pick: &dyn Fn(&[Memory; 2]) -> u64| {
            Spread::of(&looks.iter().map(|l| pick(l) as f64).collect::<Vec<_>>()).median
        };
        Self([
            median(&|l| l[0].rss),
            median(&|l| l[0].anonymous),
            median(&|l| l[1].rss),
            median(&|l| l[1].anonymous),
        ])
    }

    fn json(self) -> Value {
        Self::NAMES.iter().zip(self.0).map(|(name, b)| ((*name).to_owned(), json!(b))).collect()
    }
}

/// Before and after the requests, which go the daemon's own way.
fn look(slmd: &Path, broker: &Broker, way: Way, requests: usize) -> [Memory; 2] {
    let ca = broker.mosquitto.dir().join("ca.pem");
    let config = match way {
        Way::Socket => "engine = \"tract\"\n".to_owned(),
        Way::Plain => site::config(&broker.mosquitto.url(), "", ""),
        Way::Tls => site::config(
            &format!("mqtts://127.0.0.1:{}", broker.tls_port),
            &format!("ca-file = {:?}", ca.display().to_string()),
            "",
        ),
    };
    let port = broker.mosquitto.port();
    let daemon = match way {
        Way::Socket => crate::daemon::Daemon::start_logging(slmd, &config, &[], "warn"),
        Way::Plain | Way::Tls => site::start(slmd, "warn", &config, None, port),
    };
    let rest = || {
        std::thread::sleep(Duration::from_secs(2));
        memory_of(daemon.pid())
    };
    let idle = rest();
    let body = json!({ "task": "vehicle", "prompt": "warmer in the back" }).to_string();
    match way {
        Way::Socket => {
            let mut client =
                Client::connect_with(daemon.socket(), Codec::JsonLines).expect("it listens");
            let ask = Ask {
                task: Some("vehicle".into()),
                prompt: Some("warmer in the back".into()),
                ..Ask::default()
            };
            for _ in 0..requests {
                client.ask(&ask, |_| {}).expect("an answer");
            }
        }
        Way::Plain | Way::Tls => {
            let mut client = Peer::connect(port, &["clients/memory"]);
            for i in 0..requests {
                let correlation = format!("memory-{i}");
                client.ask(site::REQUEST, "clients/memory", &correlation, body.as_bytes());
            }
        }
    }
    [idle, rest()]
}

/// One that listens twice: in plain text and with TLS.
struct Broker {
    mosquitto: Mosquitto,
    tls_port: u16,
}

impl Broker {
    fn start() -> Self {
        let tls_port = free_port();
        let extras = format!(
            "persistence false\nlog_type none\nlistener {tls_port} 127.0.0.1\ncafile DIR/ca.pem\n\
             certfile DIR/broker.pem\nkeyfile DIR/broker.key"
        );
        let mosquitto = Mosquitto::start_in(certificates(), "allow_anonymous true", &extras);
        Self { mosquitto: mosquitto.expect("mosquitto was found before"), tls_port }
    }
}

/// `ca.pem`, `broker.pem` and `broker.key`.
fn certificates() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: String| {
        std::fs::write(dir.path().join(name), text).expect("writable");
    };
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("sound");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write("ca.pem", params.self_signed(&key).expect("signed").pem());
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".into()]).expect("sound");
    write("broker.pem", params.signed_by(&key, &issuer).expect("signed").pem());
    write("broker.key", key.serialize_pem());
    dir
}
