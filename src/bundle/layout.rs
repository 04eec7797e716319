//! Which of the known layouts a directory has, and which of its graphs to take.

use super::configs::{GENAI, HF};
use super::error::BundleError;
use super::files::Files;
use super::manifest::MANIFEST;
use std::path::Path;

/// How the files of a bundle are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// ONNX Runtime GenAI: `genai_config.json` names the graph.
    GenAi,
    /// transformers.js, onnx-community, optimum: `config.json`, graphs in `onnx/` or beside it.
    Transformers,
    /// Ours: GenAI's, with `slmd.toml` for hashes, tasks and golden answers.
    Slmd,
}

impl Layout {
    /// For logs and `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GenAi => "genai",
            Self::Transformers => "transformers",
            Self::Slmd => "slmd",
        }
    }

    /// Looks at the names of the files.
    ///
    /// # Errors
    /// [`BundleError::Missing`] if neither configuration file is there.
    pub fn detect(files: &Files) -> Result<Self, BundleError> {
        match (files.has(GENAI), files.has(HF)) {
            (true, _) if files.has(MANIFEST) => Ok(Self::Slmd),
            (true, _) => Ok(Self::GenAi),
            (false, true) => Ok(Self::Transformers),
            (false, false) => Err(BundleError::Missing {
                file: files.display(GENAI),
                hint: "neither it nor config.json is there; a model is a directory that \
                       onnxruntime-genai's model builder, optimum or slmd made"
                    .into(),
            }),
        }
    }
}

/// The order in which graphs of the transformers layout are tried when none is asked for: small
/// weights first, since decoding is bound by memory bandwidth; those whose cache is float16 after
/// float32, since CPUs attend to float16 at a fraction of the speed (DESIGN, section 3).
pub const VARIANTS: [&str; 8] = [
    "model_q4",
    "model_int8",
    "model_quantized",
    "model_uint8",
    "model",
    "model_bnb4",
    "model_q4f16",
    "model_fp16",
];

/// The graph's file (relative to the bundle) of the transformers layout.
///
/// With `variant`: that one (`q4` and `model_q4` mean the same). Without: the first of
/// [`VARIANTS`] whose files fit into `memory_bytes`, else the smallest, else the only `.onnx` file.
///
/// # Errors
/// [`BundleError::Variant`] if there is none such.
pub fn choose_graph(
    files: &Files,
    variant: Option<&str>,
    memory_bytes: Option<u64>,
) -> Result<String, BundleError> {
    let there = graphs(files);
    let stem_is = |path: &str, stem: &str| Path::new(path).file_stem().is_some_and(|s| s == stem);
    let find = |stem: &str| there.iter().find(|(path, _)| stem_is(path, stem));
    if let Some(wanted) = variant {
        let wanted = wanted.strip_suffix(".onnx").unwrap_or(wanted);
        return find(wanted)
            .or_else(|| find(&format!("model_{wanted}")))
            .map(|(path, _)| path.clone())
            .ok_or_else(|| none_such(files, wanted, &there));
    }
    let known: Vec<&(String, u64)> = VARIANTS.iter().filter_map(|v| find(v)).collect();
    let fits = |bytes: u64| memory_bytes.is_none_or(|m| bytes <= m);
    known
        .iter()
        .find(|(_, bytes)| fits(*bytes))
        .or_else(|| known.iter().min_by_key(|(_, bytes)| *bytes))
        .map(|(path, _)| path.clone())
        .or_else(|| match there.as_slice() {
            [(path, _)] => Some(path.clone()),
            _ => None,
        })
        .ok_or_else(|| none_such(files, "model", &there))
}

fn none_such(files: &Files, wanted: &str, there: &[(String, u64)]) -> BundleError {
    let names: Vec<&str> = there.iter().map(|(path, _)| path.as_str()).collect();
    BundleError::Variant {
        dir: files.display("").trim_end_matches('/').to_owned(),
        wanted: wanted.to_owned(),
        available: if names.is_empty() { "no .onnx file".into() } else { names.join(", ") },
    }
}

/// Every `.onnx` file in `onnx/` and beside the configuration, with the bytes of its data files.
fn graphs(files: &Files) -> Vec<(String, u64)> {
    let mut found: Vec<(String, u64)> = Vec::new();
    for folder in ["onnx/", ""] {
        let names = list(files, folder);
        for name in names.iter().filter(|n| n.ends_with(".onnx")) {
            // `model.onnx_data`, `model.onnx_data_1`, `model.onnx.data`.
            let bytes = names
                .iter()
                .filter(|n| {
                    n.strip_prefix(name.as_str()).is_some_and(|rest| {
                        rest.is_empty() || rest.starts_with("_data") || rest.starts_with(".data")
                    })
                })
                .filter_map(|n| files.size(&format!("{folder}{n}")))
                .sum();
            found.push((format!("{folder}{name}"), bytes));
        }
    }
    found
}

fn list(files: &Files, folder: &str) -> Vec<String> {
    let mut names: Vec<String> = match files {
        Files::Dir(root) => std::fs::read_dir(root.join(folder)).map_or_else(
            |_| Vec::new(),
            |entries| entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect(),
        ),
        Files::Embedded(files) => files
            .iter()
            .filter_map(|(n, _)| n.strip_prefix(folder))
            .filter(|n| !n.contains('/'))
            .map(str::to_owned)
            .collect(),
    };
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    static SOME: [(&str, &[u8]); 5] = [
        ("config.json", b"{}"),
        ("onnx/model.onnx", b"0123456789"),
        ("onnx/model_q4.onnx", b"01"),
        ("onnx/model_q4.onnx_data", b"01234"),
        ("onnx/model_fp16.onnx", b"0123"),
    ];

    #[test]
    fn layouts_are_told_by_their_files() {
        assert_eq!(Layout::detect(&Files::Embedded(&SOME)), Ok(Layout::Transformers));
        let ours = Files::Embedded(&[(GENAI, b""), (HF, b""), (MANIFEST, b"")]);
        assert_eq!(Layout::detect(&ours), Ok(Layout::Slmd));
        assert!(Layout::detect(&Files::Embedded(&[])).is_err());
    }

    #[test]
    fn the_order_and_the_memory_decide() {
        let files = Files::Embedded(&SOME);
        let choose = |variant, memory| choose_graph(&files, variant, memory);
        assert_eq!(choose(None, None), Ok("onnx/model_q4.onnx".into()));
        assert_eq!(choose(None, Some(7)), Ok("onnx/model_q4.onnx".into()));
        assert_eq!(choose(None, Some(6)), Ok("onnx/model_fp16.onnx".into()));
        assert_eq!(choose(None, Some(1)), Ok("onnx/model_fp16.onnx".into()), "the smallest");
        assert_eq!(choose(Some("fp16"), None), Ok("onnx/model_fp16.onnx".into()));
        assert_eq!(choose(Some("model"), None), Ok("onnx/model.onnx".into()));
        let error = choose(Some("q8"), None).expect_err("none").to_string();
        assert!(error.contains("\"q8\"") && error.contains("onnx/model_q4.onnx"), "{error}");
    }

    #[test]
    fn a_single_graph_needs_no_known_name() {
        let one = Files::Embedded(&[("decoder.onnx", b"0")]);
        assert_eq!(choose_graph(&one, None, None), Ok("decoder.onnx".into()));
        assert!(choose_graph(&Files::Embedded(&[]), None, None).is_err());
    }
}
