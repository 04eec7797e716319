//! Writes what a source has into an empty folder, durably, and hashes it by the way; or only hashes it.

use super::archive::Name;
use super::disk::Disk;
use super::error::StoreError;
use super::source::{Pull, Sink};
use crate::bundle::files::hex;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

/// Read, hashed and written at once.
const PIECE_BYTES: usize = 256 << 10;
/// Left free on the disk, whatever is installed.
const RESERVE_BYTES: u64 = 16 << 20;
/// How often progress is told.
const TOLD_BYTES: u64 = 16 << 20;

/// Hears what is being done, in words.
pub type Progress<'a> = &'a dyn Fn(&str);

/// A file's hash, in lower-case hex, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub sha256: String,
    pub bytes: u64,
}

/// All files by their names.
pub(super) type Contents = BTreeMap<String, Found>;

/// Where the files go, if anywhere.
pub(super) struct Unpacker<'a> {
    to: Option<(&'a dyn Disk, &'a Path)>,
    what: &'static str,
    progress: Progress<'a>,
    folders: BTreeSet<Name>,
    contents: Contents,
    done_bytes: u64,
    told_bytes: u64,
}

impl<'a> Unpacker<'a> {
    /// Into the folder `root`, which is empty.
    pub fn into_folder(disk: &'a dyn Disk, root: &'a Path, progress: Progress<'a>) -> Self {
        Self::new(Some((disk, root)), "copying", progress)
    }

    /// Only hashed.
    pub fn nowhere(progress: Progress<'a>) -> Self {
        Self::new(None, "checking", progress)
    }

    fn new(
        to: Option<(&'a dyn Disk, &'a Path)>,
        what: &'static str,
        progress: Progress<'a>,
    ) -> Self {
        let (folders, contents) = (BTreeSet::new(), Contents::new());
        Self { to, what, progress, folders, contents, done_bytes: 0, told_bytes: 0 }
    }

    /// Makes the names durable, as the bytes are already; what there is.
    pub fn finish(self) -> Result<Contents, StoreError> {
        if let Some((disk, root)) = self.to {
            // Those below come behind those above.
            let folders = self.folders.iter().rev().map(|name| name.under(root));
            for folder in folders.chain([root.to_owned()]) {
                disk.sync_folder(&folder).map_err(StoreError::io("sync", &folder))?;
            }
        }
        Ok(self.contents)
    }

    fn tell(&mut self, name: &Name, bytes: u64) {
        self.done_bytes += bytes;
        if bytes == 0 || self.done_bytes >= self.told_bytes + TOLD_BYTES {
            self.told_bytes = self.done_bytes;
            let mib = self.done_bytes >> 20;
            (self.progress)(&format!("{} {}, {mib} MiB so far", self.what, name.as_str()));
        }
    }

    /// A file at `name`, open for writing.
    fn create(&mut self, name: &Name, bytes: u64) -> Result<Option<File>, StoreError> {
        let Some((disk, root)) = self.to else { return Ok(None) };
        let free = disk.free_bytes(root).map_err(StoreError::io("look at", root))?;
        let need = bytes.saturating_add(RESERVE_BYTES);
        if free < need {
            let what = format!("unpack {:?}", name.as_str());
            return Err(StoreError::NoRoom { what, path: root.to_owned(), need: need - free });
        }
        let path = name.under(root);
        let file = disk.create(&path).map_err(StoreError::io("create", &path))?;
        Ok(Some(file))
    }
}

impl Sink for Unpacker<'_> {
    fn folder(&mut self, name: &Name) -> Result<(), StoreError> {
        let Some((disk, root)) = self.to else { return Ok(()) };
        for folder in name.folders().chain([name.clone()]) {
            if !self.folders.contains(&folder) {
                let path = folder.under(root);
                disk.make_folder(&path).map_err(StoreError::io("create", &path))?;
                self.folders.insert(folder);
            }
        }
        Ok(())
    }

    fn file(&mut self, name: &Name, bytes: u64, pull: Pull<'_>) -> Result<(), StoreError> {
        if let Some(folder) = name.folders().last() {
            self.folder(&folder)?;
        }
        self.tell(name, 0);
        let mut file = self.create(name, bytes)?;
        let (mut hash, mut found) = (Sha256::new(), 0u64);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let n = pull(&mut piece)?;
            if n == 0 {
                break;
            }
            hash.update(&piece[..n]);
            if let (Some((disk, root)), Some(file)) = (self.to, &mut file) {
                let path = name.under(root);
                disk.write(file, &path, &piece[..n]).map_err(StoreError::io("write", &path))?;
            }
            found += n as u64;
            self.tell(name, n as u64);
        }
        if let (Some((disk, root)), Some(file)) = (self.to, &file) {
            let path = name.under(root);
            disk.sync(file, &path).map_err(StoreError::io("sync", &path))?;
        }
        let found = Found { sha256: hex(&hash.finalize()), bytes: found };
        self.contents.insert(name.as_str().to_owned(), found);
        Ok(())
    }
}
