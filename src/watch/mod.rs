//! Watches: sensor topics become alerts, by a cheap rule on every sample and the model only when
//! it trips.
//!
//! Sans-IO: samples, answers and the time (milliseconds of a monotonic clock) come in, effects go
//! out. Knows of no broker, no model and no configuration file; state is in memory only, so a
//! restart begins with empty windows and no alerts.
//!
//! - [`WatchSpec`] is what is written, [`Watch`] what is checked.
//! - [`Watches`] is the machine: [`Watches::sample`], [`Watches::tick`], [`Watches::answered`],
//!   then [`Watches::effects`].
//! - A concrete topic is a series with a window and an alert of its own.

mod alert;
mod budget;
mod duration;
mod report;
mod rule;
mod series;
mod spec;
mod stats;
mod topic;
mod value;
mod watches;
mod watching;
mod window;

pub use duration::{format_duration, parse_duration_ms};
pub use rule::{RESERVED, Rule};
pub use series::MAX_SERIES;
pub use spec::{Conflict, MAX_WATCHES, Offline, SpecError, Watch, WatchSpec, conflict};
pub use stats::Stats;
pub use topic::{Filter, TopicError, TopicTemplate};
pub use watches::{Effect, Outcome, RunId, Watches};
pub use watching::Counts;
pub use window::{EXACT_PER_WINDOW, MAX_WINDOW_SAMPLES, WindowSpec};
