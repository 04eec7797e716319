//! The files that say how a model reads and writes text, located and parsed as far as JSON goes.

use super::error::BundleError;
use super::files::{CONFIG_LIMIT, Files, TOKENIZER_LIMIT, parse_json};
use serde_json::Value;
use std::borrow::Cow;

/// What the `text` module builds tokenizer and chat template from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TextFiles {
    /// `tokenizer.json`, as it is.
    pub tokenizer_json: Cow<'static, [u8]>,
    /// Its name, for messages.
    pub tokenizer_file: String,
    /// `tokenizer_config.json`.
    pub tokenizer_config: Option<Value>,
    /// `special_tokens_map.json`.
    pub special_tokens_map: Option<Value>,
    /// The chat template: `chat_template.jinja`, else `chat_template` of `tokenizer_config.json`
    /// (of several, the one named `default`).
    pub chat_template: Option<String>,
    /// `bos_token`, from `tokenizer_config.json` or `special_tokens_map.json`.
    pub bos_token: Option<String>,
    /// `eos_token`, likewise.
    pub eos_token: Option<String>,
    /// `add_bos_token` of `tokenizer_config.json`.
    pub add_bos_token: Option<bool>,
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
    let tokenizer_config = json(files, CONFIG)?;
    let special_tokens_map = json(files, SPECIAL)?;
    let chat_template = match template_file(files)? {
        Some(template) => Some(template),
        None => configured_template(files, tokenizer_config.as_ref())?,
    };
    let token = |name| {
        [&tokenizer_config, &special_tokens_map]
            .into_iter()
            .flatten()
            .find_map(|v| text_of(v.get(name)?))
    };
    let add_bos_token = tokenizer_config.as_ref().and_then(|v| v.get("add_bos_token")?.as_bool());
    Ok(TextFiles {
        tokenizer_json,
        tokenizer_file: files.display(TOKENIZER),
        bos_token: token("bos_token"),
        eos_token: token("eos_token"),
        add_bos_token,
        chat_template,
        tokenizer_config,
        special_tokens_map,
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

fn json(files: &Files, name: &str) -> Result<Option<Value>, BundleError> {
    match files.read(name, CONFIG_LIMIT)? {
        None => Ok(None),
        Some(bytes) => {
            let value: Value = parse_json(&files.display(name), &bytes)?;
            match value.is_object() {
                true => Ok(Some(value)),
                false => Err(BundleError::field(
                    files.display(name),
                    "file",
                    "a JSON object",
                    kind(&value),
                )),
            }
        }
    }
}

fn template_file(files: &Files) -> Result<Option<String>, BundleError> {
    let Some(bytes) = files.read(TEMPLATE, CONFIG_LIMIT)? else { return Ok(None) };
    String::from_utf8(bytes.into_owned()).map(Some).map_err(|e| {
        let at = format!("byte {}", e.utf8_error().valid_up_to());
        BundleError::field(files.display(TEMPLATE), at, "UTF-8", "other bytes")
    })
}

/// `chat_template`: a string, or a list of `{"name", "template"}`.
fn configured_template(
    files: &Files,
    config: Option<&Value>,
) -> Result<Option<String>, BundleError> {
    let wrong = |found: &str| {
        let expected = "a string, or a list of {\"name\", \"template\"} with one named \"default\"";
        Err(BundleError::field(files.display(CONFIG), "chat_template", expected, found))
    };
    match config.and_then(|c| c.get("chat_template")) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Array(list)) => {
            let named = |item: &&Value| item.get("name").and_then(Value::as_str) == Some("default");
            match list.iter().find(named).or(list.first()).and_then(|i| i.get("template")?.as_str())
            {
                Some(text) => Ok(Some(text.to_owned())),
                None => wrong("a list without one"),
            }
        }
        Some(other) => wrong(kind(other)),
    }
}

/// A token: a string, or an object with `content`.
fn text_of(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
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
    fn tokens_and_the_default_template_are_found() {
        let files = Files::Embedded(&[
            (TOKENIZER, b"{}"),
            (
                CONFIG,
                br#"{"bos_token": null, "eos_token": {"content": "</s>"}, "add_bos_token": true,
                     "chat_template": [{"name": "tool_use", "template": "T"},
                                       {"name": "default", "template": "D"}]}"#,
            ),
            (SPECIAL, br#"{"bos_token": "<s>"}"#),
        ]);
        let text = read(&files).expect("sound");
        assert_eq!(text.chat_template.as_deref(), Some("D"));
        assert_eq!(text.bos_token.as_deref(), Some("<s>"));
        assert_eq!(text.eos_token.as_deref(), Some("</s>"));
        assert_eq!(text.add_bos_token, Some(true));
    }

    #[test]
    fn the_template_file_wins() {
        let files = Files::Embedded(&[
            (TOKENIZER, b"{}"),
            (CONFIG, br#"{"chat_template": "from the configuration"}"#),
            (TEMPLATE, b"from the file"),
        ]);
        assert_eq!(read(&files).expect("sound").chat_template.as_deref(), Some("from the file"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let refusal = |files: &'static [(&'static str, &'static [u8])]| {
            read(&Files::Embedded(files)).expect_err("refused").to_string()
        };
        assert!(refusal(&[]).contains("tokenizer.json: not found"));
        assert!(refusal(&[("vocab.json", b"{}")]).contains("vocab.json alone"));
        assert!(refusal(&[(TOKENIZER, b"{}"), (CONFIG, b"[]")]).contains("a JSON object"));
        assert!(
            refusal(&[(TOKENIZER, b"{}"), (CONFIG, b"{\"chat_template\": 3}")])
                .contains("a number")
        );
        assert!(refusal(&[(TOKENIZER, b"{}"), (TEMPLATE, b"\xff")]).contains("byte 0"));
    }
}
