//! The machine that slmd runs on: what it has, and the profile with the defaults that fit it.
//!
//! Profiles are the files of `board-configs/`, compiled in. Knows nothing of models.

mod cgroup;
mod cpu;
mod machine;
mod profile;
mod rules;

pub use cgroup::CgroupLimit;
pub use cpu::Part;
pub use machine::{Machine, Room};
pub use profile::{BoardBudget, BoardCores, BoardMemory, BoardProfile, Device, Match};

use crate::config::{ConfigError, Defaults};
use crate::core::cpus::CpuList;
use std::path::Path;

/// A machine and the profile that is used for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    /// What it has.
    pub machine: Machine,
    /// What fits it.
    pub profile: BoardProfile,
    /// Why this profile.
    pub why: String,
}

impl Board {
    /// This machine with the profile `wanted`: `auto`, a shipped name, or the path of a file.
    ///
    /// # Errors
    /// If there is no such profile, or it is wrong.
    pub fn find(wanted: &str) -> Result<Self, ConfigError> {
        Self::find_under(Path::new("/"), wanted)
    }

    /// [`Board::find`] with `/proc` and `/sys` under `root`.
    ///
    /// # Errors
    /// As [`Board::find`].
    pub fn find_under(root: &Path, wanted: &str) -> Result<Self, ConfigError> {
        let machine = Machine::detect(root);
        let (profile, why) = match wanted {
            "auto" => BoardProfile::for_machine(&machine)?,
            other => (BoardProfile::find(other)?, format!("`board` is {other:?}")),
        };
        Ok(Self { machine, profile, why })
    }

    /// The CPUs that inference belongs on; none: any. The profile's fast cores, else those that the
    /// kernel says are.
    pub fn affinity(&self) -> CpuList {
        self.profile.cores.big.clone().unwrap_or_else(|| self.machine.fast_cores.clone())
    }

    /// Threads of one step.
    pub fn threads(&self) -> usize {
        let fast = self.affinity();
        let cores = match fast.is_empty() {
            true => self.machine.cores,
            false => self.machine.cores.min(fast.len()),
        };
        self.profile.threads.unwrap_or(cores).clamp(1, 256)
    }

    /// The memory that slmd may have, in bytes.
    pub fn memory_bytes(&self) -> Option<u64> {
        let there = [self.machine.memory_bytes, self.machine.cgroup_bytes];
        Some(self.profile.budget_of(there.into_iter().flatten().min()?))
    }

    /// What the configuration falls back on.
    pub fn defaults(&self) -> Defaults {
        Defaults {
            board: self.profile.name.clone(),
            threads: self.threads(),
            affinity: self.affinity(),
            kv: self.profile.budget.kv,
            providers: self.profile.provider.clone(),
            memory_bytes: self.memory_bytes(),
            context_tokens: self.profile.budget.context_tokens,
            sessions: self.profile.budget.sessions,
            thermal: self.profile.thermal.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for (name, bytes) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("inside")).expect("a directory");
            std::fs::write(path, bytes).expect("writable");
        }
        root
    }

    const PI: &[(&str, &[u8])] = &[
        ("proc/device-tree/model", b"Raspberry Pi 5 Model B Rev 1.0\0"),
        ("proc/device-tree/compatible", b"raspberrypi,5-model-b\0brcm,bcm2712\0"),
        ("proc/meminfo", b"MemTotal:        8000000 kB\nMemFree: 1 kB\nMemAvailable: 5 kB\n"),
        ("proc/cpuinfo", b"processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n"),
        ("sys/devices/system/cpu/online", b"0-3\n"),
        ("proc/self/cgroup", b"0::/system.slice/slmd.service\n"),
        ("sys/fs/cgroup/system.slice/slmd.service/memory.max", b"max\n"),
        ("sys/fs/cgroup/system.slice/memory.max", b"1000000000\n"),
    ];

    #[test]
    fn a_board_is_known_by_its_device_tree() {
        let root = root(PI);
        let machine = Machine::detect(root.path());
        assert_eq!(machine.architecture, "aarch64", "by its CPU");
        assert_eq!(machine.model.as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
        assert_eq!(machine.compatible, ["raspberrypi,5-model-b", "brcm,bcm2712"]);
        assert_eq!((machine.cores, machine.cgroup_bytes), (4, Some(1_000_000_000)));
        assert_eq!(machine.cpu, "0x410xd0b");
        let room = Room::under(root.path());
        assert_eq!((room.available_bytes, room.cgroups.len()), (Some(5120), 1));
        let (profile, why) = BoardProfile::for_machine(&machine).expect("sound");
        assert_eq!(profile.name, "raspberry-pi-5");
        assert!(why.contains("\"raspberrypi,5-model-b\""), "{why}");
        let board = Board { machine, profile, why };
        assert_eq!(board.threads(), 3);
        assert_eq!(board.memory_bytes(), Some(500_000_000), "half of the cgroup's limit");
        let mut other = board.machine.clone();
        other.compatible.clear();
        let (generic, _) = BoardProfile::for_machine(&other).expect("sound");
        assert_eq!(generic.name, "generic-aarch64");
        other.architecture = "riscv64".into();
        let (generic, why) = BoardProfile::for_machine(&other).expect("sound");
        assert_eq!(
            (generic.name.as_str(), why.as_str()),
            ("generic-riscv64", "no profile is for riscv64")
        );
    }

    #[test]
    fn nothing_known_is_survived() {
        let root = root(&[]);
        let board = Board::find_under(root.path(), "auto").expect("sound");
        assert_eq!((board.threads(), board.memory_bytes()), (1, None));
        let odd = [
            ("proc/meminfo", &b"MemTotal: x kB"[..]),
            ("sys/devices/system/cpu/online", b"3-0,,"),
            ("proc/self/cgroup", b"0::/../../etc\n"),
        ];
        let root = self::root(&odd);
        assert_eq!(Machine::detect(root.path()).memory_bytes, None);
        assert_eq!(Machine::detect(root.path()).cores, 1);
    }

    #[test]
    fn every_shipped_profile_is_valid_and_named_after_its_file() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("board-configs");
        let mut there: Vec<String> = std::fs::read_dir(dir)
            .expect("the folder")
            .map(|e| e.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        there.sort();
        let mut shipped: Vec<String> = BoardProfile::shipped()
            .expect("valid")
            .iter()
            .map(|p| format!("{}.toml", p.name))
            .collect();
        shipped.sort();
        assert_eq!(shipped, there);
    }

    #[test]
    fn a_profile_of_ones_own_is_read_and_checked() {
        let root = root(&[
            ("mine.toml", b"name = \"mine\"\nthreads = 2\n"),
            ("zero.toml", b"name = \"zero\"\nthreads = 0\n"),
            ("typo.toml", b"name = \"typo\"\nthread = 1\n"),
        ]);
        let find = |name: &str| {
            let path = root.path().join(name).display().to_string();
            Board::find_under(root.path(), &path).map_err(|e| e.to_string())
        };
        assert_eq!(find("mine.toml").expect("sound").threads(), 2);
        assert!(find("zero.toml").expect_err("refused").contains("1 to 256"));
        assert!(find("typo.toml").expect_err("refused").contains("did you mean `threads`?"));
        let mine = root.path().join("mine.toml").display().to_string();
        let why = Board::find_under(root.path(), &mine).expect("sound").why;
        assert!(why.starts_with("`board` is") && why.contains("mine.toml"), "{why}");
        let unknown = Board::find_under(root.path(), "pi-9").expect_err("unknown").to_string();
        assert!(unknown.contains("raspberry-pi-5"), "{unknown}");
    }

    #[test]
    fn fast_cores_come_from_the_profile_or_from_the_kernel() {
        let mixed: Vec<(String, &[u8])> = (0..4)
            .map(|cpu| {
                let capacity: &[u8] = if cpu < 2 { b"400\n" } else { b"1024\n" };
                (format!("sys/devices/system/cpu/cpu{cpu}/cpu_capacity"), capacity)
            })
            .chain([("sys/devices/system/cpu/online".to_owned(), &b"0-3\n"[..])])
            .collect();
        let files: Vec<(&str, &[u8])> = mixed.iter().map(|(n, b)| (n.as_str(), *b)).collect();
        let root = root(&files);
        let board = Board::find_under(root.path(), "generic-aarch64").expect("sound");
        assert_eq!((board.affinity().to_string().as_str(), board.threads()), ("2-3", 2));
        assert_eq!(board.defaults().affinity, board.affinity());
        let mut named = board.clone();
        named.profile.cores.big = Some(CpuList::parse("3").expect("a list"));
        assert_eq!((named.affinity().to_string().as_str(), named.threads()), ("3", 1));
        named.profile.threads = Some(2);
        assert_eq!(named.threads(), 2, "the profile's figure wins");
        let mut alike = board;
        alike.machine.fast_cores = CpuList::default();
        assert_eq!((alike.affinity(), alike.threads()), (CpuList::default(), 4));
    }
}
