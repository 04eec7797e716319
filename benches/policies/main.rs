//! slmd's scheduler against other policies, in virtual time: the same requests on the same simulated
//! machine. `cargo bench --bench policies -- --help`; `docs/latency.md` says what came of it.

mod baseline;
mod load;
mod plot;
#[path = "../../tests/common/random.rs"]
mod random;
#[allow(dead_code, reason = "the other benches use more of it")]
#[path = "../mqtt/report.rs"]
mod report;
mod subject;
mod trial;
#[path = "../../tests/common/world.rs"]
mod world;

use clap::Parser;
use plot::{Line, Point};
use report::Report;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use subject::{MACHINES, Machine, SUBJECTS, Subject};
use trial::{Answers, Capacity, Outcome, Scale};

/// How many requests are met by their deadlines, by slmd's scheduler and by other policies, on the same
/// simulated machine. Progress goes to standard error, tables to standard output.
#[derive(Parser)]
#[command(
    name = "cargo bench --bench policies --",
    after_help = "What docs/latency.md shows:\n  \
                  cargo bench --bench policies -- --svg docs/policies.svg"
)]
struct Args {
    /// Loads of each kind.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Requests of each load.
    #[arg(long, default_value_t = 1000)]
    requests: usize,
    /// Multiples of the capacity.
    #[arg(long, value_delimiter = ',', default_value = "0.25,0.5,0.75,1,1.5,2,3,4")]
    load: Vec<f64>,
    /// Where to draw the first machine, with answers that are as long as they may be.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Where to write everything as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// End with 1 if slmd broke a promise.
    #[arg(long)]
    strict: bool,
}

/// One machine with one kind of answers.
struct Site {
    machine: Machine,
    answers: Answers,
    capacity: Capacity,
    scale: Scale,
}

impl Site {
    fn new(machine: Machine, answers: Answers, scale: Scale) -> Self {
        let capacity = trial::capacity(machine, answers, scale);
        eprintln!("{}, answers {}: {capacity:?}", machine.name, answers.name());
        Self { machine, answers, capacity, scale }
    }

    fn measure(&self, subject: Subject, loads: &[f64], report: &mut Report) -> Line {
        let mut points = Vec::new();
        let (mut admitted, mut broken) = (0, 0);
        for &load in loads {
            let rate = self.capacity.requests_per_s * load;
            let outcome = trial::run(subject, self.machine, self.answers, rate, self.scale);
            admitted += outcome.admitted;
            broken += outcome.admitted - outcome.met;
            self.tell(subject, load, &outcome, report);
            points.push(Point {
                load,
                met_percent: outcome.met_percent(),
                kept_percent: outcome.kept_percent(),
            });
        }
        if subject.is_slmd() {
            let (machine, answers) = (self.machine.name, self.answers.name());
            let what =
                format!("{machine}, answers {answers}: {broken} of {admitted} promises broken");
            report.aim(what, broken == 0);
        }
        Line { name: subject.name, points }
    }

    fn tell(&self, subject: Subject, load: f64, outcome: &Outcome, report: &mut Report) {
        let mut json = outcome.json(self.capacity);
        json["machine"] = self.machine.name.into();
        json["answers"] = self.answers.name().into();
        json["policy"] = subject.name.into();
        json["load"] = load.into();
        json["capacity"] = json!({
            "requests_per_s": self.capacity.requests_per_s,
            "tokens_per_s": self.capacity.tokens_per_s,
        });
        let load = format!("{load}");
        let (machine, answers) = (self.machine.name, self.answers.name());
        let named = [machine, answers, &load, subject.name].map(str::to_owned);
        report.row(named.into_iter().chain(outcome.cells(self.capacity)), json);
    }
}

fn main() -> ExitCode {
    let args = Args::parse_from(std::env::args().filter(|a| a != "--bench"));
    let head = ["machine", "answers", "load", "policy"];
    let mut report = Report::new("policies", &[&head[..], &Outcome::HEAD[..]].concat());
    let scale = Scale { seeds: args.seeds, requests: args.requests };
    let mut drawn = Vec::new();
    for machine in MACHINES {
        for answers in [Answers::Whole, Answers::Early] {
            let site = Site::new(machine, answers, scale);
            let subjects = SUBJECTS.into_iter().filter(|s| s.differs_on(machine));
            let measured = subjects.map(|s| site.measure(s, &args.load, &mut report));
            let lines: Vec<Line> = measured.collect();
            if drawn.is_empty() {
                drawn = lines;
            }
        }
    }
    report.print();
    if let Some(path) = &args.json {
        std::fs::write(path, report::json(std::slice::from_ref(&report))).expect("written");
    }
    if let Some(path) = &args.svg {
        std::fs::write(path, plot::svg(&drawn)).expect("written");
    }
    match args.strict && !report.is_met() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}
