//! `file:line:col` with a caret under the fault, the cause, and the nearest known key.

use super::error::ConfigError;
use crate::bundle::line_column;
use std::fmt;
use std::ops::Range;

/// A fault in a text file, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The line itself.
    text: String,
    /// How many characters the caret spans, at least 1.
    width: usize,
}

impl Diagnostic {
    /// A fault at bytes `span` of `text`, the contents of `file`.
    pub fn at(file: &str, text: &str, span: Range<usize>, problem: impl Into<String>) -> Self {
        let (line, column) = line_column(text, span.start);
        let shown = text.lines().nth(line - 1).unwrap_or("").to_owned();
        let rest = shown.chars().count().saturating_sub(column - 1);
        let marked = text.get(span).map_or(1, |s| s.lines().next().unwrap_or("").chars().count());
        Self {
            file: file.to_owned(),
            line,
            column,
            problem: problem.into(),
            help: None,
            text: shown,
            width: marked.clamp(1, rest.max(1)),
        }
    }

    /// The same with a piece of advice.
    #[must_use]
    pub fn with_help(mut self, help: Option<String>) -> Self {
        self.help = help;
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs stay tabs, so that the caret stands where the fault is.
        let indent: String = self
            .text
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.problem)?;
        writeln!(f, " {number} | {}", self.text)?;
        write!(f, " {margin} | {indent}{}", "^".repeat(self.width))?;
        match &self.help {
            Some(help) => write!(f, "\n {margin} = help: {help}"),
            None => Ok(()),
        }
    }
}

impl From<Diagnostic> for ConfigError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Written(Box::new(diagnostic))
    }
}

/// What the TOML parser refused, with its place; unknown keys get a suggestion.
pub(crate) fn diagnose_toml(file: &str, text: &str, error: &toml::de::Error) -> Diagnostic {
    let span = error.span().unwrap_or(0..0);
    let message = error.message();
    match unknown_key(message) {
        None => Diagnostic::at(file, text, span, message.lines().next().unwrap_or(message)),
        Some((key, known)) => {
            let help = match nearest(key, &known) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => "no keys are known here".to_owned(),
                None => format!("known here: {}", known.join(", ")),
            };
            Diagnostic::at(file, text, span, format!("unknown key `{key}`")).with_help(Some(help))
        }
    }
}

/// Serde's words: "unknown field `x`, expected one of `a`, `b`".
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest =
        message.strip_prefix("unknown field `").or(message.strip_prefix("unknown variant `"))?;
    let (key, known) = rest.split_once('`')?;
    Some((key, known.split('`').skip(1).step_by(2).collect()))
}

/// The candidate at the smallest edit distance, if that is at most a third of the longer word.
fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let plain = |s: &str| s.replace('_', "-").to_lowercase();
    let word = plain(word);
    candidates
        .iter()
        .map(|c| (distance(&word, &plain(c)), *c))
        .filter(|(d, c)| *d * 3 <= word.len().max(c.len()))
        .min()
        .map(|(_, c)| c)
}

/// Levenshtein distance in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_fault() {
        let text = "[budget]\n\tmemory = \"x\"\n";
        let shown = Diagnostic::at("f.toml", text, 19..22, "no size").to_string();
        assert_eq!(shown, "f.toml:2:11: no size\n 2 | \tmemory = \"x\"\n   | \t         ^^^");
    }

    #[test]
    fn any_span_is_survived() {
        let reversed = Range { start: 5, end: 1 };
        for span in [0..0, reversed, 7..99, 99..100] {
            let _ = Diagnostic::at("f", "ä\nb", span, "x").to_string();
        }
    }

    #[test]
    fn the_nearest_key_is_found() {
        assert_eq!(nearest("thread", &["threads", "engine"]), Some("threads"));
        assert_eq!(nearest("state_dir", &["threads", "state-dir"]), Some("state-dir"));
        assert_eq!(nearest("mqtt", &["model", "unix"]), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
