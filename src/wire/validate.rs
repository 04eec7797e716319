//! Whether a request makes sense at all, whichever codec it came by.

use super::{Ask, Command, Message, ResponseFormat, limits};
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::tool::{ToolChoice, is_name};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::ops::RangeInclusive;

type Checked = Result<(), RejectReason>;

fn bad(message: impl Into<String>) -> RejectReason {
    RejectReason::new(ErrorCode::BadRequest, message)
}

impl Command {
    /// Checks every figure and text against its range and [`limits`].
    ///
    /// # Errors
    /// `bad_request`, with the name of the first field that is wrong, what it holds and what it
    /// may hold.
    pub fn validate(&self) -> Checked {
        match self {
            Self::Ask(ask) => ask.validate(),
            Self::Cancel { id } => validate_id(id),
            Self::CancelNumber { id, .. } | Self::Status { id } | Self::Health { id } => {
                id.as_deref().map_or(Ok(()), validate_id)
            }
        }
    }
}

impl Ask {
    /// As [`Command::validate`].
    ///
    /// # Errors
    /// `bad_request`.
    pub fn validate(&self) -> Checked {
        self.id.as_deref().map_or(Ok(()), validate_id)?;
        self.validate_task()?;
        self.validate_input()?;
        self.validate_sampling()?;
        self.validate_bounds()?;
        list("stop", &self.stop, limits::STOPS, limits::STOP_BYTES)?;
        self.validate_tools()?;
        self.response_format.as_ref().map_or(Ok(()), ResponseFormat::validate)
    }

    fn validate_task(&self) -> Checked {
        if let Some(task) = &self.task {
            text("task", task, limits::TASK_BYTES)?;
        }
        match &self.vars {
            Some(vars) if !vars.is_object() => Err(bad("`vars` must be a JSON object")),
            _ => Ok(()),
        }
    }

    fn validate_input(&self) -> Checked {
        match (&self.prompt, self.messages.is_empty()) {
            (Some(_), false) => return Err(bad("give `prompt` or `messages`, not both")),
            (None, true) if self.task.is_none() || self.vars.is_none() => {
                return Err(bad("give `prompt` or `messages` (or a `task` with its `vars`)"));
            }
            _ => {}
        }
        if self.messages.len() > limits::MESSAGES {
            let n = self.messages.len();
            return Err(bad(format!("`messages` has {n} turns; at most {}", limits::MESSAGES)));
        }
        self.messages.iter().enumerate().try_for_each(|(i, m)| validate_turn(i, m))?;
        match self.messages.iter().position(|m| !limits::ROLES.contains(&m.role.as_str())) {
            Some(i) => Err(bad(format!(
                "`messages[{i}].role` must be one of {}, not {:?}",
                limits::ROLES.join(", "),
                clip(&self.messages[i].role)
            ))),
            None => Ok(()),
        }
    }

    fn validate_tools(&self) -> Checked {
        if self.tools.len() > limits::TOOLS {
            let n = self.tools.len();
            return Err(bad(format!("`tools` has {n} entries; at most {}", limits::TOOLS)));
        }
        let mut seen = HashSet::new();
        for (i, tool) in self.tools.iter().enumerate() {
            let path = format!("`tools[{i}].function");
            if !is_name(&tool.name) {
                return Err(bad(format!(
                    "{path}.name` must have 1 to 64 letters, digits, _ and -"
                )));
            }
            if !seen.insert(&*tool.name) {
                return Err(bad(format!("`tools` holds {:?} twice", tool.name)));
            }
            if !tool.parameters.is_object() {
                return Err(bad(format!("{path}.parameters` must be a JSON object")));
            }
        }
        match (&self.tool_choice, &self.response_format) {
            (ToolChoice::Named(name), _) if !self.tools.is_empty() && !seen.contains(&**name) => {
                Err(bad(format!(
                    "`tool_choice` names {:?}, which is not among `tools`",
                    clip(name)
                )))
            }
            (choice, Some(format)) if !self.tools.is_empty() && *choice != ToolChoice::None => {
                match format {
                    ResponseFormat::Text
                    | ResponseFormat::JsonObject
                    | ResponseFormat::JsonSchema(_) => Ok(()),
                    _ => Err(bad("with `tools` an answer may be text or JSON, nothing else")),
                }
            }
            _ => Ok(()),
        }
    }

    fn validate_sampling(&self) -> Checked {
        if self.logprobs.is_some_and(|top| top > limits::TOP_LOGPROBS) {
            return Err(bad(format!("`top_logprobs` must be at most {}", limits::TOP_LOGPROBS)));
        }
        within("min_confidence", self.min_confidence, 0.0..=1.0)?;
        within("temperature", self.temperature, limits::TEMPERATURE)?;
        within("min_p", self.min_p, limits::MIN_P)?;
        within("frequency_penalty", self.frequency_penalty, limits::PENALTY)?;
        within("presence_penalty", self.presence_penalty, limits::PENALTY)?;
        above_zero("top_p", self.top_p, 1.0)?;
        above_zero("repetition_penalty", self.repetition_penalty, limits::REPETITION_PENALTY_MAX)
    }

    fn validate_bounds(&self) -> Checked {
        for (name, value) in [
            ("max_tokens", self.max_tokens),
            ("deadline_ms", self.deadline_ms),
            ("ttft_ms", self.ttft_ms),
        ] {
            if value == Some(0) {
                return Err(bad(format!(
                    "`{name}` must be at least 1; leave it out for the default"
                )));
            }
        }
        match (self.ttft_ms, self.deadline_ms) {
            (Some(first), Some(whole)) if first > whole => Err(bad(format!(
                "`ttft_ms` ({first}) must not be later than `deadline_ms` ({whole})"
            ))),
            _ => Ok(()),
        }
    }
}

/// Calls are the assistant's, results are of calls.
fn validate_turn(index: usize, message: &Message) -> Checked {
    let path = format!("`messages[{index}]");
    if !message.tool_calls.is_empty() && message.role != "assistant" {
        return Err(bad(format!("{path}.tool_calls` are the assistant's alone")));
    }
    if message.tool_calls.len() > limits::TOOLS {
        let n = message.tool_calls.len();
        return Err(bad(format!("{path}.tool_calls` has {n} entries; at most {}", limits::TOOLS)));
    }
    for (i, call) in message.tool_calls.iter().enumerate() {
        let path = format!("{path}.tool_calls[{i}]");
        if call.id.is_empty() || call.id.len() > limits::ID_BYTES {
            return Err(bad(format!("{path}.id` must have 1 to {} bytes", limits::ID_BYTES)));
        }
        if !is_name(&call.name) {
            return Err(bad(format!("{path}.function.name` is no name of a tool")));
        }
        let arguments: Result<Map<String, Value>, _> = serde_json::from_str(&call.arguments);
        if arguments.is_err() {
            return Err(bad(format!("{path}.function.arguments` must be a JSON object, as text")));
        }
    }
    match (&message.tool_call_id, &*message.role) {
        (Some(id), "tool") => {
            text(&format!("messages[{index}].tool_call_id"), id, limits::ID_BYTES)
        }
        (Some(_), _) => Err(bad(format!("{path}.tool_call_id` is of a tool's message alone"))),
        (None, _) => Ok(()),
    }
}

impl ResponseFormat {
    fn validate(&self) -> Checked {
        match self {
            Self::Text | Self::JsonObject => Ok(()),
            Self::JsonSchema(schema) if schema.is_object() => Ok(()),
            Self::JsonSchema(_) => Err(bad("`response_format.schema` must be a JSON object")),
            Self::Choice(choices, _) => validate_choices(choices),
            Self::Regex(regex) => text("response_format.regex", regex, limits::MESSAGE_BYTES),
            Self::Lark(lark) => text("response_format.lark", lark, limits::MESSAGE_BYTES),
        }
    }
}

fn validate_choices(choices: &[String]) -> Checked {
    if choices.is_empty() {
        return Err(bad("`response_format.choices` must hold at least one label"));
    }
    list("response_format.choices", choices, limits::CHOICES, limits::CHOICE_BYTES)?;
    let mut seen = HashSet::new();
    match choices.iter().find(|c| !seen.insert(c.as_str())) {
        Some(twice) => Err(bad(format!("`response_format.choices` holds {:?} twice", clip(twice)))),
        None => Ok(()),
    }
}

fn validate_id(id: &str) -> Checked {
    text("id", id, limits::ID_BYTES)
}

fn text(name: &str, value: &str, max_bytes: usize) -> Checked {
    match value.len() {
        0 => Err(bad(format!("`{name}` must not be empty"))),
        n if n > max_bytes => Err(bad(format!("`{name}` has {n} bytes; at most {max_bytes}"))),
        _ => Ok(()),
    }
}

fn list(name: &str, items: &[String], max_items: usize, max_bytes: usize) -> Checked {
    if items.len() > max_items {
        return Err(bad(format!("`{name}` has {} entries; at most {max_items}", items.len())));
    }
    items
        .iter()
        .enumerate()
        .try_for_each(|(i, item)| text(&format!("{name}[{i}]"), item, max_bytes))
}

/// NaN is in no range.
fn within(name: &str, value: Option<f32>, range: RangeInclusive<f32>) -> Checked {
    match value {
        Some(v) if !range.contains(&v) => Err(bad(format!(
            "`{name}` must be between {} and {}, not {v}",
            range.start(),
            range.end()
        ))),
        _ => Ok(()),
    }
}

fn above_zero(name: &str, value: Option<f32>, max: f32) -> Checked {
    match value {
        Some(v) if !(v > 0.0 && v <= max) => {
            Err(bad(format!("`{name}` must be above 0 and at most {max}, not {v}")))
        }
        _ => Ok(()),
    }
}

/// The head of a text, for a message.
pub(super) fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(40)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::request::Score;

    fn ask() -> Ask {
        Ask { prompt: Some("hello".into()), ..Ask::default() }
    }

    fn complaint(ask: &Ask) -> String {
        let reason = ask.validate().expect_err("must be refused");
        assert_eq!(reason.code, ErrorCode::BadRequest);
        reason.message
    }

    #[test]
    fn a_plain_prompt_passes_and_so_does_an_empty_one() {
        assert_eq!(ask().validate(), Ok(()));
        assert_eq!(Ask { prompt: Some(String::new()), ..Ask::default() }.validate(), Ok(()));
    }

    #[test]
    fn there_is_exactly_one_input() {
        assert!(complaint(&Ask::default()).contains("`prompt` or `messages`"));
        let turn = Message::new("user", "x");
        let both = Ask { messages: vec![turn.clone()], ..ask() };
        assert!(complaint(&both).contains("not both"));
        let task =
            Ask { task: Some("alert".into()), vars: Some(serde_json::json!({})), ..Ask::default() };
        assert_eq!(task.validate(), Ok(()));
        let turns = Ask { messages: vec![turn; 257], ..Ask::default() };
        assert!(complaint(&turns).contains("257 turns"));
    }

    #[test]
    fn figures_stay_in_their_ranges() {
        for bad in [f32::NAN, f32::INFINITY, -0.1, 10.5] {
            assert!(
                complaint(&Ask { temperature: Some(bad), ..ask() }).contains("`temperature`"),
                "{bad}"
            );
        }
        for bad in [f32::NAN, 0.0, -1.0, 1.01] {
            assert!(complaint(&Ask { top_p: Some(bad), ..ask() }).contains("`top_p`"), "{bad}");
        }
        assert!(complaint(&Ask { min_p: Some(1.1), ..ask() }).contains("`min_p`"));
        assert!(complaint(&Ask { repetition_penalty: Some(0.0), ..ask() }).contains("above 0"));
        assert!(complaint(&Ask { max_tokens: Some(0), ..ask() }).contains("`max_tokens`"));
        assert!(complaint(&Ask { deadline_ms: Some(0), ..ask() }).contains("`deadline_ms`"));
        let late = Ask { ttft_ms: Some(9), deadline_ms: Some(8), ..ask() };
        assert!(complaint(&late).contains("`ttft_ms` (9)"));
    }

    #[test]
    fn texts_stay_in_their_bounds() {
        assert!(complaint(&Ask { id: Some("x".repeat(129)), ..ask() }).contains("129 bytes"));
        assert!(complaint(&Ask { id: Some(String::new()), ..ask() }).contains("empty"));
        assert!(complaint(&Ask { stop: vec![String::new()], ..ask() }).contains("`stop[0]`"));
        assert!(complaint(&Ask { stop: vec!["x".into(); 17], ..ask() }).contains("17 entries"));
        let formats = [
            (ResponseFormat::Choice(vec![], Score::Sum), "at least one"),
            (ResponseFormat::Choice(vec!["a".into(), "a".into()], Score::Sum), "twice"),
            (ResponseFormat::Regex(String::new()), "empty"),
            (ResponseFormat::JsonSchema(serde_json::json!(1)), "JSON object"),
        ];
        for (format, says) in formats {
            assert!(complaint(&Ask { response_format: Some(format), ..ask() }).contains(says));
        }
    }
}
