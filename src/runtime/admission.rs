//! What a client asks becomes a job, or a refusal: tasks, templates, tokens, grammar, bounds.
//!
//! On a thread of its own (`reception`), since tokenizing a long prompt and compiling a grammar take
//! longer than a step may wait.

use super::job::{Errand, Form, Job};
use super::judge::Judge;
use super::limits::Limits;
use super::logprobs::Logprobs;
use super::model::{AskedForm, Model, ModelError, ReadyForm, ReadyTask};
use super::outbox::Origin;
use super::prompt::{self, bad};
use super::reception::Bounds;
use super::shaped::Shaped;
use super::shared::{Shared, Work};
use crate::bundle::Task;
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::plan::{Caps, ModelId};
use crate::core::request::{Deadline, OnDeadline, Sampling};
use crate::core::session::Ticket;
use crate::core::tool::{Tool, ToolChoice};
use crate::sample::{ResponseShape, Sampler};
use crate::text::{Detokenizer, StopStrings};
use crate::wire::{Ask, ResponseFormat, limits};
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// Admission to one model.
pub struct Admission {
    model: Model,
    caps: Caps,
    limits: Limits,
    id: ModelId,
    shared: Arc<Shared>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Admission({:?})", self.id)
    }
}

impl Admission {
    pub fn new(
        model: Model,
        caps: Caps,
        limits: Limits,
        id: ModelId,
        shared: &Arc<Shared>,
    ) -> Self {
        Self { model, caps, limits, id, shared: Arc::clone(shared) }
    }

    /// Makes a job of it, or refuses it.
    pub fn take(&mut self, work: Work, jobs: &SyncSender<Job>) {
        match self.prepare(&work.ask) {
            Ok(prepared) => self.submit(work, prepared, jobs),
            Err(reason) => work.refuse(reason, &self.shared),
        }
    }

    /// Other tasks and limits.
    ///
    /// # Errors
    /// The first task that does not compile; nothing has changed then.
    pub fn retask(&mut self, tasks: &[Task], limits: Limits) -> Result<(), ModelError> {
        self.model.retask(tasks)?;
        self.limits = limits;
        Ok(())
    }

    /// The deadlines of requests that name none.
    pub fn bounds(&self) -> Bounds {
        let tasks = self.model.tasks.values().map(|ready| &ready.task);
        Bounds::new(tasks, self.model.default_task.clone(), &self.limits)
    }

    fn submit(&self, mut work: Work, prepared: Prepared, jobs: &SyncSender<Job>) {
        let ask = &work.ask;
        let task = prepared.task.as_deref().and_then(|name| self.model.tasks.get(name));
        let spec = task.map(|t| &t.task);
        let prompt_tokens = prepared.tokens.len() as u32;
        let room = self.caps.context_tokens - prompt_tokens;
        let after = |ms: u32| work.arrived.after(Duration::from_millis(ms.into()));
        let Room { max_new, least, depth } = prepared.room;
        let ticket = Ticket {
            id: work.id,
            model: self.id,
            prompt_tokens,
            max_new,
            least: least.filter(|_| ask.max_tokens.is_none()),
            depth,
            // The order of priorities is the order of service, so the greater is the lower one.
            priority: ask
                .priority
                .or(spec.and_then(|s| s.priority))
                .unwrap_or_default()
                .max(work.origin.max_priority),
            deadline: Deadline {
                answer: work.arrived.after(self.bound(ask, spec, &work.origin)),
                first_token: match ask.ttft_ms.or(spec.and_then(|s| s.ttft_ms)) {
                    Some(ms) => Some(after(ms)),
                    None => self.limits.first_token.map(|bound| work.arrived.after(bound)),
                },
                best_effort: ask.best_effort || spec.is_some_and(|s| s.best_effort),
            },
            arrived: work.arrived,
        };
        let detokenizer =
            Detokenizer::new(Arc::clone(self.model.tokenizer.table()), &prepared.tokens);
        // A call is told whole or not at all.
        let stops = match ask.stop.as_slice() {
            _ if prepared.has_tools => Vec::new(),
            [] => spec.map(|s| s.stop.clone()).unwrap_or_default(),
            stops => stops.to_vec(),
        };
        let (stream, logprobs) = (ask.stream && !prepared.has_tools, ask.logprobs);
        let mut tokens = prepared.tokens;
        // What a client asks for may be any number; the scheduler refuses what does not fit.
        let room_for_answer = depth.unwrap_or(max_new).min(room) as usize;
        tokens.reserve_exact(room_for_answer);
        let (form, is_shaped) = match prepared.form {
            None => (Form::Free, false),
            Some(ReadyForm::Choice(choices)) => (Form::Choice(Box::new(choices)), false),
            Some(ReadyForm::Shape(constraint, reading)) => {
                let then = prepared.on_deadline;
                let shaped = Shaped::new(constraint, reading, then, stream, max_new);
                (Form::Shaped(Box::new(shaped)), true)
            }
        };
        let mut progress = super::job::Progress::default();
        progress.logs.reserve_exact(if is_shaped { room_for_answer } else { 0 });
        // How likely a token was is needed for the confidence too.
        let look = logprobs.or(is_shaped.then_some(0));
        let job = Job {
            ticket,
            client_id: work.ask.id.take(),
            errand: Some(Box::new(Errand { ask: work.ask, origin: work.origin })),
            held: work.held,
            tokens,
            sampler: Sampler::new(prepared.sampling).with_logprobs(look),
            logprobs: logprobs.map(|top| Logprobs::new(top, room_for_answer)),
            form,
            judge: prepared.judge,
            detokenizer,
            stops: StopStrings::new(stops),
            eos: Arc::clone(&self.model.eos),
            vocabulary: Arc::clone(&self.model.vocabulary),
            stream,
            outbox: work.outbox,
            seat: work.seat,
            progress,
        };
        match jobs.try_send(job) {
            Ok(()) => self.shared.wake(),
            Err(error) => {
                let (std::sync::mpsc::TrySendError::Full(job)
                | std::sync::mpsc::TrySendError::Disconnected(job)) = error;
                job.refuse(RejectReason::new(ErrorCode::ShuttingDown, "slmd is going down"));
            }
        }
    }

    /// The most tokens of the answer.
    fn max_new(&self, ask: &Ask, task: Option<&Task>, prompt_tokens: u32) -> u32 {
        ask.max_tokens.unwrap_or_else(|| {
            let own = task.and_then(|t| t.max_tokens).unwrap_or(self.limits.max_tokens);
            own.min(self.caps.context_tokens - prompt_tokens)
        })
    }

    /// What is said of single tokens has a limit of its own: an answer has to fit into a message.
    fn check_logprobs(&self, ask: &Ask, max_new: u32) -> Result<(), RejectReason> {
        let Some(top) = ask.logprobs else { return Ok(()) };
        let most = limits::LOGPROBS / (1 + u32::from(top));
        match max_new > most {
            true => Err(bad(format!(
                "`logprobs` with {top} `top_logprobs` of {max_new} tokens is too much; `max_tokens` \
                 may be {most} with it"
            ))),
            false => Ok(()),
        }
    }

    /// The time that an answer has, from its arrival on.
    fn bound(&self, ask: &Ask, task: Option<&Task>, origin: &Origin) -> Duration {
        let own = ask.deadline_ms.or(task.and_then(|t| t.deadline_ms));
        let own = own.map(|ms| Duration::from_millis(ms.into()));
        own.into_iter().chain(origin.due).min().unwrap_or(self.limits.deadline)
    }

    fn prepare(&mut self, ask: &Ask) -> Result<Prepared, RejectReason> {
        let task = self.task_name(ask)?;
        let ready = task.as_deref().map(|name| &self.model.tasks[name]);
        let spec = ready.map(|t| &t.task);
        let tools = tools(ask, spec)?;
        let tokens = prompt::tokens(&self.model, &self.caps, &self.limits, ask, ready, tools)?;
        let max_new = self.max_new(ask, spec, tokens.len() as u32);
        self.check_logprobs(ask, max_new)?;
        let sampling = sampling(&self.model.sampling, ready, ask);
        let form = match &ask.response_format {
            Some(format) => form_of(format),
            None => ready.and_then(|t| t.form.clone()),
        };
        let has_tools = !tools.is_empty();
        let form = match has_tools {
            true => {
                let parallel = ask.parallel_tool_calls.unwrap_or(true);
                let form = self.model.calls(tools, &ask.tool_choice, parallel, form.as_ref());
                Some(form.map_err(bad)?)
            }
            false => form,
        };
        let form = form.map(|form| self.model.compile(&form)).transpose();
        let what = if has_tools { "tools" } else { "response_format" };
        let form = form.map_err(|e| bad(format!("{what}: {e}")))?;
        // An invented value must not reach what a task drives unless somebody has asked for that; what a
        // tool does, never.
        let own = if task.is_some() { OnDeadline::Error } else { OnDeadline::Complete };
        let on_deadline = ask.on_deadline.or(spec.and_then(|s| s.on_deadline)).unwrap_or(own);
        let on_deadline = if has_tools { OnDeadline::Error } else { on_deadline };
        let room = room(ask, form.as_ref(), max_new, on_deadline)?;
        let judge = Judge {
            fields: spec.map_or_else(|| Arc::from([]), |s| s.confidence_fields.as_slice().into()),
            temperature: spec.and_then(|s| s.confidence_temperature).unwrap_or(1.0),
            min_confidence: ask.min_confidence.or(spec.and_then(|s| s.min_confidence)),
        };
        Ok(Prepared { task, tokens, sampling, form, has_tools, room, on_deadline, judge })
    }

    /// The task asked for, or the default one of a plain prompt.
    fn task_name(&self, ask: &Ask) -> Result<Option<String>, RejectReason> {
        match &ask.task {
            Some(name) if self.model.tasks.contains_key(name) => Ok(Some(name.clone())),
            Some(name) => {
                let known: Vec<&str> = self.model.tasks.keys().map(String::as_str).collect();
                Err(RejectReason::new(
                    ErrorCode::UnknownTask,
                    format!("no task {name:?}; there is {}", list(&known)),
                ))
            }
            None => Ok(ask.task_or(self.model.default_task.as_deref()).map(str::to_owned)),
        }
    }
}

/// A request that was understood.
struct Prepared {
    task: Option<String>,
    tokens: Vec<u32>,
    sampling: Sampling,
    form: Option<ReadyForm>,
    has_tools: bool,
    room: Room,
    on_deadline: OnDeadline,
    judge: Judge,
}

/// What may be called: what the request names, else what its task does.
fn tools<'a>(ask: &'a Ask, task: Option<&'a Task>) -> Result<&'a [Tool], RejectReason> {
    let tools = match ask.tools.as_slice() {
        [] => task.map_or(&[][..], |task| &task.tools),
        tools => tools,
    };
    match &ask.tool_choice {
        ToolChoice::None => Ok(&[]),
        ToolChoice::Required if tools.is_empty() => {
            Err(bad("`tool_choice` asks for a call, and there are no `tools`"))
        }
        ToolChoice::Named(name) if tools.iter().all(|tool| tool.name != *name) => {
            Err(bad(format!("`tool_choice` names {name:?}, which is not among the tools")))
        }
        _ if !tools.is_empty() && !ask.stop.is_empty() => {
            Err(bad("`stop` could cut a call: leave it out where there are `tools`"))
        }
        _ => Ok(tools),
    }
}

/// How many tokens an answer may have.
#[derive(Debug, Clone, Copy)]
struct Room {
    max_new: u32,
    /// As few will do, if time is short.
    least: Option<u32>,
    /// As many are in the slot at once.
    depth: Option<u32>,
}

/// # Errors
/// If an answer of that form does not fit into `max_new` tokens.
fn room(
    ask: &Ask,
    form: Option<&ReadyForm>,
    max_new: u32,
    on_deadline: OnDeadline,
) -> Result<Room, RejectReason> {
    match form {
        None => Ok(Room { max_new, least: Some(1), depth: None }),
        Some(ReadyForm::Shape(constraint, _)) => {
            let least = (constraint.least().len() as u32).max(1);
            if max_new < least {
                return Err(bad(format!(
                    "the shortest answer of that shape has {least} tokens, and it may have {max_new}"
                )));
            }
            let least = (on_deadline == OnDeadline::Complete).then_some(least);
            Ok(Room { max_new, least, depth: None })
        }
        Some(ReadyForm::Choice(_)) if ask.logprobs.is_some() => {
            Err(bad("`logprobs` says nothing of a choice, which has `probabilities`"))
        }
        Some(ReadyForm::Choice(choices)) => {
            Ok(Room { max_new: choices.steps(), least: None, depth: Some(choices.depth()) })
        }
    }
}

/// What the request asks, then the task, then the model.
fn sampling(model: &Sampling, task: Option<&ReadyTask>, ask: &Ask) -> Sampling {
    let spec = task.map(|t| &t.task);
    let pick = |asked: Option<f32>, task: Option<f32>, own: f32| asked.or(task).unwrap_or(own);
    Sampling {
        temperature: pick(ask.temperature, spec.and_then(|s| s.temperature), model.temperature),
        top_p: pick(ask.top_p, spec.and_then(|s| s.top_p), model.top_p),
        top_k: ask.top_k.or(spec.and_then(|s| s.top_k)).unwrap_or(model.top_k),
        min_p: pick(ask.min_p, spec.and_then(|s| s.min_p), model.min_p),
        repetition_penalty: pick(
            ask.repetition_penalty,
            spec.and_then(|s| s.repetition_penalty),
            model.repetition_penalty,
        ),
        frequency_penalty: ask.frequency_penalty.unwrap_or(model.frequency_penalty),
        presence_penalty: ask.presence_penalty.unwrap_or(model.presence_penalty),
        seed: ask.seed.or(model.seed),
    }
}

fn form_of(format: &ResponseFormat) -> Option<AskedForm> {
    Some(AskedForm::Shape(match format {
        ResponseFormat::Text => return None,
        ResponseFormat::Choice(labels, score) => {
            return Some(AskedForm::Choice(labels.clone(), *score));
        }
        ResponseFormat::JsonObject => ResponseShape::JsonObject,
        ResponseFormat::JsonSchema(schema) => ResponseShape::JsonSchema(schema.clone()),
        ResponseFormat::Regex(regex) => ResponseShape::Regex(regex.clone()),
        ResponseFormat::Lark(grammar) => ResponseShape::Lark(grammar.clone()),
    }))
}

fn list(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}
