//! All watches together: what a front end drives.

use super::series::Series;
use super::spec::{Offline, Watch};
use super::watching::{Counts, Watching};
use crate::core::request::Priority;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// One run of the model for a watch; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The answer.
    pub text: Option<String>,
    /// Code and message of what went wrong; then `text` does not count.
    pub error: Option<(String, String)>,
    /// Tokens of prompt and answer.
    pub tokens: u32,
}

/// What is to be done for the watches.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask the model, then call [`Watches::answered`] in any case.
    Run {
        /// To be named in the answer.
        run: RunId,
        /// The watch's name.
        watch: String,
        /// The task.
        task: String,
        /// Its variables.
        vars: Value,
        /// The deadline; none: the task's.
        deadline_ms: Option<u32>,
        /// The priority; none: the task's.
        priority: Option<Priority>,
    },
    /// Publish this.
    Publish {
        /// The watch's name.
        watch: String,
        /// A valid topic name.
        topic: String,
        /// JSON.
        payload: Vec<u8>,
        /// Whether the broker is to keep it.
        retain: bool,
        /// What becomes of it while the broker is away.
        offline: Offline,
    },
}

/// What series of one watch are to be looked at when.
pub(super) struct Agenda<'a> {
    entries: &'a mut BTreeSet<(u64, usize, usize)>,
    watch: usize,
}

impl Agenda<'_> {
    pub fn change(&mut self, series: usize, before: Option<u64>, now: Option<u64>) {
        if before == now {
            return;
        }
        if let Some(at) = before {
            self.entries.remove(&(at, self.watch, series));
        }
        if let Some(at) = now {
            self.entries.insert((at, self.watch, series));
        }
    }
}

/// Where one watch puts what it wants.
pub(super) struct Outbox<'a> {
    pub effects: &'a mut VecDeque<Effect>,
    pub agenda: Agenda<'a>,
    runs: &'a mut HashMap<RunId, (usize, usize)>,
    next_run: &'a mut u64,
}

impl Outbox<'_> {
    /// A new run of this series.
    pub fn begin(&mut self, series: usize) -> RunId {
        let run = RunId(*self.next_run);
        *self.next_run += 1;
        self.runs.insert(run, (self.agenda.watch, series));
        run
    }

    pub fn publish(&mut self, watch: &Watch, series: &Series, payload: Vec<u8>) {
        self.effects.push_back(Effect::Publish {
            watch: watch.name.clone(),
            topic: series.publish.clone(),
            payload,
            retain: watch.retain,
            offline: watch.offline,
        });
    }
}

/// Every watch of a configuration. All times are milliseconds of one monotonic clock; one that
/// goes back is taken to stand still.
#[derive(Debug, Default)]
pub struct Watches {
    watches: Vec<Watching>,
    effects: VecDeque<Effect>,
    agenda: BTreeSet<(u64, usize, usize)>,
    /// At most one for each series.
    runs: HashMap<RunId, (usize, usize)>,
    next_run: u64,
    now_ms: u64,
}

impl Watches {
    /// Watches that go with each other; see [`super::conflict`].
    pub fn new(watches: Vec<Watch>) -> Self {
        Self { watches: watches.into_iter().map(Watching::new).collect(), ..Self::default() }
    }

    /// The distinct topic filters to subscribe to.
    pub fn filters(&self) -> Vec<&str> {
        let all: BTreeSet<&str> = self.watches.iter().map(|w| w.watch.filter.as_str()).collect();
        all.into_iter().collect()
    }

    /// Whether some watch takes this topic.
    pub fn matches(&self, topic: &str) -> bool {
        self.watches.iter().any(|w| w.watch.filter.matches(topic))
    }

    /// A message has come. Drain [`Watches::effects`] after this and the other calls.
    pub fn sample(&mut self, now_ms: u64, topic: &str, payload: &[u8]) {
        let now_ms = self.advance(now_ms);
        for watch in 0..self.watches.len() {
            if !self.watches[watch].takes(topic) {
                continue;
            }
            if let Some(series) = self.watches[watch].sample(now_ms, topic, payload) {
                self.settle(now_ms, watch, series);
            }
        }
    }

    /// Does what time alone has made due.
    pub fn tick(&mut self, now_ms: u64) {
        let now_ms = self.advance(now_ms);
        while let Some(&(at_ms, watch, series)) = self.agenda.first()
            && at_ms <= now_ms
        {
            self.settle(now_ms, watch, series);
        }
    }

    /// A run has ended, by an answer or without one. A run that is not under way is ignored.
    pub fn answered(&mut self, now_ms: u64, run: RunId, outcome: Outcome) {
        let now_ms = self.advance(now_ms);
        let Some((watch, series)) = self.runs.remove(&run) else { return };
        let (watching, mut outbox) = self.split(watch);
        watching.answered(now_ms, series, run, outcome, &mut outbox);
    }

    /// When [`Watches::tick`] is to be called next, if nothing else happens before.
    pub fn next_wakeup(&self) -> Option<u64> {
        self.agenda.first().map(|(at_ms, ..)| *at_ms)
    }

    /// What is to be done, in order; taken out.
    pub fn effects(&mut self) -> std::collections::vec_deque::Drain<'_, Effect> {
        self.effects.drain(..)
    }

    /// Name and counts of every watch.
    pub fn counts(&self) -> impl Iterator<Item = (&str, &Counts)> {
        self.watches.iter().map(|w| (w.watch.name.as_str(), &w.counts))
    }

    /// Figures for people and machines: one object for each watch.
    pub fn status(&self) -> Value {
        self.watches.iter().map(Watching::status).collect()
    }

    fn advance(&mut self, now_ms: u64) -> u64 {
        self.now_ms = self.now_ms.max(now_ms);
        self.now_ms
    }

    fn settle(&mut self, now_ms: u64, watch: usize, series: usize) {
        let (watching, mut outbox) = self.split(watch);
        watching.settle(now_ms, series, &mut outbox);
    }

    fn split(&mut self, watch: usize) -> (&mut Watching, Outbox<'_>) {
        let outbox = Outbox {
            effects: &mut self.effects,
            agenda: Agenda { entries: &mut self.agenda, watch },
            runs: &mut self.runs,
            next_run: &mut self.next_run,
        };
        (&mut self.watches[watch], outbox)
    }
}

#[cfg(test)]
#[path = "watches_tests.rs"]
mod tests;
