//! The model that the daemon serves here: a copy in which no answer ends by itself.

use crate::bundle;
use serde_json::Value;
use slmd::text::Tokenizer;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A longer context is not used: it would only make the KV cache larger.
const CONTEXT_TOKENS: usize = 1024;

/// A prepared bundle.
pub struct Model {
    /// For the tables.
    pub name: String,
    /// Tokens of a prompt and its answer together.
    pub context_tokens: usize,
    tokenizer: Arc<Tokenizer>,
    folder: tempfile::TempDir,
}

impl Model {
    /// `default`, or the folder of a bundle of the GenAI layout; or a message and none.
    pub fn open(named: &str) -> Option<Self> {
        let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx/default");
        let source = if named == "default" { built_in } else { PathBuf::from(named) };
        if !source.join("genai_config.json").is_file() {
            eprintln!(
                "SKIP: no bundle of the GenAI layout in {}; make one with onnx/make-test-models",
                source.display()
            );
            return None;
        }
        // Large ones are linked, which wants the same file system; nothing is left in the sources.
        let near = source.parent().filter(|_| named != "default");
        let folder = near.and_then(|near| tempfile::tempdir_in(near).ok());
        let folder = folder.unwrap_or_else(|| tempfile::tempdir().expect("a folder"));
        bundle::copy(&source, folder.path());
        let text = std::fs::read(folder.path().join("genai_config.json")).expect("copied");
        let config: Value = serde_json::from_slice(&text).expect("JSON");
        let most = config["model"]["context_length"].as_u64().expect("a number") as usize;
        let json = std::fs::read(folder.path().join("tokenizer.json")).expect("copied");
        let tokenizer = Tokenizer::new(&json, None, None).expect("a good tokenizer");
        let name = source.file_name().expect("a folder").to_string_lossy().into_owned();
        Some(Self {
            name,
            context_tokens: most.min(CONTEXT_TOKENS),
            tokenizer: Arc::new(tokenizer),
            folder,
        })
    }

    /// Where it lies, as long as this lives.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Of its texts.
    pub fn tokenizer(&self) -> Arc<Tokenizer> {
        Arc::clone(&self.tokenizer)
    }

    /// The tokens of `text`.
    pub fn tokens(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, true).expect("encoded")
    }
}
