//! The files of a bundle, in a directory or in the binary: reading, sizes, hashes, safe names.

use super::error::BundleError;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The most bytes of a configuration file.
pub const CONFIG_LIMIT: u64 = 16 << 20;
/// The most bytes of `tokenizer.json`; the largest public ones have about 35 MB.
pub const TOKENIZER_LIMIT: u64 = 256 << 20;

/// A file embedded in the binary: its name in the bundle, and its bytes.
pub type EmbeddedFile = (&'static str, &'static [u8]);

/// Where a bundle's files are.
#[derive(Debug, Clone)]
pub enum Files {
    /// In a directory.
    Dir(PathBuf),
    /// In the binary.
    Embedded(&'static [EmbeddedFile]),
}

impl Files {
    /// The file's name for messages.
    pub fn display(&self, name: &str) -> String {
        match self {
            Self::Dir(root) => root.join(name).display().to_string(),
            Self::Embedded(_) => format!("embedded {name}"),
        }
    }

    /// Whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Dir(root) => root.join(name).is_file(),
            Self::Embedded(_) => self.embedded(name).is_some(),
        }
    }

    fn embedded(&self, name: &str) -> Option<&'static [u8]> {
        match self {
            Self::Dir(_) => None,
            Self::Embedded(files) => files.iter().find(|(n, _)| *n == name).map(|(_, b)| *b),
        }
    }

    /// The bytes of a file; `None` if it is not there.
    ///
    /// # Errors
    /// If it is over `limit` bytes, not a regular file, or cannot be read.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Cow<'static, [u8]>>, BundleError> {
        let Self::Dir(root) = self else { return Ok(self.embedded(name).map(Cow::Borrowed)) };
        read_file(&root.join(name), limit).map(|bytes| bytes.map(Cow::Owned))
    }

    /// [`Files::read`] for a file that must be there.
    ///
    /// # Errors
    /// As [`Files::read`]; [`BundleError::Missing`] with `hint`.
    pub fn require(
        &self,
        name: &str,
        limit: u64,
        hint: &str,
    ) -> Result<Cow<'static, [u8]>, BundleError> {
        self.read(name, limit)?
            .ok_or_else(|| BundleError::Missing { file: self.display(name), hint: hint.to_owned() })
    }

    /// Bytes of a file; `None` if it is not there.
    pub fn size(&self, name: &str) -> Option<u64> {
        match self {
            Self::Dir(root) => {
                root.join(name).metadata().ok().filter(|m| m.is_file()).map(|m| m.len())
            }
            Self::Embedded(_) => self.embedded(name).map(|b| b.len() as u64),
        }
    }

    /// The file's SHA-256 in lower-case hex; read piece by piece.
    ///
    /// # Errors
    /// If the file is absent or cannot be read.
    pub fn sha256(&self, name: &str) -> Result<String, BundleError> {
        let file = self.display(name);
        let missing =
            || BundleError::Missing { file: file.clone(), hint: "the manifest lists it".into() };
        match self {
            Self::Embedded(_) => {
                self.embedded(name).map(|b| hex(&Sha256::digest(b))).ok_or_else(missing)
            }
            Self::Dir(root) => {
                let path = root.join(name);
                if !path.is_file() {
                    return Err(missing());
                }
                hash_file(&path).map_err(|e| BundleError::io(file, &e))
            }
        }
    }
}

/// Reads a regular file of at most `limit` bytes; `None` if it is not there.
///
/// # Errors
/// If it is larger, of another kind, or cannot be read.
pub fn read_file(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, BundleError> {
    let failed = |e: &std::io::Error| BundleError::io(path.display().to_string(), e);
    // Looked at before opening: opening a named pipe would wait for its other end.
    match path.metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failed(&e)),
        Ok(m) if !m.is_file() => return Err(failed(&std::io::Error::other("not a regular file"))),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| failed(&e))?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    if bytes.len() as u64 > limit {
        return Err(failed(&std::io::Error::other(format!("larger than {limit} bytes"))));
    }
    Ok(Some(bytes))
}

fn hash_file(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0u8; 256 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&piece[..n]),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        for nibble in [b >> 4, b & 15] {
            out.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
        }
        out
    })
}

/// Whether `name` stays inside the directory it is joined to: relative, without `..`.
pub fn is_inside(name: &str) -> bool {
    !name.is_empty()
        && !name.contains(['\0', '\\'])
        && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)))
}

/// Parses JSON, with the file, line and column in the error.
///
/// # Errors
/// [`BundleError::Syntax`].
pub fn parse_json<T: serde::de::DeserializeOwned>(
    file: &str,
    bytes: &[u8],
) -> Result<T, BundleError> {
    serde_json::from_slice(bytes).map_err(|e| {
        let text = e.to_string();
        let problem = text.split(" at line ").next().unwrap_or(&text).to_owned();
        BundleError::Syntax { file: file.to_owned(), line: e.line(), column: e.column(), problem }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_directory_are_seen() {
        for name in ["model.onnx", "a/b.bin", "model.onnx_data", "a..b"] {
            assert!(is_inside(name), "{name}");
        }
        for name in ["", "/etc/passwd", "../x", "a/../../x", "..", "a\\b", "a\0b"] {
            assert!(!is_inside(name), "{name}");
        }
    }

    #[test]
    fn hashes_agree_between_a_file_and_embedded_bytes() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a"), b"abc").expect("writable");
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Files::Dir(dir.path().into()).sha256("a"), Ok(expected.into()));
        assert_eq!(Files::Embedded(&[("a", b"abc")]).sha256("a"), Ok(expected.into()));
    }

    #[test]
    fn an_oversized_file_and_a_directory_are_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("a"), b"abcd").expect("writable");
        let files = Files::Dir(dir.path().into());
        assert!(files.read("a", 3).is_err());
        assert!(files.read("a", 4).is_ok());
        assert!(files.read(".", 4).is_err());
        assert_eq!(files.read("none", 4), Ok(None));
    }

    #[test]
    fn json_errors_have_a_place() {
        let error = parse_json::<serde_json::Value>("f", b"{\n  \"a\": }").expect_err("bad");
        assert_eq!(error.to_string(), "f:2:8: expected value");
    }
}
