//! Exact decimal numbers: bounds, steps and constants of schemas, and how they are written.
//!
//! Knows arithmetic only; nothing of schemas.

use serde_json::{Number, Value};
use std::cmp::Ordering;

/// `coefficient * 10^exponent`; the coefficient does not end in a zero, so equal means equal fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Decimal {
    coefficient: i128,
    exponent: i32,
}

impl Decimal {
    pub(super) const ZERO: Self = Self { coefficient: 0, exponent: 0 };
    pub(super) const ONE: Self = Self { coefficient: 1, exponent: 0 };

    pub(super) const fn new(mut coefficient: i128, mut exponent: i32) -> Self {
        if coefficient == 0 {
            return Self::ZERO;
        }
        while coefficient % 10 == 0 {
            coefficient /= 10;
            exponent += 1;
        }
        Self { coefficient, exponent }
    }

    /// The shortest decimal that reads as this number.
    pub(super) fn of(number: &Number) -> Option<Self> {
        if let Some(value) = number.as_i64() {
            return Some(Self::new(value.into(), 0));
        }
        if let Some(value) = number.as_u64() {
            return Some(Self::new(value.into(), 0));
        }
        let text = format!("{:e}", number.as_f64()?);
        let (mantissa, exponent) = text.split_once('e')?;
        let fraction = mantissa.split_once('.').map_or(0, |(_, digits)| digits.len() as i32);
        let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
        Some(Self::new(digits.parse().ok()?, exponent.parse::<i32>().ok()? - fraction))
    }

    pub(super) const fn is_zero(self) -> bool {
        self.coefficient == 0
    }

    pub(super) const fn is_negative(self) -> bool {
        self.coefficient < 0
    }

    pub(super) const fn negated(self) -> Self {
        Self { coefficient: -self.coefficient, exponent: self.exponent }
    }

    /// The coefficient, as far as a machine word holds it, and the exponent.
    pub(super) fn parts(self) -> (Option<u64>, i32) {
        (u64::try_from(self.coefficient).ok(), self.exponent)
    }

    /// Whether this is a whole number of steps.
    pub(super) fn is_multiple_of(self, step: Self) -> bool {
        if self.is_zero() {
            return true;
        }
        // Without zeros at its end a coefficient holds no power of ten.
        if step.is_zero() || self.exponent < step.exponent {
            return false;
        }
        let divisor = step.coefficient.unsigned_abs();
        let mut rest = self.coefficient.unsigned_abs() % divisor;
        for _ in 0..self.exponent - step.exponent {
            if rest == 0 {
                return true;
            }
            let Some(next) = rest.checked_mul(10) else { return false };
            rest = next % divisor;
        }
        rest == 0
    }

    /// `coefficient` for a smaller or equal exponent.
    pub(super) fn scaled(self, exponent: i32) -> Option<i128> {
        let factor = 10i128.checked_pow((self.exponent - exponent).try_into().ok()?)?;
        self.coefficient.checked_mul(factor)
    }

    /// The smallest step of which both are parts.
    pub(super) fn least_common_multiple(self, other: Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let (a, b) =
            (self.scaled(exponent)?.checked_abs()?, other.scaled(exponent)?.checked_abs()?);
        let (mut x, mut y) = (a, b);
        while y != 0 {
            (x, y) = (y, x % y);
        }
        if x == 0 {
            return None;
        }
        Some(Self::new((a / x).checked_mul(b)?, exponent))
    }

    /// The digits before and after the point, without sign; the latter do not end in zero.
    pub(super) fn digits(self) -> (String, String) {
        let digits = self.coefficient.unsigned_abs().to_string();
        if self.exponent >= 0 {
            return (digits + &"0".repeat(self.exponent as usize), String::new());
        }
        let fraction = self.exponent.unsigned_abs() as usize;
        match digits.len().checked_sub(fraction) {
            None | Some(0) => ("0".into(), "0".repeat(fraction - digits.len()) + &digits),
            Some(whole) => (digits[..whole].to_owned(), digits[whole..].to_owned()),
        }
    }

    /// As it stands in an answer: no exponent, no zeros at the end, no `-0`.
    pub(super) fn text(self) -> String {
        let (whole, fraction) = self.digits();
        let sign = if self.is_negative() { "-" } else { "" };
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{sign}{whole}{point}{fraction}")
    }

    /// As a JSON number.
    pub(super) fn value(self) -> Value {
        let text = self.text();
        match (text.parse::<i64>(), text.parse::<u64>()) {
            (Ok(n), _) => Value::from(n),
            (_, Ok(n)) => Value::from(n),
            // The standard library reads the nearest float, serde_json not always.
            _ => Value::from(text.parse::<f64>().unwrap_or_default()),
        }
    }

    /// The power of ten just above it.
    fn order(self) -> i64 {
        self.coefficient.unsigned_abs().to_string().len() as i64 + i64::from(self.exponent)
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = self.coefficient.signum().cmp(&other.coefficient.signum());
        if sign.is_ne() || self.is_zero() {
            return sign;
        }
        let larger = self.order().cmp(&other.order()).then_with(|| {
            // Of the same order: no more digits than the longer of the two.
            let exponent = self.exponent.min(other.exponent);
            let at = |d: &Self| d.scaled(exponent).map(i128::unsigned_abs);
            at(self).cmp(&at(other))
        });
        if self.is_negative() { larger.reverse() } else { larger }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        match serde_json::from_str(text).unwrap() {
            Value::Number(n) => Decimal::of(&n).unwrap(),
            _ => panic!(),
        }
    }

    #[test]
    fn numbers_are_written_in_one_way() {
        for (given, written) in [
            ("1.0", "1"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("-2.50", "-2.5"),
            ("1e3", "1000"),
            ("1e-7", "0.0000001"),
            ("12.5e-1", "1.25"),
            ("18446744073709551615", "18446744073709551615"),
            ("0.1", "0.1"),
        ] {
            assert_eq!(decimal(given).text(), written);
        }
        assert_eq!(decimal("1e308").text().len(), 309);
    }

    #[test]
    fn order_and_multiples_are_exact() {
        let sorted =
            ["-1e308", "-3", "-2.5", "-0.1", "0", "1e-300", "0.5", "9", "10", "10.01", "1e20"];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(decimal(a).cmp(&decimal(b)), i.cmp(&j), "{a} {b}");
            }
        }
        for (number, step, whole) in [
            ("0.0075", "0.0001", true),
            ("0.00751", "0.0001", false),
            ("4.35", "0.01", true),
            ("1e308", "0.123456789", false),
            ("1e308", "0.5", true),
            ("12391239123", "1e-8", true),
            ("-9", "3", true),
            ("0", "7", true),
            ("4.5", "1.5", true),
        ] {
            assert_eq!(decimal(number).is_multiple_of(decimal(step)), whole, "{number} {step}");
        }
        assert_eq!(decimal("0.6").least_common_multiple(decimal("0.4")), Some(decimal("1.2")));
    }
}
