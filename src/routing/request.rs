//! One request that has a route, from the model's first reply to the client's only one.

use super::counters::Counters;
use super::escalation::{self, Escalation};
use super::routes::{BoundTool, Route, Routes};
use super::tools::{self, Notice};
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::RequestId;
use crate::core::tool::{ToolCall, ToolChoice};
use crate::runtime::{Event, Origin, Outbox, Place, Service, user_text};
use crate::wire::{Answer, Ask, Message, Reply};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, watch};

/// The requests under way, each with the number that the runtime knows it by now.
#[derive(Debug, Default)]
pub struct Live(Mutex<HashMap<RequestId, Under>>);

#[derive(Debug)]
struct Under {
    number: RequestId,
    cancel: watch::Sender<bool>,
}

impl Live {
    /// A request begins; the receiver hears if it is cancelled.
    pub fn begin(&self, id: RequestId) -> watch::Receiver<bool> {
        let (cancel, cancelled) = watch::channel(false);
        self.lock().insert(id, Under { number: id, cancel });
        cancelled
    }

    /// Cancels a request; gives its number in the runtime. None: there is no such request here.
    pub fn cancel(&self, id: RequestId) -> Option<RequestId> {
        let all = self.lock();
        let under = all.get(&id)?;
        under.cancel.send_replace(true);
        Some(under.number)
    }

    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn goes_on(&self, id: RequestId, number: RequestId) {
        if let Some(under) = self.lock().get_mut(&id) {
            under.number = number;
        }
    }

    fn end(&self, id: RequestId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RequestId, Under>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left of a deadline for the reply when tools have used up theirs: they are looked at every 20 ms.
const AFTER_TOOLS: Duration = Duration::from_millis(65);

/// A request that has a route.
pub struct Routed<S> {
    pub service: S,
    pub id: RequestId,
    pub ask: Ask,
    pub origin: Origin,
    pub route: Arc<Route>,
    pub routes: Arc<Routes>,
    pub arrived: Instant,
    pub due: Instant,
    pub live: Arc<Live>,
    pub counters: Arc<Counters>,
    pub notices: mpsc::Sender<Notice>,
    /// Places for programs.
    pub programs: Arc<Semaphore>,
    pub cancelled: watch::Receiver<bool>,
    pub stopped: watch::Receiver<bool>,
    pub over: watch::Receiver<bool>,
}

/// What the rounds of one request have taken, all together.
#[derive(Debug, Default)]
struct Spent {
    /// Of prompts and answers, for the client's share.
    tokens: u32,
    prompt_tokens: u32,
    completion_tokens: u32,
    /// When the last round began, in milliseconds from the arrival.
    offset_ms: f32,
}

impl<S: Service> Routed<S> {
    /// Hears the model's reply (or has it, if it was refused at once), and sends the client's.
    pub async fn run(self, heard: mpsc::Receiver<Event>, refused: Option<Event>, place: Place) {
        let mut spent = Spent::default();
        let reply = match refused {
            Some(event) => event.reply,
            None => self.hear(heard, &mut spent).await,
        };
        let reply = self.with_tools(reply, &mut spent).await;
        let reply = self.escalated(reply, &mut spent).await;
        let reply = self.dated(reply, &spent);
        self.live.end(self.id);
        place.finish(Event { request: self.id, reply, tokens: spent.tokens });
    }

    async fn hear(&self, mut heard: mpsc::Receiver<Event>, spent: &mut Spent) -> Reply {
        let Some(event) = heard.recv().await else {
            let id = self.ask.id.clone();
            return Reply::refuse(id, ErrorCode::ShuttingDown, "slmd is going down");
        };
        spent.tokens += event.tokens;
        if let Reply::Answer(answer) = &event.reply {
            spent.prompt_tokens += answer.prompt_tokens;
            spent.completion_tokens += answer.completion_tokens;
        }
        event.reply
    }

    fn left(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// Runs what the model calls, and asks it again, until it calls nothing more. The last time it must
    /// not call anything.
    async fn with_tools(&self, mut reply: Reply, spent: &mut Spent) -> Reply {
        let mut turns = None;
        for round in 1.. {
            let Reply::Answer(answer) = &reply else { break };
            // What is less sure than was asked for sets nothing in motion.
            if answer.abstained == Some(true) {
                break;
            }
            let Some(calls) = self.bound(&answer.tool_calls) else { break };
            let turns = match &mut turns {
                Some(turns) => turns,
                none => match self.first_turns() {
                    Ok(first) => none.insert(first),
                    Err(reason) => return self.refuse(reason),
                },
            };
            // Nothing more is set in motion, as the model could not be asked again.
            if *self.stopped.borrow() {
                return self.given_up();
            }
            let Some(results) = self.unless_given_up(self.call(&calls)).await else {
                return self.given_up();
            };
            turns.push(Message {
                tool_calls: answer.tool_calls.clone(),
                ..Message::new("assistant", answer.text.clone())
            });
            turns.extend(results);
            spent.offset_ms = self.arrived.elapsed().as_secs_f32() * 1e3;
            reply = self.again(turns.clone(), round >= self.routes.tool_rounds, spent).await;
        }
        reply
    }

    /// The tools of these calls; none if there are no calls, or one of them is not ours to run.
    fn bound<'a>(&'a self, calls: &'a [ToolCall]) -> Option<Vec<(&'a BoundTool, &'a ToolCall)>> {
        // Tools that came with the request are the client's, whatever they are called.
        if calls.is_empty() || !self.ask.tools.is_empty() {
            return None;
        }
        let find = |call: &'a ToolCall| {
            Some((self.route.tools.iter().find(|tool| tool.name == call.name)?, call))
        };
        calls.iter().map(find).collect()
    }

    /// Runs all calls of one turn at the same time.
    async fn call(&self, calls: &[(&BoundTool, &ToolCall)]) -> Vec<Message> {
        let left = self.left().saturating_sub(AFTER_TOOLS);
        let mut running = tokio::task::JoinSet::new();
        for (index, &(tool, call)) in calls.iter().enumerate() {
            let (tool, call, notices) = (tool.clone(), call.clone(), self.notices.clone());
            let (counters, programs) = (Arc::clone(&self.counters), Arc::clone(&self.programs));
            running.spawn(async move {
                let (result, went_well) =
                    tools::call(&tool, &call, left, &notices, &programs).await;
                counters.called(&tool.name, went_well);
                let message =
                    Message { tool_call_id: Some(call.id), ..Message::new("tool", result) };
                (index, message)
            });
        }
        let mut results = running.join_all().await;
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, message)| message).collect()
    }

    /// The conversation as it was asked.
    fn first_turns(&self) -> Result<Vec<Message>, RejectReason> {
        match self.ask.messages.as_slice() {
            [] => {
                let text = user_text(&self.ask, self.route.template.as_ref())?;
                Ok(vec![Message::new("user", text)])
            }
            turns => Ok(turns.to_vec()),
        }
    }

    /// Asks the model again.
    async fn again(&self, messages: Vec<Message>, is_last: bool, spent: &mut Spent) -> Reply {
        let left_ms = u32::try_from(self.left().as_millis()).unwrap_or(u32::MAX);
        if *self.cancelled.borrow() {
            return self.given_up();
        }
        if left_ms == 0 && !self.ask.best_effort {
            let message = "the deadline passed while tools ran";
            return self.refuse(RejectReason::new(ErrorCode::DeadlineExceeded, message));
        }
        let ask = Ask {
            task: Some(self.route.name.clone()),
            prompt: None,
            vars: None,
            messages,
            deadline_ms: Some(left_ms.max(1)),
            ttft_ms: None,
            tool_choice: if is_last { ToolChoice::None } else { ToolChoice::Auto },
            ..self.ask.clone()
        };
        let origin = Origin { waited: Duration::ZERO, due: None, ..self.origin.clone() };
        let (outbox, heard) = Outbox::silent();
        match self.service.submit(ask, &origin, outbox) {
            Ok(number) => {
                self.live.goes_on(self.id, number);
                self.hear(heard, spent).await
            }
            Err(reason) => self.refuse(reason),
        }
    }

    fn refuse(&self, reason: RejectReason) -> Reply {
        Reply::Error { id: self.ask.id.clone(), reason }
    }

    async fn escalated(&self, reply: Reply, spent: &mut Spent) -> Reply {
        let why = escalation::reason(&reply).filter(|_| self.route.escalate.is_some());
        let Some(why) = why else {
            self.counters.local();
            return reply;
        };
        let escalation = Escalation {
            service: &self.service,
            ask: &self.ask,
            origin: &self.origin,
            route: &self.route,
            shapes: &self.routes.shapes,
            why,
            notices: &self.notices,
            counters: &self.counters,
            tokens: AtomicU32::new(0),
        };
        let local = escalation::marked(reply.clone());
        let outcome = self.unless_given_up(escalation.run(reply, self.left())).await;
        spent.tokens += escalation.tokens.load(Ordering::Relaxed);
        match outcome {
            Some(reply) => reply,
            None if *self.cancelled.borrow() => self.given_up(),
            None => local,
        }
    }

    /// The work's outcome; none if its client has cancelled it, or slmd has gone down meanwhile.
    async fn unless_given_up<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let (mut cancelled, mut over) = (self.cancelled.clone(), self.over.clone());
        tokio::select! {
            outcome = work => Some(outcome),
            _ = cancelled.wait_for(|cancelled| *cancelled) => None,
            _ = over.wait_for(|over| *over) => None,
        }
    }

    fn given_up(&self) -> Reply {
        let id = self.ask.id.clone();
        match *self.cancelled.borrow() {
            true => Reply::refuse(id, ErrorCode::Cancelled, "cancelled"),
            false => Reply::refuse(id, ErrorCode::ShuttingDown, "slmd is going down"),
        }
    }

    /// With the figures of the whole request.
    fn dated(&self, reply: Reply, spent: &Spent) -> Reply {
        let Reply::Answer(answer) = reply else { return reply };
        let total_ms = self.arrived.elapsed().as_secs_f32() * 1e3;
        let is_ours = answer.answered_by.is_none();
        Reply::Answer(Box::new(Answer {
            total_ms,
            ttft_ms: if is_ours { spent.offset_ms + answer.ttft_ms } else { total_ms },
            prompt_tokens: if is_ours { spent.prompt_tokens } else { answer.prompt_tokens },
            completion_tokens: if is_ours {
                spent.completion_tokens
            } else {
                answer.completion_tokens
            },
            ..*answer
        }))
    }
}
