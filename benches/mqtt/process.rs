//! What the kernel says about a process and the machine.

use std::time::Duration;

/// Of a process, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    pub rss: u64,
    pub anonymous: u64,
}

pub fn memory_of(pid: u32) -> Memory {
    let rollup = read(&format!("/proc/{pid}/smaps_rollup"));
    Memory { rss: bytes_of(&rollup, "Rss:"), anonymous: bytes_of(&rollup, "Anonymous:") }
}

/// A line `FIELD  N kB`.
fn bytes_of(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.expect("the kernel says so") * 1024
}

/// Processor time so far, user and system.
pub fn cpu_time_of(pid: u32) -> Duration {
    // Of /proc/PID/stat, behind the name, which may have spaces: proc(5), fields 14 and 15.
    let stat = read(&format!("/proc/{pid}/stat"));
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|&i| fields[i].parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 1000 / ticks_per_second())
}

fn ticks_per_second() -> u64 {
    // Linux gives USER_HZ, which is 100 on every architecture that slmd runs on.
    100
}

/// Bytes that wait in the kernel to be sent to a port of the loopback address, of any connection.
pub fn unsent_bytes_to(port: u16) -> u64 {
    let wanted = format!("0100007F:{port:04X}");
    let table = read("/proc/net/tcp");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(2) == Some(&wanted.as_str()))
        .filter_map(|row| u64::from_str_radix(row.get(4)?.split(':').next()?, 16).ok())
        .max()
        .unwrap_or(0)
}

/// Looks at how much of the processors others use.
pub struct Others {
    own: Vec<u32>,
    /// Of the machine, all and idle; of our own processes.
    since: (u64, u64, Duration),
}

impl Others {
    /// Than these processes and this one.
    pub fn than(own: &[u32]) -> Self {
        let own: Vec<u32> = own.iter().copied().chain([std::process::id()]).collect();
        let since = Self::look(&own);
        Self { own, since }
    }

    /// Their share since then, from 0 to 1. The network's own time is nobody's, and so theirs.
    pub fn share(&self) -> f64 {
        let (all, idle, own) = Self::look(&self.own);
        let (all, idle) = (all - self.since.0, idle - self.since.1);
        let own_ticks = (own - self.since.2).as_secs_f64() * ticks_per_second() as f64;
        ((all - idle) as f64 - own_ticks).max(0.0) / all.max(1) as f64
    }

    fn look(own: &[u32]) -> (u64, u64, Duration) {
        let stat = read("/proc/stat");
        let first = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            first.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
        let own = own.iter().map(|&pid| cpu_time_of(pid)).sum();
        (ticks.iter().take(8).sum(), ticks[3] + ticks[4], own)
    }
}

/// Waits until next to nothing else runs, or for `limit`.
pub fn wait_for_quiet(limit: Duration) {
    let end = std::time::Instant::now() + limit;
    loop {
        let others = Others::than(&[]);
        std::thread::sleep(Duration::from_millis(300));
        if others.share() < 0.1 || std::time::Instant::now() >= end {
            return;
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}
