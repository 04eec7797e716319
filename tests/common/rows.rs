//! Rows of one step at any slots: against the same rows alone, for any engine.

use super::{feed, largest_difference, slot};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use slmd::core::plan::{KvType, Row, StepPlan, Want};
use slmd::engine::{Engine, EngineOptions};

/// Positions of a slot in these tests.
const CONTEXT: u32 = 24;

/// An engine with more slots than a step has rows.
pub fn options() -> EngineOptions {
    EngineOptions {
        threads: 1,
        slots: 10,
        context_tokens: CONTEXT,
        max_chunk: CONTEXT,
        kv: KvType::Auto,
        ..EngineOptions::default()
    }
}

/// What every slot holds before a step, and whose turn it is.
#[derive(Debug, Clone)]
struct Case {
    /// Positions of each slot; some are full.
    lens: Vec<u32>,
    /// The slots of the step, each once, in any order; full ones sit out.
    turn: Vec<u16>,
}

/// Any lengths, and any slots in any order.
fn case() -> impl Strategy<Value = Case> {
    let slots = usize::from(options().slots);
    let len = prop_oneof![4 => 1..CONTEXT, 1 => Just(CONTEXT)];
    let turn = prop::sample::subsequence((0..slots as u16).collect::<Vec<_>>(), 1..=8);
    (prop::collection::vec(len, slots), turn.prop_shuffle())
        .prop_map(|(lens, turn)| Case { lens, turn })
}

/// Any slots, lengths and order: the logits of a step are those of single rows, within `tolerance`
/// (0: bit by bit) and nearer than those of any other slot, and a slot that sits out is left as it
/// was, bit by bit.
pub fn check(engine: &mut dyn Engine, tolerance: f32) {
    let engine = std::cell::RefCell::new(engine);
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() };
    TestRunner::new(config)
        .run(&case(), |case| check_case(&mut **engine.borrow_mut(), &case, tolerance))
        .unwrap_or_else(|failure| panic!("{failure}"));
}

fn check_case(
    engine: &mut dyn Engine,
    Case { lens, turn }: &Case,
    tolerance: f32,
) -> Result<(), TestCaseError> {
    let tokens = |slot: usize| -> Vec<u32> {
        (0..=CONTEXT).map(|at| (at * 7919 + slot as u32 * 131) % 297 + 3).collect()
    };
    // A full slot is asked for its last position again.
    let next = |slot: usize| lens[slot].min(CONTEXT - 1) as usize;
    let alone = |engine: &mut dyn Engine, slot: usize| {
        let at = next(slot);
        feed(engine, slot as u16, at as u32, &tokens(slot)[at..=at])
    };
    let fill = |engine: &mut dyn Engine, slot: usize| {
        feed(engine, slot as u16, 0, &tokens(slot)[..lens[slot] as usize]);
    };
    let mut want = Vec::new();
    for index in 0..lens.len() {
        fill(engine, index);
        want.push(alone(engine, index));
    }
    (0..lens.len()).for_each(|index| fill(engine, index));
    let turn: Vec<u16> =
        turn.iter().copied().filter(|slot| lens[usize::from(*slot)] < CONTEXT).collect();
    let fed: Vec<u32> = turn.iter().map(|s| tokens((*s).into())[next((*s).into())]).collect();
    let rows: Vec<Row<'_>> = turn
        .iter()
        .zip(fed.chunks(1))
        .map(|(index, tokens)| Row {
            slot: slot(*index),
            pos: lens[usize::from(*index)],
            tokens,
            want: Want::Last,
        })
        .collect();
    if !rows.is_empty() {
        engine.step(&StepPlan { rows: &rows }).expect("the step runs");
    }
    for (row, index) in turn.iter().enumerate() {
        let said = engine.logits(row).to_vec();
        prop_assert!(said.iter().all(|logit| logit.is_finite()), "slot {index} has no figure");
        let off = |slot: usize| largest_difference(&said, &want[slot]);
        let own = off(usize::from(*index));
        prop_assert!(own <= tolerance, "slot {index} differs by {own}");
        for other in (0..want.len()).filter(|other| *other != usize::from(*index)) {
            prop_assert!(own < off(other), "slot {index} is as near to slot {other}");
        }
    }
    for (index, want) in want.iter().enumerate() {
        prop_assert!(alone(engine, index) == *want, "slot {} was disturbed", index);
    }
    Ok(())
}
