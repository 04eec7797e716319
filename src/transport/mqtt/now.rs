//! What time it is, on a clock that goes on over restarts of the process and suspends of the
//! machine, and on the wall clock, which is all that there is after a reboot.

use super::stored::Head;
use nix::time::{ClockId, clock_gettime};

/// What identifies this boot of the machine; empty where the kernel does not say.
pub fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// A wall clock that says less (2020) has not been set.
const A_SET_CLOCK_MS: u64 = 1_577_836_800_000;

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// CLOCK_BOOTTIME, in milliseconds.
    pub boot_ms: u64,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}

impl Now {
    /// Looks at the clocks.
    pub fn read() -> Self {
        let ms = |clock| {
            let time = clock_gettime(clock).expect("every Linux has this clock");
            u64::try_from(time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000).unwrap_or(0)
        };
        Self { boot_ms: ms(ClockId::CLOCK_BOOTTIME), unix_ms: ms(ClockId::CLOCK_REALTIME) }
    }

    /// As [`Now::translate`], for the age of what is kept: where nobody knows, it is as old as this
    /// run of the daemon.
    pub fn began(&self, head: &Head, boot: &str) -> i64 {
        let ours = i64::try_from(self.boot_ms).unwrap_or(i64::MAX);
        match head.boot == boot || head.arrived_unix_ms >= A_SET_CLOCK_MS {
            true => self.translate(head, boot).unwrap_or(ours),
            false => ours,
        }
    }

    /// When a stored prompt arrived, on this boot's clock, in milliseconds; negative before it.
    /// None: the wall clock has gone back since, so nobody knows.
    pub fn translate(&self, head: &Head, boot: &str) -> Option<i64> {
        if head.boot == boot {
            return Some(head.arrived_ms);
        }
        let passed = i64::try_from(self.unix_ms.checked_sub(head.arrived_unix_ms)?).ok()?;
        i64::try_from(self.boot_ms).ok()?.checked_sub(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_restart_nor_a_reboot_renews_a_deadline() {
        let head = Head {
            boot: "one".into(),
            arrived_ms: 5_000,
            arrived_unix_ms: 1_000_000,
            ..Head::default()
        };
        let now = Now { boot_ms: 7_000, unix_ms: 1_030_000 };
        assert_eq!(now.translate(&head, "one"), Some(5_000), "the same boot");
        assert_eq!(now.translate(&head, "two"), Some(7_000 - 30_000), "by the wall clock");
        let back = Now { unix_ms: 999_999, ..now };
        assert_eq!(back.translate(&head, "two"), None, "a clock that was set back says nothing");
    }

    #[test]
    fn a_clock_that_was_not_set_makes_nothing_old() {
        let set_ms = 1_700_000_000_000;
        let now = Now { boot_ms: 7_000, unix_ms: set_ms + 30_000 };
        let head = |arrived_unix_ms| Head {
            boot: "one".into(),
            arrived_ms: 5_000,
            arrived_unix_ms,
            ..Head::default()
        };
        assert_eq!(now.began(&head(5_000), "one"), 5_000, "the same boot");
        assert_eq!(now.began(&head(5_000), "two"), 7_000, "1970 is no time");
        assert_eq!(now.began(&head(set_ms), "two"), 7_000 - 30_000);
        assert_eq!(now.began(&head(set_ms + 90_000), "two"), 7_000, "nor is the future");
    }
}
