//! What each token is in bytes, however the tokenizer writes it down.
//!
//! Three alphabets are in use: byte-level (GPT-2's printable stand-ins for bytes), SentencePiece
//! (`▁` for a space, `<0x0A>` for a byte) and WordPiece (`##` continues a word).

use serde_json::Value;

/// How the tokenizer writes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// Every byte is one printable character; source: OpenAI's `bytes_to_unicode` of GPT-2.
    ByteLevel,
    /// Text with `▁` as space and `<0x..>` as bytes.
    SentencePiece,
    /// Words separated by spaces unless they begin with `##`.
    WordPiece,
    /// As written.
    Plain,
}

impl Alphabet {
    /// From the `decoder` of a `tokenizer.json`.
    pub(crate) fn of_decoder(decoder: &Value) -> Self {
        let has = |name: &str| parts(decoder).any(|(n, _)| n == name);
        if has("ByteLevel") {
            Self::ByteLevel
        } else if has("ByteFallback") || has("Metaspace") || has("Replace") {
            Self::SentencePiece
        } else if has("WordPiece") {
            Self::WordPiece
        } else {
            Self::Plain
        }
    }

    /// Appends the bytes of a token of the model's own vocabulary.
    fn push_bytes(self, token: &str, out: &mut Vec<u8>) {
        match self {
            Self::ByteLevel if token.chars().all(|c| byte_of(c).is_some()) => {
                out.extend(token.chars().filter_map(byte_of));
            }
            Self::SentencePiece => match fallback_byte(token) {
                Some(byte) => out.push(byte),
                None => out.extend(token.replace('▁', " ").bytes()),
            },
            Self::WordPiece => match token.strip_prefix("##") {
                Some(rest) => out.extend(rest.bytes()),
                None => {
                    out.push(b' ');
                    out.extend(token.bytes());
                }
            },
            Self::ByteLevel | Self::Plain => out.extend(token.bytes()),
        }
    }
}

/// A component with its `type`, or a sequence of them with those of its parts.
pub(crate) fn parts(component: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let inner = ["decoders", "pretokenizers", "normalizers", "processors"]
        .into_iter()
        .filter_map(|key| component.get(key)?.as_array())
        .flatten();
    std::iter::once(component)
        .chain(inner)
        .filter_map(|part| Some((part.get("type")?.as_str()?, part)))
}

/// The byte behind a character of the byte-level alphabet.
fn byte_of(c: char) -> Option<u8> {
    let code = c as u32;
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => Some(code as u8),
        // The bytes without a printable character, in order, stand from U+0100 on.
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

fn fallback_byte(token: &str) -> Option<u8> {
    let hex = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = hex.len() == 2 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    is_hex.then(|| u8::from_str_radix(hex, 16).ok())?
}

/// The bytes of every token, in one allocation.
#[derive(Debug, Clone, Default)]
pub struct TokenTable {
    bytes: Vec<u8>,
    /// `ends[id]`: where token `id` ends in `bytes`; it begins where the one before ends.
    ends: Vec<u32>,
    /// One bit a token: not part of the text of an answer.
    hidden: Vec<u64>,
    longest: usize,
    /// Which bytes are tokens by themselves; text of other bytes may vanish.
    single: Box<[bool]>,
    /// Within a token, a space never follows a letter or digit of ASCII.
    pub(crate) breaks_at_spaces: bool,
    /// Whether the first space of a text is not part of it (SentencePiece's prefix).
    pub(crate) strips_first_space: bool,
}

impl TokenTable {
    /// Entries, holes included.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The bytes of a token; empty for a hole or an id beyond the vocabulary. A control token has
    /// the bytes of its name.
    pub fn bytes(&self, id: u32) -> &[u8] {
        let Some(&end) = self.ends.get(id as usize) else { return &[] };
        let start = match id.checked_sub(1) {
            Some(before) => self.ends[before as usize],
            None => 0,
        };
        &self.bytes[start as usize..end as usize]
    }

    /// Whether the token is special: never shown, never produced from text.
    pub fn is_hidden(&self, id: u32) -> bool {
        self.hidden.get(id as usize / 64).is_some_and(|w| w >> (id % 64) & 1 == 1)
    }

    /// Bytes of the longest token that is not special.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Whether every byte that UTF-8 uses is a token.
    pub fn is_complete(&self) -> bool {
        (0..=0xFF).filter(|b| !matches!(b, 0xC0 | 0xC1 | 0xF5..)).all(|b| self.has_byte(b))
    }

    /// Whether the byte is a token by itself.
    pub(crate) fn has_byte(&self, byte: u8) -> bool {
        self.single.get(usize::from(byte)) == Some(&true)
    }

    /// Bytes of memory that the table holds.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 4 + self.hidden.capacity() * 8
    }
}

/// Fills a [`TokenTable`] token by token, in order of ids.
pub(crate) struct TableBuilder {
    alphabet: Alphabet,
    table: TokenTable,
}

impl TableBuilder {
    pub(crate) fn new(alphabet: Alphabet) -> Self {
        let single = vec![false; 256].into_boxed_slice();
        let table = TokenTable { breaks_at_spaces: true, single, ..TokenTable::default() };
        Self { alphabet, table }
    }

    /// The next id: `None` is a hole.
    pub(crate) fn push(&mut self, token: Option<&str>, added: bool, hidden: bool) {
        let id = self.table.ends.len();
        let start = self.table.bytes.len();
        if let Some(token) = token {
            match added {
                true => self.table.bytes.extend(token.bytes()),
                false => self.alphabet.push_bytes(token, &mut self.table.bytes),
            }
        }
        self.table.ends.push(self.table.bytes.len() as u32);
        if id.is_multiple_of(64) {
            self.table.hidden.push(0);
        }
        if hidden || token.is_none() {
            self.table.hidden[id / 64] |= 1 << (id % 64);
        } else {
            self.note(start, added);
        }
    }

    /// What the token says about how a text may be cut and how long it can be in tokens.
    fn note(&mut self, start: usize, added: bool) {
        let bytes = &self.table.bytes[start..];
        self.table.longest = self.table.longest.max(bytes.len());
        if let &[byte] = bytes {
            self.table.single[usize::from(byte)] = true;
        }
        if !added && bytes.windows(2).any(|w| w[0].is_ascii_alphanumeric() && w[1] == b' ') {
            self.table.breaks_at_spaces = false;
        }
    }

    pub(crate) fn finish(mut self) -> TokenTable {
        self.table.bytes.shrink_to_fit();
        self.table.ends.shrink_to_fit();
        self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_level_alphabet_covers_every_byte_once() {
        let mut seen = [0; 256];
        for c in (0..0x200).filter_map(char::from_u32) {
            if let Some(b) = byte_of(c) {
                seen[usize::from(b)] += 1;
            }
        }
        assert_eq!(seen, [1; 256]);
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
    }

    #[test]
    fn each_alphabet_gives_bytes() {
        let bytes = |alphabet: Alphabet, token| {
            let mut out = Vec::new();
            alphabet.push_bytes(token, &mut out);
            out
        };
        assert_eq!(bytes(Alphabet::SentencePiece, "▁a▁"), b" a ");
        assert_eq!(bytes(Alphabet::SentencePiece, "<0xE2>"), [0xE2]);
        assert_eq!(bytes(Alphabet::SentencePiece, "<0xE2"), b"<0xE2");
        assert_eq!(bytes(Alphabet::SentencePiece, "<0x+2>"), b"<0x+2>");
        assert_eq!(bytes(Alphabet::ByteLevel, "ĠÃ"), [b' ', 0xC3]);
        assert_eq!(bytes(Alphabet::WordPiece, "##ing"), b"ing");
    }
}
