//! The real binary on a machine whose sensors the test writes.
#![cfg(feature = "default-model")]

mod common;

use common::daemon::Daemon;
use serde_json::Value;
use slmd::wire::Ask;
use std::path::Path;
use std::time::{Duration, Instant};

const CONFIG: &str = "board = 'raspberry-pi-5'\nthreads = 1\n";

fn zone(daemon: &Daemon, file: &str, text: &str) {
    let folder = daemon.folder().join("system/sys/class/thermal/thermal_zone0");
    std::fs::create_dir_all(&folder).expect("a folder");
    write(&folder.join(file), text);
}

fn write(file: &Path, text: &str) {
    std::fs::write(file, text).expect("written");
}

/// Asks until the status says so; each request makes the daemon look at its sensors.
fn ask_until(daemon: &Daemon, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let mut client = daemon.client();
        let ask = Ask { prompt: Some("warmer".into()), max_tokens: Some(2), ..Ask::default() };
        let _ = client.ask(&ask, |_| {});
        let status = client.status().expect("a status");
        if is_so(&status["pressure"]) {
            return status["pressure"].clone();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: {status}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_hot_board_shows_in_the_status_and_in_the_log() {
    let mut daemon = Daemon::start(CONFIG, &[]);
    let bare = ask_until(&daemon, "no sensors", |p| p["level"] == "normal");
    assert_eq!((&bare["temperature_c"], &bare["why"]), (&Value::Null, &Value::Null));
    daemon.kill();
    zone(&daemon, "type", "cpu-thermal\n");
    zone(&daemon, "temp", "45000\n");
    daemon.start_again();
    daemon.wait_until_it_serves();
    let cool = ask_until(&daemon, "cool", |p| p["temperature_c"] == 45.0);
    assert_eq!((&cool["level"], &cool["stretch_percent"]), (&"normal".into(), &100.into()));
    zone(&daemon, "temp", "76500\n");
    let hot = ask_until(&daemon, "hot", |p| p["level"] == "hot");
    assert_eq!(hot["why"], "cpu-thermal at 76.5 C");
    assert_eq!((&hot["stretch_percent"], &hot["background_percent"]), (&130.into(), &50.into()));
    zone(&daemon, "temp", "85000\n");
    let critical = ask_until(&daemon, "critical", |p| p["level"] == "critical");
    assert_eq!(critical["background_percent"], 0);
    let told = |line: &str| line.contains("pressure changed") && line.contains("critical");
    ask_until(&daemon, "the log", |_| daemon.stderr().lines().any(told));
    assert!(daemon.end().success());
}
