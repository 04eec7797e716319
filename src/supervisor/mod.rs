//! Puts the process together (bundle, engine, runtime, transports) and takes it apart again.
//!
//! SIGTERM and SIGINT drain: requests under way get their answers for as long as [`DRAIN`], then
//! the rest is told `shutting_down`; a second signal ends the wait.

mod mqtt;
mod pressure;
mod quotas;

pub use mqtt::{MqttError, link_options};

use self::pressure::Monitor;
use crate::bundle::{Bundle, BundleError, KvUpdate, Task};
use crate::config::{Origin, Settings, format_bytes};
use crate::core::plan::EngineKind;
use crate::engine::choice::{self, Choice};
use crate::engine::{EngineOptions, LoadError, StepError, process_memory};
use crate::runtime::{Figures, Handle, Limits, Model, ModelError, Runtime};
use crate::transport::access::Access;
use crate::transport::listen::{ListenError, Listener};
use crate::transport::mqtt::front;
use crate::transport::shares::Shares;
use crate::transport::unix;
use sd_notify::NotifyState;
use serde_json::{Map, Value, json};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

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
    /// Whether `options.context_tokens` was asked for, not only suggested: a model with a shorter
    /// context is refused then, and else the context is lowered to the model's.
    pub exact_context: bool,
    /// What the runtime may take.
    pub limits: Limits,
    /// Tasks of the configuration.
    pub tasks: Vec<Task>,
    /// Memory of the whole process, in bytes.
    pub memory_bytes: u64,
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
            },
            exact_context: matches!(
                settings.context_tokens.origin,
                Origin::File(..) | Origin::Variable(_) | Origin::Flag(_)
            ),
            limits: Limits {
                queue: settings.queue.value,
                max_step: ms(settings.max_step_ms.value),
                deadline: ms(settings.deadline_ms.value),
                first_token: settings.ttft_ms.value.map(ms),
                max_tokens: settings.max_tokens.value,
                prompt_bytes: settings.prompt_bytes.value,
            },
            tasks: settings.tasks.iter().map(|task| task.value.clone()).collect(),
            memory_bytes: settings.memory_bytes.value,
            watched_tasks: settings
                .watches
                .iter()
                .filter_map(|w| Some((w.value.name.clone(), w.value.task.clone()?)))
                .collect(),
        }
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
    /// The budget does not hold it.
    #[error("budget.memory is {}, but {what} {}", format_bytes(*budget), format_bytes(*needed))]
    Memory {
        /// The budget, in bytes.
        budget: u64,
        /// The line that does not fit.
        what: &'static str,
        /// What that line needs, in bytes.
        needed: u64,
    },
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
    /// Neither a model is configured nor is there an embedded one.
    #[error("no model: this build has none embedded; name one with --model or `model = ...`")]
    NoModel,
}

/// Opens the model's files.
///
/// # Errors
/// [`StartError::Bundle`], [`StartError::NoModel`].
pub fn open_bundle(plan: &Plan) -> Result<Bundle, StartError> {
    match &plan.model {
        Some(dir) => {
            Ok(Bundle::open_within(dir, plan.variant.as_deref(), Some(plan.memory_bytes))?)
        }
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
    let bundle = open_bundle(plan)?;
    phase("reading the tokenizer");
    let model = Model::new(&bundle, &plan.tasks)?;
    check_watches(plan, &model)?;
    let choice = choice::choose(plan.engine)?;
    tracing::info!(engine = choice.kind.name(), reason = %choice.reason, "engine chosen");
    phase(&format!("loading {} with {}", bundle.name, choice.kind.name()));
    let options = fit(plan, &bundle)?;
    check_budget(plan.memory_bytes, &bundle, &options)?;
    let engine = choice::load(&choice, &bundle.graph, &options)?;
    let facts = facts(&bundle, &choice, engine.info());
    phase("running the self-test");
    let runtime = Runtime::start(model, engine, &plan.limits, facts)?;
    let (budget, needed) = (plan.memory_bytes, process_memory().rss_bytes);
    if needed > budget {
        let what = "the process with the model loaded has";
        return Err(StartError::Memory { budget, what, needed });
    }
    Ok(runtime)
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

/// Refuses before loading what cannot fit: the weights as they are on disk, then the KV slots.
fn check_budget(budget: u64, bundle: &Bundle, options: &EngineOptions) -> Result<(), StartError> {
    let buffers = if bundle.graph.kv_update == KvUpdate::Append { 2 } else { 1 };
    let positions = u64::from(options.slots) * u64::from(options.context_tokens);
    let kv_bytes = buffers * positions * bundle.graph.kv_bytes_per_token() as u64;
    for (what, needed) in [
        ("the model's files alone have", bundle.total_bytes),
        ("the model's files and the KV slots have", bundle.total_bytes + kv_bytes),
    ] {
        if needed > budget {
            return Err(StartError::Memory { budget, what, needed });
        }
    }
    Ok(())
}

/// No more positions than the model was made for.
fn fit(plan: &Plan, bundle: &Bundle) -> Result<EngineOptions, StartError> {
    let longest = u32::try_from(bundle.graph.context_length).unwrap_or(u32::MAX);
    let asked = plan.options.context_tokens;
    if asked > longest && plan.exact_context {
        return Err(StartError::Context { asked, longest });
    }
    Ok(EngineOptions { context_tokens: asked.min(longest), ..plan.options.clone() })
}

fn facts(bundle: &Bundle, choice: &Choice, info: &crate::engine::EngineInfo) -> Map<String, Value> {
    let facts = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "model": { "name": bundle.name, "version": bundle.version, "sha256": bundle.hash },
        "engine": {
            "name": info.name, "version": info.version, "library": info.library,
            "reason": choice.reason,
        },
    });
    match facts {
        Value::Object(facts) => facts,
        _ => Map::new(),
    }
}

/// How long requests under way may go on after SIGTERM.
pub const DRAIN: Duration = Duration::from_secs(10);

/// How long the last answers may take to go out after that.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// A step that takes longer than this hangs: the watchdog is not fed any more.
const HUNG_STEP: Duration = Duration::from_secs(20);

/// Why the daemon does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The model did not come up.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The socket cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// MQTT cannot be had.
    #[error(transparent)]
    Mqtt(#[from] MqttError),
    /// The event loop cannot run.
    #[error("the event loop cannot run: {0}")]
    Loop(#[from] std::io::Error),
}

/// A model that is up, and the socket that it will serve.
pub struct Daemon {
    runtime: Runtime,
    listener: Listener,
    access: Access,
    shares: Arc<Shares>,
    monitor: Arc<Monitor>,
    limits: unix::Limits,
    mqtt: Option<front::Parts>,
}

impl Daemon {
    /// Takes the socket, so that a second daemon is refused at once, and brings the model up.
    ///
    /// # Errors
    /// [`ServeError`]; nothing is left running, and the socket is given back.
    pub fn start(settings: &Settings, phase: &dyn Fn(&str)) -> Result<Self, ServeError> {
        let groups = &settings.allow_groups.value;
        let (access, warnings) = Access::resolve(&settings.allow_users.value, groups);
        let (quotas, more) = quotas::resolve(&settings.unix_quotas.value);
        warnings.iter().chain(&more).for_each(|warning| tracing::warn!("{warning}"));
        let listener = match handed_over()? {
            Some(socket) => Listener::from_socket(socket),
            None => Listener::bind(&settings.unix_path.value, groups.first().map(String::as_str))?,
        };
        let mqtt = mqtt::parts(settings, DRAIN + LAST_ANSWERS)?;
        let runtime = bring_up(&Plan::from(settings), phase)?;
        let limits = unix::Limits {
            clients: settings.clients.value,
            drain_timeout: DRAIN + LAST_ANSWERS,
            ..unix::Limits::default()
        };
        tracing::info!(socket = %settings.unix_path.value.display(), "serving");
        let (shares, monitor) = (Shares::new(quotas), Monitor::new(&settings.thermal));
        let handle = runtime.handle();
        handle.report_live("unix", Arc::clone(&shares) as Arc<dyn Figures>);
        handle.report_live("pressure", Arc::clone(&monitor) as Arc<dyn Figures>);
        Ok(Self { runtime, listener, access, shares, monitor, limits, mqtt })
    }

    /// Serves until a signal asks for the end, and every request has had its terminal reply.
    ///
    /// # Errors
    /// [`ServeError::Loop`].
    pub fn serve(self) -> Result<(), ServeError> {
        let Self { runtime, listener, access, shares, monitor, limits, mqtt } = self;
        let handle = runtime.handle();
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        event_loop.block_on(async {
            let (stop, stopped) = watch::channel(false);
            let by_mqtt = serve_mqtt(mqtt, handle.clone(), stopped.clone());
            let by_socket = unix::serve(listener, access, shares, limits, handle, stopped);
            let served = async { tokio::try_join!(by_socket, by_mqtt).map(|_| ()) };
            tokio::select! {
                served = served => served,
                failed = supervise(&runtime, &stop) => failed,
                never = pressure::watch(&runtime, &monitor) => match never {},
            }
        })?;
        runtime.join();
        tracing::info!("ended");
        Ok(())
    }
}

/// Serves MQTT, if there is a broker to serve it to.
async fn serve_mqtt(
    parts: Option<front::Parts>,
    handle: Handle,
    stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    if let Some(parts) = parts
        && let Err(error) = front::serve(parts, handle, stopped).await
    {
        // Who is still being served on the socket shall be.
        tracing::error!(%error, "the journal could not be closed in order");
    }
    Ok(())
}

/// Listens for signals and feeds systemd's watchdog; ends only by an error.
async fn supervise(runtime: &Runtime, stop: &watch::Sender<bool>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    notify(&[NotifyState::Ready, NotifyState::Status("serving")]);
    let feed = sd_notify::watchdog_enabled().map_or(Duration::from_secs(3600), |every| every / 2);
    let mut ticks = tokio::time::interval(feed);
    let mut signals = 0;
    loop {
        tokio::select! {
            _ = terminate.recv() => signals += 1,
            _ = interrupt.recv() => signals += 1,
            _ = ticks.tick() => {
                if runtime.step_age().is_none_or(|age| age < HUNG_STEP) {
                    notify(&[NotifyState::Watchdog]);
                }
                continue;
            }
        }
        tracing::info!(signals, "going down");
        notify(&[NotifyState::Stopping, NotifyState::Status("answering what is under way")]);
        runtime.drain(if signals == 1 { DRAIN } else { Duration::ZERO });
        stop.send_replace(true);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}

/// The listening socket that systemd hands over, if it does (`sd_listen_fds(3)`).
fn handed_over() -> Result<Option<UnixListener>, ServeError> {
    let mut descriptors = sd_notify::listen_fds()?;
    Ok(descriptors.next().map(crate::transport::listen::adopt))
}
