//! The counted memory over many requests, and a budget at the plan's own minimum.

use crate::load::closed;
use crate::machine::peak_rss_of;
use crate::mix::{Kind, Mix, Request, Shape, UNHURRIED_MS, Yardstick};
use crate::process::memory_of;
use crate::report::Report;
use crate::server::Server;
use crate::site::Site;
use clap::Args;
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the counted memory is read.
const EVERY: Duration = Duration::from_millis(50);
/// Of the counted memory, from the first tenth to the last.
const DRIFT_PERCENT: f64 = 2.0;
const MIB: f64 = 1024.0 * 1024.0;
/// Requests that may wait.
const QUEUE: usize = 16;
/// The daemon's exit code for a configuration that cannot be.
const EX_CONFIG: i32 = 78;

#[derive(Args, Clone)]
pub struct Options {
    /// Requests.
    #[arg(long, default_value_t = 10_000)]
    pub count: usize,
    /// `budget.sessions`.
    #[arg(long, default_value_t = 2)]
    pub sessions: usize,
}

pub fn report() -> Report {
    Report::new(
        "memory",
        &[
            "model",
            "engine",
            "requests",
            "budget MiB",
            "peak MiB",
            "VmHWM MiB",
            "first tenth MiB",
            "last tenth MiB",
            "drift %",
        ],
    )
}

/// Mixed requests, the longest prompt and the longest answer among them.
pub fn measure(site: &Site, options: &Options, report: &mut Report) {
    let plan = plan(site, &site.config(options.sessions, QUEUE, ""));
    let budget = plan["total_bytes"].as_u64().expect("slmd plan says what it needs");
    let budget_mib = budget as f64 / MIB;
    let daemon = site.start(options.sessions, QUEUE, &format!("memory = \"{budget}B\""));
    let mut server = site.socket(&daemon);
    let yardstick = site.yardstick(&mut server);
    let context = site.model.context_tokens;
    let kind = Kind { longest: (context / 2, context as u32 / 4), ..site.kind() };
    let mut mix = Mix::new(&site.model, yardstick, kind, site.seed);
    longest(site, &mut server, options.sessions);
    let mut number = 0;
    let (run, samples) = watch(daemon.pid(), || {
        closed(&mut server, options.sessions + 4, options.count, || {
            number += 1;
            mixed(&mut mix, number, context)
        })
    });
    let refused = run.records.iter().filter(|r| !r.is_admitted()).count();
    eprintln!("{:?}: {refused} of {} refused", site.cells(), run.records.len());
    let tenth = (samples.len() / 10).max(1);
    let mean = |part: &[u64]| part.iter().sum::<u64>() as f64 / part.len() as f64 / MIB;
    let (first, last) = (mean(&samples[..tenth]), mean(&samples[samples.len() - tenth..]));
    let drift = 100.0 * (last - first) / first;
    let peak = samples.iter().copied().max().unwrap_or(0) as f64 / MIB;
    let high_water = peak_rss_of(daemon.pid()) as f64 / MIB;
    let [model, engine] = site.cells();
    let json = json!({
        "model": model, "engine": engine, "requests": run.records.len(), "refused": refused,
        "budget_mib": budget_mib, "peak_mib": peak, "vm_hwm_mib": high_water,
        "first_tenth_mib": first, "last_tenth_mib": last, "drift_percent": drift,
        "samples": samples.len(),
    });
    let what =
        format!("{model}, {engine}: at most {budget_mib:.1} MiB; drift below {DRIFT_PERCENT} %");
    let is_met = peak.max(high_water) <= budget_mib && drift < DRIFT_PERCENT;
    let figures = [budget_mib, peak, high_water, first, last, drift].map(|f| format!("{f:.1}"));
    let head = [model, engine, run.records.len().to_string()];
    report.row(head.into_iter().chain(figures), json);
    report.aim(what, is_met);
}

/// The longest prompt and the longest answer, in every session at once.
fn longest(site: &Site, server: &mut dyn Server, sessions: usize) {
    let context = site.model.context_tokens;
    for (prompt, answer) in [(context - 1, 1), (8, context as u32 - 16)] {
        let mut mix = Mix::new(&site.model, Yardstick::default(), site.kind(), site.seed);
        let run = closed(server, sessions, sessions, || {
            let (text, tokens) = mix.prompt(prompt);
            Request::unhurried(text, tokens, answer)
        });
        for record in run.records {
            assert!(record.is_met(), "the longest request: {:?}", record.ended);
        }
    }
}

/// Whole and early answers, streamed or not, with and without time, and some that are too long.
fn mixed(mix: &mut Mix<'_>, number: usize, context: usize) -> Request {
    let request = if number.is_multiple_of(3) { mix.next() } else { mix.next_unhurried() };
    match number % 16 {
        4 => Request { shape: Shape::Early(4), ..request },
        9 => Request { max_tokens: context as u32, ..request },
        14 => {
            let (prompt, prompt_tokens) = mix.prompt(context - 1 - request.max_tokens as usize);
            Request { prompt, prompt_tokens, deadline_ms: UNHURRIED_MS, ttft_ms: None, ..request }
        }
        _ => request,
    }
}

/// Runs `work`, and reads the counted memory all the while.
fn watch<T>(pid: u32, work: impl FnOnce() -> T) -> (T, Vec<u64>) {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut samples = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                samples.push(memory_of(pid).rss);
                std::thread::sleep(EVERY);
            }
            samples
        });
        let result = work();
        is_over.store(true, Ordering::Relaxed);
        (result, watcher.join().expect("it only reads"))
    })
}

pub fn minimum_report() -> Report {
    Report::new("minimum", &["model", "engine", "minimum MiB", "peak MiB", "5 % less"])
}

/// The plan's own minimum starts and serves; a twentieth less is refused.
pub fn minimum(site: &Site, report: &mut Report) {
    let plan = plan(site, &site.config(1, 4, ""));
    let bytes = plan["minimum"]["bytes"].as_u64().expect("slmd plan says its minimum");
    let daemon = site.start(1, 4, &format!("memory = \"{bytes}B\""));
    let mut server = site.socket(&daemon);
    longest(site, &mut server, 1);
    let (_, samples) = watch(daemon.pid(), || longest(site, &mut server, 1));
    let sampled = samples.into_iter().max().unwrap_or(0);
    let peak = sampled.max(peak_rss_of(daemon.pid()));
    drop((server, daemon));
    let less = exit_code(site, &format!("memory = \"{}B\"", bytes - bytes / 20));
    let [model, engine] = site.cells();
    let json = json!({
        "model": model, "engine": engine, "minimum_bytes": bytes, "peak_bytes": peak,
        "exit_code_of_5_percent_less": less,
    });
    let what = format!("{model}, {engine}: serves within its minimum; 5 % less is refused by 78");
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / MIB);
    let code = less.map_or("serves".to_owned(), |code| format!("exit {code}"));
    report.row([model, engine, mib(bytes), mib(peak), code], json);
    report.aim(what, peak <= bytes && less == Some(EX_CONFIG));
}

/// What `slmd plan` says of this configuration, once it is measured.
fn plan(site: &Site, config_text: &str) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config.toml");
    std::fs::write(&config, config_text).expect("written");
    let plan = Command::new(&site.slmd)
        .args(["plan", "--measure", "--json", "--config"])
        .arg(&config)
        .output();
    serde_json::from_slice(&plan.expect("it runs").stdout).expect("JSON")
}

/// How a daemon ends by itself; none if it serves.
fn exit_code(site: &Site, budget: &str) -> Option<i32> {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, socket) = (folder.path().join("config.toml"), folder.path().join("slmd.sock"));
    let state = format!("state-dir = {:?}\n", folder.path().join("state").display().to_string());
    std::fs::write(&config, state + &site.config(1, 4, budget)).expect("written");
    let mut child = Command::new(&site.slmd)
        .args(["serve", "--config"])
        .arg(&config)
        .arg("--socket")
        .arg(&socket)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary starts");
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return Some(status.code().unwrap_or(-1));
        }
        // The socket is there before the model is: only an answer says that it serves.
        let client = slmd::client::Client::connect(&socket);
        if client.is_ok_and(|mut client| client.health().unwrap_or(false)) {
            child.kill().expect("a child");
            child.wait().expect("it ends");
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
