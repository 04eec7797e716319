//! MQTT: prompts and sensor values in, one answer out for each prompt.
//!
//! [`link`] is the connection to the broker, and nothing else. What messages mean is decided
//! without I/O: [`topics`] and [`request`] read them, [`desk`] answers for them, with [`acks`],
//! [`outgoing`] and [`quota`]; [`front`] moves everything between them, the journal and the runtime.

pub mod acks;
pub mod desk;
pub mod entry;
pub mod front;
pub mod link;
pub mod message;
pub mod outgoing;
pub mod presence;
pub mod quota;
pub mod request;
pub mod stored;
pub mod tls;
pub mod topics;
pub mod watchers;

mod backoff;
mod conversation;
mod dial;
mod now;

pub use now::{Now, boot_id};
