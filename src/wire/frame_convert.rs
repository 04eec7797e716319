//! Between the domain and the frames: nothing may get lost or be made up on the way.

use super::frame::{
    self, AnswerFrame, AskFrame, ChoiceFrame, ClientFrame, ErrorFrame, FieldsFrame, FormatFrame,
    MessageFrame, Name, OnDeadlineFrame, PriorityFrame, ScoreFrame, ServerFrame, TokenLogprobFrame,
    TokenLogprobsFrame, ToolCallFrame, ToolChoiceFrame, ToolFrame,
};
use super::json_out::{known_cause, known_finish, known_reason};
use super::{
    Answer, Ask, Choice, Command, Confidence, FieldConfidence, Malformed, Message, Reply,
    ResponseFormat, TokenLogprob, TokenLogprobs,
};
use crate::core::error::RejectReason;
use crate::core::request::{OnDeadline, Priority, Score};
use crate::core::tool::{Tool, ToolCall, ToolChoice};
use serde_json::Value;
use std::borrow::Cow;

impl ClientFrame<'_> {
    /// The command in this frame, validated; none in a hello.
    ///
    /// # Errors
    /// `bad_request`, with the client's id if there is one.
    pub fn into_command(self) -> Result<Option<Command>, Malformed> {
        let command = match self {
            Self::Hello { .. } => return Ok(None),
            Self::Ask(ask) => Command::Ask(Box::new(ask.into_ask()?)),
            Self::Cancel { id } => Command::Cancel { id: id.to_owned() },
            Self::CancelNumber { id, request } => Command::CancelNumber { id: owned(id), request },
            Self::Status { id } => Command::Status { id: owned(id) },
            Self::Health { id } => Command::Health { id: owned(id) },
        };
        match command.validate() {
            Ok(()) => Ok(Some(command)),
            Err(reason) => Err(Malformed { id: echoable(&command), reason }),
        }
    }
}

/// The id to echo in a refusal: none that is itself over the limit.
fn echoable(command: &Command) -> Option<String> {
    let id = match command {
        Command::Ask(ask) => ask.id.as_ref(),
        Command::Cancel { id } => Some(id),
        Command::CancelNumber { id, .. } | Command::Status { id } | Command::Health { id } => {
            id.as_ref()
        }
    };
    id.filter(|id| id.len() <= super::limits::ID_BYTES).cloned()
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn owned_all(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|s| (*s).to_owned()).collect()
}

fn borrowed_all(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

fn parse_json(name: &str, text: &str, id: Option<&str>) -> Result<Value, Malformed> {
    serde_json::from_str(text).map_err(|e| {
        let id = owned(id).filter(|id| id.len() <= super::limits::ID_BYTES);
        Malformed::bad(id, format!("`{name}` is not JSON: {e}"))
    })
}

impl AskFrame<'_> {
    fn into_ask(self) -> Result<Ask, Malformed> {
        let id = self.id;
        let vars = self.vars.as_deref().map(|v| parse_json("vars", v, id)).transpose()?;
        let format = self.response_format.as_ref().map(|f| f.to_format(id)).transpose()?;
        let message = |m: &MessageFrame<'_>| Message {
            role: m.role.to_owned(),
            content: m.content.to_owned(),
            tool_calls: m.tool_calls.iter().map(ToolCall::from).collect(),
            tool_call_id: owned(m.tool_call_id),
        };
        let tool = |(i, tool): (usize, &ToolFrame<'_>)| {
            let name = format!("tools[{i}].function.parameters");
            Ok(Tool {
                name: tool.name.to_owned(),
                description: tool.description.to_owned(),
                parameters: parse_json(&name, &tool.parameters, id)?,
            })
        };
        Ok(Ask {
            id: owned(id),
            task: owned(self.task),
            vars,
            prompt: owned(self.prompt),
            messages: self.messages.iter().map(message).collect(),
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            seed: self.seed,
            stop: owned_all(&self.stop),
            stream: self.stream,
            response_format: format,
            deadline_ms: self.deadline_ms,
            ttft_ms: self.ttft_ms,
            priority: self.priority.map(Priority::from),
            best_effort: self.best_effort,
            logprobs: self.logprobs,
            min_confidence: self.min_confidence,
            on_deadline: self.on_deadline.map(OnDeadline::from),
            tools: self.tools.iter().enumerate().map(tool).collect::<Result<_, Malformed>>()?,
            tool_choice: self.tool_choice.into(),
            parallel_tool_calls: self.parallel_tool_calls,
        })
    }
}

impl FormatFrame<'_> {
    fn to_format(&self, id: Option<&str>) -> Result<ResponseFormat, Malformed> {
        Ok(match self {
            Self::Text => ResponseFormat::Text,
            Self::JsonObject => ResponseFormat::JsonObject,
            Self::JsonSchema(text) => {
                ResponseFormat::JsonSchema(parse_json("response_format.schema", text, id)?)
            }
            Self::Choice(choices, score) => {
                ResponseFormat::Choice(owned_all(choices), (*score).into())
            }
            Self::Regex(regex) => ResponseFormat::Regex((*regex).to_owned()),
            Self::Lark(lark) => ResponseFormat::Lark((*lark).to_owned()),
        })
    }
}

impl<'a> From<&'a ResponseFormat> for FormatFrame<'a> {
    fn from(format: &'a ResponseFormat) -> Self {
        match format {
            ResponseFormat::Text => Self::Text,
            ResponseFormat::JsonObject => Self::JsonObject,
            ResponseFormat::JsonSchema(schema) => Self::JsonSchema(Cow::Owned(schema.to_string())),
            ResponseFormat::Choice(choices, score) => {
                Self::Choice(borrowed_all(choices), (*score).into())
            }
            ResponseFormat::Regex(regex) => Self::Regex(regex),
            ResponseFormat::Lark(lark) => Self::Lark(lark),
        }
    }
}

impl From<&ToolCallFrame<'_>> for ToolCall {
    fn from(call: &ToolCallFrame<'_>) -> Self {
        Self {
            id: call.id.to_owned(),
            name: call.name.to_owned(),
            arguments: call.arguments.to_owned(),
        }
    }
}

impl<'a> From<&'a ToolCall> for ToolCallFrame<'a> {
    fn from(call: &'a ToolCall) -> Self {
        Self { id: &call.id, name: &call.name, arguments: &call.arguments }
    }
}

impl<'a> From<&'a Tool> for ToolFrame<'a> {
    fn from(tool: &'a Tool) -> Self {
        Self {
            name: &tool.name,
            description: &tool.description,
            parameters: Cow::Owned(tool.parameters.to_string()),
        }
    }
}

impl From<ToolChoiceFrame<'_>> for ToolChoice {
    fn from(choice: ToolChoiceFrame<'_>) -> Self {
        match choice {
            ToolChoiceFrame::Auto => Self::Auto,
            ToolChoiceFrame::None => Self::None,
            ToolChoiceFrame::Required => Self::Required,
            ToolChoiceFrame::Named(name) => Self::Named(name.to_owned()),
        }
    }
}

impl<'a> From<&'a ToolChoice> for ToolChoiceFrame<'a> {
    fn from(choice: &'a ToolChoice) -> Self {
        match choice {
            ToolChoice::Auto => Self::Auto,
            ToolChoice::None => Self::None,
            ToolChoice::Required => Self::Required,
            ToolChoice::Named(name) => Self::Named(name),
        }
    }
}

impl From<ScoreFrame> for Score {
    fn from(score: ScoreFrame) -> Self {
        match score {
            ScoreFrame::Sum => Self::Sum,
            ScoreFrame::Mean => Self::Mean,
        }
    }
}

impl From<Score> for ScoreFrame {
    fn from(score: Score) -> Self {
        match score {
            Score::Sum => Self::Sum,
            Score::Mean => Self::Mean,
        }
    }
}

impl From<OnDeadlineFrame> for OnDeadline {
    fn from(then: OnDeadlineFrame) -> Self {
        match then {
            OnDeadlineFrame::Error => Self::Error,
            OnDeadlineFrame::Complete => Self::Complete,
        }
    }
}

impl From<OnDeadline> for OnDeadlineFrame {
    fn from(then: OnDeadline) -> Self {
        match then {
            OnDeadline::Error => Self::Error,
            OnDeadline::Complete => Self::Complete,
        }
    }
}

impl From<PriorityFrame> for Priority {
    fn from(priority: PriorityFrame) -> Self {
        match priority {
            PriorityFrame::Urgent => Self::Urgent,
            PriorityFrame::Normal => Self::Normal,
            PriorityFrame::Background => Self::Background,
        }
    }
}

impl From<Priority> for PriorityFrame {
    fn from(priority: Priority) -> Self {
        match priority {
            Priority::Urgent => Self::Urgent,
            Priority::Normal => Self::Normal,
            Priority::Background => Self::Background,
        }
    }
}

impl<'a> From<&'a Ask> for AskFrame<'a> {
    fn from(ask: &'a Ask) -> Self {
        let message = |m: &'a Message| MessageFrame {
            role: &m.role,
            content: &m.content,
            tool_calls: m.tool_calls.iter().map(ToolCallFrame::from).collect(),
            tool_call_id: m.tool_call_id.as_deref(),
        };
        Self {
            id: ask.id.as_deref(),
            task: ask.task.as_deref(),
            vars: ask.vars.as_ref().map(|v| Cow::Owned(v.to_string())),
            prompt: ask.prompt.as_deref(),
            messages: ask.messages.iter().map(message).collect(),
            max_tokens: ask.max_tokens,
            temperature: ask.temperature,
            top_p: ask.top_p,
            top_k: ask.top_k,
            min_p: ask.min_p,
            repetition_penalty: ask.repetition_penalty,
            frequency_penalty: ask.frequency_penalty,
            presence_penalty: ask.presence_penalty,
            seed: ask.seed,
            stop: borrowed_all(&ask.stop),
            stream: ask.stream,
            response_format: ask.response_format.as_ref().map(FormatFrame::from),
            deadline_ms: ask.deadline_ms,
            ttft_ms: ask.ttft_ms,
            priority: ask.priority.map(PriorityFrame::from),
            best_effort: ask.best_effort,
            logprobs: ask.logprobs,
            min_confidence: ask.min_confidence,
            on_deadline: ask.on_deadline.map(OnDeadlineFrame::from),
            tools: ask.tools.iter().map(ToolFrame::from).collect(),
            tool_choice: (&ask.tool_choice).into(),
            parallel_tool_calls: ask.parallel_tool_calls,
        }
    }
}

impl<'a> From<&'a Command> for ClientFrame<'a> {
    fn from(command: &'a Command) -> Self {
        match command {
            Command::Ask(ask) => Self::Ask(Box::new(AskFrame::from(&**ask))),
            Command::Cancel { id } => Self::Cancel { id },
            Command::CancelNumber { id, request } => {
                Self::CancelNumber { id: id.as_deref(), request: *request }
            }
            Command::Status { id } => Self::Status { id: id.as_deref() },
            Command::Health { id } => Self::Health { id: id.as_deref() },
        }
    }
}

impl<'a> From<&'a Reply> for ServerFrame<'a> {
    fn from(reply: &'a Reply) -> Self {
        match reply {
            Reply::Delta { id, text } => Self::Delta { id: id.as_deref(), text },
            Reply::Answer(answer) => Self::Answer(Box::new(AnswerFrame::from(&**answer))),
            Reply::Error { id, reason } => Self::Error(ErrorFrame {
                id: id.as_deref(),
                code: name(reason.code()),
                message: &reason.message,
                retryable: reason.code.retryable(),
                max_tokens_that_fit: reason.max_tokens_that_fit,
                needs_ms: reason.needs_ms,
                draft: reason.draft.as_deref(),
                escalated: reason.escalated,
            }),
            Reply::Report { id, body } => {
                Self::Report { id: id.as_deref(), json: Cow::Owned(body.to_string()) }
            }
        }
    }
}

impl<'a> From<&'a Answer> for AnswerFrame<'a> {
    fn from(answer: &'a Answer) -> Self {
        Self {
            id: answer.id.as_deref(),
            text: &answer.text,
            finish_reason: name(answer.finish_reason),
            cause: name(answer.cause),
            truncated: answer.truncated,
            prompt_tokens: answer.prompt_tokens,
            completion_tokens: answer.completion_tokens,
            cached_tokens: answer.cached_tokens,
            queue_ms: answer.queue_ms,
            ttft_ms: answer.ttft_ms,
            total_ms: answer.total_ms,
            logprobs: (answer.logprobs.as_ref())
                .map(|all| all.iter().map(TokenLogprobsFrame::from).collect()),
            confidence: answer.confidence.as_ref().map(|c| c.overall),
            confidence_fields: (answer.confidence.as_ref())
                .and_then(|c| c.fields.as_ref())
                .map(|f| FieldsFrame { min: f.min, mean: f.mean, lowest: &f.lowest }),
            choice: answer.choice.as_ref().map(|c| ChoiceFrame {
                probabilities: c.probabilities.iter().map(|(l, p)| (l.as_str(), *p)).collect(),
                margin: c.margin,
            }),
            abstained: answer.abstained,
            filled: borrowed_all(&answer.filled),
            tool_calls: answer.tool_calls.iter().map(ToolCallFrame::from).collect(),
            escalated: answer.escalated,
            answered_by: answer.answered_by.as_deref(),
        }
    }
}

impl<'a> From<&'a TokenLogprobs> for TokenLogprobsFrame<'a> {
    fn from(all: &'a TokenLogprobs) -> Self {
        let frame = |t: &'a TokenLogprob| TokenLogprobFrame { bytes: &t.bytes, logprob: t.logprob };
        Self { token: frame(&all.token), top: all.top.iter().map(frame).collect() }
    }
}

impl TokenLogprobsFrame<'_> {
    fn into_logprobs(self) -> TokenLogprobs {
        let token =
            |t: TokenLogprobFrame<'_>| TokenLogprob { bytes: t.bytes.to_vec(), logprob: t.logprob };
        TokenLogprobs { token: token(self.token), top: self.top.into_iter().map(token).collect() }
    }
}

/// Cuts at the capacity, which no name of ours reaches.
pub(super) fn name(text: &str) -> Name {
    let mut name = Name::new();
    text.chars().take_while(|c| name.push(*c).is_ok()).for_each(drop);
    name
}

impl ServerFrame<'_> {
    /// The hello of this build.
    pub fn hello() -> ServerFrame<'static> {
        let server = name(concat!("slmd/", env!("CARGO_PKG_VERSION")));
        ServerFrame::Hello { version: frame::VERSION, server }
    }

    /// The reply in this frame; none in a hello.
    ///
    /// # Errors
    /// If a report is not JSON.
    pub fn into_reply(self) -> Result<Option<Reply>, Malformed> {
        Ok(Some(match self {
            Self::Hello { .. } => return Ok(None),
            Self::Delta { id, text } => Reply::Delta { id: owned(id), text: text.to_owned() },
            Self::Answer(answer) => Reply::Answer(Box::new(answer.into_answer())),
            Self::Error(error) => Reply::Error { id: owned(error.id), reason: error.into_reason() },
            Self::Report { id, json } => {
                Reply::Report { id: owned(id), body: parse_json("report", &json, id)? }
            }
        }))
    }
}

impl AnswerFrame<'_> {
    fn into_answer(self) -> Answer {
        Answer {
            id: owned(self.id),
            text: self.text.to_owned(),
            finish_reason: known_finish(&self.finish_reason),
            cause: known_cause(&self.cause),
            truncated: self.truncated,
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            cached_tokens: self.cached_tokens,
            queue_ms: self.queue_ms,
            ttft_ms: self.ttft_ms,
            total_ms: self.total_ms,
            logprobs: (self.logprobs)
                .map(|all| all.into_iter().map(TokenLogprobsFrame::into_logprobs).collect()),
            confidence: self.confidence.map(|overall| Confidence {
                overall,
                fields: self.confidence_fields.map(|f| FieldConfidence {
                    min: f.min,
                    mean: f.mean,
                    lowest: f.lowest.to_owned(),
                }),
            }),
            choice: self.choice.map(|c| Choice {
                probabilities: (c.probabilities.iter())
                    .map(|(label, p)| ((*label).to_owned(), *p))
                    .collect(),
                margin: c.margin,
            }),
            abstained: self.abstained,
            filled: owned_all(&self.filled),
            tool_calls: self.tool_calls.iter().map(ToolCall::from).collect(),
            escalated: self.escalated,
            answered_by: owned(self.answered_by),
        }
    }
}

impl ErrorFrame<'_> {
    fn into_reason(self) -> RejectReason {
        RejectReason {
            max_tokens_that_fit: self.max_tokens_that_fit,
            needs_ms: self.needs_ms,
            draft: self.draft.map(Box::from),
            escalated: self.escalated,
            ..known_reason(&self.code, self.message.to_owned())
        }
    }
}

#[cfg(test)]
#[path = "round_trip_tests.rs"]
mod tests;
