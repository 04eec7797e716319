//! Which engine runs a model, and why: `auto`, or what the configuration says.

use super::{Engine, EngineOptions, LoadError};
use crate::bundle::ModelGraph;
use crate::core::plan::EngineKind;

/// A decision for one of the engines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Never [`EngineKind::Auto`].
    pub kind: EngineKind,
    /// For people.
    pub reason: String,
}

/// Decides without loading a model.
///
/// # Errors
/// [`LoadError::Library`] if what was asked for is not in this build or not on this machine.
pub fn choose(asked: EngineKind) -> Result<Choice, LoadError> {
    let configured = || "the configuration asks for it".to_owned();
    match asked {
        EngineKind::Tract if cfg!(feature = "tract") => {
            Ok(Choice { kind: EngineKind::Tract, reason: configured() })
        }
        EngineKind::Tract => Err(LoadError::Library("this build has no tract engine".to_owned())),
        EngineKind::Ort => {
            find_ort().map(|_| Choice { kind: EngineKind::Ort, reason: configured() })
        }
        EngineKind::Auto => match find_ort() {
            Ok(found) => Ok(Choice { kind: EngineKind::Ort, reason: found }),
            Err(missing) if cfg!(feature = "tract") => {
                Ok(Choice { kind: EngineKind::Tract, reason: missing.to_string() })
            }
            Err(missing) => Err(missing),
        },
    }
}

/// What `auto` takes if the model cannot be loaded into its first choice; what was asked for by name
/// is never replaced.
pub fn second(asked: EngineKind, first: &Choice) -> Option<EngineKind> {
    let may = asked == EngineKind::Auto && first.kind == EngineKind::Ort && cfg!(feature = "tract");
    may.then_some(EngineKind::Tract)
}

#[cfg(feature = "ort")]
fn find_ort() -> Result<String, LoadError> {
    let library = super::ort::library::load()?;
    Ok(format!("ONNX Runtime {} is at {}", library.version, library.path.display()))
}

#[cfg(not(feature = "ort"))]
fn find_ort() -> Result<String, LoadError> {
    Err(LoadError::Library("this build has no ONNX Runtime engine".to_owned()))
}

/// The version of the library behind an engine: ours, for what is compiled in.
pub fn library_version(kind: EngineKind) -> String {
    #[cfg(feature = "ort")]
    if kind == EngineKind::Ort
        && let Ok(library) = super::ort::library::load()
    {
        return library.version.clone();
    }
    let _ = kind;
    env!("CARGO_PKG_VERSION").to_owned()
}

/// The instructions that our own kernels use on this CPU.
pub fn cpu_kernels() -> String {
    format!("{:?}", crate::kernels::Isa::detect())
}

/// Loads `graph` into the engine chosen.
///
/// # Errors
/// [`LoadError`] of that engine; another one is not tried.
pub fn load(
    choice: &Choice,
    graph: &ModelGraph,
    options: &EngineOptions,
) -> Result<Box<dyn Engine>, LoadError> {
    match choice.kind {
        #[cfg(feature = "ort")]
        EngineKind::Ort => super::ort::load(graph, options),
        #[cfg(feature = "tract")]
        EngineKind::Tract => Ok(Box::new(super::tract::TractEngine::load(graph, options)?)),
        kind => {
            let problem = format!("this build has no engine {:?}", kind.name());
            let _ = options;
            Err(LoadError::Unsupported { file: graph.file_name(), problem })
        }
    }
}
