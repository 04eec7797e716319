//! One watch at work: samples into series, verdicts into actions, actions into effects.

use super::alert::{Action, Fault};
use super::budget::Budget;
use super::report;
use super::rule::{Rule, Verdict};
use super::series::{Place, Series, Table};
use super::spec::Watch;
use super::stats::Stats;
use super::value::{BadSample, number};
use super::watches::{Effect, Outbox, Outcome, RunId};
use super::window::WindowSpec;
use crate::core::error::ErrorCode;
use serde_json::{Value, json};

/// How often a rule over `age_s` is looked at, and the longest that a change by time may wait.
const PACE_MS: u64 = 1_000;
/// Series with bad samples that the status names.
const BAD_SHOWN: usize = 16;

/// What has happened since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    /// Samples with a number.
    pub samples: u64,
    /// Payloads without one.
    pub bad_samples: u64,
    /// Samples of topics for which there was no place, or whose alert could have no topic.
    pub refused_samples: u64,
    /// Series that gave their place to a new topic.
    pub replaced_series: u64,
    /// Evaluations that failed.
    pub rule_errors: u64,
    /// Times that the rule tripped.
    pub trips: u64,
    /// Trips that were over before their answer came.
    pub withdrawn: u64,
    /// Requests to the model.
    pub runs: u64,
    /// Of these, after a failure that may pass.
    pub retries: u64,
    /// Runs that the token budget did not allow.
    pub refused_by_budget: u64,
    /// Answers that came when nobody waited for them any more.
    pub superseded: u64,
    /// Tokens of all runs.
    pub tokens: u64,
    /// Alerts published.
    pub alerts: u64,
    /// Of these, without an answer that was asked for.
    pub unanswered: u64,
    /// Ends of alerts published.
    pub cleared: u64,
}

/// One watch with its series.
#[derive(Debug)]
pub(super) struct Watching {
    pub watch: Watch,
    pub counts: Counts,
    table: Table,
    budget: Budget,
    /// The first error of a rule.
    rule_error: Option<String>,
}

impl Watching {
    pub fn new(watch: Watch) -> Self {
        let budget = Budget::new(watch.tokens_per_hour);
        let (counts, table) = (Counts::default(), Table::default());
        Self { watch, counts, table, budget, rule_error: None }
    }

    /// Whether a topic is its own; those that it knows cost a look-up only.
    pub fn takes(&self, topic: &str) -> bool {
        self.table.find(topic).is_some() || self.watch.filter.matches(topic)
    }

    /// Takes a payload of a topic that the filter matches; the series that it belongs to.
    pub fn sample(&mut self, now_ms: u64, topic: &str, payload: &[u8]) -> Option<usize> {
        let value = number(payload, self.watch.value.as_deref());
        let Some(index) = self.series(now_ms, topic, value.is_ok()) else {
            match value {
                Ok(_) => self.counts.refused_samples += 1,
                Err(_) => self.counts.bad_samples += 1,
            }
            return None;
        };
        let series = self.table.at(index);
        series.heard_ms = now_ms;
        match value {
            Ok(x) => {
                self.counts.samples += 1;
                series.window.push(now_ms, x);
                Some(index)
            }
            Err(kind) => {
                self.counts.bad_samples += 1;
                let kinds = series.bad.iter_mut().zip(BadSample::ALL);
                kinds.filter(|(_, k)| *k == kind).for_each(|(count, _)| *count += 1);
                None
            }
        }
    }

    fn series(&mut self, now_ms: u64, topic: &str, may_replace: bool) -> Option<usize> {
        if let Some(index) = self.table.find(topic) {
            return Some(index);
        }
        let captures = self.watch.filter.captures(topic)?;
        let publish = self.watch.publish.fill(&captures).ok()?;
        match self.table.add(topic, publish, self.watch.window, now_ms, may_replace) {
            Place::New(index) => Some(index),
            Place::Replaced(index) => {
                self.counts.replaced_series += 1;
                Some(index)
            }
            Place::Full => None,
        }
    }

    /// Brings one series up to this time; says when it was to be looked at before and is now.
    pub fn settle(&mut self, now_ms: u64, index: usize, outbox: &mut Outbox) {
        let stats = self.judge(now_ms, index, outbox);
        while let Some(action) = self.table.at(index).alert.next(now_ms, &self.watch) {
            self.perform(now_ms, index, action, &stats, outbox);
        }
        self.plan(now_ms, index, outbox);
    }

    /// A run of this series has ended.
    pub fn answered(
        &mut self,
        now_ms: u64,
        index: usize,
        run: RunId,
        outcome: Outcome,
        outbox: &mut Outbox,
    ) {
        self.budget.end(now_ms, outcome.tokens);
        self.counts.tokens += u64::from(outcome.tokens);
        // It may be over by now, which only time has brought.
        let stats = self.judge(now_ms, index, outbox);
        let result = match (outcome.error, outcome.text) {
            (Some((code, message)), _) => Err(Fault { code, message }),
            (None, Some(text)) => Ok(text),
            (None, None) => Err(Fault::new(ErrorCode::Internal, "neither an answer nor an error")),
        };
        let action = self.table.at(index).alert.ended(now_ms, run, result, &self.watch);
        if let Some(action) = action {
            self.perform(now_ms, index, action, &stats, outbox);
        }
        self.settle(now_ms, index, outbox);
    }

    /// Evaluates the rules that matter.
    fn judge(&mut self, now_ms: u64, index: usize, outbox: &mut Outbox) -> Stats {
        let stats = self.table.at(index).window.stats(now_ms);
        let when = self.verdict(index, &stats, |watch| Some(&watch.when));
        let clear = match self.table.at(index).alert.is_tripped() {
            true => self.verdict(index, &stats, |watch| watch.clear.as_ref()),
            false => None,
        };
        let alert = &mut self.table.at(index).alert;
        let action = alert.judge(now_ms, when.unwrap_or(Verdict::Unknown), clear, &self.watch);
        if let Some(action) = action {
            self.perform(now_ms, index, action, &stats, outbox);
        }
        stats
    }

    fn verdict(
        &mut self,
        index: usize,
        stats: &Stats,
        rule: impl Fn(&Watch) -> Option<&Rule>,
    ) -> Option<Verdict> {
        let topic = &self.table.at(index).topic;
        let verdict = rule(&self.watch)?.verdict(stats, self.watch.min_samples, topic);
        Some(verdict.unwrap_or_else(|problem| {
            self.counts.rule_errors += 1;
            self.rule_error.get_or_insert(problem);
            Verdict::Unknown
        }))
    }

    fn perform(
        &mut self,
        now_ms: u64,
        index: usize,
        action: Action,
        stats: &Stats,
        outbox: &mut Outbox,
    ) {
        let watch = &self.watch;
        let series = self.table.at(index);
        let seconds = |since_ms: u64| now_ms.saturating_sub(since_ms) as f64 / 1_000.0;
        match action {
            Action::Tripped => self.counts.trips += 1,
            Action::Withdraw => self.counts.withdrawn += 1,
            Action::Drop => self.counts.superseded += 1,
            Action::Run { deadline_ms, is_retry } => {
                self.run(now_ms, index, deadline_ms, is_retry, stats, outbox);
            }
            Action::Clear { since_ms } => {
                self.counts.cleared += 1;
                let payload = report::cleared(watch, &series.topic, stats, seconds(since_ms));
                outbox.publish(watch, series, payload);
            }
            Action::Publish { since_ms, outcome } => {
                self.counts.alerts += 1;
                self.counts.unanswered += u64::from(matches!(outcome, Some(Err(_))));
                // An answer stands beside the figures that it was made from.
                let told = if matches!(outcome, Some(Ok(_))) { &series.asked } else { stats };
                let since_s = seconds(since_ms);
                let payload = report::alert(watch, &series.topic, told, since_s, outcome.as_ref());
                outbox.publish(watch, series, payload);
            }
        }
    }

    fn run(
        &mut self,
        now_ms: u64,
        index: usize,
        deadline_ms: Option<u32>,
        is_retry: bool,
        stats: &Stats,
        outbox: &mut Outbox,
    ) {
        let watch = &self.watch;
        let series = self.table.at(index);
        let Some(task) = watch.task.clone() else { return };
        if !self.budget.start(now_ms) {
            self.counts.refused_by_budget += 1;
            let most = watch.tokens_per_hour.unwrap_or(0);
            let message = format!("the watch's {most} tokens of this hour are used up");
            let fault = Fault::new(ErrorCode::OverQuota, message);
            if let Some(action) = series.alert.refused(now_ms, fault, watch) {
                self.perform(now_ms, index, action, stats, outbox);
            }
            return;
        }
        self.counts.runs += 1;
        self.counts.retries += u64::from(is_retry);
        let since_ms = series.alert.since_ms().unwrap_or(now_ms);
        let since_s = now_ms.saturating_sub(since_ms) as f64 / 1_000.0;
        let run = outbox.begin(index);
        series.alert.started(run);
        series.asked = *stats;
        outbox.effects.push_back(Effect::Run {
            run,
            watch: watch.name.clone(),
            task,
            vars: report::vars(watch, &series.topic, stats, since_s),
            deadline_ms,
            priority: watch.priority,
        });
    }

    /// When the series is to be looked at again, if nothing is heard.
    fn plan(&mut self, now_ms: u64, index: usize, outbox: &mut Outbox) {
        let watch = &self.watch;
        let series = self.table.at(index);
        let pace_ms = match watch.window {
            WindowSpec::Time(ms) => (ms / 64).clamp(10, PACE_MS),
            WindowSpec::Count(_) => PACE_MS,
        };
        let slides = series.window.next_change_ms().map(|at| at.max(now_ms + pace_ms));
        let clear_ages = watch.clear.as_ref().is_some_and(Rule::watches_age);
        let ages = watch.when.watches_age() || (clear_ages && series.alert.is_tripped());
        let ages = ages.then_some(now_ms + PACE_MS);
        let alert = series.alert.due_ms(watch);
        let due = [slides, ages, alert].into_iter().flatten().min();
        // Not in the past: time would stand still.
        let due = due.map(|at| at.max(now_ms + 1));
        outbox.agenda.change(index, series.due_ms, due);
        series.due_ms = due;
    }

    /// Figures for people and machines.
    pub fn status(&self) -> Value {
        let active = self.table.iter().filter(|s| s.alert.is_active()).count();
        let bad = self.table.iter().filter(|s| s.bad.iter().any(|&n| n > 0));
        let bad: Vec<Value> = bad.take(BAD_SHOWN).map(bad_of).collect();
        let mut status = json!({
            "name": self.watch.name,
            "series": self.table.iter().len(),
            "active_alerts": active,
        });
        if let (Value::Object(status), Ok(Value::Object(counts))) =
            (&mut status, serde_json::to_value(self.counts))
        {
            status.extend(counts);
        }
        if !bad.is_empty() {
            status["bad"] = bad.into();
        }
        if let Some(problem) = &self.rule_error {
            status["rule_error"] = problem.as_str().into();
        }
        status
    }
}

fn bad_of(series: &Series) -> Value {
    let kinds = BadSample::ALL.iter().zip(series.bad).filter(|(_, count)| *count > 0);
    let kinds = kinds.map(
        |(kind, count)| json!({ "kind": kind.code(), "problem": kind.to_string(), "count": count }),
    );
    json!({ "topic": series.topic.as_ref(), "kinds": kinds.collect::<Vec<_>>() })
}
