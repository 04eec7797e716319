//! Between the runtime and a client: who asked, and where the replies go.

use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::RequestId;
use crate::wire::Reply;
use std::cell::Cell;
use tokio::sync::mpsc;

/// One reply on its way to a client, tagged with the request that it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The request, as [`Handle::submit`](super::Handle::submit) named it.
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
