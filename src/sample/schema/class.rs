//! Sets of characters in a pattern, and how they stand between the quotes of a JSON string.
//!
//! Each character in one way: as itself, or as the escape that compact JSON has for it.

use llguidance::derivre::Regex;
use std::fmt::Write;

/// First and last code, both included.
type Range = (u32, u32);

/// Any one character as it stands between quotes.
pub(super) const CHARACTER: &str =
    "(?:[^\"\\\\\\x00-\\x1f]|\\\\[\"\\\\bfnrt]|\\\\u00(?:0[0-7bef]|1[0-9a-f]))";

pub(super) const DIGITS: [Range; 1] = [(0x30, 0x39)];
pub(super) const WORD: [Range; 4] = [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)];
pub(super) const SPACE: [Range; 10] = [
    (0x09, 0x0D),
    (0x20, 0x20),
    (0xA0, 0xA0),
    (0x1680, 0x1680),
    (0x2000, 0x200A),
    (0x2028, 0x2029),
    (0x202F, 0x202F),
    (0x205F, 0x205F),
    (0x3000, 0x3000),
    (0xFEFF, 0xFEFF),
];
pub(super) const LINE_ENDS: [Range; 3] = [(0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029)];

/// A set of characters.
#[derive(Debug, Clone, Default)]
pub(super) struct Class {
    ranges: Vec<Range>,
    /// `\p{...}` and `\P{...}`, as they stand.
    properties: Vec<String>,
    negated: bool,
}

impl Class {
    pub(super) fn of(ranges: &[Range]) -> Self {
        Self { ranges: ranges.to_vec(), ..Self::default() }
    }

    /// Every other character.
    pub(super) fn others(ranges: &[Range]) -> Self {
        Self { ranges: complement(ranges), ..Self::default() }
    }

    pub(super) fn single(code: u32) -> Self {
        Self::of(&[(code, code)])
    }

    /// `None` if there is no such property.
    pub(super) fn property(kind: char, name: &str) -> Option<Self> {
        let property = format!("\\{kind}{{{name}}}");
        Regex::new(&property)
            .is_ok()
            .then(|| Self { properties: vec![property], ..Self::default() })
    }

    pub(super) fn add(&mut self, other: Self) {
        self.ranges.extend(other.ranges);
        self.properties.extend(other.properties);
    }

    /// All from the one to the other; `None` if that is no range.
    pub(super) fn range(first: &Self, last: &Self) -> Option<Self> {
        let (first, last) = (first.lone()?, last.lone()?);
        (first <= last).then(|| Self::of(&[(first, last)]))
    }

    /// Every other character, if `negated`.
    pub(super) fn closed(mut self, negated: bool) -> Self {
        match self.properties.is_empty() {
            true if negated => Self::others(&self.ranges),
            _ => {
                self.negated = negated;
                self
            }
        }
    }

    /// The one character that it holds.
    fn lone(&self) -> Option<u32> {
        match (&self.ranges[..], self.properties.is_empty()) {
            ([(a, b)], true) if a == b => Some(*a),
            _ => None,
        }
    }

    fn holds(&self, code: u32) -> bool {
        self.ranges.iter().any(|(a, b)| (*a..=*b).contains(&code))
    }

    /// In the syntax of `regex-syntax`.
    fn bracketed(&self) -> String {
        let mut text = String::from(if self.negated { "[^" } else { "[" });
        for (first, last) in &self.ranges {
            // A negated class may lose its surrogates too: no text has any.
            for (a, b) in [(*first, (*last).min(0xD7FF)), ((*first).max(0xE000), *last)] {
                if a <= b {
                    let _ = write!(text, "\\x{{{a:X}}}-\\x{{{b:X}}}");
                }
            }
        }
        self.properties.iter().for_each(|p| text.push_str(p));
        text.push(']');
        text
    }

    /// As it stands between quotes.
    pub(super) fn quoted(&self) -> Result<String, String> {
        let mut escaped: Vec<u32> = (0..0x20).chain([0x22, 0x5C]).collect();
        let mut options = Vec::new();
        if self.properties.is_empty() {
            escaped.retain(|code| self.holds(*code));
            let plain =
                intersection(&self.ranges, &complement(&[(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C)]));
            let plain = Self::of(&plain).bracketed();
            if plain != "[]" {
                options.push(plain);
            }
        } else {
            let class = self.bracketed();
            let mut regex = Regex::new(&class).map_err(|e| e.to_string())?;
            escaped.retain(|code| {
                char::from_u32(*code).is_some_and(|c| regex.is_match(&c.to_string()))
            });
            options.push(format!("[{class}&&[^\"\\\\\\x00-\\x1f]]"));
        }
        options.extend(escapes(&escaped));
        match options.len() {
            // Nothing at all, as `[]` in ECMA-262.
            0 => Ok("[^\\x00-\\x{10FFFF}]".into()),
            1 => Ok(options.remove(0)),
            _ => Ok(format!("(?:{})", options.join("|"))),
        }
    }
}

/// Characters that never stand for themselves.
fn escapes(codes: &[u32]) -> Vec<String> {
    let (mut short, mut long) = (String::new(), Vec::new());
    for code in codes {
        match code {
            0x22 => short.push('"'),
            0x5C => short.push_str("\\\\"),
            0x08 => short.push('b'),
            0x09 => short.push('t'),
            0x0A => short.push('n'),
            0x0C => short.push('f'),
            0x0D => short.push('r'),
            code => long.push(format!("{code:02x}")),
        }
    }
    let mut options = Vec::new();
    if !short.is_empty() {
        options.push(format!("\\\\[{short}]"));
    }
    if !long.is_empty() {
        options.push(format!("\\\\u00(?:{})", long.join("|")));
    }
    options
}

/// In order and without overlaps.
fn ordered(ranges: &[Range]) -> Vec<Range> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    let mut merged: Vec<Range> = Vec::new();
    for (first, last) in sorted {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn complement(ranges: &[Range]) -> Vec<Range> {
    let mut others = Vec::new();
    let mut next = 0;
    for (first, last) in ordered(ranges) {
        if first > next {
            others.push((next, first - 1));
        }
        next = last + 1;
    }
    if next <= char::MAX as u32 {
        others.push((next, char::MAX as u32));
    }
    others
}

fn intersection(a: &[Range], b: &[Range]) -> Vec<Range> {
    let (a, b) = (ordered(a), ordered(b));
    let pairs = a.iter().flat_map(|x| b.iter().map(move |y| (x.0.max(y.0), x.1.min(y.1))));
    pairs.filter(|(first, last)| first <= last).collect()
}
