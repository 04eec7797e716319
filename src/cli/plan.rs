//! `slmd plan`: the memory sheet, on paper, for this board or another one.

use super::args::PlanArgs;
use super::exit::Failure;
use super::term::Progress;
use super::{plan_sizes, serve};
use crate::board::{Board, Room};
use crate::config::{Origin, format_bytes};
use crate::core::cpus::CpuList;
use crate::engine::choice;
use crate::sheet::Sheet;
use crate::supervisor::{self, Budget, Plan, StartError};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;

/// What the unit's limit has beyond the budget: the kernel's own pages (page tables, sockets) and
/// the page cache of what is written, which the budget does not count but the limit does.
const MARGIN_BYTES: u64 = 16 << 20;
const MARGIN_PERCENT: u64 = 10;

/// Prints the sheet; a failure if it does not fit.
pub fn run(args: &PlanArgs) -> Result<(), Failure> {
    super::log_to_stderr("warn");
    let flags = serve::flags(&[
        ("board", args.board.clone()),
        ("model", args.model.as_deref().map(|m| m.display().to_string())),
        ("engine", args.engine.clone()),
        ("budget.memory", args.memory.clone()),
    ]);
    let settings = serve::settings(args.config.as_deref(), &flags)?;
    let mut plan = Plan::from(&settings);
    match args.board {
        // What this machine leaves, and which CPUs, says nothing about another one.
        Some(_) => plan.room = Room::default(),
        None => plan = plan.on_these_cpus(),
    }
    if args.measure {
        measure(&plan)?;
    }
    // Beside it, as `serve` would have it.
    let plan = match supervisor::second::plan(&settings, &plan) {
        Some(second) => plan.beside(supervisor::second::bytes(&second, &|_| ())?),
        None => plan,
    };
    let choice = choice::choose(plan.engine).map_err(StartError::from)?;
    let profile = Board::find(&settings.board.value)?.profile;
    let says_memory = !matches!(settings.memory_bytes.origin, Origin::Board(_));
    if args.board.is_some() && !says_memory && !profile.memory.sizes.is_empty() {
        return plan_sizes::run(args, &plan, &profile, &choice);
    }
    let bundle = supervisor::open_bundle(&plan)?;
    let budget = Budget::new(&plan, &bundle, &choice)?;
    let title = format!("{} with {} on {}", bundle.name, choice.kind.name(), profile.name);
    let outcome = budget.settle();
    let sheet = match &outcome {
        Ok(settled) => settled.sheet.clone(),
        Err(_) => budget.subject().sheet(budget.wanted()),
    };
    let text = match (args.systemd, args.json) {
        (true, _) => drop_in(&title, settings.memory_bytes.value, &settings.affinity.value),
        (false, true) => format!("{:#}\n", facts(&title, &budget, &sheet)),
        (false, false) => table(&title, &budget, &sheet),
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| Failure::output(&e))?;
    outcome.map_err(Failure::from)?.warnings().iter().for_each(|w| super::term::note(w));
    Ok(())
}

/// Loads the model with all the memory there is, and remembers what it took.
fn measure(plan: &Plan) -> Result<(), StartError> {
    let mut progress = Progress::start("measuring");
    let all = Plan { memory_bytes: u64::MAX, watched_tasks: Vec::new(), ..plan.clone() };
    let measured = supervisor::measure(&all, &|phase| progress.phase(phase));
    progress.end();
    measured
}

/// The sheet, and what would fit, for machines.
pub fn facts(title: &str, budget: &Budget<'_>, sheet: &Sheet) -> Value {
    let (ceiling, least) = (budget.ceiling(), budget.least());
    let shape = sheet.shape;
    json!({
        "plan": title,
        "sessions": shape.sessions,
        "context_tokens": shape.context_tokens,
        "lines": sheet.lines,
        "total_bytes": sheet.total_bytes(),
        "ceiling_bytes": ceiling.bytes,
        "ceiling": ceiling.to_string(),
        "fits": sheet.total_bytes() <= ceiling.bytes,
        "left_bytes": ceiling.bytes.saturating_sub(sheet.total_bytes()),
        "most_sessions": budget.most_sessions(shape),
        "longest_context_tokens": budget.longest_context(shape),
        "minimum": {
            "bytes": least.total_bytes(),
            "sessions": least.shape.sessions,
            "context_tokens": least.shape.context_tokens,
        },
    })
}

fn table(title: &str, budget: &Budget<'_>, sheet: &Sheet) -> String {
    let (ceiling, shape, total) = (budget.ceiling(), sheet.shape, sheet.total_bytes());
    let mut text =
        format!("{title}: {} sessions of {} tokens\n\n", shape.sessions, shape.context_tokens);
    let mut row = |name: &str, bytes: u64, how: &str, of: &str| {
        let mib = bytes as f64 / f64::from(1 << 20);
        let line = format!("{name:<24}{mib:>9.1} MiB  {how:<10}{of}");
        writeln!(text, "{}", line.trim_end()).expect("a String takes all text");
    };
    for line in &sheet.lines {
        row(line.item.name(), line.bytes, line.how.name(), &line.of);
    }
    row("total", total, "", "");
    row("budget", ceiling.bytes, "", &ceiling.to_string());
    match ceiling.bytes.checked_sub(total) {
        Some(left) => row("left", left, "", ""),
        None => row("missing", total - ceiling.bytes, "", ""),
    }
    let least = budget.least();
    let figure = |n: Option<u32>| n.map_or("none".to_owned(), |n| n.to_string());
    let sessions = figure(budget.most_sessions(shape).map(u32::from));
    let context = figure(budget.longest_context(shape));
    write!(
        text,
        "\nsessions of {} tokens that would fit: {sessions}\n\
         longest context of {} sessions that would fit: {context} tokens\n\
         least budget that starts: {} ({} of {} tokens)\n",
        shape.context_tokens,
        shape.sessions,
        exact(least.total_bytes()),
        supervisor::sessions(least.shape.sessions),
        least.shape.context_tokens,
    )
    .expect("a String takes all text");
    text
}

/// Bytes as the configuration takes them, rounded up to a tenth of a mebibyte.
fn exact(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10).div_ceil(1 << 20);
    format!("{}.{}MiB", tenths / 10, tenths % 10)
}

fn drop_in(title: &str, budget: u64, affinity: &CpuList) -> String {
    let margin = MARGIN_BYTES + budget / 100 * MARGIN_PERCENT;
    // The unit may not move its threads itself.
    let cpus = match affinity.as_slice() {
        [] => String::new(),
        _ => format!("CPUAffinity={affinity}\n"),
    };
    format!(
        "# {title}: budget.memory of {} and a margin of {}\n\
         # ({MARGIN_PERCENT} % and {}) for the kernel's own pages and the page cache.\n\
         # To go to /etc/systemd/system/slmd.service.d/memory.conf\n\
         [Service]\n\
         MemoryMax={}\n\
         MemorySwapMax=0\n{cpus}",
        format_bytes(budget),
        format_bytes(margin),
        format_bytes(MARGIN_BYTES),
        budget + margin,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_minimum_is_never_below_the_real_one() {
        for bytes in [1, 104_857, 104_858, 1 << 20, (1 << 20) + 1, 64_123_456] {
            let read = crate::config::parse_bytes(&exact(bytes)).expect("a size");
            assert!(read >= bytes && read - bytes <= (1 << 20) / 10 + 1, "{bytes}: {read}");
        }
    }

    #[test]
    fn the_drop_in_has_the_budget_and_the_margin() {
        let affinity = CpuList::parse("4-7").expect("a list");
        let text = drop_in("m with tract on b", 512 << 20, &affinity);
        assert!(text.ends_with("\nCPUAffinity=4-7\n"), "{text}");
        let text = drop_in("m with tract on b", 512 << 20, &CpuList::default());
        assert!(!text.contains("CPUAffinity"), "{text}");
        let limit: u64 = text
            .lines()
            .find_map(|l| l.strip_prefix("MemoryMax="))
            .and_then(|n| n.parse().ok())
            .expect("a limit");
        assert!(limit > 512 << 20 && text.contains("[Service]"), "{text}");
    }
}
