//! Writing JSON lines, and the clients' side of reading them.

use super::fields::{bad, read_object};
use super::{
    Answer, Ask, Choice, Command, Confidence, FieldConfidence, Malformed, Message, Reply,
    ResponseFormat, TokenLogprob, TokenLogprobs, tools,
};
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::{OnDeadline, Score, StopReason};
use crate::core::tool::{TOOL_CALLS, ToolCall};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// Appends a reply and a line feed.
pub fn write_reply(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Delta { id, text } => line(out, &DeltaDto { id: id.as_deref(), delta: text }),
        Reply::Answer(answer) => line(out, &AnswerDto::from(&**answer)),
        Reply::Error { id, reason } => {
            line(out, &ErrorDto { id: id.as_deref(), status: "error", error: reason.into() });
        }
        Reply::Report { id, body } => {
            line(out, &ReportDto { id: id.as_deref(), status: "ok", report: body });
        }
    }
}

/// Appends a command and a line feed.
pub fn write_command(command: &Command, out: &mut Vec<u8>) {
    match command {
        Command::Ask(ask) => line(out, &AskDto::from(&**ask)),
        Command::Cancel { id } => line(out, &json!({"op": "cancel", "id": id})),
        Command::CancelNumber { id, request } => {
            line(out, &json!({"op": "cancel", "id": id, "request": request}));
        }
        Command::Status { id } => line(out, &json!({"op": "status", "id": id})),
        Command::Health { id } => line(out, &json!({"op": "health", "id": id})),
    }
}

fn line(out: &mut Vec<u8>, dto: &impl Serialize) {
    serde_json::to_writer(&mut *out, dto)
        .expect("a DTO has string keys, and a Vec takes all bytes");
    out.push(b'\n');
}

#[derive(Serialize)]
struct DeltaDto<'a> {
    id: Option<&'a str>,
    delta: &'a str,
}

#[derive(Serialize)]
struct ReportDto<'a> {
    id: Option<&'a str>,
    status: &'static str,
    report: &'a Value,
}

#[derive(Serialize)]
struct ErrorDto<'a> {
    id: Option<&'a str>,
    status: &'static str,
    error: ReasonDto<'a>,
}

#[derive(Serialize)]
struct ReasonDto<'a> {
    code: &'static str,
    message: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens_that_fit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    needs_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    draft: Option<&'a str>,
    #[serde(skip_serializing_if = "is_false")]
    escalated: bool,
}

impl<'a> From<&'a RejectReason> for ReasonDto<'a> {
    fn from(reason: &'a RejectReason) -> Self {
        Self {
            code: reason.code(),
            message: &reason.message,
            retryable: reason.code.retryable(),
            max_tokens_that_fit: reason.max_tokens_that_fit,
            needs_ms: reason.needs_ms,
            draft: reason.draft.as_deref(),
            escalated: reason.escalated,
        }
    }
}

#[derive(Serialize)]
struct AnswerDto<'a> {
    id: Option<&'a str>,
    status: &'static str,
    text: &'a str,
    finish_reason: &'a str,
    cause: &'a str,
    truncated: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
    #[serde(skip_serializing_if = "is_false")]
    escalated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_by: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    filled: &'a [String],
    #[serde(flatten)]
    sure: SureDto<'a>,
    usage: UsageDto,
    timings: TimingsDto,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<LogprobsDto>,
}

/// How sure an answer is.
#[derive(Serialize)]
struct SureDto<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence_fields: Option<FieldsDto>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "by_label")]
    probabilities: Option<&'a [(String, f32)]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    margin: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    abstained: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct FieldsDto {
    min: f32,
    mean: f32,
    lowest: String,
}

/// An object, in the order of the labels.
fn by_label<S: Serializer>(all: &Option<&[(String, f32)]>, out: S) -> Result<S::Ok, S::Error> {
    out.collect_map(all.unwrap_or_default().iter().map(|(label, p)| (label, p)))
}

impl<'a> From<&'a Answer> for SureDto<'a> {
    fn from(answer: &'a Answer) -> Self {
        let fields = answer.confidence.as_ref().and_then(|c| c.fields.as_ref());
        let fields =
            fields.map(|f| FieldsDto { min: f.min, mean: f.mean, lowest: f.lowest.clone() });
        Self {
            confidence: answer.confidence.as_ref().map(|c| c.overall),
            confidence_fields: fields,
            probabilities: answer.choice.as_ref().map(|c| c.probabilities.as_slice()),
            margin: answer.choice.as_ref().map(|c| c.margin),
            abstained: answer.abstained,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct LogprobsDto {
    content: Vec<TokenLogprobsDto>,
}

#[derive(Serialize, Deserialize)]
struct TokenLogprobsDto {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
    top_logprobs: Vec<TokenLogprobDto>,
}

/// As OpenAI has it: the text with U+FFFD for what is not UTF-8, and the bytes as they are.
#[derive(Serialize, Deserialize)]
struct TokenLogprobDto {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize, Default)]
struct UsageDto {
    prompt_tokens: u32,
    completion_tokens: u32,
    #[serde(default)]
    prompt_tokens_details: DetailsDto,
}

#[derive(Serialize, Deserialize, Default)]
struct DetailsDto {
    #[serde(default)]
    cached_tokens: u32,
}

#[derive(Serialize, Deserialize, Default)]
struct TimingsDto {
    queue_ms: f32,
    ttft_ms: f32,
    total_ms: f32,
}

impl<'a> From<&'a Answer> for AnswerDto<'a> {
    fn from(answer: &'a Answer) -> Self {
        Self {
            id: answer.id.as_deref(),
            status: "ok",
            text: &answer.text,
            finish_reason: answer.finish_reason,
            cause: answer.cause,
            truncated: answer.truncated,
            tool_calls: answer.tool_calls.iter().map(tools::call_value).collect(),
            escalated: answer.escalated,
            answered_by: answer.answered_by.as_deref(),
            filled: &answer.filled,
            sure: answer.into(),
            usage: UsageDto {
                prompt_tokens: answer.prompt_tokens,
                completion_tokens: answer.completion_tokens,
                prompt_tokens_details: DetailsDto { cached_tokens: answer.cached_tokens },
            },
            timings: TimingsDto {
                queue_ms: answer.queue_ms,
                ttft_ms: answer.ttft_ms,
                total_ms: answer.total_ms,
            },
            logprobs: answer.logprobs.as_deref().map(LogprobsDto::from),
        }
    }
}

impl From<&[TokenLogprobs]> for LogprobsDto {
    fn from(all: &[TokenLogprobs]) -> Self {
        let dto = |t: &TokenLogprobs| {
            let TokenLogprobDto { token, logprob, bytes } = (&t.token).into();
            let top_logprobs = t.top.iter().map(TokenLogprobDto::from).collect();
            TokenLogprobsDto { token, logprob, bytes, top_logprobs }
        };
        Self { content: all.iter().map(dto).collect() }
    }
}

impl From<&TokenLogprob> for TokenLogprobDto {
    fn from(token: &TokenLogprob) -> Self {
        let text = String::from_utf8_lossy(&token.bytes).into_owned();
        Self { token: text, logprob: token.logprob, bytes: token.bytes.clone() }
    }
}

impl LogprobsDto {
    fn into_all(self) -> Vec<TokenLogprobs> {
        let token = |t: TokenLogprobDto| TokenLogprob { bytes: t.bytes, logprob: t.logprob };
        let all = |t: TokenLogprobsDto| TokenLogprobs {
            token: TokenLogprob { bytes: t.bytes, logprob: t.logprob },
            top: t.top_logprobs.into_iter().map(token).collect(),
        };
        self.content.into_iter().map(all).collect()
    }
}

#[derive(Serialize)]
struct AskDto<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vars: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    messages: Vec<MessageDto<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "is_false")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttft_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<&'static str>,
    #[serde(skip_serializing_if = "is_false")]
    best_effort: bool,
    #[serde(skip_serializing_if = "is_false")]
    logprobs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_confidence: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_deadline: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
}

#[derive(Serialize)]
struct MessageDto<'a> {
    role: &'a str,
    content: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

fn is_false(b: &bool) -> bool {
    !b
}

impl<'a> From<&'a Ask> for AskDto<'a> {
    fn from(ask: &'a Ask) -> Self {
        let message = |m: &'a Message| MessageDto {
            role: &m.role,
            content: &m.content,
            tool_calls: m.tool_calls.iter().map(tools::call_value).collect(),
            tool_call_id: m.tool_call_id.as_deref(),
        };
        Self {
            id: ask.id.as_deref(),
            task: ask.task.as_deref(),
            vars: ask.vars.as_ref(),
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
            stop: &ask.stop,
            stream: ask.stream,
            response_format: ask.response_format.as_ref().map(format_value),
            deadline_ms: ask.deadline_ms,
            ttft_ms: ask.ttft_ms,
            priority: ask.priority.map(crate::core::request::Priority::name),
            best_effort: ask.best_effort,
            logprobs: ask.logprobs.is_some(),
            top_logprobs: ask.logprobs.filter(|top| *top > 0),
            min_confidence: ask.min_confidence,
            on_deadline: ask.on_deadline.map(OnDeadline::name),
            tools: ask.tools.iter().map(tools::tool_value).collect(),
            tool_choice: tools::choice_value(&ask.tool_choice),
            parallel_tool_calls: ask.parallel_tool_calls,
        }
    }
}

fn format_value(format: &ResponseFormat) -> Value {
    match format {
        ResponseFormat::Text => json!({"type": "text"}),
        ResponseFormat::JsonObject => json!({"type": "json_object"}),
        ResponseFormat::JsonSchema(schema) => json!({"type": "json_schema", "schema": schema}),
        ResponseFormat::Choice(choices, Score::Sum) => {
            json!({"type": "choice", "choices": choices})
        }
        ResponseFormat::Choice(choices, score) => {
            json!({"type": "choice", "choices": choices, "score": score.name()})
        }
        ResponseFormat::Regex(regex) => json!({"type": "regex", "regex": regex}),
        ResponseFormat::Lark(lark) => json!({"type": "lark", "lark": lark}),
    }
}

/// Reads a reply from one line; fields that this version does not know are skipped, so that an old
/// client can talk to a new daemon.
///
/// # Errors
/// If the line is no reply.
pub fn parse_reply(line: &[u8]) -> Result<Reply, Malformed> {
    let map = read_object(line)?;
    let id = super::fields::id_of(&map);
    let dto: ReplyDto = serde_json::from_value(Value::Object(map))
        .map_err(|e| Malformed::bad(id.clone(), format!("not a reply of slmd: {e}")))?;
    dto.into_reply().map_err(|reason| Malformed { id, reason })
}

#[derive(Deserialize)]
struct ReplyDto {
    id: Option<String>,
    delta: Option<String>,
    error: Option<ReasonIn>,
    report: Option<Value>,
    text: Option<String>,
    #[serde(default)]
    finish_reason: String,
    #[serde(default)]
    cause: String,
    #[serde(default)]
    truncated: bool,
    #[serde(default)]
    usage: UsageDto,
    #[serde(default)]
    timings: TimingsDto,
    logprobs: Option<LogprobsDto>,
    #[serde(default)]
    filled: Vec<String>,
    confidence: Option<f32>,
    confidence_fields: Option<FieldsDto>,
    probabilities: Option<Map<String, Value>>,
    #[serde(default)]
    margin: f32,
    abstained: Option<bool>,
    #[serde(default)]
    tool_calls: Vec<CallIn>,
    #[serde(default)]
    escalated: bool,
    answered_by: Option<String>,
}

#[derive(Deserialize)]
struct CallIn {
    id: String,
    function: FunctionIn,
}

#[derive(Deserialize)]
struct FunctionIn {
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
struct ReasonIn {
    code: String,
    message: String,
    max_tokens_that_fit: Option<u32>,
    needs_ms: Option<u32>,
    draft: Option<String>,
    #[serde(default)]
    escalated: bool,
}

impl ReplyDto {
    fn into_reply(self) -> Result<Reply, RejectReason> {
        let id = self.id;
        match (self.delta, self.error, self.report, self.text) {
            (Some(text), ..) => Ok(Reply::Delta { id, text }),
            (_, Some(error), ..) => Ok(Reply::Error { id, reason: error.into_reason() }),
            (.., Some(body), _) => Ok(Reply::Report { id, body }),
            (.., Some(text)) => Ok(Reply::Answer(Box::new(Answer {
                id,
                text,
                finish_reason: known_finish(&self.finish_reason),
                cause: known_cause(&self.cause),
                truncated: self.truncated,
                prompt_tokens: self.usage.prompt_tokens,
                completion_tokens: self.usage.completion_tokens,
                cached_tokens: self.usage.prompt_tokens_details.cached_tokens,
                queue_ms: self.timings.queue_ms,
                ttft_ms: self.timings.ttft_ms,
                total_ms: self.timings.total_ms,
                logprobs: self.logprobs.map(LogprobsDto::into_all),
                confidence: self.confidence.map(|overall| Confidence {
                    overall,
                    fields: self.confidence_fields.map(FieldsDto::into_fields),
                }),
                choice: (self.probabilities)
                    .map(|all| Choice { probabilities: in_order(all), margin: self.margin }),
                abstained: self.abstained,
                filled: self.filled,
                tool_calls: self.tool_calls.into_iter().map(CallIn::into_call).collect(),
                escalated: self.escalated,
                answered_by: self.answered_by,
            }))),
            _ => Err(bad("a reply has a `delta`, a `text`, a `report` or an `error`")),
        }
    }
}

impl CallIn {
    fn into_call(self) -> ToolCall {
        let FunctionIn { name, arguments } = self.function;
        ToolCall { id: self.id, name, arguments }
    }
}

impl FieldsDto {
    fn into_fields(self) -> FieldConfidence {
        FieldConfidence { min: self.min, mean: self.mean, lowest: self.lowest }
    }
}

fn in_order(all: Map<String, Value>) -> Vec<(String, f32)> {
    all.into_iter().map(|(label, p)| (label, p.as_f64().unwrap_or_default() as f32)).collect()
}

impl ReasonIn {
    fn into_reason(self) -> RejectReason {
        RejectReason {
            max_tokens_that_fit: self.max_tokens_that_fit,
            needs_ms: self.needs_ms,
            draft: self.draft.map(String::into_boxed_str),
            escalated: self.escalated,
            ..known_reason(&self.code, self.message)
        }
    }
}

/// A reason whose code may be newer than this client: then `internal`, with the code in the text.
pub(super) fn known_reason(code: &str, message: String) -> RejectReason {
    match ErrorCode::from_code(code) {
        Some(code) => RejectReason::new(code, message),
        None => RejectReason::new(ErrorCode::Internal, format!("{code}: {message}")),
    }
}

pub(super) fn known_finish(name: &str) -> &'static str {
    ["stop", "length", TOOL_CALLS].into_iter().find(|n| *n == name).unwrap_or("unknown")
}

pub(super) fn known_cause(name: &str) -> &'static str {
    use StopReason::{Cancelled, Deadline, Failed, Length, ShuttingDown, Stop};
    [Stop, Length, Deadline, Cancelled, ShuttingDown, Failed]
        .into_iter()
        .map(StopReason::cause)
        .chain([TOOL_CALLS])
        .find(|n| *n == name)
        .unwrap_or("unknown")
}
