//! What an urgent request waits because long jobs run.

use crate::load::{Drive, ms, one};
use crate::mix::{Mix, Request, Shape, Yardstick};
use crate::random::Random;
use crate::report::{Report, Spread};
use crate::server::Server;
use crate::site::{Site, decode_steps};
use clap::Args;
use serde_json::json;
use std::time::{Duration, Instant};

/// Long jobs that decode meanwhile.
const JOBS: usize = 4;
/// The longest pause before an urgent request.
const PAUSE_US: u64 = 30_000;

#[derive(Args, Clone)]
pub struct Options {
    /// Urgent requests on an idle daemon, and as many beside the jobs.
    #[arg(long, default_value_t = 100)]
    pub trials: usize,
}

pub fn report() -> Report {
    Report::new(
        "urgent",
        &["model", "engine", "what", "count", "median ms", "p99", "max", "steps, p99"],
    )
}

pub fn measure(site: &Site, options: &Options, report: &mut Report) {
    let daemon = site.start(JOBS + 1, 8, "");
    let mut server = site.socket(&daemon);
    let mut crowd = Crowd::new(site, false);
    crowd.idle_ms(&mut server, options.trials / 10);
    let idle = Spread::of(&crowd.idle_ms(&mut server, options.trials));
    let before = decode_steps(&daemon);
    let beside = crowd.beside_ms(&mut server, options.trials);
    let after = decode_steps(&daemon);
    let step_ms = (after.1 - before.1) / (after.0 - before.0) / 1e3;
    let added: Vec<f64> = beside.iter().map(|ms| ms - idle.median).collect();
    let added = Spread::of(&added);
    let rows = [
        ("idle: first token", idle),
        ("beside: first token", Spread::of(&beside)),
        ("added", added),
    ];
    for (what, spread) in rows {
        let [model, engine] = site.cells();
        let steps = format!("{:.2}", spread.p99 / step_ms);
        let head = [model.clone(), engine.clone(), what.to_owned(), spread.count.to_string()];
        let cells = head.into_iter().chain(spread.cells()).chain([steps]);
        let json = json!({
            "model": model, "engine": engine, "what": what, "ms": spread.json(),
            "step_ms": step_ms,
        });
        report.row(cells, json);
    }
    let what = format!(
        "{}, {}: {:.2} steps of {step_ms:.2} ms added at the median, {:.2} at p99, at most 1",
        site.model.name,
        site.engine,
        added.median / step_ms,
        added.p99 / step_ms
    );
    report.aim(what, added.p99 <= step_ms);
}

/// Who asks.
pub struct Crowd<'a> {
    site: &'a Site,
    mix: Mix<'a>,
    random: Random,
    shape: Shape,
}

impl<'a> Crowd<'a> {
    /// `is_plain`: for servers that are slow at shapes.
    pub fn new(site: &'a Site, is_plain: bool) -> Self {
        let mix = Mix::new(&site.model, Yardstick::default(), site.kind(), site.seed);
        let shape = if is_plain { Shape::Free } else { Shape::Digits };
        Self { site, mix, random: Random(site.seed), shape }
    }

    /// Times to the first token with nothing else to do.
    pub fn idle_ms(&mut self, server: &mut dyn Server, trials: usize) -> Vec<f64> {
        (0..trials)
            .map(|_| {
                let record = one(server, self.urgent());
                let end = record.ended.as_ref().map(|(at, _)| *at);
                ms(record.sent, record.first.or(end).expect("an answer"))
            })
            .collect()
    }

    /// Times to the first token while all jobs decode.
    pub fn beside_ms(&mut self, server: &mut dyn Server, trials: usize) -> Vec<f64> {
        let mut drive = Drive::new(server);
        let mut jobs = Vec::new();
        let mut beside = Vec::new();
        while beside.len() < trials {
            jobs.retain(|&job: &usize| drive.run.records[job].ended.is_none());
            while jobs.len() < JOBS {
                jobs.push(drive.send(self.job(), Instant::now()));
            }
            while let Some(&job) = jobs.iter().find(|&&job| drive.run.records[job].first.is_none())
            {
                let ended = &drive.run.records[job].ended;
                assert!(ended.is_none(), "a long job does not run: {ended:?}");
                drive.hear(Instant::now() + Duration::from_secs(10));
            }
            let pause = Duration::from_micros(self.random.below(PAUSE_US));
            let then = Instant::now() + pause;
            while Instant::now() < then {
                drive.hear(then);
            }
            let urgent = drive.send(self.urgent(), Instant::now());
            while drive.run.records[urgent].ended.is_none() {
                drive.hear(Instant::now() + Duration::from_secs(10));
            }
            let record = &drive.run.records[urgent];
            let first = record.first.or(record.ended.as_ref().map(|(at, _)| *at));
            let all_run = jobs.iter().all(|&job| drive.run.records[job].ended.is_none());
            if all_run && record.is_admitted() {
                beside.push(ms(record.sent, first.expect("an answer")));
            }
        }
        for job in jobs {
            if drive.run.records[job].ended.is_none() {
                drive.abandon(job, "cancelled");
            }
        }
        drive.finish();
        beside
    }

    fn urgent(&mut self) -> Request {
        let (prompt, tokens) = self.mix.prompt(8);
        let shape = self.shape;
        Request { class: 0, stream: true, shape, ..Request::unhurried(prompt, tokens, 4) }
    }

    fn job(&mut self) -> Request {
        let (prompt, tokens) = self.mix.prompt(16);
        let answer = (self.site.model.context_tokens - 32) as u32;
        let shape = self.shape;
        Request { class: 2, stream: true, shape, ..Request::unhurried(prompt, tokens, answer) }
    }
}
