//! The transports' side of the runtime: submit, cancel, status; never blocks.

use super::shared::{Shared, Work};
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::RequestId;
use crate::wire::{Ask, Reply};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use tokio::sync::mpsc;

/// One reply on its way to a client, tagged with the request that it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The request, as [`Handle::submit`] named it.
    pub request: RequestId,
    /// What to tell the client.
    pub reply: Reply,
}

/// Where the replies of one request go. A full channel loses deltas; the terminal reply has a place
/// of its own, reserved before the request was accepted.
#[derive(Debug)]
pub struct Outbox {
    deltas: mpsc::Sender<Event>,
    last: mpsc::OwnedPermit<Event>,
    /// Set by the first delta lost; see [`Outbox::delta`].
    lossy: Cell<bool>,
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
        Ok(Self { deltas: sender.clone(), last, lossy: Cell::new(false) })
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

    /// Whether nobody listens any more.
    pub fn is_closed(&self) -> bool {
        self.deltas.is_closed()
    }

    /// Sends the terminal reply; never waits, never fails.
    pub fn finish(self, event: Event) {
        self.last.send(event);
    }
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The peer's user, where the transport knows it.
    pub uid: Option<u32>,
    /// The peer's primary group, where the transport knows it.
    pub gid: Option<u32>,
    /// The transport's name.
    pub transport: &'static str,
}

/// Submits work to the runtime; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) admission: SyncSender<Work>,
}

impl Handle {
    /// Hands a request over. Every later reply comes through `outbox`, exactly one of them
    /// terminal.
    ///
    /// # Errors
    /// What is known at once: `busy`, `shutting_down`. The outbox is not used then.
    pub fn submit(
        &self,
        ask: Ask,
        origin: &Origin,
        outbox: Outbox,
    ) -> Result<RequestId, RejectReason> {
        let (id, seat) = self.shared.enter()?;
        let work =
            Work { id, ask, origin: origin.clone(), outbox, arrived: self.shared.now(), seat };
        self.admission.try_send(work).map_err(|_| {
            RejectReason::new(ErrorCode::Busy, "the queue is full; ask again in a moment")
        })?;
        Ok(id)
    }

    /// Ends a request, queued or running. Unknown and ended ones are ignored.
    pub fn cancel(&self, request: RequestId) {
        self.shared.cancel(request);
    }

    /// The figures that `status` shows: a JSON object.
    pub fn status(&self) -> serde_json::Value {
        self.shared.status()
    }

    /// Whether new requests are taken.
    pub fn is_serving(&self) -> bool {
        self.shared.is_serving()
    }
}
