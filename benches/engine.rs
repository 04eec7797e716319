//! The raw rate of an engine, without text, scheduler or socket: prefill and decode of one bundle.
//!
//! `cargo bench --bench engine -- BUNDLE [--engine ort|tract] [--threads N] [--prompt N]
//! [--tokens N] [--rounds N] [--chunk N] [--interactive]`; prints one JSON object. A step's time is
//! that of `Engine::step` alone.
//!
//! With `--interactive` it runs one round for each line on its input and prints that round, so that
//! `benches/socket` can take turns with others; see `benches/peers.py` for the lines.

use slmd::bundle::Bundle;
use slmd::core::plan::EngineKind;
use slmd::core::plan::{ModelId, Row, Slot, StepPlan, Want};
use slmd::engine::choice;
use slmd::engine::{Engine, EngineOptions, process_memory};
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let flag = |name: &str| {
        args.iter().position(|a| a == name).and_then(|at| args.get(at + 1)).map(String::as_str)
    };
    let number = |name: &str, default: u32| -> u32 {
        flag(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let Some(dir) = args.first().filter(|a| !a.starts_with("--")) else {
        eprintln!("SKIP: no bundle given; see the head of benches/engine.rs");
        return;
    };
    let (prompt, tokens, rounds) =
        (number("--prompt", 128), number("--tokens", 64), number("--rounds", 3));
    let bundle = Bundle::open(dir, None).expect("a good bundle");
    let kind =
        flag("--engine").map_or(EngineKind::Auto, |n| EngineKind::from_name(n).expect("an engine"));
    let began = Instant::now();
    let options = EngineOptions {
        threads: number("--threads", 1) as usize,
        slots: 1,
        context_tokens: 1024,
        max_chunk: number("--chunk", 128),
    };
    let choice = choice::choose(kind).expect("an engine of that name");
    let mut engine = choice::load(&choice, &bundle.graph, &options).expect("the model loads");
    let load = began.elapsed();
    let idle = process_memory();
    if args.iter().any(|a| a == "--interactive") {
        println!(
            "{}",
            serde_json::json!({
                "ready": engine.info().version, "load_ms": load.as_secs_f64() * 1e3,
                "rss_bytes": idle.rss_bytes, "anonymous_bytes": idle.anonymous_bytes,
            })
        );
        for (round, _) in std::io::stdin().lines().enumerate() {
            let (prefill, steps) = run(engine.as_mut(), prompt, tokens, round as u32);
            let us: Vec<f64> = steps.iter().map(|s| s.as_secs_f64() * 1e6).collect();
            let prefill_us = prefill.as_secs_f64() * 1e6;
            println!("{}", serde_json::json!({ "prefill_us": prefill_us, "steps_us": us }));
        }
        return;
    }
    let (mut prefills, mut decodes) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (prefill, steps) = run(engine.as_mut(), prompt, tokens, round);
        prefills.push(prefill);
        decodes.extend(steps);
    }
    let (prefill, decode) = (median(&mut prefills), median(&mut decodes));
    println!(
        "{}",
        serde_json::json!({
            "bundle": bundle.name, "engine": choice.kind.name(), "threads": options.threads,
            "prompt_tokens": prompt, "load_ms": load.as_millis() as u64,
            "prefill_tokens_per_s": f64::from(prompt) / prefill.as_secs_f64(),
            "decode_tokens_per_s": 1.0 / decode.as_secs_f64(),
            "idle_rss_mb": idle.rss_bytes / 1_000_000,
            "idle_anonymous_mb": idle.anonymous_bytes / 1_000_000,
            "rss_mb": process_memory().rss_bytes / 1_000_000,
            "footprint": format!("{:?}", engine.footprint()),
        })
    );
}

/// One prompt and `tokens` greedy steps: how long the prefill and each step took.
fn run(engine: &mut dyn Engine, prompt: u32, tokens: u32, seed: u32) -> (Duration, Vec<Duration>) {
    let vocab = engine.caps().vocab_size;
    let ids: Vec<u32> =
        (0..prompt).map(|i| (i * 7919 + seed * 31 + 13) % (vocab - 3) + 3).collect();
    let slot = Slot { model: ModelId(0), index: 0, generation: seed };
    let mut step = |pos: u32, tokens: &[u32]| {
        let row = Row { slot, pos, tokens, want: Want::Last };
        let began = Instant::now();
        engine.step(&StepPlan { rows: &[row] }).expect("the step runs");
        let took = began.elapsed();
        let logits = engine.logits(0).iter().enumerate();
        let best = logits.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(id, _)| id as u32);
        (took, best)
    };
    let mut prefill = Duration::ZERO;
    let mut next = 0;
    let chunk = 128.max(prompt as usize);
    for (at, part) in ids.chunks(chunk).enumerate() {
        let (took, best) = step((at * chunk) as u32, part);
        prefill += took;
        next = best;
    }
    let steps = (0..tokens).map(|i| {
        let (took, best) = step(prompt + i, &[next]);
        next = best;
        took
    });
    let steps = steps.collect();
    (prefill, steps)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
