//! What the process holds, as the kernel counts it.

/// Memory of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessMemory {
    /// Everything resident, file pages included.
    pub rss_bytes: u64,
    /// What no file backs.
    pub anonymous_bytes: u64,
}

/// `Rss:` and `Anonymous:` of `/proc/self/smaps_rollup` (proc(5)); zeros where there is none.
pub fn process_memory() -> ProcessMemory {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let bytes = |field: &str| {
        let line = rollup.lines().find_map(|l| l.strip_prefix(field))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    ProcessMemory {
        rss_bytes: bytes("Rss:").unwrap_or(0),
        anonymous_bytes: bytes("Anonymous:").unwrap_or(0),
    }
}
