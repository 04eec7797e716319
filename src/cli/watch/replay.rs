//! Drives the watches through a recorded series, in virtual time.

use super::recording::{LeftOut, Row};
use crate::cli::exit::Failure;
use crate::core::request::Priority;
use crate::watch::{Counts, Effect, Outcome, RunId, Watch, Watches};
use serde_json::Value;
use std::collections::BTreeMap;

/// What the model is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The task.
    pub task: String,
    /// Its variables.
    pub vars: Value,
    /// Its deadline.
    pub deadline_ms: Option<u32>,
    /// Its priority.
    pub priority: Option<Priority>,
}

/// What it said, and how long that took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What it said.
    pub outcome: Outcome,
    /// Real time, which passes in the series too.
    pub took_ms: u64,
}

/// What would have been published.
#[derive(Debug, Clone, PartialEq)]
pub struct Published<'a> {
    /// Milliseconds from the first row.
    pub now_ms: u64,
    /// Where.
    pub topic: &'a str,
    /// Whether the broker would keep it.
    pub retain: bool,
    /// What.
    pub payload: Value,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// The watch's own figures.
    pub counts: Counts,
    /// Rows without a number.
    pub bad: LeftOut,
    /// Whether an alert is on at the end.
    pub active: bool,
}

/// Asks the model.
pub type AskModel<'a> = &'a mut dyn FnMut(&Question) -> Result<Asked, Failure>;
/// Hears what would have been published.
pub type Print<'a> = &'a mut dyn FnMut(&Published<'_>) -> Result<(), Failure>;

/// A replay under way.
pub struct Replay<'a> {
    watches: Watches,
    ask: AskModel<'a>,
    print: Print<'a>,
    /// Answers on their way, by when they arrive.
    answers: BTreeMap<(u64, RunId), Outcome>,
    bad: LeftOut,
    active: bool,
    now_ms: u64,
}

impl<'a> Replay<'a> {
    /// At the beginning of virtual time.
    pub fn new(watch: Watch, ask: AskModel<'a>, print: Print<'a>) -> Self {
        Self {
            watches: Watches::new(vec![watch]),
            ask,
            print,
            answers: BTreeMap::new(),
            bad: LeftOut::default(),
            active: false,
            now_ms: 0,
        }
    }

    /// Time passes up to a row, and the row is heard.
    ///
    /// # Errors
    /// If printing fails, or the model cannot be asked at all.
    pub fn row(&mut self, row: &Row, topic: &str) -> Result<(), Failure> {
        self.pass(row.now_ms)?;
        let before = self.counts().bad_samples;
        self.now_ms = row.now_ms;
        self.watches.sample(row.now_ms, topic, row.payload.as_bytes());
        if self.counts().bad_samples > before {
            self.bad.add(row.line);
        }
        self.perform()
    }

    /// Waits for the answers on their way.
    ///
    /// # Errors
    /// As [`Replay::row`].
    pub fn finish(mut self) -> Result<Replayed, Failure> {
        while let Some((&(at_ms, _), _)) = self.answers.first_key_value() {
            self.pass(at_ms)?;
        }
        Ok(Replayed { counts: self.counts(), bad: self.bad, active: self.active })
    }

    fn counts(&self) -> Counts {
        self.watches.counts().next().map(|(_, counts)| *counts).unwrap_or_default()
    }

    /// Everything up to `end_ms`: wake-ups and answers, in order.
    fn pass(&mut self, end_ms: u64) -> Result<(), Failure> {
        loop {
            let answer_ms = self.answers.first_key_value().map(|((at_ms, _), _)| *at_ms);
            let wakeup_ms = self.watches.next_wakeup();
            let Some(at_ms) = [answer_ms, wakeup_ms].into_iter().flatten().min() else {
                return Ok(());
            };
            if at_ms > end_ms {
                return Ok(());
            }
            self.now_ms = at_ms;
            if answer_ms == Some(at_ms) {
                if let Some(((_, run), outcome)) = self.answers.pop_first() {
                    self.watches.answered(at_ms, run, outcome);
                }
            } else {
                self.watches.tick(at_ms);
            }
            self.perform()?;
        }
    }

    fn perform(&mut self) -> Result<(), Failure> {
        let effects: Vec<Effect> = self.watches.effects().collect();
        for effect in effects {
            match effect {
                Effect::Run { run, task, vars, deadline_ms, priority, .. } => {
                    let question = Question { task, vars, deadline_ms, priority };
                    let asked = (self.ask)(&question)?;
                    // Not at this very moment: a run takes some time.
                    let at_ms = self.now_ms + asked.took_ms.max(1);
                    self.answers.insert((at_ms, run), asked.outcome);
                }
                Effect::Publish { topic, payload, retain, .. } => {
                    let payload: Value = serde_json::from_slice(&payload).unwrap_or_default();
                    self.active = payload["state"] == "alert";
                    let topic = topic.as_str();
                    (self.print)(&Published { now_ms: self.now_ms, topic, retain, payload })?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::WatchSpec;

    #[test]
    fn a_run_takes_its_real_time_in_the_series() {
        let text = |s: &str| Some(s.to_owned());
        let spec = WatchSpec {
            topic: text("t"),
            publish: text("a"),
            when: text("last > 3"),
            task: text("x"),
            ..WatchSpec::default()
        };
        let mut published = Vec::new();
        let mut asked = Vec::new();
        let mut ask = |question: &Question| {
            asked.push(question.vars["last"].clone());
            let outcome = Outcome { text: Some("stop".into()), error: None, tokens: 7 };
            Ok(Asked { outcome, took_ms: 1_500 })
        };
        let mut print = |p: &Published<'_>| {
            published.push((p.now_ms, p.payload["answer"].clone()));
            Ok(())
        };
        let mut replay = Replay::new(spec.resolve().unwrap(), &mut ask, &mut print);
        for (now_ms, payload) in [(0, "1"), (1_000, "4"), (2_000, "5"), (3_000, "x"), (9_000, "1")]
        {
            replay.row(&Row { now_ms, payload: payload.into(), line: now_ms }, "t").unwrap();
        }
        let replayed = replay.finish().unwrap();
        assert_eq!(published, [(2_500, "stop".into()), (9_000, Value::Null)]);
        assert_eq!(asked, [Value::from(4)]);
        let mut bad = LeftOut::default();
        bad.add(3_000);
        assert_eq!((replayed.bad, replayed.active, replayed.counts.tokens), (bad, false, 7));
    }
}
