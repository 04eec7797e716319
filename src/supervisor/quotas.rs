//! From the configuration's quotas to those of the transports.

use crate::config::{self, Who};
use crate::core::request::Priority;
use crate::transport::access::{gid_of, uid_of};
use crate::transport::quota::{Quota, Selector};

/// Looks up the users and groups. A quota of somebody who does not exist is left out, with a
/// warning: nobody can be held to it.
pub fn resolve(quotas: &[config::Quota]) -> (Vec<Quota>, Vec<String>) {
    let mut warnings = Vec::new();
    let resolved = quotas
        .iter()
        .filter_map(|quota| {
            let name = quota.who.to_string();
            let Some(selector) = selector(&quota.who) else {
                warnings.push(format!("there is no {name} on this machine; its quota is left out"));
                return None;
            };
            Some(Quota {
                name,
                selector,
                requests_per_minute: quota.requests_per_minute,
                tokens_per_minute: quota.tokens_per_minute,
                max_priority: quota.max_priority.unwrap_or(Priority::Urgent),
            })
        })
        .collect();
    (resolved, warnings)
}

fn selector(who: &Who) -> Option<Selector> {
    Some(match who {
        Who::Topic(filter) => Selector::Topic(filter.clone()),
        Who::User(name) => Selector::User(uid_of(name)?),
        Who::Group(name) => Selector::Group(gid_of(name)?),
        Who::Others => Selector::Others,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_numbers_and_missing_ones_a_warning() {
        let quota = |who| config::Quota {
            who,
            requests_per_minute: Some(1),
            tokens_per_minute: None,
            max_priority: None,
        };
        let quotas = [
            quota(Who::User("root".into())),
            quota(Who::User("no-such-name-here".into())),
            quota(Who::Group("70001".into())),
            quota(Who::Others),
        ];
        let (resolved, warnings) = resolve(&quotas);
        let selectors: Vec<Selector> = resolved.into_iter().map(|q| q.selector).collect();
        assert_eq!(selectors, [Selector::User(0), Selector::Group(70_001), Selector::Others]);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("no user \"no-such-name-here\""), "{}", warnings[0]);
    }
}
