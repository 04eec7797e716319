//! From gauges to a level: entered at once, left only well below its bound, and not soon.
//!
//! Each gauge has a switch for each level: it goes on at the bound and off at the bound less the
//! hysteresis. A level holds as long as one of its switches was on within the dwell time. Both
//! steps keep the order of their inputs, so that a higher value never gives a lower level.

use crate::core::pressure::Pressure;

/// How hard pressed slmd is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Level {
    /// Nothing is wrong.
    #[default]
    Normal,
    /// Slower than usual, or soon: promises are made more carefully.
    Warm,
    /// Background work makes room.
    Hot,
    /// The processor is held back, or short of power: slmd rests between steps.
    Severe,
    /// Next to the end: background work pauses.
    Critical,
}

/// Levels above the normal one.
pub const LEVELS: [Level; 4] = [Level::Warm, Level::Hot, Level::Severe, Level::Critical];

impl Level {
    /// For people and for the status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Warm => "warm",
            Self::Hot => "hot",
            Self::Severe => "severe",
            Self::Critical => "critical",
        }
    }

    /// What it asks of the scheduler. The figures are our choice: a processor that is held back by
    /// its firmware has lost 10 to 40 % of its clock.
    pub fn pressure(self) -> Pressure {
        let (stretch_percent, background_percent, rest_percent) = match self {
            Self::Normal => return Pressure::default(),
            Self::Warm => (115, 100, 0),
            Self::Hot => (130, 50, 0),
            Self::Severe => (160, 25, 25),
            Self::Critical => (200, 0, 50),
        };
        Pressure { stretch_percent, background_percent, rest_percent }
    }
}

/// From where on a gauge means which level, in thousandths of its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Of warm, hot, severe and critical; none: the gauge never asks for that level.
    pub enter: [Option<i32>; 4],
    /// How far below its bound a level is left.
    pub hysteresis: i32,
}

/// One thing that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gauge {
    /// What tells it from the others.
    pub name: String,
    /// In thousandths of its unit.
    pub value: i32,
    /// What it means.
    pub bounds: Bounds,
    /// Name and value, for people.
    pub shown: String,
}

/// The level, and what it takes to change it.
#[derive(Debug)]
pub struct Ladder {
    dwell_ms: u64,
    switches: Vec<(String, [bool; 4])>,
    /// When a level was asked for the last time, and by what.
    asked: [Option<(u64, String)>; 4],
    level: Level,
    since_ms: u64,
}

impl Ladder {
    /// A level is left `dwell_ms` milliseconds after the last gauge that asked for it, no sooner.
    pub const fn new(dwell_ms: u64) -> Self {
        let asked = [const { None }; 4];
        Self { dwell_ms, switches: Vec::new(), asked, level: Level::Normal, since_ms: 0 }
    }

    /// Takes what was read; gives the level. What is not read any more asks for nothing.
    pub fn step(&mut self, now_ms: u64, gauges: &[Gauge]) -> Level {
        self.switches =
            gauges.iter().map(|gauge| (gauge.name.clone(), self.switch(gauge))).collect();
        for (gauge, (_, on)) in gauges.iter().zip(&self.switches) {
            for (asked, _) in self.asked.iter_mut().zip(on).filter(|(_, on)| **on) {
                *asked = Some((now_ms, gauge.shown.clone()));
            }
        }
        let holds = |asked: &Option<(u64, String)>| {
            let last_ms = asked.as_ref().map(|(last_ms, _)| *last_ms);
            last_ms.is_some_and(|last_ms| last_ms == now_ms || now_ms < last_ms + self.dwell_ms)
        };
        let highest = self.asked.iter().rposition(holds);
        let level = highest.map_or(Level::Normal, |index| LEVELS[index]);
        if level != self.level {
            self.level = level;
            self.since_ms = now_ms;
        }
        level
    }

    /// The gauge's switches after this value.
    fn switch(&self, gauge: &Gauge) -> [bool; 4] {
        let before = self.switches.iter().find(|(name, _)| *name == gauge.name);
        let before = before.map_or([false; 4], |(_, on)| *on);
        std::array::from_fn(|i| {
            gauge.bounds.enter[i].is_some_and(|bound| {
                let bound = if before[i] { bound - gauge.bounds.hysteresis } else { bound };
                gauge.value >= bound
            })
        })
    }

    /// The level of the last step.
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Since when it holds, in milliseconds.
    pub const fn since_ms(&self) -> u64 {
        self.since_ms
    }

    /// What asked for the level the last time; none: it is normal.
    pub fn why(&self) -> Option<&str> {
        let index = LEVELS.iter().position(|level| *level == self.level)?;
        self.asked[index].as_ref().map(|(_, why)| why.as_str())
    }
}

#[cfg(test)]
#[path = "ladder_tests.rs"]
mod tests;
