//! Stub until the journal lands.
#![allow(missing_docs)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub u64);
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    Accepted { id: EntryId, head: &'a [u8], body: &'a [u8] },
    Started { id: EntryId },
    Parked { id: EntryId },
    Answered { id: EntryId, answer: &'a [u8] },
    Delivered { id: EntryId, reason: u8 },
    Forgotten { id: EntryId },
    Note { key: u8, bytes: &'a [u8] },
}
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: EntryId,
    pub head: Vec<u8>,
    pub body: Option<Vec<u8>>,
    pub starts: u32,
    pub answered: bool,
    pub delivered: Option<u8>,
    pub written_at: u64,
}
