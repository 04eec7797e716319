//! `slmd plan --board NAME`: will it fit, in each size of memory that the board is sold in.

use super::args::PlanArgs;
use super::exit::{Failure, USAGE};
use super::plan;
use crate::board::BoardProfile;
use crate::config::format_bytes;
use crate::engine::choice::Choice;
use crate::supervisor::{self, Budget, Plan, StartError, sessions};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;

/// The answer for one size.
struct Size {
    memory_bytes: u64,
    budget_bytes: u64,
    total_bytes: u64,
    /// `2 sessions of 1024 tokens`.
    shape: String,
    title: String,
    facts: Value,
    /// Why it does not fit.
    refusal: Option<StartError>,
    warnings: Vec<String>,
}

/// Prints the answer for every size; a failure if it fits in none.
pub fn run(
    args: &PlanArgs,
    plan: &Plan,
    profile: &BoardProfile,
    choice: &Choice,
) -> Result<(), Failure> {
    if args.systemd {
        let sizes = profile.sizes().join(", ");
        return Err(Failure::new(USAGE, "a drop-in is for one size of memory")
            .hint(format!("say by --memory what slmd may have of it; the board has {sizes}")));
    }
    let one = |bytes: &u64| size(plan, *bytes, profile, choice);
    let sizes = profile.memory.sizes.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    let text = match args.json {
        true => format!("{:#}\n", facts(&sizes, profile)),
        false => table(&sizes, profile),
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| Failure::output(&e))?;
    if !args.json {
        sizes.iter().flat_map(|size| &size.warnings).for_each(|w| super::term::note(w));
    }
    fits_somewhere(sizes)
}

/// Whether some size will do; else why not even the largest does.
fn fits_somewhere(sizes: Vec<Size>) -> Result<(), Failure> {
    match sizes.iter().any(|size| size.refusal.is_none()) {
        true => Ok(()),
        false => match sizes.into_iter().next_back().and_then(|size| size.refusal) {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        },
    }
}

/// The sheet with `memory_bytes` of memory, of which slmd may have the profile's share. The model's
/// files are opened for each, since the memory may decide which graph is taken.
fn size(
    plan: &Plan,
    memory_bytes: u64,
    profile: &BoardProfile,
    choice: &Choice,
) -> Result<Size, StartError> {
    let budget_bytes = profile.budget_of(memory_bytes);
    let plan = Plan { memory_bytes: budget_bytes, ..plan.clone() };
    let bundle = supervisor::open_bundle(&plan)?;
    let budget = Budget::new(&plan, &bundle, choice)?;
    let (sheet, warnings, refusal) = match budget.settle() {
        Ok(settled) => (settled.sheet.clone(), settled.warnings(), None),
        Err(error) => (budget.subject().sheet(budget.wanted()), Vec::new(), Some(error)),
    };
    let title = format!("{} with {} on {}", bundle.name, choice.kind.name(), profile.name);
    Ok(Size {
        memory_bytes,
        budget_bytes,
        total_bytes: sheet.total_bytes(),
        shape: format!(
            "{} of {} tokens",
            sessions(sheet.shape.sessions),
            sheet.shape.context_tokens
        ),
        facts: plan::facts(&title, &budget, &sheet),
        title,
        refusal,
        warnings,
    })
}

fn facts(sizes: &[Size], profile: &BoardProfile) -> Value {
    let of = |size: &Size| {
        json!({
            "memory_bytes": size.memory_bytes, "budget_bytes": size.budget_bytes,
            "fits": size.refusal.is_none(), "plan": size.facts,
        })
    };
    json!({
        "board": profile.name,
        "memory_percent": profile.memory_percent(),
        "fits": sizes.iter().any(|size| size.refusal.is_none()),
        "sizes": sizes.iter().map(of).collect::<Vec<_>>(),
    })
}

fn table(sizes: &[Size], profile: &BoardProfile) -> String {
    let title = sizes.first().map_or("", |size| size.title.as_str());
    let percent = profile.memory_percent();
    let mut text = format!("{title}, with {percent} % of its memory\n\n");
    let mut row = |cells: [&str; 5]| {
        let [memory, budget, needed, left, shape] = cells;
        writeln!(text, "{memory:>9}{budget:>13}{needed:>13}{left:>22}  {shape}")
            .expect("a String takes all text");
    };
    row(["memory", "budget", "needed", "", "serves"]);
    for size in sizes {
        let left = match size.budget_bytes.checked_sub(size.total_bytes) {
            Some(left) => format!("{} left", mebibytes(left)),
            None => format!("{} missing", mebibytes(size.total_bytes - size.budget_bytes)),
        };
        row([
            &format_bytes(size.memory_bytes),
            &mebibytes(size.budget_bytes),
            &mebibytes(size.total_bytes),
            &left,
            if size.refusal.is_some() { "does not fit" } else { &size.shape },
        ]);
    }
    text.push_str("\n`--memory SIZE` shows what takes it, for a budget of that size\n");
    text
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
