//! stories260K, a real trained Llama, through the whole runtime on every engine: the text is that
//! of the reference program.

mod common;

use slmd::board::Room;
use slmd::core::plan::EngineKind;
use slmd::engine::EngineOptions;
use slmd::runtime::{Limits, Origin, Outbox, Runtime};
use slmd::sheet::{Demands, Freedom};
use slmd::supervisor::{Plan, bring_up};
use slmd::wire::{Answer, Ask, Reply};
use std::time::Duration;
use tokio::sync::mpsc;

fn plan(model: &str, engine: EngineKind) -> Option<Plan> {
    Some(Plan {
        model: Some(common::model_dir(model)?),
        variant: None,
        engine,
        options: EngineOptions { slots: 2, context_tokens: 512, ..EngineOptions::default() },
        chain: Vec::new(),
        is_strict: false,
        executable: None,
        limits: Limits {
            queue: 4,
            max_step: Duration::from_millis(60),
            deadline: Duration::from_secs(60),
            first_token: None,
            max_tokens: 256,
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
        cache_dir: std::env::temp_dir().join(format!("slmd-stories-{}", std::process::id())),
        board: "test".to_owned(),
        room: Room::default(),
    })
}

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

fn start(model: &str, engine: EngineKind) -> Option<Runtime> {
    Some(bring_up(&plan(model, engine)?, &|_| {}).expect("the model comes up"))
}

/// Asks and gives all replies.
fn ask(runtime: &Runtime, ask: Ask) -> Vec<Reply> {
    let (sender, mut receiver) = mpsc::channel(1024);
    let outbox = Outbox::reserve(&sender).expect("an empty channel");
    let origin = Origin::new("test");
    runtime.handle().submit(ask, &origin, outbox).expect("accepted");
    drop(sender);
    std::iter::from_fn(|| receiver.blocking_recv()).map(|event| event.reply).collect()
}

fn answer(replies: &[Reply]) -> &Answer {
    match replies.last() {
        Some(Reply::Answer(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

fn prompt(text: &str, max_tokens: u32) -> Ask {
    Ask { prompt: Some(text.to_owned()), max_tokens: Some(max_tokens), ..Ask::default() }
}

#[test]
fn greedy_from_the_empty_prompt_tells_the_golden_story() {
    let Some(golden) = common::shared("models/stories260k/golden.json") else { return };
    let golden: serde_json::Value = serde_json::from_slice(&golden).expect("JSON");
    for engine in engines() {
        for model in ["stories260k-fp32", "stories260k-int8"] {
            let Some(runtime) = start(model, engine) else { return };
            let mut asked = prompt("", golden["steps"].as_u64().expect("steps") as u32);
            asked.stream = true;
            let replies = ask(&runtime, asked);
            let streamed: String = replies
                .iter()
                .filter_map(|r| match r {
                    Reply::Delta { text, .. } => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            let text = &answer(&replies).text;
            assert_eq!(&streamed, text, "deltas and the answer differ");
            let told = golden["text"].as_str().expect("text");
            assert_eq!(text, told, "{model} on {engine:?}");
            runtime.drain(Duration::ZERO);
            runtime.join();
        }
    }
}
