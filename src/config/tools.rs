//! `[tool.NAME]`: what models may call on this device, and what happens then.

use super::error::ConfigError;
use super::mqtt::MqttSettings;
use super::reference::table;
use super::settings::{Settings, read_task_file, relative_to};
use super::source::{Config, Source, Sourced};
use crate::core::tool::{Action, Tool, is_name};
use crate::core::topic;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use toml::Spanned;

/// Keys of `[tool.NAME]`, their types and meanings.
pub(super) const TOOL_KEYS: &[(&str, &str, &str)] = &[
    ("description", "text", "Required. What it does, for the model."),
    (
        "parameters",
        "path",
        "The JSON schema of its arguments, relative to the file; left out: it takes none.",
    ),
    (
        "run",
        "list",
        "The absolute path of a program, and its fixed arguments: no shell. It gets the call's \
         arguments as JSON on its standard input; what it writes to its standard output is the result.",
    ),
    (
        "mqtt",
        "text",
        "The topic that the call's arguments are published to. Neither `run` nor `mqtt`: the call is \
         in the reply, for whoever asked to run.",
    ),
    (
        "mqtt-answers",
        "boolean",
        "Whether the result is what comes back to the message's response topic; `false`: the result is \
         that it was published.",
    ),
    ("timeout-ms", "integer", "Milliseconds that a call may take, 1 to 600000; 2000."),
];

/// The section of the reference.
pub(super) fn reference() -> String {
    let mut page =
        "\n## `[tool.NAME]`\n\nWhat tasks may let the model call: [tools](answers.md#tools).\
                    \n\n"
            .to_owned();
    table(&mut page, &[TOOL_KEYS]);
    page
}

/// As written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ToolSection {
    description: String,
    parameters: Option<String>,
    run: Option<Vec<String>>,
    mqtt: Option<String>,
    #[serde(default)]
    mqtt_answers: bool,
    timeout_ms: Option<i64>,
}

/// A tool, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolSettings {
    /// What the model is told.
    pub tool: Tool,
    /// What a call does; none: whoever asked runs it.
    pub action: Option<Action>,
    /// How long that may take.
    pub timeout: Duration,
}

impl Settings {
    /// Whether a tool answers by messages, so that they have to be listened to.
    pub fn tools_answer(&self) -> bool {
        let answers = |action: &Action| matches!(action, Action::Publish { answers: true, .. });
        self.tools.iter().any(|tool| tool.value.action.as_ref().is_some_and(answers))
    }
}

impl Config {
    /// Tools of all files; a later file replaces a whole tool.
    pub(super) fn tools(&self) -> Result<Vec<Sourced<ToolSettings>>, ConfigError> {
        let mut last: BTreeMap<&str, (&Source, &Spanned<ToolSection>)> = BTreeMap::new();
        for source in &self.sources {
            last.extend(source.file.tool.iter().map(|(name, at)| (&**name, (source, at))));
        }
        let checked = |(name, (source, at)): (&str, (&Source, &Spanned<ToolSection>))| {
            let tool = check(name, source, at.get_ref());
            let tool = tool.map_err(|p| source.refuse(at, format!("tool.{name}.{p}")))?;
            Ok(Sourced::new(tool, source.origin(at)))
        };
        last.into_iter().map(checked).collect()
    }

    /// Who publishes needs a broker.
    pub(super) fn check_tools(
        &self,
        tools: &[Sourced<ToolSettings>],
        mqtt: &MqttSettings,
    ) -> Result<(), ConfigError> {
        let publishes =
            |t: &&Sourced<ToolSettings>| matches!(t.value.action, Some(Action::Publish { .. }));
        let Some(tool) = tools.iter().find(publishes).filter(|_| mqtt.broker.value.is_none())
        else {
            return Ok(());
        };
        let name = &*tool.value.tool.name;
        let at = |s: &'_ Source| s.file.tool.contains_key(name);
        let source = self.sources.iter().rev().find(|s| at(s)).expect("it was read from one");
        let problem = format!("tool.{name}.mqtt: there is no broker; write mqtt.url");
        Err(source.refuse(&source.file.tool[name], problem))
    }
}

fn check(name: &str, source: &Source, section: &ToolSection) -> Result<ToolSettings, String> {
    if !is_name(name) {
        return Err("name: 1 to 64 letters, digits, `_` and `-`".to_owned());
    }
    let parameters = match &section.parameters {
        None => json!({"type": "object", "properties": {}, "additionalProperties": false}),
        Some(path) => {
            let bytes = read_task_file(&relative_to(source, path));
            let bytes = bytes.map_err(|e| format!("parameters: {e}"))?;
            serde_json::from_slice(&bytes).map_err(|e| format!("parameters: {path}: {e}"))?
        }
    };
    let action = match (&section.run, &section.mqtt) {
        (Some(_), Some(_)) => return Err("run: give `run` or `mqtt`, not both".to_owned()),
        (Some(run), None) => Some(Action::Run(program(run)?)),
        (None, Some(to)) if topic::is_name(to) && !to.starts_with('$') => {
            Some(Action::Publish { topic: to.clone(), answers: section.mqtt_answers })
        }
        (None, Some(to)) => return Err(format!("mqtt: {to:?} is no name of a topic")),
        (None, None) => None,
    };
    if section.mqtt_answers && section.mqtt.is_none() {
        return Err("mqtt-answers: needs `mqtt`".to_owned());
    }
    let timeout_ms = section.timeout_ms.unwrap_or(2000);
    if !(1..=600_000).contains(&timeout_ms) {
        return Err(format!("timeout-ms: {timeout_ms} is out of range: 1 to 600000"));
    }
    Ok(ToolSettings {
        tool: Tool { name: name.to_owned(), description: section.description.clone(), parameters },
        action,
        timeout: Duration::from_millis(timeout_ms.unsigned_abs()),
    })
}

fn program(run: &[String]) -> Result<Vec<String>, String> {
    match run.first() {
        None => Err("run: names no program".to_owned()),
        Some(program) if !Path::new(program).is_absolute() => {
            Err(format!("run: {program:?} is no absolute path"))
        }
        Some(program) if !Path::new(program).is_file() => Err(format!("run: {program}: not found")),
        Some(_) => Ok(run.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::reference::tests::known;
    use super::super::settings::tests::refusal;
    use super::*;

    #[test]
    fn every_key_that_is_documented_can_be_written() {
        let known = known::<ToolSection>("description = 'x'\nzzz = 1");
        assert_eq!(known, TOOL_KEYS.iter().map(|(key, ..)| *key).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_wrong_with_a_tool_is_said() {
        for (rest, says) in [
            ("run = ['ls']", "no absolute path"),
            ("run = ['/no/such/program']", "not found"),
            ("run = []", "names no program"),
            ("run = ['/bin/true']\nmqtt = 'a'", "not both"),
            ("mqtt = 'a/#'", "no name of a topic"),
            ("mqtt = 'a'", "there is no broker"),
            ("mqtt-answers = true", "needs `mqtt`"),
            ("timeout-ms = 0", "out of range"),
            ("parameters = 'none.json'", "none.json"),
        ] {
            let problem = refusal(&format!("[tool.t]\ndescription = 'x'\n{rest}"));
            assert!(problem.contains("tool.t.") && problem.contains(says), "{rest}: {problem}");
        }
        assert!(refusal("[tool.'a b']\ndescription = 'x'").contains("letters"));
        assert!(refusal("[task.a]\ntools = ['t']").contains("[tool.t]"));
    }
}
