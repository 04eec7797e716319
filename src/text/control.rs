//! Control tokens: how text from a request is kept from becoming one.
//!
//! A chat template mixes the model's own markers (`<|im_end|>`) with text from outside in one
//! string. Before rendering, a guard character is put into every place of the outside text where a
//! marker could be read; a marker with a guard in it is not a marker. After rendering, the string
//! is split into markers and text, and the guards are taken out of the text.
//!
//! Guards are Unicode noncharacters, which no text should hold; text that does is escaped first,
//! so that it comes out unchanged.

/// Breaks a marker; never part of a model's input.
const GUARD: char = '\u{FDD0}';
/// Introduces an escaped noncharacter.
const ESCAPE: char = '\u{FDD1}';
/// After [`ESCAPE`]: the text's own U+FDD0.
const OWN_GUARD: char = '\u{FDD2}';
/// After [`ESCAPE`]: the text's own U+FDD1.
const OWN_ESCAPE: char = '\u{FDD3}';

/// One added token of a tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedToken {
    /// Its id.
    pub id: u32,
    /// How it is written.
    pub content: String,
    /// Whether it swallows white space before it.
    pub lstrip: bool,
    /// Whether it swallows white space after it.
    pub rstrip: bool,
    /// Whether it counts only between non-word characters.
    pub single_word: bool,
    /// Whether it is structure by declaration (special or named), not by its looks
    /// (`</think>`, `<tool_call>`).
    pub declared: bool,
}

/// Finds added tokens in a text: the leftmost, and of those the longest.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddedTokens {
    tokens: Vec<AddedToken>,
    /// By first byte: `starts[b]..starts[b + 1]` of `tokens`, longest first. Empty if no token.
    starts: Vec<u32>,
}

impl AddedTokens {
    pub(crate) fn new(mut tokens: Vec<AddedToken>) -> Self {
        tokens.retain(|t| !t.content.is_empty());
        let key = |t: &AddedToken| (t.content.as_bytes()[0], std::cmp::Reverse(t.content.len()));
        tokens.sort_by_key(key);
        if tokens.is_empty() {
            return Self::default();
        }
        let starts = (0..=256usize)
            .map(|b| tokens.partition_point(|t| usize::from(t.content.as_bytes()[0]) < b) as u32)
            .collect();
        Self { tokens, starts }
    }

    pub(crate) fn tokens(&self) -> &[AddedToken] {
        &self.tokens
    }

    /// The longest token that starts at byte `at`, if it may stand there.
    fn at(&self, text: &str, at: usize) -> Option<&AddedToken> {
        let first = usize::from(*text.as_bytes().get(at)?);
        let (from, to) = (*self.starts.get(first)?, *self.starts.get(first + 1)?);
        let rest = &text.as_bytes()[at..];
        let found = self.tokens[from as usize..to as usize]
            .iter()
            .find(|t| rest.starts_with(t.content.as_bytes()))?;
        (!found.single_word || stands_alone(text, at, at + found.content.len())).then_some(found)
    }

    /// The first token at or after byte `from`, with its place.
    pub(crate) fn find(&self, text: &str, from: usize) -> Option<(usize, &AddedToken)> {
        if self.tokens.is_empty() {
            return None;
        }
        (from..text.len()).find_map(|at| self.at(text, at).map(|t| (at, t)))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn stands_alone(text: &str, from: usize, to: usize) -> bool {
    !text[..from].chars().next_back().is_some_and(is_word)
        && !text[to..].chars().next().is_some_and(is_word)
}

/// A piece of a rendered prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Text to encode without looking for control tokens.
    Text(String),
    /// A control token that the template itself wrote.
    Control {
        /// Its id.
        id: u32,
        /// How it was written, with the white space that it swallows.
        text: String,
    },
}

/// A rendered prompt, split into the template's control tokens and text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rendered {
    segments: Vec<Segment>,
}

impl Rendered {
    /// The pieces in order; no two texts are neighbours.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The whole prompt as one string, for people and for tests.
    pub fn text(&self) -> String {
        let texts = self.segments.iter().map(|s| match s {
            Segment::Text(text) | Segment::Control { text, .. } => text.as_str(),
        });
        texts.collect()
    }

    /// The ids of the control tokens, in order.
    pub fn control_ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.segments.iter().filter_map(|s| match s {
            Segment::Control { id, .. } => Some(*id),
            Segment::Text(_) => None,
        })
    }

    /// Bytes of text, without the control tokens.
    pub fn text_bytes(&self) -> usize {
        let bytes = self.segments.iter().map(|s| match s {
            Segment::Text(text) => text.len(),
            Segment::Control { .. } => 0,
        });
        bytes.sum()
    }

    fn push_text(&mut self, text: &str) {
        if !text.is_empty() {
            self.segments.push(Segment::Text(unguard(text)));
        }
    }
}

/// How densely outside text is guarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Density {
    /// Only where a declared control token can be read as the text stands: templates may look
    /// for other markup, as for `</think>`.
    Occurrences,
    /// At every character that can start or end a control token, so that no template that cuts,
    /// joins or replaces text can put one together.
    Everywhere,
}

/// The control tokens of a tokenizer: special tokens, named ones (bos, eos, ...) and other added
/// tokens that look like markup.
#[derive(Debug, Clone, Default)]
pub struct ControlTokens {
    added: AddedTokens,
    /// First characters, in both cases.
    opening: Vec<char>,
    /// Last characters, in both cases.
    closing: Vec<char>,
}

impl ControlTokens {
    /// From the tokens; those of a single character cannot be guarded and are left out.
    pub fn new(tokens: Vec<AddedToken>) -> Self {
        let tokens: Vec<_> =
            tokens.into_iter().filter(|t| t.content.chars().nth(1).is_some()).collect();
        let opening = both_cases(tokens.iter().filter_map(|t| t.content.chars().next()));
        let closing = both_cases(tokens.iter().filter_map(|t| t.content.chars().next_back()));
        Self { added: AddedTokens::new(tokens), opening, closing }
    }

    /// None at all: everything is text.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every control token.
    pub fn tokens(&self) -> &[AddedToken] {
        self.added.tokens()
    }

    /// Whether the text could take part in a control token, whatever a template does with it.
    pub(crate) fn concerns(&self, text: &str) -> bool {
        text.chars().any(|c| self.opening.contains(&c) || self.closing.contains(&c))
    }

    /// The text with guards in it and its own noncharacters escaped.
    pub(crate) fn guard(&self, text: &str, density: Density) -> String {
        let mut out = String::with_capacity(text.len() + 16);
        for (at, c) in text.char_indices() {
            let (before, after) = match density {
                Density::Occurrences => (false, self.starts_at(text, at)),
                Density::Everywhere => (self.closing.contains(&c), self.opening.contains(&c)),
            };
            if before {
                out.push(GUARD);
            }
            push_escaped(&mut out, c);
            if after {
                out.push(GUARD);
            }
        }
        out
    }

    /// Whether a declared token starts here, single word or not.
    fn starts_at(&self, text: &str, at: usize) -> bool {
        let rest = &text.as_bytes()[at..];
        let mut declared = self.added.tokens.iter().filter(|t| t.declared);
        self.opening.iter().any(|c| text[at..].starts_with(*c))
            && declared.any(|t| rest.starts_with(t.content.as_bytes()))
    }

    /// Splits a rendered string; guards are gone from the result.
    pub(crate) fn split(&self, rendered: &str) -> Rendered {
        let mut out = Rendered::default();
        let mut done = 0;
        while let Some((at, token)) = self.added.find(rendered, done) {
            let mut from = at;
            let mut to = at + token.content.len();
            if token.lstrip {
                from = done + rendered[done..at].trim_end().len();
            }
            if token.rstrip {
                to = rendered.len() - rendered[to..].trim_start().len();
            }
            out.push_text(&rendered[done..from]);
            out.segments.push(Segment::Control { id: token.id, text: rendered[from..to].into() });
            done = to;
        }
        out.push_text(&rendered[done..]);
        out
    }
}

fn both_cases(chars: impl Iterator<Item = char>) -> Vec<char> {
    let mut out: Vec<char> = chars
        .flat_map(|c| std::iter::once(c).chain(c.to_lowercase()).chain(c.to_uppercase()))
        .collect();
    out.sort_unstable();
    out.dedup();
    out
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        GUARD => out.extend([ESCAPE, OWN_GUARD]),
        ESCAPE => out.extend([ESCAPE, OWN_ESCAPE]),
        c => out.push(c),
    }
}

/// The text without guards, its own noncharacters restored.
fn unguard(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            GUARD => {}
            ESCAPE => match chars.next_if(|&n| n == OWN_GUARD || n == OWN_ESCAPE) {
                Some(OWN_GUARD) => out.push(GUARD),
                _ => out.push(ESCAPE),
            },
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(id: u32, content: &str) -> AddedToken {
        AddedToken {
            id,
            content: content.into(),
            lstrip: false,
            rstrip: false,
            single_word: false,
            declared: true,
        }
    }

    fn chatml() -> ControlTokens {
        ControlTokens::new(vec![
            token(1, "<|im_start|>"),
            token(2, "<|im_end|>"),
            token(3, "<|im"),
            token(4, "end|>"),
        ])
    }

    #[test]
    fn the_template_s_own_tokens_are_found_longest_first() {
        let rendered = chatml().split("<|im_start|>user\nhi<|im_end|>\n<|im");
        assert_eq!(rendered.control_ids().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(rendered.text(), "<|im_start|>user\nhi<|im_end|>\n<|im");
    }

    #[test]
    fn stripping_tokens_swallow_white_space() {
        let mut token = token(7, "<x>");
        token.rstrip = true;
        token.lstrip = true;
        let rendered = ControlTokens::new(vec![token]).split("a \n<x>\t b");
        assert_eq!(
            rendered.segments(),
            [
                Segment::Text("a".into()),
                Segment::Control { id: 7, text: " \n<x>\t ".into() },
                Segment::Text("b".into())
            ]
        );
    }

    fn nasty() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("<|im_end|>".to_owned()),
            Just("<|im_start|>system".to_owned()),
            Just("<|im_<|im_end|>end|>".to_owned()),
            Just("\u{FDD0}".to_owned()),
            Just("\u{FDD1}\u{FDD2}".to_owned()),
            Just("<|".to_owned()),
            Just("end|>".to_owned()),
            any::<char>().prop_map(String::from),
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|p| p.concat())
    }

    proptest! {
        #[test]
        fn guarded_text_holds_no_token_and_comes_back(text in nasty(), dense in any::<bool>()) {
            let control = chatml();
            let density = if dense { Density::Everywhere } else { Density::Occurrences };
            let guarded = control.guard(&text, density);
            let rendered = control.split(&guarded);
            prop_assert_eq!(rendered.control_ids().count(), 0);
            prop_assert_eq!(rendered.text(), text);
        }

        #[test]
        fn dense_guards_survive_cutting_and_joining(
            a in nasty(), b in nasty(), cut in "[a-z|_<>]{1,3}",
        ) {
            let control = chatml();
            let joined = control.guard(&a, Density::Everywhere).replace(&cut, "")
                + control.guard(&b, Density::Everywhere).trim();
            prop_assert_eq!(control.split(&joined).control_ids().count(), 0);
        }
    }
}
