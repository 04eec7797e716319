//! Sets of strings: words, lengths, patterns, and what `and`, `or` and `not` make of them.
//!
//! Knows strings as values; [`Patterns`] also knows how they stand between quotes.

use super::class::CHARACTER;
use super::lex::Lex;
use super::{Outcome, format, pattern, too_large};
use llguidance::derivre::{Regex, RegexBuilder};
use std::collections::{BTreeSet, HashMap};

/// Different patterns of one schema.
const MAX_PATTERNS: usize = 200;
/// Questions whether a set holds anything, for one schema.
const MAX_QUESTIONS: usize = 300;
/// Work on a pattern before it matches names.
const MATCH_FUEL: u64 = 200_000;
/// Work on all names that are matched with one pattern; some 100 ms.
const MATCH_COST: u64 = 5_000_000;

/// A set of strings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Text {
    All,
    Words(BTreeSet<String>),
    /// Characters, at least and at most.
    Length(u32, Option<u32>),
    /// An index into [`Patterns`].
    Pattern(usize),
    And(Vec<Text>),
    Or(Vec<Text>),
    Not(Box<Text>),
}

impl Text {
    pub(super) const NONE: Self = Self::Words(BTreeSet::new());

    pub(super) fn word(word: &str) -> Self {
        Self::Words(BTreeSet::from([word.to_owned()]))
    }

    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Words(a), Self::Words(b)) => Self::Words(a.into_iter().chain(b).collect()),
            (Self::Words(none), text) | (text, Self::Words(none)) if none.is_empty() => text,
            (a, b) if a == b => a,
            (Self::Or(mut all), other) => {
                if !all.contains(&other) {
                    all.push(other);
                }
                Self::Or(all)
            }
            (a, b) => Self::Or(vec![a, b]),
        }
    }

    /// Every other string. [`Patterns::not`] checks first whether that is exact.
    fn not(self) -> Self {
        match self {
            Self::All => Self::NONE,
            Self::Words(words) if words.is_empty() => Self::All,
            Self::Not(inner) => *inner,
            Self::Length(least, most) => {
                let shorter = least.checked_sub(1).map(|most| Self::Length(0, Some(most)));
                let longer =
                    most.and_then(|m| m.checked_add(1)).map(|least| Self::Length(least, None));
                shorter.into_iter().chain(longer).fold(Self::NONE, Self::or)
            }
            text => Self::Not(Box::new(text)),
        }
    }
}

/// A pattern or format of the schema.
struct Pattern {
    /// Over the text between quotes.
    expression: String,
    /// Whether strings that do not match are surely not meant: formats are narrower than the standard.
    exact: bool,
    regex: Option<Regex>,
}

/// The patterns of one schema, and answers about sets of strings.
#[derive(Default)]
pub(super) struct Patterns {
    list: Vec<Pattern>,
    ids: HashMap<(String, bool), usize>,
    void: HashMap<Text, bool>,
}

impl Patterns {
    /// Strings in which an ECMA-262 pattern is found. The outer error is a limit, the inner one says
    /// what of the pattern is not supported.
    pub(super) fn pattern(&mut self, source: &str) -> Outcome<Result<Text, String>> {
        self.add(source, true)
    }

    /// Strings of a format, or `None` if it is not known.
    pub(super) fn format(&mut self, name: &str) -> Outcome<Option<Text>> {
        let Some(format) = format::lookup(name) else { return Ok(None) };
        let mut text = Text::All;
        for (source, wanted) in format {
            let part = self.add(&source, false)?.expect("a format's pattern is supported");
            text = self.and(text, if wanted { part } else { Text::Not(Box::new(part)) })?;
        }
        Ok(Some(text))
    }

    fn add(&mut self, source: &str, exact: bool) -> Outcome<Result<Text, String>> {
        let expression = match pattern::translate(source) {
            Ok(expression) => expression,
            Err(problem) => return Ok(Err(problem)),
        };
        let key = (expression, exact);
        if let Some(id) = self.ids.get(&key) {
            return Ok(Ok(Text::Pattern(*id)));
        }
        if self.list.len() == MAX_PATTERNS {
            return Err(too_large(format!("{MAX_PATTERNS} patterns")));
        }
        self.list.push(Pattern { expression: key.0.clone(), exact, regex: None });
        self.ids.insert(key, self.list.len() - 1);
        Ok(Ok(Text::Pattern(self.list.len() - 1)))
    }

    pub(super) fn and(&mut self, a: Text, b: Text) -> Outcome<Text> {
        Ok(match (a, b) {
            (Text::All, text) | (text, Text::All) => text,
            (Text::Words(a), Text::Words(b)) => Text::Words(a.intersection(&b).cloned().collect()),
            (Text::Words(words), text) | (text, Text::Words(words)) if self.is_exact(&text) => {
                let mut kept = BTreeSet::new();
                for word in words {
                    if self.matches(&text, &word)? {
                        kept.insert(word);
                    }
                }
                Text::Words(kept)
            }
            (Text::Length(a, b), Text::Length(c, d)) => {
                let most = match (b, d) {
                    (Some(b), Some(d)) => Some(b.min(d)),
                    (b, d) => b.or(d),
                };
                if most.is_some_and(|most| most < a.max(c)) {
                    return Ok(Text::NONE);
                }
                Text::Length(a.max(c), most)
            }
            (a, b) if a == b => a,
            (Text::And(mut all), other) => {
                if !all.contains(&other) {
                    all.push(other);
                }
                Text::And(all)
            }
            (other, Text::And(mut all)) => {
                if !all.contains(&other) {
                    all.insert(0, other);
                }
                Text::And(all)
            }
            (a, b) => Text::And(vec![a, b]),
        })
    }

    /// At least all strings of the set, whatever more a format holds than is known.
    pub(super) fn at_most(&mut self, text: &Text) -> Outcome<Text> {
        Ok(match text {
            text if self.is_exact(text) => text.clone(),
            Text::And(all) => {
                let mut upper = Text::All;
                for part in all {
                    let part = self.at_most(part)?;
                    upper = self.and(upper, part)?;
                }
                upper
            }
            _ => Text::All,
        })
    }

    /// Every other string; `None` if a format is in it, of which only a part is known.
    pub(super) fn not(&self, text: &Text) -> Option<Text> {
        self.is_exact(text).then(|| text.clone().not())
    }

    /// Whether no format is in it, of which only a part is known.
    pub(super) fn is_exact(&self, text: &Text) -> bool {
        match text {
            Text::All | Text::Words(_) | Text::Length(..) => true,
            Text::Pattern(id) => self.list[*id].exact,
            Text::And(all) | Text::Or(all) => all.iter().all(|t| self.is_exact(t)),
            Text::Not(inner) => self.is_exact(inner),
        }
    }

    pub(super) fn matches(&mut self, text: &Text, word: &str) -> Outcome<bool> {
        let mut count = word.chars().count();
        Ok(match text {
            Text::All => true,
            Text::Words(words) => words.contains(word),
            Text::Length(least, most) => {
                count = count.min(u32::MAX as usize);
                count as u32 >= *least && most.is_none_or(|most| count as u32 <= most)
            }
            Text::Pattern(id) => self.found(*id, word)?,
            Text::And(all) => {
                for part in all {
                    if !self.matches(part, word)? {
                        return Ok(false);
                    }
                }
                true
            }
            Text::Or(all) => {
                for part in all {
                    if self.matches(part, word)? {
                        return Ok(true);
                    }
                }
                false
            }
            Text::Not(inner) => !self.matches(inner, word)?,
        })
    }

    fn found(&mut self, id: usize, word: &str) -> Outcome<bool> {
        let pattern = &mut self.list[id];
        let too_complex = || too_large("the work on one `pattern`");
        if pattern.regex.is_none() {
            let mut builder = RegexBuilder::new();
            let expression = builder.mk_regex(&pattern.expression).map_err(|_| too_complex())?;
            let regex = builder.into_regex_limited(expression, MATCH_FUEL);
            pattern.regex = Some(regex.map_err(|_| too_complex())?);
        }
        let regex = pattern.regex.as_mut().ok_or_else(too_complex)?;
        let mut state = regex.initial_state();
        for byte in between_quotes(word).bytes() {
            state = regex.transition(state, byte);
            if state.is_dead() {
                return Ok(false);
            }
            if regex.cost() > MATCH_COST {
                return Err(too_complex());
            }
        }
        Ok(regex.is_accepting(state))
    }

    /// Whether the set holds no string.
    pub(super) fn is_void(&mut self, text: &Text) -> Outcome<bool> {
        match text {
            Text::All | Text::Length(..) => return Ok(false),
            Text::Words(words) => return Ok(words.is_empty()),
            // Finitely many are taken out of infinitely many.
            Text::Not(inner) if matches!(**inner, Text::Words(_)) => return Ok(false),
            _ => {}
        }
        if let Some(known) = self.void.get(text) {
            return Ok(*known);
        }
        if self.void.len() == MAX_QUESTIONS {
            return Err(too_large(format!("{MAX_QUESTIONS} comparisons of patterns")));
        }
        let void =
            self.between(text).is_void().ok_or_else(|| too_large("the work on one `pattern`"))?;
        self.void.insert(text.clone(), void);
        Ok(void)
    }

    /// The strings as they stand in an answer, with their quotes and what follows.
    pub(super) fn quoted(&self, text: &Text, after: &str) -> Lex {
        let word = |word: &String| Lex::Literal(format!("\"{}\"{after}", between_quotes(word)));
        match text {
            Text::Words(words) => Lex::either(words.iter().map(word).collect()),
            text => Lex::Then(vec![
                Lex::Literal("\"".into()),
                self.between(text),
                Lex::Literal(format!("\"{after}")),
            ]),
        }
    }

    /// The strings as they stand between quotes.
    fn between(&self, text: &Text) -> Lex {
        let any = || Lex::Regex(format!("{CHARACTER}*"));
        match text {
            Text::All => any(),
            Text::Words(words) => {
                Lex::either(words.iter().map(|w| Lex::Literal(between_quotes(w))).collect())
            }
            Text::Length(least, most) => {
                let most = most.map_or(String::new(), |most| most.to_string());
                Lex::Regex(format!("{CHARACTER}{{{least},{most}}}"))
            }
            Text::Pattern(id) => Lex::Regex(self.list[*id].expression.clone()),
            Text::And(all) => Lex::And(all.iter().map(|t| self.between(t)).collect()),
            Text::Or(all) => Lex::Or(all.iter().map(|t| self.between(t)).collect()),
            Text::Not(inner) => any().without(self.between(inner)),
        }
    }
}

/// A string as compact JSON writes it, without the quotes.
fn between_quotes(word: &str) -> String {
    let quoted = serde_json::Value::from(word).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_strings_are_exact() {
        let mut patterns = Patterns::default();
        let digits = patterns.pattern("^[0-9]+$").unwrap().unwrap();
        let a = patterns.pattern("a").unwrap().unwrap();
        let both = patterns.and(digits.clone(), a.clone()).unwrap();
        assert!(patterns.is_void(&both).unwrap());
        let long = patterns.and(a.clone(), Text::Length(3, None)).unwrap();
        assert!(!patterns.is_void(&long).unwrap());
        assert!(patterns.matches(&long, "xay").unwrap() && !patterns.matches(&long, "xa").unwrap());
        let others = patterns.not(&long).unwrap();
        assert!(
            patterns.matches(&others, "xa").unwrap() && !patterns.matches(&others, "xay").unwrap()
        );
        let words =
            patterns.and(Text::Words(["1", "a", "x"].map(str::to_owned).into()), others).unwrap();
        assert_eq!(words, Text::Words(["1", "a", "x"].map(str::to_owned).into()));
        assert_eq!(
            Text::Length(2, Some(4)).not(),
            Text::Or(vec![Text::Length(0, Some(1)), Text::Length(5, None)])
        );
        let date = patterns.format("date").unwrap().unwrap();
        assert!(patterns.not(&date).is_none() && patterns.format("nonsense").unwrap().is_none());
        let lex = patterns.quoted(&Text::word("a\"\n\u{0}é"), ":");
        assert_eq!(lex, Lex::Literal("\"a\\\"\\n\\u0000é\":".into()));
    }
}
