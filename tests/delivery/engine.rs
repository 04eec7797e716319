//! The runtime as a model: a few seats, refusals by chance, and an answer that is never the same
//! twice.

use super::random::Random;
use serde_json::Value;
use slmd::core::error::{ErrorCode, RejectReason};
use slmd::core::request::RequestId;
use slmd::runtime::{Event, Origin, Outbox, Service};
use slmd::wire::{Answer, Ask, Reply};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// A request that the desk has not heard the end of.
pub struct Job {
    pub ask: Ask,
    pub outbox: Option<Outbox>,
    pub has_begun: bool,
    pub is_cancelled: bool,
}

/// What the desk has just asked for.
pub struct Submission {
    pub request: RequestId,
    pub origin: Origin,
    pub text: String,
}

pub struct Jobs {
    pub random: Random,
    pub seats: usize,
    pub is_draining: bool,
    pub is_calm: bool,
    pub next_request: u64,
    pub next_text: u64,
    pub jobs: BTreeMap<RequestId, Job>,
    pub submitted: Vec<Submission>,
}

#[derive(Clone)]
pub struct Engine(Arc<Mutex<Jobs>>);

impl Engine {
    pub fn new(seed: u64, seats: usize, next_text: u64) -> Self {
        Self(Arc::new(Mutex::new(Jobs {
            random: Random(seed),
            seats,
            is_draining: false,
            is_calm: false,
            next_request: 1,
            next_text,
            jobs: BTreeMap::new(),
            submitted: Vec::new(),
        })))
    }

    pub fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.0.lock().expect("nobody panicked with it")
    }
}

impl Jobs {
    /// Never the same twice.
    fn unique(&mut self) -> String {
        self.next_text += 1;
        format!("number {}", self.next_text)
    }

    fn reason(&mut self, code: ErrorCode) -> RejectReason {
        RejectReason::new(code, self.unique())
    }

    fn refusal(&mut self) -> Option<RejectReason> {
        let running = self.jobs.values().filter(|job| job.outbox.is_some()).count();
        let code = match self.random.below(40) {
            _ if self.is_draining => ErrorCode::ShuttingDown,
            _ if running >= self.seats => ErrorCode::Busy,
            _ if self.is_calm => return None,
            0 => ErrorCode::DeadlineInfeasible,
            1 => ErrorCode::Busy,
            2 => ErrorCode::Reloading,
            _ => return None,
        };
        Some(self.reason(code))
    }

    /// Those that run, and have (not) begun.
    pub fn running(&self, has_begun: bool) -> Vec<RequestId> {
        let those = |job: &Job| job.outbox.is_some() && job.has_begun == has_begun;
        self.jobs.iter().filter(|(_, job)| those(job)).map(|(id, _)| *id).collect()
    }

    pub fn begin(&mut self, request: RequestId) {
        let job = self.jobs.get_mut(&request).expect("it runs");
        job.has_begun = true;
        job.outbox.as_ref().expect("it runs").began(request);
    }

    pub fn say(&mut self, request: RequestId) {
        let job = &self.jobs[&request];
        if job.ask.stream {
            let reply = Reply::Delta { id: job.ask.id.clone(), text: "a delta".into() };
            job.outbox.as_ref().expect("it runs").delta(Event { request, reply, tokens: 0 });
        }
    }

    /// The terminal reply is on its way to the desk.
    pub fn finish(&mut self, request: RequestId) {
        let luck = self.random.below(30);
        let text = self.unique();
        let is_draining = self.is_draining && self.random.one_in(2);
        let job = self.jobs.get_mut(&request).expect("it runs");
        let id = job.ask.id.clone();
        let no = |code| Reply::refuse(id.clone(), code, text.clone());
        let reply = match luck {
            _ if job.is_cancelled => no(ErrorCode::Cancelled),
            _ if is_draining => no(ErrorCode::ShuttingDown),
            0 => no(ErrorCode::DeadlineExceeded),
            1 => no(ErrorCode::Busy),
            2 => no(ErrorCode::DeadlineInfeasible),
            _ => Reply::Answer(Box::new(Answer {
                id: id.clone(),
                text: text.repeat(if luck < 6 { 40 } else { 1 }),
                finish_reason: "stop",
                cause: "stop",
                ..Answer::default()
            })),
        };
        job.outbox.take().expect("it runs").finish(Event { request, reply, tokens: 0 });
    }
}

impl Service for Engine {
    fn submit(&self, ask: Ask, origin: &Origin, outbox: Outbox) -> Result<RequestId, RejectReason> {
        let mut jobs = self.jobs();
        if let Some(reason) = jobs.refusal() {
            return Err(reason);
        }
        let request = RequestId(jobs.next_request);
        jobs.next_request += 1;
        let text = ask.prompt.clone().expect("all prompts here are texts");
        jobs.submitted.push(Submission { request, origin: origin.clone(), text });
        let job = Job { ask, outbox: Some(outbox), has_begun: false, is_cancelled: false };
        jobs.jobs.insert(request, job);
        Ok(request)
    }

    fn cancel(&self, request: RequestId) {
        if let Some(job) = self.jobs().jobs.get_mut(&request) {
            job.is_cancelled = true;
        }
    }

    fn status(&self) -> Value {
        Value::Null
    }

    fn is_serving(&self) -> bool {
        true
    }
}
