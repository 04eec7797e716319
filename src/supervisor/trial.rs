//! A model on trial: loaded as the daemon would load it, asked its golden prompts, and timed.
//!
//! Runs in a process of its own, since a model that is at fault may end it or hang; who starts that
//! process, and for how long, is the command line's business.

use super::budget::Bound;
use super::start::{Plan, Ready, StartError, prepare};
use crate::bundle::Golden;
use crate::core::cost::{Costs, Load, next_chunk};
use crate::core::plan::{Caps, ModelId, Row, Slot, StepPlan, Want};
use crate::engine::{Engine, StepError};
use crate::runtime::{self, Model};
use crate::text::Detokenizer;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The slot that golden prompts are asked in.
const SLOT: Slot = Slot { model: ModelId(0), index: 0, generation: 0 };
/// What a message shows of a text.
const SHOWN_CHARS: usize = 80;

/// What was found of a model that may be activated. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Passed {
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: Option<String>,
    /// SHA-256 of its files, as `slmd status` shows it.
    pub sha256: String,
    /// The engine that ran it.
    pub engine: String,
    /// Sessions that the budget holds.
    pub sessions: u16,
    /// Tokens of each.
    pub context_tokens: u32,
    /// The memory sheet's sum.
    pub planned_bytes: u64,
    /// Golden prompts that it answered as it must.
    pub goldens: usize,
    /// One token's step at the end of the context.
    pub decode_ms: f64,
    /// The shortest step of a prompt at the end of the context.
    pub prefill_step_ms: f64,
    /// The slowest golden prompt's first token.
    pub first_token_ms: Option<f64>,
}

/// Why a model may not be activated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// A stable name of the reason.
    pub code: String,
    /// The reason.
    pub message: String,
    /// Whether it is the machine's state now and not the model: worth another try.
    pub is_temporary: bool,
}

impl Refused {
    /// For a fault of the model.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), is_temporary: false }
    }
}

impl From<StartError> for Refused {
    fn from(error: StartError) -> Self {
        let code = match &error {
            StartError::Bundle(_) => "bundle",
            StartError::Model(_) => "model",
            StartError::Load(_) => "load",
            StartError::Provider { .. } => "provider",
            StartError::Golden(_) => "golden",
            StartError::SelfTest(_) => "self_test",
            StartError::Context { .. } => "context",
            StartError::WatchedTask { .. } => "watched_task",
            StartError::NoModel => "no_model",
            StartError::Memory(overrun) if overrun.ceiling.by == Bound::Configured => {
                let message = format!("{overrun}; {}", overrun.hint());
                return Self::new("budget", message);
            }
            StartError::Memory(overrun) => {
                let message = format!(
                    "{overrun}, for the trial beside what runs now; stop what can be spared (the \
                     daemon itself, for as long as the trial takes) and activate again"
                );
                return Self { is_temporary: true, ..Self::new("memory_now", message) };
            }
        };
        Self::new(code, error.to_string())
    }
}

impl From<StepError> for Refused {
    fn from(error: StepError) -> Self {
        Self::new("self_test", format!("the engine cannot run it: {error}"))
    }
}

/// Tries the model of the plan. `phase` hears what takes time, in words.
///
/// # Errors
/// [`Refused`]: the first reason found.
pub fn run(plan: &Plan, phase: &dyn Fn(&str)) -> Result<Passed, Refused> {
    let mut ready = prepare(plan, phase)?;
    phase("timing the steps");
    let costs = runtime::costs(ready.engine.as_mut(), None)?;
    phase("asking the golden prompts");
    let first_token = goldens(&mut ready, plan, &costs)?;
    let caps = ready.engine.caps();
    let shape = ready.settled.sheet.shape;
    let passed = Passed {
        name: ready.bundle.name.clone(),
        version: ready.bundle.version.clone(),
        sha256: ready.bundle.hash.clone(),
        engine: ready.choice.kind.name().to_owned(),
        sessions: shape.sessions,
        context_tokens: shape.context_tokens,
        planned_bytes: ready.settled.sheet.total_bytes(),
        goldens: ready.bundle.goldens.len(),
        decode_ms: ms(costs.step(last_decode(caps))),
        prefill_step_ms: ms(costs.step(last_chunk(&costs, caps))),
        first_token_ms: first_token.map(ms),
    };
    check_latency(&passed, &ready, plan)?;
    Ok(passed)
}

/// One token at the end of the context, where its step takes longest.
fn last_decode(caps: &Caps) -> Load {
    Load::Decode { rows: 1, positions: u64::from(caps.context_tokens.saturating_sub(1)) }
}

/// The shortest chunk that the scheduler would make, at the end of the context.
fn last_chunk(costs: &Costs, caps: &Caps) -> Load {
    let tokens = costs.chunk_within(Duration::ZERO, 0, caps.max_chunk);
    Load::Chunk { pos: caps.context_tokens.saturating_sub(tokens), tokens }
}

fn check_latency(found: &Passed, ready: &Ready, plan: &Plan) -> Result<(), Refused> {
    let step = ms(plan.limits.max_step);
    let own = ready.bundle.latency;
    let bounds = [
        ("a token's step", Some(found.decode_ms), Some(step), "latency.max-step-ms"),
        (
            "the shortest step of a prompt",
            Some(found.prefill_step_ms),
            Some(step),
            "latency.max-step-ms",
        ),
        (
            "a token's step",
            Some(found.decode_ms),
            own.max_decode_ms.map(f64::from),
            "the model's latency.max-decode-ms",
        ),
        (
            "the first token of a golden prompt",
            found.first_token_ms,
            own.max_first_token_ms.map(f64::from),
            "the model's latency.max-first-token-ms",
        ),
    ];
    for (what, took, bound, key) in bounds {
        if let (Some(took), Some(bound)) = (took, bound)
            && took > bound
        {
            let message = format!("{what} takes {took:.1} ms, but {key} is {bound} here");
            return Err(Refused::new("latency", message));
        }
    }
    Ok(())
}

/// Asks every golden prompt of a model that is loaded.
///
/// # Errors
/// The first wrong answer, in words.
pub fn check_goldens(ready: &mut Ready, plan: &Plan) -> Result<(), String> {
    let costs = runtime::costs(ready.engine.as_mut(), None).map_err(|e| e.to_string())?;
    goldens(ready, plan, &costs).map(drop).map_err(|refused| refused.message)
}

/// Asks every golden prompt; the slowest first token.
fn goldens(ready: &mut Ready, plan: &Plan, costs: &Costs) -> Result<Option<Duration>, Refused> {
    let mut slowest = None;
    let Ready { bundle, model, engine, .. } = ready;
    for golden in &bundle.goldens {
        let mut asked = Asked { model, engine: engine.as_mut(), plan, costs };
        let took = asked.ask(golden).map_err(|fault| match fault {
            Fault::Step(error) => Refused::from(error),
            Fault::Answer(why) => {
                let of = golden.task.as_ref().map_or(String::new(), |t| format!(" of task {t:?}"));
                let prompt = shown(&golden.prompt);
                Refused::new("golden", format!("the golden prompt {prompt:?}{of}: {why}"))
            }
        })?;
        slowest = slowest.max(Some(took));
    }
    Ok(slowest)
}

enum Fault {
    Step(StepError),
    Answer(String),
}

impl From<StepError> for Fault {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

struct Asked<'a> {
    model: &'a Model,
    engine: &'a mut dyn Engine,
    plan: &'a Plan,
    costs: &'a Costs,
}

impl Asked<'_> {
    /// Answers greedily and compares; the time to the first token.
    fn ask(&mut self, golden: &Golden) -> Result<Duration, Fault> {
        let caps = self.engine.caps().clone();
        let (task, limits) = (golden.task.as_deref(), &self.plan.limits);
        let prompt = self
            .model
            .prompt_tokens(task, &golden.prompt, &caps, limits)
            .map_err(|reason| Fault::Answer(reason.message))?;
        let began = Instant::now();
        let mut next = self.prefill(&prompt, &caps)?;
        let took = began.elapsed();
        let mut answer = Answer::new(golden, self.model, &prompt);
        let mut pos = prompt.len() as u32;
        while answer.wants_more(next) && pos < caps.context_tokens {
            answer.push(next);
            next = self.step(pos, &[next])?;
            pos += 1;
        }
        self.engine.release(SLOT);
        answer.judge().map_err(Fault::Answer)?;
        Ok(took)
    }

    /// In the chunks that the scheduler would make.
    fn prefill(&mut self, prompt: &[u32], caps: &Caps) -> Result<u32, Fault> {
        let (mut pos, mut next) = (0, 0);
        while pos < prompt.len() {
            let from = u32::try_from(pos).unwrap_or(u32::MAX);
            let most = self.costs.chunk_within(self.plan.limits.max_step, from, caps.max_chunk);
            let pending = u32::try_from(prompt.len() - pos).unwrap_or(u32::MAX);
            let end = pos + next_chunk(pending, most) as usize;
            next = self.step(from, &prompt[pos..end])?;
            pos = end;
        }
        Ok(next)
    }

    /// The likeliest token after these.
    fn step(&mut self, pos: u32, tokens: &[u32]) -> Result<u32, Fault> {
        let row = Row { slot: SLOT, pos, tokens, want: Want::Last };
        self.engine.step(&StepPlan { rows: &[row] })?;
        let logits = self.engine.logits(0);
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map(|(token, _)| token as u32)
            .ok_or_else(|| Fault::Step(StepError::Engine("no logits".to_owned())))
    }
}

/// A greedy answer beside the golden one: the same tokens, or else the same text.
struct Answer<'a> {
    golden: &'a Golden,
    ends: &'a [u32],
    said: Vec<u32>,
    text: String,
    detokenizer: Detokenizer,
}

impl<'a> Answer<'a> {
    fn new(golden: &'a Golden, model: &'a Model, prompt: &[u32]) -> Self {
        let detokenizer = Detokenizer::new(Arc::clone(model.tokenizer.table()), prompt);
        Self { golden, ends: &model.eos, said: Vec::new(), text: String::new(), detokenizer }
    }

    fn has_the_tokens(&self) -> bool {
        !self.golden.tokens.is_empty() && self.said == self.golden.tokens
    }

    /// Whether the next token, which is this one, could still change the verdict.
    fn wants_more(&self, next: u32) -> bool {
        let fits = self.golden.text.starts_with(&self.text);
        let on_the_way = self.golden.tokens.starts_with(&self.said) || fits;
        let is_short =
            self.said.len() < self.golden.tokens.len() || self.text.len() < self.golden.text.len();
        !self.has_the_tokens() && is_short && on_the_way && !self.ends.contains(&next)
    }

    fn push(&mut self, token: u32) {
        self.said.push(token);
        self.detokenizer.push(token, &mut self.text);
    }

    fn judge(mut self) -> Result<(), String> {
        if self.has_the_tokens() {
            return Ok(());
        }
        self.detokenizer.finish(&mut self.text);
        if !self.golden.text.is_empty() && self.text.starts_with(&self.golden.text) {
            return Ok(());
        }
        let (said, must) = (shown(&self.text), shown(&self.golden.text));
        let same = self.said.iter().zip(&self.golden.tokens).take_while(|(a, b)| a == b).count();
        Err(format!(
            "the answer begins with {said:?} and not with {must:?}; {same} of {} tokens are the same",
            self.golden.tokens.len()
        ))
    }
}

fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN_CHARS).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

fn ms(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e5).round() / 100.0
}

#[cfg(all(test, feature = "default-model", feature = "tract"))]
#[path = "trial_tests.rs"]
mod tests;
