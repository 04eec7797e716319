//! The shortest way to a complete answer: what is written when an answer must end now.
//!
//! llguidance has no such query. What it has is a parser that can be copied (about a microsecond) and
//! asked about bytes. So the search goes by bytes: what the grammar forces is taken; where it has come to
//! a choice between a few ways (names of members, values of an `enum`), each is tried and the one that
//! ends first is kept; else the lexeme at hand is finished by a breadth-first search over the states of
//! the lexer, which is what keeps it from counting digits for ever. What a state needed is remembered for
//! the next time. The bytes are then spelt with the fewest tokens.
//!
//! Where the shortest lexemes lead round in a circle (an object that needs some long name, and takes
//! empty ones for ever), a second search takes other lexemes once it comes by the same way again.
//!
//! The result is a bound: shorter ways may exist behind choices within choices.

use llguidance::TokenParser;
use llguidance::derivre::StateID;
use llguidance::earley::Parser;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use toktrie::{Recognizer, TokTrie, TokenId};

/// Bytes that end something come first, so that no more is begun; letters before digits, which may
/// belong to a number that a reader would believe.
const FIRST: &[u8] = b"\"}]a-ntfTZ:., 0123456789Axeb{[@/";
/// Bytes of what is written at the end.
const MAX_BYTES: usize = 16 << 10;
/// Ways out of a choice that are looked into.
const MAX_WAYS: usize = 12;
/// Ends of one lexeme that are taken for different ones.
const MAX_ENDS: usize = 4;
/// Lexer states whose ends are remembered,
const MAX_REMEMBERED: usize = 500;
/// and those of one lexeme.
const MAX_REMEMBERED_OF_ONE: usize = 64;

/// How long a search may take.
#[derive(Debug, Clone, Copy)]
struct Effort {
    /// Copies of the parser, and lexemes: some microseconds each.
    steps: usize,
    /// Copies to finish one lexeme.
    lexeme: usize,
}

/// When a grammar is compiled; some ten milliseconds.
const THOROUGH: Effort = Effort { steps: 20_000, lexeme: 4_000 };
/// While an answer is made.
const QUICK: Effort = Effort { steps: 500, lexeme: 200 };

/// What finishes the lexeme of a state of the lexer; one for each grammar, as its lexer is.
#[derive(Debug)]
pub struct Endings {
    known: Mutex<HashMap<StateID, Arc<[Ending]>>>,
    /// Whether a search turns off where it has been before: the shortest lexemes lead round in a circle.
    turns: bool,
}

/// One way to finish a lexeme, and the lexer's state before its last byte: what follows may differ by
/// it, however alike the states after that byte are.
#[derive(Debug, Clone)]
struct Ending {
    /// Shared with the states that the same bytes lead through.
    shared: Arc<[u8]>,
    from: usize,
    by: StateID,
}

impl Ending {
    fn bytes(&self) -> &[u8] {
        &self.shared[self.from..]
    }
}

impl Endings {
    fn get(&self, state: StateID) -> Option<Arc<[Ending]>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&state).cloned()
    }

    fn keep(&self, state: StateID, endings: Arc<[Ending]>) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < MAX_REMEMBERED {
            all.insert(state, endings);
        }
    }

    /// Keeps an ending for the states that it leads through too, but for some of many.
    fn keep_along(&self, states: &[StateID], ending: &Ending) {
        let stride = states.len().div_ceil(MAX_REMEMBERED_OF_ONE).max(1);
        for (from, &state) in states.iter().enumerate().step_by(stride) {
            let from = ending.from + from;
            self.keep(state, Arc::from([Ending { from, ..ending.clone() }]));
        }
    }
}

/// The shortest answer of a grammar that is at its beginning, and what was learnt of its lexemes on the
/// way. None if no way to an end was found.
pub fn least(parser: &TokenParser) -> Option<(Endings, Vec<TokenId>)> {
    [false, true].into_iter().find_map(|turns| {
        let endings = Endings { known: Mutex::default(), turns };
        let tokens = search(parser, &endings, THOROUGH)?;
        Some((endings, tokens))
    })
}

/// Tokens that complete what `parser` has taken; empty if it is complete. None if no way was found.
pub fn closing(parser: &TokenParser, endings: &Endings) -> Option<Vec<TokenId>> {
    search(parser, endings, QUICK)
}

fn search(parser: &TokenParser, endings: &Endings, effort: Effort) -> Option<Vec<TokenId>> {
    let mut search = Search { endings, effort, taken: HashMap::new() };
    let bytes = search.finish(&mut parser.parser.clone(), MAX_BYTES, true)?;
    spelt(parser.token_env.tok_trie(), &bytes)
}

struct Search<'a> {
    endings: &'a Endings,
    /// What is left of it.
    effort: Effort,
    /// How often it ended the lexeme of one state by another.
    taken: HashMap<(StateID, StateID), u32>,
}

impl Search<'_> {
    fn spend(&mut self) -> Option<()> {
        self.effort.steps = self.effort.steps.checked_sub(1)?;
        Some(())
    }

    fn copy(&mut self, parser: &Parser) -> Option<Parser> {
        self.spend().map(|()| parser.clone())
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
            out.extend(self.end_lexeme(at)?);
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

    /// Finishes the lexeme at hand, if need be another way than the last time.
    fn end_lexeme(&mut self, at: &mut Parser) -> Option<Vec<u8>> {
        self.spend()?;
        let state = at.with_recognizer(|r| r.lexer_state());
        let fits = |at: &mut Parser, all: &[Ending]| all.iter().all(|e| goes(at, e.bytes()));
        let endings = match self.endings.get(state).filter(|all| fits(at, all)) {
            Some(known) => known,
            None => {
                let found: Arc<[Ending]> = self.lexeme(at)?.into();
                self.endings.keep(state, Arc::clone(&found));
                found
            }
        };
        let taken = |ending: &&Ending| self.taken.get(&(state, ending.by)).copied().unwrap_or(0);
        let ending = endings.iter().min_by_key(taken)?;
        if self.endings.turns {
            *self.taken.entry((state, ending.by)).or_default() += 1;
        }
        push(at, ending.bytes())?;
        Some(ending.bytes().to_vec())
    }

    /// The fewest bytes that end the lexeme at hand; if it turns, several such.
    fn lexeme(&mut self, at: &mut Parser) -> Option<Vec<Ending>> {
        let plain = self.lexeme_of(at, FIRST);
        plain.or_else(|| {
            let others = (0u8..=u8::MAX).filter(|b| !FIRST.contains(b));
            let all: Vec<u8> = FIRST.iter().copied().chain(others).collect();
            self.lexeme_of(at, &all)
        })
    }

    fn lexeme_of(&mut self, at: &mut Parser, bytes: &[u8]) -> Option<Vec<Ending>> {
        let wanted = if self.endings.turns { MAX_ENDS } else { 1 };
        let start = at.with_recognizer(|r| r.lexer_state());
        let (mut found, mut seen) = (Vec::<Ending>::new(), HashSet::from([start]));
        let mut paths = vec![Step { before: 0, byte: 0, state: start }];
        let mut open = VecDeque::from([(self.copy(at)?, 0)]);
        for _ in 0..self.effort.lexeme {
            let Some((mut here, from)) = open.pop_front() else { break };
            let by = paths[from].state;
            for (byte, state) in allowed(&mut here, bytes) {
                // A state that was seen leads nowhere new, unless this byte ends the lexeme.
                let is_new = seen.insert(state);
                if !is_new && !ends(byte) {
                    continue;
                }
                let mut there = self.copy(&here)?;
                if push(&mut there, &[byte]).is_none() {
                    continue;
                }
                let is_end = !there.has_pending_lexeme_bytes() || there.is_accepting();
                if !is_new && !is_end {
                    continue;
                }
                paths.push(Step { before: from, byte, state });
                let last = paths.len() - 1;
                let rest = match is_end {
                    true => Vec::new(),
                    false => match self.known_end(&mut there, state) {
                        Some(rest) => rest,
                        None => {
                            open.push_back((there, last));
                            continue;
                        }
                    },
                };
                if found.iter().all(|e| e.by != by) {
                    let (states, mut path) = path(&paths, last);
                    path.extend(rest);
                    let ending = Ending { shared: path.into(), from: 0, by };
                    if !self.endings.turns {
                        self.endings.keep_along(&states, &ending);
                    }
                    found.push(ending);
                }
                if found.len() >= wanted {
                    return Some(found);
                }
            }
        }
        Some(found).filter(|found| !found.is_empty())
    }

    /// What is known to end the lexeme from `state` on.
    fn known_end(&self, at: &mut Parser, state: StateID) -> Option<Vec<u8>> {
        let known = self.endings.get(state).filter(|_| !self.endings.turns)?;
        let bytes = known.first()?.bytes();
        goes(at, bytes).then(|| bytes.to_vec())
    }
}

/// A byte on a way through a lexeme, and the lexer's state after it.
#[derive(Debug, Clone, Copy)]
struct Step {
    before: usize,
    byte: u8,
    state: StateID,
}

/// The states before each byte of the way to a step, and the bytes.
fn path(steps: &[Step], last: usize) -> (Vec<StateID>, Vec<u8>) {
    let (mut states, mut bytes, mut at) = (Vec::new(), Vec::new(), last);
    while at != 0 {
        bytes.push(steps[at].byte);
        at = steps[at].before;
        states.push(steps[at].state);
    }
    states.reverse();
    bytes.reverse();
    (states, bytes)
}

/// Takes bytes that are allowed.
fn push(at: &mut Parser, bytes: &[u8]) -> Option<()> {
    if bytes.is_empty() {
        return Some(());
    }
    at.apply_token(bytes, 0).ok().map(|_| ())
}

/// Whether the bytes may come next.
fn goes(at: &mut Parser, bytes: &[u8]) -> bool {
    at.with_recognizer(|r| {
        r.trie_started("closing");
        let pushed = bytes.iter().take_while(|byte| r.try_push_byte(**byte)).count();
        r.pop_bytes(pushed);
        r.trie_finished();
        pushed == bytes.len()
    })
}

/// Those of `bytes` that may come next, each with the lexer's state after it; what leads to a state that
/// an earlier one leads to is left out.
fn allowed(at: &mut Parser, bytes: &[u8]) -> Vec<(u8, StateID)> {
    at.with_recognizer(|r| {
        r.trie_started("closing");
        let mut found: Vec<(u8, StateID)> = Vec::new();
        for &byte in bytes {
            if r.try_push_byte(byte) {
                let state = r.lexer_state();
                r.pop_bytes(1);
                if ends(byte) || found.iter().all(|(_, other)| *other != state) {
                    found.push((byte, state));
                }
            }
        }
        r.trie_finished();
        found
    })
}

/// Whether the byte may end something in JSON.
const fn ends(byte: u8) -> bool {
    matches!(byte, b'"' | b'}' | b']' | b',' | b':')
}

/// The ways out of a choice, where the grammar is at one and none of them just ends something.
fn ways(at: &mut Parser) -> Option<Vec<u8>> {
    let printable: Vec<u8> = (b' '..=b'~').collect();
    let bytes: Vec<u8> = allowed(at, &printable).iter().map(|(byte, _)| *byte).collect();
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
        if let Some((token, to)) = control(&bytes[from..]) {
            rests[from] = rests[from + to].map(|(after, ..)| (after + 1, token, from + to));
            continue;
        }
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

/// A control token as llguidance writes it (a byte that UTF-8 never has, then its number in brackets), and
/// how many bytes that takes.
fn control(bytes: &[u8]) -> Option<(TokenId, usize)> {
    let rest = bytes.strip_prefix(&[TokTrie::SPECIAL_TOKEN_MARKER, b'['])?;
    let digits = rest.iter().position(|b| *b == b']')?;
    let number = std::str::from_utf8(&rest[..digits]).ok()?;
    Some((number.parse().ok()?, digits + 3))
}
