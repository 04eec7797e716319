//! `[models]`, checked: where models are installed, and who may have made them.

use super::error::ConfigError;
use super::file::{ConfigFile, Value};
use super::settings::narrow;
use super::show::{Entry, entry};
use super::size::{format_bytes, parse_bytes};
use super::source::{Config, Origin, Sourced};
use crate::bundle::signature::Key;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The folder in `state-dir` where models are, unless it is named.
const FOLDER: &str = "models";
/// The most bytes of a model, where nobody says.
const MAX_BYTES: u64 = 8 << 30;
/// Nothing smaller is a model.
const LEAST_MAX_BYTES: u64 = 1 << 20;
/// Seconds of a trial, where nobody says.
const TRIAL_TIMEOUT_S: i64 = 300;

/// `[models]`; see [`super::KEYS`] for each.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelsSection {
    pub dir: Value<String>,
    pub keys: Value<Vec<String>>,
    pub require_signature: Value<bool>,
    pub max_bytes: Value<String>,
    pub trial_timeout_s: Value<i64>,
}

/// `[models]` in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelsSettings {
    /// Where they are kept.
    pub dir: Sourced<PathBuf>,
    /// Whose signatures count.
    pub keys: Sourced<Vec<Key>>,
    /// Whether unsigned ones are refused.
    pub require_signature: Sourced<bool>,
    /// The most bytes of one, unpacked.
    pub max_bytes: Sourced<u64>,
    /// Seconds that a trial may take.
    pub trial_timeout_s: Sourced<u32>,
}

impl Config {
    pub(super) fn models(&self, state_dir: &Path) -> Result<ModelsSettings, ConfigError> {
        let dir = self.optional_path(|f| f.models.dir.as_ref())?;
        let keys = self.keys()?;
        let timeout = self.integer(|f| f.models.trial_timeout_s.as_ref(), 1..=86_400)?;
        Ok(ModelsSettings {
            dir: Sourced::new(dir.value.unwrap_or_else(|| state_dir.join(FOLDER)), dir.origin),
            require_signature: self.require_signature(&keys.value)?,
            keys,
            max_bytes: self.max_model_bytes()?,
            trial_timeout_s: narrow(
                timeout.unwrap_or(Sourced::new(TRIAL_TIMEOUT_S, Origin::Default)),
            ),
        })
    }

    fn keys(&self) -> Result<Sourced<Vec<Key>>, ConfigError> {
        let Some((source, at)) = self.pick(|f| f.models.keys.as_ref()) else {
            return Ok(Sourced::new(Vec::new(), Origin::Default));
        };
        let keys: Result<Vec<Key>, ConfigError> = at
            .get_ref()
            .iter()
            .map(|text| {
                Key::parse(text).map_err(|why| source.refuse(at, format!("{text:?}: {why}")))
            })
            .collect();
        Ok(Sourced::new(keys?, source.origin(at)))
    }

    fn require_signature(&self, keys: &[Key]) -> Result<Sourced<bool>, ConfigError> {
        match self.pick(|f: &ConfigFile| f.models.require_signature.as_ref()) {
            None => Ok(Sourced::new(!keys.is_empty(), Origin::Default)),
            Some((source, at)) if *at.get_ref() && keys.is_empty() => {
                let problem = "without models.keys no signature would do; name the keys";
                Err(source.refuse(at, problem))
            }
            Some((source, at)) => Ok(Sourced::new(*at.get_ref(), source.origin(at))),
        }
    }

    fn max_model_bytes(&self) -> Result<Sourced<u64>, ConfigError> {
        let Some((source, at)) = self.pick(|f| f.models.max_bytes.as_ref()) else {
            return Ok(Sourced::new(MAX_BYTES, Origin::Default));
        };
        let bytes = parse_bytes(at.get_ref()).map_err(|problem| source.refuse(at, problem))?;
        match bytes >= LEAST_MAX_BYTES {
            true => Ok(Sourced::new(bytes, source.origin(at))),
            false => {
                let least = format_bytes(LEAST_MAX_BYTES);
                Err(source.refuse(at, format!("{} is too small: at least {least}", at.get_ref())))
            }
        }
    }
}

impl ModelsSettings {
    pub(super) fn entries(&self) -> Vec<Entry> {
        let texts =
            |keys: &Vec<Key>| format!("{:?}", keys.iter().map(Key::text).collect::<Vec<_>>());
        vec![
            entry("models.dir", &self.dir, |v| format!("{:?}", v.display().to_string())),
            entry("models.keys", &self.keys, texts),
            entry("models.require-signature", &self.require_signature, bool::to_string),
            entry("models.max-bytes", &self.max_bytes, |&v| format!("{:?}", format_bytes(v))),
            entry("models.trial-timeout-s", &self.trial_timeout_s, u32::to_string),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::environment::Environment;
    use super::super::settings::Defaults;
    use super::*;

    const KEY: &str = "RWTZ0pseFB22VsuTylCs09tmMNLg9fVP/aYsT+cMMbo+RCQhBXBXolGn";

    fn models(text: &str) -> Result<ModelsSettings, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config.toml");
        std::fs::write(&file, format!("state-dir = '/s'\n{text}")).expect("writable");
        let defaults = Defaults {
            board: "test".into(),
            threads: 1,
            memory_bytes: Some(1 << 30),
            ..Defaults::default()
        };
        let environment = Environment { is_root: true, ..Environment::default() };
        let config = Config::load(Some(&file), &environment, &[]).map_err(|e| e.to_string())?;
        let settings = config.settings(&environment, &defaults).map_err(|e| e.to_string())?;
        Ok(settings.models)
    }

    #[test]
    fn without_keys_nothing_need_be_signed_and_with_keys_all() {
        let none = models("").expect("sound");
        assert_eq!(none.dir.value, Path::new("/s/models"));
        assert!(!none.require_signature.value && none.keys.value.is_empty());
        assert_eq!((none.max_bytes.value, none.trial_timeout_s.value), (8 << 30, 300));
        let keys = models(&format!("[models]\nkeys = ['{KEY}']")).expect("sound");
        assert!(keys.require_signature.value);
        assert_eq!(keys.keys.value[0].id(), "56B61D141E9BD2D9");
        let lax = format!("[models]\nkeys = ['{KEY}']\nrequire-signature = false\ndir = '/m'");
        let lax = models(&lax).expect("sound");
        assert!(!lax.require_signature.value);
        assert_eq!(lax.dir.value, Path::new("/m"));
    }

    #[test]
    fn what_cannot_work_is_refused_where_it_stands() {
        for (text, says) in [
            ("keys = ['RWQshort']", "minisign.pub"),
            ("require-signature = true", "without models.keys"),
            ("max-bytes = '1kB'", "at least 1MiB"),
            ("trial-timeout-s = 0", "out of range"),
        ] {
            let error = models(&format!("[models]\n{text}")).expect_err(text);
            assert!(error.contains(says) && error.contains("config.toml:3:"), "{text}: {error}");
        }
    }
}
