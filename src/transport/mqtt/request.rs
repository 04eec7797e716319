//! What a message on a request topic asks: its properties and its body become an [`Ask`] with an
//! address for the answer, or a refusal.

use super::message::{Message, Properties};
use super::topics::is_level;
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::Priority;
use crate::wire::json::Envelope;
use crate::wire::{Ask, json};
use bytes::Bytes;
use std::time::Duration;

/// The most bytes of correlation data that are echoed.
const CORRELATION_BYTES: usize = 1024;
/// The most bytes of a client's own name.
const CLIENT_BYTES: usize = 128;

/// Where the answer goes, and by what the client knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Address {
    /// The topic; none: there is nowhere to answer.
    pub reply_topic: Option<String>,
    /// Echoed byte for byte.
    pub correlation: Option<Bytes>,
    /// The client's id, echoed in every reply.
    pub id: Option<String>,
    /// The client's name for itself; nobody has checked it.
    pub client: Option<String>,
}

/// A request that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What is asked. Its deadline is in [`Request::due`].
    pub ask: Ask,
    /// How long it may take from its arrival on, if that was said.
    pub due: Option<Duration>,
}

/// Reads a message that came in on `task`'s request topic.
///
/// The address is there as far as it can be read, so that a refusal finds its way.
pub fn read(task: Option<&str>, message: &Message) -> (Address, Result<Request, RejectReason>) {
    let properties = &message.properties;
    let (envelope, ask) = read_body(message);
    let address = Address {
        reply_topic: properties.response_topic.clone().or(envelope.reply_to),
        correlation: properties.correlation.clone(),
        id: envelope.id,
        client: envelope.client,
    };
    let request = check_address(&address)
        .and(ask)
        .and_then(|ask| with_properties(ask, properties))
        .and_then(|ask| with_task(ask, task))
        .and_then(check_stream);
    (address, request.map(|ask| bounded(ask, properties)))
}

fn bad(message: impl Into<String>) -> RejectReason {
    RejectReason::new(ErrorCode::BadRequest, message)
}

/// A user property, by name; the first of several.
fn property<'p>(properties: &'p Properties, name: &str) -> Option<&'p str> {
    properties.user.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn read_body(message: &Message) -> (Envelope, Result<Ask, RejectReason>) {
    let properties = &message.properties;
    let (mut envelope, ask) = match is_json(message) {
        true => json::parse_enveloped(&message.payload),
        false => (Envelope::default(), plain(&message.payload)),
    };
    let named = |name: &str| property(properties, name).map(str::to_owned);
    envelope.id = envelope.id.or_else(|| named("id"));
    envelope.client = envelope.client.or_else(|| named("client"));
    let ask = ask.map(|ask| Ask { id: envelope.id.clone(), ..ask });
    (envelope, ask)
}

/// The content type decides; without one, whether the body looks like an object.
fn is_json(message: &Message) -> bool {
    let media = message.properties.content_type.as_deref();
    match media.and_then(|m| m.split(';').next()).map(str::trim) {
        Some(media) if !media.is_empty() => {
            media.eq_ignore_ascii_case("application/json") || media.ends_with("+json")
        }
        _ => message.payload.trim_ascii_start().first() == Some(&b'{'),
    }
}

fn plain(payload: &[u8]) -> Result<Ask, RejectReason> {
    match std::str::from_utf8(payload) {
        Ok(prompt) => Ok(Ask { prompt: Some(prompt.to_owned()), ..Ask::default() }),
        Err(e) => Err(bad(format!("the prompt is not UTF-8 from byte {} on", e.valid_up_to()))),
    }
}

fn check_address(address: &Address) -> Result<(), RejectReason> {
    let correlation = address.correlation.as_ref().map_or(0, Bytes::len);
    if correlation > CORRELATION_BYTES {
        let message =
            format!("correlation data has {correlation} bytes; at most {CORRELATION_BYTES}");
        return Err(bad(message));
    }
    match address.client.as_deref().map(str::len) {
        Some(n) if n == 0 || n > CLIENT_BYTES => {
            Err(bad(format!("`client` has {n} bytes; between 1 and {CLIENT_BYTES} are taken")))
        }
        _ => Ok(()),
    }
}

/// What plain text cannot say is said by user properties; the body's own fields come first.
fn with_properties(mut ask: Ask, properties: &Properties) -> Result<Ask, RejectReason> {
    if let (None, Some(ms)) = (ask.deadline_ms, property(properties, "deadline_ms")) {
        let ms = ms.parse().map_err(|_| bad("the user property `deadline_ms` is not a number"))?;
        ask.deadline_ms = Some(ms);
    }
    if let (None, Some(name)) = (ask.priority, property(properties, "priority")) {
        let known = Priority::ALL.into_iter().find(|p| p.name() == name);
        let message = "the user property `priority` must be urgent, normal or background";
        ask.priority = Some(known.ok_or_else(|| bad(message))?);
    }
    if !ask.stream && property(properties, "stream").is_some_and(|v| v == "true") {
        ask.stream = true;
    }
    ask.validate().map(|()| ask)
}

fn with_task(ask: Ask, task: Option<&str>) -> Result<Ask, RejectReason> {
    match (task, ask.task.as_deref()) {
        (Some(topic), _) if topic.is_empty() || topic.contains('/') => Err(RejectReason::new(
            ErrorCode::UnknownTask,
            format!("`request/` is followed by one task's name, not by {topic:?}"),
        )),
        (Some(topic), Some(body)) if topic != body => {
            Err(bad(format!("the topic asks for the task {topic:?} and the body for {body:?}")))
        }
        (Some(topic), None) => {
            let ask = Ask { task: Some(topic.to_owned()), ..ask };
            ask.validate().map(|()| ask)
        }
        _ => Ok(ask),
    }
}

fn check_stream(ask: Ask) -> Result<Ask, RejectReason> {
    match ask.stream && !ask.id.as_deref().is_some_and(is_level) {
        true => Err(bad(
            "streaming needs an `id` that can be a level of a topic: letters, digits and -_.~",
        )),
        false => Ok(ask),
    }
}

/// The smaller of what the message's expiry and its deadline leave.
fn bounded(mut ask: Ask, properties: &Properties) -> Request {
    let expiry = properties.expiry_s.map(|s| Duration::from_secs(s.into()));
    let deadline = ask.deadline_ms.take().map(|ms| Duration::from_millis(ms.into()));
    Request { ask, due: expiry.into_iter().chain(deadline).min() }
}
