//! Stop strings: texts that end an answer and are not part of it.

/// What became of a piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The answer goes on.
    No,
    /// The stop string with this index came; nothing more may be pushed.
    At(usize),
}

/// Finds stop strings across pieces, holding back what could still become one.
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    /// Text not yet given out; shorter than the longest stop string.
    held: String,
}

impl StopStrings {
    /// From the strings; empty ones are ignored.
    pub fn new(stops: impl IntoIterator<Item = String>) -> Self {
        let stops = stops.into_iter().filter(|s| !s.is_empty()).collect();
        Self { stops, held: String::new() }
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.stops.is_empty()
    }

    /// Adds `piece` to the answer and appends to `out` what is certain to be part of it.
    pub fn push(&mut self, piece: &str, out: &mut String) -> Stopped {
        if self.stops.is_empty() {
            out.push_str(piece);
            return Stopped::No;
        }
        self.held.push_str(piece);
        if let Some((at, which)) = self.first_match() {
            out.push_str(&self.held[..at]);
            self.held.clear();
            return Stopped::At(which);
        }
        let certain = self.certain();
        out.push_str(&self.held[..certain]);
        self.held.drain(..certain);
        Stopped::No
    }

    /// Forgets what was held back.
    pub fn restart(&mut self) {
        self.held.clear();
    }

    /// The answer ended otherwise: gives out what was held back.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
    }

    /// The match that is complete first, as if the text came byte by byte; of several that end
    /// there the longest. So the result does not depend on how the text is cut into pieces.
    fn first_match(&self) -> Option<(usize, usize)> {
        first_match(&self.stops, &self.held)
    }

    /// How many bytes cannot be the beginning of a stop string.
    fn certain(&self) -> usize {
        let starts = self.held.char_indices().map(|(at, _)| at);
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest);
        let mut candidates = starts.filter(|&at| at >= from);
        let open = |at: &usize| self.stops.iter().any(|s| s.starts_with(&self.held[*at..]));
        candidates.find(open).unwrap_or(self.held.len())
    }
}

/// Where a match begins, and which it is.
fn first_match(stops: &[String], text: &str) -> Option<(usize, usize)> {
    let found = stops.iter().enumerate().filter_map(|(which, stop)| {
        let at = text.find(stop.as_str())?;
        Some((at + stop.len(), at, which))
    });
    found.min().map(|(_, at, which)| (at, which))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (String, Option<usize>) {
        let mut strings = StopStrings::new(stops.iter().map(|s| (*s).to_owned()));
        let mut out = String::new();
        for piece in pieces {
            if let Stopped::At(which) = strings.push(piece, &mut out) {
                return (out, Some(which));
            }
        }
        strings.finish(&mut out);
        (out, None)
    }

    #[test]
    fn a_stop_string_is_found_across_pieces() {
        assert_eq!(run(&["\n\n"], &["a\n", "\nb"]), ("a".into(), Some(0)));
        assert_eq!(run(&["END", "ND"], &["xE", "N", "D"]), ("x".into(), Some(0)));
        assert_eq!(run(&["abcd", "b"], &["a", "b"]), ("a".into(), Some(1)));
        assert_eq!(run(&["abc"], &["ab", "ab"]), ("abab".into(), None));
        assert_eq!(run(&[], &["a", "b"]), ("ab".into(), None));
        assert_eq!(run(&[""], &["a"]), ("a".into(), None));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            stops in proptest::collection::vec("[abé]{1,3}", 0..3),
            pieces in proptest::collection::vec("[abcé]{0,3}", 0..8),
        ) {
            let whole = pieces.concat();
            let first = first_match(&stops, &whole);
            let mut strings = StopStrings::new(stops);
            let (mut out, mut hit) = (String::new(), None);
            for piece in &pieces {
                if let Stopped::At(which) = strings.push(piece, &mut out) {
                    hit = Some(which);
                    break;
                }
            }
            if hit.is_none() {
                strings.finish(&mut out);
            }
            prop_assert_eq!(hit, first.map(|(_, which)| which));
            prop_assert_eq!(out.as_str(), &whole[..first.map_or(whole.len(), |(at, _)| at)]);
        }
    }
}
