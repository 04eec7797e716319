//! From the settings to the routes of requests.

use super::start::{Plan, Served};
use crate::config::{ConfigError, Environment, Settings};
use crate::routing::{BoundTool, Endpoint, Routes};
use crate::runtime::Bounds;

/// What a request has to it beside the model's answer, by what is served and configured.
///
/// # Errors
/// [`ConfigError`]: the key of an endpoint cannot be read.
pub fn of(settings: &Settings, plan: &Plan, served: &Served) -> Result<Routes, ConfigError> {
    let tasks = plan.calibrated(&served.tasks, &served.hash);
    let bounds = Bounds::new(tasks.iter(), served.default_task.clone(), &plan.limits);
    let tools = settings.tools.iter().map(|tool| BoundTool {
        name: tool.value.tool.name.clone(),
        action: tool.value.action.clone(),
        timeout: tool.value.timeout,
    });
    let rounds = settings.tool_rounds.value;
    let endpoints = endpoints(settings)?;
    Ok(Routes::new(&tasks, bounds, tools.collect(), endpoints, rounds, served.shapes.clone()))
}

/// Those of the settings, with their keys.
///
/// # Errors
/// As [`of`].
pub fn endpoints(settings: &Settings) -> Result<Vec<Endpoint>, ConfigError> {
    let environment = Environment::current();
    let endpoint = |one: &crate::config::EndpointSettings| {
        let (api_key, warnings) = one.api_key(&environment)?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(Endpoint {
            name: one.name.clone(),
            authority: one.authority.clone(),
            path: one.path.clone(),
            model: one.model.clone(),
            api_key,
        })
    };
    settings.endpoints.iter().map(|one| endpoint(&one.value)).collect()
}
