//! The project's own small model, compiled in from `onnx/default/`.

use super::files::EmbeddedFile;

macro_rules! embed {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../onnx/default/", $name)))),+]
    };
}

/// Every file of `onnx/default/`.
pub const FILES: &[EmbeddedFile] = embed![
    "MODEL_CARD.md",
    "alert.schema.json",
    "dtc.schema.json",
    "genai_config.json",
    "generation_config.json",
    "intent.schema.json",
    "model.onnx",
    "slmd.toml",
    "snips.schema.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vehicle.schema.json",
];

#[cfg(test)]
mod tests {
    use super::super::{Bundle, KvUpdate};
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/onnx/default");
        let mut there: Vec<String> = std::fs::read_dir(dir)
            .expect("the folder")
            .map(|e| e.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        there.sort();
        assert_eq!(FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>(), there);
    }

    #[test]
    fn the_default_model_opens() {
        let bundle = Bundle::default_model().expect("a good bundle");
        assert_eq!(bundle.name, "slmd-default");
        assert!(bundle.verified);
        assert_eq!(bundle.default_task.as_deref(), Some("vehicle"));
        assert!(bundle.task("vehicle").is_some_and(|t| t.output.is_some()));
        assert!(bundle.task("alert").is_some());
        assert_eq!(bundle.graph.kv_update, KvUpdate::InPlace);
        assert!(!bundle.generation.eos.is_empty());
        assert!(!bundle.goldens.is_empty());
        assert!(bundle.text.tokenizer_config.is_some());
    }
}
