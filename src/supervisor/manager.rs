//! systemd, as a notify service sees it (`sd_notify(3)`), or nobody.
//!
//! What takes long asks for more time only while it gets on: a hang is ended by systemd, a slow
//! board is not.

use sd_notify::NotifyState;
use std::fmt::Write as _;
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The time that is asked for, from each sign of life on.
const EXTENSION: Duration = Duration::from_secs(60);
/// What may wait to be told; beyond that, systemd has not read for minutes.
const UNSAID: usize = 64;
/// How often it is looked for a sign of life.
const LOOK: Duration = Duration::from_secs(5);
/// Work that gets no further than this share of one core, in per cent, and reads nothing, hangs;
const BUSY_PERCENT: u32 = 2;
/// as does a phase that takes longer than this, whatever it does.
const LONGEST_PHASE: Duration = Duration::from_secs(1800);

/// Whether somebody wants to be told.
fn is_there() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty())
}

/// Tells systemd things, in their order, on a thread of its own: its socket takes a few messages, and
/// whoever sends one more waits until it has read. The event loop must not.
#[derive(Debug, Clone)]
pub struct Manager(Option<SyncSender<String>>);

impl Manager {
    /// Nothing where systemd is not.
    pub fn find() -> Self {
        if !is_there() {
            return Self(None);
        }
        let (sender, messages) = sync_channel::<String>(UNSAID);
        let tell = move || {
            for message in messages {
                if let Err(error) = sd_notify::notify(&[NotifyState::Custom(&message)]) {
                    tracing::warn!(%error, "systemd cannot be told");
                }
            }
        };
        let thread = std::thread::Builder::new().name("slmd-notify".to_owned()).spawn(tell);
        Self(thread.map(|_| sender).map_err(|e| tracing::warn!("systemd cannot be told: {e}")).ok())
    }

    /// Whether somebody hears it.
    pub const fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Tells it, sooner or later; never waits.
    pub fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(sender) = &self.0 else { return };
        let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
        if sender.try_send(lines.join("\n")).is_err() {
            tracing::warn!("systemd does not read what it is told: {lines:?} is left out");
        }
    }

    /// A reload begins (`systemd.service(5)`, `Type=notify-reload`).
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// Says what goes on, and asks for more time.
    pub fn extend(&self, pulse: &Pulse) {
        let us = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
        self.tell(&[NotifyState::ExtendTimeoutUsec(us), NotifyState::Status(&pulse.phase)]);
    }
}

/// What the work of this process has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Work {
    cpu: Duration,
    /// Pages read from a disk.
    faults: u64,
}

impl Work {
    fn now() -> Self {
        let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
        let Ok(usage) = usage else { return Self::default() };
        let time = |t: nix::sys::time::TimeVal| {
            let us = t.tv_sec() * 1_000_000 + t.tv_usec();
            Duration::from_micros(u64::try_from(us).unwrap_or(0))
        };
        let faults = u64::try_from(usage.major_page_faults()).unwrap_or(0);
        Self { cpu: time(usage.user_time()) + time(usage.system_time()), faults }
    }
}

/// Whether work gets on.
#[derive(Debug)]
pub struct Pulse {
    phase: String,
    began: Instant,
    looked: Instant,
    work: Work,
    /// The last sign of life.
    alive: Instant,
}

impl Pulse {
    /// A phase begins.
    pub fn new(phase: &str) -> Self {
        let now = Instant::now();
        Self { phase: phase.to_owned(), began: now, looked: now, work: Work::now(), alive: now }
    }

    /// Looks; whether there was a sign of life since the last look.
    pub fn beats(&mut self) -> bool {
        self.look(Instant::now(), Work::now())
    }

    fn look(&mut self, now: Instant, work: Work) -> bool {
        let passed = now.saturating_duration_since(self.looked);
        let worked = work.cpu.saturating_sub(self.work.cpu);
        let beats = worked * 100 >= passed * BUSY_PERCENT || work.faults > self.work.faults;
        (self.looked, self.work) = (now, work);
        let beats = beats && now.saturating_duration_since(self.began) < LONGEST_PHASE;
        if beats {
            self.alive = now;
        }
        beats
    }

    /// Whether there was none for as long as systemd was asked for.
    pub fn is_lost(&self) -> bool {
        self.alive.elapsed() >= EXTENSION
    }
}

/// The start: systemd hears each phase, and is asked for more time while the work gets on. Ends when
/// dropped.
#[derive(Debug)]
pub struct Starting(Option<(Sender<String>, JoinHandle<()>)>);

impl Starting {
    /// Nothing where systemd is not.
    pub fn begin(manager: &Manager) -> Self {
        if !manager.is_there() {
            return Self(None);
        }
        let manager = manager.clone();
        let (sender, phases) = channel::<String>();
        let watch = move || {
            let mut pulse = Pulse::new("starting");
            loop {
                match phases.recv_timeout(LOOK) {
                    Ok(phase) => {
                        pulse = Pulse::new(&phase);
                        manager.extend(&pulse);
                    }
                    Err(RecvTimeoutError::Timeout) if pulse.beats() => manager.extend(&pulse),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        };
        Self(Some((sender, std::thread::spawn(watch))))
    }

    /// Goes on to the next phase.
    pub fn phase(&self, phase: &str) {
        if let Some((sender, _)) = &self.0 {
            // The thread outlives the sender.
            let _ = sender.send(phase.to_owned());
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

/// The one line that `systemctl status` shows; told when it changes.
#[derive(Debug, Default)]
pub struct StatusLine {
    told: String,
    /// What went wrong and is still so; a single line, as all of it.
    trouble: Option<String>,
}

impl StatusLine {
    /// `running` and `waiting` requests, and the resident bytes.
    pub fn show(&mut self, manager: &Manager, running: usize, waiting: usize, rss_bytes: u64) {
        let mut line = match (running, waiting) {
            (0, 0) => "idle".to_owned(),
            _ => format!("{running} running, {waiting} waiting"),
        };
        // Whole eighths of what was told: a page more or less is no news.
        let mib = rss_bytes >> 20;
        let grain = (mib / 8).max(1).next_power_of_two() / 2;
        let shown = mib.next_multiple_of(grain.max(1));
        write!(line, "; {shown} MiB resident").expect("a String takes all text");
        if let Some(trouble) = &self.trouble {
            write!(line, "; {trouble}").expect("a String takes all text");
        }
        if line != self.told {
            manager.tell(&[NotifyState::Status(&line)]);
            self.told = line;
        }
    }

    /// What went wrong, until it is none.
    pub fn set_trouble(&mut self, trouble: Option<&str>) {
        let first = trouble.map(|t| t.lines().next().unwrap_or_default());
        self.trouble = first.map(|line| format!("the reload failed: {line}"));
    }

    /// What was told last is not shown any more.
    pub fn forget(&mut self) {
        self.told.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_work_beats_and_a_hang_does_not() {
        let mut pulse = Pulse::new("loading");
        let (start, work) = (pulse.began, pulse.work);
        let at = |s: u64| start + Duration::from_secs(s);
        let cpu = |ms: u64| Work { cpu: work.cpu + Duration::from_millis(ms), ..work };
        assert!(pulse.look(at(5), cpu(5000)), "it computes");
        assert!(pulse.look(at(10), cpu(5200)), "it computes a little");
        assert!(!pulse.look(at(15), cpu(5201)), "other threads wake up now and then");
        let reads = Work { faults: work.faults + 1, ..cpu(5202) };
        assert!(pulse.look(at(20), reads), "it waits for a slow card");
        assert!(!pulse.look(at(25), reads));
        let endless = Work { cpu: reads.cpu + Duration::from_secs(4000), ..reads };
        assert!(!pulse.look(at(1801), endless), "a loop without end is a hang too");
    }
}
