//! Heat, power and stalls: what the kernel says of them, and how hard slmd may work then.
//!
//! [`Reader`] reads `/sys` and `/proc` (or a folder that looks like them), [`gauges()`] sets what it
//! found against its bounds, and [`Ladder`] makes a [`Level`] of that: pure, time is an argument.
//! Knows the core only; nothing of requests, engines or boards.

mod gauges;
mod ladder;
mod reader;

pub use gauges::{Thermal, gauges};
pub use ladder::{Bounds, Gauge, Ladder, Level};
pub use reader::{Battery, Reader, Reading, Trips, Zone};
