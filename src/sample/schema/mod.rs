//! JSON schemas to grammars: what can be enforced exactly is, what cannot is refused by name.
//!
//! A schema is read as the set of its values ([`space`]): numbers as spans with steps, strings as
//! regular languages, arrays and objects as unions of forms, all closed under `and`, `or` and - where
//! it is exact - `not`. The set is then written as a Lark grammar of compact JSON in which every value
//! has one text ([`grammar`]). No keyword is ignored: a misspelt `maxLenght` is an error. See
//! docs/constraints.md.
//!
//! Knows nothing of tokens. Everything here is bounded: size, depth, sets, work and output.

mod array;
mod canonical;
mod class;
mod decimal;
mod document;
mod format;
mod grammar;
mod keywords;
mod lex;
mod machine;
mod number;
mod numeral;
mod object;
mod pattern;
mod space;
mod text;
mod uri;
mod values;

pub use canonical::canonical;

use super::constraint::ConstraintError;
use serde_json::Value;

/// Bytes of a schema, written compactly.
pub(crate) const MAX_SCHEMA_BYTES: usize = 32 << 10;
/// Values within values, in a schema.
const MAX_DEPTH: usize = 96;

type Outcome<T> = Result<T, ConstraintError>;

/// The text that stands for a schema, once its size and depth are known to be bounded.
///
/// # Errors
/// [`ConstraintError::TooLarge`].
pub(crate) fn key(schema: &Value) -> Outcome<String> {
    if !is_shallow(schema, MAX_DEPTH) {
        return Err(too_large(format!("{MAX_DEPTH} values within values")));
    }
    // Writing it out recurses.
    let text = schema.to_string();
    if text.len() > MAX_SCHEMA_BYTES {
        return Err(too_large(format!("{MAX_SCHEMA_BYTES} bytes")));
    }
    Ok(text)
}

/// The Lark grammar of the values of a schema.
///
/// # Errors
/// [`ConstraintError::Keyword`] with the JSON pointer, [`ConstraintError::Invalid`],
/// [`ConstraintError::TooLarge`].
pub(crate) fn grammar(schema: &Value) -> Outcome<String> {
    rules(schema, "start", "")
}

/// The same as a part of a larger grammar: the values are those of the rule `root`; other rules and
/// terminals have names that begin with `prefix`.
///
/// # Errors
/// As [`grammar`].
pub(crate) fn rules(schema: &Value, root: &str, prefix: &str) -> Outcome<String> {
    key(schema)?;
    grammar::write(space::Space::new(document::Document::read(schema)?), root, prefix)
}

/// A text in the syntax of Lark.
pub(crate) fn literal(text: &str) -> String {
    grammar::literal(text)
}

fn is_shallow(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => left > 0 && items.iter().all(|v| is_shallow(v, left - 1)),
        Value::Object(items) => left > 0 && items.values().all(|v| is_shallow(v, left - 1)),
        _ => true,
    }
}

fn refused(pointer: &str, keyword: &str, hint: &'static str) -> ConstraintError {
    let (pointer, keyword) = (pointer.to_owned(), keyword.to_owned());
    ConstraintError::Keyword { pointer, keyword, hint }
}

fn invalid(pointer: &str, problem: impl std::fmt::Display) -> ConstraintError {
    let problem = format!("at `{pointer}`: {problem}");
    ConstraintError::Invalid { what: "json_schema", problem }
}

fn too_large(limit: impl Into<String>) -> ConstraintError {
    ConstraintError::TooLarge { what: "json_schema", limit: limit.into() }
}

#[cfg(test)]
mod tests;
