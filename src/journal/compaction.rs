//! Writes what is live into a new segment, slice by slice, while the old one goes on growing.
//!
//! First what was live at the beginning, then every frame that was appended to the old segment
//! since, in order: the same state, since a segment is read by applying its records.

use std::collections::VecDeque;
use std::io;

use super::disk::Disk;
use super::frame::{self, frame_bytes};
use super::index::{Index, Piece, without_body};
use super::segment::{self, Pages, Segment};
use super::wear::Wear;

/// A compaction under way.
pub struct Compaction {
    /// The old segment; none for a journal that begins.
    from: Option<Pages>,
    plan: VecDeque<Piece>,
    /// Up to here the old segment's frames are in the new one.
    tail_at: u64,
    /// Steps that began with nothing but the tail to copy.
    tail_steps: u32,
    into: Segment,
    index: Index,
    lost_bytes: u64,
}

impl Compaction {
    /// Begins to write the live part of `from`, as `index` has it, to a segment called `generation`.
    pub fn start(
        disk: &dyn Disk,
        from: &Segment,
        index: &Index,
        generation: u64,
        salt: u64,
        wear: &mut Wear,
    ) -> io::Result<Self> {
        let mut compaction = Self::of_nothing(disk, generation, salt, wear)?;
        compaction.from = Some(from.pages().clone());
        compaction.plan = index.plan().into();
        compaction.tail_at = from.end();
        Ok(compaction)
    }

    /// The first segment of a journal.
    pub fn of_nothing(
        disk: &dyn Disk,
        generation: u64,
        salt: u64,
        wear: &mut Wear,
    ) -> io::Result<Self> {
        let into = Segment::create(disk, generation, salt, wear)?;
        let (plan, index) = (VecDeque::new(), Index::default());
        Ok(Self { from: None, plan, tail_at: 0, tail_steps: 0, into, index, lost_bytes: 0 })
    }

    /// Writes a slice of about `slice_bytes`; `old_end` is where the old segment ends by now. True when the new segment
    /// has everything.
    pub fn step(
        &mut self,
        old_end: u64,
        slice_bytes: usize,
        sync: bool,
        wear: &mut Wear,
    ) -> io::Result<bool> {
        // Every step over the tail may be twice as long, or a busy writer would never be overtaken.
        let slice_bytes = slice_bytes << self.tail_steps.min(16);
        self.tail_steps += u32::from(self.plan.is_empty());
        let mut frames = Vec::new();
        let mut done = false;
        while !done && frames.len() < slice_bytes {
            match self.next(old_end) {
                Some((kind, id, payload)) => self.push(&mut frames, kind, id, &payload),
                None => done = true,
            }
        }
        self.into.append(&frames, wear)?;
        if sync && !frames.is_empty() {
            self.into.sync(wear)?;
        }
        Ok(done)
    }

    /// Gives the segment its name. The directory has yet to be synced before the old one may go.
    pub fn finish(
        mut self,
        disk: &dyn Disk,
        sync: bool,
        wear: &mut Wear,
    ) -> io::Result<(Segment, Index)> {
        if sync {
            self.into.sync(wear)?;
        }
        let generation = self.into.generation();
        disk.rename(&segment::unfinished_name(generation), &segment::name(generation))?;
        Ok((self.into, self.index))
    }

    /// The new segment's number.
    pub fn generation(&self) -> u64 {
        self.into.generation()
    }

    /// Bytes of the old segment that could not be read any more.
    pub fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }

    fn push(&mut self, frames: &mut Vec<u8>, kind: u8, id: u64, payload: &[u8]) {
        let at = self.into.end() + frames.len() as u64;
        frame::push(frames, self.into.pages().salt, at, kind, id, payload);
        // Should the write fail, the whole compaction is given up.
        self.index.apply(kind, id, at, payload);
    }

    /// The next record to write: what is live first, then what came since.
    fn next(&mut self, old_end: u64) -> Option<(u8, u64, Vec<u8>)> {
        while let Some(piece) = self.plan.pop_front() {
            let (span, keeps_body) = match piece {
                Piece::Made { kind, id, payload } => return Some((kind, id, payload)),
                Piece::Whole(span) => (span, true),
                Piece::WithoutBody(span) => (span, false),
            };
            match self.read(span.at, span.end()) {
                Some((kind, id, payload)) if keeps_body => return Some((kind, id, payload)),
                Some((kind, id, payload)) => {
                    let less = without_body(&payload).unwrap_or(payload);
                    return Some((kind, id, less));
                }
                None => self.lost_bytes += frame_bytes(span.len),
            }
        }
        if self.tail_at >= old_end {
            return None;
        }
        let record = self.read(self.tail_at, old_end);
        let bytes = record.as_ref().map(|(_, _, payload)| frame_bytes(payload.len() as u32));
        let step = bytes.unwrap_or(old_end - self.tail_at);
        self.lost_bytes += if record.is_some() { 0 } else { step };
        self.tail_at += step;
        record
    }

    /// What cannot be read is lost, and the old file is put aside; a bad sector is no reason never
    /// to compact again.
    fn read(&self, at: u64, limit: u64) -> Option<(u8, u64, Vec<u8>)> {
        let (head, payload) = self.from.as_ref()?.read(at, limit).ok()??;
        Some((head.kind, head.id, payload))
    }
}
