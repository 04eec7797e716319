//! slmd: one small language model on an edge device, within a memory and a latency budget.
//!
//! The promise every module serves: *a prompt that slmd accepts gets one answer, by its deadline,
//! inside the memory the board gave it, in the shape that was asked for; what cannot be served so
//! is refused at once, with the reason.*
//!
//! The modules, and the direction in which they may know of each other (`tests/layering.rs` fails
//! on any other edge):
//!
//! ```text
//! cli -> supervisor -> { transport, runtime } -> { engine, text, sample, bundle, wire } -> core
//! engine -> { kernels, bundle }      sample -> text      { cli, supervisor } -> { config, board }
//! { cli, supervisor, transport } -> watch -> core      config -> { bundle, watch, core }
//! board -> { config, core }
//! supervisor -> pressure -> core
//! { cli, supervisor } -> sheet -> { bundle, core }     { supervisor, runtime } -> measurements
//! { cli, supervisor } -> calibration                   { cli, supervisor, routing } -> child
//! supervisor -> routing -> { runtime, sample, text, bundle, wire, core }    transport -> routing
//! cli -> store -> bundle
//! ```
//!
//! - [`core`] decides: scheduler, sessions, memory ledger. Pure state machines; time is an argument.
//! - [`engine`] computes logits: ONNX Runtime, tract, or a script for tests.
//! - [`text`] turns text into tokens and back; [`sample`] turns logits into tokens.
//! - [`bundle`] is a model on disk, or embedded in the binary.
//! - [`wire`] is what clients say and hear, and how it looks in bytes.
//! - [`journal`] keeps opaque records on the disk, over crashes and power losses.
//! - [`runtime`] runs the one inference thread and admits requests to it.
//! - [`routing`] is what becomes of a request beside the model's answer: tools that are run, and others
//!   who are told or asked; [`child`] is a process that may go wrong.
//! - [`transport`] moves bytes; [`client`] is the other end of its socket, for Rust programs.
//! - [`pressure`] reads heat and power, and says how hard slmd may work.
//! - [`watch`] decides when sensor readings become an alert, and when the model is asked about it.
//! - [`sheet`] prices the memory of the whole process; [`measurements`] remembers what only a run
//!   can tell; [`calibration`] fits how sure answers say they are to how often they are right.
//! - [`board`] knows what the machine is, and defaults that fit it.
//! - [`store`] keeps models on a disk, one of them active, whatever ends a command that changes that.
//! - [`config`], [`supervisor`] and [`cli`] make a process of it.

pub mod board;
pub mod bundle;
pub mod calibration;
pub mod child;
pub mod cli;
pub mod client;
pub mod config;
pub mod core;
pub mod engine;
pub mod journal;
pub mod kernels;
pub mod measurements;
pub mod pressure;
pub mod routing;
pub mod runtime;
pub mod sample;
pub mod sheet;
pub mod store;
pub mod supervisor;
pub mod text;
pub mod transport;
pub mod watch;
pub mod wire;

/// The README's examples, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
