//! Real models, opened: those that `onnx/make-test-models` builds, and upstream's older one.
//!
//! Models that are not there are skipped with a message that begins with SKIP.

use slmd::bundle::{Bundle, KvUpdate, Layout, PortType};
use std::path::{Path, PathBuf};

fn test_models() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    cache.unwrap_or_default().join("slmd/test-models")
}

fn present(path: PathBuf) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIP: {} is not there (onnx/make-test-models builds it)", path.display());
    None
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("readable").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

#[test]
fn every_test_model_opens() {
    let Some(models) = present(test_models()) else { return };
    let mut opened = 0;
    for entry in std::fs::read_dir(models).expect("readable").flatten() {
        let dir = entry.path();
        if !["genai_config.json", "config.json"].iter().any(|f| dir.join(f).is_file()) {
            continue;
        }
        let bundle = Bundle::open(&dir, None).unwrap_or_else(|e| panic!("{e}"));
        let graph = &bundle.graph;
        assert!(!graph.layers.is_empty() && graph.vocab_size > 0, "{}", dir.display());
        assert!(!bundle.generation.eos.is_empty(), "{}: no end token", dir.display());
        assert_eq!(bundle.hash.len(), 64);
        println!(
            "{}: {} {:?} {} layers, {} heads of {}, {:?}, vocabulary {}, context {}, last only {}",
            bundle.name,
            bundle.layout.name(),
            graph.kv_update,
            graph.layers.len(),
            graph.kv_heads,
            graph.head_dim,
            graph.kv_type,
            graph.vocab_size,
            graph.context_length,
            graph.last_logits_only,
        );
        opened += 1;
    }
    println!("{opened} models opened");
}

#[test]
fn both_layouts_of_one_model_have_the_same_figures() {
    let models = test_models();
    let (Some(genai), Some(tjs)) =
        (present(models.join("tiny-fp32")), present(models.join("tiny-tjs")))
    else {
        return;
    };
    let genai = Bundle::open(genai, None).expect("opens");
    let tjs = Bundle::open(tjs, Some("model")).expect("opens");
    assert_eq!(genai.graph.kv_update, KvUpdate::InPlace);
    assert_eq!(tjs.graph.kv_update, KvUpdate::Append);
    assert_eq!(tjs.layout, Layout::Transformers);
    assert!(tjs.graph.position_ids.is_some());
    assert_eq!(genai.graph.layers, tjs.graph.layers);
    assert_eq!(genai.graph.kv_type, PortType::F32);
    assert_eq!(genai.graph.vocab_size, tjs.graph.vocab_size);
    assert_eq!(genai.text.tokenizer_json, tjs.text.tokenizer_json);
}

/// One flipped bit, a short file, and a lost one, each named by the error.
#[test]
fn damage_is_found_before_anything_is_loaded() {
    let Some(model) = present(test_models().join("tiny-int4")) else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let refusal = |spoil: &dyn Fn(&Path)| {
        let copied = dir.path().join("copy");
        let _ = std::fs::remove_dir_all(&copied);
        copy(&model, &copied);
        spoil(&copied);
        Bundle::open(&copied, None).map(drop).map_err(|e| e.to_string())
    };
    assert_eq!(refusal(&|_| ()), Ok(()));
    for file in ["model.onnx", "model.onnx.data", "tokenizer.json"] {
        if !model.join(file).is_file() {
            continue;
        }
        let flipped = refusal(&|dir| {
            let mut bytes = std::fs::read(dir.join(file)).expect("readable");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            std::fs::write(dir.join(file), bytes).expect("writable");
        });
        assert!(flipped.expect_err("flipped").contains(&format!("{file}: damaged")), "{file}");
        let lost = refusal(&|dir| std::fs::remove_file(dir.join(file)).expect("removed"));
        assert!(lost.expect_err("lost").contains(&format!("{file}: not found")), "{file}");
        // Without a manifest, lengths are what is left to check.
        let short = refusal(&|dir| {
            std::fs::remove_file(dir.join("slmd.toml")).expect("removed");
            let bytes = std::fs::read(dir.join(file)).expect("readable");
            std::fs::write(dir.join(file), &bytes[..bytes.len() / 2]).expect("writable");
        });
        if file.starts_with("model") {
            assert!(short.expect_err("short").contains("truncated"), "{file}");
        }
    }
}

#[test]
fn the_older_cache_layout_is_refused_by_name() {
    let shared =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/models/tiny-random-gpt2");
    let Some(model) = present(shared) else { return };
    let error = Bundle::open(&model, None).expect_err("refused").to_string();
    assert!(error.contains("past_%d") && error.contains("past_key_names"), "{error}");
}

#[test]
fn a_path_without_a_model_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = |path: &Path| Bundle::open(path, None).expect_err("none").to_string();
    assert!(error(&dir.path().join("none")).contains("no model directory"));
    assert!(error(dir.path()).contains("neither it nor config.json"));
    let file = dir.path().join("file");
    std::fs::write(&file, "x").expect("writable");
    assert!(error(&file).contains("expected a directory"));
}
