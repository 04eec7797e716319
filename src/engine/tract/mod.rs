//! The pure-Rust engine: tract runs the graph, operators of our own do the heavy work.
//!
//! Loading has three steps. `lower` edits the ONNX graph: fused `com.microsoft` operators and
//! products with constant weights become operators of our own, which own their packed weights; KV
//! ports give way to two inputs that say where each token belongs. `build` lets tract parse,
//! type and optimise what is left. `engine` runs it: the keys and values live in the state of
//! tract's session, one arena per layer, and nothing is global.
//!
//! Knows graphs, slots and positions; nothing of requests, text or time.

mod build;
mod engine;
mod inputs;
mod kv;
mod lower;
mod ops;
mod proto;
mod stopper;
mod tensors;

pub use engine::TractEngine;
