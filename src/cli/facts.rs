//! Facts for people and machines: one `path.to.fact  value` a line, or JSON.

use super::exit::Failure;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;

/// Prints facts to standard output.
///
/// # Errors
/// If standard output is gone.
pub fn print(facts: &Value, json: bool) -> Result<(), Failure> {
    let text = if json { format!("{facts:#}\n") } else { table(facts) };
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| Failure::output(&e))
}

/// One line a figure, nested ones by their path.
fn table(report: &Value) -> String {
    let mut rows = Vec::new();
    flatten("", report, &mut rows);
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().fold(String::new(), |mut text, (name, value)| {
        writeln!(text, "{name:width$}  {value}").expect("a String takes all text");
        text
    })
}

fn flatten(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{name}"), value, rows);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (index, item) in items.iter().enumerate() {
                flatten(&format!("{path}.{index}"), item, rows);
            }
        }
        Value::String(text) => rows.push((path.to_owned(), text.clone())),
        Value::Number(n) if path.ends_with("_bytes") => {
            rows.push((path.trim_end_matches("_bytes").to_owned(), mebibytes(n.as_f64())));
        }
        Value::Null => rows.push((path.to_owned(), "-".to_owned())),
        other => rows.push((path.to_owned(), other.to_string())),
    }
}

fn mebibytes(bytes: Option<f64>) -> String {
    format!("{:.1} MiB", bytes.unwrap_or(0.0) / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_in_one_column() {
        let report = serde_json::json!({
            "engine": "ort", "memory": {"rss_bytes": 3 << 20}, "tried": [{"path": "a"}],
        });
        assert_eq!(table(&report), "engine        ort\nmemory.rss    3.0 MiB\ntried.0.path  a\n");
    }
}
