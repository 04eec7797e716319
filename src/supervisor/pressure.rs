//! Watches heat and power, and tells the runtime how hard it may work.
//!
//! While nothing is asked and nothing is wrong this sleeps until the next request comes, so that an
//! idle daemon is not woken.

use crate::config::ThermalSettings;
use crate::pressure::{Ladder, Level, Reader, Reading, Thermal, gauges};
use crate::runtime::{Figures, Runtime};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The sensors are read no more often than this; the kernel's own averages are not newer.
const EVERY: Duration = Duration::from_secs(2);
/// A level is left this long after the last reading that asked for it, no sooner.
const DWELL: Duration = Duration::from_secs(20);
/// Names another root than `/`, for tests with sensors of their own.
const ROOT_VARIABLE: &str = "SLMD_TEST_SYSTEM_ROOT";

/// The sensors, and what was made of them.
#[derive(Debug)]
pub struct Monitor(Mutex<State>);

#[derive(Debug)]
struct State {
    reader: Reader,
    thermal: Thermal,
    ladder: Ladder,
    began: Instant,
    read: Option<Instant>,
    reading: Reading,
    /// Readings in a row in which the clock was held back.
    throttled: u32,
}

impl Monitor {
    /// The sensors of this machine with these bounds.
    pub fn new(settings: &ThermalSettings) -> Arc<Self> {
        let root = std::env::var_os(ROOT_VARIABLE).map_or("/".into(), PathBuf::from);
        let milli = |c: u8| i32::from(c) * 1000;
        let thermal = Thermal {
            zones: settings.zones.value.clone(),
            enter_milli_c: settings.enter_c.each_ref().map(|bound| bound.value.map(milli)),
            hysteresis_milli_c: milli(settings.hysteresis_c.value),
        };
        let dwell_ms = DWELL.as_millis() as u64;
        Arc::new(Self(Mutex::new(State {
            reader: Reader::new(&root),
            thermal,
            ladder: Ladder::new(dwell_ms),
            began: Instant::now(),
            read: None,
            reading: Reading::default(),
            throttled: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Reads, unless it did just now.
    fn look(&mut self, is_busy: bool) -> Level {
        if self.read.is_some_and(|read| read.elapsed() < EVERY) {
            return self.ladder.level();
        }
        self.read = Some(Instant::now());
        self.reading = self.reader.read(is_busy);
        self.throttled = if self.reading.is_throttled { self.throttled + 1 } else { 0 };
        let gauges = gauges(&self.reading, self.throttled, &self.thermal);
        self.ladder.step(self.now_ms(), &gauges)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Figures for Monitor {
    fn figures(&self) -> Value {
        let mut state = self.state();
        let level = state.look(false);
        let (pressure, reading) = (level.pressure(), &state.reading);
        let zone = |z: &crate::pressure::Zone| json!({ "zone": *z.kind, "c": celsius(z.milli_c) });
        json!({
            "level": level.name(),
            "why": state.ladder.why(),
            "since_s": (state.now_ms() - state.ladder.since_ms()) / 1000,
            "stretch_percent": pressure.stretch_percent,
            "background_percent": pressure.background_percent,
            "rest_percent": pressure.rest_percent,
            "temperature_c": reading.hottest_milli_c().map(celsius),
            "zones": reading.zones.iter().map(zone).collect::<Vec<_>>(),
            "throttled": reading.is_throttled,
            "clock_percent": reading.clock_percent,
            "stall_percent": {
                "cpu": reading.cpu_stall_percent, "memory": reading.memory_stall_percent,
                "io": reading.io_stall_percent,
            },
            "battery_percent": reading.battery.map(|battery| battery.percent),
            "undervoltage": reading.is_undervolted,
        })
    }
}

fn celsius(milli: i32) -> f64 {
    f64::from(milli) / 1000.0
}

/// Reads while there is work or pressure, and presses the runtime on each change.
pub async fn watch(runtime: &Runtime, monitor: &Monitor) -> Infallible {
    let handle = runtime.handle();
    let mut pressed = Level::Normal;
    loop {
        if pressed == Level::Normal && !handle.is_busy() {
            handle.next_request().await;
        }
        let level = monitor.state().look(handle.is_busy());
        if level != pressed {
            let state = monitor.state();
            tracing::warn!(
                level = level.name(),
                was = pressed.name(),
                why = state.ladder.why(),
                "pressure changed"
            );
            runtime.press(level.pressure());
            pressed = level;
        }
        tokio::time::sleep(EVERY).await;
    }
}
