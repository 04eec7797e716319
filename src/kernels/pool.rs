//! A small persistent thread pool for one caller: short jobs, hundreds of times a step.
//!
//! Workers spin for a few tens of microseconds after a job, because the next one of the same step
//! usually follows at once, and sleep after that: an idle engine costs no CPU time.

use super::affinity;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a worker waits for the next job before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

/// How long the caller keeps its core, though somebody was woken who waits for it: the kernel would
/// let it have several milliseconds.
const LONGEST_TURN: Duration = Duration::from_micros(500);

type Job = *const (dyn Fn(usize) + Sync);

/// Says that what is left of a job is not wanted any more.
pub type Halted = Box<dyn Fn() -> bool + Send + Sync>;

struct Shared {
    /// Job number in the upper half, parts not yet claimed in the lower half.
    state: AtomicU64,
    /// Parts of the current job that are not finished.
    unfinished: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
    halted: Halted,
    panicked: AtomicBool,
    stop: AtomicBool,
    sleepers: AtomicUsize,
    gate: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is written only by `Pool::run` while no part of a job is claimable or running, and
// read only after a part was claimed, which orders the read after the write.
unsafe impl Sync for Shared {}
// SAFETY: the pointer inside is only followed while `Pool::run` keeps its target alive.
unsafe impl Send for Shared {}

impl Shared {
    /// Claims one part of the current job.
    fn claim(&self) -> Option<usize> {
        let mut state = self.state.load(Ordering::Acquire);
        loop {
            let left = state & 0xffff_ffff;
            if left == 0 {
                return None;
            }
            let result = self.state.compare_exchange_weak(
                state,
                state - 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match result {
                Ok(_) => return Some(left as usize - 1),
                Err(now) => state = now,
            }
        }
    }

    /// Runs parts until none is left.
    fn work(&self) {
        while let Some(part) = self.claim() {
            // SAFETY: the claimed part belongs to the current job, whose pointer was stored before
            // the parts became claimable; `run` does not return while a part is unfinished.
            let job = unsafe { (*self.job.get()).map(|job| &*job) };
            if let Some(job) = job
                && !(self.halted)()
            {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(part)));
                if outcome.is_err() {
                    self.panicked.store(true, Ordering::Relaxed);
                }
            }
            self.unfinished.fetch_sub(1, Ordering::Release);
        }
    }

    fn has_work(&self) -> bool {
        self.state.load(Ordering::SeqCst) & 0xffff_ffff != 0
    }

    fn wait(&self) {
        let start = Instant::now();
        while start.elapsed() < SPIN {
            for _ in 0..32 {
                if self.has_work() || self.stop.load(Ordering::Relaxed) {
                    return;
                }
                std::hint::spin_loop();
            }
            // Whoever was woken meanwhile may wait on this core for the end of our time slice.
            std::thread::yield_now();
        }
        let mut guard = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !self.has_work() && !self.stop.load(Ordering::SeqCst) {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake_sleepers(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.gate.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
    }
}

/// Threads that share the parts of a job with the caller.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    turn: Mutex<Turn>,
}

/// The caller's side of the jobs.
struct Turn {
    /// Counts jobs.
    epoch: u32,
    /// When the caller last let others have its core.
    yielded: Instant,
}

impl Pool {
    /// A pool of `threads` threads, the caller's included; at least 1.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        Self::halting(threads, Box::new(|| false))
    }

    /// The same, but parts that were not begun when `halted` came to hold are left out: what a job
    /// wrote is of no use then.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn halting(threads: usize, halted: Halted) -> std::io::Result<Self> {
        Self::on_cpus(threads, &[], halted)
    }

    /// The same, with the workers kept on `cpus`; no CPUs: anywhere. Where the caller runs is its own
    /// affair ([`affinity::Pin`]).
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn on_cpus(threads: usize, cpus: &[usize], halted: Halted) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            unfinished: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            halted,
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            gate: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut pool = Self {
            shared,
            workers: Vec::new(),
            turn: Mutex::new(Turn { epoch: 0, yielded: Instant::now() }),
        };
        for index in 1..threads.max(1) {
            let (shared, cpus) = (Arc::clone(&pool.shared), cpus.to_vec());
            let worker = std::thread::Builder::new()
                .name(format!("kernel-{index}"))
                .stack_size(256 * 1024)
                .spawn(move || {
                    // The caller is refused the same CPUs, and says so; work goes on elsewhere.
                    let _ = affinity::keep_on(&cpus);
                    while !shared.stop.load(Ordering::Relaxed) {
                        shared.work();
                        shared.wait();
                    }
                })?;
            pool.workers.push(worker);
        }
        Ok(pool)
    }

    /// Threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `job` once for each part in `0..parts`, on all threads, and returns when all are done,
    /// or left out because the pool was halted.
    ///
    /// # Panics
    /// If `job` panicked on any thread, or calls `run` of the same pool.
    pub fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) {
        if self.workers.is_empty() || parts <= 1 {
            (0..parts).take_while(|_| !(self.shared.halted)()).for_each(job);
            return;
        }
        let parts = u32::try_from(parts).expect("fewer than 2^32 parts");
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.epoch = turn.epoch.wrapping_add(1);
        let shared = &*self.shared;
        // SAFETY: nothing can be claimed now, so nobody reads `job`; the lifetime is erased, but
        // `run` waits below until no thread uses the pointer any more.
        unsafe {
            let job: *const (dyn Fn(usize) + Sync + '_) = job;
            *shared.job.get() =
                Some(std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), Job>(job));
        }
        shared.unfinished.store(parts as usize, Ordering::Relaxed);
        shared.state.store(u64::from(turn.epoch) << 32 | u64::from(parts), Ordering::SeqCst);
        shared.wake_sleepers();
        shared.work();
        let mut spins = 0u32;
        while shared.unfinished.load(Ordering::Acquire) != 0 {
            spins += 1;
            if spins < 2_000 { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        if turn.yielded.elapsed() >= LONGEST_TURN {
            std::thread::yield_now();
            turn.yielded = Instant::now();
        }
        let panicked = shared.panicked.swap(false, Ordering::Relaxed);
        drop(turn);
        assert!(!panicked, "a kernel panicked");
    }
}

impl Pool {
    /// Calls `job` with each chunk of `chunk` elements of `out` and its index, on all threads; a
    /// shorter rest at the end is left alone.
    ///
    /// # Panics
    /// If `chunk` is 0, or as [`Pool::run`].
    pub fn chunks<T: Send>(
        &self,
        out: &mut [T],
        chunk: usize,
        job: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let parts = out.len() / chunk;
        let shards = Shards::new(out);
        self.run(parts, &|part| {
            // SAFETY: each part has a chunk of its own.
            job(part, unsafe { shards.range(part * chunk, chunk) });
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(self.shared.gate.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker never panics: the job's panics are caught.
            let _ = worker.join();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({})", self.threads())
    }
}

/// A mutable slice that the parts of one job write in disjoint places.
pub(crate) struct Shards<'a, T> {
    start: *mut T,
    len: usize,
    _slice: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: access is only through `range`, whose caller promises disjoint ranges.
unsafe impl<T: Send> Sync for Shards<'_, T> {}

impl<'a, T> Shards<'a, T> {
    /// Takes the slice for the time of the job.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), _slice: std::marker::PhantomData }
    }

    /// The elements `start..start + len`.
    ///
    /// # Safety
    /// No two living ranges may overlap.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn range(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start.checked_add(len).is_some_and(|end| end <= self.len));
        // SAFETY: in bounds by the assertion, disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_once() {
        for threads in [1, 2, 4] {
            let pool = Pool::new(threads).expect("threads");
            for round in 0..200 {
                let parts = round % 37;
                let hits: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                pool.run(parts, &|part| {
                    hits[part].fetch_add(1, Ordering::Relaxed);
                });
                assert!(hits.iter().all(|hit| hit.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_halted_job_begins_no_part_more_and_the_next_one_runs() {
        for threads in [1, 3] {
            let begun = Arc::new(AtomicUsize::new(0));
            let limit = Arc::new(AtomicUsize::new(5));
            let halted = {
                let (begun, limit) = (Arc::clone(&begun), Arc::clone(&limit));
                move || begun.load(Ordering::SeqCst) >= limit.load(Ordering::SeqCst)
            };
            let pool = Pool::halting(threads, Box::new(halted)).expect("threads");
            let count = |_| {
                begun.fetch_add(1, Ordering::SeqCst);
            };
            pool.run(1000, &count);
            // Each thread may have looked just before the fifth part began.
            let ran = begun.swap(0, Ordering::SeqCst);
            assert!((5..5 + threads).contains(&ran), "{ran} parts ran");
            limit.store(usize::MAX, Ordering::SeqCst);
            pool.run(1000, &count);
            assert_eq!(begun.load(Ordering::SeqCst), 1000);
        }
    }

    #[test]
    fn workers_stay_on_their_cpus_and_the_caller_where_it_was() {
        let before = affinity::allowed().expect("known");
        let last = *before.last().expect("one at least");
        let pool = Pool::on_cpus(3, &[last], Box::new(|| false)).expect("threads");
        let seen = Mutex::new(std::collections::BTreeMap::new());
        for _ in 0..200 {
            pool.run(12, &|_| {
                let name = std::thread::current().name().unwrap_or("caller").to_owned();
                let mut seen = seen.lock().expect("no panic");
                seen.insert(name, affinity::allowed().expect("known"));
                drop(seen);
                std::thread::sleep(Duration::from_micros(50));
            });
            if seen.lock().expect("no panic").len() == 3 {
                break;
            }
        }
        let seen = seen.into_inner().expect("no panic");
        assert_eq!(seen.len(), 3, "all threads took part: {seen:?}");
        for (name, cpus) in &seen {
            let expected = if name.starts_with("kernel-") { vec![last] } else { before.clone() };
            assert_eq!(*cpus, expected, "{name}");
        }
    }

    #[test]
    fn it_wakes_up_after_a_pause() {
        let pool = Pool::new(3).expect("threads");
        for _ in 0..3 {
            let sum = AtomicUsize::new(0);
            pool.run(100, &|part| {
                sum.fetch_add(part, Ordering::Relaxed);
            });
            assert_eq!(sum.load(Ordering::Relaxed), 4950);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_survives() {
        let pool = Pool::new(2).expect("threads");
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.run(8, &|part| assert_ne!(part, 3));
        }));
        assert!(result.is_err());
        let count = AtomicUsize::new(0);
        pool.run(8, &|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 8);
    }
}
