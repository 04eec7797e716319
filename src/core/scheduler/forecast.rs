//! Whether promises will be kept: the promised sessions played forward, each to its full length.
//!
//! A session is two jobs, one after the other: its prompt, due at the first token's bound, and its
//! answer, due at the deadline. Played forward by earliest due time, one session a step, that is
//! optimal for one preemptible resource (Liu and Layland 1973; Dertouzos 1974). Where several
//! sessions share a step, more is done in less time, but each waits longer for its own: so a wide
//! plan, which feeds the prompts first and then decodes together, is tried too. Whatever plan keeps
//! every promise, its first step leads to a state from which the same plan still does: that is why a
//! promise, once given, holds while steps cost what they were thought to. Whom a wide plan has no
//! room for may still be served behind all others, in the order of arrival.

use super::{MAX_MODELS, MAX_SESSIONS, Model, Scheduler};
use crate::core::plan::MAX_ROWS;
use crate::core::request::{RequestId, Time};
use crate::core::session::{Phase, Session};
use std::time::Duration;

/// What a promised session has before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    pub id: RequestId,
    model: usize,
    pub seated: bool,
    /// Tokens in its slot.
    pos: u32,
    /// Tokens to feed before it decodes.
    prefill: u32,
    /// Steps of one token after that.
    steps: u32,
    /// The bound on its first token, while there is none.
    pub first_token: Option<Time>,
    pub answer: Time,
    /// How slow steps may be for it to be in time, as a percentage of their price, if that is other
    /// than for the plan as a whole; 0: the plan holds even if it is late.
    percent: Option<u32>,
    /// Whether it was promised to come behind all who were there.
    last: bool,
    /// Whether it waits in the plan until the others are through.
    waits: bool,
}

impl Task {
    pub(super) fn new(session: &Session) -> Self {
        let decodes = session.phase() == Phase::Decode;
        let ticket = &session.ticket;
        let after_prefill = session.to_come().saturating_sub(1);
        Self {
            id: ticket.id,
            model: usize::from(ticket.model.0),
            seated: session.slot.is_some(),
            pos: session.fed,
            prefill: if decodes { 0 } else { session.pending() },
            steps: after_prefill + if decodes { session.pending() } else { 0 },
            first_token: ticket.deadline.first_token.filter(|_| session.generated() == 0),
            answer: ticket.deadline.answer,
            percent: None,
            last: session.last,
            waits: false,
        }
    }

    /// The same session after its slot was taken away.
    pub(super) const fn unseated(self, session: &Session) -> Self {
        let steps = session.to_come().saturating_sub(1);
        Self { seated: false, pos: 0, prefill: session.known, steps, ..self }
    }

    /// The same session, behind all others.
    pub(super) const fn behind(self) -> Self {
        Self { last: true, ..self }
    }

    /// The same session once it has a slot.
    pub(super) const fn with_slot(self) -> Self {
        Self { seated: true, ..self }
    }

    /// Whether it could run.
    const fn is_ready(&self) -> bool {
        self.seated && !self.waits
    }

    /// When its present job is due.
    fn due(&self) -> (Time, RequestId) {
        let bound = self.first_token.filter(|_| self.prefill > 0);
        (bound.map_or(self.answer, |bound| bound.min(self.answer)), self.id)
    }
}

/// The promised sessions, as a plan is played over them. To move or to return one costs as much as
/// if it were full: they are filled and changed in place.
pub(super) type Tasks = heapless::Vec<Task, MAX_SESSIONS>;

/// What is promised already, looked at once for all the ways in which a request might join it.
pub(super) struct Promises {
    pub tasks: Tasks,
    frail: heapless::Vec<RequestId, MAX_SESSIONS>,
    pace: Pace,
}

impl Promises {
    pub(super) const fn new() -> Self {
        let pace = Pace { now: Time(0), percent: EXACT, between: EXACT, delivery: Duration::ZERO };
        Self { tasks: Tasks::new(), frail: heapless::Vec::new(), pace }
    }

    pub(super) const fn now(&self) -> Time {
        self.pace.now
    }

    pub(super) const fn percent(&self) -> u32 {
        self.pace.percent
    }

    /// What time it will be after work of this price.
    pub(super) fn clock(&self, worked: Duration) -> Time {
        self.pace.clock(worked, self.pace.percent)
    }
}

/// Makes `tasks` the same as `from`.
pub(super) fn copy(tasks: &mut Tasks, from: &Tasks) {
    tasks.clear();
    tasks.extend_from_slice(from).expect("as much room as in the other");
}

/// The sessions of a plan's first step, its leader first.
pub(super) type First = heapless::Vec<RequestId, MAX_ROWS>;

/// What steps are thought to take once something is promised: their price.
pub(super) const EXACT: u32 = 100;

/// From when on, and how slowly, a plan is played.
#[derive(Debug, Clone, Copy)]
struct Pace {
    now: Time,
    percent: u32,
    /// How long work takes with what goes on between its steps, in per cent.
    between: u32,
    /// What an answer may take to whoever waits for it, and what a step may be late.
    delivery: Duration,
}

impl Pace {
    /// What time it is after work of this price, for whom steps take `percent` per cent of theirs.
    /// Where that is a reserve, the way to the client is part of it.
    fn clock(self, worked: Duration, percent: u32) -> Time {
        let delivery = if percent > EXACT { self.delivery } else { Duration::ZERO };
        self.now.after(worked * percent / 100 * self.between / 100 + delivery)
    }
}

/// How sessions share steps in a plan.
#[derive(Debug, Clone, Copy)]
struct Width {
    /// The most sessions in a step.
    rows: usize,
    /// Whether prompts are fed before anybody decodes, so that more decode together.
    prompts_first: bool,
}

/// Who breaks the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken(pub RequestId);

impl Scheduler {
    /// The promised sessions as they stand, without those whose promise cannot be kept any more
    /// after steps that took longer than they should: these must not take others with them.
    pub(super) fn promised(&self, now: Time) -> Tasks {
        let mut tasks = Tasks::new();
        tasks.extend(self.sessions.iter().filter(|s| s.is_promised()).map(Task::new));
        while let Err(Broken(id)) = self.forecast(now, &tasks, EXACT) {
            let at = tasks.iter().position(|t| t.id == id).expect("it broke, so it is there");
            tasks.swap_remove(at);
        }
        tasks
    }

    /// What is promised at `now`, and who of these has used up part of the reserve that steps of
    /// `percent` per cent of their price leave.
    pub(super) fn promises(&self, now: Time, percent: u32, promises: &mut Promises) {
        promises.pace = self.pace(now, percent);
        promises.frail.clear();
        copy(&mut promises.tasks, &self.promised(now));
        let mut reserved = Tasks::new();
        copy(&mut reserved, &promises.tasks);
        while let Err(Broken(id)) = self.forecast(now, &reserved, percent) {
            promises.frail.push(id).expect("as much room as for the tasks");
            ease(&mut reserved, &[id], 0);
        }
    }

    /// Whether a request would keep its bounds, and all that were promised before theirs. `after` is
    /// who is there with the request, which comes last in it. Those that are frail without it must
    /// keep half of their reserve.
    pub(super) fn may_join(&self, promises: &Promises, after: &Tasks) -> bool {
        let Promises { pace, frail, .. } = promises;
        if self.forecast(pace.now, after, pace.percent).is_ok() {
            return true;
        }
        let mut eased = Tasks::new();
        copy(&mut eased, after);
        ease(&mut eased, frail, u32::midpoint(EXACT, pace.percent));
        !frail.is_empty() && self.forecast(pace.now, &eased, pace.percent).is_ok()
    }

    /// The same for a request that would come behind all others: then the frail ones must only be
    /// in time.
    pub(super) fn may_follow(&self, promises: &Promises, after: &Tasks) -> bool {
        let mut eased = Tasks::new();
        copy(&mut eased, after);
        ease(&mut eased, &promises.frail, EXACT);
        self.behind(promises.pace, &eased).is_ok()
    }

    /// Takes the promised sessions to where they are after a step of some `rows`, each with its
    /// tokens, that ends at `now`.
    ///
    /// # Errors
    /// Who is late at its end.
    pub(super) fn after(
        &self,
        now: Time,
        tasks: &mut Tasks,
        rows: &[(RequestId, u32)],
    ) -> Result<(), Broken> {
        let mut free = self.seats_beside(tasks);
        for (id, tokens) in rows {
            if let Some(at) = tasks.iter().position(|t| t.id == *id) {
                let task = &mut tasks[at];
                task.pos += tokens;
                match task.prefill {
                    0 => task.steps = task.steps.saturating_sub(*tokens),
                    _ => task.prefill = task.prefill.saturating_sub(*tokens),
                }
                if task.prefill == 0 {
                    let clock = |_: &Task| now;
                    settle(tasks, at, clock, &mut free)?;
                }
            }
        }
        Ok(())
    }

    /// The first step of a plan that keeps all promises from `now` on, if everything takes `percent`
    /// per cent of its price; nothing for no tasks.
    ///
    /// # Errors
    /// Who is late first if sessions run one by one.
    pub(super) fn forecast(&self, now: Time, tasks: &Tasks, percent: u32) -> Result<First, Broken> {
        let pace = self.pace(now, percent);
        self.free(pace, tasks).or_else(|broken| match tasks.iter().any(|task| task.last) {
            true => self.behind(pace, tasks).or(Err(broken)),
            false => Err(broken),
        })
    }

    fn pace(&self, now: Time, percent: u32) -> Pace {
        let delivery = self.limits.delivery + self.between.stall();
        Pace { now, percent, between: self.between.percent(), delivery }
    }

    /// A plan in which those who were let in behind all others wait for these.
    fn behind(&self, pace: Pace, from: &Tasks) -> Result<First, Broken> {
        let mut tasks = Tasks::new();
        copy(&mut tasks, from);
        tasks.iter_mut().for_each(|task| task.waits = task.last);
        self.free(pace, &tasks)
    }

    /// A plan for whoever does not wait, the widest that holds. All widths are tried: none of them is best
    /// everywhere, and what ends early can make a wide plan worse (Graham, "Bounds on multiprocessing timing
    /// anomalies", 1969).
    fn free(&self, pace: Pace, tasks: &Tasks) -> Result<First, Broken> {
        let widest = self.models.iter().map(|m| m.caps.max_rows).max().unwrap_or(1);
        let rows = usize::from(widest).min(tasks.len()).min(MAX_ROWS);
        let width = |rows| [true, false].map(|prompts_first| Width { rows, prompts_first });
        let mut plans = (2..=rows).rev().flat_map(width).map(|width| self.play(pace, tasks, width));
        match plans.find(Result::is_ok) {
            Some(plan) => plan,
            None => self.play(pace, tasks, Width { rows: 1, prompts_first: false }),
        }
    }

    fn play(&self, pace: Pace, from: &Tasks, width: Width) -> Result<First, Broken> {
        let (mut worked, mut first) = (Duration::ZERO, First::new());
        let mut tasks = Tasks::new();
        copy(&mut tasks, from);
        tasks.sort_unstable_by_key(Task::due);
        let mut free = self.seats_beside(&tasks);
        while !tasks.is_empty() {
            let leader = seat(&mut tasks, &mut free, width.prompts_first);
            let mut step: heapless::Vec<usize, MAX_ROWS> = heapless::Vec::new();
            step.push(leader).expect("room for one");
            let took = if tasks[leader].prefill > 0 {
                self.play_prefill(pace, &mut tasks[leader])
            } else {
                share(&tasks, &mut step, width.rows.min(self.rows_of(tasks[leader].model)));
                self.play_decode(&mut tasks, &step)
            };
            if first.is_empty() {
                first.extend(step.iter().map(|&i| tasks[i].id));
            }
            worked += took;
            step.sort_unstable_by(|a, b| b.cmp(a));
            for at in step {
                settle(
                    &mut tasks,
                    at,
                    |task| pace.clock(worked, task.percent.unwrap_or(pace.percent)),
                    &mut free,
                )?;
            }
        }
        Ok(first)
    }

    fn rows_of(&self, model: usize) -> usize {
        usize::from(self.models[model].caps.max_rows)
    }

    /// Slots of each model that no promised session holds: best-effort ones give theirs up.
    fn seats_beside(&self, tasks: &Tasks) -> heapless::Vec<usize, MAX_MODELS> {
        let held = |model| tasks.iter().filter(|t| t.seated && t.model == model).count();
        let slots = self.models.iter().map(|m| usize::from(m.caps.slots)).enumerate();
        slots.map(|(model, slots)| slots.saturating_sub(held(model))).collect()
    }

    fn play_prefill(&self, pace: Pace, task: &mut Task) -> Duration {
        let model = &self.models[task.model];
        let took = self.prefill_time(model, task.pos, task.prefill, pace.percent);
        task.pos += task.prefill;
        task.prefill = 0;
        took
    }

    /// The price of a prompt in the chunks that it has if steps take `percent` per cent of their
    /// price: a little slower, and they may be shorter and cost more.
    pub(super) fn prefill_time(
        &self,
        model: &Model,
        pos: u32,
        tokens: u32,
        percent: u32,
    ) -> Duration {
        let bound = self.bound(model).saturating_mul(100) / percent;
        model.costs.prefill(pos, tokens, bound, model.caps.max_chunk)
    }

    /// As many steps as all of them have before them.
    fn play_decode(&self, tasks: &mut Tasks, step: &[usize]) -> Duration {
        let model = tasks[step[0]].model;
        let run = step.iter().map(|&i| tasks[i].steps).min().unwrap_or(0);
        let positions = step.iter().map(|&i| u64::from(tasks[i].pos)).sum();
        for &at in step {
            tasks[at].pos += run;
            tasks[at].steps -= run;
        }
        self.models[model].costs.decode_run(step.len() as u32, positions, run)
    }
}

/// Lets steps be as slow as `percent` per cent of their price for these to be in time.
fn ease(tasks: &mut Tasks, ids: &[RequestId], percent: u32) {
    for task in tasks.iter_mut().filter(|t| ids.contains(&t.id)) {
        task.percent = Some(percent);
    }
}

/// Takes the slot of `session`, if it is one of the tasks.
pub(super) fn unseat(tasks: &mut Tasks, session: &Session) {
    for task in tasks.iter_mut().filter(|task| task.id == session.ticket.id) {
        *task = task.unseated(session);
    }
}

/// Gives free slots to those who wait, and says whose turn it is: the first of those with a slot, or
/// of those of its model whose prompt is not fed, if these go first. The tasks are in the order of
/// their due times.
///
/// Who holds a slot that another waits for is due no later than that one (Sha, Rajkumar and Lehoczky
/// 1990): among sessions of one model that changes nothing, but those of another must not come
/// between.
fn seat(tasks: &mut Tasks, free: &mut [usize], prompts_first: bool) -> usize {
    for task in tasks.iter_mut().filter(|t| !t.seated && !t.waits) {
        if free[task.model] > 0 {
            free[task.model] -= 1;
            task.seated = true;
        }
    }
    let Some((leader, model)) = first_in_turn(tasks) else {
        // Those before them are through, or need their slots.
        let next = tasks.iter_mut().filter(|t| t.waits).min_by_key(|t| t.id);
        next.expect("somebody is ready, or waits").waits = false;
        return seat(tasks, free, prompts_first);
    };
    // Only those of one model share steps later: another's prompts need not come first.
    let has_prompt = |t: &Task| t.is_ready() && t.model == model && t.prefill > 0;
    tasks.iter().position(has_prompt).filter(|_| prompts_first).unwrap_or(leader)
}

/// The first task that is ready, and its model.
fn first_in_turn(tasks: &Tasks) -> Option<(usize, usize)> {
    let mut first = [None; MAX_MODELS];
    let mut wanted = [None; MAX_MODELS];
    for (at, task) in tasks.iter().enumerate() {
        if task.is_ready() {
            first[task.model].get_or_insert((task.due(), at));
        } else if !task.waits {
            wanted[task.model].get_or_insert(task.due());
        }
    }
    let turns = first.into_iter().zip(wanted).enumerate();
    let turns = turns.filter_map(|(model, (first, wanted))| {
        let (due, at) = first?;
        Some((wanted.map_or(due, |wanted| due.min(wanted)), due, at, model))
    });
    turns.min().map(|(_, _, at, model)| (at, model))
}

/// Adds those who may share the leader's step, by due time.
fn share(tasks: &Tasks, step: &mut heapless::Vec<usize, MAX_ROWS>, rows: usize) {
    let leader = step[0];
    let fits = |i: &usize| {
        let task = &tasks[*i];
        *i != leader && task.is_ready() && task.prefill == 0 && task.model == tasks[leader].model
    };
    step.extend((0..tasks.len()).filter(fits).take(rows - 1));
}

/// Checks a task at the end of its step, and lets it go if it is done.
fn settle(
    tasks: &mut Tasks,
    at: usize,
    clock: impl Fn(&Task) -> Time,
    free: &mut [usize],
) -> Result<(), Broken> {
    let task = &mut tasks[at];
    let now = clock(task);
    let bound = task.first_token.take();
    if bound.is_some_and(|bound| now > bound) {
        return Err(Broken(task.id));
    }
    if task.steps == 0 {
        if now > task.answer {
            return Err(Broken(task.id));
        }
        free[task.model] += 1;
        tasks.remove(at);
    } else if bound.is_some() {
        // It is due later now.
        let task = tasks.remove(at);
        let later = tasks.partition_point(|t| t.due() < task.due());
        tasks.insert(later, task).expect("as much room as before");
    }
    Ok(())
}
