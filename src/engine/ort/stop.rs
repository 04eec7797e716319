//! Ending a run from another thread.
//!
//! ONNX Runtime's terminate flag is sticky and a late one would end the next run, so it is only
//! set while a run is under way, and taken back after it.

use crate::engine::Stop;
use ort::session::{NoSelectedOutputs, RunOptions};
use std::sync::{Mutex, PoisonError};

/// Run options that can be terminated.
pub struct Stopper {
    pub(super) options: RunOptions<NoSelectedOutputs>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: bool,
    stopped: bool,
}

impl Stopper {
    pub(super) fn new() -> ort::Result<Self> {
        Ok(Self { options: RunOptions::new()?, state: Mutex::default() })
    }

    /// Runs `work`; says whether it was asked to stop meanwhile.
    pub(super) fn watch<T>(&self, work: impl FnOnce() -> T) -> (T, bool) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).running = true;
        let result = work();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = std::mem::take(&mut *state).stopped;
        if stopped {
            self.options.unterminate().expect("run options are valid for their whole life");
        }
        (result, stopped)
    }
}

impl Stop for Stopper {
    fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.running {
            state.stopped = true;
            self.options.terminate().expect("run options are valid for their whole life");
        }
    }
}
