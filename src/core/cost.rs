//! What steps cost on this board: a shape that was measured, and how far the board is from it now.
//!
//! A step of `k` sessions with one token each, which attend to `P` positions together, costs
//! `decode + (k - 1) * row + P * attend`; a chunk of `n` tokens from position `p` on costs
//! `chunk + n * token + n * (p + n / 2) * token_attend`. Both are stretched by one slowdown, which
//! follows heat and other programs within about half a second of work. The shape itself is corrected
//! slowly, by normalised least mean squares (Widrow and Hoff 1960; Nagumo and Noda 1967).

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The slowdown follows what was seen over about this much work.
const MEMORY_US: f64 = 500_000.0;
/// An observation counts at most this many times the prediction: a stall is not a trend.
const OUTLIER: f64 = 4.0;
/// The step size of the shape's correction.
const CORRECTION: f64 = 0.01;
/// So many positions make a feature of about one.
const POSITIONS: f64 = 512.0;
/// So many tokens make a feature of about one.
const TOKENS: f64 = 32.0;
/// Chunks have at least this many tokens, and above it a multiple of them.
const CHUNK_UNIT: u32 = 8;
/// The least and the most that predictions are stretched by before they are promised, in per cent.
const MARGIN_PERCENT: (f64, f64) = (8.0, 50.0);
/// So many mean deviations are the margin.
const DEVIATIONS: f64 = 3.0;

/// What steps cost with nothing else going on, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// A step of one session with one token that attends to nothing.
    pub decode_us: f64,
    /// Each further session in that step.
    pub row_us: f64,
    /// Each position that a session attends to.
    pub attend_us: f64,
    /// A chunk, whatever its length.
    pub chunk_us: f64,
    /// Each token of a chunk.
    pub token_us: f64,
    /// Each position that a token of a chunk attends to.
    pub token_attend_us: f64,
}

impl Shape {
    /// Costs that do not depend on the context: `step` for one token, `token` for each further one
    /// of a chunk, `row` for each further session of a batch.
    pub fn flat(step: Duration, token: Duration, row: Duration) -> Self {
        let us = |d: Duration| d.as_secs_f64() * 1e6;
        Self {
            decode_us: us(step),
            row_us: us(row),
            chunk_us: us(step) - us(token),
            token_us: us(token),
            ..Self::default()
        }
    }

    fn decode(&self, rows: u32, positions: f64) -> f64 {
        self.decode_us
            + f64::from(rows.saturating_sub(1)) * self.row_us
            + positions * self.attend_us
    }

    fn chunk(&self, pos: u32, tokens: u32) -> f64 {
        let tokens = f64::from(tokens);
        let attended = tokens * (f64::from(pos) + tokens / 2.0);
        self.chunk_us + tokens * self.token_us + attended * self.token_attend_us
    }
}

/// What a step was: the price depends on nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// One token of each of `rows` sessions, which have `positions` tokens in their slots together.
    Decode {
        /// Sessions.
        rows: u32,
        /// Positions of all of them.
        positions: u64,
    },
    /// Several tokens of one session.
    Chunk {
        /// Tokens in its slot.
        pos: u32,
        /// Tokens to feed.
        tokens: u32,
    },
}

/// Running costs of one model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    shape: Shape,
    /// How many times as long as in `shape` steps take by now.
    slowdown: f64,
    /// The mean deviation of steps from their prediction, as a share of it.
    deviation: f64,
}

impl Default for Costs {
    fn default() -> Self {
        Self::new(Shape::default())
    }
}

impl Costs {
    /// Costs as they were measured.
    pub const fn new(shape: Shape) -> Self {
        Self { shape, slowdown: 1.0, deviation: 0.0 }
    }

    /// Costs as they were measured once, on a board that takes `slowdown` times as long now.
    pub const fn slowed(shape: Shape, slowdown: f64) -> Self {
        Self { shape, slowdown, deviation: 0.0 }
    }

    /// The shape by now, without the slowdown.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// How many times as long as in [`Costs::shape`] steps take by now.
    pub const fn slowdown(&self) -> f64 {
        self.slowdown
    }

    /// The cost of a step.
    pub fn step(&self, load: Load) -> Duration {
        self.stretched(self.step_us(load))
    }

    /// The cost of `steps` steps of `rows` sessions with one token each; `positions` is what they
    /// have in their slots together at the first.
    pub fn decode_run(&self, rows: u32, positions: u64, steps: u32) -> Duration {
        let n = f64::from(steps);
        // The sum of n terms that grow by `rows` each.
        let attended = n * positions as f64 + f64::from(rows) * n * (n - 1.0) / 2.0;
        self.stretched(n * self.shape.decode(rows, 0.0) + attended * self.shape.attend_us)
    }

    /// The cost of feeding `tokens` tokens from `pos` on in chunks within `bound`.
    pub fn prefill(&self, pos: u32, tokens: u32, bound: Duration, most: u32) -> Duration {
        // Chunks shrink as positions grow: the last one's size, for all of them.
        let chunk = self.chunk_within(bound, pos.saturating_add(tokens), most);
        if chunk == 1 || tokens == 1 {
            return self.decode_run(1, pos.into(), tokens);
        }
        let further = f64::from(tokens.div_ceil(chunk).saturating_sub(1));
        self.stretched(self.shape.chunk(pos, tokens) + further * self.shape.chunk_us)
    }

    /// The largest chunk from `pos` on whose step stays within `bound`, in `8..=most`.
    pub fn chunk_within(&self, bound: Duration, pos: u32, most: u32) -> u32 {
        let least = CHUNK_UNIT.min(most).max(1);
        let limit = bound.as_secs_f64() * 1e6 / self.slowdown;
        let fits = |tokens: u32| self.shape.chunk(pos, tokens) <= limit;
        if fits(most) {
            return most;
        }
        let units = (1..=most / CHUNK_UNIT).rev().find(|units| fits(units * CHUNK_UNIT));
        units.map_or(least, |units| (units * CHUNK_UNIT).max(least))
    }

    /// By how many per cent predictions are stretched before they are promised.
    pub fn margin_percent(&self) -> u32 {
        (DEVIATIONS * 100.0 * self.deviation).clamp(MARGIN_PERCENT.0, MARGIN_PERCENT.1) as u32
    }

    /// Learns from a step.
    pub fn observe(&mut self, load: Load, took: Duration) {
        let took = took.as_secs_f64() * 1e6;
        let predicted = self.step_us(load);
        if predicted <= 0.0 {
            return self.first(load, took);
        }
        let seen = took.min(OUTLIER * predicted * self.slowdown);
        let weight = 1.0 - (-seen / MEMORY_US).exp();
        let ratio = seen / (predicted * self.slowdown);
        self.deviation += weight * ((ratio - 1.0).abs() - self.deviation);
        self.slowdown += weight * (seen / predicted - self.slowdown);
        self.correct(load, seen / self.slowdown - predicted);
    }

    /// Nothing was known: the first step says it all.
    fn first(&mut self, load: Load, took: f64) {
        match load {
            Load::Decode { rows, .. } => self.shape.decode_us = took / f64::from(rows.max(1)),
            Load::Chunk { tokens, .. } => self.shape.token_us = took / f64::from(tokens.max(1)),
        }
    }

    fn correct(&mut self, load: Load, error: f64) {
        let shape = &mut self.shape;
        let (weights, features) = match load {
            Load::Decode { rows, positions } => (
                [&mut shape.decode_us, &mut shape.row_us, &mut shape.attend_us],
                [(1.0, 1.0), (f64::from(rows) - 1.0, 1.0), (positions as f64, POSITIONS)],
            ),
            Load::Chunk { pos, tokens } => {
                let tokens = f64::from(tokens);
                let attended = tokens * (f64::from(pos) + tokens / 2.0);
                (
                    [&mut shape.chunk_us, &mut shape.token_us, &mut shape.token_attend_us],
                    [(1.0, 1.0), (tokens, TOKENS), (attended, TOKENS * POSITIONS)],
                )
            }
        };
        let norm: f64 = features.iter().map(|(x, unit)| (x / unit).powi(2)).sum();
        for (weight, (x, unit)) in weights.into_iter().zip(features) {
            *weight = (*weight + CORRECTION * error * (x / unit) / norm / unit).max(0.0);
        }
    }

    fn step_us(&self, load: Load) -> f64 {
        match load {
            Load::Decode { rows, positions } => self.shape.decode(rows, positions as f64),
            Load::Chunk { pos, tokens } => self.shape.chunk(pos, tokens),
        }
    }

    fn stretched(&self, us: f64) -> Duration {
        Duration::from_secs_f64((us * self.slowdown / 1e6).clamp(0.0, 1e9))
    }
}

/// How many of `pending` tokens the next chunk takes, if it may take `most`: it leaves no single one
/// behind, since a step of one token has a price of its own.
pub const fn next_chunk(pending: u32, most: u32) -> u32 {
    match pending.saturating_sub(most) {
        0 => pending,
        1 if most > 2 => most - 1,
        _ => most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const SHAPE: Shape = Shape {
        decode_us: 5_000.0,
        row_us: 1_000.0,
        attend_us: 2.0,
        chunk_us: 4_000.0,
        token_us: 500.0,
        token_attend_us: 0.5,
    };

    fn decode(rows: u32, positions: u64) -> Load {
        Load::Decode { rows, positions }
    }

    #[test]
    fn runs_and_prefills_cost_what_their_steps_cost() {
        let costs = Costs::new(SHAPE);
        let steps: Duration = (0..50).map(|i| costs.step(decode(3, 400 + 3 * i))).sum();
        let run = costs.decode_run(3, 400, 50);
        assert!(run.abs_diff(steps) < Duration::from_micros(1), "{run:?} {steps:?}");
        let chunk = costs.chunk_within(ms(40), 300, 128);
        assert!(costs.step(Load::Chunk { pos: 300, tokens: chunk }) <= ms(40));
        assert!(costs.step(Load::Chunk { pos: 300, tokens: chunk + 8 }) > ms(40));
        let (mut pos, mut fed) = (100, Duration::ZERO);
        while pos < 300 {
            let tokens = next_chunk(300 - pos, costs.chunk_within(ms(40), pos, 128));
            fed += costs.step(Load::Chunk { pos, tokens });
            pos += tokens;
        }
        let prefill = costs.prefill(100, 200, ms(40), 128);
        assert!(prefill >= fed && prefill < fed * 11 / 10, "{prefill:?} {fed:?}");
    }

    #[test]
    fn chunks_stay_within_the_bound_and_the_engine() {
        let costs = Costs::new(Shape::flat(ms(10), ms(1), ms(3)));
        assert_eq!(costs.chunk_within(ms(60), 0, 512), 48);
        assert_eq!(costs.chunk_within(ms(1), 0, 512), 8);
        assert_eq!(costs.chunk_within(ms(60), 0, 30), 30);
        assert_eq!(costs.chunk_within(ms(1), 0, 4), 4);
        assert_eq!(Costs::default().chunk_within(ms(60), 0, 64), 64);
    }

    #[test]
    fn a_stall_moves_the_price_little_and_a_trend_moves_it() {
        let mut costs = Costs::new(SHAPE);
        let before = costs.step(decode(1, 0));
        costs.observe(decode(1, 0), Duration::from_secs(10));
        assert!(costs.step(decode(1, 0)) < before * 5 / 4);
        let mut worked = Duration::ZERO;
        while worked < Duration::from_secs(2) {
            costs.observe(decode(1, 0), before * 3);
            worked += before * 3;
        }
        let after = costs.step(decode(1, 0));
        assert!(after > before * 27 / 10 && after < before * 33 / 10, "{after:?}");
        let chunk = Load::Chunk { pos: 0, tokens: 64 };
        assert!(costs.step(chunk) > Costs::new(SHAPE).step(chunk) * 2, "heat slows everything");
    }

    #[test]
    fn a_shape_that_was_measured_badly_is_corrected() {
        let truth = Costs::new(SHAPE);
        let mut costs = Costs::new(Shape { attend_us: 8.0, row_us: 3_000.0, ..SHAPE });
        for round in 0..20_000u32 {
            let load = decode(1 + round % 4, u64::from(round * 37 % 2_000));
            costs.observe(load, truth.step(load));
        }
        for load in [decode(1, 0), decode(1, 1_500), decode(4, 1_000)] {
            let (got, want) = (costs.step(load).as_secs_f64(), truth.step(load).as_secs_f64());
            assert!((got / want - 1.0).abs() < 0.05, "{load:?}: {got} {want}");
        }
        assert!(costs.margin_percent() <= 10, "{}", costs.margin_percent());
    }

    #[test]
    fn scatter_widens_the_margin_and_calm_narrows_it() {
        let mut costs = Costs::new(SHAPE);
        let step = costs.step(decode(1, 0));
        for round in 0..2_000 {
            costs
                .observe(decode(1, 0), if round % 2 == 0 { step * 13 / 10 } else { step * 7 / 10 });
        }
        assert_eq!(costs.margin_percent(), 50);
        for _ in 0..2_000 {
            costs.observe(decode(1, 0), costs.step(decode(1, 0)));
        }
        assert_eq!(costs.margin_percent(), 8);
    }

    #[test]
    fn without_any_measurement_the_first_step_is_the_price() {
        let mut costs = Costs::default();
        assert_eq!(costs.decode_run(1, 100, 10), Duration::ZERO);
        costs.observe(decode(1, 0), ms(10));
        costs.observe(Load::Chunk { pos: 0, tokens: 10 }, ms(30));
        assert_eq!(costs.step(decode(1, 0)), ms(10));
        assert_eq!(costs.step(Load::Chunk { pos: 0, tokens: 20 }), ms(60));
    }
}
