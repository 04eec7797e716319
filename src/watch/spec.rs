//! A watch as written, the checks, and a watch as it runs.

use super::duration::parse_duration_ms;
use super::rule::{RESERVED, Rule};
use super::topic::{Filter, TopicTemplate};
use super::value::check_pointer;
use super::window::{MAX_WINDOW_SAMPLES, WindowSpec};
use crate::core::request::Priority;
use serde_json::{Map, Value};

/// The most watches of one configuration.
pub const MAX_WATCHES: usize = 64;
/// The longest window, hold, cooldown and repeat: 30 days.
const MAX_MS: u64 = 30 * 86_400_000;
/// Answers are waited for so long where nothing says otherwise.
const DEFAULT_PATIENCE_MS: u64 = 30_000;
const DEFAULT_WINDOW_MS: u64 = 60_000;
const DEFAULT_COOLDOWN_MS: u64 = 60_000;
const DEFAULT_OFFLINE_LIMIT: u32 = 64;
const DEFAULT_OFFLINE_EXPIRE_MS: u64 = 600_000;

/// A watch as written; see `docs/watches.md` for the meaning of each key.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs, reason = "the keys of `[[watch]]`, in snake case")]
pub struct WatchSpec {
    pub name: Option<String>,
    pub topic: Option<String>,
    pub value: Option<String>,
    pub window: Option<String>,
    pub window_samples: Option<i64>,
    pub min_samples: Option<i64>,
    pub when: Option<String>,
    pub clear: Option<String>,
    pub hold: Option<String>,
    pub cooldown: Option<String>,
    pub tokens_per_hour: Option<i64>,
    pub task: Option<String>,
    pub vars: Option<Map<String, Value>>,
    pub publish: Option<String>,
    pub retain: Option<bool>,
    pub repeat: Option<String>,
    pub offline: Option<String>,
    pub offline_limit: Option<i64>,
    pub offline_expire: Option<String>,
    pub deadline_ms: Option<i64>,
    pub priority: Option<Priority>,
}

/// What becomes of alerts while the broker is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offline {
    /// All are kept, in order; beyond so many the oldest is dropped and counted.
    Keep {
        /// The most of one watch.
        limit: u32,
    },
    /// The newest of each topic is kept.
    #[default]
    Coalesce,
    /// As `Coalesce`, but what is older is dropped.
    Expire {
        /// Milliseconds.
        after_ms: u64,
    },
}

/// A watch, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// What it is called in alerts and in the status.
    pub name: String,
    /// The topics of its samples.
    pub filter: Filter,
    /// The JSON pointer to the number; none: the payload is the number.
    pub value: Option<String>,
    /// How far back it looks.
    pub window: WindowSpec,
    /// Below it the statistics are not known.
    pub min_samples: u32,
    /// Trips the alert.
    pub when: Rule,
    /// Ends it; none: `when` does not hold.
    pub clear: Option<Rule>,
    /// `when` must hold so long, in milliseconds.
    pub hold_ms: u64,
    /// After an alert was published or cleared, the next trip waits so long.
    pub cooldown_ms: u64,
    /// Tokens of a sliding hour; none: no bound.
    pub tokens_per_hour: Option<u64>,
    /// The task to run; none: the alert goes out without asking the model.
    pub task: Option<String>,
    /// Constant variables.
    pub vars: Map<String, Value>,
    /// Where alerts go.
    pub publish: TopicTemplate,
    /// Whether the broker keeps the newest.
    pub retain: bool,
    /// While tripped, again so often, in milliseconds.
    pub repeat_ms: Option<u64>,
    /// What becomes of alerts while the broker is away.
    pub offline: Offline,
    /// The request's deadline; none: the task's.
    pub deadline_ms: Option<u32>,
    /// The request's priority; none: the task's.
    pub priority: Option<Priority>,
    /// How long an alert waits for its answer, retries included: the deadline that will hold, as
    /// far as the caller knows it. Two seconds later it goes out without one.
    pub patience_ms: u64,
}

/// A key of a watch that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SpecError {
    /// The key, kebab-case; `watch` if one is missing.
    pub field: &'static str,
    /// What is wrong.
    pub problem: String,
}

fn error(field: &'static str, problem: impl Into<String>) -> SpecError {
    SpecError { field, problem: problem.into() }
}

impl WatchSpec {
    /// Checks every key.
    ///
    /// # Errors
    /// [`SpecError`] with the key at fault.
    pub fn resolve(&self) -> Result<Watch, SpecError> {
        let topic = required("topic", self.topic.as_ref())?;
        let filter = Filter::parse(topic).map_err(|e| error("topic", e.to_string()))?;
        let publish = required("publish", self.publish.as_ref())?;
        let publish =
            TopicTemplate::parse(publish, &filter).map_err(|e| error("publish", e.to_string()))?;
        let window = self.window()?;
        let vars = self.vars()?;
        let rule = |field, source: &str| Rule::compile(source, &vars).map_err(|p| error(field, p));
        let deadline_ms = narrow("deadline-ms", self.deadline_ms, 1, 86_400_000)?;
        if let Some(pointer) = &self.value {
            check_pointer(pointer).map_err(|p| error("value", p))?;
        }
        Ok(Watch {
            name: self.name(topic)?,
            when: rule("when", required("when", self.when.as_ref())?)?,
            clear: self.clear.as_deref().map(|source| rule("clear", source)).transpose()?,
            filter,
            value: self.value.clone(),
            min_samples: self.min_samples(window)?,
            window,
            hold_ms: duration("hold", self.hold.as_ref(), 0)?.unwrap_or(0),
            cooldown_ms: duration("cooldown", self.cooldown.as_ref(), 0)?
                .unwrap_or(DEFAULT_COOLDOWN_MS),
            tokens_per_hour: narrow("tokens-per-hour", self.tokens_per_hour, 0, 1 << 30)?
                .filter(|&tokens: &u64| tokens > 0),
            task: self.task.clone(),
            vars,
            publish,
            retain: self.retain.unwrap_or(false),
            repeat_ms: duration("repeat", self.repeat.as_ref(), 1_000)?,
            offline: self.offline()?,
            deadline_ms,
            priority: self.priority,
            patience_ms: deadline_ms.map_or(DEFAULT_PATIENCE_MS, u64::from),
        })
    }

    fn name(&self, topic: &str) -> Result<String, SpecError> {
        let name = self.name.as_deref().unwrap_or(topic);
        match !name.is_empty() && name.len() <= 256 && !name.contains(char::is_control) {
            true => Ok(name.to_owned()),
            false if self.name.is_none() => {
                Err(error("topic", "too long to be the watch's name; give it a `name`"))
            }
            false => Err(error("name", "a name has 1 to 256 bytes, no control characters")),
        }
    }

    fn window(&self) -> Result<WindowSpec, SpecError> {
        let samples = narrow("window-samples", self.window_samples, 1, MAX_WINDOW_SAMPLES.into())?;
        match (duration("window", self.window.as_ref(), 1)?, samples) {
            (Some(_), Some(_)) => {
                Err(error("window-samples", "the window is given twice; leave out one of the two"))
            }
            (None, Some(count)) => Ok(WindowSpec::Count(count)),
            (ms, None) => Ok(WindowSpec::Time(ms.unwrap_or(DEFAULT_WINDOW_MS))),
        }
    }

    fn min_samples(&self, window: WindowSpec) -> Result<u32, SpecError> {
        let least = narrow("min-samples", self.min_samples, 1, MAX_WINDOW_SAMPLES.into())?;
        match (least, window) {
            (Some(least), WindowSpec::Count(count)) if least > count => Err(error(
                "min-samples",
                format!("{least} never fit into a window of {count} samples"),
            )),
            (least, _) => Ok(least.unwrap_or(1)),
        }
    }

    fn vars(&self) -> Result<Map<String, Value>, SpecError> {
        let vars = self.vars.clone().unwrap_or_default();
        let taken = |name: &&String| {
            RESERVED.contains(&name.as_str()) || super::report::OWN_VARS.contains(&name.as_str())
        };
        match vars.keys().find(taken) {
            Some(name) => Err(error("vars", format!("`{name}` is a name of slmd's own"))),
            None => Ok(vars),
        }
    }

    fn offline(&self) -> Result<Offline, SpecError> {
        let limit = narrow("offline-limit", self.offline_limit, 1, 1024)?;
        let after = duration("offline-expire", self.offline_expire.as_ref(), 1)?;
        let mode = self.offline.as_deref().unwrap_or("coalesce");
        if limit.is_some() && mode != "keep" {
            return Err(error("offline-limit", "only for offline = \"keep\""));
        }
        if after.is_some() && mode != "expire" {
            return Err(error("offline-expire", "only for offline = \"expire\""));
        }
        match mode {
            "keep" => Ok(Offline::Keep { limit: limit.unwrap_or(DEFAULT_OFFLINE_LIMIT) }),
            "coalesce" => Ok(Offline::Coalesce),
            "expire" => {
                Ok(Offline::Expire { after_ms: after.unwrap_or(DEFAULT_OFFLINE_EXPIRE_MS) })
            }
            other => Err(error("offline", format!("no way {other:?}: keep, coalesce or expire"))),
        }
    }
}

fn required<'a>(field: &'static str, value: Option<&'a String>) -> Result<&'a str, SpecError> {
    value.map(String::as_str).ok_or_else(|| error("watch", format!("`{field}` is missing")))
}

fn duration(
    field: &'static str,
    text: Option<&String>,
    least_ms: u64,
) -> Result<Option<u64>, SpecError> {
    let Some(text) = text else { return Ok(None) };
    let ms = parse_duration_ms(text).map_err(|p| error(field, p))?;
    if ms < least_ms {
        let least = super::duration::format_duration(least_ms);
        return Err(error(field, format!("{text:?} is too short: at least {least}")));
    }
    if ms > MAX_MS {
        return Err(error(field, format!("{text:?} is too long: at most 30d")));
    }
    Ok(Some(ms))
}

fn narrow<T: TryFrom<i64>>(
    field: &'static str,
    value: Option<i64>,
    low: i64,
    high: i64,
) -> Result<Option<T>, SpecError> {
    let Some(value) = value else { return Ok(None) };
    match T::try_from(value) {
        Ok(narrow) if (low..=high).contains(&value) => Ok(Some(narrow)),
        _ => Err(error(field, format!("{value} is out of range: {low} to {high}"))),
    }
}

/// A watch that does not go with the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Which one, from 0.
    pub index: usize,
    /// Its key at fault.
    pub field: &'static str,
    /// What is wrong.
    pub problem: String,
}

/// The first watch that does not go with the others: a name used twice, or an alert that some
/// watch would take for a sample, which would never end.
pub fn conflict(watches: &[&Watch]) -> Option<Conflict> {
    if watches.len() > MAX_WATCHES {
        let problem = format!("{} watches; at most {MAX_WATCHES} are run", watches.len());
        return Some(Conflict { index: MAX_WATCHES, field: "watch", problem });
    }
    for (index, watch) in watches.iter().enumerate() {
        if watches[..index].iter().any(|earlier| earlier.name == watch.name) {
            let problem = format!("there is a watch {:?} already; give each a `name`", watch.name);
            return Some(Conflict { index, field: "name", problem });
        }
        let taker = watches.iter().find(|w| watch.publish.may_match(&watch.filter, &w.filter));
        if let Some(taker) = taker {
            let whose = if taker.name == watch.name { "its own" } else { "a watch's" };
            let problem = format!(
                "alerts would be samples: {whose} topic {:?} takes {:?}",
                taker.filter.as_str(),
                watch.publish.as_str()
            );
            return Some(Conflict { index, field: "publish", problem });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn spec() -> WatchSpec {
        WatchSpec {
            topic: Some("factory/+/vibration".into()),
            when: Some("max > 7.1".into()),
            publish: Some("factory/{1}/alert".into()),
            ..WatchSpec::default()
        }
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let watch = spec().resolve().unwrap();
        assert_eq!(watch.name, "factory/+/vibration");
        assert_eq!((watch.window, watch.min_samples), (WindowSpec::Time(60_000), 1));
        assert_eq!((watch.hold_ms, watch.cooldown_ms, watch.repeat_ms), (0, 60_000, None));
        assert_eq!((watch.retain, watch.offline), (false, Offline::Coalesce));
        assert_eq!((watch.tokens_per_hour, watch.task, watch.patience_ms), (None, None, 30_000));
    }

    #[test]
    fn each_mistake_names_its_key() {
        let text = |s: &str| Some(s.to_owned());
        let vars = |name: &str| Some(Map::from_iter([(name.to_owned(), Value::Null)]));
        let base = spec();
        for (field, says, wrong) in [
            ("watch", "`topic`", WatchSpec { topic: None, ..base.clone() }),
            ("watch", "`when`", WatchSpec { when: None, ..base.clone() }),
            ("watch", "`publish`", WatchSpec { publish: None, ..base.clone() }),
            ("topic", "last level", WatchSpec { topic: text("a/#/b"), ..base.clone() }),
            ("value", "JSON pointer", WatchSpec { value: text("rms"), ..base.clone() }),
            ("window", "at least 1ms", WatchSpec { window: text("0s"), ..base.clone() }),
            ("window", "at most 30d", WatchSpec { window: text("31d"), ..base.clone() }),
            (
                "window-samples",
                "twice",
                WatchSpec { window: text("1s"), window_samples: Some(3), ..base.clone() },
            ),
            ("window-samples", "1 to 4096", WatchSpec { window_samples: Some(0), ..base.clone() }),
            (
                "min-samples",
                "never fit",
                WatchSpec { min_samples: Some(4), window_samples: Some(3), ..base.clone() },
            ),
            ("when", "unknown name", WatchSpec { when: text("rms > 3"), ..base.clone() }),
            ("clear", "unexpected", WatchSpec { clear: text("max <"), ..base.clone() }),
            ("hold", "not a duration", WatchSpec { hold: text("3"), ..base.clone() }),
            ("repeat", "at least 1s", WatchSpec { repeat: text("0s"), ..base.clone() }),
            ("publish", "{1}", WatchSpec { publish: text("a/{2}"), ..base.clone() }),
            ("vars", "`max`", WatchSpec { vars: vars("max"), ..base.clone() }),
            ("vars", "`stats`", WatchSpec { vars: vars("stats"), ..base.clone() }),
            ("offline", "keep", WatchSpec { offline: text("drop"), ..base.clone() }),
            ("offline-limit", "only for", WatchSpec { offline_limit: Some(3), ..base.clone() }),
            ("deadline-ms", "out of range", WatchSpec { deadline_ms: Some(0), ..base.clone() }),
        ] {
            let e = wrong.resolve().unwrap_err();
            assert_eq!(e.field, field, "{e}");
            assert!(e.problem.contains(says), "{e}");
        }
    }

    #[test]
    fn watches_do_not_feed_each_other() {
        let watch = |name: &str, topic: &str, publish: &str| {
            let (name, topic) = (Some(name.to_owned()), Some(topic.to_owned()));
            WatchSpec { name, topic, publish: Some(publish.to_owned()), ..spec() }
                .resolve()
                .unwrap()
        };
        let a = watch("a", "x/+", "alert/{1}");
        let b = watch("b", "alert/#", "out/b");
        let own = watch("c", "y/#", "y/alert");
        assert_eq!(conflict(&[&a]), None);
        assert_eq!(conflict(&[&b, &a]).map(|c| (c.index, c.field)), Some((1, "publish")));
        assert_eq!(conflict(&[&own]).map(|c| (c.index, c.field)), Some((0, "publish")));
        assert_eq!(conflict(&[&a, &a]).map(|c| (c.index, c.field)), Some((1, "name")));
    }
}
