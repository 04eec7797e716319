//! The environment that chat and task templates share, its limits, and what it adds to Jinja.

use super::super::error::TextError;
use super::{json, python, time};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Serde, from_args};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, Value};
use std::io;

/// Instructions of one rendering: a hundred messages need some 20,000.
const FUEL: u64 = 500_000;
/// Nested macro calls and loops.
const MAX_RECURSION: usize = 64;
/// Bytes of one rendering.
pub(crate) const MAX_OUTPUT_BYTES: usize = super::super::MAX_TEXT_BYTES;
/// Bytes of a template's source; real ones have up to 20 KiB.
const MAX_SOURCE_BYTES: usize = 256 << 10;
/// Marks the message of `raise_exception` among the engine's own.
const RAISED: &str = "raise_exception: ";
const TEMPLATE: &str = "template";

/// A compiled template with its environment.
pub(crate) struct Compiled {
    env: Environment<'static>,
    name: String,
}

impl Compiled {
    pub(crate) fn new(
        name: &str,
        source: &str,
        clock: Option<time::Clock>,
    ) -> Result<Self, TextError> {
        if source.len() > MAX_SOURCE_BYTES {
            let limit = format!("{MAX_SOURCE_BYTES} bytes of source");
            return Err(TextError::Limit { name: name.to_owned(), limit });
        }
        let mut env = environment();
        if let Some(clock) = clock {
            env.add_function("strftime_now", move |f: &str| time::strftime(f, clock()));
        }
        env.add_template_owned(TEMPLATE, normalise(source)).map_err(|e| error(name, &e))?;
        Ok(Self { env, name: name.to_owned() })
    }

    pub(crate) fn render(&self, context: Value) -> Result<String, TextError> {
        let template = self.env.get_template(TEMPLATE).map_err(|e| error(&self.name, &e))?;
        let mut out = Bounded { bytes: Vec::new(), over: false };
        let result = template.render_captured_to(context, &mut out).map(|_| ());
        if out.over {
            let limit = format!("{MAX_OUTPUT_BYTES} bytes of output");
            return Err(TextError::Limit { name: self.name.clone(), limit });
        }
        result.map_err(|e| error(&self.name, &e))?;
        String::from_utf8(out.bytes).map_err(|e| TextError::Encode(e.to_string()))
    }
}

/// Keeps what is written, up to the limit.
struct Bounded {
    bytes: Vec<u8>,
    over: bool,
}

impl io::Write for &mut Bounded {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + buf.len() > MAX_OUTPUT_BYTES {
            self.over = true;
            return Err(io::Error::other("over the output limit"));
        }
        self.bytes.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A template of a task: variables in, the text of a message out.
pub struct TaskTemplate(Compiled);

impl TaskTemplate {
    /// Compiles the template; `name` is for messages, as in `task.alert.template`.
    ///
    /// # Errors
    /// [`TextError::Template`] with the line at fault.
    pub fn new(name: &str, source: &str) -> Result<Self, TextError> {
        Compiled::new(name, source, None).map(Self)
    }

    /// Renders with the members of the object `vars` as variables. The result is text: control
    /// tokens in it stay text when it becomes part of a conversation.
    ///
    /// # Errors
    /// [`TextError::Conversation`] if `vars` is not an object, else as the template fails.
    pub fn render(&self, vars: &serde_json::Value) -> Result<String, TextError> {
        if !vars.is_object() {
            let problem = "not a JSON object".to_owned();
            return Err(TextError::Conversation { field: "vars".into(), problem });
        }
        self.0.render(Value::from(Serde(vars)))
    }
}

fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    // The default delimiters are always valid.
    if let Ok(syntax) = syntax {
        env.set_syntax(syntax);
    }
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_fuel(Some(FUEL));
    env.set_recursion_limit(MAX_RECURSION);
    env.set_unknown_method_callback(method);
    env.set_formatter(|out, _, value| match value.as_str() {
        Some(text) => Ok(out.write_str(text)?),
        None => Ok(out.write_str(&python::str_of(value))?),
    });
    env.remove_global("debug");
    env.add_function("raise_exception", |message: &Value| -> Result<Value, Error> {
        let message = format!("{RAISED}{}", python::str_of(message));
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    env.add_filter("tojson", |value: &Value, args: Rest<Value>, kwargs: Kwargs| {
        json::tojson(value, &args, &kwargs, MAX_OUTPUT_BYTES)
    });
    env.add_filter("string", |value: &Value| python::str_of(value));
    env.add_filter("indent", indent);
    env.add_filter("join", join);
    env.add_test("sequence", python::is_sequence);
    env.add_test("iterable", python::is_iterable);
    env
}

fn indent(text: &Value, args: Rest<Value>, kwargs: Kwargs) -> Result<String, Error> {
    let arg = |i: usize, name: &str| -> Result<Option<Value>, Error> {
        let by_name: Option<Value> = kwargs.get(name)?;
        Ok(by_name.or_else(|| args.get(i).cloned()))
    };
    let width = match arg(0, "width")? {
        None => "    ".to_owned(),
        Some(width) => match width.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(width.as_usize().unwrap_or(0).min(256)),
        },
    };
    let first = arg(1, "first")?.is_some_and(|v| v.is_true());
    let blank = arg(2, "blank")?.is_some_and(|v| v.is_true());
    kwargs.assert_all_used()?;
    Ok(python::indent(&python::str_of(text), &width, first, blank))
}

fn join(items: &Value, mark: Option<Value>, attribute: Option<Value>) -> Result<String, Error> {
    let mark = mark.map(|m| python::str_of(&m)).unwrap_or_default();
    let mut parts = Vec::new();
    for item in items.try_iter()? {
        let part = match &attribute {
            Some(name) => item.get_item(name)?,
            None => item,
        };
        parts.push(python::str_of(&part));
    }
    Ok(parts.join(&mark))
}

/// Python's string methods: those of minijinja-contrib, and some that it lacks.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args);
    };
    match name {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        "partition" => {
            let (mark,): (&str,) = from_args(args)?;
            let (a, b) = text.split_once(mark).unwrap_or((text, ""));
            let mark = if text.contains(mark) { mark } else { "" };
            Ok(list(&[a, mark, b]))
        }
        "rpartition" => {
            let (mark,): (&str,) = from_args(args)?;
            let (a, b) = text.rsplit_once(mark).unwrap_or(("", text));
            let mark = if text.contains(mark) { mark } else { "" };
            Ok(list(&[a, mark, b]))
        }
        "rsplit" => rsplit(text, args),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

fn list(parts: &[&str]) -> Value {
    parts.iter().map(|part| Value::from(*part)).collect()
}

fn rsplit(text: &str, args: &[Value]) -> Result<Value, Error> {
    let (mark, most): (Option<&str>, Option<i64>) = from_args(args)?;
    let pieces =
        most.and_then(|n| usize::try_from(n).ok()).map_or(usize::MAX, |n| n.saturating_add(1));
    let mut parts: Vec<&str> = match mark {
        Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        Some(mark) => text.rsplitn(pieces, mark).collect(),
        None => text.split_whitespace().rev().collect(),
    };
    parts.reverse();
    Ok(list(&parts))
}

/// Line ends as Jinja's lexer makes them, and `{% generation %}` blocks as plain ones.
fn normalise(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end + 2);
        let plain = match tag.trim_matches(['{', '}', '%', '-', '+', ' ', '\n', '\t']) {
            "generation" => Some("if true"),
            "endgeneration" => Some("endif"),
            _ => None,
        };
        match plain {
            Some(plain) => out.push_str(&retag(tag, plain)),
            None => out.push_str(tag),
        }
        rest = after;
    }
    out + rest
}

/// The tag with other words, its white space control kept.
fn retag(tag: &str, words: &str) -> String {
    let control = |c: Option<char>| c.filter(|c| matches!(c, '-' | '+')).map(String::from);
    let open = control(tag.chars().nth(2)).unwrap_or_default();
    let close = control(tag.chars().rev().nth(2)).unwrap_or_default();
    format!("{{%{open} {words} {close}%}}")
}

fn error(name: &str, e: &Error) -> TextError {
    let detail = e.detail().unwrap_or_default();
    if let Some(message) = detail.strip_prefix(RAISED) {
        return TextError::Refused(message.to_owned());
    }
    if e.kind() == ErrorKind::OutOfFuel {
        let limit = format!("{FUEL} instructions");
        return TextError::Limit { name: name.to_owned(), limit };
    }
    let problem =
        if detail.is_empty() { e.kind().to_string() } else { format!("{}: {detail}", e.kind()) };
    TextError::Template { name: name.to_owned(), line: e.line().unwrap_or(0), problem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(source: &str, vars: serde_json::Value) -> Result<String, TextError> {
        TaskTemplate::new("task.t.template", source)?.render(&vars)
    }

    #[test]
    fn a_task_template_renders_variables() {
        let out = render("{{ stats | tojson }}", json!({"stats": {"a": 1, "b": [1.0, "<é>"]}}));
        assert_eq!(out.unwrap(), r#"{"a": 1, "b": [1.0, "<é>"]}"#);
        assert_eq!(render("{{ x }}{{ y }}", json!({"x": null})).unwrap(), "None");
    }

    #[test]
    fn loops_and_output_are_bounded() {
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        let e = render(endless, json!({})).unwrap_err();
        assert_eq!(e.to_string(), "task.t.template: over the limit of 500000 instructions");
        let long = "{% for a in range(9999) %}{{ 'x' * 9999 }}{% endfor %}";
        assert_eq!(render(long, json!({})).unwrap_err().code(), "template_limit");
        let deep = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
        assert_eq!(render(deep, json!({})).unwrap_err().code(), "bad_template");
    }

    #[test]
    fn errors_name_the_line() {
        let e = TaskTemplate::new("task.t.template", "a\n{% if %}").err().unwrap();
        assert!(e.to_string().starts_with("task.t.template, line 2: "), "{e}");
        let e = render("{{ raise_exception('no ' ~ 1) }}", json!({})).unwrap_err();
        assert_eq!(e, TextError::Refused("no 1".into()));
        assert_eq!(render("", json!([])).unwrap_err().code(), "bad_conversation");
    }

    #[test]
    fn generation_blocks_are_plain() {
        let source =
            "{%- generation -%} a {%- endgeneration %}\nb{% generation %}\nc{% endgeneration %}";
        assert_eq!(render(source, json!({})).unwrap(), "abc");
    }
}
