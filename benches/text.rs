//! What sampling, constraints and text cost: `cargo bench --bench text`.

use serde_json::json;
use slmd::core::request::Sampling;
use slmd::sample::{GrammarFactory, Masked, ResponseShape, Rng, Sampler, Seen, TokenMask};
use slmd::text::{ChatTemplate, Conversation, Tokenizer};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

fn main() {
    sampler();
    constraints_and_text();
}

fn median(mut us: Vec<f64>) -> String {
    us.sort_by(f64::total_cmp);
    let at = |q: f64| us[((us.len() - 1) as f64 * q) as usize];
    format!("median {:.1} us, p99 {:.1}, most {:.1}", at(0.5), at(0.99), at(1.0))
}

fn time(n: usize, mut f: impl FnMut()) -> String {
    f();
    let runs = (0..n).map(|_| {
        let start = Instant::now();
        f();
        start.elapsed().as_secs_f64() * 1e6
    });
    median(runs.collect())
}

fn rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

fn sampler() {
    for size in [49_152usize, 151_936] {
        let mut rng = Rng::new(1);
        // About normal, as logits are.
        let logits: Vec<f32> = (0..size)
            .map(|_| ((0..6).map(|_| rng.next_f64()).sum::<f64>() as f32 - 3.0) * 4.0)
            .collect();
        let warm = Sampling { temperature: 0.8, seed: Some(1), ..Sampling::default() };
        for (name, sampling) in [
            ("greedy", Sampling::default()),
            ("temperature", warm),
            ("top-k 40", Sampling { top_k: 40, ..warm }),
            ("top-p 0.95", Sampling { top_p: 0.95, ..warm }),
            (
                "top-k 40 top-p 0.95 min-p 0.05",
                Sampling { top_k: 40, top_p: 0.95, min_p: 0.05, ..warm },
            ),
            ("min-p 0.05", Sampling { min_p: 0.05, ..warm }),
            ("hot top-p 0.95", Sampling { temperature: 3.0, top_p: 0.95, ..warm }),
        ] {
            let (mut s, mut row) = (Sampler::new(sampling), logits.clone());
            let t = time(300, || _ = s.sample(&mut row, Seen::default()));
            println!("{size} {name}: {t}");
        }
        let mut s = Sampler::new(Sampling::default()).with_logprobs(Some(0));
        let mut row = logits.clone();
        println!(
            "{size} greedy with logprob: {}",
            time(300, || _ = s.sample(&mut row, Seen::default()))
        );
        let mut mask = TokenMask::none(size);
        (0..size as u32).step_by(7).for_each(|id| mask.allow(id));
        println!("{size} mask applied: {}", time(300, || mask.apply(&mut row)));
    }
}

fn constraints_and_text() {
    let path = std::env::var_os("SLMD_SHARED").map(PathBuf::from);
    let path = path.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared").into());
    let Ok(json) = std::fs::read(path.join("data/tokenizers/smollm2/tokenizer.json")) else {
        return println!("SKIP: no shared data");
    };
    let before = rss_mb();
    let start = Instant::now();
    let tokenizer = Arc::new(Tokenizer::new(&json, None, None).expect("sound"));
    println!("tokenizer: {:?}, {:.1} MB", start.elapsed(), rss_mb() - before);
    println!("token table: {} bytes", tokenizer.table().memory_bytes());
    let before = rss_mb();
    let start = Instant::now();
    let factory = GrammarFactory::new(Arc::clone(&tokenizer), &[2]).expect("sound");
    println!("grammar factory: {:?}, {:.1} MB", start.elapsed(), rss_mb() - before);
    let shape = ResponseShape::JsonSchema(json!({"type": "object", "properties": {
        "severity": {"enum": ["info", "warning", "critical"]},
        "message": {"type": "string", "maxLength": 60},
        "value": {"type": "integer", "minimum": 0, "maximum": 1000}},
        "required": ["severity", "message", "value"], "additionalProperties": false}));
    let start = Instant::now();
    drop(factory.compile(&shape).expect("sound"));
    println!("first compile: {:?}", start.elapsed());
    println!("from the cache: {}", time(300, || drop(factory.compile(&shape).expect("sound"))));
    let mut rng = Rng::new(3);
    let (mut masks, mut steps, mut forced, mut tokens) = (Vec::new(), Vec::new(), 0, 0);
    let mut forces = Vec::new();
    for _ in 0..150 {
        let mut c = factory.compile(&shape).expect("sound");
        loop {
            let start = Instant::now();
            let run = c.forced().to_vec();
            forces.push(start.elapsed().as_secs_f64() * 1e6);
            forced += run.len();
            tokens += run.len();
            run.iter().for_each(|&id| c.advance(id).expect("sound"));
            let start = Instant::now();
            let masked = c.mask().expect("sound");
            masks.push(start.elapsed().as_secs_f64() * 1e6);
            let Masked::Tokens(mask) = masked else { break };
            let ids: Vec<u32> = mask.ids().collect();
            let id = ids[(rng.next_u64() % ids.len() as u64) as usize];
            let start = Instant::now();
            c.advance(id).expect("sound");
            steps.push(start.elapsed().as_secs_f64() * 1e6);
            tokens += 1;
        }
    }
    println!("mask: {}", median(masks));
    println!("advance: {}", median(steps));
    println!("forced: {}; {forced} of {tokens} tokens", median(forces));
    let text = "The press runs warmer than yesterday. ".repeat(100);
    println!("encode {} bytes: {}", text.len(), time(50, || drop(tokenizer.encode(&text, false))));
    let source = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}";
    let template = ChatTemplate::new(source, Arc::new(|| 0)).expect("sound");
    let mut chat = Conversation::new(tokenizer.names());
    chat.push("user", "How warm is it?");
    let control = tokenizer.control();
    println!("render: {}", time(300, || drop(template.render(&chat, control).expect("sound"))));
    chat.push("user", "is 3 < 4?");
    println!(
        "render with markup: {}",
        time(300, || drop(template.render(&chat, control).expect("sound")))
    );
}
