//! The budget: what may be used, what the sheet says, and what fits.

use super::start::{Overrun, Plan, StartError, sessions};
use crate::board::{Machine, Room};
use crate::bundle::Bundle;
use crate::config::format_bytes;
use crate::engine::choice::{self, Choice};
use crate::engine::{ProcessMemory, peak_rss_bytes, process_memory, reset_peak, trim_heap};
use crate::measurements::{Key, Measurements};
use crate::sheet::{How, Item, Measured, Phase, Shape, Sheet, Subject};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt;
use std::path::{Path, PathBuf};

/// The name that [`Measured`] is remembered by.
const MEASURED: &str = "memory";

/// The most that may be used, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceiling {
    /// Bytes of the whole process.
    pub bytes: u64,
    /// Who says so.
    pub by: Bound,
}

/// What bounds the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// `budget.memory`.
    Configured,
    /// A control group, by the file with its limit.
    Cgroup(PathBuf),
    /// What the machine has free.
    Free,
}

impl Ceiling {
    /// The least of `configured` bytes, what the control groups leave, and what is free; `own` is
    /// what this process holds already.
    pub fn new(configured: u64, room: &Room, own: &ProcessMemory) -> Self {
        let cgroups = room.cgroups.iter().map(|limit| Self {
            bytes: limit.room_bytes(own.anonymous_bytes),
            by: Bound::Cgroup(limit.file.clone()),
        });
        let free = room.available_bytes.map(|bytes| Self {
            bytes: bytes.saturating_add(own.anonymous_bytes),
            by: Bound::Free,
        });
        let configured = Self { bytes: configured, by: Bound::Configured };
        let all = std::iter::once(configured).chain(cgroups).chain(free);
        all.min_by_key(|ceiling| ceiling.bytes).expect("one at least")
    }
}

impl fmt::Display for Ceiling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = format_bytes(self.bytes);
        match &self.by {
            Bound::Configured => write!(f, "budget.memory is {bytes}"),
            Bound::Cgroup(file) => {
                write!(f, "the control group leaves {bytes} ({})", file.display())
            }
            Bound::Free => write!(f, "the machine has {bytes} of free memory"),
        }
    }
}

/// A plan and a model, and what is known of them together.
pub struct Budget<'a> {
    subject: Subject<'a>,
    wanted: Shape,
    plan: &'a Plan,
    ceiling: Ceiling,
    store: Measurements,
}

/// The sheet to serve by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// What is going to be held.
    pub sheet: Sheet,
    /// What was asked for, or suggested.
    pub wanted: Shape,
    /// What it is held against.
    pub ceiling: Ceiling,
}

impl<'a> Budget<'a> {
    /// With what is remembered of this model, engine and machine.
    ///
    /// # Errors
    /// [`StartError::Context`] if a longer context was asked for than the model was made for.
    pub fn new(plan: &'a Plan, bundle: &'a Bundle, choice: &Choice) -> Result<Self, StartError> {
        let longest = u32::try_from(bundle.graph.context_length).unwrap_or(u32::MAX);
        let asked = plan.options.context_tokens;
        if asked > longest && !plan.freedom.context {
            return Err(StartError::Context { asked, longest });
        }
        let wanted = Shape { sessions: plan.options.slots, context_tokens: asked.min(longest) };
        let store = Measurements::new(&plan.cache_dir, key(plan, bundle, choice));
        let subject = Subject {
            bundle,
            engine: choice.kind,
            kv: plan.options.kv,
            max_chunk: bundle.graph.chunk_within(plan.options.max_chunk),
            demands: &plan.demands,
            measured: store.get(MEASURED),
        };
        let ceiling = Ceiling::new(plan.memory_bytes, &plan.room, &process_memory());
        Ok(Self { subject, wanted, plan, ceiling, store })
    }

    /// What is known of the model on this machine.
    pub const fn subject(&self) -> &Subject<'a> {
        &self.subject
    }

    /// What may be used.
    pub const fn ceiling(&self) -> &Ceiling {
        &self.ceiling
    }

    /// What was asked for, or suggested.
    pub const fn wanted(&self) -> Shape {
        self.wanted
    }

    /// The sheet of the smallest shape that would be served.
    pub fn least(&self) -> Sheet {
        self.subject.least(self.wanted, self.plan.freedom)
    }

    /// The largest shape that fits, of those that may be taken.
    ///
    /// # Errors
    /// [`StartError::Memory`]: the line that does not fit, and what would.
    pub fn settle(&self) -> Result<Settled, StartError> {
        let (wanted, ceiling) = (self.wanted, self.ceiling.clone());
        match self.subject.settle(wanted, self.plan.freedom, ceiling.bytes) {
            Some(sheet) => Ok(Settled { sheet, wanted, ceiling }),
            None => Err(self.overrun(&self.least())),
        }
    }

    /// The shape as it is, by what is known now; none: it does not fit any more.
    pub fn keeps(&self, settled: &Settled) -> Option<Settled> {
        let sheet = self.subject.sheet(settled.sheet.shape);
        let fits = sheet.total_bytes() <= self.ceiling.bytes;
        fits.then(|| Settled { sheet, ..settled.clone() })
    }

    /// Whether everything about this shape was measured.
    pub fn knows(&self, shape: Shape) -> bool {
        self.subject.measured.is_some_and(|m| m.context_tokens == shape.context_tokens)
    }

    /// Remembers what was measured, for now and for the next start.
    pub fn remember(&mut self, measured: Measured) {
        remember(&self.store, MEASURED, &measured);
        self.subject.measured = Some(measured);
    }

    /// What is remembered of this model, engine and machine.
    pub fn into_store(self) -> Measurements {
        self.store
    }

    /// Holds what a loaded model takes now against what was remembered of it.
    ///
    /// # Errors
    /// [`StartError::Memory`] if it has become more than fits.
    pub fn check(&self, settled: &Settled, now: Measured) -> Result<(), StartError> {
        let remembered = self.subject.measured.unwrap_or(now);
        let more = now.loaded_bytes().saturating_sub(remembered.loaded_bytes());
        let expected = settled.sheet.total_bytes() - settled.sheet.bytes(Item::Reserve);
        if expected + more <= self.ceiling.bytes {
            return Ok(());
        }
        let heavier = Subject { measured: Some(now), ..self.subject.clone() };
        Err(self.overrun(&heavier.sheet(settled.sheet.shape)))
    }

    fn overrun(&self, sheet: &Sheet) -> StartError {
        let budget = self.ceiling.bytes;
        let (line, left) =
            sheet.overflow(budget).map_or(("reserve", 0), |(l, n)| (l.item.name(), n));
        let needed = sheet.lines.iter().find(|l| l.item.name() == line).map_or(0, |l| l.bytes);
        StartError::Memory(Box::new(Overrun {
            ceiling: self.ceiling.clone(),
            shape: sheet.shape,
            total_bytes: sheet.total_bytes(),
            line: line.to_owned(),
            needed_bytes: needed,
            left_bytes: left,
            would_fit: self.would_fit(sheet.shape),
            least_bytes: self.least().total_bytes(),
            is_estimated: sheet.lines.iter().any(|line| line.how == How::Estimated),
        }))
    }

    /// The most sessions of the shape's context that fit.
    pub fn most_sessions(&self, shape: Shape) -> Option<u16> {
        self.subject.most_sessions(shape.context_tokens, self.ceiling.bytes)
    }

    /// The longest context of the shape's sessions that fits, up to what the model was made for.
    pub fn longest_context(&self, shape: Shape) -> Option<u32> {
        let longest = u32::try_from(self.subject.bundle.graph.context_length).unwrap_or(u32::MAX);
        self.subject.longest_context(shape.sessions, longest, self.ceiling.bytes)
    }

    fn would_fit(&self, shape: Shape) -> Vec<Shape> {
        let sessions = self.most_sessions(shape).map(|sessions| Shape { sessions, ..shape });
        let context = self.longest_context(shape);
        let context = context.map(|context_tokens| Shape { context_tokens, ..shape });
        sessions.into_iter().chain(context).collect()
    }
}

/// Remembers a figure, if that is possible: the next start is only faster for it.
pub fn remember<T: Serialize>(store: &Measurements, what: &str, figure: &T) {
    if let Err(error) = store.put(what, figure) {
        tracing::warn!(%error, "what was measured cannot be remembered");
    }
}

impl Settled {
    /// What was lowered, for the log.
    pub fn warnings(&self) -> Vec<String> {
        let (got, wanted) = (self.sheet.shape, self.wanted);
        if got == wanted {
            return Vec::new();
        }
        vec![format!(
            "{}: {} of {} tokens are served instead of {} of {}; `slmd plan` says what takes the \
             memory",
            self.ceiling,
            sessions(got.sessions),
            got.context_tokens,
            wanted.sessions,
            wanted.context_tokens
        )]
    }

    /// For `status`.
    pub fn facts(&self) -> Value {
        json!({
            "ceiling_bytes": self.ceiling.bytes,
            "ceiling": self.ceiling.to_string(),
            "planned_bytes": self.sheet.total_bytes(),
            "lowered": self.warnings(),
        })
    }
}

fn key(plan: &Plan, bundle: &Bundle, choice: &Choice) -> Key {
    let cpu = Machine::detect(Path::new("/")).cpu;
    let on = match plan.options.affinity.is_empty() {
        true => String::new(),
        false => format!(", on {}", plan.options.affinity),
    };
    Key {
        model: bundle.hash.clone(),
        engine: match &plan.options.provider {
            None => choice.kind.name().to_owned(),
            Some(provider) => format!("{}, {}", choice.kind.name(), provider.name),
        },
        library: choice::library_version(choice.kind),
        cpu: format!("{cpu}, {}{on}", choice::cpu_kernels()),
        board: plan.board.clone(),
        threads: plan.options.threads,
        // The sheet's lines are remembered for any shape, with the context of the step inside.
        slots: 0,
        context_tokens: 0,
        max_chunk: plan.options.max_chunk,
        kv: format!("{:?}, {}", bundle.graph.kv_type, plan.options.kv.in_slots().name()),
    }
}

/// Reads what every stage of a start leaves behind.
#[derive(Debug)]
pub struct Gauge {
    resident: u64,
    measured: Measured,
}

impl Gauge {
    /// Before anything was loaded.
    pub fn start() -> Self {
        let resident = resident();
        reset_peak();
        Self { resident, measured: Measured { process_bytes: resident, ..Measured::default() } }
    }

    /// The engine's library is loaded.
    pub fn library(&mut self) {
        self.measured.library = self.phase();
    }

    /// Tokenizer and templates are made.
    pub fn text(&mut self) {
        self.measured.text = self.phase();
    }

    /// The model is loaded.
    pub fn loaded(&mut self) {
        self.measured.load = self.phase();
    }

    /// The longest prompt was tokenized.
    pub fn tokenized(&mut self) {
        self.measured.prompt = self.phase();
    }

    /// The largest step was run; it has touched `kv_bytes` of the slots of `context_tokens`.
    pub fn stepped(&mut self, kv_bytes: u64, context_tokens: u32) {
        let Phase { held_bytes, peak_bytes } = self.phase();
        self.measured.step = Phase {
            held_bytes: held_bytes.saturating_sub(kv_bytes),
            peak_bytes: peak_bytes.saturating_sub(kv_bytes),
        };
        self.measured.context_tokens = context_tokens;
    }

    /// The model is gone again.
    pub fn unloaded(&mut self) {
        self.phase();
    }

    /// All stages so far.
    pub const fn measured(&self) -> Measured {
        self.measured
    }

    fn phase(&mut self) -> Phase {
        let (peak, before) = (peak_rss_bytes(), self.resident);
        self.resident = resident();
        reset_peak();
        Phase {
            held_bytes: self.resident.saturating_sub(before),
            peak_bytes: peak.max(self.resident).saturating_sub(before),
        }
    }
}

/// What is counted, without what the allocator only keeps for later.
fn resident() -> u64 {
    trim_heap();
    process_memory().counted_bytes()
}
