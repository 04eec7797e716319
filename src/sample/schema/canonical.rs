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

/// Every name in a schema: those of `properties` first, then the others as they come.
fn names(schema: &Value) -> Vec<String> {
    fn collect(value: &Value, properties: bool, found: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| collect(item, properties, found)),
            Value::Object(members) => {
                for (keyword, value) in members {
                    if properties == (keyword == "properties") {
                        let names = value.as_object().into_iter().flat_map(Map::keys).cloned();
                        found.extend(names);
                        let words = value.as_array().into_iter().flatten();
                        found.extend(words.filter_map(|word| word.as_str().map(str::to_owned)));
                    }
                    collect(value, properties, found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    collect(schema, true, &mut found);
    collect(schema, false, &mut found);
    let mut seen = HashSet::new();
    found.retain(|name| seen.insert(name.clone()));
    found
}
