//! The figures of the daemon through its socket, beside the engine's own and those of other
//! programs, all taken in turns in one run. `cargo bench --bench socket -- --help`;
//! `docs/benchmarks.md` says how to read what it prints.

mod bundle;
mod report;
mod subject;

use clap::Parser;
use report::{Report, Series};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use subject::{Daemon, DaemonPlan, Program, Round, Subject};

/// Prefill, decode, cold start and memory of `slmd serve` through its socket, in turns with the raw
/// engine (`benches/engine.rs`) and with other programs (`benches/peers.py`).
#[derive(Parser)]
#[command(name = "cargo bench --bench socket --")]
struct Args {
    /// A bundle of the GenAI layout; left out: the test model smollm2-135m-int4.
    #[arg(long)]
    bundle: Option<PathBuf>,
    /// Engines.
    #[arg(long, value_delimiter = ',', default_value = "ort,tract")]
    engines: Vec<String>,
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    threads: Vec<usize>,
    /// Tokens of the prompt.
    #[arg(long, default_value_t = 128)]
    prompt: usize,
    /// Tokens of the answer.
    #[arg(long, default_value_t = 128)]
    tokens: u32,
    /// Rounds of each, after one that is not counted.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Starts of each daemon, of which the median counts.
    #[arg(long, default_value_t = 3)]
    starts: usize,
    /// `latency.max-step-ms` of the daemon; left out: its default.
    #[arg(long)]
    max_step_ms: Option<u32>,
    /// Seconds of quiet before each round.
    #[arg(long, default_value_t = 0.2)]
    pause: f64,
    /// The other programs: Pythons of which one has onnxruntime-genai, and one llama-cpp-python.
    #[arg(long, value_delimiter = ',')]
    peers: Vec<PathBuf>,
    /// The same shape as a Q4_0 file of llama.cpp, made by `benches/peers.py quantise`.
    #[arg(long)]
    gguf: Option<PathBuf>,
    /// Where to write everything as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() {
    let args = Args::parse_from(std::env::args().filter(|a| a != "--bench"));
    let Some(source) = args.bundle.clone().or_else(bundle::test_model) else {
        eprintln!("SKIP: no bundle; make the test model with onnx/make-test-models, or --bundle");
        return;
    };
    let (folder, prompts) = bundle::prepare(&source, args.prompt);
    let mut report = Report::new(&args.prompt, args.tokens, args.rounds);
    for &threads in &args.threads {
        let mut subjects = Vec::new();
        for engine in &args.engines {
            let plan = DaemonPlan {
                binary: Path::new(env!("CARGO_BIN_EXE_slmd")),
                bundle: folder.path(),
                engine,
                threads,
                max_step_ms: args.max_step_ms,
                tokens: args.tokens,
                prompts: &prompts,
            };
            let starts: Vec<f64> =
                (0..args.starts).filter_map(|_| Daemon::start(&plan).first_token_ms()).collect();
            let daemon = Daemon::start(&plan);
            subjects.push((Box::new(daemon) as Box<dyn Subject>, starts));
            let raw = raw_engine(&args, folder.path(), engine, threads);
            subjects.extend(raw.map(|p| (Box::new(p) as Box<dyn Subject>, Vec::new())));
        }
        let peers = peers(&args, folder.path(), threads);
        subjects.extend(peers.into_iter().map(|p| (Box::new(p) as Box<dyn Subject>, Vec::new())));
        let rounds = take_turns(&args, &mut subjects);
        for ((subject, starts), rounds) in subjects.iter().zip(rounds) {
            report.add(Series::new(subject.as_ref(), threads, args.prompt, starts, &rounds));
        }
    }
    report.print();
    if let Some(path) = &args.json {
        std::fs::write(path, report.json()).expect("written");
    }
}

/// Every subject in turn, forth and back, so that a drift of the machine meets all alike.
fn take_turns(args: &Args, subjects: &mut [(Box<dyn Subject>, Vec<f64>)]) -> Vec<Vec<Round>> {
    let mut rounds = vec![Vec::new(); subjects.len()];
    for number in 0..=args.rounds {
        let mut order: Vec<usize> = (0..subjects.len()).collect();
        if number % 2 == 1 {
            order.reverse();
        }
        for at in order {
            std::thread::sleep(Duration::from_secs_f64(args.pause));
            let round = subjects[at].0.round(number);
            if number > 0 {
                rounds[at].push(round);
            }
        }
    }
    rounds
}

/// The engine bench that was built with this one.
fn raw_engine(args: &Args, bundle: &Path, engine: &str, threads: usize) -> Option<Program> {
    let own = std::env::current_exe().expect("a path");
    let Some(binary) = newest(own.parent().expect("a folder"), "engine-") else {
        eprintln!("SKIP: the raw engine: build it with cargo bench --no-run --bench engine");
        return None;
    };
    let mut command = Command::new(binary);
    command.arg(bundle).args(["--engine", engine, "--threads", &threads.to_string()]);
    command.args(["--prompt", &args.prompt.to_string(), "--chunk", &args.prompt.to_string()]);
    Program::start(&format!("{engine} raw"), command.args(["--tokens", &args.tokens.to_string()]))
}

/// The newest program in `folder` whose name begins so.
fn newest(folder: &Path, prefix: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let is_one = |path: &PathBuf| {
        path.extension().is_none()
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    };
    files.filter(is_one).max_by_key(|path| path.metadata().and_then(|m| m.modified()).ok())
}

/// Each peer by the first Python that has it.
fn peers(args: &Args, bundle: &Path, threads: usize) -> Vec<Program> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers.py");
    let start = |name: &str, kind: &str, model: &Path| {
        let found = args.peers.iter().find_map(|python| {
            let mut command = Command::new(python);
            command.arg(&script).arg(kind).arg(model).args(["--threads", &threads.to_string()]);
            command.args(["--prompt", &args.prompt.to_string()]);
            Program::start(name, command.args(["--tokens", &args.tokens.to_string()]))
        });
        if found.is_none() {
            eprintln!("SKIP: {name}: none of --peers has it");
        }
        found
    };
    let genai = start("genai int4", "genai", bundle);
    let Some(gguf) = &args.gguf else {
        eprintln!("SKIP: llama.cpp: no --gguf");
        return genai.into_iter().collect();
    };
    let llama = start("llama.cpp Q4_0", "llama", gguf);
    let plain = start("llama.cpp Q4_0, no flash attention", "llama-plain", gguf);
    genai.into_iter().chain(llama).chain(plain).collect()
}
