//! Calls in a format of control tokens, on a real tokenizer: what the grammar allows is read back, whatever
//! is drawn, and can be closed from anywhere.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::{Value, json};
use slmd::sample::{CallShape, Constraint, GrammarFactory, Masked, Prose, ResponseShape, Rng};
use slmd::text::{ChatTemplate, SpecialNames, Tokenizer, ToolFormat};
use std::path::PathBuf;
use std::sync::Arc;

/// `<|im_end|>` of SmolLM2.
const EOS: u32 = 2;

/// Calls as `<repo_name>NAME<file_sep>ARGUMENTS`: tokens that the tokenizer has.
const TEMPLATE: &str = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}\
    <|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}<repo_name>\
    {{ c.function.name }}<file_sep>{{ c.function.arguments | tojson }}{% endfor %}<|im_end|>\
    {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn tokenizer() -> Option<Arc<Tokenizer>> {
    let path = std::env::var_os("SLMD_SHARED").map(PathBuf::from);
    let path = path.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared").into());
    let file = path.join("data/tokenizers/smollm2/tokenizer.json");
    let Ok(json) = std::fs::read(file) else {
        println!("SKIP: no shared data");
        return None;
    };
    Some(Arc::new(Tokenizer::new(&json, None, None).unwrap()))
}

struct World {
    tokenizer: Arc<Tokenizer>,
    factory: GrammarFactory,
    format: Arc<ToolFormat>,
}

impl World {
    fn new() -> Option<Self> {
        let tokenizer = tokenizer()?;
        let chat = ChatTemplate::new(TEMPLATE, Arc::new(|| 0)).unwrap();
        let names = SpecialNames { eos: Some("<|im_end|>".into()), ..SpecialNames::default() };
        let format = ToolFormat::of(&chat, tokenizer.control(), &names);
        assert!(format.is_native, "{format:?}");
        assert_eq!(format.open.control_ids().count(), 1, "{format:?}");
        let factory = GrammarFactory::new(Arc::clone(&tokenizer), &[EOS]).unwrap();
        Some(Self { tokenizer, factory, format: Arc::new(format) })
    }

    fn shape(&self, prose: Prose, is_parallel: bool) -> CallShape {
        let number = json!({
            "type": "object", "additionalProperties": false, "required": ["n"],
            "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 99}},
        });
        let text = json!({
            "type": "object", "additionalProperties": false,
            "properties": {"s": {"type": "string", "maxLength": 9}},
        });
        let tools = [("get".to_owned(), number), ("get_all".to_owned(), text)];
        CallShape { format: Arc::clone(&self.format), tools: tools.into(), prose, is_parallel }
    }

    fn constraint(&self, shape: &CallShape) -> Box<dyn Constraint> {
        self.factory.compile(&ResponseShape::Calls(shape.clone())).unwrap()
    }

    /// Draws up to `most` tokens; the answer, and whether it has ended.
    fn draw(
        &self,
        constraint: &mut dyn Constraint,
        rng: &mut Rng,
        most: usize,
    ) -> (Vec<u32>, bool) {
        let mut tokens = Vec::new();
        let control = self.format.open.control_ids().next().unwrap();
        while tokens.len() < most {
            let Masked::Tokens(mask) = constraint.mask().unwrap() else { return (tokens, true) };
            let ids: Vec<u32> = mask.ids().collect();
            let likes = [EOS, control].into_iter().filter(|id| ids.contains(id));
            let likes: Vec<u32> = likes.collect();
            let ids =
                if likes.is_empty() || rng.next_u64().is_multiple_of(3) { ids } else { likes };
            let id = ids[(rng.next_u64() % ids.len() as u64) as usize];
            constraint.advance(id).unwrap();
            if id == EOS {
                return (tokens, true);
            }
            tokens.push(id);
        }
        (tokens, constraint.is_complete())
    }

    fn check(&self, shape: &CallShape, tokens: &[u32]) -> usize {
        let table = self.tokenizer.table();
        let Some(said) = shape.read(tokens, table) else {
            assert_ne!(shape.prose, Prose::None, "{tokens:?}");
            return 0;
        };
        for (name, arguments) in &said.calls {
            let (_, schema) = shape.tools.iter().find(|(tool, _)| tool == name).unwrap();
            let value: Value = serde_json::from_str(arguments).unwrap();
            assert!(jsonschema::is_valid(schema, &value), "{name} {arguments}");
        }
        let open = self.format.open.control_ids().next().unwrap();
        let before: Vec<u8> = tokens
            .iter()
            .take_while(|id| **id != open)
            .flat_map(|id| table.bytes(*id).to_vec())
            .collect();
        assert_eq!(said.prose, String::from_utf8_lossy(&before));
        said.calls.len()
    }
}

#[test]
fn whatever_is_drawn_is_read_back() {
    let Some(world) = World::new() else { return };
    let mut rng = Rng::new(3);
    let (mut called, mut several, mut with_prose) = (0, 0, 0);
    for round in 0..200 {
        let prose = if round % 2 == 0 { Prose::None } else { Prose::Free };
        let shape = world.shape(prose, round % 3 > 0);
        let mut constraint = world.constraint(&shape);
        let (tokens, has_ended) = world.draw(constraint.as_mut(), &mut rng, 120);
        if !has_ended {
            continue;
        }
        let calls = world.check(&shape, &tokens);
        assert!(calls <= 1 || round % 3 > 0);
        (called, several) = (called + usize::from(calls > 0), several + usize::from(calls > 1));
        let open = world.format.open.control_ids().next().unwrap();
        with_prose += usize::from(calls > 0 && tokens[0] != open);
    }
    println!("{called} called, {several} of them several, {with_prose} after some text");
    assert!(called > 60 && several > 10 && with_prose > 5, "{called} {several} {with_prose}");
}

#[test]
fn the_shortest_call_is_known_and_any_beginning_can_be_closed() {
    let Some(world) = World::new() else { return };
    let shape = world.shape(Prose::None, true);
    let least = world.constraint(&shape).least().to_vec();
    assert_eq!(world.check(&shape, &least), 1);
    let mut rng = Rng::new(5);
    for round in 0..100 {
        let mut constraint = world.constraint(&shape);
        let (mut tokens, has_ended) = world.draw(constraint.as_mut(), &mut rng, round % 30);
        if !has_ended {
            let closing = constraint.closing().expect("a way to the end");
            for id in &closing {
                constraint.advance(*id).unwrap();
            }
            assert!(constraint.is_complete());
            tokens.extend(closing);
        }
        assert!(world.check(&shape, &tokens) > 0);
    }
}

#[test]
fn an_answer_in_json_stands_beside_calls() {
    let Some(world) = World::new() else { return };
    let schema = json!({"type": "object", "required": ["ok"], "additionalProperties": false,
        "properties": {"ok": {"type": "boolean"}}});
    let shape = world.shape(Prose::Json(schema.clone()), false);
    let (mut answered, mut rng) = (0, Rng::new(7));
    for _ in 0..60 {
        let mut constraint = world.constraint(&shape);
        let (tokens, has_ended) = world.draw(constraint.as_mut(), &mut rng, 120);
        if has_ended && world.check(&shape, &tokens) == 0 {
            let table = world.tokenizer.table();
            let text: Vec<u8> = tokens.iter().flat_map(|id| table.bytes(*id).to_vec()).collect();
            let value: Value = serde_json::from_slice(&text).unwrap();
            assert!(jsonschema::is_valid(&schema, &value), "{value}");
            answered += 1;
        }
    }
    assert!(answered > 5, "{answered}");
}

#[test]
fn text_that_looks_like_a_call_is_none() {
    let Some(world) = World::new() else { return };
    let shape = world.shape(Prose::Free, true);
    let text = "<repo_name>get<file_sep>{\"n\":1}";
    // As text, not as the tokens that it spells.
    let parts: Vec<u32> =
        text.chars().flat_map(|c| world.tokenizer.encode(&c.to_string(), false).unwrap()).collect();
    let mut constraint = world.constraint(&shape);
    for id in &parts {
        constraint.advance(*id).expect("it is text");
    }
    assert!(constraint.is_complete());
    assert_eq!(shape.read(&parts, world.tokenizer.table()), None);
}
