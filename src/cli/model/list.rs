//! The commands that only look: list, verify.

use super::super::exit::DATA;
use super::super::term::{note, printable};
use super::args::{StoreArgs, VerifyArgs};
use super::fault::Fault;
use super::{Context, with_progress};
use crate::config::format_bytes;
use crate::store::{self, CURRENT, Current, Installed, Overview, Refusal, Slot};
use serde_json::{Value, json};
use std::fmt::Write as _;
use time::OffsetDateTime;

/// Letters of a hash that are shown.
const HASH_LETTERS: usize = 12;

pub(super) fn list(at: &StoreArgs) -> Result<(), Fault> {
    let context = Context::new(at)?;
    let overview = store::look(&context.root)?;
    let mut models = Vec::new();
    for (slot, installed) in overview.state.installed() {
        let mut model = model(slot, installed);
        model["state"] = state(&overview, slot).into();
        models.push(model);
    }
    let facts = json!({
        "store": context.root,
        "current": context.root.join(CURRENT),
        "models": models,
        "highest_counter": overview.state.highest_counter,
        "last_refusal": overview.state.last_refusal,
        "unknown_current": unknown_current(&overview),
        "is_state_whole": overview.is_state_whole,
    });
    context.tell(&facts, &table(&overview))?;
    if !overview.is_state_whole {
        note(
            "the store's state is damaged or gone; the next command that changes something makes it anew",
        );
    }
    Ok(())
}

/// What there is to say of one model.
pub(super) fn model(slot: Slot, installed: &Installed) -> Value {
    json!({
        "slot": slot.name(),
        "name": installed.name,
        "version": installed.version,
        "counter": installed.counter,
        "sha256": installed.sha256,
        "bytes": installed.bytes,
        "signed_by": installed.signed_by,
        "installed_at": time_of(installed.installed_at_unix_s),
        "activated_at": installed.activated_at_unix_s.map(time_of),
        "refusal": installed.refusal.as_ref().map(refusal),
    })
}

fn refusal(refusal: &Refusal) -> Value {
    json!({
        "code": refusal.code, "message": refusal.message, "at": time_of(refusal.at_unix_s),
    })
}

fn state(overview: &Overview, slot: Slot) -> &'static str {
    match () {
        () if overview.active() == Some(slot) => "active",
        () if overview.state.previous == Some(slot) => "previous",
        () => "installed",
    }
}

/// What `current` is, if it is no model that the store knows.
fn unknown_current(overview: &Overview) -> Option<String> {
    match (&overview.current, overview.active()) {
        (Current::Folder(folder), None) => Some(format!("a folder of no slot: {folder}")),
        (Current::Foreign(what), _) => Some(what.clone()),
        _ => None,
    }
}

fn table(overview: &Overview) -> String {
    let mut rows = vec![
        ["SLOT", "STATE", "NAME", "VERSION", "COUNTER", "SIZE", "SHA256", "SIGNED BY"]
            .map(str::to_owned),
    ];
    for (slot, installed) in overview.state.installed() {
        let signed = installed.signed_by.as_ref();
        rows.push([
            slot.name().to_owned(),
            state(overview, slot).to_owned(),
            installed.name.clone(),
            installed.version.clone(),
            installed.counter.to_string(),
            format_bytes(installed.bytes),
            installed.sha256.chars().take(HASH_LETTERS).collect(),
            signed.map_or("-".to_owned(), |by| format!("{} ({})", by.key_id, by.comment)),
        ]);
    }
    let mut text = match rows.len() {
        1 => "no model is installed; `slmd model install` does it\n".to_owned(),
        _ => in_columns(&rows),
    };
    for (slot, installed) in overview.state.installed() {
        if let Some(refusal) = &installed.refusal {
            told(&mut text, &format!("slot {} was refused", slot.name()), refusal);
        }
    }
    let with_slots = overview.state.installed().filter_map(|(_, i)| i.refusal.as_ref());
    if let Some(refusal) = &overview.state.last_refusal
        && !with_slots.into_iter().any(|known| known == refusal)
    {
        told(&mut text, &format!("{} was refused", refusal.model), refusal);
    }
    if let Some(what) = unknown_current(overview) {
        writeln!(text, "current is {what}").expect("a String takes all text");
    }
    printable(&text).into_owned()
}

fn told(text: &mut String, what: &str, refusal: &Refusal) {
    let Refusal { code, message, .. } = refusal;
    let at = time_of(refusal.at_unix_s);
    writeln!(text, "{what} ({code}, {at}): {message}").expect("a String takes all text");
}

fn in_columns(rows: &[[String; 8]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 8] = std::array::from_fn(width);
    rows.iter().fold(String::new(), |mut text, row| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        writeln!(text, "{}", line.trim_end()).expect("a String takes all text");
        text
    })
}

/// `2026-01-31 12:00:00Z`.
fn time_of(unix_s: u64) -> String {
    let seconds = i64::try_from(unix_s).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).map_or_else(
        |_| unix_s.to_string(),
        |t| {
            let (hour, minute, second) = t.to_hms();
            format!("{} {hour:02}:{minute:02}:{second:02}Z", t.date())
        },
    )
}

pub(super) fn verify(args: &VerifyArgs) -> Result<(), Fault> {
    let context = Context::new(&args.at)?;
    let overview = store::look(&context.root)?;
    let wanted = args.name.as_deref().map(|name| overview.find(name)).transpose()?;
    let policy = context.policy(false);
    let (mut found, mut text, mut bad) = (Vec::new(), String::new(), 0);
    for (slot, installed) in overview.state.installed() {
        if wanted.is_some_and(|wanted| wanted != slot) {
            continue;
        }
        let outcome = with_progress("reading the model", |phase| {
            store::verify(&context.root, installed, &policy, phase)
        });
        let label = format!("slot {}: {} {}", slot.name(), installed.name, installed.version);
        let mut model = model(slot, installed);
        match outcome {
            Ok(vouched) => {
                let signed = vouched.signed_by.map_or("not signed".to_owned(), |by| {
                    format!("signed with key {} ({})", by.key_id, by.comment)
                });
                writeln!(text, "{label}: whole, {signed}").expect("a String takes all text");
                model["whole"] = true.into();
            }
            Err(error) => {
                bad += 1;
                writeln!(text, "{label}: {error}").expect("a String takes all text");
                model["whole"] = false.into();
                model["error"] = json!({ "code": error.code(), "message": error.to_string() });
            }
        }
        found.push(model);
    }
    if found.is_empty() {
        text.push_str("no model is installed; `slmd model install` does it\n");
    }
    context.tell(&json!({ "models": found }), &printable(&text))?;
    match bad {
        0 => Ok(()),
        n => {
            let message = format!("{n} of {} models cannot be vouched for", found.len());
            let fault = Fault::new(DATA, "verify", message);
            Err(Fault { is_told: true, ..fault }
                .hint("install it again, or `slmd model rollback` to the other one"))
        }
    }
}
