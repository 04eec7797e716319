//! What a running daemon can take over from a newer configuration, and what needs a restart.

use super::settings::Settings;
use super::source::Sourced;
use std::collections::BTreeMap;

impl Settings {
    /// These, with what a running daemon can take over from `newer`.
    #[must_use]
    pub fn reloaded(&self, newer: &Self) -> Self {
        Self {
            model: newer.model.clone(),
            variant: newer.variant.clone(),
            engine: newer.engine.clone(),
            providers: newer.providers.clone(),
            strict_providers: newer.strict_providers.clone(),
            threads: newer.threads.clone(),
            affinity: newer.affinity.clone(),
            models: newer.models.clone(),
            memory_bytes: newer.memory_bytes.clone(),
            context_tokens: newer.context_tokens.clone(),
            sessions: newer.sessions.clone(),
            kv: newer.kv.clone(),
            deadline_ms: newer.deadline_ms.clone(),
            ttft_ms: newer.ttft_ms.clone(),
            max_step_ms: newer.max_step_ms.clone(),
            max_tokens: newer.max_tokens.clone(),
            tool_rounds: newer.tool_rounds.clone(),
            tools: newer.tools.clone(),
            endpoints: newer.endpoints.clone(),
            tasks: newer.tasks.clone(),
            ..self.clone()
        }
    }

    /// The keys in which `newer` differs beyond that: they are kept until a restart.
    pub fn needs_restart(&self, newer: &Self) -> Vec<String> {
        let (kept, wanted) = (self.reloaded(newer).values(), newer.values());
        let differs = |key: &&String| kept.get(*key) != wanted.get(*key);
        let mut keys: Vec<String> = kept.keys().filter(differs).cloned().collect();
        keys.extend(wanted.keys().filter(|key| !kept.contains_key(*key)).cloned());
        if newer.tools_answer() && !self.tools_answer() {
            // Somebody would have to listen.
            keys.push("tool (the first with mqtt-answers)".into());
        }
        let watches = |s: &Self| s.watches.iter().map(|w| w.value.clone()).collect::<Vec<_>>();
        if watches(self) != watches(newer) && !keys.iter().any(|key| key.starts_with("watch.")) {
            keys.push("watch".into());
        }
        keys
    }

    /// Whether the same model, of the same files, would be loaded in the same way.
    pub fn loads_like(&self, other: &Self) -> bool {
        self.variant.value == other.variant.value
            && self.engine.value == other.engine.value
            && self.providers.value == other.providers.value
            && self.strict_providers.value == other.strict_providers.value
            && self.threads.value == other.threads.value
            && self.affinity.value == other.affinity.value
            && self.memory_bytes.value == other.memory_bytes.value
            && self.context_tokens.value == other.context_tokens.value
            && self.sessions.value == other.sessions.value
            && self.kv.value == other.kv.value
    }

    /// Whether requests would be treated alike.
    pub fn serves_like(&self, other: &Self) -> bool {
        self.deadline_ms.value == other.deadline_ms.value
            && self.ttft_ms.value == other.ttft_ms.value
            && self.max_step_ms.value == other.max_step_ms.value
            && self.max_tokens.value == other.max_tokens.value
            && values(&self.tasks) == values(&other.tasks)
            && self.tool_rounds.value == other.tool_rounds.value
            && values(&self.tools) == values(&other.tools)
            && values(&self.endpoints) == values(&other.endpoints)
    }

    fn values(&self) -> BTreeMap<String, String> {
        self.entries().into_iter().map(|entry| (entry.key, entry.value)).collect()
    }
}

fn values<T: Clone>(all: &[Sourced<T>]) -> Vec<T> {
    all.iter().map(|one| one.value.clone()).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Defaults, Environment, Settings};

    fn settings(text: &str) -> Settings {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, text).expect("written");
        let environment =
            Environment { variables: [("HOME".into(), "/h".into())].into(), ..Default::default() };
        let config = Config::load(Some(&file), &environment, &[]).expect("it parses");
        let defaults = Defaults {
            board: "test".into(),
            threads: 2,
            memory_bytes: Some(1 << 30),
            ..Defaults::default()
        };
        config.settings(&environment, &defaults).expect("it is sound")
    }

    const WATCH: &str =
        "[[watch]]\ntopic = 'a'\nwindow = '30s'\nwhen = 'max > 1'\ntask = 't'\npublish = 'b'\n";
    const TASK: &str = "[task.t]\nmax-tokens = 4\n";

    #[test]
    fn every_key_is_taken_over_or_named() {
        let old = settings(TASK);
        for (text, restart) in [
            ("", vec![]),
            ("[latency]\ndeadline-ms = 7", vec![]),
            ("model = '/m'\nthreads = 1\n[budget]\nsessions = 1\nkv = 'int8'", vec![]),
            ("[budget]\nqueue = 3", vec!["budget.queue"]),
            ("[unix]\npath = '/x'\n[limits]\nclients = 1", vec!["limits.clients", "unix.path"]),
            (
                "[mqtt]\nurl = 'mqtt://h'\nnode = 'n'",
                vec!["mqtt.client-id", "mqtt.node", "mqtt.url"],
            ),
        ] {
            let newer = settings(&format!("{text}\n{TASK}"));
            let keys = old.needs_restart(&newer);
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            assert!(restart.iter().all(|key| keys.contains(key)), "{text}: {keys:?}");
            assert_eq!(keys.is_empty(), restart.is_empty(), "{text}: {keys:?}");
            let merged = old.reloaded(&newer);
            assert_eq!(old.needs_restart(&merged), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_change_inside_a_watch_needs_a_restart_and_one_inside_a_task_does_not() {
        let old = settings(&format!("{TASK}{WATCH}"));
        let task = settings(&format!("[task.t]\nmax-tokens = 5\n{WATCH}"));
        assert!(old.needs_restart(&task).is_empty() && !old.serves_like(&task));
        assert!(old.loads_like(&task));
        let watch = settings(&format!("{TASK}{}", WATCH.replace("> 1", "> 2")));
        assert_eq!(old.needs_restart(&watch), ["watch"]);
        let gone = settings(TASK);
        assert_eq!(old.needs_restart(&gone).len(), 1);
    }
}
