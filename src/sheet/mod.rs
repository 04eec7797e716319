//! The memory sheet: what the whole process will hold at its fullest, line by line, in bytes.
//!
//! Pure arithmetic over what is known of a model, an engine and the configuration; reads nothing,
//! and loads nothing. `docs/memory.md` says how each line is priced.

mod demands;
mod fit;
mod measured;
mod price;

pub use demands::{Demands, MqttDemands};
pub use fit::{Freedom, MIN_CONTEXT, Shape};
pub use measured::{Measured, Phase};
pub use price::{Subject, kv_bytes};

use serde::Serialize;

/// What a line is about, in the order of the sheet: what comes first is needed before the rest is
/// of any use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Item {
    /// Code, threads, and what every process has.
    Process,
    /// The engine's library.
    Library,
    /// Tokenizer, templates, and what grammars are made of.
    Text,
    /// The model's weights as the engine holds them.
    Weights,
    /// Inputs and logits.
    Buffers,
    /// What the largest step needs while it runs.
    Step,
    /// Requests that wait or run.
    Requests,
    /// Compiled grammars.
    Grammars,
    /// Connections, and what they have not read yet.
    Clients,
    /// The broker's connection, and the prompts that the journal owns.
    Mqtt,
    /// What loading needs for a moment beyond all that is there later.
    Loading,
    /// For what differs from one run to the next.
    Reserve,
    /// All of the second model, its sessions included.
    SecondModel,
    /// The keys and values of every session, at full length.
    Kv,
}

impl Item {
    /// As people read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Library => "engine library",
            Self::Text => "tokenizer and templates",
            Self::Weights => "weights",
            Self::Buffers => "inputs and logits",
            Self::Step => "largest step",
            Self::Requests => "requests",
            Self::Grammars => "grammars",
            Self::Clients => "clients",
            Self::Mqtt => "MQTT and journal",
            Self::Loading => "while loading",
            Self::Reserve => "reserve",
            Self::SecondModel => "second model",
            Self::Kv => "KV slots",
        }
    }
}

/// Where a line's figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Follows from the model and the configuration.
    Computed,
    /// Was measured on this machine.
    Measured,
    /// A rule of thumb, until it is measured.
    Estimated,
}

impl How {
    /// As people read it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Computed => "computed",
            Self::Measured => "measured",
            Self::Estimated => "estimated",
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What it is about.
    pub item: Item,
    /// Its bytes.
    pub bytes: u64,
    /// Where the figure comes from.
    pub how: How,
    /// How it is made up, for people.
    pub of: String,
}

/// What the process will hold at its fullest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sheet {
    /// Sessions and context that it is for.
    pub shape: Shape,
    /// In the order of [`Item`].
    pub lines: Vec<Line>,
}

impl Sheet {
    /// The bytes of all lines.
    pub fn total_bytes(&self) -> u64 {
        self.lines.iter().map(|line| line.bytes).sum()
    }

    /// The bytes of one line.
    pub fn bytes(&self, item: Item) -> u64 {
        self.lines.iter().filter(|line| line.item == item).map(|line| line.bytes).sum()
    }

    /// What a model takes beside another one in the same process: all that is its own.
    pub fn own_bytes(&self) -> u64 {
        let own = [Item::Text, Item::Weights, Item::Buffers, Item::Step, Item::Grammars, Item::Kv];
        own.iter().map(|item| self.bytes(*item)).sum()
    }

    /// The first line that `budget` bytes do not hold, with what the lines before it leave.
    pub fn overflow(&self, budget: u64) -> Option<(&Line, u64)> {
        let mut left = budget;
        for line in &self.lines {
            match left.checked_sub(line.bytes) {
                Some(rest) => left = rest,
                None => return Some((line, left)),
            }
        }
        None
    }
}
