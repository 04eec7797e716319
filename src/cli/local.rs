//! Answers in this process, by a runtime that lives as long as the command.

use super::answerer::{Answerer, Cancel};
use super::args::LocalArgs;
use super::exit::{Failure, INTERNAL};
use super::serve;
use super::term::Progress;
use crate::config::Settings;
use crate::core::request::RequestId;
use crate::runtime::{Event, Origin, Outbox, Service};
use crate::supervisor::{Plan, bring_up};
use crate::wire::{Answer, Ask, Reply};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Deltas that may wait for the terminal.
const OUTBOX: usize = 256;

/// Loads a model into this process, by the configuration and these arguments.
///
/// # Errors
/// As `slmd serve`.
pub fn load(args: &LocalArgs, progress: &Progress) -> Result<Box<dyn Answerer>, Failure> {
    super::log_to_stderr("warn");
    bring(&plan(&settings(args)?), progress)
}

/// The configuration with these arguments.
///
/// # Errors
/// As `slmd serve`.
pub fn settings(args: &LocalArgs) -> Result<Settings, Failure> {
    let flags = serve::flags(&[
        ("model", args.model.as_deref().map(|m| m.display().to_string())),
        ("engine", args.engine.clone()),
    ]);
    serve::settings(args.config.as_deref(), &flags)
}

/// What is brought up for one who asks: nobody watches anything here, and nobody else asks.
pub fn plan(settings: &Settings) -> Plan {
    Plan { watched_tasks: Vec::new(), ..Plan::from(settings) }.alone()
}

/// Loads what the plan says.
///
/// # Errors
/// As `slmd serve`.
pub fn bring(plan: &Plan, progress: &Progress) -> Result<Box<dyn Answerer>, Failure> {
    let runtime = bring_up(plan, &|phase| progress.phase(phase))?;
    Ok(Box::new(Local::new(runtime.handle())))
}

/// A runtime in this process.
pub struct Local<S> {
    service: S,
    under_way: Arc<Mutex<Option<RequestId>>>,
}

impl<S: Service> Local<S> {
    /// Answers by `service`.
    pub fn new(service: S) -> Self {
        Self { service, under_way: Arc::default() }
    }

    fn submit(&self, ask: &Ask) -> Result<mpsc::Receiver<Event>, Failure> {
        let (sender, replies) = mpsc::channel(OUTBOX);
        let outbox = Outbox::reserve(&sender)?;
        let origin = Origin::new("cli");
        let request = self.service.submit(ask.clone(), &origin, outbox)?;
        self.set_under_way(Some(request));
        Ok(replies)
    }

    fn set_under_way(&self, request: Option<RequestId>) {
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) = request;
    }
}

impl<S: Service> Answerer for Local<S> {
    fn answer(&mut self, ask: &Ask, on_delta: &mut dyn FnMut(&str)) -> Result<Answer, Failure> {
        // The transports validate for the daemon; here nobody else does.
        ask.validate()?;
        let mut replies = self.submit(ask)?;
        let mut heard = 0;
        let outcome = loop {
            match replies.blocking_recv().map(|event| event.reply) {
                Some(Reply::Delta { text, .. }) => {
                    heard += text.len();
                    on_delta(&text);
                }
                Some(Reply::Answer(answer)) => break Ok(*answer),
                Some(Reply::Error { reason, .. }) => break Err(reason.into()),
                Some(Reply::Report { .. }) | None => {
                    break Err(Failure::new(INTERNAL, "the runtime ended without an answer"));
                }
            }
        };
        self.set_under_way(None);
        if let Ok(answer) = &outcome
            && ask.stream
            && let Some(rest) = answer.text.get(heard..)
            && !rest.is_empty()
        {
            on_delta(rest);
        }
        outcome
    }

    fn cancel(&self) -> Cancel {
        let (service, under_way) = (self.service.clone(), Arc::clone(&self.under_way));
        Box::new(move || {
            if let Some(request) = *under_way.lock().unwrap_or_else(PoisonError::into_inner) {
                service.cancel(request);
            }
        })
    }
}
