//! The raw rate of an engine, without text, scheduler or socket: prefill and decode of one bundle.
//!
//! `cargo bench --bench engine -- BUNDLE [--engine ort|tract] [--threads N] [--prompt N]
//! [--tokens N] [--rounds N] [--chunk N] [--context N] [--kv auto|f32|f16|int8] [--rows N]
//! [--interactive]`; prints one JSON object. A step's time is that of `Engine::step` alone. The
//! bundle `default` is the embedded model. With `--rows` so many sessions of different lengths
//! decode in one step, and the rate is that of all together.
//!
//! With `--interactive` it runs one round for each line on its input and prints that round, so that
//! `benches/socket` can take turns with others; see `benches/peers.py` for the lines.

use slmd::bundle::Bundle;
use slmd::core::plan::{EngineKind, KvType, ModelId, Row, Slot, StepPlan, Want};
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
    let bundle = match dir.as_str() {
        "default" => Bundle::default_model(),
        dir => Bundle::open(dir, None),
    };
    let bundle = bundle.expect("a good bundle");
    let rows = number("--rows", 1);
    let kind =
        flag("--engine").map_or(EngineKind::Auto, |n| EngineKind::from_name(n).expect("an engine"));
    let began = Instant::now();
    let options = EngineOptions {
        threads: number("--threads", 1) as usize,
        slots: rows as u16,
        context_tokens: number("--context", 1024),
        max_chunk: number("--chunk", 128),
        kv: flag("--kv").map_or(KvType::Auto, |n| KvType::from_name(n).expect("a KV type")),
        ..EngineOptions::default()
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
        let (prefill, steps) = match rows {
            1 => run(engine.as_mut(), prompt, tokens, round),
            rows => run_together(engine.as_mut(), rows, prompt, tokens),
        };
        prefills.push(prefill);
        decodes.extend(steps);
    }
    let (prefill, decode) = (median(&mut prefills), median(&mut decodes));
    println!(
        "{}",
        serde_json::json!({
            "bundle": bundle.name, "engine": choice.kind.name(), "threads": options.threads,
            "prompt_tokens": prompt, "rows": rows, "kv": options.kv.name(), "load_ms": load.as_millis() as u64,
            "prefill_tokens_per_s": f64::from(prompt) / prefill.as_secs_f64(),
            "decode_tokens_per_s": f64::from(rows) / decode.as_secs_f64(),
            "idle_rss_mb": idle.rss_bytes / 1_000_000,
            "idle_anonymous_mb": idle.anonymous_bytes / 1_000_000,
            "rss_mb": process_memory().rss_bytes / 1_000_000,
            "footprint": format!("{:?}", engine.footprint()),
        })
    );
}

/// One prompt and `tokens` greedy steps: how long the prefill and each step took.
fn run(engine: &mut dyn Engine, prompt: u32, tokens: u32, seed: u32) -> (Duration, Vec<Duration>) {
    let (vocab, chunk) = (engine.caps().vocab_size, engine.caps().max_chunk as usize);
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

/// `rows` prompts, each 8 tokens longer than the one before, and `tokens` greedy steps of all
/// together: how long the shortest prefill and each step took.
fn run_together(
    engine: &mut dyn Engine,
    rows: u32,
    prompt: u32,
    tokens: u32,
) -> (Duration, Vec<Duration>) {
    let slot = |index: usize| Slot { model: ModelId(0), index: index as u16, generation: 1 };
    let best = |logits: &[f32]| {
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map_or(0, |(id, _)| id as u32)
    };
    let (vocab, chunk) = (engine.caps().vocab_size, engine.caps().max_chunk as usize);
    let (mut prefill, mut next, mut pos) = (Duration::MAX, Vec::new(), Vec::new());
    for row in 0..rows {
        let ids: Vec<u32> =
            (0..prompt + 8 * row).map(|i| (i * 7919 + row * 31 + 13) % (vocab - 3) + 3).collect();
        let began = Instant::now();
        for (at, part) in ids.chunks(chunk).enumerate() {
            let pos = (at * chunk) as u32;
            let row = Row { slot: slot(row as usize), pos, tokens: part, want: Want::Last };
            engine.step(&StepPlan { rows: &[row] }).expect("the step runs");
        }
        prefill = prefill.min(began.elapsed());
        next.push([best(engine.logits(0))]);
        pos.push(ids.len() as u32);
    }
    let mut steps = Vec::new();
    for _ in 0..tokens {
        let fed = next.clone();
        let rows = fed.iter().zip(&pos).enumerate().map(|(index, (tokens, pos))| Row {
            slot: slot(index),
            pos: *pos,
            tokens,
            want: Want::Last,
        });
        let rows: Vec<Row<'_>> = rows.collect();
        let began = Instant::now();
        engine.step(&StepPlan { rows: &rows }).expect("the step runs");
        steps.push(began.elapsed());
        for (row, (next, pos)) in next.iter_mut().zip(&mut pos).enumerate() {
            *next = [best(engine.logits(row))];
            *pos += 1;
        }
    }
    (prefill, steps)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
