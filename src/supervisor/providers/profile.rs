//! What ONNX Runtime's own profile says: which provider ran how many operators, and for how long.
//!
//! Format: the JSON array that `EnableProfiling` writes (Chrome's trace events); an operator's run is
//! an event of the category `Node` whose name ends with `_kernel_time`.

use crate::core::provider::short;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The most bytes of a profile: some ten thousand steps of a small model.
const LIMIT: u64 = 256 << 20;

/// What one provider did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The provider, as it is written.
    pub provider: String,
    /// Operators of the graph, as ONNX Runtime has optimised it; what a provider has fused is one.
    pub operators: usize,
    /// The share of the time in operators, in per cent.
    pub time_percent: f64,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    cat: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    dur: f64,
    #[serde(default)]
    args: Args,
}

#[derive(Default, Deserialize)]
struct Args {
    #[serde(default)]
    provider: String,
}

/// Reads the profile at `path`; the provider with the most time comes first.
///
/// # Errors
/// If it is not there, or is none.
pub fn read(path: &Path) -> Result<Vec<Share>, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let bytes = path.metadata().map_err(|e| failed(&e))?.len();
    if bytes > LIMIT {
        return Err(failed(&"larger than any profile of a trial"));
    }
    let text = std::fs::read(path).map_err(|e| failed(&e))?;
    shares(&text).map_err(|e| failed(&e))
}

fn shares(text: &[u8]) -> Result<Vec<Share>, serde_json::Error> {
    let events: Vec<Event> = serde_json::from_slice(text)?;
    let mut all: BTreeMap<&str, (BTreeSet<&str>, f64)> = BTreeMap::new();
    let mut whole = 0.0;
    for event in events.iter().filter(|e| e.cat == "Node") {
        let Some(operator) = event.name.strip_suffix("_kernel_time") else { continue };
        let (operators, time) = all.entry(&event.args.provider).or_default();
        operators.insert(operator);
        *time += event.dur;
        whole += event.dur;
    }
    let share = |(provider, (operators, time)): (&str, (BTreeSet<&str>, f64))| Share {
        provider: short(provider),
        operators: operators.len(),
        time_percent: if whole > 0.0 { 100.0 * time / whole } else { 0.0 },
    };
    let mut shares: Vec<Share> = all.into_iter().map(share).collect();
    shares.sort_by(|a, b| b.time_percent.total_cmp(&a.time_percent));
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_and_time_are_counted_by_provider() {
        let text = br#"[
            {"cat":"Session","name":"model_loading","dur":900,"ts":1,"args":{}},
            {"cat":"Node","name":"/a/MatMul_kernel_time","dur":30,"args":{"provider":"XnnpackExecutionProvider"}},
            {"cat":"Node","name":"/a/MatMul_kernel_time","dur":30,"args":{"provider":"XnnpackExecutionProvider"}},
            {"cat":"Node","name":"/a/MatMul_fence_before","dur":99,"args":{"op_name":"MatMul"}},
            {"cat":"Node","name":"/b/Add_kernel_time","dur":40,"args":{"provider":"CPUExecutionProvider"}}
        ]"#;
        let shares = shares(text).expect("a profile");
        let seen: Vec<(&str, usize, f64)> =
            shares.iter().map(|s| (s.provider.as_str(), s.operators, s.time_percent)).collect();
        assert_eq!(seen, [("xnnpack", 1, 60.0), ("cpu", 1, 40.0)]);
        assert!(super::shares(b"[{").is_err() && super::shares(b"[]").expect("none").is_empty());
    }
}
