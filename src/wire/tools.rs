//! Tools and calls in JSON, as OpenAI has them.

use super::fields::{Fields, bad};
use super::validate::clip;
use crate::core::error::RejectReason;
use crate::core::tool::{Tool, ToolCall, ToolChoice};
use serde_json::{Value, json};

/// `tools`: `[{"type": "function", "function": {"name", "description", "parameters", "strict"}}]`.
pub(super) fn read_tools(fields: &mut Fields<'_>) -> Result<Vec<Tool>, RejectReason> {
    let items = fields.array("tools")?.unwrap_or_default();
    items
        .into_iter()
        .enumerate()
        .map(|(i, item)| read_tool(&format!("tools[{i}]."), item))
        .collect()
}

fn read_tool(path: &str, item: Value) -> Result<Tool, RejectReason> {
    let function = function(path, item)?.1;
    let inner = format!("{path}function.");
    let mut fields = Fields::of(function, &inner)?;
    let name = fields.string("name")?.ok_or_else(|| bad(format!("`{inner}name` is missing")))?;
    let description = fields.string("description")?.unwrap_or_default();
    // OpenAI: left out, there are no arguments.
    let none = || json!({"type": "object", "properties": {}, "additionalProperties": false});
    let parameters = fields.value("parameters").unwrap_or_else(none);
    // Arguments always keep to the schema.
    fields.boolean("strict")?;
    fields.finish()?;
    Ok(Tool { name, description, parameters })
}

/// The `id` and `function` of an object whose `type` is `function`.
fn function(path: &str, item: Value) -> Result<(Option<String>, Value), RejectReason> {
    let mut fields = Fields::of(item, path)?;
    match fields.string("type")?.as_deref() {
        None | Some("function") => {}
        Some(other) => {
            return Err(bad(format!("`{path}type` must be function, not {:?}", clip(other))));
        }
    }
    let id = fields.string("id")?;
    let function = fields.value("function");
    let function = function.ok_or_else(|| bad(format!("`{path}function` is missing")))?;
    fields.finish()?;
    Ok((id, function))
}

/// `tool_choice`: a word, or `{"type": "function", "function": {"name"}}`.
pub(super) fn read_choice(fields: &mut Fields<'_>) -> Result<ToolChoice, RejectReason> {
    match fields.value("tool_choice") {
        None => Ok(ToolChoice::Auto),
        Some(Value::String(word)) => match &*word {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            other => Err(bad(format!(
                "`tool_choice` must be auto, none, required or a function, not {:?}",
                clip(other)
            ))),
        },
        Some(item) => {
            let function = function("tool_choice.", item)?.1;
            let mut fields = Fields::of(function, "tool_choice.function.")?;
            let name = fields.string("name")?;
            fields.finish()?;
            name.map(ToolChoice::Named).ok_or_else(|| bad("`tool_choice.function.name` is missing"))
        }
    }
}

/// `tool_calls` of a message.
pub(super) fn read_calls(fields: &mut Fields<'_>) -> Result<Vec<ToolCall>, RejectReason> {
    let items = fields.array("tool_calls")?.unwrap_or_default();
    let path = fields.path_of("tool_calls");
    let read = |(i, item)| {
        let path = format!("{path}[{i}].");
        let (id, function) = function(&path, item)?;
        let inner = format!("{path}function.");
        let mut fields = Fields::of(function, &inner)?;
        let missing = |name: &str| bad(format!("`{inner}{name}` is missing"));
        let name = fields.string("name")?.ok_or_else(|| missing("name"))?;
        let arguments = fields.string("arguments")?.ok_or_else(|| missing("arguments"))?;
        fields.finish()?;
        let id = id.ok_or_else(|| bad(format!("`{path}id` is missing")))?;
        Ok(ToolCall { id, name, arguments })
    };
    items.into_iter().enumerate().map(read).collect()
}

pub(super) fn tool_value(tool: &Tool) -> Value {
    json!({"type": "function", "function": {
        "name": tool.name, "description": tool.description, "parameters": tool.parameters,
    }})
}

pub(super) fn choice_value(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some("none".into()),
        ToolChoice::Required => Some("required".into()),
        ToolChoice::Named(name) => Some(json!({"type": "function", "function": {"name": name}})),
    }
}

pub(super) fn call_value(call: &ToolCall) -> Value {
    json!({"id": call.id, "type": "function", "function": {
        "name": call.name, "arguments": call.arguments,
    }})
}
