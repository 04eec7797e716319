//! How a model writes calls of tools: found by having its chat template write some.
//!
//! Templates disagree about everything but this: a call is some text, the tool's name, some text, the
//! arguments as JSON, and some text. So the template is given a conversation in which known tools were
//! called with known arguments, and what stands around them is the format (llama.cpp finds formats the
//! same way). A template that knows of no tools, or writes arguments otherwise, gets a format of ours,
//! and the tools are described in the system message; both are those of NousResearch's Hermes models,
//! which small models are often trained on.

use super::super::control::{ControlTokens, Rendered};
use super::super::error::TextError;
use super::super::special::SpecialNames;
use super::chat::{ChatTemplate, Conversation};
use crate::core::tool::Tool;
use serde_json::{Value, json};

/// The texts around the names and arguments of calls, split into control tokens and text.
///
/// One call is `open`, name, `middle`, arguments, `close`; between calls stands `next` instead of
/// `close` and `open`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolFormat {
    /// Before the first name.
    pub open: Rendered,
    /// Between a name and its arguments.
    pub middle: Rendered,
    /// Between the arguments of a call and the name of the next one.
    pub next: Rendered,
    /// After the last arguments.
    pub close: Rendered,
    /// Whether it is the template's own.
    pub is_native: bool,
}

/// Names that no template knows and no guard concerns.
const NAMES: [&str; 2] = ["zq_probe_one", "zq_probe_two"];
const KEY: &str = "zq_key";
const VALUE: &str = "zq_value";

impl ToolFormat {
    /// The format of a template; that of ours if it has none.
    pub fn of(chat: &ChatTemplate, control: &ControlTokens, names: &SpecialNames) -> Self {
        let found = [true, false].into_iter().find_map(|goes_on| {
            let texts = probe(chat, control, names, goes_on).ok()?;
            texts.parts(names)
        });
        let (parts, is_native) = match found {
            Some(parts) => (parts, true),
            None => (Parts::own(), false),
        };
        let split = |text: &str| control.split(text);
        Self {
            open: split(&parts.open),
            middle: split(&parts.middle),
            next: split(&parts.next),
            close: split(&parts.close),
            is_native,
        }
    }

    /// `open`, `middle`, `next` and `close`.
    pub const fn parts(&self) -> [&Rendered; 4] {
        [&self.open, &self.middle, &self.next, &self.close]
    }

    /// Says in a conversation what tools there are, and what of its messages are calls and results.
    pub fn apply(&self, conversation: &mut Conversation, tools: &[Tool]) {
        if self.is_native {
            conversation.tools = (!tools.is_empty()).then(|| tools.iter().map(describe).collect());
            return;
        }
        for message in &mut conversation.messages {
            self.write_out(message);
        }
        if tools.is_empty() {
            return;
        }
        let text = own_instructions(tools);
        match conversation.messages.first_mut() {
            Some(first) if first["role"] == "system" => {
                let before = first["content"].as_str().unwrap_or_default();
                first["content"] = format!("{before}\n\n{text}").into();
            }
            _ => conversation.messages.insert(0, json!({"role": "system", "content": text})),
        }
    }

    /// Calls and results as a template sees them that knows of neither.
    fn write_out(&self, message: &mut Value) {
        if message["role"] == "tool" {
            let result = message["content"].as_str().unwrap_or_default();
            let content = format!("<tool_response>\n{result}\n</tool_response>");
            *message = json!({"role": "user", "content": content});
        } else if let Some(calls) = message.get("tool_calls").and_then(Value::as_array) {
            let mut text = message["content"].as_str().unwrap_or_default().to_owned();
            for (i, call) in calls.iter().enumerate() {
                let function = &call["function"];
                text += &if i == 0 { self.open.text() } else { self.next.text() };
                text += function["name"].as_str().unwrap_or_default();
                text += &self.middle.text();
                text += &function["arguments"].to_string();
            }
            text += &self.close.text();
            *message = json!({"role": "assistant", "content": text});
        }
    }
}

/// A tool as templates expect it.
fn describe(tool: &Tool) -> Value {
    json!({"type": "function", "function": {
        "name": tool.name, "description": tool.description, "parameters": tool.parameters,
    }})
}

/// The message of a call, as templates expect it.
pub fn call_message<T: AsRef<str>>(content: &str, calls: &[(T, T, Value)]) -> Value {
    let call = |(id, name, arguments): &(T, T, Value)| {
        let (id, name) = (id.as_ref(), name.as_ref());
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    };
    json!({
        "role": "assistant", "content": content,
        "tool_calls": calls.iter().map(call).collect::<Vec<_>>(),
    })
}

fn own_instructions(tools: &[Tool]) -> String {
    let tools: Vec<String> = tools.iter().map(|tool| describe(tool).to_string()).collect();
    format!(
        "You may call one or more functions to assist with the user query. You are provided with \
         function signatures within <tools></tools> XML tags:\n<tools>\n{}\n</tools>\n\nFor each \
         function call, return a json object with function name and arguments within \
         <tool_call></tool_call> XML tags:\n<tool_call>\n{{\"name\": <function-name>, \
         \"arguments\": <args-json-object>}}\n</tool_call>",
        tools.join("\n")
    )
}

/// What a template wrote: the prompt, and conversations with one and with two calls.
struct Probe {
    prompt: String,
    one: String,
    two: String,
}

/// Mistral's templates want nine letters and digits.
const IDS: [&str; 2] = ["abcdefgh1", "abcdefgh2"];

fn probe(
    chat: &ChatTemplate,
    control: &ControlTokens,
    names: &SpecialNames,
    goes_on: bool,
) -> Result<Probe, TextError> {
    let schema = json!({"type": "object", "properties": {KEY: {"type": "string"}}});
    let tool = |name: &str| {
        describe(&Tool {
            name: name.to_owned(),
            description: "does it".to_owned(),
            parameters: schema.clone(),
        })
    };
    let render = |calls: usize| {
        let mut conversation = Conversation::new(names);
        conversation.push("user", "hello");
        conversation.tools = Some(NAMES.iter().map(|name| tool(name)).collect());
        conversation.add_generation_prompt = calls == 0;
        if calls > 0 {
            let called: Vec<_> =
                (0..calls).map(|i| (IDS[i], NAMES[i], json!({KEY: VALUE}))).collect();
            conversation.messages.push(call_message("", &called));
        }
        if calls > 0 && goes_on {
            for i in 0..calls {
                conversation.messages.push(json!({
                    "role": "tool", "content": "done", "name": NAMES[i], "tool_call_id": IDS[i],
                }));
            }
            conversation.push("assistant", "done");
            conversation.push("user", "hello");
        }
        chat.render(&conversation, control).map(|rendered| rendered.text())
    };
    Ok(Probe { prompt: render(0)?, one: render(1)?, two: render(2)? })
}

/// [`ToolFormat`] as plain text.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    open: String,
    middle: String,
    next: String,
    close: String,
}

impl Parts {
    fn own() -> Self {
        Self {
            open: "<tool_call>\n{\"name\": \"".to_owned(),
            middle: "\", \"arguments\": ".to_owned(),
            next: "}\n</tool_call>\n<tool_call>\n{\"name\": \"".to_owned(),
            close: "}\n</tool_call>".to_owned(),
        }
    }
}

impl Probe {
    /// The format, if what the template wrote has one; `names` says what ends an answer.
    fn parts(&self, names: &SpecialNames) -> Option<Parts> {
        if !NAMES.iter().all(|name| self.prompt.contains(name)) {
            return None;
        }
        let one = self.answer(&self.one)?;
        let two = self.answer(&self.two)?;
        let single = Call::find(one, 0, NAMES[0])?;
        let first = Call::find(two, 0, NAMES[0])?;
        let second = Call::find(two, first.end, NAMES[1])?;
        let open = &one[..single.name];
        let middle = single.middle(one, NAMES[0]);
        let close = until_the_end(&one[single.end..], names)?;
        let is_regular = open == &two[..first.name]
            && middle == first.middle(two, NAMES[0])
            && middle == second.middle(two, NAMES[1])
            && until_the_end(&two[second.end..], names)? == close;
        let next = &two[first.end..second.name];
        let has_ids = [open, middle, next, close].iter().any(|t| IDS.iter().any(|i| t.contains(i)));
        // Without something before the name, every answer could be a call.
        (is_regular && !has_ids && !open.trim().is_empty()).then(|| Parts {
            open: open.to_owned(),
            middle: middle.to_owned(),
            next: next.to_owned(),
            close: close.to_owned(),
        })
    }

    /// What follows the prompt in a conversation.
    fn answer<'t>(&self, whole: &'t str) -> Option<&'t str> {
        // The space that some templates write before an answer is the answer's.
        whole.strip_prefix(&self.prompt).or_else(|| whole.strip_prefix(self.prompt.trim_end()))
    }
}

/// A call in a text: where its name begins, its arguments, and where those end.
struct Call {
    name: usize,
    arguments: usize,
    end: usize,
}

impl Call {
    fn find(text: &str, from: usize, name: &str) -> Option<Self> {
        let at = from + text[from..].find(name)?;
        let after = at + name.len();
        let key = after + text[after..].find(KEY)?;
        let arguments = after + text[after..key].rfind('{')?;
        let mut reader = serde_json::Deserializer::from_str(&text[arguments..]).into_iter();
        let read: Value = reader.next()?.ok()?;
        (read == json!({KEY: VALUE})).then(|| Self {
            name: at,
            arguments,
            end: arguments + reader.byte_offset(),
        })
    }

    fn middle<'t>(&self, text: &'t str, name: &str) -> &'t str {
        &text[self.name + name.len()..self.arguments]
    }
}

/// What belongs to the answer of what follows the last arguments: up to what ends it.
fn until_the_end<'t>(text: &'t str, names: &SpecialNames) -> Option<&'t str> {
    let end = names.ends().filter_map(|end| text.find(end)).min()?;
    Some(&text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn format(source: &str) -> ToolFormat {
        let chat = ChatTemplate::new(source, Arc::new(|| 0)).expect("sound");
        let names = SpecialNames { eos: Some("<|im_end|>".into()), ..SpecialNames::default() };
        ToolFormat::of(&chat, &ControlTokens::none(), &names)
    }

    fn texts(format: &ToolFormat) -> [String; 4] {
        [&format.open, &format.middle, &format.next, &format.close].map(Rendered::text)
    }

    /// As Qwen 2.5 writes it.
    const HERMES: &str = "{% if tools %}{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}\
        {% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}\
        {% for c in m.tool_calls or [] %}{{ '\n' if not loop.first }}<tool_call>\n\
        {\"name\": \"{{ c.function.name }}\", \"arguments\": {{ c.function.arguments | tojson }}}\n\
        </tool_call>{% endfor %}<|im_end|>\n{% endfor %}\
        {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

    #[test]
    fn the_template_s_own_format_is_found() {
        let found = format(HERMES);
        assert!(found.is_native);
        let Parts { open, middle, next, close } = Parts::own();
        assert_eq!(texts(&found), [open, middle, next, close]);
    }

    #[test]
    fn a_name_may_stand_outside_of_the_json() {
        let found = format(
            "{{ tools | tojson }}[INST]{% for m in messages %}{% if m.tool_calls %}\
             {% for c in m.tool_calls %}[TOOL_CALLS]{{ c.function.name }}[ARGS]\
             {{ c.function.arguments | tojson }}{% endfor %}<|im_end|>{% elif m.role == 'user' %}\
             {{ m.content }}[/INST]{% endif %}{% endfor %}",
        );
        assert_eq!(texts(&found), ["[TOOL_CALLS]", "[ARGS]", "[TOOL_CALLS]", ""]);
    }

    #[test]
    fn a_template_without_tools_gets_ours() {
        let plain = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n\
                     {% endfor %}<|im_start|>assistant\n";
        let found = format(plain);
        assert!(!found.is_native);
        let mut conversation = Conversation::default();
        conversation.push("system", "Be brief.");
        conversation.push("user", "how warm?");
        let calls = [("1", "thermometer", json!({"room": "hall"}))];
        conversation.messages.push(call_message("", &calls));
        conversation.messages.push(json!({"role": "tool", "content": "21", "tool_call_id": "1"}));
        let tool = Tool {
            name: "thermometer".into(),
            description: "reads it".into(),
            parameters: json!({"type": "object"}),
        };
        found.apply(&mut conversation, &[tool]);
        let content = |i: usize| conversation.messages[i]["content"].as_str().expect("text");
        assert!(content(0).starts_with("Be brief.\n\nYou may call"), "{}", content(0));
        assert!(content(0).contains(r#""name":"thermometer""#), "{}", content(0));
        assert_eq!(
            content(2),
            "<tool_call>\n{\"name\": \"thermometer\", \"arguments\": {\"room\":\"hall\"}}\n</tool_call>"
        );
        assert_eq!(content(3), "<tool_response>\n21\n</tool_response>");
        assert_eq!(conversation.tools, None);
    }

    #[test]
    fn formats_with_ids_or_quoted_arguments_are_not_taken() {
        let ids = HERMES.replace("<tool_call>\n", "<tool_call>{{ c.id }}\n");
        assert!(ids != HERMES && !format(&ids).is_native);
        let quoted = HERMES.replace("arguments | tojson", "arguments | tojson | tojson");
        assert!(quoted != HERMES && !format(&quoted).is_native);
    }
}
