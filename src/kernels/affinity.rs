//! On which CPUs a thread may run: boards with fast and slow cores are as slow as their slowest one,
//! where a step is shared among all.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread, in `sched_setaffinity(2)`.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// The CPUs that the calling thread may run on, rising.
///
/// # Errors
/// What the system says.
pub fn allowed() -> nix::Result<Vec<usize>> {
    let set = sched_getaffinity(THIS_THREAD)?;
    Ok((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu) == Ok(true)).collect())
}

/// Keeps the calling thread on `cpus` from now on; no CPUs: leaves it as it is. Threads that it
/// starts stay there too.
///
/// # Errors
/// `EINVAL` if none of them can be had, `EPERM` if a filter forbids the call.
pub fn keep_on(cpus: &[usize]) -> nix::Result<()> {
    // A service that may not move its threads can have been put there by its manager.
    if cpus.is_empty() || allowed()? == cpus {
        return Ok(());
    }
    let mut set = CpuSet::new();
    cpus.iter().try_for_each(|&cpu| set.set(cpu))?;
    sched_setaffinity(THIS_THREAD, &set)
}

/// What a thread that waits for clients asks for at once, in nanoseconds: the kernel's least.
const SHORT_SLICE_NS: u64 = 100_000;

/// Has the calling thread run as soon as it is woken, though all cores compute: who asks for shorter
/// time slices goes first (EEVDF; `sched_runtime` of `sched_setattr(2)`, from Linux 6.12 on). Its share
/// of the processor stays what it was. Threads that it starts are the same.
///
/// # Errors
/// What the system says: `EPERM` if a filter forbids the call.
pub fn run_soon() -> nix::Result<()> {
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: all zeros are a valid value of a struct of integers.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer and the size are those of `attributes`, which outlives the calls; thread 0
    // is the caller.
    unsafe {
        let read = libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0);
        nix::errno::Errno::result(read)?;
        attributes.sched_runtime = SHORT_SLICE_NS;
        let written = libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0);
        nix::errno::Errno::result(written).map(drop)
    }
}

/// Keeps a thread on some CPUs for as long as this lives; it is to be dropped by that thread.
#[derive(Debug)]
pub struct Pin {
    before: Option<CpuSet>,
    /// Affinity is a thread's own.
    _here: std::marker::PhantomData<*const ()>,
}

impl Pin {
    /// Keeps the calling thread on `cpus`; no CPUs: leaves it as it is.
    ///
    /// # Errors
    /// As [`keep_on`].
    pub fn to(cpus: &[usize]) -> nix::Result<Self> {
        let before = if cpus.is_empty() { None } else { Some(sched_getaffinity(THIS_THREAD)?) };
        keep_on(cpus)?;
        Ok(Self { before, _here: std::marker::PhantomData })
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // It was allowed there before; if that has changed since, it stays where it is.
            let _ = sched_setaffinity(THIS_THREAD, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_holds_its_thread_and_lets_go_again() {
        let before = allowed().expect("known");
        let last = *before.last().expect("one at least");
        let pin = Pin::to(&[last]).expect("allowed");
        assert_eq!(allowed().expect("known"), [last]);
        let heir = std::thread::spawn(|| allowed().expect("known"));
        assert_eq!(heir.join().expect("ends"), [last], "threads inherit it");
        drop(pin);
        assert_eq!(allowed().expect("known"), before);
    }

    #[test]
    fn a_thread_may_ask_for_short_slices() {
        let asked = std::thread::spawn(run_soon).join().expect("ends");
        assert!(matches!(asked, Ok(()) | Err(nix::Error::EPERM)), "{asked:?}");
    }

    #[test]
    fn no_cpus_change_nothing_and_absent_ones_are_refused() {
        let before = allowed().expect("known");
        let pin = Pin::to(&[]).expect("nothing to do");
        assert_eq!(allowed().expect("known"), before);
        drop(pin);
        assert!(Pin::to(&[1023]).is_err(), "no machine of the tests has so many");
        assert!(keep_on(&[1 << 20]).is_err());
        assert_eq!(allowed().expect("known"), before);
    }
}
