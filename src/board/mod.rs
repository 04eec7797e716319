//! The machine that slmd runs on: what it has, and the profile with the defaults that fit it.
//!
//! Profiles are the files of `board-configs/`, compiled in. Knows nothing of models.

mod cgroup;

pub use cgroup::CgroupLimit;

use crate::config::{ConfigError, Defaults, ThermalDefaults, diagnose_toml};
use serde::Deserialize;
use std::path::Path;

/// The profiles in the binary; the generic ones last, since the first match is taken.
const SHIPPED: [(&str, &str); 3] = [
    ("raspberry-pi-5.toml", include_str!("../../board-configs/raspberry-pi-5.toml")),
    ("generic-aarch64.toml", include_str!("../../board-configs/generic-aarch64.toml")),
    ("generic-x86_64.toml", include_str!("../../board-configs/generic-x86_64.toml")),
];
/// The share of the memory that slmd may have where no profile says another.
const MEMORY_PERCENT: u8 = 50;
/// The most bytes of a profile.
const FILE_LIMIT: u64 = 1 << 20;

/// A kind of board, and what fits it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BoardProfile {
    /// Its name, which is that of its file.
    pub name: String,
    /// How such a board is known.
    #[serde(default)]
    pub r#match: Match,
    /// Threads of one inference step, at least 1; none: as many as there are cores.
    pub threads: Option<usize>,
    /// Memory and sessions.
    #[serde(default)]
    pub budget: BoardBudget,
    /// Which temperatures are too high.
    #[serde(default)]
    pub thermal: ThermalDefaults,
}

/// How a board is known; every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Match {
    /// `aarch64`, `x86_64`.
    pub architecture: Option<String>,
    /// One of these is in `/proc/device-tree/compatible`.
    #[serde(default)]
    pub compatible: Vec<String>,
    /// `/proc/device-tree/model` contains one of these.
    #[serde(default)]
    pub model: Vec<String>,
}

/// What slmd may take of the board.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BoardBudget {
    /// The share of the memory, or of the cgroup's limit if that is lower; 1 to 100.
    pub memory_percent: Option<u8>,
    /// Tokens of one session.
    pub context_tokens: Option<u32>,
    /// Sessions at the same time, at least 1.
    pub sessions: Option<u16>,
}

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
    /// Cores that are online, or that this process may use if that is fewer.
    pub cores: usize,
    /// Physical memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// The lowest limit of this process's control groups and those above them, in bytes.
    pub cgroup_bytes: Option<u64>,
}

/// A machine and the profile that is used for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Board {
    /// What it has.
    pub machine: Machine,
    /// What fits it.
    pub profile: BoardProfile,
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
        let profile = match wanted {
            "auto" => BoardProfile::for_machine(&machine)?,
            path if path.contains('/') || path.ends_with(".toml") => {
                BoardProfile::from_file(Path::new(path))?
            }
            name => BoardProfile::named(name)?,
        };
        Ok(Self { machine, profile })
    }

    /// Threads of one step.
    pub fn threads(&self) -> usize {
        self.profile.threads.unwrap_or(self.machine.cores).clamp(1, 256)
    }

    /// The memory that slmd may have, in bytes.
    pub fn memory_bytes(&self) -> Option<u64> {
        let there = [self.machine.memory_bytes, self.machine.cgroup_bytes];
        let lowest = there.into_iter().flatten().min()?;
        let percent = self.profile.budget.memory_percent.unwrap_or(MEMORY_PERCENT);
        Some(lowest / 100 * u64::from(percent))
    }

    /// What the configuration falls back on.
    pub fn defaults(&self) -> Defaults {
        Defaults {
            board: self.profile.name.clone(),
            providers: Vec::new(),
            threads: self.threads(),
            memory_bytes: self.memory_bytes(),
            context_tokens: self.profile.budget.context_tokens,
            sessions: self.profile.budget.sessions,
            thermal: self.profile.thermal.clone(),
        }
    }
}

impl BoardProfile {
    /// The profiles in the binary.
    ///
    /// # Errors
    /// Never in a binary whose tests have passed.
    pub fn shipped() -> Result<Vec<Self>, ConfigError> {
        SHIPPED
            .iter()
            .map(|(file, text)| Self::parse(&format!("board-configs/{file}"), text))
            .collect()
    }

    /// A shipped profile by its name.
    ///
    /// # Errors
    /// If there is none of that name: which there are.
    pub fn named(name: &str) -> Result<Self, ConfigError> {
        let all = Self::shipped()?;
        let names: Vec<String> = all.iter().map(|p| p.name.clone()).collect();
        all.into_iter().find(|p| p.name == name).ok_or_else(|| ConfigError::Value {
            origin: "board".into(),
            problem: format!(
                "no profile {name:?}: auto, {}, or the path of a file",
                names.join(", ")
            ),
        })
    }

    /// A profile of one's own.
    ///
    /// # Errors
    /// If it cannot be read or is wrong, with its place.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let file = path.display().to_string();
        let failed = |problem: String| ConfigError::Read { file: file.clone(), problem };
        let meta = path.metadata().map_err(|e| failed(e.to_string()))?;
        if !meta.is_file() || meta.len() > FILE_LIMIT {
            return Err(failed("not a board's profile".into()));
        }
        let text = std::fs::read_to_string(path).map_err(|e| failed(e.to_string()))?;
        Self::parse(&file, &text)
    }

    fn for_machine(machine: &Machine) -> Result<Self, ConfigError> {
        let found = Self::shipped()?.into_iter().find(|p| p.r#match.holds(machine));
        // An architecture without a profile: the defaults of the code.
        Ok(found.unwrap_or_else(|| Self {
            name: format!("generic-{}", machine.architecture),
            r#match: Match::default(),
            threads: None,
            budget: BoardBudget::default(),
            thermal: ThermalDefaults::default(),
        }))
    }

    fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let profile: Self = toml::from_str(text).map_err(|e| diagnose_toml(file, text, &e))?;
        let wrong = |problem: &str| {
            Err(ConfigError::Read { file: file.to_owned(), problem: problem.to_owned() })
        };
        let (budget, thermal) = (&profile.budget, &profile.thermal);
        let bounds_c: Vec<u8> = thermal.enter_c().into_iter().flatten().collect();
        match () {
            () if profile.threads.is_some_and(|n| !(1..=256).contains(&n)) => {
                wrong("threads is out of range: 1 to 256")
            }
            () if budget.memory_percent.is_some_and(|n| !(1..=100).contains(&n)) => {
                wrong("budget.memory-percent is out of range: 1 to 100")
            }
            () if budget.context_tokens.is_some_and(|n| !(16..=1 << 20).contains(&n)) => {
                wrong("budget.context-tokens is out of range: 16 to 1048576")
            }
            () if budget.sessions.is_some_and(|n| !(1..=64).contains(&n)) => {
                wrong("budget.sessions is out of range: 1 to 64")
            }
            () if bounds_c.iter().any(|c| !(1..=150).contains(c)) => {
                wrong("a temperature of [thermal] is out of range: 1 to 150")
            }
            () if !bounds_c.is_sorted_by(|low, high| low < high) => {
                wrong("the temperatures of [thermal] must rise from level to level")
            }
            () if thermal.hysteresis_c.is_some_and(|c| !(1..=30).contains(&c)) => {
                wrong("thermal.hysteresis-c is out of range: 1 to 30")
            }
            () => Ok(profile),
        }
    }
}

impl Match {
    fn holds(&self, machine: &Machine) -> bool {
        let model = machine.model.as_deref().unwrap_or("");
        self.architecture.as_ref().is_none_or(|a| *a == machine.architecture)
            && (self.compatible.is_empty()
                || self.compatible.iter().any(|c| machine.compatible.contains(c)))
            && (self.model.is_empty() || self.model.iter().any(|m| model.contains(m.as_str())))
    }
}

impl Machine {
    /// Reads `/proc` and `/sys` under `root`; what is not there stays unknown.
    pub fn detect(root: &Path) -> Self {
        let text = |path: &str| {
            let bytes = std::fs::read(root.join(path)).ok()?;
            Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\0', '\n']).to_owned())
        };
        let compatible = text("proc/device-tree/compatible").unwrap_or_default();
        let online = text("sys/devices/system/cpu/online").and_then(|t| count_cpus(&t));
        // Affinity and cgroup quotas are this process's, so of the real root only.
        let allowed = match root == Path::new("/") {
            true => std::thread::available_parallelism().ok().map(usize::from),
            false => None,
        };
        Self {
            model: text("proc/device-tree/model").filter(|m| !m.is_empty()),
            compatible: compatible
                .split('\0')
                .filter(|c| !c.is_empty())
                .map(str::to_owned)
                .collect(),
            architecture: std::env::consts::ARCH.to_owned(),
            cores: [online, allowed].into_iter().flatten().min().unwrap_or(1).max(1),
            cpu: text("proc/cpuinfo").map(|t| cpu_name(&t)).unwrap_or_default(),
            memory_bytes: text("proc/meminfo").and_then(|t| meminfo(&t, "MemTotal:")),
            cgroup_bytes: cgroup::lowest(root),
        }
    }
}

/// `0-3,6` has five.
fn count_cpus(list: &str) -> Option<usize> {
    list.split(',').try_fold(0usize, |sum, part| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high) = (low.trim().parse::<usize>().ok()?, high.trim().parse::<usize>().ok()?);
        sum.checked_add(high.checked_sub(low)?.checked_add(1)?)
    })
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
        let mut machine = Machine::detect(root.path());
        machine.architecture = "aarch64".into();
        assert_eq!(machine.model.as_deref(), Some("Raspberry Pi 5 Model B Rev 1.0"));
        assert_eq!(machine.compatible, ["raspberrypi,5-model-b", "brcm,bcm2712"]);
        assert_eq!((machine.cores, machine.cgroup_bytes), (4, Some(1_000_000_000)));
        assert_eq!(machine.cpu, "0x410xd0b");
        let room = Room::under(root.path());
        assert_eq!((room.available_bytes, room.cgroups.len()), (Some(5120), 1));
        let profile = BoardProfile::for_machine(&machine).expect("sound");
        assert_eq!(profile.name, "raspberry-pi-5");
        let board = Board { machine, profile };
        assert_eq!(board.threads(), 3);
        assert_eq!(board.memory_bytes(), Some(500_000_000), "half of the cgroup's limit");
        let mut other = board.machine.clone();
        other.compatible.clear();
        let generic = BoardProfile::for_machine(&other).expect("sound");
        assert_eq!(generic.name, "generic-aarch64");
        other.architecture = "riscv64".into();
        assert_eq!(BoardProfile::for_machine(&other).expect("sound").name, "generic-riscv64");
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
        let unknown = Board::find_under(root.path(), "pi-9").expect_err("unknown").to_string();
        assert!(unknown.contains("raspberry-pi-5"), "{unknown}");
    }
}
