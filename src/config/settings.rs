//! What is in force: every value checked, with its origin.

use super::affinity;
use super::endpoint::EndpointSettings;
use super::environment::Environment;
use super::error::ConfigError;
use super::file::ConfigFile;
use super::models::ModelsSettings;
use super::mqtt::{JournalSettings, MqttSettings};
use super::quota::Quota;
use super::second_model::SecondModelSettings;
use super::size::{format_bytes, parse_bytes};
use super::source::{Config, Origin, Place, Source, Sourced};
use super::thermal::{ThermalDefaults, ThermalSettings};
use super::tools::ToolSettings;
use crate::bundle::{Task, TaskSpec, files};
use crate::core::cpus::CpuList;
use crate::core::plan::{EngineKind, KvType};
use crate::core::provider::Provider;
use crate::core::tool::Tool;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// The smallest memory budget: below it not even the process itself fits.
const MIN_MEMORY_BYTES: u64 = 16 << 20;
/// The most bytes of a schema or grammar that a task names.
const TASK_FILE_LIMIT: u64 = 1 << 20;

/// What the board decides where nothing else does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    /// The profile's name.
    pub board: String,
    /// Execution providers to try, in the order of preference, without the CPU's own.
    pub providers: Vec<Provider>,
    /// Threads of one step.
    pub threads: usize,
    /// The CPUs that they are kept on; none: any.
    pub affinity: CpuList,
    /// How keys and values are stored, where the profile says.
    pub kv: Option<KvType>,
    /// The memory of the whole process, in bytes; none: unknown.
    pub memory_bytes: Option<u64>,
    /// Tokens of one session, where the profile says.
    pub context_tokens: Option<u32>,
    /// Sessions at the same time, where the profile says.
    pub sessions: Option<u16>,
    /// Which temperatures the profile finds too high.
    pub thermal: ThermalDefaults,
}

/// The configuration in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The board's profile as asked for: `auto`, a name or a path.
    pub board: Sourced<String>,
    /// The model's directory; none: the embedded one.
    pub model: Sourced<Option<PathBuf>>,
    /// Which of several graphs.
    pub variant: Sourced<Option<String>>,
    /// The engine.
    pub engine: Sourced<EngineKind>,
    /// Execution providers to try, in the order of preference, without the CPU's own.
    pub providers: Sourced<Vec<Provider>>,
    /// Whether one of them that cannot be used is an error.
    pub strict_providers: Sourced<bool>,
    /// Threads of one step.
    pub threads: Sourced<usize>,
    /// The CPUs that they are kept on; none: any.
    pub affinity: Sourced<CpuList>,
    /// Where state is kept.
    pub state_dir: Sourced<PathBuf>,
    /// Memory of the whole process, in bytes.
    pub memory_bytes: Sourced<u64>,
    /// Tokens of one session; the model's own context may be shorter.
    pub context_tokens: Sourced<u32>,
    /// Sessions at the same time.
    pub sessions: Sourced<u16>,
    /// Requests that wait.
    pub queue: Sourced<usize>,
    /// How keys and values are stored.
    pub kv: Sourced<KvType>,
    /// Milliseconds to the whole answer.
    pub deadline_ms: Sourced<u32>,
    /// Milliseconds to the first token.
    pub ttft_ms: Sourced<Option<u32>>,
    /// Milliseconds of one step.
    pub max_step_ms: Sourced<u32>,
    /// The socket.
    pub unix_path: Sourced<PathBuf>,
    /// Users who may connect.
    pub allow_users: Sourced<Vec<String>>,
    /// Groups whose members may connect.
    pub allow_groups: Sourced<Vec<String>>,
    /// What peers may ask for; the first that is about a peer holds.
    pub unix_quotas: Sourced<Vec<Quota>>,
    /// Bytes of one prompt.
    pub prompt_bytes: Sourced<usize>,
    /// Tokens of an answer that names no limit.
    pub max_tokens: Sourced<u32>,
    /// Connections at the same time.
    pub clients: Sourced<usize>,
    /// Which temperatures mean how much pressure.
    pub thermal: ThermalSettings,
    /// The broker, and how to be a client of it.
    pub mqtt: MqttSettings,
    /// What is remembered of prompts and answers.
    pub journal: JournalSettings,
    /// Where models are installed, and who may have made them.
    pub models: ModelsSettings,
    /// The model beside the first one.
    pub second_model: SecondModelSettings,
    /// How often the model is asked again with the results of tools.
    pub tool_rounds: Sourced<u32>,
    /// What models may call, by name.
    pub tools: Vec<Sourced<ToolSettings>>,
    /// Who else may be asked for an answer, by name.
    pub endpoints: Vec<Sourced<EndpointSettings>>,
    /// The configuration's tasks, by name.
    pub tasks: Vec<Sourced<Task>>,
    /// The watches, in the order of the files.
    pub watches: Vec<Sourced<crate::watch::Watch>>,
}

impl Config {
    /// The board's profile as asked for, which decides the rest: `auto`, a name or a path.
    pub fn board(&self) -> Sourced<String> {
        match self.pick(|f| f.board.as_ref()) {
            None => Sourced::new("auto".into(), Origin::Default),
            Some((source, at)) => {
                // A path is taken from where it was written, a name or `auto` as it is.
                let written = at.get_ref();
                let value = match written.contains('/') {
                    true => relative_to(source, written).display().to_string(),
                    false => written.clone(),
                };
                Sourced::new(value, source.origin(at))
            }
        }
    }

    /// Checks everything and fills in defaults.
    ///
    /// # Errors
    /// [`ConfigError`] that points at the value at fault.
    pub fn settings(
        &self,
        environment: &Environment,
        defaults: &Defaults,
    ) -> Result<Settings, ConfigError> {
        let board = || Origin::Board(defaults.board.clone());
        let or = |value: Option<Sourced<i64>>, profile: Option<i64>, own: i64| {
            value.unwrap_or_else(|| match profile {
                Some(n) => Sourced::new(n, board()),
                None => Sourced::new(own, Origin::Default),
            })
        };
        let integer =
            |get: fn(&ConfigFile) -> Option<&Spanned<i64>>, range| self.integer(get, range);
        let threads = integer(|f| f.threads.as_ref(), 1..=256)?;
        let context = integer(|f| f.budget.context_tokens.as_ref(), 16..=1 << 20)?;
        let sessions = integer(|f| f.budget.sessions.as_ref(), 1..=64)?;
        let queue = integer(|f| f.budget.queue.as_ref(), 0..=1024)?;
        let deadline = integer(|f| f.latency.deadline_ms.as_ref(), 1..=86_400_000)?;
        let max_step = integer(|f| f.latency.max_step_ms.as_ref(), 1..=60_000)?;
        let prompt_bytes = integer(|f| f.limits.prompt_bytes.as_ref(), 1..=16 << 20)?;
        let max_tokens = integer(|f| f.limits.max_tokens.as_ref(), 1..=1 << 20)?;
        let clients = integer(|f| f.limits.clients.as_ref(), 1..=4096)?;
        let deadline_ms = narrow(or(deadline, None, 30_000));
        let affinity = self.affinity(defaults)?;
        let own_threads = affinity::threads(defaults, &affinity.value);
        let tool_rounds = integer(|f| f.limits.tool_rounds.as_ref(), 1..=32)?;
        let (tools, endpoints, mqtt) = (self.tools()?, self.endpoints()?, self.mqtt(environment)?);
        self.check_tools(&tools, &mqtt)?;
        let tasks = self.tasks(&tools)?;
        let second_model = self.second_model()?;
        let has_second = second_model.path.value.is_some();
        self.check_escalations(&tasks, &endpoints, &mqtt, has_second)?;
        let watches = self.watches(&tasks, deadline_ms.value)?;
        let state_dir = self.state_dir(environment)?;
        Ok(Settings {
            board: self.board(),
            model: self.optional_path(|f| f.model.as_ref())?,
            variant: self.text(|f| f.variant.as_ref()),
            engine: self.engine()?,
            providers: self.providers(defaults)?,
            strict_providers: self.flag(|f| f.strict_providers.as_ref()),
            threads: narrow(or(threads, i64::try_from(own_threads).ok(), 1)),
            affinity,
            models: self.models(&state_dir.value)?,
            state_dir,
            memory_bytes: self.memory(defaults)?,
            context_tokens: narrow(or(context, defaults.context_tokens.map(i64::from), 1024)),
            sessions: narrow(or(sessions, defaults.sessions.map(i64::from), 2)),
            queue: narrow(or(queue, None, 8)),
            kv: self.kv(defaults)?,
            ttft_ms: self.ttft(&deadline_ms)?,
            deadline_ms,
            max_step_ms: narrow(or(max_step, None, 60)),
            unix_path: self.socket(environment)?,
            allow_users: self.list(|f| f.unix.allow_users.as_ref(), &[])?,
            allow_groups: self.list(|f| f.unix.allow_groups.as_ref(), &["slmd"])?,
            unix_quotas: self.peer_quotas()?,
            prompt_bytes: narrow(or(prompt_bytes, None, 64 << 10)),
            max_tokens: narrow(or(max_tokens, None, 256)),
            clients: narrow(or(clients, None, 32)),
            thermal: self.thermal(&defaults.board, &defaults.thermal)?,
            mqtt,
            journal: self.journal()?,
            second_model,
            tool_rounds: narrow(or(tool_rounds, None, 4)),
            tools,
            endpoints,
            tasks,
            watches,
        })
    }

    /// The strongest source that says something.
    pub(super) fn pick<'a, T: 'a>(
        &'a self,
        get: impl Fn(&'a ConfigFile) -> Option<&'a Spanned<T>>,
    ) -> Option<(&'a Source, &'a Spanned<T>)> {
        self.sources.iter().rev().find_map(|s| get(&s.file).map(|at| (s, at)))
    }

    pub(super) fn integer(
        &self,
        get: fn(&ConfigFile) -> Option<&Spanned<i64>>,
        range: RangeInclusive<i64>,
    ) -> Result<Option<Sourced<i64>>, ConfigError> {
        match self.pick(get) {
            None => Ok(None),
            Some((source, at)) if range.contains(at.get_ref()) => {
                Ok(Some(Sourced::new(*at.get_ref(), source.origin(at))))
            }
            Some((source, at)) => {
                let (low, high) = range.into_inner();
                Err(source.refuse(at, format!("{} is out of range: {low} to {high}", at.get_ref())))
            }
        }
    }

    fn text(&self, get: fn(&ConfigFile) -> Option<&Spanned<String>>) -> Sourced<Option<String>> {
        match self.pick(get) {
            None => Sourced::new(None, Origin::Default),
            Some((source, at)) => Sourced::new(Some(at.get_ref().clone()), source.origin(at)),
        }
    }

    pub(super) fn optional_path(
        &self,
        get: fn(&ConfigFile) -> Option<&Spanned<String>>,
    ) -> Result<Sourced<Option<PathBuf>>, ConfigError> {
        match self.pick(get) {
            None => Ok(Sourced::new(None, Origin::Default)),
            Some((source, at)) if at.get_ref().is_empty() => {
                Err(source.refuse(at, "an empty path; leave the key out for the default"))
            }
            Some((source, at)) => {
                Ok(Sourced::new(Some(relative_to(source, at.get_ref())), source.origin(at)))
            }
        }
    }

    fn engine(&self) -> Result<Sourced<EngineKind>, ConfigError> {
        match self.pick(|f| f.engine.as_ref()) {
            None => Ok(Sourced::new(EngineKind::Auto, Origin::Default)),
            Some((source, at)) => match EngineKind::from_name(at.get_ref()) {
                Some(engine) => Ok(Sourced::new(engine, source.origin(at))),
                None => {
                    let problem = format!("no engine {:?}: auto, ort or tract", at.get_ref());
                    Err(source.refuse(at, problem))
                }
            },
        }
    }

    fn kv(&self, defaults: &Defaults) -> Result<Sourced<KvType>, ConfigError> {
        match self.pick(|f| f.budget.kv.as_ref()) {
            None => Ok(match defaults.kv {
                Some(kv) => Sourced::new(kv, Origin::Board(defaults.board.clone())),
                None => Sourced::new(KvType::Auto, Origin::Default),
            }),
            Some((source, at)) => match KvType::from_name(at.get_ref()) {
                Some(kv) => Ok(Sourced::new(kv, source.origin(at))),
                None => {
                    let problem = format!("no type {:?}: auto, f32, f16 or int8", at.get_ref());
                    Err(source.refuse(at, problem))
                }
            },
        }
    }

    fn memory(&self, defaults: &Defaults) -> Result<Sourced<u64>, ConfigError> {
        let Some((source, at)) = self.pick(|f| f.budget.memory.as_ref()) else {
            return match defaults.memory_bytes {
                Some(bytes) => Ok(Sourced::new(bytes, Origin::Board(defaults.board.clone()))),
                None => Err(ConfigError::Unset {
                    key: "budget.memory",
                    problem: "the memory of this machine cannot be read; set it".into(),
                }),
            };
        };
        let bytes = parse_bytes(at.get_ref()).map_err(|problem| source.refuse(at, problem))?;
        match bytes >= MIN_MEMORY_BYTES {
            true => Ok(Sourced::new(bytes, source.origin(at))),
            false => {
                let least = format_bytes(MIN_MEMORY_BYTES);
                Err(source.refuse(at, format!("{} is too small: at least {least}", at.get_ref())))
            }
        }
    }

    fn ttft(&self, deadline: &Sourced<u32>) -> Result<Sourced<Option<u32>>, ConfigError> {
        let get = |f: &ConfigFile| f.latency.ttft_ms.is_some();
        let Some(ms) = self.integer(|f| f.latency.ttft_ms.as_ref(), 1..=86_400_000)? else {
            return Ok(Sourced::new(None, Origin::Default));
        };
        let ms: Sourced<u32> = narrow(ms);
        if ms.value > deadline.value
            && let Some(source) = self.sources.iter().rev().find(|s| get(&s.file))
            && let Some(at) = &source.file.latency.ttft_ms
        {
            let problem = format!(
                "the first token cannot be due later than the answer: deadline-ms is {} ({})",
                deadline.value, deadline.origin
            );
            return Err(source.refuse(at, problem));
        }
        Ok(Sourced::new(Some(ms.value), ms.origin))
    }

    pub(super) fn list(
        &self,
        get: fn(&ConfigFile) -> Option<&Spanned<Vec<String>>>,
        own: &[&str],
    ) -> Result<Sourced<Vec<String>>, ConfigError> {
        match self.pick(get) {
            None => Ok(Sourced::new(own.iter().map(|&s| s.to_owned()).collect(), Origin::Default)),
            Some((source, at)) if at.get_ref().iter().any(String::is_empty) => {
                Err(source.refuse(at, "an empty name"))
            }
            Some((source, at)) => Ok(Sourced::new(at.get_ref().clone(), source.origin(at))),
        }
    }

    /// Flag and `SLMD_STATE_DIR`, then systemd's `$STATE_DIRECTORY`, then the file's key.
    fn state_dir(&self, environment: &Environment) -> Result<Sourced<PathBuf>, ConfigError> {
        let written = self.optional_path(|f| f.state_dir.as_ref())?;
        let from_file = matches!(written.origin, Origin::File(..) | Origin::Default);
        if let Some(dir) = environment.state_directory().filter(|_| from_file) {
            return Ok(Sourced::new(dir, Origin::Variable("STATE_DIRECTORY".into())));
        }
        match written.value.or_else(|| environment.default_state_dir()) {
            Some(dir) => Ok(Sourced::new(dir, written.origin)),
            None => Err(ConfigError::Unset {
                key: "state-dir",
                problem: "neither $XDG_STATE_HOME nor $HOME is set".into(),
            }),
        }
    }

    fn socket(&self, environment: &Environment) -> Result<Sourced<PathBuf>, ConfigError> {
        let written = self.optional_path(|f| f.unix.path.as_ref())?;
        let path = written.value.unwrap_or_else(|| environment.default_socket());
        Ok(Sourced::new(path, written.origin))
    }

    /// Tasks of all files; a later file replaces a whole task.
    fn tasks(&self, tools: &[Sourced<ToolSettings>]) -> Result<Vec<Sourced<Task>>, ConfigError> {
        let find = |name: &str| find_tool(tools, name);
        let mut last: BTreeMap<&str, (&Source, &Spanned<TaskSpec>)> = BTreeMap::new();
        for source in &self.sources {
            for (name, at) in &source.file.task {
                last.insert(name, (source, at));
            }
        }
        last.into_iter()
            .map(|(name, (source, at))| {
                let mut read = |path: &str| read_task_file(&relative_to(source, path));
                let task = at.get_ref().clone().resolve(name, &mut read, &find);
                let task = task.map_err(|e| source.refuse(at, e.to_string()))?;
                Ok(Sourced::new(task, source.origin(at)))
            })
            .collect()
    }
}

fn find_tool(tools: &[Sourced<ToolSettings>], name: &str) -> Result<Tool, String> {
    let found = tools.iter().find(|tool| tool.value.tool.name == name);
    found.map(|tool| tool.value.tool.clone()).ok_or_else(|| {
        let known: Vec<&str> = tools.iter().map(|tool| &*tool.value.tool.name).collect();
        match known.as_slice() {
            [] => format!("no tool {name:?}: write a table [tool.{name}]"),
            known => format!("no tool {name:?}; there is {}", known.join(", ")),
        }
    })
}

pub(super) fn read_task_file(path: &Path) -> Result<Vec<u8>, String> {
    match files::read_file(path, TASK_FILE_LIMIT) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(format!("{}: not found", path.display())),
        Err(e) => Err(e.to_string()),
    }
}

/// A path written in a file is relative to that file; elsewhere to the working directory.
pub(super) fn relative_to(source: &Source, path: &str) -> PathBuf {
    match &source.place {
        Place::File(file) => file.parent().unwrap_or(Path::new("")).join(path),
        Place::Variable(_) | Place::Flag(_) => path.into(),
    }
}

/// The integer in the field's type.
pub(super) fn narrow<T: TryFrom<i64>>(from: Sourced<i64>) -> Sourced<T> {
    // Ranges are checked before, and defaults are ours or a board's, which are checked too.
    let Ok(value) = T::try_from(from.value) else { unreachable!("checked against its range") };
    Sourced::new(value, from.origin)
}

#[cfg(test)]
#[path = "settings_tests.rs"]
pub(super) mod tests;
