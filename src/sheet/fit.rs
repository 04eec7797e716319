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

#[cfg(all(test, feature = "default-model"))]
mod tests {
    use super::*;
    use crate::bundle::Bundle;
    use crate::core::plan::{EngineKind, KvType};
    use crate::sheet::{Demands, How, Item, Measured, Phase};
    use proptest::prelude::*;

    const DEMANDS: Demands = Demands {
        queue: 8,
        prompt_bytes: 4096,
        clients: 4,
        message_bytes: 8192,
        mqtt: None,
        second_model_bytes: 0,
    };

    fn subject(bundle: &Bundle, engine: EngineKind, measured: Option<Measured>) -> Subject<'_> {
        Subject { bundle, engine, kv: KvType::Auto, max_chunk: 128, demands: &DEMANDS, measured }
    }

    fn measured(step_bytes: u64) -> Measured {
        let phase = |held_bytes| Phase { held_bytes, peak_bytes: 2 * held_bytes };
        Measured {
            process_bytes: 9 << 20,
            library: phase(0),
            text: phase(1 << 20),
            prompt: phase(1 << 16),
            load: phase(20 << 20),
            step: phase(step_bytes / 2),
            context_tokens: 512,
        }
    }

    fn any_subject() -> impl Strategy<Value = (EngineKind, Option<Measured>)> {
        let engine = prop_oneof![Just(EngineKind::Ort), Just(EngineKind::Tract)];
        (engine, prop::option::of((0u64..64 << 20).prop_map(measured)))
    }

    proptest! {
        #[test]
        fn what_is_settled_fits_and_nothing_larger_would(
            (engine, measured) in any_subject(),
            sessions in 1u16..=64,
            context_tokens in 16u32..=4096,
            (may_lower_sessions, may_lower_context) in any::<(bool, bool)>(),
            budget in 0u64..1 << 30,
        ) {
            let bundle = Bundle::default_model().expect("the embedded model");
            let subject = subject(&bundle, engine, measured);
            let wanted = Shape { sessions, context_tokens };
            let freedom = Freedom { sessions: may_lower_sessions, context: may_lower_context };
            let least = subject.least(wanted, freedom);
            let Some(sheet) = subject.settle(wanted, freedom, budget) else {
                // Contexts go down in grains: the least may fit where its last grain does not.
                let grain = Shape { context_tokens: least.shape.context_tokens + 64, ..least.shape };
                prop_assert!(subject.sheet(grain).total_bytes() > budget);
                return Ok(());
            };
            prop_assert!(sheet.total_bytes() <= budget && sheet.overflow(budget).is_none());
            let got = sheet.shape;
            prop_assert!(got.sessions <= sessions && got.context_tokens <= context_tokens);
            prop_assert!(freedom.sessions || got.sessions == sessions);
            prop_assert!(freedom.context || got.context_tokens == context_tokens);
            if got.context_tokens < context_tokens {
                prop_assert_eq!(got.sessions, least.shape.sessions, "sessions go first");
                let longer = Shape { context_tokens: got.context_tokens + 64, ..got };
                prop_assert!(subject.sheet(longer).total_bytes() > budget);
            } else if got.sessions < sessions {
                let more = Shape { sessions: got.sessions + 1, ..got };
                prop_assert!(subject.sheet(more).total_bytes() > budget);
            }
        }

        #[test]
        fn more_is_never_cheaper(
            (engine, measured) in any_subject(),
            sessions in 1u16..=32,
            context_tokens in 16u32..=4096,
        ) {
            let bundle = Bundle::default_model().expect("the embedded model");
            let subject = subject(&bundle, engine, measured);
            let total = |sessions, context_tokens| {
                subject.sheet(Shape { sessions, context_tokens }).total_bytes()
            };
            let this = total(sessions, context_tokens);
            prop_assert!(total(sessions + 1, context_tokens) >= this);
            prop_assert!(total(sessions, context_tokens + 1) >= this);
        }
    }

    #[test]
    fn the_line_that_does_not_fit_is_the_first_that_the_rest_does_not_hold() {
        let bundle = Bundle::default_model().expect("the embedded model");
        let subject = subject(&bundle, EngineKind::Tract, Some(measured(0)));
        let sheet = subject.sheet(Shape { sessions: 2, context_tokens: 512 });
        assert_eq!(sheet.bytes(Item::Weights), 20 << 20);
        let (line, left) = sheet.overflow(11 << 20).expect("too little");
        assert_eq!(
            (line.item, left, line.how),
            (Item::Weights, (1 << 20) - (1 << 17), How::Measured)
        );
        let total = sheet.total_bytes();
        assert!(sheet.overflow(total).is_none());
        assert_eq!(sheet.overflow(total - 1).map(|(l, _)| l.item), Some(Item::Kv));
    }

    #[test]
    fn keys_and_values_are_priced_as_the_engine_holds_them() {
        let bundle = Bundle::default_model().expect("the embedded model");
        let graph = &bundle.graph;
        let shape = Shape { sessions: 3, context_tokens: 100 };
        let heads = 2 * graph.layers.len() * graph.kv_heads;
        for (engine, kv, row) in [
            (EngineKind::Ort, KvType::Auto, 4 * graph.head_dim),
            (EngineKind::Tract, KvType::F32, 4 * graph.head_dim),
            (EngineKind::Tract, KvType::Auto, 2 * graph.head_dim),
            (EngineKind::Tract, KvType::Int8, graph.head_dim + 4),
        ] {
            let bytes = crate::sheet::kv_bytes(graph, engine, kv, shape);
            assert_eq!(bytes, 3 * 100 * (heads * row) as u64, "{engine:?} {kv:?}");
        }
    }
}
