//! The official JSON Schema test suite: valid instances are accepted, an invalid one never is, and what
//! is not supported is refused by name.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::Value;
use slmd::sample::{
    Constraint, ConstraintError, GrammarFactory, Masked, ResponseShape, Rng, canonical,
};
use slmd::text::Tokenizer;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What of the suite must be compiled, or be known to have no valid instance; in percent.
const LEAST_SHARE: usize = 65;

fn shared() -> Option<PathBuf> {
    let path = std::env::var_os("SLMD_SHARED").map(PathBuf::from);
    let path = path.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared").into());
    path.is_dir().then_some(path)
}

struct Judge {
    factory: GrammarFactory,
    tokenizer: Arc<Tokenizer>,
}

impl Judge {
    fn new(shared: &Path) -> Self {
        let json = std::fs::read(shared.join("data/tokenizers/smollm2/tokenizer.json")).unwrap();
        let tokenizer = Arc::new(Tokenizer::new(&json, None, None).unwrap());
        Self { factory: GrammarFactory::new(Arc::clone(&tokenizer), &[2]).unwrap(), tokenizer }
    }

    fn fresh(&self, schema: &Value) -> Result<Box<dyn Constraint>, ConstraintError> {
        self.factory.compile(&ResponseShape::JsonSchema(schema.clone()))
    }

    fn accepts(&self, schema: &Value, text: &str) -> bool {
        let mut constraint = self.fresh(schema).unwrap();
        let ids = self.tokenizer.encode(text, false).unwrap();
        ids.iter().all(|&id| constraint.advance(id).is_ok()) && constraint.is_complete()
    }

    /// Draws over random logits; the answer, if it ends soon.
    fn drawn(&self, schema: &Value, rng: &mut Rng) -> Option<String> {
        let mut constraint = self.fresh(schema).unwrap();
        let mut bytes = Vec::new();
        for _ in 0..300 {
            let Masked::Tokens(mask) = constraint.mask().unwrap() else {
                return Some(String::from_utf8(bytes).unwrap());
            };
            let ids: Vec<u32> = mask.ids().collect();
            let ends = |id: &&u32| **id == 2 || b"\"]}".contains(&self.last(**id));
            let ends: Vec<u32> = ids.iter().filter(ends).copied().collect();
            let ids = if ends.is_empty() || rng.next_u64().is_multiple_of(3) { ids } else { ends };
            let id = ids[(rng.next_u64() % ids.len() as u64) as usize];
            constraint.advance(id).unwrap();
            if id == 2 {
                return Some(String::from_utf8(bytes).unwrap());
            }
            bytes.extend(self.tokenizer.table().bytes(id));
        }
        None
    }

    fn last(&self, id: u32) -> u8 {
        self.tokenizer.table().bytes(id).last().copied().unwrap_or(0)
    }
}

#[derive(Default)]
struct Tally {
    schemas: usize,
    compiled: usize,
    /// Refused because no value is valid, and none of the suite's is.
    void: usize,
    valid: usize,
    /// Valid only where `format` is an annotation; here it is enforced.
    formats: usize,
    rejected: Vec<String>,
    invalid: usize,
    accepted: Vec<String>,
    refused: BTreeMap<String, usize>,
    drawn: usize,
}

impl Tally {
    fn group(&mut self, judge: &Judge, group: &Value, rng: &mut Rng) {
        self.schemas += 1;
        let (schema, tests) = (&group["schema"], group["tests"].as_array().unwrap());
        match judge.fresh(schema) {
            Ok(_) => self.compiled += 1,
            Err(problem) => return self.refuse(&problem, tests),
        }
        // References to other documents are not there.
        let validator = jsonschema::options().should_validate_formats(true).build(schema).ok();
        for test in tests {
            let as_it_is = canonical(&Value::Null, &test["data"]);
            let ordered = canonical(schema, &test["data"]);
            let accepted = judge.accepts(schema, &ordered) || judge.accepts(schema, &as_it_is);
            let what = || format!("{schema}: {}", test["data"]);
            match (test["valid"].as_bool().unwrap(), accepted) {
                (true, true) => self.valid += 1,
                (true, false) if validator.as_ref().is_some_and(|v| !v.is_valid(&test["data"])) => {
                    self.formats += 1;
                }
                (true, false) => self.rejected.push(what()),
                (false, false) => self.invalid += 1,
                (false, true) => self.accepted.push(what()),
            }
        }
        if let Some(validator) = validator {
            self.draw(judge, schema, &validator, rng);
        }
    }

    fn refuse(&mut self, problem: &ConstraintError, tests: &[Value]) {
        if problem.to_string() == "json_schema: no value is valid" {
            assert!(tests.iter().all(|test| test["valid"] == false), "{tests:?}");
            self.void += 1;
            return;
        }
        let name = match problem {
            ConstraintError::Keyword { keyword, .. } => keyword.clone(),
            other => other.to_string(),
        };
        *self.refused.entry(name).or_default() += 1;
    }

    /// What a random model says under the schema is valid.
    fn draw(
        &mut self,
        judge: &Judge,
        schema: &Value,
        validator: &jsonschema::Validator,
        rng: &mut Rng,
    ) {
        for _ in 0..5 {
            if let Some(text) = judge.drawn(schema, rng) {
                let value: Value = serde_json::from_str(&text).unwrap();
                if !validator.is_valid(&value) {
                    self.accepted.push(format!("{schema}: drew {text}"));
                }
                self.drawn += 1;
            }
        }
    }

    fn share(&self) -> usize {
        (self.compiled + self.void) * 100 / self.schemas.max(1)
    }

    fn print(&self, name: &str) {
        println!(
            "{name}: {} of {} schemas compiled, {} without a valid value, {} %; valid: {} accepted, {} not, \
             {} by `format`; invalid: {} rejected, {} accepted; {} answers drawn; refused: {:?}",
            self.compiled,
            self.schemas,
            self.void,
            self.share(),
            self.valid,
            self.rejected.len(),
            self.formats,
            self.invalid,
            self.accepted.len(),
            self.drawn,
            self.refused
        );
    }

    fn add(&mut self, other: Self) {
        self.schemas += other.schemas;
        self.compiled += other.compiled;
        self.void += other.void;
        self.valid += other.valid;
        self.formats += other.formats;
        self.rejected.extend(other.rejected);
        self.invalid += other.invalid;
        self.accepted.extend(other.accepted);
        self.drawn += other.drawn;
        for (name, count) in other.refused {
            *self.refused.entry(name).or_default() += count;
        }
    }
}

#[test]
fn the_official_suite_is_kept_to() {
    let Some(shared) = shared() else { return println!("SKIP: no shared data") };
    let judge = Judge::new(&shared);
    // The whole of it, where somebody has it: .ci/full does.
    let suite = std::env::var_os("SLMD_SCHEMA_SUITE").map(PathBuf::from);
    let suite = suite.unwrap_or_else(|| shared.join("data/json-schema"));
    let mut files: Vec<PathBuf> = std::fs::read_dir(suite)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    let (mut all, mut rng) = (Tally::default(), Rng::new(1));
    for file in files {
        let groups: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let mut tally = Tally::default();
        for group in groups.as_array().unwrap() {
            tally.group(&judge, group, &mut rng);
        }
        tally.print(&file.file_stem().unwrap().to_string_lossy());
        all.add(tally);
    }
    all.print("all");
    assert!(all.accepted.is_empty(), "invalid, but accepted:\n{}", all.accepted.join("\n"));
    assert!(all.rejected.is_empty(), "valid, but rejected:\n{}", all.rejected.join("\n"));
    assert!(all.share() >= LEAST_SHARE && all.drawn > 0);
}
