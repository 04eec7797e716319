//! The samples of one series that count now.
//!
//! They are kept in blocks with their moments: a sample costs its block's update, a statistic the
//! joining of at most 66 blocks. A window by time has blocks of a 64th of it each; one with more
//! than 32 samples keeps only its moments, and then leaves the window as a whole, with its newest
//! sample. So memory has a bound whatever the rate and the length.

use super::stats::{Moments, Stats};
use std::collections::VecDeque;

/// Blocks that a window by time is divided into.
const BLOCKS: u64 = 64;
/// Samples that such a block keeps one by one.
const RAW_PER_BLOCK: usize = 32;
/// Samples of a block of a window by count.
const COUNTED_PER_BLOCK: usize = 64;

/// Samples of a window by time that are kept one by one, if they are evenly spread.
pub const EXACT_PER_WINDOW: usize = BLOCKS as usize * RAW_PER_BLOCK;
/// The longest window by count.
pub const MAX_WINDOW_SAMPLES: u32 = 4096;

/// How far back a window reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowSpec {
    /// Samples younger than so many milliseconds, at least 1.
    Time(u64),
    /// The newest so many samples, 1 to [`MAX_WINDOW_SAMPLES`].
    Count(u32),
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    at_ms: u64,
    x: f64,
}

#[derive(Debug)]
struct Block {
    first_ms: u64,
    last_ms: u64,
    moments: Moments,
    /// None: there were too many.
    raw: Option<VecDeque<Sample>>,
}

impl Block {
    const fn new(at_ms: u64) -> Self {
        let raw = Some(VecDeque::new());
        Self { first_ms: at_ms, last_ms: at_ms, moments: Moments::new(at_ms), raw }
    }

    fn push(&mut self, sample: Sample) {
        self.moments.push(sample.at_ms, sample.x);
        self.last_ms = sample.at_ms;
        if let Some(raw) = &mut self.raw {
            raw.push_back(sample);
        }
    }

    /// When its oldest part leaves a window by time, counted from its own time.
    fn leaves_from(&self) -> u64 {
        self.raw.as_ref().map_or(self.last_ms, |raw| raw.front().map_or(0, |s| s.at_ms))
    }

    /// Drops the oldest samples while `gone` says so; true if none is left.
    fn shrink(&mut self, mut gone: impl FnMut(u64) -> bool) -> bool {
        let Some(raw) = &mut self.raw else { return gone(self.last_ms) };
        let before = raw.len();
        while raw.front().is_some_and(|s| gone(s.at_ms)) {
            raw.pop_front();
        }
        let Some(first) = raw.front() else { return true };
        if raw.len() < before {
            self.first_ms = first.at_ms;
            self.moments = Moments::new(first.at_ms);
            raw.iter().for_each(|s| self.moments.push(s.at_ms, s.x));
        }
        false
    }
}

/// One series' window.
#[derive(Debug)]
pub(super) struct Window {
    spec: WindowSpec,
    blocks: VecDeque<Block>,
    count: u64,
    /// The newest sample, also after it has left.
    last: Option<Sample>,
}

impl Window {
    pub const fn new(spec: WindowSpec) -> Self {
        Self { spec, blocks: VecDeque::new(), count: 0, last: None }
    }

    /// Adds a finite value; time does not go back.
    pub fn push(&mut self, now_ms: u64, x: f64) {
        let sample = Sample { at_ms: now_ms, x };
        self.last = Some(sample);
        self.slide(now_ms);
        if !self.blocks.back().is_some_and(|block| self.takes(block, now_ms)) {
            self.blocks.push_back(Block::new(now_ms));
        }
        let block = self.blocks.back_mut().expect("there is one now");
        let coarse = matches!(self.spec, WindowSpec::Time(_))
            && block.raw.as_ref().is_some_and(|raw| raw.len() >= RAW_PER_BLOCK);
        if coarse {
            block.raw = None;
        }
        block.push(sample);
        self.count += 1;
        self.slide(now_ms);
    }

    fn takes(&self, block: &Block, now_ms: u64) -> bool {
        match self.spec {
            // Rounded up, so that a window never has more blocks than it should.
            WindowSpec::Time(ms) => now_ms - block.first_ms < ms.div_ceil(BLOCKS),
            WindowSpec::Count(_) => {
                block.raw.as_ref().is_some_and(|raw| raw.len() < COUNTED_PER_BLOCK)
            }
        }
    }

    /// Lets go of what is too old at this time.
    fn slide(&mut self, now_ms: u64) {
        let mut surplus = match self.spec {
            WindowSpec::Count(most) => self.count.saturating_sub(u64::from(most)),
            WindowSpec::Time(_) => 0,
        };
        let spec = self.spec;
        while let Some(block) = self.blocks.front_mut() {
            let held = block.moments.count;
            let empty = block.shrink(|at_ms| match spec {
                WindowSpec::Time(ms) => now_ms.saturating_sub(at_ms) >= ms,
                WindowSpec::Count(_) if surplus > 0 => {
                    surplus -= 1;
                    true
                }
                WindowSpec::Count(_) => false,
            });
            if !empty {
                self.count -= held - block.moments.count;
                return;
            }
            self.count -= held;
            self.blocks.pop_front();
        }
    }

    /// The statistics at this time.
    pub fn stats(&mut self, now_ms: u64) -> Stats {
        self.slide(now_ms);
        let first_ms = self.blocks.front().map_or(now_ms, |b| b.first_ms);
        let mut all = Moments::new(first_ms);
        self.blocks.iter().for_each(|block| all.join(&block.moments));
        let Some(last) = self.last else { return Stats::default() };
        let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1_000.0;
        let span_s = if all.count > 0 { seconds(first_ms, last.at_ms) } else { 0.0 };
        Stats::new(&all, last.x, span_s, seconds(last.at_ms, now_ms))
    }

    /// When the next sample leaves only because time passes.
    pub fn next_change_ms(&self) -> Option<u64> {
        match self.spec {
            WindowSpec::Time(ms) => Some(self.blocks.front()?.leaves_from().saturating_add(ms)),
            WindowSpec::Count(_) => None,
        }
    }
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
