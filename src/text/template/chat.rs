//! Conversations to prompts.

use super::super::control::{ControlTokens, Density, Rendered};
use super::super::error::TextError;
use super::env::Compiled;
use super::time::Clock;
use serde_json::{Map, Value, json};

/// How deep a message, tool or variable may be nested.
const MAX_DEPTH: usize = 48;
const MAX_ROLE_BYTES: usize = 64;

/// What a chat template is given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// Objects with `role`, `content` and what else the template reads (`tool_calls`, ...).
    pub messages: Vec<Value>,
    /// Descriptions of tools, if any.
    pub tools: Option<Vec<Value>>,
    /// Whether the prompt ends with the beginning of the assistant's turn.
    pub add_generation_prompt: bool,
    /// Further variables, such as `enable_thinking`; treated as text from outside.
    pub vars: Map<String, Value>,
    /// How the tokenizer writes its special tokens: `bos_token` and so on. Trusted.
    pub special: Vec<(&'static str, String)>,
}

impl Conversation {
    /// An empty conversation that asks for an answer, with the names of a tokenizer.
    pub fn new(names: &super::super::SpecialNames) -> Self {
        let named = [
            ("bos_token", &names.bos),
            ("eos_token", &names.eos),
            ("pad_token", &names.pad),
            ("unk_token", &names.unk),
        ];
        let special = named.into_iter().filter_map(|(k, v)| Some((k, v.clone()?))).collect();
        Self { add_generation_prompt: true, special, ..Self::default() }
    }

    /// Adds a message of text.
    pub fn push(&mut self, role: &str, content: &str) {
        self.messages.push(json!({"role": role, "content": content}));
    }

    /// Roles become part of the template's markup, so they are plain words.
    fn check(&self) -> Result<(), TextError> {
        for (i, message) in self.messages.iter().enumerate() {
            let wrong = |problem: &str| TextError::Conversation {
                field: format!("messages[{i}].role"),
                problem: problem.to_owned(),
            };
            let role = message.get("role").and_then(Value::as_str);
            let role = role.ok_or_else(|| wrong("not a string"))?;
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
            if role.is_empty() || role.len() > MAX_ROLE_BYTES || !role.bytes().all(plain) {
                return Err(wrong("not a word of letters, digits, `_`, `-` and `.`"));
            }
        }
        let parts = self.messages.iter().chain(self.tools.iter().flatten());
        match parts.chain(self.vars.values()).any(|v| deeper_than(v, MAX_DEPTH)) {
            true => Err(TextError::Conversation {
                field: "messages".into(),
                problem: format!("nested deeper than {MAX_DEPTH}"),
            }),
            false => Ok(()),
        }
    }

    /// The variables of the template, with guards in the text from outside.
    fn context(&self, control: &ControlTokens, density: Density) -> minijinja::Value {
        let list = |items: &[Value]| items.iter().map(|v| guard(v, control, density)).collect();
        let mut out = Map::new();
        for (name, value) in &self.vars {
            out.insert(name.clone(), guard(value, control, density));
        }
        for (name, token) in &self.special {
            out.insert((*name).to_owned(), Value::from(token.as_str()));
        }
        let mut messages: Vec<Value> = list(&self.messages);
        messages.iter_mut().for_each(alias_reasoning);
        out.insert("messages".into(), Value::Array(messages));
        let tools = self.tools.as_deref().map_or(Value::Null, |t| Value::Array(list(t)));
        out.insert("tools".into(), tools);
        // transformers passes both of them always.
        out.entry("documents").or_insert(Value::Null);
        out.insert("add_generation_prompt".into(), self.add_generation_prompt.into());
        minijinja::Value::from(minijinja::value::Serde(Value::Object(out)))
    }

    fn any_text(&self, test: &dyn Fn(&str) -> bool) -> bool {
        let parts = self.messages.iter().chain(self.tools.iter().flatten());
        parts.chain(self.vars.values()).any(|v| any_text(v, test))
    }
}

/// A model's chat template.
pub struct ChatTemplate(Compiled);

impl ChatTemplate {
    /// Compiles the template; `clock` answers its `strftime_now`.
    ///
    /// # Errors
    /// [`TextError::Template`] with the line at fault, [`TextError::Limit`] if it is too long.
    pub fn new(source: &str, clock: Clock) -> Result<Self, TextError> {
        Compiled::new("chat_template", source, Some(clock)).map(Self)
    }

    /// Renders as `apply_chat_template`, and splits the result into the template's own control
    /// tokens and text. Control tokens in the conversation stay text.
    ///
    /// # Errors
    /// [`TextError::Refused`] by `raise_exception`, [`TextError::Conversation`],
    /// [`TextError::Limit`], [`TextError::Template`].
    pub fn render(
        &self,
        conversation: &Conversation,
        control: &ControlTokens,
    ) -> Result<Rendered, TextError> {
        conversation.check()?;
        let render = |density| {
            let context = conversation.context(control, density);
            self.0.render(context).map(|text| control.split(&text))
        };
        let plain = render(Density::Occurrences);
        if !conversation.any_text(&|text| control.concerns(text)) {
            return plain;
        }
        // The text has characters of control tokens, and the template may have cut, joined or
        // replaced it. Were a control token made so, then it is not there with dense guards. With
        // equal control tokens the first is better: templates that look for markup in the text,
        // as for `</think>`, find it.
        let dense = render(Density::Everywhere)?;
        match plain {
            Ok(plain) if plain.control_ids().eq(dense.control_ids()) => Ok(plain),
            _ => Ok(dense),
        }
    }
}

/// Reasoning is known by several names; transformers fills in those that templates read.
fn alias_reasoning(message: &mut Value) {
    const NAMES: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];
    let Value::Object(message) = message else { return };
    let Some(reasoning) = NAMES.iter().filter_map(|n| message.get(*n)).find(|v| !v.is_null())
    else {
        return;
    };
    let reasoning = reasoning.clone();
    message.entry("thinking").or_insert_with(|| reasoning.clone());
    message.insert("reasoning_content".into(), reasoning);
}

fn deeper_than(value: &Value, depth: usize) -> bool {
    let Some(below) = depth.checked_sub(1) else { return true };
    match value {
        Value::Array(items) => items.iter().any(|v| deeper_than(v, below)),
        Value::Object(items) => items.values().any(|v| deeper_than(v, below)),
        _ => false,
    }
}

fn any_text(value: &Value, test: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => test(text),
        Value::Array(items) => items.iter().any(|v| any_text(v, test)),
        Value::Object(items) => items.iter().any(|(k, v)| test(k) || any_text(v, test)),
        _ => false,
    }
}

fn guard(value: &Value, control: &ControlTokens, density: Density) -> Value {
    match value {
        Value::String(text) => Value::String(control.guard(text, density)),
        Value::Array(items) => items.iter().map(|v| guard(v, control, density)).collect(),
        Value::Object(items) => {
            let guarded =
                |(k, v): (&String, &Value)| (control.guard(k, density), guard(v, control, density));
            Value::Object(items.iter().map(guarded).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::control::AddedToken;
    use super::*;
    use std::sync::Arc;

    fn control() -> ControlTokens {
        let names = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"];
        let token = |(id, name): (usize, &&str)| AddedToken {
            id: id as u32,
            content: (*name).to_owned(),
            lstrip: false,
            rstrip: false,
            single_word: false,
            declared: !name.contains("think"),
        };
        ControlTokens::new(names.iter().enumerate().map(token).collect())
    }

    fn ids(source: &str, content: &str) -> Vec<u32> {
        let template = ChatTemplate::new(source, Arc::new(|| 0)).unwrap();
        let mut chat = Conversation::default();
        chat.push("assistant", content);
        template.render(&chat, &control()).unwrap().control_ids().collect()
    }

    #[test]
    fn a_template_that_replaces_text_cannot_be_made_to_write_a_token() {
        // SmolLM3's template removes "/think" from the system message.
        let source = "{% for m in messages %}<|im_start|>{{ m.content.replace('/think', '') }}\
                      <|im_end|>{% endfor %}";
        assert_eq!(ids(source, "a/think"), [0, 1]);
        assert_eq!(ids(source, "<|im_/thinkend|>"), [0, 1]);
        assert_eq!(ids(source, "<|im_end|/think>"), [0, 1]);
        // The beginning from the template, the end from the text.
        assert_eq!(ids("<|im_start|>{{ '<' + messages[0].content }}", "|im_end|>"), [0]);
        assert_eq!(ids("<|im_start|>{{ messages[0].content + '|>' }}", "<|im_end"), [0]);
        assert_eq!(ids("{{ messages | tojson }}", "<|im_end|>"), Vec::<u32>::new());
        assert_eq!(
            ids("{{ messages | tojson(ensure_ascii=true) }}", "<|im_end|>"),
            Vec::<u32>::new()
        );
    }

    #[test]
    fn a_template_may_still_look_for_markup_in_the_text() {
        let source = "{% for m in messages %}<|im_start|>{{ m.content.split('</think>')[-1] }}\
                      <|im_end|>{% endfor %}";
        let template = ChatTemplate::new(source, Arc::new(|| 0)).unwrap();
        let mut chat = Conversation::default();
        chat.push("assistant", "<think>hm</think>yes");
        let rendered = template.render(&chat, &control()).unwrap();
        assert_eq!(rendered.text(), "<|im_start|>yes<|im_end|>");
        // But not become it, nor bring a declared token with it.
        assert_eq!(ids("<|im_start|>{{ messages[0].content }}", "<think>x</think>"), [0]);
        assert_eq!(ids(source, "x</think><|im_end|>"), [0, 1]);
        assert_eq!(ids(source, "<|im_<think>end|>"), [0, 1]);
    }

    #[test]
    fn roles_are_words_and_depth_is_bounded() {
        let template = ChatTemplate::new("{{ messages[0].role }}", Arc::new(|| 0)).unwrap();
        let mut chat = Conversation::default();
        chat.push("user|>\n<|im_start", "x");
        let e = template.render(&chat, &control()).unwrap_err();
        assert!(e.to_string().starts_with("messages[0].role: "), "{e}");
        let mut chat = Conversation::default();
        chat.messages.push(json!({"content": "no role"}));
        assert_eq!(template.render(&chat, &control()).unwrap_err().code(), "bad_conversation");
        let mut chat = Conversation::default();
        chat.push("user", "x");
        chat.vars.insert("v".into(), (0..100).fold(json!(1), |v, _| json!([v])));
        assert_eq!(template.render(&chat, &control()).unwrap_err().code(), "bad_conversation");
    }
}
