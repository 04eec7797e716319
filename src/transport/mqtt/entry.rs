//! One prompt that slmd answers for, from its PUBACK to the end of its answer's age.

use super::request::Address;
use super::stored::Key;
use super::{Now, message};
use crate::core::request::{Priority, RequestId};
use crate::runtime::Origin;
use crate::transport::quota::AccountId;
use crate::wire::{Ask, Reply, json};
use bytes::Bytes;
use std::time::Duration;

/// A prompt, or the answer that it got.
#[derive(Debug)]
pub struct Entry {
    /// Where the answer goes.
    pub address: Address,
    /// What a repeated request is known by.
    pub key: Option<Key>,
    /// On this boot's clock, in milliseconds; none: before a reboot, and nobody knows when.
    pub arrived_ms: Option<i64>,
    /// Milliseconds from the arrival on.
    pub due_ms: Option<u64>,
    /// Where it came from.
    pub topic: String,
    /// The highest that its topic may ask for.
    pub max_priority: Priority,
    /// The journal's record of its arrival; zero for what was recovered.
    pub accepted: u64,
    /// For its age: on this boot's clock, in milliseconds, so that a wall clock that is set late
    /// makes nothing old.
    pub since_ms: i64,
    /// The quota that its tokens are taken from.
    pub account: Option<AccountId>,
    /// What it takes in the journal.
    pub bytes: usize,
    /// It ran when the process ended the last time, and may have been the cause.
    pub is_suspect: bool,
    /// Its inference has begun in this run of the daemon.
    pub has_begun: bool,
    /// How far it is.
    pub state: State,
}

/// How far it is.
#[derive(Debug)]
pub enum State {
    /// For a seat; only prompts of an earlier run of the daemon do.
    Waiting(Box<Ask>),
    /// The runtime has it.
    Running(RequestId),
    /// It has its answer.
    Answered(Answered),
}

/// An answer, and what became of it.
#[derive(Debug)]
pub struct Answered {
    /// The journal's record of it; zero for what was recovered.
    pub record: u64,
    /// Until it is out; afterwards the journal alone has it.
    pub payload: Option<Bytes>,
    /// The tag of a copy that the link has not taken yet; it serves all who ask meanwhile.
    pub queued: Option<u64>,
    /// The link took it before it was committed, while the journal stalled.
    pub is_out: bool,
    /// The reason code of the broker's PUBACK.
    pub delivered: Option<u8>,
    /// The broker did not take it; it is tried again on the next connection.
    pub is_refused: bool,
    /// A refusal that may turn out otherwise the next time: forgotten once it is out.
    pub is_passing: bool,
}

impl Entry {
    /// How long ago it arrived.
    pub fn waited(&self, now: Now) -> Option<Duration> {
        let waited = i64::try_from(now.boot_ms).ok()?.saturating_sub(self.arrived_ms?);
        Some(Duration::from_millis(u64::try_from(waited).unwrap_or(0)))
    }

    /// Whether its time is over, as far as the entry itself knows.
    pub fn is_expired(&self, now: Now) -> bool {
        let due = self.due_ms.map(Duration::from_millis);
        self.waited(now).is_none_or(|waited| due.is_some_and(|due| waited >= due))
    }

    /// As the runtime is told.
    pub fn origin(&self, now: Now) -> Origin {
        Origin {
            waited: self.waited(now).unwrap_or_default(),
            due: self.due_ms.map(Duration::from_millis),
            max_priority: self.max_priority,
            ..Origin::new("mqtt")
        }
    }

    /// Whether an earlier run of the daemon accepted it.
    pub const fn is_recovered(&self) -> bool {
        self.accepted == 0
    }

    /// Whether it has its answer, the answer has reached the broker, and nobody waits for a copy.
    pub const fn is_final(&self) -> bool {
        matches!(&self.state, State::Answered(a) if a.delivered.is_some() && a.queued.is_none())
    }

    /// Whether it has its answer, and nobody waits for a copy of it.
    pub const fn is_idle(&self) -> bool {
        matches!(&self.state, State::Answered(a) if a.queued.is_none())
    }

    /// Whether its answer is a refusal that may turn out otherwise the next time.
    pub const fn is_passing(&self) -> bool {
        matches!(&self.state, State::Answered(a) if a.is_passing)
    }

    /// Whether the broker refuses its answer.
    pub const fn is_refused(&self) -> bool {
        matches!(&self.state, State::Answered(a) if a.is_refused && a.queued.is_none())
    }

    /// Whether a cancel of `id` means this one.
    pub fn is_called(&self, id: &str) -> bool {
        self.address.id.as_deref() == Some(id)
            || self.address.correlation.as_deref() == Some(id.as_bytes())
    }
}

/// A reply as it is published.
pub fn payload(reply: &Reply) -> Bytes {
    let mut bytes = Vec::new();
    json::write_reply(reply, &mut bytes);
    bytes.truncate(bytes.trim_ascii_end().len());
    bytes.into()
}

/// An answer or refusal on its way to who asked.
pub fn response(address: &Address, payload: Bytes) -> message::Message {
    message::Message {
        topic: address.reply_topic.clone().unwrap_or_default(),
        payload,
        qos: message::Qos::AtLeastOnce,
        retain: false,
        properties: message::Properties {
            correlation: address.correlation.clone(),
            content_type: Some("application/json".to_owned()),
            utf8: Some(true),
            ..message::Properties::default()
        },
    }
}
