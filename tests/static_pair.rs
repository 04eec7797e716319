//! Pairs of graphs of fixed shapes: against the graph of any shape that the same checkpoint gives.
#![cfg(feature = "ort")]

mod common;

use common::{Greedy, feed, largest_difference, top};
use slmd::bundle::{Bundle, KvUpdate, PortType};
use slmd::core::plan::{KvType, ModelId, Row, Shapes, Slot, StepPlan, Want};
use slmd::engine::agreement::kl;
use slmd::engine::ort::{OrtEngine, PairEngine};
use slmd::engine::{Engine, EngineOptions, LoadError, StepError, choice};

/// As `onnx/make-test-models` exports them.
const CHUNK: u32 = 16;
const CONTEXT: u32 = 128;

const PAIRS: [&str; 2] = ["tiny-static", "tiny-static-qdq"];

fn options() -> EngineOptions {
    EngineOptions {
        slots: 2,
        context_tokens: CONTEXT,
        kv: KvType::Auto,
        ..EngineOptions::default()
    }
}

fn pair(name: &str) -> Option<PairEngine> {
    let graph = common::graph(name)?;
    let fixed = graph.fixed.clone().expect("a pair");
    Some(PairEngine::load(&graph, &fixed, &options()).expect("it loads"))
}

fn dynamic() -> Option<OrtEngine> {
    let graph = common::graph("tiny-fp32-full")?;
    Some(OrtEngine::load(&graph, &options()).expect("it loads"))
}

fn prompt(len: u32) -> Vec<u32> {
    (0..len).map(|i| (i * 7919 + 13) % 297 + 3).collect()
}

/// `tokens` in chunks of at most `most`; the logits after the last.
fn fill(engine: &mut dyn Engine, slot: u16, tokens: &[u32], most: usize) -> Vec<f32> {
    let mut last = Vec::new();
    for (at, part) in tokens.chunks(most).enumerate() {
        last = feed(engine, slot, (at * most) as u32, part);
    }
    last
}

#[test]
fn the_bundle_says_what_shapes_there_are() {
    for (name, kv_type) in PAIRS.into_iter().zip([PortType::F32, PortType::U8]) {
        let Some(dir) = common::model_dir(name) else { continue };
        let bundle = Bundle::open(dir, None).expect("a good bundle");
        let graph = &bundle.graph;
        assert_eq!((graph.kv_type, graph.kv_update), (kv_type, KvUpdate::Host));
        assert_eq!(graph.context_length, CONTEXT as usize);
        let used: Vec<&str> = bundle.files.iter().map(|(file, _)| file.as_str()).collect();
        for file in ["decode.onnx", "prefill.onnx", "weights.bin"] {
            assert_eq!(used.iter().filter(|u| **u == file).count(), 1, "{name}: {file}");
        }
        let choice = choice::choose(slmd::core::plan::EngineKind::Ort).expect("the library");
        let engine = choice::load(&choice, graph, &options()).expect("it loads");
        let caps = engine.caps();
        assert_eq!(caps.shapes, Shapes::Static(vec![(1, CHUNK), (1, 1)]));
        assert_eq!((caps.max_chunk, caps.max_rows, caps.context_tokens), (CHUNK, 1, CONTEXT));
        let position = graph.kv_bytes_per_token() as u64;
        assert_eq!(engine.footprint().kv_bytes, 2 * u64::from(CONTEXT) * position);
    }
}

#[test]
fn floats_give_what_the_graph_of_any_shape_gives() {
    let (Some(mut pair), Some(mut dynamic)) = (pair("tiny-static"), dynamic()) else { return };
    let tokens = prompt(100);
    // One by one, then in chunks of which the last is short, is whole, is a single token.
    for (at, token) in tokens.iter().enumerate() {
        let want = feed(&mut dynamic, 0, at as u32, &[*token]);
        let got = feed(&mut pair, 0, at as u32, &[*token]);
        assert!(largest_difference(&want, &got) < 1e-3, "position {at}");
    }
    for len in [1, 2, 15, 16, 17, 32, 33, 47, 100] {
        let want = feed_all(&mut dynamic, &tokens[..len]);
        for most in [1, 2, 7, 15, 16] {
            let off = largest_difference(&want, &fill(&mut pair, 1, &tokens[..len], most));
            assert!(off < 1e-3, "{len} tokens in chunks of {most} differ by {off}");
        }
    }
    for len in [3, 20, 48] {
        let want = Greedy::start(&mut dynamic, 0, &prompt(len)[..len as usize]);
        let want = want.run(&mut dynamic, 40);
        let next = top(&fill(&mut pair, 0, &prompt(len), 16));
        assert_eq!(go_on(&mut pair, 0, len, next, 40), want, "after {len} tokens");
    }
}

fn feed_all(engine: &mut OrtEngine, tokens: &[u32]) -> Vec<f32> {
    fill(engine, 1, tokens, 64)
}

/// Greedy tokens from `next` on.
fn go_on(
    engine: &mut dyn Engine,
    slot: u16,
    mut pos: u32,
    mut next: u32,
    steps: usize,
) -> Vec<u32> {
    let mut said = Vec::new();
    for _ in 0..steps {
        said.push(next);
        next = top(&feed(engine, slot, pos, &[next]));
        pos += 1;
    }
    said
}

#[test]
fn codes_give_nearly_what_floats_give() {
    let (Some(mut codes), Some(mut floats)) = (pair("tiny-static-qdq"), pair("tiny-static")) else {
        return;
    };
    let (mut same, mut sum_kl) = (0, 0.0);
    let tokens = prompt(CONTEXT);
    for (at, token) in tokens.iter().enumerate() {
        let want = feed(&mut floats, 0, at as u32, &[*token]);
        let got = feed(&mut codes, 0, at as u32, &[*token]);
        same += usize::from(top(&want) == top(&got));
        sum_kl += kl(&want, &got);
    }
    let (agree, mean_kl) = (same as f64 / tokens.len() as f64, sum_kl / tokens.len() as f64);
    println!("codes: top token equal {agree:.3}, mean KL {mean_kl:.5}");
    // Random tokens, on which the model is in doubt everywhere.
    assert!(agree > 0.85 && mean_kl < 0.01, "{agree} {mean_kl}");
    let chunked = fill(&mut codes, 1, &tokens[..40], 16);
    let off = largest_difference(&chunked, &fill(&mut codes, 0, &tokens[..40], 1));
    assert!(off < 0.25, "chunks and single tokens differ by {off}");
}

#[test]
fn slots_lower_positions_and_used_slots_do_no_harm() {
    for name in PAIRS {
        let Some(mut engine) = pair(name) else { continue };
        let tokens = prompt(60);
        let first = fill(&mut engine, 0, &tokens, 16);
        // The other slot, in turns with this one.
        let other = fill(&mut engine, 1, &tokens[20..50], 16);
        assert_eq!(feed(&mut engine, 0, 48, &tokens[48..]), first, "{name}: the other slot");
        // Back to 30 positions: what was beyond is forgotten.
        let straight = feed(&mut engine, 0, 30, &tokens[..9]);
        feed(&mut engine, 0, 39, &tokens[..16]);
        assert_eq!(feed(&mut engine, 0, 30, &tokens[..9]), straight, "{name}: lower positions");
        // A slot that someone else had.
        engine.release(Slot { model: ModelId(0), index: 0, generation: 1 });
        assert_eq!(fill(&mut engine, 0, &tokens[20..50], 16), other, "{name}: a used slot");
    }
}

#[test]
fn the_context_is_used_to_its_end_and_not_beyond() {
    let (Some(mut pair), Some(mut dynamic)) = (pair("tiny-static"), dynamic()) else { return };
    let tokens = prompt(CONTEXT);
    let got = fill(&mut pair, 0, &tokens, 16);
    let want = fill(&mut dynamic, 0, &tokens, 64);
    assert!(largest_difference(&want, &got) < 1e-3);
    // A short chunk that ends where the context does.
    let short = feed(&mut pair, 0, CONTEXT - 5, &tokens[CONTEXT as usize - 5..]);
    assert!(largest_difference(&want, &short) < 1e-3);
    let refused = |engine: &mut PairEngine, pos: u32, tokens: &[u32], want: Want| {
        let row = Row { slot: slot(0), pos, tokens, want };
        match engine.step(&StepPlan { rows: &[row] }) {
            Err(StepError::Plan(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(&mut pair, CONTEXT, &[3], Want::Last).contains("positions"));
    assert!(refused(&mut pair, 0, &tokens[..17], Want::Last).contains("17 tokens"));
    assert!(refused(&mut pair, 0, &tokens[..3], Want::All).contains("all logits"));
    assert_eq!(feed(&mut pair, 0, CONTEXT - 5, &tokens[CONTEXT as usize - 5..]), short);
}

const fn slot(index: u16) -> Slot {
    Slot { model: ModelId(0), index, generation: 1 }
}

#[test]
fn a_shorter_context_than_the_graphs_is_kept_to() {
    let Some(graph) = common::graph("tiny-static") else { return };
    let fixed = graph.fixed.clone().expect("a pair");
    let options = EngineOptions { context_tokens: 12, ..options() };
    let mut engine = PairEngine::load(&graph, &fixed, &options).expect("it loads");
    assert_eq!((engine.caps().context_tokens, engine.caps().max_chunk), (12, 12));
    let short = feed(&mut engine, 0, 0, &prompt(12));
    let mut whole = pair("tiny-static").expect("there");
    assert_eq!(feed(&mut whole, 0, 0, &prompt(12)), short);
}

#[cfg(feature = "tract")]
#[test]
fn tract_says_what_to_do_instead() {
    let Some(graph) = common::graph("tiny-static") else { return };
    match slmd::engine::tract::TractEngine::load(&graph, &options()) {
        Err(LoadError::Unsupported { problem, .. }) => {
            assert!(problem.contains("engine = \"ort\""), "{problem}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("tract runs no graphs of fixed shapes"),
    }
}

#[test]
fn what_the_manifest_says_must_be_true() {
    let Some(dir) = common::model_dir("tiny-static") else { return };
    let copy = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(dir).expect("readable").flatten() {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
    }
    let manifest = copy.path().join("slmd.toml");
    let whole = std::fs::read_to_string(&manifest).expect("readable");
    for (was, is, says) in [
        (
            "chunk = 16",
            "chunk = 8",
            "prefill.onnx: output present.0.key: expected the shape [1, 2, 8,",
        ),
        ("context = 128", "context = 64", ": expected the shape [1, "),
        ("context = 128", "context = 4096", "static.context: expected at most 256"),
        ("decode = \"decode.onnx\"", "decode = \"other.onnx\"", "other.onnx: not found; "),
    ] {
        std::fs::write(&manifest, whole.replace(was, is)).expect("written");
        let error = Bundle::open(copy.path(), None).expect_err(is).to_string();
        assert!(error.contains(says), "{is}: {error}");
    }
    std::fs::write(&manifest, whole).expect("written");
    assert!(Bundle::open(copy.path(), None).is_ok());
    let error = Bundle::open(copy.path(), Some("q4")).expect_err("a variant").to_string();
    assert!(error.contains("belong together"), "{error}");
}
