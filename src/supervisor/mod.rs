//! Puts the process together (bundle, engine, runtime, transports) and takes it apart again.
//!
//! SIGTERM and SIGINT drain: requests under way get their answers for as long as [`DRAIN`], then
//! the rest is told `shutting_down`; a second signal ends the wait.

mod budget;
mod mqtt;
mod pressure;
pub mod providers;
mod quotas;
mod start;
mod warm_up;

pub use budget::{Bound, Budget, Ceiling, Settled};
pub use mqtt::{MqttError, link_options};
pub use start::{
    Overrun, Plan, Ready, StartError, bring_up, measure, open_bundle, prepare, sessions,
};

use self::pressure::Monitor;
use crate::config::Settings;
use crate::runtime::{Figures, Handle, Runtime};
use crate::transport::access::Access;
use crate::transport::listen::{ListenError, Listener};
use crate::transport::mqtt::front;
use crate::transport::shares::Shares;
use crate::transport::unix;
use sd_notify::NotifyState;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

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
