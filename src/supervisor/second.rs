//! The second model: served beside the first within the same budget, for requests that this one escalates.

use super::start::{Beside, Fit, Plan, Served, StartError, Trust, fit, load, open_bundle, outlook};
use crate::config::Settings;
use crate::sheet::Sheet;

/// The plan by which it is loaded; none: there is no second model. `plan` is the first one's.
pub fn plan(settings: &Settings, plan: &Plan) -> Option<Plan> {
    let second = &settings.second_model;
    let path = second.path.value.clone()?;
    let mut own = plan.clone();
    (own.model, own.variant) = (Some(path), None);
    own.options.slots = second.sessions.value;
    own.options.context_tokens = second.context_tokens.value;
    // What it is priced at is what it will hold.
    (own.freedom.sessions, own.freedom.context) = (false, false);
    own.watched_tasks.clear();
    own.demands.mqtt = None;
    (own.demands.clients, own.demands.queue) = (0, 0);
    Some(own.resolved())
}

/// What it takes beside another one, in bytes. What was never measured is loaded for that, alone, and let
/// go again.
///
/// # Errors
/// [`StartError`]: it would not even fit alone.
pub fn bytes(second: &Plan, phase: &dyn Fn(&str)) -> Result<u64, StartError> {
    let bundle = open_bundle(second)?;
    let mut seen = outlook(second, &bundle)?;
    if !seen.is_measured {
        load(second, bundle.clone(), phase, Beside::Nothing, false)?;
        seen = outlook(second, &bundle)?;
    }
    Ok(Sheet::own_bytes(&seen.sheet))
}

/// Loads it beside the first one, with the tasks of that.
///
/// # Errors
/// [`StartError`].
pub fn bring(second: &Plan, first: &Served, phase: &dyn Fn(&str)) -> Result<Fit, StartError> {
    let tasks = [&first.tasks[..], &second.tasks].concat();
    let plan = Plan { tasks, ..second.clone() };
    let (fit, _) = fit(&plan, open_bundle(&plan)?, phase, Beside::Another, Trust::Known)?;
    Ok(fit)
}
