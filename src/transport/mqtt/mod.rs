//! MQTT: prompts and sensor values in, one answer out for each prompt.
//!
//! Bytes and the broker are [`link`]'s; what messages mean is decided without I/O: [`topics`] and
//! [`request`] read them, [`desk`] answers for them, with [`acks`], [`outgoing`] and [`quota`].

pub mod acks;
pub mod desk;
pub mod entry;
pub mod link;
pub mod outgoing;
pub mod quota;
pub mod request;
pub mod stored;
pub mod topics;

mod now;

pub use now::Now;
