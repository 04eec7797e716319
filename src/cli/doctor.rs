//! `slmd doctor`: what is here, what would be used, and why.

use super::args::DoctorArgs;
use super::exit::{Failure, UNAVAILABLE};
use super::term::Progress;
use super::{facts, serve};
use crate::board::Board;
use crate::config::{Environment, Settings};
use crate::core::plan::EngineKind;
use crate::core::provider::{CPU, Provider, known};
use crate::engine::choice;
use crate::supervisor::providers::{self, Ran, Verdict};
use crate::supervisor::{Plan, open_bundle};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;

/// Looks at this machine.
pub fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let model = args.model.as_deref().map(|m| m.display().to_string());
    let settings = serve::settings(args.config.as_deref(), &serve::flags(&[("model", model)]))?;
    let board = Board::find(&settings.board.value)?;
    let chosen = choice::choose(settings.engine.value);
    let is_ort = chosen.as_ref().is_ok_and(|choice| choice.kind == EngineKind::Ort);
    let looked = is_ort.then(|| look(&settings, args)).transpose()?;
    let mut found = json!({
        "slmd": env!("CARGO_PKG_VERSION"),
        "board": {
            "profile": board.profile.name, "model": board.machine.model,
            "cores": board.machine.cores, "memory_bytes": board.machine.memory_bytes,
            "cgroup_bytes": board.machine.cgroup_bytes, "kernels": choice::cpu_kernels(),
        },
        "engines_in_this_build": {
            "ort": cfg!(feature = "ort"), "tract": cfg!(feature = "tract"),
        },
        "onnx_runtime": onnx_runtime(),
        "engine": {
            "asked": settings.engine.value.name(),
            "chosen": chosen.as_ref().ok().map(|choice| choice.kind.name()),
            "reason": chosen.map_or_else(|e| e.to_string(), |choice| choice.reason),
        },
        "model": {
            "directory": settings.model.value,
            "embedded": cfg!(feature = "default-model"),
        },
        "socket": settings.unix_path.value,
        "state": { "directory": settings.state_dir.value, "root": Environment::current().is_root },
    });
    let rows = looked.unwrap_or_default();
    if args.json {
        found["providers"] = rows.iter().map(Row::json).collect();
    }
    facts::print(&found, args.json)?;
    if !args.json && !rows.is_empty() {
        let text = table(&rows);
        std::io::stdout().write_all(text.as_bytes()).map_err(|e| Failure::output(&e))?;
    }
    match rows.iter().find(|row| args.strict && row.is_asked_for && row.fault.is_some()) {
        None => Ok(()),
        Some(row) => {
            let reason = row.fault.as_deref().unwrap_or_default();
            let message = format!("the execution provider {} cannot be used: {reason}", row.name);
            Err(Failure::new(UNAVAILABLE, message))
        }
    }
}

/// A provider, and what came of it.
struct Row {
    name: String,
    /// Whether the board or the configuration names it, or it is the CPU's own.
    is_asked_for: bool,
    is_used: bool,
    ran: Option<Ran>,
    /// Why it cannot be used.
    fault: Option<String>,
    /// Why it is not used, or why it is.
    reason: String,
}

/// Every provider of the chain and of the library.
fn look(settings: &Settings, args: &DoctorArgs) -> Result<Vec<Row>, Failure> {
    let mut plan = Plan::from(settings).alone();
    let bundle = open_bundle(&plan)?;
    let asked: Vec<Provider> = plan.chain.clone();
    let is_other =
        |name: &String| known().any(|known| known == name) && asked.iter().all(|p| p.name != *name);
    let others: Vec<String> = inside().into_iter().filter(is_other).collect();
    if args.all {
        let more = others.iter().filter(|name| *name != CPU).map(|name| Provider::built_in(name));
        plan.chain.extend(more);
    }
    let verdicts: Vec<Verdict> = if args.quick {
        providers::remembered(&plan, &bundle).into_iter().flatten().collect()
    } else {
        let progress = Progress::start("looking");
        providers::verdicts(&plan, &bundle, &|phase| progress.phase(phase))
    };
    let in_chain = |p: &Provider| p.is_cpu() || asked.contains(p);
    let eligible: Vec<Verdict> =
        verdicts.iter().filter(|v| in_chain(&v.provider)).cloned().collect();
    let best = providers::best(&eligible).cloned().unwrap_or_else(Provider::cpu);
    let mut rows: Vec<Row> =
        verdicts.into_iter().map(|v| row(&best, in_chain(&v.provider), v)).collect();
    let untried = |name: &String| rows.iter().all(|row| row.name != *name);
    let idle: Vec<Row> = others.iter().filter(|name| untried(name)).map(idle_row).collect();
    rows.extend(idle);
    Ok(rows)
}

fn row(best: &Provider, is_asked_for: bool, verdict: Verdict) -> Row {
    let fault = verdict.fault();
    let is_used = fault.is_none() && verdict.provider == *best;
    let reason = match &fault {
        Some(fault) => fault.clone(),
        None if is_used => "the fastest of the chain that gives the CPU's answers".to_owned(),
        None if !is_asked_for => "neither the board nor the configuration names it".to_owned(),
        None => format!("{} is faster, or as fast", best.name),
    };
    let ran = verdict.ran.ok();
    Row { name: verdict.provider.name, is_asked_for, is_used, ran, fault, reason }
}

/// A provider that is there and was not tried.
fn idle_row(name: &String) -> Row {
    let is_cpu = name == CPU;
    let reason = match is_cpu {
        true => "not tried yet; without --quick it is",
        false => "neither the board nor the configuration names it; --all tries it",
    };
    let (reason, name) = (reason.to_owned(), name.clone());
    Row { name, is_asked_for: is_cpu, is_used: false, ran: None, fault: None, reason }
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "name": self.name, "used": self.is_used, "in_chain": self.is_asked_for,
            "reason": self.reason, "measured": self.ran,
        })
    }

    fn cells(&self) -> [String; 8] {
        let number = |figure: Option<f64>| figure.map_or("-".to_owned(), |x| format!("{x:.2}"));
        let ran = self.ran.as_ref();
        let own = ran.and_then(|ran| ran.shares.iter().find(|s| s.provider == self.name));
        let all: usize = ran.map_or(0, |ran| ran.shares.iter().map(|s| s.operators).sum());
        let operators = own.map_or(0, |s| s.operators);
        [
            self.name.clone(),
            if self.is_used { "yes" } else { "no" }.to_owned(),
            number(ran.map(|ran| ran.times.decode_ms)),
            number(ran.map(|ran| ran.times.prefill_ms)),
            ran.map_or("-".to_owned(), |_| format!("{operators}/{all}")),
            ran.map_or("-".to_owned(), |_| format!("{:.0} %", own.map_or(0.0, |s| s.time_percent))),
            ran.map_or("-".to_owned(), |r| {
                format!("{:.0}", r.peak_bytes as f64 / f64::from(1 << 20))
            }),
            self.reason.clone(),
        ]
    }
}

const HEAD: [&str; 8] =
    ["provider", "used", "decode ms", "prompt ms", "operators", "time", "MiB", "reason"];

fn table(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    lines.iter().fold("\n".to_owned(), |mut text, line| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let cells: Vec<String> = cells.collect();
        writeln!(text, "{}", cells.join("  ").trim_end()).expect("a String takes all text");
        text
    })
}

/// The library: which, how old, what is in it, and what it sees.
#[cfg(feature = "ort")]
fn onnx_runtime() -> Value {
    use crate::engine::ort::{library, plugin};
    let candidates: Vec<Value> = library::candidates()
        .iter()
        .map(|c| json!({ "path": c.path, "why": c.why, "exists": c.path.exists() }))
        .collect();
    match library::load() {
        Err(error) => json!({ "error": error.to_string(), "looked_for": candidates }),
        Ok(found) => json!({
            "library": found.path,
            "version": found.version,
            "api_level": found.minor,
            "plugins": match found.minor >= plugin::API_LEVEL {
                true => "can be loaded".to_owned(),
                false => format!("need 1.{}", plugin::API_LEVEL),
            },
            "providers": inside(),
            "devices": providers::devices(),
        }),
    }
}

#[cfg(not(feature = "ort"))]
fn onnx_runtime() -> Value {
    Value::Null
}

#[cfg(feature = "ort")]
fn inside() -> Vec<String> {
    crate::engine::ort::built_in_providers().unwrap_or_default()
}

#[cfg(not(feature = "ort"))]
fn inside() -> Vec<String> {
    Vec::new()
}
