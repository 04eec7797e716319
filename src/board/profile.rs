//! A board's profile: what fits it, as a file of `board-configs/` or of one's own says.

use super::machine::Machine;
use super::rules;
use crate::config::{ConfigError, Diagnostic, ThermalDefaults, diagnose_toml};
use crate::config::{format_bytes, parse_bytes};
use crate::core::cpus::CpuList;
use crate::core::plan::KvType;
use crate::core::provider::Provider;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use std::path::{Path, PathBuf};

/// The profiles in the binary; the generic ones last, since the first match is taken.
const SHIPPED: [(&str, &str); 10] = [
    ("raspberry-pi-4.toml", include_str!("../../board-configs/raspberry-pi-4.toml")),
    ("raspberry-pi-5.toml", include_str!("../../board-configs/raspberry-pi-5.toml")),
    ("jetson-orin-nano.toml", include_str!("../../board-configs/jetson-orin-nano.toml")),
    ("jetson-agx-orin.toml", include_str!("../../board-configs/jetson-agx-orin.toml")),
    ("rock-5b.toml", include_str!("../../board-configs/rock-5b.toml")),
    ("imx8mp.toml", include_str!("../../board-configs/imx8mp.toml")),
    ("rubik-pi-3.toml", include_str!("../../board-configs/rubik-pi-3.toml")),
    ("beagley-ai.toml", include_str!("../../board-configs/beagley-ai.toml")),
    ("generic-aarch64.toml", include_str!("../../board-configs/generic-aarch64.toml")),
    ("generic-x86_64.toml", include_str!("../../board-configs/generic-x86_64.toml")),
];
/// The share of the memory that slmd may have where no profile says another.
const MEMORY_PERCENT: u8 = 50;
/// The most bytes of a profile.
const FILE_LIMIT: u64 = 1 << 20;

/// A kind of board, and what fits it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BoardProfile {
    /// Its name, which is that of its file.
    pub name: String,
    /// Threads of one inference step, at least 1; none: as many as there are fast cores.
    pub threads: Option<usize>,
    /// How such a board is known.
    #[serde(default)]
    pub r#match: Match,
    /// The memory it is sold with.
    #[serde(default)]
    pub memory: BoardMemory,
    /// Its cores.
    #[serde(default)]
    pub cores: BoardCores,
    /// Memory and sessions.
    #[serde(default)]
    pub budget: BoardBudget,
    /// Which temperatures are too high.
    #[serde(default)]
    pub thermal: ThermalDefaults,
    /// What the service must be allowed to open, for some provider.
    #[serde(default)]
    pub device: Vec<Device>,
    /// Execution providers of ONNX Runtime, in the order in which they are tried; the CPU comes last
    /// of itself.
    #[serde(default)]
    pub provider: Vec<Provider>,
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

/// The memory that a board is sold with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BoardMemory {
    /// Each size there is, in bytes, rising. The firmware keeps some of it, so that the machine itself
    /// reports a little less.
    #[serde(default, deserialize_with = "sizes")]
    pub sizes: Vec<u64>,
}

/// A board's cores.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BoardCores {
    /// How many there are, fast and slow.
    pub count: Option<usize>,
    /// The fast ones, where there are slow ones too; none: as `cpu_capacity` says.
    #[serde(default, deserialize_with = "cpus")]
    pub big: Option<CpuList>,
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
    /// How keys and values are stored.
    #[serde(default, deserialize_with = "kv")]
    pub kv: Option<KvType>,
}

/// A device node, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Device {
    /// Below `/dev`.
    pub path: PathBuf,
    /// Why it must be opened.
    pub reason: String,
}

fn sizes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| parse_bytes(text).map_err(D::Error::custom)).collect()
}

fn cpus<'de, D: Deserializer<'de>>(from: D) -> Result<Option<CpuList>, D::Error> {
    let text = String::deserialize(from)?;
    CpuList::parse(&text).map(Some).map_err(D::Error::custom)
}

fn kv<'de, D: Deserializer<'de>>(from: D) -> Result<Option<KvType>, D::Error> {
    let text = String::deserialize(from)?;
    match KvType::from_name(&text) {
        Some(kv) => Ok(Some(kv)),
        None => Err(D::Error::custom(format!("no type {text:?}: auto, f32, f16 or int8"))),
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

    /// A shipped profile by its name, or one of one's own by the path of its file.
    ///
    /// # Errors
    /// If there is none, or it is wrong.
    pub fn find(wanted: &str) -> Result<Self, ConfigError> {
        match wanted.contains('/') || wanted.ends_with(".toml") {
            true => Self::from_file(Path::new(wanted)),
            false => Self::named(wanted),
        }
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

    /// The first shipped profile that fits the machine, with the reason.
    ///
    /// # Errors
    /// As [`BoardProfile::shipped`].
    pub fn for_machine(machine: &Machine) -> Result<(Self, String), ConfigError> {
        let shipped = Self::shipped()?;
        let found = shipped.into_iter().find_map(|p| Some((p.r#match.reason(machine)?, p)));
        Ok(match found {
            Some((reason, profile)) => (profile, reason),
            // An architecture without a profile: the defaults of the code.
            None => {
                let name = format!("generic-{}", machine.architecture);
                let reason = format!("no profile is for {}", machine.architecture);
                (Self { name, ..Self::default() }, reason)
            }
        })
    }

    pub(super) fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let profile: Self = toml::from_str(text).map_err(|e| diagnose_toml(file, text, &e))?;
        match rules::broken(&profile) {
            None => Ok(profile),
            Some((path, problem)) => {
                Err(Diagnostic::at(file, text, rules::place(text, &path), problem).into())
            }
        }
    }

    /// The share of the memory that slmd may have.
    pub fn memory_percent(&self) -> u8 {
        self.budget.memory_percent.unwrap_or(MEMORY_PERCENT)
    }

    /// What slmd may have of `bytes` of memory.
    pub fn budget_of(&self, bytes: u64) -> u64 {
        bytes / 100 * u64::from(self.memory_percent())
    }

    /// The sizes of its memory in words.
    pub fn sizes(&self) -> Vec<String> {
        self.memory.sizes.iter().map(|bytes| format_bytes(*bytes)).collect()
    }
}

impl Match {
    /// Why this machine is such a board; none: it is not.
    pub fn reason(&self, machine: &Machine) -> Option<String> {
        let mut reasons = Vec::new();
        if let Some(architecture) = &self.architecture {
            (*architecture == machine.architecture).then_some(())?;
            reasons.push(format!("the architecture is {architecture}"));
        }
        if !self.compatible.is_empty() {
            let found = self.compatible.iter().find(|c| machine.compatible.contains(c))?;
            reasons.push(format!("the device tree is compatible with {found:?}"));
        }
        if !self.model.is_empty() {
            let model = machine.model.as_deref().unwrap_or("");
            let found = self.model.iter().find(|m| model.contains(m.as_str()))?;
            reasons.push(format!("the device tree's model has {found:?}"));
        }
        Some(reasons.join(" and "))
    }
}
