//! The statistics of a window, by moments that can be joined: nothing is ever subtracted, so that
//! nothing drifts however long samples come and go.

/// Count, means and centred sums of some consecutive samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moments {
    pub count: u64,
    /// What `mean_t` counts from, so that years of uptime cost no digits.
    base_ms: u64,
    mean_t: f64,
    mean_x: f64,
    stt: f64,
    stx: f64,
    sxx: f64,
    min: f64,
    max: f64,
}

impl Moments {
    pub const fn new(base_ms: u64) -> Self {
        Self {
            count: 0,
            base_ms,
            mean_t: 0.0,
            mean_x: 0.0,
            stt: 0.0,
            stx: 0.0,
            sxx: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    /// Adds a sample at or after the base (Welford).
    pub fn push(&mut self, at_ms: u64, x: f64) {
        self.count += 1;
        let n = self.count as f64;
        let dt = at_ms.saturating_sub(self.base_ms) as f64 - self.mean_t;
        let dx = x - self.mean_x;
        self.mean_t += dt / n;
        self.mean_x += dx / n;
        let rest = x - self.mean_x;
        self.stt += dt * (at_ms.saturating_sub(self.base_ms) as f64 - self.mean_t);
        self.stx += dt * rest;
        self.sxx += dx * rest;
        self.min = self.min.min(x);
        self.max = self.max.max(x);
    }

    /// Joins later samples (Chan and others).
    pub fn join(&mut self, later: &Self) {
        if later.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *later;
            return;
        }
        let (a, b) = (self.count as f64, later.count as f64);
        let n = a + b;
        let shift = later.base_ms.saturating_sub(self.base_ms) as f64;
        let dt = shift + later.mean_t - self.mean_t;
        let dx = later.mean_x - self.mean_x;
        let weight = a * b / n;
        self.mean_t += dt * b / n;
        self.mean_x += dx * b / n;
        self.stt += later.stt + dt * dt * weight;
        self.stx += later.stx + dt * dx * weight;
        self.sxx += later.sxx + dx * dx * weight;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.count += later.count;
    }

    /// Units of the value per second, by least squares.
    fn slope(&self) -> Option<f64> {
        (self.stt > 0.0).then(|| self.stx / self.stt * 1_000.0)
    }

    /// Of a sample: divided by n - 1.
    fn stddev(&self) -> Option<f64> {
        (self.count > 1).then(|| (self.sxx.max(0.0) / (self.count - 1) as f64).sqrt())
    }
}

/// What a rule can see of a window.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stats {
    /// Samples in the window.
    pub count: u64,
    /// The least.
    pub min: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
    /// The arithmetic mean.
    pub mean: Option<f64>,
    /// The newest.
    pub last: Option<f64>,
    /// Change per second by least squares; none unless two samples differ in time.
    pub slope: Option<f64>,
    /// The sample's standard deviation; none below two samples.
    pub stddev: Option<f64>,
    /// Seconds from the oldest to the newest sample.
    pub span_s: f64,
    /// Seconds since the newest sample, be it in the window or not.
    pub age_s: f64,
}

impl Stats {
    pub(super) fn new(moments: &Moments, last: f64, span_s: f64, age_s: f64) -> Self {
        let some = moments.count > 0;
        Self {
            count: moments.count,
            min: some.then_some(moments.min),
            max: some.then_some(moments.max),
            mean: some.then(|| moments.mean_x.clamp(moments.min, moments.max)),
            last: some.then_some(last),
            slope: moments.slope().filter(|s| s.is_finite()),
            stddev: moments.stddev().filter(|s| s.is_finite()),
            span_s,
            age_s,
        }
    }

    /// The figures by name, for rules, variables and payloads.
    pub(super) fn named(&self) -> [(&'static str, Option<f64>); 6] {
        [
            ("min", self.min),
            ("max", self.max),
            ("mean", self.mean),
            ("last", self.last),
            ("slope", self.slope),
            ("stddev", self.stddev),
        ]
    }
}
