//! What the process holds, as the kernel counts it.

use std::fs;

/// Memory of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Everything resident: anonymous, shared and file pages.
    pub rss_bytes: u64,
    /// What no file backs.
    pub anonymous_bytes: u64,
    /// What the processes that it has started hold, as `rss_bytes`.
    pub children_bytes: u64,
}

impl ProcessMemory {
    /// The figure that a budget is held against.
    pub const fn counted_bytes(&self) -> u64 {
        self.rss_bytes + self.children_bytes
    }
}

/// `Rss:` and `Anonymous:` of `/proc/self/smaps_rollup` (proc(5)); zeros where there is none.
pub fn process_memory() -> ProcessMemory {
    process_memory_of("self")
}

/// The memory of the process `pid`, a number or `self`, and of its children.
pub fn process_memory_of(pid: &str) -> ProcessMemory {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    ProcessMemory {
        rss_bytes: field(&rollup, "Rss:").unwrap_or(0),
        anonymous_bytes: field(&rollup, "Anonymous:").unwrap_or(0),
        children_bytes: children(pid).map(|c| process_memory_of(&c).counted_bytes()).sum(),
    }
}

/// What is resident: `VmRSS:` of `/proc/self/status`, which costs less than an exact look.
pub fn rss_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    field(&status, "VmRSS:").unwrap_or(0)
}

/// The most that was resident since [`reset_peak`], or since the start: `VmHWM:` of
/// `/proc/self/status`.
pub fn peak_rss_bytes() -> u64 {
    peak_rss_bytes_of("self")
}

/// [`peak_rss_bytes`] of the process `pid`.
pub fn peak_rss_bytes_of(pid: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    field(&status, "VmHWM:").unwrap_or(0)
}

/// Starts a new peak from what is resident now, where the kernel can (`clear_refs`, proc(5)).
pub fn reset_peak() {
    // Without it the older peak stays, which is no less than the newer one.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// A field of `/proc` in kB, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Processes that a thread of `pid` has started and that still live.
fn children(pid: &str) -> impl Iterator<Item = String> + use<> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_and_children_are_seen() {
        let before = process_memory();
        assert!(before.anonymous_bytes > 0 && before.rss_bytes > before.anonymous_bytes);
        reset_peak();
        let big = vec![1u8; 64 << 20];
        assert!(peak_rss_bytes() >= before.rss_bytes / 2 + (big.len() as u64));
        drop(big);
        let mut child = std::process::Command::new("sleep").arg("10").spawn().expect("sleep");
        let with_child = process_memory();
        child.kill().expect("ours");
        child.wait().expect("it ends");
        assert!(with_child.children_bytes > 0);
        assert_eq!(with_child.counted_bytes(), with_child.rss_bytes + with_child.children_bytes);
    }
}
