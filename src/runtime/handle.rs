//! The transports' side of the runtime: submit, cancel, status; never blocks.

use super::outbox::{Origin, Outbox};
use super::reception::Errand;
use super::shared::{Figures, Shared, Work};
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::RequestId;
use crate::wire::Ask;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

/// Submits work to the runtime; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) admission: SyncSender<Errand>,
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
        let (id, seat) = self.shared.enter(ask.priority.unwrap_or_default())?;
        let arrived = self.shared.now().before(origin.waited);
        let origin = origin.clone();
        let work = Work { id, ask, origin, outbox, arrived, seat, held: false };
        self.admission.try_send(Errand::Ask(work)).map_err(|_| {
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

    /// Adds the figures of a transport to the status, in place of those that it gave before.
    pub fn report(&self, section: &'static str, figures: serde_json::Value) {
        self.shared.report(section, figures);
    }

    /// Adds a section to the status that is made each time the status is asked for.
    pub fn report_live(&self, section: &'static str, figures: Arc<dyn Figures>) {
        self.shared.report_live(section, figures);
    }

    /// Whether any request is queued or running.
    pub fn is_busy(&self) -> bool {
        self.shared.is_busy()
    }

    /// Waits for the next request; one that came since the last call counts. For one caller.
    pub async fn next_request(&self) {
        self.shared.next_request().await;
    }

    /// Whether new requests are taken.
    pub fn is_serving(&self) -> bool {
        self.shared.is_serving()
    }
}
