//! What the engine's steps cost, measured at start; it is the engine's self-test too.

use crate::core::cost::{Costs, Load, Shape};
use crate::core::plan::{Caps, MAX_ROWS, ModelId, Row, Slot, StepPlan, Want};
use crate::engine::{Engine, StepError};
use std::time::{Duration, Instant};

/// Steps of one token that are timed, each time.
const DECODES: u32 = 5;
/// Tokens of the short chunk.
const SHORT: u32 = 16;
/// How many full chunks are fed: the last one shows what a position costs.
const CHUNKS: u32 = 4;

/// A remembered shape is believed if single tokens and chunks are off by the same factor, but for
/// this much,
const UNEVEN: f64 = 1.4;
/// and by no more than this.
const OFF: f64 = 4.0;

/// What steps cost: as it is remembered, if a quick look says that this still holds, else measured.
///
/// # Errors
/// What the engine said, or that its logits are not numbers.
pub fn costs(engine: &mut dyn Engine, remembered: Option<Shape>) -> Result<Costs, StepError> {
    if let Some(shape) = remembered
        && let Some(costs) = look(engine, shape)?
    {
        tracing::info!(slowdown = costs.slowdown(), "the remembered costs of steps hold");
        return Ok(costs);
    }
    let shape = calibrate(engine)?;
    tracing::info!(?shape, "calibrated");
    Ok(Costs::new(shape))
}

/// Runs a few steps and holds them against `shape`; none: it is not what it was.
fn look(engine: &mut dyn Engine, shape: Shape) -> Result<Option<Costs>, StepError> {
    let mut bench = Bench::new(engine);
    bench.chunk(0, bench.short)?;
    let (short, full) = (bench.short, bench.full);
    let decode = bench.decode(1, short)?;
    let chunk = bench.best_chunk(0, full)?;
    bench.check()?;
    let decode = (Load::Decode { rows: 1, positions: short.into() }, decode);
    Ok(believed(shape, decode, (Load::Chunk { pos: 0, tokens: full }, chunk)))
}

/// The costs of a board that took so long for a step of one token and for a chunk, if they are of
/// that shape.
fn believed(shape: Shape, decode: (Load, Duration), chunk: (Load, Duration)) -> Option<Costs> {
    let costs = Costs::new(shape);
    let ratio = |(load, took)| us(took) / us(costs.step(load)).max(1.0);
    let (by_token, by_chunk) = (ratio(decode), ratio(chunk));
    let is_even = (1.0 / UNEVEN..UNEVEN).contains(&(by_token / by_chunk));
    let slowdown = (by_token * by_chunk).sqrt();
    let holds = is_even && (1.0 / OFF..OFF).contains(&slowdown);
    holds.then(|| Costs::slowed(shape, slowdown))
}

/// Times short and full chunks, single tokens at the beginning and far on, and batches.
fn calibrate(engine: &mut dyn Engine) -> Result<Shape, StepError> {
    let mut bench = Bench::new(engine);
    // The first step touches weights and buffers for the first time: not timed.
    bench.chunk(0, bench.short)?;
    let short = bench.best_chunk(0, bench.short)?;
    let near = bench.decode(1, bench.short)?;
    let batch = bench.batch(near)?;
    let full = bench.best_chunk(0, bench.full)?;
    let mut last = full;
    let mut far = bench.full;
    while far + bench.full + 1 < bench.caps.context_tokens && far < CHUNKS * bench.full {
        last = bench.best_chunk(far, bench.full)?;
        far += bench.full;
    }
    let distant = bench.decode(1, far.min(bench.caps.context_tokens - 1))?;
    bench.check()?;
    Ok(bench.shape(Times { short, full, last, far, near, distant, row_us: batch }))
}

/// What was timed.
struct Times {
    short: Duration,
    full: Duration,
    last: Duration,
    /// Positions after the last full chunk.
    far: u32,
    near: Duration,
    distant: Duration,
    row_us: f64,
}

struct Bench<'a> {
    engine: &'a mut dyn Engine,
    caps: Caps,
    tokens: Vec<u32>,
    short: u32,
    full: u32,
}

impl<'a> Bench<'a> {
    fn new(engine: &'a mut dyn Engine) -> Self {
        let caps = engine.caps().clone();
        let full = caps.max_chunk.min(caps.context_tokens.saturating_sub(1)).max(1);
        let tokens = (0..full).map(|i| i % caps.vocab_size).collect();
        Self { engine, tokens, short: full.min(SHORT), full, caps }
    }

    /// One step with a chunk in slot 0.
    fn chunk(&mut self, pos: u32, tokens: u32) -> Result<Duration, StepError> {
        let began = Instant::now();
        let tokens = &self.tokens[..tokens as usize];
        let row = Row { slot: slot(0), pos, tokens, want: Want::Last };
        self.engine.step(&StepPlan { rows: &[row] })?;
        Ok(began.elapsed())
    }

    /// The shorter of two: what else the machine did in one of them is no cost of ours.
    fn best_chunk(&mut self, pos: u32, tokens: u32) -> Result<Duration, StepError> {
        Ok(self.chunk(pos, tokens)?.min(self.chunk(pos, tokens)?))
    }

    /// The median time of a step with one token in each of `rows` slots, at `pos`.
    fn decode(&mut self, rows: u16, pos: u32) -> Result<Duration, StepError> {
        let mut times = heapless::Vec::<Duration, { DECODES as usize }>::new();
        for _ in 0..DECODES {
            let tokens = &self.tokens[..1];
            let rows: heapless::Vec<Row<'_>, MAX_ROWS> =
                (0..rows).map(|i| Row { slot: slot(i), pos, tokens, want: Want::Last }).collect();
            let began = Instant::now();
            self.engine.step(&StepPlan { rows: &rows })?;
            times.push(began.elapsed()).expect("room for all");
        }
        times.sort_unstable();
        Ok(times[times.len() / 2])
    }

    /// What each further session of a step costs, in microseconds; `one` is a step of one.
    fn batch(&mut self, one: Duration) -> Result<f64, StepError> {
        let rows = self.caps.slots.min(self.caps.max_rows.into()).min(MAX_ROWS as u16);
        if rows < 2 {
            return Ok(us(one));
        }
        for index in 1..rows {
            let tokens = &self.tokens[..self.short as usize];
            let row = Row { slot: slot(index), pos: 0, tokens, want: Want::None };
            self.engine.step(&StepPlan { rows: &[row] })?;
        }
        let all = self.decode(rows, self.short)?;
        (0..rows).for_each(|index| self.engine.release(slot(index)));
        // As appending engines want it: slot 0 is filled again from the start.
        self.chunk(0, self.short)?;
        Ok((us(all) - us(one)).max(0.0) / f64::from(rows - 1))
    }

    fn check(&mut self) -> Result<(), StepError> {
        let broken = self.engine.logits(0).iter().any(|l| l.is_nan());
        self.engine.release(slot(0));
        match broken {
            true => {
                let why = "the self-test gave logits that are not numbers";
                Err(StepError::Engine(why.to_owned()))
            }
            false => Ok(()),
        }
    }

    fn shape(&self, times: Times) -> Shape {
        let (short, full) = (f64::from(self.short), f64::from(self.full));
        let between = f64::from(times.far - self.full);
        let token_attend_us = match times.far > self.full {
            true => (us(times.last) - us(times.full)).max(0.0) / (full * between),
            false => 0.0,
        };
        let token_us = match self.full > self.short {
            true => ((us(times.full) - us(times.short)) / (full - short)).max(0.0),
            false => us(times.full) / full,
        };
        let positions = f64::from(times.far.saturating_sub(self.short)).max(1.0);
        // A step near the beginning hardly attends to anything: where that seems to be more than half of
        // it, the far one was held up.
        let attend_us = ((us(times.distant) - us(times.near)).max(0.0) / positions)
            .min(us(times.near) / short / 2.0);
        Shape {
            decode_us: us(times.near) - short * attend_us,
            row_us: times.row_us,
            attend_us,
            chunk_us: (us(times.short) - short * token_us).max(0.0),
            token_us,
            token_attend_us,
        }
    }
}

const fn slot(index: u16) -> Slot {
    Slot { model: ModelId(0), index, generation: 0 }
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::plan::KvType;
    use crate::engine::EngineOptions;
    use crate::engine::scripted::ScriptedEngine;

    fn options(slots: u16, context_tokens: u32, max_chunk: u32) -> EngineOptions {
        EngineOptions {
            threads: 1,
            slots,
            context_tokens,
            max_chunk,
            kv: KvType::Auto,
            ..EngineOptions::default()
        }
    }

    /// An engine that answers nothing in particular.
    fn engine(slots: u16, context_tokens: u32, max_chunk: u32) -> ScriptedEngine {
        let script = Box::new(|_: &[u32]| Ok(1));
        let engine = ScriptedEngine::new(50, &options(slots, context_tokens, max_chunk), script);
        engine.with_cost(Duration::from_micros(50), Duration::ZERO)
    }

    #[test]
    fn small_contexts_and_single_slots_are_measured_too() {
        for (slots, context_tokens, max_chunk) in
            [(1, 16, 128), (1, 1024, 128), (4, 20, 16), (8, 1024, 1), (2, 4096, 64)]
        {
            let shape = calibrate(&mut engine(slots, context_tokens, max_chunk)).expect("it runs");
            assert!(shape.decode_us > 0.0 && shape.decode_us.is_finite(), "{shape:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_believed_while_it_holds() {
        let ms = Duration::from_millis;
        let shape = Shape::flat(ms(10), ms(1), ms(2));
        let decode = Load::Decode { rows: 1, positions: 16 };
        let chunk = Load::Chunk { pos: 0, tokens: 91 };
        let slowdown = |one: u64, many: u64| {
            believed(shape, (decode, ms(one)), (chunk, ms(many))).map(|costs| {
                assert_eq!(costs.shape(), shape);
                (costs.slowdown() * 10.0).round() as u32
            })
        };
        assert_eq!(slowdown(10, 100), Some(10));
        assert_eq!(slowdown(20, 200), Some(20), "hot, or beside another program");
        assert_eq!(slowdown(9, 110), Some(10));
        assert_eq!(slowdown(10, 200), None, "another shape");
        assert_eq!(slowdown(50, 500), None, "another machine");
    }

    #[test]
    fn a_failing_engine_is_told_at_start() {
        let script = Box::new(|_: &[u32]| Err(StepError::Engine("broken".into())));
        let mut engine = ScriptedEngine::new(50, &options(1, 64, 16), script);
        assert_eq!(calibrate(&mut engine), Err(StepError::Engine("broken".into())));
    }
}
