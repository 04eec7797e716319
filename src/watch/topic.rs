//! MQTT topic filters and the topics made from what their wildcards match (MQTT 5, section 4.7).

/// The most bytes of a topic on the wire.
const MAX_BYTES: usize = 65_535;

/// A filter or topic that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TopicError(String);

fn error(problem: impl Into<String>) -> TopicError {
    TopicError(problem.into())
}

/// A topic filter with `+` and `#`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    text: String,
}

impl Filter {
    /// Parses a filter; shared subscriptions and `$` topics are refused.
    ///
    /// # Errors
    /// What section 4.7 forbids.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_text(text, "a topic filter")?;
        if text.starts_with("$share/") {
            return Err(error("a shared subscription would give each alert to one of several"));
        }
        if text.starts_with('$') {
            return Err(error("topics that begin with `$` are the broker's own"));
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            if level.contains('#') && (level != "#" || levels.peek().is_some()) {
                return Err(error("`#` must be the whole last level"));
            }
            if level.contains('+') && level != "+" {
                return Err(error("`+` must be a whole level"));
            }
        }
        Ok(Self { text: text.to_owned() })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How many wildcards it has.
    pub fn wildcards(&self) -> usize {
        self.text.split('/').filter(|l| matches!(*l, "+" | "#")).count()
    }

    /// Whether it takes this topic.
    pub fn matches(&self, topic: &str) -> bool {
        self.captures(topic).is_some()
    }

    /// What the wildcards matched, in order, if the topic matches; `#` matches several levels, or
    /// none.
    pub fn captures<'a>(&self, topic: &'a str) -> Option<Vec<&'a str>> {
        // Section 4.7.2: wildcards at the beginning do not match the broker's own topics.
        if topic.starts_with('$') || check_name(topic).is_err() {
            return None;
        }
        let mut found = Vec::new();
        let mut rest = Some(topic);
        for level in self.text.split('/') {
            if level == "#" {
                found.push(rest.unwrap_or(""));
                return Some(found);
            }
            let (head, tail) = match rest?.split_once('/') {
                Some((head, tail)) => (head, Some(tail)),
                None => (rest?, None),
            };
            match level {
                "+" => found.push(head),
                level if level == head => {}
                _ => return None,
            }
            rest = tail;
        }
        rest.is_none().then_some(found)
    }

    /// A topic that it matches: its wildcards replaced by `1`, `2` and so on.
    pub fn example(&self) -> String {
        let mut number = 0;
        let level = |level: &str| match level {
            "+" | "#" => {
                number += 1;
                number.to_string()
            }
            level => level.to_owned(),
        };
        self.text.split('/').map(level).collect::<Vec<_>>().join("/")
    }

    fn pattern(&self) -> Vec<Level> {
        let level = |level: &str| match level {
            "+" => Level::any(),
            "#" => Level::Deep,
            text => Level::Text(text.to_owned()),
        };
        self.text.split('/').map(level).collect()
    }
}

/// The topic to publish to, with `{1}`, `{2}` for what the filter's wildcards matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// From 0.
    Capture(usize),
}

impl TopicTemplate {
    /// Parses a template for what `filter` matches.
    ///
    /// # Errors
    /// A wildcard that is not there, or what no topic may have.
    pub fn parse(text: &str, filter: &Filter) -> Result<Self, TopicError> {
        check_text(text, "a topic")?;
        if text.contains(['+', '#']) {
            return Err(error("a topic to publish to has no wildcards; `{1}` inserts a match"));
        }
        if text.starts_with('$') {
            return Err(error("topics that begin with `$` are the broker's own"));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, inner) = rest.split_at(open);
            let (number, after) = inner
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'))
                .ok_or_else(|| error("a brace without its other half"))?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.push(Piece::Capture(capture_index(number, filter)?));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The topic for these captures.
    ///
    /// # Errors
    /// If what was matched makes it no valid topic.
    pub fn fill(&self, captures: &[&str]) -> Result<String, TopicError> {
        let mut topic = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => topic.push_str(text),
                Piece::Capture(index) => topic.push_str(captures.get(*index).unwrap_or(&"")),
            }
        }
        if topic.starts_with('$') {
            return Err(error("topics that begin with `$` are the broker's own"));
        }
        check_name(&topic).map(|()| topic)
    }

    /// Whether some topic made from it may be taken by `other`: then an alert would be a sample.
    /// `own` is the filter that its captures come from. Errs on the side of yes.
    pub fn may_match(&self, own: &Filter, other: &Filter) -> bool {
        overlap(&self.pattern(own), &other.pattern())
    }

    fn pattern(&self, own: &Filter) -> Vec<Level> {
        let deep = own.text.ends_with('#').then(|| own.wildcards() - 1);
        // Control characters are refused in topics, so they can stand for captures here.
        let marked = self.pieces.iter().fold(String::new(), |text, piece| match piece {
            Piece::Text(piece) => text + piece,
            Piece::Capture(index) if Some(*index) == deep => text + "\u{2}",
            Piece::Capture(_) => text + "\u{1}",
        });
        marked.split('/').map(Level::marked).collect()
    }
}

fn capture_index(number: &str, filter: &Filter) -> Result<usize, TopicError> {
    let count = filter.wildcards();
    match number.parse::<usize>() {
        Ok(n) if (1..=count).contains(&n) => Ok(n - 1),
        Ok(_) if count == 0 => {
            Err(error(format!("`{{{number}}}`: the topic {:?} has no wildcards", filter.text)))
        }
        Ok(_) if count == 1 => Err(error(format!(
            "`{{{number}}}`: the topic {:?} has one wildcard: {{1}}",
            filter.text
        ))),
        Ok(_) => Err(error(format!(
            "`{{{number}}}`: the topic {:?} has {count} wildcards, so {{1}} to {{{count}}}",
            filter.text
        ))),
        Err(_) => Err(error(format!(
            "`{{{number}}}`: only {{1}}, {{2}}, ... are known: what the wildcards matched"
        ))),
    }
}

/// What a level of a pattern takes.
enum Level {
    Text(String),
    /// One level that begins and ends so.
    Some(String, String),
    /// Any number of levels.
    Deep,
}

impl Level {
    fn any() -> Self {
        Self::Some(String::new(), String::new())
    }

    fn marked(level: &str) -> Self {
        let marks = ['\u{1}', '\u{2}'];
        match (level.find(marks), level.rfind(marks)) {
            _ if level.contains('\u{2}') => Self::Deep,
            (Some(first), Some(last)) => {
                Self::Some(level[..first].to_owned(), level[last + 1..].to_owned())
            }
            _ => Self::Text(level.to_owned()),
        }
    }

    fn meets(&self, other: &Self) -> bool {
        let fits = |text: &str, (begin, end): (&str, &str)| {
            text.len() >= begin.len() + end.len() && text.starts_with(begin) && text.ends_with(end)
        };
        match (self, other) {
            (Self::Deep, _) | (_, Self::Deep) => true,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Text(text), Self::Some(begin, end))
            | (Self::Some(begin, end), Self::Text(text)) => fits(text, (begin, end)),
            (Self::Some(a, x), Self::Some(b, y)) => {
                (a.starts_with(b.as_str()) || b.starts_with(a.as_str()))
                    && (x.ends_with(y.as_str()) || y.ends_with(x.as_str()))
            }
        }
    }
}

/// Whether some topic fits both; a table over both lengths, since `Deep` may stand anywhere.
fn overlap(a: &[Level], b: &[Level]) -> bool {
    let mut row = vec![false; b.len() + 1];
    row[b.len()] = true;
    // From the end: what is left of `b` against nothing left of `a`.
    for j in (0..b.len()).rev() {
        row[j] = row[j + 1] && matches!(b[j], Level::Deep);
    }
    for left in a.iter().rev() {
        let below = row.clone();
        row[b.len()] = below[b.len()] && matches!(left, Level::Deep);
        for j in (0..b.len()).rev() {
            row[j] = (left.meets(&b[j]) && below[j + 1])
                || (matches!(left, Level::Deep) && (below[j] || row[j + 1]))
                || (matches!(b[j], Level::Deep) && (row[j + 1] || below[j]));
        }
    }
    row[0]
}

fn check_text(text: &str, what: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(error(format!("{what} has at least one character")));
    }
    if text.len() > MAX_BYTES {
        return Err(error(format!("{what} has at most {MAX_BYTES} bytes")));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(error(format!("{what} has no control characters, such as {c:?}"))),
        None => Ok(()),
    }
}

/// Whether a topic may be published to, or come from a broker.
fn check_name(topic: &str) -> Result<(), TopicError> {
    check_text(topic, "a topic")?;
    match topic.contains(['+', '#']) {
        true => Err(error("a topic has no wildcards")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text).unwrap()
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        for (pattern, topic, expected) in [
            ("sport/tennis/player1/#", "sport/tennis/player1", Some(vec![""])),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/w", Some(vec!["score/w"])),
            ("sport/#", "sport", Some(vec![""])),
            ("#", "a/b", Some(vec!["a/b"])),
            ("#", "$SYS/x", None),
            ("+/x", "$SYS/x", None),
            ("sport/tennis/+", "sport/tennis/p", Some(vec!["p"])),
            ("sport/tennis/+", "sport/tennis/p/r", None),
            ("sport/+", "sport", None),
            ("sport/+", "sport/", Some(vec![""])),
            ("+/+", "/finance", Some(vec!["", "finance"])),
            ("/+", "/finance", Some(vec!["finance"])),
            ("+", "/finance", None),
            ("factory/+/v/#", "factory/p7/v/a/b", Some(vec!["p7", "a/b"])),
            ("a", "A", None),
            ("a/+", "a/+", None),
        ] {
            assert_eq!(filter(pattern).captures(topic), expected, "{pattern} {topic}");
        }
        for wrong in ["", "a/#/b", "a#", "a/b+", "$share/g/t", "$SYS/#", "a\0b", "a\nb"] {
            assert!(Filter::parse(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(filter("a/+/b/#").example(), "a/1/b/2");
    }

    #[test]
    fn templates_insert_what_matched() {
        let f = filter("factory/+/v/#");
        let fill = |text: &str, topic: &str| {
            TopicTemplate::parse(text, &f).unwrap().fill(&f.captures(topic).unwrap())
        };
        assert_eq!(fill("out/{1}/{2}!", "factory/p/v/a/b").as_deref(), Ok("out/p/a/b!"));
        assert_eq!(fill("{1}", "factory/p/v").as_deref(), Ok("p"));
        assert!(fill("{2}", "factory/p/v").is_err(), "an empty topic");
        assert!(fill("{1}/x", "factory/$SYS/v").is_err());
        for (wrong, says) in [
            ("out/{3}", "has 2 wildcards, so {1} to {2}"),
            ("out/{0}", "has 2 wildcards"),
            ("out/{topic}", "only {1}, {2}"),
            ("out/{1", "other half"),
            ("out/1}", "other half"),
            ("out/+", "no wildcards"),
            ("$SYS/x", "broker's own"),
            ("", "at least one"),
        ] {
            let e = TopicTemplate::parse(wrong, &f).unwrap_err().to_string();
            assert!(e.contains(says), "{wrong}: {e}");
        }
        let none = TopicTemplate::parse("{1}", &filter("a")).unwrap_err().to_string();
        assert!(none.contains("has no wildcards"), "{none}");
    }

    #[test]
    fn loops_are_seen() {
        for (own, publish, other, expected) in [
            ("factory/+/vibration", "factory/{1}/alert", "factory/+/vibration", false),
            ("factory/+/vibration", "factory/{1}/alert", "factory/#", true),
            ("factory/+/vibration", "factory/{1}/alert", "+/+/+", true),
            ("factory/+/vibration", "factory/{1}/vibration", "factory/+/vibration", true),
            ("a/#", "b/{1}", "a/#", false),
            ("a/#", "{1}", "a/#", true),
            ("a/#", "x{1}y/z", "+/z", true),
            ("a/+", "machine-{1}", "sensor", false),
            ("a/+", "machine-{1}", "machine-7", true),
            ("a/+", "machine-{1}", "+", true),
            ("a/+", "a", "a/#", true),
            ("a/+", "x/{1}", "x/+/y", false),
        ] {
            let own = filter(own);
            let made = TopicTemplate::parse(publish, &own).unwrap();
            assert_eq!(made.may_match(&own, &filter(other)), expected, "{publish} {other:?}");
        }
    }
}
