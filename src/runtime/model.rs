//! Everything of a model but its engine: text, tasks and defaults.

use crate::bundle::{Bundle, Output, SamplingDefaults, Task};
use crate::core::request::{Sampling, Score};
use crate::core::tool::{Tool, ToolChoice};
use crate::sample::{
    CallShape, Choices, Constraint, ConstraintError, GrammarFactory, Prose, ResponseShape,
    TokenMask,
};
use crate::text::{ChatTemplate, Clock, TaskTemplate, TextError, Tokenizer, ToolFormat};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A task that is ready to run: its templates and grammar are known to compile.
pub struct ReadyTask {
    /// As configured.
    pub task: Task,
    /// What makes the user's message of `vars` and `prompt`.
    pub template: Option<TaskTemplate>,
    /// The form of its answers.
    pub form: Option<AskedForm>,
}

/// The form that an answer is to have.
#[derive(Debug, Clone, PartialEq)]
pub enum AskedForm {
    /// That of a grammar.
    Shape(ResponseShape),
    /// The likeliest of these labels.
    Choice(Vec<String>, Score),
}

/// The form of one answer, compiled.
pub enum ReadyForm {
    /// A grammar's, and how it is read.
    Shape(Box<dyn Constraint>, Reading),
    /// One of some labels.
    Choice(Choices),
}

/// How an answer of some shape is read.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// It is text.
    Text,
    /// It is JSON.
    Json,
    /// It calls tools, or does not.
    Calls(Box<CallShape>),
}

/// The model's side of a request.
pub struct Model {
    /// The bundle's name.
    pub name: String,
    /// Text to tokens.
    pub tokenizer: Arc<Tokenizer>,
    /// Conversations to prompts, where the model has that.
    pub chat: Option<ChatTemplate>,
    /// How it writes calls of tools, where it has a chat template.
    pub tool_format: Option<Arc<ToolFormat>>,
    /// Tokens that end an answer.
    pub eos: Arc<[u32]>,
    /// Tokens that may be sampled: those of the tokenizer, not the padding of the logits.
    pub vocabulary: Arc<TokenMask>,
    /// Makes constraints.
    pub grammars: Arc<GrammarFactory>,
    /// The model's own sampling defaults.
    pub sampling: Sampling,
    /// The tasks by name.
    pub tasks: BTreeMap<String, ReadyTask>,
    /// The task of a plain prompt that names none.
    pub default_task: Option<String>,
}

/// A bundle whose parts do not work.
#[derive(Debug, thiserror::Error)]
#[error("{model}: {part}: {problem}")]
pub struct ModelError {
    /// The bundle.
    pub model: String,
    /// The file, or `task.NAME`.
    pub part: String,
    /// What is wrong.
    pub problem: String,
}

impl Model {
    /// From a bundle and further tasks, which win over the bundle's of the same name.
    ///
    /// # Errors
    /// [`ModelError`] for the first part that does not compile.
    pub fn new(bundle: &Bundle, tasks: &[Task]) -> Result<Self, ModelError> {
        let wrong = |part: &str, problem: String| ModelError {
            model: bundle.name.clone(),
            part: part.to_owned(),
            problem,
        };
        let files = &bundle.text;
        let tokenizer = Tokenizer::new(
            &files.tokenizer_json,
            files.tokenizer_config.as_deref(),
            files.special_tokens_map.as_deref(),
        )
        .map_err(|e| wrong("tokenizer", e.to_string()))?;
        let tokenizer = Arc::new(tokenizer);
        let chat = tokenizer
            .names()
            .template(files.chat_template.as_deref())
            .map(|source| ChatTemplate::new(source, clock()))
            .transpose()
            .map_err(|e| wrong("chat template", e.to_string()))?;
        let format = |chat| ToolFormat::of(chat, tokenizer.control(), tokenizer.names());
        let tool_format = chat.as_ref().map(format).map(Arc::new);
        let eos = ends(bundle, &tokenizer);
        let grammars = GrammarFactory::new(Arc::clone(&tokenizer), &eos)
            .map_err(|e| wrong("tokenizer.json", e.to_string()))?;
        let vocabulary = TokenMask::of_vocabulary(tokenizer.table());
        let mut model = Self {
            name: bundle.name.clone(),
            chat,
            tool_format,
            eos,
            vocabulary: Arc::new(vocabulary),
            grammars: Arc::new(grammars),
            sampling: sampling(&bundle.generation.sampling),
            tasks: BTreeMap::new(),
            default_task: bundle.default_task.clone(),
            tokenizer,
        };
        let all: Vec<Task> = bundle.tasks.iter().chain(tasks).cloned().collect();
        model.retask(&all)?;
        Ok(model)
    }

    /// Has these tasks from now on, later ones in place of earlier ones of the same name.
    ///
    /// # Errors
    /// [`ModelError`] for the first task that does not compile; the old ones stay then.
    pub fn retask(&mut self, tasks: &[Task]) -> Result<(), ModelError> {
        let mut all = BTreeMap::new();
        for task in tasks {
            let ready = self.ready(task).map_err(|problem| ModelError {
                model: self.name.clone(),
                part: format!("task.{}", task.name),
                problem,
            })?;
            all.insert(task.name.clone(), ready);
        }
        self.tasks = all;
        Ok(())
    }

    /// Compiles the parts of a task once, so that its faults show at start.
    fn ready(&mut self, task: &Task) -> Result<ReadyTask, String> {
        let template = task
            .template
            .as_deref()
            .map(|source| TaskTemplate::new(&format!("task.{}.template", task.name), source))
            .transpose()
            .map_err(|e: TextError| e.to_string())?;
        let form = task.output.as_ref().map(form_of);
        let compiles = |form: &AskedForm| self.compile(form).map(drop).map_err(|e| e.to_string());
        form.as_ref().map_or(Ok(()), compiles)?;
        if !task.tools.is_empty() {
            compiles(&self.calls(&task.tools, &ToolChoice::Auto, true, form.as_ref())?)?;
        }
        Ok(ReadyTask { task: task.clone(), template, form })
    }

    /// Makes a form ready for one answer.
    ///
    /// # Errors
    /// [`ConstraintError`]: what is not supported, wrong or too large.
    pub fn compile(&self, form: &AskedForm) -> Result<ReadyForm, ConstraintError> {
        Ok(match form {
            AskedForm::Shape(shape) => {
                let reading = match shape {
                    ResponseShape::Calls(calls) => Reading::Calls(Box::new(calls.clone())),
                    json if json.is_json() => Reading::Json,
                    _ => Reading::Text,
                };
                ReadyForm::Shape(self.grammars.compile(shape)?, reading)
            }
            AskedForm::Choice(labels, score) => {
                let spelt = labels.iter().map(|label| (label.clone(), self.spell(label))).collect();
                ReadyForm::Choice(Choices::new(Vec::as_slice(&spelt), *score)?)
            }
        })
    }

    /// The form of answers that may call these tools, and are of `form` otherwise.
    ///
    /// # Errors
    /// Why this model, or answers of that form, cannot have tools.
    pub fn calls(
        &self,
        tools: &[Tool],
        choice: &ToolChoice,
        is_parallel: bool,
        form: Option<&AskedForm>,
    ) -> Result<AskedForm, String> {
        let format =
            self.tool_format.clone().ok_or("this model has no chat template, and so no tools")?;
        let prose = match (choice, form) {
            (ToolChoice::Required | ToolChoice::Named(_), _) => Prose::None,
            (_, None) => Prose::Free,
            (_, Some(AskedForm::Shape(ResponseShape::JsonSchema(schema)))) => {
                Prose::Json(schema.clone())
            }
            (_, Some(AskedForm::Shape(ResponseShape::JsonObject))) => {
                Prose::Json(json!({"type": "object"}))
            }
            (_, Some(_)) => {
                return Err("with tools an answer may be text or JSON, nothing else".into());
            }
        };
        let is_meant = |tool: &&Tool| !matches!(choice, ToolChoice::Named(n) if *n != tool.name);
        let tools = tools.iter().filter(is_meant);
        let tools: Result<_, String> = tools.map(arguments).collect();
        let tools = tools?;
        Ok(AskedForm::Shape(ResponseShape::Calls(CallShape { format, tools, prose, is_parallel })))
    }

    /// The tokens of a label, as the tokenizer has them where an answer begins; none if it cannot be
    /// spelt.
    fn spell(&self, label: &str) -> Vec<u32> {
        let within = self.tokenizer.encode_within(label);
        within.or_else(|| self.tokenizer.encode(label, false).ok()).unwrap_or_default()
    }
}

/// The schema of a tool's arguments, which are an object whatever it says.
fn arguments(tool: &Tool) -> Result<(String, Value), String> {
    let mut schema = tool.parameters.clone();
    match schema.as_object_mut().map(|keys| keys.entry("type").or_insert("object".into())) {
        Some(Value::String(kind)) if kind == "object" => Ok((tool.name.clone(), schema)),
        _ => Err(format!("{}: its `parameters` must be a schema of objects", tool.name)),
    }
}

/// The form that a task's output asks for.
fn form_of(output: &Output) -> AskedForm {
    AskedForm::Shape(match output {
        Output::Choice(labels, score) => return AskedForm::Choice(labels.clone(), *score),
        Output::JsonObject => ResponseShape::JsonObject,
        Output::JsonSchema(schema) => ResponseShape::JsonSchema(schema.clone()),
        Output::Regex(regex) => ResponseShape::Regex(regex.clone()),
        Output::Lark(grammar) => ResponseShape::Lark(grammar.clone()),
    })
}

/// What the bundle names as ends of an answer, else what the tokenizer suggests.
fn ends(bundle: &Bundle, tokenizer: &Tokenizer) -> Arc<[u32]> {
    match bundle.generation.eos.as_slice() {
        [] => tokenizer.eos_candidates().into(),
        named => named.into(),
    }
}

/// The model's defaults over ours.
fn sampling(model: &SamplingDefaults) -> Sampling {
    let own = Sampling::default();
    Sampling {
        temperature: model.temperature.unwrap_or(own.temperature),
        top_k: model.top_k.unwrap_or(own.top_k),
        top_p: model.top_p.unwrap_or(own.top_p),
        min_p: model.min_p.unwrap_or(own.min_p),
        repetition_penalty: model.repetition_penalty.unwrap_or(own.repetition_penalty),
        ..own
    }
}

/// The wall clock, in UTC: a daemon has no user whose zone it could know.
fn clock() -> Clock {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
    })
}
