//! A prompt as the journal keeps it: a head that outlives the answer, and a body that does not.
//!
//! Both are JSON, so that the versions before and after this one can read them: fields that a
//! reader does not know are ignored, and those that it misses have a default.

use super::request::Address;
use crate::core::request::Priority;
use crate::wire::{Ask, Command, json};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What identifies a prompt for ever: a digest of its reply topic, its correlation data or id, and
/// the client's name for itself.
pub type Key = [u8; 16];

/// The key of a request at this address; none if it names neither correlation data nor an id.
pub fn key(address: &Address) -> Option<Key> {
    let topic = address.reply_topic.as_deref()?;
    let (kind, name) = match (&address.correlation, &address.id) {
        (Some(correlation), _) => (b'c', &correlation[..]),
        (None, Some(id)) => (b'i', id.as_bytes()),
        (None, None) => return None,
    };
    let mut digest = Sha256::new();
    for part in
        [topic.as_bytes(), &[kind], name, address.client.as_deref().unwrap_or("").as_bytes()]
    {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    digest.as_slice().first_chunk().copied()
}

/// The head of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// Where it came from.
    pub topic: String,
    /// Where the answer goes.
    pub reply_topic: String,
    /// In hexadecimal.
    pub correlation: Option<String>,
    /// The client's id.
    pub id: Option<String>,
    /// The client's name for itself.
    pub client: Option<String>,
    /// The boot that `arrived_ms` belongs to.
    pub boot: String,
    /// CLOCK_BOOTTIME, in milliseconds.
    pub arrived_ms: i64,
    /// The wall clock, in milliseconds since 1970: all there is after a reboot.
    pub arrived_unix_ms: u64,
    /// Milliseconds that it has from its arrival on.
    pub due_ms: Option<u64>,
    /// Its highest priority, by name.
    pub max_priority: Option<String>,
}

impl Head {
    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields become JSON")
    }

    /// From bytes.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The address that it was written from.
    pub fn address(&self) -> Address {
        Address {
            reply_topic: Some(self.reply_topic.clone()),
            correlation: self.correlation.as_deref().and_then(from_hex).map(Bytes::from),
            id: self.id.clone(),
            client: self.client.clone(),
        }
    }

    /// Its highest priority.
    pub fn priority(&self) -> Priority {
        let named = |name: &str| Priority::ALL.into_iter().find(|p| p.name() == name);
        self.max_priority.as_deref().and_then(named).unwrap_or(Priority::Urgent)
    }
}

/// The body: the request as a client of the socket would write it.
pub fn body(ask: &Ask) -> Vec<u8> {
    let mut bytes = Vec::new();
    json::write_command(&Command::Ask(Box::new(ask.clone())), &mut bytes);
    bytes
}

/// The request of a body.
pub fn read_body(bytes: &[u8]) -> Option<Ask> {
    match json::parse_command(bytes.trim_ascii_end()) {
        Ok(Command::Ask(ask)) => Some(*ask),
        _ => None,
    }
}

/// Lower case, two digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(topic: &str, correlation: Option<&'static [u8]>, id: Option<&str>) -> Address {
        Address {
            reply_topic: Some(topic.into()),
            correlation: correlation.map(Bytes::from_static),
            id: id.map(str::to_owned),
            client: None,
        }
    }

    #[test]
    fn keys_differ_where_any_part_does() {
        let all = [
            address("a", Some(b"1"), None),
            address("b", Some(b"1"), None),
            address("a", Some(b"2"), None),
            address("a", None, Some("1")),
            address("a1", None, Some("")),
            Address { client: Some("x".into()), ..address("a", Some(b"1"), None) },
        ];
        let keys: std::collections::BTreeSet<_> =
            all.iter().map(|a| key(a).expect("one")).collect();
        assert_eq!(keys.len(), all.len());
        let with_id = address("a", Some(b"1"), Some("other"));
        assert_eq!(key(&with_id), key(&all[0]), "correlation data comes before the id");
        assert_eq!(key(&address("a", None, None)), None);
        assert_eq!(key(&Address::default()), None);
    }

    #[test]
    fn heads_and_bodies_come_back() {
        let head = Head {
            reply_topic: "r".into(),
            correlation: Some(hex(&[0, 255, 16])),
            due_ms: Some(5),
            max_priority: Some("normal".into()),
            ..Head::default()
        };
        assert_eq!(Head::read(&head.to_bytes()).as_ref(), Some(&head));
        assert_eq!(head.address().correlation.as_deref(), Some(&[0, 255, 16][..]));
        assert_eq!(head.priority(), Priority::Normal);
        let ask = Ask { prompt: Some("hi\n".into()), seed: Some(7), ..Ask::default() };
        assert_eq!(read_body(&body(&ask)), Some(ask));
    }

    #[test]
    fn other_versions_heads_are_read() {
        let newer = br#"{"reply_topic":"r","colour":"blue"}"#;
        assert_eq!(Head::read(newer).map(|h| h.reply_topic), Some("r".into()));
        assert_eq!(Head::read(b"not JSON"), None);
    }
}
