//! Ending a running step from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::Stop;

/// Says whether a step runs, which one, and whether it is to end.
///
/// One number: `3 * step + phase`, so that a request for one step can never end the next.
#[derive(Debug, Default)]
pub(super) struct Stopper(AtomicU64);

const IDLE: u64 = 0;
const RUNNING: u64 = 1;
const STOPPING: u64 = 2;

impl Stopper {
    /// A new step begins.
    pub fn begin(&self) {
        let step = self.0.load(Ordering::Relaxed) / 3 + 1;
        self.0.store(step * 3 + RUNNING, Ordering::SeqCst);
    }

    /// The step is over.
    pub fn end(&self) {
        let step = self.0.load(Ordering::Relaxed) / 3;
        self.0.store(step * 3 + IDLE, Ordering::SeqCst);
    }

    /// Whether the running step is to end.
    pub fn is_stopping(&self) -> bool {
        self.0.load(Ordering::Relaxed) % 3 == STOPPING
    }
}

/// The handle that other threads hold.
#[derive(Debug, Clone)]
pub(super) struct StopHandle(pub Arc<Stopper>);

impl Stop for StopHandle {
    fn stop(&self) {
        let now = self.0.0.load(Ordering::SeqCst);
        if now % 3 == RUNNING {
            let to = now - RUNNING + STOPPING;
            // Failing means that the step is over or is being stopped already.
            let _ = self.0.0.compare_exchange(now, to, Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_running_step_is_stopped() {
        let stopper = Arc::new(Stopper::default());
        let handle = StopHandle(Arc::clone(&stopper));
        handle.stop();
        stopper.begin();
        assert!(!stopper.is_stopping(), "a request before the step does not count");
        handle.stop();
        handle.stop();
        assert!(stopper.is_stopping());
        stopper.end();
        stopper.begin();
        assert!(!stopper.is_stopping(), "nor does one of the step before");
    }
}
