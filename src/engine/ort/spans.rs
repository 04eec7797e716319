//! Which slots run together.
//!
//! A run sees one range of the cache, so the rows of a step are cut into spans of neighbouring
//! slots. A small hole is filled with a dummy row where its slot can take one: that costs less than
//! a run more. Knows slots only; nothing of tensors.

use crate::core::plan::MAX_ROWS;

/// The widest hole that is filled. With 4-bit weights a run costs some 3 ms and 1.4 ms more for each
/// row (SmolLM2-135M, two threads), so two dummy rows are cheaper than a second run, three are not.
const WIDEST_HOLE: usize = 2;

/// What one run covers: the slots from `base` on, each with the plan's row of that index, or none
/// for a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    pub base: usize,
    pub rows: heapless::Vec<Option<usize>, MAX_ROWS>,
}

/// The runs of one step.
pub type Spans = heapless::Vec<Span, MAX_ROWS>;

/// Cuts a step into runs: `slots` are those of its rows, each once; `fills` says whether a slot can
/// take a dummy row. All runs together have at most `most` rows, dummies included, unless the plan
/// itself has more.
pub fn spans(slots: &[usize], most: usize, fills: impl Fn(usize) -> bool) -> Spans {
    let mut order: heapless::Vec<usize, MAX_ROWS> = (0..slots.len()).collect();
    order.sort_unstable_by_key(|&row| slots[row]);
    let mut spare = most.min(MAX_ROWS).saturating_sub(slots.len());
    let mut spans = Spans::new();
    for row in order {
        let slot = slots[row];
        let end = spans.last().map_or(slot, |span: &Span| span.base + span.rows.len());
        let hole = slot - end;
        let joins = hole <= WIDEST_HOLE.min(spare) && (end..slot).all(&fills);
        if spans.is_empty() || !joins {
            let span = Span { base: slot, rows: heapless::Vec::new() };
            spans.push(span).expect("as many spans as rows at most");
        } else {
            spare -= hole;
        }
        let span = spans.last_mut().expect("one was pushed");
        let holes = slot - span.base - span.rows.len();
        span.rows.extend(std::iter::repeat_n(None, holes));
        span.rows.push(Some(row)).expect("rows and dummies are at most MAX_ROWS");
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(slots: &[usize], most: usize, full: &[usize]) -> Vec<(usize, Vec<Option<usize>>)> {
        let spans = spans(slots, most, |slot| !full.contains(&slot));
        spans.into_iter().map(|span| (span.base, span.rows.to_vec())).collect()
    }

    #[test]
    fn neighbours_run_together_and_small_holes_are_filled() {
        assert_eq!(cut(&[2, 0, 1], 4, &[]), [(0, vec![Some(1), Some(2), Some(0)])]);
        assert_eq!(cut(&[0, 2], 4, &[]), [(0, vec![Some(0), None, Some(1)])]);
        assert_eq!(cut(&[0, 4], 8, &[]), [(0, vec![Some(0)]), (4, vec![Some(1)])]);
    }

    #[test]
    fn a_full_slot_takes_no_dummy_and_nor_does_a_full_step() {
        assert_eq!(cut(&[0, 2], 4, &[1]), [(0, vec![Some(0)]), (2, vec![Some(1)])]);
        assert_eq!(cut(&[0, 2], 2, &[]), [(0, vec![Some(0)]), (2, vec![Some(1)])]);
    }

    proptest! {
        #[test]
        fn every_row_runs_once_at_its_slot(
            slots in prop::sample::subsequence((0..20).collect::<Vec<usize>>(), 1..=MAX_ROWS)
                .prop_shuffle(),
            full in prop::collection::vec(0usize..20, 0..8),
            more in 0usize..6,
        ) {
            let most = (slots.len() + more).min(MAX_ROWS);
            let cut = cut(&slots, most, &full);
            let mut seen = vec![0; slots.len()];
            for (base, rows) in &cut {
                for (at, row) in rows.iter().enumerate() {
                    match row {
                        Some(row) => {
                            prop_assert_eq!(slots[*row], base + at);
                            seen[*row] += 1;
                        }
                        None => prop_assert!(!full.contains(&(base + at))),
                    }
                }
            }
            prop_assert!(seen.iter().all(|&times| times == 1));
            prop_assert!(cut.iter().map(|(_, rows)| rows.len()).sum::<usize>() <= most);
        }
    }
}
