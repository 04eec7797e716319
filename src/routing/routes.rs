//! Which tasks have more to them than the model's answer, and what that is.

use super::endpoint::Endpoint;
use crate::bundle::{Escalate, Output, Task};
use crate::core::tool::Action;
use crate::runtime::{Bounds, Shapes};
use crate::text::TaskTemplate;
use crate::wire::Ask;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A tool, with what a call of it does.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundTool {
    /// What the model calls it.
    pub name: String,
    /// What a call does; none: whoever asked runs it.
    pub action: Option<Action>,
    /// How long that may take.
    pub timeout: Duration,
}

/// The routes of all tasks; replaced as a whole when the configuration is read again.
#[derive(Debug)]
pub struct Routes {
    /// Deadlines and the default task.
    pub bounds: Bounds,
    /// What the configuration says of tools.
    pub tools: Vec<BoundTool>,
    /// Who may be asked.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// How often the model is asked again with the results of tools.
    pub tool_rounds: u32,
    /// What answers of others are held against.
    pub shapes: Shapes,
    routes: BTreeMap<String, Arc<Route>>,
}

/// What one task has to it.
pub struct Route {
    /// The task.
    pub name: String,
    /// What its request is to others: a system prompt and a template.
    pub system: Option<String>,
    pub template: Option<TaskTemplate>,
    pub output: Option<Output>,
    pub max_tokens: Option<u32>,
    /// Its tools that run here.
    pub tools: Vec<BoundTool>,
    /// Who is told or asked.
    pub escalate: Option<Escalate>,
    /// Who is asked.
    pub endpoint: Option<Arc<Endpoint>>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Route({})", self.name)
    }
}

impl Routes {
    /// Those of these tasks, later ones in place of earlier ones of the same name, as the runtime has them.
    /// That their templates compile is known.
    pub fn new(
        tasks: &[Task],
        bounds: Bounds,
        tools: Vec<BoundTool>,
        endpoints: Vec<Endpoint>,
        tool_rounds: u32,
        shapes: Shapes,
    ) -> Self {
        let endpoints = endpoints.into_iter().map(Arc::new).collect();
        let mut all =
            Self { bounds, tools, endpoints, tool_rounds, shapes, routes: BTreeMap::new() };
        for task in tasks {
            let route = all.route(task).map(Arc::new);
            all.routes.remove(&task.name);
            all.routes.extend(route.map(|route| (task.name.clone(), route)));
        }
        all
    }

    fn route(&self, task: &Task) -> Option<Route> {
        let is_its = |bound: &&BoundTool| task.tools.iter().any(|tool| tool.name == bound.name);
        let tools: Vec<BoundTool> =
            self.tools.iter().filter(is_its).filter(|t| t.action.is_some()).cloned().collect();
        if tools.is_empty() && task.escalate.is_none() {
            return None;
        }
        let named = task.escalate.as_ref().and_then(|escalate| escalate.endpoint.as_ref());
        let template = task.template.as_deref();
        Some(Route {
            name: task.name.clone(),
            system: task.system.clone(),
            template: template.and_then(|source| TaskTemplate::new("template", source).ok()),
            output: task.output.clone(),
            max_tokens: task.max_tokens,
            tools,
            escalate: task.escalate.clone(),
            endpoint: named
                .and_then(|name| self.endpoints.iter().find(|e| e.name == *name))
                .cloned(),
        })
    }

    /// What a request has to it; most have nothing.
    pub fn of(&self, ask: &Ask) -> Option<Arc<Route>> {
        self.routes.get(self.bounds.task(ask)?).cloned()
    }
}
