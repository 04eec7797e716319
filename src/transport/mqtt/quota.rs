//! What each topic may ask for: requests and tokens a minute, and the highest priority.
//!
//! A token bucket each: it holds a minute's worth and fills evenly. Time is an argument, in
//! milliseconds.

use crate::core::error::{ErrorCode, RejectReason};
use crate::core::request::Priority;
use crate::core::topic;
use crate::wire::Ask;

/// What the requests under one filter may take together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// A topic filter.
    pub filter: String,
    /// Requests a minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens a minute, of prompts and answers together.
    pub tokens_per_minute: Option<u32>,
    /// The highest priority.
    pub max_priority: Priority,
}

/// The quotas with what is left of them. The first whose filter matches a topic counts.
#[derive(Debug)]
pub struct Quotas(Vec<Account>);

/// Which quota a request was taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountId(usize);

#[derive(Debug)]
struct Account {
    quota: Quota,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

/// Thousandths, so that slow rates fill evenly too.
#[derive(Debug)]
struct Bucket {
    per_minute: i64,
    level_milli: i64,
    filled_ms: u64,
}

impl Bucket {
    fn new(per_minute: u32) -> Self {
        let per_minute = i64::from(per_minute);
        Self { per_minute, level_milli: per_minute * 1000, filled_ms: 0 }
    }

    fn fill(&mut self, now: u64) {
        // Beyond a minute it is full anyway.
        let passed = now.saturating_sub(self.filled_ms).min(60_000) as i64;
        let gain = passed * self.per_minute / 60;
        if gain > 0 {
            self.level_milli = (self.level_milli + gain).min(self.per_minute * 1000);
            self.filled_ms = now;
        }
    }

    fn take(&mut self, count: u32) {
        self.level_milli -= i64::from(count) * 1000;
    }

    /// Milliseconds until there is `count` again.
    fn wait_ms(&self, count: u32) -> u64 {
        let missing = i64::from(count) * 1000 - self.level_milli;
        if missing <= 0 { 0 } else { (missing * 60 / self.per_minute.max(1)).max(1) as u64 }
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

    /// The account of a request on `name`, and the highest priority that it may have.
    ///
    /// # Errors
    /// `over_quota`, with the time after which there is something left.
    pub fn admit(
        &mut self,
        now: u64,
        name: &str,
        ask: &Ask,
    ) -> Result<Option<(AccountId, Priority)>, RejectReason> {
        let found = self.0.iter().position(|a| topic::matches(&a.quota.filter, name));
        let Some(index) = found else { return Ok(None) };
        let account = &mut self.0[index];
        let highest = account.quota.max_priority;
        if ask.priority.is_some_and(|asked| asked < highest) {
            let message = format!("requests on this topic may be {} at most", highest.name());
            return Err(RejectReason::new(ErrorCode::OverQuota, message));
        }
        for (bucket, what) in [(&mut account.requests, "requests"), (&mut account.tokens, "tokens")]
        {
            let Some(bucket) = bucket else { continue };
            bucket.fill(now);
            let wait_ms = bucket.wait_ms(1);
            if wait_ms > 0 {
                let most = bucket.per_minute;
                let message =
                    format!("{most} {what} a minute are used up; ask again in {wait_ms} ms");
                return Err(RejectReason::new(ErrorCode::OverQuota, message));
            }
        }
        if let Some(requests) = &mut account.requests {
            requests.take(1);
        }
        Ok(Some((AccountId(index), highest)))
    }

    /// Books the tokens of an answer; the account may be overdrawn by one answer.
    pub fn spend(&mut self, now: u64, account: AccountId, tokens: u32) {
        if let Some(bucket) = &mut self.0[account.0].tokens {
            bucket.fill(now);
            bucket.take(tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas() -> Quotas {
        Quotas::new(vec![
            Quota {
                filter: "slmd/n/request/chat".into(),
                requests_per_minute: Some(2),
                tokens_per_minute: None,
                max_priority: Priority::Normal,
            },
            Quota {
                filter: "slmd/n/request/#".into(),
                requests_per_minute: None,
                tokens_per_minute: Some(600),
                max_priority: Priority::Urgent,
            },
        ])
    }

    #[test]
    fn requests_run_out_and_come_back_evenly() {
        let (mut quotas, ask) = (quotas(), Ask::default());
        let mut asked = |now| quotas.admit(now, "slmd/n/request/chat", &ask);
        assert!(asked(1_000).is_ok() && asked(1_000).is_ok());
        let reason = asked(1_000).expect_err("used up");
        assert_eq!(reason.code, ErrorCode::OverQuota);
        assert!(reason.message.contains("30000 ms"), "{reason}");
        assert!(asked(16_000).is_err(), "half of one is not one");
        assert!(asked(31_001).is_ok());
        assert!(asked(31_002).is_err());
    }

    #[test]
    fn a_slow_rate_asked_often_still_fills() {
        let mut bucket = Bucket::new(1);
        bucket.take(1);
        for now in 1..=60_060 {
            bucket.fill(now);
        }
        assert_eq!(bucket.wait_ms(1), 0);
    }

    #[test]
    fn tokens_may_be_overdrawn_once() {
        let (mut quotas, ask) = (quotas(), Ask::default());
        let (account, _) = quotas.admit(0, "slmd/n/request", &ask).expect("full").expect("has one");
        quotas.spend(0, account, 900);
        let reason = quotas.admit(0, "slmd/n/request", &ask).expect_err("overdrawn");
        assert!(reason.message.contains("600 tokens a minute"), "{reason}");
        assert!(quotas.admit(29_000, "slmd/n/request", &ask).is_err());
        assert!(quotas.admit(30_200, "slmd/n/request", &ask).is_ok());
    }

    #[test]
    fn the_first_filter_that_matches_counts() {
        let mut quotas = quotas();
        let urgent = Ask { priority: Some(Priority::Urgent), ..Ask::default() };
        assert!(quotas.admit(0, "slmd/n/request/chat", &urgent).is_err());
        let found = quotas.admit(0, "slmd/n/request/other", &urgent).expect("allowed");
        assert_eq!(found.map(|(_, highest)| highest), Some(Priority::Urgent));
        assert_eq!(quotas.admit(0, "elsewhere", &urgent), Ok(None));
    }
}
