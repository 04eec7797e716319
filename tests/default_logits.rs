//! The default model on this CPU and each engine against logits recorded on x86-64 with ONNX Runtime,
//! teacher-forced, by the rule of `docs/reproducibility.md`. Runs anywhere: on x86-64, under qemu
//! (`cross/test-qemu.sh`), on a board.
//!
//! `SLMD_WRITE_GOLDENS=1 cargo nextest run --locked default_logits` records them anew, after the
//! default model has changed.
#![cfg(all(feature = "default-model", any(feature = "ort", feature = "tract")))]

mod common;

use common::agree::Distance;
use common::feed;
use serde::{Deserialize, Serialize};
use slmd::bundle::Bundle;
use slmd::core::plan::{EngineKind, KvType};
use slmd::engine::{Engine, EngineOptions, choice};
use slmd::runtime::Model;
use slmd::text::Conversation;
use std::path::PathBuf;

/// What was asked when the logits were recorded: each of the model's tasks.
#[cfg(all(feature = "ort", target_arch = "x86_64"))]
const ASKED: &[(&str, &str)] = &[
    ("vehicle", "warmer in the back and open the sunroof halfway"),
    ("vehicle", "what is the capital of france"),
    ("alert", r#"{"sensor":"vibration","last":138,"peak":138,"trend":60,"spread":84}"#),
    ("dtc", "what does P0420 mean"),
    ("intent", "wake me up at seven tomorrow"),
];

/// Tokens of a prompt and its greedy answer.
#[derive(Debug, Serialize, Deserialize)]
struct Sequence {
    task: String,
    prompt: String,
    tokens: Vec<u32>,
    /// Tokens of the prompt.
    prompt_tokens: usize,
}

/// What the file beside the logits says.
#[derive(Debug, Serialize, Deserialize)]
struct Recorded {
    model: String,
    by: String,
    vocab_size: usize,
    sequences: Vec<Sequence>,
}

fn golden(extension: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens");
    PathBuf::from(folder).join(format!("default_logits.{extension}"))
}

fn load(kind: EngineKind, bundle: &Bundle) -> Box<dyn Engine> {
    let options =
        EngineOptions { context_tokens: 256, kv: KvType::F32, ..EngineOptions::default() };
    let choice = choice::choose(kind).expect("the engine is there");
    choice::load(&choice, &bundle.graph, &options).expect("the default model loads")
}

/// The logits after the prompt, which is fed in chunks, and after each token of the answer.
fn forced(engine: &mut dyn Engine, sequence: &Sequence) -> Vec<Vec<f32>> {
    let (prompt, answer) = sequence.tokens.split_at(sequence.prompt_tokens);
    let mut rows = Vec::new();
    for (at, part) in prompt.chunks(7).enumerate() {
        let logits = feed(engine, 0, (at * 7) as u32, part);
        if at * 7 + part.len() == prompt.len() {
            rows.push(logits);
        }
    }
    for (at, token) in answer.iter().enumerate() {
        rows.push(feed(engine, 0, (prompt.len() + at) as u32, &[*token]));
    }
    rows
}

fn prompt(model: &Model, task: &str, text: &str) -> Vec<u32> {
    let mut conversation = Conversation::new(model.tokenizer.names());
    let task = model.tasks.get(task).expect("a task of the model");
    if let Some(system) = task.task.system.as_deref() {
        conversation.push("system", system);
    }
    conversation.push("user", text);
    let chat = model.chat.as_ref().expect("the default model has a chat template");
    let rendered = chat.render(&conversation, model.tokenizer.control()).expect("it renders");
    model.tokenizer.encode_rendered(&rendered).expect("it encodes")
}

#[cfg(all(feature = "ort", target_arch = "x86_64"))]
fn record(bundle: &Bundle, model: &Model) {
    use common::top;

    let mut engine = load(EngineKind::Ort, bundle);
    let mut recorded = Recorded {
        model: bundle.name.clone(),
        by: format!("ONNX Runtime {}, x86-64", choice::library_version(EngineKind::Ort)),
        vocab_size: 0,
        sequences: Vec::new(),
    };
    let mut bytes = Vec::new();
    for (task, text) in ASKED {
        let mut tokens = prompt(model, task, text);
        let prompt_tokens = tokens.len();
        let mut logits = feed(engine.as_mut(), 0, 0, &tokens);
        while tokens.len() < prompt_tokens + 12 && !model.eos.contains(&top(&logits)) {
            tokens.push(top(&logits));
            logits = feed(engine.as_mut(), 0, tokens.len() as u32 - 1, &[top(&logits)]);
        }
        let (task, prompt) = ((*task).to_owned(), (*text).to_owned());
        let sequence = Sequence { task, prompt, tokens, prompt_tokens };
        for row in forced(engine.as_mut(), &sequence) {
            recorded.vocab_size = row.len();
            bytes.extend(row.iter().flat_map(|logit| logit.to_le_bytes()));
        }
        recorded.sequences.push(sequence);
    }
    let head = serde_json::to_string_pretty(&recorded).expect("JSON");
    std::fs::write(golden("json"), head + "\n").expect("written");
    std::fs::write(golden("f32"), bytes).expect("written");
}

#[cfg(not(all(feature = "ort", target_arch = "x86_64")))]
fn record(_: &Bundle, _: &Model) {
    panic!("SLMD_WRITE_GOLDENS: recorded on x86-64 with ONNX Runtime only");
}

fn recorded() -> (Recorded, Vec<Vec<f32>>) {
    let head = std::fs::read(golden("json")).expect("recorded");
    let head: Recorded = serde_json::from_slice(&head).expect("JSON");
    let bytes = std::fs::read(golden("f32")).expect("recorded");
    let floats = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let floats: Vec<f32> = floats.collect();
    let rows = floats.chunks_exact(head.vocab_size).map(<[f32]>::to_vec).collect();
    (head, rows)
}

/// The largest difference of a logit, and the mean divergence in nats, that are taken for the same:
/// wider than what was seen (`docs/reproducibility.md`), narrower than what a wrong kernel makes.
const LARGEST: f32 = 0.5;
const MEAN_KL: f64 = 1e-3;

fn check(kind: EngineKind) {
    let bundle = Bundle::default_model().expect("a good bundle");
    let model = Model::new(&bundle, &bundle.tasks).expect("the model's parts work");
    if kind == EngineKind::Ort && std::env::var_os("SLMD_WRITE_GOLDENS").is_some() {
        record(&bundle, &model);
    }
    let (head, truth) = recorded();
    let mut engine = load(kind, &bundle);
    let mut rows = Vec::new();
    for sequence in &head.sequences {
        let same = prompt(&model, &sequence.task, &sequence.prompt);
        assert_eq!(same[..], sequence.tokens[..sequence.prompt_tokens], "{}", sequence.prompt);
        rows.extend(forced(engine.as_mut(), sequence));
    }
    let apart = Distance::between(&rows, &truth, &truth);
    println!("{} on {}: {apart:?}, from {}", kind.name(), choice::cpu_kernels(), head.by);
    assert!(apart.clear >= 10 && apart.clear_equal == apart.clear, "{apart:?}");
    assert!(apart.largest < LARGEST && apart.mean_kl < MEAN_KL, "{apart:?}");
}

#[test]
#[cfg(feature = "ort")]
fn onnx_runtime_agrees_with_the_recorded_logits() {
    check(EngineKind::Ort);
}

#[test]
#[cfg(feature = "tract")]
fn tract_agrees_with_the_recorded_logits() {
    check(EngineKind::Tract);
}
