//! F6: the broker freezes. When the daemon notices, counted from the last bytes that it got.

use crate::daemon::Daemon;
use crate::mosquitto::Mosquitto;
use crate::peer::{Peer, request};
use crate::process::unsent_bytes_to;
use crate::report::{Report, Spread};
use crate::site::{self, REQUEST};
use clap::Args;
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const KEEP_ALIVE_S: u64 = 5;
/// Two keep-alives and five seconds.
const LATEST_S: f64 = (2 * KEEP_ALIVE_S + 5) as f64;
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Args, Clone)]
pub struct Options {
    /// Times that the broker freezes, of each kind.
    #[arg(long, default_value_t = 5)]
    trials: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { trials: 5 }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Idle,
    /// A long answer goes on; the other side's kernel still takes it.
    Streaming,
    /// As before, and next to nothing is taken, so that our own kernel's buffer fills.
    Narrow,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Streaming => "streaming",
            Self::Narrow => "streaming, nothing is read",
        }
    }
}

pub fn measure(slmd: &Path, options: &Options) -> Report {
    let head = [
        "when",
        "freezes",
        "noticed after s, median",
        "at most",
        "unsent in the kernel, bytes",
        "deltas left out",
        "back after s, at most",
    ];
    let mut report = Report::new("frozen", &head);
    let Some(model) = site::test_model("smollm2-135m-int4") else { return report };
    for kind in [Kind::Idle, Kind::Streaming, Kind::Narrow] {
        let place = Place::open(slmd, &model, kind);
        let trials: Vec<Trial> = (1..=options.trials)
            .map(|number| {
                let trial = place.freeze(kind, number);
                eprintln!(
                    "frozen: {}, {number} of {}: noticed {:.1} s after the last packet",
                    kind.name(),
                    options.trials,
                    trial.noticed_s
                );
                trial
            })
            .collect();
        tell(&mut report, kind, &trials, place.lost_deltas());
    }
    report
}

fn tell(report: &mut Report, kind: Kind, trials: &[Trial], lost_deltas: u64) {
    let spread = |pick: fn(&Trial) -> f64| Spread::of(&trials.iter().map(pick).collect::<Vec<_>>());
    let (noticed, unsent) = (spread(|t| t.noticed_s), spread(|t| t.unsent_bytes as f64));
    let back = spread(|t| t.back_s);
    report.row(
        [
            kind.name().to_owned(),
            trials.len().to_string(),
            format!("{:.1}", noticed.median),
            format!("{:.1}", noticed.high),
            format!("{:.0}", unsent.high),
            lost_deltas.to_string(),
            format!("{:.1}", back.high),
        ],
        json!({
            "when": kind.name(), "noticed_s": noticed.json(), "unsent_bytes": unsent.json(),
            "lost_deltas": lost_deltas, "back_s": back.json(),
        }),
    );
    let aim = format!("{}: noticed within {LATEST_S} s of the last packet", kind.name());
    report.aim(aim, noticed.high <= LATEST_S);
}

struct Trial {
    noticed_s: f64,
    unsent_bytes: u64,
    back_s: f64,
}

struct Place {
    broker: Mosquitto,
    line: Line,
    daemon: Daemon,
}

impl Place {
    fn open(slmd: &Path, model: &Path, kind: Kind) -> Self {
        let broker = site::bare_broker("");
        let line = Line::lay(broker.port(), kind == Kind::Narrow);
        let url = format!("mqtt://127.0.0.1:{}", line.port);
        let mqtt = format!("keep-alive-s = {KEEP_ALIVE_S}\nstatus-interval-s = 3600");
        let config = site::config(&url, &mqtt, "[budget]\nqueue = 16\ncontext-tokens = 1024");
        let daemon = site::start(slmd, "debug", &config, Some(model), broker.port());
        Self { broker, line, daemon }
    }

    fn freeze(&self, kind: Kind, number: usize) -> Trial {
        if kind == Kind::Idle {
            // At different times of the rhythm of pings.
            std::thread::sleep(Duration::from_millis(2000 + 1700 * number as u64));
        } else {
            self.start_streams(number);
        }
        let from = self.daemon.stderr().len();
        self.broker.freeze();
        self.line.is_held.store(kind == Kind::Narrow, Ordering::SeqCst);
        let last = self.line.last_word();
        let mut unsent_bytes = 0;
        let noticed = loop {
            unsent_bytes = unsent_bytes_to(self.line.port).max(unsent_bytes);
            let moment = Duration::from_millis(50);
            if let Some(at) = site::wait_for_log(&self.daemon, from, "no sign of life", moment) {
                break at;
            }
            assert!(last.elapsed() < PATIENCE, "it does not notice: {}", self.daemon.stderr());
        };
        // Bytes that were under way while it froze count as well.
        let last = self.line.last_word();
        let from = self.daemon.stderr().len();
        self.line.is_held.store(false, Ordering::SeqCst);
        self.broker.thaw();
        let thawed = Instant::now();
        let text = "link: connected broker=";
        let back = site::wait_for_log(&self.daemon, from, text, Duration::from_secs(60));
        self.cancel_streams(number);
        Trial {
            noticed_s: (noticed - last).as_secs_f64(),
            unsent_bytes,
            back_s: (back.expect("it comes back") - thawed).as_secs_f64(),
        }
    }

    /// More than enough for the time until it is noticed.
    fn start_streams(&self, number: usize) {
        let mut client = Peer::connect(self.broker.port(), &["slmd/n/stream/#"]);
        for i in 0..STREAMS {
            let body = json!({
                "prompt": "Once", "best_effort": true, "deadline_ms": 600_000, "max_tokens": 900,
                "response_format": { "type": "regex", "regex": "[0-9]{900}" },
                "stream": true, "id": format!("s-{number}-{i}"),
            });
            let properties = request("clients/frozen", &format!("{number}-{i}"));
            client.publish(REQUEST, body.to_string(), properties);
        }
        for _ in 0..50 {
            client.hear(Duration::from_secs(10)).expect("a delta");
        }
    }

    fn cancel_streams(&self, number: usize) {
        let mut client = Peer::connect(self.broker.port(), &[]);
        for i in 0..STREAMS {
            let topic = format!("slmd/n/cancel/s-{number}-{i}");
            client.publish(&topic, "", Default::default());
        }
        let idle = |status: &Value| status["queue"]["running"] == 0;
        site::wait_for_status(self.broker.port(), idle);
    }

    fn lost_deltas(&self) -> u64 {
        let status = site::wait_for_status(self.broker.port(), |_| true);
        status["mqtt"]["lost_deltas"].as_u64().expect("it is counted")
    }
}

/// Answers of 900 tokens that are asked for.
const STREAMS: usize = 12;

/// A port that passes everything on to the broker, and knows when it last did so.
struct Line {
    port: u16,
    said: Arc<Mutex<Instant>>,
    /// Nothing is taken from either side.
    is_held: Arc<AtomicBool>,
}

impl Line {
    /// A narrow one holds few bytes by itself, and makes the daemon's side hold few.
    fn lay(broker: u16, is_narrow: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        if is_narrow {
            setsockopt(&listener, sockopt::RcvBuf, &4096).expect("a socket");
            setsockopt(&listener, sockopt::TcpMaxSeg, &536).expect("a TCP socket");
        }
        let port = listener.local_addr().expect("bound").port();
        let said = Arc::new(Mutex::new(Instant::now()));
        let is_held = Arc::new(AtomicBool::new(false));
        let (last, hold) = (Arc::clone(&said), Arc::clone(&is_held));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", broker)) else { continue };
                for stream in [&client, &server] {
                    stream.set_nodelay(true).expect("a TCP socket");
                }
                let (client_2, server_2) = (twin(&client), twin(&server));
                let (last, hold, hold_2) =
                    (Arc::clone(&last), Arc::clone(&hold), Arc::clone(&hold));
                std::thread::spawn(move || pass_on(client, server, &hold, || {}));
                std::thread::spawn(move || {
                    let now = || *last.lock().expect("no panic") = Instant::now();
                    pass_on(server_2, client_2, &hold_2, now);
                });
            }
        });
        Self { port, said, is_held }
    }

    /// When the daemon last got something.
    fn last_word(&self) -> Instant {
        *self.said.lock().expect("no panic")
    }
}

fn twin(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a descriptor")
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, is_held: &AtomicBool, note: impl Fn()) {
    let mut bytes = [0; 4096];
    loop {
        while is_held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        match from.read(&mut bytes) {
            Ok(count) if count > 0 && to.write_all(&bytes[..count]).is_ok() => note(),
            _ => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
