//! The trial of a model, in a process of its own: what starts it and waits, and what runs in it.

use super::super::{log_to_stderr, serve};
use super::args::TrialArgs;
use super::fault::Fault;
use super::say;
use crate::supervisor::Plan;
use crate::supervisor::trial::{self, Passed, Refused};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The most of its output that is kept.
const OUTPUT_BYTES: u64 = 1 << 20;
/// What of its last words a message shows.
const LAST_WORDS: usize = 300;
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What the process says at its end.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Passed(Passed),
    Refused(Refused),
}

/// Runs the trial of `slmd model trial`; the outcome goes to standard output.
pub(super) fn child(args: &TrialArgs) -> Result<(), Fault> {
    die_with_parent();
    log_to_stderr("warn");
    let flags = [("model", args.folder.display().to_string())];
    let settings = serve::settings(args.config.as_deref(), &flags)?;
    let outcome = match trial::run(&Plan::from(&settings), &|_| ()) {
        Ok(passed) => Outcome::Passed(passed),
        Err(refused) => Outcome::Refused(refused),
    };
    say(&format!("{}\n", serde_json::to_string(&outcome).expect("strings and numbers")))
}

/// If who started it is killed, so is it; and of all processes the kernel takes it first if memory runs
/// out, not the daemon that may be serving beside it.
fn die_with_parent() {
    if let Err(error) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
        tracing::debug!(%error, "the trial may outlive who started it");
    }
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "1000") {
        tracing::debug!(%error, "the kernel may take another process first");
    }
}

/// Tries the model in `folder` in another process of this executable.
///
/// # Errors
/// [`Refused`]: why it may not become active, or what became of the process.
pub(super) fn run(
    folder: &Path,
    config: Option<&Path>,
    timeout: Duration,
) -> Result<Passed, Refused> {
    let failed =
        |e: io::Error| Refused::new("trial_failed", format!("the trial cannot be run: {e}"));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["model", "trial"]).arg(folder);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    let ended = watch(command, timeout)?;
    match serde_json::from_slice(&ended.output) {
        Ok(Outcome::Passed(passed)) if ended.status.success() => Ok(passed),
        Ok(Outcome::Refused(refused)) => Err(refused),
        _ => Err(ended.crashed()),
    }
}

/// How a process ended.
struct Ended {
    status: ExitStatus,
    output: Vec<u8>,
    words: Vec<u8>,
}

impl Ended {
    fn crashed(&self) -> Refused {
        let how = match (self.status.signal(), self.status.code()) {
            (Some(number), _) => {
                let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
                format!("its trial was ended by signal {number} ({name})")
            }
            (None, code) => format!("its trial ended with code {}", code.unwrap_or(-1)),
        };
        let words = String::from_utf8_lossy(&self.words);
        let start = words.char_indices().rev().nth(LAST_WORDS).map_or(0, |(at, _)| at);
        let message = match words[start..].trim() {
            "" => how,
            last => format!("{how}; its last words: {last}"),
        };
        Refused::new("trial_crashed", message)
    }
}

/// Runs a command for as long as it may take.
fn watch(mut command: Command, timeout: Duration) -> Result<Ended, Refused> {
    let failed =
        |e: io::Error| Refused::new("trial_failed", format!("the trial cannot be run: {e}"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let output = gather(child.stdout.take());
    let words = gather(child.stderr.take());
    let status = wait(&mut child, timeout).map_err(failed)?;
    let Some(status) = status else {
        let seconds = timeout.as_secs_f64();
        let message = format!(
            "its trial was not over after {seconds:.0} s; models.trial-timeout-s gives it longer"
        );
        return Err(Refused::new("trial_timeout", message));
    };
    let kept = |thread: JoinHandle<Vec<u8>>| thread.join().unwrap_or_default();
    Ok(Ended { status, output: kept(output), words: kept(words) })
}

/// How it ended; none: it had to be killed.
fn wait(child: &mut Child, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() >= timeout {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

/// Reads to the end, so that the writer never waits; keeps the beginning.
fn gather(from: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut from) = from {
            // A pipe that breaks has ended.
            let _ = from.by_ref().take(OUTPUT_BYTES).read_to_end(&mut kept);
            let _ = io::copy(&mut from, &mut io::sink());
        }
        kept
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, timeout: Duration) -> Result<Ended, Refused> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        watch(command, timeout)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_crash_is_told_with_its_last_words() {
        let ended = sh("echo the tensor is odd >&2; kill -SEGV $$", LONG).expect("it ends");
        let refused = ended.crashed();
        assert_eq!((refused.code.as_str(), refused.is_temporary), ("trial_crashed", false));
        assert!(refused.message.contains("SIGSEGV"), "{}", refused.message);
        assert!(refused.message.ends_with("the tensor is odd"), "{}", refused.message);
        let refused = sh("exit 3", LONG).expect("it ends").crashed();
        assert!(refused.message.ends_with("ended with code 3"), "{}", refused.message);
    }

    #[test]
    fn what_hangs_is_killed() {
        let began = Instant::now();
        let refused = sh("exec sleep 100", Duration::from_millis(200)).err().expect("killed");
        assert_eq!(refused.code, "trial_timeout");
        assert!(began.elapsed() < Duration::from_secs(50));
    }

    #[test]
    fn a_lot_of_output_neither_blocks_nor_is_kept() {
        let ended = sh("head -c 3000000 /dev/zero", LONG).expect("it ends");
        assert!(ended.status.success());
        assert_eq!(ended.output.len() as u64, OUTPUT_BYTES);
        assert!(serde_json::from_slice::<Outcome>(&ended.output).is_err());
    }
}
