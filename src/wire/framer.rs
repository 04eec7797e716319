//! Cuts a byte stream into messages: lines or frames, none longer than a limit.

use super::Codec;
use std::ops::Range;

/// Capacity that is kept for the next message; what a large one took beyond it is given back.
const KEEP_BYTES: usize = 16 * 1024;

/// A message, or what there is to say of one that is too long; see [`Framer::bytes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cut {
    /// A whole message without its delimiter.
    Message(Range<usize>),
    /// The head of a message over the limit; the rest of it is thrown away as it comes.
    TooLarge(Range<usize>),
}

/// Holds the bytes of at most one unfinished message.
#[derive(Debug)]
pub struct Framer {
    codec: Codec,
    limit_bytes: usize,
    buffer: Vec<u8>,
    /// Where the next message begins.
    start: usize,
    /// Up to where there is no delimiter.
    scanned: usize,
    /// Whether the bytes up to the next delimiter belong to a message that was too long.
    skipping: bool,
}

impl Framer {
    /// Cuts messages of at most `limit_bytes`, delimiters not counted.
    pub fn new(codec: Codec, limit_bytes: usize) -> Self {
        Self { codec, limit_bytes, buffer: Vec::new(), start: 0, scanned: 0, skipping: false }
    }

    /// How the messages look.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Takes what was read. Call [`Framer::cut`] until it has no more before the next one.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP_BYTES {
            self.buffer.shrink_to(KEEP_BYTES);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, if one has ended.
    pub fn cut(&mut self) -> Option<Cut> {
        loop {
            let delimiter = self.delimiter();
            let found = self.buffer[self.scanned..].iter().position(|b| *b == delimiter);
            let Some(offset) = found else { return self.unfinished() };
            let message = self.start..self.scanned + offset;
            self.start = message.end + 1;
            self.scanned = self.start;
            if std::mem::take(&mut self.skipping) || self.is_blank(message.clone()) {
                continue;
            }
            return Some(self.judge(message));
        }
    }

    /// At the end of the stream: a last line without its line feed. Half a frame is no message.
    pub fn rest(&mut self) -> Option<Cut> {
        let message = self.start..self.buffer.len();
        self.start = message.end;
        self.scanned = message.end;
        let whole = self.codec == Codec::JsonLines && !self.skipping;
        (whole && !self.is_blank(message.clone())).then(|| self.judge(message))
    }

    /// The bytes of a cut, until the next [`Framer::push`].
    pub fn bytes(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.buffer[range]
    }

    fn delimiter(&self) -> u8 {
        match self.codec {
            Codec::JsonLines => b'\n',
            Codec::Postcard => 0,
        }
    }

    fn is_blank(&self, range: Range<usize>) -> bool {
        match self.codec {
            Codec::JsonLines => self.buffer[range].iter().all(u8::is_ascii_whitespace),
            Codec::Postcard => range.is_empty(),
        }
    }

    fn judge(&self, message: Range<usize>) -> Cut {
        if message.len() > self.limit_bytes {
            Cut::TooLarge(message)
        } else {
            Cut::Message(message)
        }
    }

    fn unfinished(&mut self) -> Option<Cut> {
        let head = self.start..self.buffer.len();
        self.scanned = head.end;
        if !self.skipping && head.len() <= self.limit_bytes {
            return None;
        }
        self.start = head.end;
        (!std::mem::replace(&mut self.skipping, true)).then_some(Cut::TooLarge(head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(framer: &mut Framer) -> Vec<Result<Vec<u8>, usize>> {
        let mut found = Vec::new();
        while let Some(cut) = framer.cut() {
            found.push(match cut {
                Cut::Message(range) => Ok(framer.bytes(range).to_vec()),
                Cut::TooLarge(range) => Err(range.len()),
            });
        }
        found
    }

    #[test]
    fn lines_come_whole_and_blank_ones_not_at_all() {
        let mut framer = Framer::new(Codec::JsonLines, 100);
        framer.push(b"{\"a\":1}\r\n\n  \n{\"b\"");
        assert_eq!(all(&mut framer), [Ok(b"{\"a\":1}\r".to_vec())]);
        framer.push(b":2}");
        assert_eq!(all(&mut framer), []);
        assert_eq!(framer.rest(), Some(Cut::Message(0..7)));
        assert_eq!(framer.rest(), None);
    }

    #[test]
    fn a_long_line_is_reported_once_and_the_next_one_is_read() {
        for codec in [Codec::JsonLines, Codec::Postcard] {
            let mut framer = Framer::new(codec, 8);
            let end = framer.delimiter();
            framer.push(&[b'x'; 9]);
            assert_eq!(all(&mut framer), [Err(9)]);
            for _ in 0..100 {
                framer.push(&[b'x'; 9]);
                assert_eq!(all(&mut framer), []);
            }
            assert!(framer.buffer.capacity() < 64);
            framer.push(&[end, b'o', b'k', end]);
            assert_eq!(all(&mut framer), [Ok(b"ok".to_vec())]);
            framer.push(&[&[b'x'; 20][..], &[end, b'o', b'k', end]].concat());
            assert_eq!(all(&mut framer), [Err(20), Ok(b"ok".to_vec())]);
        }
    }

    proptest! {
        #[test]
        fn the_pieces_in_which_bytes_arrive_do_not_matter(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b' ')], 0..200),
            at in 0usize..200,
        ) {
            let mut whole = Framer::new(Codec::JsonLines, 16);
            whole.push(&bytes);
            let mut expected = all(&mut whole);
            let at = at.min(bytes.len());
            let mut halves = Framer::new(Codec::JsonLines, 16);
            halves.push(&bytes[..at]);
            let mut found = all(&mut halves);
            halves.push(&bytes[at..]);
            found.extend(all(&mut halves));
            // How much of a long line was seen when it became too long does depend on the pieces.
            for list in [&mut expected, &mut found] {
                list.iter_mut().filter_map(|m| m.as_mut().err()).for_each(|n| *n = 0);
            }
            prop_assert_eq!(found, expected);
        }
    }
}
