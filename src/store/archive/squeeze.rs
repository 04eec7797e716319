//! What an archive's bytes come through: counted as they are read, decompressed, and held against the
//! limits as they come out.

use flate2::read::MultiGzDecoder;
use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// So much may come out whatever went in: the beginning of an archive is names and zeroes.
const GRACE_BYTES: u64 = 4 << 20;

/// Counts what is read of the file.
struct Counted<R> {
    inner: R,
    count: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.set(self.count.get() + n as u64);
        Ok(n)
    }
}

/// The bytes of a tar, wherever they come from.
pub struct Bytes<R: Read> {
    source: Source<R>,
    taken: Rc<Cell<u64>>,
    given: u64,
    expansion: u64,
}

enum Source<R: Read> {
    Plain(Counted<R>),
    Gzip(Box<MultiGzDecoder<Counted<R>>>),
}

/// The error that is given when too much comes out of too little.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("it unpacks to more than {0} times its size")]
pub struct Bomb(pub u64);

impl<R: Read> Bytes<R> {
    /// Of a file that is compressed with gzip, or not.
    pub fn new(inner: R, is_gzip: bool, expansion: u64) -> Self {
        let taken = Rc::new(Cell::new(0));
        let counted = Counted { inner, count: Rc::clone(&taken) };
        let source = match is_gzip {
            true => Source::Gzip(Box::new(MultiGzDecoder::new(counted))),
            false => Source::Plain(counted),
        };
        Self { source, taken, given: 0, expansion }
    }

    /// Bytes that were read of the file.
    pub fn taken(&self) -> u64 {
        self.taken.get()
    }
}

impl<R: Read> Read for Bytes<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match &mut self.source {
            Source::Plain(source) => source.read(buffer)?,
            Source::Gzip(source) => source.read(buffer)?,
        };
        self.given += n as u64;
        let most = self.taken.get().saturating_mul(self.expansion).saturating_add(GRACE_BYTES);
        match self.given > most {
            true => Err(io::Error::other(Bomb(self.expansion))),
            false => Ok(n),
        }
    }
}
