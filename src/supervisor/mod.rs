//! Puts the process together (bundle, engine, runtime, transports) and takes it apart again.
//!
//! SIGTERM and SIGINT drain: requests under way get their answers for as long as [`DRAIN`], then
//! the rest is told `shutting_down`; a second signal ends the wait. SIGHUP reloads.

mod activation;
mod budget;
mod manager;
mod mqtt;
mod pressure;
pub mod providers;
mod quotas;
mod reload;
mod routes;
pub mod second;
mod start;
pub mod trial;
mod warm_up;

pub use activation::ActivationError;
pub use budget::{Bound, Budget, Ceiling, Settled};
pub use mqtt::{MqttError, link_options};
pub use reload::Reread;
pub use start::{
    Overrun, Plan, Ready, StartError, bring_up, measure, open_bundle, prepare, sessions,
};

use self::manager::{Manager, Pulse, Starting, StatusLine};
use self::pressure::Monitor;
use self::reload::{Event, Outcome, Reload, Reloads};
use self::start::{Beside, Served, Trust, fit};
use crate::config::{ConfigError, Settings};
use crate::engine::{rss_bytes, run_soon};
use crate::routing::{Notice, Router, Slot};
use crate::runtime::{Figures, Handle, Runtime};
use crate::transport::access::Access;
use crate::transport::listen::{ListenError, Listener};
use crate::transport::mqtt::front;
use crate::transport::shares::Shares;
use crate::transport::unix;
use nix::sys::signal::{SigSet, Signal};
use sd_notify::NotifyState;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// How long requests under way may go on after SIGTERM.
pub const DRAIN: Duration = Duration::from_secs(10);

/// How long the last answers may take to go out after that.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// The watchdog is fed so many times in its period: one look that falls into a stall is no hang.
const FEEDS: u32 = 4;

/// How often it is looked whether the status line has changed.
const LOOK: Duration = Duration::from_secs(10);

/// How long a tool's program may hold up the end, when nobody waits for it any more.
const LAST_PROGRAMS: Duration = Duration::from_secs(1);

/// Messages of tools and escalations that wait to be published.
const NOTICES: usize = 64;

/// As good as never.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// Why the daemon does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The model did not come up.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The socket cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// systemd hands over something else.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// MQTT cannot be had.
    #[error(transparent)]
    Mqtt(#[from] MqttError),
    /// The key of an endpoint cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The event loop cannot run.
    #[error("the event loop cannot run: {0}")]
    Loop(#[from] std::io::Error),
}

/// A model that is up, and the socket that it will serve.
pub struct Daemon {
    manager: Manager,
    runtime: Runtime,
    listener: Listener,
    access: Access,
    shares: Arc<Shares>,
    monitor: Arc<Monitor>,
    limits: unix::Limits,
    mqtt: Option<front::Parts>,
    settings: Settings,
    served: Served,
    routes: Slot,
    notices: Notices,
}

/// What is to be published, on its way to the broker.
struct Notices {
    sender: mpsc::Sender<Notice>,
    /// For the front end, if there is one.
    receiver: mpsc::Receiver<Notice>,
}

impl Daemon {
    /// Takes the socket, so that a second daemon is refused at once, and brings the model up.
    ///
    /// # Errors
    /// [`ServeError`]; nothing is left running, and the socket is given back.
    pub fn start(settings: &Settings, phase: &dyn Fn(&str)) -> Result<Self, ServeError> {
        // A reload that is asked for while the model comes up waits until it can be done.
        hangups().thread_block().map_err(std::io::Error::from)?;
        let manager = Manager::find();
        let starting = Starting::begin(&manager);
        let phase = |name: &str| {
            starting.phase(name);
            phase(name);
        };
        let groups = &settings.allow_groups.value;
        let (access, warnings) = Access::resolve(&settings.allow_users.value, groups);
        let (quotas, more) = quotas::resolve(&settings.unix_quotas.value);
        warnings.iter().chain(&more).for_each(|warning| tracing::warn!("{warning}"));
        let path = &settings.unix_path.value;
        let listener = match activation::handed_over(path)? {
            Some(listener) => listener,
            None => Listener::bind(path, groups.first().map(String::as_str))?,
        };
        let mqtt = mqtt::parts(settings, DRAIN + LAST_ANSWERS)?;
        let plan = Plan::from(settings).resolved();
        let second = second::plan(settings, &plan);
        let beside = match &second {
            Some(second) => second::bytes(second, &|name| phase(&format!("second model: {name}")))?,
            None => 0,
        };
        let plan = plan.beside(beside);
        phase("reading the model's files");
        let (fit, served) = fit(&plan, open_bundle(&plan)?, &phase, Beside::Nothing, Trust::Known)?;
        let routes = Slot::new(routes::of(settings, &plan, &served)?);
        let (sender, receiver) = mpsc::channel(NOTICES);
        let second = match &second {
            Some(second) => {
                let phase = |name: &str| phase(&format!("second model: {name}"));
                Some(second::bring(second, &served, &phase)?)
            }
            None => None,
        };
        let mut runtime = fit.serve(&plan);
        if let Some(second) = second {
            runtime.add_second(second.into_parts().0, &plan.limits);
        }
        let limits = unix::Limits {
            clients: settings.clients.value,
            drain_timeout: DRAIN + LAST_ANSWERS,
            ..unix::Limits::default()
        };
        tracing::info!(socket = %path.display(), "serving");
        let (shares, monitor) = (Shares::new(quotas), Monitor::new(&settings.thermal));
        let handle = runtime.handle();
        handle.report_live("unix", Arc::clone(&shares) as Arc<dyn Figures>);
        handle.report_live("pressure", Arc::clone(&monitor) as Arc<dyn Figures>);
        let settings = settings.clone();
        Ok(Self {
            manager,
            runtime,
            listener,
            access,
            shares,
            monitor,
            limits,
            mqtt,
            settings,
            served,
            routes,
            notices: Notices { sender, receiver },
        })
    }

    /// Serves until a signal asks for the end, and every request has had its terminal reply;
    /// `reread` reads the configuration again on SIGHUP.
    ///
    /// # Errors
    /// [`ServeError::Loop`]; [`ServeError::Start`] if a reload failed and what was served before
    /// does not come up again either.
    pub fn serve(self, reread: Reread) -> Result<(), ServeError> {
        let Self { manager, mut runtime, listener, access, shares, .. } = self;
        let Self { monitor, limits, mqtt, settings, served, routes, notices, .. } = self;
        let handle = runtime.handle();
        let exchange = runtime.exchange().expect("it is taken once");
        let slot = routes.clone();
        let reload =
            Reload { exchange, handle: handle.clone(), routes: slot, settings, served, reread };
        let mut supervisor = Supervisor::new(manager, Reloads::start(reload));
        let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // After the other threads have begun, which would be the same.
        run_soon();
        let ended = event_loop.block_on(async {
            let (stop, stopped) = watch::channel(false);
            let Notices { sender, receiver } = notices;
            let here = tokio::runtime::Handle::current();
            let told = handle.clone();
            let router = Router::new(handle, routes, sender, stopped.clone(), DRAIN, here);
            told.report_live("routes", router.figures());
            let by_mqtt = serve_mqtt(mqtt, router.clone(), receiver, stopped.clone());
            let by_socket = unix::serve(listener, access, shares, limits, router, stopped);
            let served = async { tokio::try_join!(by_socket, by_mqtt).map(|_| ()) };
            tokio::select! {
                served = served => served,
                failed = supervisor.run(&runtime, &stop) => failed,
                never = pressure::watch(&runtime, &monitor) => match never {},
            }
        });
        let Supervisor { reloads, lost, .. } = supervisor;
        if ended.is_err() {
            runtime.drain(Duration::ZERO);
        }
        reloads.join();
        // Whatever it still has holds the runtime; a tool's program may be in the way of its end.
        event_loop.shutdown_timeout(LAST_PROGRAMS);
        ended?;
        runtime.join();
        tracing::info!("ended");
        lost.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// SIGHUP alone.
fn hangups() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGHUP);
    set
}

/// Serves MQTT, if there is a broker to serve it to.
async fn serve_mqtt(
    parts: Option<front::Parts>,
    service: Router<Handle>,
    notices: mpsc::Receiver<Notice>,
    stopped: watch::Receiver<bool>,
) -> std::io::Result<()> {
    if let Some(parts) = parts
        && let Err(error) = front::serve(parts, service, notices, stopped).await
    {
        // Who is still being served on the socket shall be.
        tracing::error!(%error, "the journal could not be closed in order");
    }
    Ok(())
}

/// Listens for signals, tells systemd, and feeds its watchdog.
struct Supervisor {
    manager: Manager,
    reloads: Reloads,
    /// The work of the reload that runs.
    reloading: Option<Pulse>,
    status: StatusLine,
    signals: u32,
    /// Why nothing is served any more.
    lost: Option<StartError>,
}

impl Supervisor {
    fn new(manager: Manager, reloads: Reloads) -> Self {
        let (status, lost) = (StatusLine::default(), None);
        Self { manager, reloads, reloading: None, status, signals: 0, lost }
    }

    /// Ends only by an error.
    async fn run(&mut self, runtime: &Runtime, stop: &watch::Sender<bool>) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        hangups().thread_unblock()?;
        self.manager.tell(&[NotifyState::Ready]);
        self.show(runtime);
        let feed = sd_notify::watchdog_enabled().map_or(FAR, |every| every / FEEDS);
        let look = if self.manager.is_there() { LOOK } else { FAR };
        let (mut feeds, mut looks) = (every(feed), every(look));
        loop {
            tokio::select! {
                _ = terminate.recv() => self.go_down(runtime, stop),
                _ = interrupt.recv() => self.go_down(runtime, stop),
                _ = hangup.recv() => self.reload(),
                event = self.reloads.next() => self.reloaded(event, runtime, stop),
                _ = feeds.tick() => self.feed(runtime),
                _ = looks.tick() => self.show(runtime),
            }
        }
    }

    /// Feeds the watchdog, unless something hangs.
    fn feed(&mut self, runtime: &Runtime) {
        if let Some(pulse) = &mut self.reloading {
            pulse.beats();
        }
        let reload_hangs = self.reloading.as_ref().is_some_and(Pulse::is_lost);
        match (runtime.is_alive(), reload_hangs) {
            (true, false) => self.manager.tell(&[NotifyState::Watchdog]),
            (false, _) => tracing::error!("the inference thread hangs"),
            (true, true) => tracing::error!("the reload hangs"),
        }
    }

    fn show(&mut self, runtime: &Runtime) {
        if self.signals > 0 || !self.manager.is_there() {
            return;
        }
        match &mut self.reloading {
            // Where a reload may time out (systemd 253), it gets time while it gets on.
            Some(pulse) => {
                if pulse.beats() {
                    self.manager.extend(pulse);
                }
            }
            None => {
                let (running, waiting) = runtime.load();
                self.status.show(&self.manager, running, waiting, rss_bytes());
            }
        }
    }

    fn reload(&mut self) {
        if self.signals > 0 {
            return tracing::info!("going down: not reloading");
        }
        if self.reloads.ask() && self.reloading.is_none() {
            self.begin("reloading");
        }
    }

    fn begin(&mut self, phase: &str) {
        if self.reloading.is_none() {
            self.manager.reloading();
        }
        let pulse = Pulse::new(phase);
        self.manager.extend(&pulse);
        self.reloading = Some(pulse);
    }

    fn reloaded(&mut self, event: Event, runtime: &Runtime, stop: &watch::Sender<bool>) {
        let outcome = match event {
            Event::Phase(phase) => return self.begin(&phase),
            Event::Done(outcome) => outcome,
        };
        self.reloading = None;
        match outcome {
            Outcome::Served(_) => self.status.set_trouble(None),
            Outcome::Kept(why) => self.status.set_trouble(Some(&why)),
            Outcome::Lost(error) => {
                tracing::error!(%error, "nor does the old model come up again");
                self.lost = Some(error);
                self.go_down(runtime, stop);
            }
            Outcome::Ended => {}
        }
        if self.signals == 0 {
            self.manager.tell(&[NotifyState::Ready]);
            self.status.forget();
            self.show(runtime);
        }
    }

    fn go_down(&mut self, runtime: &Runtime, stop: &watch::Sender<bool>) {
        self.signals += 1;
        tracing::info!(signals = self.signals, "going down");
        let status = NotifyState::Status("answering what is under way");
        self.manager.tell(&[NotifyState::Stopping, status]);
        runtime.drain(if self.signals == 1 { DRAIN } else { Duration::ZERO });
        stop.send_replace(true);
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}
