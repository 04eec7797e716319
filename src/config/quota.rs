//! `[[mqtt.quota]]` and `[[unix.quota]]`, checked: who may ask for how much.

use super::error::ConfigError;
use super::file::ConfigFile;
use super::mqtt::check_filter;
use super::show::{Entry, entry};
use super::source::{Config, Origin, Sourced};
use crate::core::request::Priority;
use serde::Deserialize;
use std::fmt;
use toml::Spanned;

/// One of `[[mqtt.quota]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TopicQuotaSection {
    pub topic: String,
    pub requests_per_minute: Option<i64>,
    pub tokens_per_minute: Option<i64>,
    pub max_priority: Option<String>,
}

/// One of `[[unix.quota]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PeerQuotaSection {
    pub user: Option<String>,
    pub group: Option<String>,
    pub requests_per_minute: Option<i64>,
    pub tokens_per_minute: Option<i64>,
    pub max_priority: Option<String>,
}

/// Whom a quota is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// The requests on topics that match this filter.
    Topic(String),
    /// A user of this machine, by name or number.
    User(String),
    /// The members of a group of this machine, by name or number.
    Group(String),
    /// Every user whom no earlier quota is about.
    Others,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(filter) => write!(f, "topic {filter:?}"),
            Self::User(name) => write!(f, "user {name:?}"),
            Self::Group(name) => write!(f, "group {name:?}"),
            Self::Others => f.write_str("everybody else"),
        }
    }
}

/// What some clients may use together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Who they are.
    pub who: Who,
    /// Requests a minute, of all of them together.
    pub requests_per_minute: Option<u32>,
    /// Tokens of prompts and answers a minute.
    pub tokens_per_minute: Option<u32>,
    /// The most urgent priority that they get.
    pub max_priority: Option<Priority>,
}

impl Config {
    pub(super) fn topic_quotas(&self) -> Result<Sourced<Vec<Quota>>, ConfigError> {
        self.quotas(|f| f.mqtt.quota.as_ref(), by_topic)
    }

    pub(super) fn peer_quotas(&self) -> Result<Sourced<Vec<Quota>>, ConfigError> {
        self.quotas(|f| f.unix.quota.as_ref(), by_peer)
    }

    /// The tables of the last source that has any.
    fn quotas<T>(
        &self,
        get: impl Fn(&ConfigFile) -> Option<&Spanned<Vec<Spanned<T>>>>,
        check: fn(&T) -> Result<Quota, String>,
    ) -> Result<Sourced<Vec<Quota>>, ConfigError> {
        let Some((source, at)) = self.pick(get) else {
            return Ok(Sourced::new(Vec::new(), Origin::Default));
        };
        let quotas = at
            .get_ref()
            .iter()
            .map(|one| check(one.get_ref()).map_err(|problem| source.refuse(one, problem)));
        Ok(Sourced::new(quotas.collect::<Result<_, _>>()?, source.origin(at)))
    }
}

fn by_topic(section: &TopicQuotaSection) -> Result<Quota, String> {
    check_filter(&section.topic)?;
    quota(
        Who::Topic(section.topic.clone()),
        section.requests_per_minute,
        section.tokens_per_minute,
        section.max_priority.as_deref(),
    )
}

fn by_peer(section: &PeerQuotaSection) -> Result<Quota, String> {
    let who = match (&section.user, &section.group) {
        (Some(_), Some(_)) => {
            return Err("a quota is about a `user` or about a `group`, not both".into());
        }
        (Some(name), None) | (None, Some(name)) if name.is_empty() => {
            return Err("an empty name; leave the key out to mean everybody else".into());
        }
        (Some(user), None) => Who::User(user.clone()),
        (None, Some(group)) => Who::Group(group.clone()),
        (None, None) => Who::Others,
    };
    quota(
        who,
        section.requests_per_minute,
        section.tokens_per_minute,
        section.max_priority.as_deref(),
    )
}

fn quota(
    who: Who,
    requests: Option<i64>,
    tokens: Option<i64>,
    max_priority: Option<&str>,
) -> Result<Quota, String> {
    if (requests, tokens, max_priority) == (None, None, None) {
        return Err("a quota that limits nothing: set `requests-per-minute`, \
                    `tokens-per-minute` or `max-priority`"
            .into());
    }
    Ok(Quota {
        who,
        requests_per_minute: figure("requests-per-minute", requests)?,
        tokens_per_minute: figure("tokens-per-minute", tokens)?,
        max_priority: max_priority.map(priority).transpose()?,
    })
}

fn figure(name: &str, n: Option<i64>) -> Result<Option<u32>, String> {
    let Some(n) = n else { return Ok(None) };
    match u32::try_from(n).ok().filter(|n| (1..=1_000_000_000).contains(n)) {
        Some(n) => Ok(Some(n)),
        None => Err(format!("{name} is out of range: {n}, 1 to 1000000000")),
    }
}

fn priority(name: &str) -> Result<Priority, String> {
    Priority::ALL
        .into_iter()
        .find(|p| p.name() == name)
        .ok_or_else(|| format!("no priority {name:?}: urgent, normal or background"))
}

/// What `slmd config show` prints: one line for each quota.
pub(super) fn entries(key: &str, quotas: &Sourced<Vec<Quota>>) -> Vec<Entry> {
    let figure = |n: Option<u32>| n.map_or("-".into(), |n| n.to_string());
    let line = |q: &Quota| {
        let shown = format!(
            "{} requests {}/min, tokens {}/min, priority {}",
            q.who,
            figure(q.requests_per_minute),
            figure(q.tokens_per_minute),
            q.max_priority.map_or("-", Priority::name)
        );
        entry(key, quotas, |_| shown.clone())
    };
    quotas.value.iter().map(line).collect()
}
