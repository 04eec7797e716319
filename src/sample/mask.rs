//! Which tokens may come next, one bit each.

use crate::text::TokenTable;

/// A set of tokens; ids beyond it are not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenMask {
    words: Vec<u32>,
}

impl TokenMask {
    /// No token, with room for ids below `vocab_size`.
    pub fn none(vocab_size: usize) -> Self {
        Self { words: vec![0; vocab_size.div_ceil(32)] }
    }

    /// Every token that the tokenizer has. A model's logits may have more entries than that
    /// (rows of padding); those must never be drawn, constrained or not.
    pub fn of_vocabulary(table: &TokenTable) -> Self {
        let mut out = Self::none(table.len());
        for id in (0..table.len() as u32).filter(|&id| !table.bytes(id).is_empty()) {
            out.allow(id);
        }
        out
    }

    /// Adds a token, if there is room for its id.
    pub fn allow(&mut self, id: u32) {
        if let Some(word) = self.words.get_mut(id as usize / 32) {
            *word |= 1 << (id % 32);
        }
    }

    /// Whether the token is in the set.
    pub fn allows(&self, id: u32) -> bool {
        self.words.get(id as usize / 32).is_some_and(|w| w >> (id % 32) & 1 == 1)
    }

    /// How many tokens are in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// The ids in the set, ascending.
    pub fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| i as u32 * 32 + bit)
        })
    }

    /// The bits, id 0 lowest in the first word.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// Takes over the bits of `words`; what is beyond our own room is left out.
    pub(crate) fn copy_from(&mut self, words: &[u32]) {
        let shared = words.len().min(self.words.len());
        self.words[..shared].copy_from_slice(&words[..shared]);
        self.words[shared..].fill(0);
    }

    /// Sets the logits of all other tokens to minus infinity. `logits` is one row,
    /// `[vocab_size of the model]`.
    pub fn apply(&self, logits: &mut [f32]) {
        let (covered, rest) = logits.split_at_mut((self.words.len() * 32).min(logits.len()));
        for (chunk, &word) in covered.chunks_mut(32).zip(&self.words) {
            match word {
                u32::MAX => {}
                0 => chunk.fill(f32::NEG_INFINITY),
                word => {
                    for (bit, logit) in chunk.iter_mut().enumerate() {
                        *logit = if word >> bit & 1 == 1 { *logit } else { f32::NEG_INFINITY };
                    }
                }
            }
        }
        rest.fill(f32::NEG_INFINITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn applying_keeps_exactly_the_set(
            ids in proptest::collection::btree_set(0u32..150, 0..150), room in 0usize..150,
            logits in 0usize..200,
        ) {
            let mut mask = TokenMask::none(room);
            ids.iter().for_each(|&id| mask.allow(id));
            let mut row = vec![1.0; logits];
            mask.apply(&mut row);
            for (id, logit) in row.iter().enumerate() {
                let kept = ids.contains(&(id as u32)) && id < room.div_ceil(32) * 32;
                prop_assert_eq!(*logit == 1.0, kept);
                prop_assert_eq!(mask.allows(id as u32), kept);
            }
            prop_assert_eq!(mask.ids().count(), mask.count());
        }
    }
}
