//! An answer that has a shape: its constraint, and how it ends when time or tokens run out.
//!
//! To be closed in time, an answer needs a way to its end that fits into the tokens that are left. To
//! look for one after every token would cost much of a small model's step, so it is looked for when half
//! of the room beyond the last way found is used up: a dozen times in a long answer, not at all in one
//! that ends early. If there is none then, the answer goes back to where there was one. Nothing of this
//! needs the model: what closes an answer is written, not computed.

use super::model::Reading;
use crate::core::request::OnDeadline;
use crate::sample::Constraint;

/// The shape of one answer.
pub struct Shaped {
    /// Says what may come next.
    pub constraint: Box<dyn Constraint>,
    /// How the answer is read.
    pub reading: Reading,
    /// What becomes of an answer that cannot be finished.
    pub on_deadline: OnDeadline,
    /// Whether a client hears the answer as it comes: what it has heard is not taken back.
    streams: bool,
    /// The last place where a way to the end was found.
    kept: Option<Closing>,
    /// A way to the end is looked for when no more than so many tokens are left.
    look_at: u32,
}

/// How an answer is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Tokens of the answer that stay.
    pub keeps: usize,
    /// What follows them.
    pub tokens: Vec<u32>,
}

impl Shaped {
    /// For an answer of up to `most` tokens, which fit the shape's shortest answer.
    pub fn new(
        constraint: Box<dyn Constraint>,
        reading: Reading,
        on_deadline: OnDeadline,
        streams: bool,
        most: u32,
    ) -> Self {
        let least = constraint.least().len() as u32;
        let look_at = next_look(most, least, streams);
        Self { constraint, reading, on_deadline, streams, kept: None, look_at }
    }

    /// Looks, if it is time, whether an answer of `has` tokens can still be closed with `left` more; if
    /// not, says how it must be closed now.
    pub fn look(&mut self, has: usize, left: u32) -> Option<Closing> {
        if self.on_deadline == OnDeadline::Error || left > self.look_at {
            return None;
        }
        match self.constraint.closing() {
            Some(tokens) if tokens.len() <= left as usize => {
                self.look_at = next_look(left, tokens.len() as u32, self.streams);
                self.kept = Some(Closing { keeps: has, tokens });
                None
            }
            Some(_) => Some(self.last_kept()),
            // There may be one all the same; what was kept is there still.
            None => {
                self.look_at = next_look(left, 0, self.streams);
                None
            }
        }
    }

    /// Whether an answer of `has` tokens may be said as far as it is: it will not go back behind that.
    pub fn may_say(&self, has: usize) -> bool {
        let is_safe = || self.kept.as_ref().is_some_and(|kept| kept.keeps == has);
        self.on_deadline == OnDeadline::Error || !self.streams || is_safe()
    }

    /// How an answer of `has` tokens, with room for `left` more, is closed.
    pub fn close(&mut self, has: usize, left: u32) -> Closing {
        let here = self.constraint.closing().filter(|tokens| tokens.len() <= left as usize);
        here.map_or_else(|| self.last_kept(), |tokens| Closing { keeps: has, tokens })
    }

    fn last_kept(&mut self) -> Closing {
        let least = || Closing { keeps: 0, tokens: self.constraint.least().to_vec() };
        self.kept.take().unwrap_or_else(least)
    }
}

/// With `left` tokens to go and a way to the end of `way`: when to look again.
const fn next_look(left: u32, way: u32, streams: bool) -> u32 {
    let room = left.saturating_sub(way);
    let wait = if streams || room < 2 { 1 } else { room / 2 };
    left.saturating_sub(wait)
}
