//! One header of tar: 512 bytes, in the form of POSIX (ustar) or of GNU tar.
//!
//! Formats: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar's manual, "Basic Tar Format".

use super::ArchiveError;

/// Bytes of a header, and of the unit that everything is padded to.
pub const BLOCK: usize = 512;

/// What a header is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// GNU: the name of the next entry.
    LongName,
    /// pax: more about the next entry.
    Extended,
    /// pax: more about all entries.
    Global,
    /// Something that a bundle does not have.
    Other(u8),
}

/// What is read of it; owners and times are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What it is about.
    pub kind: Type,
    /// The name, as written.
    pub name: Vec<u8>,
    /// Bytes that follow.
    pub size: u64,
}

fn damaged<T>(problem: impl Into<String>) -> Result<T, ArchiveError> {
    Err(ArchiveError::Damaged(problem.into()))
}

impl Header {
    /// Reads one. `None`: a block of zeroes, the end of the archive.
    ///
    /// # Errors
    /// [`ArchiveError::Format`] if it is no header, [`ArchiveError::Damaged`] if it contradicts itself.
    pub fn parse(block: &[u8; BLOCK]) -> Result<Option<Self>, ArchiveError> {
        if block.iter().all(|&b| b == 0) {
            return Ok(None);
        }
        let is_posix = &block[257..265] == b"ustar\x0000";
        if !is_posix && &block[257..265] != b"ustar  \0" {
            return Err(ArchiveError::Format("it has no header of tar where one must be".into()));
        }
        let written = octal(&block[148..156]);
        let counted: u64 = block
            .iter()
            .enumerate()
            .map(|(at, &b)| u64::from(if (148..156).contains(&at) { b' ' } else { b }))
            .sum();
        if written != Some(counted) {
            return damaged("the sum of a header is wrong");
        }
        let Some(size) = number(&block[124..136]) else {
            return damaged("a header has a size that is no number");
        };
        let mut name = text(&block[..100]).to_vec();
        let prefix = text(&block[345..500]);
        // GNU tar has times where POSIX has the beginning of a long name.
        if is_posix && !prefix.is_empty() {
            name = [prefix, b"/", &name].concat();
        }
        let kind = match block[156] {
            b'0' | 0 => Type::File,
            b'5' => Type::Folder,
            b'L' => Type::LongName,
            b'x' => Type::Extended,
            b'g' => Type::Global,
            other => Type::Other(other),
        };
        Ok(Some(Self { kind, name, size }))
    }
}

/// What a type letter stands for, in words.
pub fn kind_name(letter: u8) -> String {
    match letter {
        b'1' => "a hard link".into(),
        b'2' => "a symbolic link".into(),
        b'3' | b'4' => "a device".into(),
        b'6' => "a named pipe".into(),
        b'7' => "a contiguous file".into(),
        b'S' => "a sparse file".into(),
        b'K' => "a link with a long name".into(),
        b'D' | b'M' | b'N' | b'V' => "an entry of an incremental backup".into(),
        other => format!("an entry of type {:?}", char::from(other)),
    }
}

/// Up to the first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&b| b == 0).next().unwrap_or_default()
}

/// Octal digits, with spaces before and a space or NUL behind them.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii_start();
    let end = digits.iter().position(|b| !matches!(b, b'0'..=b'7')).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let is_padding = rest.iter().all(|b| matches!(b, 0 | b' '));
    if digits.is_empty() || !is_padding {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, &b| sum.checked_mul(8)?.checked_add(u64::from(b - b'0')))
}

/// Octal, or GNU's form for large numbers: the first bit set, then bytes, the highest first.
fn number(field: &[u8]) -> Option<u64> {
    match field.split_first()? {
        (0x80, rest) => {
            rest.iter().try_fold(0u64, |sum, &b| Some(sum.checked_mul(256)? + u64::from(b)))
        }
        _ => octal(field),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_two_forms() {
        assert_eq!(octal(b"0000644\0"), Some(0o644));
        assert_eq!(octal(b"   12 \0"), Some(0o12));
        for wrong in [&b"\0\0\0"[..], b"", b"128", b"1 2", b"-1", b"7777777777777777777777777"] {
            assert_eq!(octal(wrong), None, "{wrong:?}");
        }
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\x01"), Some((2 << 32) + 1));
        assert_eq!(number(b"\x80\x01\0\0\0\0\0\0\0\0\0\0"), None, "more than 64 bits");
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None, "negative");
    }
}
