//! A disk for tests: in memory, and as unkind as the real ones. What was not synced may be lost in
//! any order, torn at sectors; errors come when told to.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::disk::{Disk, DiskFile};

const SECTOR_BYTES: usize = 512;

/// What is to go wrong; counts are of operations that change something.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The power goes when so many operations were done.
    pub die_after: Option<u64>,
    /// The disk is full when files have so many bytes in all.
    pub capacity_bytes: Option<u64>,
    /// These operations fail (EIO); a sync that fails loses what it was to sync.
    pub failing: Vec<u64>,
    /// Writes take at most so many bytes at once.
    pub write_bytes: Option<usize>,
    /// The directory cannot be synced.
    pub names_fail: bool,
    /// Every sync takes so long.
    pub sync_takes: Duration,
    /// Offsets where reading fails, in files that are there already.
    pub unreadable: Option<(u64, u64)>,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Clone)]
enum NameChange {
    Set(String, u64),
    Rename(String, String),
    Remove(String),
}

#[derive(Default, Clone)]
struct Content {
    /// What reading shows.
    seen: Vec<u8>,
    /// What is on the medium.
    durable: Vec<u8>,
    /// What is between the two.
    pending: Vec<Change>,
}

#[derive(Default)]
struct Inner {
    contents: BTreeMap<u64, Content>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    pending_names: Vec<NameChange>,
    next_inode: u64,
    operations: u64,
    faults: Faults,
    /// The last file that was there when the faults were set.
    last_old_inode: u64,
    is_dead: bool,
}

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub struct FaultDisk(Arc<Mutex<Inner>>);

struct FaultFile {
    disk: FaultDisk,
    inode: u64,
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::SetLen(len) => bytes.resize(*len as usize, 0),
        Change::Write(at, data) => {
            let end = *at as usize + data.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*at as usize..end].copy_from_slice(data);
        }
    }
}

fn apply_name(names: &mut BTreeMap<String, u64>, change: &NameChange) {
    match change {
        NameChange::Set(name, inode) => drop(names.insert(name.clone(), *inode)),
        NameChange::Remove(name) => drop(names.remove(name)),
        NameChange::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

fn io_error() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

impl Inner {
    /// Counts an operation; fails if it is one that is to fail.
    fn operate(&mut self) -> io::Result<()> {
        if self.faults.die_after.is_some_and(|after| self.operations >= after) {
            self.is_dead = true;
        }
        if self.is_dead {
            return Err(io_error());
        }
        self.operations += 1;
        if self.faults.failing.contains(&self.operations) { Err(io_error()) } else { Ok(()) }
    }

    fn rename_one(&mut self, change: NameChange) {
        apply_name(&mut self.names, &change);
        self.pending_names.push(change);
    }

    fn used_bytes(&self) -> u64 {
        self.names.values().map(|inode| self.contents[inode].seen.len() as u64).sum()
    }
}

impl FaultDisk {
    /// A disk with these files, all durable.
    pub fn with(files: &[(&str, &[u8])]) -> Self {
        let disk = Self::default();
        for (name, bytes) in files {
            let mut inner = disk.lock();
            inner.next_inode += 1;
            let inode = inner.next_inode;
            let content =
                Content { seen: bytes.to_vec(), durable: bytes.to_vec(), pending: Vec::new() };
            inner.contents.insert(inode, content);
            inner.names.insert((*name).to_owned(), inode);
            inner.durable_names.insert((*name).to_owned(), inode);
        }
        disk
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// From now on this goes wrong; operations are counted anew.
    pub fn set_faults(&self, faults: Faults) {
        let mut inner = self.lock();
        inner.faults = faults;
        inner.operations = 0;
        inner.last_old_inode = inner.next_inode;
    }

    /// What is there to be seen.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let inner = self.lock();
        inner.names.iter().map(|(n, i)| (n.clone(), inner.contents[i].seen.clone())).collect()
    }

    /// The segment files' names and bytes.
    pub fn segments(&self) -> Vec<(String, Vec<u8>)> {
        self.files().into_iter().filter(|(name, _)| name.ends_with(".seg")).collect()
    }

    /// Nothing gets onto this disk from now on.
    pub fn kill(&self) {
        self.lock().is_dead = true;
    }

    /// What a power loss now leaves behind; `random` chooses.
    pub fn after_power_loss(&self, random: &mut impl FnMut() -> u64) -> Self {
        let inner = self.lock();
        let mut names = inner.durable_names.clone();
        // Changes of names reach the medium in their order, but not all of them.
        let kept = random() as usize % (inner.pending_names.len() + 1);
        inner.pending_names[..kept].iter().for_each(|change| apply_name(&mut names, change));
        let mut contents = inner.contents.clone();
        for content in contents.values_mut() {
            let mut bytes = content.durable.clone();
            for change in &content.pending {
                match change {
                    Change::SetLen(_) if random().is_multiple_of(2) => {}
                    Change::SetLen(_) => apply(&mut bytes, change),
                    Change::Write(at, data) => tear(&mut bytes, *at, data, random),
                }
            }
            *content = Content { seen: bytes.clone(), durable: bytes, pending: Vec::new() };
        }
        let next_inode = inner.next_inode;
        let durable_names = names.clone();
        let inner = Inner { contents, names, durable_names, next_inode, ..Inner::default() };
        Self(Arc::new(Mutex::new(inner)))
    }
}

/// Some sectors of a write, chosen one by one; now and then all of them, or none.
fn tear(bytes: &mut Vec<u8>, at: u64, data: &[u8], random: &mut impl FnMut() -> u64) {
    let mood = random() % 4;
    let mut from = 0;
    while from < data.len() {
        let sector = SECTOR_BYTES - (at as usize + from) % SECTOR_BYTES;
        let to = data.len().min(from + sector);
        let written = match mood {
            0 => true,
            1 => false,
            _ => random().is_multiple_of(2),
        };
        if written {
            apply(bytes, &Change::Write(at + from as u64, data[from..to].to_vec()));
        }
        from = to;
    }
}

impl Disk for FaultDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.lock();
        inner.operate()?;
        inner.next_inode += 1;
        let inode = inner.next_inode;
        inner.contents.insert(inode, Content::default());
        inner.rename_one(NameChange::Set(name.to_owned(), inode));
        Ok(Arc::new(FaultFile { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inode = *self.lock().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FaultFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        // A failing rename may have been done all the same.
        let done = inner.operate();
        if (done.is_ok() || inner.operations.is_multiple_of(2)) && !inner.is_dead {
            inner.rename_one(NameChange::Rename(from.to_owned(), to.to_owned()));
        }
        done
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.operate()?;
        if !inner.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        inner.rename_one(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.operate()?;
        if inner.faults.names_fail {
            return Err(io_error());
        }
        inner.durable_names = inner.names.clone();
        inner.pending_names.clear();
        Ok(())
    }
}

impl DiskFile for FaultFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let inner = self.disk.lock();
        if let Some((from, to)) = inner.faults.unreadable
            && self.inode <= inner.last_old_inode
            && at < to
            && at + buffer.len() as u64 > from
        {
            return Err(io_error());
        }
        let seen = &inner.contents[&self.inode].seen;
        let from = seen.len().min(at as usize);
        let n = buffer.len().min(seen.len() - from);
        buffer[..n].copy_from_slice(&seen[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let mut inner = self.disk.lock();
        inner.operate()?;
        let mut n = bytes.len().min(inner.faults.write_bytes.unwrap_or(usize::MAX));
        if let Some(capacity) = inner.faults.capacity_bytes {
            let len = inner.contents[&self.inode].seen.len() as u64;
            let room = capacity.saturating_sub(inner.used_bytes());
            n = n.min((len + room).saturating_sub(at) as usize);
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let change = Change::Write(at, bytes[..n].to_vec());
        let content = inner.contents.get_mut(&self.inode).unwrap();
        apply(&mut content.seen, &change);
        content.pending.push(change);
        Ok(n)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut inner = self.disk.lock();
        inner.operate()?;
        let content = inner.contents.get_mut(&self.inode).unwrap();
        apply(&mut content.seen, &Change::SetLen(bytes));
        content.pending.push(Change::SetLen(bytes));
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.lock().contents[&self.inode].seen.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let takes = self.disk.lock().faults.sync_takes;
        std::thread::sleep(takes);
        let mut inner = self.disk.lock();
        let done = inner.operate();
        if inner.is_dead {
            return done;
        }
        let content = inner.contents.get_mut(&self.inode).unwrap();
        let pending = std::mem::take(&mut content.pending);
        if done.is_ok() {
            pending.iter().for_each(|change| apply(&mut content.durable, change));
        }
        done
    }
}
