//! Which JSON schemas are taken: what cannot be enforced is refused by name.
//!
//! llguidance in strict mode refuses the standard keywords that it does not implement, but ignores
//! words that it does not know. Nothing is ignored here: a misspelt `maxLenght` is an error.

use super::constraint::ConstraintError;
use serde_json::{Map, Value, json};

/// Bytes of a schema, written compactly.
pub(crate) const MAX_SCHEMA_BYTES: usize = 64 << 10;
/// Schemas within schemas.
const MAX_DEPTH: usize = 32;
/// The name of the option object of llguidance; never taken from outside.
const OPTIONS: &str = "x-guidance";

/// Keywords whose value is one schema.
const ONE: [&str; 3] = ["items", "additionalProperties", "additionalItems"];
/// Keywords whose value is a list of schemas.
const LIST: [&str; 5] = ["allOf", "anyOf", "oneOf", "prefixItems", "items"];
/// Keywords whose value is an object of schemas.
const MAP: [&str; 4] = ["properties", "patternProperties", "$defs", "definitions"];
/// Keywords that llguidance enforces and that hold no schema.
const PLAIN: [&str; 18] = [
    "$ref",
    "const",
    "enum",
    "type",
    "minItems",
    "maxItems",
    "required",
    "minProperties",
    "maxProperties",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];
/// Keywords that say nothing about which values are valid.
const ANNOTATIONS: [&str; 12] = [
    "$schema",
    "$id",
    "$anchor",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentMediaType",
];

/// Checks a schema and adds the options that it is compiled with.
///
/// # Errors
/// [`ConstraintError::Keyword`] with the JSON pointer, [`ConstraintError::Invalid`],
/// [`ConstraintError::TooLarge`].
pub(crate) fn prepare(schema: &Value) -> Result<Value, ConstraintError> {
    check(schema, &mut String::new(), 0)?;
    // Depth is known to be bounded only now: writing it out recurses.
    if schema.to_string().len() > MAX_SCHEMA_BYTES {
        let limit = format!("{MAX_SCHEMA_BYTES} bytes");
        return Err(ConstraintError::TooLarge { what: "json_schema", limit });
    }
    let mut root = match schema {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    root.insert(OPTIONS.into(), json!({"whitespace_flexible": false}));
    Ok(Value::Object(root))
}

fn invalid(pointer: &str, problem: impl std::fmt::Display) -> ConstraintError {
    let problem = format!("at `{pointer}`: {problem}");
    ConstraintError::Invalid { what: "json_schema", problem }
}

fn check(schema: &Value, pointer: &mut String, depth: usize) -> Result<(), ConstraintError> {
    if depth > MAX_DEPTH {
        let limit = format!("{MAX_DEPTH} nested schemas");
        return Err(ConstraintError::TooLarge { what: "json_schema", limit });
    }
    let map = match schema {
        Value::Object(map) => map,
        Value::Bool(true) => return Ok(()),
        Value::Bool(false) => return Err(invalid(pointer, "`false` allows no value")),
        _ => return Err(invalid(pointer, "a schema is an object or `true`")),
    };
    for (keyword, value) in map {
        check_keyword(keyword, value, pointer, depth)?;
    }
    Ok(())
}

fn check_keyword(
    keyword: &str,
    value: &Value,
    pointer: &mut String,
    depth: usize,
) -> Result<(), ConstraintError> {
    let base = pointer.len();
    push(pointer, keyword);
    let result = match value {
        Value::Object(items) if MAP.contains(&keyword) => {
            items.iter().try_for_each(|(name, item)| below(name, item, pointer, depth))
        }
        Value::Array(items) if LIST.contains(&keyword) => (items.iter().enumerate())
            .try_for_each(|(i, item)| below(&i.to_string(), item, pointer, depth)),
        Value::Bool(_) if keyword.starts_with("additional") => Ok(()),
        _ if ONE.contains(&keyword) => check(value, pointer, depth + 1),
        _ if MAP.contains(&keyword) => Err(invalid(pointer, "not an object")),
        _ if LIST.contains(&keyword) => Err(invalid(pointer, "not a list")),
        _ => {
            pointer.truncate(base);
            leaf(keyword, value, pointer)
        }
    };
    pointer.truncate(base);
    result
}

fn below(
    name: &str,
    item: &Value,
    pointer: &mut String,
    depth: usize,
) -> Result<(), ConstraintError> {
    let base = pointer.len();
    push(pointer, name);
    // A property that must not be there is fine; `false` elsewhere allows nothing.
    let result = match item {
        Value::Bool(false) => Ok(()),
        item => check(item, pointer, depth + 1),
    };
    pointer.truncate(base);
    result
}

/// A keyword that holds no schema.
fn leaf(keyword: &str, value: &Value, pointer: &str) -> Result<(), ConstraintError> {
    let unsupported = |hint| {
        let keyword = keyword.to_owned();
        Err(ConstraintError::Keyword { pointer: pointer.to_owned(), keyword, hint })
    };
    match keyword {
        "$ref" => match value.as_str() {
            Some(target) if target.starts_with('#') => Ok(()),
            _ => unsupported(" but within the schema (`#/...`)"),
        },
        "uniqueItems" => {
            unsupported("; list the combinations with `enum` or bound `maxItems` to 1")
        }
        "if" | "then" | "else" => unsupported("; use `anyOf` with complete alternatives"),
        "not" => unsupported("; say what is allowed instead"),
        known if PLAIN.contains(&known) => shallow(value, pointer, keyword),
        known if ANNOTATIONS.contains(&known) => shallow(value, pointer, keyword),
        OPTIONS => unsupported(""),
        extension if extension.starts_with("x-") => shallow(value, pointer, keyword),
        _ => unsupported(""),
    }
}

/// Values that are no schemas are bounded in depth too: they are written out recursively.
fn shallow(value: &Value, pointer: &str, keyword: &str) -> Result<(), ConstraintError> {
    fn deep(value: &Value, left: usize) -> bool {
        match value {
            Value::Array(items) => left == 0 || items.iter().any(|v| deep(v, left - 1)),
            Value::Object(items) => left == 0 || items.values().any(|v| deep(v, left - 1)),
            _ => false,
        }
    }
    match deep(value, MAX_DEPTH) {
        true => Err(invalid(pointer, format!("`{keyword}` is nested deeper than {MAX_DEPTH}"))),
        false => Ok(()),
    }
}

fn push(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(schema: Value) -> String {
        prepare(&schema).unwrap_err().to_string()
    }

    #[test]
    fn keywords_are_refused_by_name_and_place() {
        let schema = json!({"properties": {"a/b": {"items": {"uniqueItems": true}}}});
        let message = refused(schema);
        assert!(
            message.starts_with("schema/properties/a~1b/items: `uniqueItems` is not supported"),
            "{message}"
        );
        for keyword in [
            "contains",
            "dependentRequired",
            "dependentSchemas",
            "if",
            "then",
            "else",
            "not",
            "propertyNames",
            "unevaluatedProperties",
            "unevaluatedItems",
            "maxLenght",
            "x-guidance",
            "$dynamicRef",
        ] {
            let message = refused(json!({"type": "object", keyword: {}}));
            assert!(message.starts_with(&format!("schema: `{keyword}` is")), "{message}");
        }
        assert!(
            refused(json!({"$ref": "http://x/y"})).contains("`$ref` is not supported but within")
        );
    }

    #[test]
    fn names_and_values_are_not_keywords() {
        let fine = json!({
            "type": "object", "title": "not", "x-unit": "bar",
            "properties": {"not": {"const": {"if": 1}}, "contains": {"enum": ["else"]}},
            "required": ["not"], "additionalProperties": false,
            "$defs": {"if": true}
        });
        assert_eq!(prepare(&fine).unwrap()["x-guidance"]["whitespace_flexible"], false);
        assert!(prepare(&Value::Bool(true)).is_ok());
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let deep = (0..100).fold(json!(true), |s, _| json!({"items": s}));
        assert_eq!(prepare(&deep).unwrap_err().code(), "shape_too_large");
        let long = json!({"enum": vec!["0123456789"; 10_000]});
        assert_eq!(prepare(&long).unwrap_err().code(), "shape_too_large");
        let nested = (0..2_000).fold(json!(1), |s, _| json!([s]));
        let schema = json!({"const": nested});
        assert_eq!(prepare(&schema).unwrap_err().code(), "invalid_shape");
        assert_eq!(refused(json!([])), "json_schema: at ``: a schema is an object or `true`");
    }
}
