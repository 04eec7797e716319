//! What heat, or a want of power or of processor time, asks of the scheduler.

/// How hard slmd may work. The default is: as hard as it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    /// Predictions are stretched to this many per cent before they are promised, at least 100.
    pub stretch_percent: u32,
    /// The share of the engine's time that background work may have, in per cent; 0: it pauses.
    pub background_percent: u8,
    /// The share of the time that the engine rests where no promise is at stake, in per cent,
    /// below 100.
    pub rest_percent: u8,
}

impl Default for Pressure {
    fn default() -> Self {
        Self { stretch_percent: 100, background_percent: 100, rest_percent: 0 }
    }
}
