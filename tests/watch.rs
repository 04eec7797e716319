//! `slmd watch test`: columns, times, rules and summaries, and a machine's real failure.

#![allow(clippy::unwrap_used, reason = "a test that fails here has said enough")]

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn slmd(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_slmd"))
        .env_clear()
        .env("HOME", std::env::temp_dir())
        .args(["watch", "test"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that has ended already has not read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The published lines and the summary.
fn lines(args: &[&str], input: &str) -> (Vec<Value>, Value) {
    let out = slmd(&[args, &["--json"]].concat(), input);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let mut lines: Vec<Value> =
        text(&out.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap()["summary"].clone();
    (lines, summary)
}

fn times(lines: &[Value]) -> Vec<(&str, &str)> {
    lines
        .iter()
        .map(|l| (l["time"].as_str().unwrap(), l["payload"]["state"].as_str().unwrap()))
        .collect()
}

const SERIES: &str = "\
time,load,rms
2026-03-01 00:00:00,1,1.0
2026-03-01 00:00:10,1,8.0
2026-03-01 00:00:20,1,oops
2026-03-01 00:00:15,1,99
2026-03-01 00:00:30,1,nan
2026-03-01 00:00:40,1
2026-03-01 00:00:50,1,7.5
not a time,1,3
2026-03-01 00:01:00,1,2.0
";

#[test]
fn a_rule_is_tried_in_one_line() {
    let out = slmd(&["--csv", "-", "--when", "last > 7", "--clear", "last < 3"], SERIES);
    assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), ""));
    let stdout = text(&out.stdout);
    let shown: Vec<&str> = stdout.lines().map(str::trim_end).collect();
    assert!(
        shown[0].starts_with("2026-03-01 00:00:10  alert  alert          0s  count 2 min 1 max 8"),
        "{stdout}"
    );
    assert!(shown[1].starts_with("2026-03-01 00:01:00  alert  cleared       50s"), "{stdout}");
    for figure in ["rows            9", "samples         4", "trips           1"] {
        assert!(shown.contains(&figure), "{stdout}");
    }
    assert!(shown.contains(&"bad rows        4 (first in line 4)"), "{stdout}");
    assert!(shown.contains(&"times backwards 1 (first in line 5)"), "{stdout}");
}

#[test]
fn columns_and_times_have_many_forms() {
    let rule = ["--csv", "-", "--when", "last > 7"];
    let run = |more: &[&str], input: &str| lines(&[&rule[..], more].concat(), input);
    let (published, _) = run(&["--value-column", "load"], &SERIES.replace(",1,", ",9,"));
    // The short row has a load, and no column was asked for that it lacks.
    let expected = [("2026-03-01 00:00:00", "alert"), ("2026-03-01 00:00:40", "cleared")];
    assert_eq!(times(&published), expected);
    let (published, _) = run(&["--value-column", "1", "--time-column", "2"], "8,1772323200\n");
    assert_eq!(times(&published), [("2026-03-01 00:00:00", "alert")], "no header, Unix seconds");
    let (published, summary) = run(&["--step", "5s"], "1\n1\n8\n1\n");
    assert_eq!(times(&published), [("+10s", "alert"), ("+15s", "cleared")]);
    assert_eq!(summary["active_at_the_end"], false);
    let (published, _) = run(&["--step", "1m"], "8\n8\n");
    assert_eq!((published.len(), published[0]["topic"].as_str()), (1, Some("alert")));
}

#[test]
fn each_mistake_has_its_exit_code_and_says_what_to_do() {
    for (args, input, code, says) in [
        (&["--csv", "/no/such"][..], "", 64, "no [[watch]]"),
        (&["--csv", "/no/such", "--when", "last > 1"], "", 66, "cannot read /no/such"),
        (&["--csv", "-", "--when", "last >"], "1", 64, "--when: syntax error"),
        (&["--csv", "-", "--when", "lst > 1"], "1", 64, "--when: unknown name `lst`"),
        (&["--csv", "-", "--when", "last > 1"], "1\n2\n", 64, "--step 5s"),
        (&["--csv", "-", "--when", "last > 1"], "", 65, "standard input is empty"),
        (&["--csv", "-", "--when", "last > 1"], "a,b\nx,y\n", 65, "no time in any row"),
        (&["--csv", "-", "--when", "last > 1", "--step", "1s"], "a\nx\n", 65, "no row has"),
        (&["--csv", "-", "--when", "last > 1", "--value-column", "rms"], "t,v\n", 65, "is t, v"),
        (&["--csv", "-", "--when", "last > 1", "--step", "0s"], "1\n", 64, "at least 1ms"),
        (&["--csv", "-", "--window", "1s"], "1\n", 64, "--when"),
    ] {
        let out = slmd(args, input);
        assert_eq!(out.status.code(), Some(code), "{args:?}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains(says), "{args:?}: {}", text(&out.stderr));
    }
}

const CONFIG: &str = r#"
[[watch]]
name = "vibration"
topic = "factory/+/vibration"
value = "/rms"
window = "30s"
when = "max > limit"
clear = "max < 6"
task = "alert"
vars = { limit = 7.1, machine = "press" }
publish = "factory/{1}/alert"
retain = true

[[watch]]
name = "heat"
topic = "factory/+/heat"
when = "last > 80"
publish = "factory/{1}/hot"

[task.alert]
template = "{{ machine }}: {{ stats | tojson }}"
output = { choice = ["normal", "warning", "stop"] }
max-tokens = 8
"#;

fn configuration(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("config.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_watch_of_a_configuration_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let config = configuration(dir.path(), CONFIG);
    let config = config.to_str().unwrap();
    let series = "time,payload\n1,\"{\"\"rms\"\": 8.5}\"\n2,{}\n";
    let base = ["--config", config, "--csv", "-"];
    let vibration = [&base[..], &["--watch", "vibration"]].concat();
    let quiet = [&vibration[..], &["--no-model", "--topic", "factory/7/vibration"]].concat();
    let (published, summary) = lines(&quiet, series);
    assert_eq!(published.len(), 1);
    let line = &published[0];
    assert_eq!((&line["topic"], &line["retain"]), (&"factory/7/alert".into(), &true.into()));
    assert_eq!(line["payload"]["topic"], "factory/7/vibration");
    assert_eq!(line["payload"].get("error"), None, "nobody was asked");
    assert_eq!(summary["bad_rows"], serde_json::json!({"count": 1, "line": 3}));
    assert_eq!(summary["active_at_the_end"], true);

    // The number alone, whatever the payload will look like; and the embedded model's answer.
    let (published, summary) = lines(&vibration, "1,8.5\n");
    let answer = published[0]["payload"]["answer"].as_str().unwrap_or_default();
    assert!(["normal", "warning", "stop"].contains(&answer), "{published:?}");
    assert_eq!(published[0]["topic"], "factory/1/alert");
    assert_eq!(summary["model_runs"], 1);
    assert!(summary["tokens"].as_u64() > Some(8), "{summary}");

    for (args, says) in [
        (&base[..], "--watch takes one of: vibration, heat"),
        (&[&base[..], &["--watch", "x"]].concat(), "--watch takes one of"),
        (&[&vibration[..], &["--topic", "x"]].concat(), "which is not \"x\""),
    ] {
        let out = slmd(args, "1,2\n");
        assert_eq!(out.status.code(), Some(64), "{}", text(&out.stderr));
        assert!(text(&out.stderr).contains(says), "{}", text(&out.stderr));
    }
}

#[test]
fn a_wrong_watch_is_shown_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let config = configuration(dir.path(), &CONFIG.replace("{1}/hot", "{2}/hot"));
    let out = slmd(&["--config", config.to_str().unwrap(), "--csv", "-"], "1,2\n");
    assert_eq!(out.status.code(), Some(78));
    let shown = text(&out.stderr);
    assert!(shown.contains("config.toml:18:11: `{2}`: the topic"), "{shown}");
    assert!(shown.contains("    |           ^^^^^^^^^^^^^^^^^"), "{shown}");
}

/// Of the three failures that are labelled in this series, the two that stop the machine.
#[test]
fn a_simple_rule_sees_a_real_machine_fail() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared/data/factory/machine_temperature_system_failure.csv");
    if !data.exists() {
        eprintln!("SKIP: {} is not there", data.display());
        return;
    }
    let rule = ["--when", "max < 40", "--clear", "mean > 60", "--window", "1h"];
    let base = ["--csv", data.to_str().unwrap(), "--min-samples", "6"];
    let (published, summary) = lines(&[&base[..], &rule[..]].concat(), "");
    assert_eq!(
        times(&published),
        [
            ("2013-12-16 16:35:00", "alert"),
            ("2013-12-16 19:05:00", "cleared"),
            ("2014-02-08 06:05:00", "alert"),
            ("2014-02-09 12:35:00", "cleared"),
        ]
    );
    assert_eq!((&summary["rows"], &summary["samples"]), (&22_695.into(), &22_684.into()));
    assert_eq!(summary["times_backwards"], serde_json::json!({"count": 11, "line": 10_151}));
}
