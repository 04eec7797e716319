//! A real broker for one test: mosquitto on a port of its own, with a directory of its own.

#![allow(dead_code, reason = "each test uses what it needs")]

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running broker; killed and removed when dropped.
pub struct Mosquitto {
    program: PathBuf,
    dir: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts one that lets anybody in, with `extras` at the end of its configuration; or a message
    /// and none.
    pub fn start(extras: &str) -> Option<Self> {
        Self::start_in(tempfile::tempdir().expect("a directory"), "allow_anonymous true", extras)
    }

    /// As [`Self::start`], in a directory that has files in it already; `access` says who may come
    /// in. `DIR` in both stands for the directory.
    pub fn start_in(dir: tempfile::TempDir, access: &str, extras: &str) -> Option<Self> {
        let Some(program) = program("mosquitto") else {
            eprintln!("SKIP: no mosquitto: apt-get install mosquitto");
            return None;
        };
        let mut broker = Self { program, dir, port: 0, child: None };
        // Somebody else may take the port before mosquitto does.
        for _ in 0..5 {
            broker.port = free_port();
            broker.configure(access, extras);
            if broker.run() {
                return Some(broker);
            }
        }
        panic!("mosquitto does not start: {}", broker.log());
    }

    fn configure(&self, access: &str, extras: &str) {
        let dir = self.dir.path().display().to_string();
        let text = format!(
            "listener {} 127.0.0.1\n{access}\npersistence true\npersistence_location {dir}/\n\
             autosave_interval 1\nautosave_on_changes true\nlog_dest file {dir}/log\n\
             log_type all\n{}{extras}\n",
            self.port,
            if nix::unistd::geteuid().is_root() { "user root\n" } else { "" },
        );
        let text = text.replace("DIR", &dir);
        std::fs::write(self.dir.path().join("conf"), text).expect("writable");
    }

    /// Whether it answers.
    fn run(&mut self) -> bool {
        let child = Command::new(&self.program)
            .arg("-c")
            .arg(self.dir.path().join("conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto runs");
        let child = self.child.insert(child);
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if let Ok(Some(_)) = child.try_wait() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Where it listens, on the loopback address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `mqtt://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Its own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Ends it without warning.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Loses everything that it has on disk; to be called while it is down.
    pub fn forget(&self) {
        let _ = std::fs::remove_file(self.dir.path().join("mosquitto.db"));
    }

    /// Starts it again, with what it had saved.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.run(), "mosquitto does not start again: {}", self.log());
    }

    /// Stops it where it is: its sockets stay open, and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().expect("it runs").id();
        kill(Pid::from_raw(id.try_into().expect("a process id")), signal).expect("it is ours");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

/// In `$PATH`, or where Debian keeps what is for root.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// A port that nobody listens on just now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("bound").port()
}
