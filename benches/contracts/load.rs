//! Puts requests on a server from one thread: at given times, or so many at once.

use crate::machine::Machine;
use crate::mix::{Mix, Request};
use crate::server::{Ending, Heard, Number, Server, What};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// How long after the last request its answer is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// One request and what became of it.
#[derive(Debug)]
pub struct Record {
    pub request: Request,
    /// When it was to be sent.
    pub due: Instant,
    pub sent: Instant,
    pub first: Option<Instant>,
    pub ended: Option<(Instant, Ending)>,
}

/// Milliseconds from one time to another, or 0.
pub fn ms(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1e3
}

impl Record {
    /// Let in, and ended.
    pub fn is_admitted(&self) -> bool {
        self.ended.as_ref().is_some_and(|(_, ending)| !ending.is_refusal())
    }

    /// From sending to the end, in milliseconds.
    pub fn took_ms(&self) -> Option<f64> {
        self.ended.as_ref().map(|(at, _)| ms(self.sent, *at))
    }

    /// How late it ended, if it was late.
    pub fn late_ms(&self) -> Option<f64> {
        self.took_ms().map(|took| took - self.request.deadline_ms).filter(|late| *late > 0.0)
    }

    /// The first token by its bound where one was asked for, and an answer of a cause that counts by
    /// the deadline, all as the client saw it.
    pub fn is_met(&self) -> bool {
        let Some((_, Ending::Answer { cause, .. })) = &self.ended else { return false };
        let counts = ["stop", "length", "tool_calls"].contains(&cause.as_str());
        let first = self.first.or(self.ended.as_ref().map(|(at, _)| *at));
        let first_ms = first.map_or(f64::INFINITY, |at| ms(self.sent, at));
        counts && self.late_ms().is_none() && self.request.ttft_ms.is_none_or(|b| first_ms <= b)
    }

    /// Missed as the client saw it, but not by the server's own clock.
    pub fn is_late_on_the_way(&self) -> bool {
        let Some((_, Ending::Answer { cause, own_ms: Some(own_ms), .. })) = &self.ended else {
            return false;
        };
        cause != "deadline" && *own_ms <= self.request.deadline_ms && self.late_ms().is_some()
    }

    /// Of the answer.
    pub fn tokens(&self) -> u32 {
        match &self.ended {
            Some((_, Ending::Answer { tokens, .. })) => *tokens,
            _ => 0,
        }
    }
}

/// All requests of a run.
pub struct Run {
    pub records: Vec<Record>,
    pub machine: Machine,
    pub began: Instant,
    /// When the last request was sent.
    pub sent_all: Instant,
}

impl Run {
    pub fn admitted(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| record.is_admitted())
    }

    /// Of requests that were let in and not met.
    pub fn missed(&self) -> impl Iterator<Item = &Record> {
        self.admitted().filter(|record| !record.is_met())
    }

    /// Seconds in which requests were sent.
    pub fn sending_s(&self) -> f64 {
        self.sent_all.saturating_duration_since(self.began).as_secs_f64()
    }

    /// How late requests were sent, in milliseconds.
    pub fn delays_ms(&self) -> Vec<f64> {
        self.records.iter().map(|record| ms(record.due, record.sent)).collect()
    }
}

/// At random times, `rate` a second on average, until `count` of those that were let in have ended.
pub fn open(server: &mut dyn Server, mix: &mut Mix<'_>, rate: f64, count: usize) -> Run {
    open_until(server, mix, rate, |drive| drive.admitted >= count)
}

/// The same, until `count` were sent: the same ones to every server.
pub fn open_sent(server: &mut dyn Server, mix: &mut Mix<'_>, rate: f64, count: usize) -> Run {
    open_until(server, mix, rate, |drive| drive.run.records.len() >= count)
}

fn open_until(
    server: &mut dyn Server,
    mix: &mut Mix<'_>,
    rate: f64,
    is_enough: impl Fn(&Drive<'_>) -> bool,
) -> Run {
    let mut drive = Drive::new(server);
    let mut due = drive.run.began;
    let mut next = mix.next();
    while !is_enough(&drive) {
        if Instant::now() >= due {
            drive.send(next, due);
            due += Duration::from_secs_f64(mix.gap_s(rate));
            next = mix.next();
        } else {
            drive.hear(due);
        }
    }
    drive.finish()
}

/// Always `together` under way, until `count` were sent.
pub fn closed(
    server: &mut dyn Server,
    together: usize,
    count: usize,
    mut next: impl FnMut() -> Request,
) -> Run {
    let mut drive = Drive::new(server);
    while drive.run.records.len() < count {
        while drive.under_way < together && drive.run.records.len() < count {
            drive.send(next(), Instant::now());
        }
        drive.hear(Instant::now() + PATIENCE);
    }
    drive.finish()
}

/// One request alone, to its end.
pub fn one(server: &mut dyn Server, request: Request) -> Record {
    let mut drive = Drive::new(server);
    drive.send(request, Instant::now());
    drive.finish().records.remove(0)
}

/// A run that is under way.
pub struct Drive<'a> {
    server: &'a mut dyn Server,
    pub run: Run,
    pub under_way: usize,
    admitted: usize,
    /// Of requests whose deadline the server does not keep.
    deadlines: BTreeSet<(Instant, Number)>,
    heard: Vec<Heard>,
}

impl<'a> Drive<'a> {
    pub fn new(server: &'a mut dyn Server) -> Self {
        let machine = Machine::beside(&[server.pid()]);
        let now = Instant::now();
        let run = Run { records: Vec::new(), machine, began: now, sent_all: now };
        let (deadlines, heard) = Default::default();
        Self { server, run, under_way: 0, admitted: 0, deadlines, heard }
    }

    /// Sends what was due at `due`; its number is its place among the records.
    pub fn send(&mut self, request: Request, due: Instant) -> Number {
        let number = self.run.records.len();
        let sent = Instant::now();
        self.server.send(number, &request);
        if !self.server.keeps_deadlines() {
            let deadline = Duration::from_secs_f64(request.deadline_ms / 1e3);
            self.deadlines.insert((sent + deadline, number));
        }
        self.run.records.push(Record { request, due, sent, first: None, ended: None });
        self.run.sent_all = sent;
        self.under_way += 1;
        number
    }

    /// Takes what comes until `until`, or one batch of it.
    pub fn hear(&mut self, until: Instant) {
        let mut until = until.min(self.run.machine.due());
        if let Some((deadline, _)) = self.deadlines.first() {
            until = until.min(*deadline);
        }
        let mut heard = std::mem::take(&mut self.heard);
        self.server.hear(until, &mut heard);
        for message in heard.drain(..) {
            self.note(message);
        }
        self.heard = heard;
        self.give_up();
        self.run.machine.look_if_due();
    }

    fn note(&mut self, heard: Heard) {
        let record = &mut self.run.records[heard.number];
        match heard.what {
            What::First => {
                record.first.get_or_insert(heard.at);
            }
            What::Ended(ending) => {
                assert!(record.ended.is_none(), "request {} ended twice", heard.number);
                let deadline = Duration::from_secs_f64(record.request.deadline_ms / 1e3);
                self.deadlines.remove(&(record.sent + deadline, heard.number));
                record.ended = Some((heard.at, ending));
                self.admitted += usize::from(record.is_admitted());
                self.under_way -= 1;
            }
        }
    }

    /// Of requests whose time is over, where the server does not do so.
    fn give_up(&mut self) {
        let now = Instant::now();
        while let Some((deadline, number)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.deadlines.pop_first();
            self.abandon(number, "deadline");
        }
    }

    /// Gives up for this reason.
    pub fn abandon(&mut self, number: Number, cause: &str) {
        if !self.server.abandon(number) {
            let ending = Ending::Answer { cause: cause.to_owned(), tokens: 0, own_ms: None };
            self.note(Heard { number, at: Instant::now(), what: What::Ended(ending) });
        }
    }

    /// Waits for what is under way.
    pub fn finish(mut self) -> Run {
        let longest = self.run.records.iter().filter(|r| r.ended.is_none());
        let longest = longest.map(|r| r.request.deadline_ms).fold(0.0, f64::max);
        let end = Instant::now() + Duration::from_secs_f64(longest / 1e3) + PATIENCE;
        while self.under_way > 0 {
            assert!(Instant::now() < end, "{} requests have no answer", self.under_way);
            self.hear(end);
        }
        self.run.machine.look();
        self.run
    }
}
