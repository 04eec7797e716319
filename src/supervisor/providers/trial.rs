//! One provider, tried on the real graph in a process of its own: they crash, they hang, and what
//! they have taken they keep.
//!
//! The parent writes an [`Order`] to the child's standard input; the child writes one JSON object,
//! [`Ran`] or an error in words, to its standard output.

use super::profile::{self, Share};
use crate::core::plan::{EngineKind, KvType};
use crate::core::provider::Provider;
use crate::engine::choice::{self, Choice};
use crate::engine::trial::{self, Agreement, Times, Trial};
use crate::engine::{EngineOptions, peak_rss_bytes};
use crate::supervisor::start::open_model;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A trial that takes longer hangs.
pub const LONGEST: Duration = Duration::from_secs(120);
/// How often the parent looks.
const LOOK: Duration = Duration::from_millis(20);
/// The most that a child may say.
const SAYS: u64 = 64 << 10;
/// The hidden command that the child runs.
pub const COMMAND: &str = "try-provider";
/// How ONNX Runtime's profile is called in the folder of the trials.
const PROFILE: &str = "profile";

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The model's directory; none: the embedded one.
    pub model: Option<PathBuf>,
    /// Which graph of a directory with several.
    pub variant: Option<String>,
    /// The memory of the whole process, in bytes.
    pub memory_bytes: u64,
    /// Threads of one step.
    pub threads: usize,
    /// What to try.
    pub provider: Provider,
    /// Where the CPU's answers are; the trial of the CPU writes them.
    pub reference: PathBuf,
    /// Where files may be written.
    pub folder: PathBuf,
}

/// What a provider did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ran {
    /// How long it took.
    pub times: Times,
    /// Until the model was loaded, in milliseconds.
    pub load_ms: f64,
    /// The most memory of the process, in bytes.
    pub peak_bytes: u64,
    /// How close its answers are to the CPU's; none for the CPU itself.
    pub agreement: Option<Agreement>,
    /// Who ran what.
    pub shares: Vec<Share>,
    /// The devices that ONNX Runtime and the plugin have found, for people.
    pub devices: Vec<String>,
}

/// The child's side: does what the order on `input` says.
///
/// # Errors
/// The reason, for people.
pub fn obey(input: &mut dyn Read) -> Result<Ran, String> {
    let order: Order = serde_json::from_reader(input).map_err(|e| format!("the order: {e}"))?;
    let bundle = open_model(order.model.as_deref(), order.variant.as_deref(), order.memory_bytes)
        .map_err(|e| e.to_string())?;
    let choice = Choice { kind: EngineKind::Ort, reason: String::new() };
    let options = EngineOptions {
        threads: order.threads,
        context_tokens: (trial::PROMPT_TOKENS + trial::POSITIONS) as u32,
        max_chunk: trial::PROMPT_TOKENS as u32,
        kv: KvType::Auto,
        provider: Some(order.provider.clone()),
        ..EngineOptions::default()
    };
    let start = Instant::now();
    let mut engine = choice::load(&choice, &bundle.graph, &options).map_err(|e| e.to_string())?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let is_reference = order.provider.is_cpu();
    let reference = if is_reference { None } else { Some(read_trial(&order.reference)?) };
    let prompt = || trial::prompt(bundle.graph.vocab_size as u32);
    let tokens = reference.as_ref().map_or_else(prompt, |trial| trial.tokens.clone());
    let ran = trial::run(engine.as_mut(), &tokens).map_err(|e| e.to_string())?;
    drop(engine);
    if is_reference {
        write_trial(&order.reference, &ran)?;
    }
    // Once more, since to write the profile takes time.
    let options = EngineOptions { profile: Some(order.folder.join(PROFILE)), ..options };
    let mut engine = choice::load(&choice, &bundle.graph, &options).map_err(|e| e.to_string())?;
    trial::run(engine.as_mut(), &ran.tokens).map_err(|e| e.to_string())?;
    drop(engine);
    Ok(Ran {
        times: ran.times,
        load_ms,
        peak_bytes: peak_rss_bytes(),
        agreement: reference.map(|trial| Agreement::between(&trial.logits, &ran.logits)),
        shares: profile::read(&profile_in(&order.folder)?)?,
        devices: devices(),
    })
}

/// The devices of this process's ONNX Runtime, where it can tell.
pub fn devices() -> Vec<String> {
    #[cfg(feature = "ort")]
    {
        use crate::engine::ort::{library, plugin};
        let found = library::load().map_err(|e| e.to_string()).and_then(plugin::devices);
        let words = |d: plugin::Device| {
            format!("{}: {} {} (device {:#x})", d.provider, d.vendor, d.kind.name(), d.id)
        };
        found.unwrap_or_default().into_iter().map(words).collect()
    }
    #[cfg(not(feature = "ort"))]
    Vec::new()
}

/// ONNX Runtime adds the time to the name.
fn profile_in(folder: &Path) -> Result<PathBuf, String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let is_profile = |path: &PathBuf| {
        path.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(PROFILE))
    };
    let mut found = entries.flatten().map(|entry| entry.path()).filter(is_profile);
    found.next().ok_or_else(|| "ONNX Runtime wrote no profile".to_owned())
}

fn read_trial(path: &Path) -> Result<Trial, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    postcard::from_bytes(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

fn write_trial(path: &Path, trial: &Trial) -> Result<(), String> {
    let bytes = postcard::to_stdvec(trial).map_err(|e| e.to_string())?;
    std::fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// The parent's side: runs `executable` with the order, for as long as a trial may take.
///
/// # Errors
/// The reason, for people: what the child said, how it died, or that it hung.
pub fn run(executable: &Path, order: &Order, longest: Duration) -> Result<Ran, String> {
    let failed = |e: std::io::Error| format!("{} cannot be run: {e}", executable.display());
    let mut command = Command::new(executable);
    command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // The daemon's socket, watchdog and readiness are not the child's.
    for name in ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID"] {
        command.env_remove(name);
    }
    let mut child = command.spawn().map_err(failed)?;
    let text = serde_json::to_vec(order).expect("strings and numbers");
    // A child that is gone already has its reason in its status.
    let _ = child.stdin.take().expect("it is piped").write_all(&text);
    let says = listen(child.stdout.take().expect("it is piped"));
    let complains = listen(child.stderr.take().expect("it is piped"));
    let status = wait(&mut child, longest)?;
    let (says, complains) = (heard(says), heard(complains));
    match serde_json::from_slice::<Result<Ran, String>>(&says) {
        Ok(said) if status.success() => said,
        _ => Err(death(status, &String::from_utf8_lossy(&complains))),
    }
}

/// Reads on a thread, so that neither side waits for the other.
fn listen(pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut pipe = pipe;
        // What was said until the pipe broke is all there is; the rest must not fill the pipe.
        let _ = (&mut pipe).take(SAYS).read_to_end(&mut bytes);
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        bytes
    })
}

fn heard(listener: std::thread::JoinHandle<Vec<u8>>) -> Vec<u8> {
    listener.join().unwrap_or_default()
}

fn wait(child: &mut Child, longest: Duration) -> Result<ExitStatus, String> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if start.elapsed() < longest => std::thread::sleep(LOOK),
            Ok(None) => {
                // It is killed and waited for: nothing of it stays.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("no end after {longest:?}"));
            }
            Err(e) => return Err(format!("it cannot be waited for: {e}")),
        }
    }
}

/// How a child ended that said nothing.
fn death(status: ExitStatus, complains: &str) -> String {
    let last = complains.lines().rev().find(|line| !line.trim().is_empty());
    let last = last.map_or(String::new(), |line| format!(": {}", line.trim()));
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = nix::sys::signal::Signal::try_from(signal)
                .map_or_else(|_| signal.to_string(), |s| s.to_string());
            format!("it crashed with {name}{last}")
        }
        (None, code) => format!("it ended with {}{last}", code.unwrap_or(-1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn order() -> Order {
        Order {
            model: None,
            variant: None,
            memory_bytes: 0,
            threads: 1,
            provider: Provider::cpu(),
            reference: "r".into(),
            folder: ".".into(),
        }
    }

    fn script(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("child");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        path
    }

    fn run_script(text: &str) -> Result<Ran, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = script(folder.path(), text);
        run(&path, &order(), Duration::from_secs(20))
    }

    #[test]
    fn however_a_child_ends_there_is_a_reason() {
        let problem = |script| run_script(script).expect_err(script);
        assert_eq!(problem("kill -SEGV $$"), "it crashed with SIGSEGV");
        assert_eq!(problem("echo one >&2; echo two >&2; exit 3"), "it ended with 3: two");
        assert_eq!(problem("exit 0"), "it ended with 0");
        assert_eq!(problem("echo '{\"Err\":\"no device\"}'"), "no device");
        // Even a flood on standard error must not block it, nor be kept.
        assert_eq!(problem("yes 2>&1 | head -c 1000000 >&2; exit 1"), "it ended with 1: y");
        let start = Instant::now();
        let folder = tempfile::tempdir().expect("a folder");
        let path = script(folder.path(), "sleep 60");
        let hung = run(&path, &order(), Duration::from_millis(200)).expect_err("it hangs");
        assert!(
            hung == "no end after 200ms" && start.elapsed() < Duration::from_secs(20),
            "{hung}"
        );
        let missing = run(Path::new("/nonexistent/slmd"), &order(), LONGEST).expect_err("missing");
        assert!(missing.contains("cannot be run"), "{missing}");
    }
}
