//! Read-only memory mapping of a graph's file, so that weights are never copied to read its ports.

use memmap2::Mmap;
use std::fs::File;
use std::path::Path;

/// Maps a whole file.
///
/// # Errors
/// What the operating system says.
pub fn map(path: &Path) -> std::io::Result<Mmap> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    // SAFETY: the map is read-only and private to this process. Should somebody else write to the
    // file meanwhile, we parse other bytes, which the parser survives; should they truncate it,
    // the process gets SIGBUS: models are installed by rename, never changed in place.
    unsafe { Mmap::map(&file) }
}
