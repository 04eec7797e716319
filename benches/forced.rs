//! What it brings to feed what a grammar determines in one go: `cargo bench --bench forced`.
//!
//! The tasks of the default model, and the `vehicle` schema on each bundle that is named
//! (`-- DIR...`, random weights will do): every answer is made twice, greedily, once with forced tokens
//! appended and once with every token decoded; which comes first alternates. Printed are the share of
//! forced tokens, and the medians of the whole answer's time and of its decoding alone.

use slmd::bundle::{Bundle, Output};
use slmd::core::plan::{EngineKind, ModelId, Row, Slot, StepPlan, Want};
use slmd::core::request::Sampling;
use slmd::engine::{Engine, EngineOptions, choice};
use slmd::runtime::{AskedForm, Limits, Model, ReadyForm};
use slmd::sample::{Masked, ResponseShape, Sampler, Seen};
use std::path::Path;
use std::time::{Duration, Instant};

const SAID: [&str; 12] = [
    "warmer in the back",
    "set the temperature to 21 degrees",
    "open the sunroof halfway and turn off the wipers",
    "close all windows",
    "turn the volume up a bit",
    "it is freezing in here",
    "heat my seat and the one beside me",
    "lock the doors please",
    "dim the lights to ten percent",
    "next song",
    "take me home",
    "what is the capital of france",
];
const SEEN: [&str; 4] = [
    r#"{"sensor":"vibration","last":138,"peak":138,"trend":60,"spread":84}"#,
    r#"{"sensor":"temperature","last":97,"peak":99,"trend":4,"spread":6}"#,
    r#"{"sensor":"pressure","floor":61,"last":61,"trend":-30,"spread":33}"#,
    r#"{"sensor":"current","last":72,"peak":80,"trend":2,"spread":9}"#,
];
const ROUNDS: usize = 40;
const MOST: usize = 200;

fn main() {
    let dirs: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let own = Bundle::default_model().expect("the embedded model");
    println!(
        "| model | engine | shape | tokens | forced | whole: one by one, forced, ratio | decoding: one by one, forced, ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    for kind in [EngineKind::Ort, EngineKind::Tract] {
        for (task, prompts) in [("vehicle", &SAID[..]), ("alert", &SEEN[..]), ("intent", &SAID[..])]
        {
            measure(&own, kind, Some(task), &schema(&own, task), prompts, ROUNDS);
        }
        for dir in &dirs {
            let bundle = Bundle::open(Path::new(dir), None).expect("a bundle");
            measure(&bundle, kind, None, &schema(&own, "vehicle"), &SAID[..4], 3);
        }
    }
}

fn schema(bundle: &Bundle, task: &str) -> AskedForm {
    let task = bundle.tasks.iter().find(|t| t.name == task).expect("a task of the model");
    let Some(Output::JsonSchema(schema)) = &task.output else { panic!("a schema") };
    AskedForm::Shape(ResponseShape::JsonSchema(schema.clone()))
}

/// How one answer was made.
#[derive(Debug, Default)]
struct Made {
    tokens: usize,
    forced: usize,
    prefill: Duration,
    decode: Duration,
}

fn measure(
    bundle: &Bundle,
    kind: EngineKind,
    task: Option<&str>,
    form: &AskedForm,
    prompts: &[&str],
    rounds: usize,
) {
    let model = Model::new(bundle, &[]).expect("its text side");
    let options = EngineOptions {
        threads: 2,
        context_tokens: 512,
        max_chunk: 128,
        ..EngineOptions::default()
    };
    let chosen = choice::choose(kind).expect("the engine");
    let mut engine = choice::load(&chosen, &bundle.graph, &options).expect("the model loads");
    let limits = Limits {
        queue: 1,
        max_step: Duration::from_secs(1),
        deadline: Duration::from_secs(1),
        first_token: None,
        max_tokens: MOST as u32,
        prompt_bytes: 4096,
    };
    let (mut plain, mut appended) = (Vec::new(), Vec::new());
    let (mut tokens, mut forced) = (0, 0);
    for round in 0..rounds {
        for prompt in prompts {
            let caps = engine.caps().clone();
            let fed = model.prompt_tokens(task, prompt, &caps, &limits).expect("it fits");
            for first in [round % 2 == 0, round % 2 == 1] {
                let made = make(engine.as_mut(), &model, form, &fed, first);
                if first {
                    (tokens, forced) = (tokens + made.tokens, forced + made.forced);
                }
                if round > 0 {
                    if first { appended.push(made) } else { plain.push(made) }
                }
            }
        }
    }
    let whole = |made: &Made| made.prefill + made.decode;
    let (a, b) = (median(&plain, whole), median(&appended, whole));
    let (c, d) = (median(&plain, |m| m.decode), median(&appended, |m| m.decode));
    println!(
        "| {} | {} | {} | {:.1} | {:.0} % | {a:.2}, {b:.2} ms, {:.2} | {c:.2}, {d:.2} ms, {:.2} |",
        bundle.name,
        kind.name(),
        task.unwrap_or("vehicle's schema"),
        tokens as f64 / (rounds * prompts.len()) as f64,
        100.0 * forced as f64 / tokens as f64,
        a / b,
        c / d
    );
}

fn median(all: &[Made], of: impl Fn(&Made) -> Duration) -> f64 {
    let mut ms: Vec<f64> = all.iter().map(|made| of(made).as_secs_f64() * 1e3).collect();
    ms.sort_by(f64::total_cmp);
    ms[ms.len() / 2]
}

fn make(
    engine: &mut dyn Engine,
    model: &Model,
    form: &AskedForm,
    prompt: &[u32],
    appends: bool,
) -> Made {
    let Ok(ReadyForm::Shape(mut constraint, _)) = model.compile(form) else {
        panic!("it compiles")
    };
    let mut sampler = Sampler::new(Sampling::default());
    let (mut all, mut made) = (prompt.to_vec(), Made::default());
    let start = Instant::now();
    let mut fed = 0;
    loop {
        feed(engine, fed, &all[fed..]);
        if fed == 0 {
            made.prefill = start.elapsed();
        }
        fed = all.len();
        let logits = engine.logits(0);
        match constraint.mask().expect("a mask") {
            Masked::Stop => break,
            Masked::Tokens(mask) => mask.apply(logits),
        }
        let (before, answer) = all.split_at(prompt.len());
        let drawn = sampler.sample(logits, Seen { prompt: before, answer }).expect("a token").token;
        if model.eos.contains(&drawn) {
            break;
        }
        let mut next = vec![drawn];
        constraint.advance(drawn).expect("allowed");
        if appends && !constraint.must_stop() {
            let more: Vec<u32> = constraint.forced().to_vec();
            for token in more.into_iter().take_while(|t| !model.eos.contains(t)) {
                constraint.advance(token).expect("forced");
                next.push(token);
                made.forced += 1;
            }
        }
        made.tokens += next.len();
        all.extend(next);
        if constraint.must_stop() || made.tokens >= MOST {
            break;
        }
    }
    made.decode = start.elapsed() - made.prefill;
    made
}

fn feed(engine: &mut dyn Engine, pos: usize, tokens: &[u32]) {
    let slot = Slot { model: ModelId(0), index: 0, generation: 0 };
    let mut at = pos;
    for part in tokens.chunks(128) {
        let want = if at + part.len() == pos + tokens.len() { Want::Last } else { Want::None };
        let row = Row { slot, pos: at as u32, tokens: part, want };
        engine.step(&StepPlan { rows: &[row] }).expect("the step runs");
        at += part.len();
    }
}
