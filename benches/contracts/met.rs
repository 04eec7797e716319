//! Whether what is let in is met, under loads from half to a multiple of what the machine can do.

use crate::load::{Record, Run, closed, ms, open};
use crate::machine::load_average;
use crate::mix::{Kind, Mix, Yardstick, classes};
use crate::report::{Report, Spread};
use crate::server::{Ending, Server};
use crate::site::Site;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Of a request's life: from which share of the machine on its miss is not the daemon's.
const FOREIGN: f64 = 0.02;
/// Of what was let in.
const MISSED_PERCENT: f64 = 0.1;
/// Beyond one step.
const OVERSHOOT_MS: f64 = 5.0;
/// Useful work at twice the capacity.
const USEFUL_PERCENT: f64 = 95.0;

#[derive(Args, Clone)]
pub struct Options {
    /// Multiples of the capacity.
    #[arg(long, value_delimiter = ',', default_value = "0.5,1,2,4")]
    pub load: Vec<f64>,
    /// Requests that are let in, of each load.
    #[arg(long, default_value_t = 500)]
    pub count: usize,
    /// `budget.sessions`.
    #[arg(long, default_value_t = 2)]
    pub sessions: usize,
    /// `budget.queue`.
    #[arg(long, default_value_t = 16)]
    pub queue: usize,
    /// Answers end after a quarter of the tokens that they may have.
    #[arg(long)]
    pub early: bool,
}

/// What a server can do with a mix, always as many requests under way as it has sessions and two.
#[derive(Debug, Clone, Copy)]
pub struct Capacity {
    pub requests_per_s: f64,
    pub tokens_per_s: f64,
    /// Of what requests cost alone: with batches more than a second a second.
    pub work_per_s: f64,
}

pub fn capacity(
    server: &mut dyn Server,
    mix: &mut Mix<'_>,
    yardstick: &Yardstick,
    sessions: usize,
    count: usize,
) -> Capacity {
    let run = closed(server, sessions + 2, count, || mix.next_unhurried());
    let last = run.records.iter().filter_map(|r| r.ended.as_ref().map(|(at, _)| *at)).max();
    let took_s = ms(run.began, last.expect("some were answered")) / 1e3;
    let refused = run.records.iter().filter(|r| !r.is_admitted()).count();
    assert_eq!(refused, 0, "refused without a deadline");
    let tokens: u32 = run.records.iter().map(Record::tokens).sum();
    Capacity {
        requests_per_s: run.records.len() as f64 / took_s,
        tokens_per_s: f64::from(tokens) / took_s,
        work_per_s: run.records.iter().map(|r| work_s(r, yardstick)).sum::<f64>() / took_s,
    }
}

/// What a request costs alone.
fn work_s(record: &Record, yardstick: &Yardstick) -> f64 {
    yardstick.service_ms(record.request.prompt_tokens, record.tokens()) / 1e3
}

pub const HEAD: [&str; 15] = [
    "model",
    "engine",
    "load",
    "sent",
    "let in",
    "refused",
    "met",
    "missed",
    "not stolen",
    "nor others",
    "late ms p99",
    "late ms max",
    "useful tokens %",
    "useful work %",
    "sent late ms p99",
];

pub fn report() -> Report {
    Report::new("met", &HEAD)
}

pub fn measure(site: &Site, options: &Options, report: &mut Report) {
    let daemon = site.start(options.sessions, options.queue, "");
    let mut server = site.socket(&daemon);
    let yardstick = site.yardstick(&mut server);
    let kind = Kind { early: options.early, ..site.kind() };
    let mut mix = Mix::new(&site.model, yardstick, kind, site.seed);
    let count = (options.count / 4).clamp(40, 1000);
    let capacity = capacity(&mut server, &mut mix, &yardstick, options.sessions, count);
    eprintln!("{:?}: {yardstick:?} {capacity:?}", site.cells());
    for &load in &options.load {
        let mut mix = Mix::new(&site.model, yardstick, kind, site.seed ^ load.to_bits());
        let rate = capacity.requests_per_s * load;
        let machine_load = load_average();
        let run = open(&mut server, &mut mix, rate, options.count);
        let outcome = Outcome::of(&run, &yardstick, &capacity);
        let [model, engine] = site.cells();
        let mut json = outcome.json(&run);
        json["model"] = model.clone().into();
        json["engine"] = engine.clone().into();
        json["load"] = load.into();
        json["early"] = options.early.into();
        json["sessions"] = options.sessions.into();
        json["load_average"] = machine_load.into();
        json["yardstick"] = yardstick.json();
        json["capacity"] = json!({
            "requests_per_s": capacity.requests_per_s, "tokens_per_s": capacity.tokens_per_s,
        });
        let name = format!("{load}{}", if options.early { ", early" } else { "" });
        report.row([model, engine, name].into_iter().chain(outcome.cells()), json);
        outcome.judge(site, load, options.early, report);
    }
}

/// What one run came to.
pub struct Outcome {
    sent: usize,
    admitted: usize,
    pub met: usize,
    missed: usize,
    /// While the machine stole next to nothing of the request's life.
    missed_not_stolen: usize,
    /// Nor other processes used more.
    missed_calm: usize,
    late: Spread,
    late_calm_ms: f64,
    useful_tokens_percent: f64,
    useful_work_percent: f64,
    delays: Spread,
}

impl Outcome {
    pub fn of(run: &Run, yardstick: &Yardstick, capacity: &Capacity) -> Self {
        let met = run.admitted().filter(|r| r.is_met());
        let share = |r: &Record| {
            let end = r.ended.as_ref().map_or(r.sent, |(at, _)| *at);
            run.machine.share(r.sent, end)
        };
        let not_stolen = |r: &&Record| share(r).stolen <= FOREIGN;
        let calm = |r: &&Record| not_stolen(r) && share(r).others <= FOREIGN;
        let late: Vec<f64> = run.missed().filter_map(Record::late_ms).collect();
        let late_calm = run.missed().filter(not_stolen).filter_map(Record::late_ms);
        let in_time =
            || met_of(run).filter(|r| r.ended.as_ref().is_some_and(|(at, _)| *at <= run.sent_all));
        let tokens: u32 = in_time().map(Record::tokens).sum();
        let work: f64 = in_time().map(|r| work_s(r, yardstick)).sum();
        let percent = |done: f64, per_s: f64| 100.0 * done / (per_s * run.sending_s());
        Self {
            sent: run.records.len(),
            admitted: run.admitted().count(),
            met: met.count(),
            missed: run.missed().count(),
            missed_not_stolen: run.missed().filter(not_stolen).count(),
            missed_calm: run.missed().filter(calm).count(),
            late: Spread::of(&late),
            late_calm_ms: late_calm.fold(0.0, f64::max),
            useful_tokens_percent: percent(f64::from(tokens), capacity.tokens_per_s),
            useful_work_percent: percent(work, capacity.work_per_s),
            delays: Spread::of(&run.delays_ms()),
        }
    }

    pub fn cells(&self) -> Vec<String> {
        let count = |n: usize| n.to_string();
        let figure = |f: f64| if f.is_nan() { "-".to_owned() } else { format!("{f:.1}") };
        vec![
            count(self.sent),
            count(self.admitted),
            count(self.sent - self.admitted),
            count(self.met),
            count(self.missed),
            count(self.missed_not_stolen),
            count(self.missed_calm),
            figure(self.late.p99),
            figure(self.late.high),
            figure(self.useful_tokens_percent),
            figure(self.useful_work_percent),
            format!("{:.2}", self.delays.p99),
        ]
    }

    pub fn json(&self, run: &Run) -> Value {
        let whole = run.machine.whole();
        let refusals: Vec<f64> =
            run.records.iter().filter(|r| !r.is_admitted()).filter_map(Record::took_ms).collect();
        json!({
            "sent": self.sent, "admitted": self.admitted, "refused": refused(run),
            "refusal_ms": Spread::of(&refusals).json(), "met": self.met, "missed": self.missed,
            "missed_not_stolen": self.missed_not_stolen, "missed_calm": self.missed_calm,
            "missed_on_the_way": run.missed().filter(|r| r.is_late_on_the_way()).count(),
            "misses": misses(run), "late_ms": self.late.json(),
            "late_not_stolen_max_ms": self.late_calm_ms,
            "useful_tokens_percent": self.useful_tokens_percent,
            "useful_work_percent": self.useful_work_percent, "sent_late_ms": self.delays.json(),
            "by_priority": by_class(run), "seconds": run.sending_s(),
            "stolen_percent": whole.stolen * 100.0, "others_percent": whole.others * 100.0,
        })
    }

    fn judge(&self, site: &Site, load: f64, early: bool, report: &mut Report) {
        let [model, engine] = site.cells();
        let missed = 100.0 * self.missed_not_stolen as f64 / self.admitted as f64;
        let what = format!(
            "{model}, {engine}, load {load}: {missed:.2} % missed outside of stolen time \
             ({:.2} % in all), at most {MISSED_PERCENT}",
            100.0 * self.missed as f64 / self.admitted as f64
        );
        report.aim(what, missed <= MISSED_PERCENT);
        let most = f64::from(site.max_step_ms) + OVERSHOOT_MS;
        let what =
            format!("the latest {:.1} ms after its deadline, at most {most}", self.late_calm_ms);
        report.aim(what, self.late_calm_ms <= most);
        if (load - 2.0).abs() < f64::EPSILON && !early {
            let useful = self.useful_tokens_percent;
            let what =
                format!("useful at twice the capacity: {useful:.1} %, at least {USEFUL_PERCENT}");
            report.aim(what, useful >= USEFUL_PERCENT);
        }
    }
}

fn met_of(run: &Run) -> impl Iterator<Item = &Record> {
    run.admitted().filter(|record| record.is_met())
}

/// Refusals by their code.
fn refused(run: &Run) -> Value {
    let mut codes = BTreeMap::<&str, usize>::new();
    for record in run.records.iter().filter(|r| !r.is_admitted()) {
        if let Some((_, Ending::Error { code, .. })) = &record.ended {
            *codes.entry(code).or_default() += 1;
        }
    }
    json!(codes)
}

/// Each miss, for whoever wants to know why.
fn misses(run: &Run) -> Value {
    let one = |record: &Record| {
        let (at, ending) = record.ended.as_ref().expect("let in and ended");
        let share = run.machine.share(record.sent, *at);
        let (cause, own_ms) = match ending {
            Ending::Answer { cause, own_ms, .. } => (cause, *own_ms),
            Ending::Error { code, .. } => (code, None),
        };
        json!({
            "priority": record.request.priority(), "prompt": record.request.prompt_tokens,
            "max_tokens": record.request.max_tokens, "deadline_ms": record.request.deadline_ms,
            "ttft_ms": record.request.ttft_ms, "cause": cause, "took_ms": record.took_ms(),
            "own_ms": own_ms, "first_ms": record.first.map(|at| ms(record.sent, at)),
            "stolen": share.stolen, "others": share.others,
        })
    };
    run.missed().map(one).collect()
}

fn by_class(run: &Run) -> Value {
    let mut json = json!({});
    for (class, name) in classes().into_iter().enumerate() {
        let of = |r: &&Record| r.request.class == class;
        json[name] = json!({
            "sent": run.records.iter().filter(of).count(),
            "admitted": run.admitted().filter(of).count(),
            "met": met_of(run).filter(of).count(),
            "missed": run.missed().filter(of).count(),
        });
    }
    json
}
