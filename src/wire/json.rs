//! JSON lines: one object a line, both ways.
//!
//! Commands are read field by field instead of through a derived type, so that a complaint can name
//! the field, and a field that slmd would ignore is refused instead.

use super::fields::{Fields, bad, id_of, read_object, salvage_id};
use super::validate::clip;
use super::{Ask, Command, Malformed, Message, ResponseFormat, limits, tools};
use crate::core::error::RejectReason;
use crate::core::request::{OnDeadline, Priority, Score};
use serde_json::Value;

pub use super::json_out::{parse_reply, write_command, write_reply};

/// What OpenAI's interface knows and slmd does not, with what to do instead.
const UNSUPPORTED: [(&str, &str); 19] = [
    ("audio", ""),
    ("best_of", ""),
    ("echo", ""),
    ("function_call", "use `tool_choice`"),
    ("functions", "use `tools`"),
    ("logit_bias", ""),
    ("max_completion_tokens", "use `max_tokens`"),
    ("metadata", ""),
    ("modalities", ""),
    ("model", "slmd runs one model; leave it out"),
    ("n", "one request has one answer"),
    ("prediction", ""),
    ("reasoning_effort", ""),
    ("service_tier", "use `priority`"),
    ("store", ""),
    ("stream_options", "every answer has its `usage`"),
    ("suffix", ""),
    ("user", ""),
    ("durable", ""),
];

/// Reads a command from one line, without its line feed, and validates it.
///
/// # Errors
/// `bad_request`, with the client's `id` if it could be read.
pub fn parse_command(line: &[u8]) -> Result<Command, Malformed> {
    let map = read_object(line)?;
    let id = id_of(&map);
    let command = read_command(Fields::new(map, ""));
    command
        .and_then(|command| command.validate().map(|()| command))
        .map_err(|reason| Malformed { id, reason })
}

/// What a request on a message broker says about its delivery, where the broker's own fields
/// cannot: MQTT 3.1.1 has neither a response topic nor correlation data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// Where the replies go.
    pub reply_to: Option<String>,
    /// The client's name for itself; nobody has checked it.
    pub client: Option<String>,
    /// The id, also of a request that is malformed otherwise.
    pub id: Option<String>,
}

/// Reads a request with its [`Envelope`] from one JSON object, and validates it. The envelope is
/// there as far as it can be read, so that a complaint finds its way.
///
/// # Errors
/// `bad_request`, also for every other `op` than `ask`.
pub fn parse_enveloped(body: &[u8]) -> (Envelope, Result<Ask, RejectReason>) {
    let map = match read_object(body) {
        Ok(map) => map,
        Err(Malformed { id, reason }) => {
            return (Envelope { id, ..Envelope::default() }, Err(reason));
        }
    };
    let mut envelope = Envelope { id: id_of(&map), ..Envelope::default() };
    let ask = read_enveloped(Fields::new(map, ""), &mut envelope);
    (envelope, ask)
}

fn read_enveloped(mut fields: Fields<'_>, envelope: &mut Envelope) -> Result<Ask, RejectReason> {
    envelope.reply_to = fields.string("reply_to")?;
    envelope.client = fields.string("client")?;
    match fields.string("op")?.as_deref() {
        None | Some("ask") => {}
        Some(other) => {
            let other = clip(other);
            return Err(bad(format!(
                "`op` must be ask here, not {other:?}; cancelling and the \
                status have topics of their own"
            )));
        }
    }
    let ask = read_ask(fields)?;
    ask.validate().map(|()| ask)
}

/// The id of a line of which only the head was kept.
pub fn salvage(head: &[u8]) -> Option<String> {
    salvage_id(head)
}

fn read_command(mut fields: Fields<'_>) -> Result<Command, RejectReason> {
    let op = fields.string("op")?;
    let command = match op.as_deref() {
        None | Some("ask") => return read_ask(fields).map(|ask| Command::Ask(Box::new(ask))),
        Some("cancel") => read_cancel(&mut fields)?,
        Some("status") => Command::Status { id: fields.string("id")? },
        Some("health") => Command::Health { id: fields.string("id")? },
        Some(other) => {
            let other = clip(other);
            return Err(bad(format!("`op` must be ask, cancel, status or health, not {other:?}")));
        }
    };
    fields.finish()?;
    Ok(command)
}

fn read_cancel(fields: &mut Fields<'_>) -> Result<Command, RejectReason> {
    let id = fields.string("id")?;
    match (fields.u64("request")?, id) {
        (Some(request), id) => Ok(Command::CancelNumber { id, request }),
        (None, Some(id)) => Ok(Command::Cancel { id }),
        (None, None) => Err(bad("`cancel` needs the `id` of a request of this connection")),
    }
}

fn read_ask(mut fields: Fields<'_>) -> Result<Ask, RejectReason> {
    let f = &mut fields;
    let ask = Ask {
        id: f.string("id")?,
        task: f.string("task")?,
        vars: f.value("vars"),
        prompt: f.string("prompt")?,
        messages: read_messages(f)?,
        max_tokens: f.u32("max_tokens")?,
        temperature: f.f32("temperature")?,
        top_p: f.f32("top_p")?,
        top_k: f.u32("top_k")?,
        min_p: f.f32("min_p")?,
        repetition_penalty: f.f32("repetition_penalty")?,
        frequency_penalty: f.f32("frequency_penalty")?,
        presence_penalty: f.f32("presence_penalty")?,
        seed: f.u64("seed")?,
        stop: read_stop(f)?,
        stream: f.boolean("stream")?.unwrap_or(false),
        response_format: f.value("response_format").map(read_format).transpose()?,
        deadline_ms: f.u32("deadline_ms")?,
        ttft_ms: f.u32("ttft_ms")?,
        priority: read_named(f, "priority", &Priority::ALL, |p| p.name())?,
        best_effort: f.boolean("best_effort")?.unwrap_or(false),
        logprobs: read_logprobs(f)?,
        min_confidence: f.f32("min_confidence")?,
        on_deadline: read_named(f, "on_deadline", &OnDeadline::ALL, |o| o.name())?,
        tools: tools::read_tools(f)?,
        tool_choice: tools::read_choice(f)?,
        parallel_tool_calls: f.boolean("parallel_tool_calls")?,
    };
    refuse_unsupported(&fields)?;
    fields.finish()?;
    Ok(ask)
}

fn refuse_unsupported(fields: &Fields<'_>) -> Result<(), RejectReason> {
    let Some(left) = fields.left_over() else { return Ok(()) };
    match UNSUPPORTED.iter().find(|(name, _)| *name == left) {
        None => Ok(()),
        Some((name, "")) => Err(bad(format!("`{name}` is not supported"))),
        Some((name, instead)) => Err(bad(format!("`{name}` is not supported; {instead}"))),
    }
}

fn read_messages(fields: &mut Fields<'_>) -> Result<Vec<Message>, RejectReason> {
    let Some(items) = fields.array("messages")? else { return Ok(Vec::new()) };
    if items.is_empty() {
        return Err(bad("`messages` must hold at least one turn"));
    }
    if items.len() > limits::MESSAGES {
        let n = items.len();
        return Err(bad(format!("`messages` has {n} turns; at most {}", limits::MESSAGES)));
    }
    items.into_iter().enumerate().map(|(i, item)| read_message(i, item)).collect()
}

fn read_message(index: usize, item: Value) -> Result<Message, RejectReason> {
    let path = format!("messages[{index}].");
    let mut fields = Fields::of(item, &path)?;
    let missing = |name: &str| bad(format!("`{path}{name}` is missing"));
    let role = fields.string("role")?.ok_or_else(|| missing("role"))?;
    let tool_calls = tools::read_calls(&mut fields)?;
    let content = match fields.string("content")? {
        Some(content) => content,
        // OpenAI has null there.
        None if !tool_calls.is_empty() => String::new(),
        None => return Err(missing("content")),
    };
    let tool_call_id = fields.string("tool_call_id")?;
    // OpenAI's name of whoever speaks, or of the tool: not told to the model.
    fields.string("name")?;
    fields.finish()?;
    Ok(Message { role, content, tool_calls, tool_call_id })
}

/// OpenAI takes one string or several.
fn read_stop(fields: &mut Fields<'_>) -> Result<Vec<String>, RejectReason> {
    match fields.value("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(Value::Array(many)) => many
            .into_iter()
            .enumerate()
            .map(|(i, item)| match item {
                Value::String(s) => Ok(s),
                other => Err(bad(format!("`stop[{i}]` must be a string, not {other}"))),
            })
            .collect(),
        Some(_) => Err(bad("`stop` must be a string or an array of strings")),
    }
}

/// OpenAI's two fields.
fn read_logprobs(fields: &mut Fields<'_>) -> Result<Option<u8>, RejectReason> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    match (wanted, fields.u32("top_logprobs")?) {
        (true, top) => Ok(Some(u8::try_from(top.unwrap_or(0)).unwrap_or(u8::MAX))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(_)) => Err(bad("`top_logprobs` needs `logprobs` to be true")),
    }
}

/// One of a few things that have names.
fn read_named<T: Copy>(
    fields: &mut Fields<'_>,
    field: &str,
    all: &[T],
    name_of: fn(T) -> &'static str,
) -> Result<Option<T>, RejectReason> {
    let Some(name) = fields.string(field)? else { return Ok(None) };
    let found = all.iter().copied().find(|one| name_of(*one) == name);
    found.map(Some).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| name_of(*one)).collect();
        let (last, others) = names.split_last().expect("there are some");
        let names = format!("{} or {last}", others.join(", "));
        bad(format!("`{}` must be {names}, not {:?}", fields.path_of(field), clip(&name)))
    })
}

/// Reads a `response_format`.
fn read_format(value: Value) -> Result<ResponseFormat, RejectReason> {
    let mut fields = Fields::of(value, "response_format.")?;
    let kind = fields.string("type")?;
    let missing = |name: &str| bad(format!("`response_format.{name}` is missing"));
    let format = match kind.as_deref() {
        None => return Err(missing("type")),
        Some("text") => ResponseFormat::Text,
        Some("json_object") => ResponseFormat::JsonObject,
        Some("json_schema") => ResponseFormat::JsonSchema(read_schema(&mut fields)?),
        Some("choice") => {
            let labels = fields.strings("choices")?.ok_or_else(|| missing("choices"))?;
            let score = read_named(&mut fields, "score", &Score::ALL, |s| s.name())?;
            ResponseFormat::Choice(labels, score.unwrap_or_default())
        }
        Some("regex") => {
            ResponseFormat::Regex(fields.string("regex")?.ok_or_else(|| missing("regex"))?)
        }
        Some("lark") => {
            ResponseFormat::Lark(fields.string("lark")?.ok_or_else(|| missing("lark"))?)
        }
        Some(other) => {
            return Err(bad(format!(
                "`response_format.type` must be text, json_object, json_schema, choice, regex or \
                 lark, not {:?}",
                clip(other)
            )));
        }
    };
    fields.finish()?;
    Ok(format)
}

/// `schema`, or OpenAI's `json_schema: { name, description, strict, schema }`. Answers always keep
/// to the schema, so `strict` changes nothing.
fn read_schema(fields: &mut Fields<'_>) -> Result<Value, RejectReason> {
    let missing = || bad("`response_format.schema` is missing");
    match (fields.value("schema"), fields.value("json_schema")) {
        (Some(_), Some(_)) => {
            Err(bad("give `response_format.schema` or `response_format.json_schema`, not both"))
        }
        (Some(schema), None) => Ok(schema),
        (None, None) => Err(missing()),
        (None, Some(nested)) => {
            let mut nested = Fields::of(nested, "response_format.json_schema.")?;
            nested.string("name")?;
            nested.string("description")?;
            nested.boolean("strict")?;
            let schema = nested.value("schema").ok_or_else(missing)?;
            nested.finish()?;
            Ok(schema)
        }
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
