//! Answers that a machine can act on, of the default model through the whole runtime on every engine:
//! how sure they are, which label is likeliest, and that they have their shape whenever they end.
#![cfg(all(feature = "default-model", any(feature = "ort", feature = "tract")))]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::feed;
use serde_json::{Value, json};
use slmd::board::Room;
use slmd::bundle::Bundle;
use slmd::calibration::{Calibration, Calibrations};
use slmd::core::error::ErrorCode;
use slmd::core::plan::EngineKind;
use slmd::core::request::{OnDeadline, Score};
use slmd::core::tool::{Tool, ToolCall, ToolChoice};
use slmd::engine::{EngineOptions, choice};
use slmd::runtime::{Limits, Model, Origin, Outbox, Runtime};
use slmd::sample::Rng;
use slmd::sheet::{Demands, Freedom};
use slmd::supervisor::{Plan, bring_up};
use slmd::wire::{Answer, Ask, Message, Reply, ResponseFormat};
use std::collections::HashSet;
use std::time::Duration;
use tokio::sync::mpsc;

fn engines() -> Vec<EngineKind> {
    let mut engines = Vec::new();
    if cfg!(feature = "ort") {
        engines.push(EngineKind::Ort);
    }
    if cfg!(feature = "tract") {
        engines.push(EngineKind::Tract);
    }
    engines
}

fn options() -> EngineOptions {
    EngineOptions { slots: 2, context_tokens: 256, max_chunk: 128, ..EngineOptions::default() }
}

fn plan(engine: EngineKind, cache: &std::path::Path) -> Plan {
    Plan {
        model: None,
        variant: None,
        engine,
        options: options(),
        chain: Vec::new(),
        is_strict: false,
        executable: None,
        limits: Limits {
            queue: 4,
            max_step: Duration::from_millis(60),
            deadline: Duration::from_secs(60),
            first_token: None,
            max_tokens: 128,
            prompt_bytes: 4096,
        },
        tasks: Vec::new(),
        calibrations: None,
        memory_bytes: 4 << 30,
        watched_tasks: Vec::new(),
        freedom: Freedom { sessions: true, context: true },
        demands: Demands {
            queue: 4,
            prompt_bytes: 4096,
            clients: 1,
            message_bytes: 4096,
            mqtt: None,
            second_model_bytes: 0,
        },
        cache_dir: cache.to_owned(),
        board: "test".to_owned(),
        room: Room::default(),
    }
}

fn start(engine: EngineKind) -> (Runtime, tempfile::TempDir) {
    let cache = tempfile::tempdir().unwrap();
    (bring_up(&plan(engine, cache.path()), &|_| ()).expect("the default model"), cache)
}

fn reply(runtime: &Runtime, ask: Ask) -> Reply {
    let (sender, mut receiver) = mpsc::channel(8);
    let outbox = Outbox::reserve(&sender).unwrap();
    runtime.handle().submit(ask, &Origin::new("test"), outbox).unwrap();
    receiver.blocking_recv().expect("a reply").reply
}

fn answer(runtime: &Runtime, ask: Ask) -> Answer {
    match reply(runtime, ask) {
        Reply::Answer(answer) => *answer,
        other => panic!("{other:?}"),
    }
}

fn vehicle(prompt: &str) -> Ask {
    Ask { task: Some("vehicle".into()), prompt: Some(prompt.into()), ..Ask::default() }
}

fn chat(text: &str) -> Ask {
    let message = Message::new("user", text);
    Ask { messages: vec![message], ..Ask::default() }
}

/// Each label by itself, from the prompt on, a token a step.
fn brute_force(kind: EngineKind, prompt: &[u32], labels: &[Vec<u32>], model: &Model) -> Vec<f64> {
    let bundle = Bundle::default_model().unwrap();
    let choice = choice::choose(kind).unwrap();
    let mut engine = choice::load(&choice, &bundle.graph, &options()).unwrap();
    let log = |logits: &[f32], token: u32| {
        let all = logits.iter().enumerate().filter(|(id, _)| model.vocabulary.allows(*id as u32));
        let total: f64 = all.map(|(_, logit)| f64::from(*logit).exp()).sum();
        f64::from(logits[token as usize]) - total.ln()
    };
    let mut scores = Vec::new();
    for label in labels {
        let mut logits = feed(engine.as_mut(), 0, 0, prompt);
        let mut score = 0.0;
        for (at, &token) in label.iter().enumerate() {
            score += log(&logits, token);
            logits = feed(engine.as_mut(), 0, (prompt.len() + at) as u32, &[token]);
        }
        if labels.iter().any(|other| other.len() > label.len() && other.starts_with(label)) {
            score += model.eos.iter().map(|eos| log(&logits, *eos).exp()).sum::<f64>().ln();
        }
        scores.push(score);
    }
    let total: f64 = scores.iter().map(|score| score.exp()).sum();
    scores.iter().map(|score| score.exp() / total).collect()
}

#[test]
fn a_choice_is_scored_as_each_label_alone_would_be() {
    let model = Model::new(&Bundle::default_model().unwrap(), &[]).unwrap();
    let labels = [
        "{\"actions\":[{\"signal\":\"Vehicle.Cabin.Sunroof.Position\",\"op\":\"set\",\"value\":50}]}",
        "{\"actions\":[{\"signal\":\"Vehicle.Cabin.Sunroof.Position\",\"op\":\"set\",\"value\":5}]}",
        "{\"actions\":[{\"signal\":\"Vehicle.Cabin.Sunroof.Position\",\"op\":\"set\",\"value\":5",
        "{\"out_of_scope\":true}",
        "open",
        "o",
    ]
    .map(str::to_owned);
    let spelt = labels.each_ref().map(|l| model.tokenizer.encode_within(l).unwrap());
    for engine in engines() {
        let (runtime, _cache) = start(engine);
        let caps = slmd::core::plan::Caps { context_tokens: 256, ..caps(engine) };
        let limits = plan(engine, std::path::Path::new("")).limits;
        for prompt in ["open the sunroof halfway", "sunroof a tiny bit", "tell me a joke"] {
            let tokens = model.prompt_tokens(Some("vehicle"), prompt, &caps, &limits).unwrap();
            let wanted = brute_force(engine, &tokens, &spelt, &model);
            let format = ResponseFormat::Choice(labels.to_vec(), Score::Sum);
            let told = answer(&runtime, Ask { response_format: Some(format), ..vehicle(prompt) });
            let choice = told.choice.expect("of a choice");
            for ((label, p), wanted) in choice.probabilities.iter().zip(&wanted) {
                assert!(
                    (f64::from(*p) - wanted).abs() < 1e-4,
                    "{engine:?} {prompt} {label}: {p} {wanted}"
                );
            }
            let best = wanted.iter().copied().fold(0.0, f64::max);
            let said = labels.iter().position(|l| *l == told.text).expect("a label");
            assert!((wanted[said] - best).abs() < 1e-4, "{engine:?} {prompt}: {}", told.text);
        }
    }
}

fn caps(kind: EngineKind) -> slmd::core::plan::Caps {
    let bundle = Bundle::default_model().unwrap();
    let choice = choice::choose(kind).unwrap();
    choice::load(&choice, &bundle.graph, &options()).unwrap().caps().clone()
}

#[test]
fn a_confidence_is_what_its_tokens_say_and_calibration_changes_it() {
    for engine in engines() {
        let (runtime, cache) = start(engine);
        let asks = || Ask {
            logprobs: Some(0),
            min_confidence: Some(0.999_999),
            ..vehicle("warmer in the back")
        };
        let plain = answer(&runtime, asks());
        let logs = plain.logprobs.as_ref().expect("asked for");
        let sum: f32 = logs.iter().map(|token| token.token.logprob).sum();
        let sure = plain.confidence.expect("of a shape");
        assert!((sure.overall - sum.exp()).abs() < 1e-5, "{sure:?} {sum}");
        let fields = sure.fields.expect("of JSON");
        assert!(fields.min >= sure.overall && fields.mean >= fields.min, "{fields:?}");
        let value: Value = serde_json::from_str(&plain.text).unwrap();
        assert!(value.pointer(&fields.lowest).is_some(), "{fields:?} of {value}");
        assert_eq!(plain.abstained, Some(sure.overall < 0.999_999));

        let bundle = Bundle::default_model().unwrap();
        let found = Calibration { model: bundle.hash, temperature: 2.0, examples: 100 };
        Calibrations::put(cache.path(), "vehicle", found).unwrap();
        let calibrations = Some(Calibrations::read(cache.path()));
        let plan = Plan { calibrations, ..plan(engine, cache.path()) };
        let runtime = bring_up(&plan, &|_| ()).expect("the default model");
        let again = answer(&runtime, asks()).confidence.expect("of a shape").overall;
        assert!((again - sure.overall.sqrt()).abs() < 1e-4, "{again} {}", sure.overall);
    }
}

/// A schema whose answers may be long, but need not be.
fn schema(rng: &mut Rng, depth: u64) -> Value {
    fn pick(rng: &mut Rng, n: u64) -> u64 {
        rng.next_u64() % n
    }
    match pick(rng, if depth == 0 { 6 } else { 9 }) {
        0 => json!({"type": "boolean"}),
        1 => json!({"type": "integer", "minimum": pick(rng, 50), "maximum": 50 + pick(rng, 1000)}),
        2 => json!({"type": "number"}),
        3 => json!({"type": "string", "minLength": pick(rng, 4), "maxLength": 4 + pick(rng, 60)}),
        4 => {
            let all =
                [json!("info"), json!("warning"), json!("a longer label"), json!(7), json!(null)];
            json!({"enum": all[..1 + pick(rng, 5) as usize]})
        }
        5 => json!({"type": "string", "pattern": "^[a-z]{2,9}(-[0-9]{1,3})?$"}),
        6 => {
            let least = pick(rng, 3);
            let items = schema(rng, depth - 1);
            json!({"type": "array", "items": items, "minItems": least, "maxItems": least + 4})
        }
        7 => {
            let all = [schema(rng, depth - 1), schema(rng, depth - 1)];
            json!({"anyOf": all})
        }
        _ => {
            let names = ["a", "cause", "value", "zone 2", "\u{fc}"];
            let count = 1 + pick(rng, 5) as usize;
            let required: Vec<&str> =
                names[..count].iter().copied().filter(|_| pick(rng, 2) == 0).collect();
            let members: serde_json::Map<String, Value> =
                names[..count].iter().map(|n| ((*n).to_owned(), schema(rng, depth - 1))).collect();
            json!({"type": "object", "properties": members, "required": required,
                "additionalProperties": false})
        }
    }
}

/// However little time or however few tokens there are: what is answered is valid, and what is not the
/// model's is named.
#[test]
fn whenever_an_answer_ends_it_has_its_shape() {
    for engine in engines() {
        let (runtime, _cache) = start(engine);
        let mut rng = Rng::new(23);
        let (mut answered, mut filled, mut refused, mut late) = (0, 0, 0, 0);
        for round in 0..300 {
            let schema = schema(&mut rng, 3);
            let valid = jsonschema::validator_for(&schema).unwrap();
            let short = rng.next_u64().is_multiple_of(2);
            let ask = Ask {
                response_format: Some(ResponseFormat::JsonSchema(schema.clone())),
                max_tokens: short.then(|| 1 + (rng.next_u64() % 40) as u32),
                deadline_ms: (!short).then(|| 3 + (rng.next_u64() % 40) as u32),
                best_effort: !short,
                temperature: Some([0.0, 1.0, 3.0][round % 3]),
                seed: Some(round as u64),
                on_deadline: Some(OnDeadline::Complete),
                ..chat("report what you see")
            };
            match reply(&runtime, ask) {
                Reply::Answer(answer) => {
                    let value: Value = serde_json::from_str(&answer.text)
                        .unwrap_or_else(|e| panic!("{e}: {} of {schema}", answer.text));
                    assert!(valid.is_valid(&value), "{} of {schema}", answer.text);
                    let there = |pointer: &String| value.pointer(pointer).is_some();
                    assert!(answer.filled.iter().all(there), "{:?} of {value}", answer.filled);
                    assert!(answer.filled.is_empty() || answer.truncated, "{answer:?}");
                    (answered, filled) =
                        (answered + 1, filled + usize::from(!answer.filled.is_empty()));
                }
                Reply::Error { reason, .. } if reason.code == ErrorCode::BadRequest => {
                    assert!(reason.message.contains("the shortest answer"), "{reason} of {schema}");
                    refused += 1;
                }
                // The deadline passed before the first token.
                Reply::Error { reason, .. } => {
                    let is_late = [ErrorCode::DeadlineExceeded, ErrorCode::Expired];
                    assert!(is_late.contains(&reason.code), "{reason} of {schema}");
                    late += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        println!(
            "{engine:?}: {answered} answered, {filled} of them completed, {refused} too short, {late} late"
        );
        assert!(answered > 200 && filled > 10, "{answered} {filled} {refused} {late}");
    }
}

/// Tools whose arguments may be anything.
fn tools(rng: &mut Rng) -> Vec<Tool> {
    let names = ["read", "read_all"];
    let count = 1 + (rng.next_u64() % 2) as usize;
    let tool = |name: &&str| {
        let members = json!({"to": schema(rng, 0), "by": schema(rng, 0)});
        Tool {
            name: (*name).to_owned(),
            description: String::new(),
            parameters: json!({"type": "object", "properties": members, "required": ["to"],
                "additionalProperties": false}),
        }
    };
    names[..count].iter().map(tool).collect()
}

/// A call is of a tool that there is, with arguments that it takes, or there is none.
#[test]
fn calls_keep_to_their_tools() {
    for engine in engines() {
        let cache = tempfile::tempdir().unwrap();
        let plan = plan(engine, cache.path());
        let options = EngineOptions { context_tokens: 512, ..options() };
        let runtime = bring_up(&Plan { options, ..plan }, &|_| ()).expect("the default model");
        let mut rng = Rng::new(29);
        let (mut called, mut several, mut said, mut cut) = (0, 0, 0, 0);
        for round in 0..120 {
            let tools = tools(&mut rng);
            let choice = match round % 4 {
                0 => ToolChoice::Named(tools[0].name.clone()),
                1 => ToolChoice::Auto,
                _ => ToolChoice::Required,
            };
            let ask = Ask {
                tools: tools.clone(),
                tool_choice: choice.clone(),
                parallel_tool_calls: Some(round % 3 > 0),
                max_tokens: Some(90),
                temperature: Some([0.0, 1.0, 3.0][round % 3]),
                seed: Some(round as u64),
                on_deadline: Some(OnDeadline::Complete),
                ..chat("do it")
            };
            let answer = match reply(&runtime, ask.clone()) {
                Reply::Answer(answer) => *answer,
                Reply::Error { reason, .. } => {
                    // The little model spells tools out, and has little room.
                    let codes = [ErrorCode::Incomplete, ErrorCode::MemoryInfeasible];
                    assert!(codes.contains(&reason.code), "{reason}");
                    cut += 1;
                    continue;
                }
                other => panic!("{other:?}"),
            };
            if answer.tool_calls.is_empty() {
                assert_eq!(choice, ToolChoice::Auto, "{answer:?}");
                said += 1;
                continue;
            }
            assert_eq!((answer.finish_reason, answer.truncated), ("tool_calls", false));
            assert!(answer.filled.is_empty() && answer.confidence.is_some());
            for call in &answer.tool_calls {
                let tool = tools.iter().find(|tool| tool.name == call.name).expect("there is one");
                let valid = jsonschema::validator_for(&tool.parameters).unwrap();
                let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
                assert!(valid.is_valid(&arguments), "{arguments} of {}", tool.parameters);
                assert!(!matches!(&choice, ToolChoice::Named(name) if *name != call.name));
            }
            let ids: HashSet<&str> = answer.tool_calls.iter().map(|call| &*call.id).collect();
            assert_eq!(ids.len(), answer.tool_calls.len());
            assert!(answer.tool_calls.len() == 1 || round % 3 > 0);
            (called, several) = (called + 1, several + usize::from(answer.tool_calls.len() > 1));
            // The results go back, and the model goes on.
            let result = |call: &ToolCall| Message {
                tool_call_id: Some(call.id.clone()),
                ..Message::new("tool", "done")
            };
            let assistant = Message {
                tool_calls: answer.tool_calls.clone(),
                ..Message::new("assistant", answer.text.clone())
            };
            let results: Vec<Message> = answer.tool_calls.iter().map(result).collect();
            let messages = [ask.messages.clone(), vec![assistant], results].concat();
            let again = Ask { messages, tool_choice: ToolChoice::None, max_tokens: Some(4), ..ask };
            again.validate().expect("what we said we understand");
            match reply(&runtime, again) {
                Reply::Answer(answer) => assert!(answer.tool_calls.is_empty()),
                Reply::Error { reason, .. } => assert_eq!(reason.code, ErrorCode::MemoryInfeasible),
                other => panic!("{other:?}"),
            }
        }
        println!("{engine:?}: {called} called, {several} of them several, {said} said, {cut} cut");
        assert!(called > 30 && several > 2, "{called} {several} {said} {cut}");
    }
}

#[test]
fn what_cannot_go_with_tools_is_refused() {
    let (runtime, _cache) = start(engines()[0]);
    let tool = |parameters: Value| Tool {
        name: "read".to_owned(),
        description: String::new(),
        parameters,
    };
    let object = || json!({"type": "object"});
    for (ask, says) in [
        (Ask { tool_choice: ToolChoice::Required, ..chat("x") }, "there are no `tools`"),
        (Ask { tool_choice: ToolChoice::Named("read".into()), ..chat("x") }, "not among the tools"),
        (Ask { tools: vec![tool(json!({"type": "string"}))], ..chat("x") }, "a schema of objects"),
        (Ask { tools: vec![tool(object())], stop: vec!["x".into()], ..chat("x") }, "`stop`"),
        (
            Ask { tools: vec![tool(json!({"$ref": "http://else.where"}))], ..chat("x") },
            "tools: read",
        ),
    ] {
        match reply(&runtime, ask) {
            Reply::Error { reason, .. } => {
                assert_eq!(reason.code, ErrorCode::BadRequest);
                assert!(reason.message.contains(says), "{says}: {reason}");
            }
            other => panic!("{says}: {other:?}"),
        }
    }
}
