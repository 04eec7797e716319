//! SIGHUP: the configuration is read again, and what it says now is served, if it can be.
//!
//! On a thread of its own, since loading a model takes long. Whatever goes wrong, what was served
//! before is served again; `docs/systemd.md` has the rules.

use super::routes;
use super::start::{
    Beside, Fit, Outlook, Plan, Served, StartError, Trust, fit, open_bundle, outlook,
};
use crate::board::Room;
use crate::bundle::Bundle;
use crate::config::Settings;
use crate::routing::Slot;
use crate::runtime::{Exchange, ExchangeError, Handle};
use crate::sheet::Sheet;
use serde_json::json;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Reads the configuration as at the start; the error is for people.
pub type Reread = Box<dyn Fn() -> Result<Settings, String> + Send>;

/// What goes on.
#[derive(Debug)]
pub enum Event {
    /// Something that takes time begins.
    Phase(String),
    /// A reload is over.
    Done(Outcome),
}

/// How a reload ended.
#[derive(Debug)]
pub enum Outcome {
    /// Served is what is configured now, in words.
    Served(&'static str),
    /// What was served before still is; why.
    Kept(String),
    /// Nothing is served any more.
    Lost(StartError),
    /// The end came first.
    Ended,
}

enum Fault {
    Kept(String),
    Lost(StartError),
    Ended,
}

impl From<StartError> for Fault {
    fn from(error: StartError) -> Self {
        Self::Kept(match &error {
            StartError::Memory(overrun) => format!("{error}; {}", overrun.hint()),
            _ => error.to_string(),
        })
    }
}

impl From<ExchangeError> for Fault {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Ended => Self::Ended,
            ExchangeError::Tasks(error) => Self::Kept(error.to_string()),
        }
    }
}

/// The thread, for the event loop.
#[derive(Debug)]
pub struct Reloads {
    ask: Option<SyncSender<()>>,
    events: mpsc::Receiver<Event>,
    thread: Option<JoinHandle<()>>,
}

impl Reloads {
    /// A thread that waits to be asked.
    pub fn start(reload: Reload) -> Self {
        // One may be asked for while another runs; more would say nothing new.
        let (ask, asked) = sync_channel(1);
        let (say, events) = mpsc::channel(16);
        let thread = std::thread::Builder::new()
            .name("slmd-reload".to_owned())
            .spawn(move || reload.run(&asked, &say))
            .expect("the system can start a thread");
        Self { ask: Some(ask), events, thread: Some(thread) }
    }

    /// Asks for a reload; says whether that will happen.
    pub fn ask(&self) -> bool {
        let asked = self.ask.as_ref().map(|ask| ask.try_send(()));
        matches!(asked, Some(Ok(()) | Err(TrySendError::Full(()))))
    }

    /// What goes on; waits for ever if nothing will.
    pub async fn next(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Waits for the end of what is under way.
    pub fn join(mut self) {
        self.ask = None;
        self.events.close();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the reload's thread panicked");
        }
    }
}

/// What is served, and how to change it.
pub struct Reload {
    pub(super) exchange: Exchange,
    pub(super) handle: Handle,
    pub(super) routes: Slot,
    /// In force.
    pub(super) settings: Settings,
    pub(super) served: Served,
    pub(super) reread: Reread,
}

impl Reload {
    fn run(mut self, asked: &Receiver<()>, say: &mpsc::Sender<Event>) {
        let mut count = 0_u64;
        while asked.recv().is_ok() {
            count += 1;
            let began = Instant::now();
            let phase = |phase: &str| {
                tracing::info!(phase, "reloading");
                // Who does not keep up with them needs them least.
                let _ = say.try_send(Event::Phase(phase.to_owned()));
            };
            let outcome = match self.attempt(&phase) {
                Ok(how) => Outcome::Served(how),
                Err(Fault::Kept(why)) => Outcome::Kept(why),
                Err(Fault::Lost(error)) => Outcome::Lost(error),
                Err(Fault::Ended) => Outcome::Ended,
            };
            self.report(count, &outcome, began.elapsed());
            // A daemon that goes down needs to hear no more.
            let _ = say.blocking_send(Event::Done(outcome));
        }
    }

    fn report(&self, count: u64, outcome: &Outcome, took: Duration) {
        let (how, error) = match outcome {
            Outcome::Served(how) => {
                tracing::info!(how, took_ms = took.as_millis(), "reloaded");
                (*how, None)
            }
            Outcome::Kept(why) => {
                tracing::error!(why, "the reload failed; what was served before still is");
                ("failed", Some(why.clone()))
            }
            Outcome::Lost(error) => ("lost", Some(error.to_string())),
            Outcome::Ended => ("ended", None),
        };
        let section = json!({
            "count": count, "last": how, "took_ms": took.as_millis() as u64, "error": error,
        });
        self.handle.report("reload", section);
    }

    fn attempt(&mut self, phase: &dyn Fn(&str)) -> Result<&'static str, Fault> {
        phase("reading the configuration");
        let newer = (self.reread)().map_err(Fault::Kept)?;
        let keys = self.settings.needs_restart(&newer);
        if !keys.is_empty() {
            tracing::warn!(keys = keys.join(", "), "kept as they are until a restart");
        }
        let settings = self.settings.reloaded(&newer);
        // What cannot be read is found before anything changes.
        routes::endpoints(&settings).map_err(|e| Fault::Kept(e.to_string()))?;
        // The second model stays what it is until a restart.
        let second = self.served.plan.demands.second_model_bytes;
        let plan = Plan::from(&settings).resolved().beside(second);
        phase("reading the model's files");
        let bundle = open_bundle(&plan)?;
        let how = if bundle.hash != self.served.hash || !settings.loads_like(&self.settings) {
            self.exchange(plan, bundle, phase)?
        } else if settings.serves_like(&self.settings)
            && plan.calibrations == self.served.plan.calibrations
        {
            "nothing has changed"
        } else {
            self.retask(plan)?;
            "tasks and limits"
        };
        let routes = routes::of(&settings, &self.served.plan, &self.served);
        self.routes.set(routes.map_err(|e| Fault::Kept(e.to_string()))?);
        self.settings = settings;
        Ok(how)
    }

    fn retask(&mut self, plan: Plan) -> Result<(), Fault> {
        let tasks = plan.calibrated(&self.served.tasks, &self.served.hash);
        let missing = |(_, task): &&(String, String)| tasks.iter().all(|t| t.name != *task);
        if let Some((watch, task)) = plan.watched_tasks.iter().find(missing).cloned() {
            let known = tasks.into_iter().map(|task| task.name).collect();
            return Err(StartError::WatchedTask { watch, task, known }.into());
        }
        self.exchange.retask(tasks, &plan.limits)?;
        self.served.plan = Plan { model: self.served.plan.model.clone(), ..plan };
        Ok(())
    }

    fn exchange(
        &mut self,
        plan: Plan,
        bundle: Bundle,
        phase: &dyn Fn(&str),
    ) -> Result<&'static str, Fault> {
        let outlook = outlook(&plan, &bundle)?;
        if may_stand_beside(&outlook, &self.served.sheet) {
            let (fit, served) = fit(&plan, bundle, phase, Beside::Another, Trust::New)?;
            phase("answering what the old model has begun");
            let (candidate, facts) = fit.into_parts();
            self.exchange.replace(candidate, &plan.limits, facts)?;
            self.served = served;
            return Ok("another model, side by side");
        }
        phase("answering what the old model has begun");
        self.exchange.vacate(outlook.load.unwrap_or_else(|| self.guess(&outlook)))?;
        match fit(&plan, bundle, phase, Beside::Nothing, Trust::New) {
            Ok((fit, served)) => self.occupy(fit, served)?,
            Err(error) => {
                tracing::error!(%error, "the new model does not come up");
                phase("loading the old model again");
                self.exchange.expect_ready(self.served.load);
                self.restore()?;
                return Err(error.into());
            }
        }
        Ok("another model, one after the other")
    }

    /// As long as the old model took, and longer by as much as the new one is larger.
    fn guess(&self, outlook: &Outlook) -> Duration {
        let (old, new) = (self.served.sheet.total_bytes(), outlook.sheet.total_bytes());
        // Its memory is yet to be measured, which takes a step or two.
        let times = (new as f64 / old.max(1) as f64).max(1.0) * 1.5;
        self.served.load.mul_f64(times)
    }

    fn restore(&mut self) -> Result<(), Fault> {
        let plan = Plan { room: Room::now(), ..self.served.plan.clone() };
        let up =
            open_bundle(&plan).and_then(|b| fit(&plan, b, &|_| {}, Beside::Nothing, Trust::Known));
        let (fit, served) = up.map_err(Fault::Lost)?;
        self.occupy(fit, served)
    }

    fn occupy(&mut self, fit: Fit, served: Served) -> Result<(), Fault> {
        let (candidate, facts) = fit.into_parts();
        self.exchange.occupy(candidate, &served.plan.limits, facts)?;
        self.served = served;
        Ok(())
    }
}

/// Whether the budget holds both. What was never measured is loaded alone, so that it can be.
fn may_stand_beside(new: &Outlook, old: &Sheet) -> bool {
    new.is_measured && new.sheet.total_bytes() + old.own_bytes() <= new.ceiling_bytes
}
