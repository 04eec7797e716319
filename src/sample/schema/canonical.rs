//! The text of a JSON value as an answer has it: of all texts of a value, grammars take this one.

use serde_json::{Map, Value};
use std::collections::HashSet;

/// Compact, with members in the order in which the schema names them and numbers without an exponent.
pub fn canonical(schema: &Value, value: &Value) -> String {
    write(&in_order(value, &names(schema)))
}

fn write(value: &Value) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match value {
        Value::Number(n) if n.is_f64() => match n.as_f64() {
            Some(0.0) | None => "0".to_owned(),
            Some(float) => float.to_string(),
        },
        Value::Array(items) => format!("[{}]", join(items.iter().map(write).collect())),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| {
                format!("{}:{}", Value::from(name.as_str()), write(value))
            };
            format!("{{{}}}", join(members.iter().map(member).collect()))
        }
        plain => plain.to_string(),
    }
}

/// With members in this order, and others after them.
fn in_order(value: &Value, order: &[String]) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| in_order(item, order)).collect(),
        Value::Object(members) => {
            let known = order.iter().filter_map(|name| members.get_key_value(name));
            let others = members.iter().filter(|(name, _)| !order.contains(name));
            let ordered = known.chain(others);
            let ordered = ordered.map(|(name, value)| (name.clone(), in_order(value, order)));
            Value::Object(ordered.collect::<Map<_, _>>())
        }
        plain => plain.clone(),
    }
}

/// Every name in a schema, in the order of grammars: what `properties` names, then `required`, then the
/// keywords of dependence, then what schemas inside of it name.
fn names(schema: &Value) -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            Value::Object(members) => {
                for keyword in ["properties", "required", "dependentRequired", "dependentSchemas"] {
                    match members.get(keyword) {
                        Some(Value::Object(named)) => found.extend(named.keys().cloned()),
                        Some(Value::Array(words)) => {
                            found.extend(words.iter().filter_map(Value::as_str).map(str::to_owned));
                        }
                        _ => {}
                    }
                }
                for (keyword, value) in members {
                    match &**keyword {
                        "const" | "enum" => keys(value, found),
                        _ => collect(value, found),
                    }
                }
            }
            _ => {}
        }
    }
    /// Those of a value.
    fn keys(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
            Value::Object(members) => {
                found.extend(members.keys().cloned());
                members.values().for_each(|value| keys(value, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(schema, &mut found);
    let mut seen = HashSet::new();
    found.retain(|name| seen.insert(name.clone()));
    found
}
