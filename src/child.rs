//! A process that may crash, hang, flood its pipes or leave others behind: what it said, and how it
//! ended.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

/// The most of its standard output that is kept, and of its standard error.
const KEPT_BYTES: u64 = 1 << 20;
/// What of its last words a message shows, in characters.
const LAST_WORDS: usize = 300;
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The daemon's socket, watchdog and readiness are not the child's.
const MANAGERS: [&str; 5] =
    ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID"];

/// Why there is no end to tell of.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// It cannot be started, or not be waited for.
    #[error("{command} cannot be run: {error}")]
    Run {
        /// What was to be run.
        command: String,
        /// The system's reason.
        error: io::Error,
    },
    /// It was killed, and nothing of it is left.
    #[error("no end after {0:?}")]
    Timeout(Duration),
}

/// How a child ended.
#[derive(Debug)]
pub struct Ended {
    status: ExitStatus,
    /// The beginning of its standard output.
    pub output: Vec<u8>,
    complaints: Vec<u8>,
}

impl Ended {
    /// Whether it says itself that it went well.
    pub fn is_success(&self) -> bool {
        self.status.success()
    }

    /// How it ended, with its last words, as in `was ended by signal 11 (SIGSEGV); its last words: ...`.
    pub fn how(&self) -> String {
        let how = match (self.status.signal(), self.status.code()) {
            (Some(number), _) => {
                let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
                format!("was ended by signal {number} ({name})")
            }
            (None, code) => format!("ended with code {}", code.unwrap_or(-1)),
        };
        let words = String::from_utf8_lossy(&self.complaints);
        let start = words.char_indices().rev().nth(LAST_WORDS).map_or(0, |(at, _)| at);
        match words[start..].trim() {
            "" => how,
            last => format!("{how}; its last words: {last}"),
        }
    }
}

/// Runs a command for as long as it may take, with `input` (less than a pipe holds) on its standard
/// input. It is over when nobody writes to its outputs any more; whatever it has started goes with it.
///
/// # Errors
/// [`ChildError`].
pub fn run(mut command: Command, input: &[u8], longest: Duration) -> Result<Ended, ChildError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |error: io::Error| ChildError::Run { command: name.clone(), error };
    for variable in MANAGERS {
        command.env_remove(variable);
    }
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let (output, complaints) = (gather(child.stdout.take()), gather(child.stderr.take()));
    // A child that is gone already has its reason in its status.
    let _ = child.stdin.take().expect("it is piped").write_all(input);
    let until = Instant::now() + longest;
    let status = wait(&mut child, until).map_err(failed)?;
    let kept = |from: Receiver<Vec<u8>>| {
        from.recv_timeout(until.saturating_duration_since(Instant::now()).max(LOOK)).ok()
    };
    let ended = status.and_then(|status| {
        Some(Ended { status, output: kept(output)?, complaints: kept(complaints)? })
    });
    // It is in a group of its own. What is left of it is not to go on behind our back.
    let group = Pid::from_raw(child.id().cast_signed());
    if let Err(error) = killpg(group, Signal::SIGKILL) {
        tracing::trace!(%error, "nothing is left of it");
    }
    if ended.is_none() {
        child.wait().map_err(failed)?;
    }
    ended.ok_or(ChildError::Timeout(longest))
}

/// The child's side: if who started it is killed, so is it; and of all processes the kernel takes it
/// first if memory runs out, not the daemon that may be serving beside it.
pub fn be_expendable() {
    if let Err(error) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
        tracing::debug!(%error, "this process may outlive who started it");
    }
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "1000") {
        tracing::debug!(%error, "the kernel may take another process first");
    }
}

/// How it ended; none: it has not.
fn wait(child: &mut Child, until: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

/// Reads to the end, so that the writer never waits; keeps the beginning.
fn gather(from: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (done, read) = sync_channel(1);
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut from) = from {
            // A pipe that breaks has ended.
            let _ = from.by_ref().take(KEPT_BYTES).read_to_end(&mut kept);
            let _ = io::copy(&mut from, &mut io::sink());
        }
        // Nobody may be waiting any more.
        let _ = done.send(kept);
    });
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn sh(script: &str, input: &[u8], longest: Duration) -> Result<Ended, ChildError> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(command, input, longest)
    }

    fn how(script: &str) -> String {
        sh(script, b"", LONG).expect("it ends").how()
    }

    #[test]
    fn however_a_child_ends_there_is_a_reason() {
        assert_eq!(how("kill -SEGV $$"), "was ended by signal 11 (SIGSEGV)");
        assert_eq!(how("exit 0"), "ended with code 0");
        let said = how("echo the tensor is odd >&2; exit 3");
        assert_eq!(said, "ended with code 3; its last words: the tensor is odd");
        let missing = run(Command::new("/nonexistent/slmd"), b"", LONG).expect_err("missing");
        assert!(missing.to_string().contains("/nonexistent/slmd cannot be run"), "{missing}");
    }

    #[test]
    fn what_hangs_is_killed() {
        let began = Instant::now();
        let hung = sh("exec sleep 100", b"", Duration::from_millis(200)).expect_err("killed");
        assert_eq!(hung.to_string(), "no end after 200ms");
        assert!(began.elapsed() < Duration::from_secs(50));
    }

    #[test]
    fn what_it_leaves_behind_goes_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("late").display().to_string();
        // The one in the background keeps the pipe open.
        let script = format!("(sleep 1; echo x > {file}) & echo done");
        let began = Instant::now();
        let hung = sh(&script, b"", Duration::from_millis(300)).expect_err("killed");
        assert!(matches!(hung, ChildError::Timeout(_)) && began.elapsed() < LONG / 4);
        let quick =
            sh(&format!("({script}) >/dev/null 2>&1; echo ok"), b"", LONG).expect("it ends");
        assert_eq!(quick.output, b"ok\n");
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!folder.path().join("late").exists(), "neither of them went on");
    }

    #[test]
    fn a_flood_neither_blocks_nor_is_kept() {
        let ended = sh("head -c 3000000 /dev/zero", b"", LONG).expect("it ends");
        assert!(ended.is_success());
        assert_eq!(ended.output.len() as u64, KEPT_BYTES);
        assert!(how("yes 2>&1 | head -c 3000000 >&2; exit 1").len() < 500);
    }

    #[test]
    fn it_hears_its_input_and_not_the_manager() {
        let ended = sh("cat; echo $LISTEN_FDS", b"hello\n", LONG).expect("it ends");
        assert_eq!(ended.output, b"hello\n\n");
    }
}
