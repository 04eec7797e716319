//! Memory of the kernels: aligned buffers, and giving freed pages back to the system.

use std::ops::{Deref, DerefMut};

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

/// Bytes that start on a cache line; the length is a multiple of 64.
#[derive(Clone, Default)]
pub struct AlignedBytes(Vec<Line>);

impl AlignedBytes {
    /// `len` zero bytes, rounded up to whole cache lines.
    pub fn zeroed(len: usize) -> Self {
        Self(vec![Line([0; 64]); len.div_ceil(64)])
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: a `Line` is 64 initialised bytes without padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 64) }
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 64) }
    }
}

impl std::fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBytes({})", self.len())
    }
}

/// Gives the free pages of the C heap back to the system, where the allocator can (glibc).
///
/// Loading a model leaves holes of the size of its weights; without this call they stay resident.
pub fn trim_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `malloc_trim` has no preconditions; it only returns free pages.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Has all threads share one heap, where the allocator can (glibc); to be called first of all.
///
/// By default every thread gets a heap of its own: what one has freed is of no use to another, and
/// stays resident. No thread here allocates so often that it would wait for another one.
pub fn share_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` has no preconditions; this parameter only bounds the number of arenas.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Maps a file read-only.
///
/// # Errors
/// The system's error.
pub fn map_file(file: &std::fs::File) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: models are installed by rename and never written in place, so the mapping does not
    // change while it is read; the bundle's hashes are verified before.
    unsafe { memmap2::Mmap::map(file) }
}
