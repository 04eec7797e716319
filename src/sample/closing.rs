//! The shortest way to a complete answer: what is written when an answer must end now.
//!
//! llguidance has no such query. What it has is a parser that can be copied (about a microsecond) and
//! asked about bytes. So the search goes by bytes: what the grammar forces is taken; where it has come to
//! a choice between a few ways (names of members, values of an `enum`), each is tried and the one that
//! ends first is kept; else the lexeme at hand is finished by a breadth-first search over the states of
//! the lexer, which is what keeps it from counting digits for ever. What a state needed is remembered for
//! the next time. The bytes are then spelt with the fewest tokens.
//!
//! The result is a bound: shorter ways may exist behind choices within choices.

use llguidance::TokenParser;
use llguidance::derivre::StateID;
use llguidance::earley::Parser;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use toktrie::{Recognizer, TokTrie, TokenId};

/// Bytes that end something come first, so that no more is begun; letters before digits, which may
/// belong to a number that a reader would believe.
const FIRST: &[u8] = b"\"}]a-ntfTZ:., 0123456789Axeb{[@/";
/// Copies of the parser that one search may make.
const MAX_COPIES: usize = 4_000;
/// Copies to finish one lexeme.
const MAX_LEXEME_COPIES: usize = 600;
/// Bytes of what is written at the end.
const MAX_BYTES: usize = 16 << 10;
/// Ways out of a choice that are looked into.
const MAX_WAYS: usize = 12;
/// Lexer states whose ends are remembered.
const MAX_REMEMBERED: usize = 1_000;

/// What finishes the lexeme of a state of the lexer; one for each grammar, as its lexer is.
#[derive(Debug, Default)]
pub struct Endings(Mutex<HashMap<StateID, Box<[u8]>>>);

impl Endings {
    fn get(&self, state: StateID) -> Option<Box<[u8]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&state).cloned()
    }

    fn keep(&self, state: StateID, bytes: &[u8]) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_REMEMBERED {
            all.insert(state, bytes.into());
        }
    }
}

/// Tokens that complete what `parser` has taken; empty if it is complete. None if no way was found.
pub fn closing(parser: &TokenParser, endings: &Endings) -> Option<Vec<TokenId>> {
    let mut at = parser.parser.clone();
    let mut search = Search { endings, copies: MAX_COPIES };
    let bytes = search.finish(&mut at, MAX_BYTES, true)?;
    spelt(parser.token_env.tok_trie(), &bytes)
}

struct Search<'a> {
    endings: &'a Endings,
    /// How many more copies it may make.
    copies: usize,
}

impl Search<'_> {
    fn copy(&mut self, parser: &Parser) -> Option<Parser> {
        self.copies = self.copies.checked_sub(1)?;
        Some(parser.clone())
    }

    /// The bytes from here to the end, at most `most`.
    fn finish(&mut self, at: &mut Parser, most: usize, looks_ahead: bool) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            let forced = at.force_bytes().to_vec();
            push(at, &forced)?;
            out.extend(&forced);
            if at.is_accepting() {
                return Some(out);
            }
            if out.len() >= most {
                return None;
            }
            if looks_ahead && let Some(ways) = ways(at) {
                out.extend(self.shortest(at, &ways, most - out.len())?);
                return Some(out);
            }
            let state = at.with_recognizer(|r| r.lexer_state());
            let known = self.endings.get(state);
            let ending = match known.filter(|bytes| push_if(at, bytes)) {
                Some(bytes) => bytes.into_vec(),
                None => {
                    let bytes = self.lexeme(at)?;
                    self.endings.keep(state, &bytes);
                    push(at, &bytes)?;
                    bytes
                }
            };
            out.extend(ending);
        }
    }

    /// The best of several ways to go on.
    fn shortest(&mut self, at: &Parser, ways: &[u8], most: usize) -> Option<Vec<u8>> {
        let mut best: Option<Vec<u8>> = None;
        for &byte in ways {
            let most = best.as_ref().map_or(most, Vec::len).saturating_sub(1);
            let mut there = self.copy(at)?;
            if push(&mut there, &[byte]).is_none() {
                continue;
            }
            if let Some(rest) = self.finish(&mut there, most, false)
                && best.as_ref().is_none_or(|best| rest.len() + 1 < best.len())
            {
                best = Some([&[byte], &rest[..]].concat());
            }
        }
        best
    }

    /// The fewest bytes that end the lexeme at hand.
    fn lexeme(&mut self, at: &mut Parser) -> Option<Vec<u8>> {
        let mut seen = HashSet::from([at.with_recognizer(|r| r.lexer_state())]);
        let mut open = VecDeque::from([(self.copy(at)?, Vec::new())]);
        for _ in 0..MAX_LEXEME_COPIES {
            let (mut here, bytes) = open.pop_front()?;
            for (byte, state) in allowed(&mut here) {
                // The same state after a byte that ends something may be that of another row.
                if !seen.insert(state) && !b"\"}],:".contains(&byte) {
                    continue;
                }
                let mut there = self.copy(&here)?;
                if push(&mut there, &[byte]).is_none() {
                    continue;
                }
                let bytes = [&bytes[..], &[byte]].concat();
                if !there.has_pending_lexeme_bytes() || there.is_accepting() {
                    return Some(bytes);
                }
                open.push_back((there, bytes));
            }
        }
        None
    }
}

/// Takes bytes that are allowed.
fn push(at: &mut Parser, bytes: &[u8]) -> Option<()> {
    if bytes.is_empty() {
        return Some(());
    }
    at.apply_token(bytes, 0).ok().map(|_| ())
}

/// Takes the bytes if all of them are allowed; else `at` is as it was.
fn push_if(at: &mut Parser, bytes: &[u8]) -> bool {
    let mut there = at.clone();
    let goes = push(&mut there, bytes).is_some();
    if goes {
        *at = there;
    }
    goes
}

/// The bytes that may come next, each with the lexer's state after it; what leads to a state that an
/// earlier one leads to is left out.
fn allowed(at: &mut Parser) -> Vec<(u8, StateID)> {
    at.with_recognizer(|r| {
        r.trie_started("closing");
        let mut found: Vec<(u8, StateID)> = Vec::new();
        let others = (0u8..=u8::MAX).filter(|b| !FIRST.contains(b));
        for byte in FIRST.iter().copied().chain(others) {
            if r.try_push_byte(byte) {
                let state = r.lexer_state();
                r.pop_bytes(1);
                let ends = b"\"}],:".contains(&byte);
                if ends || found.iter().all(|(_, other)| *other != state) {
                    found.push((byte, state));
                }
            }
        }
        r.trie_finished();
        found
    })
}

/// The ways out of a choice, where the grammar is at one and none of them just ends something.
fn ways(at: &mut Parser) -> Option<Vec<u8>> {
    let bytes: Vec<u8> = allowed(at).iter().map(|(byte, _)| *byte).collect();
    let ends =
        bytes.iter().any(|b| b"}]".contains(b)) || (bytes.contains(&b'"') && bytes.len() > 8);
    let is_number = bytes.iter().all(|b| b.is_ascii_digit() || b".-".contains(b));
    let is_choice = !ends && !is_number && (2..=MAX_WAYS).contains(&bytes.len());
    is_choice.then_some(bytes)
}

/// The fewest tokens that spell `bytes`: the shortest path from the end to the beginning.
fn spelt(trie: &TokTrie, bytes: &[u8]) -> Option<Vec<TokenId>> {
    /// Tokens to the end, the first of them, and where the next one begins.
    type Rest = Option<(u32, TokenId, usize)>;
    let mut rests: Vec<Rest> = vec![None; bytes.len() + 1];
    rests[bytes.len()] = Some((0, 0, bytes.len()));
    for from in (0..bytes.len()).rev() {
        let mut node = trie.root();
        for (to, &byte) in bytes.iter().enumerate().skip(from) {
            let Some(next) = trie.child_at_byte(node, byte) else { break };
            node = next;
            if let (Some(token), Some((after, ..))) = (node.token_id(), rests[to + 1])
                && rests[from].is_none_or(|(best, ..)| after + 1 < best)
            {
                rests[from] = Some((after + 1, token, to + 1));
            }
        }
    }
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let (_, token, next) = rests[at]?;
        tokens.push(token);
        at = next;
    }
    Some(tokens)
}
