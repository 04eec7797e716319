//! The thread that runs an engine's steps is as much a part of it as those that the engine starts:
//! it is kept on the same CPUs.

use crate::core::cpus::CpuList;
use crate::kernels::affinity;
pub use crate::kernels::affinity::Pin;

/// Has the calling thread run as soon as it is woken, though engines use all cores. Where that is not
/// to be had, whoever waits for it waits for some milliseconds.
pub fn run_soon() {
    if let Err(error) = affinity::run_soon() {
        tracing::debug!(%error, "this thread gets no shorter time slices");
    }
}

/// The CPUs that the calling thread may run on; none: the system does not say.
pub fn allowed_cpus() -> CpuList {
    affinity::allowed().unwrap_or_default().into_iter().collect()
}

/// Keeps the calling thread on `cpus` until the result is dropped; no CPUs: leaves it as it is. A
/// refusal costs speed, not answers: it is a warning.
pub fn pin(cpus: &CpuList) -> Option<Pin> {
    match Pin::to(cpus.as_slice()) {
        Ok(pin) => Some(pin),
        Err(error) => {
            let hint = match error {
                nix::Error::EPERM => {
                    "; slmd.service forbids it: `slmd plan --systemd` prints CPUAffinity="
                }
                _ => "",
            };
            tracing::warn!(%error, "the engine cannot be kept on CPUs {cpus}{hint}");
            None
        }
    }
}
