//! The life of one series' alert: quiet, tripped, published, cleared. Time and verdicts come in,
//! actions go out; it knows neither windows nor texts.

use super::rule::Verdict;
use super::spec::Watch;
use super::watches::RunId;
use crate::core::error::ErrorCode;

/// Waits after the first, second and third retryable failure.
const RETRY_MS: [u64; 3] = [1_000, 2_000, 4_000];
/// A run that could last no longer than this is not begun again.
const LEAST_RUN_MS: u64 = 250;
/// An answer is waited for so long after its deadline.
const GRACE_MS: u64 = 2_000;

/// Why an alert has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub code: String,
    pub message: String,
}

impl Fault {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code: code.code().to_owned(), message: message.into() }
    }

    fn is_retryable(&self) -> bool {
        ErrorCode::from_code(&self.code).is_some_and(ErrorCode::retryable)
    }
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// It has just tripped; nothing to do yet.
    Tripped,
    /// Ask the model, with the newest statistics; then [`Alert::started`] or [`Alert::refused`].
    Run { deadline_ms: Option<u32>, is_retry: bool },
    /// Publish that the alert is on.
    Publish { since_ms: u64, outcome: Option<Result<String, Fault>> },
    /// Publish that it is over.
    Clear { since_ms: u64 },
    /// It is over before anything was published.
    Withdraw,
    /// An answer came that nobody waits for.
    Drop,
}

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Quiet,
    /// `when` holds, since then.
    Holding(u64),
    Tripped(Tripped),
}

#[derive(Debug)]
struct Tripped {
    since_ms: u64,
    published: bool,
    asking: Option<Asking>,
    repeat_at_ms: Option<u64>,
}

/// An alert that waits for its answer.
#[derive(Debug)]
struct Asking {
    began_ms: u64,
    /// The answer is due.
    until_ms: u64,
    /// Runs begun.
    tries: usize,
    next_try_ms: u64,
    run: Option<RunId>,
}

impl Asking {
    const fn new(now_ms: u64, watch: &Watch) -> Self {
        let until_ms = now_ms.saturating_add(watch.patience_ms);
        Self { began_ms: now_ms, until_ms, tries: 0, next_try_ms: now_ms, run: None }
    }

    /// After this no further run is begun.
    fn last_start_ms(&self) -> u64 {
        self.until_ms.saturating_sub(LEAST_RUN_MS).max(self.began_ms)
    }
}

/// One series' alert.
#[derive(Debug, Default)]
pub(super) struct Alert {
    phase: Phase,
    cooldown_until_ms: u64,
    /// The one run under way, whether or not somebody still waits for it.
    run: Option<RunId>,
}

impl Alert {
    /// Whether nothing would be lost with it at this time.
    pub const fn is_idle(&self, now_ms: u64) -> bool {
        matches!(self.phase, Phase::Quiet) && self.run.is_none() && self.cooldown_until_ms <= now_ms
    }

    /// Whether an alert was published that is not over.
    pub const fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Tripped(Tripped { published: true, .. }))
    }

    /// Whether `clear` matters now.
    pub const fn is_tripped(&self) -> bool {
        matches!(self.phase, Phase::Tripped(_))
    }

    /// Since when `when` has held, while it matters.
    pub const fn since_ms(&self) -> Option<u64> {
        match &self.phase {
            Phase::Quiet => None,
            Phase::Holding(since_ms) => Some(*since_ms),
            Phase::Tripped(tripped) => Some(tripped.since_ms),
        }
    }

    /// Hears what the rules say now; `clear` is none where only `when` was given.
    pub fn judge(
        &mut self,
        now_ms: u64,
        when: Verdict,
        clear: Option<Verdict>,
        watch: &Watch,
    ) -> Option<Action> {
        let since_ms = match (&self.phase, when) {
            (Phase::Tripped(_), _) => return self.judge_clear(now_ms, when, clear, watch),
            (Phase::Quiet, Verdict::Holds) => now_ms,
            (Phase::Holding(since_ms), Verdict::Holds) => *since_ms,
            (_, Verdict::Fails | Verdict::Unknown) => {
                self.phase = Phase::Quiet;
                return None;
            }
        };
        if now_ms < self.trips_at_ms(since_ms, watch) {
            self.phase = Phase::Holding(since_ms);
            return None;
        }
        let asking = Some(Asking::new(now_ms, watch));
        let tripped = Tripped { since_ms, published: false, asking, repeat_at_ms: None };
        self.phase = Phase::Tripped(tripped);
        Some(Action::Tripped)
    }

    fn trips_at_ms(&self, since_ms: u64, watch: &Watch) -> u64 {
        since_ms.saturating_add(watch.hold_ms).max(self.cooldown_until_ms)
    }

    fn judge_clear(
        &mut self,
        now_ms: u64,
        when: Verdict,
        clear: Option<Verdict>,
        watch: &Watch,
    ) -> Option<Action> {
        let over = match clear {
            // Where both hold, it would trip again at once.
            Some(clear) => clear == Verdict::Holds && when != Verdict::Holds,
            None => when == Verdict::Fails,
        };
        let Phase::Tripped(tripped) = &self.phase else { return None };
        if !over {
            return None;
        }
        let action = match tripped.published {
            true => Action::Clear { since_ms: tripped.since_ms },
            false => Action::Withdraw,
        };
        self.phase = Phase::Quiet;
        self.cooldown_until_ms = now_ms.saturating_add(watch.cooldown_ms);
        Some(action)
    }

    /// What time has made due; to be called until it says none.
    pub fn next(&mut self, now_ms: u64, watch: &Watch) -> Option<Action> {
        let Phase::Tripped(tripped) = &mut self.phase else { return None };
        if tripped.asking.is_none() && tripped.repeat_at_ms.is_some_and(|at| at <= now_ms) {
            tripped.asking = Some(Asking::new(now_ms, watch));
        }
        let asking = tripped.asking.as_ref()?;
        if watch.task.is_none() {
            return self.publish(now_ms, watch, None);
        }
        if asking.run.is_some() {
            let late = now_ms >= asking.until_ms.saturating_add(GRACE_MS);
            let message = "the model did not answer by the deadline";
            let fault = Fault::new(ErrorCode::DeadlineExceeded, message);
            return late.then(|| self.publish(now_ms, watch, Some(Err(fault)))).flatten();
        }
        if now_ms > asking.last_start_ms() {
            let fault = Fault::new(ErrorCode::Busy, "an earlier run of this series is under way");
            return self.publish(now_ms, watch, Some(Err(fault)));
        }
        if self.run.is_some() || now_ms < asking.next_try_ms {
            return None;
        }
        let left = u32::try_from(asking.until_ms.saturating_sub(now_ms)).unwrap_or(u32::MAX);
        let first = now_ms == asking.began_ms;
        let deadline_ms = if first { watch.deadline_ms } else { Some(left) };
        Some(Action::Run { deadline_ms, is_retry: asking.tries > 0 })
    }

    fn publish(
        &mut self,
        now_ms: u64,
        watch: &Watch,
        outcome: Option<Result<String, Fault>>,
    ) -> Option<Action> {
        let Phase::Tripped(tripped) = &mut self.phase else { return None };
        self.cooldown_until_ms = now_ms.saturating_add(watch.cooldown_ms);
        tripped.published = true;
        tripped.asking = None;
        let again = |repeat_ms: u64| now_ms.saturating_add(repeat_ms).max(self.cooldown_until_ms);
        tripped.repeat_at_ms = watch.repeat_ms.map(again);
        Some(Action::Publish { since_ms: tripped.since_ms, outcome })
    }

    /// The run that was asked for is under way.
    pub fn started(&mut self, run: RunId) {
        self.run = Some(run);
        if let Phase::Tripped(Tripped { asking: Some(asking), .. }) = &mut self.phase {
            asking.run = Some(run);
            asking.tries += 1;
        }
    }

    /// The run that was asked for may not be begun.
    pub fn refused(&mut self, now_ms: u64, fault: Fault, watch: &Watch) -> Option<Action> {
        self.publish(now_ms, watch, Some(Err(fault)))
    }

    /// A run has ended.
    pub fn ended(
        &mut self,
        now_ms: u64,
        run: RunId,
        outcome: Result<String, Fault>,
        watch: &Watch,
    ) -> Option<Action> {
        if self.run == Some(run) {
            self.run = None;
        }
        let Phase::Tripped(Tripped { asking: Some(asking), .. }) = &mut self.phase else {
            return Some(Action::Drop);
        };
        if asking.run != Some(run) {
            return Some(Action::Drop);
        }
        asking.run = None;
        if let Err(fault) = &outcome
            && fault.is_retryable()
            && let Some(wait_ms) = RETRY_MS.get(asking.tries - 1)
        {
            asking.next_try_ms = now_ms.saturating_add(*wait_ms);
            if asking.next_try_ms <= asking.last_start_ms() {
                return None;
            }
        }
        self.publish(now_ms, watch, Some(outcome))
    }

    /// When something happens only because time passes, the rules aside.
    pub fn due_ms(&self, watch: &Watch) -> Option<u64> {
        match &self.phase {
            Phase::Quiet => None,
            Phase::Holding(since_ms) => Some(self.trips_at_ms(*since_ms, watch)),
            Phase::Tripped(Tripped { asking: Some(asking), .. }) => Some(match asking.run {
                Some(_) => asking.until_ms.saturating_add(GRACE_MS),
                None if self.run.is_some() => asking.last_start_ms().saturating_add(1),
                None => asking.next_try_ms,
            }),
            Phase::Tripped(tripped) => tripped.repeat_at_ms,
        }
    }
}
