//! Where the values of a JSON text are: which tokens of an answer spell which field.

use std::ops::Range;

/// A string, number, boolean or null of a JSON text, or an empty array or object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// A JSON pointer (RFC 6901) to it; empty for the text itself.
    pub pointer: String,
    /// Its bytes, quotes included.
    pub bytes: Range<usize>,
}

/// The values of `text` (compact JSON, or the beginning of one: what was cut ends where the text does),
/// in their order.
pub fn spans(text: &[u8]) -> Vec<Span> {
    let mut reader = Reader { text, at: 0, pointer: String::new(), found: Vec::new() };
    reader.value();
    reader.found
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    pointer: String,
    found: Vec<Span>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Steps over `byte` if it comes next.
    fn skip(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self) {
        let start = self.at;
        match self.peek() {
            Some(b'{') if self.text.get(start + 1) != Some(&b'}') => self.members(),
            Some(b'[') if self.text.get(start + 1) != Some(&b']') => self.items(),
            None => {}
            Some(first) => {
                match first {
                    b'{' | b'[' => self.at += 2,
                    b'"' => self.string(),
                    _ => self.word(),
                }
                self.found.push(Span { pointer: self.pointer.clone(), bytes: start..self.at });
            }
        }
    }

    fn members(&mut self) {
        self.at += 1;
        loop {
            let start = self.at;
            if self.peek() != Some(b'"') {
                return;
            }
            self.string();
            let name = serde_json::from_slice::<String>(&self.text[start..self.at]);
            let (Ok(name), true) = (name, self.skip(b':')) else { return };
            let escaped = name.replace('~', "~0").replace('/', "~1");
            self.below(&escaped);
            if !self.skip(b',') {
                self.skip(b'}');
                return;
            }
        }
    }

    fn items(&mut self) {
        self.at += 1;
        for index in 0usize.. {
            self.below(&index.to_string());
            if !self.skip(b',') {
                self.skip(b']');
                return;
            }
        }
    }

    fn below(&mut self, name: &str) {
        let above = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(name);
        self.value();
        self.pointer.truncate(above);
    }

    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at = (self.at + if byte == b'\\' { 2 } else { 1 }).min(self.text.len());
            if byte == b'"' {
                return;
            }
        }
    }

    fn word(&mut self) {
        let ends = |b: &u8| matches!(b, b',' | b'}' | b']');
        let length = self.text[self.at..].iter().position(ends);
        // A comma where a value should be is no value; whatever it is, something is read.
        self.at += length.unwrap_or(self.text.len() - self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn told(text: &str) -> Vec<(String, &str)> {
        spans(text.as_bytes()).into_iter().map(|s| (s.pointer, &text[s.bytes])).collect()
    }

    #[test]
    fn every_value_has_its_pointer_and_bytes() {
        let text = r#"{"a":[1,{"b/c":"x\"]"},[]],"~":null,"d":{}}"#;
        let wanted = [
            ("/a/0", "1"),
            ("/a/1/b~1c", r#""x\"]""#),
            ("/a/2", "[]"),
            ("/~0", "null"),
            ("/d", "{}"),
        ];
        assert_eq!(told(text), wanted.map(|(p, t)| (p.to_owned(), t)));
        assert_eq!(told("7"), [(String::new(), "7")]);
    }

    #[test]
    fn what_is_cut_ends_with_the_text() {
        assert_eq!(told(r#"{"a":"x"#), [("/a".to_owned(), r#""x"#)]);
        assert_eq!(told(r#"{"a":tr"#), [("/a".to_owned(), "tr")]);
        for cut in ["", "{", r#"{"a"#, r#"{"a":"#, "[", "[1,", r#"{"a":"\"#] {
            let _ = told(cut);
        }
        assert_eq!(told("[1,"), [("/0".to_owned(), "1")]);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn each_span_is_the_value_at_its_pointer(value in values()) {
            let text = value.to_string();
            for Span { pointer, bytes } in spans(text.as_bytes()) {
                let there: Value = serde_json::from_slice(&text.as_bytes()[bytes]).expect("JSON");
                prop_assert_eq!(value.pointer(&pointer), Some(&there));
            }
        }

        #[test]
        fn any_bytes_have_spans(bytes in proptest::collection::vec(any::<u8>(), 0..60), cut in 0usize..60) {
            for span in spans(&bytes) {
                prop_assert!(span.bytes.end <= bytes.len());
            }
            let text = json!({"a": [1, {"b": "x"}], "c": "y"}).to_string();
            let _ = spans(&text.as_bytes()[..cut.min(text.len())]);
        }
    }
}
