use super::*;
use crate::board::Room;
use crate::bundle::Bundle;
use crate::core::plan::EngineKind;
use crate::engine::EngineOptions;
use crate::runtime::Limits;
use crate::sheet::{Demands, Freedom};
use std::path::Path;

/// The default model as the daemon would load it, with plenty of everything.
fn plan(cache: &Path) -> Plan {
    Plan {
        model: None,
        variant: None,
        engine: EngineKind::Tract,
        options: EngineOptions { context_tokens: 256, ..EngineOptions::default() },
        chain: Vec::new(),
        is_strict: false,
        executable: None,
        freedom: Freedom { sessions: false, context: false },
        limits: Limits {
            queue: 2,
            max_step: Duration::from_secs(60),
            deadline: Duration::from_secs(60),
            first_token: None,
            max_tokens: 64,
            prompt_bytes: 4096,
        },
        tasks: Vec::new(),
        calibrations: None,
        memory_bytes: 1 << 40,
        demands: Demands {
            queue: 2,
            prompt_bytes: 4096,
            clients: 0,
            message_bytes: 0,
            mqtt: None,
            second_model_bytes: 0,
        },
        cache_dir: cache.to_owned(),
        board: "test".into(),
        room: Room::default(),
        watched_tasks: Vec::new(),
    }
}

fn outcome(change: impl FnOnce(&mut Plan)) -> Result<Passed, Refused> {
    let cache = tempfile::tempdir().expect("a directory");
    let mut plan = plan(cache.path());
    change(&mut plan);
    run(&plan, &|_| ())
}

fn code(change: impl FnOnce(&mut Plan)) -> String {
    outcome(change).expect_err("refused").code
}

#[test]
fn the_default_model_passes() {
    let passed = outcome(|_| ()).expect("it passes");
    assert_eq!(passed.name, "slmd-default");
    assert_eq!(passed.goldens, Bundle::default_model().expect("sound").goldens.len());
    assert!(passed.decode_ms > 0.0 && passed.first_token_ms.is_some_and(|ms| ms > 0.0));
    let json = serde_json::to_string(&passed).expect("JSON");
    assert_eq!(serde_json::from_str::<Passed>(&json).expect("the same"), passed);
}

#[test]
fn each_bound_that_breaks_has_its_code() {
    assert_eq!(code(|plan| plan.limits.max_step = Duration::from_nanos(1)), "latency");
    assert_eq!(code(|plan| plan.memory_bytes = 1 << 20), "budget");
    assert_eq!(code(|plan| plan.watched_tasks = vec![("w".into(), "none".into())]), "watched_task");
    assert_eq!(code(|plan| plan.options.context_tokens = 1 << 20), "context");
    assert_eq!(code(|plan| plan.model = Some("/nowhere".into())), "bundle");
    let now = outcome(|plan| plan.room.available_bytes = Some(1 << 20)).expect_err("no room");
    assert_eq!((now.code.as_str(), now.is_temporary), ("memory_now", true));
}

/// A copy of the default model whose manifest was changed.
fn with_manifest(change: impl FnOnce(String) -> String) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/default");
    for entry in std::fs::read_dir(source).expect("the folder").flatten() {
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copied");
    }
    let manifest = dir.path().join("slmd.toml");
    let text = std::fs::read_to_string(&manifest).expect("text");
    std::fs::write(&manifest, change(text)).expect("written");
    dir
}

#[test]
fn another_answer_than_the_golden_one_is_refused() {
    let dir = with_manifest(|text| {
        text.replacen("tokens = [327, 325, 1446,", "tokens = [327, 325, 1447,", 1)
    });
    // The text is still the same: that is enough.
    outcome(|plan| plan.model = Some(dir.path().into())).expect("it passes by its text");
    let dir = with_manifest(|text| {
        text.replacen("tokens = [327, 325, 1446,", "tokens = [327, 325, 1447,", 1).replacen(
            "Row2.*.Temperature",
            "Row1.*.Temperature",
            1,
        )
    });
    let refused = outcome(|plan| plan.model = Some(dir.path().into())).expect_err("refused");
    assert_eq!(refused.code, "golden");
    assert!(refused.message.contains("warmer in the back"), "{}", refused.message);
    assert!(refused.message.contains("2 of 8 tokens"), "{}", refused.message);
}

#[test]
fn the_model_s_own_bounds_count_too() {
    let dir = with_manifest(|text| {
        text.replacen("[task.vehicle]", "[latency]\nmax-first-token-ms = 1\n\n[task.vehicle]", 1)
    });
    let refused = outcome(|plan| plan.model = Some(dir.path().into()));
    // A machine that is that fast may pass.
    match refused {
        Err(refused) => assert_eq!(refused.code, "latency"),
        Ok(passed) => assert!(passed.first_token_ms.is_some_and(|ms| ms <= 1.0)),
    }
}
