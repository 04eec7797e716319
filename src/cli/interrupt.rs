//! Ctrl-C: the first one ends the request under way, the second one the process.

use super::answerer::Cancel;
use super::exit::INTERRUPTED;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

static UNDER_WAY: Mutex<Option<Cancel>> = Mutex::new(None);
static INTERRUPTED_ONCE: AtomicBool = AtomicBool::new(false);
static INSTALLED: Once = Once::new();

/// While this lives, Ctrl-C calls `cancel` once; without one it ends the process.
pub fn during(cancel: Cancel) -> Armed {
    INSTALLED.call_once(install);
    INTERRUPTED_ONCE.store(false, Ordering::Relaxed);
    *under_way() = Some(cancel);
    Armed
}

/// Whether the last request was ended by Ctrl-C.
pub fn was_interrupted() -> bool {
    INTERRUPTED_ONCE.load(Ordering::Relaxed)
}

/// See [`during`].
pub struct Armed;

impl Drop for Armed {
    fn drop(&mut self) {
        *under_way() = None;
    }
}

fn under_way() -> MutexGuard<'static, Option<Cancel>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Without the thread, Ctrl-C ends the process as it always does.
fn install() {
    let listen = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(async {
                while tokio::signal::ctrl_c().await.is_ok() {
                    interrupt();
                }
            });
        }
    };
    // Not being able to start it is no reason not to answer.
    let _ = std::thread::Builder::new().name("slmd-ctrl-c".into()).spawn(listen);
}

fn interrupt() {
    match under_way().take() {
        Some(cancel) => {
            INTERRUPTED_ONCE.store(true, Ordering::Relaxed);
            cancel();
        }
        None => std::process::exit(INTERRUPTED.into()),
    }
}
