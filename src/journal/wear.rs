//! Counts what is handed to the file system, for reports on flash wear.

use std::ops::Range;

const PAGE_BYTES: u64 = 4096;
const DAY_S: u64 = 86_400;

/// Sums since the journal was opened.
#[derive(Debug, Clone, Default)]
pub struct Wear {
    /// Bytes handed to the file system, zeroes ahead and compaction included.
    pub written_bytes: u64,
    /// The same in whole pages of 4 KiB, each counted once for every sync that it waited for.
    pub page_bytes: u64,
    /// Syncs of data.
    pub syncs: u64,
    /// `written_bytes` when the day began.
    before_today: u64,
    day: u64,
}

impl Wear {
    /// `bytes` were written at `at` of the file whose pages `dirty` were counted and not synced.
    pub fn wrote(&mut self, dirty: &mut Range<u64>, at: u64, bytes: u64) {
        self.written_bytes += bytes;
        if bytes == 0 {
            return;
        }
        let pages = at / PAGE_BYTES..(at + bytes).div_ceil(PAGE_BYTES);
        // Writes follow each other: what is dirty already is a range.
        let counted = pages.end.min(dirty.end).saturating_sub(pages.start.max(dirty.start));
        self.page_bytes += (pages.end - pages.start - counted) * PAGE_BYTES;
        *dirty = match dirty.is_empty() {
            true => pages,
            false => dirty.start.min(pages.start)..dirty.end.max(pages.end),
        };
    }

    /// The pages `dirty` are clean.
    pub fn synced(&mut self, dirty: &mut Range<u64>) {
        self.syncs += 1;
        *dirty = 0..0;
    }

    /// Bytes written since midnight (UTC), or since the journal was opened.
    pub fn today_bytes(&mut self, now_s: u64) -> u64 {
        let day = now_s / DAY_S;
        if day != self.day {
            (self.day, self.before_today) = (day, self.written_bytes);
        }
        self.written_bytes - self.before_today
    }

    /// The day is set before the first byte is written.
    pub fn new(now_s: u64) -> Self {
        Self { day: now_s / DAY_S, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_counts_once_for_each_sync() {
        let (mut wear, mut dirty) = (Wear::new(0), 0..0);
        wear.wrote(&mut dirty, 100, 50);
        wear.wrote(&mut dirty, 150, 50);
        assert_eq!((wear.written_bytes, wear.page_bytes), (100, 4096));
        wear.synced(&mut dirty);
        wear.wrote(&mut dirty, 200, 4096);
        assert_eq!((wear.page_bytes, wear.syncs), (3 * 4096, 1));
    }

    #[test]
    fn the_day_ends_at_midnight() {
        let mut wear = Wear::new(3 * DAY_S + 5);
        wear.wrote(&mut (0..0), 0, 10);
        assert_eq!(wear.today_bytes(3 * DAY_S + 6), 10);
        assert_eq!(wear.today_bytes(4 * DAY_S), 0);
        wear.wrote(&mut (0..0), 10, 7);
        assert_eq!(wear.today_bytes(4 * DAY_S + 1), 7);
        assert_eq!(wear.written_bytes, 17);
    }
}
