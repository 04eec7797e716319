//! Sets of numbers: spans with bounds and steps, and exact operations on them.
//!
//! Knows values; how they are written is the business of `numeral`.

use super::decimal::Decimal;

/// Values that are listed one by one instead of described.
const MAX_LISTED: i128 = 1000;

/// One end of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Bound {
    pub(super) at: Decimal,
    pub(super) included: bool,
}

/// The numbers between two bounds that are multiples of every step and of no gap.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Span {
    pub(super) low: Option<Bound>,
    pub(super) high: Option<Bound>,
    pub(super) steps: Vec<Decimal>,
    pub(super) gaps: Vec<Decimal>,
}

impl Span {
    pub(super) fn exactly(value: Decimal) -> Self {
        let bound = Some(Bound { at: value, included: true });
        Self { low: bound, high: bound, ..Self::default() }
    }

    pub(super) fn multiples_of(step: Decimal) -> Self {
        Self { steps: vec![step], ..Self::default() }
    }

    pub(super) fn holds(&self, value: Decimal) -> bool {
        let inside = |bound: Option<Bound>, beyond: fn(&Decimal, &Decimal) -> bool| {
            bound.is_none_or(|b| beyond(&value, &b.at) || (b.included && value == b.at))
        };
        inside(self.low, |v, b| v > b)
            && inside(self.high, |v, b| v < b)
            && self.steps.iter().all(|s| value.is_multiple_of(*s))
            && !self.gaps.iter().any(|s| value.is_multiple_of(*s))
    }

    /// All its values, if they are few.
    pub(super) fn values(&self) -> Option<Vec<Decimal>> {
        let (low, high) = (self.low?.at, self.high?.at);
        if low == high {
            return Some(vec![low].into_iter().filter(|v| self.holds(*v)).collect());
        }
        let (first, rest) = self.steps.split_first()?;
        let step = rest.iter().try_fold(*first, |a, b| a.least_common_multiple(*b))?;
        let exponent = [low, high, step].iter().map(|d| d.parts().1).min()?;
        let (low, high) = (low.scaled(exponent)?, high.scaled(exponent)?);
        let step = step.scaled(exponent)?.checked_abs()?;
        let (first, last) = (low.div_euclid(step), high.div_euclid(step));
        if last.checked_sub(first)? > MAX_LISTED {
            return None;
        }
        let all = (first..=last).map(|n| Decimal::new(n * step, exponent));
        Some(all.filter(|v| self.holds(*v)).collect())
    }

    /// Whether it surely holds no number.
    pub(super) fn is_void(&self) -> bool {
        if let (Some(low), Some(high)) = (self.low, self.high)
            && (low.at > high.at || (low.at == high.at && !self.holds(low.at)))
        {
            return true;
        }
        self.steps.iter().any(|s| self.gaps.iter().any(|gap| s.is_multiple_of(*gap)))
            || self.values().is_some_and(|values| values.is_empty())
    }

    fn meet(&self, other: &Self) -> Self {
        let tighter = |a: Option<Bound>, b: Option<Bound>, high: bool| match (a, b) {
            (Some(a), Some(b)) if a.at == b.at => {
                Some(Bound { at: a.at, included: a.included && b.included })
            }
            (Some(a), Some(b)) => Some(if (a.at < b.at) == high { a } else { b }),
            (a, b) => a.or(b),
        };
        Self {
            low: tighter(self.low, other.low, false),
            high: tighter(self.high, other.high, true),
            steps: joined(&self.steps, &other.steps),
            gaps: joined(&self.gaps, &other.gaps),
        }
    }

    /// Every number that is not in it.
    fn complement(&self) -> Vec<Self> {
        let beyond = |bound: Bound| Some(Bound { at: bound.at, included: !bound.included });
        let below = self.low.map(|b| Self { high: beyond(b), ..Self::default() });
        let above = self.high.map(|b| Self { low: beyond(b), ..Self::default() });
        let steps = self.steps.iter().map(|s| Self { gaps: vec![*s], ..Self::default() });
        let gaps = self.gaps.iter().map(|s| Self::multiples_of(*s));
        below.into_iter().chain(above).chain(steps).chain(gaps).collect()
    }
}

fn joined(a: &[Decimal], b: &[Decimal]) -> Vec<Decimal> {
    let mut all = a.to_vec();
    all.extend(b.iter().filter(|s| !a.contains(s)));
    all
}

/// What both sets hold.
pub(super) fn meet(a: &[Span], b: &[Span]) -> Vec<Span> {
    let mut both = Vec::new();
    for span in a.iter().flat_map(|x| b.iter().map(|y| x.meet(y))) {
        if !span.is_void() && !both.contains(&span) {
            both.push(span);
        }
    }
    both
}

/// What either set holds.
pub(super) fn join(a: &[Span], b: &[Span]) -> Vec<Span> {
    let mut either = a.to_vec();
    either.extend(b.iter().filter(|span| !a.contains(span)).cloned());
    match either.contains(&Span::default()) {
        true => vec![Span::default()],
        false => either,
    }
}

/// Every number that the set does not hold.
pub(super) fn complement(set: &[Span]) -> Vec<Span> {
    set.iter().fold(vec![Span::default()], |rest, span| meet(&rest, &span.complement()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn span() -> impl Strategy<Value = Span> {
        let bound = || {
            prop::option::of(
                (-40i128..40, any::<bool>())
                    .prop_map(|(n, included)| Bound { at: Decimal::new(n, -1), included }),
            )
        };
        let steps =
            || prop::collection::vec((1i128..7).prop_map(|n| Decimal::new(n * 5, -1)), 0..2);
        (bound(), bound(), steps(), steps()).prop_map(|(low, high, steps, gaps)| Span {
            low,
            high,
            steps,
            gaps,
        })
    }

    fn holds(set: &[Span], value: Decimal) -> bool {
        set.iter().any(|span| span.holds(value))
    }

    proptest! {
        #[test]
        fn operations_are_exact(
            a in prop::collection::vec(span(), 0..3), b in prop::collection::vec(span(), 0..3),
        ) {
            let (both, either, rest) = (meet(&a, &b), join(&a, &b), complement(&a));
            for value in (-50..50).map(|n| Decimal::new(n, -1)) {
                let (x, y) = (holds(&a, value), holds(&b, value));
                prop_assert_eq!(holds(&both, value), x && y);
                prop_assert_eq!(holds(&either, value), x || y);
                prop_assert_eq!(holds(&rest, value), !x);
            }
            for span in &a {
                let some = (-50..50).any(|n| span.holds(Decimal::new(n, -1)));
                prop_assert!(!(some && span.is_void()));
                if let Some(values) = span.values() {
                    prop_assert!(values.iter().all(|v| span.holds(*v)));
                }
            }
        }
    }
}
