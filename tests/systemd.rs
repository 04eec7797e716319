//! The real binary as systemd runs it: what it tells, what it is handed, and that a reload loses
//! nothing. systemd itself is played by the test.

mod common;

use common::mosquitto::Mosquitto;
use common::requester::{Requester, request};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use slmd::client::Client;
use slmd::wire::{Ask, Command as Say, Message, Reply};
use std::collections::BTreeMap;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

/// A daemon whose notifications are read.
struct Service {
    child: Child,
    folder: tempfile::TempDir,
    notifications: UnixDatagram,
    /// Every line heard, in order.
    heard: Vec<String>,
}

impl Service {
    /// With this configuration and these variables besides.
    fn start(config: &str, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("notify");
        let notifications = UnixDatagram::bind(&socket).expect("bound");
        write_config(folder.path(), config);
        let mut command = serve(folder.path());
        command.env("NOTIFY_SOCKET", &socket).envs(variables.iter().copied());
        let child = command.spawn().expect("the binary starts");
        Self { child, folder, notifications, heard: Vec::new() }
    }

    /// The next lines, told together; none within `limit`.
    fn hear(&mut self, limit: Duration) -> Option<Vec<String>> {
        self.notifications.set_read_timeout(Some(limit)).expect("a timeout");
        let mut bytes = [0; 4096];
        let length = self.notifications.recv(&mut bytes).ok()?;
        let text = String::from_utf8(bytes[..length].to_vec()).expect("UTF-8");
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        self.heard.extend(lines.iter().cloned());
        Some(lines)
    }

    /// Waits for a line that begins so; gives what was told with it.
    fn wait_for(&mut self, start: &str) -> Vec<String> {
        let end = Instant::now() + SOON;
        while Instant::now() < end {
            let lines = self.hear(Duration::from_millis(200)).unwrap_or_default();
            if lines.iter().any(|line| line.starts_with(start)) {
                return lines;
            }
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("it ended with {status} before {start}: {}", self.log());
            }
        }
        panic!("no {start} in {:#?}: {}", self.heard, self.log());
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("signalled");
    }

    fn reload(&mut self, config: &str) -> Value {
        write_config(self.folder.path(), config);
        self.signal(Signal::SIGHUP);
        self.wait_for("RELOADING=1");
        self.wait_for("READY=1");
        self.status()["reload"].clone()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("slmd.sock")
    }

    fn client(&self) -> Client {
        Client::connect(self.socket()).expect("it listens")
    }

    fn status(&self) -> Value {
        self.client().status().expect("a status")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn end(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.child.wait().expect("it ends")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_config(folder: &Path, config: &str) {
    let state = folder.join("state").display().to_string();
    let passing = folder.join("config.new");
    std::fs::write(&passing, format!("state-dir = {state:?}\n{config}")).expect("written");
    std::fs::rename(&passing, folder.join("config.toml")).expect("renamed");
}

/// `slmd serve` in this folder.
fn serve(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_slmd"));
    command.args(["serve", "--config"]).arg(folder.join("config.toml"));
    command.arg("--socket").arg(folder.join("slmd.sock"));
    surroundings(&mut command, folder);
    command
}

fn surroundings(command: &mut Command, folder: &Path) {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log"));
    command
        .env("SLMD_LOG", std::env::var("SLMD_TEST_LOG").unwrap_or_else(|_| "info".to_owned()))
        .env("SLMD_TEST_SYSTEM_ROOT", folder.join("system"))
        // Nothing is remembered from other runs.
        .env("CACHE_DIRECTORY", folder.join("cache"))
        .stdin(Stdio::null())
        .stderr(log.expect("writable"));
}

fn ask(client: &mut Client, ask: &Ask) -> String {
    client.ask(ask, |_| {}).expect("an answer").text
}

fn prompt(text: &str, max_tokens: u32) -> Ask {
    Ask { prompt: Some(text.to_owned()), max_tokens: Some(max_tokens), ..Ask::default() }
}

/// A model in a folder, beside the embedded one.
fn other_model() -> Option<PathBuf> {
    if !cfg!(feature = "default-model") {
        return None;
    }
    common::model_dir("stories260k-fp32")
}

fn with_model(dir: &Path, more: &str) -> String {
    format!("model = {:?}\n{more}", dir.display().to_string())
}

#[test]
fn systemd_hears_of_every_state_in_order() {
    if !cfg!(feature = "default-model") {
        return;
    }
    let mut service = Service::start("", &[("WATCHDOG_USEC", "2000000")]);
    service.wait_for("READY=1");
    let before = service.heard.clone();
    let phases: Vec<&String> = before.iter().filter(|l| l.starts_with("EXTEND_TIMEOUT")).collect();
    assert!(phases.len() >= 3, "each phase asks for time: {before:#?}");
    assert!(phases.iter().all(|l| *l == "EXTEND_TIMEOUT_USEC=60000000"));
    assert!(before.iter().any(|l| l.starts_with("STATUS=loading ")), "{before:#?}");
    assert!(!before.iter().any(|l| l.starts_with("WATCHDOG")), "only what serves feeds it");
    let status = service.wait_for("STATUS=");
    assert!(status[0].starts_with("STATUS=idle; "), "{status:?}");
    for _ in 0..3 {
        let began = Instant::now();
        service.wait_for("WATCHDOG=1");
        assert!(began.elapsed() < Duration::from_secs(2), "within the period");
    }
    service.signal(Signal::SIGHUP);
    let reloading = service.wait_for("RELOADING=1");
    let at = reloading.iter().find_map(|l| l.strip_prefix("MONOTONIC_USEC="));
    let at: u64 = at.expect("with its time").parse().expect("a number");
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("a clock");
    let now_us = u64::try_from(now.tv_sec()).expect("positive") * 1_000_000;
    assert!(at.abs_diff(now_us) < 60_000_000, "{at} is a moment of this boot, near {now_us}");
    service.wait_for("READY=1");
    assert_eq!(service.status()["reload"]["last"], "nothing has changed");
    service.signal(Signal::SIGTERM);
    let stopping = service.wait_for("STOPPING=1");
    assert!(stopping.iter().any(|l| l.starts_with("STATUS=")), "{stopping:?}");
    assert!(service.child.wait().expect("it ends").success());
    while service.hear(Duration::from_millis(50)).is_some() {}
    let last = service.heard.iter().rposition(|l| l == "STOPPING=1").expect("told");
    assert!(!service.heard[last..].iter().any(|l| l == "READY=1"), "{:#?}", service.heard);
}

#[test]
fn an_idle_daemon_tells_nothing_new() {
    if !cfg!(feature = "default-model") {
        return;
    }
    let mut service = Service::start("", &[]);
    service.wait_for("READY=1");
    service.wait_for("STATUS=");
    // The heap is trimmed after a second, and the figure follows at the next look.
    std::thread::sleep(Duration::from_secs(12));
    while service.hear(Duration::from_millis(50)).is_some() {}
    let switches = voluntary_switches(service.child.id());
    std::thread::sleep(Duration::from_secs(12));
    let per_s = (voluntary_switches(service.child.id()) - switches) as f64 / 12.0;
    assert!(per_s <= 5.0, "{per_s} wake-ups a second");
    assert_eq!(service.hear(Duration::from_millis(50)), None, "nothing has changed");
}

/// How often the threads of `pid` have gone to sleep.
fn voluntary_switches(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("status")).ok())
        .filter_map(|status| {
            let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"));
            line?.trim().parse::<u64>().ok()
        })
        .sum()
}

#[test]
fn a_reload_that_fails_keeps_what_was_served_and_says_why() {
    if !cfg!(feature = "default-model") {
        return;
    }
    let mut service = Service::start("", &[]);
    service.wait_for("READY=1");
    let said = ask(&mut service.client(), &prompt("warmer in the back", 60));
    let nowhere = service.folder.path().join("nowhere");
    let mut broken = vec![
        ("thread = 1\n".to_owned(), "thread"),
        (with_model(&nowhere, ""), "nowhere"),
        ("[budget]\nmemory = \"17MiB\"\n".to_owned(), "17MiB"),
        ("[task.t]\ntemplate = \"{{\"\n".to_owned(), "task.t"),
    ];
    if let Some(dir) = other_model() {
        // It opens, and only the engine finds out.
        let damaged = service.folder.path().join("damaged");
        copy(&dir, &damaged);
        let text = "engine = \"ort\"\n[budget]\nkv = \"int8\"\n";
        broken.push((with_model(&damaged, text), ""));
    }
    for (config, word) in broken {
        let reload = service.reload(&config);
        assert_eq!(reload["last"], "failed", "{config}: {reload}");
        assert!(reload["error"].as_str().expect("text").contains(word), "{config}: {reload}");
        let status = service.wait_for("STATUS=");
        assert!(status[0].contains("the reload failed: "), "{status:?}");
        let again = ask(&mut service.client(), &prompt("warmer in the back", 60));
        assert_eq!(again, said, "{config}");
        assert_eq!(service.status()["state"], "serving");
    }
    // What is kept until a restart is named, and the rest is taken over.
    let reload = service.reload("[limits]\nclients = 3\nmax-tokens = 2\n");
    assert_eq!(reload["last"], "tasks and limits", "{reload}");
    assert!(service.log().contains("limits.clients"), "{}", service.log());
    let client = &mut service.client();
    // A conversation has no task that would say otherwise.
    let message = Message::new("user", "hello");
    let short = Ask { messages: vec![message], ..Ask::default() };
    let short = client.ask(&short, |_| {}).expect("an answer");
    assert!(short.completion_tokens <= 2, "{short:?}");
    assert!(service.end().success());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        match entry.path().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied")),
        }
    }
}

#[test]
fn a_link_that_leads_elsewhere_is_another_model() {
    let Some(dir) = other_model() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    copy(&dir, &first);
    copy(&dir, &second);
    let link = folder.path().join("current");
    let point = |to: &Path| {
        let passing = folder.path().join("passing");
        std::os::unix::fs::symlink(to, &passing).expect("a link");
        std::fs::rename(&passing, &link).expect("renamed");
    };
    point(&first);
    let config = with_model(&link, "[budget]\ncontext-tokens = 256\n");
    let mut service = Service::start(&config, &[]);
    service.wait_for("READY=1");
    let before = service.status()["model"]["sha256"].clone();
    point(&second);
    assert_eq!(service.reload(&config)["last"], "nothing has changed", "the same content");
    assert_eq!(service.status()["model"]["sha256"], before);
    let Some(other) = common::model_dir("stories260k-int8") else { return };
    point(&other);
    let reload = service.reload(&config);
    assert!(reload["last"].as_str().expect("text").contains("another model"), "{reload}");
    assert_ne!(service.status()["model"]["sha256"], before);
    assert!(service.end().success());
}

/// What became of requests, by the code or `ok`.
#[derive(Debug, Default)]
struct Tally(BTreeMap<String, usize>);

impl Tally {
    fn note(&mut self, reply: &Reply) {
        let what = match reply {
            Reply::Error { reason, .. } => reason.code().to_owned(),
            _ => "ok".to_owned(),
        };
        *self.0.entry(what).or_default() += 1;
    }

    fn add(&mut self, other: Self) {
        for (what, count) in other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }
}

/// Keeps eight requests under way until told to stop, then waits for the last ones. Every one must
/// have exactly one terminal reply.
fn pester(socket: &Path, name: usize, stop: &AtomicBool, asked: &AtomicUsize) -> Tally {
    let mut client = Client::connect(socket).expect("it listens");
    let (mut tally, mut open) = (Tally::default(), BTreeMap::new());
    for number in 0.. {
        let stopping = stop.load(Ordering::Relaxed);
        if !stopping {
            let id = format!("{name}-{number}");
            let ask = Ask {
                id: Some(id.clone()),
                deadline_ms: Some(if number % 5 == 0 { 900 } else { 20_000 }),
                best_effort: number % 3 == 0,
                stream: number % 4 == 0,
                ..prompt("Once upon a time", 12)
            };
            client.send(&Say::Ask(Box::new(ask))).expect("sent");
            asked.fetch_add(1, Ordering::Relaxed);
            open.insert(id, ());
        }
        while open.len() >= 8 || (stopping && !open.is_empty()) {
            let reply = client.receive().expect("every request is answered");
            if reply.is_terminal() {
                let id = match &reply {
                    Reply::Answer(answer) => answer.id.clone(),
                    Reply::Error { id, .. } => id.clone(),
                    other => panic!("{other:?}"),
                };
                assert!(open.remove(&id.clone().expect("an id")).is_some(), "{id:?} twice");
                tally.note(&reply);
            }
        }
        if stopping {
            break;
        }
    }
    tally
}

/// Reloads back and forth between two models under load; gives what the reloads were, and the tally.
fn alternate(service: &mut Service, configs: [&str; 2], times: usize) -> (Vec<String>, Tally) {
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let socket = service.socket();
    std::thread::scope(|scope| {
        let (stop, asked, socket) = (&stop, &asked, &socket);
        let clients: Vec<_> =
            (0..6).map(|name| scope.spawn(move || pester(socket, name, stop, asked))).collect();
        let mut hows = Vec::new();
        for turn in 0..times {
            std::thread::sleep(Duration::from_millis(300));
            let reload = service.reload(configs[(turn + 1) % 2]);
            hows.push(reload["last"].as_str().expect("text").to_owned());
        }
        stop.store(true, Ordering::Relaxed);
        let mut tally = Tally::default();
        clients.into_iter().for_each(|c| tally.add(c.join().expect("no panic")));
        assert_eq!(tally.0.values().sum::<usize>(), asked.load(Ordering::Relaxed), "{tally:?}");
        (hows, tally)
    })
}

fn check(tally: &Tally) {
    assert!(tally.0.values().sum::<usize>() > 200, "{tally:?}");
    let known = ["ok", "busy", "reloading", "deadline_infeasible", "deadline_exceeded"];
    assert!(tally.0.keys().all(|code| known.contains(&code.as_str())), "{tally:?}");
    assert!(tally.0.get("ok").copied().unwrap_or(0) > 20, "{tally:?}");
}

#[test]
fn hundreds_of_requests_survive_reloads_between_two_models() {
    let Some(dir) = other_model() else { return };
    let budget = "[budget]\nqueue = 40\ncontext-tokens = 256\n";
    let (own, other) = (budget.to_owned(), with_model(&dir, budget));
    let mut service = Service::start(&own, &[]);
    service.wait_for("READY=1");
    let (hows, tally) = alternate(&mut service, [&own, &other], 6);
    check(&tally);
    // The first time the other model's memory is yet to be measured.
    assert_eq!(hows[0], "another model, one after the other", "{hows:?}");
    assert!(hows[2..].iter().all(|how| how == "another model, side by side"), "{hows:?}");
    eprintln!("{hows:?} {tally:?}");
    assert_eq!(service.status()["requests"]["held"], 0);
    assert!(service.end().success());
}

#[test]
fn where_the_memory_holds_one_model_nothing_is_lost_either() {
    let Some(dir) = other_model() else { return };
    let budget = "[budget]\nqueue = 40\ncontext-tokens = 256\n";
    let (own, other) = (budget.to_owned(), with_model(&dir, budget));
    // Where nothing can be remembered, nothing is known to fit beside another model.
    let file = tempfile::NamedTempFile::new().expect("a file");
    let cache = file.path().join("cache").display().to_string();
    let mut service = Service::start(&own, &[("CACHE_DIRECTORY", &cache)]);
    service.wait_for("READY=1");
    let (hows, tally) = alternate(&mut service, [&own, &other], 4);
    check(&tally);
    assert!(hows.iter().all(|how| how == "another model, one after the other"), "{hows:?}");
    eprintln!("{hows:?} {tally:?}");
    assert_eq!(service.status()["requests"]["held"], 0);
    assert!(service.end().success());
}

#[test]
fn requests_by_mqtt_survive_reloads() {
    let Some(dir) = other_model() else { return };
    let Some(broker) = Mosquitto::start("max_queued_messages 0") else { return };
    let more = format!(
        "[budget]\nqueue = 64\ncontext-tokens = 256\n[mqtt]\nurl = {:?}\nnode = \"n\"\n\
         reply-topics = [\"clients/#\"]\n",
        broker.url()
    );
    let (own, other) = (more.clone(), with_model(&dir, &more));
    let mut service = Service::start(&own, &[]);
    service.wait_for("READY=1");
    // Ready is who serves; what the broker takes before slmd has subscribed is nobody's.
    let watcher = Requester::connect(broker.port(), "w", &["slmd/n/status"]);
    while watcher.hear(SOON).expect("a status").json()["state"] != "online" {}
    // From here on nobody reads what systemd is told, whose socket takes ten messages: a manager that
    // is busy must not keep answers from those who wait for them.
    let client = Requester::connect(broker.port(), "r", &["clients/r"]);
    let mut open = BTreeMap::new();
    let mut tally = BTreeMap::<String, usize>::new();
    let mut hear = |open: &mut BTreeMap<String, ()>, limit| {
        let Some(heard) = client.hear(limit) else { return false };
        let correlation = heard.correlation.clone().expect("a correlation");
        let key = String::from_utf8(correlation.to_vec()).expect("ours");
        assert!(open.remove(&key).is_some(), "{key} twice");
        let json = heard.json();
        let code = json["error"]["code"].as_str().unwrap_or("ok").to_owned();
        *tally.entry(code).or_default() += 1;
        true
    };
    let (mut asked, mut reloads) = (0, 0);
    // A reload that is asked for while one runs is one with the next.
    while asked < 300 || reloads < 4 {
        let key = format!("k{asked}");
        let body = json!({ "prompt": "Once", "max_tokens": 8, "deadline_ms": 30_000 });
        client.publish("slmd/n/request", body.to_string(), request("clients/r", &key));
        open.insert(key, ());
        asked += 1;
        if asked % 30 == 0 && service.status()["reload"]["count"].as_u64().unwrap_or(0) == reloads {
            write_config(service.folder.path(), if reloads % 2 == 0 { &other } else { &own });
            service.signal(Signal::SIGHUP);
            reloads += 1;
        }
        while open.len() >= 40 {
            assert!(hear(&mut open, SOON), "{} have no answer: {}", open.len(), service.log());
        }
    }
    while !open.is_empty() {
        assert!(hear(&mut open, SOON), "{} have no answer: {}", open.len(), service.log());
    }
    eprintln!("{tally:?}");
    assert_eq!(tally.values().sum::<usize>(), asked);
    // While a model is loaded, an answer may be late.
    assert!(tally["ok"] * 10 > asked * 9, "{tally:?}");
    let reload = service.status()["reload"].clone();
    assert!(reload["count"].as_u64().is_some_and(|count| count + 1 >= reloads), "{reload}");
    assert!(service.end().success());
}

/// As systemd does it: a shell takes the place of the manager, since the variables name the process.
fn activated(folder: &Path, sockets: &[&UnixListener], variables: &[(&str, &str)]) -> Command {
    let descriptor = sockets[0].try_clone().expect("duplicated");
    let count = sockets.len();
    let mut inherit = String::from("exec 3<&0");
    if count > 1 {
        inherit.push_str(" 4<&0");
    }
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{inherit} </dev/null; export LISTEN_PID=$$ LISTEN_FDS={count}; exec \"$@\""));
    command.arg("sh").arg(env!("CARGO_BIN_EXE_slmd")).args(["serve", "--config"]);
    command.arg(folder.join("config.toml")).arg("--socket").arg(folder.join("slmd.sock"));
    surroundings(&mut command, folder);
    command
        .envs(variables.iter().copied())
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(descriptor)));
    command
}

#[test]
fn a_socket_that_is_handed_over_is_served_and_left_alone() {
    if !cfg!(feature = "default-model") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    write_config(folder.path(), "");
    let path = folder.path().join("slmd.sock");
    let listener = UnixListener::bind(&path).expect("bound");
    // Who comes before the daemon waits, and is served.
    let socket = path.clone();
    let early = std::thread::spawn(move || {
        let mut client = Client::connect(&socket).expect("somebody listens");
        ask(&mut client, &prompt("warmer in the back", 60))
    });
    let mut child = activated(folder.path(), &[&listener], &[("LISTEN_FDNAMES", "slmd")])
        .spawn()
        .expect("the shell starts");
    assert!(!early.join().expect("served").is_empty());
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).expect("signalled");
    assert!(child.wait().expect("it ends").success());
    assert!(path.exists(), "the socket is systemd's");
}

#[test]
fn what_else_is_handed_over_is_refused_with_words() {
    let folder = tempfile::tempdir().expect("a folder");
    write_config(folder.path(), "");
    let listener = UnixListener::bind(folder.path().join("s")).expect("bound");
    let both = [&listener, &listener];
    for (sockets, name, word) in [
        (&both[..1], "nginx", "FileDescriptorName=slmd"),
        (&both[..], "slmd:slmd", "slmd serves one"),
        (&both[..], "slmd", "LISTEN_FDNAMES"),
    ] {
        let status = activated(folder.path(), sockets, &[("LISTEN_FDNAMES", name)]).status();
        let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
        assert_eq!(status.expect("it runs").code(), Some(78), "{name}: {log}");
        assert!(log.contains(word), "{name}: {log}");
    }
}

#[test]
fn a_bad_configuration_ends_with_78_and_is_not_ready() {
    let mut service = Service::start("thread = 1\n", &[]);
    assert_eq!(service.child.wait().expect("it ends").code(), Some(78), "{}", service.log());
    while service.hear(Duration::from_millis(50)).is_some() {}
    assert!(!service.heard.iter().any(|line| line == "READY=1"), "{:?}", service.heard);
}

/// Stops one thread of a process, as a debugger does, until the process is killed; its number.
fn freeze(pid: u32, name: &str) -> Option<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let task = tasks.flatten().find(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        name.starts_with(comm.trim()) && !comm.trim().is_empty() && comm.starts_with("slmd-inf")
    });
    let task = task.expect("its thread").file_name();
    let task: i32 = task.to_string_lossy().parse().expect("a number");
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: ptrace(2): neither request reads or writes this process's memory.
    let is_frozen = unsafe {
        libc::ptrace(libc::PTRACE_SEIZE, task, nothing, nothing) == 0
            && libc::ptrace(libc::PTRACE_INTERRUPT, task, nothing, nothing) == 0
    };
    is_frozen.then_some(task)
}

/// Takes note of a frozen thread's end: a process is not gone before its tracer has.
fn bury(task: i32) {
    let mut status = 0;
    // SAFETY: waitpid(2) writes one integer, which is ours.
    while unsafe { libc::waitpid(task, &raw mut status, libc::__WALL) } == task {
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
            return;
        }
    }
}

#[test]
fn a_frozen_inference_thread_is_not_fed_for() {
    if !cfg!(feature = "default-model") {
        return;
    }
    let mut service = Service::start("", &[("WATCHDOG_USEC", "2000000")]);
    service.wait_for("WATCHDOG=1");
    let Some(frozen) = freeze(service.child.id(), "slmd-inference") else {
        println!("SKIP watchdog of a frozen thread: ptrace is not allowed here");
        return;
    };
    // While nothing is to be done, nobody can tell.
    service.wait_for("WATCHDOG=1");
    let mut client = service.client();
    client.send(&Say::Ask(Box::new(prompt("warmer in the back", 60)))).expect("sent");
    let began = Instant::now();
    let mut last = began;
    while last.elapsed() < Duration::from_secs(4) {
        let lines = service.hear(Duration::from_millis(200)).unwrap_or_default();
        if lines.iter().any(|line| line == "WATCHDOG=1") {
            last = Instant::now();
        }
        assert!(began.elapsed() < Duration::from_secs(40), "it is fed for ever");
    }
    assert!(service.log().contains("the inference thread hangs"), "{}", service.log());
    service.child.kill().expect("it runs");
    bury(frozen);
}
