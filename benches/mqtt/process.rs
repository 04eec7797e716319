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

/// The share of the processors that is busy, from 0 to 1, over that time.
pub fn busy_share(over: Duration) -> f64 {
    let before = cpu_ticks();
    std::thread::sleep(over);
    let after = cpu_ticks();
    let (all, idle) = (after.0 - before.0, after.1 - before.1);
    1.0 - idle as f64 / all.max(1) as f64
}

/// All, and idle.
fn cpu_ticks() -> (u64, u64) {
    let stat = read("/proc/stat");
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    (ticks.iter().take(8).sum(), ticks[3] + ticks[4])
}

/// The load of the last minute.
pub fn load() -> f64 {
    let text = read("/proc/loadavg");
    text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(f64::NAN)
}

/// Waits until next to nothing else runs, or for `limit`; the busy share of the last look.
pub fn wait_for_quiet(limit: Duration) -> f64 {
    let end = std::time::Instant::now() + limit;
    loop {
        let busy = busy_share(Duration::from_millis(300));
        if busy < 0.15 || std::time::Instant::now() >= end {
            return busy;
        }
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}
