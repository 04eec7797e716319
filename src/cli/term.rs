//! Terminals: colour, and a sign of life for whatever takes longer than a second.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nothing is shown before this.
const PATIENCE: Duration = Duration::from_secs(1);
const FRAME: Duration = Duration::from_millis(100);
const FRAMES: [char; 4] = ['|', '/', '-', '\\'];

/// `slmd:`, in colour on a terminal.
pub fn error_prefix() -> &'static str {
    if has_colour() { "\x1b[1;31mslmd:\x1b[0m" } else { "slmd:" }
}

/// Whether standard error takes colour.
pub fn has_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// A remark beside the answer, on standard error.
pub fn note(text: &str) {
    if has_colour() {
        eprintln!("\x1b[2m({text})\x1b[0m");
    } else {
        eprintln!("slmd: {text}");
    }
}

/// Text without what a terminal would obey: models may write escape sequences, or be made to.
pub fn printable(text: &str) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.contains(harmful) { text.replace(harmful, "\u{fffd}").into() } else { text.into() }
}

/// Replaces the line, in one write.
fn show(line: &str) {
    // A terminal that is gone needs no sign of life.
    let _ = std::io::stderr().write_all(format!("\r\x1b[K{line}").as_bytes());
}

/// Says on a terminal what is being waited for, and for how long already. Gone when dropped.
#[derive(Debug)]
pub struct Progress(Option<(Sender<String>, JoinHandle<()>)>);

impl Progress {
    /// Starts with a phase, such as `loading the model`. Shows nothing unless standard error is a
    /// terminal.
    pub fn start(phase: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let (sender, phases) = channel::<String>();
        let mut phase = phase.to_owned();
        let spin = move || {
            let start = Instant::now();
            let mut shown = false;
            for frame in FRAMES.into_iter().cycle() {
                match phases.recv_timeout(FRAME) {
                    Ok(next) => phase = next,
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {}
                }
                if start.elapsed() >= PATIENCE {
                    shown = true;
                    show(&format!("{frame} {phase} ({} s)", start.elapsed().as_secs()));
                }
            }
            if shown {
                show("");
            }
        };
        Self(Some((sender, std::thread::spawn(spin))))
    }

    /// Goes on to the next phase.
    pub fn phase(&self, phase: &str) {
        if let Some((sender, _)) = &self.0 {
            // The thread outlives the sender.
            let _ = sender.send(phase.to_owned());
        }
    }

    /// Clears the line; nothing is shown any more.
    pub fn end(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            // It does nothing that could fail.
            let _ = thread.join();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(printable("a\n\tb"), "a\n\tb");
        assert_eq!(printable("\x1b[2Jx\r\u{9b}"), "\u{fffd}[2Jx\u{fffd}\u{fffd}");
    }
}
