//! Tokens to text, a piece at a time, never half a character.

use super::vocab::TokenTable;
use std::sync::Arc;

/// Decodes an answer as its tokens come.
///
/// The pieces together are the decoding of all tokens: the UTF-8 of their bytes, with U+FFFD for
/// what is not UTF-8, special tokens left out. Where the tokenizer puts a space before a text, the
/// first space of an answer to an empty prompt is left out, as in llama2.c's `decode` after BOS;
/// after any other prompt it stays, so that prompt and answer can be joined.
#[derive(Debug, Clone)]
pub struct Detokenizer {
    table: Arc<TokenTable>,
    /// The beginning of a character: at most three bytes.
    pending: [u8; 4],
    held: usize,
    /// The next byte is the first of the whole text.
    strip_space: bool,
}

impl Detokenizer {
    /// For the answer to `prompt`.
    pub fn new(table: Arc<TokenTable>, prompt: &[u32]) -> Self {
        let mut new = Self { table, pending: [0; 4], held: 0, strip_space: false };
        new.restart(prompt);
        new
    }

    /// As new, for the answer to `prompt`.
    pub fn restart(&mut self, prompt: &[u32]) {
        let table = &self.table;
        let empty = prompt.iter().all(|&id| table.is_hidden(id) || table.bytes(id).is_empty());
        self.strip_space = table.strips_first_space && empty;
        self.held = 0;
    }

    /// The vocabulary.
    pub fn table(&self) -> &TokenTable {
        &self.table
    }

    /// Appends to `out` what `token` makes certain; may be nothing.
    pub fn push(&mut self, token: u32, out: &mut String) {
        let table = Arc::clone(&self.table);
        let mut bytes = if table.is_hidden(token) { &[] } else { table.bytes(token) };
        if self.strip_space && !bytes.is_empty() {
            self.strip_space = false;
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
        }
        while self.held > 0 && !bytes.is_empty() {
            self.pending[self.held] = bytes[0];
            self.held += 1;
            bytes = &bytes[1..];
            self.settle(out);
        }
        if self.held == 0 {
            self.take(bytes, out);
        }
    }

    /// The end of the answer: the beginning of a character that is left becomes U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        if std::mem::take(&mut self.held) > 0 {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// Moves the held bytes to `out` as far as they are decided.
    fn settle(&mut self, out: &mut String) {
        let held = self.pending;
        let bytes = &held[..std::mem::take(&mut self.held)];
        self.take(bytes, out);
    }

    /// Decodes bytes; nothing is held before.
    fn take(&mut self, mut bytes: &[u8], out: &mut String) {
        loop {
            match std::str::from_utf8(bytes) {
                Ok(text) => return out.push_str(text),
                Err(error) => {
                    let (good, rest) = bytes.split_at(error.valid_up_to());
                    out.push_str(std::str::from_utf8(good).unwrap_or_default());
                    let Some(bad) = error.error_len() else {
                        self.pending[..rest.len()].copy_from_slice(rest);
                        self.held = rest.len();
                        return;
                    };
                    out.push(char::REPLACEMENT_CHARACTER);
                    bytes = &rest[bad..];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::vocab::{Alphabet, TableBuilder};
    use super::*;
    use proptest::prelude::*;

    /// Token `b` is byte `b` for 0..256; then `<x>` (special), ` a`, `é`.
    fn table(strip: bool) -> Arc<TokenTable> {
        let mut builder = TableBuilder::new(Alphabet::SentencePiece);
        for b in 0..256 {
            builder.push(Some(&format!("<0x{b:02X}>")), false, false);
        }
        builder.push(Some("<x>"), true, true);
        builder.push(Some("▁a"), false, false);
        builder.push(Some("é"), false, false);
        let mut table = builder.finish();
        table.strips_first_space = strip;
        Arc::new(table)
    }

    fn decode(table: &Arc<TokenTable>, prompt: &[u32], tokens: &[u32]) -> String {
        let mut out = String::new();
        let mut detokenizer = Detokenizer::new(Arc::clone(table), prompt);
        for &token in tokens {
            detokenizer.push(token, &mut out);
        }
        detokenizer.finish(&mut out);
        out
    }

    #[test]
    fn the_first_space_goes_only_after_an_empty_prompt() {
        let table = table(true);
        assert_eq!(decode(&table, &[256], &[257, 257]), "a a");
        assert_eq!(decode(&table, &[], &[256, 257]), "a");
        assert_eq!(decode(&table, &[256, 257], &[257]), " a");
    }

    #[test]
    fn a_character_comes_whole() {
        let table = table(false);
        let mut detokenizer = Detokenizer::new(table, &[]);
        let mut out = String::new();
        for token in [0xF0, 0x9F, 0x98] {
            detokenizer.push(token, &mut out);
            assert_eq!(out, "");
        }
        detokenizer.push(0x80, &mut out);
        assert_eq!(out, "😀");
    }

    proptest! {
        #[test]
        fn pieces_make_the_whole(tokens in proptest::collection::vec(0u32..262, 0..40)) {
            let table = table(false);
            let bytes: Vec<u8> = tokens.iter().filter(|&&t| t != 256)
                .flat_map(|&t| table.bytes(t).to_vec()).collect();
            prop_assert_eq!(decode(&table, &[], &tokens), String::from_utf8_lossy(&bytes));
        }
    }
}
