//! MQTT topic names and filters as the standard defines them (MQTT 5.0, section 4.7).

/// The most bytes of a topic name or filter: its length travels in 16 bits.
const MAX_BYTES: usize = 65_535;

/// Whether something can be published to `name`: not empty, no wildcard, no NUL.
pub fn is_name(name: &str) -> bool {
    (1..=MAX_BYTES).contains(&name.len()) && !name.contains(['+', '#', '\0'])
}

/// Whether `filter` can be subscribed to: `+` stands alone in its level, `#` alone in the last one.
/// Shared subscriptions are no filters in this sense.
pub fn is_filter(filter: &str) -> bool {
    let fits = (1..=MAX_BYTES).contains(&filter.len()) && !filter.contains('\0');
    let last = filter.split('/').count() - 1;
    fits && filter.split('/').enumerate().all(|(i, level)| match level {
        "+" => true,
        "#" => i == last,
        level => !level.contains(['+', '#']),
    })
}

/// Whether a topic name falls under a filter. A wildcard in the first level does not match names
/// that begin with `$`.
pub fn matches(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut wanted, mut levels) = (filter.split('/'), name.split('/'));
    loop {
        match (wanted.next(), levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(filter), Some(level)) if filter == level => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_filters_are_told_apart() {
        for name in ["a", "/", "a/b", "a//b", "$SYS/x", " ", "sport/tennis"] {
            assert!(is_name(name) && is_filter(name), "{name:?}");
        }
        for bad in ["", "a/+", "#", "a\0b"] {
            assert!(!is_name(bad), "{bad:?}");
        }
        for filter in ["+", "#", "a/#", "+/b/#", "a/+/b", "/+", "+/+"] {
            assert!(is_filter(filter), "{filter:?}");
        }
        for bad in ["", "a#", "a/#/b", "a+", "a/b+/c", "##", "\0"] {
            assert!(!is_filter(bad), "{bad:?}");
        }
        assert!(!is_name(&"x".repeat(65_536)));
    }

    #[test]
    fn filters_match_as_in_the_standard() {
        for (filter, name) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("sport/#", "sport"),
            ("#", "a/b"),
            ("sport/tennis/+", "sport/tennis/player1"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("$SYS/#", "$SYS/x"),
        ] {
            assert!(matches(filter, name), "{filter} {name}");
        }
        for (filter, name) in [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("a/b", "a"),
            ("a", "a/b"),
        ] {
            assert!(!matches(filter, name), "{filter} {name}");
        }
    }
}
