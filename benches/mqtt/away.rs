//! F5: the broker is away for ten minutes. Two daemons at once: for one the port is closed, for the
//! other somebody accepts and hangs up.

use crate::daemon::Daemon;
use crate::mosquitto::Mosquitto;
use crate::process::cpu_time_of;
use crate::report::Report;
use crate::site;
use clap::Args;
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// More than this many attempts in ten minutes are too many.
const MOST_ATTEMPTS: f64 = 40.0;
/// Of the wall time, in per cent.
const MOST_CPU: f64 = 1.0;

#[derive(Args, Clone)]
pub struct Options {
    /// How long the broker is away. From a minute on it says something.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { seconds: 600 }
    }
}

pub fn measure(slmd: &Path, options: &Options) -> Report {
    let head = ["the port", "away s", "CPU % of the wall", "attempts", "accepted", "back after s"];
    let mut report = Report::new("away", &head);
    let time = Duration::from_secs(options.seconds);
    eprintln!("away: the broker is away for {} s", options.seconds);
    let absences = std::thread::scope(|scope| {
        [false, true]
            .map(|accepts| scope.spawn(move || absence(slmd, time, accepts)))
            .map(|thread| thread.join().expect("no panic"))
    });
    for Absence { name, cpu_percent, attempts, accepted, back_s } in absences {
        report.row(
            [
                name.to_owned(),
                format!("{}", options.seconds),
                format!("{cpu_percent:.3}"),
                attempts.to_string(),
                accepted.to_string(),
                format!("{back_s:.1}"),
            ],
            json!({
                "port": name, "seconds": options.seconds, "cpu_percent": cpu_percent,
                "attempts": attempts, "accepted": accepted, "back_s": back_s,
            }),
        );
        report.aim(format!("{name}: CPU < {MOST_CPU} %"), cpu_percent < MOST_CPU);
        let is_patient = attempts as f64 <= MOST_ATTEMPTS;
        report.aim(format!("{name}: at most {MOST_ATTEMPTS} attempts"), is_patient);
    }
    report
}

struct Absence {
    name: &'static str,
    cpu_percent: f64,
    /// By the daemon's log.
    attempts: usize,
    /// By the one who accepts and hangs up.
    accepted: usize,
    /// From the broker's return to the connection.
    back_s: f64,
}

fn absence(slmd: &Path, time: Duration, accepts: bool) -> Absence {
    let mut broker = site::bare_broker("");
    let config = site::config(&broker.url(), "", "");
    let daemon = site::start(slmd, "debug", &config, None, broker.port());
    broker.kill();
    let doorman = accepts.then(|| Doorman::stand_at(broker.port()));
    let (began, before) = (Instant::now(), cpu_time_of(daemon.pid()));
    std::thread::sleep(time);
    let used = cpu_time_of(daemon.pid()) - before;
    let cpu_percent = used.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
    // The first line is the connection's own end.
    let attempts = lines(&daemon, "not connected to the broker") - 1;
    let accepted = doorman.map_or(0, Doorman::leave);
    let back_s = come_back(&mut broker, &daemon).as_secs_f64();
    let name = if accepts { "accepts and closes" } else { "closed" };
    Absence { name, cpu_percent, attempts, accepted, back_s }
}

fn lines(daemon: &Daemon, text: &str) -> usize {
    daemon.stderr().lines().filter(|line| line.contains(text)).count()
}

fn come_back(broker: &mut Mosquitto, daemon: &Daemon) -> Duration {
    let from = daemon.stderr().len();
    broker.restart();
    let began = Instant::now();
    let at = site::wait_for_log(daemon, from, "link: connected broker=", Duration::from_secs(60));
    at.expect("it comes back") - began
}

/// Accepts on a port, hangs up, and counts.
struct Doorman {
    accepted: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    address: SocketAddr,
    thread: std::thread::JoinHandle<()>,
}

impl Doorman {
    fn stand_at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the broker has left");
        let (accepted, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, end) = (Arc::clone(&accepted), Arc::clone(&ends));
        let address = listener.local_addr().expect("bound");
        let thread = std::thread::spawn(move || {
            for _ in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { accepted, ends, address, thread }
    }

    /// Frees the port; gives the count.
    fn leave(self) -> usize {
        self.ends.store(true, Ordering::SeqCst);
        let _ = std::net::TcpStream::connect(self.address);
        self.thread.join().expect("no panic");
        self.accepted.load(Ordering::SeqCst)
    }
}
