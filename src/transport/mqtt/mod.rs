//! MQTT 5.
//!
//! [`link`] keeps one connection to the broker alive: `dial` opens it, `open` is its socket,
//! `conversation` is what is said on it (no I/O, time is an argument), `backoff` how long to wait
//! after it. [`tls`] reads certificates, [`message`] is what travels. These alone know of the
//! library `rumqttc`.

pub mod link;
pub mod message;
pub mod tls;

mod backoff;
mod conversation;
mod dial;
mod open;
