//! `affinity`: which CPUs the threads of inference are kept on.

use super::error::ConfigError;
use super::settings::Defaults;
use super::source::{Config, Origin, Sourced};
use crate::core::cpus::CpuList;

/// What says that any CPU will do, whatever the board's profile thinks.
const NONE: &str = "none";

/// Threads where nobody says how many: the board's, but no more than the CPUs that they are kept on.
pub(super) fn threads(defaults: &Defaults, cpus: &CpuList) -> usize {
    match cpus.is_empty() {
        true => defaults.threads,
        false => defaults.threads.min(cpus.len()),
    }
}

impl Config {
    pub(super) fn affinity(&self, defaults: &Defaults) -> Result<Sourced<CpuList>, ConfigError> {
        let Some((source, at)) = self.pick(|f| f.affinity.as_ref()) else {
            let origin = match defaults.affinity.is_empty() {
                true => Origin::Default,
                false => Origin::Board(defaults.board.clone()),
            };
            return Ok(Sourced::new(defaults.affinity.clone(), origin));
        };
        let cpus = match at.get_ref().trim() {
            NONE => CpuList::default(),
            list => CpuList::parse(list)
                .map_err(|problem| source.refuse(at, format!("{problem}, or {NONE:?}")))?,
        };
        Ok(Sourced::new(cpus, source.origin(at)))
    }
}
