//! The official JSON Schema test suite: an invalid instance is never accepted.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::Value;
use slmd::sample::{GrammarFactory, ResponseShape};
use slmd::text::Tokenizer;
use std::path::PathBuf;
use std::sync::Arc;

fn shared() -> Option<PathBuf> {
    let path = std::env::var_os("SLMD_SHARED").map(PathBuf::from);
    let path = path.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared").into());
    path.is_dir().then_some(path)
}

#[test]
fn no_invalid_instance_of_the_official_suite_is_accepted() {
    let Some(shared) = shared() else { return println!("SKIP: no shared data") };
    let json = std::fs::read(shared.join("data/tokenizers/smollm2/tokenizer.json")).unwrap();
    let tokenizer = Arc::new(Tokenizer::new(&json, None, None).unwrap());
    let factory = GrammarFactory::new(Arc::clone(&tokenizer), &[2]).unwrap();
    let (mut schemas, mut compiled, mut valid, mut rejected, mut invalid) = (0, 0, 0, 0, 0);
    let mut wrong = Vec::new();
    for file in std::fs::read_dir(shared.join("data/json-schema")).unwrap() {
        let groups: Value =
            serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        for group in groups.as_array().unwrap() {
            schemas += 1;
            let shape = ResponseShape::JsonSchema(group["schema"].clone());
            if factory.compile(&shape).is_err() {
                continue;
            }
            compiled += 1;
            for test in group["tests"].as_array().unwrap() {
                let mut c = factory.compile(&shape).unwrap();
                let ids = tokenizer.encode(&test["data"].to_string(), false).unwrap();
                let accepted = ids.iter().all(|&id| c.advance(id).is_ok()) && c.is_complete();
                match (test["valid"].as_bool().unwrap(), accepted) {
                    (true, true) => valid += 1,
                    (true, false) => rejected += 1,
                    (false, false) => invalid += 1,
                    (false, true) => wrong.push(format!("{} {test}", group["schema"])),
                }
            }
        }
    }
    println!(
        "{compiled} of {schemas} schemas; valid: {valid} accepted, {rejected} not; \
         invalid: {invalid} rejected"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compiled > 0 && valid > 0 && invalid > 0);
}
