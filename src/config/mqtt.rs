//! `[mqtt]` and `[journal]`, checked.

use super::broker_url::BrokerUrl;
use super::environment::Environment;
use super::error::ConfigError;
use super::file::{ConfigFile, Value};
use super::quota::{Quota, TopicQuotaSection};
use super::settings::narrow;
use super::show::{Entry, entry};
use super::size::{format_bytes, parse_bytes};
use super::source::{Config, Origin, Sourced};
use crate::core::topic;
use serde::Deserialize;
use std::path::PathBuf;
use toml::Spanned;

/// What a request may have beside its prompt: JSON around it, topics, properties.
const HEADROOM_BYTES: usize = 32 << 10;
/// The least bytes of a journal: one answer of usual size, twice over.
const MIN_JOURNAL_BYTES: u64 = 64 << 10;

/// `[mqtt]`; see [`super::KEYS`] for each.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MqttSection {
    pub url: Value<String>,
    pub node: Value<String>,
    pub client_id: Value<String>,
    pub username: Value<String>,
    pub password_file: Value<String>,
    pub allow_plaintext_password: Value<bool>,
    pub ca_file: Value<String>,
    pub cert_file: Value<String>,
    pub key_file: Value<String>,
    pub keep_alive_s: Value<i64>,
    pub session_expiry_s: Value<i64>,
    pub reply_topics: Value<Vec<String>>,
    pub groups: Value<Vec<String>>,
    pub status_interval_s: Value<i64>,
    pub home_assistant: Value<String>,
    pub quota: Value<Vec<Spanned<TopicQuotaSection>>>,
}

/// `[journal]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct JournalSection {
    pub durability: Value<String>,
    pub max_entries: Value<i64>,
    pub max_bytes: Value<String>,
    pub max_age_s: Value<i64>,
}

/// `[mqtt]` in force.
#[derive(Debug, Clone, PartialEq)]
pub struct MqttSettings {
    /// None: MQTT is off, and nothing else here matters.
    pub broker: Sourced<Option<BrokerUrl>>,
    /// This device's name in topics.
    pub node: Sourced<String>,
    /// What the broker knows the session by.
    pub client_id: Sourced<String>,
    /// The user name, unless it comes from systemd.
    pub username: Sourced<Option<String>>,
    /// Where the password is, unless it comes from systemd.
    pub password_file: Sourced<Option<PathBuf>>,
    /// A password may go over the network in plain text.
    pub allow_plaintext_password: Sourced<bool>,
    /// Whom to trust; none: what the system trusts.
    pub ca_file: Sourced<Option<PathBuf>>,
    /// Our certificate; comes with the key.
    pub cert_file: Sourced<Option<PathBuf>>,
    /// Our key; comes with the certificate.
    pub key_file: Sourced<Option<PathBuf>>,
    /// Seconds of silence at most.
    pub keep_alive_s: Sourced<u16>,
    /// Seconds that the broker remembers us.
    pub session_expiry_s: Sourced<u32>,
    /// Filters that a response topic must match one of, beside the node's own.
    pub reply_topics: Sourced<Vec<String>>,
    /// Groups whose requests this device shares with others.
    pub groups: Sourced<Vec<String>>,
    /// Seconds between two status messages.
    pub status_interval_s: Sourced<u32>,
    /// The prefix of Home Assistant's discovery topics; none: off.
    pub home_assistant: Sourced<Option<String>>,
    /// Every quota; the first that matches holds.
    pub quotas: Sourced<Vec<Quota>>,
}

/// The largest packet that is taken, in bytes: a prompt of `prompt_bytes` and what is around it.
pub fn max_packet_bytes(prompt_bytes: usize) -> u32 {
    u32::try_from(prompt_bytes.saturating_add(HEADROOM_BYTES)).unwrap_or(u32::MAX)
}

/// Whether an acknowledged prompt survives a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk before it is acknowledged.
    Sync,
    /// It is in the kernel's hands, and survives the process but not the power.
    Volatile,
}

impl Durability {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Volatile => "volatile",
        }
    }
}

/// `[journal]` in force. The journal is in `journal` below the state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSettings {
    /// Before a prompt is acknowledged.
    pub durability: Sourced<Durability>,
    /// Prompts and answers at most.
    pub max_entries: Sourced<usize>,
    /// Bytes at most.
    pub max_bytes: Sourced<u64>,
    /// Seconds that an answer is kept for an asker who asks again.
    pub max_age_s: Sourced<u32>,
}

impl Config {
    pub(super) fn mqtt(&self, environment: &Environment) -> Result<MqttSettings, ConfigError> {
        let node = self.node(environment)?;
        let seconds = |get: fn(&ConfigFile) -> Option<&Spanned<i64>>, range, own| {
            Ok::<_, ConfigError>(self.integer(get, range)?.unwrap_or(by_default(own)))
        };
        let keep_alive = seconds(|f| f.mqtt.keep_alive_s.as_ref(), 5..=3600, 30)?;
        let expiry = seconds(|f| f.mqtt.session_expiry_s.as_ref(), 0..=u32::MAX.into(), 3600)?;
        let status = seconds(|f| f.mqtt.status_interval_s.as_ref(), 1..=86_400, 60)?;
        let settings = MqttSettings {
            broker: self.checked(|f| f.mqtt.url.as_ref(), BrokerUrl::parse)?,
            client_id: self.client_id(&node)?,
            node,
            username: self.checked(|f| f.mqtt.username.as_ref(), |name| plain_text(name, 1024))?,
            password_file: self.optional_path(|f| f.mqtt.password_file.as_ref())?,
            allow_plaintext_password: self.flag(|f| f.mqtt.allow_plaintext_password.as_ref()),
            ca_file: self.optional_path(|f| f.mqtt.ca_file.as_ref())?,
            cert_file: self.optional_path(|f| f.mqtt.cert_file.as_ref())?,
            key_file: self.optional_path(|f| f.mqtt.key_file.as_ref())?,
            keep_alive_s: narrow(keep_alive),
            session_expiry_s: narrow(expiry),
            reply_topics: self.each(|f| f.mqtt.reply_topics.as_ref(), check_filter)?,
            groups: self.each(|f| f.mqtt.groups.as_ref(), check_name)?,
            status_interval_s: narrow(status),
            home_assistant: self.checked(|f| f.mqtt.home_assistant.as_ref(), topic_prefix)?,
            quotas: self.topic_quotas()?,
        };
        self.check_identity(&settings)?;
        settings.check_plaintext(environment)?;
        Ok(settings)
    }

    fn node(&self, environment: &Environment) -> Result<Sourced<String>, ConfigError> {
        let written = self.checked(|f| f.mqtt.node.as_ref(), check_node)?;
        Ok(match written.value {
            Some(name) => Sourced::new(name, written.origin),
            None => by_default(node_name(environment.host_name.as_deref().unwrap_or(""))),
        })
    }

    fn client_id(&self, node: &Sourced<String>) -> Result<Sourced<String>, ConfigError> {
        let written = self.checked(|f| f.mqtt.client_id.as_ref(), |id| plain_text(id, 256))?;
        Ok(match written.value {
            Some(id) => Sourced::new(id, written.origin),
            None => by_default(format!("slmd-{}", node.value)),
        })
    }

    /// A certificate is of no use without its key, and neither without TLS.
    fn check_identity(&self, settings: &MqttSettings) -> Result<(), ConfigError> {
        let refuse = |get: fn(&ConfigFile) -> Option<&Spanned<String>>, problem: &str| match self
            .pick(get)
        {
            Some((source, at)) => Err(source.refuse(at, problem)),
            None => Ok(()),
        };
        let key = |f: &ConfigFile| f.mqtt.key_file.is_some();
        let cert = |f: &ConfigFile| f.mqtt.cert_file.is_some();
        let written = |has: fn(&ConfigFile) -> bool| self.sources.iter().any(|s| has(&s.file));
        match (written(cert), written(key)) {
            (true, false) => {
                refuse(
                    |f| f.mqtt.cert_file.as_ref(),
                    "a certificate needs its key: set `key-file`",
                )?;
            }
            (false, true) => {
                refuse(
                    |f| f.mqtt.key_file.as_ref(),
                    "a key needs its certificate: set `cert-file`",
                )?;
            }
            _ => {}
        }
        if settings.broker.value.as_ref().is_some_and(|b| !b.tls) {
            let problem = "certificates are of no use without TLS: write the url as mqtts://";
            refuse(|f| f.mqtt.ca_file.as_ref(), problem)?;
            refuse(|f| f.mqtt.cert_file.as_ref(), problem)?;
        }
        Ok(())
    }

    pub(super) fn journal(&self) -> Result<JournalSettings, ConfigError> {
        let entries = self.integer(|f| f.journal.max_entries.as_ref(), 16..=1 << 20)?;
        let age = self.integer(|f| f.journal.max_age_s.as_ref(), 60..=31_536_000)?;
        let bytes = self.checked(
            |f| f.journal.max_bytes.as_ref(),
            |size| {
                let bytes = parse_bytes(size)?;
                let least = format_bytes(MIN_JOURNAL_BYTES);
                let enough = bytes >= MIN_JOURNAL_BYTES;
                enough
                    .then_some(bytes)
                    .ok_or_else(|| format!("{size} is too small: at least {least}"))
            },
        )?;
        let durability = self.checked(
            |f| f.journal.durability.as_ref(),
            |name| match name {
                "sync" => Ok(Durability::Sync),
                "volatile" => Ok(Durability::Volatile),
                other => Err(format!("no durability {other:?}: sync or volatile")),
            },
        )?;
        Ok(JournalSettings {
            durability: or_default(durability, Durability::Sync),
            max_entries: narrow(entries.unwrap_or(by_default(4096))),
            max_bytes: or_default(bytes, 4 << 20),
            max_age_s: narrow(age.unwrap_or(by_default(86_400))),
        })
    }

    /// A text that `check` makes something of.
    fn checked<T>(
        &self,
        get: fn(&ConfigFile) -> Option<&Spanned<String>>,
        check: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Sourced<Option<T>>, ConfigError> {
        match self.pick(get) {
            None => Ok(by_default(None)),
            Some((source, at)) => match check(at.get_ref()) {
                Ok(value) => Ok(Sourced::new(Some(value), source.origin(at))),
                Err(problem) => Err(source.refuse(at, problem)),
            },
        }
    }

    fn each(
        &self,
        get: fn(&ConfigFile) -> Option<&Spanned<Vec<String>>>,
        check: fn(&str) -> Result<(), String>,
    ) -> Result<Sourced<Vec<String>>, ConfigError> {
        match self.pick(get) {
            None => Ok(by_default(Vec::new())),
            Some((source, at)) => match at.get_ref().iter().find_map(|one| check(one).err()) {
                None => Ok(Sourced::new(at.get_ref().clone(), source.origin(at))),
                Some(problem) => Err(source.refuse(at, problem)),
            },
        }
    }

    pub(super) fn flag(&self, get: fn(&ConfigFile) -> Option<&Spanned<bool>>) -> Sourced<bool> {
        match self.pick(get) {
            None => by_default(false),
            Some((source, at)) => Sourced::new(*at.get_ref(), source.origin(at)),
        }
    }
}

fn by_default<T>(value: T) -> Sourced<T> {
    Sourced::new(value, Origin::Default)
}

fn or_default<T>(from: Sourced<Option<T>>, own: T) -> Sourced<T> {
    Sourced::new(from.value.unwrap_or(own), from.origin)
}

/// A name that is one level of a topic.
fn check_name(name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match (1..=64).contains(&name.len()) && name.chars().all(fine) {
        true => Ok(()),
        false => Err(format!("{name:?} must be 1 to 64 of the characters A-Z a-z 0-9 _ . -")),
    }
}

/// A node's name; `slmd/group/...` belongs to groups.
fn check_node(name: &str) -> Result<String, String> {
    check_name(name)?;
    match name {
        "group" => {
            Err("a node cannot be called \"group\": its topics would be those of groups".into())
        }
        name => Ok(name.to_owned()),
    }
}

/// The host's name as one level of a topic.
fn node_name(host: &str) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let name: String = host.chars().take(64).map(|c| if fine(c) { c } else { '-' }).collect();
    if name.is_empty() || name == "group" { "slmd".into() } else { name }
}

fn plain_text(text: &str, limit: usize) -> Result<String, String> {
    match !text.is_empty() && text.len() <= limit && !text.chars().any(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(format!("must be 1 to {limit} bytes without control characters")),
    }
}

pub(super) fn check_filter(filter: &str) -> Result<(), String> {
    match topic::is_filter(filter) && filter.len() <= 1024 && !filter.chars().any(char::is_control)
    {
        true => Ok(()),
        false => Err(format!(
            "{filter:?} is no topic filter: `+` and `#` stand for whole levels, `#` for the last ones, \
             as in a/+/b and a/#"
        )),
    }
}

fn topic_prefix(prefix: &str) -> Result<String, String> {
    match topic::is_name(prefix) && !prefix.starts_with('/') && !prefix.ends_with('/') {
        true => Ok(prefix.to_owned()),
        false => Err(format!("{prefix:?} must be a topic such as \"homeassistant\"")),
    }
}

// ---- what `slmd config show` prints

impl MqttSettings {
    pub(super) fn entries(&self) -> Vec<Entry> {
        let text = |v: &Option<String>| v.as_ref().map_or("-".into(), |v| format!("{v:?}"));
        let path = |v: &Option<PathBuf>| {
            v.as_ref().map_or("-".into(), |v| format!("{:?}", v.display().to_string()))
        };
        let list = |v: &Vec<String>| format!("{v:?}");
        vec![
            entry("mqtt.url", &self.broker, |v| {
                v.as_ref().map_or("-".into(), |v| format!("{:?}", v.to_string()))
            }),
            entry("mqtt.node", &self.node, |v| format!("{v:?}")),
            entry("mqtt.client-id", &self.client_id, |v| format!("{v:?}")),
            entry("mqtt.username", &self.username, text),
            entry("mqtt.password-file", &self.password_file, path),
            entry("mqtt.allow-plaintext-password", &self.allow_plaintext_password, bool::to_string),
            entry("mqtt.ca-file", &self.ca_file, path),
            entry("mqtt.cert-file", &self.cert_file, path),
            entry("mqtt.key-file", &self.key_file, path),
            entry("mqtt.keep-alive-s", &self.keep_alive_s, u16::to_string),
            entry("mqtt.session-expiry-s", &self.session_expiry_s, u32::to_string),
            entry("mqtt.reply-topics", &self.reply_topics, list),
            entry("mqtt.groups", &self.groups, list),
            entry("mqtt.status-interval-s", &self.status_interval_s, u32::to_string),
            entry("mqtt.home-assistant", &self.home_assistant, text),
        ]
    }
}

impl JournalSettings {
    pub(super) fn entries(&self) -> Vec<Entry> {
        vec![
            entry("journal.durability", &self.durability, |v| format!("{:?}", v.name())),
            entry("journal.max-entries", &self.max_entries, usize::to_string),
            entry("journal.max-bytes", &self.max_bytes, |&v| format!("{:?}", format_bytes(v))),
            entry("journal.max-age-s", &self.max_age_s, u32::to_string),
        ]
    }
}

#[cfg(test)]
#[path = "mqtt_tests.rs"]
mod tests;
