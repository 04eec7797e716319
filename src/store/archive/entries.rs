//! The entries of an archive, one after the other, as a stream.

use super::header::{BLOCK, Header, Type, kind_name};
use super::name::{Name, Names};
use super::pax::{self, Extended};
use super::squeeze::{Bomb, Bytes};
use super::{ArchiveError, Limits};
use std::io::{self, Chain, Cursor, Read};

/// The most bytes of a header that is about the next entry.
const META_BYTES: u64 = 64 << 10;
/// The most of them before one entry.
const METAS: usize = 4;
/// The most bytes behind the end: tar fills its last record with zeroes.
const TAIL_BYTES: u64 = 1 << 20;

/// A file or a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
}

/// One entry; its bytes are read with [`Archive::read`] before the next one is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Name,
    /// What it is.
    pub kind: Kind,
    /// Bytes of a file.
    pub size: u64,
}

/// An archive that is being read.
pub struct Archive<R: Read> {
    bytes: Bytes<Chain<Cursor<Vec<u8>>, R>>,
    limits: Limits,
    names: Names,
    entries: usize,
    total: u64,
    /// Bytes of the entry that were not read yet, and what it is padded with.
    left: u64,
    padding: u64,
}

impl<R: Read> Archive<R> {
    /// Looks at the first bytes to tell which kind it is.
    ///
    /// # Errors
    /// [`ArchiveError::Format`] if it is neither tar nor gzip.
    pub fn open(mut file: R, limits: Limits) -> Result<Self, ArchiveError> {
        let mut head = [0; 8];
        let n = read_full(&mut file, &mut head).map_err(|e| failed(&e))?;
        let head = &head[..n];
        let is_gzip = head.starts_with(&[0x1f, 0x8b]);
        let other = [
            (&b"\x28\xb5\x2f\xfd"[..], "zstd, which saves little on weights"),
            (b"\xfd7zXZ\0", "xz"),
            (b"BZh", "bzip2"),
            (b"PK\x03\x04", "zip"),
        ];
        if let Some((_, what)) = other.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Err(ArchiveError::Format(format!("it is {what}")));
        }
        if head.is_empty() {
            return Err(ArchiveError::Format("it is empty".into()));
        }
        let whole = Cursor::new(head.to_vec()).chain(file);
        Ok(Self {
            bytes: Bytes::new(whole, is_gzip, if is_gzip { limits.expansion } else { 1 }),
            limits,
            names: Names::default(),
            entries: 0,
            total: 0,
            left: 0,
            padding: 0,
        })
    }

    /// Bytes of the file that were read so far.
    pub fn taken(&self) -> u64 {
        self.bytes.taken()
    }

    /// The next file or folder; `None` at the end, after which the whole file was read and found sound.
    ///
    /// # Errors
    /// [`ArchiveError`]; nothing more is to be read then.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        loop {
            self.skip()?;
            let Some((header, extended)) = self.header()? else {
                self.end()?;
                return Ok(None);
            };
            if let Some(entry) = self.entry(header, extended)? {
                return Ok(Some(entry));
            }
        }
    }

    /// Bytes of the entry; 0 at its end.
    ///
    /// # Errors
    /// [`ArchiveError`]: the archive ends before.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        loop {
            match self.bytes.read(&mut buffer[..most]) {
                Ok(0) => return Err(truncated("in a file")),
                Ok(n) => {
                    self.left -= n as u64;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(&e)),
            }
        }
    }

    /// The header of the next entry, with what was said about it before.
    fn header(&mut self) -> Result<Option<(Header, Extended)>, ArchiveError> {
        let mut extended = Extended::default();
        for _ in 0..=METAS {
            let Some(header) = self.block()? else { return Ok(None) };
            match header.kind {
                Type::LongName => {
                    let mut name = self.meta(&header)?;
                    while name.last() == Some(&0) {
                        name.pop();
                    }
                    extended.path = Some(name);
                }
                Type::Extended => {
                    let more = pax::parse(&self.meta(&header)?, false)?;
                    extended.path = more.path.or(extended.path);
                    extended.size = more.size.or(extended.size);
                }
                Type::Global => {
                    pax::parse(&self.meta(&header)?, true)?;
                }
                Type::File | Type::Folder | Type::Other(_) => return Ok(Some((header, extended))),
            }
        }
        Err(ArchiveError::Damaged("an entry has too many headers".into()))
    }

    fn entry(&mut self, header: Header, more: Extended) -> Result<Option<Entry>, ArchiveError> {
        let written = more.path.unwrap_or(header.name);
        let size = more.size.unwrap_or(header.size);
        let shown = || String::from_utf8_lossy(&written).into_owned();
        let kind = match header.kind {
            Type::Folder => Kind::Folder,
            Type::File => Kind::File,
            Type::Other(letter) => {
                return Err(ArchiveError::Kind { name: shown(), kind: kind_name(letter) });
            }
            Type::LongName | Type::Extended | Type::Global => unreachable!("read with the header"),
        };
        if kind == Kind::Folder && size != 0 {
            return Err(ArchiveError::Damaged(format!("the folder {:?} has a size", shown())));
        }
        if kind == Kind::File && written.ends_with(b"/") {
            let kind = "a file with the name of a folder".to_owned();
            return Err(ArchiveError::Kind { name: shown(), kind });
        }
        self.count(size)?;
        let Some(name) = Name::parse(&written)? else {
            return match kind {
                Kind::Folder => Ok(None),
                Kind::File => {
                    let problem = "it is the bundle itself".to_owned();
                    Err(ArchiveError::Name { name: shown(), problem })
                }
            };
        };
        for folder in name.folders() {
            self.names.add(&folder, Kind::Folder)?;
        }
        self.names.add(&name, kind)?;
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(Some(Entry { name, kind, size }))
    }

    fn count(&mut self, size: u64) -> Result<(), ArchiveError> {
        self.entries += 1;
        self.total = self.total.saturating_add(size);
        if self.entries > self.limits.entries {
            let most = self.limits.entries;
            return Err(ArchiveError::TooLarge(format!("more than {most} files and folders")));
        }
        // Far from overflowing when it is padded.
        if self.total > self.limits.bytes {
            return Err(ArchiveError::TooLarge(format!(
                "its files have {} bytes or more, models.max-bytes is {}",
                self.total, self.limits.bytes
            )));
        }
        Ok(())
    }

    fn block(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut block = [0; BLOCK];
        match read_full(&mut self.bytes, &mut block).map_err(|e| failed(&e))? {
            BLOCK => Header::parse(&block),
            0 => Err(truncated("without the blocks that end an archive")),
            _ => Err(truncated("in a header")),
        }
    }

    /// The bytes of a header that is about the next entry.
    fn meta(&mut self, header: &Header) -> Result<Vec<u8>, ArchiveError> {
        if header.size > META_BYTES {
            let size = header.size;
            return Err(ArchiveError::TooLarge(format!("a header has {size} bytes")));
        }
        let padded = header.size.next_multiple_of(BLOCK as u64);
        let mut bytes = vec![0; usize::try_from(padded).expect("at most 64 KiB")];
        let n = read_full(&mut self.bytes, &mut bytes).map_err(|e| failed(&e))?;
        if n < bytes.len() {
            return Err(truncated("in a header"));
        }
        bytes.truncate(usize::try_from(header.size).expect("at most 64 KiB"));
        Ok(bytes)
    }

    /// Passes over what is left of an entry.
    fn skip(&mut self) -> Result<(), ArchiveError> {
        self.left += std::mem::take(&mut self.padding);
        let mut piece = [0; 4096];
        while self.read(&mut piece)? > 0 {}
        Ok(())
    }

    /// Only zeroes may follow; gzip's sum is checked by the way.
    fn end(&mut self) -> Result<(), ArchiveError> {
        let mut piece = [0; 4096];
        let mut tail = 0;
        loop {
            let n = read_full(&mut self.bytes, &mut piece).map_err(|e| failed(&e))?;
            tail += n as u64;
            if n == 0 {
                return Ok(());
            }
            if tail > TAIL_BYTES || piece[..n].iter().any(|&b| b != 0) {
                return Err(ArchiveError::Damaged("something follows its end".into()));
            }
        }
    }
}

fn truncated(place: &str) -> ArchiveError {
    ArchiveError::Damaged(format!("it ends {place}"))
}

fn failed(e: &io::Error) -> ArchiveError {
    let bomb = e.get_ref().and_then(|inner| inner.downcast_ref::<Bomb>());
    match (bomb, e.kind()) {
        (Some(bomb), _) => ArchiveError::TooLarge(bomb.to_string()),
        // What gzip says of what it cannot read.
        (_, io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
            ArchiveError::Damaged(e.to_string())
        }
        (_, io::ErrorKind::UnexpectedEof) => truncated("before gzip's sum"),
        _ => ArchiveError::Read(e.to_string()),
    }
}

/// Reads until the buffer is full or the source ends.
fn read_full(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match source.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}
