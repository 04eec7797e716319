//! How likely the tokens of one answer were, kept in twelve bytes each until the answer goes out.

use crate::text::TokenTable;
use crate::wire::{TokenLogprob, TokenLogprobs, limits};

/// What is kept of one answer; takes its memory at the beginning, for [`limits::LOGPROBS`] tokens at
/// most.
#[derive(Debug)]
pub struct Logprobs {
    /// The likeliest tokens at each place.
    top: usize,
    /// For each token of the answer itself and `top` others, which are `None` where there were fewer:
    /// the logarithm and the id.
    kept: Vec<Option<(f32, u32)>>,
}

impl Logprobs {
    /// For an answer of up to `tokens`.
    pub fn new(top: u8, tokens: usize) -> Self {
        let top = usize::from(top);
        let room = (tokens * (1 + top)).min(limits::LOGPROBS as usize);
        Self { top, kept: Vec::with_capacity(room) }
    }

    /// Takes note of a token that was drawn, with the likeliest ones in its place.
    pub fn drawn(&mut self, token: u32, logprob: f32, top: &[(f32, u32)]) {
        self.kept.push(Some((logprob, token)));
        let others = top.iter().copied().map(Some).chain(std::iter::repeat(None));
        self.kept.extend(others.take(self.top));
    }

    /// Takes note of a token that the shape left no choice about.
    pub fn forced(&mut self, token: u32) {
        self.drawn(token, 0.0, &[]);
    }

    /// Forgets what came after the first `tokens`.
    pub fn truncate(&mut self, tokens: usize) {
        self.kept.truncate(tokens * (1 + self.top));
    }

    /// As the client hears it.
    pub fn told(&self, table: &TokenTable) -> Vec<TokenLogprobs> {
        let tell = |&(logprob, id): &(f32, u32)| TokenLogprob {
            bytes: table.bytes(id).to_vec(),
            // No client can read minus infinity, nor a zero with a sign.
            logprob: logprob.max(f32::MIN) + 0.0,
        };
        let places = self.kept.chunks_exact(1 + self.top);
        let place = |place: &[Option<(f32, u32)>]| TokenLogprobs {
            token: place[0].as_ref().map(tell).unwrap_or_default(),
            top: place[1..].iter().flatten().map(tell).collect(),
        };
        places.map(place).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::size_of;

    #[test]
    fn fewer_than_asked_for_are_told_as_fewer() {
        let table = TokenTable::default();
        let mut logprobs = Logprobs::new(2, 3);
        logprobs.drawn(7, -0.5, &[(-0.1, 3), (-0.5, 7)]);
        logprobs.forced(9);
        logprobs.drawn(1, -0.0, &[(0.0, 1)]);
        let told = logprobs.told(&table);
        let tops: Vec<usize> = told.iter().map(|t| t.top.len()).collect();
        assert_eq!(tops, [2, 0, 1]);
        assert_eq!(told.iter().map(|t| t.token.logprob).collect::<Vec<_>>(), [-0.5, 0.0, 0.0]);
        assert!(told[2].token.logprob.is_sign_positive());
    }

    #[test]
    fn the_sheet_counts_them_right() {
        let bytes = size_of::<Option<(f32, u32)>>() * limits::LOGPROBS as usize;
        assert!(bytes <= 24 << 10, "{bytes}");
        assert_eq!(Logprobs::new(5, 100_000).kept.capacity(), limits::LOGPROBS as usize);
    }
}
