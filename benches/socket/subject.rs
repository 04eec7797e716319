//! What takes turns: the daemon, and programs that run a round for each line they read.

use serde_json::Value;
use slmd::client::Client;
use slmd::wire::Ask;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    pub rss: u64,
    pub anonymous: u64,
}

/// One prompt and its answer.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// From the question to the first token, in microseconds.
    pub prefill_us: f64,
    /// Between tokens.
    pub steps_us: Vec<f64>,
    /// What the daemon says that its engine took.
    pub engine: Option<EngineTime>,
}

/// What of a round was the engine's.
#[derive(Debug, Clone, Copy)]
pub struct EngineTime {
    /// All prefill steps.
    pub prefill_us: f64,
    /// One decode step, on average.
    pub decode_us: f64,
    /// One token as the client waits for it, on average.
    pub token_us: f64,
}

/// A running program.
pub trait Subject {
    /// For the table.
    fn name(&self) -> &str;
    /// Runs a round.
    fn round(&mut self, number: usize) -> Round;
    /// Its memory before the first round.
    fn idle(&self) -> Memory;
    /// From its start to its first token, in milliseconds; of peers without the start of Python.
    fn first_token_ms(&self) -> Option<f64>;
    /// Its largest RSS so far, in bytes.
    fn peak_rss(&self) -> u64;
    /// The version of what it runs.
    fn version(&self) -> &str;
}

/// How the daemon is started and asked.
pub struct DaemonPlan<'a> {
    pub binary: &'a Path,
    pub bundle: &'a Path,
    pub engine: &'a str,
    pub threads: usize,
    pub max_step_ms: Option<u32>,
    pub tokens: u32,
    pub prompts: &'a [String],
}

/// `slmd serve`, asked through its socket.
pub struct Daemon {
    name: String,
    child: Child,
    client: Client,
    idle: Memory,
    first_token_ms: f64,
    version: String,
    tokens: u32,
    prompts: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Daemon {
    /// Starts it, gets a first token, starts it again for the rounds.
    pub fn start(plan: &DaemonPlan<'_>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let began = Instant::now();
        let child = spawn(plan, folder.path());
        let mut client = connect(&folder.path().join("slmd.sock"), began);
        let idle = memory_of(child.id());
        let ask = question(&plan.prompts[0], 1);
        let mut first_token = None;
        client
            .ask(&ask, |_| {
                first_token.get_or_insert(began.elapsed());
            })
            .expect("a first token");
        let status = client.status().expect("a status");
        Self {
            name: format!("slmd {} (socket)", plan.engine),
            child,
            client,
            idle,
            first_token_ms: first_token.unwrap_or_else(|| began.elapsed()).as_secs_f64() * 1e3,
            version: status["engine"].to_string(),
            tokens: plan.tokens,
            prompts: plan.prompts.to_vec(),
            _folder: folder,
        }
    }

    /// Steps of the engine so far and their time: decode, then prefill.
    fn steps(&mut self) -> [f64; 4] {
        let status = self.client.status().expect("a status");
        ["decode", "decode_us", "prefill", "prefill_us"]
            .map(|field| status["steps"][field].as_f64().expect("a daemon that counts its steps"))
    }
}

impl Subject for Daemon {
    fn name(&self) -> &str {
        &self.name
    }

    fn round(&mut self, number: usize) -> Round {
        let prompt = &self.prompts[number % self.prompts.len()];
        let ask = question(prompt, self.tokens);
        let before = self.steps();
        let mut times = Vec::with_capacity(self.tokens as usize);
        let began = Instant::now();
        let answer = self.client.ask(&ask, |_| times.push(began.elapsed())).expect("an answer");
        let whole = began.elapsed();
        let after = self.steps();
        let first = *times.first().expect("a delta");
        if times.len() != answer.completion_tokens as usize {
            eprintln!("{} deltas for {} tokens", times.len(), answer.completion_tokens);
        }
        assert_eq!(answer.completion_tokens, self.tokens, "an answer ended early");
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        let [decodes, decode_us, _, prefill_us] = std::array::from_fn(|i| after[i] - before[i]);
        Round {
            prefill_us: us(first),
            steps_us: times.windows(2).map(|pair| us(pair[1] - pair[0])).collect(),
            engine: Some(EngineTime {
                prefill_us,
                decode_us: decode_us / decodes,
                token_us: us(whole - first) / f64::from(answer.completion_tokens - 1),
            }),
        }
    }

    fn idle(&self) -> Memory {
        self.idle
    }

    fn first_token_ms(&self) -> Option<f64> {
        Some(self.first_token_ms)
    }

    fn peak_rss(&self) -> u64 {
        peak_rss_of(self.child.id())
    }

    fn version(&self) -> &str {
        &self.version
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(plan: &DaemonPlan<'_>, folder: &Path) -> Child {
    let step =
        plan.max_step_ms.map_or(String::new(), |ms| format!("[latency]\nmax-step-ms = {ms}"));
    let config = format!(
        "model = {:?}\nengine = {:?}\nthreads = {}\n[budget]\nmemory = \"4GiB\"\n\
         context-tokens = 1024\nsessions = 1\n[unix]\nallow-groups = []\n{step}\n",
        plan.bundle.display().to_string(),
        plan.engine,
        plan.threads
    );
    let file = folder.join("config.toml");
    std::fs::write(&file, config).expect("written");
    Command::new(plan.binary)
        .args(["serve", "--config"])
        .arg(&file)
        .arg("--socket")
        .arg(folder.join("slmd.sock"))
        .env("SLMD_LOG", "warn")
        .spawn()
        .expect("the daemon starts")
}

fn connect(socket: &Path, began: Instant) -> Client {
    loop {
        if let Ok(client) = Client::connect(socket) {
            return client;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the daemon does not come up");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn question(prompt: &str, tokens: u32) -> Ask {
    Ask {
        prompt: Some(prompt.to_owned()),
        max_tokens: Some(tokens),
        temperature: Some(0.0),
        deadline_ms: Some(600_000),
        stream: true,
        ..Ask::default()
    }
}

/// `benches/engine.rs` or `benches/peers.py`.
pub struct Program {
    name: String,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    ready: Value,
    first_token_ms: Option<f64>,
    rounds: usize,
}

impl Program {
    /// Starts it; none, with a message, if it says that it cannot run here.
    pub fn start(name: &str, command: &mut Command) -> Option<Self> {
        let piped = command.arg("--interactive").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = match piped.spawn() {
            Ok(child) => child,
            Err(error) => {
                eprintln!("SKIP: {name}: {error}");
                return None;
            }
        };
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        let (ready, first_token_ms) = (Value::Null, None);
        let name = name.to_owned();
        let mut program = Self { name, child, input, output, ready, first_token_ms, rounds: 0 };
        program.ready = program.hear();
        program.ready["skip"].is_null().then_some(program)
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        serde_json::from_str(&line)
            .unwrap_or_else(|e| panic!("{}: not a line of JSON: {e}: {line:?}", self.name))
    }
}

impl Subject for Program {
    fn name(&self) -> &str {
        &self.name
    }

    fn round(&mut self, _number: usize) -> Round {
        self.input.write_all(b"\n").expect("it reads");
        let round = self.hear();
        let steps = round["steps_us"].as_array().expect("steps");
        let prefill_us = round["prefill_us"].as_f64().expect("a time");
        if self.rounds == 0 {
            let load_ms = self.ready["load_ms"].as_f64().expect("a time");
            self.first_token_ms = Some(load_ms + prefill_us / 1e3);
        }
        self.rounds += 1;
        let steps_us = steps.iter().filter_map(Value::as_f64).collect();
        Round { prefill_us, steps_us, engine: None }
    }

    fn idle(&self) -> Memory {
        let bytes = |field: &str| self.ready[field].as_u64().unwrap_or(0);
        Memory { rss: bytes("rss_bytes"), anonymous: bytes("anonymous_bytes") }
    }

    fn first_token_ms(&self) -> Option<f64> {
        self.first_token_ms
    }

    fn peak_rss(&self) -> u64 {
        peak_rss_of(self.child.id())
    }

    fn version(&self) -> &str {
        self.ready["ready"].as_str().unwrap_or("")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn memory_of(pid: u32) -> Memory {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    Memory { rss: bytes_of(&rollup, "Rss:"), anonymous: bytes_of(&rollup, "Anonymous:") }
}

fn peak_rss_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    bytes_of(&status, "VmHWM:")
}

/// A line `FIELD  N kB` of a file in /proc.
fn bytes_of(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
