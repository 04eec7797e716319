//! What requests were thought to take when they began, against what they took; and what a refused one
//! is said to need, which has the reserve of a promise in it.

use crate::load::one;
use crate::mix::{Kind, Mix, Request, UNHURRIED_MS};
use crate::report::Report;
use crate::server::Ending;
use crate::site::Site;
use clap::Args;
use serde_json::json;

/// Shorter requests say little: what is needed is told in whole milliseconds.
const LEAST_MS: f64 = 20.0;
/// Requests looked at for each that is long enough and refused with a figure.
const PATIENCE: usize = 20;
/// Of the service time, the deadline of what is to be refused.
const HOPELESS: f64 = 0.3;
/// The median of the error.
const ERROR_PERCENT: f64 = 10.0;

#[derive(Args, Clone)]
pub struct Options {
    /// Requests that are refused, and then let in.
    #[arg(long, default_value_t = 60)]
    pub trials: usize,
}

pub fn report() -> Report {
    Report::new(
        "cost",
        &[
            "model",
            "engine",
            "requests",
            "median error %",
            "p90 %",
            "needed more than taken %",
            "p90 %",
        ],
    )
}

/// What a refused request is said to need, against what it takes.
pub fn measure(site: &Site, options: &Options, report: &mut Report) {
    let daemon = site.start(2, 8, "");
    let mut server = site.socket(&daemon);
    let yardstick = site.yardstick(&mut server);
    let context = site.model.context_tokens;
    let kind = Kind { longest: (context / 2, context as u32 / 2 - 8), plain: true, ..site.kind() };
    let mut mix = Mix::new(&site.model, yardstick, kind, site.seed);
    let mut errors = Vec::new();
    for _ in 0..options.trials * PATIENCE {
        if errors.len() == options.trials {
            break;
        }
        let request = mix.next();
        if yardstick.service_ms(request.prompt_tokens, request.max_tokens) < LEAST_MS {
            continue;
        }
        // Too little, but not so little that it is over before it is looked at.
        let service_ms = yardstick.service_ms(request.prompt_tokens, request.max_tokens);
        let deadline_ms = (service_ms * HOPELESS).ceil();
        let hopeless = Request { deadline_ms, ttft_ms: None, stream: false, ..request };
        let refused = one(&mut server, hopeless.clone());
        let Some((_, Ending::Error { needs_ms: Some(needs_ms), .. })) = refused.ended else {
            eprintln!("not refused with what it needs: {:?}", refused.ended);
            continue;
        };
        let taken = one(&mut server, Request { deadline_ms: UNHURRIED_MS, ..hopeless });
        let took_ms = taken.took_ms().expect("an answer");
        errors.push(100.0 * (needs_ms - took_ms) / took_ms);
    }
    let (reserve, reserve_p90) = (quantile(&errors, 0.5), quantile(&errors, 0.9));
    let own = daemon.client().status().expect("a status")["costs"]["error"].take();
    let figure = |name: &str| own["requests"][name].as_f64().unwrap_or(f64::NAN);
    let (median, p90) = (figure("median_percent"), figure("p90_percent"));
    let [model, engine] = site.cells();
    let json = json!({
        "model": model, "engine": engine, "requests": options.trials, "median_error_percent": median,
        "p90_error_percent": p90, "reserve_percent": reserve, "reserve_p90_percent": reserve_p90,
        "own": own,
    });
    let what = format!("{model}, {engine}: median error {median:.1} %, at most {ERROR_PERCENT}");
    let figures = [median, p90, reserve, reserve_p90].map(|f| format!("{f:.1}"));
    let head = [model, engine, options.trials.to_string()];
    report.row(head.into_iter().chain(figures), json);
    report.aim(what, median <= ERROR_PERCENT);
}

fn quantile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}
