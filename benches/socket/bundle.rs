//! The bundle that is measured: the same graph and weights, but nothing ends an answer early.

use serde_json::Value;
use slmd::text::Tokenizer;
use std::path::{Path, PathBuf};

/// Prompts that take turns.
const PROMPTS: usize = 8;
/// A special token that no answer has: it stands for the end of an answer.
const NEVER: u32 = 3;
/// Each is one token in most vocabularies.
pub const WORDS: &str = "the of and to in a is that for it was on are as with they at be this from or \
    one had by but not what all were when we there can an your which their said if do will each \
    about how up out them then she many some so these would other into has more her two like him \
    see time could no make than first been its who now people my made over did down only way find \
    use may water long little very after words called just where most know";

/// The test model of that shape, if it was made.
pub fn test_model() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("slmd/test-models/smollm2-135m-int4")).filter(|dir| dir.is_dir())
}

/// A [`copy`] beside the bundle, and prompts of exactly `tokens` tokens.
pub fn prepare(source: &Path, tokens: usize) -> (tempfile::TempDir, Vec<String>) {
    let near = source.parent().expect("a bundle in a folder");
    let folder = tempfile::tempdir_in(near).or_else(|_| tempfile::tempdir()).expect("a folder");
    copy(source, folder.path());
    let json = std::fs::read(source.join("tokenizer.json")).expect("a tokenizer");
    let tokenizer = Tokenizer::new(&json, None, None).expect("a good tokenizer");
    let prompts = (0..PROMPTS).map(|seed| prompt(&tokenizer, tokens, seed)).collect();
    (folder, prompts)
}

/// Copies a bundle (by hard links where the file system allows them) without its chat template, so
/// that the prompt is all the model sees, with an end of answer that does not come, and with text
/// for special tokens too, so that every token has its delta.
pub fn copy(source: &Path, folder: &Path) {
    for entry in std::fs::read_dir(source).expect("a bundle").flatten() {
        let name = entry.file_name();
        let target = folder.join(&name);
        match name.to_str() {
            Some("slmd.toml" | "generation_config.json" | "special_tokens_map.json") => {}
            Some("genai_config.json") => {
                edit(&entry.path(), &target, |json| json["model"]["eos_token_id"] = NEVER.into());
            }
            Some("tokenizer.json") => edit(&entry.path(), &target, |json| {
                for token in json["added_tokens"].as_array_mut().into_iter().flatten() {
                    token["special"] = false.into();
                }
            }),
            Some("tokenizer_config.json") => edit(&entry.path(), &target, |json| {
                let names = ["chat_template", "bos_token", "eos_token", "unk_token", "pad_token"];
                json.as_object_mut()
                    .expect("an object")
                    .retain(|k, _| !names.contains(&k.as_str()));
            }),
            _ => {
                if std::fs::hard_link(entry.path(), &target).is_err() {
                    std::fs::copy(entry.path(), &target).expect("copied");
                }
            }
        }
    }
}

fn edit(source: &Path, target: &Path, change: impl FnOnce(&mut Value)) {
    let mut json = serde_json::from_slice(&std::fs::read(source).expect("read")).expect("JSON");
    change(&mut json);
    std::fs::write(target, json.to_string()).expect("written");
}

/// Words in an order that depends on `seed`, of exactly `tokens` tokens.
fn prompt(tokenizer: &Tokenizer, tokens: usize, seed: usize) -> String {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text = String::new();
    for i in 0.. {
        let longer = format!("{text} {}", words[(i * 37 + seed * 11 + i * i % 7) % words.len()]);
        match tokenizer.encode(&longer, true).expect("encoded").len().cmp(&tokens) {
            std::cmp::Ordering::Less => text = longer,
            std::cmp::Ordering::Equal => return longer,
            std::cmp::Ordering::Greater => assert!(i < 10_000, "no prompt of {tokens} tokens"),
        }
    }
    text
}
