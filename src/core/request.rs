//! A request after parsing: ids, priorities, deadlines, sampling figures, all of them valid.

use std::time::Duration;

/// A moment on the caller's monotonic clock, in microseconds since an origin of its choice.
///
/// `core` has no clock: whoever calls says what time it is, and tests say what they like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl Time {
    /// The moment `after` later; saturates.
    pub const fn after(self, after: Duration) -> Self {
        Self(self.0.saturating_add(micros(after)))
    }

    /// The moment `before` earlier; stops at the origin.
    pub const fn before(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(micros(before)))
    }

    /// How long after `earlier` this is; zero if it is before.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

const fn micros(d: Duration) -> u64 {
    let us = d.as_micros();
    if us > u64::MAX as u128 { u64::MAX } else { us as u64 }
}

/// One request inside this process; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Who goes first. The order of the variants is the order of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Somebody is waiting: a driver, an interlock.
    Urgent,
    /// The usual case.
    #[default]
    Normal,
    /// Whenever there is time.
    Background,
}

impl Priority {
    /// Every priority, most urgent first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Background];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::Background => "background",
        }
    }
}

/// The time bounds of a request, absolute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// When the terminal reply is due.
    pub answer: Time,
    /// When the first token is due, where that was asked for.
    pub first_token: Option<Time>,
    /// Serve it even if the bounds cannot be met.
    pub best_effort: bool,
}

/// How the next token is drawn from the logits; the names are those of the literature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Zero: greedy. Finite, `0.0..=10.0`.
    pub temperature: f32,
    /// Keep the `k` most likely tokens; zero: all.
    pub top_k: u32,
    /// Nucleus: keep the most likely tokens until their mass reaches this; `(0.0, 1.0]`.
    pub top_p: f32,
    /// Drop tokens less likely than this share of the likeliest; `0.0..=1.0`.
    pub min_p: f32,
    /// Divide (or multiply, if negative) the logits of tokens seen by this; 1: off.
    pub repetition_penalty: f32,
    /// Subtract this times the count of the token in the answer.
    pub frequency_penalty: f32,
    /// Subtract this once if the token is in the answer.
    pub presence_penalty: f32,
    /// Where the random numbers start; none: from the operating system.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            seed: None,
        }
    }
}

/// How the tokens of a label become its score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Score {
    /// Their log-probabilities are added up.
    #[default]
    Sum,
    /// They are added up and divided by their number.
    Mean,
}

impl Score {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Sum, Self::Mean];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Mean => "mean",
        }
    }
}

/// What becomes of an answer whose time or tokens run out before it has its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnDeadline {
    /// It is an error, with the draft.
    Error,
    /// It is completed as shortly as can be, and says which values are not the model's.
    Complete,
}

impl OnDeadline {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Error, Self::Complete];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Complete => "complete",
        }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// An end-of-sequence token, a stop string, or the grammar's end.
    Stop,
    /// `max_tokens`, or the context is full.
    Length,
    /// The deadline came first; the answer is cut.
    Deadline,
    /// The client cancelled or went away.
    Cancelled,
    /// The daemon goes down.
    ShuttingDown,
    /// The engine failed.
    Failed,
}

impl StopReason {
    /// The `cause` on the wire.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Deadline => "deadline",
            Self::Cancelled => "cancelled",
            Self::ShuttingDown => "shutting_down",
            Self::Failed => "failed",
        }
    }

    /// OpenAI's `finish_reason`, which knows fewer causes.
    pub const fn finish_reason(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            _ => "length",
        }
    }
}
