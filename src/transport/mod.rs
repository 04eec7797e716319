//! Moves bytes between clients and the runtime; knows codecs and peers, nothing of models.
//!
//! [`listen`] gets hold of the socket's path, [`unix`] accepts and turns away, `connection` moves
//! the bytes of one client, and `session` is what they mean: it does no I/O and has no clock.

pub mod access;
pub mod listen;
pub mod mqtt;
pub mod unix;

mod connection;
mod peer_groups;
mod session;
