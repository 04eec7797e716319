//! Ends steps that hang: a thread that looks at the running step a few times a second, and sleeps
//! while none runs.

use super::shared::Shared;
use std::time::Duration;

/// How often a running engine is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Serves until the inference thread has ended.
pub fn watch(shared: &Shared) {
    while !shared.has_ended() {
        match shared.step_overdue() {
            Some(true) => {
                tracing::error!("a step hangs; it is stopped");
                shared.stop_step();
                std::thread::park_timeout(LOOK);
            }
            Some(false) => std::thread::park_timeout(LOOK),
            None => std::thread::park(),
        }
    }
}
