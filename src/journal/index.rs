//! What the journal holds and where in its segment that stands: built by applying records in their
//! order, whether they were just written or are found again. No blobs, no I/O.

use std::collections::BTreeMap;

use super::frame::{HEADER_BYTES, frame_bytes, kind, u32_at, u64_at};

/// In the place of a body's length: the body is no longer there.
pub const NO_BODY: u32 = u32::MAX;
/// Bytes of an accepted record before its head.
pub const ACCEPTED_FIXED: usize = 16;

/// A frame in the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Offset of the frame.
    pub at: u64,
    /// Bytes of its payload.
    pub len: u32,
}

impl Span {
    /// Behind its frame.
    pub fn end(self) -> u64 {
        self.at + self.bytes()
    }

    fn bytes(self) -> u64 {
        frame_bytes(self.len)
    }
}

/// One entry: about 60 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The prompt.
    pub accepted: Span,
    /// Bytes of the part of it that is dropped once it is answered; [`NO_BODY`] where it is gone.
    pub body_bytes: u32,
    /// The answer, once there is one.
    pub answer: Option<Span>,
    /// Times its inference began.
    pub starts: u32,
    /// The reason code of its delivery.
    pub delivered: Option<u8>,
    /// Unix seconds.
    pub written_at: u64,
}

impl Slot {
    /// The bytes of body that compaction leaves out.
    fn spare_bytes(&self) -> u32 {
        let gone = self.answer.is_none() || self.body_bytes == NO_BODY;
        if gone { 0 } else { self.body_bytes }
    }

    /// What compaction would write.
    fn live_bytes(&self) -> u64 {
        let mut bytes = self.accepted.bytes() - u64::from(self.spare_bytes());
        bytes += self.answer.map_or(0, Span::bytes);
        bytes += if self.starts > 0 { frame_bytes(4) } else { 0 };
        bytes + if self.delivered.is_some() { frame_bytes(1) } else { 0 }
    }
}

/// One step of a compaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// The frame is copied.
    Whole(Span),
    /// The frame of a prompt is copied without the body.
    WithoutBody(Span),
    /// A frame is written anew.
    Made { kind: u8, id: u64, payload: Vec<u8> },
}

/// A record of a kind that this version does not know.
#[derive(Debug, Clone, Copy)]
struct Foreign {
    id: u64,
    span: Span,
}

/// Everything that is live in a segment.
#[derive(Debug, Clone)]
pub struct Index {
    entries: BTreeMap<u64, Slot>,
    notes: BTreeMap<u8, Span>,
    foreign: Vec<Foreign>,
    next_id: u64,
    live_bytes: u64,
}

impl Default for Index {
    fn default() -> Self {
        let live_bytes = HEADER_BYTES as u64 + frame_bytes(0);
        let (entries, notes, foreign) = Default::default();
        Self { entries, notes, foreign, next_id: 1, live_bytes }
    }
}

impl Index {
    /// Takes in one record, whose frame stands at `at`.
    pub fn apply(&mut self, kind: u8, id: u64, at: u64, payload: &[u8]) {
        let span = Span { at, len: payload.len() as u32 };
        self.next_id = self.next_id.max(match kind {
            kind::FLOOR => id,
            _ => id.saturating_add(1),
        });
        if self.apply_known(kind, id, span, payload).is_none() {
            self.foreign.push(Foreign { id, span });
            self.live_bytes += span.bytes();
        }
    }

    /// None if this version cannot read the record, which then is kept as it is.
    fn apply_known(&mut self, kind: u8, id: u64, span: Span, payload: &[u8]) -> Option<()> {
        match kind {
            kind::ACCEPTED => {
                let slot = accepted(span, payload)?;
                self.forget(id, false);
                self.live_bytes += slot.live_bytes();
                self.entries.insert(id, slot);
            }
            kind::STARTED => {
                let times = u32_at(payload, 0)?;
                self.change(id, |slot| slot.starts = slot.starts.saturating_add(times));
            }
            kind::PARKED => self.change(id, |slot| slot.starts = slot.starts.saturating_sub(1)),
            kind::ANSWERED => {
                answer(payload)?;
                self.change(id, |slot| slot.answer = Some(span));
            }
            kind::DELIVERED => {
                let reason = *payload.first()?;
                self.change(id, |slot| slot.delivered = Some(reason));
            }
            kind::FORGOTTEN => self.forget(id, true),
            kind::NOTE => {
                let (key, _) = note(payload)?;
                let before = self.notes.insert(key, span).map_or(0, Span::bytes);
                self.live_bytes = self.live_bytes + span.bytes() - before;
            }
            kind::FLOOR => {}
            _ => return None,
        }
        Some(())
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.entries.get_mut(&id) {
            self.live_bytes -= slot.live_bytes();
            change(slot);
            self.live_bytes += slot.live_bytes();
        }
    }

    /// Drops an entry, and what later versions wrote about it.
    fn forget(&mut self, id: u64, foreign_too: bool) {
        self.live_bytes -= self.entries.remove(&id).map_or(0, |slot| slot.live_bytes());
        if foreign_too && id != 0 {
            let mut gone = 0;
            self.foreign.retain(|foreign| {
                let stays = foreign.id != id;
                gone += if stays { 0 } else { foreign.span.bytes() };
                stays
            });
            self.live_bytes -= gone;
        }
    }

    /// Drops what was delivered and is older than `age_s` seconds. A time before 2020 is of a
    /// clock that was not set yet, and says nothing.
    pub fn drop_old(&mut self, now_s: u64, age_s: u64) {
        const A_SET_CLOCK_S: u64 = 1_577_836_800;
        let old = |slot: &Slot| {
            slot.delivered.is_some()
                && slot.written_at >= A_SET_CLOCK_S
                && now_s.saturating_sub(slot.written_at) > age_s
        };
        let ids: Vec<u64> =
            self.entries.iter().filter(|(_, s)| old(s)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.forget(id, true));
    }

    /// All that a new segment needs to stand for this one, in order.
    pub fn plan(&self) -> Vec<Piece> {
        let floor = Piece::Made { kind: kind::FLOOR, id: self.next_id, payload: Vec::new() };
        let mut plan = vec![floor];
        plan.extend(self.notes.values().copied().map(Piece::Whole));
        for (&id, slot) in &self.entries {
            let spare = slot.spare_bytes() > 0;
            plan.push(match spare {
                true => Piece::WithoutBody(slot.accepted),
                false => Piece::Whole(slot.accepted),
            });
            if slot.starts > 0 {
                let payload = slot.starts.to_le_bytes().to_vec();
                plan.push(Piece::Made { kind: kind::STARTED, id, payload });
            }
            plan.extend(slot.answer.map(Piece::Whole));
            if let Some(reason) = slot.delivered {
                plan.push(Piece::Made { kind: kind::DELIVERED, id, payload: vec![reason] });
            }
        }
        plan.extend(self.foreign.iter().map(|foreign| Piece::Whole(foreign.span)));
        plan
    }

    /// The entries by id.
    pub fn entries(&self) -> &BTreeMap<u64, Slot> {
        &self.entries
    }

    /// The notes by key.
    pub fn notes(&self) -> &BTreeMap<u8, Span> {
        &self.notes
    }

    /// The lowest id that was never used.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Bytes of a segment that holds what is live and nothing else.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }
}

/// Head and body of an accepted record; None for the body where it is gone.
pub fn prompt(payload: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let (head, body) = (u32_at(payload, 8)? as usize, u32_at(payload, 12)?);
    let rest = payload.get(ACCEPTED_FIXED..)?;
    let (head, rest) = rest.split_at_checked(head)?;
    match body {
        NO_BODY => Some((head, None)),
        body => Some((head, Some(rest.get(..body as usize)?))),
    }
}

/// The same record with its body left out; what a later version put behind it stays.
pub fn without_body(payload: &[u8]) -> Option<Vec<u8>> {
    let (head, Some(body)) = prompt(payload)? else { return Some(payload.to_vec()) };
    let head_end = ACCEPTED_FIXED + head.len();
    let mut less = payload[..head_end].to_vec();
    less[12..ACCEPTED_FIXED].copy_from_slice(&NO_BODY.to_le_bytes());
    less.extend_from_slice(&payload[head_end + body.len()..]);
    Some(less)
}

/// The answer in an answered record.
pub fn answer(payload: &[u8]) -> Option<&[u8]> {
    payload.get(4..)?.get(..u32_at(payload, 0)? as usize)
}

/// Key and bytes of a note.
pub fn note(payload: &[u8]) -> Option<(u8, &[u8])> {
    let bytes = payload.get(5..)?.get(..u32_at(payload, 1)? as usize)?;
    Some((payload[0], bytes))
}

fn accepted(span: Span, payload: &[u8]) -> Option<Slot> {
    prompt(payload)?;
    Some(Slot {
        accepted: span,
        body_bytes: u32_at(payload, 12)?,
        answer: None,
        starts: 0,
        delivered: None,
        written_at: u64_at(payload, 0)?,
    })
}
