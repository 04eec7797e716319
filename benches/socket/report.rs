//! Medians and the table.

use crate::subject::{Memory, Round, Subject};
use serde_json::{Value, json};

/// What the rounds of one subject came to.
pub struct Series {
    name: String,
    threads: usize,
    version: String,
    prompt: usize,
    prefill_us: Spread,
    step_us: Spread,
    /// Of the daemon's tokens, what was not the engine's, by its own account.
    own_us: Option<Spread>,
    /// The same of the time to the first token.
    own_prefill_us: Option<Spread>,
    first_token_ms: Option<f64>,
    idle: Memory,
    peak_rss: u64,
    rounds: Vec<Value>,
}

/// Of many figures the median and the quartiles.
#[derive(Clone, Copy)]
pub struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

impl Spread {
    fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| figures[((figures.len() - 1) as f64 * share).round() as usize];
        Self { low: at(0.25), median: at(0.5), high: at(0.75) }
    }

    fn json(self) -> Value {
        json!({ "lower_quartile": self.low, "median": self.median, "upper_quartile": self.high })
    }
}

impl Series {
    /// From everything that was seen of the subject.
    pub fn new(
        subject: &dyn Subject,
        threads: usize,
        prompt: usize,
        starts: &[f64],
        rounds: &[Round],
    ) -> Self {
        let engine = || rounds.iter().filter_map(|r| Some((r, r.engine?)));
        let is_daemon = engine().next().is_some();
        let own = |f: &dyn Fn(&Round) -> Option<f64>| {
            is_daemon.then(|| Spread::of(rounds.iter().filter_map(f)))
        };
        let first_token = match starts {
            [] => subject.first_token_ms(),
            starts => Some(Spread::of(starts.iter().copied()).median),
        };
        Self {
            name: subject.name().to_owned(),
            threads,
            version: subject.version().to_owned(),
            prompt,
            prefill_us: Spread::of(rounds.iter().map(|r| r.prefill_us)),
            // Of each round the median step: a round, not a token, is what noise hits.
            step_us: Spread::of(rounds.iter().map(|r| Spread::of(r.steps_us.clone()).median)),
            own_us: own(&|r| r.engine.map(|e| e.token_us - e.decode_us)),
            own_prefill_us: own(&|r| r.engine.map(|e| r.prefill_us - e.prefill_us)),
            first_token_ms: first_token,
            idle: subject.idle(),
            peak_rss: subject.peak_rss(),
            rounds: rounds.iter().map(round_json).collect(),
        }
    }

    fn raw_name(&self) -> Option<String> {
        let engine = self.name.strip_prefix("slmd ")?.strip_suffix(" (socket)")?;
        Some(format!("{engine} raw"))
    }

    fn prefill_rate(&self) -> f64 {
        self.prompt as f64 / self.prefill_us.median * 1e6
    }
}

fn round_json(round: &Round) -> Value {
    let mut json = json!({
        "prefill_us": round.prefill_us,
        "step_us": Spread::of(round.steps_us.clone()).json(),
    });
    if let Some(engine) = round.engine {
        json["engine"] = json!({
            "prefill_us": engine.prefill_us, "decode_us": engine.decode_us,
            "token_us": engine.token_us,
        });
    }
    json
}

/// All of it.
pub struct Report {
    prompt: usize,
    tokens: u32,
    rounds: usize,
    series: Vec<Series>,
}

impl Report {
    /// Nothing yet.
    pub fn new(prompt: &usize, tokens: u32, rounds: usize) -> Self {
        Self { prompt: *prompt, tokens, rounds, series: Vec::new() }
    }

    /// Adds what one subject came to.
    pub fn add(&mut self, series: Series) {
        self.series.push(series);
    }

    /// The table, in Markdown.
    pub fn print(&self) {
        println!(
            "Prompt {} tokens, answer {}, medians of {} rounds.\n",
            self.prompt, self.tokens, self.rounds
        );
        println!(
            "| T | | prefill tok/s | decode tok/s | quartiles | of raw | own us/token | minus raw \
             us/token | own us/prompt | first token ms | idle MB (anonymous) | peak MB |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
        for series in &self.series {
            println!("{}", self.row(series));
        }
    }

    fn row(&self, s: &Series) -> String {
        let text = |figure: Option<f64>, digits: usize| {
            figure.map_or(String::new(), |f| format!("{f:.digits$}"))
        };
        let mb = |bytes: u64| bytes as f64 / 1e6;
        let raw = self.raw_of(s);
        format!(
            "| {} | {} | {:.0} | {:.1} | {:.1}-{:.1} | {} | {} | {} | {} | {} | {:.0} ({:.0}) | \
             {:.0} |",
            s.threads,
            s.name,
            s.prefill_rate(),
            1e6 / s.step_us.median,
            1e6 / s.step_us.high,
            1e6 / s.step_us.low,
            text(raw.map(|r| r.step_us.median / s.step_us.median), 3),
            text(s.own_us.map(|o| o.median), 0),
            text(raw.map(|r| s.step_us.median - r.step_us.median), 0),
            text(s.own_prefill_us.map(|o| o.median), 0),
            text(s.first_token_ms, 0),
            mb(s.idle.rss),
            mb(s.idle.anonymous),
            mb(s.peak_rss)
        )
    }

    /// The raw engine beside a daemon.
    fn raw_of(&self, series: &Series) -> Option<&Series> {
        let name = series.raw_name()?;
        self.series.iter().find(|s| s.name == name && s.threads == series.threads)
    }

    /// Everything, for machines.
    pub fn json(&self) -> String {
        let series: Vec<Value> = self.series.iter().map(|s| self.series_json(s)).collect();
        let whole = json!({
            "prompt_tokens": self.prompt, "answer_tokens": self.tokens, "rounds": self.rounds,
            "series": series,
        });
        format!("{whole:#}\n")
    }

    fn series_json(&self, s: &Series) -> Value {
        let raw = self.raw_of(s);
        json!({
            "name": s.name, "threads": s.threads, "version": s.version,
            "prefill_tokens_per_s": s.prefill_rate(), "decode_tokens_per_s": 1e6 / s.step_us.median,
            "prefill_us": s.prefill_us.json(), "step_us": s.step_us.json(),
            "own_us_per_token": s.own_us.map(Spread::json),
            "own_us_per_prompt": s.own_prefill_us.map(Spread::json),
            "minus_raw_us_per_token": raw.map(|r| s.step_us.median - r.step_us.median),
            "first_token_ms": s.first_token_ms,
            "idle_rss_bytes": s.idle.rss, "idle_anonymous_bytes": s.idle.anonymous,
            "peak_rss_bytes": s.peak_rss, "rounds": s.rounds,
        })
    }
}
