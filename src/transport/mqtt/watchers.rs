//! The watches at the front end: samples in, runs to the runtime, alerts out.

use super::Now;
use super::message::{Message, Qos};
use super::outgoing::Offline;
use crate::runtime::{Event, Origin, Outbox, Service};
use crate::watch::{self, Effect, Outcome, RunId, Watch, Watches};
use crate::wire::{Ask, Reply};
use serde_json::Value;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc;

/// The watches with what they have under way.
pub struct Watchers {
    watches: Watches,
    runs: HashMap<u64, RunId>,
    messages: Vec<(Message, Offline)>,
}

impl Watchers {
    /// Checked watches; none is fine.
    pub fn new(watches: Vec<Watch>) -> Self {
        Self { watches: Watches::new(watches), runs: HashMap::new(), messages: Vec::new() }
    }

    /// What to subscribe to.
    pub fn filters(&self) -> Vec<String> {
        self.watches.filters().into_iter().map(str::to_owned).collect()
    }

    /// A message on any topic.
    pub fn sample(&mut self, now: Now, topic: &str, payload: &[u8]) {
        if self.watches.matches(topic) {
            self.watches.sample(now.boot_ms, topic, payload);
        }
    }

    /// What time brings.
    pub fn tick(&mut self, now: Now) {
        self.watches.tick(now.boot_ms);
    }

    /// When time brings something, in milliseconds of the boot's clock.
    pub fn next_wakeup(&self) -> Option<u64> {
        self.watches.next_wakeup()
    }

    /// The figures for the status.
    pub fn status(&self) -> Value {
        self.watches.status()
    }

    /// Hands runs to the runtime, whose replies are to come back by [`Watchers::reply`].
    pub fn run<S: Service>(&mut self, now: Now, service: &S, replies: &mpsc::Sender<Event>) {
        loop {
            let effects: Vec<Effect> = self.watches.effects().collect();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Run { run, task, vars, deadline_ms, priority, .. } => {
                        let (task, vars) = (Some(task), Some(vars));
                        let ask = Ask { task, vars, deadline_ms, priority, ..Ask::default() };
                        self.submit(now, run, ask, service, replies);
                    }
                    Effect::Publish { topic, payload, retain, offline, .. } => {
                        let message =
                            Message { retain, ..Message::new(topic, payload, Qos::AtLeastOnce) };
                        self.messages.push((message, kept(now, offline)));
                    }
                }
            }
        }
    }

    fn submit<S: Service>(
        &mut self,
        now: Now,
        run: RunId,
        ask: Ask,
        service: &S,
        replies: &mpsc::Sender<Event>,
    ) {
        let due = ask.deadline_ms.map(|ms| Duration::from_millis(ms.into()));
        let origin = Origin { due, ..Origin::new("watch") };
        let submitted =
            Outbox::reserve(replies).and_then(|outbox| service.submit(ask, &origin, outbox));
        match submitted {
            Ok(request) => drop(self.runs.insert(request.0, run)),
            Err(reason) => {
                let error = Some((reason.code().to_owned(), reason.message));
                self.watches.answered(now.boot_ms, run, Outcome { error, ..Outcome::default() });
            }
        }
    }

    /// A reply of the runtime to one of our runs.
    pub fn reply(&mut self, now: Now, event: &Event) {
        let outcome = match &event.reply {
            Reply::Answer(answer) => Outcome {
                text: Some(answer.text.clone()),
                tokens: answer.prompt_tokens + answer.completion_tokens,
                error: None,
            },
            Reply::Error { reason, .. } => {
                let error = Some((reason.code().to_owned(), reason.message.clone()));
                Outcome { error, ..Outcome::default() }
            }
            Reply::Delta { .. } | Reply::Report { .. } => return,
        };
        if let Some(run) = self.runs.remove(&event.request.0) {
            self.watches.answered(now.boot_ms, run, outcome);
        }
    }

    /// What is to be published; to be called after [`Watchers::run`].
    pub fn messages(&mut self) -> Vec<(Message, Offline)> {
        std::mem::take(&mut self.messages)
    }
}

fn kept(now: Now, offline: watch::Offline) -> Offline {
    match offline {
        watch::Offline::Keep { limit } => Offline::Keep(limit as usize),
        watch::Offline::Coalesce => Offline::Newest,
        watch::Offline::Expire { after_ms } => Offline::Until(now.boot_ms + after_ms),
    }
}
