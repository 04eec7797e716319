//! Whether a text that somebody else wrote has the shape that was asked for.

use super::model::Model;
use crate::bundle::Output;
use crate::sample::{GrammarFactory, ResponseShape, canonical};
use crate::text::Tokenizer;
use crate::wire::{Ask, ResponseFormat};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// Holds texts against shapes, by the grammars that shape our own answers.
#[derive(Clone)]
pub struct Shapes {
    grammars: Arc<GrammarFactory>,
    tokenizer: Arc<Tokenizer>,
}

impl fmt::Debug for Shapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shapes")
    }
}

/// What an answer has to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// Any text.
    Text,
    /// One of these.
    Label(Vec<String>),
    /// Of a grammar.
    Shape(ResponseShape),
}

impl Wanted {
    /// What a request wants, or else its task.
    pub fn of(ask: &Ask, output: Option<&Output>) -> Self {
        match (&ask.response_format, output) {
            (Some(ResponseFormat::Text), _) | (None, None) => Self::Text,
            (Some(ResponseFormat::Choice(labels, _)), _)
            | (None, Some(Output::Choice(labels, _))) => Self::Label(labels.clone()),
            (Some(ResponseFormat::JsonObject), _) | (None, Some(Output::JsonObject)) => {
                Self::Shape(ResponseShape::JsonObject)
            }
            (Some(ResponseFormat::JsonSchema(given)), _)
            | (None, Some(Output::JsonSchema(given))) => {
                Self::Shape(ResponseShape::JsonSchema(given.clone()))
            }
            (Some(ResponseFormat::Regex(text)), _) | (None, Some(Output::Regex(text))) => {
                Self::Shape(ResponseShape::Regex(text.clone()))
            }
            (Some(ResponseFormat::Lark(text)), _) | (None, Some(Output::Lark(text))) => {
                Self::Shape(ResponseShape::Lark(text.clone()))
            }
        }
    }
}

impl Shapes {
    /// By the grammars of this model.
    pub fn of(model: &Model) -> Self {
        Self { grammars: Arc::clone(&model.grammars), tokenizer: Arc::clone(&model.tokenizer) }
    }

    /// The text as an answer of ours would have it; none if it has not the shape. JSON comes back compact,
    /// with members in the schema's order if that has one.
    pub fn fit(&self, wanted: &Wanted, text: &str) -> Option<String> {
        match wanted {
            Wanted::Text => Some(text.to_owned()),
            Wanted::Label(labels) => {
                let said = text.trim().trim_matches('"');
                labels.iter().find(|label| *label == said).cloned()
            }
            Wanted::Shape(shape) if shape.is_json() => {
                let value: Value = serde_json::from_str(unfenced(text)).ok()?;
                let schema = match shape {
                    ResponseShape::JsonSchema(schema) => schema,
                    _ => &Value::Null,
                };
                let texts = [canonical(schema, &value), canonical(&Value::Null, &value)];
                texts.into_iter().find(|text| self.accepts(shape, text))
            }
            Wanted::Shape(shape) => {
                [text, text.trim()].into_iter().find(|t| self.accepts(shape, t)).map(str::to_owned)
            }
        }
    }

    fn accepts(&self, shape: &ResponseShape, text: &str) -> bool {
        let Ok(mut constraint) = self.grammars.compile(shape) else { return false };
        let Ok(ids) = self.tokenizer.encode(text, false) else { return false };
        ids.iter().all(|&id| constraint.advance(id).is_ok()) && constraint.is_complete()
    }
}

/// What is inside of a Markdown fence, where there is one: larger models like them.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    inner.and_then(|inner| inner.split_once('\n')).map_or(text, |(_, body)| body)
}
