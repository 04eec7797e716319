//! What the daemon itself costs a token: the whole path, scheduler, sampler, text and socket, around
//! an engine that only waits.
//!
//! `cargo bench --bench overhead -- [BUNDLE] [--step-us N] [--touch-mb N] [--tokens N]
//! [--rounds N]`; with --touch-mb a step reads as much memory, as weights would. Of BUNDLE only the
//! text side and the size of the vocabulary are used, without it the test model
//! smollm2-135m-int4. Prints, for several ways to ask, the microseconds a token that the client waits
//! beyond the engine's own.

use slmd::bundle::Bundle;
use slmd::client::Client;
use slmd::core::plan::{Caps, Rollback, Shapes, Slot, StepPlan, StopGrain};
use slmd::core::provider::CPU;
use slmd::engine::{Engine, EngineInfo, Footprint, StepError, Stop};
use slmd::runtime::{self, Model, Runtime};
use slmd::transport::{access::Access, listen::Listener, unix};
use slmd::wire::{Ask, Codec, ResponseFormat};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number = |name: &str, default: u64| -> u64 {
        let text = args.iter().position(|a| a == name).and_then(|at| args.get(at + 1));
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let named = args.first().filter(|a| !a.starts_with("--")).map(PathBuf::from);
    let Some(dir) = named.or_else(test_model) else {
        eprintln!("SKIP: no bundle given, and no test model smollm2-135m-int4");
        return;
    };
    let step = Duration::from_micros(number("--step-us", 1000));
    let (tokens, rounds) = (number("--tokens", 256) as u32, number("--rounds", 9));
    let touched = vec![1u64; number("--touch-mb", 0) as usize * 1_000_000 / 8];
    let bundle = Bundle::open(dir, None).expect("a good bundle");
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("slmd.sock");
    let _runtime = serve(&bundle, step, touched, &socket);
    println!("{:24} us/token: median (quartiles) of {rounds} rounds of {tokens}", "");
    for (name, codec, ask) in ways(tokens) {
        let mut client = Client::connect_with(&socket, codec).expect("it listens");
        let mut figures: Vec<f64> =
            (0..=rounds).map(|_| round(&mut client, &ask)).skip(1).collect();
        figures.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| figures[((figures.len() - 1) as f64 * share) as usize];
        println!("{name:24} {:6.1} ({:.1} to {:.1})", at(0.5), at(0.25), at(0.75));
    }
}

/// The ways to ask that are compared.
fn ways(tokens: u32) -> Vec<(&'static str, Codec, Ask)> {
    let greedy = Ask {
        prompt: Some("the of and to in a is that".to_owned()),
        max_tokens: Some(tokens),
        temperature: Some(0.0),
        deadline_ms: Some(600_000),
        stream: true,
        ..Ask::default()
    };
    let warm = Ask { temperature: Some(0.7), seed: Some(1), ..greedy.clone() };
    vec![
        ("greedy, not streamed", Codec::Postcard, Ask { stream: false, ..greedy.clone() }),
        ("greedy", Codec::Postcard, greedy.clone()),
        ("greedy, JSON lines", Codec::JsonLines, greedy.clone()),
        ("penalties", Codec::Postcard, Ask { repetition_penalty: Some(1.1), ..greedy.clone() }),
        ("top-k 40", Codec::Postcard, Ask { top_k: Some(40), ..warm.clone() }),
        ("top-p 0.9", Codec::Postcard, Ask { top_p: Some(0.9), ..warm }),
        (
            "regex [a-z ]*",
            Codec::Postcard,
            Ask { response_format: Some(ResponseFormat::Regex("[a-z ]*".to_owned())), ..greedy },
        ),
    ]
}

/// One answer: the time of a token that was not the engine's.
fn round(client: &mut Client, ask: &Ask) -> f64 {
    std::thread::sleep(Duration::from_millis(20));
    let before = engine_us(client);
    let began = Instant::now();
    let answer = client.ask(ask, |_| {}).expect("an answer");
    let whole_us = began.elapsed().as_secs_f64() * 1e6;
    (whole_us - (engine_us(client) - before)) / f64::from(answer.completion_tokens)
}

fn engine_us(client: &mut Client) -> f64 {
    let status = client.status().expect("a status");
    let us = |field: &str| status["steps"][field].as_f64().expect("a daemon that counts its steps");
    us("decode_us") + us("prefill_us")
}

/// A daemon in this process, on a thread that ends with it.
fn serve(bundle: &Bundle, step: Duration, touched: Vec<u64>, socket: &std::path::Path) -> Runtime {
    let limits = runtime::Limits {
        queue: 2,
        max_step: Duration::from_millis(60),
        deadline: Duration::from_secs(600),
        first_token: None,
        max_tokens: 4096,
        prompt_bytes: 65_536,
    };
    let model = Model::new(bundle, &[]).expect("a good bundle");
    let engine = Waiting::new(bundle.graph.vocab_size as u32, step, touched);
    let runtime = Runtime::start(model, Box::new(engine), None, &limits, Default::default());
    let runtime = runtime.expect("it starts");
    let (handle, listener) = (runtime.handle(), Listener::bind(socket, None).expect("a socket"));
    std::thread::spawn(move || {
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build();
        event_loop
            .expect("an event loop")
            .block_on(unix::serve(
                listener,
                Access::default(),
                slmd::transport::shares::Shares::new(Default::default()),
                unix::Limits::default(),
                handle,
                stopped,
            ))
            .expect("it serves");
    });
    runtime
}

fn test_model() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("slmd/test-models/smollm2-135m-int4")).filter(|dir| dir.is_dir())
}

/// An engine whose logits are noise and whose steps take a given time, all of it busy.
struct Waiting {
    caps: Caps,
    info: EngineInfo,
    step: Duration,
    /// Read in every step.
    touched: Vec<u64>,
    noise: Vec<f32>,
    logits: Vec<f32>,
    steps: usize,
}

impl Waiting {
    fn new(vocab_size: u32, step: Duration, touched: Vec<u64>) -> Self {
        let caps = Caps {
            max_rows: 1,
            multi_token_rows: 1,
            mixed: false,
            shapes: Shapes::Any,
            rollback: Rollback::AnyLen,
            all_logits: false,
            stop: StopGrain::Step,
            context_tokens: 8192,
            max_chunk: 128,
            slots: 1,
            vocab_size,
        };
        // About what logits look like: a normal distribution, three units wide.
        let mut state = 1u32;
        let mut uniform = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24)
        };
        let noise = (0..2 * vocab_size)
            .map(|_| ((0..12).map(|_| uniform()).sum::<f64>() * 3.0 - 18.0) as f32)
            .collect();
        let info = EngineInfo {
            name: "waiting",
            version: String::new(),
            library: None,
            provider: CPU.to_owned(),
        };
        Self { caps, info, step, touched, noise, logits: vec![0.0; vocab_size as usize], steps: 0 }
    }
}

impl Engine for Waiting {
    fn caps(&self) -> &Caps {
        &self.caps
    }

    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn footprint(&self) -> Footprint {
        Footprint::default()
    }

    fn step(&mut self, _plan: &StepPlan<'_>) -> Result<(), StepError> {
        let began = Instant::now();
        let len = self.logits.len();
        let from = self.steps * 7919 % len;
        self.logits.copy_from_slice(&self.noise[from..from + len]);
        self.steps += 1;
        std::hint::black_box(self.touched.iter().sum::<u64>());
        while began.elapsed() < self.step {
            std::hint::spin_loop();
        }
        Ok(())
    }

    fn logits(&mut self, _row: usize) -> &mut [f32] {
        &mut self.logits
    }

    fn release(&mut self, _slot: Slot) {}

    fn stopper(&self) -> Option<Arc<dyn Stop>> {
        None
    }
}
