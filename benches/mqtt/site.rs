//! A broker and a daemon on it, as most scenarios want them.

use crate::daemon::Daemon;
use crate::mosquitto::Mosquitto;
use crate::peer::Peer;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where all daemons of this bench are asked.
pub const REQUEST: &str = "slmd/n/request";
/// Where they tell how they are.
pub const STATUS: &str = "slmd/n/status";

/// The daemon's configuration, but for what only one scenario needs.
pub fn config(url: &str, mqtt: &str, more: &str) -> String {
    format!(
        "engine = \"tract\"\n[mqtt]\nurl = {url:?}\nnode = \"n\"\nreply-topics = [\"clients/#\"]\n\
         {mqtt}\n{more}\n"
    )
}

/// A broker that keeps nothing on the disk and logs nothing: what it costs is in every figure.
pub fn bare_broker(more: &str) -> Mosquitto {
    let extras = format!("persistence false\nlog_type none\n{more}");
    Mosquitto::start(&extras).expect("mosquitto was found before")
}

/// Starts a daemon that logs at `level`, and waits until it is online.
pub fn start(slmd: &Path, level: &str, config: &str, model: Option<&Path>, port: u16) -> Daemon {
    let model = model.map(|path| path.display().to_string());
    let arguments: Vec<&str> = model.iter().flat_map(|path| ["--model", path]).collect();
    let daemon = Daemon::start_logging(slmd, config, &arguments, level);
    wait_for_status(port, |status| status["state"] == "online");
    daemon
}

/// The first status that `wanted` takes.
pub fn wait_for_status(port: u16, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut watcher = Peer::connect(port, &[STATUS]);
    let heard = watcher.hear_until(Duration::from_secs(60), |heard| wanted(&heard.json()));
    heard.expect("a status as it is waited for").json()
}

/// Waits until a line of the log that was written after the first `from` bytes has `text`: when.
pub fn wait_for_log(daemon: &Daemon, from: usize, text: &str, limit: Duration) -> Option<Instant> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if daemon.stderr().get(from..).is_some_and(|log| log.contains(text)) {
            return Some(Instant::now());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    None
}

/// The folder of a test model made by `onnx/make-test-models`, or a message and none.
pub fn test_model(name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let dir = cache.join("slmd/test-models").join(name);
    if !dir.is_dir() {
        eprintln!("SKIP: no test model {name}; make it with onnx/make-test-models");
        return None;
    }
    Some(dir)
}
