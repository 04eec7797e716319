//! Execution providers told truthfully, by the real binary and the real library: what is not there,
//! what crashes, what is remembered, and that `--strict` makes an error of it.
#![cfg(feature = "ort")]

mod common;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with a configuration and a cache of its own.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config.toml"), config).expect("writable");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn slmd(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_slmd"))
            .args(args)
            .arg("--config")
            .arg(self.path("config.toml"))
            .env("CACHE_DIRECTORY", self.path("cache"))
            .env("SLMD_STATE_DIR", self.path("state"))
            .env("SLMD_SOCKET", self.path("slmd.sock"))
            .output()
            .expect("it runs")
    }

    fn doctor(&self, args: &[&str]) -> Value {
        let output = self.slmd(&[&["doctor", "--json"], args].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text} {output:?}"))
    }
}

/// The provider's row.
fn row<'a>(found: &'a Value, name: &str) -> &'a Value {
    let rows = found["providers"].as_array().expect("rows");
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}: {rows:?}"))
}

fn reason(found: &Value, name: &str) -> String {
    row(found, name)["reason"].as_str().expect("a reason").to_owned()
}

fn has_library() -> bool {
    let found = slmd::engine::ort::library::find().is_some();
    if !found {
        println!("SKIP providers: no ONNX Runtime library");
    }
    found
}

/// A shared library whose constructor runs `body`.
fn library(folder: &Path, body: &str) -> PathBuf {
    let (source, library) = (folder.join("plugin.c"), folder.join("libplugin.so"));
    let text = format!(
        "#include <stdlib.h>\n#include <signal.h>\n\
         __attribute__((constructor)) static void start(void) {{ {body} }}\n"
    );
    std::fs::write(&source, text).expect("writable");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    assert!(cc.status().expect("a C compiler").success());
    library
}

#[test]
fn the_cpu_is_measured_and_what_is_not_there_has_its_reason() {
    if !has_library() {
        return;
    }
    let site = Site::new(
        "[[provider]]\nname = 'rknpu'\n[[provider]]\nname = 'qnn'\n\
         requires = ['/dev/no-such-device']\n[[provider]]\nname = 'acme'\nplugin = 'none.so'\n",
    );
    assert!(row(&site.doctor(&["--quick"]), "cpu")["measured"].is_null(), "nothing was tried yet");
    let found = site.doctor(&[]);
    let cpu = row(&found, "cpu");
    assert_eq!(cpu["used"], true, "{cpu}");
    assert!(cpu["measured"]["times"]["decode_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{cpu}");
    assert_eq!(cpu["measured"]["shares"][0]["time_percent"], 100.0, "{cpu}");
    assert!(reason(&found, "rknpu").contains("was built without rknpu"), "{found}");
    assert!(reason(&found, "qnn").contains("/dev/no-such-device"), "{found}");
    assert!(reason(&found, "acme").contains("none.so"), "{found}");
    assert_eq!(found["onnx_runtime"]["providers"].as_array().map(|p| p.is_empty()), Some(false));
    // Remembered: the same figures without a trial.
    let again = site.doctor(&["--quick"]);
    assert_eq!(row(&again, "cpu")["measured"], cpu["measured"]);
    assert_eq!(reason(&again, "rknpu"), reason(&found, "rknpu"));
}

#[test]
fn a_provider_that_crashes_takes_nobody_with_it() {
    if !has_library() {
        return;
    }
    let site = Site::new("[[provider]]\nname = 'acme'\nplugin = 'libplugin.so'\n");
    library(site.folder.path(), "*(volatile int *)0 = 1;");
    assert_eq!(reason(&site.doctor(&[]), "acme"), "it was ended by signal 11 (SIGSEGV)");
    let site = Site::new("[[provider]]\nname = 'acme'\nplugin = 'libplugin.so'\n");
    library(site.folder.path(), "exit(7);");
    assert_eq!(reason(&site.doctor(&[]), "acme"), "it ended with code 7");
}

#[test]
fn a_missing_provider_is_an_error_for_whoever_is_strict() {
    if !has_library() {
        return;
    }
    let site = Site::new("engine = 'ort'\n[[provider]]\nname = 'rknpu'\n");
    for args in [&["doctor", "--strict"][..], &["serve", "--strict"]] {
        let output = site.slmd(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(69), "{args:?}: {said}");
        assert!(said.contains("the execution provider rknpu cannot be used"), "{said}");
        assert!(said.contains("was built without rknpu"), "{said}");
    }
    // Who is not is told, and served by the CPU.
    let found = site.doctor(&[]);
    assert_eq!(row(&found, "cpu")["used"], true);
    let tract =
        Site::new("engine = 'tract'\nstrict-providers = true\n[[provider]]\nname = 'rknpu'\n");
    let output = tract.slmd(&["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the engine is tract"), "{said}");
}

#[test]
fn what_is_written_wrong_is_told_with_its_place() {
    let site = Site::new("[[provider]]\nname = 'xnpack'\n");
    let output = site.slmd(&["doctor"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("config.toml:1") && said.contains("xnnpack"), "{said}");
}
