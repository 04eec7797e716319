//! What clients ask. Everything about a request follows from its name, so that asking again asks
//! the same; `k7` has a key, `n7` has none, `x7` must not be served.

use slmd::transport::mqtt::message::{Message, Properties, Qos};
use std::time::Duration;

pub const MAX_REQUEST_BYTES: usize = 200;

fn number(name: &str) -> u64 {
    name[1..].parse().expect("a letter and a number")
}

pub fn has_key(name: &str) -> bool {
    name.starts_with('k')
}

/// How long it may take from its arrival on.
pub fn due(name: &str) -> Option<Duration> {
    match number(name) % 5 {
        1 => Some(Duration::from_millis(700)),
        2 => Some(Duration::from_secs(2)),
        3 => Some(Duration::from_millis(90)),
        _ => None,
    }
}

pub fn reply_topic(name: &str) -> String {
    format!("clients/{name}")
}

pub fn request(name: &str) -> Message {
    let n = number(name);
    let mut properties =
        Properties { response_topic: Some(reply_topic(name)), ..Properties::default() };
    if has_key(name) {
        properties.correlation = Some(name.to_owned().into());
    }
    match n % 5 {
        1 => properties.user.push(("deadline_ms".into(), "700".into())),
        2 => properties.expiry_s = Some(2),
        3 => {
            properties.expiry_s = Some(2);
            properties.user.push(("deadline_ms".into(), "90".into()));
        }
        _ => {}
    }
    let mut payload = name.to_owned();
    match n % 11 {
        // As a client of MQTT 3.1.1 would.
        4 | 5 if has_key(name) => {
            (properties.response_topic, properties.correlation) = (None, None);
            let topic = reply_topic(name);
            payload = format!(
                r#"{{"prompt":"{name}","id":"{name}","reply_to":"{topic}","stream":{}}}"#,
                n % 11 == 5
            );
        }
        6 => payload = r#"{"prompt":1}"#.into(),
        7 => payload = "x".repeat(MAX_REQUEST_BYTES + 1),
        _ => {}
    }
    let mut message = Message::new("slmd/n/request", payload, Qos::AtLeastOnce);
    message.properties = properties;
    if n.is_multiple_of(13) {
        message.topic = "slmd/group/g/request".into();
    }
    message
}

/// Something that gets no answer.
pub fn nothing(n: u64) -> Message {
    let mut message = request(&format!("n{n}"));
    message.payload = format!("x{n}").into();
    message.properties.response_topic = match n % 5 {
        0 => None,
        1 => Some("elsewhere/x".into()),
        2 => Some("slmd/n/request/x".into()),
        3 => Some("clients/#".into()),
        _ => {
            message.retain = true;
            Some("clients/x".into())
        }
    };
    message
}

pub fn cancel(name: &str) -> Message {
    Message::new(format!("slmd/n/cancel/{name}"), "", Qos::AtLeastOnce)
}

/// Where the reply of a message must go; none: there must not be one.
pub fn expected_reply(message: &Message) -> Option<String> {
    if !message.topic.contains("/request") || message.retain {
        return None;
    }
    let json: Option<serde_json::Value> = serde_json::from_slice(&message.payload).ok();
    let in_body = json.and_then(|json| json["reply_to"].as_str().map(str::to_owned));
    let topic = message.properties.response_topic.clone().or(in_body)?;
    let is_allowed = topic.starts_with("clients/") && !topic.contains('#');
    is_allowed.then_some(topic)
}
