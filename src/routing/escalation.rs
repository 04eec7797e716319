//! When a reply is not good enough, and who is told or asked then.

use super::counters::Counters;
use super::endpoint::Endpoint;
use super::routes::Route;
use super::tools::{Notice, Then};
use crate::core::error::ErrorCode;
use crate::core::request::RequestId;
use crate::core::tool::ToolChoice;
use crate::runtime::{Asked, Origin, Outbox, Service, Shapes, Wanted, user_text};
use crate::wire::{Answer, Ask, Command, Reply, json as lines};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How the second model is named.
const SECOND: &str = "second model";
/// What delivering an answer may take.
const DELIVERY: Duration = Duration::from_millis(5);

/// Why a reply is not good enough; none: it is, or it is nobody else's business.
pub fn reason(reply: &Reply) -> Option<&'static str> {
    match reply {
        Reply::Answer(answer) if answer.abstained == Some(true) => Some("unsure"),
        Reply::Answer(answer) if !answer.filled.is_empty() => Some("filled"),
        Reply::Error { reason, .. } if is_for_others(reason.code) => Some(reason.code()),
        _ => None,
    }
}

/// Whether what could not be served here might be elsewhere.
pub const fn is_for_others(code: ErrorCode) -> bool {
    match code {
        ErrorCode::Busy
        | ErrorCode::DeadlineInfeasible
        | ErrorCode::DeadlineExceeded
        | ErrorCode::Incomplete
        | ErrorCode::MemoryInfeasible
        | ErrorCode::Reloading
        | ErrorCode::Internal => true,
        // It is wrong in itself, not allowed, or not wanted any more.
        ErrorCode::BadRequest
        | ErrorCode::TooLarge
        | ErrorCode::UnknownTask
        | ErrorCode::OverQuota
        | ErrorCode::Expired
        | ErrorCode::Cancelled
        | ErrorCode::ClientSlow
        | ErrorCode::ShuttingDown => false,
    }
}

/// A request that was not answered well enough.
pub struct Escalation<'a, S> {
    pub service: &'a S,
    pub ask: &'a Ask,
    pub origin: &'a Origin,
    pub route: &'a Route,
    pub shapes: &'a Shapes,
    pub why: &'static str,
    pub notices: &'a mpsc::Sender<Notice>,
    pub counters: &'a Counters,
    /// Tokens that were computed here meanwhile.
    pub tokens: AtomicU32,
}

/// Who was asked, and what came of it.
type Outcome = (String, Result<Answer, String>);

impl<S: Service> Escalation<'_, S> {
    /// Tells or asks whoever the task names; gives the reply that its client gets, `left` from now at the
    /// latest.
    pub async fn run(&self, reply: Reply, left: Duration) -> Reply {
        self.counters.escalated(self.why);
        tracing::info!(task = self.route.name, why = self.why, "escalated");
        self.publish(&reply);
        let left = left.saturating_sub(DELIVERY);
        let escalate = self.route.escalate.as_ref();
        let second = async {
            match escalate.is_some_and(|escalate| escalate.second_model) {
                true => Some((SECOND.to_owned(), self.second(left).await)),
                false => None,
            }
        };
        let endpoint = async {
            let endpoint = self.route.endpoint.as_ref()?;
            Some((format!("endpoint {}", endpoint.name), self.asked(endpoint, left).await))
        };
        match self.first(second, endpoint).await {
            Some((who, answer)) => {
                self.counters.answered(&who);
                let id = reply.id().map(str::to_owned);
                let answered_by = Some(who);
                let answer = Answer { id, escalated: true, answered_by, ..answer };
                Reply::Answer(Box::new(answer))
            }
            None => marked(reply),
        }
    }

    /// The first of two that has an answer; the other one is given up.
    async fn first(
        &self,
        one: impl Future<Output = Option<Outcome>>,
        other: impl Future<Output = Option<Outcome>>,
    ) -> Option<(String, Answer)> {
        tokio::pin!(one, other);
        let (outcome, is_one) = tokio::select! {
            outcome = &mut one => (outcome, true),
            outcome = &mut other => (outcome, false),
        };
        if let Some(answer) = self.judged(outcome) {
            return Some(answer);
        }
        let outcome = if is_one { other.await } else { one.await };
        self.judged(outcome)
    }

    fn judged(&self, outcome: Option<Outcome>) -> Option<(String, Answer)> {
        let (who, outcome) = outcome?;
        match outcome {
            Ok(answer) => Some((who, answer)),
            Err(problem) => {
                self.counters.failed(&who);
                tracing::warn!(who, problem, "asked in vain");
                None
            }
        }
    }

    fn publish(&self, reply: &Reply) {
        let Some(topic) = self.route.escalate.as_ref().and_then(|e| e.mqtt.clone()) else { return };
        let payload = self.message(reply).to_string().into_bytes();
        match self.notices.try_send(Notice { topic, payload, then: Then::Nothing }) {
            Ok(()) => self.counters.published(),
            Err(_) => tracing::warn!("an escalation could not be published"),
        }
    }

    /// The second model's answer, if it is good enough.
    async fn second(&self, left: Duration) -> Result<Answer, String> {
        let deadline_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
        let ask = Ask {
            task: Some(self.route.name.clone()),
            deadline_ms: Some(deadline_ms),
            ttft_ms: None,
            stream: false,
            // The tools of the task would have to be run once more; those of the client are its own.
            tool_choice: match self.ask.tools.is_empty() {
                true => ToolChoice::None,
                false => self.ask.tool_choice.clone(),
            },
            ..self.ask.clone()
        };
        let (waited, due) = (Duration::ZERO, None);
        let origin = Origin { waited, due, model: Asked::Second, ..self.origin.clone() };
        let (outbox, mut heard) = Outbox::silent();
        let number = self.service.submit(ask, &origin, outbox).map_err(|e| e.to_string())?;
        let guard = Guard { service: self.service, number };
        let event = heard.recv().await.ok_or("slmd is going down")?;
        std::mem::forget(guard);
        self.tokens.fetch_add(event.tokens, Ordering::Relaxed);
        match (reason(&event.reply), event.reply) {
            (None, Reply::Answer(answer)) => Ok(*answer),
            (_, Reply::Error { reason, .. }) => Err(reason.to_string()),
            (why, _) => Err(format!("its answer is {}", why.unwrap_or("none"))),
        }
    }

    /// What is published: the request, and what came of it here.
    fn message(&self, reply: &Reply) -> Value {
        let mut told = Vec::new();
        lines::write_reply(reply, &mut told);
        let told: Value = serde_json::from_slice(&told).unwrap_or(Value::Null);
        json!({
            "task": self.route.name, "why": self.why, "request": self.request(), "reply": told,
        })
    }

    /// The request as a client of the socket would write it.
    fn request(&self) -> Value {
        let mut line = Vec::new();
        lines::write_command(&Command::Ask(Box::new(self.ask.clone())), &mut line);
        serde_json::from_slice(&line).unwrap_or(Value::Null)
    }

    /// The endpoint's answer, if it comes in time and has the shape.
    async fn asked(&self, endpoint: &Endpoint, left: Duration) -> Result<Answer, String> {
        if !self.ask.tools.is_empty() && self.ask.tool_choice != ToolChoice::None {
            return Err("it is not asked about the client's tools".to_owned());
        }
        let body = self.body().map_err(|e| e.message)?;
        let late = |_| format!("no answer in the {} ms that were left", left.as_millis());
        let told = timeout(left, endpoint.ask(body)).await.map_err(late)??;
        let wanted = Wanted::of(self.ask, self.route.output.as_ref());
        let text = self.shapes.fit(&wanted, &told.text).ok_or("its answer has not the shape")?;
        let answer = Answer {
            text,
            finish_reason: "stop",
            cause: "stop",
            prompt_tokens: told.prompt_tokens,
            completion_tokens: told.completion_tokens,
            ..Answer::default()
        };
        Ok(answer)
    }

    /// The request as OpenAI's interface has it.
    fn body(&self) -> Result<Value, crate::core::error::RejectReason> {
        let (ask, route) = (self.ask, self.route);
        let mut messages = Vec::new();
        if let Some(system) = &route.system {
            messages.push(json!({"role": "system", "content": system}));
        }
        if ask.messages.is_empty() {
            let text = user_text(ask, route.template.as_ref())?;
            messages.push(json!({"role": "user", "content": text}));
        }
        messages.extend(self.request()["messages"].as_array().into_iter().flatten().cloned());
        let mut body = json!({"messages": messages, "stream": false});
        let figures = [
            ("temperature", ask.temperature.map(Value::from)),
            ("top_p", ask.top_p.map(Value::from)),
            ("seed", ask.seed.map(Value::from)),
            ("max_tokens", ask.max_tokens.or(route.max_tokens).map(Value::from)),
        ];
        for (name, value) in figures {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        if !ask.stop.is_empty() {
            body["stop"] = ask.stop.clone().into();
        }
        if let Some(format) = format_of(&Wanted::of(ask, route.output.as_ref())) {
            body["response_format"] = format;
        }
        Ok(body)
    }
}

/// Cancels a request that nobody waits for any more.
struct Guard<'a, S: Service> {
    service: &'a S,
    number: RequestId,
}

impl<S: Service> Drop for Guard<'_, S> {
    fn drop(&mut self) {
        self.service.cancel(self.number);
    }
}

/// The same reply, which says that others know of it.
pub fn marked(reply: Reply) -> Reply {
    match reply {
        Reply::Answer(answer) => Reply::Answer(Box::new(Answer { escalated: true, ..*answer })),
        Reply::Error { id, mut reason } => {
            reason.escalated = true;
            Reply::Error { id, reason }
        }
        other => other,
    }
}

/// What most servers understand; whatever they make of it is held against the shape.
fn format_of(wanted: &Wanted) -> Option<Value> {
    use crate::sample::ResponseShape::{JsonObject, JsonSchema};
    let schema = match wanted {
        Wanted::Shape(JsonSchema(schema)) => schema.clone(),
        Wanted::Shape(JsonObject) => return Some(json!({"type": "json_object"})),
        Wanted::Label(labels) => json!({"enum": labels}),
        Wanted::Shape(_) | Wanted::Text => return None,
    };
    Some(json!({"type": "json_schema", "json_schema": {
        "name": "answer", "strict": true, "schema": schema,
    }}))
}
