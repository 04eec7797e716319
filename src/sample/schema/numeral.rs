//! How sets of numbers are written: decimals without exponent, each value in one way.
//!
//! At most 15 significant digits, so that a reader's 64-bit float is another one for another text and
//! keeps the order; constants of the schema are written in full.

use super::decimal::Decimal;
use super::lex::Lex;
use super::number::{Bound, Span};
use std::collections::BTreeSet;

/// Zero or more, in at most 15 significant digits.
const MAGNITUDE: &str = "(?:0|[1-9][0-9]{0,14}|(?:0|[1-9][0-9]{0,5})\\.[0-9]{0,8}[1-9]\
                         |[1-9][0-9]{6,10}\\.[0-9]{0,3}[1-9])";
/// Digits of the whole part, at most.
const WHOLE_DIGITS: usize = 15;
/// Digits after the point of a bound that matter: more than a numeral has.
const BOUND_DIGITS: usize = 10;
/// Matches nothing.
const NOTHING: &str = "[^\\x00-\\x{10FFFF}]";
/// Any digits after the point, or none.
const FRACTION: &str = "(?:\\.[0-9]+)?";
/// Bytes of the expression of one step.
const MAX_STEP_BYTES: usize = 4096;

/// Why a set cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StepTooFine;

/// The texts of a set; nothing for an empty one.
pub(super) fn lexes(set: &[Span]) -> Result<Vec<Lex>, StepTooFine> {
    let mut listed = BTreeSet::new();
    let mut described = Vec::new();
    for span in set {
        match span.values() {
            Some(values) => listed.extend(values),
            None => described.extend(describe(span)?),
        }
    }
    let listed = listed.into_iter().map(|value| Lex::Literal(value.text()));
    Ok(listed.chain(described).collect())
}

/// One expression for each sign.
fn describe(span: &Span) -> Result<Vec<Lex>, StepTooFine> {
    let zero = Bound { at: Decimal::ZERO, included: true };
    let beyond_zero = Bound { included: false, ..zero };
    let mut signs = Vec::new();
    if span.high.is_none_or(|h| h.at > Decimal::ZERO || h == zero) {
        let low = span.low.filter(|low| !low.at.is_negative()).unwrap_or(zero);
        signs.push(magnitudes(span, low, span.high)?);
    }
    if span.low.is_none_or(|l| l.at.is_negative()) {
        let mirrored = |b: Bound| Bound { at: b.at.negated(), ..b };
        let low = span.high.filter(|h| h.at.is_negative()).map_or(beyond_zero, mirrored);
        let sizes = magnitudes(span, low, span.low.map(mirrored))?;
        signs.push(Lex::Then(vec![Lex::Literal("-".into()), sizes]));
    }
    Ok(signs)
}

/// Texts without sign from `low` on, which is zero at least, up to `high`.
fn magnitudes(span: &Span, low: Bound, high: Option<Bound>) -> Result<Lex, StepTooFine> {
    let mut all = vec![Lex::Regex(MAGNITUDE.into())];
    // Zero is the least of them: below it is nothing.
    if low.at.digits().0.len() > WHOLE_DIGITS {
        all.push(Lex::Regex(NOTHING.into()));
    } else if !low.at.is_zero() || !low.included {
        let less = below(Bound { at: low.at, included: !low.included });
        all.push(Lex::Not(Box::new(Lex::Regex(less))));
    }
    if let Some(high) = high.filter(|h| h.at.digits().0.len() <= WHOLE_DIGITS) {
        all.push(Lex::Regex(below(high)));
    }
    for step in &span.steps {
        all.extend(multiples(*step)?);
    }
    for gap in &span.gaps {
        all.push(Lex::Not(Box::new(Lex::And(multiples(*gap)?))));
    }
    Ok(Lex::And(all))
}

/// Digits less than a bound of zero or more; also matches texts that are no numerals.
fn below(mut bound: Bound) -> String {
    let (whole, mut fraction) = bound.at.digits();
    if fraction.len() > BOUND_DIGITS {
        fraction.truncate(BOUND_DIGITS);
        fraction.truncate(fraction.trim_end_matches('0').len());
        bound.included = true;
    }
    let mut options = less_than(&whole, true).collect::<Vec<_>>();
    options.iter_mut().for_each(|o| o.push_str(FRACTION));
    if whole.len() > 1 {
        options.push(format!("(?:0|[1-9][0-9]{{0,{}}}){FRACTION}", whole.len() - 2));
    }
    if !fraction.is_empty() || bound.included {
        options.push(whole.clone());
    }
    options.extend(less_than(&fraction, false).map(|less| format!("{whole}\\.{less}[0-9]*")));
    options.extend((1..fraction.len()).map(|n| format!("{whole}\\.{}", &fraction[..n])));
    if bound.included && !fraction.is_empty() {
        options.push(format!("{whole}\\.{fraction}"));
    }
    if options.is_empty() {
        // Less than zero.
        options.push(NOTHING.into());
    }
    format!("(?:{})", options.join("|"))
}

/// Beginnings that are less than `digits`: for whole numbers, all their digits.
fn less_than(digits: &str, whole: bool) -> impl Iterator<Item = String> + '_ {
    digits.bytes().enumerate().filter_map(move |(i, digit)| {
        let least = if whole && i == 0 && digits.len() > 1 { b'1' } else { b'0' };
        let last = digit.checked_sub(1).filter(|last| *last >= least)?;
        let rest = match digits.len() - i - 1 {
            0 => String::new(),
            _ if !whole => String::new(),
            n => format!("[0-9]{{{n}}}"),
        };
        Some(format!("{}[{}-{}]{rest}", &digits[..i], least as char, last as char))
    })
}

/// Magnitudes that are multiples of a step: all of the expressions.
fn multiples(step: Decimal) -> Result<Vec<Lex>, StepTooFine> {
    let (Some(coefficient), exponent) = step.parts() else { return Err(StepTooFine) };
    if coefficient == 0 || !(-9..=12).contains(&exponent) {
        return Err(StepTooFine);
    }
    let mut odd = coefficient;
    let (mut twos, mut fives) = (0, 0);
    while odd.is_multiple_of(2) {
        (odd, twos) = (odd / 2, twos + 1);
    }
    while odd.is_multiple_of(5) {
        (odd, fives) = (odd / 5, fives + 1);
    }
    // The last digits decide about twos and fives; ten is prime to what is left.
    let ends = endings(coefficient / odd, i32::max(twos, fives) as u32, exponent)?;
    let mut all = vec![Lex::Regex(ends)];
    if odd > 1 {
        all.push(Lex::Regex(divisible(odd)?));
    }
    Ok(all)
}

/// Numbers whose last `count` digits before `10^exponent` are a multiple of `part`.
fn endings(part: u64, count: u32, exponent: i32) -> Result<String, StepTooFine> {
    if count > 3 {
        return Err(StepTooFine);
    }
    let mut options = vec!["0".to_owned()];
    let places = u32::try_from(-exponent).unwrap_or(0);
    let zeros = "0".repeat(exponent.max(0) as usize);
    // Digits in front of the last ones, all after the point: whatever they are.
    if places > count {
        let whole = "(?:0|[1-9][0-9]*)";
        options.push(format!("{whole}(?:\\.[0-9]{{1,{}}})?", places - count));
    }
    for last in (0..10u64.pow(count)).filter(|n| n.is_multiple_of(part)) {
        let digits = match count {
            0 => String::new(),
            _ => format!("{last:0width$}", width = count as usize),
        };
        options.extend(with_ending(&digits, places, &zeros));
    }
    let text = format!("(?:{})", options.join("|"));
    if text.len() > MAX_STEP_BYTES { Err(StepTooFine) } else { Ok(text) }
}

/// Numerals that end in `digits`, of which the last `places` (or all) stand after the point.
fn with_ending(digits: &str, places: u32, zeros: &str) -> Vec<String> {
    let split = digits.len().saturating_sub(places as usize);
    let (whole, fraction) = digits.split_at(split);
    let inner = (places as usize).saturating_sub(digits.len());
    let fraction = fraction.trim_end_matches('0');
    let after = match (inner, fraction) {
        (_, "") => String::new(),
        (0, fraction) => format!("\\.{fraction}"),
        (n, fraction) => format!("\\.[0-9]{{{n}}}{fraction}"),
    };
    if whole.is_empty() {
        // Any whole number; with zeros at its end it is not zero itself.
        let any = if zeros.is_empty() { "(?:0|[1-9][0-9]*)" } else { "[1-9][0-9]*" };
        return vec![format!("{any}{zeros}{after}")];
    }
    let least = whole.trim_start_matches('0');
    let short = match (least, zeros) {
        ("", "") => Some(format!("0{after}")),
        ("", _) => None,
        (least, zeros) => Some(format!("{least}{zeros}{after}")),
    };
    let long = format!("[1-9][0-9]*{whole}{zeros}{after}");
    short.into_iter().chain([long]).collect()
}

/// Digits that make a multiple of a number prime to ten; a point among them does not matter.
fn divisible(by: u64) -> Result<String, StepTooFine> {
    if by > 9 {
        return Err(StepTooFine);
    }
    let n = by as usize;
    // From remainder to remainder by one digit; then remainders are taken out one by one.
    let mut edges = vec![vec![Vec::<String>::new(); n]; n];
    for (from, row) in edges.iter_mut().enumerate() {
        for digit in 0..10 {
            row[(from * 10 + digit) % n].push(digit.to_string());
        }
        row[from].push("\\.".into());
    }
    for out in (1..n).rev() {
        let looped = format!("(?:{})*", edges[out][out].join("|"));
        for from in 0..out {
            for to in 0..out {
                if edges[from][out].is_empty() || edges[out][to].is_empty() {
                    continue;
                }
                let into = edges[from][out].join("|");
                let onward = edges[out][to].join("|");
                let path = format!("(?:{into}){looped}(?:{onward})");
                if path.len() > MAX_STEP_BYTES {
                    return Err(StepTooFine);
                }
                edges[from][to].push(path);
            }
        }
    }
    let text = format!("(?:{})+", edges[0][0].join("|"));
    if text.len() > MAX_STEP_BYTES { Err(StepTooFine) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llguidance::derivre::{Regex, RegexBuilder};
    use proptest::prelude::*;

    fn matcher(set: &[Span]) -> Regex {
        let mut builder = RegexBuilder::new();
        let expression = builder.mk(&Lex::Or(lexes(set).unwrap()).ast()).unwrap();
        builder.to_regex(expression)
    }

    fn bound(n: i128, exponent: i32, included: bool) -> Option<Bound> {
        Some(Bound { at: Decimal::new(n, exponent), included })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn texts_are_the_values(
            low in prop::option::of((-3000i128..3000, -3i32..2, any::<bool>())),
            high in prop::option::of((-3000i128..3000, -3i32..2, any::<bool>())),
            step in prop::option::of((prop::sample::select(vec![
                1i128, 2, 4, 5, 8, 25, 125, 15, 3, 6, 12, 75]), -3i32..3)),
            gap in prop::option::of((1i128..7, -2i32..2)),
        ) {
            let made = |b: Option<(i128, i32, bool)>| b.and_then(|(n, e, i)| bound(n, e, i));
            let steps = |s: Option<(i128, i32)>| s.map(|(n, e)| Decimal::new(n, e)).into_iter().collect();
            let span = Span { low: made(low), high: made(high), steps: steps(step), gaps: steps(gap) };
            let mut regex = matcher(std::slice::from_ref(&span));
            for exponent in -4..4 {
                for n in (-400..400).chain([-12345, 99_999, 100_000, 1_234_500]) {
                    let value = Decimal::new(n, exponent);
                    prop_assert_eq!(regex.is_match(&value.text()), span.holds(value), "{}", value.text());
                }
            }
        }
    }

    #[test]
    fn no_number_has_two_texts() {
        let mut regex = matcher(&[Span::default()]);
        for text in ["0", "-1", "10", "0.5", "-0.25", "123456789012345", "100000.000000001"] {
            assert!(regex.is_match(text), "{text}");
        }
        for text in
            ["-0", "00", "01", "1.0", "1.50", "1e3", ".5", "5.", "+1", "", "1234567890123456"]
        {
            assert!(!regex.is_match(text), "{text}");
        }
    }

    #[test]
    fn bounds_are_kept_to_the_digit() {
        let span = Span { low: bound(1, 0, false), high: bound(1005, -2, true), ..Span::default() };
        let mut regex = matcher(&[span]);
        for (text, inside) in [
            ("1", false),
            ("1.000000001", true),
            ("10.05", true),
            ("10.050000001", false),
            ("2", true),
        ] {
            assert_eq!(regex.is_match(text), inside, "{text}");
        }
        let mut negative = matcher(&[Span { high: bound(-25, -1, false), ..Span::default() }]);
        for (text, inside) in
            [("-2.5", false), ("-2.6", true), ("-3", true), ("0", false), ("2.6", false)]
        {
            assert_eq!(negative.is_match(text), inside, "{text}");
        }
    }
}
