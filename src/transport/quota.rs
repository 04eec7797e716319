//! What clients may ask for: requests and tokens a minute, and the highest priority.
//!
//! Who publishes on some topics, or is one user or group of this machine, has an account with them
//! all: one token bucket for requests and one for tokens, each of which holds a minute's worth and
//! fills evenly. Time is an argument, in milliseconds; nothing here knows of connections, so that
//! nobody gets a fresh account by a new one.

use super::access::Peer;
use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::Priority;
use crate::core::topic;
use crate::runtime::Event;
use crate::wire::Reply;
use serde_json::{Value, json};

/// What some clients may take together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Who they are, for people.
    pub name: String,
    /// Who they are.
    pub selector: Selector,
    /// Requests a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute, of prompts and answers together.
    pub tokens_per_minute: Option<u32>,
    /// The highest priority.
    pub max_priority: Priority,
}

/// Whom a quota is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Requests on topics that match this filter.
    Topic(String),
    /// A user.
    User(u32),
    /// The members of a group, primary or supplementary.
    Group(u32),
    /// Every user of the machine, but for root and the daemon's own.
    Others,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Asker<'a> {
    /// Somebody who publishes on this topic.
    Topic(&'a str),
    /// A process of this machine.
    Peer(&'a Peer),
}

impl Selector {
    /// Root and the daemon's own user are meant only where a quota names the user.
    fn means(&self, asker: Asker<'_>) -> bool {
        match (self, asker) {
            (Self::Topic(filter), Asker::Topic(name)) => topic::matches(filter, name),
            (Self::User(uid), Asker::Peer(peer)) => peer.uid == *uid,
            (Self::Group(gid), Asker::Peer(peer)) => {
                !peer.is_owner() && (peer.gid == *gid || peer.groups.contains(gid))
            }
            (Self::Others, Asker::Peer(peer)) => !peer.is_owner(),
            _ => false,
        }
    }
}

/// The quotas with what is left of them. The first that is about a client counts.
#[derive(Debug)]
pub struct Quotas(Vec<Account>);

/// Which quota a request is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountId(usize);

#[derive(Debug)]
struct Account {
    quota: Quota,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

/// One request or token. A bucket gains its rate a minute in each millisecond, without a rest.
const ONE: i64 = 60_000;

#[derive(Debug)]
struct Bucket {
    per_minute: i64,
    /// In parts of [`ONE`]; negative: overdrawn.
    level: i64,
    filled_ms: u64,
}

impl Bucket {
    fn new(per_minute: u32) -> Self {
        let per_minute = i64::from(per_minute);
        Self { per_minute, level: per_minute * ONE, filled_ms: 0 }
    }

    fn fill(&mut self, now_ms: u64) {
        let passed = i64::try_from(now_ms.saturating_sub(self.filled_ms)).unwrap_or(i64::MAX);
        self.filled_ms = self.filled_ms.max(now_ms);
        self.add(passed.saturating_mul(self.per_minute));
    }

    fn add(&mut self, gain: i64) {
        self.level = self.level.saturating_add(gain).min(self.per_minute * ONE);
    }

    /// Takes `count`, or gives it back if it is negative.
    fn take(&mut self, now_ms: u64, count: i64) {
        self.fill(now_ms);
        self.add(-count * ONE);
    }

    /// Milliseconds until there is one again.
    fn wait_ms(&self) -> u64 {
        let missing = u64::try_from(ONE - self.level).unwrap_or(0);
        missing.div_ceil(self.per_minute.unsigned_abs().max(1))
    }

    fn report(&mut self, now_ms: u64) -> Value {
        self.fill(now_ms);
        json!({ "per_minute": self.per_minute, "left": self.level.div_euclid(ONE) })
    }
}

impl Account {
    fn check(&mut self, now_ms: u64, asked: Option<Priority>) -> Result<(), RejectReason> {
        let refuse = |message| Err(RejectReason::new(ErrorCode::OverQuota, message));
        let highest = self.quota.max_priority;
        if let Some(asked) = asked.filter(|asked| *asked < highest) {
            let (asked, highest) = (asked.name(), highest.name());
            return refuse(format!("{asked} requests are not yours to make: {highest} at most"));
        }
        for (bucket, what) in [(&mut self.requests, "requests"), (&mut self.tokens, "tokens")] {
            let Some(bucket) = bucket else { continue };
            bucket.fill(now_ms);
            let wait_ms = bucket.wait_ms();
            if wait_ms > 0 {
                let most = bucket.per_minute;
                let message =
                    format!("{most} {what} a minute are used up; ask again in {wait_ms} ms");
                return refuse(message);
            }
        }
        Ok(())
    }

    fn report(&mut self, now_ms: u64) -> Value {
        json!({
            "who": self.quota.name,
            "requests": self.requests.as_mut().map(|bucket| bucket.report(now_ms)),
            "tokens": self.tokens.as_mut().map(|bucket| bucket.report(now_ms)),
            "max_priority": self.quota.max_priority.name(),
        })
    }
}

impl Quotas {
    /// All full.
    pub fn new(quotas: Vec<Quota>) -> Self {
        let account = |quota: Quota| Account {
            requests: quota.requests_per_minute.map(Bucket::new),
            tokens: quota.tokens_per_minute.map(Bucket::new),
            quota,
        };
        Self(quotas.into_iter().map(account).collect())
    }

    /// Whose account it is; none: no quota is about the asker.
    pub fn account(&self, asker: Asker<'_>) -> Option<AccountId> {
        self.0.iter().position(|account| account.quota.selector.means(asker)).map(AccountId)
    }

    /// The highest priority that the account's requests may have.
    pub fn max_priority(&self, account: Option<AccountId>) -> Priority {
        account.map_or(Priority::Urgent, |id| self.0[id.0].quota.max_priority)
    }

    /// Hands over by `submit` a request that asks for the priority `asked`, if there is enough left
    /// for it, and books it if that succeeds.
    ///
    /// # Errors
    /// `over_quota`, with the time after which there is something left; or what `submit` says.
    pub fn submit<T>(
        &mut self,
        now_ms: u64,
        account: Option<AccountId>,
        asked: Option<Priority>,
        submit: impl FnOnce() -> Result<T, RejectReason>,
    ) -> Result<T, RejectReason> {
        let Some(AccountId(index)) = account else { return submit() };
        let account = &mut self.0[index];
        account.check(now_ms, asked)?;
        let submitted = submit()?;
        if let Some(requests) = &mut account.requests {
            requests.take(now_ms, 1);
        }
        Ok(submitted)
    }

    /// A booked request has ended: books its tokens, by which the account may be overdrawn, and
    /// gives the request back if slmd itself had no room or no time for it.
    pub fn ended(&mut self, now_ms: u64, account: AccountId, event: &Event) {
        self.spend(now_ms, account, event.tokens);
        let Reply::Error { reason, .. } = &event.reply else { return };
        if let ErrorCode::Busy | ErrorCode::Reloading | ErrorCode::ShuttingDown = reason.code
            && let Some(requests) = &mut self.0[account.0].requests
        {
            requests.take(now_ms, -1);
        }
    }

    /// Books tokens; the account may be overdrawn by them.
    pub fn spend(&mut self, now_ms: u64, account: AccountId, tokens: u32) {
        if let Some(bucket) = &mut self.0[account.0].tokens {
            bucket.take(now_ms, tokens.into());
        }
    }

    /// What `status` shows: every account with its limits and what is left.
    pub fn report(&mut self, now_ms: u64) -> Value {
        self.0.iter_mut().map(|account| account.report(now_ms)).collect()
    }
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
