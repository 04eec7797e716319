//! Moves bytes between clients and the runtime; knows codecs and peers, nothing of models.
//!
//! [`listen`] gets hold of the socket's path, [`unix`] accepts and turns away, `connection` moves
//! the bytes of one client, and `session` is what they mean: it does no I/O. [`quota`] says who may ask
//! for how much, on every transport; [`shares`] keeps the accounts of the socket's clients.

pub mod access;
pub mod listen;
pub mod mqtt;
pub mod quota;
pub mod shares;
pub mod unix;

mod connection;
mod peer_groups;
mod session;
