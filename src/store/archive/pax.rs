//! Extended headers of pax: `LENGTH KEY=VALUE` lines about the next entry (POSIX.1-2017, pax).

use super::ArchiveError;

/// What of them changes anything here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extended {
    /// The whole name.
    pub path: Option<Vec<u8>>,
    /// The bytes that follow.
    pub size: Option<u64>,
}

/// Times, owners, comments: nothing that a bundle keeps.
const IGNORED: [&str; 9] =
    ["mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment", "charset"];
/// What tar programs note for themselves, with the same in it.
const IGNORED_PREFIXES: [&str; 5] =
    ["LIBARCHIVE.", "SCHILY.dev", "SCHILY.ino", "SCHILY.nlink", "SCHILY.xattr."];

/// Reads the records; `is_global` ones may not change names or sizes.
///
/// # Errors
/// [`ArchiveError::Damaged`] if it is malformed, [`ArchiveError::Kind`] for records that make the entry
/// something else than a plain file (sparse, linked).
pub fn parse(mut bytes: &[u8], is_global: bool) -> Result<Extended, ArchiveError> {
    let mut found = Extended::default();
    while !bytes.is_empty() {
        let (key, value, rest) = record(bytes)
            .ok_or_else(|| ArchiveError::Damaged("an extended header is malformed".into()))?;
        bytes = rest;
        match key {
            "path" if !is_global => found.path = Some(value.to_vec()),
            "size" if !is_global => {
                let size = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
                let wrong = || ArchiveError::Damaged("a size is no number".into());
                found.size = Some(size.ok_or_else(wrong)?);
            }
            key if IGNORED.contains(&key) => {}
            key if IGNORED_PREFIXES.iter().any(|p| key.starts_with(p)) => {}
            key => {
                let name = String::from_utf8_lossy(found.path.as_deref().unwrap_or(b"an entry"));
                let kind = match key {
                    "linkpath" => "a link".to_owned(),
                    key if key.starts_with("GNU.sparse") => "a sparse file".to_owned(),
                    key => format!("more than a file (its header says {key:?})"),
                };
                return Err(ArchiveError::Kind { name: name.into_owned(), kind });
            }
        }
    }
    Ok(found)
}

/// The first record: key, value, and what follows it.
fn record(bytes: &[u8]) -> Option<(&str, &[u8], &[u8])> {
    let space = bytes.iter().take(8).position(|&b| b == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let line = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = line.iter().position(|&b| b == b'=')?;
    let key = std::str::from_utf8(&line[..equals]).ok()?;
    Some((key, &line[equals + 1..], &bytes[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes_are_read_and_the_rest_is_not() {
        let found = parse(b"20 mtime=1700000.12\n12 path=x/y\n11 size=42\n", false).expect("sound");
        assert_eq!(found, Extended { path: Some(b"x/y".to_vec()), size: Some(42) });
    }

    #[test]
    fn what_is_malformed_or_more_than_a_file_is_refused() {
        for wrong in [
            &b"11 path=x/y"[..],
            b"5 path=x\n",
            b"99 path=x\n",
            b"x path=x\n",
            b"0 \n",
            b"3 \n",
            b"18446744073709551615 a=b\n",
            b"13 size=many\n",
            b"11 size=-1\n",
            b" 9 a=b\n",
            b"6 ab\n\n",
        ] {
            let error = parse(wrong, false).expect_err("refused");
            assert_eq!(error.code(), "archive_damaged", "{}", String::from_utf8_lossy(wrong));
        }
        for other in [
            &b"14 linkpath=x\n"[..],
            b"22 GNU.sparse.major=1\n",
            b"28 SCHILY.realsize=99999999\n",
            b"21 hdrcharset=BINARY\n",
        ] {
            assert_eq!(parse(other, false).expect_err("refused").code(), "archive_entry");
        }
        assert_eq!(parse(b"11 path=xy\n", true).expect_err("global").code(), "archive_entry");
        assert_eq!(parse(b"14 comment=ab\n", true), Ok(Extended::default()));
    }
}
