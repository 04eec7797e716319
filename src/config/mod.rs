//! The daemon's configuration: TOML files, environment and flags, checked into [`Settings`].
//!
//! Three stages: `file` says what may be written (serde, nothing checked), `source` where it
//! was written (files, `SLMD_*`, flags), `settings` what is in force, with each value's origin.
//! Knows of bundles only their tasks' form; nothing of boards, engines or sockets: what a board
//! decides comes in as plain [`Defaults`].

mod affinity;
mod broker_url;
mod credentials;
mod diagnostic;
mod endpoint;
mod environment;
mod error;
mod file;
mod keys;
mod models;
mod mqtt;
mod provider;
mod quota;
mod reference;
mod reload;
mod second_model;
mod settings;
mod show;
mod size;
mod source;
mod thermal;
mod tools;
mod watch;

pub use broker_url::BrokerUrl;
pub use credentials::Credentials;
pub use diagnostic::Diagnostic;
pub use endpoint::EndpointSettings;
pub use environment::Environment;
pub use error::ConfigError;
pub use file::ConfigFile;
pub use keys::{KEYS, Key, Kind};
pub use models::ModelsSettings;
pub use mqtt::{Durability, JournalSettings, MqttSettings, max_packet_bytes};
pub use quota::{Quota, Who};
pub use reference::reference;
pub use second_model::SecondModelSettings;
pub use settings::{Defaults, Settings};
pub use show::Entry;
pub use size::{format_bytes, parse_bytes};
pub use source::{Config, DEFAULT_CONFIG, Origin, Sourced};
pub use thermal::{ThermalDefaults, ThermalSettings};
pub use tools::ToolSettings;

pub(crate) use diagnostic::diagnose_toml;
