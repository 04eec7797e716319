//! What several sessions decode together, against one.

use crate::load::{Record, closed, ms};
use crate::mix::{Mix, Request, Yardstick};
use crate::report::{Report, Spread};
use crate::site::Site;
use clap::Args;
use serde_json::json;

/// How many decode at once.
const TOGETHER: [usize; 3] = [1, 2, 4];
/// The throughput of four against that of one.
const GAIN: f64 = 1.5;

#[derive(Args, Clone)]
pub struct Options {
    /// Rounds of each.
    #[arg(long, default_value_t = 7)]
    pub rounds: usize,
    /// Tokens of an answer; left out: half of the context.
    #[arg(long)]
    pub tokens: Option<u32>,
}

pub fn report() -> Report {
    Report::new("batch", &["model", "engine", "sessions", "tokens/s, median", "min", "max", "gain"])
}

pub fn measure(site: &Site, options: &Options, report: &mut Report) {
    let daemon = site.start(4, 8, "");
    let mut server = site.socket(&daemon);
    let tokens = options.tokens.unwrap_or(site.model.context_tokens as u32 / 2);
    let mut mix = Mix::new(&site.model, Yardstick::default(), site.kind(), site.seed);
    let mut rates = [const { Vec::new() }; TOGETHER.len()];
    for round in 0..=options.rounds {
        for (together, rates) in TOGETHER.into_iter().zip(&mut rates) {
            let run = closed(&mut server, together, together, || {
                let (text, count) = mix.prompt(8);
                Request::unhurried(text, count, tokens)
            });
            let ends = run.records.iter().filter_map(|r| r.ended.as_ref().map(|(at, _)| *at));
            let took_s = ms(run.began, ends.max().expect("answers")) / 1e3;
            let total: u32 = run.records.iter().map(Record::tokens).sum();
            // The first round warms up.
            if round > 0 {
                rates.push(f64::from(total) / took_s);
            }
        }
    }
    let alone = Spread::of(&rates[0]).median;
    let mut best: f64 = 0.0;
    for (together, rates) in TOGETHER.into_iter().zip(&rates) {
        let [model, engine] = site.cells();
        let spread = Spread::of(rates);
        let gain = spread.median / alone;
        best = best.max(gain);
        let json = json!({
            "model": model, "engine": engine, "sessions": together, "answer_tokens": tokens,
            "tokens_per_s": spread.json(), "gain": gain,
        });
        let rates = [spread.median, spread.low, spread.high].map(|f| format!("{f:.0}"));
        let head = [model, engine, together.to_string()];
        report.row(head.into_iter().chain(rates).chain([format!("{gain:.2}")]), json);
    }
    let [model, engine] = site.cells();
    report.aim(format!("{model}, {engine}: {best:.2} times one, at least {GAIN}"), best >= GAIN);
}
