//! The fields of one JSON object, taken one by one, so that what is left over can be named.

use super::validate::clip;
use super::{Malformed, limits};
use crate::core::error::{ErrorCode, RejectReason};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

type Field<T> = Result<Option<T>, RejectReason>;

/// The fields not taken yet. `null` counts as absent, as it does for OpenAI.
pub(super) struct Fields<'a> {
    map: Map<String, Value>,
    /// Where the object is, for messages: empty, or `response_format.`.
    path: &'a str,
}

pub(super) fn bad(message: impl Into<String>) -> RejectReason {
    RejectReason::new(ErrorCode::BadRequest, message)
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: Map<String, Value>, path: &'a str) -> Self {
        Self { map, path }
    }

    /// The fields of a value that must be an object.
    pub(super) fn of(value: Value, path: &'a str) -> Result<Self, RejectReason> {
        match value {
            Value::Object(map) => Ok(Self::new(map, path)),
            other => Err(wrong(path.trim_end_matches('.'), "an object", &other)),
        }
    }

    pub(super) fn value(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|v| !v.is_null())
    }

    pub(super) fn string(&mut self, name: &str) -> Field<String> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s)),
            Some(other) => Err(self.wrong(name, "a string", &other)),
        }
    }

    pub(super) fn boolean(&mut self, name: &str) -> Field<bool> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(b)),
            Some(other) => Err(self.wrong(name, "true or false", &other)),
        }
    }

    pub(super) fn u64(&mut self, name: &str) -> Field<u64> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(n) => Ok(Some(n)),
                None => Err(self.wrong(name, "a whole number, 0 or more", &value)),
            },
        }
    }

    pub(super) fn u32(&mut self, name: &str) -> Field<u32> {
        match self.u64(name)? {
            None => Ok(None),
            Some(n) => match u32::try_from(n) {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(bad(format!("`{}{name}` must be at most {}", self.path, u32::MAX))),
            },
        }
    }

    /// The nearest `f32`; beyond its range infinite, which no range of ours holds.
    pub(super) fn f32(&mut self, name: &str) -> Field<f32> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(n) => Ok(Some(n as f32)),
                None => Err(self.wrong(name, "a number", &value)),
            },
        }
    }

    pub(super) fn array(&mut self, name: &str) -> Field<Vec<Value>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(self.wrong(name, "an array", &other)),
        }
    }

    pub(super) fn strings(&mut self, name: &str) -> Field<Vec<String>> {
        let Some(items) = self.array(name)? else { return Ok(None) };
        let string = |(i, item)| match item {
            Value::String(s) => Ok(s),
            other => Err(self.wrong(&format!("{name}[{i}]"), "a string", &other)),
        };
        items.into_iter().enumerate().map(string).collect::<Result<_, _>>().map(Some)
    }

    /// The name of a field that nobody took.
    pub(super) fn left_over(&self) -> Option<&str> {
        self.map.iter().find(|(_, v)| !v.is_null()).map(|(name, _)| name.as_str())
    }

    /// Complains about a field that nobody took.
    pub(super) fn finish(self) -> Result<(), RejectReason> {
        match self.left_over() {
            None => Ok(()),
            Some(name) => Err(bad(format!("unknown field `{}{}`", self.path, clip(name)))),
        }
    }

    /// The field's name as messages have it.
    pub(super) fn path_of(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    fn wrong(&self, name: &str, expected: &str, found: &Value) -> RejectReason {
        wrong(&self.path_of(name), expected, found)
    }
}

fn wrong(name: &str, expected: &str, found: &Value) -> RejectReason {
    let found = match found {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => format!("{:?}", clip(s)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    bad(format!("`{name}` must be {expected}, not {found}"))
}

/// Reads one object from one line. A line that breaks off or goes wrong still yields its `id` if
/// that came before the fault.
pub(super) fn read_object(line: &[u8]) -> Result<Map<String, Value>, Malformed> {
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(e) => {
            let at = e.valid_up_to();
            let id = salvage_id(&line[..at]);
            return Err(Malformed::bad(id, format!("the line is not UTF-8 from byte {at} on")));
        }
    };
    let mut id = None;
    let mut reader = serde_json::Deserializer::from_str(text);
    let object = Object { id: &mut id }.deserialize(&mut reader);
    match object.and_then(|map| reader.end().map(|()| map)) {
        Ok(map) => Ok(map),
        Err(e) => Err(Malformed::bad(id, explain(&e))),
    }
}

/// The `id` of an object of which only the head is there.
pub(super) fn salvage_id(head: &[u8]) -> Option<String> {
    let mut id = None;
    // The error is certain; what came before it is what we are after.
    let _ = Object { id: &mut id }.deserialize(&mut serde_json::Deserializer::from_slice(head));
    id
}

fn explain(e: &serde_json::Error) -> String {
    if e.is_eof() {
        return "the line ends inside the JSON object; send each object whole, on one line".into();
    }
    let text = e.to_string();
    if text.starts_with("recursion limit") {
        return format!("the JSON is nested more than {} levels deep", limits::JSON_DEPTH);
    }
    format!("not a JSON object: {text}")
}

struct Object<'a> {
    id: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Map<String, Value>;
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let value: Value = access.next_value()?;
            if name == "id" {
                *self.id = echoable(&value);
            }
            if map.contains_key(&name) {
                return Err(A::Error::custom(format!("field `{}` appears twice", clip(&name))));
            }
            map.insert(name, value);
        }
        Ok(map)
    }
}

/// An id that can be sent back as a string, even if it is not a valid one.
fn echoable(id: &Value) -> Option<String> {
    match id {
        Value::String(s) if s.len() <= limits::ID_BYTES => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// The id to echo of an object that was read whole.
pub(super) fn id_of(map: &Map<String, Value>) -> Option<String> {
    map.get("id").and_then(echoable)
}
