//! The runtime around a scripted engine: what happens when steps are slow, or fail, or clients do
//! not read.
#![cfg(feature = "default-model")]

use slmd::bundle::Bundle;
use slmd::core::error::ErrorCode;
use slmd::core::plan::KvType;
use slmd::core::request::{OnDeadline, Score};
use slmd::engine::scripted::{Script, ScriptedEngine};
use slmd::engine::{EngineOptions, StepError};
use slmd::runtime::{Event, Limits, Model, Origin, Outbox, Runtime};
use slmd::wire::{Ask, Message, Reply, ResponseFormat};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// A token of the default model's vocabulary that is a plain word, and its text.
struct Word {
    id: u32,
    text: String,
    vocab_size: u32,
    eos: u32,
}

fn word() -> (Model, Word) {
    let bundle = Bundle::default_model().expect("the embedded model");
    let model = Model::new(&bundle, &[]).expect("its text side");
    let table = model.tokenizer.table();
    let plain = |id: &u32| table.bytes(*id).len() > 2 && table.bytes(*id).is_ascii();
    let letters = |id: &u32| table.bytes(*id).iter().all(u8::is_ascii_lowercase);
    let id = (400..table.len() as u32).find(|id| plain(id) && letters(id)).expect("a word");
    let text = String::from_utf8(table.bytes(id).to_vec()).expect("ASCII");
    let word = Word { id, text, vocab_size: bundle.graph.vocab_size as u32, eos: model.eos[0] };
    (model, word)
}

fn start(model: Model, vocab_size: u32, step: Duration, script: Script) -> Runtime {
    let options = EngineOptions {
        threads: 1,
        slots: 2,
        context_tokens: 256,
        max_chunk: 32,
        kv: KvType::Auto,
        ..EngineOptions::default()
    };
    let engine = ScriptedEngine::new(vocab_size, &options, script).with_cost(step, Duration::ZERO);
    let limits = Limits {
        queue: 2,
        max_step: Duration::from_millis(60),
        deadline: Duration::from_secs(20),
        first_token: None,
        max_tokens: 64,
        prompt_bytes: 4096,
    };
    let facts = serde_json::Map::new();
    Runtime::start(model, Box::new(engine), None, &limits, facts).expect("the self-test passes")
}

/// A conversation, so that no task and no grammar interferes.
fn chat(text: &str) -> Ask {
    let message = Message::new("user", text);
    Ask { messages: vec![message], ..Ask::default() }
}

fn submit(runtime: &Runtime, ask: Ask, room: usize) -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(room);
    let outbox = Outbox::reserve(&sender).expect("an empty channel");
    let origin = Origin::new("test");
    runtime.handle().submit(ask, &origin, outbox).expect("accepted");
    receiver
}

fn replies(mut receiver: mpsc::Receiver<Event>) -> Vec<Reply> {
    std::iter::from_fn(|| receiver.blocking_recv()).map(|event| event.reply).collect()
}

#[test]
fn the_answer_is_what_the_engine_said_and_ends_with_its_end_token() {
    let (model, word) = word();
    let (id, eos) = (word.id, word.eos);
    let script = move |tokens: &[u32]| {
        let said = tokens.iter().rev().take_while(|t| **t == id).count();
        Ok(if said < 3 { id } else { eos })
    };
    let runtime = start(model, word.vocab_size, Duration::ZERO, Box::new(script));
    match replies(submit(&runtime, chat("hello"), 64)).as_slice() {
        [Reply::Answer(answer)] => {
            assert_eq!(answer.text, word.text.repeat(3));
            assert_eq!((answer.cause, answer.completion_tokens), ("stop", 3));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failing_step_is_told_to_its_request_and_the_next_one_is_served() {
    let (model, word) = word();
    let (id, eos) = (word.id, word.eos);
    let until_it_fails = Arc::new(AtomicI32::new(-1));
    let steps = Arc::clone(&until_it_fails);
    let script = move |tokens: &[u32]| match steps.fetch_sub(1, Ordering::Relaxed) {
        0 => Err(StepError::Engine("out of order".into())),
        _ if tokens.last() == Some(&id) => Ok(eos),
        _ => Ok(id),
    };
    let runtime = start(model, word.vocab_size, Duration::ZERO, Box::new(script));
    // The self-test is over: the second token from now on fails.
    until_it_fails.store(1, Ordering::Relaxed);
    let first = replies(submit(&runtime, chat("one"), 64));
    assert!(
        matches!(first.as_slice(), [Reply::Error { reason, .. }]
            if reason.code == ErrorCode::Internal && reason.message.contains("out of order")),
        "{first:?}"
    );
    let second = replies(submit(&runtime, chat("two"), 64));
    assert!(matches!(second.as_slice(), [Reply::Answer(_)]), "{second:?}");
}

#[test]
fn at_the_deadline_the_answer_goes_out_as_it_stands() {
    let (model, word) = word();
    let id = word.id;
    let step = Duration::from_millis(10);
    let runtime = start(model, word.vocab_size, step, Box::new(move |_| Ok(id)));
    let ask =
        Ask { deadline_ms: Some(200), max_tokens: Some(200), best_effort: true, ..chat("go on") };
    match replies(submit(&runtime, ask.clone(), 64)).as_slice() {
        [Reply::Answer(answer)] => {
            assert_eq!((answer.cause, answer.finish_reason), ("deadline", "length"));
            assert!(answer.truncated && !answer.text.is_empty());
            assert!(answer.total_ms < 200.0 + 60.0, "{} ms", answer.total_ms);
        }
        other => panic!("{other:?}"),
    }
    // Without best effort it is refused at once, with the time that it would need.
    let refused = replies(submit(&runtime, Ask { best_effort: false, ..ask }, 64));
    assert!(
        matches!(refused.as_slice(), [Reply::Error { reason, .. }]
            if reason.code == ErrorCode::DeadlineInfeasible && reason.needs_ms > Some(200)),
        "{refused:?}"
    );
}

#[test]
fn a_client_that_does_not_read_loses_deltas_but_never_the_answer() {
    let (model, word) = word();
    let id = word.id;
    let runtime = start(model, word.vocab_size, Duration::ZERO, Box::new(move |_| Ok(id)));
    let ask = Ask { stream: true, max_tokens: Some(50), ..chat("go on") };
    let receiver = submit(&runtime, ask, 8);
    std::thread::sleep(Duration::from_millis(200));
    let all = replies(receiver);
    let Some(Reply::Answer(answer)) = all.last() else { panic!("{all:?}") };
    assert_eq!(answer.text, word.text.repeat(50));
    let heard: String = all
        .iter()
        .filter_map(|r| if let Reply::Delta { text, .. } = r { Some(text.as_str()) } else { None })
        .collect();
    assert!(heard.len() < answer.text.len() && answer.text.starts_with(&heard));
}

#[test]
fn a_request_can_be_cancelled_before_it_came_through_admission_and_while_it_runs() {
    let (model, word) = word();
    let id = word.id;
    let step = Duration::from_millis(5);
    let runtime = start(model, word.vocab_size, step, Box::new(move |_| Ok(id)));
    for pause in [0, 50] {
        let (sender, receiver) = mpsc::channel(64);
        let outbox = Outbox::reserve(&sender).expect("an empty channel");
        drop(sender);
        let origin = Origin::new("test");
        let ask = Ask { max_tokens: Some(200), ..chat("go on") };
        let request = runtime.handle().submit(ask, &origin, outbox).expect("accepted");
        std::thread::sleep(Duration::from_millis(pause));
        runtime.handle().cancel(request);
        let all = replies(receiver);
        assert!(
            matches!(all.as_slice(), [Reply::Error { reason, .. }]
                if reason.code == ErrorCode::Cancelled),
            "{all:?}"
        );
    }
    let status = runtime.handle().status();
    assert_eq!(status["requests"]["held"], 0, "a seat leaked: {status}");
    assert_eq!(status["memory"]["kv_held_bytes"], 0, "a slot leaked: {status}");
}

#[test]
fn draining_ends_what_still_runs_at_its_limit() {
    let (model, word) = word();
    let id = word.id;
    let step = Duration::from_millis(5);
    let runtime = start(model, word.vocab_size, step, Box::new(move |_| Ok(id)));
    let ask = Ask { max_tokens: Some(200), ..chat("go on") };
    let running = submit(&runtime, ask, 64);
    std::thread::sleep(Duration::from_millis(50));
    runtime.drain(Duration::from_millis(100));
    let all = replies(running);
    assert!(
        matches!(all.as_slice(), [Reply::Error { reason, .. }]
            if reason.code == ErrorCode::ShuttingDown),
        "{all:?}"
    );
    let (sender, _receiver) = mpsc::channel(4);
    let outbox = Outbox::reserve(&sender).expect("an empty channel");
    let origin = Origin::new("test");
    let refused = runtime.handle().submit(chat("late"), &origin, outbox);
    assert_eq!(refused.map_err(|r| r.code), Err(ErrorCode::ShuttingDown));
    runtime.join();
}

/// A bounded object: what is said of it must be valid whenever it ends.
fn report() -> serde_json::Value {
    serde_json::json!({"type": "object", "additionalProperties": false,
        "required": ["severity", "cause", "value"], "properties": {
            "severity": {"enum": ["info", "warning", "alarm"]},
            "cause": {"type": "string", "maxLength": 400},
            "value": {"type": "number"}}})
}

fn asks(schema: serde_json::Value) -> Ask {
    Ask { response_format: Some(ResponseFormat::JsonSchema(schema)), ..chat("go on") }
}

#[test]
fn an_answer_that_runs_out_of_time_is_completed_and_says_what_was_filled_in() {
    let (model, word) = word();
    let id = word.id;
    let step = Duration::from_millis(10);
    let runtime = start(model, word.vocab_size, step, Box::new(move |_| Ok(id)));
    let ask = Ask {
        deadline_ms: Some(150),
        max_tokens: Some(200),
        best_effort: true,
        min_confidence: Some(0.5),
        ..asks(report())
    };
    let valid = jsonschema::validator_for(&report()).expect("a schema");
    match replies(submit(&runtime, ask.clone(), 64)).as_slice() {
        [Reply::Answer(answer)] => {
            assert_eq!((answer.cause, answer.truncated), ("deadline", true));
            let value = serde_json::from_str(&answer.text).expect("JSON");
            assert!(valid.is_valid(&value), "{}", answer.text);
            assert!(
                answer.text.contains(&word.text.repeat(3)),
                "the model's part: {}",
                answer.text
            );
            assert_eq!(answer.filled, ["/cause", "/value"]);
            assert_eq!(answer.confidence.as_ref().map(|c| c.overall), Some(0.0));
            assert_eq!(answer.abstained, Some(true));
        }
        other => panic!("{other:?}"),
    }
    let strict = Ask { on_deadline: Some(OnDeadline::Error), ..ask };
    match replies(submit(&runtime, strict, 64)).as_slice() {
        [Reply::Error { reason, .. }] => {
            assert_eq!(reason.code, ErrorCode::DeadlineExceeded);
            assert!(
                reason.draft.as_ref().is_some_and(|d| d.starts_with("{\"severity\"")),
                "{reason:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_that_runs_out_of_tokens_is_completed_within_them() {
    let (model, word) = word();
    let id = word.id;
    let runtime = start(model, word.vocab_size, Duration::ZERO, Box::new(move |_| Ok(id)));
    let valid = jsonschema::validator_for(&report()).expect("a schema");
    let (mut refused, mut filled) = (0, 0);
    for max_tokens in 1..60 {
        for stream in [false, true] {
            let ask = Ask { max_tokens: Some(max_tokens), stream, ..asks(report()) };
            let all = replies(submit(&runtime, ask, 256));
            match all.last().expect("a reply") {
                Reply::Answer(answer) => {
                    let value = serde_json::from_str(&answer.text).expect("JSON");
                    assert!(valid.is_valid(&value), "{max_tokens}: {}", answer.text);
                    assert!(answer.completion_tokens <= max_tokens, "{answer:?}");
                    filled += usize::from(!answer.filled.is_empty());
                    let said: String = all
                        .iter()
                        .filter_map(|r| match r {
                            Reply::Delta { text, .. } => Some(text.as_str()),
                            _ => None,
                        })
                        .collect();
                    assert!(!stream || said == answer.text, "{said} is not {}", answer.text);
                }
                Reply::Error { reason, .. } => {
                    assert_eq!(reason.code, ErrorCode::BadRequest);
                    assert!(reason.message.contains("the shortest answer"), "{reason}");
                    assert_eq!(filled, 0, "{max_tokens} tokens are enough");
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(refused >= 8 && filled > 40, "{refused} {filled}");
}

#[test]
fn time_that_is_too_short_for_the_usual_answer_shortens_one_that_may_be_completed() {
    let (model, word) = word();
    let id = word.id;
    let step = Duration::from_millis(10);
    let runtime = start(model, word.vocab_size, step, Box::new(move |_| Ok(id)));
    // 64 tokens are usual here, and take 640 ms.
    let ask = |then, deadline_ms| Ask {
        on_deadline: Some(then),
        deadline_ms: Some(deadline_ms),
        ..asks(report())
    };
    let shortened = replies(submit(&runtime, ask(OnDeadline::Complete, 500), 64));
    match shortened.as_slice() {
        [Reply::Answer(answer)] => {
            assert_eq!(answer.cause, "length");
            assert!(!answer.filled.is_empty() && answer.total_ms < 500.0, "{answer:?}");
        }
        other => panic!("{other:?}"),
    }
    for (then, deadline_ms) in [(OnDeadline::Error, 500), (OnDeadline::Complete, 60)] {
        let refused = replies(submit(&runtime, ask(then, deadline_ms), 64));
        assert!(
            matches!(refused.as_slice(), [Reply::Error { reason, .. }]
                if reason.code == ErrorCode::DeadlineInfeasible),
            "{refused:?}"
        );
    }
}

#[test]
fn a_choice_is_the_label_that_the_engine_prefers() {
    let (model, word) = word();
    let labels = ["keep", "keep going", "stop", "stop now", "a rest"].map(str::to_owned);
    let spelt = labels.clone().map(|l| model.tokenizer.encode(&l, false).expect("tokens"));
    let (wanted, eos) = (spelt[3].clone(), word.eos);
    // The engine says the fourth label, token by token, wherever it stands.
    let script = move |tokens: &[u32]| {
        let said = (0..wanted.len()).rev().find(|n| tokens.ends_with(&wanted[..*n])).unwrap_or(0);
        Ok(wanted.get(said).copied().unwrap_or(eos))
    };
    let runtime = start(model, word.vocab_size, Duration::ZERO, Box::new(script));
    let format = ResponseFormat::Choice(labels.to_vec(), Score::Sum);
    let ask = Ask { response_format: Some(format), min_confidence: Some(0.5), ..chat("well?") };
    match replies(submit(&runtime, ask.clone(), 64)).as_slice() {
        [Reply::Answer(answer)] => {
            assert_eq!((answer.text.as_str(), answer.cause), ("stop now", "stop"));
            let choice = answer.choice.as_ref().expect("of a choice");
            let all: Vec<&str> = choice.probabilities.iter().map(|(l, _)| l.as_str()).collect();
            assert_eq!(all, labels);
            let p = choice.probabilities[3].1;
            assert_eq!(answer.confidence.as_ref().map(|c| c.overall), Some(p));
            assert!(
                p > 0.9 && choice.margin > 0.8 && answer.abstained == Some(false),
                "{answer:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    let too_much = Ask { logprobs: Some(0), ..ask };
    let refused = replies(submit(&runtime, too_much, 64));
    assert!(
        matches!(refused.as_slice(), [Reply::Error { reason, .. }] if reason.code == ErrorCode::BadRequest)
    );
}
