//! What smaller keys and values cost: teacher-forced and greedy against 32-bit floats, on models
//! that were trained. Tract quantises as it writes; ONNX Runtime by the scales of the graph.
#![cfg(feature = "tract")]

mod common;

use common::{feed, top};
use slmd::bundle::{Bundle, ModelGraph};
use slmd::core::plan::KvType;
use slmd::engine::agreement::kl;
use slmd::engine::tract::TractEngine;
use slmd::engine::{Engine, EngineOptions, LoadError};
use slmd::runtime::Model;
use slmd::text::Conversation;

fn options(kv: KvType) -> EngineOptions {
    EngineOptions {
        threads: 1,
        slots: 1,
        context_tokens: 512,
        max_chunk: 64,
        kv,
        ..EngineOptions::default()
    }
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

    fn check(&self, what: &str) {
        assert!(self.same() > 0.98 && self.mean_kl < 5e-3, "{what}: {self:?}");
    }
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

/// What the default model is asked.
struct Asked {
    /// Prompts with their golden answers.
    goldens: Vec<Vec<u32>>,
    /// Sentences of its task, as prompts only.
    sentences: Vec<Vec<u32>>,
    /// What ends an answer.
    ends: Vec<u32>,
}

fn default_texts(bundle: &Bundle) -> Asked {
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
    Asked { goldens: goldens.collect(), sentences: sentences.collect(), ends: model.eos.to_vec() }
}

/// The default model's answers, in `exact` and in `other`.
fn compare_answers(what: &str, exact: &mut dyn Engine, other: &mut dyn Engine, asked: &Asked) {
    let mut loss = Loss::default();
    asked.goldens.iter().for_each(|tokens| loss.add(exact, other, tokens));
    let mut same = |prompt: &Vec<u32>| {
        let answer = greedy(exact, prompt, &asked.ends, 32);
        greedy(other, prompt, &asked.ends, 32) == answer
    };
    let (equal, all) =
        (asked.sentences.iter().filter(|prompt| same(prompt)).count(), asked.sentences.len());
    println!("default, {what}: {loss:?}, {equal} of {all} answers");
    // The default model is taught its answers alone: at one token of a prompt it differs by 1.6 nats.
    assert!(loss.same() > 0.98 && loss.mean_kl < 4e-2, "{what}: {loss:?}");
    assert!(equal * 100 >= all * 95, "{what}: {equal} of {all}");
}

/// A story of 400 tokens, in `exact` and in `other`.
fn compare_stories(what: &str, exact: &mut dyn Engine, other: &mut dyn Engine) {
    let story = greedy(exact, &[1], &[], 400);
    let mut loss = Loss::default();
    loss.add(exact, other, &story);
    let told = greedy(other, &[1], &[], 400);
    let same = told.iter().zip(&story).take_while(|(a, b)| a == b).count();
    println!("stories, {what}: {loss:?}, the same for {same} tokens");
    loss.check(what);
}

#[test]
fn the_default_model_answers_the_same() {
    let bundle = Bundle::default_model().expect("a good bundle");
    let asked = default_texts(&bundle);
    let mut exact = load(&bundle.graph, KvType::F32);
    for kv in [KvType::F16, KvType::Int8] {
        compare_answers(kv.name(), &mut exact, &mut load(&bundle.graph, kv), &asked);
    }
}

#[test]
fn stories_stay_the_same_stories() {
    let Some(graph) = common::graph("stories260k-fp32") else { return };
    let mut exact = load(&graph, KvType::F32);
    for kv in [KvType::F16, KvType::Int8] {
        compare_stories(kv.name(), &mut exact, &mut load(&graph, kv));
    }
}

#[test]
fn how_the_graph_keeps_its_cache_does_not_matter_to_tract() {
    let (Some(floats), Some(codes)) = (common::graph("tiny-int4"), common::graph("tiny-int4-kv8"))
    else {
        return;
    };
    let tokens: Vec<u32> = (0..60).map(|i| (i * 7919 + 13) % 297 + 3).collect();
    let short = |kv| EngineOptions { context_tokens: 128, ..options(kv) };
    for kv in [KvType::Auto, KvType::F32, KvType::Int8] {
        let logits = |graph| {
            let mut engine = TractEngine::load(graph, &short(kv)).expect("the model loads");
            feed(&mut engine, 0, 0, &tokens)
        };
        assert_eq!(logits(&floats), logits(&codes), "{kv:?}");
    }
}

#[cfg(feature = "ort")]
mod onnx_runtime {
    use super::*;
    use slmd::engine::ort::OrtEngine;

    fn load(graph: &ModelGraph, kv: KvType) -> Result<OrtEngine, LoadError> {
        OrtEngine::load(graph, &options(kv))
    }

    /// A model of floats and the same with codes.
    fn pair(floats: &str, codes: &str) -> Option<[OrtEngine; 2]> {
        let graphs = [common::graph(floats)?, common::graph(codes)?];
        Some(graphs.map(|graph| load(&graph, KvType::Auto).expect("the model loads")))
    }

    #[test]
    fn the_default_model_answers_the_same_with_codes() {
        let bundle = Bundle::default_model().expect("a good bundle");
        let Some(codes) = common::graph("default-kv8") else { return };
        let mut exact = load(&bundle.graph, KvType::Auto).expect("the model loads");
        let mut other = load(&codes, KvType::Int8).expect("the model loads");
        let asked = default_texts(&bundle);
        compare_answers("codes in ONNX Runtime", &mut exact, &mut other, &asked);
    }

    #[test]
    fn stories_stay_the_same_stories_with_codes() {
        let Some([mut exact, mut other]) = pair("stories260k-fp32", "stories260k-fp32-kv8") else {
            return;
        };
        compare_stories("codes in ONNX Runtime", &mut exact, &mut other);
    }

    #[test]
    fn codes_take_a_quarter_of_the_memory() {
        let Some([floats, codes]) = pair("tiny-int4", "tiny-int4-kv8") else { return };
        assert_eq!(codes.footprint().kv_bytes, floats.footprint().kv_bytes / 4);
    }

    #[test]
    fn a_type_that_the_graph_does_not_have_is_refused_with_the_way_out() {
        let (Some(floats), Some(codes)) =
            (common::graph("tiny-int4"), common::graph("tiny-int4-kv8"))
        else {
            return;
        };
        let refusal = |graph, kv| load(graph, kv).err().expect("a refusal").to_string();
        assert!(refusal(&floats, KvType::F16).contains("engine = \"tract\""));
        let text = refusal(&floats, KvType::Int8);
        assert!(text.contains("its caches are f32") && text.contains("quantise-kv"), "{text}");
        assert!(refusal(&codes, KvType::F32).contains("its caches are int8"));
        assert!(load(&codes, KvType::Int8).is_ok());
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
}
