//! Text to tokens: a `tokenizer.json` behind an interface that never takes text for a control token.
//!
//! The pipeline of `tokenizers` (normalise, pre-tokenise, model) is run on text only; its handling
//! of added tokens is not used, since it would take them out of any text.

use super::control::{AddedToken, AddedTokens, ControlTokens, Rendered, Segment};
use super::error::TextError;
use super::special::SpecialNames;
use super::vocab::{Alphabet, TableBuilder, TokenTable, parts};
use serde_json::Value;
use std::sync::Arc;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::{Model, Normalizer, PreTokenizedString, PreTokenizer};

const FILE: &str = "tokenizer.json";
/// Text is encoded in pieces of about this many bytes: 1 MB at once costs 63-158 MB.
const PIECE_BYTES: usize = 8 << 10;
/// The most bytes of one piece, where no boundary was found: about 30 MB while it is encoded.
const MAX_PIECE_BYTES: usize = 128 << 10;
/// The most bytes of one text.
pub const MAX_TEXT_BYTES: usize = 4 << 20;
/// Words whose tokens are remembered.
const CACHED_WORDS: usize = 1024;
/// Beyond any real vocabulary; bounds the memory that a hostile file can take.
const MAX_VOCAB: usize = 2 << 20;

/// Turns text into tokens and tokens into bytes.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The pre-tokenizer for text that does not begin the prompt, where that differs.
    inner_text: Option<PreTokenizerWrapper>,
    table: Arc<TokenTable>,
    control: Arc<ControlTokens>,
    ordinary: AddedTokens,
    names: SpecialNames,
    /// Ids around a raw text, as the post-processor and `add_bos_token` say.
    around: (Vec<u32>, Vec<u32>),
    /// Ids that no text may turn into.
    forbidden: Vec<u32>,
    /// No space is put before text within a prompt.
    adds_nothing: bool,
    /// A piece after the first loses its leading space, because the normaliser adds one.
    drops_space: bool,
    /// By which factor text can get shorter on its way to tokens, if that is known.
    shrinks: Option<usize>,
}

impl Tokenizer {
    /// From the bytes of `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json`.
    ///
    /// # Errors
    /// [`TextError::File`] with the file and what is wrong in it.
    pub fn new(
        json: &[u8],
        config: Option<&[u8]>,
        special_tokens_map: Option<&[u8]>,
    ) -> Result<Self, TextError> {
        let names = SpecialNames::read(config, special_tokens_map)?;
        let mut inner =
            tokenizers::Tokenizer::from_bytes(json).map_err(|e| TextError::file(FILE, e))?;
        check_ids(json, &inner)?;
        tame(&mut inner);
        Self::assemble(inner, names)
    }

    fn assemble(inner: tokenizers::Tokenizer, names: SpecialNames) -> Result<Self, TextError> {
        let (control, ordinary) = added_tokens(&inner, &names);
        let decoder = component(inner.get_decoder())?;
        let alphabet = Alphabet::of_decoder(&decoder);
        let mut table = token_table(&inner, &names, alphabet)?;
        table.strips_first_space = strips_first_space(&decoder);
        let table = Arc::new(table);
        let normalizer = component(inner.get_normalizer())?;
        let pre_tokenizer = component(inner.get_pre_tokenizer())?;
        let prepends = parts(&normalizer).any(|(name, _)| name == "Prepend");
        let by_byte = alphabet == Alphabet::ByteLevel || table.is_complete();
        let shrinks = shrinks(&normalizer, &pre_tokenizer).filter(|_| by_byte);
        let unk = names.unk.as_deref().or(unk_of(&inner)).and_then(|t| inner.token_to_id(t));
        let mut out = Self {
            inner_text: text_within(inner.get_pre_tokenizer()),
            forbidden: control.iter().map(|t| t.id).filter(|&id| Some(id) != unk).collect(),
            drops_space: prepends,
            adds_nothing: false,
            shrinks,
            around: Default::default(),
            control: Arc::new(ControlTokens::new(control)),
            ordinary: AddedTokens::new(ordinary),
            inner,
            table,
            names,
        };
        out.around = out.find_around()?;
        let mut letter = Vec::new();
        out.encode_text("a", false, &mut letter)?;
        out.adds_nothing = letter.iter().flat_map(|&id| out.token_bytes(id)).eq(b"a");
        Ok(out)
    }

    /// The tokens that the post-processor puts around a text, corrected by `add_bos_token`.
    fn find_around(&self) -> Result<(Vec<u32>, Vec<u32>), TextError> {
        let encode =
            |special| self.inner.encode_fast("a", special).map_err(|e| TextError::file(FILE, e));
        let (with, without) = (encode(true)?, encode(false)?);
        let (with, without) = (with.get_ids(), without.get_ids());
        let at = with.windows(without.len().max(1)).position(|w| w == without).unwrap_or(0);
        let mut before = with[..at].to_vec();
        let after = with[(at + without.len()).min(with.len())..].to_vec();
        if let Some(bos) = self.bos_id() {
            match self.names.add_bos {
                Some(true) if before.first() != Some(&bos) => before.insert(0, bos),
                Some(false) => before.retain(|&id| id != bos),
                _ => {}
            }
        }
        Ok((before, after))
    }

    /// The names of the special tokens, and the chat templates of the configuration.
    pub const fn names(&self) -> &SpecialNames {
        &self.names
    }

    /// The bytes of every token.
    pub const fn table(&self) -> &Arc<TokenTable> {
        &self.table
    }

    /// The tokens that only a template may write.
    pub const fn control(&self) -> &Arc<ControlTokens> {
        &self.control
    }

    /// One more than the highest id. The model's logits may have more entries; those are padding.
    pub fn vocab_size(&self) -> usize {
        self.table.len()
    }

    /// The bytes of a token; empty beyond the vocabulary.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.table.bytes(id)
    }

    /// The id of a token by its name.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token that begins a text.
    pub fn bos_id(&self) -> Option<u32> {
        self.names.bos.as_deref().and_then(|t| self.id(t))
    }

    /// The token named as the end of a text.
    pub fn eos_id(&self) -> Option<u32> {
        self.names.eos.as_deref().and_then(|t| self.id(t))
    }

    /// Tokens that may end an answer, the one named first; for bundles that do not say.
    pub fn eos_candidates(&self) -> Vec<u32> {
        let mut out = Vec::new();
        for id in self.names.ends().filter_map(|t| self.id(t)) {
            if !out.contains(&id) {
                out.push(id);
            }
        }
        out
    }

    /// Whether any text of that many bytes needs more than `context` tokens. `false` where no such
    /// bound holds for this tokenizer; [`Tokenizer::text_cannot_fit`] knows more. It speaks of the
    /// text that is encoded: a template may trim or leave out what it is given.
    pub fn cannot_fit(&self, text_bytes: usize, context: usize) -> bool {
        self.table.is_complete() && self.room(context).is_some_and(|room| text_bytes > room)
    }

    /// Whether the text needs more than `context` tokens for certain, without encoding it.
    pub fn text_cannot_fit(&self, text: &str, context: usize) -> bool {
        // Bytes without a token vanish (SmolLM2 has none for 0xF1, among others).
        let counted = || text.bytes().filter(|&b| self.table.has_byte(b)).count();
        self.room(context).is_some_and(|room| text.len() > room && counted() > room)
    }

    /// The most bytes that `context` tokens can stand for, where there is such a bound.
    fn room(&self, context: usize) -> Option<usize> {
        Some(context.saturating_mul(self.table.longest()).saturating_mul(self.shrinks?))
    }

    /// The tokens of raw text; with `add_special` those that the model wants around it.
    ///
    /// # Errors
    /// [`TextError::NoToken`] if there is none, [`TextError::TooLong`], [`TextError::Encode`].
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
        let none = (Vec::new(), Vec::new());
        let (before, after) = if add_special { &self.around } else { &none };
        let mut out = before.clone();
        self.encode_text(text, true, &mut out)?;
        out.extend(after);
        if out.is_empty() { Err(TextError::NoToken) } else { Ok(out) }
    }

    /// The tokens of a rendered template: its own control tokens, and text.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_rendered(&self, prompt: &Rendered) -> Result<Vec<u32>, TextError> {
        let mut out = Vec::new();
        for (i, segment) in prompt.segments().iter().enumerate() {
            match segment {
                Segment::Control { id, .. } => out.push(*id),
                Segment::Text(text) => self.encode_text(text, i == 0, &mut out)?,
            }
        }
        if out.is_empty() { Err(TextError::NoToken) } else { Ok(out) }
    }

    /// The tokens of text that follows other text, for forced tokens of grammars; `None` where the
    /// tokenizer cannot be brought to leave out its leading space.
    pub fn encode_within(&self, text: &str) -> Option<Vec<u32>> {
        let mut out = Vec::new();
        if self.adds_nothing {
            self.encode_text(text, false, &mut out).ok()?;
            return Some(out);
        }
        // What comes before the text takes the space; a line break is never joined with text.
        let mut line = Vec::new();
        self.encode_text("\n", false, &mut line).ok()?;
        self.encode_text(&format!("\n{text}"), false, &mut out).ok()?;
        out.starts_with(&line).then(|| out.split_off(line.len()))
    }

    fn encode_text(&self, text: &str, first: bool, out: &mut Vec<u32>) -> Result<(), TextError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(TextError::TooLong { bytes: text.len(), limit: MAX_TEXT_BYTES });
        }
        let mut done = 0;
        while let Some((at, token)) = self.ordinary.find(text, done) {
            self.encode_plain(&text[done..at], first && done == 0, out)?;
            out.push(token.id);
            done = at + token.content.len();
        }
        self.encode_plain(&text[done..], first && done == 0, out)
    }

    /// Text without added tokens, in pieces.
    fn encode_plain(&self, text: &str, first: bool, out: &mut Vec<u32>) -> Result<(), TextError> {
        let mut rest = text;
        let mut first = first;
        while !rest.is_empty() {
            let cut = if self.table.breaks_at_spaces { cut(rest) } else { rest.len() };
            if cut > MAX_PIECE_BYTES {
                return Err(TextError::TooLong { bytes: cut, limit: MAX_PIECE_BYTES });
            }
            self.encode_piece(&rest[..cut], first, out)?;
            let space = usize::from(self.drops_space && cut < rest.len());
            rest = &rest[cut + space..];
            first = false;
        }
        Ok(())
    }

    /// One piece; split further if it would give a control token.
    fn encode_piece(&self, text: &str, first: bool, out: &mut Vec<u32>) -> Result<(), TextError> {
        let from = out.len();
        self.run(text, first, out)?;
        if !out[from..].iter().any(|id| self.forbidden.contains(id)) {
            return Ok(());
        }
        out.truncate(from);
        let Some(middle) = middle(text) else {
            return Err(TextError::Encode(format!("{text:?} is a control token by itself")));
        };
        self.encode_piece(&text[..middle], first, out)?;
        self.encode_piece(&text[middle..], false, out)
    }

    /// The pipeline of `tokenizers`, without added tokens.
    fn run(&self, text: &str, first: bool, out: &mut Vec<u32>) -> Result<(), TextError> {
        let mut work = PreTokenizedString::from(text);
        let run = |work: &mut PreTokenizedString| {
            if let Some(normalizer) = self.inner.get_normalizer() {
                work.normalize(|n| normalizer.normalize(n))?;
            }
            let pre = match &self.inner_text {
                Some(within) if !first => Some(within),
                _ => self.inner.get_pre_tokenizer(),
            };
            if let Some(pre) = pre {
                pre.pre_tokenize(work)?;
            }
            work.tokenize(|n| self.inner.get_model().tokenize(n.get()))
        };
        run(&mut work).map_err(|e| TextError::Encode(e.to_string()))?;
        let encoding = work
            .into_encoding(None, 0, tokenizers::OffsetType::None)
            .map_err(|e| TextError::Encode(e.to_string()))?;
        out.extend(encoding.get_ids());
        Ok(())
    }
}

/// Where to end the first piece: before a single space between letters or digits.
fn cut(text: &str) -> usize {
    let bytes = text.as_bytes();
    if bytes.len() <= PIECE_BYTES {
        return bytes.len();
    }
    let plain = |b: u8| b.is_ascii_alphanumeric();
    (PIECE_BYTES..bytes.len() - 1)
        .find(|&i| bytes[i] == b' ' && plain(bytes[i - 1]) && plain(bytes[i + 1]))
        .unwrap_or(bytes.len())
}

/// A character boundary near the middle, with text on both sides.
fn middle(text: &str) -> Option<usize> {
    let from = text.len() / 2;
    let up = (from.max(1)..text.len()).find(|&i| text.is_char_boundary(i));
    up.or_else(|| (1..from).rev().find(|&i| text.is_char_boundary(i)))
}

/// The ids in the file must be those that the library gives: it numbers added tokens itself.
fn check_ids(json: &[u8], inner: &tokenizers::Tokenizer) -> Result<(), TextError> {
    #[derive(serde::Deserialize)]
    struct Entry {
        id: u32,
        content: String,
    }
    #[derive(serde::Deserialize)]
    struct Head {
        #[serde(default)]
        added_tokens: Vec<Entry>,
    }
    let head: Head = serde_json::from_slice(json).map_err(|e| TextError::file(FILE, e))?;
    for Entry { id, content } in head.added_tokens {
        let got = inner.token_to_id(&content);
        if !content.is_empty() && got != Some(id) {
            let problem = format!("added token {content:?}: id {id} in the file, {got:?} in use");
            return Err(TextError::file(FILE, problem));
        }
    }
    Ok(())
}

/// Takes out what would change a text's length behind our back, and bounds the cache.
fn tame(inner: &mut tokenizers::Tokenizer) {
    inner.with_padding(None);
    // Without parameters this cannot fail.
    let _ = inner.with_truncation(None);
    let mut model = inner.get_model().clone();
    model.resize_cache(CACHED_WORDS);
    inner.with_model(model);
}

/// Added tokens that only a template may write, and those that are ordinary vocabulary.
fn added_tokens(
    inner: &tokenizers::Tokenizer,
    names: &SpecialNames,
) -> (Vec<AddedToken>, Vec<AddedToken>) {
    let (mut control, mut ordinary) = (Vec::new(), Vec::new());
    for (id, token) in inner.get_added_tokens_decoder() {
        let added = AddedToken {
            id,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
            single_word: token.single_word,
            declared: token.special || names.named().any(|n| n == token.content),
            content: token.content,
        };
        let is_control = added.declared || looks_like_markup(&added.content);
        if is_control { &mut control } else { &mut ordinary }.push(added);
    }
    control.sort_by_key(|t| t.id);
    (control, ordinary)
}

/// `<tool_call>`, `</s>`, `[INST]`: not declared special, yet structure to the model.
fn looks_like_markup(token: &str) -> bool {
    let enclosed = |open, close| token.starts_with(open) && token.ends_with(close);
    token.len() > 2 && (enclosed('<', '>') || enclosed('[', ']'))
}

fn token_table(
    inner: &tokenizers::Tokenizer,
    names: &SpecialNames,
    alphabet: Alphabet,
) -> Result<TokenTable, TextError> {
    let added = inner.get_added_tokens_decoder();
    let mut builder = TableBuilder::new(alphabet);
    let mut left = inner.get_vocab_size(true);
    let mut id = 0u32;
    while left > 0 {
        if id as usize >= MAX_VOCAB {
            return Err(TextError::file(FILE, format!("ids beyond {MAX_VOCAB}")));
        }
        let token = inner.id_to_token(id);
        left -= usize::from(token.is_some());
        // Markup that is neither declared special nor named is shown, as Hugging Face does.
        let named = || token.as_deref().is_some_and(|t| names.named().any(|n| n == t));
        let hidden = added.get(&id).is_some_and(|t| t.special) || named();
        builder.push(token.as_deref(), added.contains_key(&id), hidden);
        id += 1;
    }
    Ok(builder.finish())
}

fn strips_first_space(decoder: &Value) -> bool {
    parts(decoder).any(|(name, part)| match name {
        "Strip" => part["content"] == " " && part["start"] != 0,
        "Metaspace" => part["prepend_scheme"] != "never",
        name => name == "WordPiece",
    })
}

/// A component in the form of the file.
fn component<T: serde::Serialize>(part: Option<&T>) -> Result<Value, TextError> {
    serde_json::to_value(part).map_err(|e| TextError::file(FILE, e))
}

/// By which factor a text's bytes can get fewer; `None` if any text can vanish.
fn shrinks(normalizer: &Value, pre_tokenizer: &Value) -> Option<usize> {
    let mut factor = 1;
    for (name, part) in parts(normalizer) {
        match name {
            "Sequence" | "Prepend" => {}
            "Replace" if part["pattern"]["String"] == " " && part["content"] == "▁" => {}
            // Composing makes UTF-8 at most three times shorter (Unicode FAQ on normalization).
            "NFC" => factor = 4,
            _ => return None,
        }
    }
    let keeps = |(name, part): (&str, &Value)| match name {
        "Split" => part["behavior"] != "Removed",
        name => matches!(name, "Sequence" | "ByteLevel" | "Digits" | "Metaspace" | "Punctuation"),
    };
    parts(pre_tokenizer).all(keeps).then_some(factor)
}

/// The token that the model gives for what it cannot write, if it declares one.
fn unk_of(inner: &tokenizers::Tokenizer) -> Option<&str> {
    match inner.get_model() {
        tokenizers::ModelWrapper::BPE(model) => model.get_unk_token().as_deref(),
        _ => ["<unk>", "[UNK]"].into_iter().find(|t| inner.token_to_id(t).is_some()),
    }
}

/// Metaspace with `prepend_scheme: first` puts its space only before the beginning of the prompt.
fn text_within(pre: Option<&PreTokenizerWrapper>) -> Option<PreTokenizerWrapper> {
    let PreTokenizerWrapper::Metaspace(meta) = pre? else { return None };
    let mut within = meta.clone();
    (within.get_prepend_scheme() == PrependScheme::First).then(|| {
        within.set_prepend_scheme(PrependScheme::Never);
        PreTokenizerWrapper::Metaspace(within)
    })
}
