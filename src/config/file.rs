//! What may be written in a configuration file: every key optional, unknown ones refused.
//!
//! Values keep their span, so that `settings` can point at what it does not accept.

#![allow(missing_docs, reason = "KEYS documents every key, and a test holds the two together")]

use super::models::ModelsSection;
use super::mqtt::{JournalSection, MqttSection};
use super::quota::PeerQuotaSection;
use super::thermal::ThermalSection;
use crate::bundle::TaskSpec;
use crate::core::provider::Provider;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

/// A value with its place in the file, if it was written.
pub type Value<T> = Option<Spanned<T>>;

/// One file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConfigFile {
    /// See [`super::KEYS`] for this and all others.
    pub board: Value<String>,
    pub model: Value<String>,
    pub variant: Value<String>,
    pub engine: Value<String>,
    pub threads: Value<i64>,
    pub affinity: Value<String>,
    pub state_dir: Value<String>,
    pub strict_providers: Value<bool>,
    #[serde(default)]
    pub provider: Vec<Spanned<Provider>>,
    #[serde(default)]
    pub budget: BudgetSection,
    #[serde(default)]
    pub latency: LatencySection,
    #[serde(default)]
    pub unix: UnixSection,
    #[serde(default)]
    pub thermal: ThermalSection,
    #[serde(default)]
    pub limits: LimitsSection,
    #[serde(default)]
    pub mqtt: MqttSection,
    #[serde(default)]
    pub journal: JournalSection,
    #[serde(default)]
    pub models: ModelsSection,
    #[serde(default)]
    pub second_model: super::second_model::SecondModelSection,
    #[serde(default)]
    pub task: BTreeMap<String, Spanned<TaskSpec>>,
    #[serde(default)]
    pub tool: BTreeMap<String, Spanned<super::tools::ToolSection>>,
    #[serde(default)]
    pub endpoint: BTreeMap<String, Spanned<super::endpoint::EndpointSection>>,
    #[serde(default)]
    pub watch: Vec<Spanned<super::watch::WatchSection>>,
}

/// `[budget]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BudgetSection {
    pub memory: Value<String>,
    pub context_tokens: Value<i64>,
    pub sessions: Value<i64>,
    pub queue: Value<i64>,
    pub kv: Value<String>,
}

/// `[latency]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LatencySection {
    pub deadline_ms: Value<i64>,
    pub ttft_ms: Value<i64>,
    pub max_step_ms: Value<i64>,
}

/// `[unix]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct UnixSection {
    pub path: Value<String>,
    pub allow_users: Value<Vec<String>>,
    pub allow_groups: Value<Vec<String>>,
    pub quota: Value<Vec<Spanned<PeerQuotaSection>>>,
}

/// `[limits]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitsSection {
    pub prompt_bytes: Value<i64>,
    pub max_tokens: Value<i64>,
    pub clients: Value<i64>,
    pub tool_rounds: Value<i64>,
}
