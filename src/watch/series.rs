//! The series of one watch: one for each concrete topic, and a bound on how many.

use super::alert::Alert;
use super::stats::Stats;
use super::value::BadSample;
use super::window::{Window, WindowSpec};
use std::collections::HashMap;
use std::sync::Arc;

/// The most series of one watch.
pub const MAX_SERIES: usize = 256;

/// One concrete topic.
#[derive(Debug)]
pub(super) struct Series {
    pub topic: Arc<str>,
    /// Where its alerts go.
    pub publish: String,
    pub window: Window,
    pub alert: Alert,
    /// What the model was last asked about.
    pub asked: Stats,
    /// Bad samples by kind, in the order of [`BadSample::ALL`].
    pub bad: [u64; BadSample::ALL.len()],
    pub heard_ms: u64,
    /// When it is to be looked at again.
    pub due_ms: Option<u64>,
}

impl Series {
    fn new(topic: &str, publish: String, window: WindowSpec, now_ms: u64) -> Self {
        Self {
            topic: Arc::from(topic),
            publish,
            window: Window::new(window),
            alert: Alert::default(),
            asked: Stats::default(),
            bad: [0; BadSample::ALL.len()],
            heard_ms: now_ms,
            due_ms: None,
        }
    }
}

/// What became of a new topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    New(usize),
    /// In the place of a series that is gone now.
    Replaced(usize),
    /// All places are taken by series with something to lose.
    Full,
}

/// Series by topic; places are never given up, only given on.
#[derive(Debug, Default)]
pub(super) struct Table {
    by_topic: HashMap<Arc<str>, usize>,
    all: Vec<Series>,
}

impl Table {
    pub fn find(&self, topic: &str) -> Option<usize> {
        self.by_topic.get(topic).copied()
    }

    pub fn at(&mut self, index: usize) -> &mut Series {
        &mut self.all[index]
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Series> {
        self.all.iter()
    }

    /// Makes a series; in a full table in the place of the one that was heard longest ago, of
    /// those without an alert, a run or a cooldown. Where `may_replace` is false, none goes.
    pub fn add(
        &mut self,
        topic: &str,
        publish: String,
        window: WindowSpec,
        now_ms: u64,
        may_replace: bool,
    ) -> Place {
        let mut series = Series::new(topic, publish, window, now_ms);
        let key = Arc::clone(&series.topic);
        if self.all.len() < MAX_SERIES {
            self.all.push(series);
            self.by_topic.insert(key, self.all.len() - 1);
            return Place::New(self.all.len() - 1);
        }
        let idle = self.all.iter().enumerate().filter(|(_, s)| s.alert.is_idle(now_ms));
        let oldest = idle.min_by_key(|(_, s)| s.heard_ms).map(|(index, _)| index);
        let Some(index) = oldest.filter(|_| may_replace) else { return Place::Full };
        self.by_topic.remove(&self.all[index].topic);
        // The agenda's entry is the place's, until the new series makes its own.
        series.due_ms = self.all[index].due_ms;
        self.all[index] = series;
        self.by_topic.insert(key, index);
        Place::Replaced(index)
    }
}
