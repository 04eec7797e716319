//! Models that come and go while requests are served.

use super::{MAX_MODELS, Model, ModelPlan, Scheduler};
use crate::core::plan::ModelId;
use crate::core::request::{RequestId, Time};
use std::time::Duration;

impl Scheduler {
    /// Serves one more model; its number is that of one that went, or a new one.
    ///
    /// # Panics
    /// If [`MAX_MODELS`] are served already.
    pub fn install(&mut self, plan: ModelPlan) -> ModelId {
        let at = self.models.iter().position(|m| !m.is_served).unwrap_or(self.models.len());
        assert!(at < MAX_MODELS, "one model goes before another comes");
        let id = ModelId(u8::try_from(at).expect("a few models"));
        let model = Model::new(id, plan);
        match self.models.get_mut(at) {
            Some(place) => *place = model,
            None => self.models.push(model),
        }
        self.stint = None;
        id
    }

    /// No step is planned to take longer from now on.
    pub const fn set_max_step(&mut self, max_step: Duration) {
        self.limits.max_step = max_step;
    }

    /// Takes out the requests of `model` of which nothing was computed yet: they are not answered
    /// here.
    pub fn withdraw(&mut self, model: ModelId) -> Vec<RequestId> {
        self.stint = None;
        let mut withdrawn = Vec::new();
        self.sessions.retain(|session| {
            let stays =
                session.ticket.model != model || session.slot.is_some() || session.last_step > 0;
            if !stays {
                withdrawn.push(session.ticket.id);
            }
            stays
        });
        withdrawn.sort_unstable();
        withdrawn
    }

    /// How long the requests under way will take from `now` on, one after the other; none of them
    /// beyond its deadline.
    pub fn time_left(&self, now: Time) -> Duration {
        let work = self.sessions.iter().map(|session| {
            let model = self.model(session.ticket.model);
            let prompt = session.prefill.saturating_sub(session.fed);
            let prefill = self.prefill_time(model, session.fed, prompt, 100);
            prefill + model.costs.decode_run(1, session.known.into(), session.to_come())
        });
        let last = self.sessions.iter().map(|s| s.ticket.deadline.answer).max();
        work.sum::<Duration>().min(last.map_or(Duration::ZERO, |last| last.since(now)))
    }

    /// Whether any request of `model` is under way, or not yet told its end.
    pub fn uses(&self, model: ModelId) -> bool {
        !self.outputs.is_empty() || self.sessions.iter().any(|s| s.ticket.model == model)
    }

    /// The engine of `model` is gone; nothing [uses](Self::uses) it.
    pub fn retire(&mut self, model: ModelId) {
        debug_assert!(!self.uses(model), "a model in use goes");
        self.models[usize::from(model.0)].is_served = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::cost::{Costs, Shape};
    use crate::core::plan::{Caps, Rollback, Shapes, Slot, StopGrain};
    use crate::core::request::{Deadline, Priority};
    use crate::core::scheduler::{Input, Limits, Output, RowOutcome};
    use crate::core::session::Ticket;

    fn plan() -> ModelPlan {
        let caps = Caps {
            max_rows: 1,
            multi_token_rows: 1,
            mixed: false,
            shapes: Shapes::Any,
            rollback: Rollback::AnyLen,
            all_logits: true,
            stop: StopGrain::Step,
            context_tokens: 128,
            max_chunk: 32,
            slots: 1,
            vocab_size: 8,
        };
        let shape = Shape {
            decode_us: 1000.0,
            row_us: 1000.0,
            attend_us: 0.0,
            chunk_us: 1000.0,
            token_us: 100.0,
            token_attend_us: 0.0,
        };
        ModelPlan { caps, costs: Costs::new(shape), slot_bytes: 10 }
    }

    fn ticket(id: u64, model: ModelId) -> Ticket {
        Ticket {
            id: RequestId(id),
            model,
            prompt_tokens: 8,
            max_new: 4,
            least: None,
            depth: None,
            priority: Priority::Normal,
            deadline: Deadline { answer: Time(10_000_000), first_token: None, best_effort: true },
            arrived: Time(0),
        }
    }

    fn step(scheduler: &mut Scheduler, now: Time) -> Slot {
        let Output::Step(step) = scheduler.poll(now) else { panic!("no step") };
        let row = step[0];
        let rows = [(row.id, if row.logits { RowOutcome::Grew(1) } else { RowOutcome::Fed })];
        let took = Duration::from_millis(1);
        scheduler.handle(now.after(took), Input::Stepped { took, rows: &rows });
        row.slot
    }

    #[test]
    fn a_model_goes_when_what_it_had_begun_has_ended_and_its_number_is_used_again() {
        let limits =
            Limits { queue: 4, max_step: Duration::from_millis(60), delivery: Duration::ZERO };
        let (old, mut scheduler) = (ModelId(0), Scheduler::new(vec![plan()], limits));
        let mut now = Time(1);
        for id in 1..=3 {
            scheduler.handle(now, Input::Submit(ticket(id, old)));
        }
        let slot = step(&mut scheduler, now);
        now = now.after(Duration::from_millis(1));
        let new = scheduler.install(plan());
        assert_eq!((slot.model, new), (old, ModelId(1)));
        assert_eq!(scheduler.withdraw(old), [RequestId(2), RequestId(3)], "they had not begun");
        assert!(scheduler.time_left(now) > Duration::from_millis(1));
        scheduler.handle(now, Input::Submit(ticket(4, new)));
        // Both are served side by side until the old one has nothing to do.
        let mut seen = [false; 2];
        let mut ended = 0;
        for _ in 0..100 {
            match scheduler.poll(now) {
                Output::Step(step) => {
                    let row = step[0];
                    seen[usize::from(row.slot.model.0)] = true;
                    let outcome = if row.logits { RowOutcome::Grew(1) } else { RowOutcome::Fed };
                    let took = Duration::from_millis(1);
                    let rows = [(row.id, outcome)];
                    now = now.after(took);
                    scheduler.handle(now, Input::Stepped { took, rows: &rows });
                }
                Output::Finished { slot, .. } => {
                    ended += 1;
                    scheduler.handle(now, Input::SlotFreed(slot.expect("it had one")));
                }
                Output::Idle(_) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((seen, ended), ([true, true], 2));
        assert!(!scheduler.uses(old) && scheduler.time_left(now).is_zero());
        scheduler.retire(old);
        assert_eq!(scheduler.install(plan()), old);
    }
}
