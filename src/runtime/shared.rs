//! What the handles, the admission thread and the inference thread all see.

use super::outbox::{Origin, Outbox};
use super::predictions::Predictions;
use crate::core::cost::{Costs, Load};
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::pressure::Pressure;
use crate::core::request::{Priority, RequestId, Time};
use crate::core::scheduler::URGENT_SEATS;
use crate::engine::Stop;
use crate::wire::Ask;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// When the runtime's clock starts: late enough that what arrived before this process began, and
/// was kept, has a moment on it too.
const EPOCH: Time = Time(90 * 24 * 3600 * 1_000_000);

/// The step whose price is shown as that of a token.
const DECODE: Load = Load::Decode { rows: 1, positions: 0 };

/// A request on its way to admission.
#[derive(Debug)]
pub struct Work {
    pub id: RequestId,
    pub ask: Ask,
    pub origin: Origin,
    pub outbox: Outbox,
    pub arrived: Time,
    pub seat: Seat,
    /// Whether it has waited for an exchange of the model.
    pub held: bool,
}

/// A place among the requests that the daemon holds, queued or running; given back on drop.
#[derive(Debug)]
pub struct Seat {
    shared: Arc<Shared>,
    id: RequestId,
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.shared.seated).remove(&self.id);
    }
}

/// Who has figures for the status at any moment. Must not block, nor ask for the status itself.
pub trait Figures: fmt::Debug + Send + Sync {
    /// A section of the status.
    fn figures(&self) -> Value;
}

/// The inference thread's figures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Snapshot {
    pub running: usize,
    pub waiting: usize,
    pub kv_held_bytes: u64,
    pub costs: Costs,
    pub steps: StepTotals,
}

/// Time that the engine took since the start. What a client waits for beyond it is the daemon's.
#[derive(Debug, Clone, Copy, Default)]
pub struct StepTotals {
    decode: u64,
    decode_us: u64,
    prefill: u64,
    prefill_us: u64,
}

impl StepTotals {
    /// Counts a step in which the longest row had `tokens` tokens.
    pub fn count(&mut self, tokens: u32, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let (steps, total) = match tokens {
            1 => (&mut self.decode, &mut self.decode_us),
            _ => (&mut self.prefill, &mut self.prefill_us),
        };
        *steps += 1;
        *total += us;
    }
}

/// What was done since the start.
#[derive(Debug, Default)]
pub struct Counters {
    answered: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    errors: BTreeMap<&'static str, u64>,
}

impl Counters {
    /// A request ended, with an error if there is a code.
    pub fn end(&mut self, code: Option<ErrorCode>, prompt: u32, answer: u32) {
        match code {
            Some(code) => self.refuse(code),
            None => self.answered += 1,
        }
        self.prompt_tokens += u64::from(prompt);
        self.completion_tokens += u64::from(answer);
    }

    /// A request was refused before it ran.
    pub fn refuse(&mut self, code: ErrorCode) {
        *self.errors.entry(code.code()).or_default() += 1;
    }
}

/// Counters, the cancel list and the published figures.
#[derive(Debug)]
pub struct Shared {
    origin: Instant,
    next_id: AtomicU64,
    serving: AtomicBool,
    drain_until: AtomicU64,
    seats: usize,
    seated: Mutex<BTreeSet<RequestId>>,
    /// Told of every request that takes a seat.
    entered: Notify,
    cancels: Mutex<Vec<RequestId>>,
    pressure: Mutex<Option<Pressure>>,
    snapshot: Mutex<Snapshot>,
    counters: Mutex<Counters>,
    facts: Mutex<Map<String, Value>>,
    /// What transports say about themselves.
    sections: Mutex<BTreeMap<&'static str, Value>>,
    /// What is asked for its figures when the status is.
    live: Mutex<BTreeMap<&'static str, Arc<dyn Figures>>>,
    inference: Mutex<Option<Thread>>,
    /// Who ends steps that hang.
    overrun: Mutex<Option<Thread>>,
    ended: AtomicBool,
    /// When the step that runs now began, plus one; zero between steps.
    step_began: AtomicU64,
    /// When it should have ended long ago.
    step_limit: AtomicU64,
    predictions: Mutex<Predictions>,
    /// When a model is expected to be served again, while none is; else zero.
    ready_at: AtomicU64,
    brake: Mutex<Brake>,
    /// When the turn of the inference thread that runs now began, plus one; zero while it rests.
    turn_began: AtomicU64,
    /// When it was first called, plus one, of all calls that it has not heard.
    called: AtomicU64,
}

/// What stops the engine whose step runs.
#[derive(Default)]
struct Brake(Option<Arc<dyn Stop>>);

impl fmt::Debug for Brake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Brake")
    }
}

/// A turn of the inference thread without a step takes milliseconds; after so long it hangs.
const HUNG_TURN: Duration = Duration::from_secs(10);

impl Shared {
    /// Room for `seats` requests, queued and running together; `facts` open every status.
    pub fn new(seats: usize, facts: Map<String, Value>) -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            next_id: AtomicU64::new(1),
            serving: AtomicBool::new(true),
            drain_until: AtomicU64::new(0),
            seats,
            seated: Mutex::default(),
            entered: Notify::new(),
            cancels: Mutex::default(),
            pressure: Mutex::default(),
            snapshot: Mutex::default(),
            counters: Mutex::default(),
            facts: Mutex::new(facts),
            sections: Mutex::default(),
            live: Mutex::default(),
            inference: Mutex::new(None),
            overrun: Mutex::new(None),
            ended: AtomicBool::new(false),
            step_began: AtomicU64::new(0),
            step_limit: AtomicU64::new(0),
            predictions: Mutex::default(),
            ready_at: AtomicU64::new(0),
            brake: Mutex::default(),
            turn_began: AtomicU64::new(0),
            called: AtomicU64::new(0),
        })
    }

    /// The time on the runtime's clock.
    pub fn now(&self) -> Time {
        EPOCH.after(self.origin.elapsed())
    }

    /// Takes a seat and a request id. A few seats are kept for what is urgent.
    pub fn enter(self: &Arc<Self>, priority: Priority) -> Result<(RequestId, Seat), RejectReason> {
        if !self.is_serving() {
            return Err(RejectReason::new(ErrorCode::ShuttingDown, "slmd is going down"));
        }
        let mut seated = lock(&self.seated);
        let kept = if priority == Priority::Urgent { URGENT_SEATS } else { 0 };
        if seated.len() >= self.seats + kept {
            drop(seated);
            self.count(|c| c.refuse(ErrorCode::Busy));
            return Err(RejectReason::new(
                ErrorCode::Busy,
                format!("{} requests are queued or running, and that is the limit", self.seats),
            ));
        }
        let id = RequestId(self.next_id.fetch_add(1, Ordering::Relaxed));
        seated.insert(id);
        self.entered.notify_one();
        Ok((id, Seat { shared: Arc::clone(self), id }))
    }

    /// Whether any request is queued or running.
    pub fn is_busy(&self) -> bool {
        !lock(&self.seated).is_empty()
    }

    /// Waits for a request, or for one that came since the last call.
    pub async fn next_request(&self) {
        self.entered.notified().await;
    }

    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    /// Refuses what comes from now on; what still runs at `until` is told `shutting_down`.
    pub fn drain(&self, until: Time) {
        self.serving.store(false, Ordering::Release);
        self.drain_until.store(until.0.max(1), Ordering::Release);
        self.wake();
    }

    /// The end of draining, once it began.
    pub fn drain_until(&self) -> Option<Time> {
        Some(Time(self.drain_until.load(Ordering::Acquire))).filter(|t| t.0 > 0)
    }

    pub fn cancel(&self, id: RequestId) {
        if id.0 < self.next_id.load(Ordering::Relaxed) {
            lock(&self.cancels).push(id);
            self.wake();
        }
    }

    /// Of the requests to cancel, takes those that are among `ids`.
    pub fn take_cancels_of(&self, ids: &[RequestId]) -> Vec<RequestId> {
        let mut cancels = lock(&self.cancels);
        let (taken, others) = cancels.drain(..).partition(|id| ids.contains(id));
        *cancels = others;
        taken
    }

    /// Takes the requests to cancel; while a model is exchanged, only those that `are_here`: the
    /// others may wait at the reception.
    pub fn take_cancels(&self, are_here: impl Fn(RequestId) -> bool) -> Vec<RequestId> {
        let mut cancels = lock(&self.cancels);
        if self.ready_at().0 == 0 {
            return std::mem::take(&mut *cancels);
        }
        let (taken, others) = cancels.drain(..).partition(|id| are_here(*id));
        *cancels = others;
        taken
    }

    /// Asks the inference thread to work as hard as this from now on.
    pub fn press(&self, pressure: Pressure) {
        *lock(&self.pressure) = Some(pressure);
        self.wake();
    }

    /// Takes the newest change of pressure.
    pub fn take_pressure(&self) -> Option<Pressure> {
        lock(&self.pressure).take()
    }

    /// Changes the counters.
    pub fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut lock(&self.counters));
    }

    pub fn publish(&self, snapshot: Snapshot) {
        *lock(&self.snapshot) = snapshot;
    }

    /// Everything that `status` shows.
    pub fn status(&self) -> Value {
        let mut body = lock(&self.facts).clone();
        let state = self.state();
        let held: Vec<u64> = lock(&self.seated).iter().map(|id| id.0).collect();
        let snapshot = *lock(&self.snapshot);
        let counters = lock(&self.counters);
        let memory = crate::engine::process_memory();
        let (shape, slowdown) = (snapshot.costs.shape(), snapshot.costs.slowdown());
        body.insert("state".into(), state.into());
        body.insert("uptime_s".into(), self.origin.elapsed().as_secs().into());
        body.insert(
            "requests".into(),
            json!({
                "held": held.len(), "numbers": held, "running": snapshot.running, "waiting": snapshot.waiting,
                "limit": self.seats, "answered": counters.answered,
                "errors": counters.errors,
            }),
        );
        body.insert(
            "tokens".into(),
            json!({ "prompt": counters.prompt_tokens, "completion": counters.completion_tokens }),
        );
        body.insert(
            "costs".into(),
            json!({
                "decode_us": snapshot.costs.step(DECODE).as_micros() as u64,
                "prefill_token_us": shape.token_us * slowdown,
                "row_us": shape.row_us * slowdown, "attend_us": shape.attend_us * slowdown,
                "slowdown": slowdown, "margin_percent": snapshot.costs.margin_percent(),
                "error": lock(&self.predictions).report(),
            }),
        );
        let steps = snapshot.steps;
        body.insert(
            "steps".into(),
            json!({
                "decode": steps.decode, "decode_us": steps.decode_us,
                "prefill": steps.prefill, "prefill_us": steps.prefill_us,
            }),
        );
        body.insert(
            "memory".into(),
            json!({
                "rss_bytes": memory.rss_bytes, "anonymous_bytes": memory.anonymous_bytes,
                "kv_held_bytes": snapshot.kv_held_bytes,
            }),
        );
        for (section, figures) in &*lock(&self.sections) {
            body.insert((*section).to_owned(), figures.clone());
        }
        for (section, live) in &*lock(&self.live) {
            body.insert((*section).to_owned(), live.figures());
        }
        Value::Object(body)
    }

    /// `serving`, `reloading` or `draining`.
    fn state(&self) -> &'static str {
        match (self.is_serving(), self.ready_at.load(Ordering::Acquire)) {
            (false, _) => "draining",
            (true, 0) => "serving",
            (true, _) => "reloading",
        }
    }

    /// Opens every status with these from now on.
    pub fn set_facts(&self, facts: Map<String, Value>) {
        *lock(&self.facts) = facts;
    }

    /// No model is served until about then.
    pub fn expect_ready(&self, at: Time) {
        self.ready_at.store(at.0.max(1), Ordering::Release);
    }

    /// When a model is expected to be served again.
    pub fn ready_at(&self) -> Time {
        Time(self.ready_at.load(Ordering::Acquire))
    }

    /// A model is served.
    pub fn serves_again(&self) {
        self.ready_at.store(0, Ordering::Release);
    }

    /// How many requests run, and how many more are held.
    pub fn load(&self) -> (usize, usize) {
        let (held, running) = (lock(&self.seated).len(), lock(&self.snapshot).running);
        (running, held.saturating_sub(running))
    }

    /// Adds a section to the status, or replaces it.
    pub fn report(&self, section: &'static str, figures: Value) {
        lock(&self.sections).insert(section, figures);
    }

    /// Adds a section to the status that is made when it is asked for.
    pub fn report_live(&self, section: &'static str, figures: Arc<dyn Figures>) {
        lock(&self.live).insert(section, figures);
    }

    /// A step begins at `now`, and hangs if it still runs at `limit`.
    pub fn step_begins(&self, now: Time, limit: Time) {
        self.step_limit.store(limit.0, Ordering::Relaxed);
        self.step_began.store(now.0 + 1, Ordering::Release);
    }

    /// The step has ended.
    pub fn step_ended(&self) {
        self.step_began.store(0, Ordering::Release);
    }

    /// Whether the step that runs now hangs; nothing between steps.
    pub fn step_overdue(&self) -> Option<bool> {
        let runs = self.step_began.load(Ordering::Acquire) > 0;
        runs.then(|| self.now() > Time(self.step_limit.load(Ordering::Relaxed)))
    }

    /// Takes note of what something was thought to take, and took.
    pub fn predicted(&self, note: impl FnOnce(&mut Predictions)) {
        note(&mut lock(&self.predictions));
    }

    /// What [`Shared::stop_step`] stops from now on.
    pub fn set_brake(&self, brake: Option<Arc<dyn Stop>>) {
        *lock(&self.brake) = Brake(brake);
    }

    /// Ends the step that runs, if its engine can do that.
    pub fn stop_step(&self) {
        let brake = lock(&self.brake).0.clone();
        if let Some(brake) = brake {
            brake.stop();
        }
    }

    /// How long the step that runs now has taken, if one runs.
    pub fn step_age(&self) -> Option<Duration> {
        let began = self.step_began.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.now().since(Time(began)))
    }

    /// The inference thread is awake, and will hear what it was called for.
    pub fn turn_begins(&self) {
        self.called.store(0, Ordering::Release);
        self.turn_began.store(self.now().0 + 1, Ordering::Release);
    }

    /// The inference thread has nothing to do.
    pub fn turn_rests(&self) {
        self.turn_began.store(0, Ordering::Release);
    }

    /// Whether the inference thread does its work: a step within twice the time after which it is
    /// stopped, which follows from its price; everything else within [`HUNG_TURN`].
    pub fn is_alive(&self) -> bool {
        if self.has_ended() {
            return true;
        }
        let now = self.now();
        let age = |since: &AtomicU64| {
            let since = since.load(Ordering::Acquire).checked_sub(1);
            since.map_or(Duration::ZERO, |since| now.since(Time(since)))
        };
        let limit = Time(self.step_limit.load(Ordering::Relaxed));
        let step = match self.step_began.load(Ordering::Acquire).checked_sub(1) {
            Some(began) => 2 * limit.since(Time(began)),
            None => Duration::ZERO,
        };
        let busy = age(&self.turn_began).max(age(&self.called));
        busy <= HUNG_TURN.max(step)
    }

    /// Names the thread that [`Shared::wake`] wakes.
    pub fn set_inference_thread(&self, thread: Thread) {
        *lock(&self.inference) = Some(thread);
    }

    /// Names the thread that [`Shared::watch_steps`] wakes.
    pub fn set_overrun_thread(&self, thread: Thread) {
        *lock(&self.overrun) = Some(thread);
    }

    /// Steps will run from now on: somebody must look whether they hang.
    pub fn watch_steps(&self) {
        if let Some(thread) = &*lock(&self.overrun) {
            thread.unpark();
        }
    }

    /// The inference thread has ended.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.watch_steps();
    }

    /// Whether the inference thread has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Wakes the inference thread.
    pub fn wake(&self) {
        let now = self.now().0 + 1;
        // Of several calls the first one counts.
        let _ = self.called.compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed);
        if let Some(thread) = &*lock(&self.inference) {
            thread.unpark();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
