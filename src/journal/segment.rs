//! One segment file: frames are appended behind `end`; what lies behind that is zeroes.
//!
//! The file is filled with zeroes ahead of its end, 64 KiB at a time: a sync then has no new size
//! and no new blocks to record, which makes it faster and halves what it writes to the medium
//! (figures in `docs/journal.md`).

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, read_full, write_full};
use super::frame::{self, FRAME_BYTES, FrameHead, HEADER_BYTES, Header};
use super::wear::Wear;

/// Zeroes written ahead.
const CHUNK_BYTES: u64 = 64 * 1024;

/// A segment's name while it is being made.
pub fn unfinished_name(generation: u64) -> String {
    format!("journal-{generation:016x}.new")
}

/// A segment's name; the highest generation counts.
pub fn name(generation: u64) -> String {
    format!("journal-{generation:016x}.seg")
}

/// What a damaged segment is called when it is put aside.
pub fn damaged_name(generation: u64) -> String {
    format!("journal-{generation:016x}.damaged")
}

/// The generation of a file that is called so, with the given ending.
pub fn generation_of(name: &str, ending: &str) -> Option<u64> {
    let digits = name.strip_prefix("journal-")?.strip_suffix(ending)?.strip_suffix('.')?;
    if digits.len() == 16 { u64::from_str_radix(digits, 16).ok() } else { None }
}

/// What can be read of a segment without its end being known; shared with readers.
#[derive(Clone)]
pub struct Pages {
    /// The file.
    pub file: Arc<dyn DiskFile>,
    /// From its header.
    pub salt: u64,
}

impl Pages {
    /// The frame at `at` and its payload, if a whole one stands there that ends by `limit`.
    ///
    /// # Errors
    /// What the file says.
    pub fn read(&self, at: u64, limit: u64) -> io::Result<Option<(FrameHead, Vec<u8>)>> {
        let mut bytes = [0u8; FRAME_BYTES];
        if read_full(&*self.file, &mut bytes, at)? < FRAME_BYTES {
            return Ok(None);
        }
        let Some(head) = FrameHead::decode(&bytes, self.salt, at) else { return Ok(None) };
        if at + frame::frame_bytes(head.len) > limit {
            return Ok(None);
        }
        let mut payload = vec![0u8; head.len as usize];
        let read = read_full(&*self.file, &mut payload, at + FRAME_BYTES as u64)?;
        let whole = read == payload.len() && head.is_of(&bytes, &payload, self.salt, at);
        Ok(whole.then_some((head, payload)))
    }
}

/// The segment that is being written.
pub struct Segment {
    pages: Pages,
    generation: u64,
    end: u64,
    /// How far the file goes, the zeroes included.
    allocated: u64,
    /// Pages that were written and not synced.
    dirty: Range<u64>,
}

impl Segment {
    /// Begins a segment under its unfinished name.
    pub fn create(
        disk: &dyn Disk,
        generation: u64,
        salt: u64,
        wear: &mut Wear,
    ) -> io::Result<Self> {
        let file = disk.create(&unfinished_name(generation))?;
        let header = Header::new(salt).encode();
        let pages = Pages { file, salt };
        let mut segment = Self { pages, generation, end: 0, allocated: 0, dirty: 0..0 };
        segment.append(&header, wear)?;
        Ok(segment)
    }

    /// A segment found on the disk, whose last frame ends at `end`.
    pub fn reopen(pages: Pages, generation: u64, end: u64, allocated: u64) -> Self {
        let end = end.max(HEADER_BYTES as u64);
        Self { pages, generation, end, allocated, dirty: 0..0 }
    }

    /// Appends frames. On an error the file is as before, as far as the disk lets us.
    pub fn append(&mut self, frames: &[u8], wear: &mut Wear) -> io::Result<()> {
        let end = self.end + frames.len() as u64;
        if end > self.allocated {
            self.fill(end, wear);
        }
        if let Err(e) = write_full(&*self.pages.file, frames, self.end) {
            if self.pages.file.set_len(self.end).is_ok() {
                self.allocated = self.end;
            }
            return Err(e);
        }
        wear.wrote(&mut self.dirty, self.end, frames.len() as u64);
        (self.end, self.allocated) = (end, self.allocated.max(end));
        Ok(())
    }

    /// Makes everything that was appended survive a power loss.
    pub fn sync(&mut self, wear: &mut Wear) -> io::Result<()> {
        self.pages.file.sync()?;
        wear.synced(&mut self.dirty);
        Ok(())
    }

    /// Zeroes up to a full chunk behind `end`. Without room for them the frames may still fit.
    fn fill(&mut self, end: u64, wear: &mut Wear) {
        let from = self.allocated.max(self.end);
        let to = end.next_multiple_of(CHUNK_BYTES);
        let zeroes = [0u8; 4096];
        let mut at = from;
        while at < to {
            let piece = (to - at).min(zeroes.len() as u64 - at % zeroes.len() as u64) as usize;
            if write_full(&*self.pages.file, &zeroes[..piece], at).is_err() {
                return;
            }
            at += piece as u64;
            self.allocated = at;
        }
        wear.wrote(&mut self.dirty, from, to - from);
    }

    /// For readers.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The number in its name.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Where the next frame will stand.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Bytes of the file, zeroes included.
    pub fn allocated(&self) -> u64 {
        self.allocated
    }
}
