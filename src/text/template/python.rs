//! Python's ways where they show in a rendered prompt: `str()`, `repr()`, and a few tests.

use minijinja::Value;
use minijinja::value::ValueKind;

const MAX_DEPTH: usize = 64;

/// Python's `str(value)`, for `{{ value }}` and the filter `string`.
pub(crate) fn str_of(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_undefined() => String::new(),
        None => {
            let mut out = String::new();
            repr(value, &mut out, 0);
            out
        }
    }
}

/// Python's `repr(value)`.
fn repr(value: &Value, out: &mut String, depth: usize) {
    if depth > MAX_DEPTH {
        return out.push_str("...");
    }
    match value.kind() {
        ValueKind::None => out.push_str("None"),
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Bool => out.push_str(if value.is_true() { "True" } else { "False" }),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(x) => out.push_str(&float_repr(x)),
            Err(_) => out.push_str(&value.to_string()),
        },
        ValueKind::String => quote(value.as_str().unwrap_or_default(), out),
        ValueKind::Map => map(value, out, depth),
        ValueKind::Seq | ValueKind::Iterable => seq(value, out, depth),
        _ => out.push_str(&value.to_string()),
    }
}

fn map(value: &Value, out: &mut String, depth: usize) {
    out.push('{');
    for (i, key) in value.try_iter().into_iter().flatten().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        repr(&key, out, depth + 1);
        out.push_str(": ");
        repr(&value.get_item(&key).unwrap_or_default(), out, depth + 1);
    }
    out.push('}');
}

fn seq(value: &Value, out: &mut String, depth: usize) {
    let tuple = value.is_tuple();
    out.push(if tuple { '(' } else { '[' });
    let mut count = 0;
    for item in value.try_iter().into_iter().flatten() {
        if count > 0 {
            out.push_str(", ");
        }
        repr(&item, out, depth + 1);
        count += 1;
    }
    out.push_str(match (tuple, count) {
        (true, 1) => ",)",
        (true, _) => ")",
        (false, _) => "]",
    });
}

/// Python prefers single quotes, and takes double ones if that saves escapes.
fn quote(text: &str, out: &mut String) {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(mark);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == mark => out.extend(['\\', c]),
            c if c < ' ' || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push(mark);
}

/// The shortest decimal that reads back, in Python's choice of notation.
pub(crate) fn float_repr(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{x:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = x.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// Jinja's `sequence`: what has a length and can be indexed, strings and dicts included.
pub(crate) fn is_sequence(value: &Value) -> bool {
    let kind = value.kind();
    matches!(kind, ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Undefined)
}

/// Jinja's `iterable`: what `iter()` takes.
pub(crate) fn is_iterable(value: &Value) -> bool {
    is_sequence(value) || value.kind() == ValueKind::Iterable
}

/// The filter `indent(width=4, first=False, blank=False)`.
pub(crate) fn indent(text: &str, width: &str, first: bool, blank: bool) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    // Jinja appends a line break first, so that a last one is kept; splitlines() drops it again.
    for (i, line) in split_lines(&format!("{text}\n")).into_iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(width);
        }
        out.push_str(line);
    }
    out
}

/// Python's `splitlines()` for the line breaks that occur: `\n`, `\r\n`, `\r`.
fn split_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        lines.push(&rest[..end]);
        let eol = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = rest.get(end + eol..).unwrap_or_default();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_look_as_in_python() {
        let same = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (1.5e-7, "1.5e-07"),
            (0.0001, "0.0001"),
            (-2.5, "-2.5"),
            (1e300, "1e+300"),
            (-0.0, "-0.0"),
        ];
        for (x, text) in same {
            assert_eq!(float_repr(x), text);
        }
    }

    #[test]
    fn values_print_as_in_python() {
        let value = Value::from(minijinja::value::Serde(
            serde_json::json!({"a": [1, 2.5, null, true, "it's", "\"'\n"]}),
        ));
        assert_eq!(str_of(&value), r#"{'a': [1, 2.5, None, True, "it's", '"\'\n']}"#);
        assert_eq!(str_of(&Value::UNDEFINED), "");
    }

    #[test]
    fn indent_keeps_the_first_line_and_empty_ones() {
        assert_eq!(indent("a\n\nb", "  ", false, false), "a\n\n  b");
        assert_eq!(indent("a\n\nb", "  ", true, true), "  a\n  \n  b");
        assert_eq!(indent("a\n", "  ", false, false), "a\n");
    }
}
