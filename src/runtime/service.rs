//! What a transport needs of the runtime, so that it can be tested without one.

use super::{Handle, Origin, Outbox};
use crate::core::error::RejectReason;
use crate::core::request::RequestId;
use crate::wire::Ask;
use serde_json::Value;

/// Takes requests and answers each through its [`Outbox`]; [`Handle`] is the real one.
pub trait Service: Clone + Send + Sync + 'static {
    /// As [`Handle::submit`]. Must not block.
    ///
    /// # Errors
    /// What is known at once; the outbox is not used then.
    fn submit(&self, ask: Ask, origin: &Origin, outbox: Outbox) -> Result<RequestId, RejectReason>;

    /// As [`Handle::cancel`]. Must not block.
    fn cancel(&self, request: RequestId);

    /// As [`Handle::status`].
    fn status(&self) -> Value;

    /// Whether nothing is under way beside what transports have submitted and not heard the end of.
    fn is_settled(&self) -> bool {
        true
    }

    /// As [`Handle::is_serving`].
    fn is_serving(&self) -> bool;

    /// As [`Handle::report`]; a service without a status has no use for it.
    fn report(&self, _section: &'static str, _figures: Value) {}
}

impl Service for Handle {
    fn submit(&self, ask: Ask, origin: &Origin, outbox: Outbox) -> Result<RequestId, RejectReason> {
        Self::submit(self, ask, origin, outbox)
    }

    fn cancel(&self, request: RequestId) {
        Self::cancel(self, request);
    }

    fn status(&self) -> Value {
        Self::status(self)
    }

    fn is_serving(&self) -> bool {
        Self::is_serving(self)
    }

    fn report(&self, section: &'static str, figures: Value) {
        Self::report(self, section, figures);
    }
}
