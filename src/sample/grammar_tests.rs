//! Grammars over a small tokenizer made here: every byte, a few words, two ends.

use super::super::rng::Rng;
use super::*;
use serde_json::{Value, json};

/// A byte-level tokenizer: 256 bytes, `true`, `":`, ` a`, `{"`; then `<|end|>`, `<|im_end|>`.
pub(crate) fn tokenizer() -> Arc<Tokenizer> {
    let byte = |b: u32| {
        let c = match b {
            0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => b,
            0..=0x20 => 0x100 + b,
            0x7F..=0xA0 => 0x121 + b - 0x7F,
            _ => 0x143,
        };
        char::from_u32(c).unwrap().to_string()
    };
    let mut vocab = serde_json::Map::new();
    for b in 0..256 {
        vocab.insert(byte(b), json!(b));
    }
    let merges = [("t", "r"), ("tr", "u"), ("tru", "e"), ("\"", ":"), ("Ġ", "a"), ("{", "\"")];
    for (i, (a, b)) in merges.iter().enumerate() {
        vocab.insert(format!("{a}{b}"), json!(256 + i));
    }
    let end = |id: u32, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false})
    };
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [end(262, "<|end|>"), end(263, "<|im_end|>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
            "merges": merges.map(|(a, b)| format!("{a} {b}"))},
    });
    Arc::new(Tokenizer::new(file.to_string().as_bytes(), None, None).unwrap())
}

pub(crate) const EOS: [u32; 2] = [262, 263];

fn factory() -> GrammarFactory {
    GrammarFactory::new(tokenizer(), &EOS).unwrap()
}

/// Draws allowed tokens at random; the text, and whether it ended within `limit` tokens.
fn run(constraint: &mut dyn Constraint, rng: &mut Rng, limit: usize) -> (String, bool) {
    let table = Arc::clone(tokenizer().table());
    let mut bytes = Vec::new();
    for _ in 0..limit {
        let forced = constraint.forced().to_vec();
        let token = match constraint.mask().unwrap() {
            Masked::Stop => return (String::from_utf8(bytes).unwrap(), true),
            Masked::Tokens(mask) => {
                if let Some(first) = forced.first() {
                    assert!(mask.allows(*first), "forced {first} is not allowed");
                }
                let ids: Vec<u32> = mask.ids().collect();
                let drawn = ids[(rng.next_u64() % ids.len() as u64) as usize];
                forced.first().copied().unwrap_or(drawn)
            }
        };
        constraint.advance(token).unwrap();
        if EOS.contains(&token) {
            assert!(constraint.must_stop());
            return (String::from_utf8(bytes).unwrap(), true);
        }
        bytes.extend(table.bytes(token));
    }
    (String::from_utf8_lossy(&bytes).into_owned(), false)
}

#[test]
fn bounded_schemas_always_end_in_valid_json() {
    let schemas = [
        json!({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"enum": ["x", 1, null]}},
            "required": ["a", "b"], "additionalProperties": false}),
        json!({"type": "array", "items": {"type": "integer", "minimum": -5, "maximum": 130},
            "minItems": 1, "maxItems": 3}),
        json!({"anyOf": [{"const": "warm"}, {"type": "string", "maxLength": 4}]}),
        json!({"type": "object", "properties": {"s": {"$ref": "#/$defs/s"}}, "required": ["s"],
            "additionalProperties": false, "$defs": {"s": {"type": "string", "pattern": "^[a-c]{2}$"}}}),
    ];
    let factory = factory();
    let mut rng = Rng::new(1);
    for schema in &schemas {
        for _ in 0..40 {
            let mut c = factory.compile(&ResponseShape::JsonSchema(schema.clone())).unwrap();
            let (text, ended) = run(c.as_mut(), &mut rng, 200);
            assert!(ended, "{text}");
            let value: Value = serde_json::from_str(&text).unwrap();
            assert!(c.is_complete(), "{text}");
            // Compact; serde_json writes the integer `-0` as a float.
            assert_eq!(text.replace("-0", "0"), value.to_string().replace("-0.0", "0"));
        }
    }
    assert_eq!(factory.cached_grammars(), schemas.len());
}

#[test]
fn what_must_come_is_forced() {
    let schema = json!({"type": "object", "properties": {"abc": {"const": 7}}, "required": ["abc"],
        "additionalProperties": false});
    let mut c = factory().compile(&ResponseShape::JsonSchema(schema)).unwrap();
    let forced = c.forced().to_vec();
    let table = Arc::clone(tokenizer().table());
    let bytes: Vec<u8> = forced.iter().flat_map(|&id| table.bytes(id).to_vec()).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), r#"{"abc":7}"#);
    assert_eq!(forced, tokenizer().encode(r#"{"abc":7}"#, false).unwrap());
    forced.iter().for_each(|&id| c.advance(id).unwrap());
    assert!(c.must_stop());
}

/// The text with which the answer so far is completed; it must be accepted and complete.
fn closed(constraint: &mut dyn Constraint, text: &str) -> String {
    let closing = constraint.closing().unwrap_or_else(|| panic!("no way to close {text:?}"));
    let table = Arc::clone(tokenizer().table());
    let mut bytes = text.as_bytes().to_vec();
    for &token in &closing {
        constraint.advance(token).unwrap_or_else(|e| panic!("{e}: {closing:?} after {text:?}"));
        bytes.extend(table.bytes(token));
    }
    assert!(constraint.is_complete(), "{bytes:?} is not complete");
    constraint.rollback(closing.len()).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn an_answer_can_be_closed_at_any_point() {
    let schemas = [
        json!({"type": "object", "properties": {"severity": {"enum": ["info", "warning", "alarm"]},
            "cause": {"type": "string", "maxLength": 20}, "at": {"type": "number", "minimum": 0}},
            "required": ["severity", "cause", "at"], "additionalProperties": false}),
        json!({"type": "array", "items": {"type": "integer", "minimum": -5, "maximum": 130},
            "minItems": 3, "maxItems": 9}),
        json!({"anyOf": [{"const": "warm"}, {"type": "string", "maxLength": 4}, {"type": "object",
            "properties": {"z": {"type": "null"}}, "required": ["z"], "additionalProperties": false}]}),
        json!({"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "object", "properties": {
            "name": {"type": "string", "pattern": "^[a-z]{2,4}@[a-z]+$"},
            "below": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}},
            "required": ["name"], "additionalProperties": false}}}),
    ];
    let (factory, mut rng) = (factory(), Rng::new(5));
    let table = Arc::clone(tokenizer().table());
    for schema in &schemas {
        let validator = jsonschema::validator_for(schema).unwrap();
        for _ in 0..30 {
            let mut c = factory.compile(&ResponseShape::JsonSchema(schema.clone())).unwrap();
            assert_eq!(c.closing().as_deref(), Some(c.least()));
            let mut bytes = Vec::new();
            for _ in 0..60 {
                let Masked::Tokens(mask) = c.mask().unwrap() else { break };
                let ids: Vec<u32> = mask.ids().collect();
                let drawn = ids[(rng.next_u64() % ids.len() as u64) as usize];
                if EOS.contains(&drawn) {
                    break;
                }
                c.advance(drawn).unwrap();
                bytes.extend(table.bytes(drawn));
                if let Ok(text) = std::str::from_utf8(&bytes) {
                    let text = closed(c.as_mut(), text);
                    let value: Value = serde_json::from_str(&text).unwrap();
                    assert!(validator.is_valid(&value), "{text}");
                }
            }
        }
    }
}

#[test]
fn the_shortest_way_is_taken_where_there_is_a_choice() {
    let closed = |shape: ResponseShape, begun: &str| {
        let mut c = factory().compile(&shape).unwrap();
        begun.bytes().for_each(|b| c.advance(b.into()).unwrap());
        closed(c.as_mut(), begun)
    };
    let labels = json!({"enum": ["information", "alarm", "warning"]});
    assert_eq!(closed(ResponseShape::JsonSchema(labels), ""), "\"alarm\"");
    let object = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "number"}},
        "required": ["b"]});
    assert_eq!(closed(ResponseShape::JsonSchema(object.clone()), "{"), "{\"b\":0}");
    assert_eq!(
        closed(ResponseShape::JsonSchema(object.clone()), "{\"a\":\"x\u{e9}"),
        "{\"a\":\"x\u{e9}\",\"b\":0}"
    );
    assert_eq!(closed(ResponseShape::JsonSchema(object), "{\"b\":12.5"), "{\"b\":12.5}");
    assert_eq!(closed(ResponseShape::Regex("(ab|c)+[0-9]{3}".into()), "c"), "c000");
    assert_eq!(
        closed(ResponseShape::Lark("start: \"x\" start \"y\" | \"z\"".into()), "xx"),
        "xxzyy"
    );
}

#[test]
fn long_lexemes_are_closed_from_within() {
    let digits = ResponseShape::Regex("[0-9]{900}".into());
    let mut c = factory().compile(&digits).unwrap();
    assert_eq!(c.least().len(), 900);
    for has in 1..=900 {
        c.advance(u32::from(b'7')).unwrap();
        assert_eq!(c.closing().map(|tokens| tokens.len()), Some(900 - has));
    }
}

#[test]
fn an_end_behind_a_circle_is_found() {
    let schema = json!({"not": {"propertyNames": {"maxLength": 1}}});
    let c = factory().compile(&ResponseShape::JsonSchema(schema)).unwrap();
    let table = Arc::clone(tokenizer().table());
    let bytes: Vec<u8> = c.least().iter().flat_map(|id| table.bytes(*id)).copied().collect();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert!(value.as_object().unwrap().keys().any(|name| name.len() > 1), "{value}");
}

#[test]
fn an_answer_without_an_end_in_reach_is_refused() {
    let long = json!({"type": "array", "items": {"type": "integer"}, "minItems": 4_000_000});
    let endless = factory().compile(&ResponseShape::JsonSchema(long)).map(|_| ());
    assert!(matches!(endless, Err(ConstraintError::TooLarge { .. })), "{endless:?}");
}

#[test]
fn the_end_is_allowed_where_the_answer_may_end_and_only_there() {
    let mut c = factory().compile(&ResponseShape::Regex("a+".into())).unwrap();
    let allows = |c: &mut dyn Constraint| match c.mask().unwrap() {
        Masked::Tokens(mask) => EOS.map(|id| mask.allows(id)),
        Masked::Stop => panic!(),
    };
    assert_eq!(allows(c.as_mut()), [false; 2]);
    c.advance(u32::from(b'a')).unwrap();
    assert_eq!(allows(c.as_mut()), [true; 2]);
    assert_eq!(c.advance(u32::from(b'b')), Err(ConstraintError::Token(u32::from(b'b'))));
    assert_eq!(c.advance(99_999), Err(ConstraintError::Token(99_999)));
    c.advance(u32::from(b'a')).unwrap();
    c.rollback(2).unwrap();
    assert!(!c.is_complete());
    c.advance(u32::from(b'a')).unwrap();
    c.advance(EOS[1]).unwrap();
    assert!(c.must_stop() && c.is_complete());
    assert_eq!(c.mask().unwrap(), Masked::Stop);
}

#[test]
fn any_object_and_lark_work() {
    let factory = factory();
    let mut c = factory.compile(&ResponseShape::JsonObject).unwrap();
    // `{` could still be the beginning of the token `{"`.
    assert!(c.forced().is_empty());
    for b in br#"{"a":[1,{}]}"# {
        c.advance(u32::from(*b)).unwrap();
    }
    assert!(c.must_stop());
    let lark = "start: \"on\" | \"off\" NUM\nNUM: /[0-9]{1,3}/";
    let mut c = factory.compile(&ResponseShape::Lark(lark.into())).unwrap();
    let (text, ended) = run(c.as_mut(), &mut Rng::new(3), 20);
    assert!(ended && text.starts_with('o'), "{text}");
}

#[test]
fn wrong_shapes_say_why() {
    let factory = factory();
    let error = |shape| factory.compile(&shape).err().unwrap().to_string();
    let e = error(ResponseShape::JsonSchema(json!({"maxLenght": 3})));
    assert_eq!(e, "schema: `maxLenght` is not supported");
    let e = error(ResponseShape::JsonSchema(json!({"type": "wrong"})));
    assert!(e.starts_with("json_schema: "), "{e}");
    let e = error(ResponseShape::JsonSchema(json!({"type": "string", "format": "nonsense"})));
    assert!(e.contains("nonsense"), "{e}");
    assert!(error(ResponseShape::Regex("(".into())).starts_with("regex: "));
    assert!(error(ResponseShape::Lark("nonsense".into())).starts_with("lark: "));
    let one_of = json!({"oneOf": [{"type": "string"}, {"format": "date", "type": "string"}]});
    let e = error(ResponseShape::JsonSchema(one_of));
    assert!(e.contains("oneOf"), "{e}");
}

#[test]
fn hostile_shapes_end_soon() {
    let factory = factory();
    let start = std::time::Instant::now();
    for expression in [
        "((a{1,1000}){1,1000}){1,1000}".to_owned(),
        "(a|aa|aaa)*b{0,5000}(c|cc){3000}".to_owned(),
        "(".repeat(20_000),
        format!("({}x", "(a?".repeat(3000)),
        "a".repeat(40_000),
        "[^a]{30000}".to_owned(),
    ] {
        if let Ok(mut c) = factory.compile(&ResponseShape::Regex(expression)) {
            let _ = c.mask();
        }
    }
    for schema in [
        json!({"type": "array", "minItems": 4_000_000, "items": {"type": "integer"}}),
        json!({"type": "string", "maxLength": 4_000_000_000u64}),
        json!({"$ref": "#"}),
        json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
        json!({"type": "number", "multipleOf": 1e-300, "minimum": -1e300, "maximum": 1e300}),
    ] {
        if let Ok(mut c) = factory.compile(&ResponseShape::JsonSchema(schema)) {
            let _ = c.mask();
        }
    }
    let took = start.elapsed();
    println!("hostile shapes: {took:?}");
    assert!(took.as_secs() < 20, "{took:?}");
}

#[test]
fn the_cache_is_bounded() {
    let factory = factory();
    for i in 0..50 {
        let _ = factory.compile(&ResponseShape::Regex(format!("a{i}"))).unwrap();
    }
    assert_eq!(factory.cached_grammars(), MAX_CACHED);
}

#[test]
fn lexers_that_have_grown_are_let_go() {
    let factory = factory();
    let mut rng = Rng::new(11);
    let mut most = 0;
    for n in 0..32 {
        // Counting the letters of some words takes a state for each count.
        let shape = ResponseShape::Regex(format!("([a-z]{{1,40}} ){{{}}}x", 20 + n));
        for _ in 0..3 {
            let mut constraint = factory.compile(&shape).unwrap();
            run(constraint.as_mut(), &mut rng, 300);
        }
        most = most.max(factory.cached_lexer_bytes());
    }
    let last = factory.compile(&ResponseShape::JsonObject);
    assert!(last.is_ok() && factory.cached_lexer_bytes() <= MAX_LEXER_BYTES);
    assert!(most > MAX_LEXER_BYTES, "{most} bytes: the load is too light to show it");
}

#[test]
fn ends_must_be_tokens() {
    assert!(GrammarFactory::new(tokenizer(), &[]).is_err());
    assert!(GrammarFactory::new(tokenizer(), &[264]).is_err());
}

/// A random schema whose instances are bounded in length.
fn random_schema(rng: &mut Rng, depth: u32) -> Value {
    let kinds = if depth == 0 { 6 } else { 9 };
    let pick = |rng: &mut Rng, n: u64| rng.next_u64() % n;
    match pick(rng, kinds) {
        0 => json!({"type": "boolean"}),
        1 => json!({"type": ["null", "boolean"]}),
        2 => {
            let low = pick(rng, 2000) as i64 - 1000;
            json!({"type": "integer", "minimum": low, "maximum": low + pick(rng, 500) as i64})
        }
        3 => json!({"type": "string", "maxLength": pick(rng, 6), "minLength": 0}),
        4 => {
            let values =
                [json!("a"), json!("b\""), json!(1), json!(null), json!({"k": [1]}), json!(2.5)];
            json!({"enum": values[..1 + pick(rng, 6) as usize]})
        }
        5 => {
            let patterns = ["^[a-z]{1,3}$", "^(on|off)$", "^#[0-9A-F]{2}$"];
            json!({"type": "string", "pattern": patterns[pick(rng, 3) as usize]})
        }
        6 => {
            let least = pick(rng, 3);
            json!({"type": "array", "items": random_schema(rng, depth - 1),
                "minItems": least, "maxItems": least + pick(rng, 3)})
        }
        7 => json!({"anyOf": [random_schema(rng, depth - 1), random_schema(rng, depth - 1)]}),
        _ => {
            let names = ["a", "b c", "ä\"", "x/y"];
            let mut properties = serde_json::Map::new();
            for name in &names[..1 + pick(rng, 4) as usize] {
                properties.insert((*name).into(), random_schema(rng, depth - 1));
            }
            let required: Vec<&String> =
                properties.keys().filter(|_| rng.next_u64().is_multiple_of(2)).collect();
            json!({"type": "object", "required": required, "properties": properties,
                "additionalProperties": false})
        }
    }
}

#[test]
fn random_schemas_give_valid_answers_within_bounds() {
    let factory = factory();
    let mut rng = Rng::new(5);
    let (mut compiled, mut runs) = (0, 0);
    for _ in 0..150 {
        let schema = random_schema(&mut rng, 3);
        let judge = jsonschema::options().build(&schema).unwrap();
        let shape = ResponseShape::JsonSchema(schema.clone());
        let mut c = factory.compile(&shape).unwrap_or_else(|e| panic!("{e}: {schema}"));
        compiled += 1;
        for _ in 0..4 {
            let (text, ended) = run(c.as_mut(), &mut rng, 4000);
            assert!(ended, "{schema}: {text}");
            let value: Value = serde_json::from_str(&text).unwrap();
            assert!(judge.is_valid(&value), "{schema}: {text}");
            runs += 1;
            c = factory.compile(&shape).unwrap();
        }
    }
    println!("{compiled} random schemas, {runs} answers, all valid");
}
