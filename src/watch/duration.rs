//! Durations as people write them: `500ms`, `30s`, `5m`, `2h`, `1d`.

// Longest suffix first where one ends in another.
const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Parses a duration to milliseconds; a unit is required, `0` aside.
///
/// # Errors
/// What is wrong, for people.
pub fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a duration: write it as \"500ms\", \"30s\" or \"5m\"");
    let trimmed = text.trim();
    if trimmed == "0" {
        return Ok(0);
    }
    let (figure, factor) = UNITS
        .into_iter()
        .find_map(|(unit, factor)| Some((trimmed.strip_suffix(unit)?.trim_end(), factor)))
        .ok_or_else(wrong)?;
    if figure.is_empty() || !figure.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(wrong());
    }
    if let Ok(whole) = figure.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    let ms = figure.parse::<f64>().map_err(|_| wrong())? * factor as f64;
    if ms < 1e15 { Ok(ms.round() as u64) } else { Err(wrong()) }
}

/// The shortest exact form: `90000` as `90s`.
pub fn format_duration(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let (unit, factor) =
        UNITS.into_iter().rev().find(|(_, factor)| ms.is_multiple_of(*factor)).unwrap_or(("ms", 1));
    format!("{}{unit}", ms / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            (" 1.5 s", 1_500),
            ("5m", 300_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
        for wrong in ["", "30", "s", "-1s", "1e3s", "1.2.3s", "30 sec", "99999999999999999999d"] {
            assert!(parse_duration_ms(wrong).is_err(), "{wrong}");
        }
        for (ms, text) in [(500, "500ms"), (90_000, "90s"), (3_600_000, "1h"), (0, "0s")] {
            assert_eq!(format_duration(ms), text);
        }
    }
}
