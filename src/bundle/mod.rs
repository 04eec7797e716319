//! A model on disk, or embedded in the binary: its layouts, its manifest, its graph's ports.
//!
//! Knows files and formats; nothing of engines, which read [`ModelGraph`] and the files it names.

mod graph;

pub use graph::{GraphSource, KvPorts, KvUpdate, ModelGraph, Port, PortType};
