//! Tasks: a name for a system prompt, an answer's shape and the bounds that go with it.
//!
//! [`TaskSpec`] is what a file says (`slmd.toml`, or the daemon's configuration, which reuses it);
//! [`Task`] is the checked form with the files it names read.

use crate::core::request::{OnDeadline, Priority, Score};
use crate::core::tool::Tool;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A task as written in TOML.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TaskSpec {
    /// The system prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// A minijinja template of the user's message, over `vars` and `prompt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The shape of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputSpec>,
    /// The most tokens of the answer, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Milliseconds from arrival to the whole answer, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u32>,
    /// Milliseconds from arrival to the first token, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<u32>,
    /// `urgent`, `normal` or `background`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<PriorityName>,
    /// 0 (greedy) to 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Nucleus: above 0, at most 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Keep the k likeliest tokens; 0: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Keep what is at least this share as likely as the likeliest: 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Divides the logits of tokens seen: above 0, at most 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// Texts that end the answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Serve requests of this task even if their deadline cannot be met.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub best_effort: bool,
    /// `error` or `complete`: what becomes of an answer that cannot be finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_deadline: Option<OnDeadlineName>,
    /// Answers that are less sure abstain: 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_confidence: Option<f32>,
    /// JSON pointers to the fields that matter for that; `*` stands for any name or index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confidence_fields: Vec<String>,
    /// What `slmd calibrate` found: above 0, at most 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence_temperature: Option<f32>,
    /// Tools of the configuration that the model may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// What becomes of a request that is not answered well enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalate: Option<Escalate>,
}

/// Who else is told of a request that is refused, cannot be finished, or whose answer abstains.
///
/// Whoever is asked for an answer is asked at once; the first answer within the deadline counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Escalate {
    /// `true`: nobody; the reply says `escalated`, and whoever asked sees to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reply: bool,
    /// The MQTT topic that the request and what came of it are published to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt: Option<String>,
    /// An endpoint of the configuration that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// `true`: the second model is asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub second_model: bool,
}

/// [`OnDeadline`] as written in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDeadlineName {
    /// It is an error.
    Error,
    /// It is completed.
    Complete,
}

impl From<OnDeadlineName> for OnDeadline {
    fn from(name: OnDeadlineName) -> Self {
        match name {
            OnDeadlineName::Error => Self::Error,
            OnDeadlineName::Complete => Self::Complete,
        }
    }
}

/// The shape of an answer as written in TOML: exactly one of these keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputSpec {
    /// The path of a JSON schema, relative to the file that holds the task.
    JsonSchema(String),
    /// The likeliest of these labels.
    Choice(Vec<String>),
    /// The same, by the mean of a label's tokens instead of their sum.
    ChoiceByMean(Vec<String>),
    /// Text that matches a regular expression.
    Regex(String),
    /// The path of a Lark grammar, relative to the file that holds the task.
    Lark(String),
    /// `true`: any JSON object.
    JsonObject(bool),
}

/// [`Priority`] as written in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PriorityName {
    /// Somebody is waiting.
    Urgent,
    /// The usual case.
    Normal,
    /// Whenever there is time.
    Background,
}

impl From<PriorityName> for Priority {
    fn from(name: PriorityName) -> Self {
        match name {
            PriorityName::Urgent => Self::Urgent,
            PriorityName::Normal => Self::Normal,
            PriorityName::Background => Self::Background,
        }
    }
}

/// The shape of an answer, its files read.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// JSON valid under this schema.
    JsonSchema(Value),
    /// The likeliest of these labels.
    Choice(Vec<String>, Score),
    /// Text that matches this regular expression.
    Regex(String),
    /// Text of this Lark grammar.
    Lark(String),
    /// Any JSON object.
    JsonObject,
}

/// A task, checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Task {
    /// What requests call it.
    pub name: String,
    /// The system prompt.
    pub system: Option<String>,
    /// The template of the user's message.
    pub template: Option<String>,
    /// The shape of the answer; none: free text.
    pub output: Option<Output>,
    /// The most tokens of the answer.
    pub max_tokens: Option<u32>,
    /// Milliseconds from arrival to the whole answer.
    pub deadline_ms: Option<u32>,
    /// Milliseconds from arrival to the first token.
    pub ttft_ms: Option<u32>,
    /// Who goes first.
    pub priority: Option<Priority>,
    /// Sampling temperature.
    pub temperature: Option<f32>,
    /// Nucleus.
    pub top_p: Option<f32>,
    /// The k likeliest.
    pub top_k: Option<u32>,
    /// Share of the likeliest.
    pub min_p: Option<f32>,
    /// Divides the logits of tokens seen.
    pub repetition_penalty: Option<f32>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Serve it even if its deadline cannot be met.
    pub best_effort: bool,
    /// What becomes of an answer that cannot be finished.
    pub on_deadline: Option<OnDeadline>,
    /// Answers that are less sure abstain.
    pub min_confidence: Option<f32>,
    /// JSON pointers to the fields that matter for that.
    pub confidence_fields: Vec<String>,
    /// What calibration found.
    pub confidence_temperature: Option<f32>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// What becomes of a request that is not answered well enough.
    pub escalate: Option<Escalate>,
}

/// A task that cannot be used: the key at fault, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("task.{task}.{field}: {problem}")]
pub struct TaskError {
    /// The task.
    pub task: String,
    /// The key, kebab-case.
    pub field: &'static str,
    /// What is wrong.
    pub problem: String,
}

/// Reads a file that a task names.
pub type ReadFile<'a> = &'a mut dyn FnMut(&str) -> Result<Vec<u8>, String>;
/// Finds a tool that a task names.
pub type FindTool<'a> = &'a dyn Fn(&str) -> Result<Tool, String>;

impl TaskSpec {
    /// Checks the figures, reads the files and finds the tools that the task names.
    ///
    /// # Errors
    /// [`TaskError`] with the key at fault.
    pub fn resolve(
        self,
        name: &str,
        read: ReadFile<'_>,
        find: FindTool<'_>,
    ) -> Result<Task, TaskError> {
        let failed = |field, problem| TaskError { task: name.to_owned(), field, problem };
        check_name(name).map_err(|p| failed("name", p))?;
        self.check().map_err(|(field, problem)| failed(field, problem))?;
        let output = match self.output {
            None => None,
            Some(spec) => Some(spec.resolve(read).map_err(|p| failed("output", p))?),
        };
        let tools: Result<Vec<Tool>, String> = self.tools.iter().map(|name| find(name)).collect();
        let tools = tools.map_err(|p| failed("tools", p))?;
        if let (Some(Output::Choice(..) | Output::Regex(_) | Output::Lark(_)), [_, ..]) =
            (&output, &tools[..])
        {
            let problem = "with tools an answer may be text or JSON, nothing else";
            return Err(failed("tools", problem.to_owned()));
        }
        Ok(Task {
            name: name.to_owned(),
            system: self.system,
            template: self.template,
            output,
            max_tokens: self.max_tokens,
            deadline_ms: self.deadline_ms,
            ttft_ms: self.ttft_ms,
            priority: self.priority.map(Priority::from),
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            stop: self.stop,
            best_effort: self.best_effort,
            on_deadline: self.on_deadline.map(OnDeadline::from),
            min_confidence: self.min_confidence,
            confidence_fields: self.confidence_fields,
            confidence_temperature: self.confidence_temperature,
            tools,
            escalate: self.escalate,
        })
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        for (field, value) in [
            ("max-tokens", self.max_tokens),
            ("deadline-ms", self.deadline_ms),
            ("ttft-ms", self.ttft_ms),
        ] {
            if value == Some(0) {
                return Err((field, "0 is too small; at least 1".into()));
            }
        }
        let bound = |field, value: Option<f32>, ok: fn(f32) -> bool, range| match value {
            Some(v) if !ok(v) => Err((field, format!("{v} is out of range; {range}"))),
            _ => Ok(()),
        };
        bound("temperature", self.temperature, |v| (0.0..=10.0).contains(&v), "0 to 10")?;
        bound("top-p", self.top_p, |v| v > 0.0 && v <= 1.0, "above 0, at most 1")?;
        bound("min-p", self.min_p, |v| (0.0..=1.0).contains(&v), "0 to 1")?;
        let positive = |v| v > 0.0 && v <= 10.0;
        bound("repetition-penalty", self.repetition_penalty, positive, "above 0, at most 10")?;
        bound("min-confidence", self.min_confidence, |v| (0.0..=1.0).contains(&v), "0 to 1")?;
        let calibrated = |v| v > 0.0 && v <= 100.0;
        let range = "above 0, at most 100";
        bound("confidence-temperature", self.confidence_temperature, calibrated, range)?;
        if let Some(field) = self.confidence_fields.iter().find(|f| !f.starts_with('/')) {
            return Err((
                "confidence-fields",
                format!("{field:?} is no JSON pointer; as in \"/a/0\""),
            ));
        }
        if self.escalate == Some(Escalate::default()) {
            let problem =
                "names nobody; `reply = true`, `mqtt`, `endpoint` or `second-model = true`";
            return Err(("escalate", problem.into()));
        }
        match self.stop.iter().any(String::is_empty) {
            true => Err(("stop", "an empty text would end every answer at once".into())),
            false => Ok(()),
        }
    }
}

/// Names appear in topics and on command lines: letters, digits, `-`, `_`, `.`.
fn check_name(name: &str) -> Result<(), String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !name.is_empty() && name.len() <= 64 && name.chars().all(ok) {
        true => Ok(()),
        false => Err("a task's name has 1 to 64 letters, digits, `-`, `_`, `.`".into()),
    }
}

impl OutputSpec {
    fn resolve(self, read: ReadFile<'_>) -> Result<Output, String> {
        match self {
            Self::JsonSchema(path) => {
                let bytes = read(&path)?;
                serde_json::from_slice(&bytes)
                    .map(Output::JsonSchema)
                    .map_err(|e| format!("{path}: {e}"))
            }
            Self::Lark(path) => String::from_utf8(read(&path)?)
                .map(Output::Lark)
                .map_err(|_| format!("{path}: not UTF-8")),
            Self::Choice(labels) => choice(labels, Score::Sum),
            Self::ChoiceByMean(labels) => choice(labels, Score::Mean),
            Self::Regex(pattern) => Ok(Output::Regex(pattern)),
            Self::JsonObject(true) => Ok(Output::JsonObject),
            Self::JsonObject(false) => Err("json-object: only `true` says something".into()),
        }
    }
}

fn choice(labels: Vec<String>, score: Score) -> Result<Output, String> {
    match labels.len() {
        0 => Err("choice: no labels".into()),
        _ if labels.iter().any(String::is_empty) => Err("choice: an empty label".into()),
        _ => Ok(Output::Choice(labels, score)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Task, String> {
        let spec: TaskSpec = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        let mut read = |path: &str| match path {
            "s.json" => Ok(br#"{"type": "object"}"#.to_vec()),
            "bad.json" => Ok(b"{".to_vec()),
            _ => Err(format!("{path}: not found")),
        };
        let find = |name: &str| match name {
            "thermometer" => Ok(Tool {
                name: name.to_owned(),
                description: String::new(),
                parameters: serde_json::json!({"type": "object"}),
            }),
            _ => Err(format!("no tool {name:?}")),
        };
        spec.resolve("t", &mut read, &find).map_err(|e| e.to_string())
    }

    #[test]
    fn a_whole_task_is_read() {
        let task = resolve(
            "system = 'S'\noutput = { json-schema = 's.json' }\nmax-tokens = 64\n\
             deadline-ms = 2000\npriority = 'urgent'\ntemperature = 0.0\nstop = ['x']\n\
             best-effort = true",
        )
        .expect("sound");
        assert_eq!(task.output, Some(Output::JsonSchema(serde_json::json!({"type": "object"}))));
        assert_eq!(task.priority, Some(Priority::Urgent));
        assert!(task.best_effort);
    }

    #[test]
    fn every_output_has_its_form() {
        let output = |text: &str| resolve(text).map(|t| t.output);
        assert_eq!(
            output("output = { choice = ['a', 'b'] }"),
            Ok(Some(Output::Choice(vec!["a".into(), "b".into()], Score::Sum)))
        );
        assert_eq!(
            output("output = { choice-by-mean = ['a'] }"),
            Ok(Some(Output::Choice(vec!["a".into()], Score::Mean)))
        );
        assert_eq!(output("output = { regex = 'a+' }"), Ok(Some(Output::Regex("a+".into()))));
        assert_eq!(output("output = { json-object = true }"), Ok(Some(Output::JsonObject)));
        for wrong in [
            "output = { json-object = false }",
            "output = { choice = [] }",
            "output = { json-schema = 'none.json' }",
            "output = { json-schema = 'bad.json' }",
            "output = { regex = 'a', json-object = true }",
            "output = { xml = 'a' }",
            "output = 'text'",
        ] {
            assert!(output(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn figures_out_of_range_name_their_key() {
        for (text, key) in [
            ("max-tokens = 0", "task.t.max-tokens"),
            ("temperature = -0.1", "task.t.temperature"),
            ("temperature = nan", "task.t.temperature"),
            ("top-p = 0.0", "task.t.top-p"),
            ("min-p = 1.5", "task.t.min-p"),
            ("repetition-penalty = 0.0", "task.t.repetition-penalty"),
            ("stop = ['']", "task.t.stop"),
            ("min-confidence = 1.1", "task.t.min-confidence"),
            ("confidence-temperature = 0.0", "task.t.confidence-temperature"),
            ("confidence-fields = ['a']", "task.t.confidence-fields"),
            ("tools = ['hammer']", "task.t.tools"),
            ("tools = ['thermometer']\noutput = { regex = 'a' }", "task.t.tools"),
            ("escalate = {}", "task.t.escalate"),
        ] {
            assert!(resolve(text).expect_err(text).contains(key), "{text}");
        }
        assert!(resolve("max_tokens = 3").expect_err("snake").contains("max_tokens"));
    }
}
