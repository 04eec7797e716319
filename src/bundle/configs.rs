//! The configuration files of both layouts: `genai_config.json` and Hugging Face's `config.json`.

use super::error::BundleError;
use super::files::{CONFIG_LIMIT, Files, parse_json};
use super::generation::{GenerationFile, Ids, TokenIds};
use super::ports::{Expected, Fact, PortNames};
use serde::Deserialize;

/// What a layout's configuration file says.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The configuration file, for messages.
    pub file: String,
    /// The graph's file, where the configuration names it.
    pub graph: Option<String>,
    /// Names and figures for the graph.
    pub expected: Expected,
    /// Token ids; the prefix of their fields in messages.
    pub ids: (&'static str, TokenIds),
    /// Sampling defaults; the prefix of their fields in messages.
    pub search: Option<(&'static str, GenerationFile)>,
}

/// The name of ONNX Runtime GenAI's configuration.
pub const GENAI: &str = "genai_config.json";
/// The name of Hugging Face's.
pub const HF: &str = "config.json";

#[derive(Deserialize)]
struct GenaiFile {
    model: GenaiModel,
    search: Option<GenerationFile>,
}

#[derive(Deserialize)]
struct GenaiModel {
    eos_token_id: Option<Ids>,
    bos_token_id: Option<Ids>,
    pad_token_id: Option<Ids>,
    vocab_size: Option<u64>,
    context_length: Option<u64>,
    decoder: GenaiDecoder,
}

#[derive(Deserialize)]
struct GenaiDecoder {
    filename: Option<String>,
    head_size: Option<u64>,
    num_key_value_heads: Option<u64>,
    num_hidden_layers: Option<u64>,
    #[serde(default)]
    inputs: GenaiInputs,
    #[serde(default)]
    outputs: GenaiOutputs,
}

#[derive(Deserialize, Default)]
struct GenaiInputs {
    input_ids: Option<String>,
    attention_mask: Option<String>,
    position_ids: Option<String>,
    past_key_names: Option<String>,
    past_value_names: Option<String>,
    /// The older layout: keys and values in one tensor.
    past_names: Option<String>,
}

#[derive(Deserialize, Default)]
struct GenaiOutputs {
    logits: Option<String>,
    present_key_names: Option<String>,
    present_value_names: Option<String>,
}

/// Reads `genai_config.json`.
///
/// # Errors
/// If it is absent, no JSON, or of a kind that slmd does not run.
pub fn genai(files: &Files) -> Result<ModelConfig, BundleError> {
    let bytes = files.require(GENAI, CONFIG_LIMIT, "ONNX Runtime GenAI's configuration")?;
    let file = files.display(GENAI);
    let GenaiFile { model, search } = parse_json(&file, &bytes)?;
    let names = genai_names(&file, model.decoder.inputs, model.decoder.outputs)?;
    let graph = model.decoder.filename.ok_or_else(|| BundleError::Unsupported {
        file: file.clone(),
        problem: "a model without model.decoder.filename (a pipeline of several graphs?)".into(),
        supported: "one decoder graph".into(),
    })?;
    let fact =
        |value: Option<u64>, field| value.map(|value| Fact { value, file: file.clone(), field });
    let expected = Expected {
        names,
        layers: fact(model.decoder.num_hidden_layers, "model.decoder.num_hidden_layers"),
        kv_heads: fact(model.decoder.num_key_value_heads, "model.decoder.num_key_value_heads"),
        head_dim: fact(model.decoder.head_size, "model.decoder.head_size"),
        vocab_size: fact(model.vocab_size, "model.vocab_size"),
        context_length: fact(model.context_length, "model.context_length"),
    };
    let ids =
        TokenIds { eos: model.eos_token_id, bos: model.bos_token_id, pad: model.pad_token_id };
    let search = search.map(|s| ("search.", s));
    Ok(ModelConfig { file, graph: Some(graph), expected, ids: ("model.", ids), search })
}

fn genai_names(
    file: &str,
    inputs: GenaiInputs,
    outputs: GenaiOutputs,
) -> Result<PortNames, BundleError> {
    if let Some(past) = inputs.past_names {
        return Err(BundleError::Unsupported {
            file: file.to_owned(),
            problem: format!(
                "model.decoder.inputs.past_names = {past:?}: the older cache layout with keys and \
                 values stacked in one tensor"
            ),
            supported: "past_key_names and past_value_names, one input per layer for keys and one \
                        for values, as onnxruntime-genai's model builder writes them today; export \
                        the model again"
                .into(),
        });
    }
    let default = PortNames::default();
    let per_layer = |name: Option<String>, default: String, field: &str| match name {
        Some(name) if name.matches("%d").count() != 1 => Err(BundleError::field(
            file,
            format!("model.decoder.{field}"),
            "a name with one %d",
            name,
        )),
        name => Ok(name.unwrap_or(default)),
    };
    Ok(PortNames {
        input_ids: inputs.input_ids.unwrap_or(default.input_ids),
        attention_mask: inputs.attention_mask.unwrap_or(default.attention_mask),
        position_ids: inputs.position_ids.unwrap_or(default.position_ids),
        past_key: per_layer(inputs.past_key_names, default.past_key, "inputs.past_key_names")?,
        past_value: per_layer(
            inputs.past_value_names,
            default.past_value,
            "inputs.past_value_names",
        )?,
        present_key: per_layer(
            outputs.present_key_names,
            default.present_key,
            "outputs.present_key_names",
        )?,
        present_value: per_layer(
            outputs.present_value_names,
            default.present_value,
            "outputs.present_value_names",
        )?,
        logits: outputs.logits.unwrap_or(default.logits),
    })
}

/// `config.json`; the second names are those of GPT-2 and its kin.
#[derive(Deserialize)]
struct HfFile {
    #[serde(alias = "n_layer")]
    num_hidden_layers: Option<u64>,
    #[serde(alias = "n_head")]
    num_attention_heads: Option<u64>,
    num_key_value_heads: Option<u64>,
    #[serde(alias = "n_embd")]
    hidden_size: Option<u64>,
    head_dim: Option<u64>,
    vocab_size: Option<u64>,
    #[serde(alias = "n_positions", alias = "max_seq_len")]
    max_position_embeddings: Option<u64>,
    eos_token_id: Option<Ids>,
    bos_token_id: Option<Ids>,
    pad_token_id: Option<Ids>,
}

/// Reads `config.json`.
///
/// # Errors
/// If it is absent or no JSON.
pub fn hf(files: &Files) -> Result<ModelConfig, BundleError> {
    let bytes = files.require(HF, CONFIG_LIMIT, "the model's configuration")?;
    let file = files.display(HF);
    let says: HfFile = parse_json(&file, &bytes)?;
    let fact =
        |value: Option<u64>, field| value.map(|value| Fact { value, file: file.clone(), field });
    let kv_heads = match says.num_key_value_heads {
        Some(heads) => fact(Some(heads), "num_key_value_heads"),
        None => fact(says.num_attention_heads, "num_attention_heads"),
    };
    let head_dim =
        says.head_dim.or_else(|| says.hidden_size?.checked_div(says.num_attention_heads?));
    let expected = Expected {
        names: PortNames::default(),
        layers: fact(says.num_hidden_layers, "num_hidden_layers"),
        kv_heads,
        head_dim: fact(head_dim, "head_dim (or hidden_size / num_attention_heads)"),
        vocab_size: fact(says.vocab_size, "vocab_size"),
        context_length: fact(says.max_position_embeddings, "max_position_embeddings"),
    };
    let ids = TokenIds { eos: says.eos_token_id, bos: says.bos_token_id, pad: says.pad_token_id };
    Ok(ModelConfig { file, graph: None, expected, ids: ("", ids), search: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn genai_names_and_figures_are_read() {
        let files = Files::Embedded(&[(
            GENAI,
            br#"{"model": {"eos_token_id": [2, 3], "vocab_size": 100, "context_length": 64, "decoder":
                {"filename": "d.onnx", "head_size": 8, "inputs": {"past_key_names": "k%d"},
                 "outputs": {"logits": "out"}, "session_options": {}}}, "search": {"top_k": 5}}"#,
        )]);
        let config = genai(&files).expect("sound");
        assert_eq!(config.graph.as_deref(), Some("d.onnx"));
        assert_eq!(config.expected.names.past_key, "k%d");
        assert_eq!(config.expected.names.logits, "out");
        assert_eq!(config.expected.head_dim.map(|f| f.value), Some(8));
        assert_eq!(config.ids.1.eos, Some(Ids::Many(vec![2, 3])));
        assert!(config.search.is_some());
    }

    #[test]
    fn a_pattern_without_a_layer_and_a_pipeline_are_refused() {
        let files = Files::Embedded(&[(
            GENAI,
            br#"{"model": {"decoder": {"filename": "d", "inputs": {"past_key_names": "k"}}}}"#,
        )]);
        assert!(genai(&files).expect_err("refused").to_string().contains("one %d"));
        let files = Files::Embedded(&[(GENAI, br#"{"model": {"decoder": {"pipeline": []}}}"#)]);
        assert!(genai(&files).expect_err("refused").to_string().contains("filename"));
    }

    #[test]
    fn the_head_size_follows_from_the_hidden_size() {
        let files = Files::Embedded(&[(
            HF,
            br#"{"hidden_size": 64, "num_attention_heads": 8, "n_layer": 2, "n_positions": 128}"#,
        )]);
        let expected = hf(&files).expect("sound").expected;
        assert_eq!(expected.head_dim.map(|f| f.value), Some(8));
        assert_eq!(expected.kv_heads.map(|f| f.value), Some(8));
        assert_eq!(expected.context_length.map(|f| f.value), Some(128));
        let zero = Files::Embedded(&[(HF, br#"{"hidden_size": 64, "num_attention_heads": 0}"#)]);
        assert_eq!(hf(&zero).expect("sound").expected.head_dim, None);
    }
}
