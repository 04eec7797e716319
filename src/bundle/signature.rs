//! Who made a bundle: a signature of the manifest in the format of minisign, held against known keys.
//!
//! The manifest has the hash of every file, so that the signature of the manifest covers them all.
//! The format: Ed25519 over BLAKE2b-512 of the file, and a second signature over the first one and the
//! trusted comment (minisign's manual, "Signature format"). The old form without the hash is refused.

use minisign_verify::{Error, PublicKey, Signature};

/// The signature's file, beside the manifest.
pub const SIGNATURE: &str = "slmd.toml.minisig";
/// The most bytes of it.
pub const SIGNATURE_LIMIT: u64 = 64 << 10;
/// Letters of base64 that hold the algorithm and the key's number: two bytes and eight.
const HEAD_LETTERS: usize = 14;

/// A public key that models may be signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    text: String,
    id: String,
    key: PublicKey,
}

impl Key {
    /// From the line that minisign prints, and writes into `minisign.pub`: `RWQ...`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            "not a public key of minisign: the line of minisign.pub that begins with RW, 56 letters"
                .to_owned()
        };
        let text = text.trim();
        let key = PublicKey::from_base64(text).map_err(|_| wrong())?;
        let id = id_of(text).ok_or_else(wrong)?;
        Ok(Self { text: text.to_owned(), id, key })
    }

    /// The key's number as minisign prints it: 16 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// By whom, and what they said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The number of the key.
    pub key_id: String,
    /// The trusted comment, which the signature covers.
    pub comment: String,
}

/// A signature that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not a signature of minisign.
    #[error("{SIGNATURE} is not a signature of minisign; make one with `minisign -Sm slmd.toml`")]
    Malformed,
    /// The form without a hash, of old versions.
    #[error("{SIGNATURE} has the old form without a hash; sign again with minisign 0.10 or later")]
    Legacy,
    /// By a key that nobody configured.
    #[error("signed with key {key_id}, which is not in models.keys ({})", known.join(", "))]
    UnknownKey {
        /// Its number.
        key_id: String,
        /// Those of the keys there are.
        known: Vec<String>,
    },
    /// Not of this manifest, or by another key of the same number.
    #[error(
        "the signature with key {key_id} is not of this slmd.toml: it was changed after signing, or \
         the signature is another file's"
    )]
    Invalid {
        /// The number of the key.
        key_id: String,
    },
}

/// Holds a signature and its trusted comment against the keys.
///
/// # Errors
/// [`SignatureError`] unless one of the keys made it of this manifest.
pub fn check(keys: &[Key], manifest: &[u8], signature: &[u8]) -> Result<Signed, SignatureError> {
    let text = std::str::from_utf8(signature).map_err(|_| SignatureError::Malformed)?;
    let signature = Signature::decode(text).map_err(|_| SignatureError::Malformed)?;
    let line = text.lines().nth(1).ok_or(SignatureError::Malformed)?;
    let key_id = id_of(line).ok_or(SignatureError::Malformed)?;
    let mut by = keys.iter().filter(|key| key.id == key_id).peekable();
    if by.peek().is_none() {
        let known = match keys {
            [] => vec!["there are none".to_owned()],
            keys => keys.iter().map(|key| key.id.clone()).collect(),
        };
        return Err(SignatureError::UnknownKey { key_id, known });
    }
    let mut error = SignatureError::Invalid { key_id: key_id.clone() };
    for key in by {
        match key.key.verify(manifest, &signature, false) {
            Ok(()) => {
                let comment = signature.trusted_comment().to_owned();
                return Ok(Signed { key_id, comment });
            }
            Err(Error::UnexpectedAlgorithm) => error = SignatureError::Legacy,
            Err(_) => {}
        }
    }
    Err(error)
}

/// The key's number in the beginning of a key or of a signature.
fn id_of(base64: &str) -> Option<String> {
    let mut bits = 0u128;
    let head = base64.as_bytes().get(..HEAD_LETTERS)?;
    for letter in head {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u128::from(value);
    }
    // 84 bits were read: two bytes of algorithm, eight of number, four bits of what follows.
    let number = (bits >> 4) as u64;
    Some(format!("{:016X}", number.swap_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// Made with minisign 0.11 of the text `MANIFEST`.
    const KEY: &str = "RWTZ0pseFB22VsuTylCs09tmMNLg9fVP/aYsT+cMMbo+RCQhBXBXolGn";
    const KEY_ID: &str = "56B61D141E9BD2D9";
    const MANIFEST: &[u8] = b"format = 1\nname = \"pump\"\n";
    const BY_MINISIGN: &str = "untrusted comment: signature from minisign secret key\n\
        RUTZ0pseFB22VvKOcFL0AC+AxDF8VhYjT0UcYa7zLJzfPkskF4RaZIFjn6aHNKqueSzpdf8wEgj6tyKghMqQlXDwkD+Wwk/5bg4=\n\
        trusted comment: release 7\n\
        x9ODLYVwOPDTSk7ks1D1P8kdeCXS9OXl6lC1MmprRbiSEN645i7vfqs9gbd+u2FoOGCYkAFkjDimPKkUyod5Dw==\n";
    const LEGACY: &str = "untrusted comment: signature from minisign secret key\n\
        RWTZ0pseFB22Vs7rCHNNrmuUVjYvgJVoUFKOAAWkIixCBnlMU2wDq23bUapywqN+Q7MLFRcnrS+8K2rttkE1jSis2MEWiPoxTA0=\n\
        trusted comment: release 7\n\
        FUYXai0G28b0YEBqcdo+JN2pjiolkeVUxOCoJ2TPDwF9M58yHg41h2NXHpoXwwMRfpiGJdwtw4s2yXr6uo0NCA==\n";

    fn keys() -> [Key; 1] {
        [Key::parse(KEY).expect("a key")]
    }

    fn own() -> (minisign::KeyPair, Key) {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().expect("random numbers");
        let key = Key::parse(&pair.pk.to_base64()).expect("a key");
        (pair, key)
    }

    fn sign(pair: &minisign::KeyPair, bytes: &[u8], comment: &str) -> String {
        let bytes = Cursor::new(bytes);
        let signed = minisign::sign(Some(&pair.pk), &pair.sk, bytes, Some(comment), None);
        signed.expect("it signs").to_string()
    }

    #[test]
    fn what_minisign_signed_is_believed() {
        let keys = keys();
        assert_eq!(keys[0].id(), KEY_ID);
        let signed = check(&keys, MANIFEST, BY_MINISIGN.as_bytes()).expect("signed");
        assert_eq!(signed, Signed { key_id: KEY_ID.into(), comment: "release 7".into() });
        let old = check(&keys, MANIFEST, LEGACY.as_bytes());
        assert_eq!(old, Err(SignatureError::Legacy));
    }

    #[test]
    fn any_change_of_manifest_comment_or_signature_is_seen() {
        let (pair, key) = own();
        let keys = [key];
        let text = sign(&pair, MANIFEST, "counter 3");
        assert_eq!(check(&keys, MANIFEST, text.as_bytes()).expect("signed").comment, "counter 3");
        for at in 0..MANIFEST.len() {
            let mut changed = MANIFEST.to_vec();
            changed[at] ^= 1;
            assert!(check(&keys, &changed, text.as_bytes()).is_err(), "byte {at}");
        }
        let forged = text.replace("counter 3", "counter 4");
        assert!(matches!(
            check(&keys, MANIFEST, forged.as_bytes()),
            Err(SignatureError::Invalid { .. })
        ));
        let untrusted = text.find('\n').expect("lines") + 1;
        // The letter before the padding has bits that mean nothing.
        let means_nothing =
            |at: usize| text.as_bytes()[at + 1] == b'=' || text.as_bytes()[at] == b'=';
        for at in (untrusted..text.len() - 1).filter(|at| !means_nothing(*at)) {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(check(&keys, MANIFEST, &changed).is_err(), "letter {at}");
        }
    }

    #[test]
    fn other_keys_are_named() {
        let ((pair, own), (_, other)) = (own(), own());
        let text = sign(&pair, MANIFEST, "x");
        let error = check(&[other], MANIFEST, text.as_bytes()).expect_err("another key");
        let SignatureError::UnknownKey { key_id, .. } = &error else { panic!("{error}") };
        assert_eq!(key_id, own.id());
        assert!(
            check(&[], MANIFEST, text.as_bytes()).expect_err("no key").to_string().contains("none")
        );
    }

    #[test]
    fn what_is_no_signature_is_said_to_be_none() {
        for text in ["", "x", "a\nb\nc\nd", "untrusted comment: x\n\ntrusted comment: y\n\n"] {
            assert_eq!(check(&keys(), MANIFEST, text.as_bytes()), Err(SignatureError::Malformed));
        }
        assert_eq!(check(&keys(), MANIFEST, b"\xff"), Err(SignatureError::Malformed));
        for text in ["", "RWQ", &KEY[1..], &KEY.replace("RW", "XX")] {
            assert!(Key::parse(text).is_err(), "{text}");
        }
    }
}
