//! `[[watch]]`: what may be written, and the watches of all files together.

use super::error::ConfigError;
use super::source::{Config, Source, Sourced};
use crate::bundle::{PriorityName, Task};
use crate::watch::{Watch, WatchSpec, conflict};
use serde::Deserialize;
use std::ops::Range;
use toml::Spanned;

type Value<T> = Option<Spanned<T>>;

/// One `[[watch]]`; see [`WATCH_KEYS`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "WATCH_KEYS documents every key, and a test holds the two together")]
pub struct WatchSection {
    pub name: Value<String>,
    pub topic: Value<String>,
    pub value: Value<String>,
    pub window: Value<String>,
    pub window_samples: Value<i64>,
    pub min_samples: Value<i64>,
    pub when: Value<String>,
    pub clear: Value<String>,
    pub hold: Value<String>,
    pub cooldown: Value<String>,
    pub tokens_per_hour: Value<i64>,
    pub task: Value<String>,
    pub vars: Value<toml::Table>,
    pub publish: Value<String>,
    pub retain: Value<bool>,
    pub repeat: Value<String>,
    pub offline: Value<String>,
    pub offline_limit: Value<i64>,
    pub offline_expire: Value<String>,
    pub deadline_ms: Value<i64>,
    pub priority: Value<PriorityName>,
}

/// Keys of `[[watch]]`, their types and meanings.
pub(super) const WATCH_KEYS: &[(&str, &str, &str)] = &[
    ("name", "text", "What it is called in alerts, logs and the status; left out: the topic."),
    ("topic", "text", "Required. The MQTT filter of its samples, with `+` and `#`."),
    (
        "value",
        "text",
        "The JSON pointer to the number, as `/rms`; left out: the payload is the number.",
    ),
    ("window", "duration", "How far back it looks; `60s` unless `window-samples` is given."),
    ("window-samples", "integer", "The window by count instead: the newest 1 to 4096 samples."),
    ("min-samples", "integer", "Below it the statistics are not known to the rules; 1."),
    ("when", "text", "Required. The rule that trips the alert."),
    ("clear", "text", "The rule that ends it; left out: `when` does not hold."),
    ("hold", "duration", "`when` must hold so long before it trips; `0s`."),
    (
        "cooldown",
        "duration",
        "After an alert was published or cleared, the next trip waits so long; `60s`.",
    ),
    ("tokens-per-hour", "integer", "Tokens of a sliding hour; beyond, alerts go out unanswered."),
    ("task", "text", "The task to run; left out: alerts go out without asking the model."),
    ("vars", "table", "Constant variables of the rules and of the task's template."),
    (
        "publish",
        "text",
        "Required. The topic of its alerts; `{1}`, `{2}` insert what the wildcards matched.",
    ),
    ("retain", "boolean", "Whether the broker keeps the newest; `false`."),
    ("repeat", "duration", "While tripped, asks and publishes again so often; left out: once."),
    (
        "offline",
        "text",
        "Alerts while the broker is away: `coalesce` (the newest of each topic), `keep`, `expire`.",
    ),
    ("offline-limit", "integer", "How many `keep` keeps, 1 to 1024; 64."),
    ("offline-expire", "duration", "How old `expire` lets them get; `10m`."),
    ("deadline-ms", "integer", "Milliseconds to the answer; left out: the task's."),
    ("priority", "text", "`urgent`, `normal` or `background`; left out: the task's."),
];

/// The section of the reference.
pub(super) fn reference() -> String {
    let mut page =
        "\n## `[[watch]]`\n\nSee [watches](watches.md). Durations have a unit: `500ms`, \
                    `30s`, `5m`, `2h`. A later file's watch replaces the one of the same name.\n\n\
                    | Key | Type | |\n|---|---|---|\n"
            .to_owned();
    for (key, kind, doc) in WATCH_KEYS {
        page.push_str(&format!("| `{key}` | {kind} | {doc} |\n"));
    }
    page
}

impl WatchSection {
    fn spec(&self) -> Result<WatchSpec, (&'static str, String)> {
        let text = |value: &Value<String>| value.as_ref().map(|v| v.get_ref().clone());
        let integer = |value: &Value<i64>| value.as_ref().map(|v| *v.get_ref());
        let vars = self.vars.as_ref().map(|v| json_table(v.get_ref())).transpose();
        Ok(WatchSpec {
            name: text(&self.name),
            topic: text(&self.topic),
            value: text(&self.value),
            window: text(&self.window),
            window_samples: integer(&self.window_samples),
            min_samples: integer(&self.min_samples),
            when: text(&self.when),
            clear: text(&self.clear),
            hold: text(&self.hold),
            cooldown: text(&self.cooldown),
            tokens_per_hour: integer(&self.tokens_per_hour),
            task: text(&self.task),
            vars: vars.map_err(|problem| ("vars", problem))?,
            publish: text(&self.publish),
            retain: self.retain.as_ref().map(|v| *v.get_ref()),
            repeat: text(&self.repeat),
            offline: text(&self.offline),
            offline_limit: integer(&self.offline_limit),
            offline_expire: text(&self.offline_expire),
            deadline_ms: integer(&self.deadline_ms),
            priority: self.priority.as_ref().map(|v| (*v.get_ref()).into()),
        })
    }

    /// Where a key was written; `watch` is the whole, and so is a key that was not written.
    fn span(&self, field: &str) -> Option<Range<usize>> {
        let text = |value: &Value<String>| value.as_ref().map(Spanned::span);
        let integer = |value: &Value<i64>| value.as_ref().map(Spanned::span);
        match field {
            // A name left out is the topic.
            "name" => text(&self.name).or_else(|| text(&self.topic)),
            "topic" => text(&self.topic),
            "value" => text(&self.value),
            "window" => text(&self.window),
            "window-samples" => integer(&self.window_samples),
            "min-samples" => integer(&self.min_samples),
            "when" => text(&self.when),
            "clear" => text(&self.clear),
            "hold" => text(&self.hold),
            "cooldown" => text(&self.cooldown),
            "tokens-per-hour" => integer(&self.tokens_per_hour),
            "vars" => self.vars.as_ref().map(Spanned::span),
            "publish" => text(&self.publish),
            "repeat" => text(&self.repeat),
            "offline" => text(&self.offline),
            "offline-limit" => integer(&self.offline_limit),
            "offline-expire" => text(&self.offline_expire),
            "deadline-ms" => integer(&self.deadline_ms),
            _ => None,
        }
    }
}

/// A watch with the place that it was written at.
struct Placed<'a> {
    source: &'a Source,
    at: &'a Spanned<WatchSection>,
    watch: Watch,
}

impl Placed<'_> {
    fn refuse(&self, field: &str, problem: &str) -> ConfigError {
        refuse(self.source, self.at, field, problem)
    }
}

fn refuse(source: &Source, at: &Spanned<WatchSection>, field: &str, problem: &str) -> ConfigError {
    let span = at.get_ref().span(field).unwrap_or_else(|| at.span());
    source.refuse(&Spanned::new(span, ()), problem)
}

impl Config {
    /// Watches of all files; a later file replaces those of the same name. An alert waits for its
    /// answer as long as the task that it runs, or any request, may take.
    pub(super) fn watches(
        &self,
        tasks: &[Sourced<Task>],
        deadline_ms: u32,
    ) -> Result<Vec<Sourced<Watch>>, ConfigError> {
        let mut all: Vec<Placed<'_>> = Vec::new();
        for source in &self.sources {
            let mut here = Vec::new();
            for at in &source.file.watch {
                let spec = at.get_ref().spec();
                let spec = spec.map_err(|(field, problem)| refuse(source, at, field, &problem))?;
                let watch = spec.resolve();
                let mut watch = watch.map_err(|e| refuse(source, at, e.field, &e.problem))?;
                watch.patience_ms = patience_ms(&watch, tasks, deadline_ms);
                here.push(Placed { source, at, watch });
            }
            all.retain(|earlier| here.iter().all(|later| later.watch.name != earlier.watch.name));
            all.extend(here);
        }
        let watches: Vec<&Watch> = all.iter().map(|placed| &placed.watch).collect();
        if let Some(conflict) = conflict(&watches) {
            return Err(all[conflict.index].refuse(conflict.field, &conflict.problem));
        }
        Ok(all.into_iter().map(|p| Sourced::new(p.watch, p.source.origin(p.at))).collect())
    }
}

fn patience_ms(watch: &Watch, tasks: &[Sourced<Task>], deadline_ms: u32) -> u64 {
    let task = tasks.iter().find(|t| Some(&t.value.name) == watch.task.as_ref());
    let own = watch.deadline_ms.or_else(|| task?.value.deadline_ms);
    own.unwrap_or(deadline_ms).into()
}

/// TOML as JSON; dates have no place there, and are no use to a rule.
fn json_table(table: &toml::Table) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    table.iter().map(|(name, value)| Ok((name.clone(), json(name, value)?))).collect()
}

fn json(name: &str, value: &toml::Value) -> Result<serde_json::Value, String> {
    Ok(match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(n) => (*n).into(),
        toml::Value::Float(x) if x.is_finite() => (*x).into(),
        toml::Value::Boolean(b) => (*b).into(),
        toml::Value::Array(items) => {
            items.iter().map(|item| json(name, item)).collect::<Result<_, _>>()?
        }
        toml::Value::Table(table) => json_table(table)?.into(),
        toml::Value::Float(x) => return Err(format!("`{name}`: {x} is not a finite number")),
        toml::Value::Datetime(date) => {
            return Err(format!("`{name}`: write the date as a text: \"{date}\""));
        }
    })
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
