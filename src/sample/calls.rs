//! Calls of tools: their grammar in a model's own format, and how an answer is read as calls.
//!
//! The grammar is that of the format's texts around names and arguments; arguments are JSON under each
//! tool's schema. What is not a call is free text, or JSON of another schema, or nothing. An answer is
//! read token by token: a control token in the format is not the text that looks like it.

use super::constraint::ConstraintError;
use super::schema;
use crate::text::{Rendered, Segment, TokenTable, ToolFormat};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;

/// Calls in one answer.
const MAX_CALLS: usize = 16;
/// Stands for a control token in bytes, before its number: UTF-8 never has it.
const CONTROL: u8 = 0xFF;

/// What may be called, and what may be said instead.
#[derive(Debug, Clone, PartialEq)]
pub struct CallShape {
    /// How the model writes calls.
    pub format: Arc<ToolFormat>,
    /// Names, and JSON schemas of arguments.
    pub tools: Arc<[(String, Value)]>,
    /// What may be said instead.
    pub prose: Prose,
    /// Whether there may be several calls.
    pub is_parallel: bool,
}

/// What an answer may be that is no call.
#[derive(Debug, Clone, PartialEq)]
pub enum Prose {
    /// Nothing: there must be a call.
    None,
    /// Text; where calls begin with a control token, calls may follow.
    Free,
    /// JSON under this schema, instead of calls.
    Json(Value),
}

/// An answer, read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// What is no call.
    pub prose: String,
    /// Names and arguments, as JSON text.
    pub calls: Vec<(String, String)>,
}

impl CallShape {
    /// What stands for it in a cache.
    ///
    /// # Errors
    /// [`ConstraintError::TooLarge`].
    pub(super) fn key(&self) -> Result<String, ConstraintError> {
        for (_, parameters) in &*self.tools {
            schema::key(parameters)?;
        }
        let prose = match &self.prose {
            Prose::None => json!(false),
            Prose::Free => json!(true),
            Prose::Json(given) => {
                schema::key(given)?;
                given.clone()
            }
        };
        let tools: Vec<Value> = self.tools.iter().map(|(n, p)| json!([n, p])).collect();
        Ok(json!([tools, prose, self.is_parallel, self.format.open.text()]).to_string())
    }

    /// Its grammar, in Lark.
    ///
    /// # Errors
    /// What is not supported in a schema; a format that begins as JSON where an answer may be JSON.
    pub(super) fn grammar(&self) -> Result<String, ConstraintError> {
        let mut text = String::new();
        let mut line = |name: &str, body: &str| writeln!(text, "{name}: {body}");
        let begins = self.format.open.segments().first();
        let start = match (&self.prose, begins) {
            (Prose::None, _) => "calls".to_owned(),
            (Prose::Free, Some(Segment::Control { .. })) => "PROSE? calls?".to_owned(),
            (Prose::Free, _) => "calls | PROSE?".to_owned(),
            (Prose::Json(_), Some(Segment::Text(open)))
                if open.trim_start().starts_with(['{', '[', '"']) =>
            {
                let problem = "this model writes calls as JSON: it cannot answer in JSON as well";
                return Err(wrong(problem.to_owned()));
            }
            (Prose::Json(_), _) => "calls | answer".to_owned(),
        };
        let ok = "a String takes all text";
        line("start", &start).expect(ok);
        if self.prose == Prose::Free {
            line("PROSE", &prose(begins)).expect(ok);
        }
        let [open, middle, next, close] = self.format.parts().map(atoms);
        let more = match self.is_parallel {
            true => format!("({next} call){{0,{}}}", MAX_CALLS - 1),
            false => String::new(),
        };
        line("calls", &format!("{open} call {more} {close}")).expect(ok);
        let call = |(i, (name, _)): (usize, &(String, Value))| {
            format!("{} {middle} arguments{i}", schema::literal(name))
        };
        let calls: Vec<String> = self.tools.iter().enumerate().map(call).collect();
        line("call", &calls.join(" | ")).expect(ok);
        for (i, (name, parameters)) in self.tools.iter().enumerate() {
            let rules = schema::rules(parameters, &format!("arguments{i}"), &format!("a{i}"));
            text += &rules.map_err(|e| wrong(format!("{name}: {e}")))?;
        }
        if let Prose::Json(given) = &self.prose {
            text += &schema::rules(given, "answer", "b")?;
        }
        Ok(text)
    }

    /// Reads an answer of this shape as calls, with the text before them; none if it has none, or was cut.
    pub fn read(&self, tokens: &[u32], table: &TokenTable) -> Option<Said> {
        let controls: Vec<u32> = self.format.parts().iter().flat_map(|p| p.control_ids()).collect();
        let mut bytes = Vec::new();
        for &id in tokens {
            match controls.contains(&id) {
                true => push_control(id, &mut bytes),
                false => bytes.extend_from_slice(table.bytes(id)),
            }
        }
        let [open, middle, next, close] = self.format.parts().map(flat);
        let may_follow = self.prose == Prose::Free && open.first() == Some(&CONTROL);
        let at = match may_follow {
            true => find(&bytes, &open)?,
            false => bytes.starts_with(&open).then_some(0)?,
        };
        let calls = self.calls(&bytes[at + open.len()..], &middle, &next, &close)?;
        Some(Said { prose: String::from_utf8_lossy(&bytes[..at]).into_owned(), calls })
    }

    fn calls(
        &self,
        mut rest: &[u8],
        middle: &[u8],
        next: &[u8],
        close: &[u8],
    ) -> Option<Vec<(String, String)>> {
        let mut calls = Vec::new();
        loop {
            let is_it = |(name, _): &&(String, Value)| {
                let after = rest.strip_prefix(name.as_bytes());
                after.is_some_and(|after| after.starts_with(middle))
            };
            let (name, _) = self.tools.iter().find(is_it)?;
            let arguments = &rest[name.len() + middle.len()..];
            let mut reader =
                serde_json::Deserializer::from_slice(arguments).into_iter::<IgnoredAny>();
            reader.next()?.ok()?;
            let (json, after) = arguments.split_at(reader.byte_offset());
            calls.push((name.clone(), String::from_utf8(json.to_vec()).ok()?));
            match after.strip_prefix(next) {
                Some(more) => rest = more,
                None => return (after == close).then_some(calls),
            }
        }
    }
}

fn wrong(problem: String) -> ConstraintError {
    ConstraintError::Invalid { what: "tools", problem }
}

/// Text that is not mistaken for a call: control tokens are not text, other beginnings are left out.
fn prose(begins: Option<&Segment>) -> String {
    match begins {
        Some(Segment::Text(open)) => {
            let first = open.trim_start().chars().next().unwrap_or('{');
            format!("/[^\\s\\x{{{:x}}}](.|\\n)*/", u32::from(first))
        }
        _ => "/(.|\\n)+/".to_owned(),
    }
}

/// A text of the format in the syntax of Lark.
fn atoms(part: &Rendered) -> String {
    let atom = |segment: &Segment| match segment {
        Segment::Text(text) => schema::literal(text),
        Segment::Control { id, .. } => format!("<[{id}]>"),
    };
    part.segments().iter().map(atom).collect::<Vec<_>>().join(" ")
}

fn flat(part: &Rendered) -> Vec<u8> {
    let mut out = Vec::new();
    for segment in part.segments() {
        match segment {
            Segment::Text(text) => out.extend(text.bytes()),
            Segment::Control { id, .. } => push_control(*id, &mut out),
        }
    }
    out
}

fn push_control(id: u32, out: &mut Vec<u8>) {
    out.push(CONTROL);
    out.extend(id.to_string().bytes());
    out.push(CONTROL);
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    (0..bytes.len()).find(|&at| bytes[at..].starts_with(what))
}
