//! Messages of tools and escalations, and what comes back to them.

use super::Now;
use super::message::{Message, Qos};
use super::outgoing::Offline;
use super::topics::{Inbound, Topics};
use crate::routing::{Notice, Then};
use bytes::Bytes;
use std::collections::HashMap;
use tokio::sync::oneshot;

/// Escalations of one topic that are kept while the broker is away; the oldest goes.
const KEPT: usize = 64;
/// How long a tool's message may wait for room on the link, in milliseconds.
const FRESH_MS: u64 = 1000;

/// The calls that wait for an answer.
#[derive(Debug)]
pub struct Calls {
    topics: Topics,
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Vec<u8>>>,
}

impl Calls {
    /// None yet.
    pub fn new(topics: Topics) -> Self {
        Self { topics, next: 1, waiting: HashMap::new() }
    }

    /// The message of a notice. What a tool does is wanted now or not at all: without a connection there is
    /// none of it, and whoever waits hears so.
    pub fn message(
        &mut self,
        now: Now,
        notice: Notice,
        is_connected: bool,
    ) -> Option<(Message, Offline)> {
        self.waiting.retain(|_, waits| !waits.is_closed());
        let mut message = Message::new(notice.topic, notice.payload, Qos::AtLeastOnce);
        message.properties.content_type = Some("application/json".to_owned());
        let at_once = Offline::Until(now.boot_ms + FRESH_MS);
        match notice.then {
            Then::Nothing => return Some((message, Offline::Keep(KEPT))),
            _ if !is_connected => return None,
            Then::Sent(sent) => {
                // Who has given up needs no answer, but the message is on its way all the same.
                let _ = sent.send(());
            }
            Then::Answered(answer) => {
                let call = self.next;
                self.next += 1;
                message.properties.response_topic = Some(self.topics.tool(call));
                message.properties.correlation = Some(Bytes::from(call.to_string()));
                self.waiting.insert(call, answer);
            }
        }
        Some((message, at_once))
    }

    /// Takes a message if it is the answer of a tool; says whether it is.
    pub fn answer(&mut self, message: &Message) -> bool {
        let Some(Inbound::Tool { call }) = self.topics.inbound(&message.topic) else {
            return false;
        };
        let waits = call.parse().ok().and_then(|call: u64| self.waiting.remove(&call));
        match waits.filter(|_| !message.retain) {
            Some(waits) => {
                if waits.send(message.payload.to_vec()).is_err() {
                    tracing::info!(call, "a tool answered too late");
                }
            }
            None => tracing::info!(call, "nobody waits for this answer of a tool"),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(then: Then) -> Notice {
        Notice { topic: "a/b".into(), payload: b"{}".to_vec(), then }
    }

    #[test]
    fn an_answer_finds_its_call() {
        let mut calls = Calls::new(Topics::new("n", &[]));
        let now = Now { boot_ms: 5000, ..Now::default() };
        let (answer, mut heard) = oneshot::channel();
        let (message, offline) =
            calls.message(now, notice(Then::Answered(answer)), true).expect("published");
        let topic = message.properties.response_topic.expect("it has one");
        assert_eq!((&*topic, offline), ("slmd/n/tool/1", Offline::Until(6000)));
        let said = |topic: &str| Message::new(topic, "21", Qos::AtLeastOnce);
        assert!(!calls.answer(&said("slmd/n/request")));
        assert!(calls.answer(&said("slmd/n/tool/7")) && calls.answer(&said("slmd/n/tool/x")));
        let retained = Message { retain: true, ..said("slmd/n/tool/9") };
        assert!(calls.answer(&retained) && heard.try_recv().is_err());
        assert!(calls.answer(&said(&topic)));
        assert_eq!(heard.try_recv(), Ok(b"21".to_vec()));
    }

    #[test]
    fn without_a_broker_an_escalation_waits_and_a_tool_does_not() {
        let mut calls = Calls::new(Topics::new("n", &[]));
        let kept = calls.message(Now::default(), notice(Then::Nothing), false);
        assert_eq!(kept.expect("kept").1, Offline::Keep(64));
        let (sent, mut heard) = oneshot::channel();
        assert!(calls.message(Now::default(), notice(Then::Sent(sent)), false).is_none());
        assert_eq!(heard.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        let (sent, mut heard) = oneshot::channel();
        assert!(calls.message(Now::default(), notice(Then::Sent(sent)), true).is_some());
        assert_eq!(heard.try_recv(), Ok(()));
        // Who gives up is forgotten.
        let (answer, heard) = oneshot::channel();
        calls.message(Now::default(), notice(Then::Answered(answer)), true);
        drop(heard);
        calls.message(Now::default(), notice(Then::Nothing), true);
        assert!(calls.waiting.is_empty());
    }
}
