//! Boards for people and machines: what a profile holds, and what this machine is.

use crate::board::{Board, BoardProfile};
use crate::config::{Origin, Settings, ThermalDefaults};
use crate::core::cpus::CpuList;
use crate::core::provider::Provider;
use crate::engine::{allowed_cpus, choice};
use serde_json::{Value, json};

/// What a profile holds.
pub fn facts(profile: &BoardProfile) -> Value {
    let (known, budget) = (&profile.r#match, &profile.budget);
    json!({
        "name": profile.name,
        "known_by": {
            "architecture": known.architecture, "compatible": known.compatible,
            "model": known.model,
        },
        "memory": profile.sizes(),
        "cores": profile.cores.count,
        "fast_cores": profile.cores.big.as_ref().map(CpuList::to_string),
        "threads": profile.threads,
        "budget": {
            "memory_percent": profile.memory_percent(), "context_tokens": budget.context_tokens,
            "sessions": budget.sessions, "kv": budget.kv.map(|kv| kv.name()),
        },
        "thermal": thermal(&profile.thermal),
        "devices": profile.device.iter().map(|d| &d.path).collect::<Vec<_>>(),
        "providers": providers(&profile.provider),
    })
}

fn thermal(thermal: &ThermalDefaults) -> Value {
    json!({
        "zones": thermal.zones, "warm_c": thermal.warm_c, "hot_c": thermal.hot_c,
        "severe_c": thermal.severe_c, "critical_c": thermal.critical_c,
        "hysteresis_c": thermal.hysteresis_c,
    })
}

/// The CPU is what remains.
fn providers(chain: &[Provider]) -> Vec<&str> {
    let named = chain.iter().map(|p| p.name.as_str()).filter(|name| *name != "cpu");
    named.chain(["cpu"]).collect()
}

/// This machine, the profile that is used for it, and why.
pub fn machine(board: &Board, settings: &Settings) -> Value {
    let machine = &board.machine;
    let kinds = machine.parts.iter().map(|part| format!("{}: {}", part.cpus, part.name));
    let devices = board.profile.device.iter().map(|device| {
        json!({
            "path": device.path, "exists": device.path.exists(), "reason": device.reason,
        })
    });
    json!({
        "profile": board.profile.name,
        "why": board.why,
        "model": machine.model,
        "architecture": machine.architecture,
        "cores": machine.cores,
        "kinds": kinds.collect::<Vec<_>>(),
        "features": machine.features,
        "fast_cores": cpus(&board.affinity()),
        "threads": settings.threads.value,
        "affinity": affinity(settings, &allowed_cpus()),
        "kernels": choice::cpu_kernels(),
        "memory_bytes": machine.memory_bytes,
        "cgroup_bytes": machine.cgroup_bytes,
        "devices": devices.collect::<Vec<_>>(),
    })
}

fn cpus(list: &CpuList) -> Option<String> {
    (!list.is_empty()).then(|| list.to_string())
}

/// Where the threads of inference would be kept, who says so, and why they cannot be.
fn affinity(settings: &Settings, allowed: &CpuList) -> Value {
    let named = &settings.affinity;
    let missing = named.value.without(allowed);
    json!({
        "cpus": cpus(&named.value),
        "origin": match named.origin {
            Origin::Default => "default: any".to_owned(),
            ref origin => origin.to_string(),
        },
        "allowed": cpus(allowed),
        "left_out": cpus(&missing).map(|missing| {
            format!("CPUs {missing} are not there, or not allowed for this process")
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_ends_with_the_cpu_once() {
        let spec = Provider::built_in;
        assert_eq!(providers(&[]), ["cpu"]);
        assert_eq!(providers(&[spec("cuda"), spec("cpu")]), ["cuda", "cpu"]);
    }

    #[test]
    fn every_shipped_profile_can_be_shown() {
        for profile in BoardProfile::shipped().expect("valid") {
            let shown = facts(&profile);
            assert_eq!(shown["name"], profile.name.as_str());
            assert_eq!(shown["memory"].as_array().map(Vec::len), Some(profile.memory.sizes.len()));
            let chain = shown["providers"].as_array().expect("a list");
            assert_eq!(chain.last(), Some(&json!("cpu")), "{}", profile.name);
        }
    }
}
