//! Schemas against an independent validator: the same values are valid, whatever the keywords.

use super::super::constraint::{Constraint, Masked, ResponseShape};
use super::super::grammar::GrammarFactory;
use super::super::grammar::tests::{EOS, tokenizer};
use super::super::rng::Rng;
use super::decimal::Decimal;
use super::*;
use serde_json::{Map, json};

fn refused_as(schema: Value) -> String {
    grammar(&schema).unwrap_err().to_string()
}

fn factory() -> GrammarFactory {
    GrammarFactory::new(tokenizer(), &EOS).unwrap()
}

fn below(rng: &mut Rng, n: usize) -> usize {
    (rng.next_u64() % n as u64) as usize
}

fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[below(rng, from.len())]
}

/// Every text of a value as an answer would have it, with its members in any order.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Number(n) => vec![Decimal::of(n).unwrap().text()],
        Value::Array(items) => {
            let items = items.iter().fold(vec![String::new()], |before, item| {
                let item = texts(item);
                let comma = |b: &String| if b.is_empty() { "" } else { "," };
                before
                    .iter()
                    .flat_map(|b| item.iter().map(move |i| format!("{b}{}{i}", comma(b))))
                    .collect()
            });
            items.into_iter().map(|inner| format!("[{inner}]")).collect()
        }
        Value::Object(members) => orders(members.iter().collect())
            .into_iter()
            .map(|inner| format!("{{{inner}}}"))
            .collect(),
        plain => vec![plain.to_string()],
    }
}

fn orders(members: Vec<(&String, &Value)>) -> Vec<String> {
    if members.is_empty() {
        return vec![String::new()];
    }
    let mut all = Vec::new();
    for i in 0..members.len() {
        let mut rest = members.clone();
        let (name, value) = rest.remove(i);
        let name = Value::from(name.as_str()).to_string();
        for value in texts(value) {
            for after in orders(rest.clone()) {
                let comma = if after.is_empty() { "" } else { "," };
                all.push(format!("{name}:{value}{comma}{after}"));
            }
        }
    }
    all
}

fn fresh(factory: &GrammarFactory, schema: &Value) -> Box<dyn Constraint> {
    let shape = ResponseShape::JsonSchema(schema.clone());
    factory.compile(&shape).unwrap_or_else(|e| panic!("{e}: {schema}"))
}

fn accepts(factory: &GrammarFactory, schema: &Value, text: &str) -> bool {
    let mut constraint = fresh(factory, schema);
    text.bytes().all(|b| constraint.advance(u32::from(b)).is_ok()) && constraint.is_complete()
}

/// An answer drawn at random, with a liking for ends; `None` if it does not end soon.
fn drawn(constraint: &mut dyn Constraint, rng: &mut Rng) -> Option<String> {
    let table = std::sync::Arc::clone(tokenizer().table());
    let mut bytes = Vec::new();
    for _ in 0..400 {
        let Masked::Tokens(mask) = constraint.mask().unwrap() else {
            return Some(String::from_utf8(bytes).unwrap());
        };
        let ids: Vec<u32> = mask.ids().collect();
        let ends: Vec<u32> = ids
            .iter()
            .copied()
            .filter(|id| EOS.contains(id) || [34, 93, 125].contains(id))
            .collect();
        let id = match ends.is_empty() || rng.next_u64().is_multiple_of(3) {
            true => *pick(rng, &ids),
            false => *pick(rng, &ends),
        };
        constraint.advance(id).unwrap();
        if EOS.contains(&id) {
            return Some(String::from_utf8(bytes).unwrap());
        }
        bytes.extend(table.bytes(id));
    }
    None
}

/// Compares with the validator: (instances, valid ones), or why the schema is refused.
fn compare(
    factory: &GrammarFactory,
    schema: &Value,
    instances: &[Value],
    rng: &mut Rng,
) -> Result<(usize, usize), ConstraintError> {
    let judge = jsonschema::options().should_validate_formats(true).build(schema).unwrap();
    if let Err(problem) = factory.compile(&ResponseShape::JsonSchema(schema.clone())) {
        if problem.to_string().contains("no value is valid") {
            for instance in instances {
                assert!(!judge.is_valid(instance), "{schema}: {instance} is valid");
            }
        }
        return Err(problem);
    }
    let mut valid = 0;
    for instance in instances {
        let expected = judge.is_valid(instance);
        let accepted = texts(instance).iter().any(|text| accepts(factory, schema, text));
        assert_eq!(accepted, expected, "{schema}: {instance}\n{}", grammar(schema).unwrap());
        valid += usize::from(expected);
    }
    for _ in 0..4 {
        if let Some(text) = drawn(fresh(factory, schema).as_mut(), rng) {
            let value: Value = serde_json::from_str(&text).unwrap();
            assert!(judge.is_valid(&value), "{schema}: drew {text}\n{}", grammar(schema).unwrap());
        }
    }
    Ok((instances.len(), valid))
}

fn random_instance(rng: &mut Rng, depth: usize) -> Value {
    match below(rng, if depth == 0 { 6 } else { 10 }) {
        0 => pick(rng, &[json!(null), json!(true), json!(false)]).clone(),
        1 | 2 => {
            pick(rng, &[json!(0), json!(1), json!(2), json!(3), json!(4), json!(6), json!(-1)])
                .clone()
        }
        3 => pick(rng, &[json!(1.5), json!(2.0), json!(-0.5), json!(2.5)]).clone(),
        4 | 5 => {
            Value::from(*pick(rng, &["", "a", "b", "ab", "abc", "x1", "1", "é\"\n", "2024-02-29"]))
        }
        6 | 7 => (0..below(rng, 4)).map(|_| random_instance(rng, depth - 1)).collect(),
        _ => {
            let mut members = Map::new();
            for _ in 0..below(rng, 4) {
                members.insert((*pick(rng, &NAMES)).into(), random_instance(rng, depth - 1));
            }
            Value::Object(members)
        }
    }
}

const NAMES: [&str; 5] = ["a", "b", "ab", "x1", "é\""];

fn random_schema(rng: &mut Rng, depth: usize) -> Value {
    if below(rng, 12) == 0 {
        return Value::Bool(below(rng, 3) > 0);
    }
    let mut schema = Map::new();
    for _ in 0..1 + below(rng, 2) {
        add_keywords(rng, depth, &mut schema);
    }
    Value::Object(schema)
}

fn schemas(rng: &mut Rng, depth: usize) -> Value {
    (0..1 + below(rng, 3)).map(|_| random_schema(rng, depth)).collect()
}

fn named_schemas(rng: &mut Rng, depth: usize, names: &[&str]) -> Value {
    let mut members = Map::new();
    for _ in 0..1 + below(rng, 2) {
        members.insert((*pick(rng, names)).into(), random_schema(rng, depth));
    }
    Value::Object(members)
}

fn add_keywords(rng: &mut Rng, depth: usize, schema: &mut Map<String, Value>) {
    let mut add = |keyword: &str, value: Value| drop(schema.insert(keyword.into(), value));
    let inner = depth.saturating_sub(1);
    match below(rng, if depth == 0 { 7 } else { 22 }) {
        0 => {
            let types = ["null", "boolean", "integer", "number", "string", "array", "object"];
            match below(rng, 2) {
                0 => add("type", json!(pick(rng, &types))),
                _ => add("type", json!([types[below(rng, 3)], types[3 + below(rng, 4)]])),
            }
        }
        1 => add("const", random_instance(rng, 1)),
        2 => add("enum", (0..1 + below(rng, 4)).map(|_| random_instance(rng, 1)).collect()),
        3 => {
            add(["minimum", "exclusiveMinimum"][below(rng, 2)], json!(below(rng, 4) as i64 - 1));
            add(["maximum", "exclusiveMaximum"][below(rng, 2)], json!(below(rng, 4) + 1));
        }
        4 => add(
            "multipleOf",
            pick(rng, &[json!(2), json!(3), json!(0.5), json!(1), json!(6)]).clone(),
        ),
        5 => {
            add("minLength", json!(below(rng, 3)));
            if below(rng, 2) == 0 {
                add("maxLength", json!(1 + below(rng, 3)));
            }
        }
        6 => add("pattern", json!(pick(rng, &["^a", "b$", "^[a-z]+$", "1", "^.{2}$", "a|^x"]))),
        7 => add("items", random_schema(rng, inner)),
        8 => {
            add("prefixItems", schemas(rng, inner));
            if below(rng, 2) == 0 {
                add("items", random_schema(rng, inner));
            }
        }
        9 => {
            add("contains", random_schema(rng, inner));
            if below(rng, 2) == 0 {
                add("minContains", json!(below(rng, 3)));
            }
            if below(rng, 2) == 0 {
                add("maxContains", json!(1 + below(rng, 2)));
            }
        }
        10 => {
            add("minItems", json!(below(rng, 3)));
            add("maxItems", json!(1 + below(rng, 3)));
        }
        11 => {
            add("uniqueItems", json!(true));
            add("items", json!({"enum": [1, "a", true, null]}));
        }
        12 | 13 => {
            add("properties", named_schemas(rng, inner, &NAMES));
            add("required", json!([pick(rng, &NAMES)]));
            if below(rng, 2) == 0 {
                add("additionalProperties", random_schema(rng, inner));
            }
        }
        14 => add("patternProperties", named_schemas(rng, inner, &["^a", "b$", "1"])),
        15 => match below(rng, 3) {
            0 => add("propertyNames", random_schema(rng, 0)),
            1 => {
                let needed = json!([pick(rng, &NAMES)]);
                add(
                    "dependentRequired",
                    Map::from_iter([((*pick(rng, &NAMES)).to_owned(), needed)]).into(),
                );
            }
            _ => add("dependentSchemas", named_schemas(rng, inner, &NAMES)),
        },
        16 => {
            add("minProperties", json!(below(rng, 2)));
            add("maxProperties", json!(1 + below(rng, 2)));
        }
        17 => add("allOf", schemas(rng, inner)),
        18 => add("anyOf", schemas(rng, inner)),
        19 => add("oneOf", schemas(rng, inner)),
        20 => add("not", random_schema(rng, inner)),
        _ => {
            add("if", random_schema(rng, inner));
            add("then", random_schema(rng, inner));
            if below(rng, 2) == 0 {
                add("else", random_schema(rng, inner));
            }
        }
    }
    if depth > 1 && below(rng, 8) == 0 {
        let keyword = pick(rng, &["unevaluatedProperties", "unevaluatedItems"]);
        schema.insert((*keyword).into(), json!(false));
    }
}

#[test]
fn random_schemas_hold_the_same_values_as_the_validator() {
    let factory = factory();
    let seed = std::env::var("SLMD_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(7);
    let rounds = std::env::var("SLMD_ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(400);
    let mut rng = Rng::new(seed);
    let (mut compiled, mut checked, mut valid) = (0, 0, 0);
    let mut problems = std::collections::BTreeMap::<String, usize>::new();
    for _ in 0..rounds {
        let schema = random_schema(&mut rng, 2);
        let instances: Vec<Value> = (0..20).map(|_| random_instance(&mut rng, 2)).collect();
        match compare(&factory, &schema, &instances, &mut rng) {
            Ok((all, right)) => {
                (compiled, checked, valid) = (compiled + 1, checked + all, valid + right);
            }
            Err(ConstraintError::Keyword { keyword, .. }) => {
                *problems.entry(keyword).or_default() += 1
            }
            Err(other) => *problems.entry(other.to_string()).or_default() += 1,
        }
    }
    println!(
        "{compiled} of {rounds} schemas, {checked} instances, {valid} valid; refused: {problems:#?}"
    );
    assert!(compiled * 2 > rounds && valid * 10 > checked);
}

#[test]
fn each_keyword_is_exact() {
    let factory = factory();
    let mut rng = Rng::new(3);
    let mut instances: Vec<Value> = (0..150).map(|_| random_instance(&mut rng, 2)).collect();
    instances.extend([json!({"a": 1}), json!({"b": 1}), json!({"a": 1, "b": 1}), json!([[], []])]);
    let a_int = json!({"properties": {"a": {"type": "integer"}}, "required": ["a"]});
    for schema in [
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#"}}}}),
        json!({"properties": {"a": {"$ref": "#"}}, "additionalProperties": false}),
        json!({"allOf": [{"$ref": "#/$defs/t"}, {"$ref": "#/$defs/u"}], "$defs": {
            "t": {"properties": {"a": {"$ref": "#/$defs/t"}}},
            "u": {"properties": {"a": {"$ref": "#/$defs/u"}, "b": {"type": "string"}}}}}),
        json!({"oneOf": [{"type": "integer"}, {"minimum": 2}]}),
        json!({"oneOf": [a_int, {"properties": {"b": {"type": "string"}}, "required": ["b"]}]}),
        json!({"oneOf": [{"required": ["a", "b"]}, {"required": ["a", "x1"]}]}),
        json!({"oneOf": [
            {"properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": false},
            {"properties": {"b": {"const": 1}}, "required": ["b"], "additionalProperties": false}]}),
        json!({"not": {"type": ["integer", "object"]}}),
        json!({"not": a_int}),
        json!({"not": {"const": {"a": 1}}}),
        json!({"not": {"enum": [1, "a", [], {"b": true}]}}),
        json!({"not": {"items": {"type": "integer"}}}),
        json!({"not": {"contains": {"type": "integer"}}}),
        json!({"not": {"propertyNames": {"maxLength": 1}}}),
        json!({"if": a_int, "then": {"required": ["b"]}, "else": {"type": ["string", "object"]}}),
        json!({"dependentRequired": {"a": ["b"], "b": ["x1"]}}),
        json!({"dependentSchemas": {"a": {"properties": {"b": {"type": "integer"}}}, "b": false}}),
        json!({"contains": {"minimum": 2}, "maxContains": 2, "minContains": 1}),
        json!({"contains": {"type": "string"}, "items": {"type": ["string", "null"]}}),
        json!({"uniqueItems": true, "items": {"enum": ["a", "b", 1, 2, null]}}),
        json!({"uniqueItems": true, "prefixItems": [{"type": "boolean"}, {"type": "boolean"}], "items": false}),
        json!({"patternProperties": {"^a": {"type": "integer"}, "b$": {"minimum": 1}}}),
        json!({"patternProperties": {"a": true, "b": false}, "required": ["a"]}),
        json!({"properties": {"a": {}}, "patternProperties": {"1": {}}, "unevaluatedProperties": false}),
        json!({"anyOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {}}}],
            "unevaluatedProperties": {"type": "string"}}),
        json!({"if": a_int, "then": {"properties": {"b": {}}}, "unevaluatedProperties": false}),
        json!({"prefixItems": [{}], "contains": {"type": "string"}, "unevaluatedItems": false}),
        json!({"anyOf": [{"prefixItems": [{"type": "integer"}]}, {"prefixItems": [{}, {}]}],
            "unevaluatedItems": false}),
        json!({"minProperties": 1, "maxProperties": 2, "properties": {"a": {}, "b": {}}}),
        json!({"minProperties": 2, "properties": {"a": {}, "b": {}, "x1": {}}, "additionalProperties": false}),
        json!({"format": "date", "type": "string"}),
        json!({"items": [{"type": "integer"}], "additionalItems": {"type": "string"},
            "$schema": "http://json-schema.org/draft-07/schema#"}),
        json!({"$id": "http://x/root", "$ref": "inner", "$defs": {
            "i": {"$id": "inner", "type": "object", "additionalProperties": {"$ref": "#"}}}}),
        json!({"$anchor": "me", "items": {"$ref": "#me"}, "type": "array"}),
        json!({"$dynamicAnchor": "me", "items": {"$dynamicRef": "#me"}, "maxItems": 1}),
        json!({"enum": [1.0, 2.5, "a"], "type": ["integer", "string"]}),
        json!({"multipleOf": 0.5, "minimum": -1, "exclusiveMaximum": 3}),
        json!({"title": "not", "default": {"if": 1}, "x-unit": "bar", "$comment": "", "deprecated": true}),
        json!({"then": false, "else": false, "minContains": 3}),
    ] {
        let checked = compare(&factory, &schema, &instances, &mut rng);
        let (all, valid) = checked.unwrap_or_else(|e| panic!("{e}: {schema}"));
        assert!(valid > 0 && valid <= all, "{schema}: {valid} of {all}");
    }
}

#[test]
fn numbers_are_canonical_and_bounded() {
    let factory = factory();
    let number = json!({"type": "number", "exclusiveMaximum": 1, "minimum": -1});
    for text in ["0", "-1", "0.5", "-0.25", "0.999999999"] {
        assert!(accepts(&factory, &number, text), "{text}");
    }
    // Would read as 1.
    for text in ["1", "0.9999999999999999999", "-0", "0.50", "1e-3", "-1.000000001"] {
        assert!(!accepts(&factory, &number, text), "{text}");
    }
    let large = json!({"enum": [1e308, 9007199254740993u64, -1.5e-9]});
    assert!(
        accepts(&factory, &large, "9007199254740993") && accepts(&factory, &large, "-0.0000000015")
    );
    assert!(!accepts(&factory, &large, "9007199254740992"));
    assert!(accepts(&factory, &large, &format!("1{}", "0".repeat(308))));
}

#[test]
fn a_name_cannot_be_said_in_another_way() {
    let factory = factory();
    let schema = json!({"properties": {"a": {"type": "integer"}}});
    assert!(accepts(&factory, &schema, r#"{"a":1}"#) && accepts(&factory, &schema, r#"{"b":"x"}"#));
    assert!(accepts(&factory, &schema, r#"{"\"\n\u0000\u001f":"\\/"}"#));
    for text in [
        r#"{"\u0061":"x"}"#,
        r#"{"b":1,"a":"x"}"#,
        r#"{"b":1,"a":1}"#,
        r#"{"b":"\/"}"#,
        r#"{"b":"\u000a"}"#,
        r#"{"b": 1}"#,
    ] {
        assert!(!accepts(&factory, &schema, text), "{text}");
    }
}

#[test]
fn keywords_are_refused_by_name_and_place() {
    let schema = json!({"properties": {"a/b": {"items": {"uniqueItems": true}}}});
    let message = refused_as(schema);
    assert!(
        message.starts_with("schema/properties/a~1b/items: `uniqueItems` is not supported"),
        "{message}"
    );
    for keyword in ["maxLenght", "x-guidance", "$recursiveRef", "dependencies", "id", "$vocabulary"]
    {
        let message = refused_as(json!({"type": "object", keyword: {}}));
        assert!(message.starts_with(&format!("schema: `{keyword}` is")), "{message}");
    }
    for (schema, start) in [
        (json!({"$ref": "http://x/y"}), "schema: `$ref` is not supported but within"),
        (json!({"$ref": "#/$defs/a"}), "schema: `$ref` is not supported but to"),
        (json!({"$ref": "#"}), "schema: `$ref` is not supported in a circle"),
        (json!({"allOf": [{"$ref": "#"}]}), "schema/allOf/0: `$ref` is not supported in a circle"),
        (json!({"items": {"minProperties": 2}}), "schema/items: `minProperties` is"),
        (json!({"$schema": "http://x/y"}), "schema: `$schema` is"),
        (json!({"not": {"uniqueItems": true}}), "schema/not: `uniqueItems` is not supported where"),
        (json!({"not": {"format": "email"}}), "schema/not: `format` is"),
        (json!({"format": "idn-email"}), "schema: `format: idn-email` is"),
        (
            json!({"not": {"additionalProperties": {"type": "string"}}}),
            "schema/not: `additionalProperties` is",
        ),
        (json!({"type": "integer", "multipleOf": 17}), "schema: `multipleOf` is"),
        (
            json!({"$schema": "http://json-schema.org/draft-07/schema", "$ref": "#/definitions/a",
            "definitions": {"a": {}}, "minimum": 3}),
            "schema: `$ref` is not supported beside",
        ),
    ] {
        let message = refused_as(schema.clone());
        assert!(message.starts_with(start), "{schema}: {message}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (schema, problem) in [
        (json!([]), "at ``: a schema is an object, `true` or `false`"),
        (json!(false), "no value is valid"),
        (
            json!({"allOf": [{"minimum": 3}, {"maximum": 2}], "type": "integer"}),
            "no value is valid",
        ),
        (
            json!({"type": "object", "required": ["a"], "properties": {"a": false}}),
            "no value is valid",
        ),
        (json!({"items": {"$ref": "#"}, "minItems": 1, "type": "array"}), "no value is valid"),
        (json!({"type": "wrong"}), "at `/type`: not the name of a type or a list of such names"),
        (json!({"minimum": "1"}), "at `/minimum`: not a number"),
        (json!({"maxItems": -1}), "at `/maxItems`: not a whole number of 0 or more"),
        (json!({"multipleOf": 0}), "at `/multipleOf`: not a number over 0"),
        (json!({"properties": []}), "at `/properties`: not an object of schemas"),
        (json!({"allOf": {}}), "at `/allOf`: not a list of schemas"),
        (json!({"anyOf": []}), "at ``: `anyOf` is empty"),
        (json!({"required": [1]}), "at `/required`: not a list of names"),
        (
            json!({"properties": {"a": 1}}),
            "at `/properties/a`: a schema is an object, `true` or `false`",
        ),
        (
            json!({"pattern": "("}),
            "at `/pattern`: the pattern is wrong or not supported: `(` without `)`",
        ),
    ] {
        assert_eq!(refused_as(schema.clone()), format!("json_schema: {problem}"), "{schema}");
    }
}

#[test]
fn size_depth_and_work_are_bounded() {
    let names: Vec<String> = (0..600).map(|i| format!("n{i}")).collect();
    let required: Vec<Value> = names.iter().map(|n| json!({"required": [n]})).collect();
    let deep = (0..200).fold(json!(true), |s, _| json!({"items": s}));
    let overlapping: Map<String, Value> =
        ('a'..='z').map(|c| (c.to_string(), json!({"minimum": c as u32}))).collect();
    let distinct: Vec<Value> = (0..12).map(|i| json!({"contains": {"const": i}})).collect();
    let chain: Map<String, Value> = (0..500)
        .map(|i| (format!("d{i}"), json!({"$ref": format!("#/$defs/d{}", i + 1)})))
        .chain([("d500".to_owned(), json!({}))])
        .collect();
    for schema in [
        deep,
        json!({"enum": vec!["0123456789"; 10_000]}),
        json!({"const": (0..2_000).fold(json!(1), |s, _| json!([s]))}),
        json!({"oneOf": required[..100]}),
        json!({"allOf": required.iter().map(|r| json!({"not": r})).collect::<Vec<_>>(), "oneOf": required[..80]}),
        json!({"patternProperties": overlapping}),
        json!({"allOf": distinct}),
        json!({"$defs": chain, "$ref": "#/$defs/d0"}),
        json!({"allOf": (0..30).map(|i| json!({"anyOf": [
            {"required": [format!("a{i}")]}, {"required": [format!("b{i}")]}]})).collect::<Vec<_>>()}),
    ] {
        let start = std::time::Instant::now();
        let code = grammar(&schema).unwrap_err().code();
        let head: String = schema.to_string().chars().take(80).collect();
        assert!(["shape_too_large", "unsupported_keyword"].contains(&code), "{code}: {head}");
        println!("{:?}: {head}", start.elapsed());
        assert!(start.elapsed().as_secs() < 20, "{head}");
    }
    // Large, but plain.
    let properties: Map<String, Value> =
        names.iter().map(|n| (n.clone(), json!({"type": "string"}))).collect();
    let factory = factory();
    for schema in [
        json!({"properties": properties}),
        json!({"properties": properties, "required": names, "additionalProperties": false}),
        json!({"enum": names}),
        json!({"enum": (0..900).collect::<Vec<_>>()}),
        json!({"const": names}),
        json!({"type": "string", "maxLength": 4_000_000_000u64}),
    ] {
        let head: String = schema.to_string().chars().take(80).collect();
        let start = std::time::Instant::now();
        let compiled = factory.compile(&ResponseShape::JsonSchema(schema));
        println!("{:?}: {head}", start.elapsed());
        compiled.unwrap_or_else(|e| panic!("{e}: {head}"));
    }
}

/// Keywords with values that do not belong to them.
fn nonsense(rng: &mut Rng, depth: usize) -> Value {
    let keywords = [
        "type",
        "items",
        "prefixItems",
        "contains",
        "minItems",
        "uniqueItems",
        "properties",
        "required",
        "patternProperties",
        "additionalProperties",
        "propertyNames",
        "dependentSchemas",
        "allOf",
        "not",
        "dependentRequired",
        "anyOf",
        "oneOf",
        "if",
        "then",
        "else",
        "$ref",
        "$defs",
        "$id",
        "$anchor",
        "const",
        "enum",
        "pattern",
        "format",
        "minimum",
        "multipleOf",
        "maxLength",
        "unevaluatedItems",
        "unevaluatedProperties",
        "maxContains",
        "$dynamicRef",
        "$schema",
        "minProperties",
    ];
    let words = [
        "",
        "#",
        "#/",
        "#/$defs/a",
        "a",
        "string",
        "array",
        "(",
        "^a$",
        "date",
        "object",
        "[",
        "\\",
        "http://x",
        "urn:x",
        "%",
        "//",
        "../x#y",
        "{1}",
        "a{1,99999}",
        "\\u{110000}",
        "(?:",
        "é",
    ];
    match below(rng, if depth == 0 { 4 } else { 8 }) {
        0 => Value::from(*pick(rng, &words)),
        1 => pick(
            rng,
            &[json!(0), json!(-1), json!(1e300), json!(1e-300), json!(u64::MAX), json!(0.1)],
        )
        .clone(),
        2 => pick(rng, &[json!(true), json!(false), json!(null), json!({})]).clone(),
        3 | 4 => (0..below(rng, 4)).map(|_| nonsense(rng, depth.saturating_sub(1))).collect(),
        _ => {
            let mut members = Map::new();
            for _ in 0..below(rng, 5) {
                members
                    .insert((*pick(rng, &keywords)).into(), nonsense(rng, depth.saturating_sub(1)));
            }
            Value::Object(members)
        }
    }
}

#[test]
fn nonsense_is_an_error_or_a_constraint() {
    let factory = factory();
    let mut rng = Rng::new(9);
    let mut compiled = 0;
    for _ in 0..20_000 {
        let schema = nonsense(&mut rng, 4);
        if grammar(&schema).is_ok()
            && below(&mut rng, 4) == 0
            && let Ok(mut c) = factory.compile(&ResponseShape::JsonSchema(schema.clone()))
        {
            compiled += 1;
            assert!(matches!(c.mask(), Ok(Masked::Tokens(_))), "{schema}");
        }
    }
    println!("{compiled} compiled");
    assert!(compiled > 100);
}
