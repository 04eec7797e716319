//! The commands that change the store: install, activate, rollback, remove.

use super::super::exit::{INTERNAL, PERMISSION, UNAVAILABLE, USAGE};
use super::super::term::{note, printable};
use super::args::{ActivateArgs, InstallArgs, RemoveArgs, RollbackArgs};
use super::fault::Fault;
use super::{Context, list, trial, with_progress};
use crate::store::{CURRENT, Installed, Overview, Placed, Refusal, Slot, Store};
use crate::supervisor::trial::Passed;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

/// What brings the active model to the daemon.
const RELOAD: [&str; 3] = ["systemctl", "reload", "slmd"];

pub(super) fn install(args: &InstallArgs) -> Result<(), Fault> {
    let context = Context::new(&args.at)?;
    may_downgrade(args.allow_downgrade)?;
    let policy = context.policy(args.allow_downgrade);
    let mut store = context.open()?;
    let placed =
        with_progress("reading the model", |phase| store.install(&args.source, &policy, phase))?;
    if args.activate {
        let change = Change { slot: placed.slot, is_rollback: false, reload: args.reload };
        return change.make(&context, store, args.allow_downgrade, Some(placed));
    }
    let installed = installed(&store.overview()?, placed.slot)?;
    let slot = placed.slot.name();
    let words = format!(
        "{}\nactivate it with: slmd model activate {slot}\n",
        installed_words(placed, &installed)
    );
    context.tell(&facts(placed.slot, &installed, Some(placed), None), &words)
}

pub(super) fn activate(args: &ActivateArgs) -> Result<(), Fault> {
    let context = Context::new(&args.at)?;
    may_downgrade(args.allow_downgrade)?;
    let store = context.open()?;
    let overview = store.overview()?;
    let slot = match &args.name {
        Some(name) => overview.find(name)?,
        None => waiting(&overview)?,
    };
    let change = Change { slot, is_rollback: false, reload: args.reload };
    change.make(&context, store, args.allow_downgrade, None)
}

pub(super) fn roll_back(args: &RollbackArgs) -> Result<(), Fault> {
    let context = Context::new(&args.at)?;
    let store = context.open()?;
    let slot = store.previous()?;
    let change = Change { slot, is_rollback: true, reload: args.reload };
    change.make(&context, store, false, None)
}

pub(super) fn remove(args: &RemoveArgs) -> Result<(), Fault> {
    let context = Context::new(&args.at)?;
    let mut store = context.open()?;
    let slot = store.overview()?.find(&args.name)?;
    let removed = store.remove(slot)?;
    let words = format!("removed {} from slot {}\n", label(&removed), slot.name());
    context.tell(&json!({ "removed": list::model(slot, &removed) }), &words)
}

/// A counter that goes down brings back what an update has mended: not everybody's decision, even of
/// those who may write into the store.
fn may_downgrade(is_asked_for: bool) -> Result<(), Fault> {
    match is_asked_for && !nix::unistd::geteuid().is_root() {
        true => Err(Fault::new(PERMISSION, "not_root", "--allow-downgrade is for root")
            .hint("install a model with a higher counter, or ask root")),
        false => Ok(()),
    }
}

/// The model that is installed and not active, if that is one.
fn waiting(overview: &Overview) -> Result<Slot, Fault> {
    let active = overview.active();
    let mut waiting =
        overview.state.installed().map(|(slot, _)| slot).filter(|s| Some(*s) != active);
    match (waiting.next(), waiting.next(), active) {
        (Some(slot), None, _) => Ok(slot),
        (None, _, Some(active)) => Ok(active),
        (Some(_), Some(_), _) => {
            let message = "two models are installed and none is active: say which, `a` or `b`";
            Err(Fault::new(USAGE, "ambiguous", message))
        }
        (None, _, None) => Ok(overview.find(Slot::A.name())?),
    }
}

fn installed(overview: &Overview, slot: Slot) -> Result<Installed, Fault> {
    let found = overview.state.slot(slot).cloned();
    found.map_or_else(|| Err(overview.find(slot.name()).err().map_or_else(lost, Fault::from)), Ok)
}

fn lost() -> Fault {
    Fault::new(INTERNAL, "lost", "the slot is empty")
}

fn label(installed: &Installed) -> String {
    printable(&format!("{} {}", installed.name, installed.version)).into_owned()
}

fn installed_words(placed: Placed, installed: &Installed) -> String {
    let (slot, label) = (placed.slot.name(), label(installed));
    match placed.is_new {
        true => format!("installed {label} in slot {slot}"),
        false => format!("{label} is in slot {slot} already"),
    }
}

/// Another model to become active.
struct Change {
    slot: Slot,
    is_rollback: bool,
    reload: bool,
}

impl Change {
    fn make(
        &self,
        context: &Context,
        mut store: Store,
        allow_downgrade: bool,
        placed: Option<Placed>,
    ) -> Result<(), Fault> {
        let before = store.overview()?;
        let found = self.found_good(context, &store, allow_downgrade);
        let passed = found.map_err(|fault| self.refuse(&mut store, &before, fault))?;
        store.activate(self.slot)?;
        let installed = installed(&store.overview()?, self.slot)?;
        drop(store);
        if self.reload {
            reload()?;
        }
        let facts = facts(self.slot, &installed, placed, Some((&passed, self.reload)));
        context.tell(&facts, &self.words(&installed, &passed, placed))?;
        self.check_configuration(context);
        Ok(())
    }

    /// By its hashes, signature and counter, then by its trial.
    fn found_good(
        &self,
        context: &Context,
        store: &Store,
        allow_downgrade: bool,
    ) -> Result<Passed, Fault> {
        let policy = context.policy(allow_downgrade);
        with_progress("checking the model", |phase| {
            store.check(self.slot, &policy, self.is_rollback, phase)
        })?;
        let folder = store.folder(self.slot).ok_or_else(lost)?;
        let timeout = context.settings.models.trial_timeout_s.value;
        let timeout = Duration::from_secs(timeout.into());
        let passed = with_progress("trying the model in a process of its own", |_| {
            trial::run(&folder, context.at.config.as_deref(), timeout)
        })?;
        Ok(passed)
    }

    /// Remembers why it did not become active, and says that the old one stays.
    fn refuse(&self, store: &mut Store, before: &Overview, fault: Fault) -> Fault {
        let installed = before.state.slot(self.slot);
        let name = installed.map_or_else(|| self.slot.name().to_owned(), label);
        let message = fault.failure.message.clone();
        let refusal = Refusal::now(&name, &fault.code, message.clone());
        if let Err(error) = store.refuse(Some(self.slot), refusal) {
            note(&format!("the refusal cannot be remembered: {error}"));
        }
        let stays = match before.active().and_then(|slot| before.state.slot(slot)) {
            Some(active) if before.active() != Some(self.slot) => {
                format!("{} stays active", label(active))
            }
            Some(_) => "it is active already, and stays so".to_owned(),
            None => "no model is active".to_owned(),
        };
        let mut fault = fault;
        fault.failure.message = format!("{name} is not activated: {message} ({stays})");
        fault
    }

    fn words(&self, installed: &Installed, passed: &Passed, placed: Option<Placed>) -> String {
        let first = placed.map_or(String::new(), |p| installed_words(p, installed) + "\n");
        let first_token =
            passed.first_token_ms.map_or(String::new(), |ms| format!(", first token {ms:.1} ms"));
        let next = match self.reload {
            true => "the daemon was told".to_owned(),
            false => format!("a daemon that runs takes it with: {}", RELOAD.join(" ")),
        };
        format!(
            "{first}{} is active (slot {}): {} golden answers, a token in {:.1} ms{first_token}\n{next}\n",
            label(installed),
            self.slot.name(),
            passed.goldens,
            passed.decode_ms,
        )
    }

    /// A daemon with another `model` would never see it.
    fn check_configuration(&self, context: &Context) {
        let current = context.root.join(CURRENT);
        let model = &context.settings.model;
        if model.value.as_deref() != Some(&*current) {
            let now =
                model.value.as_ref().map_or("the built-in one".into(), |m| m.display().to_string());
            note(&format!(
                "the configuration's model is {now} ({}); write model = {:?} there",
                model.origin,
                current.display().to_string()
            ));
        }
    }
}

fn reload() -> Result<(), Fault> {
    let [program, arguments @ ..] = RELOAD;
    let told = Command::new(program).args(arguments).status();
    let problem = match told {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => format!("`{}` ended with {status}", RELOAD.join(" ")),
        Err(e) => format!("`{}` cannot be run: {e}", RELOAD.join(" ")),
    };
    let message = format!("the model is active, but the daemon was not told: {problem}");
    Err(Fault::new(UNAVAILABLE, "reload", message)
        .hint("send it SIGHUP, or start it again: it takes what `current` is"))
}

fn facts(
    slot: Slot,
    installed: &Installed,
    placed: Option<Placed>,
    activated: Option<(&Passed, bool)>,
) -> Value {
    json!({
        "model": list::model(slot, installed),
        "installed": placed.is_some_and(|p| p.is_new),
        "activated": activated.is_some(),
        "trial": activated.map(|(passed, _)| passed),
        "reloaded": activated.is_some_and(|(_, reloaded)| reloaded),
    })
}
