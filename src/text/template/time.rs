//! `strftime_now` for templates that tell the model the date.

use std::sync::Arc;

/// Seconds since 1970 in the zone that a template is to show; injected, so that tests and the
/// daemon decide what time it is.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

const DAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

struct Civil {
    year: i64,
    month: u32,
    day: u32,
    weekday: usize,
    day_of_year: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

/// Days since 1970 of a date of the Gregorian calendar; source: H. Hinnant, `days_from_civil`.
const fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let month = (month as i64 + 9) % 12;
    let day_of_year = (153 * month + 2) / 5 + day as i64 - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse; source: H. Hinnant, `civil_from_days`.
fn civil(seconds: i64) -> Civil {
    // Some hundred thousand years around now: enough, and nothing overflows.
    let seconds = seconds.clamp(-(1 << 43), 1 << 43);
    let (days, in_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
    let month = if mp < 10 { mp + 3 } else { mp - 9 } as u32;
    let year = yoe + era * 400 + i64::from(month <= 2);
    Civil {
        year,
        month,
        day,
        weekday: (days + 4).rem_euclid(7) as usize,
        day_of_year: days - days_from_civil(year, 1, 1) + 1,
        hour: in_day / 3_600,
        minute: in_day / 60 % 60,
        second: in_day % 60,
    }
}

/// Formats as C's `strftime` in the C locale; an unknown directive stays as it is written.
pub(crate) fn strftime(format: &str, seconds: i64) -> String {
    let t = civil(seconds);
    let mut out = String::with_capacity(format.len() + 16);
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('-') => match chars.next() {
                Some(d) => out.push_str(unpadded(&directive(&t, d))),
                None => out.push_str("%-"),
            },
            Some(d) => out.push_str(&directive(&t, d)),
            None => out.push('%'),
        }
    }
    out
}

fn unpadded(text: &str) -> &str {
    let stripped = text.trim_start_matches(['0', ' ']);
    if stripped.is_empty() && text.ends_with('0') { "0" } else { stripped }
}

fn directive(t: &Civil, directive: char) -> String {
    let hour12 = (t.hour + 11) % 12 + 1;
    let (day_name, month_name) = (DAYS[t.weekday], MONTHS[t.month as usize - 1]);
    match directive {
        'Y' => format!("{:04}", t.year),
        'y' => format!("{:02}", t.year.rem_euclid(100)),
        'm' => format!("{:02}", t.month),
        'd' => format!("{:02}", t.day),
        'e' => format!("{:2}", t.day),
        'H' => format!("{:02}", t.hour),
        'I' => format!("{hour12:02}"),
        'M' => format!("{:02}", t.minute),
        'S' => format!("{:02}", t.second),
        'p' => if t.hour < 12 { "AM" } else { "PM" }.into(),
        'A' => day_name.into(),
        'a' => day_name[..3].into(),
        'B' => month_name.into(),
        'b' | 'h' => month_name[..3].into(),
        'j' => format!("{:03}", t.day_of_year),
        'u' => (if t.weekday == 0 { 7 } else { t.weekday }).to_string(),
        'w' => t.weekday.to_string(),
        'F' => format!("{:04}-{:02}-{:02}", t.year, t.month, t.day),
        'T' | 'X' => format!("{:02}:{:02}:{:02}", t.hour, t.minute, t.second),
        'R' => format!("{:02}:{:02}", t.hour, t.minute),
        'D' | 'x' => format!("{:02}/{:02}/{:02}", t.month, t.day, t.year.rem_euclid(100)),
        'c' => strftime_parts(t),
        'n' => "\n".into(),
        't' => "\t".into(),
        '%' => "%".into(),
        // Python's naive `now()` has no zone.
        'z' | 'Z' => String::new(),
        other => format!("%{other}"),
    }
}

fn strftime_parts(t: &Civil) -> String {
    let (day, month) = (&DAYS[t.weekday][..3], &MONTHS[t.month as usize - 1][..3]);
    format!("{day} {month} {:2} {} {:04}", t.day, directive(t, 'T'), t.year)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_python() {
        // datetime.fromtimestamp(1752149445, tz=utc).strftime(...)
        let now = 1_752_149_445;
        assert_eq!(strftime("%d %B %Y", now), "10 July 2025");
        assert_eq!(strftime("%A %a %b %-d %j %I:%M %p", now), "Thursday Thu Jul 10 191 12:10 PM");
        assert_eq!(
            strftime("%c|%F|%T|%y|%%|%q|%", now),
            "Thu Jul 10 12:10:45 2025|2025-07-10|12:10:45|25|%|%q|%"
        );
        assert_eq!(strftime("%Y-%m-%d %w %u", 951_782_400), "2000-02-29 2 2");
        assert_eq!(strftime("%Y-%m-%d", -1), "1969-12-31");
        assert_eq!(strftime("%-H %-M", 0), "0 0");
        let _ = strftime("%c %j", i64::MIN);
        let _ = strftime("%c %j", i64::MAX);
    }
}
