//! The memory contract: nothing grows, the plan holds, and what does not fit is refused.
#![cfg(feature = "default-model")]

mod common;

use slmd::bundle::Bundle;
use slmd::core::error::ErrorCode;
use slmd::core::plan::KvType;
use slmd::core::request::Score;
use slmd::engine::scripted::ScriptedEngine;
use slmd::engine::{Engine, EngineOptions, peak_rss_bytes_of, process_memory_of};
use slmd::runtime::{Event, Limits, Model, Origin, Outbox, Runtime};
use slmd::sample::{ResponseShape, Rng};
use slmd::wire::{Ask, Message, Reply, ResponseFormat};
use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The system's allocator, counting what is held.
struct Counting;

static HELD_BYTES: AtomicI64 = AtomicI64::new(0);
/// The most that was held since this was set.
static PEAK_BYTES: AtomicI64 = AtomicI64::new(0);

fn count(bytes: usize, sign: i64) {
    let change = sign * bytes as i64;
    let held = HELD_BYTES.fetch_add(change, Ordering::Relaxed) + change;
    PEAK_BYTES.fetch_max(held, Ordering::Relaxed);
}

// SAFETY: every call goes on to the system's allocator unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as in `alloc`; the pointer came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, 1);
        count(layout.size(), -1);
        // SAFETY: as in `dealloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// One count for the process: the tests that read it take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

const CONTEXT: u32 = 256;

fn options() -> EngineOptions {
    EngineOptions {
        threads: 1,
        slots: 2,
        context_tokens: CONTEXT,
        max_chunk: 64,
        kv: KvType::Auto,
        ..EngineOptions::default()
    }
}

fn start(model: Model, engine: Box<dyn Engine>) -> Runtime {
    let limits = Limits {
        queue: 4,
        max_step: Duration::from_secs(1),
        deadline: Duration::from_secs(600),
        first_token: None,
        max_tokens: 16,
        prompt_bytes: 4096,
    };
    Runtime::start(model, engine, None, &limits, serde_json::Map::new())
        .expect("the self-test passes")
}

fn chat(text: &str) -> Ask {
    let message = Message::new("user", text);
    Ask { messages: vec![message], max_tokens: Some(6), ..Ask::default() }
}

/// A request of every kind, and what becomes of it.
enum Kind {
    Answered,
    Cancelled,
    Refused(ErrorCode),
}

/// The `n`th request: short, long, of several shapes, streamed, cancelled, refused.
fn mixed(n: u64, rng: &mut Rng) -> (Ask, Kind) {
    let format = |format: ResponseFormat| Ask { response_format: Some(format), ..chat("which?") };
    let labels = |n: u64| (0..3).map(|i| format!("label {} of {n}", i)).collect::<Vec<_>>();
    let schema = |n: u64| {
        serde_json::json!({"type": "object", "additionalProperties": false, "required": ["on"],
            "properties": {"on": {"type": "boolean"}, "level": {"type": "integer",
                "minimum": 0, "maximum": 10 + n}}})
    };
    let ask = match n % 10 {
        0 => chat("hello"),
        1 => chat(&"warm ".repeat(1 + rng.next_u64() as usize % 150)),
        2 => Ask { stream: true, ..chat("tell me") },
        3 => format(ResponseFormat::Choice(labels(n % 97), Score::Sum)),
        4 => format(ResponseFormat::JsonSchema(schema(n % 89))),
        5 => format(ResponseFormat::Regex(format!("[a-z]{{1,{}}}", 1 + n % 83))),
        6 => return (Ask { max_tokens: Some(60), ..chat("go on") }, Kind::Cancelled),
        7 => return (chat(&"far too long ".repeat(400)), Kind::Refused(ErrorCode::TooLarge)),
        8 => {
            let ask = Ask { max_tokens: Some(2 * CONTEXT), ..chat("hello") };
            return (ask, Kind::Refused(ErrorCode::MemoryInfeasible));
        }
        _ => Ask { stop: vec!["never said".into()], temperature: Some(1.3), ..chat("a stop") },
    };
    (ask, Kind::Answered)
}

fn submit(runtime: &Runtime, ask: Ask) -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(64);
    let outbox = Outbox::reserve(&sender).expect("an empty channel");
    let handle = runtime.handle();
    let cancels = ask.max_tokens == Some(60);
    let request = handle.submit(ask, &Origin::new("test"), outbox).expect("accepted");
    if cancels {
        handle.cancel(request);
    }
    receiver
}

/// Serves requests `from..to`, two at a time, each to its end.
fn serve(runtime: &Runtime, from: u64, to: u64) {
    let mut rng = Rng::new(from);
    for n in (from..to).step_by(2) {
        let pair = [n, n + 1].map(|n| {
            let (ask, kind) = mixed(n, &mut rng);
            (submit(runtime, ask), kind, n)
        });
        for (mut replies, kind, n) in pair {
            let last = std::iter::from_fn(|| replies.blocking_recv()).last().expect("a reply");
            match (&kind, &last.reply) {
                (Kind::Answered, Reply::Answer(_)) => {}
                // It may have been faster than its cancel.
                (Kind::Cancelled, Reply::Answer(_)) => {}
                (Kind::Cancelled, Reply::Error { reason, .. })
                    if reason.code == ErrorCode::Cancelled => {}
                (Kind::Refused(code), Reply::Error { reason, .. }) if reason.code == *code => {
                    if reason.code == ErrorCode::MemoryInfeasible {
                        let fit = reason.max_tokens_that_fit.expect("what would fit");
                        assert!(fit > 0 && fit < CONTEXT, "{fit}");
                    }
                }
                (_, reply) => panic!("request {n}: {reply:?}"),
            }
        }
    }
}

/// What is held when nothing is under way.
fn held(runtime: &Runtime) -> i64 {
    // An answer goes out before the thread has put everything away.
    let mut least = i64::MAX;
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(5));
        least = least.min(HELD_BYTES.load(Ordering::Relaxed));
    }
    assert!(runtime.step_age().is_none(), "a step runs");
    least
}

/// Puts the same small grammars into the cache, as many as it has room for: those that were there
/// have lexers that grow with what was drawn, up to a bound of their own.
fn replace_grammars(runtime: &Runtime) {
    for n in 0..32 {
        let shape = ResponseFormat::Regex(format!("same{n}"));
        let ask = Ask { response_format: Some(shape), ..chat("always the same") };
        let mut replies = submit(runtime, ask);
        let last = std::iter::from_fn(|| replies.blocking_recv()).last().expect("a reply");
        assert!(matches!(last.reply, Reply::Answer(_)), "{last:?}");
    }
}

/// Serves `rounds` rounds of `requests` requests; gives the bytes that are held after each.
fn held_after(runtime: &Runtime, rounds: u64, requests: u64) -> Vec<i64> {
    (0..rounds)
        .map(|round| {
            serve(runtime, round * requests, (round + 1) * requests);
            replace_grammars(runtime);
            held(runtime)
        })
        .collect()
}

/// What is held after the last round is what was held after the second: not a request's worth more.
/// The first may not have met everything that is kept ready; a leak grows in each.
fn assert_nothing_grew(held: &[i64], requests: u64) {
    println!("held after each {requests} requests: {held:?}");
    assert!(held.len() > 3, "rounds that a leak would grow in");
    let grown = held.last().expect("rounds") - held[1];
    // Less is no leak: a thread may have put away what it kept ready.
    assert!(grown < 4096, "{grown} bytes: {held:?}");
}

fn end(runtime: Runtime) {
    runtime.drain(Duration::ZERO);
    runtime.join();
}

#[test]
fn thousands_of_requests_leave_nothing_behind() {
    let _turn = alone();
    let bundle = Bundle::default_model().expect("the embedded model");
    let model = Model::new(&bundle, &[]).expect("its text side");
    let mut word = 300;
    let script = move |_: &[u32]| {
        word = 300 + (word + 1) % 100;
        Ok(word)
    };
    let vocab = bundle.graph.vocab_size as u32;
    let engine = ScriptedEngine::new(vocab, &options(), Box::new(script));
    let runtime = start(model, Box::new(engine));
    assert_nothing_grew(&held_after(&runtime, 6, 1000), 1000);
    end(runtime);
}

/// Schemas that are little else than names, each as large as `bytes`.
fn names(n: usize, bytes: usize) -> serde_json::Value {
    let members: serde_json::Map<String, serde_json::Value> =
        (0..).map(|i| (format!("n{n}x{i}"), serde_json::json!({}))).take(bytes / 12).collect();
    serde_json::json!({ "properties": members })
}

#[test]
fn grammars_stay_within_their_line() {
    let _turn = alone();
    let bundle = Bundle::default_model().expect("the embedded model");
    let model = Model::new(&bundle, &[]).expect("its text side");
    for bytes in [500, 2_600, 10_000, 30_000] {
        let before = HELD_BYTES.load(Ordering::Relaxed);
        PEAK_BYTES.store(before, Ordering::Relaxed);
        let mut refused = 0;
        for n in 0..24 {
            let shape = ResponseShape::JsonSchema(names(n, bytes));
            refused += usize::from(model.grammars.compile(&shape).is_err());
        }
        let mib = |bytes: i64| (bytes - before) as f64 / f64::from(1 << 20);
        let held = mib(HELD_BYTES.load(Ordering::Relaxed));
        let peak = mib(PEAK_BYTES.load(Ordering::Relaxed));
        println!(
            "24 schemas of {bytes} bytes: {held:.1} MiB held, {peak:.1} at the peak, {refused} refused"
        );
    }
}

#[cfg(feature = "tract")]
#[test]
fn the_default_model_leaves_nothing_behind() {
    let _turn = alone();
    let bundle = Bundle::default_model().expect("the embedded model");
    let model = Model::new(&bundle, &[]).expect("its text side");
    let engine = slmd::engine::tract::TractEngine::load(&bundle.graph, &options());
    let runtime = start(model, Box::new(engine.expect("it loads")));
    assert_nothing_grew(&held_after(&runtime, 6, 200), 200);
    end(runtime);
}

/// The real binary with its own folder, configuration and measurements.
struct Installed {
    folder: tempfile::TempDir,
}

impl Installed {
    fn new(engine: &str, model: Option<&std::path::Path>, budget: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let model = model.map(|m| format!("model = {:?}\n", m.display().to_string()));
        let config = format!(
            "state-dir = {:?}\nengine = {engine:?}\n{}[limits]\nclients = 4\n[budget]\n{budget}",
            state.display().to_string(),
            model.unwrap_or_default()
        );
        std::fs::write(folder.path().join("config.toml"), config).expect("written");
        Self { folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slmd"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.folder.path().join("config.toml"))
            .env("CACHE_DIRECTORY", self.folder.path());
        command
    }

    fn plan(&self, arguments: &[&str]) -> serde_json::Value {
        let out =
            self.command(&[&["plan", "--json"], arguments].concat()).output().expect("it runs");
        let text = String::from_utf8_lossy(&out.stdout);
        serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: {text}{}", String::from_utf8_lossy(&out.stderr)))
    }

    /// `serve` with so much memory: it serves, or how it ended and what it said.
    fn serve(&self, bytes: u64) -> Result<Served, (Option<i32>, String)> {
        self.serve_by(self.command(&["serve"]), bytes)
    }

    fn serve_by(&self, mut command: Command, bytes: u64) -> Result<Served, (Option<i32>, String)> {
        let (socket, log) = (self.folder.path().join("s"), self.folder.path().join("log"));
        let child = command
            .arg("--socket")
            .arg(&socket)
            .env("SLMD_BUDGET_MEMORY", format!("{bytes}B"))
            .stderr(std::fs::File::create(&log).expect("a file"))
            .spawn()
            .expect("it starts");
        let mut served = Served { child, socket };
        let began = Instant::now();
        loop {
            if let Some(status) = served.child.try_wait().expect("a child") {
                return Err((status.code(), std::fs::read_to_string(log).unwrap_or_default()));
            }
            let client = slmd::client::Client::connect(&served.socket);
            if client.is_ok_and(|mut c| c.health().unwrap_or(false)) {
                return Ok(served);
            }
            assert!(began.elapsed() < Duration::from_secs(120), "it does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

struct Served {
    child: std::process::Child,
    socket: std::path::PathBuf,
}

impl Served {
    /// The most that was counted so far, in bytes: the kernel's own peak.
    fn peak_bytes(&self) -> u64 {
        peak_rss_bytes_of(&self.child.id().to_string())
    }

    fn counted_bytes(&self) -> u64 {
        process_memory_of(&self.child.id().to_string()).counted_bytes()
    }

    fn client(&self) -> slmd::client::Client {
        slmd::client::Client::connect(&self.socket).expect("it listens")
    }

    fn status(&self) -> serde_json::Value {
        self.client().status().expect("a status")
    }

    /// Fills every session nearly to its end, at once, and one more that waits.
    fn fill(&self, context: u32) {
        let most = (1..context as usize).rev().step_by(8).find(|words| {
            let short = Ask { max_tokens: Some(1), ..Self::long(*words, context) };
            let mut client = self.client();
            client.ask(&short, |_| {}).is_ok()
        });
        let words = most.expect("one word fits") * 3 / 4;
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let answered = self.client().ask(&Self::long(words, context), |_| {});
                    assert!(answered.is_ok(), "{answered:?}");
                });
            }
        });
    }

    fn long(words: usize, context: u32) -> Ask {
        Ask {
            prompt: Some("word ".repeat(words)),
            max_tokens: Some(context / 5),
            deadline_ms: Some(600_000),
            best_effort: true,
            response_format: Some(ResponseFormat::Text),
            ..Ask::default()
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn engines() -> Vec<&'static str> {
    [("ort", cfg!(feature = "ort")), ("tract", cfg!(feature = "tract"))]
        .into_iter()
        .filter_map(|(name, there)| there.then_some(name))
        .collect()
}

#[test]
fn the_plans_own_minimum_serves_and_less_refuses() {
    for engine in engines() {
        let installed = Installed::new(engine, None, "context-tokens = 256\nsessions = 2");
        let least = |plan: serde_json::Value| plan["minimum"]["bytes"].as_u64().expect("bytes");
        let estimated = least(installed.plan(&[]));
        let minimum = least(installed.plan(&["--measure"]));
        assert_eq!(minimum, least(installed.plan(&[])), "it is remembered");
        let served = installed.serve(minimum).unwrap_or_else(|end| panic!("{engine}: {end:?}"));
        served.fill(256);
        let peak = served.peak_bytes();
        println!("{engine}: estimated {estimated}, measured {minimum}, peak {peak}");
        assert!(peak <= minimum, "{engine}: {peak} of {minimum}");
        drop(served);
        let (code, said) = installed.serve(minimum / 100 * 95).map(drop).expect_err("refused");
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("budget.memory is") && said.contains("left for it"), "{said}");
        assert!(said.contains("2 sessions of 256 tokens") && said.contains("at least"), "{said}");
    }
}

#[test]
fn what_nobody_asked_for_is_lowered_and_said_to_be() {
    let free = Installed::new("tract", None, "context-tokens = 256");
    let two = free.plan(&["--measure", "--memory", "4GiB"]);
    assert_eq!(two["sessions"], 2);
    // Of the same measurement: those of two processes differ by more than a session.
    let bytes = |figure: &serde_json::Value| figure.as_u64().expect("bytes");
    let room = u64::midpoint(bytes(&two["minimum"]["bytes"]), bytes(&two["total_bytes"]));
    let served = free.serve(room).unwrap_or_else(|end| panic!("{end:?}"));
    let status = served.status();
    assert_eq!(status["slots"]["count"], 1, "{status}");
    let said = status["budget"]["lowered"][0].as_str().unwrap_or_default();
    assert!(said.contains("1 session of 256 tokens") && said.contains("budget.memory"), "{said}");
}

/// A control group below our own, with a limit on memory; gone when dropped.
struct Group(std::path::PathBuf);

impl Group {
    /// None where control groups of version 1 cannot be made.
    fn new(limit_bytes: u64) -> Option<Self> {
        let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = groups.lines().find_map(|line| line.split_once(":memory:"))?.1.to_owned();
        let name = format!("slmd-test-{}", std::process::id());
        let folder = std::path::Path::new("/sys/fs/cgroup/memory");
        let folder = folder.join(own.trim_start_matches('/')).join(name);
        std::fs::create_dir(&folder).ok()?;
        let group = Self(folder);
        std::fs::write(group.0.join("memory.limit_in_bytes"), limit_bytes.to_string()).ok()?;
        Some(group)
    }

    /// The command, run in the group.
    fn wrap(&self, command: &Command) -> Command {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""])
            .arg(&self.0)
            .arg(command.get_program())
            .args(command.get_args())
            .envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        shell
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process may take a moment to be gone from it.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_control_group_bounds_the_plan_and_nobody_is_killed() {
    let installed = Installed::new("tract", None, "context-tokens = 256\nsessions = 1");
    let minimum = installed.plan(&["--measure"])["minimum"]["bytes"].as_u64().expect("bytes");
    // What the kernel charges besides: page tables, and file pages that it cannot give up at once.
    let Some(roomy) = Group::new(minimum + minimum / 10 + (16 << 20)) else {
        eprintln!("SKIP: no control group of version 1 can be made here");
        return;
    };
    let generous = 8 << 30;
    let command = roomy.wrap(&installed.command(&["serve"]));
    let served = installed.serve_by(command, generous).unwrap_or_else(|end| panic!("{end:?}"));
    served.fill(256);
    assert!(served.status()["budget"]["ceiling"].to_string().contains("control group"));
    drop(served);
    drop(roomy);
    let tight = Group::new(minimum / 100 * 95).expect("as before");
    let command = tight.wrap(&installed.command(&["serve"]));
    let (code, said) = installed.serve_by(command, generous).map(drop).expect_err("refused");
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("memory.limit_in_bytes"), "{said}");
}

#[cfg(feature = "tract")]
#[test]
fn the_daemon_stays_as_large_as_it_was() {
    let installed = Installed::new("tract", None, "context-tokens = 256\nsessions = 2");
    let served = installed.serve(4 << 30).unwrap_or_else(|end| panic!("{end:?}"));
    let mut client = served.client();
    let mut round = |from: u64, to: u64| {
        let mut rng = Rng::new(from);
        for n in from..to {
            let (ask, _) = mixed(n, &mut rng);
            let ask = Ask { max_tokens: ask.max_tokens.map(|n| n.min(4)), ..ask };
            // Some are refused, which is as it should be.
            let _ = client.ask(&ask, |_| {});
        }
        served.counted_bytes()
    };
    let before = round(0, 800);
    let after = round(800, 2400);
    println!("{before} bytes after 800 requests, {after} after 2400");
    assert!(after as f64 <= before as f64 * 1.02, "{before} to {after}");
}

/// Serves the longest requests on each bundle and engine; gives a line for each.
fn priced(models: &[&str], context: u32) -> Vec<String> {
    let mut lines = Vec::new();
    for (model, engine) in models.iter().flat_map(|m| engines().into_iter().map(move |e| (m, e))) {
        let Some(dir) = common::model_dir(model) else { continue };
        let budget = format!("context-tokens = {context}\nsessions = 2");
        let installed = Installed::new(engine, Some(&dir), &budget);
        let total = |plan: serde_json::Value| plan["total_bytes"].as_u64().expect("bytes");
        let estimated = total(installed.plan(&[]));
        let planned = total(installed.plan(&["--measure"]));
        let served = installed.serve(planned).unwrap_or_else(|end| panic!("{model}: {end:?}"));
        served.fill(context);
        let (peak, mib) = (served.peak_bytes(), |bytes: u64| bytes as f64 / f64::from(1 << 20));
        let off = |bytes: u64| 100.0 * (bytes as f64 / peak as f64 - 1.0);
        lines.push(format!(
            "{model:<24} {engine:<6} peak {:7.1} MiB, measured sheet {:7.1} ({:+.1} %), estimated \
             {:7.1} ({:+.1} %)",
            mib(peak),
            mib(planned),
            off(planned),
            mib(estimated),
            off(estimated),
        ));
        assert!(peak <= planned, "{}", lines.join("\n"));
    }
    lines
}

#[test]
fn small_bundles_stay_within_their_sheets() {
    let lines = priced(&["stories260k-fp32", "tiny-int4", "tiny-tjs", "tiny-tjs-q4"], 256);
    println!("{}", lines.join("\n"));
}

#[test]
#[ignore = "takes minutes; for the table in docs/memory.md"]
fn large_bundles_stay_within_their_sheets() {
    let lines = priced(&["smollm2-135m-int4", "smollm2-135m-tjs-q4"], 1024);
    println!("{}", lines.join("\n"));
}
