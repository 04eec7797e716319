//! The few hot loops of our own: block-quantised and dense matrix products, attention, norms.
//!
//! Everything here works on plain slices and knows nothing of graphs, engines or tokens. The code
//! path is chosen at run time by [`Isa`]; each one agrees with the scalar reference, and the result
//! of a row never depends on how many rows are computed together. This is the only module besides
//! foreign-function bindings that may use `unsafe`.

pub mod affinity;
pub mod attention;
pub mod dense;
pub mod elementwise;
pub mod half;
mod isa;
mod memory;
pub mod pool;
pub mod quant;

pub use isa::Isa;
pub use memory::{AlignedBytes, map_file, share_heap, trim_heap};

/// Rows of a weight matrix that are packed and computed together, in every layout of this module.
pub(crate) const GROUP: usize = 16;
