//! A disk for tests: the real one in a folder of its own, until it is full, or the process is killed, or
//! the power goes. What was not synced may then be lost, name by name and file by file; syncing takes no
//! time, for what it does is only noted.

use super::disk::{Disk, RealDisk};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// What goes wrong, at the operation of this number; they are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It and all after it do not happen: the process was killed.
    Killed(u64),
    /// It and all after it that need room fail.
    Full(u64),
    /// It alone fails.
    Broken(u64),
}

type Id = usize;

#[derive(Clone)]
enum Node {
    Folder { seen: BTreeMap<String, Id>, durable: BTreeMap<String, Id> },
    File { seen: Vec<u8>, durable: Vec<u8> },
    Link(PathBuf),
}

impl Node {
    fn folder() -> Self {
        Self::Folder { seen: BTreeMap::new(), durable: BTreeMap::new() }
    }
}

struct Inner {
    root: PathBuf,
    nodes: Vec<Node>,
    fault: Fault,
    operations: u64,
    free_bytes: Option<u64>,
    is_lying: bool,
}

/// The disk; clones are the same one.
#[derive(Clone)]
pub struct FaultDisk(Arc<Mutex<Inner>>);

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl Inner {
    /// Counts an operation, and says whether it fails.
    fn operate(&mut self, needs_room: bool) -> io::Result<()> {
        self.operations += 1;
        let now = self.operations;
        match self.fault {
            Fault::Killed(at) if now >= at => Err(errno(libc::EIO)),
            Fault::Full(at) if now >= at && needs_room => Err(errno(libc::ENOSPC)),
            Fault::Broken(at) if now == at => Err(errno(libc::EIO)),
            _ => Ok(()),
        }
    }

    fn id(&self, path: &Path) -> Option<Id> {
        let inside = path.strip_prefix(&self.root).expect("inside the test's folder");
        inside.iter().try_fold(0, |id, part| match &self.nodes[id] {
            Node::Folder { seen, .. } => seen.get(part.to_str()?).copied(),
            _ => None,
        })
    }

    fn names(&mut self, path: &Path) -> &mut BTreeMap<String, Id> {
        let parent = self.id(path.parent().expect("inside")).expect("its folder is there");
        match &mut self.nodes[parent] {
            Node::Folder { seen, .. } => seen,
            _ => panic!("not a folder"),
        }
    }

    fn add(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        self.set(path, id);
    }

    fn set(&mut self, path: &Path, id: Id) {
        let name = name(path);
        self.names(path).insert(name, id);
    }

    fn unset(&mut self, path: &Path) -> Option<Id> {
        let name = name(path);
        self.names(path).remove(&name)
    }

    /// What is in a folder already.
    fn load(&mut self, path: &Path, id: Id) {
        for entry in std::fs::read_dir(path).unwrap().flatten() {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            let node = match (kind.is_dir(), kind.is_symlink()) {
                (true, _) => Node::folder(),
                (_, true) => Node::Link(std::fs::read_link(&path).unwrap()),
                _ => {
                    let seen = std::fs::read(&path).unwrap();
                    Node::File { durable: seen.clone(), seen }
                }
            };
            self.nodes.push(node);
            let new = self.nodes.len() - 1;
            if let Node::Folder { seen, durable } = &mut self.nodes[id] {
                seen.insert(name(&path), new);
                durable.insert(name(&path), new);
            }
            if kind.is_dir() {
                self.load(&path, new);
            }
        }
    }

    /// Writes what is left of a node after a power loss.
    fn salvage(&self, id: Id, to: &Path, random: &mut dyn FnMut() -> u64) {
        match &self.nodes[id] {
            Node::Link(text) => std::os::unix::fs::symlink(text, to).unwrap(),
            Node::File { seen, durable } => {
                let bytes = match random() % 3 {
                    0 => seen.clone(),
                    1 => durable.clone(),
                    // The length is there, the bytes are not.
                    _ => {
                        let mut torn = seen.clone();
                        torn.iter_mut().skip(durable.len()).for_each(|byte| *byte = 0);
                        torn
                    }
                };
                std::fs::write(to, bytes).unwrap();
            }
            Node::Folder { seen, durable } => {
                std::fs::create_dir(to).unwrap();
                let names: std::collections::BTreeSet<_> =
                    seen.keys().chain(durable.keys()).collect();
                for name in names {
                    let kept = if random().is_multiple_of(2) { seen } else { durable };
                    if let Some(id) = kept.get(name) {
                        self.salvage(*id, &to.join(name), random);
                    }
                }
            }
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_str().expect("plain").to_owned()
}

impl FaultDisk {
    /// For the folder `root`, which is there and durable with all that is in it.
    pub fn new(root: &Path) -> Self {
        let nodes = vec![Node::folder()];
        let root = root.to_owned();
        let (fault, free_bytes) = (Fault::None, None);
        let mut inner = Inner { root, nodes, fault, operations: 0, free_bytes, is_lying: false };
        inner.load(&inner.root.clone(), 0);
        Self(Arc::new(Mutex::new(inner)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// From now on this goes wrong; operations are counted anew.
    pub fn set(&self, fault: Fault) {
        let mut inner = self.lock();
        (inner.fault, inner.operations) = (fault, 0);
    }

    /// From now on the disk says that so much is free.
    pub fn set_free(&self, bytes: Option<u64>) {
        self.lock().free_bytes = bytes;
    }

    /// From now on it only says that it has synced.
    pub fn lie(&self) {
        self.lock().is_lying = true;
    }

    /// Operations since the fault was set.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// What a power loss now leaves, in the new folder `to`; `random` chooses.
    pub fn after_power_loss(&self, to: &Path, random: &mut dyn FnMut() -> u64) {
        self.lock().salvage(0, to, random);
    }
}

impl Disk for FaultDisk {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.operate(true)?;
        RealDisk.make_folder(path)?;
        inner.add(path, Node::folder());
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let mut inner = self.lock();
        inner.operate(true)?;
        let file = RealDisk.create(path)?;
        inner.add(path, Node::File { seen: Vec::new(), durable: Vec::new() });
        Ok(file)
    }

    fn write(&self, file: &mut File, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.lock();
        let done = inner.operate(true);
        let is_last = match inner.fault {
            Fault::Killed(at) | Fault::Full(at) => inner.operations == at,
            _ => false,
        };
        // The one that fails has written a part.
        let written = match (&done, is_last) {
            (Ok(()), _) => bytes,
            (Err(_), true) => &bytes[..bytes.len() / 2],
            (Err(_), false) => &[],
        };
        RealDisk.write(file, path, written)?;
        let id = inner.id(path).expect("created");
        if let Node::File { seen, .. } = &mut inner.nodes[id] {
            seen.extend_from_slice(written);
        }
        done
    }

    fn sync(&self, _file: &File, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.operate(false)?;
        let id = inner.id(path).expect("created");
        if inner.is_lying {
            return Ok(());
        }
        if let Node::File { seen, durable } = &mut inner.nodes[id] {
            durable.clone_from(seen);
        }
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.operate(false)?;
        let id = inner.id(path).expect("there");
        if inner.is_lying {
            return Ok(());
        }
        if let Node::Folder { seen, durable } = &mut inner.nodes[id] {
            durable.clone_from(seen);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.operate(true)?;
        RealDisk.rename(from, to)?;
        let id = inner.unset(from).expect("there");
        inner.set(to, id);
        Ok(())
    }

    fn link(&self, text: &Path, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.operate(true)?;
        RealDisk.link(text, path)?;
        inner.add(path, Node::Link(text.to_owned()));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.operate(false)?;
        RealDisk.remove_file(path)?;
        inner.unset(path);
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.operate(false)?;
        RealDisk.remove_folder(path)?;
        inner.unset(path);
        Ok(())
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        match self.lock().free_bytes {
            Some(bytes) => Ok(bytes),
            None => RealDisk.free_bytes(path),
        }
    }
}
