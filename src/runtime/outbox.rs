//! Between the runtime and a client: who asked, and where the replies go.

use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::{Priority, RequestId};
use crate::wire::Reply;
use std::cell::Cell;
use std::time::Duration;
use tokio::sync::mpsc;

/// One reply on its way to a client, tagged with the request that it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The request, as [`Handle::submit`](super::Handle::submit) named it.
    pub request: RequestId,
    /// What to tell the client.
    pub reply: Reply,
    /// Tokens of prompt and answer that were computed for it, also for an error; 0 for a delta.
    pub tokens: u32,
}

/// Where the replies of one request go. A full channel loses deltas; the terminal reply has a place
/// of its own, reserved before the request was accepted.
#[derive(Debug)]
pub struct Outbox {
    deltas: mpsc::Sender<Event>,
    last: mpsc::OwnedPermit<Event>,
    /// Set by the first delta lost; see [`Outbox::delta`].
    lossy: Cell<bool>,
    /// Who wants to know when the first step begins.
    starts: Option<mpsc::Sender<RequestId>>,
}

impl Outbox {
    /// Reserves the place of the terminal reply.
    ///
    /// # Errors
    /// [`ErrorCode::ClientSlow`] if the client has left too many replies unread.
    pub fn reserve(sender: &mpsc::Sender<Event>) -> Result<Self, RejectReason> {
        let last = sender.clone().try_reserve_owned().map_err(|_| {
            RejectReason::new(
                ErrorCode::ClientSlow,
                "too many replies wait to be read on this connection; read them, then ask again",
            )
        })?;
        Ok(Self { deltas: sender.clone(), last, lossy: Cell::new(false), starts: None })
    }

    /// An outbox for the same request whose terminal reply comes through the receiver; the client's is left
    /// to whoever has its place. The client hears deltas and beginnings as before.
    pub fn detour(self) -> (Self, mpsc::Receiver<Event>, Place) {
        let (silent, heard) = Self::silent();
        (Self { last: silent.last, ..self }, heard, Place(self.last))
    }

    /// An outbox whose terminal reply comes through the receiver, without anything before it.
    pub fn silent() -> (Self, mpsc::Receiver<Event>) {
        let (sender, heard) = mpsc::channel(1);
        let last = sender.clone().try_reserve_owned().expect("the channel is new");
        (Self { deltas: sender, last, lossy: Cell::new(true), starts: None }, heard)
    }

    /// Tells `starts` when the request's first step is about to run.
    #[must_use]
    pub fn reporting_start(self, starts: &mpsc::Sender<RequestId>) -> Self {
        Self { starts: Some(starts.clone()), ..self }
    }

    /// The first step is about to run.
    pub fn began(&self, request: RequestId) {
        if let Some(starts) = &self.starts
            && starts.try_send(request).is_err()
        {
            tracing::debug!(request = request.0, "nobody heard that it began");
        }
    }

    /// Sends a delta if there is room; says whether there was.
    ///
    /// After the first one lost the others stay away too, so that what a client has heard is always
    /// a prefix of the answer. A quarter of the channel is left for terminal replies.
    pub fn delta(&self, event: Event) -> bool {
        let room = self.deltas.capacity() > self.deltas.max_capacity() / 4;
        if self.lossy.get() || !room || self.deltas.try_send(event).is_err() {
            self.lossy.set(true);
        }
        !self.lossy.get()
    }

    /// Sends the terminal reply; never waits, never fails.
    pub fn finish(self, event: Event) {
        self.last.send(event);
    }
}

/// The place of a client's terminal reply.
#[derive(Debug)]
pub struct Place(mpsc::OwnedPermit<Event>);

impl Place {
    /// Sends the terminal reply; never waits, never fails.
    pub fn finish(self, event: Event) {
        self.0.send(event);
    }
}

/// Who sent a request, and what the transport knows about it beside its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The peer's user, where the transport knows it.
    pub uid: Option<u32>,
    /// The peer's primary group, where the transport knows it.
    pub gid: Option<u32>,
    /// The transport's name.
    pub transport: &'static str,
    /// How long ago it arrived: deadlines count from then.
    pub waited: Duration,
    /// An upper bound on its deadline, from its arrival on, whatever its task says.
    pub due: Option<Duration>,
    /// The highest priority that it may have.
    pub max_priority: Priority,
    /// Which model is asked.
    pub model: Asked,
    /// Whether whoever submits it will try again if there is no seat.
    pub tries_again: bool,
}

/// Which of two models is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Asked {
    /// The one that is served.
    #[default]
    First,
    /// The one beside it, where there is one; else the first.
    Second,
}

impl Origin {
    /// A request that has just come in by `transport`, from nobody in particular.
    pub const fn new(transport: &'static str) -> Self {
        Self {
            uid: None,
            gid: None,
            transport,
            waited: Duration::ZERO,
            due: None,
            max_priority: Priority::Urgent,
            model: Asked::First,
            tries_again: false,
        }
    }
}
