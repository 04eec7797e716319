//! The KV slots of one model: who holds which, and how many bytes that is.

use super::plan::{ModelId, Slot};

/// Hands out slots and takes them back; the number of slots never changes.
#[derive(Debug, Clone)]
pub struct Ledger {
    model: ModelId,
    slot_bytes: u64,
    slots: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    generation: u32,
    held: bool,
}

impl Ledger {
    /// A pool of `slots` free slots of `slot_bytes` each.
    pub fn new(model: ModelId, slots: u16, slot_bytes: u64) -> Self {
        Self { model, slot_bytes, slots: vec![Entry::default(); usize::from(slots)] }
    }

    /// Takes the free slot with the lowest index, so that the slots in use stay neighbours.
    pub fn reserve(&mut self) -> Option<Slot> {
        let index = self.slots.iter().position(|s| !s.held)?;
        let entry = &mut self.slots[index];
        entry.held = true;
        entry.generation = entry.generation.wrapping_add(1);
        let index = u16::try_from(index).expect("made from a u16 count");
        Some(Slot { model: self.model, index, generation: entry.generation })
    }

    /// Takes a slot back once the engine has let go of it. A slot of an earlier generation is
    /// ignored: it has been given on already.
    pub fn release(&mut self, slot: Slot) {
        if let Some(entry) = self.slots.get_mut(usize::from(slot.index))
            && entry.generation == slot.generation
        {
            entry.held = false;
        }
    }

    /// Slots that nobody holds.
    pub fn free(&self) -> usize {
        self.slots.iter().filter(|s| !s.held).count()
    }

    /// Bytes of the slots in use.
    pub fn held_bytes(&self) -> u64 {
        (self.slots.len() - self.free()) as u64 * self.slot_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_given_once_and_stale_releases_are_ignored() {
        let mut ledger = Ledger::new(ModelId(0), 2, 10);
        let a = ledger.reserve().expect("free");
        let b = ledger.reserve().expect("free");
        assert_ne!(a.index, b.index);
        assert_eq!((ledger.reserve(), ledger.held_bytes()), (None, 20));
        ledger.release(a);
        let c = ledger.reserve().expect("free again");
        assert_eq!(c.index, a.index);
        ledger.release(a);
        assert_eq!(ledger.free(), 0, "a stale release must not free the new holder's slot");
    }
}
