//! The settings as a table: key, value, origin. What `slmd config show` prints.

use super::settings::Settings;
use super::size::format_bytes;
use super::source::{Origin, Sourced};
use super::{provider, quota};

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, dotted.
    pub key: String,
    /// The value as TOML would have it; `-` for none.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

impl Settings {
    /// Everything in force, in the order of the documentation; tasks and watches last.
    pub fn entries(&self) -> Vec<Entry> {
        let optional = |v: Option<String>| v.unwrap_or_else(|| "-".into());
        let list = |v: &[String]| format!("{v:?}");
        let path = |p: &std::path::Path| format!("{:?}", p.display().to_string());
        let mut all = vec![
            entry("board", &self.board, |v| format!("{v:?}")),
            entry("model", &self.model, |v| optional(v.as_deref().map(path))),
            entry("variant", &self.variant, |v| optional(v.as_ref().map(|v| format!("{v:?}")))),
            entry("engine", &self.engine, |v| format!("{:?}", v.name())),
            entry("threads", &self.threads, ToString::to_string),
            entry("affinity", &self.affinity, |cpus| match cpus.is_empty() {
                true => "\"none\"".into(),
                false => format!("{:?}", cpus.to_string()),
            }),
            entry("state-dir", &self.state_dir, |v| path(v)),
            entry("strict-providers", &self.strict_providers, ToString::to_string),
            entry("budget.memory", &self.memory_bytes, |&v| format!("{:?}", format_bytes(v))),
            entry("budget.context-tokens", &self.context_tokens, ToString::to_string),
            entry("budget.sessions", &self.sessions, ToString::to_string),
            entry("budget.queue", &self.queue, ToString::to_string),
            entry("budget.kv", &self.kv, |v| format!("{:?}", v.name())),
            entry("latency.deadline-ms", &self.deadline_ms, ToString::to_string),
            entry("latency.ttft-ms", &self.ttft_ms, |v| optional(v.map(|v| v.to_string()))),
            entry("latency.max-step-ms", &self.max_step_ms, ToString::to_string),
            entry("unix.path", &self.unix_path, |v| path(v)),
            entry("unix.allow-users", &self.allow_users, |v| list(v)),
            entry("unix.allow-groups", &self.allow_groups, |v| list(v)),
        ];
        all.extend(self.thermal.entries());
        all.extend([
            entry("limits.prompt-bytes", &self.prompt_bytes, ToString::to_string),
            entry("limits.max-tokens", &self.max_tokens, ToString::to_string),
            entry("limits.clients", &self.clients, ToString::to_string),
            entry("limits.tool-rounds", &self.tool_rounds, ToString::to_string),
        ]);
        all.extend(self.mqtt.entries());
        all.extend(self.journal.entries());
        all.extend(provider::entries(&self.providers));
        all.extend(self.models.entries());
        all.extend(self.second_model.entries());
        all.extend(quota::entries("unix.quota", &self.unix_quotas));
        all.extend(quota::entries("mqtt.quota", &self.mqtt.quotas));
        all.extend(self.tools.iter().map(|tool| Entry {
            key: format!("tool.{}", tool.value.tool.name),
            value: "...".into(),
            origin: tool.origin.clone(),
        }));
        all.extend(self.endpoints.iter().map(|endpoint| Entry {
            key: format!("endpoint.{}", endpoint.value.name),
            value: format!("\"http://{}{}\"", endpoint.value.authority, endpoint.value.path),
            origin: endpoint.origin.clone(),
        }));
        all.extend(self.tasks.iter().map(|task| Entry {
            key: format!("task.{}", task.value.name),
            value: "...".into(),
            origin: task.origin.clone(),
        }));
        all.extend(self.watches.iter().map(|watch| Entry {
            key: format!("watch.{}", watch.value.name),
            value: "...".into(),
            origin: watch.origin.clone(),
        }));
        all
    }
}

pub(super) fn entry<T>(key: &str, from: &Sourced<T>, show: impl Fn(&T) -> String) -> Entry {
    Entry { key: key.into(), value: show(&from.value), origin: from.origin.clone() }
}
