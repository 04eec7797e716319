//! MQTT 5.
//!
//! [`link`] keeps one connection to the broker alive, `conversation` is what is said on it (no
//! I/O, time is an argument), `dial` opens it, [`tls`] reads certificates, [`message`] is what
//! travels. These five are all that knows of the library `rumqttc`.

pub mod link;
pub mod message;
pub mod tls;

mod backoff;
mod conversation;
mod dial;
