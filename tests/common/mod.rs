//! What the integration tests share: where models are, and a greedy decoder over an engine.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod agree;
pub mod daemon;
pub mod mosquitto;
pub mod requester;
pub mod rows;

use slmd::bundle::ModelGraph;
use slmd::core::plan::{ModelId, Row, Slot, StepPlan, Want};
use slmd::engine::Engine;
use std::path::PathBuf;

/// `slmd` in the user's cache, where the scripts in `onnx/` put what they make.
pub fn cache() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(cache.join("slmd"))
}

/// The Python of the environment that `onnx/setup-python` makes, else the system's.
pub fn python() -> PathBuf {
    let own = cache().map(|cache| cache.join("venv/bin/python"));
    own.filter(|python| python.exists()).unwrap_or_else(|| "python3".into())
}

/// The folder of a test model made by `onnx/make-test-models`, or a message and none.
pub fn model_dir(name: &str) -> Option<PathBuf> {
    let dir = cache()?.join("test-models").join(name);
    if dir.exists() {
        return Some(dir);
    }
    eprintln!("SKIP: no test model {name}; make it with onnx/make-test-models");
    None
}

/// The graph of a test model.
pub fn graph(name: &str) -> Option<ModelGraph> {
    let bundle = slmd::bundle::Bundle::open(model_dir(name)?, None).expect("a good bundle");
    Some(bundle.graph)
}

const fn slot(index: u16) -> Slot {
    Slot { model: ModelId(0), index, generation: 1 }
}

/// Feeds tokens and gives the logits after the last of them.
pub fn feed(engine: &mut dyn Engine, slot_index: u16, pos: u32, tokens: &[u32]) -> Vec<f32> {
    let row = Row { slot: slot(slot_index), pos, tokens, want: Want::Last };
    engine.step(&StepPlan { rows: &[row] }).expect("the step runs");
    engine.logits(0).to_vec()
}

/// The index of the largest logit.
pub fn top(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map(|(index, _)| index as u32).expect("logits are not empty")
}

/// The largest difference between two rows of logits.
pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

/// A greedy session.
pub struct Greedy {
    slot: u16,
    len: u32,
    next: u32,
    /// The tokens of the answer.
    pub said: Vec<u32>,
}

impl Greedy {
    /// Prefills `prompt` into a slot.
    pub fn start(engine: &mut dyn Engine, slot: u16, prompt: &[u32]) -> Self {
        let next = top(&feed(engine, slot, 0, prompt));
        Self { slot, len: prompt.len() as u32, next, said: Vec::new() }
    }

    /// Decodes one token.
    pub fn step(&mut self, engine: &mut dyn Engine) {
        self.said.push(self.next);
        self.next = top(&feed(engine, self.slot, self.len, &[self.next]));
        self.len += 1;
    }

    /// Decodes `steps` tokens.
    pub fn run(mut self, engine: &mut dyn Engine, steps: usize) -> Vec<u32> {
        (0..steps).for_each(|_| self.step(engine));
        self.said
    }

    /// Decodes one token of each session in one step.
    pub fn step_together(sessions: &mut [Self], engine: &mut dyn Engine) {
        let fed: Vec<[u32; 1]> = sessions.iter().map(|s| [s.next]).collect();
        let rows: Vec<Row<'_>> = sessions
            .iter()
            .zip(&fed)
            .map(|(s, t)| Row { slot: slot(s.slot), pos: s.len, tokens: t, want: Want::Last })
            .collect();
        engine.step(&StepPlan { rows: &rows }).expect("the step runs");
        for (row, session) in sessions.iter_mut().enumerate() {
            session.said.push(session.next);
            session.next = top(engine.logits(row));
            session.len += 1;
        }
    }
}

/// The shared folder: `SLMD_SHARED`, else `../shared` beside the package; or a message and none.
pub fn shared_dir() -> Option<PathBuf> {
    let named = std::env::var_os("SLMD_SHARED").map(PathBuf::from);
    let dir = named.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"));
    if dir.is_dir() {
        return Some(dir);
    }
    eprintln!("SKIP: no shared data at {}", dir.display());
    None
}

/// A file of the shared data, or a message and none.
pub fn shared(file: &str) -> Option<Vec<u8>> {
    match std::fs::read(shared_dir()?.join("data").join(file)) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            eprintln!("SKIP: shared data {file}: {error}");
            None
        }
    }
}
