//! The same loads on slmd and on llama-server, which knows no deadlines: there the client gives up.

use crate::llama::{LlamaServer, Plan};
use crate::load::open_sent;
use crate::machine::{load_average, peak_rss_of};
use crate::met::{Capacity, Outcome, capacity};
use crate::mix::{Kind, Mix, Yardstick};
use crate::report::{Report, Spread};
use crate::server::Server;
use crate::site::Site;
use crate::urgent::Crowd;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// For the urgent requests: four long jobs and one.
const SESSIONS: usize = 5;

#[derive(Args, Clone)]
pub struct Options {
    /// llama.cpp's `llama-server`, built for this machine.
    #[arg(long)]
    pub llama_server: Option<PathBuf>,
    /// The same shape as a Q4_0 file of llama.cpp; docs/benchmarks.md says how it is made.
    #[arg(long)]
    pub gguf: Option<PathBuf>,
    /// Further arguments of llama-server, separated by commas.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    pub llama_arguments: Vec<String>,
    /// Multiples of the slower one's capacity.
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    pub load: Vec<f64>,
    /// Requests of each load.
    #[arg(long, default_value_t = 300)]
    pub count: usize,
    /// Urgent requests.
    #[arg(long, default_value_t = 100)]
    pub trials: usize,
}

pub fn report() -> Report {
    Report::new(
        "peers",
        &[
            "model",
            "server",
            "urgent idle p99 ms",
            "beside p99 ms",
            "capacity requests/s",
            "load",
            "sent",
            "met",
            "met of sent %",
            "met of let in %",
            "peak MB",
        ],
    )
}

/// One of the two.
struct Subject {
    name: String,
    server: Box<dyn Server>,
    idle: Spread,
    beside: Spread,
    yardstick: Yardstick,
    capacity: Capacity,
}

pub fn measure(site: &Site, options: &Options, report: &mut Report) {
    let (Some(program), Some(gguf)) = (&options.llama_server, &options.gguf) else {
        eprintln!("SKIP: peers: no --llama-server or no --gguf");
        return;
    };
    let daemon = site.start(SESSIONS, 16, "");
    let slmd = Box::new(site.socket(&daemon));
    let slmd = Subject::meet(site, options, format!("slmd, {}", site.engine), slmd);
    let plan = Plan {
        program,
        gguf,
        threads: site.threads,
        sessions: SESSIONS,
        context_tokens: site.model.context_tokens,
        more: &options.llama_arguments,
    };
    let llama = LlamaServer::start(&plan, site.model.tokenizer());
    let llama = Subject::meet(site, options, "llama-server".to_owned(), Box::new(llama));
    let mut subjects = [slmd, llama];
    // Both get the same requests at the same times: what the slower one can do.
    let slower = subjects
        .iter()
        .min_by(|a, b| a.capacity.requests_per_s.total_cmp(&b.capacity.requests_per_s))
        .map(|subject| (subject.yardstick, subject.capacity))
        .expect("there are two");
    for &load in &options.load {
        for subject in &mut subjects {
            subject.load(site, options, load, slower, report);
        }
    }
}

/// What both are asked for.
fn mix<'a>(site: &'a Site, yardstick: Yardstick, load: f64) -> Mix<'a> {
    let kind = Kind { plain: true, ..site.kind() };
    Mix::new(&site.model, yardstick, kind, site.seed ^ load.to_bits())
}

impl Subject {
    /// All but the loads.
    fn meet(site: &Site, options: &Options, name: String, mut server: Box<dyn Server>) -> Self {
        let asked = server.as_mut();
        let mut crowd = Crowd::new(site, true);
        crowd.idle_ms(asked, options.trials / 10);
        let idle = Spread::of(&crowd.idle_ms(asked, options.trials));
        let beside = Spread::of(&crowd.beside_ms(asked, options.trials));
        let yardstick = site.yardstick(asked);
        let count = (options.count / 4).clamp(40, 1000);
        let capacity = capacity(asked, &mut mix(site, yardstick, 0.0), &yardstick, SESSIONS, count);
        eprintln!("{name}: {yardstick:?} {capacity:?}");
        Self { name, server, idle, beside, yardstick, capacity }
    }

    fn load(
        &mut self,
        site: &Site,
        options: &Options,
        load: f64,
        (yardstick, common): (Yardstick, Capacity),
        report: &mut Report,
    ) {
        let rate = common.requests_per_s * load;
        let machine_load = load_average();
        let mut mix = mix(site, yardstick, load);
        let run = open_sent(self.server.as_mut(), &mut mix, rate, options.count);
        let outcome = Outcome::of(&run, &yardstick, &common);
        let percent = |of: usize| 100.0 * outcome.met as f64 / of as f64;
        let (sent, admitted) = (run.records.len(), run.admitted().count());
        let peak_mb = peak_rss_of(self.server.pid()) as f64 / 1e6;
        let mut json = outcome.json(&run);
        json["model"] = site.model.name.clone().into();
        json["server"] = self.name.clone().into();
        json["load"] = load.into();
        json["load_average"] = machine_load.into();
        json["urgent_idle_ms"] = self.idle.json();
        json["urgent_beside_ms"] = self.beside.json();
        json["own_capacity"] = json!({
            "requests_per_s": self.capacity.requests_per_s,
            "tokens_per_s": self.capacity.tokens_per_s,
        });
        json["yardstick"] = yardstick.json();
        json["peak_rss_mb"] = peak_mb.into();
        let text = |figure: f64| format!("{figure:.1}");
        let cells = [
            site.model.name.clone(),
            self.name.clone(),
            text(self.idle.p99),
            text(self.beside.p99),
            text(self.capacity.requests_per_s),
            load.to_string(),
            sent.to_string(),
            outcome.met.to_string(),
            text(percent(sent)),
            text(percent(admitted)),
            format!("{peak_mb:.0}"),
        ];
        report.row(cells, json);
    }
}
