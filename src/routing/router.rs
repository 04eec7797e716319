//! The service between the transports and the runtime.

use super::counters::Counters;
use super::request::{Live, Routed};
use super::routes::Routes;
use super::tools::{Notice, PROGRAMS};
use crate::core::error::RejectReason;
use crate::core::request::RequestId;
use crate::routing::escalation;
use crate::runtime::{Event, Figures, Origin, Outbox, Service};
use crate::wire::{Ask, Reply};
use serde_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, watch};

/// Numbers of requests that the runtime has refused at once, beyond all that it gives itself.
const FIRST_OWN: u64 = 1 << 62;

/// Where the routes in force are, for whoever replaces them.
#[derive(Debug, Clone)]
pub struct Slot(Arc<Mutex<Arc<Routes>>>);

impl Slot {
    /// With these to begin with.
    pub fn new(routes: Routes) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(routes))))
    }

    /// Has these from the next request on.
    pub fn set(&self, routes: Routes) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(routes);
    }

    fn get(&self) -> Arc<Routes> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Submits to a service, and sees to what else there is to do.
#[derive(Clone)]
pub struct Router<S>(Arc<Inner<S>>);

struct Inner<S> {
    service: S,
    routes: Slot,
    live: Arc<Live>,
    counters: Arc<Counters>,
    notices: mpsc::Sender<Notice>,
    programs: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
    /// True once there is no more time for what is under way.
    over: watch::Receiver<bool>,
    event_loop: tokio::runtime::Handle,
    next_own: AtomicU64,
}

impl<S: Service> Router<S> {
    /// Over `service`; what is to be published goes to `notices`. Once `stopped` is true, what is under
    /// way has `patience` to end. Requests that have a route are seen to on `event_loop`.
    pub fn new(
        service: S,
        routes: Slot,
        notices: mpsc::Sender<Notice>,
        stopped: watch::Receiver<bool>,
        patience: Duration,
        event_loop: tokio::runtime::Handle,
    ) -> Self {
        let (end, over) = watch::channel(false);
        let mut stop = stopped.clone();
        event_loop.spawn(async move {
            // Whoever was to say so has gone, if this fails.
            let _ = stop.wait_for(|stopped| *stopped).await;
            tokio::time::sleep(patience).await;
            end.send_replace(true);
        });
        Self(Arc::new(Inner {
            service,
            routes,
            live: Arc::default(),
            counters: Arc::default(),
            notices,
            programs: Arc::new(Semaphore::new(PROGRAMS)),
            stopped,
            over,
            event_loop,
            next_own: AtomicU64::new(FIRST_OWN),
        }))
    }

    /// What the status says of it.
    pub fn figures(&self) -> Arc<dyn Figures> {
        Arc::clone(&self.0.counters) as Arc<dyn Figures>
    }
}

impl<S: Service> Service for Router<S> {
    fn submit(&self, ask: Ask, origin: &Origin, outbox: Outbox) -> Result<RequestId, RejectReason> {
        let inner = &*self.0;
        let routes = inner.routes.get();
        let Some(route) = routes.of(&ask) else { return inner.service.submit(ask, origin, outbox) };
        inner.counters.routed();
        let arrived = Instant::now().checked_sub(origin.waited).unwrap_or_else(Instant::now);
        let due = arrived + routes.bounds.of(&ask, origin);
        // What a client hears is the beginning of its answer: who gives that is not known yet.
        let is_asked = route.escalate.as_ref().is_some_and(|e| e.second_model);
        let stream = ask.stream && route.endpoint.is_none() && !is_asked;
        let ask = Ask { stream, ..ask };
        let (own, heard, place) = outbox.detour();
        let (id, event) = match inner.service.submit(ask.clone(), origin, own) {
            Ok(id) => (id, None),
            Err(reason) => {
                let goes_on = route.escalate.is_some() && !origin.tries_again;
                if !goes_on || !escalation::is_for_others(reason.code) {
                    inner.counters.local();
                    return Err(reason);
                }
                let reply = Reply::Error { id: ask.id.clone(), reason };
                let id = RequestId(inner.next_own.fetch_add(1, Ordering::Relaxed));
                (id, Some(Event { request: id, reply, tokens: 0 }))
            }
        };
        let cancelled = inner.live.begin(id);
        let routed = Routed {
            service: inner.service.clone(),
            id,
            ask,
            origin: origin.clone(),
            route,
            routes,
            arrived,
            due,
            live: Arc::clone(&inner.live),
            counters: Arc::clone(&inner.counters),
            notices: inner.notices.clone(),
            programs: Arc::clone(&inner.programs),
            cancelled,
            stopped: inner.stopped.clone(),
            over: inner.over.clone(),
        };
        inner.event_loop.spawn(routed.run(heard, event, place));
        Ok(id)
    }

    fn cancel(&self, request: RequestId) {
        let under_way = self.0.live.cancel(request);
        self.0.service.cancel(under_way.unwrap_or(request));
    }

    fn is_settled(&self) -> bool {
        self.0.live.is_empty() && self.0.service.is_settled()
    }

    fn status(&self) -> Value {
        self.0.service.status()
    }

    fn is_serving(&self) -> bool {
        self.0.service.is_serving()
    }

    fn report(&self, section: &'static str, figures: Value) {
        self.0.service.report(section, figures);
    }
}

#[cfg(all(test, feature = "default-model"))]
#[path = "router_tests.rs"]
mod tests;
