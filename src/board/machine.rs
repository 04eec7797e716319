//! What the machine has: device tree, CPUs, memory. Everything is read under a root, so that recorded
//! files can stand for a board.

use super::cgroup::{self, CgroupLimit};
use super::cpu::{self, Part};
use crate::core::cpus::CpuList;
use std::path::Path;

/// What the machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// `/proc/device-tree/model`, where there is one.
    pub model: Option<String>,
    /// `/proc/device-tree/compatible`, most specific first.
    pub compatible: Vec<String>,
    /// `aarch64`, `x86_64`.
    pub architecture: String,
    /// The CPU by its name, or by its maker's numbers, as `/proc/cpuinfo` has them.
    pub cpu: String,
    /// Its cores by kind.
    pub parts: Vec<Part>,
    /// What all of its cores can do, of what decides the speed of inference: `asimddp`, `avx2`.
    pub features: Vec<String>,
    /// Cores that are online, or that this process may use if that is fewer.
    pub cores: usize,
    /// The fast ones, where `cpu_capacity` says that there are slow ones too; else none.
    pub fast_cores: CpuList,
    /// Physical memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// The lowest limit of this process's control groups and those above them, in bytes.
    pub cgroup_bytes: Option<u64>,
}

impl Machine {
    /// Reads `/proc` and `/sys` under `root`; what is not there stays unknown.
    pub fn detect(root: &Path) -> Self {
        let text = |path: &str| {
            let bytes = std::fs::read(root.join(path)).ok()?;
            Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\0', '\n']).to_owned())
        };
        let compatible = text("proc/device-tree/compatible").unwrap_or_default();
        let cpuinfo = text("proc/cpuinfo").unwrap_or_default();
        let cpus = root.join("sys/devices/system/cpu");
        let online = text("sys/devices/system/cpu/online")
            .and_then(|list| CpuList::parse(&list).ok())
            .map(|list| list.len());
        // Affinity, cgroup quotas and architecture are this process's, so of the real root only.
        let is_real = root == Path::new("/");
        let allowed = match is_real {
            true => std::thread::available_parallelism().ok().map(usize::from),
            false => None,
        };
        let recorded = cpu::architecture(&cpuinfo).filter(|_| !is_real);
        Self {
            model: text("proc/device-tree/model").filter(|m| !m.is_empty()),
            compatible: compatible
                .split('\0')
                .filter(|c| !c.is_empty())
                .map(str::to_owned)
                .collect(),
            architecture: recorded.unwrap_or(std::env::consts::ARCH).to_owned(),
            cpu: cpu_name(&cpuinfo),
            parts: cpu::parts(&cpuinfo),
            features: cpu::features(&cpuinfo),
            cores: [online, allowed].into_iter().flatten().min().unwrap_or(1).max(1),
            fast_cores: cpu::fast_cores(&cpus),
            memory_bytes: text("proc/meminfo").and_then(|t| meminfo(&t, "MemTotal:")),
            cgroup_bytes: cgroup::lowest(root),
        }
    }
}

/// `MemTotal:  8245516 kB`, in bytes.
fn meminfo(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// `model name` where there is one, else what Arm's `/proc/cpuinfo` says instead.
fn cpu_name(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|l| l.split(':').next().is_some_and(|n| n.trim() == name));
        line.and_then(|l| l.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let numbers = ["CPU implementer", "CPU part", "CPU revision"];
    field("model name").unwrap_or_else(|| numbers.iter().filter_map(|n| field(n)).collect())
}

/// The memory that a process can still get, whatever its configuration says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Room {
    /// The limits of its control groups.
    pub cgroups: Vec<CgroupLimit>,
    /// What the machine could give without swapping, in bytes: `MemAvailable`.
    pub available_bytes: Option<u64>,
}

impl Room {
    /// Of this process, as it is now.
    pub fn now() -> Self {
        Self::under(Path::new("/"))
    }

    /// [`Room::now`] with `/proc` and `/sys` under `root`.
    pub fn under(root: &Path) -> Self {
        let text = std::fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
        Self { cgroups: cgroup::limits(root), available_bytes: meminfo(&text, "MemAvailable:") }
    }
}
