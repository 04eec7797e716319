//! The accounts of the socket's clients: [`Quotas`] with a clock, for all connections together.

use super::access::Peer;
use super::quota::{AccountId, Asker, Quota, Quotas};
use crate::core::error::RejectReason;
use crate::core::request::Priority;
use crate::runtime::{Event, Figures};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What all peers may ask for.
#[derive(Debug)]
pub struct Shares {
    quotas: Mutex<Quotas>,
    began: Instant,
}

impl Shares {
    /// Every account is full.
    pub fn new(quotas: Vec<Quota>) -> Arc<Self> {
        Arc::new(Self { quotas: Mutex::new(Quotas::new(quotas)), began: Instant::now() })
    }

    fn quotas(&self) -> MutexGuard<'_, Quotas> {
        self.quotas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Figures for Shares {
    fn figures(&self) -> Value {
        json!({ "quotas": self.quotas().report(self.now_ms()) })
    }
}

/// One connection's way to its peer's account.
#[derive(Debug)]
pub struct Share {
    shares: Arc<Shares>,
    account: Option<AccountId>,
}

impl Share {
    /// The share of `peer`.
    pub fn of(peer: &Peer, shares: &Arc<Shares>) -> Self {
        let account = shares.quotas().account(Asker::Peer(peer));
        Self { shares: Arc::clone(shares), account }
    }

    /// The highest priority that its requests may have.
    pub fn max_priority(&self) -> Priority {
        self.shares.quotas().max_priority(self.account)
    }

    /// Whether there is anything to book.
    pub const fn is_limited(&self) -> bool {
        self.account.is_some()
    }

    /// As [`Quotas::submit`].
    ///
    /// # Errors
    /// As [`Quotas::submit`].
    pub fn submit<T>(
        &self,
        asked: Option<Priority>,
        submit: impl FnOnce() -> Result<T, RejectReason>,
    ) -> Result<T, RejectReason> {
        self.shares.quotas().submit(self.shares.now_ms(), self.account, asked, submit)
    }

    /// As [`Quotas::ended`].
    pub fn ended(&self, event: &Event) {
        if let Some(account) = self.account {
            self.shares.quotas().ended(self.shares.now_ms(), account, event);
        }
    }
}
