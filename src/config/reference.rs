//! `docs/configuration.md`, made from the list of keys.

use super::keys::{KEYS, Key};
use std::fmt::Write;

/// Keys of `[task.NAME]`, here and in a bundle's `slmd.toml`.
const TASK_KEYS: &[(&str, &str, &str)] = &[
    ("system", "text", "The system prompt."),
    (
        "template",
        "text",
        "A minijinja template of the user's message, over `prompt` and the request's `vars`.",
    ),
    (
        "output",
        "table",
        "The shape of the answer: exactly one of `json-schema` (a path), `choice` \
     (a list of labels, of which the likeliest is the answer), `choice-by-mean` (the same, by the mean of \
     a label's tokens), `regex`, `lark` (a path), `json-object = true`. Paths are relative to the file \
     that holds the task.",
    ),
    ("max-tokens", "integer", "The most tokens of the answer, at least 1."),
    ("deadline-ms", "integer", "Milliseconds from arrival to the whole answer, at least 1."),
    ("ttft-ms", "integer", "Milliseconds from arrival to the first token, at least 1."),
    ("priority", "text", "`urgent`, `normal` or `background`."),
    ("temperature", "number", "0 (greedy) to 10."),
    ("top-p", "number", "Keep the likeliest tokens up to this mass: above 0, at most 1."),
    ("top-k", "integer", "Keep the k likeliest tokens; 0: all."),
    ("min-p", "number", "Drop what is less likely than this share of the likeliest: 0 to 1."),
    ("repetition-penalty", "number", "Divides the logits of tokens seen: above 0, at most 10."),
    ("stop", "list", "Texts that end the answer; they are not part of it."),
    ("best-effort", "boolean", "Serve requests even if their deadline cannot be met."),
    (
        "on-deadline",
        "text",
        "What becomes of an answer whose time or tokens run out before it has its shape: `error` (the \
         default of tasks), or `complete`: it is completed, and `filled` names what is not the model's.",
    ),
    ("min-confidence", "number", "Answers that are less sure say `abstained`: 0 to 1."),
    (
        "confidence-fields",
        "list",
        "JSON pointers to the fields that matter for that; `*` stands for any name or index. Left out: \
         all of them.",
    ),
    (
        "confidence-temperature",
        "number",
        "How sure answers are, as `slmd calibrate` fits it: above 0, at most 100. Left out: what it \
         has kept for this model, else what the bundle says, else 1.",
    ),
    ("tools", "list", "Tools that the model may call: names of `[tool.NAME]` tables."),
    ("escalate", "table", "What becomes of a request that is not answered well enough; see below."),
];

/// Keys of `[[mqtt.quota]]` beside [`QUOTA_KEYS`].
const TOPIC_QUOTA_KEYS: &[(&str, &str, &str)] =
    &[("topic", "text", "The topic filter of the requests that this is about.")];

/// Keys of `[[unix.quota]]` beside [`QUOTA_KEYS`].
const PEER_QUOTA_KEYS: &[(&str, &str, &str)] = &[
    ("user", "text", "The user that this is about, by name or number."),
    (
        "group",
        "text",
        "The group whose members this is about, by name or number; primary or supplementary. \
         Neither `user` nor `group`: everybody else.",
    ),
];

/// Keys of every quota.
const QUOTA_KEYS: &[(&str, &str, &str)] = &[
    ("requests-per-minute", "integer", "Requests a minute, of all of them together."),
    (
        "tokens-per-minute",
        "integer",
        "Tokens of prompts and answers a minute, of all of them together.",
    ),
    (
        "max-priority",
        "text",
        "The most urgent priority they get: `urgent`, `normal`, `background`.",
    ),
];

const INTRODUCTION: &str = "\
# Configuration

This page is made from the code; `cargo test` fails when it is out of date, and \
`SLMD_WRITE_DOCS=1 cargo test --test configuration` writes it anew.

`slmd` reads `/etc/slmd/config.toml`, or the file of `--config`, and then every `conf.d/*.toml` \
beside it in the order of their names; a later file wins, key by key, and task by task. Every key \
is optional, and an unknown one is an error with its place and the nearest key that exists. A flag \
wins over an environment variable, and that over the files. Paths in a file are relative to it.

`slmd check --config FILE` validates, `slmd config show` prints what is in force and where each \
value came from.

Sizes have a unit: `512MiB`, `1.5GiB`, `64kB`. In environment variables a list is separated by \
commas.
";

const EXAMPLE: &str = r#"
## Example

```toml
threads = 3

[budget]
memory = "512MiB"
context-tokens = 1024
sessions = 2
queue = 8

[latency]
deadline-ms = 5000
ttft-ms = 1500

[unix]
allow-groups = ["slmd"]

[[unix.quota]]
group = "guests"
requests-per-minute = 30
max-priority = "normal"

[mqtt]
url = "mqtts://broker.local"
username = "line-3"
password-file = "mqtt-password"
reply-topics = ["line/3/answers/#"]

[[mqtt.quota]]
topic = "slmd/+/request/guest/#"
requests-per-minute = 6
max-priority = "background"

[task.alert]
system = "You watch one machine."
template = "{{ stats | tojson }}"
output = { choice = ["normal", "warning", "stop"] }
max-tokens = 8
deadline-ms = 3000
```
"#;

/// The reference of every key, as Markdown.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut section = None;
    for key in KEYS {
        let here = key.path.split_once('.').map_or("", |(s, _)| s);
        if section != Some(here) {
            section = Some(here);
            let title = if here.is_empty() { "Top level".into() } else { format!("`[{here}]`") };
            let _ = write!(page, "\n## {title}\n\n| Key | Type | Default | |\n|---|---|---|---|\n");
        }
        line(&mut page, key);
    }
    page.push_str(
        "\n## `[[unix.quota]]`\n\nAny number of tables; the first that is about a client of the \
         socket holds, for all its connections together. Root and the daemon's own user are held \
         to a quota only if its `user` names them. Of several files the last that has any wins.\n\n",
    );
    table(&mut page, &[PEER_QUOTA_KEYS, QUOTA_KEYS]);
    page.push_str(
        "\n## `[[mqtt.quota]]`\n\nAny number of tables; the first whose filter matches a request's \
         topic holds. Of several files the last that has any wins.\n\n",
    );
    table(&mut page, &[TOPIC_QUOTA_KEYS, QUOTA_KEYS]);
    page.push_str(
        "\n## `[task.NAME]`\n\nAlso in the `slmd.toml` of a model; the configuration's task wins \
         over the model's of the same name. Every key is optional.\n\n",
    );
    table(&mut page, &[TASK_KEYS]);
    page.push_str(&super::endpoint::reference());
    page.push_str(&super::tools::reference());
    page.push_str(&super::watch::reference());
    page.push_str(&super::provider::reference());
    page.push_str(EXAMPLE);
    page
}

pub(super) fn table(page: &mut String, keys: &[&[(&str, &str, &str)]]) {
    page.push_str("| Key | Type | |\n|---|---|---|\n");
    for (key, kind, doc) in keys.iter().copied().flatten() {
        let _ = writeln!(page, "| `{key}` | {kind} | {doc} |");
    }
}

fn line(page: &mut String, key: &Key) {
    let name = key.path.rsplit('.').next().unwrap_or(key.path);
    let _ = writeln!(
        page,
        "| `{name}`<br>`{}` | {} | {} | {} |",
        key.variable(),
        key.kind.name(),
        key.default,
        key.doc
    );
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::file::ConfigFile;
    use super::*;
    use crate::bundle::TaskSpec;

    /// The keys that serde knows, from its own words about a wrong one.
    pub(in super::super) fn known<T: serde::de::DeserializeOwned>(text: &str) -> Vec<String> {
        let Err(error) = toml::from_str::<T>(text) else { panic!("{text} is accepted") };
        let list = error.message().split("expected one of").nth(1).unwrap_or("").to_owned();
        list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_list_of_keys_is_the_types_own() {
        let mut typed = Vec::new();
        for name in known::<ConfigFile>("zzz = 1") {
            match name.as_str() {
                "budget" | "latency" | "unix" | "thermal" | "limits" | "mqtt" | "journal"
                | "models" | "second-model" => {
                    let keys = known::<ConfigFile>(&format!("{name}.zzz = 1"));
                    let keys = keys.iter().map(|key| format!("{name}.{key}"));
                    typed.extend(keys.filter(|key| !key.ends_with(".quota")));
                }
                "task" | "watch" | "provider" | "tool" | "endpoint" => {}
                _ => typed.push(name),
            }
        }
        let listed: Vec<&str> = KEYS.iter().map(|k| k.path).collect();
        assert_eq!(typed, listed);
        let tasks: Vec<&str> = TASK_KEYS.iter().map(|(key, ..)| *key).collect();
        assert_eq!(known::<TaskSpec>("zzz = 1"), tasks);
        let watches = super::super::watch::WATCH_KEYS.iter().map(|(key, ..)| *key);
        let typed = known::<super::super::watch::WatchSection>("zzz = 1");
        assert_eq!(typed, watches.collect::<Vec<_>>());
        for (table, own) in [("mqtt", TOPIC_QUOTA_KEYS), ("unix", PEER_QUOTA_KEYS)] {
            let keys: Vec<&str> = own.iter().chain(QUOTA_KEYS).map(|(key, ..)| *key).collect();
            assert_eq!(known::<ConfigFile>(&format!("[[{table}.quota]]\nzzz = 1")), keys);
        }
    }

    #[test]
    fn the_example_is_valid() {
        let example = EXAMPLE.split("```toml\n").nth(1).and_then(|e| e.split("```").next());
        assert!(toml::from_str::<ConfigFile>(example.expect("a block")).is_ok());
    }
}
