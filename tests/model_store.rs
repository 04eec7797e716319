//! `slmd model` with the real binary: installing, trials, refusals, and SIGKILL at any moment.

#![cfg(feature = "default-model")]
#![allow(clippy::unwrap_used, reason = "a test that fails here has said enough")]

use serde_json::Value;
use slmd::bundle::Bundle;
use slmd::store::disk::{Disk, RealDisk};
use slmd::store::{CURRENT, Policy, Store};
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const CHILD: &str = "SLMD_TEST_STORE_CHILD";
const ENGINE: &str = if cfg!(feature = "tract") { "tract" } else { "ort" };

/// A copy of the default model whose manifest was changed.
fn bundle(change: impl FnOnce(String) -> String) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/default");
    for entry in std::fs::read_dir(source).unwrap().flatten() {
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    let manifest = dir.path().join("slmd.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, change(text)).unwrap();
    dir
}

/// The manifest of another version.
fn renumbered(text: &str, version: &str, counter: u32) -> String {
    let old = text.lines().find(|line| line.starts_with("version = ")).unwrap();
    text.replacen(old, &format!("version = \"{version}\"\ncounter = {counter}"), 1)
}

fn version(version: &str, counter: u32) -> tempfile::TempDir {
    bundle(|text| renumbered(&text, version, counter))
}

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state").display().to_string();
        let model = dir.path().join("state/models/current").display().to_string();
        let top = format!("state-dir = {state:?}\nmodel = {model:?}\nengine = {ENGINE:?}\n");
        let own = "threads = 1\n[latency]\nmax-step-ms = 60000\n";
        std::fs::write(dir.path().join("config.toml"), format!("{top}{own}{config}")).unwrap();
        Self { dir }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("state/models")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slmd"));
        command.env_clear().env("HOME", self.dir.path());
        for name in ["ORT_DYLIB_PATH", "XDG_CACHE_HOME", "PATH"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        command.arg("model").args(args).arg("--config").arg(self.dir.path().join("config.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn json(&self, code: i32, args: &[&str]) -> Value {
        let out = self.run(&[args, &["--json"]].concat());
        assert_eq!(out.status.code(), Some(code), "{args:?}: {}", text(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&out.stdout)))
    }

    /// The code of the error that it ends with.
    fn refused(&self, code: i32, args: &[&str]) -> String {
        let said = self.json(code, args);
        said["error"]["code"].as_str().unwrap_or_else(|| panic!("{said}")).to_owned()
    }

    fn active(&self) -> Option<String> {
        active(&self.root())
    }
}

/// The version behind `current`, which must be whole.
fn active(root: &Path) -> Option<String> {
    let current = root.join(CURRENT);
    current.symlink_metadata().ok()?;
    let bundle = Bundle::open(&current, None).expect("a whole model");
    assert!(bundle.verified);
    bundle.version
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn path(dir: &tempfile::TempDir) -> &str {
    dir.path().to_str().unwrap()
}

#[test]
fn a_model_s_life() {
    let case = Case::new("");
    let out = case.run(&["list"]);
    assert!(text(&out.stdout).starts_with("no model is installed"), "{}", text(&out.stdout));
    let (first, second) = (version("1", 1), version("2", 2));

    let said = case.json(0, &["install", path(&first)]);
    assert_eq!((&said["installed"], &said["activated"]), (&true.into(), &false.into()));
    assert_eq!(case.active(), None);
    let said = case.json(0, &["activate"]);
    assert_eq!(said["trial"]["goldens"], 11);
    assert!(said["trial"]["decode_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(case.active().as_deref(), Some("1"));

    // As an archive, with another program's tar.
    let archive = case.dir.path().join("second.tar.gz");
    let mut tar = Command::new("tar");
    let tar = tar.arg("czf").arg(&archive).arg("-C").arg(second.path()).arg(".");
    assert!(tar.status().unwrap().success());
    let out = case.run(&["install", "--activate", archive.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(
        text(&out.stdout).contains("slmd-default 2 is active (slot b)"),
        "{}",
        text(&out.stdout)
    );
    assert!(text(&out.stdout).contains("systemctl reload slmd"));
    assert_eq!(text(&out.stderr), "", "the configuration names `current`");

    let list = case.json(0, &["list"]);
    let states: Vec<_> = list["models"].as_array().unwrap().iter().map(|m| &m["state"]).collect();
    assert_eq!(states, ["previous", "active"]);
    assert_eq!((&list["highest_counter"], &list["models"][1]["counter"]), (&2.into(), &2.into()));
    let hash = Bundle::open(second.path(), None).unwrap().hash;
    assert_eq!(list["models"][1]["sha256"], hash, "as `slmd status` shows it");

    case.json(0, &["rollback"]);
    assert_eq!(case.active().as_deref(), Some("1"));
    assert_eq!(case.json(0, &["verify"])["models"][0]["whole"], true);
    let model = case.root().join(CURRENT).join("model.onnx");
    let mut bytes = std::fs::read(&model).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&model, bytes).unwrap();
    let said = case.json(65, &["verify", "slmd-default 1"]);
    assert_eq!(said["models"][0]["error"]["code"], "hash");
    case.json(0, &["activate", "b"]);
    assert_eq!(case.refused(65, &["rollback"]), "hash", "not back to what is damaged");
    assert_eq!(case.active().as_deref(), Some("2"));
    case.json(0, &["remove", "a"]);
    assert_eq!(case.refused(66, &["rollback"]), "no_previous");
    assert_eq!(case.refused(64, &["remove", "b"]), "is_active");
}

#[test]
fn what_fails_its_trial_does_not_become_active_and_the_reason_is_remembered() {
    let case = Case::new("");
    case.json(0, &["install", "--activate", path(&version("1", 1))]);
    let wrong = bundle(|text| {
        renumbered(&text, "2", 1)
            .replacen("tokens = [327, 325, 1446,", "tokens = [327, 325, 1447,", 1)
            .replacen("Row2.*.Temperature", "Row1.*.Temperature", 1)
    });
    let out = case.run(&["install", "--activate", path(&wrong)]);
    assert_eq!(out.status.code(), Some(65));
    let said = text(&out.stderr);
    assert!(said.contains("slmd-default 2 is not activated: the golden prompt"), "{said}");
    assert!(said.contains("slmd-default 1 stays active"), "{said}");
    assert_eq!(case.active().as_deref(), Some("1"));
    let list = case.json(0, &["list"]);
    assert_eq!(list["models"][1]["refusal"]["code"], "golden");
    let shown = case.run(&["list"]);
    assert!(
        text(&shown.stdout).contains("slot b was refused (golden, "),
        "{}",
        text(&shown.stdout)
    );

    // The same with what the machine or the configuration cannot give.
    let slow = bundle(|text| {
        renumbered(&text, "3", 1).replacen(
            "[task.vehicle]",
            "[latency]\nmax-first-token-ms = 1\n\n[task.vehicle]",
            1,
        )
    });
    let out = case.run(&["install", "--activate", "--json", path(&slow)]);
    let said: Value = serde_json::from_slice(&out.stdout).unwrap();
    match out.status.code() {
        Some(65) => assert_eq!(said["error"]["code"], "latency"),
        code => assert!(code == Some(0) && said["trial"]["first_token_ms"].as_f64() <= Some(1.0)),
    }
    let small = Case::new("[budget]\nmemory = '16MiB'\n");
    assert_eq!(small.refused(78, &["install", "--activate", path(&version("1", 1))]), "budget");
    assert_eq!(small.active(), None);
    assert_eq!(small.json(0, &["list"])["models"][0]["refusal"]["code"], "budget");
}

#[test]
fn keys_counters_and_rights() {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let key = pair.pk.to_base64();
    let case = Case::new(&format!("[models]\nkeys = ['{key}']\n"));
    let dir = version("1", 5);
    assert_eq!(case.refused(77, &["install", path(&dir)]), "unsigned");
    let manifest = File::open(dir.path().join("slmd.toml")).unwrap();
    let signed = minisign::sign(Some(&pair.pk), &pair.sk, manifest, Some("release 1"), None);
    std::fs::write(dir.path().join("slmd.toml.minisig"), signed.unwrap().to_string()).unwrap();
    let said = case.json(0, &["install", "--activate", path(&dir)]);
    assert_eq!(said["model"]["signed_by"]["comment"], "release 1");
    let listed = case.run(&["list"]);
    assert!(text(&listed.stdout).contains("(release 1)"), "{}", text(&listed.stdout));

    let open = Case::new("");
    open.json(0, &["install", "--activate", path(&dir)]);
    assert_eq!(open.refused(77, &["install", path(&version("0", 4))]), "downgrade");
    if nix::unistd::geteuid().is_root() {
        open.json(0, &["install", "--allow-downgrade", path(&version("0", 4))]);
        assert_eq!(open.refused(77, &["activate", "b"]), "downgrade");
        open.json(0, &["activate", "b", "--allow-downgrade"]);
        assert_eq!(open.active().as_deref(), Some("0"));
    }
    assert_eq!(open.refused(66, &["install", "/no/such/model"]), "no_source");
    assert_eq!(open.refused(66, &["activate", "pump"]), "unknown");
    assert_eq!(open.run(&["install", "--reload", "x"]).status.code(), Some(64));
}

#[test]
fn one_command_at_a_time() {
    let case = Case::new("");
    let _store = Store::open(&case.root(), Box::new(RealDisk)).unwrap();
    assert_eq!(case.refused(75, &["install", path(&version("1", 1))]), "in_use");
    case.json(0, &["list"]);
}

#[test]
fn killed_at_whatever_time_the_next_command_finds_a_whole_model() {
    let case = Case::new("");
    case.json(0, &["install", "--activate", path(&version("0", 1))]);
    let updates = [version("1", 1), version("2", 1), version("3", 1)];
    let began = Instant::now();
    case.json(0, &["install", "--activate", path(&updates[0])]);
    let whole = began.elapsed();
    let mut killed = 0;
    for n in 0..24u32 {
        let update = &updates[n as usize % 3];
        let mut child = case.command(&["install", "--activate", path(update)]).spawn().unwrap();
        std::thread::sleep(whole * n / 20);
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().signal() == Some(libc::SIGKILL));
        case.active().expect("an active model");
        let listed = case.json(0, &["list"]);
        assert_eq!(listed["unknown_current"], Value::Null);
        assert!(listed["models"].as_array().unwrap().iter().any(|m| m["state"] == "active"));
    }
    assert!(killed > 5, "{killed} were killed");
    let last = version("9", 1);
    case.json(0, &["install", "--activate", path(&last)]);
    assert_eq!(case.active().as_deref(), Some("9"));
    case.json(0, &["verify"]);
    case.json(0, &["rollback"]);
    assert_eq!(std::fs::read_dir(case.root().join("content")).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(case.root().join("staging")).unwrap().count(), 0);
}

/// The real disk, which kills the process at one operation.
struct KillingDisk {
    at: u64,
    count: AtomicU64,
}

impl KillingDisk {
    fn is_now(&self) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed) + 1 == self.at
    }

    fn die(&self) -> ! {
        nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL).unwrap();
        unreachable!("killed")
    }

    fn or_die<T>(&self, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.is_now() { self.die() } else { operation() }
    }
}

impl Disk for KillingDisk {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.or_die(|| RealDisk.make_folder(path))
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        self.or_die(|| RealDisk.create(path))
    }

    fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.is_now() {
            RealDisk.write(file, path, &bytes[..bytes.len() / 2])?;
            self.die();
        }
        RealDisk.write(file, path, bytes)
    }

    fn sync(&self, file: &File, path: &Path) -> io::Result<()> {
        self.or_die(|| RealDisk.sync(file, path))
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.or_die(|| RealDisk.sync_folder(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.or_die(|| RealDisk.rename(from, to))
    }

    fn link(&self, text: &Path, path: &Path) -> io::Result<()> {
        self.or_die(|| RealDisk.link(text, path))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.or_die(|| RealDisk.remove_file(path))
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.or_die(|| RealDisk.remove_folder(path))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(path)
    }
}

fn update(root: &Path, source: &Path, disk: Box<dyn Disk>) {
    let policy = Policy {
        keys: Vec::new(),
        require_signature: false,
        max_bytes: 1 << 30,
        allow_downgrade: false,
    };
    let mut store = Store::open(root, disk).expect("it opens");
    let slot = store.install(source, &policy, &|_| ()).expect("it installs").slot;
    store.check(slot, &policy, false, &|_| ()).expect("it is whole");
    store.activate(slot).expect("it becomes active");
}

/// Not a test by itself: updates a store, and is killed at an operation.
#[test]
fn child() {
    let Some(said) = std::env::var_os(CHILD) else { return };
    let said = said.into_string().unwrap();
    let [at, root, source] = said.split('|').collect::<Vec<_>>()[..] else { panic!("{said}") };
    let disk = KillingDisk { at: at.parse().unwrap(), count: AtomicU64::new(0) };
    update(Path::new(root), Path::new(source), Box::new(disk));
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (path, kind, to) =
            (entry.path(), entry.file_type().unwrap(), to.join(entry.file_name()));
        match (kind.is_dir(), kind.is_symlink()) {
            (true, _) => copy_tree(&path, &to),
            (_, true) => std::os::unix::fs::symlink(std::fs::read_link(path).unwrap(), to).unwrap(),
            _ => drop(std::fs::copy(path, to).unwrap()),
        }
    }
}

#[test]
fn killed_at_every_operation_on_the_disk_the_next_command_finds_a_whole_model() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    for old in ["1", "2"] {
        update(&base, version(old, 1).path(), Box::new(RealDisk));
    }
    let (new, next) = (version("3", 1), version("4", 1));
    for at in 1.. {
        let root = dir.path().join("models");
        copy_tree(&base, &root);
        let said = format!("{at}|{}|{}", root.display(), new.path().display());
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "child", "--nocapture"]).env(CHILD, said);
        let status = child.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        let found = active(&root).expect("an active model");
        if status.success() {
            assert_eq!(found, "3");
            assert!(at > 40, "only {at} operations");
            break;
        }
        assert_eq!(status.signal(), Some(libc::SIGKILL), "at {at}");
        assert!(found == "2" || found == "3", "{found} at {at}");
        if at % 4 == 0 {
            update(&root, next.path(), Box::new(RealDisk));
            assert_eq!(active(&root).as_deref(), Some("4"), "at {at}");
        } else {
            let store = Store::open(&root, Box::new(RealDisk)).expect("it opens");
            let active = store.overview().unwrap().active().expect("known");
            let folder = store.folder(active).unwrap();
            assert!(Bundle::open(folder, None).is_ok_and(|b| b.version.as_deref() == Some(&found)));
        }
        std::fs::remove_dir_all(&root).unwrap();
    }
}
