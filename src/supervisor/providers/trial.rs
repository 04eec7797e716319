//! One provider, tried on the real graph in a process of its own: they crash, they hang, and what
//! they have taken they keep.
//!
//! The parent writes an [`Order`] to the child's standard input; the child writes one JSON object,
//! [`Ran`] or an error in words, to its standard output.

use super::profile::{self, Share};
use crate::child;
use crate::core::plan::{EngineKind, KvType};
use crate::core::provider::Provider;
use crate::engine::agreement::{self, Agreement, ForcedRun, Times};
use crate::engine::choice::{self, Choice};
use crate::engine::{EngineOptions, peak_rss_bytes};
use crate::supervisor::start::open_model;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A trial that takes longer hangs.
pub const LONGEST: Duration = Duration::from_secs(120);
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
        context_tokens: (agreement::PROMPT_TOKENS + agreement::POSITIONS) as u32,
        max_chunk: agreement::PROMPT_TOKENS as u32,
        kv: KvType::Auto,
        provider: Some(order.provider.clone()),
        ..EngineOptions::default()
    };
    let start = Instant::now();
    let mut engine = choice::load(&choice, &bundle.graph, &options).map_err(|e| e.to_string())?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let is_reference = order.provider.is_cpu();
    let reference = if is_reference { None } else { Some(read_run(&order.reference)?) };
    let prompt = || agreement::prompt(bundle.graph.vocab_size as u32);
    let tokens = reference.as_ref().map_or_else(prompt, |run| run.tokens.clone());
    let ran = agreement::run(engine.as_mut(), &tokens).map_err(|e| e.to_string())?;
    drop(engine);
    if is_reference {
        write_run(&order.reference, &ran)?;
    }
    // Once more, since to write the profile takes time.
    let options = EngineOptions { profile: Some(order.folder.join(PROFILE)), ..options };
    let mut engine = choice::load(&choice, &bundle.graph, &options).map_err(|e| e.to_string())?;
    agreement::run(engine.as_mut(), &ran.tokens).map_err(|e| e.to_string())?;
    drop(engine);
    Ok(Ran {
        times: ran.times,
        load_ms,
        peak_bytes: peak_rss_bytes(),
        agreement: reference.map(|run| Agreement::between(&run.logits, &ran.logits)),
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

fn read_run(path: &Path) -> Result<ForcedRun, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    postcard::from_bytes(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

fn write_run(path: &Path, run: &ForcedRun) -> Result<(), String> {
    let bytes = postcard::to_stdvec(run).map_err(|e| e.to_string())?;
    std::fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// The parent's side: runs `executable` with the order, for as long as a trial may take.
///
/// # Errors
/// The reason, for people: what the child said, how it died, or that it hung.
pub fn run(executable: &Path, order: &Order, longest: Duration) -> Result<Ran, String> {
    let mut command = Command::new(executable);
    command.arg(COMMAND);
    let text = serde_json::to_vec(order).expect("strings and numbers");
    let ended = child::run(command, &text, longest).map_err(|e| e.to_string())?;
    match serde_json::from_slice::<Result<Ran, String>>(&ended.output) {
        Ok(said) if ended.is_success() => said,
        _ => Err(format!("it {}", ended.how())),
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

    fn problem(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("child");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        run(&path, &order(), LONGEST).expect_err(text)
    }

    #[test]
    fn however_a_child_ends_there_is_a_reason() {
        assert_eq!(problem("kill -SEGV $$"), "it was ended by signal 11 (SIGSEGV)");
        assert_eq!(problem("exit 0"), "it ended with code 0", "it said nothing");
        assert_eq!(problem("echo '{\"Err\":\"no device\"}'"), "no device");
        let said = problem("cat >/dev/null; echo two >&2; exit 3");
        assert_eq!(said, "it ended with code 3; its last words: two");
    }
}
