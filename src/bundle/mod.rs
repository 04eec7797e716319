//! A model on disk, or embedded in the binary: its layouts, its manifest and who signed it, its graph's
//! ports.
//!
//! Knows files and formats; nothing of engines, which read [`ModelGraph`] and the files it names,
//! nor of tokenizers, which `text` builds from [`TextFiles`]. No bytes in any file make it panic.

mod configs;
#[cfg(feature = "default-model")]
mod default;
mod error;
mod external;
pub mod files;
mod fixed;
mod generation;
mod graph;
mod kv_ports;
mod layout;
mod manifest;
mod map;
mod onnx;
mod open;
mod ports;
pub mod signature;
pub mod task;
mod text_files;

pub use error::{BundleError, line_column};
pub use files::EmbeddedFile;
pub use generation::{Generation, SamplingDefaults};
pub use graph::{FixedShapes, GraphSource, KvPorts, KvUpdate, ModelGraph, Port, PortType};
pub use layout::{Layout, VARIANTS};
pub use manifest::{Golden, LatencySpec, MANIFEST, Manifest};
pub use open::Bundle;
pub use task::{Escalate, Output, OutputSpec, PriorityName, Task, TaskError, TaskSpec};
pub use text_files::TextFiles;

/// The graph of a model that opens but that no engine would run, for tests of what only moves files.
#[cfg(test)]
pub(crate) fn tiny_graph() -> Vec<u8> {
    open::tests::onnx(None)
}
