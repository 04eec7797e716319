//! `format` as patterns: of each format the plain part, never more than the standard allows.
//!
//! Knows no JSON.

/// ECMA-262 patterns that are all found, or (`false`) not found.
pub(super) type Format = Vec<(String, bool)>;

/// The formats that are enforced.
#[cfg(test)]
pub(super) const NAMES: [&str; 13] = [
    "date-time",
    "date",
    "time",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
    "uri-reference",
    "json-pointer",
    "relative-json-pointer",
];

const DATE: &str = "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])\
    |(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))\
    |(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)";
/// Without leap seconds: many readers refuse them.
const TIME: &str = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?\
    (?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
const CLOCK: &str = "T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)";
const DAYS: &str = "(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)";
const LABEL: &str = "[0-9A-Za-z](?:[0-9A-Za-z-]{0,61}[0-9A-Za-z])?";
const OCTET: &str = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const LOCAL: &str = "[0-9A-Za-z!#$%&'*+\\/=?^_`\\{|\\}~-]+";
const SEGMENT: &str = "(?:[0-9A-Za-z._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})";
const SEGMENT_WITHOUT_COLON: &str = "(?:[0-9A-Za-z._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})";
const POINTER: &str = "(?:\\/(?:[^\\/~]|~[01])*)*";

/// The patterns of a format.
pub(super) fn lookup(name: &str) -> Option<Format> {
    let plain = |text: &str| Some(vec![(format!("^(?:{text})$"), true)]);
    match name {
        "date-time" => plain(&format!("{DATE}[tT]{TIME}")),
        "date" => plain(DATE),
        "time" => plain(TIME),
        "duration" => plain(&format!("P(?:[0-9]+W|{DAYS}(?:{CLOCK})?|{CLOCK})")),
        "email" => Some(email()),
        "hostname" => Some(hostname()),
        "ipv4" => plain(&ipv4()),
        "ipv6" => plain(&ipv6()),
        "uuid" => plain("[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"),
        "uri" => plain(&uri()),
        "uri-reference" => plain(&format!("{}|{}", uri(), relative())),
        "json-pointer" => plain(POINTER),
        "relative-json-pointer" => plain(&format!("(?:0|[1-9][0-9]*)(?:#|{POINTER})")),
        _ => None,
    }
}

fn host() -> String {
    format!("{LABEL}(?:\\.{LABEL})*")
}

/// No label with two hyphens in the third place: those are reserved, as in `xn--`.
fn hostname() -> Format {
    vec![
        (format!("^{}$", host()), true),
        ("^[^]{1,253}$".into(), true),
        ("^[^.]{2}--".into(), false),
        ("\\.[^.]{2}--".into(), false),
    ]
}

fn email() -> Format {
    vec![
        (format!("^{LOCAL}(?:\\.{LOCAL})*@{}$", host()), true),
        ("^[^@]{1,64}@[^@]{1,253}$".into(), true),
        ("@[^.]{2}--".into(), false),
        ("\\.[^.@]{2}--[^@]*$".into(), false),
        ("^[^]{1,254}$".into(), true),
    ]
}

fn ipv4() -> String {
    format!("(?:{OCTET}\\.){{3}}{OCTET}")
}

fn ipv6() -> String {
    const GROUP: &str = "[0-9A-Fa-f]{1,4}";
    let before = |n: usize| match n {
        0 => String::new(),
        1 => GROUP.to_owned(),
        n => format!("(?:{GROUP}:){{{}}}{GROUP}", n - 1),
    };
    let mut all = vec![before(8), format!("(?:{GROUP}:){{6}}{}", ipv4())];
    for n in 0..=7 {
        let after = match 7 - n {
            0 => String::new(),
            after => format!("(?:{GROUP}(?::{GROUP}){{0,{}}})?", after - 1),
        };
        all.push(format!("{}::{after}", before(n)));
    }
    for n in 0..=5 {
        all.push(format!("{}::(?:{GROUP}:){{0,{}}}{}", before(n), 5 - n, ipv4()));
    }
    format!("(?:{})", all.join("|"))
}

fn authority() -> String {
    const NAME: &str = "(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*";
    const USER: &str = "(?:[0-9A-Za-z._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*";
    format!("\\/\\/(?:{USER}@)?(?:\\[{}\\]|{NAME})(?::[0-9]{{0,5}})?(?:\\/{SEGMENT}*)*", ipv6())
}

fn tail() -> String {
    let any = SEGMENT.replacen('[', "[\\/?", 1);
    format!("(?:\\?{any}*)?(?:#{any}*)?")
}

fn uri() -> String {
    let rooted = format!("\\/(?:{SEGMENT}+(?:\\/{SEGMENT}*)*)?");
    let path = format!("(?:{}|{rooted}|{SEGMENT}+(?:\\/{SEGMENT}*)*)?", authority());
    format!("[A-Za-z][0-9A-Za-z+.-]*:{path}{}", tail())
}

fn relative() -> String {
    let rooted = format!("\\/(?:{SEGMENT}+(?:\\/{SEGMENT}*)*)?");
    let path = format!("(?:{}|{rooted}|{SEGMENT_WITHOUT_COLON}+(?:\\/{SEGMENT}*)*)?", authority());
    format!("{path}{}", tail())
}

#[cfg(test)]
mod tests {
    use super::super::text::Patterns;
    use super::*;

    #[test]
    fn formats_keep_to_their_standards() {
        let mut patterns = Patterns::default();
        let mut check = |name: &str, yes: &[&str], no: &[&str]| {
            let text = patterns.format(name).unwrap().unwrap();
            yes.iter().for_each(|t| assert!(patterns.matches(&text, t).unwrap(), "{name} {t}"));
            no.iter().for_each(|t| assert!(!patterns.matches(&text, t).unwrap(), "{name} {t}"));
        };
        check(
            "date",
            &["2024-02-29", "2000-02-29", "1999-12-31"],
            &["2023-02-29", "1900-02-29", "2024-04-31", "24-1-1"],
        );
        check("time", &["08:30:06Z", "23:59:59.5+05:30"], &["23:59:60Z", "24:00:00Z", "08:30:06"]);
        check(
            "date-time",
            &["1963-06-19T08:30:06.283185Z"],
            &["1963-06-19 08:30:06Z", "1990-02-31T15:59:59Z"],
        );
        check(
            "duration",
            &["P4DT12H30M5S", "P2W", "PT0S", "P1Y"],
            &["P", "PT", "P1D2H", "P2D1Y", "P1YT", "P1Y2W"],
        );
        check(
            "email",
            &["joe.bloggs@example.com", "te~st@x.y"],
            &["2962", ".a@b.c", "a..b@c.d", "a@", "a@xn--x"],
        );
        check(
            "hostname",
            &["www.example.com", "1host", "a"],
            &["-a", "a-", "a_b", "ab--c", "", "x.xn--a", "a."],
        );
        check(
            "ipv4",
            &["192.168.0.1", "0.0.0.0"],
            &["256.0.0.1", "01.0.0.1", "1.2.3", "1.2.3.4.5"],
        );
        check(
            "ipv6",
            &[
                "::1",
                "::",
                "1:2:3:4:5:6:7:8",
                "1::8",
                "::ffff:192.168.0.1",
                "1:2::192.168.0.1",
                "1:2:3:4:5:6:7::",
            ],
            &[
                "12345::",
                "1:2:3:4:5:6:7:8:9",
                "1::2::3",
                ":1",
                "1:2:3:4:5:6:7",
                "::1%eth0",
                "1::256.0.0.1",
            ],
        );
        check(
            "uuid",
            &["2EB8AA08-aa98-11EA-B4Aa-73B441D16380"],
            &["2eb8aa08-aa98-11ea-b4aa-73b441d1638"],
        );
        check(
            "uri",
            &[
                "http://foo.bar/?baz=qux#quuz",
                "urn:a:b",
                "ldap://[2001:db8::7]/c=GB?x",
                "mailto:a@b.c",
                "a:",
            ],
            &["//foo.bar", "/abc", "http:// x", "\\\\x", "http://a.b/c{}", "bar,:baz", "1a:b"],
        );
        check(
            "uri-reference",
            &["/abc", "#f", "", "http://a/b", "//foo", "a/b:c"],
            &["\\\\x", "#fr\\ag", ":x"],
        );
        check("json-pointer", &["", "/foo/0", "/~0~1"], &["foo", "/~2", "/a~"]);
        check("relative-json-pointer", &["0#", "1", "2/0/foo"], &["01", "-1", "/a", "0##"]);
    }

    #[test]
    fn every_name_is_known() {
        NAMES.iter().for_each(|name| assert!(lookup(name).is_some(), "{name}"));
        assert!(lookup("idn-email").is_none());
    }
}
