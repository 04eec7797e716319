//! What a daemon costs that has nothing to do.

use crate::daemon::Daemon;
use crate::load::one;
use crate::mix::{Mix, Request, Yardstick};
use crate::mosquitto::Mosquitto;
use crate::report::Report;
use crate::site::Site;
use clap::Args;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// Of one processor.
const SHARE_PERCENT: f64 = 0.1;
const WAKE_UPS_PER_S: f64 = 5.0;
/// From the last request to the begin of the measurement.
const SETTLE: Duration = Duration::from_secs(5);

#[derive(Args, Clone)]
pub struct Options {
    /// How long it is watched, each way.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
}

pub fn report() -> Report {
    Report::new("idle", &["model", "engine", "MQTT", "seconds", "% of a core", "wake-ups a second"])
}

pub fn measure(site: &Site, options: &Options, report: &mut Report) {
    watch(site, options, "no", &site.start(2, 8, ""), report);
    if let Some(broker) = Mosquitto::start("") {
        let mqtt = format!("[mqtt]\nurl = {:?}\nnode = \"n\"", broker.url());
        watch(site, options, "yes", &site.start(2, 8, &mqtt), report);
    }
}

fn watch(site: &Site, options: &Options, mqtt: &str, daemon: &Daemon, report: &mut Report) {
    let mut server = site.socket(daemon);
    let mut mix = Mix::new(&site.model, Yardstick::default(), site.kind(), site.seed);
    let (text, tokens) = mix.prompt(16);
    assert!(one(&mut server, Request::unhurried(text, tokens, 16)).is_met());
    drop(server);
    std::thread::sleep(SETTLE);
    let (before, began) = (Activity::of(daemon.pid()), Instant::now());
    std::thread::sleep(Duration::from_secs(options.seconds));
    let (after, seconds) = (Activity::of(daemon.pid()), began.elapsed().as_secs_f64());
    let percent = 100.0 * (after.cpu_s - before.cpu_s) / seconds;
    let wake_ups = (after.wake_ups - before.wake_ups) / seconds;
    let [model, engine] = site.cells();
    let json = json!({
        "model": model, "engine": engine, "mqtt": mqtt == "yes", "seconds": seconds,
        "percent_of_a_core": percent, "wake_ups_per_s": wake_ups,
    });
    let what = format!(
        "{model}, {engine}, MQTT: {mqtt}: {percent:.3} % of a core, at most {SHARE_PERCENT}; \
         {wake_ups:.2} wake-ups a second, at most {WAKE_UPS_PER_S}"
    );
    let figures = [format!("{seconds:.0}"), format!("{percent:.3}"), format!("{wake_ups:.2}")];
    report.row([model, engine, mqtt.to_owned()].into_iter().chain(figures), json);
    report.aim(what, percent <= SHARE_PERCENT && wake_ups <= WAKE_UPS_PER_S);
}

/// Of all threads of a process so far.
struct Activity {
    cpu_s: f64,
    /// Every time a thread waits it will be woken.
    wake_ups: f64,
}

impl Activity {
    fn of(pid: u32) -> Self {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
        let mut activity = Self { cpu_s: 0.0, wake_ups: 0.0 };
        for task in tasks.flatten().map(|entry| entry.path()) {
            activity.add(&task);
        }
        activity
    }

    fn add(&mut self, task: &Path) {
        let read = |file: &str| std::fs::read_to_string(task.join(file)).unwrap_or_default();
        let on_cpu_ns = read("schedstat").split_whitespace().next().map(str::to_owned);
        self.cpu_s += on_cpu_ns.and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9;
        let status = read("status");
        let count = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
        self.wake_ups += count.and_then(|n| n.trim().parse::<f64>().ok()).unwrap_or(0.0);
    }
}
