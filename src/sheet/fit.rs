//! How many sessions, and how long, a budget holds.

use super::Sheet;
use super::price::Subject;
use serde::Serialize;

/// No context is lowered below this many tokens: a prompt and an answer have to fit.
pub const MIN_CONTEXT: u32 = 128;
/// Lowered contexts are a multiple of this, so that a slightly different figure gives the same.
const CONTEXT_GRAIN: u32 = 64;
/// Sessions that can be configured.
const MAX_SESSIONS: u16 = 64;

/// Sessions at the same time, and the tokens of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// KV slots.
    pub sessions: u16,
    /// Positions of a slot.
    pub context_tokens: u32,
}

/// What may be lowered: what nobody has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freedom {
    /// The number of sessions.
    pub sessions: bool,
    /// Their context.
    pub context: bool,
}

impl Subject<'_> {
    /// The sheet of `shape`, if `budget` bytes hold it.
    fn within(&self, shape: Shape, budget: u64) -> Option<Sheet> {
        Some(self.sheet(shape)).filter(|sheet| sheet.total_bytes() <= budget)
    }

    /// The shape to serve with: `wanted` if it fits, else with fewer sessions, then with a shorter
    /// context, as far as `freedom` goes. None: nothing fits.
    pub fn settle(&self, wanted: Shape, freedom: Freedom, budget: u64) -> Option<Sheet> {
        if let Some(sheet) = self.within(wanted, budget) {
            return Some(sheet);
        }
        let least = least(wanted, freedom);
        let sessions = self.most_sessions(wanted.context_tokens, budget).unwrap_or(0);
        if sessions >= least.sessions {
            let sessions = sessions.min(wanted.sessions);
            return self.within(Shape { sessions, ..wanted }, budget);
        }
        let context = self.longest_context(least.sessions, wanted.context_tokens, budget)?;
        let shape = Shape { context_tokens: context, ..least };
        (context >= least.context_tokens).then(|| self.sheet(shape))
    }

    /// The sheet of the smallest shape that [`Subject::settle`] would take.
    pub fn least(&self, wanted: Shape, freedom: Freedom) -> Sheet {
        self.sheet(least(wanted, freedom))
    }

    /// The most sessions of this context that fit; none: not even one does.
    pub fn most_sessions(&self, context_tokens: u32, budget: u64) -> Option<u16> {
        let fits = |sessions: &u16| {
            self.within(Shape { sessions: *sessions, context_tokens }, budget).is_some()
        };
        (1..=MAX_SESSIONS).take_while(fits).last()
    }

    /// The longest context, up to `longest`, of so many sessions that fits; none: not even the
    /// shortest does.
    pub fn longest_context(&self, sessions: u16, longest: u32, budget: u64) -> Option<u32> {
        let fits =
            |context_tokens: u32| self.within(Shape { sessions, context_tokens }, budget).is_some();
        if fits(longest) {
            return Some(longest);
        }
        // Every line grows with the context or stays: halve what is left.
        let (mut low, mut high) = (0, longest.div_ceil(CONTEXT_GRAIN));
        while low + 1 < high {
            let middle = low.midpoint(high);
            if fits(middle * CONTEXT_GRAIN) { low = middle } else { high = middle }
        }
        Some(low * CONTEXT_GRAIN).filter(|context| *context >= MIN_CONTEXT)
    }
}

/// The smallest shape that may be taken for `wanted`.
fn least(wanted: Shape, freedom: Freedom) -> Shape {
    let sessions = if freedom.sessions { 1 } else { wanted.sessions };
    let shortest = if freedom.context { MIN_CONTEXT } else { wanted.context_tokens };
    Shape { sessions, context_tokens: shortest.min(wanted.context_tokens) }
}
