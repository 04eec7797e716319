//! How many requests took which way: how often the small model was enough.

use crate::runtime::Figures;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What happened since the start, of requests of tasks that have a route.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    routed: u64,
    /// Ended by the model's own answer, or by a refusal that is nobody else's business.
    local: u64,
    /// Why others were told or asked.
    escalated: BTreeMap<&'static str, u64>,
    /// Who gave the answer.
    answered: BTreeMap<String, u64>,
    /// Who was asked in vain.
    failed: BTreeMap<String, u64>,
    published: u64,
    tool_calls: BTreeMap<String, u64>,
    tool_failures: BTreeMap<String, u64>,
}

impl Counters {
    fn change(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn routed(&self) {
        self.change(|c| c.routed += 1);
    }

    pub fn local(&self) {
        self.change(|c| c.local += 1);
    }

    pub fn escalated(&self, why: &'static str) {
        self.change(|c| *c.escalated.entry(why).or_default() += 1);
    }

    pub fn answered(&self, who: &str) {
        self.change(|c| *c.answered.entry(who.to_owned()).or_default() += 1);
    }

    pub fn failed(&self, who: &str) {
        self.change(|c| *c.failed.entry(who.to_owned()).or_default() += 1);
    }

    pub fn published(&self) {
        self.change(|c| c.published += 1);
    }

    pub fn called(&self, tool: &str, went_well: bool) {
        self.change(|c| {
            *c.tool_calls.entry(tool.to_owned()).or_default() += 1;
            *c.tool_failures.entry(tool.to_owned()).or_default() += u64::from(!went_well);
        });
    }
}

impl Figures for Counters {
    fn figures(&self) -> Value {
        let c = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures: BTreeMap<_, _> = c.tool_failures.iter().filter(|(_, n)| **n > 0).collect();
        json!({
            "requests": c.routed, "local": c.local, "escalated": c.escalated,
            "answered_by": c.answered, "asked_in_vain": c.failed, "published": c.published,
            "tool_calls": c.tool_calls, "tool_failures": failures,
        })
    }
}
