//! ECMA-262 patterns to expressions over the text between the quotes of a JSON string.
//!
//! A pattern speaks of characters; in the text some of them stand as escapes, each in one way: the one
//! of compact JSON. What has no exact counterpart is refused. Knows nothing of schemas.

use super::class::{CHARACTER, Class, DIGITS, LINE_ENDS, SPACE, WORD};
use std::fmt::Write;

/// Groups within groups.
const MAX_NESTING: usize = 40;
/// Alternatives that begin or end differently.
const MAX_BRANCHES: usize = 200;
/// Bytes of the expression.
const MAX_BYTES: usize = 32 << 10;
const MAX_REPEATS: u32 = 10_000;

type Parsed<T> = Result<T, String>;

#[derive(Debug, Clone)]
enum Node {
    One(Class),
    Then(Vec<Node>),
    Either(Vec<Node>),
    Repeat(Box<Node>, u32, Option<u32>),
    Start,
    End,
}

/// The expression for strings in which the pattern is found.
///
/// # Errors
/// What of the pattern is not supported, or wrong.
pub(super) fn translate(pattern: &str) -> Parsed<String> {
    let mut parser = Parser { rest: pattern.chars().collect(), at: 0, depth: 0 };
    let node = parser.alternatives()?;
    if parser.at < parser.rest.len() {
        return Err("`)` without `(`".into());
    }
    let mut text = String::from("(?:");
    for (i, (start, node, end)) in branches(node)?.into_iter().enumerate() {
        let any = |anchored: bool| if anchored { String::new() } else { format!("{CHARACTER}*") };
        let bar = if i > 0 { "|" } else { "" };
        write!(text, "{bar}{}{}{}", any(start), written(&node)?, any(end))
            .map_err(|e| e.to_string())?;
    }
    text.push(')');
    if text.len() > MAX_BYTES {
        return Err(format!("over {MAX_BYTES} bytes when written out"));
    }
    Ok(text)
}

struct Parser {
    rest: Vec<char>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn next(&mut self) -> Parsed<char> {
        let c = self.peek().ok_or("ends too early")?;
        self.at += 1;
        Ok(c)
    }

    fn take(&mut self, text: &str) -> bool {
        let found = text.chars().enumerate().all(|(i, c)| self.rest.get(self.at + i) == Some(&c));
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn alternatives(&mut self) -> Parsed<Node> {
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(format!("over {MAX_NESTING} groups within groups"));
        }
        let mut all = vec![self.sequence()?];
        while self.take("|") {
            all.push(self.sequence()?);
        }
        self.depth -= 1;
        Ok(if all.len() == 1 { all.remove(0) } else { Node::Either(all) })
    }

    fn sequence(&mut self) -> Parsed<Node> {
        let mut all = Vec::new();
        while let Some(c) = self.peek() {
            if c == '|' || c == ')' {
                break;
            }
            let atom = self.atom()?;
            match self.quantified(atom)? {
                Node::Then(inner) => all.extend(inner),
                node => all.push(node),
            }
        }
        Ok(Node::Then(all))
    }

    fn atom(&mut self) -> Parsed<Node> {
        match self.next()? {
            '^' => Ok(Node::Start),
            '$' => Ok(Node::End),
            '.' => Ok(Node::One(Class::others(&LINE_ENDS))),
            '(' => self.group(),
            '[' => self.class().map(Node::One),
            '\\' => self.escape(false).map(Node::One),
            c @ ('*' | '+' | '?' | '{' | '}' | ']') => Err(format!("`{c}` has nothing before it")),
            c => Ok(Node::One(Class::single(c as u32))),
        }
    }

    fn group(&mut self) -> Parsed<Node> {
        if self.take("?") {
            if self.take("<") {
                if matches!(self.peek(), Some('=' | '!')) {
                    return Err("look-behind".into());
                }
                while self.next()? != '>' {}
            } else if !self.take(":") {
                return Err("look-ahead or a flag".into());
            }
        }
        let inner = self.alternatives()?;
        if !self.take(")") {
            return Err("`(` without `)`".into());
        }
        Ok(inner)
    }

    fn quantified(&mut self, atom: Node) -> Parsed<Node> {
        let (least, most) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => return self.counted(atom),
            _ => return Ok(atom),
        };
        self.at += 1;
        self.repeated(atom, least, most)
    }

    fn counted(&mut self, atom: Node) -> Parsed<Node> {
        self.at += 1;
        let least = self.number()?;
        let most = match self.next()? {
            '}' => return self.repeated(atom, least, Some(least)),
            ',' if self.take("}") => return self.repeated(atom, least, None),
            ',' => self.number()?,
            _ => return Err("a count is `{n}`, `{n,}` or `{n,m}`".into()),
        };
        if !self.take("}") || most < least {
            return Err("a count is `{n}`, `{n,}` or `{n,m}`".into());
        }
        self.repeated(atom, least, Some(most))
    }

    fn number(&mut self) -> Parsed<u32> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let digits: String = self.rest[start..self.at].iter().collect();
        match digits.parse() {
            Ok(n) if n <= MAX_REPEATS => Ok(n),
            _ => Err(format!("a count is a number up to {MAX_REPEATS}")),
        }
    }

    /// How greedy it is does not matter: all of the string must match.
    fn repeated(&mut self, atom: Node, least: u32, most: Option<u32>) -> Parsed<Node> {
        self.take("?");
        if anchored(&atom) {
            return Err("a repeated `^` or `$`".into());
        }
        if matches!(self.peek(), Some('*' | '+' | '?' | '{')) {
            return Err("a repeated repetition".into());
        }
        Ok(Node::Repeat(Box::new(atom), least, most))
    }

    fn class(&mut self) -> Parsed<Class> {
        let negated = self.take("^");
        let mut class = Class::default();
        while !self.take("]") {
            let mut member = self.member()?;
            if self.peek() == Some('-') && self.rest.get(self.at + 1).is_some_and(|c| *c != ']') {
                self.at += 1;
                let last = self.member()?;
                member = Class::range(&member, &last).ok_or("a range of a class that is none")?;
            }
            class.add(member);
        }
        Ok(class.closed(negated))
    }

    fn member(&mut self) -> Parsed<Class> {
        match self.next()? {
            '\\' => self.escape(true),
            c => Ok(Class::single(c as u32)),
        }
    }

    fn escape(&mut self, in_class: bool) -> Parsed<Class> {
        let single = Class::single;
        Ok(match self.next()? {
            'd' => Class::of(&DIGITS),
            'D' => Class::others(&DIGITS),
            'w' => Class::of(&WORD),
            'W' => Class::others(&WORD),
            's' => Class::of(&SPACE),
            'S' => Class::others(&SPACE),
            't' => single(9),
            'n' => single(10),
            'v' => single(11),
            'f' => single(12),
            'r' => single(13),
            'b' if in_class => single(8),
            '0' if !self.peek().is_some_and(|c| c.is_ascii_digit()) => single(0),
            'c' => match self.next()? {
                c if c.is_ascii_alphabetic() => single(c as u32 % 32),
                _ => return Err("`\\c` without a letter".into()),
            },
            'x' => single(self.hex(2)?),
            'u' => single(self.unicode()?),
            c @ ('p' | 'P') => return self.property(c),
            c if c.is_ascii_alphanumeric() => return Err(format!("`\\{c}`")),
            c => single(c as u32),
        })
    }

    fn hex(&mut self, digits: usize) -> Parsed<u32> {
        let mut value = 0;
        for _ in 0..digits {
            value =
                value * 16 + self.next()?.to_digit(16).ok_or("a hexadecimal digit is missing")?;
        }
        Ok(value)
    }

    fn unicode(&mut self) -> Parsed<u32> {
        let value = if self.take("{") {
            let start = self.at;
            while self.next()? != '}' {}
            let digits: String = self.rest[start..self.at - 1].iter().collect();
            u32::from_str_radix(&digits, 16).map_err(|_| "`\\u{...}` without a number")?
        } else {
            match self.hex(4)? {
                high @ 0xD800..0xDC00 if self.take("\\u") => match self.hex(4)? {
                    low @ 0xDC00..0xE000 => 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00),
                    _ => return Err("half of a surrogate pair".into()),
                },
                value => value,
            }
        };
        match char::from_u32(value) {
            Some(_) => Ok(value),
            None => Err("`\\u` of what is no character".into()),
        }
    }

    fn property(&mut self, kind: char) -> Parsed<Class> {
        if !self.take("{") {
            return Err(format!("`\\{kind}` without a name in braces"));
        }
        let mut name = String::new();
        loop {
            match self.next()? {
                '}' => break,
                c if c.is_ascii_alphanumeric() || "_=".contains(c) => name.push(c),
                _ => return Err(format!("the name of `\\{kind}`")),
            }
        }
        Class::property(kind, &name).ok_or_else(|| format!("`\\{kind}{{{name}}}`"))
    }
}

fn anchored(node: &Node) -> bool {
    match node {
        Node::Start | Node::End => true,
        Node::One(_) => false,
        Node::Then(all) | Node::Either(all) => all.iter().any(anchored),
        Node::Repeat(inner, ..) => anchored(inner),
    }
}

/// Alternatives, with whether each is bound to the beginning and to the end of the string.
fn branches(node: Node) -> Parsed<Vec<(bool, Node, bool)>> {
    let mut done = Vec::new();
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        if open.len() + done.len() > MAX_BRANCHES {
            return Err(format!("over {MAX_BRANCHES} alternatives with `^` or `$`"));
        }
        let mut items = match node {
            Node::Either(all) if all.iter().any(anchored) => {
                open.extend(all.into_iter().rev());
                continue;
            }
            Node::Then(items) => items,
            other => vec![other],
        };
        let starts = items.iter().take_while(|n| matches!(n, Node::Start)).count();
        let ends = items[starts..].iter().rev().take_while(|n| matches!(n, Node::End)).count();
        let inner = starts..items.len() - ends;
        if !items[inner.clone()].iter().any(anchored) {
            done.push((starts > 0, Node::Then(items.drain(inner).collect()), ends > 0));
            continue;
        }
        open.extend(distributed(&items, inner)?);
    }
    Ok(done)
}

/// A group with anchors, first or last of `inner`: one sequence for each of its alternatives.
fn distributed(items: &[Node], inner: std::ops::Range<usize>) -> Parsed<Vec<Node>> {
    let at = [inner.start, inner.end - 1].into_iter().find(|i| anchored(&items[*i]));
    let Some((at, Node::Either(all))) = at.map(|at| (at, &items[at])) else {
        return Err("`^` or `$` within the pattern".into());
    };
    let with = |alternative: &Node| {
        let mut sequence = items[..at].to_vec();
        match alternative {
            Node::Then(inner) => sequence.extend(inner.iter().cloned()),
            other => sequence.push(other.clone()),
        }
        sequence.extend(items[at + 1..].iter().cloned());
        Node::Then(sequence)
    };
    Ok(all.iter().rev().map(with).collect())
}

fn written(node: &Node) -> Parsed<String> {
    let text = match node {
        Node::One(class) => class.quoted()?,
        Node::Then(all) => all.iter().map(written).collect::<Parsed<String>>()?,
        Node::Either(all) => {
            let all: Vec<String> = all.iter().map(written).collect::<Parsed<_>>()?;
            format!("(?:{})", all.join("|"))
        }
        Node::Repeat(inner, least, most) => {
            let most = most.map_or(String::new(), |n| n.to_string());
            format!("(?:{}){{{least},{most}}}", written(inner)?)
        }
        Node::Start | Node::End => return Err("`^` or `$` within the pattern".into()),
    };
    if text.len() > MAX_BYTES {
        return Err(format!("over {MAX_BYTES} bytes when written out"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use llguidance::derivre::Regex;

    fn found(pattern: &str, text: &str) -> bool {
        let mut regex = Regex::new(&translate(pattern).unwrap()).unwrap();
        let quoted = serde_json::to_string(text).unwrap();
        regex.is_match(&quoted[1..quoted.len() - 1])
    }

    #[test]
    fn patterns_match_as_in_ecma_262() {
        for (pattern, yes, no) in [
            ("^a*$", vec!["", "aaa"], vec!["b", "ab"]),
            ("a+", vec!["xay", "a", "\na\u{0}"], vec!["", "b"]),
            ("^(on|off)$", vec!["on", "off"], vec!["onn", "xon"]),
            ("^a|b$", vec!["ax", "xb"], vec!["xa", "bx"]),
            ("(^a|b)c", vec!["ac", "xbc"], vec!["xac"]),
            ("(^|-)x(-|$)", vec!["x", "a-x", "x-b", "-x-"], vec!["ax", "xb"]),
            (
                "^.$",
                vec!["é", "\"", "\\", "\u{b}", "\u{10FFFF}"],
                vec!["\n", "\r", "\u{2028}", "ab"],
            ),
            ("^\\d\\w\\s$", vec!["1_ ", "0z\u{a0}"], vec!["١_ ", "1é "]),
            ("^[^a-c\\n]{2}$", vec!["xy", "\"\\"], vec!["ax", "x\n"]),
            ("^[\\x00-\\x1f\"]+$", vec!["\u{0}\u{8}\u{1f}\"\n"], vec!["a"]),
            ("^\\p{Letter}+$", vec!["aé漢"], vec!["a1", ""]),
            ("^[\\P{L}]$", vec!["\"", "\n", "1"], vec!["a"]),
            ("^[^\\p{L}x]$", vec!["\\", "1"], vec!["a", "x"]),
            ("^\\uD83D\\uDC32\\u{1F432}?$", vec!["🐲", "🐲🐲"], vec!["x"]),
            ("^a{2,3}?b{0,1}$", vec!["aa", "aaab"], vec!["a", "aaaab"]),
            ("^(?<year>[0-9]{4})\\/(?:x)\\-$", vec!["2024/x-"], vec!["2024x"]),
            ("", vec!["", "any"], vec![]),
            ("^$", vec![""], vec!["a"]),
            ("[]", vec![], vec!["", "a"]),
            ("^\\cC$", vec!["\u{3}"], vec!["C"]),
            ("\\.", vec!["a.b"], vec!["ab"]),
        ] {
            yes.iter().for_each(|text| assert!(found(pattern, text), "{pattern} {text:?}"));
            no.iter().for_each(|text| assert!(!found(pattern, text), "{pattern} {text:?}"));
        }
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for pattern in [
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?<!a)",
            "(?i)a",
            "(a)\\1",
            "\\bword",
            "\\B",
            "a**",
            "*",
            "(",
            ")",
            "a^b",
            "a$b",
            "^*",
            "[b-a]",
            "[a",
            "\\p{Nonsense}",
            "\\pL",
            "\\u12",
            "\\uD800",
            "a{2,1}",
            "a{",
            "a{99999999999}",
            "\\k<a>",
            "\\",
        ] {
            assert!(translate(pattern).is_err(), "{pattern}");
        }
        assert!(translate(&"(".repeat(10_000)).is_err());
        assert!(translate(&"(a|^)".repeat(100)).is_err());
        assert!(translate(&"[^a]".repeat(30_000)).is_err());
    }
}
