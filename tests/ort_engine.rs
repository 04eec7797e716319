//! The ONNX Runtime engine on real graphs.
#![cfg(feature = "ort")]

mod common;

use common::{Greedy, feed, largest_difference, top};
use slmd::core::plan::{KvType, ModelId, Row, Slot, StepPlan, Want};
use slmd::engine::ort::OrtEngine;
use slmd::engine::{Engine, EngineOptions, StepError};

fn load(model: &str, options: &EngineOptions) -> Option<OrtEngine> {
    let graph = common::graph(model)?;
    Some(OrtEngine::load(&graph, options).expect("the model loads"))
}

fn options() -> EngineOptions {
    EngineOptions {
        threads: 2,
        slots: 3,
        context_tokens: 128,
        max_chunk: 64,
        kv: KvType::Auto,
        ..EngineOptions::default()
    }
}

fn prompt(len: u32) -> Vec<u32> {
    (0..len).map(|i| (i * 7919 + 13) % 297 + 3).collect()
}

/// Models that write keys and values in place, as floats or codes, and models that append them.
const MODELS: [&str; 5] = ["tiny-fp32", "tiny-int4", "tiny-int8", "tiny-tjs", "tiny-int4-kv8"];

#[test]
fn chunks_give_what_one_go_gives() {
    for model in MODELS {
        let Some(mut engine) = load(model, &options()) else { continue };
        let tokens = prompt(60);
        let whole = feed(&mut engine, 0, 0, &tokens);
        for chunk in [7, 16, 33] {
            let mut last = Vec::new();
            for (at, part) in tokens.chunks(chunk).enumerate() {
                last = feed(&mut engine, 1, (at * chunk) as u32, part);
            }
            let off = largest_difference(&whole, &last);
            assert!(off < 2e-3, "{model}: chunks of {chunk} differ by {off}");
        }
    }
}

#[test]
fn slots_do_not_disturb_each_other_and_rows_share_a_step() {
    for model in MODELS {
        let Some(mut engine) = load(model, &options()) else { continue };
        let alone: Vec<Vec<u32>> = [5, 40, 23]
            .map(|n| Greedy::start(&mut engine, 0, &prompt(n)).run(&mut engine, 20))
            .into();
        let mut turns: Vec<Greedy> = [5, 40, 23]
            .iter()
            .enumerate()
            .map(|(slot, n)| Greedy::start(&mut engine, slot as u16, &prompt(*n)))
            .collect();
        for _ in 0..20 {
            for turn in &mut turns {
                turn.step(&mut engine);
            }
        }
        for (turn, alone) in turns.iter().zip(&alone) {
            assert_eq!(&turn.said, alone, "{model}: taking turns changed an answer");
        }
        if engine.caps().max_rows < 3 {
            continue;
        }
        let mut together: Vec<Greedy> = [5, 40, 23]
            .iter()
            .enumerate()
            .map(|(slot, n)| Greedy::start(&mut engine, slot as u16, &prompt(*n)))
            .collect();
        for _ in 0..20 {
            Greedy::step_together(&mut together, &mut engine);
        }
        for (turn, alone) in together.iter().zip(&alone) {
            assert_eq!(&turn.said, alone, "{model}: sharing steps changed an answer");
        }
    }
}

/// ONNX Runtime has other kernels for one row than for several on some CPUs: a sum in another order now
/// and then rounds an eight-bit activation to the neighbouring code (docs/reproducibility.md).
const ROWS_TOLERANCE: f32 = 0.1;

#[test]
fn rows_at_any_slots_give_what_single_rows_give() {
    for model in ["tiny-int4", "tiny-int4-asym", "tiny-int8", "tiny-int4-kv8"] {
        let Some(mut engine) = load(model, &common::rows::options()) else { continue };
        common::rows::check(&mut engine, ROWS_TOLERANCE);
    }
}

#[test]
fn a_lower_position_forgets_what_was_beyond() {
    for model in MODELS {
        let Some(mut engine) = load(model, &options()) else { continue };
        let tokens = prompt(50);
        feed(&mut engine, 0, 0, &tokens[..30]);
        let straight = feed(&mut engine, 0, 30, &tokens[30..40]);
        feed(&mut engine, 0, 40, &tokens[40..]);
        let again = feed(&mut engine, 0, 30, &tokens[30..40]);
        let off = largest_difference(&straight, &again);
        assert!(off < 2e-3, "{model}: {off}");
        assert_eq!(top(&straight), top(&again));
    }
}

#[test]
fn a_plan_beyond_the_limits_is_refused_and_the_engine_lives_on() {
    let Some(mut engine) = load("tiny-int4", &options()) else { return };
    let slot = |index| Slot { model: ModelId(0), index, generation: 1 };
    let tokens = prompt(8);
    let mut refused = |rows: &[Row<'_>]| match engine.step(&StepPlan { rows }) {
        Err(StepError::Plan(why)) => why,
        other => panic!("{other:?}"),
    };
    let row = Row { slot: slot(0), pos: 0, tokens: &tokens, want: Want::Last };
    refused(&[]);
    refused(&[Row { slot: slot(9), ..row }]);
    refused(&[Row { pos: 125, ..row }]);
    refused(&[Row { tokens: &[], ..row }]);
    refused(&[Row { tokens: &[300], ..row }]);
    refused(&[Row { want: Want::All, ..row }]);
    refused(&[row, row]);
    feed(&mut engine, 0, 0, &tokens);
}

#[test]
fn a_step_can_be_stopped_from_another_thread_and_a_late_stop_is_harmless() {
    for model in ["tiny-int4", "tiny-tjs"] {
        let Some(engine) = load(model, &options()) else { continue };
        stop_and_go_on(engine);
    }
}

fn stop_and_go_on(mut engine: OrtEngine) {
    let stopper = engine.stopper().expect("ONNX Runtime stops between operators");
    stopper.stop();
    let tokens = prompt(60);
    feed(&mut engine, 1, 0, &tokens[..20]);
    let parked = feed(&mut engine, 1, 20, &tokens[20..21]);
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let done = std::sync::Arc::clone(&done);
        move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                stopper.stop();
            }
        }
    });
    let row = Row {
        slot: Slot { model: ModelId(0), index: 0, generation: 1 },
        pos: 0,
        tokens: &tokens,
        want: Want::Last,
    };
    let stopped = (0..2_000)
        .any(|_| matches!(engine.step(&StepPlan { rows: &[row] }), Err(StepError::Stopped)));
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    watcher.join().expect("the watcher ends");
    assert!(stopped, "no step of 2,000 was stopped");
    assert_eq!(feed(&mut engine, 1, 20, &tokens[20..21]), parked, "the parked slot was disturbed");
    assert_eq!(feed(&mut engine, 0, 0, &tokens), feed(&mut engine, 2, 0, &tokens));
}
