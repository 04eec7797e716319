//! What a load is put on.

use crate::mix::Request;
use std::time::Instant;

/// The number of a request, given by who sends it.
pub type Number = usize;

/// How a request ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// With an answer.
    Answer {
        /// `stop`, `length`, `deadline` ...
        cause: String,
        /// Of the answer.
        tokens: u32,
        /// From its arrival to its end by the server's own clock, if it says so.
        own_ms: Option<f64>,
    },
    /// With an error.
    Error {
        code: String,
        /// What it would need, where that is the reason.
        needs_ms: Option<f64>,
    },
}

impl Ending {
    /// Not taken in, as against taken in and failed.
    pub fn is_refusal(&self) -> bool {
        const LATE: [&str; 4] = ["deadline_exceeded", "cancelled", "client_slow", "internal"];
        matches!(self, Self::Error { code, .. } if !LATE.contains(&code.as_str()))
    }
}

/// What was heard of a request.
#[derive(Debug)]
pub enum What {
    /// The first text; only of requests that stream.
    First,
    /// Its last message.
    Ended(Ending),
}

/// One message.
#[derive(Debug)]
pub struct Heard {
    pub number: Number,
    pub at: Instant,
    pub what: What,
}

/// A server, asked without ever waiting for it to read.
pub trait Server {
    /// Sends a request.
    fn send(&mut self, number: Number, request: &Request);
    /// Adds what is heard until `until`; returns as soon as there is something.
    fn hear(&mut self, until: Instant, heard: &mut Vec<Heard>);
    /// Whether it ends answers at their deadline; else the client gives up there.
    fn keeps_deadlines(&self) -> bool;
    /// Gives up; whether its end is still heard.
    fn abandon(&mut self, number: Number) -> bool;
    /// Its process.
    fn pid(&self) -> u32;
}
