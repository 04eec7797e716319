//! `tojson` as Hugging Face overrides it: Python's `json.dumps`, without HTML escapes.

use super::python::float_repr;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// How deep a value may be nested.
const MAX_DEPTH: usize = 64;

/// The arguments of `json.dumps` that templates use.
struct Dumps {
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    ensure_ascii: bool,
    sort_keys: bool,
    limit: usize,
}

/// The filter `tojson(ensure_ascii=False, indent=None, separators=None, sort_keys=False)`; its
/// output is bounded by `limit` bytes.
pub(crate) fn tojson(
    value: &Value,
    args: &Rest<Value>,
    kwargs: &Kwargs,
    limit: usize,
) -> Result<Value, Error> {
    let arg = |i: usize, name: &str| -> Result<Value, Error> {
        let by_name: Option<Value> = kwargs.get(name)?;
        Ok(by_name.or_else(|| args.get(i).cloned()).unwrap_or(Value::from(())))
    };
    let indent = indent_of(&arg(1, "indent")?);
    let separators = separators_of(&arg(2, "separators")?)?;
    let (item_separator, key_separator) = separators
        .unwrap_or_else(|| (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()));
    let dumps = Dumps {
        indent,
        item_separator,
        key_separator,
        ensure_ascii: arg(0, "ensure_ascii")?.is_true(),
        sort_keys: arg(3, "sort_keys")?.is_true(),
        limit,
    };
    kwargs.assert_all_used()?;
    let mut out = String::new();
    dumps.write(value, &mut out, 0)?;
    Ok(Value::from_safe_string(out))
}

fn indent_of(value: &Value) -> Option<String> {
    if value.is_none() {
        None
    } else if let Some(text) = value.as_str() {
        Some(text.to_owned())
    } else {
        let width = i64::try_from(value.clone()).unwrap_or(0).clamp(0, 64);
        Some(" ".repeat(width as usize))
    }
}

fn separators_of(value: &Value) -> Result<Option<(String, String)>, Error> {
    if value.is_none() {
        return Ok(None);
    }
    let parts: Vec<String> = value.try_iter()?.map(|v| v.to_string()).collect();
    match <[String; 2]>::try_from(parts) {
        Ok([item, key]) => Ok(Some((item, key))),
        Err(_) => Err(invalid("separators must be a pair")),
    }
}

fn invalid(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.into())
}

impl Dumps {
    fn write(&self, value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(invalid("tojson: nested too deep"));
        }
        if out.len() > self.limit {
            return Err(invalid("tojson: over the output limit"));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default(), out),
            ValueKind::Map => self.map(value, out, depth)?,
            ValueKind::Seq | ValueKind::Iterable => self.seq(value, out, depth)?,
            kind => return Err(invalid(format!("Object of type {kind} is not JSON serializable"))),
        }
        Ok(())
    }

    fn map(&self, value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.sort_keys {
            keys.sort();
        }
        out.push('{');
        for (i, key) in keys.iter().enumerate() {
            self.next(i, out, depth + 1);
            match key.as_str() {
                Some(text) => self.string(text, out),
                None => self.string(&scalar_key(key)?, out),
            }
            out.push_str(&self.key_separator);
            self.write(&value.get_item(key)?, out, depth + 1)?;
        }
        self.close(keys.is_empty(), out, depth);
        out.push('}');
        Ok(())
    }

    fn seq(&self, value: &Value, out: &mut String, depth: usize) -> Result<(), Error> {
        out.push('[');
        let mut count = 0;
        for item in value.try_iter()? {
            self.next(count, out, depth + 1);
            self.write(&item, out, depth + 1)?;
            count += 1;
        }
        self.close(count == 0, out, depth);
        out.push(']');
        Ok(())
    }

    fn next(&self, index: usize, out: &mut String, depth: usize) {
        if index > 0 {
            out.push_str(&self.item_separator);
        }
        self.line(out, depth);
    }

    fn close(&self, empty: bool, out: &mut String, depth: usize) {
        if !empty {
            self.line(out, depth);
        }
    }

    fn line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                // Noncharacters stay as they are: guards must not turn into text.
                c if c < ' ' || (self.ensure_ascii && !c.is_ascii() && !is_guard(c)) => {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

const fn is_guard(c: char) -> bool {
    matches!(c, '\u{FDD0}'..='\u{FDEF}')
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match f64::try_from(value.clone()) {
        Ok(x) if x.is_nan() => "NaN".into(),
        Ok(x) if x.is_infinite() => if x > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        Ok(x) => float_repr(x),
        Err(_) => value.to_string(),
    }
}

/// Keys that are not strings, as `json.dumps` writes them.
fn scalar_key(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::None => Ok("null".into()),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.into()),
        ValueKind::Number => Ok(number(key)),
        kind => Err(invalid(format!("keys must be scalars, not {kind}"))),
    }
}
