//! Which execution provider a model runs on: each of the chain is tried on the real graph, and the
//! fastest one that gives the CPU's answers is taken.
//!
//! A verdict is remembered for the model, the library, the driver and the board. Nothing is ever
//! used untried, and nothing falls back silently: what is not used is told with its reason.

mod profile;
mod trial;

pub use profile::Share;
pub use trial::{COMMAND, Ran, devices, obey};

use super::start::{Plan, StartError};
use crate::board::Machine;
use crate::bundle::Bundle;
use crate::core::plan::EngineKind;
use crate::core::provider::{CPU, Provider};
use crate::engine::choice::{self, Choice};
use crate::measurements::{Key, Measurements};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use trial::Order;

/// Another provider than the CPU's must need less than this share of its time: below, it is noise.
const WORTH: f64 = 0.95;

/// What came of a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Which, and how it was set up.
    pub provider: Provider,
    /// What it did, or why it did nothing.
    pub ran: Result<Ran, String>,
}

impl Verdict {
    /// Why it cannot be used, if it cannot.
    pub fn fault(&self) -> Option<String> {
        match &self.ran {
            Err(reason) => Some(reason.clone()),
            Ok(ran) => ran.agreement.filter(|a| !a.holds()).map(|a| {
                format!(
                    "its answers are not the CPU's: {} of {} clear top tokens are equal, the mean \
                     divergence is {:.3} nats",
                    a.clear_equal, a.clear, a.mean_kl
                )
            }),
        }
    }

    /// The time of the trial, if it can be used, in milliseconds.
    fn whole_ms(&self) -> Option<f64> {
        let ran = self.ran.as_ref().ok()?;
        self.fault().is_none().then(|| ran.times.whole_ms())
    }
}

/// The provider to load the model with; none: the CPU's own, untried, since there is no other.
///
/// # Errors
/// [`StartError::Provider`], if the plan is strict and one of the chain cannot be used.
pub fn choose(
    plan: &Plan,
    bundle: &Bundle,
    choice: &Choice,
    phase: &dyn Fn(&str),
) -> Result<Option<Provider>, StartError> {
    if plan.chain.is_empty() {
        return Ok(None);
    }
    let refuse =
        |name: &str, reason: String| Err(StartError::Provider { name: name.to_owned(), reason });
    if choice.kind != EngineKind::Ort {
        let reason = format!("the engine is {}", choice.kind.name());
        return match plan.is_strict {
            true => refuse(&plan.chain[0].name, reason),
            false => Ok(None),
        };
    }
    let verdicts = match plan.chain.iter().all(|provider| obstacle(provider).is_some()) {
        // Nothing to compare the CPU with.
        true => plan.chain.iter().cloned().map(unmet).collect(),
        false => verdicts(plan, bundle, phase),
    };
    for verdict in verdicts.iter().filter(|v| !v.provider.is_cpu()) {
        let Some(reason) = verdict.fault() else { continue };
        if plan.is_strict {
            return refuse(&verdict.provider.name, reason);
        }
        tracing::info!(provider = %verdict.provider.name, %reason, "provider not used");
    }
    let best = best(&verdicts);
    tracing::info!(provider = best.map_or(CPU, |p| &p.name), "provider chosen");
    Ok(best.cloned())
}

/// The fastest that can be used; none: the CPU's own.
pub fn best(verdicts: &[Verdict]) -> Option<&Provider> {
    let usable = verdicts.iter().filter_map(|v| Some((&v.provider, v.whole_ms()?)));
    let (best, best_ms) = usable.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let cpu = verdicts.iter().find(|v| v.provider.is_cpu()).and_then(Verdict::whole_ms);
    let is_worth_it = cpu.is_some_and(|cpu_ms| best_ms < WORTH * cpu_ms);
    (!best.is_cpu() && is_worth_it).then_some(best)
}

/// What is known of the CPU and of every provider of the plan's chain, without trying any.
pub fn remembered(plan: &Plan, bundle: &Bundle) -> Vec<Option<Verdict>> {
    let store = Measurements::new(&plan.cache_dir, key(plan, bundle));
    let known = |provider: Provider| match obstacle(&provider) {
        Some(_) => Some(unmet(provider)),
        None => store.get(&name(&provider)),
    };
    chain(plan).map(known).collect()
}

/// What came of the CPU and of every provider of the plan's chain, tried unless it is remembered.
pub fn verdicts(plan: &Plan, bundle: &Bundle, phase: &dyn Fn(&str)) -> Vec<Verdict> {
    if let Some(all) = remembered(plan, bundle).into_iter().collect() {
        return all;
    }
    let store = Measurements::new(&plan.cache_dir, key(plan, bundle));
    let names: Vec<String> = chain(plan).map(|p| name(&p)).collect();
    // Times are compared, so all are taken anew together.
    let folder = match Folder::new(&plan.cache_dir) {
        Ok(folder) => folder,
        Err(reason) => {
            let failed = |provider| Verdict { provider, ran: Err(reason.clone()) };
            return chain(plan).map(failed).collect();
        }
    };
    let tried = chain(plan).zip(&names).map(|(provider, name)| {
        if obstacle(&provider).is_some() {
            return unmet(provider);
        }
        phase(&format!("trying the provider {}", provider.name));
        let ran = attempt(plan, &provider, &folder);
        let verdict = Verdict { provider, ran };
        if let Err(error) = store.put(name, &verdict) {
            tracing::warn!(%error, "the verdict on a provider cannot be remembered");
        }
        verdict
    });
    tried.collect()
}

/// The CPU first: the others are compared with it.
fn chain(plan: &Plan) -> impl Iterator<Item = Provider> + '_ {
    std::iter::once(Provider::cpu()).chain(plan.chain.iter().cloned())
}

/// Why it need not be tried, if so; looked up anew each time, since it is quickly mended.
fn obstacle(provider: &Provider) -> Option<String> {
    if let Some(path) = provider.requires.iter().find(|path| !path.exists()) {
        return Some(format!("it requires {}, which is not there", path.display()));
    }
    #[cfg(feature = "ort")]
    if provider.plugin.is_none() {
        return crate::engine::ort::lacks(&provider.name);
    }
    None
}

fn unmet(provider: Provider) -> Verdict {
    let reason = obstacle(&provider).unwrap_or_default();
    Verdict { ran: Err(reason), provider }
}

fn attempt(plan: &Plan, provider: &Provider, folder: &Folder) -> Result<Ran, String> {
    let executable = std::env::current_exe().map_err(|e| e.to_string())?;
    let executable = plan.executable.as_deref().unwrap_or(&executable);
    let own = folder.0.join(format!("{:x}", short_hash(&name(provider))));
    std::fs::create_dir_all(&own).map_err(|e| format!("{}: {e}", own.display()))?;
    let order = Order {
        model: plan.model.clone(),
        variant: plan.variant.clone(),
        memory_bytes: plan.memory_bytes,
        threads: plan.options.threads,
        provider: provider.clone(),
        reference: folder.0.join("reference"),
        folder: own,
    };
    trial::run(executable, &order, trial::LONGEST)
}

/// A folder for the files of the trials; gone with them.
struct Folder(PathBuf);

impl Folder {
    fn new(cache: &Path) -> Result<Self, String> {
        let path = cache.join(format!("trials-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays is overwritten, or swept with the cache.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key(plan: &Plan, bundle: &Bundle) -> Key {
    let cpu = Machine::detect(Path::new("/")).cpu;
    Key {
        model: bundle.hash.clone(),
        engine: "providers".to_owned(),
        library: format!("{}, {}", choice::library_version(EngineKind::Ort), library_stamp()),
        cpu,
        board: plan.board.clone(),
        threads: plan.options.threads,
        slots: 0,
        context_tokens: 0,
        max_chunk: 0,
        kv: String::new(),
    }
}

/// A verdict's name: how the provider is set up, its plugin, and the driver below it.
fn name(provider: &Provider) -> String {
    let spec = serde_json::to_string(provider).expect("strings");
    let plugin = provider.plugin.as_deref().map(stamp).unwrap_or_default();
    format!("{spec}, {plugin}, {}", driver())
}

#[cfg(feature = "ort")]
fn library_stamp() -> String {
    crate::engine::ort::library::load().map(|l| stamp(&l.path)).unwrap_or_default()
}

#[cfg(not(feature = "ort"))]
fn library_stamp() -> String {
    String::new()
}

/// What changes when a file is replaced.
fn stamp(path: &Path) -> String {
    let Ok(meta) = path.metadata() else { return String::new() };
    let modified = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    format!("{} {} {}", path.display(), meta.len(), modified.map_or(0, |t| t.as_secs()))
}

/// The kernel, and the driver that comes apart from it.
fn driver() -> String {
    let line = |path: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().next().unwrap_or_default().to_owned()
    };
    format!("{} {}", line("/proc/sys/kernel/osrelease"), line("/proc/driver/nvidia/version"))
}

/// FNV-1a, for the name of a folder.
fn short_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::agreement::{Agreement, Times};

    fn verdict(name: &str, decode_ms: f64, agreement: Option<Agreement>) -> Verdict {
        let times = Times { prefill_ms: 0.0, decode_ms };
        let ran = Ran {
            times,
            load_ms: 1.0,
            peak_bytes: 1,
            agreement,
            shares: Vec::new(),
            devices: Vec::new(),
        };
        Verdict { provider: Provider::built_in(name), ran: Ok(ran) }
    }

    fn agreeing(mean_kl: f64) -> Option<Agreement> {
        Some(Agreement { positions: 17, clear: 3, clear_equal: 3, mean_kl })
    }

    fn best_of(verdicts: &[Verdict]) -> &str {
        best(verdicts).map_or(CPU, |p| &p.name)
    }

    #[test]
    fn the_fastest_that_agrees_is_taken() {
        let cpu = verdict(CPU, 10.0, None);
        let wrong = verdict("webgpu", 1.0, agreeing(0.5));
        let fast = verdict("cuda", 2.0, agreeing(1e-4));
        let slow = verdict("xnnpack", 9.8, agreeing(0.0));
        let gone = Verdict { provider: Provider::built_in("qnn"), ran: Err("no device".into()) };
        assert_eq!(
            best_of(&[cpu.clone(), wrong.clone(), fast, slow.clone(), gone.clone()]),
            "cuda"
        );
        assert_eq!(
            best_of(&[cpu, wrong.clone(), slow.clone(), gone]),
            CPU,
            "two per cent are noise"
        );
        assert_eq!(best_of(&[slow]), CPU, "without the CPU's answers nothing was compared");
        assert!(wrong.fault().is_some_and(|f| f.contains("0.500 nats")));
    }

    #[test]
    fn what_is_required_and_missing_is_not_tried() {
        let mut provider = Provider::built_in("qnn");
        provider.requires = vec!["/dev/null".into(), "/dev/no-such-npu".into()];
        assert!(unmet(provider).fault().is_some_and(|f| f.contains("/dev/no-such-npu")));
    }
}
