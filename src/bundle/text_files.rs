//! The files that say how a model reads and writes text, located and parsed as far as JSON goes.

use super::error::BundleError;
use super::files::{CONFIG_LIMIT, Files, TOKENIZER_LIMIT, parse_json};
use serde_json::Value;
use std::borrow::Cow;

/// What the `text` module builds tokenizer and chat template from; JSON files are known to parse.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextFiles {
    /// `tokenizer.json`.
    pub tokenizer_json: Cow<'static, [u8]>,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<Cow<'static, [u8]>>,
    /// `special_tokens_map.json`.
    pub special_tokens_map: Option<Cow<'static, [u8]>>,
    /// `chat_template.jinja`, which wins over the template in `tokenizer_config.json`.
    pub chat_template: Option<String>,
}

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";
const TEMPLATE: &str = "chat_template.jinja";
const SPECIAL: &str = "special_tokens_map.json";

/// Every name that [`read`] looks for.
pub const NAMES: [&str; 4] = [TOKENIZER, CONFIG, TEMPLATE, SPECIAL];

/// Reads the text files of a bundle.
///
/// # Errors
/// If `tokenizer.json` is absent or a file cannot be parsed.
pub fn read(files: &Files) -> Result<TextFiles, BundleError> {
    let tokenizer_json = files.require(TOKENIZER, TOKENIZER_LIMIT, missing_hint(files))?;
    Ok(TextFiles {
        tokenizer_json,
        tokenizer_config: json(files, CONFIG)?,
        special_tokens_map: json(files, SPECIAL)?,
        chat_template: template_file(files)?,
    })
}

fn missing_hint(files: &Files) -> &'static str {
    match files.has("tokenizer.model") || files.has("vocab.json") {
        true => {
            "the tokenizer in the Hugging Face `tokenizers` format is needed \
             (tokenizer.model and vocab.json alone are not supported; \
             `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)` writes it)"
        }
        false => "the tokenizer in the Hugging Face `tokenizers` format is needed",
    }
}

/// A file that must be a JSON object, if it is there.
fn json(files: &Files, name: &str) -> Result<Option<Cow<'static, [u8]>>, BundleError> {
    let Some(bytes) = files.read(name, CONFIG_LIMIT)? else { return Ok(None) };
    let file = files.display(name);
    match parse_json::<Value>(&file, &bytes)? {
        Value::Object(_) => Ok(Some(bytes)),
        other => Err(BundleError::field(file, "file", "a JSON object", kind(&other))),
    }
}

fn template_file(files: &Files) -> Result<Option<String>, BundleError> {
    let Some(bytes) = files.read(TEMPLATE, CONFIG_LIMIT)? else { return Ok(None) };
    String::from_utf8(bytes.into_owned()).map(Some).map_err(|e| {
        let at = format!("byte {}", e.utf8_error().valid_up_to());
        BundleError::field(files.display(TEMPLATE), at, "UTF-8", "other bytes")
    })
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_there_are_passed_on() {
        let config = br#"{"chat_template": "from the configuration"}"#;
        let files = Files::Embedded(&[
            (TOKENIZER, b"{}"),
            (CONFIG, br#"{"chat_template": "from the configuration"}"#),
            (TEMPLATE, b"from the file"),
        ]);
        let text = read(&files).expect("sound");
        assert_eq!(text.tokenizer_config.as_deref(), Some(config.as_slice()));
        assert_eq!(text.special_tokens_map, None);
        assert_eq!(text.chat_template.as_deref(), Some("from the file"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let refusal = |files: &'static [(&'static str, &'static [u8])]| {
            read(&Files::Embedded(files)).expect_err("refused").to_string()
        };
        assert!(refusal(&[]).contains("tokenizer.json: not found"));
        assert!(refusal(&[("vocab.json", b"{}")]).contains("vocab.json alone"));
        assert!(refusal(&[(TOKENIZER, b"{}"), (CONFIG, b"[]")]).contains("a JSON object"));
        assert!(refusal(&[(TOKENIZER, b"{}"), (TEMPLATE, b"\xff")]).contains("byte 0"));
    }
}
