//! The files beside `tokenizer.json`: which tokens are bos, eos and the like, and the templates.

use super::error::TextError;
use serde_json::Value;

/// Ends of a turn or of a text in the model families that small models come from.
const KNOWN_ENDS: [&str; 10] = [
    "<|im_end|>",
    "<|endoftext|>",
    "</s>",
    "<|end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|end_of_turn|>",
    "<eos>",
];

/// What `tokenizer_config.json` and `special_tokens_map.json` say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialNames {
    /// Begins every text, for models that want that.
    pub bos: Option<String>,
    /// Ends an answer.
    pub eos: Option<String>,
    /// Fills rows; never part of a text.
    pub pad: Option<String>,
    /// Stands for what the tokenizer cannot write.
    pub unk: Option<String>,
    /// Whether to put `bos` before raw text; `None`: the tokenizer's own post-processor decides.
    pub add_bos: Option<bool>,
    /// The default chat template.
    pub chat_template: Option<String>,
    /// Further templates by name, such as `tool_use`.
    pub named_templates: Vec<(String, String)>,
}

impl SpecialNames {
    /// Reads the two files; each may be absent. The first that names a token wins.
    ///
    /// # Errors
    /// [`TextError::File`] where a file is not a JSON object.
    pub fn read(config: Option<&[u8]>, map: Option<&[u8]>) -> Result<Self, TextError> {
        let mut out = Self::default();
        for (file, bytes) in [("tokenizer_config.json", config), ("special_tokens_map.json", map)] {
            let Some(bytes) = bytes else { continue };
            let json: Value =
                serde_json::from_slice(bytes).map_err(|e| TextError::file(file, e))?;
            if !json.is_object() {
                return Err(TextError::file(file, "not a JSON object"));
            }
            out.take(file, &json)?;
        }
        Ok(out)
    }

    fn take(&mut self, file: &str, json: &Value) -> Result<(), TextError> {
        for (name, place) in [
            ("bos_token", &mut self.bos),
            ("eos_token", &mut self.eos),
            ("pad_token", &mut self.pad),
            ("unk_token", &mut self.unk),
        ] {
            if place.is_none() {
                *place = content(json.get(name)).map(str::to_owned);
            }
        }
        self.add_bos = self.add_bos.or(json.get("add_bos_token").and_then(Value::as_bool));
        match json.get("chat_template") {
            None | Some(Value::Null) => Ok(()),
            Some(Value::String(source)) => {
                self.chat_template = Some(source.clone());
                Ok(())
            }
            Some(Value::Array(list)) => self.take_named(file, list),
            Some(_) => Err(TextError::file(file, "chat_template: neither a string nor a list")),
        }
    }

    /// The older form: a list of `{"name", "template"}`; `default` is the chat template.
    fn take_named(&mut self, file: &str, list: &[Value]) -> Result<(), TextError> {
        for (i, entry) in list.iter().enumerate() {
            let text = |key: &str| {
                entry.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| {
                    TextError::file(file, format!("chat_template[{i}].{key}: not a string"))
                })
            };
            let (name, template) = (text("name")?, text("template")?);
            if name == "default" {
                self.chat_template = Some(template);
            } else {
                self.named_templates.push((name, template));
            }
        }
        Ok(())
    }

    /// The chat template to use: that of a `chat_template.jinja` wins over the configuration's.
    pub fn template<'a>(&'a self, jinja: Option<&'a str>) -> Option<&'a str> {
        jinja.or(self.chat_template.as_deref())
    }

    /// The tokens named, without repetition.
    pub(crate) fn named(&self) -> impl Iterator<Item = &str> {
        [&self.bos, &self.eos, &self.pad, &self.unk].into_iter().filter_map(|n| n.as_deref())
    }

    /// Tokens that may end an answer: the one named, then those known from model families.
    pub(crate) fn ends(&self) -> impl Iterator<Item = &str> {
        self.eos.as_deref().into_iter().chain(KNOWN_ENDS)
    }
}

/// A token is named by its text, or by an object with its `content`.
fn content(value: Option<&Value>) -> Option<&str> {
    match value? {
        Value::String(text) => Some(text),
        other => other.get("content")?.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_as_strings_or_objects() {
        let config = br#"{"bos_token":{"content":"<s>"},"eos_token":"</s>","add_bos_token":true,
            "chat_template":[{"name":"default","template":"A"},{"name":"rag","template":"B"}]}"#;
        let map = br#"{"eos_token":"other","pad_token":"<pad>"}"#;
        let names = SpecialNames::read(Some(config), Some(map)).unwrap();
        assert_eq!(names.bos.as_deref(), Some("<s>"));
        assert_eq!(names.eos.as_deref(), Some("</s>"));
        assert_eq!(names.pad.as_deref(), Some("<pad>"));
        assert_eq!(names.add_bos, Some(true));
        assert_eq!(names.template(None), Some("A"));
        assert_eq!(names.template(Some("C")), Some("C"));
        assert_eq!(names.named_templates, [("rag".to_owned(), "B".to_owned())]);
    }

    #[test]
    fn wrong_files_are_named() {
        let e = SpecialNames::read(Some(b"[]"), None).unwrap_err();
        assert_eq!(e.to_string(), "tokenizer_config.json: not a JSON object");
        let e = SpecialNames::read(Some(br#"{"chat_template":[{"name":1}]}"#), None).unwrap_err();
        assert!(e.to_string().contains("chat_template[0].name"), "{e}");
    }
}
