//! Puts the process together (bundle, engine, runtime, transports) and takes it apart again.

use crate::bundle::{Bundle, BundleError, Task};
use crate::engine::choice::{self, Choice, EngineKind};
use crate::engine::{EngineOptions, LoadError, StepError};
use crate::runtime::{Limits, Model, ModelError, Runtime};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Everything needed to bring a model up.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The model's directory; none: the one embedded in the binary.
    pub model: Option<PathBuf>,
    /// Which graph of a directory with several.
    pub variant: Option<String>,
    /// Which engine.
    pub engine: EngineKind,
    /// How the engine is loaded; `context_tokens` is lowered to what the model was made for.
    pub options: EngineOptions,
    /// What the runtime may take.
    pub limits: Limits,
    /// Tasks of the configuration.
    pub tasks: Vec<Task>,
}

/// Why a model did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its text side.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The engine could not load it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The engine loaded it but cannot run it.
    #[error("the self-test failed: {0}")]
    SelfTest(#[from] StepError),
    /// Neither a model is configured nor is there an embedded one.
    #[error("no model: this build has none embedded; name one with --model or `model = ...`")]
    NoModel,
}

/// Opens the model's files.
///
/// # Errors
/// [`StartError::Bundle`], [`StartError::NoModel`].
pub fn open_bundle(plan: &Plan) -> Result<Bundle, StartError> {
    match &plan.model {
        Some(dir) => Ok(Bundle::open(dir, plan.variant.as_deref())?),
        None => Err(StartError::NoModel),
    }
}

/// Loads the model and serves it to whoever holds the runtime's handle. `phase` hears what takes
/// time, in words.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub fn bring_up(plan: &Plan, phase: &dyn Fn(&str)) -> Result<Runtime, StartError> {
    phase("reading the model's files");
    let bundle = open_bundle(plan)?;
    phase("reading the tokenizer");
    let model = Model::new(&bundle, &plan.tasks)?;
    let choice = choice::choose(plan.engine)?;
    tracing::info!(engine = choice.kind.name(), reason = %choice.reason, "engine chosen");
    phase(&format!("loading {} with {}", bundle.name, choice.kind.name()));
    let options = fit(&plan.options, &bundle);
    let engine = choice::load(&choice, &bundle.graph, &options)?;
    let facts = facts(&bundle, &choice, engine.info());
    phase("running the self-test");
    Ok(Runtime::start(model, engine, &plan.limits, facts)?)
}

/// No more positions than the model was made for.
fn fit(options: &EngineOptions, bundle: &Bundle) -> EngineOptions {
    let longest = u32::try_from(bundle.graph.context_length).unwrap_or(u32::MAX);
    EngineOptions { context_tokens: options.context_tokens.min(longest), ..options.clone() }
}

fn facts(bundle: &Bundle, choice: &Choice, info: &crate::engine::EngineInfo) -> Map<String, Value> {
    let facts = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model": { "name": bundle.name, "version": bundle.version, "sha256": bundle.hash },
        "engine": {
            "name": info.name, "version": info.version, "library": info.library,
            "reason": choice.reason,
        },
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}
