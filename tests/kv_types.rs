//! What smaller keys and values cost: teacher-forced and greedy against 32-bit floats, on models
//! that were trained.
#![cfg(feature = "tract")]

mod common;

use common::{feed, top};
use slmd::bundle::{Bundle, ModelGraph};
use slmd::core::plan::KvType;
use slmd::engine::tract::TractEngine;
use slmd::engine::{Engine, EngineOptions, LoadError};
use slmd::runtime::Model;
use slmd::text::Conversation;

fn options(kv: KvType) -> EngineOptions {
    EngineOptions { threads: 1, slots: 1, context_tokens: 512, max_chunk: 64, kv }
}

fn load(graph: &ModelGraph, kv: KvType) -> TractEngine {
    TractEngine::load(graph, &options(kv)).expect("the model loads")
}

/// How far one type's logits are from those of 32-bit floats.
#[derive(Debug, Default)]
struct Loss {
    positions: usize,
    same_top: usize,
    mean_kl: f64,
    largest_kl: f64,
}

impl Loss {
    /// Feeds the same tokens to both, one by one.
    fn add(&mut self, exact: &mut dyn Engine, other: &mut dyn Engine, tokens: &[u32]) {
        for (pos, token) in tokens.iter().enumerate() {
            let want = feed(exact, 0, pos as u32, &[*token]);
            let got = feed(other, 0, pos as u32, &[*token]);
            let kl = kl(&want, &got);
            self.positions += 1;
            self.same_top += usize::from(top(&want) == top(&got));
            self.mean_kl += (kl - self.mean_kl) / self.positions as f64;
            self.largest_kl = self.largest_kl.max(kl);
        }
    }

    fn same(&self) -> f64 {
        self.same_top as f64 / self.positions as f64
    }
}

/// `KL(p || q)` of the softmax of two rows of logits, in nats.
fn kl(p: &[f32], q: &[f32]) -> f64 {
    let (p, q) = (log_softmax(p), log_softmax(q));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - largest).exp()).sum();
    logits.iter().map(|l| f64::from(l - largest) - sum.ln()).collect()
}

/// The prompt and at most `most` greedy tokens, up to one of `ends`.
fn greedy(engine: &mut dyn Engine, prompt: &[u32], ends: &[u32], most: usize) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    let mut next = top(&feed(engine, 0, 0, prompt));
    while tokens.len() < prompt.len() + most && !ends.contains(&next) {
        tokens.push(next);
        next = top(&feed(engine, 0, tokens.len() as u32 - 1, &[next]));
    }
    tokens
}

/// The default model's prompts with their golden answers, as tokens, and then sentences of its
/// task, as prompts only.
fn default_texts(bundle: &Bundle) -> (Vec<Vec<u32>>, Vec<Vec<u32>>, Vec<u32>) {
    let model = Model::new(bundle, &bundle.tasks).expect("the model's parts work");
    let prompt = |task: Option<&str>, text: &str| -> Vec<u32> {
        let mut conversation = Conversation::new(model.tokenizer.names());
        let task = task.and_then(|name| model.tasks.get(name));
        if let Some(system) = task.and_then(|t| t.task.system.as_deref()) {
            conversation.push("system", system);
        }
        conversation.push("user", text);
        let chat = model.chat.as_ref().expect("the default model has a chat template");
        let rendered = chat.render(&conversation, model.tokenizer.control()).expect("it renders");
        model.tokenizer.encode_rendered(&rendered).expect("it encodes")
    };
    let goldens = bundle.goldens.iter().map(|golden| {
        let tokens = prompt(golden.task.as_deref(), &golden.prompt);
        [&tokens[..], &golden.tokens].concat()
    });
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/onnx/tests/vehicle_handwritten.jsonl");
    let lines = std::fs::read_to_string(file).expect("the sentences");
    let sentences = lines.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        prompt(bundle.default_task.as_deref(), line["text"].as_str().expect("a text"))
    });
    (goldens.collect(), sentences.collect(), model.eos.to_vec())
}

#[test]
fn the_default_model_answers_the_same() {
    let bundle = Bundle::default_model().expect("a good bundle");
    let (goldens, sentences, ends) = default_texts(&bundle);
    let mut exact = load(&bundle.graph, KvType::F32);
    let answers: Vec<_> =
        sentences.iter().map(|prompt| greedy(&mut exact, prompt, &ends, 32)).collect();
    for kv in [KvType::F16, KvType::Int8] {
        let mut other = load(&bundle.graph, kv);
        let mut loss = Loss::default();
        goldens.iter().for_each(|tokens| loss.add(&mut exact, &mut other, tokens));
        let answered = sentences.iter().zip(&answers);
        let equal = answered
            .filter(|(prompt, answer)| greedy(&mut other, prompt, &ends, 32) == **answer)
            .count();
        println!("default {}: {loss:?}, {equal} of {} answers", kv.name(), answers.len());
        assert!(loss.same() > 0.98 && loss.mean_kl < 5e-3, "{kv:?}: {loss:?}");
        assert!(equal * 100 >= answers.len() * 95, "{kv:?}: {equal} of {}", answers.len());
    }
}

#[test]
fn stories_stay_the_same_stories() {
    let Some(graph) = common::graph("stories260k-fp32") else { return };
    let mut exact = load(&graph, KvType::F32);
    let story = greedy(&mut exact, &[1], &[], 400);
    for kv in [KvType::F16, KvType::Int8] {
        let mut other = load(&graph, kv);
        let mut loss = Loss::default();
        loss.add(&mut exact, &mut other, &story);
        let told = greedy(&mut other, &[1], &[], 400);
        let same = told.iter().zip(&story).take_while(|(a, b)| a == b).count();
        println!("stories {}: {loss:?}, the same for {same} tokens", kv.name());
        assert!(loss.same() > 0.98 && loss.mean_kl < 5e-3, "{kv:?}: {loss:?}");
    }
}

#[test]
fn memory_follows_the_type() {
    let bundle = Bundle::default_model().expect("a good bundle");
    let bytes = |kv| load(&bundle.graph, kv).footprint().kv_bytes;
    let dim = bundle.graph.head_dim as u64;
    let exact = bytes(KvType::F32);
    assert_eq!(bytes(KvType::F16), exact / 2);
    assert_eq!(bytes(KvType::Int8), exact * (dim + 4) / (4 * dim));
}

#[test]
fn a_slot_used_again_or_rolled_back_is_as_good_as_new() {
    let Some(graph) = common::graph("tiny-int4") else { return };
    let tokens: Vec<u32> = (0..60).map(|i| (i * 7919 + 13) % 297 + 3).collect();
    let others: Vec<u32> = (0..60).map(|i| (i * 4093 + 71) % 297 + 3).collect();
    for kv in [KvType::F32, KvType::F16, KvType::Int8] {
        let short = EngineOptions { context_tokens: 128, ..options(kv) };
        let mut engine = TractEngine::load(&graph, &short).expect("the model loads");
        let fresh = feed(&mut engine, 0, 0, &tokens[..40]);
        feed(&mut engine, 0, 0, &others);
        assert_eq!(feed(&mut engine, 0, 0, &tokens[..40]), fresh, "{kv:?}: used again");
        let onward = feed(&mut engine, 0, 40, &tokens[40..50]);
        feed(&mut engine, 0, 40, &others[..20]);
        assert_eq!(feed(&mut engine, 0, 40, &tokens[40..50]), onward, "{kv:?}: rolled back");
    }
}

#[test]
fn a_type_that_the_graph_cannot_have_is_refused_with_the_way_out() {
    let Some(appends) = common::graph("tiny-tjs") else { return };
    let error = TractEngine::load(&appends, &options(KvType::Int8)).err().expect("a refusal");
    assert!(matches!(&error, LoadError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("leave it at \"auto\""), "{error}");
    #[cfg(feature = "ort")]
    {
        let Some(graph) = common::graph("tiny-int4") else { return };
        let load = |kv| slmd::engine::ort::OrtEngine::load(&graph, &options(kv)).err();
        let error = load(KvType::F16).expect("a refusal").to_string();
        assert!(error.contains("engine = \"tract\""), "{error}");
    }
}
