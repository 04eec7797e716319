//! `[second-model]`, checked: the model beside the first one.

use super::error::ConfigError;
use super::file::Value;
use super::settings::narrow;
use super::show::{Entry, entry};
use super::source::{Config, Origin, Sourced};
use serde::Deserialize;
use std::path::PathBuf;

/// `[second-model]`; see [`super::KEYS`] for each.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SecondModelSection {
    pub path: Value<String>,
    pub sessions: Value<i64>,
    pub context_tokens: Value<i64>,
}

/// `[second-model]` in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondModelSettings {
    /// Its directory; none: there is no second model.
    pub path: Sourced<Option<PathBuf>>,
    /// Requests that it serves at the same time.
    pub sessions: Sourced<u16>,
    /// Tokens of one of them.
    pub context_tokens: Sourced<u32>,
}

impl Config {
    pub(super) fn second_model(&self) -> Result<SecondModelSettings, ConfigError> {
        let sessions = self.integer(|f| f.second_model.sessions.as_ref(), 1..=64)?;
        let context = self.integer(|f| f.second_model.context_tokens.as_ref(), 16..=1 << 20)?;
        Ok(SecondModelSettings {
            path: self.optional_path(|f| f.second_model.path.as_ref())?,
            sessions: narrow(sessions.unwrap_or(Sourced::new(1, Origin::Default))),
            context_tokens: narrow(context.unwrap_or(Sourced::new(1024, Origin::Default))),
        })
    }
}

impl SecondModelSettings {
    pub(super) fn entries(&self) -> Vec<Entry> {
        vec![
            entry("second-model.path", &self.path, |path| {
                path.as_ref().map_or("-".into(), |p| format!("{:?}", p.display().to_string()))
            }),
            entry("second-model.sessions", &self.sessions, u16::to_string),
            entry("second-model.context-tokens", &self.context_tokens, u32::to_string),
        ]
    }
}
