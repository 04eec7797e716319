//! MQTT: prompts and sensor values in, one answer out for each prompt.
//!
//! [`link`] keeps one connection to the broker alive: `dial` opens it, `open` is its socket,
//! `conversation` is what is said on it (no I/O, time is an argument), `backoff` how long to wait
//! after it. [`tls`] reads certificates, [`message`] is what travels. These alone know of the
//! library `rumqttc`.
//!
//! What messages mean is decided without I/O: [`topics`] and [`request`] read them, [`desk`] answers
//! for them, with [`acks`] and [`outgoing`]. [`front`] moves everything between them, the
//! journal, the runtime and the watches.

pub mod acks;
pub mod desk;
pub mod entry;
pub mod front;
pub mod link;
pub mod message;
pub mod outgoing;
pub mod presence;
pub mod request;
pub mod stored;
pub mod tls;
pub mod topics;
pub mod watchers;

mod backoff;
mod calls;
mod conversation;
mod dial;
mod now;
mod open;

pub use now::{Now, boot_id};
