//! What is to be installed, a folder or an archive, as the same stream of names and bytes.

use super::archive::{Archive, ArchiveError, Kind, Limits, Name, Names};
use super::error::StoreError;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Gives the next bytes of a file; 0 at its end.
pub(super) type Pull<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize, StoreError>;

/// Takes what a source has.
pub(super) trait Sink {
    /// A folder; those above it were given, or are implied.
    fn folder(&mut self, name: &Name) -> Result<(), StoreError>;
    /// A file of so many bytes, as far as is known before it is read.
    fn file(&mut self, name: &Name, bytes: u64, pull: Pull<'_>) -> Result<(), StoreError>;
}

/// A folder or an archive.
pub(super) enum Source {
    Folder(PathBuf),
    Archive(PathBuf, Box<Archive<File>>),
}

impl Source {
    /// # Errors
    /// If there is nothing, or nothing that can be read.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, StoreError> {
        let meta = match path.metadata() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::NoSource { path: path.to_owned() });
            }
            meta => meta.map_err(StoreError::io("read", path))?,
        };
        if meta.is_dir() {
            return Ok(Self::Folder(path.to_owned()));
        }
        let fault = |error| StoreError::Archive { path: path.to_owned(), error };
        if !meta.is_file() {
            return Err(fault(ArchiveError::Format("it is no regular file".into())));
        }
        let file = File::open(path).map_err(StoreError::io("read", path))?;
        let archive = Archive::open(file, limits).map_err(fault)?;
        Ok(Self::Archive(path.to_owned(), Box::new(archive)))
    }

    /// Gives everything to the sink, to the end.
    ///
    /// # Errors
    /// The first fault of the source, or of the sink.
    pub fn drain(self, limits: Limits, sink: &mut dyn Sink) -> Result<(), StoreError> {
        match self {
            Self::Folder(path) => Walk { top: &path, limits, sink, count: 0, bytes: 0 }.run(),
            Self::Archive(path, archive) => drain(&path, *archive, sink),
        }
    }
}

fn drain(path: &Path, mut archive: Archive<File>, sink: &mut dyn Sink) -> Result<(), StoreError> {
    let fault = |error| StoreError::Archive { path: path.to_owned(), error };
    while let Some(entry) = archive.next_entry().map_err(fault)? {
        match entry.kind {
            Kind::Folder => sink.folder(&entry.name)?,
            Kind::File => {
                let mut pull = |buffer: &mut [u8]| archive.read(buffer).map_err(fault);
                sink.file(&entry.name, entry.size, &mut pull)?;
            }
        }
    }
    Ok(())
}

/// A folder, gone through in the order of names; links are not followed.
struct Walk<'a> {
    top: &'a Path,
    limits: Limits,
    sink: &'a mut dyn Sink,
    count: usize,
    bytes: u64,
}

impl Walk<'_> {
    fn run(mut self) -> Result<(), StoreError> {
        self.folder(self.top.to_owned(), "", &mut Names::default())
    }

    fn fault(&self, error: ArchiveError) -> StoreError {
        StoreError::Archive { path: self.top.to_owned(), error }
    }

    fn folder(&mut self, path: PathBuf, prefix: &str, names: &mut Names) -> Result<(), StoreError> {
        let mut inside: Vec<_> = std::fs::read_dir(&path)
            .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
            .map_err(StoreError::io("read", &path))?
            .into_iter()
            .map(|entry| entry.file_name())
            .collect();
        inside.sort();
        for part in inside {
            let written = [prefix.as_bytes(), part.as_encoded_bytes()].concat();
            let name = Name::parse(&written).map_err(|e| self.fault(e))?;
            let name = name.expect("a folder does not list itself");
            let path = path.join(&part);
            let meta = path.symlink_metadata().map_err(StoreError::io("read", &path))?;
            let kind = match meta.file_type() {
                t if t.is_dir() => Kind::Folder,
                t if t.is_file() => Kind::File,
                t => {
                    let link = "a link: copy the file itself, for instance with `cp -rL`";
                    let kind = if t.is_symlink() { link } else { "no regular file" };
                    let name = name.as_str().to_owned();
                    return Err(self.fault(ArchiveError::Kind { name, kind: kind.to_owned() }));
                }
            };
            names.add(&name, kind).map_err(|e| self.fault(e))?;
            self.count(meta.len(), kind)?;
            match kind {
                Kind::Folder => {
                    self.sink.folder(&name)?;
                    self.folder(path, &format!("{}/", name.as_str()), names)?;
                }
                Kind::File => self.file(&path, &name, meta.len())?,
            }
        }
        Ok(())
    }

    fn count(&mut self, bytes: u64, kind: Kind) -> Result<(), StoreError> {
        self.count += 1;
        if kind == Kind::File {
            self.bytes = self.bytes.saturating_add(bytes);
        }
        let Limits { entries, bytes: most, .. } = self.limits;
        let too_large = |text: String| Err(self.fault(ArchiveError::TooLarge(text)));
        match () {
            () if self.count > entries => {
                too_large(format!("more than {entries} files and folders"))
            }
            () if self.bytes > most => too_large(format!(
                "its files have {} bytes or more, models.max-bytes is {most}",
                self.bytes
            )),
            () => Ok(()),
        }
    }

    fn file(&mut self, path: &Path, name: &Name, bytes: u64) -> Result<(), StoreError> {
        // It may have become a link or a pipe since it was looked at.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(flags).open(path);
        let file = file.map_err(StoreError::io("read", path))?;
        // Nor may it grow without end.
        let mut file = file.take(bytes);
        let mut pull = |buffer: &mut [u8]| file.read(buffer).map_err(StoreError::io("read", path));
        self.sink.file(name, bytes, &mut pull)
    }
}
