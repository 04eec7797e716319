//! Brings a model up: opened, held against the budget, loaded, measured, served.

use super::budget::{Budget, Ceiling, Gauge, Settled, remember};
use super::{providers, warm_up};
use crate::board::Room;
use crate::bundle::{Bundle, BundleError, Task};
use crate::calibration::Calibrations;
use crate::config::{Environment, Origin, Settings, Sourced, format_bytes};
use crate::core::cpus::CpuList;
use crate::core::plan::{Caps, EngineKind};
use crate::core::provider::Provider;
use crate::engine::choice::{self, Choice};
use crate::engine::{Engine, EngineInfo, EngineOptions, LoadError, StepError, allowed_cpus, pin};
use crate::measurements::Measurements;
use crate::runtime::{Candidate, Limits, Model, ModelError, Runtime, Shapes};
use crate::sheet::{Demands, Freedom, MqttDemands, Shape, Sheet};
use crate::wire::limits::MESSAGE_BYTES;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The name that the time of loading is remembered by, in milliseconds.
const LOAD: &str = "load";

/// Everything needed to bring a model up.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The model's directory; none: the one embedded in the binary.
    pub model: Option<PathBuf>,
    /// Which graph of a directory with several.
    pub variant: Option<String>,
    /// Which engine.
    pub engine: EngineKind,
    /// How the engine is loaded.
    pub options: EngineOptions,
    /// Execution providers to try, in the order of preference; none: only the CPU's own.
    pub chain: Vec<Provider>,
    /// Whether one of them that cannot be used is an error.
    pub is_strict: bool,
    /// The executable that tries providers; none: this process's own.
    pub executable: Option<PathBuf>,
    /// What of the options was only suggested, and may be lowered to what the model can do and the
    /// budget holds.
    pub freedom: Freedom,
    /// What the runtime may take.
    pub limits: Limits,
    /// Tasks of the configuration.
    pub tasks: Vec<Task>,
    /// How sure their answers are; none: not one task is calibrated, whatever it says.
    pub calibrations: Option<Calibrations>,
    /// Memory of the whole process, in bytes.
    pub memory_bytes: u64,
    /// What clients may take of it.
    pub demands: Demands,
    /// Where measurements are remembered.
    pub cache_dir: PathBuf,
    /// The board's profile.
    pub board: String,
    /// What the machine leaves for this process.
    pub room: Room,
    /// Tasks that must be there, each with the watch that asks for it.
    pub watched_tasks: Vec<(String, String)>,
}

/// The most tokens of one step: more would hold up whoever comes next.
const MAX_CHUNK: u32 = 128;

impl From<&Settings> for Plan {
    fn from(settings: &Settings) -> Self {
        let ms = |ms: u32| Duration::from_millis(ms.into());
        Self {
            model: settings.model.value.clone(),
            variant: settings.variant.value.clone(),
            engine: settings.engine.value,
            options: EngineOptions {
                threads: settings.threads.value,
                slots: settings.sessions.value,
                context_tokens: settings.context_tokens.value,
                max_chunk: MAX_CHUNK,
                kv: settings.kv.value,
                affinity: settings.affinity.value.clone(),
                ..EngineOptions::default()
            },
            chain: settings.providers.value.clone(),
            executable: None,
            is_strict: settings.strict_providers.value,
            freedom: Freedom {
                sessions: !is_asked_for(&settings.sessions),
                context: !is_asked_for(&settings.context_tokens),
            },
            limits: Limits {
                queue: settings.queue.value,
                max_step: ms(settings.max_step_ms.value),
                deadline: ms(settings.deadline_ms.value),
                first_token: settings.ttft_ms.value.map(ms),
                max_tokens: settings.max_tokens.value,
                prompt_bytes: settings.prompt_bytes.value,
            },
            tasks: settings.tasks.iter().map(|task| task.value.clone()).collect(),
            calibrations: Some(Calibrations::read(&settings.state_dir.value)),
            memory_bytes: settings.memory_bytes.value,
            demands: demands(settings),
            cache_dir: Environment::current()
                .cache_dir()
                .unwrap_or_else(|| settings.state_dir.value.clone()),
            board: settings.board.value.clone(),
            room: Room::now(),
            watched_tasks: settings
                .watches
                .iter()
                .filter_map(|w| Some((w.value.name.clone(), w.value.task.clone()?)))
                .collect(),
        }
    }
}

impl Plan {
    /// The tasks of the bundle and of the configuration, calibrated. What the configuration says of that
    /// comes first, then what was found on this machine, then what the bundle says.
    pub fn all_tasks(&self, bundle: &Bundle) -> Vec<Task> {
        self.calibrated(&bundle.tasks, &bundle.hash)
    }

    pub(super) fn calibrated(&self, of_bundle: &[Task], hash: &str) -> Vec<Task> {
        let found = |task: &Task| match &self.calibrations {
            None => Some(1.0),
            Some(all) => all.temperature(&task.name, hash),
        };
        let bundled = of_bundle.iter().map(|task| Task {
            confidence_temperature: found(task).or(task.confidence_temperature),
            ..task.clone()
        });
        let own = self.tasks.iter().map(|task| {
            let written = task.confidence_temperature.filter(|_| self.calibrations.is_some());
            Task { confidence_temperature: written.or_else(|| found(task)), ..task.clone() }
        });
        bundled.chain(own).collect()
    }

    /// The same with the directory that the model's path leads to now: if it is a link, it may lead
    /// elsewhere tomorrow.
    #[must_use]
    pub fn resolved(mut self) -> Self {
        let is_link = |dir: &PathBuf| dir.symlink_metadata().is_ok_and(|m| m.is_symlink());
        if let Some(dir) = self.model.as_ref().filter(|dir| is_link(dir))
            && let Ok(target) = dir.canonicalize()
        {
            self.model = Some(target);
        }
        self
    }

    /// The same beside a second model that takes so many bytes.
    #[must_use]
    pub const fn beside(mut self, second_model_bytes: u64) -> Self {
        self.demands.second_model_bytes = second_model_bytes;
        self
    }

    /// The same without clients and broker: whoever runs it is the only one to ask.
    #[must_use]
    pub fn alone(mut self) -> Self {
        (self.demands.clients, self.demands.mqtt) = (0, None);
        self
    }

    /// The same on CPUs that this process may run on: all that were named, or any, with a warning.
    #[must_use]
    pub fn on_these_cpus(mut self) -> Self {
        let named = std::mem::take(&mut self.options.affinity);
        match keeps(&named, &allowed_cpus()) {
            Ok(()) => self.options.affinity = named,
            Err(problem) => tracing::warn!("{problem}"),
        }
        self
    }
}

/// Why threads cannot be kept on the CPUs `named` where only `allowed` may be used.
fn keeps(named: &CpuList, allowed: &CpuList) -> Result<(), String> {
    let missing = named.without(allowed);
    match missing.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "affinity {named} is left out: CPUs {missing} are not there, or not allowed for this \
             process (it may use {allowed}); name others, or `affinity = \"none\"`"
        )),
    }
}

/// Whether somebody wrote the value down, instead of leaving it to us or to the board.
const fn is_asked_for<T>(value: &Sourced<T>) -> bool {
    matches!(value.origin, Origin::File(..) | Origin::Variable(_) | Origin::Flag(_))
}

fn demands(settings: &Settings) -> Demands {
    let prompt_bytes = settings.prompt_bytes.value;
    Demands {
        queue: settings.queue.value,
        prompt_bytes,
        clients: settings.clients.value,
        message_bytes: MESSAGE_BYTES,
        mqtt: settings.mqtt.broker.value.as_ref().map(|_| MqttDemands {
            packet_bytes: crate::config::max_packet_bytes(prompt_bytes) as usize,
            entries: settings.journal.max_entries.value,
        }),
        second_model_bytes: 0,
    }
}

/// Why a model did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its text side.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The engine could not load it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The engine loaded it but cannot run it.
    #[error("the self-test failed: {0}")]
    SelfTest(#[from] StepError),
    /// The model's context is shorter than what was asked for.
    #[error("budget.context-tokens is {asked}, but the model was made for {longest}")]
    Context {
        /// Tokens asked for.
        asked: u32,
        /// Tokens the model can do.
        longest: u32,
    },
    /// The memory does not hold it.
    #[error(transparent)]
    Memory(Box<Overrun>),
    /// A watch asks for what nobody offers.
    #[error("the watch {watch:?} asks for the task {task:?}; there is {}", known.join(", "))]
    WatchedTask {
        /// The watch.
        watch: String,
        /// Its task.
        task: String,
        /// The tasks of the configuration and of the bundle.
        known: Vec<String>,
    },
    /// An execution provider that must be there is not.
    #[error("the execution provider {name} cannot be used: {reason}")]
    Provider {
        /// The provider.
        name: String,
        /// Why.
        reason: String,
    },
    /// The model does not give the answers that it should.
    #[error("{0}")]
    Golden(String),
    /// Neither a model is configured nor is there an embedded one.
    #[error("no model: this build has none embedded; name one with --model or `model = ...`")]
    NoModel,
}

/// What does not fit, and what would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{ceiling}, but {} of {} tokens need {}; {line}: {} needed, {} left for it",
    sessions(shape.sessions), shape.context_tokens, format_bytes(*total_bytes),
    format_bytes(*needed_bytes), format_bytes(*left_bytes)
)]
pub struct Overrun {
    /// What may be used, and who says so.
    pub ceiling: Ceiling,
    /// What was to be served.
    pub shape: Shape,
    /// The whole sheet, in bytes.
    pub total_bytes: u64,
    /// The line that does not fit, in words.
    pub line: String,
    /// What that line needs, in bytes.
    pub needed_bytes: u64,
    /// What the lines before it leave, in bytes.
    pub left_bytes: u64,
    /// The largest shapes that would fit: with this context, and with these sessions.
    pub would_fit: Vec<Shape>,
    /// The least memory that would do, in bytes.
    pub least_bytes: u64,
    /// Whether some of it is only estimated.
    pub is_estimated: bool,
}

impl Overrun {
    /// What to do about it.
    pub fn hint(&self) -> String {
        let least = format_bytes(self.least_bytes);
        let shapes = self.would_fit.iter();
        let shapes: Vec<String> = shapes
            .map(|s| format!("{} of {} tokens", sessions(s.sessions), s.context_tokens))
            .collect();
        let hint = match shapes.as_slice() {
            [] => format!("at least {least} would do; or take a smaller model"),
            some => {
                format!("{} would fit; at least {least} would do for these", some.join(", or "))
            }
        };
        match self.is_estimated {
            true => hint + "; these are estimates, and `slmd plan --measure` makes them exact",
            false => hint,
        }
    }
}

/// `1 session`, `2 sessions`.
pub fn sessions(n: u16) -> String {
    if n == 1 { "1 session".to_owned() } else { format!("{n} sessions") }
}

/// Opens the model's files.
///
/// # Errors
/// [`StartError::Bundle`], [`StartError::NoModel`].
pub fn open_bundle(plan: &Plan) -> Result<Bundle, StartError> {
    open_model(plan.model.as_deref(), plan.variant.as_deref(), plan.memory_bytes)
}

/// Opens the model in that directory, or the embedded one.
///
/// # Errors
/// As [`open_bundle`].
pub(super) fn open_model(
    dir: Option<&Path>,
    variant: Option<&str>,
    memory_bytes: u64,
) -> Result<Bundle, StartError> {
    match dir {
        Some(dir) => Ok(Bundle::open_within(dir, variant, Some(memory_bytes))?),
        #[cfg(feature = "default-model")]
        None => Ok(Bundle::default_model()?),
        #[cfg(not(feature = "default-model"))]
        None => Err(StartError::NoModel),
    }
}

/// Loads the model and serves it to whoever holds the runtime's handle. `phase` hears what takes
/// time, in words.
///
/// # Errors
/// [`StartError`]; nothing is left running.
pub fn bring_up(plan: &Plan, phase: &dyn Fn(&str)) -> Result<Runtime, StartError> {
    phase("reading the model's files");
    Ok(fit(plan, open_bundle(plan)?, phase, Beside::Nothing, Trust::Known)?.0.serve(plan))
}

/// A model that has shown that it runs, within the budget.
pub struct Fit {
    candidate: Candidate,
    facts: Map<String, Value>,
}

impl Fit {
    /// Serves it.
    pub fn serve(self, plan: &Plan) -> Runtime {
        Runtime::serve(self.candidate, &plan.limits, self.facts)
    }

    /// The model, and what the status says of it.
    pub fn into_parts(self) -> (Candidate, Map<String, Value>) {
        (self.candidate, self.facts)
    }
}

/// What is known of a model that is served.
pub struct Served {
    /// How it was brought up.
    pub plan: Plan,
    /// SHA-256 of its files.
    pub hash: String,
    /// The bundle's own tasks.
    pub tasks: Vec<Task>,
    /// That of a plain prompt.
    pub default_task: Option<String>,
    /// What texts of others are held against.
    pub shapes: Shapes,
    /// What it holds.
    pub sheet: Sheet,
    /// How long it took to come up.
    pub load: Duration,
}

/// What is served while a model comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Nothing: its memory can be measured.
    Nothing,
    /// Another model, whose steps are in every figure.
    Another,
}

/// Whether a model is known to answer as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It is what was asked for at the start, or what was served before.
    Known,
    /// It is to take the place of one that serves well: it has to give its golden answers first.
    New,
}

/// Loads and tries an opened model.
///
/// # Errors
/// [`StartError`]; nothing is left in memory.
pub fn fit(
    plan: &Plan,
    bundle: Bundle,
    phase: &dyn Fn(&str),
    beside: Beside,
    trust: Trust,
) -> Result<(Fit, Served), StartError> {
    let began = Instant::now();
    let mut ready = load(plan, bundle, phase, beside, false)?;
    if trust == Trust::New && !ready.bundle.goldens.is_empty() {
        phase("asking the golden prompts");
        super::trial::check_goldens(&mut ready, plan).map_err(StartError::Golden)?;
    }
    ready.settled.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    let facts = facts(&ready);
    let costs = costs_of(ready.engine.caps());
    let remembered = ready.store.get(&costs);
    let shapes = Shapes::of(&ready.model);
    phase("running the self-test");
    let candidate = Candidate::new(ready.model, ready.engine, remembered)?;
    let load = began.elapsed();
    if beside == Beside::Nothing {
        if remembered != Some(candidate.shape()) {
            remember(&ready.store, &costs, &candidate.shape());
        }
        remember(&ready.store, LOAD, &load.as_millis());
    }
    let served = Served {
        plan: plan.clone(),
        hash: ready.bundle.hash,
        tasks: ready.bundle.tasks,
        default_task: ready.bundle.default_task,
        shapes,
        sheet: ready.settled.sheet,
        load,
    };
    Ok((Fit { candidate, facts }, served))
}

/// How a model that is not loaded would fit.
pub struct Outlook {
    /// What it would hold.
    pub sheet: Sheet,
    /// What that is held against, in bytes.
    pub ceiling_bytes: u64,
    /// Whether all of that was measured.
    pub is_measured: bool,
    /// How long it took to come up, the last time.
    pub load: Option<Duration>,
}

/// Looks whether an opened model would fit.
///
/// # Errors
/// [`StartError`]: it would not, with nothing beside it.
pub fn outlook(plan: &Plan, bundle: &Bundle) -> Result<Outlook, StartError> {
    let choice = choice::choose(plan.engine)?;
    let budget = Budget::new(plan, bundle, &choice)?;
    let sheet = budget.settle()?.sheet;
    Ok(Outlook {
        is_measured: budget.knows(sheet.shape),
        ceiling_bytes: budget.ceiling().bytes,
        load: budget.into_store().get(LOAD).map(Duration::from_millis),
        sheet,
    })
}

/// The name that the costs of steps are remembered by: they depend on how many rows were tried.
fn costs_of(caps: &Caps) -> String {
    format!("costs, {} rows", caps.slots.min(caps.max_rows.into()))
}

/// A model that is loaded and fits.
pub struct Ready {
    /// What was opened.
    pub bundle: Bundle,
    /// The engine's name, and why it was chosen.
    pub choice: Choice,
    /// Its text side.
    pub model: Model,
    /// The engine, loaded.
    pub engine: Box<dyn Engine>,
    /// The sheet, and what it is held against.
    pub settled: Settled,
    /// What is remembered of this model, engine and machine.
    pub store: Measurements,
}

/// Opens and loads the model, as far as it fits; what only a run can tell is measured, unless it is
/// remembered.
///
/// # Errors
/// [`StartError`]; nothing is left in memory.
pub fn prepare(plan: &Plan, phase: &dyn Fn(&str)) -> Result<Ready, StartError> {
    phase("reading the model's files");
    load(plan, open_bundle(plan)?, phase, Beside::Nothing, false)
}

pub(super) fn load(
    plan: &Plan,
    bundle: Bundle,
    phase: &dyn Fn(&str),
    beside: Beside,
    anew: bool,
) -> Result<Ready, StartError> {
    let plan = &plan.clone().on_these_cpus();
    let choice = choice::choose(plan.engine)?;
    let second = choice::second(plan.engine, &choice);
    match (load_with(plan, bundle.clone(), choice.clone(), phase, beside, anew), second) {
        // An old library does not know every operator.
        (Err(StartError::Load(error)), Some(second)) => {
            let reason = format!("{}, but cannot load the model: {error}", choice.reason);
            tracing::warn!(%reason, engine = second.name(), "another engine is taken");
            load_with(plan, bundle, Choice { kind: second, reason }, phase, beside, anew)
        }
        (loaded, _) => loaded,
    }
}

fn load_with(
    plan: &Plan,
    bundle: Bundle,
    choice: Choice,
    phase: &dyn Fn(&str),
    beside: Beside,
    anew: bool,
) -> Result<Ready, StartError> {
    let mut gauge = Gauge::start();
    tracing::info!(engine = choice.kind.name(), reason = %choice.reason, "engine chosen");
    let mut plan = plan.clone();
    plan.options.provider = providers::choose(&plan, &bundle, &choice, phase)?;
    let plan = &plan;
    gauge.library();
    let mut budget = Budget::new(plan, &bundle, &choice)?;
    let mut settled = budget.settle()?;
    phase("reading the tokenizer");
    let model = Model::new(&bundle, &plan.all_tasks(&bundle))?;
    check_watches(plan, &model)?;
    gauge.text();
    let engine = loop {
        phase(&format!("loading {} with {}", bundle.name, choice.kind.name()));
        let options = EngineOptions {
            slots: settled.sheet.shape.sessions,
            context_tokens: settled.sheet.shape.context_tokens,
            ..plan.options.clone()
        };
        let mut engine = choice::load(&choice, &bundle.graph, &options)?;
        gauge.loaded();
        if budget.knows(settled.sheet.shape) && !anew {
            if beside == Beside::Nothing {
                budget.check(&settled, gauge.measured())?;
            }
            break engine;
        }
        phase("measuring the largest step");
        warm_up::tokenize(&model, plan.limits.prompt_bytes);
        gauge.tokenized();
        let pinned = pin(&engine.affinity());
        let touched = warm_up::largest_step(
            engine.as_mut(),
            &bundle.graph,
            budget.subject().position_bytes(),
        )?;
        drop(pinned);
        gauge.stepped(touched, options.context_tokens);
        budget.remember(gauge.measured());
        if let Some(fits) = budget.keeps(&settled) {
            settled = fits;
            break engine;
        }
        // It fits only smaller than the rules of thumb had said.
        settled = budget.settle()?;
        drop(engine);
        gauge.unloaded();
    };
    let store = budget.into_store();
    Ok(Ready { bundle, choice, model, engine, settled, store })
}

fn check_watches(plan: &Plan, model: &Model) -> Result<(), StartError> {
    let missing = plan.watched_tasks.iter().find(|(_, task)| !model.tasks.contains_key(task));
    match missing.cloned() {
        None => Ok(()),
        Some((watch, task)) => {
            let known = model.tasks.keys().cloned().collect();
            Err(StartError::WatchedTask { watch, task, known })
        }
    }
}

/// Loads the model and measures it anew, whatever is remembered.
///
/// # Errors
/// [`StartError`].
pub fn measure(plan: &Plan, phase: &dyn Fn(&str)) -> Result<(), StartError> {
    phase("reading the model's files");
    load(plan, open_bundle(plan)?, phase, Beside::Nothing, true).map(drop)
}

fn facts(ready: &Ready) -> Map<String, Value> {
    let (bundle, info): (_, &EngineInfo) = (&ready.bundle, ready.engine.info());
    let facts = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model": { "name": bundle.name, "version": bundle.version, "sha256": bundle.hash },
        "engine": {
            "name": info.name, "version": info.version, "library": info.library,
            "reason": ready.choice.reason, "cpus": cpus(&ready.engine.affinity()),
        },
        "budget": ready.settled.facts(),
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}

/// `4-7`; none: any.
fn cpus(list: &CpuList) -> Option<String> {
    (!list.is_empty()).then(|| list.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_kept_only_if_all_of_them_may_be_used() {
        let list = |text: &str| CpuList::parse(text).expect("a list");
        assert_eq!(keeps(&list("4-7"), &list("0-7")), Ok(()));
        assert_eq!(keeps(&CpuList::default(), &list("0")), Ok(()), "nothing was named");
        let problem = keeps(&list("4-7"), &list("0-5")).expect_err("two are missing");
        assert!(problem.contains("CPUs 6-7") && problem.contains("may use 0-5"), "{problem}");
    }
}
