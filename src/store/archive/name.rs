//! Names of entries: inside the bundle, in plain characters, each once.

use super::{ArchiveError, Kind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The most bytes of a name.
const NAME_BYTES: usize = 512;
/// The most bytes of one part of it, as file systems have it.
const PART_BYTES: usize = 255;
/// The most folders above a file.
const DEPTH: usize = 8;

/// A name that may be joined to a folder: relative, of plain parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// Checks a name as it was written. `None` is the top itself, `.` or `./`.
    ///
    /// # Errors
    /// [`ArchiveError::Name`].
    pub fn parse(written: &[u8]) -> Result<Option<Self>, ArchiveError> {
        let shown = String::from_utf8_lossy(written).into_owned();
        let refuse = |problem: &str| {
            Err(ArchiveError::Name { name: shown.clone(), problem: problem.to_owned() })
        };
        if written.len() > NAME_BYTES {
            return refuse("longer than 512 bytes");
        }
        let plain = |b: &u8| (b.is_ascii_graphic() || *b == b' ') && *b != b'\\';
        if !written.iter().all(plain) {
            return refuse("only printable ASCII without the backslash is");
        }
        if shown.is_empty() || shown.starts_with('/') {
            return refuse("it must be relative to the bundle");
        }
        let rest = shown.strip_prefix("./").unwrap_or(&shown);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty() || rest == "." {
            return Ok(None);
        }
        let mut depth = 0;
        for part in rest.split('/') {
            depth += 1;
            match part {
                "" | "." => return refuse("it has an empty part"),
                ".." => return refuse("it leads out of the bundle"),
                _ if part.len() > PART_BYTES => return refuse("a part is longer than 255 bytes"),
                // Parts that look the same.
                _ if part.trim() != part => return refuse("a part begins or ends with a space"),
                _ => {}
            }
        }
        if depth > DEPTH + 1 {
            return refuse("it is more than 8 folders deep");
        }
        Ok(Some(Self(rest.to_owned())))
    }

    /// The name, with `/` between its parts.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where it is in `folder`.
    pub fn under(&self, folder: &Path) -> PathBuf {
        folder.join(&self.0)
    }

    /// The folders above it, the topmost first.
    pub fn folders(&self) -> impl Iterator<Item = Self> + '_ {
        self.0.match_indices('/').map(|(end, _)| Self(self.0[..end].to_owned()))
    }
}

/// The names that were there already; another file system may not tell cases apart.
#[derive(Debug, Default)]
pub struct Names {
    known: BTreeMap<String, (String, Kind)>,
}

impl Names {
    /// Takes an entry. `false`: a folder that is there already, which is no fault.
    ///
    /// # Errors
    /// [`ArchiveError::Name`] for a file that is there already, in any spelling, or a file that would
    /// have to be a folder.
    pub fn add(&mut self, name: &Name, kind: Kind) -> Result<bool, ArchiveError> {
        let refuse = |problem: String| Err(ArchiveError::Name { name: name.0.clone(), problem });
        match self.known.get(&name.0.to_ascii_lowercase()) {
            None => {}
            Some((same, Kind::Folder)) if *same == name.0 && kind == Kind::Folder => {
                return Ok(false);
            }
            Some((same, _)) if *same == name.0 => return refuse("it is there twice".to_owned()),
            Some((other, _)) => return refuse(format!("{other:?} differs from it by case only")),
        }
        self.known.insert(name.0.to_ascii_lowercase(), (name.0.clone(), kind));
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(name: &str) -> Option<String> {
        Name::parse(name.as_bytes()).expect(name).map(|n| n.0)
    }

    #[test]
    fn plain_names_are_taken() {
        for name in ["slmd.toml", "onnx/model_q4.onnx", "a..b", "..a", "a b", "~", "-x"] {
            assert_eq!(parsed(name).as_deref(), Some(name));
        }
        assert_eq!(parsed("./a/b").as_deref(), Some("a/b"));
        assert_eq!(parsed("a/").as_deref(), Some("a"));
        assert_eq!((parsed("."), parsed("./")), (None, None));
        let name = Name::parse(b"a/b/c").expect("plain").expect("one");
        assert_eq!(name.folders().map(|n| n.0).collect::<Vec<_>>(), ["a", "a/b"]);
    }

    #[test]
    fn names_that_lead_elsewhere_or_deceive_are_refused() {
        let deep = "a/".repeat(9) + "a";
        let (long, part) = ("a/".repeat(300), "a".repeat(256));
        for name in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../a",
            "a/../b",
            "a/..",
            "./../a",
            "a//b",
            "a/./b",
            "././a",
            "a\\b",
            "a\0b",
            "a\nb",
            "a\u{e9}b",
            "a\u{202e}b",
            "a ",
            " a",
            "a/ b",
            "//a",
            &deep,
            &long,
            &part,
        ] {
            let error = Name::parse(name.as_bytes()).expect_err(name);
            assert_eq!(error.code(), "archive_name");
        }
        assert!(Name::parse(b"a\xffb").is_err());
    }

    #[test]
    fn every_name_is_there_once() {
        let mut names = Names::default();
        let mut add = |name: &str, kind| {
            names.add(&Name::parse(name.as_bytes()).expect("plain").expect("one"), kind)
        };
        assert_eq!(add("a", Kind::Folder), Ok(true));
        assert_eq!(add("a", Kind::Folder), Ok(false));
        assert_eq!(add("a/x", Kind::File), Ok(true));
        for (name, kind) in
            [("a/x", Kind::File), ("a/X", Kind::File), ("A", Kind::Folder), ("a", Kind::File)]
        {
            assert!(add(name, kind).is_err(), "{name}");
        }
    }
}
