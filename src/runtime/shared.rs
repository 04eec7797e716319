//! What the handles, the admission thread and the inference thread all see.

use super::handle::{Origin, Outbox};
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::{RequestId, Time};
use crate::wire::Ask;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;
use std::time::Instant;

/// A request on its way to admission.
#[derive(Debug)]
pub struct Work {
    pub id: RequestId,
    pub ask: Ask,
    pub origin: Origin,
    pub outbox: Outbox,
    pub arrived: Time,
    pub seat: Seat,
}

/// A place among the requests that the daemon holds, queued or running; given back on drop.
#[derive(Debug)]
pub struct Seat(Arc<Shared>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.seated.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Counters, the cancel list and the published status.
#[derive(Debug)]
pub struct Shared {
    origin: Instant,
    next_id: AtomicU64,
    serving: AtomicBool,
    seats: usize,
    seated: AtomicUsize,
    cancels: Mutex<Vec<RequestId>>,
    status: Mutex<Value>,
    inference: Mutex<Option<Thread>>,
}

impl Shared {
    /// Room for `seats` requests, queued and running together.
    pub fn new(seats: usize) -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            next_id: AtomicU64::new(1),
            serving: AtomicBool::new(false),
            seats,
            seated: AtomicUsize::new(0),
            cancels: Mutex::default(),
            status: Mutex::new(Value::Null),
            inference: Mutex::new(None),
        })
    }

    /// The time on the runtime's clock.
    pub fn now(&self) -> Time {
        Time(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Takes a seat and a request id.
    pub fn enter(self: &Arc<Self>) -> Result<(RequestId, Seat), RejectReason> {
        if !self.is_serving() {
            return Err(RejectReason::new(ErrorCode::ShuttingDown, "slmd is going down"));
        }
        let taken = self.seated.fetch_add(1, Ordering::AcqRel);
        let seat = Seat(Arc::clone(self));
        if taken >= self.seats {
            return Err(RejectReason::new(
                ErrorCode::Busy,
                format!("{taken} requests are queued or running, and that is the limit"),
            ));
        }
        Ok((RequestId(self.next_id.fetch_add(1, Ordering::Relaxed)), seat))
    }

    /// Requests queued and running.
    pub fn seated(&self) -> usize {
        self.seated.load(Ordering::Acquire)
    }

    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    pub fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Release);
        self.wake();
    }

    pub fn cancel(&self, id: RequestId) {
        self.cancels.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        self.wake();
    }

    /// Takes the requests to cancel.
    pub fn take_cancels(&self) -> Vec<RequestId> {
        std::mem::take(&mut *self.cancels.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn status(&self) -> Value {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn publish(&self, status: Value) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }

    /// Names the thread that [`Shared::wake`] wakes.
    pub fn set_inference_thread(&self, thread: Thread) {
        *self.inference.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    }

    /// Wakes the inference thread.
    pub fn wake(&self) {
        if let Some(thread) = &*self.inference.lock().unwrap_or_else(PoisonError::into_inner) {
            thread.unpark();
        }
    }
}
