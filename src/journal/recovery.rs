//! Finds the segment that counts and reads it, whatever state a crash or a bad medium left it in.
//!
//! Reading goes on behind a damaged place with the next frame whose checksum, salt and place are
//! right. With such a frame behind it the damage is a *gap*: the file is rewritten and the old one
//! put aside. With none it is a *torn tail*, the usual trace of a power loss: it is cut off.

use std::io;
use std::path::Path;

use super::compaction::Compaction;
use super::disk::{Disk, read_full};
use super::frame::{FRAME_BYTES, FrameHead, HEADER_BYTES, Header, VERSION, frame_bytes};
use super::index::{Index, prompt};
use super::segment::{self, Pages, Segment};
use super::wear::Wear;
use super::{Entry, EntryId, JournalError, Recovered, index};

/// Damaged files that are kept besides a new one; the oldest goes first.
const DAMAGED_KEPT: usize = 2;
/// How much of a rewrite is in memory at a time.
const SLICE_BYTES: usize = 256 * 1024;
/// The unit in which a damaged file is searched.
const WINDOW_BYTES: u64 = 4096;
/// The unit in which unreadable places are skipped.
const SECTOR_BYTES: u64 = 512;

/// A journal ready to be written to.
pub struct Found {
    pub segment: Segment,
    pub index: Index,
    pub recovered: Recovered,
}

/// The opening of a journal.
pub struct Recovery<'a> {
    pub disk: &'a dyn Disk,
    /// The directory, for messages.
    pub path: &'a Path,
    /// For the segment that may have to be made.
    pub salt: u64,
    pub sync: bool,
}

impl Recovery<'_> {
    /// Opens the journal, or begins one; `prune` may drop entries before they are read.
    ///
    /// # Errors
    /// [`JournalError::Newer`] before anything was touched; else what the disk says.
    pub fn run(
        &self,
        wear: &mut Wear,
        prune: impl FnOnce(&mut Index),
    ) -> Result<Found, JournalError> {
        let names = self.disk.list().map_err(|e| self.fault("read", e))?;
        let candidates = candidates(self.disk, &names, self.path)?;
        let next = names.iter().filter_map(|name| any_generation(name)).max().unwrap_or(0) + 1;
        let best = candidates.iter().find_map(|c| Some((c, c.header?)));
        let found = match best {
            Some((candidate, header)) => self.read(candidate, header, next, wear),
            None => self.begin(next, wear),
        };
        let mut found = found.map_err(|e| self.fault("write", e))?;
        self.make_durable(&mut found.segment, wear).map_err(|e| self.fault("write", e))?;

        let best = best.map(|(candidate, _)| candidate.generation);
        let was_rewritten = Some(found.segment.generation()) != best;
        for candidate in &candidates {
            let is_best = Some(candidate.generation) == best;
            if !is_best || was_rewritten {
                let damaged = candidate.header.is_none() || is_best;
                retire(self.disk, candidate.generation, damaged && candidate.used > 0);
            }
        }
        clean(self.disk);
        let unreadable = candidates.iter().filter(|c| Some(c.generation) > best);
        found.recovered.bytes_lost += unreadable.map(|c| c.used).sum::<u64>();
        prune(&mut found.index);
        fill_in(&mut found).map_err(|e| self.fault("read", e))?;
        Ok(found)
    }

    fn fault(&self, doing: &'static str, source: io::Error) -> JournalError {
        JournalError::Disk { path: self.path.to_owned(), doing, source }
    }

    /// What a crashed process wrote may not have reached the medium; from here on it counts.
    fn make_durable(&self, segment: &mut Segment, wear: &mut Wear) -> io::Result<()> {
        if !self.sync {
            return Ok(());
        }
        segment.sync(wear)?;
        self.disk.sync_names()
    }

    fn begin(&self, generation: u64, wear: &mut Wear) -> io::Result<Found> {
        let compaction = Compaction::of_nothing(self.disk, generation, self.salt, wear)?;
        let (segment, index) = compaction.finish(self.disk, self.sync, wear)?;
        Ok(Found { segment, index, recovered: Recovered::empty(VERSION) })
    }

    /// Reads a segment; one with a gap is rewritten under the generation `next`.
    fn read(
        &self,
        candidate: &Candidate,
        header: Header,
        next: u64,
        wear: &mut Wear,
    ) -> io::Result<Found> {
        let (pages, bytes) = (candidate.pages.clone(), candidate.bytes);
        let mut index = Index::default();
        let scan = scan(&pages, u64::from(header.frames_at), bytes, |head, at, payload| {
            index.apply(head.kind, head.id, at, payload);
        });
        let is_torn = scan.lost > 0 && !scan.has_gap;
        if is_torn {
            pages.file.set_len(scan.end)?;
        }
        let allocated = if is_torn { scan.end } else { bytes };
        let mut segment = Segment::reopen(pages, candidate.generation, scan.end, allocated);
        let mut recovered = Recovered::empty(header.version);
        recovered.bytes_lost = scan.lost;
        if scan.has_gap {
            let (disk, sync) = (self.disk, self.sync);
            let mut compaction = Compaction::start(disk, &segment, &index, next, self.salt, wear)?;
            while !compaction.step(segment.end(), SLICE_BYTES, sync, wear)? {}
            recovered.bytes_lost += compaction.lost_bytes();
            (segment, index) = compaction.finish(disk, sync, wear)?;
        }
        Ok(Found { segment, index, recovered })
    }
}

/// Takes an old segment out of the way: deletes it, or puts it aside.
pub fn retire(disk: &dyn Disk, generation: u64, damaged: bool) {
    let name = segment::name(generation);
    let done = match damaged {
        true => disk.rename(&name, &segment::damaged_name(generation)),
        false => disk.remove(&name),
    };
    // It is of no consequence: the next start finds a higher generation and tries again.
    if let Err(e) = done {
        tracing::warn!(name, error = %e, "an old segment of the journal stays");
    }
}

/// A segment file.
struct Candidate {
    generation: u64,
    pages: Pages,
    header: Option<Header>,
    bytes: u64,
    /// Bytes up to the last that is not zero, where the header cannot be read; else all.
    used: u64,
}

/// All segments, the highest generation first; fails if one of them is not for us to read.
fn candidates(
    disk: &dyn Disk,
    names: &[String],
    path: &Path,
) -> Result<Vec<Candidate>, JournalError> {
    let mut found = Vec::new();
    for generation in names.iter().filter_map(|name| segment::generation_of(name, "seg")) {
        let name = segment::name(generation);
        let fault = |source| JournalError::Disk { path: path.join(&name), doing: "read", source };
        let file = disk.open(&name).map_err(fault)?;
        let bytes = file.bytes().map_err(fault)?;
        let mut start = [0u8; HEADER_BYTES];
        // An unreadable first sector is a header that is not there.
        let read = read_full(&*file, &mut start, 0).unwrap_or(0);
        let header = Header::decode(&start[..read]);
        if let Some(header) = header
            && header.oldest_reader > VERSION
        {
            let (needs, ours) = (header.oldest_reader, VERSION);
            return Err(JournalError::Newer { path: path.join(&name), needs, ours });
        }
        let pages = Pages { file, salt: header.map_or(0, |h| h.salt) };
        let used = if header.is_some() { bytes } else { used_bytes(&pages, bytes) };
        found.push(Candidate { generation, pages, header, bytes, used });
    }
    found.sort_by_key(|c| std::cmp::Reverse(c.generation));
    Ok(found)
}

fn any_generation(name: &str) -> Option<u64> {
    ["seg", "new", "damaged"].iter().find_map(|ending| segment::generation_of(name, ending))
}

/// Removes what was never finished, and all but the newest damaged files.
pub fn clean(disk: &dyn Disk) {
    let names = disk.list().unwrap_or_default();
    let mut damaged: Vec<&String> =
        names.iter().filter(|n| segment::generation_of(n, "damaged").is_some()).collect();
    damaged.sort();
    let old = damaged.len().saturating_sub(DAMAGED_KEPT);
    let unfinished = names.iter().filter(|n| segment::generation_of(n, "new").is_some());
    for name in unfinished.chain(damaged.into_iter().take(old)) {
        if let Err(e) = disk.remove(name) {
            tracing::warn!(name, error = %e, "a left-over of the journal stays");
        }
    }
}

/// Reads what the caller gets: prompts and notes.
fn fill_in(found: &mut Found) -> io::Result<()> {
    let (pages, end) = (found.segment.pages(), found.segment.end());
    for (&id, slot) in found.index.entries() {
        let Some((_, payload)) = pages.read(slot.accepted.at, end)? else { continue };
        let Some((head, body)) = prompt(&payload) else { continue };
        found.recovered.entries.push(Entry {
            id: EntryId(id),
            head: head.to_vec(),
            // The answer may have come after the last compaction.
            body: if slot.answer.is_some() { None } else { body.map(<[u8]>::to_vec) },
            starts: slot.starts,
            answered: slot.answer.is_some(),
            delivered: slot.delivered,
            written_at: slot.written_at,
        });
    }
    for (&key, span) in found.index.notes() {
        let Some((_, payload)) = pages.read(span.at, end)? else { continue };
        if let Some((_, bytes)) = index::note(&payload) {
            found.recovered.notes.insert(key, bytes.to_vec());
        }
    }
    found.recovered.next_id = EntryId(found.index.next_id());
    Ok(())
}

/// What reading a segment has shown.
#[derive(Debug, PartialEq, Eq)]
struct Scan {
    /// Behind the last frame.
    end: u64,
    /// Bytes that are no frames and no zeroes at the end.
    lost: u64,
    /// Whether there are frames behind lost bytes.
    has_gap: bool,
}

/// Shows `visit` every frame from `from` on, with its place and payload.
fn scan(
    pages: &Pages,
    from: u64,
    bytes: u64,
    mut visit: impl FnMut(FrameHead, u64, &[u8]),
) -> Scan {
    let mut scan = Scan { end: from, lost: 0, has_gap: false };
    loop {
        let at = scan.end;
        if let Ok(Some((head, payload))) = pages.read(at, bytes) {
            visit(head, at, &payload);
            scan.end += frame_bytes(head.len);
            continue;
        }
        let search = search(pages, at, bytes);
        let Some(next) = search.frame else {
            scan.lost += search.used - at;
            return scan;
        };
        scan.lost += next - at;
        scan.has_gap = true;
        scan.end = next;
    }
}

struct Search {
    /// Where the next whole frame stands.
    frame: Option<u64>,
    /// Behind the last byte that is not zero.
    used: u64,
}

/// Looks for a frame behind `from`. What cannot be read is skipped, and counts as used.
fn search(pages: &Pages, from: u64, bytes: u64) -> Search {
    let (mut at, mut used) = (from, from);
    let mut window = [0u8; WINDOW_BYTES as usize + FRAME_BYTES];
    while at < bytes {
        let step = WINDOW_BYTES - at % WINDOW_BYTES;
        let window = &mut window[..step as usize + FRAME_BYTES];
        let Ok(n) = read_full(&*pages.file, window, at) else {
            at += SECTOR_BYTES - at % SECTOR_BYTES;
            used = at.min(bytes);
            continue;
        };
        let window = &window[..n];
        if let Some(last) = window.iter().rposition(|byte| *byte != 0) {
            used = at + last as u64 + 1;
            let frame = (0..step).find(|i| {
                let place = at + i;
                let head = window.get(*i as usize..).unwrap_or_default();
                FrameHead::decode(head, pages.salt, place).is_some()
                    && matches!(pages.read(place, bytes), Ok(Some(_)))
            });
            if let Some(i) = frame {
                return Search { frame: Some(at + i), used };
            }
        }
        at += step;
    }
    Search { frame: None, used }
}

fn used_bytes(pages: &Pages, bytes: u64) -> u64 {
    search(pages, 0, bytes).used
}
