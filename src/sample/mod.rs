//! Logits to tokens: sampling, token masks, and grammars that shape an answer.
//!
//! Knows tokens and their bytes; nothing of engines, requests or time.

mod calls;
mod choices;
mod closing;
mod constraint;
mod exp;
mod grammar;
mod mask;
mod rng;
mod sampler;
mod schema;
mod spans;

pub use calls::{CallShape, Prose, Said};
pub use choices::{Choices, Chosen, Turn};
pub use constraint::{Constraint, ConstraintError, Masked, ResponseShape};
pub use grammar::GrammarFactory;
pub use mask::TokenMask;
pub use rng::Rng;
pub use sampler::{SampleError, Sampled, Sampler, Seen};
pub use schema::canonical;
pub use spans::{Span, spans};
