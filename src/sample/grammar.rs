//! Constraints over llguidance, compiled once per shape.
//!
//! The tokenizer environment is made of our own token bytes: there is no second tokenizer, and no
//! slices (19 MB against 4 MB). Limits keep a hostile schema or expression from taking more than
//! some hundred milliseconds and a few megabytes. A JSON schema comes as a Lark grammar of our own:
//! llguidance's own reading of schemas refuses half of the standard and is not exact for the rest.

use super::closing::{self, Endings};
use super::constraint::{Constraint, ConstraintError, Masked, ResponseShape};
use super::mask::TokenMask;
use super::schema;
use crate::text::Tokenizer;
use llguidance::api::TopLevelGrammar;
use llguidance::{ParserFactory, TokenParser};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use toktrie::{
    InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv,
};

/// Lexer states of one grammar, 1-2 KB each; 1,000 are too few.
const MAX_LEXER_STATES: usize = 20_000;
/// A grammar with more states than this is compiled anew for its next answer.
const STALE_LEXER_STATES: usize = 12_000;
/// Work on the regular expressions of one grammar; some 10 ms.
const LEXER_FUEL: u64 = 500_000;
const MAX_GRAMMAR_SYMBOLS: usize = 100_000;
/// Ways in which an answer may go on; a thousand optional members are two thousand.
const MAX_ROW_ITEMS: usize = 10_000;
/// Bytes of a regular expression or a Lark grammar.
const MAX_SOURCE_BYTES: usize = 32 << 10;
/// Of the thread that compiles: llguidance recurses from rule to rule.
const COMPILER_STACK_BYTES: usize = 32 << 20;
/// Grammars kept.
const MAX_CACHED: usize = 32;
/// Bytes of the sources of the grammars kept. A grammar takes some 200 times as much, where a schema is
/// little else than names.
const MAX_CACHED_BYTES: usize = 32 << 10;
/// Bytes of the lexers of the grammars kept, all together: they grow with use.
pub const MAX_LEXER_BYTES: usize = 5 << 20;

/// Token bytes and our tokenizer, as llguidance wants them.
struct Env {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
    canonical: bool,
}

impl TokenizerEnv for Env {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        let ours = |text: &str| match self.tokenizer.encode_within(text) {
            Some(ids) => ids,
            None => self.trie.greedy_tokenize(text.as_bytes()),
        };
        self.trie.tokenize_with_greedy_fallback(bytes, ours)
    }

    fn tokenize_is_canonical(&self) -> bool {
        self.canonical
    }
}

/// Compiles shapes to constraints for one tokenizer. May be shared between threads.
pub struct GrammarFactory {
    factory: ParserFactory,
    eos: Arc<[u32]>,
    vocab_size: usize,
    cache: Mutex<Cache>,
}

struct Cache {
    /// Boxed, in a table with room for twice as many as are kept: it never grows, and is small.
    grammars: HashMap<String, Box<Cached>>,
    /// Counts uses, to find the one used longest ago.
    clock: u64,
    bytes: usize,
}

struct Cached {
    grammar: Grammar,
    used: u64,
}

/// A grammar that is compiled, at its beginning. Copies share the lexer.
#[derive(Clone)]
struct Grammar {
    parser: TokenParser,
    endings: Arc<Endings>,
    /// The shortest answer that is known.
    least: Arc<[u32]>,
}

impl GrammarFactory {
    /// For the tokens of `tokenizer`; `eos` are the ids that end an answer.
    ///
    /// # Errors
    /// [`ConstraintError::Invalid`] if there is no `eos` or one is beyond the vocabulary.
    pub fn new(tokenizer: Arc<Tokenizer>, eos: &[u32]) -> Result<Self, ConstraintError> {
        let vocab_size = tokenizer.vocab_size();
        let wrong = |problem: String| ConstraintError::Invalid { what: "eos", problem };
        if let Some(id) = eos.iter().find(|id| **id as usize >= vocab_size) {
            return Err(wrong(format!("token {id} is beyond the vocabulary of {vocab_size}")));
        }
        if eos.is_empty() {
            return Err(wrong("no token ends an answer".into()));
        }
        let canonical = tokenizer.encode_within("{\"a\":").is_some();
        let env: TokEnv = Arc::new(Env { trie: trie(&tokenizer, eos), tokenizer, canonical });
        let caps = InferenceCapabilities { ff_tokens: true, ..Default::default() };
        let mut factory = ParserFactory::new(&env, caps, &[])
            .map_err(|e| ConstraintError::Failed(e.to_string()))?;
        factory.quiet();
        let limits = factory.limits_mut();
        limits.verbose_errors = false;
        limits.max_lexer_states = MAX_LEXER_STATES;
        limits.initial_lexer_fuel = LEXER_FUEL;
        limits.max_grammar_size = MAX_GRAMMAR_SYMBOLS;
        limits.max_items_in_row = MAX_ROW_ITEMS;
        // It runs large expressions over the whole vocabulary at compile time.
        limits.precompute_large_lexemes = false;
        Ok(Self { factory, eos: eos.into(), vocab_size, cache: Mutex::new(Cache::new()) })
    }

    /// The constraint for one answer of that shape. The first use of a shape compiles it.
    ///
    /// # Errors
    /// [`ConstraintError`]: what is not supported by name, what is wrong, what is too large.
    pub fn compile(&self, shape: &ResponseShape) -> Result<Box<dyn Constraint>, ConstraintError> {
        let key = key(shape)?;
        let grammar = match self.cached(&key) {
            Some(grammar) => grammar,
            None => {
                let grammar = self.compile_deep(shape)?;
                self.keep(key, &grammar);
                grammar
            }
        };
        Ok(Box::new(Guided::new(grammar, Arc::clone(&self.eos), self.vocab_size)))
    }

    /// Bytes of the lexers of the grammars kept, as they have grown by now.
    pub fn cached_lexer_bytes(&self) -> usize {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).lexer_bytes()
    }

    /// How many grammars are kept.
    pub fn cached_grammars(&self) -> usize {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).grammars.len()
    }

    /// On a thread of its own, with a stack for long chains of rules.
    fn compile_deep(&self, shape: &ResponseShape) -> Result<Grammar, ConstraintError> {
        let failed = |problem: &str| ConstraintError::Failed(problem.to_owned());
        std::thread::scope(|scope| {
            let builder = std::thread::Builder::new().stack_size(COMPILER_STACK_BYTES);
            let thread = builder.spawn_scoped(scope, || self.compile_new(shape));
            let thread = thread.map_err(|_| failed("no thread to compile it"))?;
            thread.join().unwrap_or_else(|_| Err(failed("the compiler panicked")))
        })
    }

    fn compile_new(&self, shape: &ResponseShape) -> Result<Grammar, ConstraintError> {
        let failed = |problem: String| ConstraintError::Invalid { what: name(shape), problem };
        let grammar = grammar(shape)?;
        let mut parser =
            self.factory.create_parser(grammar).map_err(|e| failed(first_line(&e.to_string())))?;
        if let Some(warning) = parser.grammar_warnings().first() {
            return Err(failed(first_line(warning)));
        }
        parser.start_without_prompt();
        let (endings, least) =
            closing::least(&parser).ok_or_else(|| ConstraintError::TooLarge {
                what: name(shape),
                limit: "what is looked through for its shortest answer".to_owned(),
            })?;
        Ok(Grammar { parser, endings: Arc::new(endings), least: least.into() })
    }

    fn cached(&self, key: &str) -> Option<Grammar> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.clock += 1;
        let now = cache.clock;
        while cache.lexer_bytes() > MAX_LEXER_BYTES {
            cache.remove_largest();
        }
        let cached = cache.grammars.get_mut(key)?;
        if cached.grammar.parser.parser.lexer_stats().num_states > STALE_LEXER_STATES {
            cache.remove(key);
            return None;
        }
        cached.used = now;
        Some(cached.grammar.clone())
    }

    fn keep(&self, key: String, grammar: &Grammar) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |cache: &Cache| {
            cache.grammars.len() >= MAX_CACHED || cache.bytes + key.len() > MAX_CACHED_BYTES
        };
        while full(&cache) {
            let oldest = cache.grammars.iter().min_by_key(|(_, c)| c.used);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { return };
            cache.remove(&oldest);
        }
        let used = cache.clock;
        cache.bytes += key.len();
        let cached = Box::new(Cached { grammar: grammar.clone(), used });
        if let Some(old) = cache.grammars.insert(key, cached) {
            // Two threads compiled the same shape.
            drop(old);
            cache.bytes = cache.grammars.keys().map(String::len).sum();
        }
    }
}

impl Cache {
    fn new() -> Self {
        Self { grammars: HashMap::with_capacity(2 * MAX_CACHED), clock: 0, bytes: 0 }
    }

    fn lexer_bytes(&self) -> usize {
        self.grammars.values().map(|cached| cached.lexer_bytes()).sum()
    }

    /// It is compiled anew for its next answer; who uses it now goes on with it.
    fn remove_largest(&mut self) {
        let largest = self.grammars.iter().max_by_key(|(_, cached)| cached.lexer_bytes());
        if let Some(key) = largest.map(|(key, _)| key.clone()) {
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &str) {
        if self.grammars.remove(key).is_some() {
            self.bytes -= key.len();
        }
    }
}

impl Cached {
    fn lexer_bytes(&self) -> usize {
        self.grammar.parser.parser.lexer_stats().num_bytes
    }
}

/// Control tokens are no text to a grammar: toktrie marks them by a byte that UTF-8 never has.
fn trie(tokenizer: &Tokenizer, eos: &[u32]) -> TokTrie {
    let table = tokenizer.table();
    let control: Vec<u32> = tokenizer.control().tokens().iter().map(|t| t.id).collect();
    let words: Vec<Vec<u8>> = (0..table.len() as u32)
        .map(|id| match table.bytes(id) {
            [] => Vec::new(),
            bytes if table.is_hidden(id) || control.contains(&id) || eos.contains(&id) => {
                [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes].concat()
            }
            bytes => bytes.to_vec(),
        })
        .collect();
    let info = TokRxInfo::new(words.len() as u32, eos[0]);
    TokTrie::from(&info, &words).with_eos_tokens(eos)
}

const fn name(shape: &ResponseShape) -> &'static str {
    match shape {
        ResponseShape::JsonObject => "json_object",
        ResponseShape::JsonSchema(_) => "json_schema",
        ResponseShape::Regex(_) => "regex",
        ResponseShape::Lark(_) => "lark",
        ResponseShape::Calls(_) => "tools",
    }
}

/// What stands for a shape in the cache.
fn key(shape: &ResponseShape) -> Result<String, ConstraintError> {
    let text = match shape {
        ResponseShape::JsonObject => String::new(),
        ResponseShape::JsonSchema(given) => schema::key(given)?,
        ResponseShape::Regex(text) | ResponseShape::Lark(text) => {
            bounded(name(shape), text.len())?;
            text.clone()
        }
        ResponseShape::Calls(calls) => {
            let text = calls.key()?;
            bounded(name(shape), text.len())?;
            text
        }
    };
    Ok(format!("{}:{text}", name(shape)))
}

fn grammar(shape: &ResponseShape) -> Result<TopLevelGrammar, ConstraintError> {
    Ok(match shape {
        ResponseShape::JsonObject => {
            let any = serde_json::json!({"type": "object"});
            TopLevelGrammar::from_lark(schema::grammar(&any)?)
        }
        ResponseShape::JsonSchema(given) => TopLevelGrammar::from_lark(schema::grammar(given)?),
        ResponseShape::Regex(expression) => TopLevelGrammar::from_regex(expression),
        ResponseShape::Lark(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
        ResponseShape::Calls(calls) => TopLevelGrammar::from_lark(calls.grammar()?),
    })
}

fn bounded(what: &'static str, bytes: usize) -> Result<(), ConstraintError> {
    if bytes <= MAX_SOURCE_BYTES {
        return Ok(());
    }
    Err(ConstraintError::TooLarge { what, limit: format!("{MAX_SOURCE_BYTES} bytes") })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}

/// A llguidance parser as a [`Constraint`].
struct Guided {
    grammar: Grammar,
    eos: Arc<[u32]>,
    vocab_size: usize,
    mask: TokenMask,
    forced: Vec<u32>,
}

impl Guided {
    fn new(grammar: Grammar, eos: Arc<[u32]>, vocab_size: usize) -> Self {
        Self { grammar, eos, vocab_size, mask: TokenMask::none(vocab_size), forced: Vec::new() }
    }

    /// The parser, unless it has failed before.
    fn parser(&mut self) -> Result<&mut TokenParser, ConstraintError> {
        let parser = &mut self.grammar.parser;
        if parser.stop_reason().is_ok() {
            return Ok(parser);
        }
        Err(failed(parser.error_message().unwrap_or_else(|| parser.stop_reason().to_string())))
    }

    fn is_stopped(&self) -> bool {
        self.grammar.parser.stopped()
    }

    fn only_eos(&self, mask: &SimpleVob) -> bool {
        let ends = self.eos.iter().filter(|&&id| mask.is_allowed(id)).count();
        ends == mask.num_set()
    }
}

fn failed(e: impl std::fmt::Display) -> ConstraintError {
    ConstraintError::Failed(first_line(&e.to_string()))
}

impl Constraint for Guided {
    fn mask(&mut self) -> Result<Masked<'_>, ConstraintError> {
        let parser = self.parser()?;
        if parser.stopped() {
            return Ok(Masked::Stop);
        }
        let mask = parser.compute_mask().map_err(failed)?;
        // Nothing but the end: also where the grammar can go on with text that no token spells.
        if self.only_eos(&mask) {
            return match self.grammar.parser.is_accepting() {
                true => Ok(Masked::Stop),
                false => Err(failed("no token can follow")),
            };
        }
        self.mask.copy_from(mask.as_slice());
        Ok(Masked::Tokens(&self.mask))
    }

    fn forced(&mut self) -> &[u32] {
        self.forced.clear();
        if !self.is_stopped() {
            self.forced = self.grammar.parser.compute_ff_tokens();
        }
        &self.forced
    }

    fn advance(&mut self, token: u32) -> Result<(), ConstraintError> {
        let vocab_size = self.vocab_size;
        let parser = self.parser()?;
        if parser.stopped() {
            // The end may be said once more.
            return match self.eos.contains(&token) {
                true => Ok(()),
                false => Err(ConstraintError::Token(token)),
            };
        }
        // An unexpected token would put the parser into an error for good.
        let is_valid = (token as usize) < vocab_size
            && parser.validate_tokens_raw(&[token]).map_err(failed)? == 1;
        if !is_valid {
            return Err(ConstraintError::Token(token));
        }
        parser.consume_token(token).map_err(failed)?;
        parser.check_stop().map_err(failed)?;
        Ok(())
    }

    fn rollback(&mut self, tokens: usize) -> Result<(), ConstraintError> {
        self.parser()?.rollback(tokens).map_err(failed)
    }

    fn is_complete(&mut self) -> bool {
        self.parser().is_ok_and(TokenParser::is_accepting)
    }

    fn must_stop(&mut self) -> bool {
        matches!(self.mask(), Ok(Masked::Stop))
    }

    fn least(&self) -> &[u32] {
        &self.grammar.least
    }

    fn closing(&mut self) -> Option<Vec<u32>> {
        if self.is_stopped() {
            return self.is_complete().then(Vec::new);
        }
        closing::closing(&self.grammar.parser, &self.grammar.endings)
    }
}

#[cfg(test)]
#[path = "grammar_tests.rs"]
pub(crate) mod tests;
