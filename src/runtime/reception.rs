//! The admission thread's door: requests go on to the model that is served, or wait here while there
//! is none.
//!
//! Who waits keeps its deadline, and is told `reloading` as soon as that cannot be met any more.

use super::admission::Admission;
use super::job::Job;
use super::limits::Limits;
use super::model::ModelError;
use super::outbox::{Asked, Event, Origin};
use super::shared::{Shared, Work};
use crate::bundle::Task;
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::Time;
use crate::engine::run_soon;
use crate::wire::{Ask, Reply};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

/// Those that wait are looked at so often.
const LOOK: Duration = Duration::from_millis(50);

/// What the admission thread is told.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly every errand is a client's")]
pub enum Errand {
    /// Of a client.
    Ask(Work),
    /// Other tasks and limits.
    Tasks { tasks: Vec<Task>, limits: Limits, done: SyncSender<Result<(), ModelError>> },
    /// There is no model until [`Errand::Serve`].
    Hold(SyncSender<()>),
    /// What the old model had not begun.
    Return(Vec<Work>),
    /// There is a model.
    Serve(Box<Admission>, SyncSender<()>),
    /// There is another one beside it.
    Second(Box<Admission>),
}

/// The admission thread.
pub struct Reception {
    admission: Option<Admission>,
    /// To the model beside it.
    second: Option<Admission>,
    /// What the model that has gone would have taken as deadlines.
    bounds: Bounds,
    /// In the order of arrival, each with its deadline.
    waiting: VecDeque<(Time, Work)>,
    jobs: SyncSender<Job>,
    shared: Arc<Shared>,
}

/// The deadlines of requests that name none.
#[derive(Debug, Clone, Default)]
pub struct Bounds {
    /// By task.
    pub tasks: BTreeMap<String, Duration>,
    /// The task of a plain prompt.
    pub default_task: Option<String>,
    /// Of all others.
    pub default: Duration,
}

impl Bounds {
    /// Those of these tasks, later ones in place of earlier ones of the same name.
    pub fn new<'t>(
        tasks: impl Iterator<Item = &'t Task>,
        default_task: Option<String>,
        limits: &Limits,
    ) -> Self {
        let mut bounds = BTreeMap::new();
        for task in tasks {
            bounds.remove(&task.name);
            let own = task.deadline_ms.map(|ms| Duration::from_millis(ms.into()));
            bounds.extend(own.map(|bound| (task.name.clone(), bound)));
        }
        Self { tasks: bounds, default_task, default: limits.deadline }
    }

    /// The task of a request.
    pub fn task<'a>(&'a self, ask: &'a Ask) -> Option<&'a str> {
        ask.task_or(self.default_task.as_deref())
    }

    /// How long a request has from its arrival on.
    pub fn of(&self, ask: &Ask, origin: &Origin) -> Duration {
        let name = self.task(ask);
        let task = name.and_then(|name| self.tasks.get(name));
        let own = ask.deadline_ms.map(|ms| Duration::from_millis(ms.into())).or(task.copied());
        own.into_iter().chain(origin.due).min().unwrap_or(self.default)
    }
}

impl Reception {
    pub fn new(admission: Admission, jobs: SyncSender<Job>, shared: Arc<Shared>) -> Self {
        let (admission, second, bounds) = (Some(admission), None, Bounds::default());
        Self { admission, second, bounds, waiting: VecDeque::new(), jobs, shared }
    }

    /// Serves until the last handle is gone.
    pub fn run(mut self, errands: &Receiver<Errand>) {
        run_soon();
        loop {
            let errand = match self.waiting.is_empty() {
                true => errands.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => errands.recv_timeout(LOOK),
            };
            match errand {
                Ok(errand) => self.take(errand),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.look();
        }
        self.refuse_all(ErrorCode::ShuttingDown, "slmd is going down");
    }

    fn take(&mut self, errand: Errand) {
        match errand {
            Errand::Ask(work) => self.ask(work),
            Errand::Tasks { tasks, limits, done } => {
                let outcome = self.admission.as_mut().map_or(Ok(()), |a| a.retask(&tasks, limits));
                // Whoever asked has gone only if the process is about to.
                let _ = done.send(outcome);
            }
            Errand::Hold(done) => {
                if let Some(admission) = self.admission.take() {
                    self.bounds = admission.bounds();
                }
                let _ = done.send(());
            }
            Errand::Return(works) => {
                // They were here before all others.
                for work in works.into_iter().rev() {
                    let due = self.due(&work);
                    self.waiting.push_front((due, work));
                }
            }
            Errand::Serve(admission, done) => {
                self.admission = Some(*admission);
                self.shared.serves_again();
                for (_, work) in std::mem::take(&mut self.waiting) {
                    self.ask(Work { held: true, ..work });
                }
                let _ = done.send(());
            }
            Errand::Second(admission) => self.second = Some(*admission),
        }
    }

    fn ask(&mut self, work: Work) {
        let second = self.second.as_mut().filter(|_| work.origin.model == Asked::Second);
        match second.or(self.admission.as_mut()) {
            Some(admission) => admission.take(work, &self.jobs),
            None => self.waiting.push_back((self.due(&work), work)),
        }
    }

    fn due(&self, work: &Work) -> Time {
        work.arrived.after(self.bounds.of(&work.ask, &work.origin))
    }

    /// Ends those that are not to wait any longer.
    fn look(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        if self.shared.drain_until().is_some() {
            return self.refuse_all(ErrorCode::ShuttingDown, "slmd is going down");
        }
        let ids: Vec<_> = self.waiting.iter().map(|(_, work)| work.id).collect();
        let cancelled = self.shared.take_cancels_of(&ids);
        let now = self.shared.now();
        let ready = self.shared.ready_at().max(now);
        for (due, work) in std::mem::take(&mut self.waiting) {
            if cancelled.contains(&work.id) {
                self.refuse(work, RejectReason::new(ErrorCode::Cancelled, "cancelled"));
            } else if due <= ready && (due <= now || !work.ask.best_effort) {
                let message = format!(
                    "the model is being exchanged: the next one is expected in {} ms, {} ms given",
                    ready.since(now).as_millis(),
                    due.since(now).as_millis()
                );
                let mut reason = RejectReason::new(ErrorCode::Reloading, message);
                let needs_ms = ready.since(now).as_millis();
                reason.needs_ms = Some(u32::try_from(needs_ms).unwrap_or(u32::MAX));
                self.refuse(work, reason);
            } else {
                self.waiting.push_back((due, work));
            }
        }
    }

    fn refuse_all(&mut self, code: ErrorCode, message: &str) {
        for (_, work) in std::mem::take(&mut self.waiting) {
            self.refuse(work, RejectReason::new(code, message));
        }
    }

    fn refuse(&self, work: Work, reason: RejectReason) {
        work.refuse(reason, &self.shared);
    }
}

impl Work {
    /// Says no, and gives the seat back.
    pub fn refuse(self, reason: RejectReason, shared: &Shared) {
        tracing::info!(request = self.id.0, from = ?self.origin, code = reason.code(), "refused");
        shared.count(|c| c.refuse(reason.code));
        let request = self.id;
        let reply = Reply::Error { id: self.ask.id, reason };
        drop(self.seat);
        self.outbox.finish(Event { request, reply, tokens: 0 });
    }
}
