//! `slmd.toml`: what makes a directory a bundle of ours. Names, hashes, tasks, golden answers.

use super::error::{BundleError, line_column};
use super::files::{CONFIG_LIMIT, Files, is_inside};
use super::task::{Task, TaskSpec};
use crate::core::plan::KvType;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The manifest's name.
pub const MANIFEST: &str = "slmd.toml";
/// The one format there is.
const FORMAT: u32 = 1;
/// The longest cache of fixed shapes that is believed.
const MAX_CONTEXT: u32 = 1 << 20;

/// `slmd.toml` as written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// Version of the format: 1.
    pub format: u32,
    /// The model's name.
    pub name: String,
    /// The model's version.
    pub version: String,
    /// Rises with every release that the one before must not come back after; none: 0. A device
    /// refuses a model of a lower one than it has had (docs/models.md).
    pub counter: Option<u64>,
    /// SPDX expression.
    pub license: Option<String>,
    /// How the graph keeps keys and values, where the maker chose it: `f32`, `f16` or `int8`.
    pub kv: Option<String>,
    /// The task of a prompt that names none.
    pub default_task: Option<String>,
    /// SHA-256, lower-case hex, of every other file.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// How fast the model must be where it is installed.
    #[serde(default)]
    pub latency: LatencySpec,
    /// Tasks by name.
    #[serde(default)]
    pub task: BTreeMap<String, TaskSpec>,
    /// Answers that the model must give, greedily.
    #[serde(default)]
    pub golden: Vec<Golden>,
    /// Two graphs of fixed shapes instead of the one that the layout would name.
    pub r#static: Option<FixedSpec>,
}

/// The section `[static]`: the graphs of fixed shapes and their sizes. `docs/npu.md` has their contract.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FixedSpec {
    /// The file of the graph for `chunk` tokens.
    pub prefill: String,
    /// The file of the graph for one token.
    pub decode: String,
    /// Tokens of one run of `prefill`, at least 2.
    pub chunk: u32,
    /// Positions of the cache, `chunk` at least.
    pub context: u32,
}

/// Bounds that a device must keep for the model to be of use there; it is not activated otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LatencySpec {
    /// Milliseconds of one token's step at the end of the context, at least 1.
    pub max_decode_ms: Option<u32>,
    /// Milliseconds from a golden prompt to its first token, at least 1; the slowest counts.
    pub max_first_token_ms: Option<u32>,
}

/// A prompt and the answer that the model must give to it, sampled greedily.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Golden {
    /// The task; none: a plain prompt.
    pub task: Option<String>,
    /// The prompt.
    pub prompt: String,
    /// The answer's tokens.
    pub tokens: Vec<u32>,
    /// The answer's text.
    pub text: String,
}

impl Manifest {
    /// From the text of the file called `file` in messages.
    ///
    /// # Errors
    /// If it cannot be parsed or contradicts itself.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, BundleError> {
        let manifest = parse(file, bytes)?;
        check(file, &manifest)?;
        Ok(manifest)
    }
}

/// Reads the manifest; `None` if the bundle has none.
///
/// # Errors
/// If it cannot be parsed or contradicts itself.
pub fn read(files: &Files) -> Result<Option<Manifest>, BundleError> {
    let Some(bytes) = files.read(MANIFEST, CONFIG_LIMIT)? else { return Ok(None) };
    Manifest::parse(&files.display(MANIFEST), &bytes).map(Some)
}

fn parse(file: &str, bytes: &[u8]) -> Result<Manifest, BundleError> {
    let syntax = |line, column, problem: String| BundleError::Syntax {
        file: file.to_owned(),
        line,
        column,
        problem,
    };
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let lines = bytes[..e.valid_up_to()].iter().filter(|&&b| b == b'\n').count();
        syntax(lines + 1, 0, "not UTF-8".into())
    })?;
    toml::from_str(text).map_err(|e| {
        let (line, column) = line_column(text, e.span().map_or(0, |s| s.start));
        syntax(line, column, e.message().to_owned())
    })
}

fn check(file: &str, manifest: &Manifest) -> Result<(), BundleError> {
    if manifest.format != FORMAT {
        return Err(BundleError::Unsupported {
            file: file.to_owned(),
            problem: format!("format = {}", manifest.format),
            supported: format!("format = {FORMAT}"),
        });
    }
    for (name, hash) in &manifest.files {
        if !is_inside(name) {
            return Err(BundleError::field(file, "files", "a path inside the bundle", name));
        }
        let is_hex = |b| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if hash.len() != 64 || !hash.bytes().all(is_hex) {
            let field = format!("files.{name:?}");
            return Err(BundleError::field(
                file,
                field,
                "a SHA-256 of 64 lower-case hex digits",
                hash,
            ));
        }
    }
    check_latency(file, manifest)?;
    if manifest.golden.iter().any(|golden| golden.tokens.is_empty() && golden.text.is_empty()) {
        return Err(BundleError::field(file, "golden", "tokens or text", "neither"));
    }
    if let Some(spec) = &manifest.r#static {
        check_static(file, spec)?;
    }
    let tasks = [("default-task", &manifest.default_task)]
        .into_iter()
        .chain(manifest.golden.iter().map(|g| ("golden.task", &g.task)));
    for (field, task) in tasks {
        if let Some(name) = task
            && !manifest.task.contains_key(name)
        {
            return Err(BundleError::field(file, field, "the name of a task", format!("{name:?}")));
        }
    }
    Ok(())
}

fn check_latency(file: &str, manifest: &Manifest) -> Result<(), BundleError> {
    let LatencySpec { max_decode_ms, max_first_token_ms } = manifest.latency;
    let bounds = [("max-decode-ms", max_decode_ms), ("max-first-token-ms", max_first_token_ms)];
    if let Some((key, _)) = bounds.iter().find(|(_, bound)| *bound == Some(0)) {
        return Err(BundleError::field(file, format!("latency.{key}"), "at least 1", 0));
    }
    match max_first_token_ms.is_some() && manifest.golden.is_empty() {
        true => {
            let field = "latency.max-first-token-ms";
            Err(BundleError::field(file, field, "a [[golden]] prompt to time", "none"))
        }
        false => Ok(()),
    }
}

fn check_static(file: &str, spec: &FixedSpec) -> Result<(), BundleError> {
    for (field, name) in [("static.prefill", &spec.prefill), ("static.decode", &spec.decode)] {
        if !is_inside(name) {
            return Err(BundleError::field(file, field, "a path inside the bundle", name));
        }
    }
    if spec.prefill == spec.decode {
        let expected = "another file than static.prefill";
        return Err(BundleError::field(file, "static.decode", expected, &spec.decode));
    }
    if spec.chunk < 2 {
        return Err(BundleError::field(file, "static.chunk", "2 tokens or more", spec.chunk));
    }
    if !(spec.chunk..=MAX_CONTEXT).contains(&spec.context) {
        let expected = format!("static.chunk ({}) to {MAX_CONTEXT} positions", spec.chunk);
        return Err(BundleError::field(file, "static.context", expected, spec.context));
    }
    Ok(())
}

/// Holds every listed file against its hash, and every used one against the list.
///
/// # Errors
/// [`BundleError::Hash`], [`BundleError::Missing`], or a used file that is not listed.
pub fn verify(files: &Files, manifest: &Manifest) -> Result<(), BundleError> {
    for (name, expected) in &manifest.files {
        let found = files.sha256(name)?;
        if &found != expected {
            let file = files.display(name);
            return Err(BundleError::Hash { file, expected: expected.clone(), found });
        }
    }
    Ok(())
}

/// Holds what the manifest says of the cache against the graph.
///
/// # Errors
/// [`BundleError::Field`] if they differ.
pub fn check_kv(files: &Files, manifest: &Manifest, graph: KvType) -> Result<(), BundleError> {
    match &manifest.kv {
        Some(kv) if kv != graph.name() => {
            let expected = format!("{:?}, as in the graph", graph.name());
            Err(BundleError::field(files.display(MANIFEST), "kv", expected, format!("{kv:?}")))
        }
        _ => Ok(()),
    }
}

/// Checks that a file which the bundle uses is covered by the manifest.
///
/// # Errors
/// [`BundleError::Field`] if it is not listed.
pub fn covers(files: &Files, manifest: &Manifest, name: &str) -> Result<(), BundleError> {
    match name == MANIFEST || manifest.files.contains_key(name) {
        true => Ok(()),
        false => {
            let field = format!("files.{name:?}");
            Err(BundleError::field(files.display(MANIFEST), field, "the file's sha256", "no entry"))
        }
    }
}

/// The manifest's tasks, their files read from the bundle.
///
/// # Errors
/// A task that cannot be used.
pub fn tasks(files: &Files, manifest: &Manifest) -> Result<Vec<Task>, BundleError> {
    let mut read = |path: &str| {
        if !is_inside(path) {
            return Err(format!("{path}: not a path inside the bundle"));
        }
        covers(files, manifest, path).map_err(|e| e.to_string())?;
        match files.read(path, CONFIG_LIMIT) {
            Ok(Some(bytes)) => Ok(bytes.into_owned()),
            Ok(None) => Err(format!("{path}: not found in the bundle")),
            Err(e) => Err(e.to_string()),
        }
    };
    // What a tool does is the device's business.
    let no_tool =
        |name: &str| Err(format!("{name:?}: a bundle has no tools, the configuration has"));
    manifest
        .task
        .iter()
        .map(|(name, spec)| {
            spec.clone().resolve(name, &mut read, &no_tool).map_err(|e| {
                let field = format!("task.{}.{}", e.task, e.field);
                BundleError::field(files.display(MANIFEST), field, "a usable value", e.problem)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "format = 1\nname = 'n'\nversion = '1'\n";

    fn checked(rest: &str) -> Result<Manifest, String> {
        let manifest = parse("m", format!("{HEAD}{rest}").as_bytes()).map_err(|e| e.to_string())?;
        check("m", &manifest).map_err(|e| e.to_string())?;
        Ok(manifest)
    }

    #[test]
    fn a_manifest_is_read() {
        let text = "default-task = 't'\n[task.t]\nmax-tokens = 3\n[[golden]]\ntask = 't'\n\
                    prompt = 'p'\ntokens = [1, 2]\ntext = 'x'\n";
        let manifest = checked(text).expect("sound");
        assert_eq!(manifest.golden[0].tokens, [1, 2]);
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        assert_eq!(
            checked("nmae = 3\n").expect_err("unknown"),
            "m:4:1: unknown field `nmae`, expected one of `format`, `name`, `version`, `counter`, \
             `license`, `kv`, `default-task`, `files`, `latency`, `task`, `golden`, \
             `static`"
        );
        assert!(checked("default-task = 'x'").expect_err("none").contains("default-task"));
        assert!(checked("[files]\n'../x' = 'a'").expect_err("outside").contains("inside"));
        assert!(checked("[files]\n'x' = 'ABC'").expect_err("no hash").contains("64"));
        let other = parse("m", b"format = 2\nname = 'n'\nversion = '1'").expect("parses");
        assert!(check("m", &other).expect_err("format").to_string().contains("format = 1"));
        assert_eq!(parse("m", b"a\n\xff").expect_err("bytes").to_string(), "m:2:0: not UTF-8");
    }

    #[test]
    fn counters_and_bounds_are_checked() {
        let golden = "[[golden]]\nprompt = 'p'\ntokens = [1]\ntext = 'x'\n";
        let sound = checked(&format!(
            "counter = 7\n[latency]\nmax-decode-ms = 40\nmax-first-token-ms = 300\n{golden}"
        ))
        .expect("sound");
        assert_eq!((sound.counter, sound.latency.max_decode_ms), (Some(7), Some(40)));
        assert_eq!(checked("").expect("sound").counter, None);
        for (text, says) in [
            ("counter = -1", "-1"),
            ("counter = 1.5", "1.5"),
            ("[latency]\nmax-decode-ms = 0", "latency.max-decode-ms: expected at least 1"),
            ("[latency]\nmax-first-token-ms = 9", "[[golden]]"),
            ("[latency]\nmax-step-ms = 9", "max-step-ms"),
            ("[[golden]]\nprompt = 'p'\ntokens = []\ntext = ''", "tokens or text"),
        ] {
            let error = checked(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn fixed_shapes_are_held_against_sense() {
        let section = |prefill: &str, chunk: i64, context: i64| {
            checked(&format!(
                "[static]\nprefill = '{prefill}'\ndecode = 'd.onnx'\nchunk = {chunk}\ncontext = {context}"
            ))
        };
        let spec = section("p.onnx", 32, 256).expect("sound").r#static.expect("there");
        assert_eq!((spec.chunk, spec.context), (32, 256));
        for (prefill, chunk, context, field) in [
            ("../p.onnx", 32, 256, "static.prefill"),
            ("d.onnx", 32, 256, "static.decode"),
            ("p.onnx", 1, 256, "static.chunk"),
            ("p.onnx", 32, 31, "static.context"),
            ("p.onnx", 32, 1 << 21, "static.context"),
        ] {
            let error = section(prefill, chunk, context).expect_err("refused");
            assert!(error.contains(field), "{error}");
        }
        assert!(section("p.onnx", -1, 256).expect_err("negative").contains("-1"));
    }

    #[test]
    fn the_type_of_the_cache_is_that_of_the_graph() {
        let files = Files::Embedded(&[]);
        let check = |rest: &str, graph| check_kv(&files, &checked(rest).expect("sound"), graph);
        assert!(check("", KvType::Int8).is_ok());
        assert!(check("kv = 'int8'\n", KvType::Int8).is_ok());
        let error = check("kv = 'int8'\n", KvType::F32).expect_err("a float cache").to_string();
        assert!(error.contains("expected \"f32\", as in the graph, found \"int8\""), "{error}");
    }

    #[test]
    fn a_flipped_bit_is_named() {
        static FILES: [(&str, &[u8]); 1] = [("a", b"abd")];
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let manifest = checked(&format!("[files]\na = '{hash}'")).expect("sound");
        let error = verify(&Files::Embedded(&FILES), &manifest).expect_err("changed");
        assert!(error.to_string().starts_with("embedded a: damaged or changed"), "{error}");
        assert!(covers(&Files::Embedded(&FILES), &manifest, "b").is_err());
    }
}
