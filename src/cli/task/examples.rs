//! Examples with the answers that are right: a line of JSON each.

use crate::calibration::Judged;
use crate::cli::answerer::{Answerer, answer};
use crate::cli::exit::{DATA, Failure};
use crate::cli::interrupt::was_interrupted;
use crate::cli::term::Progress;
use crate::core::error::{ErrorCode, RejectReason};
use crate::wire::{Answer, Ask};
use serde::Deserialize;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// Bytes of one line.
const LINE_LIMIT: u64 = 1 << 20;

/// What a line says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The prompt.
    #[serde(alias = "text")]
    pub prompt: Option<String>,
    /// Variables of the task's template.
    pub vars: Option<Value>,
    /// The right answer: its text, or what it is as JSON.
    pub answer: Value,
    /// The task, if the file is for several: other tasks' lines are left out.
    pub task: Option<String>,
    /// Where it is from; counted apart.
    pub source: Option<String>,
}

/// An example, and what became of it.
#[derive(Debug)]
pub struct Outcome {
    /// What was asked.
    pub example: Example,
    /// What was answered, or why nothing was.
    pub reply: Result<Answer, RejectReason>,
    /// Whether that is right.
    pub is_right: bool,
}

/// The examples of `task` in a file, at most `limit` of them.
///
/// # Errors
/// A line that is none, with its number.
pub fn read(path: &Path, task: &str, limit: usize) -> Result<Vec<Example>, Failure> {
    let file = std::fs::File::open(path).map_err(|e| Failure::unreadable(path, &e))?;
    let (mut reader, mut found) = (BufReader::new(file), Vec::new());
    for number in 1usize.. {
        let mut line = String::new();
        let read = reader.by_ref().take(LINE_LIMIT).read_line(&mut line);
        match read.map_err(|e| Failure::unreadable(path, &e))? {
            0 => break,
            _ if line.trim().is_empty() => continue,
            _ => {}
        }
        let wrong = |e: String| {
            Failure::new(DATA, format!("{}:{number}: {e}", path.display())).hint(
                "a line is {\"prompt\": \"...\", \"answer\": ...}, with `vars`, `task` and `source` if wanted",
            )
        };
        let example: Example = serde_json::from_str(&line).map_err(|e| wrong(e.to_string()))?;
        if example.prompt.is_none() && example.vars.is_none() {
            return Err(wrong("there is neither `prompt` nor `vars`".into()));
        }
        if example.task.as_deref().is_none_or(|name| name == task) {
            found.push(example);
        }
        if found.len() >= limit {
            break;
        }
    }
    match found.is_empty() {
        true => Err(Failure::new(DATA, format!("{}: no line is for {task}", path.display()))),
        false => Ok(found),
    }
}

/// Asks for each of them, one after the other; Ctrl-C ends it with what there is.
pub fn ask_all(
    answerer: &mut dyn Answerer,
    examples: Vec<Example>,
    task: &str,
    fields: &[String],
    progress: &Progress,
) -> Result<Vec<Outcome>, Failure> {
    let (all, mut outcomes) = (examples.len(), Vec::with_capacity(examples.len()));
    for (at, example) in examples.into_iter().enumerate() {
        progress.phase(&format!("asking {} of {all}", at + 1));
        let ask = Ask {
            task: Some(task.to_owned()),
            prompt: example.prompt.clone(),
            vars: example.vars.clone(),
            ..Ask::default()
        };
        let reply = match answer(answerer, &ask, &mut |_| ()) {
            Ok(answer) => Ok(answer),
            // The other examples would hear the same.
            Err(failure) if is_of_all(&failure) => return Err(failure),
            Err(Failure { reason: Some(reason), .. }) if !was_interrupted() => Err(reason),
            Err(_) if was_interrupted() => break,
            Err(failure) => return Err(failure),
        };
        let is_right = reply.as_ref().is_ok_and(|a| is_right(&a.text, &example.answer, fields));
        outcomes.push(Outcome { example, reply, is_right });
    }
    Ok(outcomes)
}

fn is_of_all(failure: &Failure) -> bool {
    let code = failure.reason.as_ref().map(|reason| reason.code);
    matches!(code, Some(ErrorCode::UnknownTask | ErrorCode::ShuttingDown))
}

impl Outcome {
    /// What calibration needs of it; none if there is no confidence.
    pub fn judged(&self) -> Option<Judged> {
        let answer = self.reply.as_ref().ok()?;
        let overall = f64::from(answer.confidence.as_ref()?.overall);
        let Some(choice) = &answer.choice else {
            return Some(Judged {
                logs: vec![overall.ln()],
                chosen: 0,
                right: self.is_right.then_some(0),
            });
        };
        let position = |label: &str| choice.probabilities.iter().position(|(l, _)| l == label);
        Some(Judged {
            logs: choice.probabilities.iter().map(|(_, p)| f64::from(*p).ln()).collect(),
            chosen: position(&answer.text)?,
            right: self.example.answer.as_str().and_then(position),
        })
    }
}

/// Whether an answer is the wanted one: the same JSON, or the same text; of JSON, only in the fields that
/// matter, if any are named.
fn is_right(text: &str, wanted: &Value, fields: &[String]) -> bool {
    let said: Option<Value> = serde_json::from_str(text).ok();
    let wanted_json = match wanted {
        Value::String(text) => serde_json::from_str(text).ok(),
        other => Some(other.clone()),
    };
    match (said, wanted_json) {
        (Some(said), Some(wanted)) if fields.is_empty() => said == wanted,
        (Some(said), Some(wanted)) => picked(&said, fields) == picked(&wanted, fields),
        _ => wanted.as_str().is_some_and(|wanted| wanted.trim() == text.trim()),
    }
}

/// The values at these pointers, in which `*` stands for any name or index; all if there is none of them.
fn picked<'a>(value: &'a Value, fields: &[String]) -> Vec<(String, &'a Value)> {
    let mut found = Vec::new();
    for field in fields {
        let mut at = vec![(String::new(), value)];
        for part in field.split('/').skip(1) {
            at = at.iter().flat_map(|(path, value)| below(path, value, part)).collect();
        }
        found.extend(at);
    }
    if found.is_empty() {
        found.push((String::new(), value));
    }
    found
}

fn below<'a>(path: &str, value: &'a Value, part: &str) -> Vec<(String, &'a Value)> {
    let named = |name: &str, value: &'a Value| (format!("{path}/{name}"), value);
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| part == "*" || part == *name)
            .map(|(name, value)| named(name, value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, item)| (i.to_string(), item))
            .filter(|(i, _)| part == "*" || part == i)
            .map(|(i, item)| named(&i, item))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_right_by_what_it_says() {
        let right = |text: &str, wanted: Value| is_right(text, &wanted, &[]);
        assert!(
            right("on", json!("on")) && right("on\n", json!("on")) && !right("on", json!("off"))
        );
        assert!(right(r#"{"a":1,"b":2}"#, json!({"b": 2, "a": 1})));
        assert!(right(r#"{"a":1}"#, json!(r#"{ "a": 1 }"#)));
        assert!(!right(r#"{"a":1}"#, json!({"a": 2})));
        assert!(!right("cut {", json!({"a": 2})));
        let only = ["/a/*/x".to_owned()];
        assert!(is_right(r#"{"a":[{"x":1,"y":2}]}"#, &json!({"a": [{"x": 1, "y": 3}]}), &only));
        assert!(!is_right(r#"{"a":[{"x":1}]}"#, &json!({"a": [{"x": 1}, {"x": 1}]}), &only));
        assert!(!is_right(r#"{"none":true}"#, &json!({"a": [{"x": 1}]}), &only));
    }

    #[test]
    fn lines_that_are_no_examples_are_named() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let read = |text: &str| {
            std::fs::write(file.path(), text).expect("writable");
            read(file.path(), "t", 10).map_err(|failure| failure.message)
        };
        let good =
            "{\"text\":\"a\",\"answer\":1}\n\n{\"prompt\":\"b\",\"answer\":2,\"task\":\"other\"}\n";
        assert_eq!(read(good).map(|found| found.len()), Ok(1));
        assert!(read("{\"text\":\"a\",\"answer\":1}\n{").expect_err("torn").contains(":2: "));
        assert!(read("{\"answer\":1}").expect_err("nothing asked").contains("neither"));
        assert!(read("{\"prompt\":\"a\",\"answr\":1}").expect_err("misspelt").contains("answr"));
        assert!(read("").expect_err("empty").contains("no line is for t"));
    }
}
