//! What the machine did meanwhile that was not ours: time stolen by its host, and other processes.

use crate::process::cpu_time_of;
use std::time::{Duration, Instant};

/// How often it is looked at.
pub const EVERY: Duration = Duration::from_millis(100);
/// `USER_HZ` of Linux, on every architecture that slmd runs on.
const TICKS_PER_S: f64 = 100.0;

/// All since the machine's start, in ticks of all processors.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    all: f64,
    stolen: f64,
    others: f64,
}

/// What is known of a span of time, as shares of the processors from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    pub stolen: f64,
    /// Used by processes that are neither the server nor this bench.
    pub others: f64,
}

/// Samples of one run.
pub struct Machine {
    own: Vec<u32>,
    samples: Vec<Sample>,
}

impl Machine {
    /// Beside these processes and this one.
    pub fn beside(own: &[u32]) -> Self {
        let own = own.iter().copied().chain([std::process::id()]).collect();
        let mut machine = Self { own, samples: Vec::new() };
        machine.look();
        machine
    }

    /// When it wants to be looked at again.
    pub fn due(&self) -> Instant {
        self.samples.last().expect("the first is made at once").at + EVERY
    }

    /// Takes a sample if it is time.
    pub fn look_if_due(&mut self) {
        if Instant::now() >= self.due() {
            self.look();
        }
    }

    /// Takes a sample.
    pub fn look(&mut self) {
        let stat = std::fs::read_to_string("/proc/stat").expect("the kernel says so");
        let first = stat.lines().next().unwrap_or_default();
        // proc(5): user nice system idle iowait irq softirq steal; guests are in user already.
        let ticks: Vec<f64> =
            first.split_whitespace().skip(1).take(8).filter_map(|t| t.parse().ok()).collect();
        let own: Duration = self.own.iter().map(|&pid| cpu_time_of(pid)).sum();
        let (all, idle): (f64, f64) = (ticks.iter().sum(), ticks[3] + ticks[4]);
        let others = all - idle - ticks[7] - own.as_secs_f64() * TICKS_PER_S;
        self.samples.push(Sample { at: Instant::now(), all, stolen: ticks[7], others });
    }

    /// Of the samples around a span of time.
    pub fn share(&self, from: Instant, to: Instant) -> Share {
        let last = self.samples.len() - 1;
        let before = self.samples.partition_point(|s| s.at <= from).saturating_sub(1);
        let after = self.samples.partition_point(|s| s.at < to).min(last);
        let (a, b) = (self.samples[before.min(last)], self.samples[after]);
        let all = (b.all - a.all).max(1.0);
        let share = |part: f64| (part / all).max(0.0);
        Share { stolen: share(b.stolen - a.stolen), others: share(b.others - a.others) }
    }

    /// Of all of it.
    pub fn whole(&self) -> Share {
        self.share(self.samples[0].at, self.samples[self.samples.len() - 1].at)
    }
}

/// The load average of the last minute.
pub fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

/// The most that a process ever had resident, in bytes.
pub fn peak_rss_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("the kernel says so") * 1024
}
