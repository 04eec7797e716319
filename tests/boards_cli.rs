//! `check`, `plan` and `doctor` on boards, and a daemon whose inference is kept on one CPU.
#![cfg(feature = "default-model")]
#![allow(clippy::unwrap_used, reason = "a test that fails here has said enough")]

mod common;

use common::daemon::Daemon;
use serde_json::Value;
use slmd::board::BoardProfile;
use slmd::core::cpus::CpuList;
use slmd::engine::allowed_cpus;
use slmd::wire::Ask;
use std::path::Path;
use std::process::Command;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }
}

/// With a configuration of nothing but `config`, in a folder of its own.
fn run(folder: &Path, config: &str, arguments: &[&str]) -> Ran {
    let file = folder.join("config.toml");
    std::fs::write(&file, config).unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_slmd"))
        .args(arguments)
        .env("SLMD_CONFIG", &file)
        .env("CACHE_DIRECTORY", folder)
        .env("STATE_DIRECTORY", folder)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: out.status.code(), out: text(&out.stdout), err: text(&out.stderr) }
}

#[test]
fn check_shows_every_profile_and_one_of_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let all = run(dir.path(), "", &["check", "--boards", "--json"]);
    assert_eq!(all.code, Some(0), "{}", all.err);
    let names: Vec<String> = all.json()["boards"].as_object().unwrap().keys().cloned().collect();
    let mut shipped: Vec<String> =
        BoardProfile::shipped().unwrap().into_iter().map(|p| p.name).collect();
    shipped.sort();
    let mut listed = names;
    listed.sort();
    assert_eq!(listed, shipped);

    let named = run(dir.path(), "", &["check", "--board", "rock-5b"]);
    assert_eq!(named.code, Some(0), "{}", named.err);
    assert!(named.out.contains("board.fast_cores") && named.out.contains("4-7"), "{}", named.out);

    let path = dir.path().join("mine.toml");
    std::fs::write(&path, "name = 'mine'\nthreads = 900\n").unwrap();
    let wrong = run(dir.path(), "", &["check", "--board", path.to_str().unwrap()]);
    assert_eq!(wrong.code, Some(78));
    assert!(wrong.err.contains("mine.toml:2:11: 900 is out of range: 1 to 256"), "{}", wrong.err);
    let absent = run(dir.path(), "", &["check", "--board", "pi-9"]);
    assert_eq!(absent.code, Some(78));
    assert!(absent.err.contains("raspberry-pi-4, raspberry-pi-5"), "{}", absent.err);
}

#[test]
fn plan_answers_for_each_size_that_a_board_is_sold_in() {
    let dir = tempfile::tempdir().unwrap();
    let plan = |more: &[&str]| {
        let arguments = [&["plan", "--engine", "tract", "--board"], more].concat();
        run(dir.path(), "", &arguments)
    };
    let sold = plan(&["raspberry-pi-4", "--json"]);
    assert_eq!(sold.code, Some(0), "{}", sold.err);
    let answer = sold.json();
    assert_eq!((&answer["board"], &answer["fits"]), (&"raspberry-pi-4".into(), &true.into()));
    let sizes = answer["sizes"].as_array().unwrap();
    assert_eq!(sizes.len(), 4);
    for (size, gib) in sizes.iter().zip([1u64, 2, 4, 8]) {
        assert_eq!(size["memory_bytes"], gib << 30);
        assert_eq!(size["budget_bytes"], (gib << 30) / 100 * 50);
        assert_eq!(size["plan"]["ceiling_bytes"], size["budget_bytes"]);
        assert!(size["plan"]["total_bytes"].as_u64() <= size["budget_bytes"].as_u64());
        assert_eq!(size["fits"], true);
    }
    let table = plan(&["raspberry-pi-4"]);
    for says in ["on raspberry-pi-4, with 50 %", "1GiB", "8GiB", "512.0 MiB", "MiB left"] {
        assert!(table.out.contains(says), "{says}: {}", table.out);
    }
    // One figure: one sheet, as before.
    let one = plan(&["raspberry-pi-4", "--memory", "300MiB", "--json"]);
    assert_eq!((one.code, one.json()["ceiling_bytes"].as_u64()), (Some(0), Some(300 << 20)));
    let drop_in = plan(&["raspberry-pi-4", "--systemd"]);
    assert_eq!(drop_in.code, Some(64));
    assert!(drop_in.err.contains("1GiB, 2GiB, 4GiB, 8GiB"), "{}", drop_in.err);
}

#[test]
fn a_board_that_is_too_small_in_every_size_is_an_error_and_in_some_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small.toml");
    let plan = |sizes: &str, more: &[&str]| {
        let text =
            format!("name = 'small'\n[memory]\nsizes = {sizes}\n[budget]\nmemory-percent = 50\n");
        std::fs::write(&path, text).unwrap();
        let arguments =
            [&["plan", "--engine", "tract", "--board", path.to_str().unwrap()], more].concat();
        run(dir.path(), "", &arguments)
    };
    let none = plan("['33MiB', '40MiB']", &[]);
    assert_eq!(none.code, Some(78), "{}{}", none.out, none.err);
    assert_eq!(none.out.matches("does not fit").count(), 2, "{}", none.out);
    assert!(none.out.contains("missing"), "{}", none.out);
    assert!(none.err.contains("would do"), "the hint says what would: {}", none.err);
    let some = plan("['33MiB', '2GiB']", &["--json"]);
    assert_eq!(some.code, Some(0), "{}", some.err);
    let answer = some.json();
    let fits: Vec<bool> =
        answer["sizes"].as_array().unwrap().iter().map(|s| s["fits"] == true).collect();
    assert_eq!((fits, &answer["fits"]), (vec![false, true], &true.into()));
    // What the configuration says of the memory is one figure too.
    let written = run(
        dir.path(),
        "[budget]\nmemory = '300MiB'\n",
        &["plan", "--engine", "tract", "--board", path.to_str().unwrap(), "--json"],
    );
    assert_eq!(written.json()["ceiling_bytes"], 300 << 20);
}

#[test]
fn doctor_says_which_board_it_is_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let named = run(dir.path(), "board = 'rock-5b'\n", &["doctor", "--json"]);
    assert_eq!(named.code, Some(0), "{}", named.err);
    let board = &named.json()["board"];
    assert_eq!(board["profile"], "rock-5b");
    assert_eq!(board["why"], "`board` is \"rock-5b\"");
    assert_eq!(board["affinity"]["cpus"], "4-7");
    assert_eq!(board["affinity"]["origin"], "board rock-5b");
    let missing = CpuList::parse("4-7").unwrap().without(&allowed_cpus());
    assert_eq!(board["affinity"]["left_out"].is_null(), missing.is_empty(), "{board}");
    let here = run(dir.path(), "affinity = 'none'\n", &["doctor", "--json"]);
    let board = &here.json()["board"];
    assert!(board["why"].as_str().unwrap().contains("architecture"), "{board}");
    assert!(board["kinds"].as_array().is_some_and(|kinds| !kinds.is_empty()), "{board}");
    assert_eq!(board["affinity"]["cpus"], Value::Null);
}

/// Every thread of the process by name, with the CPUs that it may run on.
fn threads(pid: u32) -> Vec<(String, String)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(name))?;
            Some(line.trim().to_owned())
        };
        Some((field("Name:")?, field("Cpus_allowed_list:")?))
    };
    tasks.flatten().filter_map(of).collect()
}

fn serving(engine: &str, more: &str) -> Daemon {
    let config = format!(
        "engine = {engine:?}\nthreads = 2\n{more}\n[budget]\nmemory = '1GiB'\ncontext-tokens = 128\n"
    );
    let daemon = Daemon::start(&config, &[]);
    let ask = Ask { prompt: Some("warm".into()), max_tokens: Some(64), ..Ask::default() };
    daemon.client().ask(&ask, |_| {}).expect("an answer");
    daemon
}

#[test]
fn inference_stays_on_its_cpus_and_everything_else_does_not() {
    let all = allowed_cpus().to_string();
    let last = allowed_cpus().as_slice().last().copied().unwrap().to_string();
    let engines = [("tract", cfg!(feature = "tract")), ("ort", cfg!(feature = "ort"))];
    for (engine, _) in engines.into_iter().filter(|(_, there)| *there) {
        let daemon = serving(engine, &format!("affinity = {last:?}"));
        let threads = threads(daemon.pid());
        let named =
            |name: &str| threads.iter().find(|(n, _)| n == name).map(|(_, cpus)| cpus.as_str());
        assert_eq!(named("slmd-inference"), Some(last.as_str()), "{engine}: {threads:?}");
        assert_eq!(named("slmd-admission"), Some(all.as_str()), "{engine}: {threads:?}");
        assert_eq!(named("slmd"), Some(all.as_str()), "the transports: {engine}: {threads:?}");
        if last == all {
            continue;
        }
        let kept = threads.iter().filter(|(_, cpus)| *cpus == last).count();
        assert_eq!(kept, 2, "the inference thread and one that it started: {engine}: {threads:?}");
        let status = daemon.client().status().unwrap();
        assert_eq!(status["engine"]["cpus"], last.as_str(), "{status}");
    }
}

#[test]
fn what_is_asked_in_this_process_has_the_tasks_of_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[task.hot]\noutput = { choice = ['yes', 'no'] }\n";
    let ran =
        run(dir.path(), config, &["ask", "--engine", "tract", "--task", "hot", "--json", "31"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    assert!(["yes", "no"].map(Value::from).contains(&ran.json()["text"]), "{}", ran.out);
}

/// `onnx/tasks`: nothing else reads them.
#[test]
fn the_tasks_for_larger_models_load_and_their_shapes_compile() {
    let dir = tempfile::tempdir().unwrap();
    let into = dir.path().join("conf.d");
    std::fs::create_dir(&into).unwrap();
    for file in std::fs::read_dir("onnx/tasks").unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), into.join(file.file_name())).unwrap();
    }
    let ran = run(dir.path(), "", &["check", "--model", "onnx/default", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let tasks = ran.json()["model"]["tasks"].as_array().unwrap().clone();
    for name in ["summary", "qa"] {
        assert!(tasks.contains(&name.into()), "{name}: {tasks:?}");
    }
}

#[test]
fn without_an_affinity_nothing_is_kept_anywhere_and_absent_cpus_are_left_out() {
    let all = allowed_cpus().to_string();
    for (more, warns) in [("", false), ("affinity = '0,1000'", true)] {
        let daemon = serving("auto", more);
        let threads = threads(daemon.pid());
        assert!(threads.iter().all(|(_, cpus)| *cpus == all), "{more}: {threads:?}");
        let log = daemon.stderr();
        assert_eq!(log.contains("affinity 0,1000 is left out: CPUs 1000"), warns, "{log}");
        assert!(daemon.client().status().unwrap()["engine"]["cpus"].is_null());
    }
}
