//! The real binary as a daemon of its own, in a folder of its own.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use slmd::client::Client;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running daemon; killed when dropped. Its folder lives as long as it does.
pub struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
    program: PathBuf,
    arguments: Vec<String>,
    level: String,
}

impl Daemon {
    /// With this configuration and these further arguments of `serve`; ready when it returns.
    pub fn start(config: &str, arguments: &[&str]) -> Self {
        let Some(program) = option_env!("CARGO_BIN_EXE_slmd") else {
            panic!("not built for a test or a bench");
        };
        Self::start_program(Path::new(program), config, arguments)
    }

    /// As [`Daemon::start`], of another build.
    pub fn start_program(program: &Path, config: &str, arguments: &[&str]) -> Self {
        let level = std::env::var("SLMD_TEST_LOG").unwrap_or_else(|_| "warn".to_owned());
        Self::start_logging(program, config, arguments, &level)
    }

    /// As [`Daemon::start_program`], with this level of its log.
    pub fn start_logging(program: &Path, config: &str, arguments: &[&str], level: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state").display().to_string();
        let config = format!("state-dir = {state:?}\n{config}");
        std::fs::write(folder.path().join("config.toml"), config).expect("written");
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        let child = spawn(program, folder.path(), &arguments, level);
        let (program, level) = (program.to_owned(), level.to_owned());
        let mut daemon = Self { child, folder, program, arguments, level };
        daemon.wait_until_it_serves();
        daemon
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("slmd.sock")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it answers on its socket.
    pub fn serves(&self) -> bool {
        Client::connect(self.socket()).is_ok_and(|mut c| c.health().unwrap_or(false))
    }

    /// How it ended, if it did by itself.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    /// Waits until it answers on its socket.
    pub fn wait_until_it_serves(&mut self) {
        let began = Instant::now();
        while !self.serves() {
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("the daemon ended with {status}: {}", self.stderr());
            }
            assert!(began.elapsed() < Duration::from_secs(60), "it does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What it has logged, over all of its lives.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.socket()).expect("the daemon listens")
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("signalled");
    }

    pub fn terminate(&mut self) {
        self.signal(Signal::SIGTERM);
    }

    /// SIGKILL, as a power cut looks to other processes.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again over the same state; returns without waiting for it to serve.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.program, self.folder.path(), &self.arguments, &self.level);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it ends")
    }

    pub fn end(mut self) -> ExitStatus {
        self.terminate();
        self.wait()
    }
}

fn spawn(program: &Path, folder: &Path, arguments: &[String], level: &str) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log"));
    Command::new(program)
        .args(["serve", "--config"])
        .arg(folder.join("config.toml"))
        .arg("--socket")
        .arg(folder.join("slmd.sock"))
        .args(arguments)
        .env("SLMD_LOG", level)
        // A machine without sensors, unless the test writes some: no heat of this one changes a test.
        .env("SLMD_TEST_SYSTEM_ROOT", folder.join("system"))
        .stdin(Stdio::null())
        .stderr(log.expect("writable"))
        .spawn()
        .expect("the binary starts")
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        self.kill();
    }
}
