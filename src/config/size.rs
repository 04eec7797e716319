//! Sizes in bytes as people write them: `512MiB`.

const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    // After those that end in it.
    ("B", 1),
    ("", 0),
];

/// Parses `512MiB`, `1.5 GiB`, `64000kB`, `1024B`; a unit is required.
///
/// # Errors
/// What is wrong, for people.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (unit, factor) = UNITS.into_iter().find(|(u, _)| text.ends_with(u)).unwrap_or(("", 0));
    if factor == 0 {
        return Err(format!("{text:?} has no unit: write it as \"512MiB\" or \"1.5GiB\""));
    }
    let figure = text[..text.len() - unit.len()].trim();
    let wrong = || format!("{text:?} is not a size: write it as \"512MiB\" or \"1.5GiB\"");
    let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if !plain(figure) {
        return Err(wrong());
    }
    if let Ok(whole) = figure.parse::<u64>() {
        return whole.checked_mul(factor).ok_or_else(wrong);
    }
    let bytes = figure.parse::<f64>().map_err(|_| wrong())? * factor as f64;
    if bytes >= 2f64.powi(63) { Err(wrong()) } else { Ok(bytes as u64) }
}

/// `536870912` as `512MiB`: the largest binary unit that shows it to within a tenth.
pub fn format_bytes(bytes: u64) -> String {
    for (unit, factor) in [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= factor {
            return match bytes % factor {
                0 => format!("{}{unit}", bytes / factor),
                _ => format!("{:.1}{unit}", bytes as f64 / factor as f64),
            };
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed() {
        for (text, bytes) in [
            ("512MiB", 512 << 20),
            ("1.5 GiB", 3 << 29),
            ("64kB", 64_000),
            ("10MB", 10_000_000),
            ("7B", 7),
            (" 2GiB ", 2 << 30),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "512", "MiB", "-1MiB", "1e3MiB", "x MiB", "1.2.3MiB", "99999999999GiB", "∞B"]
        {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown() {
        assert_eq!(format_bytes(512 << 20), "512MiB");
        assert_eq!(format_bytes((3 << 29) + (1 << 20)), "1.5GiB");
        assert_eq!(format_bytes(12), "12B");
    }
}
