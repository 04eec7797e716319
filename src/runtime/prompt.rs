//! A request's text as the tokens that the model reads: task, chat template, tokenizer, bounds.

use super::limits::Limits;
use super::model::{Model, ReadyTask};
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::plan::Caps;
use crate::core::tool::Tool;
use crate::text::{Conversation, TaskTemplate, TextError, call_message};
use crate::wire::{Ask, Message};
use serde_json::{Value, json};

impl Model {
    /// The tokens of a prompt, as a request that names this task and nothing else would have them.
    ///
    /// # Errors
    /// What the client of such a request would be told.
    pub fn prompt_tokens(
        &self,
        task: Option<&str>,
        prompt: &str,
        caps: &Caps,
        limits: &Limits,
    ) -> Result<Vec<u32>, RejectReason> {
        let ask = Ask { prompt: Some(prompt.to_owned()), ..Ask::default() };
        let task = match task {
            None => None,
            Some(name) => Some(self.tasks.get(name).ok_or_else(|| {
                RejectReason::new(ErrorCode::UnknownTask, format!("no task {name:?}"))
            })?),
        };
        tokens(self, caps, limits, &ask, task, task.map_or(&[], |t| &t.task.tools))
    }
}

/// The prompt's tokens; at least one more fits behind them.
pub(super) fn tokens(
    model: &Model,
    caps: &Caps,
    limits: &Limits,
    ask: &Ask,
    task: Option<&ReadyTask>,
    tools: &[Tool],
) -> Result<Vec<u32>, RejectReason> {
    let bytes = ask.prompt.iter().map(String::len).sum::<usize>()
        + ask.messages.iter().map(|m| m.content.len()).sum::<usize>();
    if bytes > limits.prompt_bytes {
        return Err(RejectReason::new(
            ErrorCode::TooLarge,
            format!("the prompt has {bytes} bytes; at most {} are taken", limits.prompt_bytes),
        ));
    }
    let context = caps.context_tokens as usize;
    let tokens = match &model.chat {
        Some(chat) => {
            let conversation = conversation(model, ask, task, tools)?;
            let rendered = chat.render(&conversation, model.tokenizer.control()).map_err(refuse)?;
            model.tokenizer.encode_rendered(&rendered)
        }
        None => {
            let text = raw(ask, task)?;
            if model.tokenizer.text_cannot_fit(&text, context) {
                return Err(too_long(caps, &format!("the prompt's {bytes} bytes are")));
            }
            model.tokenizer.encode(&text, true)
        }
    }
    .map_err(refuse)?;
    if tokens.len() >= context {
        return Err(too_long(caps, &format!("the prompt's {} tokens are", tokens.len())));
    }
    Ok(tokens)
}

fn too_long(caps: &Caps, what: &str) -> RejectReason {
    let fit = caps.context_tokens - 1;
    let mut reason = RejectReason::new(
        ErrorCode::MemoryInfeasible,
        format!("{what} too long for the context of this model: at most {fit} tokens fit"),
    );
    reason.max_tokens_that_fit = Some(fit);
    reason
}

fn conversation(
    model: &Model,
    ask: &Ask,
    task: Option<&ReadyTask>,
    tools: &[Tool],
) -> Result<Conversation, RejectReason> {
    let mut conversation = Conversation::new(model.tokenizer.names());
    if let Some(system) = task.and_then(|t| t.task.system.as_deref()) {
        conversation.push("system", system);
    }
    if ask.messages.is_empty() {
        conversation.push("user", &user_text(ask, task.and_then(|t| t.template.as_ref()))?);
    } else {
        let turn = |(i, m)| turn(m, &ask.messages[..i]);
        conversation.messages.extend(ask.messages.iter().enumerate().map(turn));
    }
    if let Some(format) = &model.tool_format {
        format.apply(&mut conversation, tools);
    }
    Ok(conversation)
}

/// A turn as chat templates expect it.
fn turn(message: &Message, before: &[Message]) -> Value {
    if message.role == "tool" {
        let id = message.tool_call_id.as_deref().unwrap_or_default();
        let mut calls = before.iter().rev().flat_map(|m| &m.tool_calls);
        let name = calls.find(|call| call.id == id).map(|call| &*call.name);
        return json!({
            "role": "tool", "content": message.content, "tool_call_id": id, "name": name,
        });
    }
    if message.tool_calls.is_empty() {
        return json!({"role": message.role, "content": message.content});
    }
    let call = |call: &crate::core::tool::ToolCall| {
        // That they are an object was checked on arrival.
        let arguments = serde_json::from_str(&call.arguments).unwrap_or_default();
        (call.id.clone(), call.name.clone(), arguments)
    };
    let calls: Vec<(String, String, Value)> = message.tool_calls.iter().map(call).collect();
    call_message(&message.content, &calls)
}

/// The prompt of a model without a chat template.
fn raw(ask: &Ask, task: Option<&ReadyTask>) -> Result<String, RejectReason> {
    if !ask.messages.is_empty() {
        return Err(bad("this model has no chat template: send `prompt` instead of `messages`"));
    }
    let text = user_text(ask, task.and_then(|t| t.template.as_ref()))?;
    Ok(match task.and_then(|t| t.task.system.as_deref()) {
        Some(system) => format!("{system}\n{text}"),
        None => text,
    })
}

/// The user's message: what the task's template makes of the prompt and of `vars`; without a
/// template the prompt, or else `vars` as JSON.
///
/// # Errors
/// `bad_request`: what the template says.
pub fn user_text(ask: &Ask, template: Option<&TaskTemplate>) -> Result<String, RejectReason> {
    match (template, &ask.prompt) {
        (Some(template), prompt) => {
            let mut vars = ask.vars.clone().unwrap_or_else(|| serde_json::json!({}));
            if let (Some(vars), Some(prompt)) = (vars.as_object_mut(), prompt) {
                vars.insert("prompt".to_owned(), prompt.as_str().into());
            }
            template.render(&vars).map_err(refuse)
        }
        (None, Some(prompt)) => Ok(prompt.clone()),
        (None, None) => match &ask.vars {
            Some(vars) => Ok(vars.to_string()),
            None => Err(bad("neither `prompt` nor `messages` nor `vars`")),
        },
    }
}

/// A request that is wrong in itself.
pub(super) fn bad(message: impl Into<String>) -> RejectReason {
    RejectReason::new(ErrorCode::BadRequest, message)
}

fn refuse(error: TextError) -> RejectReason {
    let code = match error {
        TextError::TooLong { .. } => ErrorCode::TooLarge,
        _ => ErrorCode::BadRequest,
    };
    RejectReason::new(code, error.to_string())
}
