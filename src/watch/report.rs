//! What the model is told and what is published, as JSON.

use super::alert::Fault;
use super::spec::Watch;
use super::stats::Stats;
use serde_json::{Map, Value, json};

/// Variables of a run that are no statistics; a watch's own may have no such name.
pub(super) const OWN_VARS: [&str; 3] = ["stats", "watch", "since_s"];

/// Digits that are told: more than sensors have, fewer than sums of binary fractions show.
const DIGITS: i32 = 9;

/// The variables of a run: the statistics by name and all of them as `stats`, and the constants.
pub(super) fn vars(watch: &Watch, topic: &str, stats: &Stats, since_s: f64) -> Value {
    let figures = stats_of(stats);
    let mut vars = figures.clone();
    vars.insert("stats".into(), figures.into());
    vars.insert("watch".into(), watch.name.as_str().into());
    vars.insert("topic".into(), topic.into());
    vars.insert("levels".into(), topic.split('/').collect());
    vars.insert("since_s".into(), figure(since_s));
    vars.extend(watch.vars.clone());
    vars.into()
}

/// The payload of an alert.
pub(super) fn alert(
    watch: &Watch,
    topic: &str,
    stats: &Stats,
    since_s: f64,
    outcome: Option<&Result<String, Fault>>,
) -> Vec<u8> {
    let mut body = json!({
        "watch": watch.name, "topic": topic, "state": "alert", "since_s": figure(since_s),
        "stats": stats_of(stats), "answer": null,
    });
    match outcome {
        None => {}
        Some(Ok(text)) => body["answer"] = answer(text),
        Some(Err(fault)) => {
            body["error"] = json!({ "code": fault.code, "message": fault.message });
        }
    }
    body.to_string().into_bytes()
}

/// The payload that says it is over.
pub(super) fn cleared(watch: &Watch, topic: &str, stats: &Stats, lasted_s: f64) -> Vec<u8> {
    json!({
        "watch": watch.name, "topic": topic, "state": "cleared", "lasted_s": figure(lasted_s),
        "stats": stats_of(stats), "answer": null,
    })
    .to_string()
    .into_bytes()
}

/// JSON as JSON, all else as text; `null` is text too, since a null answer is no answer.
fn answer(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Null) | Err(_) => text.into(),
        Ok(value) => value,
    }
}

fn stats_of(stats: &Stats) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("count".into(), stats.count.into());
    for (name, value) in stats.named() {
        map.insert(name.into(), value.map_or(Value::Null, figure));
    }
    map.insert("span_s".into(), figure(stats.span_s));
    map.insert("age_s".into(), figure(stats.age_s));
    map
}

/// To [`DIGITS`] significant digits; whole numbers as they are.
fn figure(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 2f64.powi(53) {
        return (x as i64).into();
    }
    let precision = usize::try_from(DIGITS - 1).unwrap_or(0);
    // Through text, since powers of ten are not exact.
    format!("{x:.precision$e}").parse::<f64>().map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (x, text) in [
            (7.3 - 0.1, "7.2"),
            (0.1 + 0.2, "0.3"),
            (123_456_789.0, "123456789"),
            (-3.0, "-3"),
            (73.967_322_071_234, "73.9673221"),
            (1.0 / 3.0 * 1e-9, "3.33333333e-10"),
            (1e150, "1e+150"),
        ] {
            assert_eq!(figure(x).to_string(), text);
        }
        assert_eq!(answer("{\"a\": 1}"), json!({"a": 1}));
        assert_eq!(answer("stop"), json!("stop"));
        assert_eq!(answer("null"), json!("null"));
    }
}
