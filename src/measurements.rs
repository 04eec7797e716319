//! What was measured on this machine, remembered between starts: a small file for each [`Key`].
//!
//! Knows nothing of what the figures mean. A file that is torn, of another version or of another key
//! is as good as none: what it would have said is measured again.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The form of the files; another one is not read.
const VERSION: u32 = 1;
/// The most bytes of a file.
const FILE_LIMIT: u64 = 1 << 20;
/// Files that are kept; the oldest go first.
const FILES_KEPT: usize = 32;
/// How the files' names begin.
const PREFIX: &str = "measured-";

/// What a figure depends on: if one of these differs, it is another figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// SHA-256 of the model, in hex.
    pub model: String,
    /// The engine.
    pub engine: String,
    /// The version of the library behind it.
    pub library: String,
    /// The CPU's name, and the instructions that our kernels use.
    pub cpu: String,
    /// The board's profile.
    pub board: String,
    /// Threads of one step.
    pub threads: usize,
    /// KV slots.
    pub slots: u16,
    /// Positions of a slot.
    pub context_tokens: u32,
    /// The most tokens of one step.
    pub max_chunk: u32,
    /// The element type of the KV cache.
    pub kv: String,
}

/// The figures of one key.
#[derive(Debug, Clone)]
pub struct Measurements {
    folder: PathBuf,
    key: Key,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    slmd: String,
    key: Key,
    figures: Map<String, Value>,
}

impl Measurements {
    /// The figures of `key` in `folder`, which need not exist yet.
    pub fn new(folder: &Path, key: Key) -> Self {
        Self { folder: folder.to_owned(), key }
    }

    /// What was [`put`](Self::put) last under that name, if it is of this type.
    pub fn get<T: DeserializeOwned>(&self, what: &str) -> Option<T> {
        serde_json::from_value(self.read()?.figures.remove(what)?).ok()
    }

    /// Remembers `value`. The file is replaced as a whole.
    ///
    /// # Errors
    /// The system's: nothing depends on a figure being remembered, so a warning is enough.
    pub fn put<T: Serialize>(&self, what: &str, value: &T) -> io::Result<()> {
        let mut file = self.read().unwrap_or_else(|| File {
            version: VERSION,
            slmd: build(),
            key: self.key.clone(),
            figures: Map::new(),
        });
        file.figures.insert(what.to_owned(), serde_json::to_value(value)?);
        std::fs::create_dir_all(&self.folder)?;
        let passing = self.folder.join(format!("{}.{}", self.name(), std::process::id()));
        let written = std::fs::write(&passing, serde_json::to_vec_pretty(&file)?)
            .and_then(|()| std::fs::rename(&passing, self.path()));
        if written.is_err() {
            // What is half written would never be read.
            let _ = std::fs::remove_file(&passing);
        }
        self.forget_the_oldest();
        written
    }

    fn name(&self) -> String {
        let key = serde_json::to_vec(&self.key).expect("strings and numbers");
        let digest = Sha256::digest(&key);
        let hex: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        format!("{PREFIX}{hex}")
    }

    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.name()))
    }

    fn read(&self) -> Option<File> {
        let path = self.path();
        path.metadata().ok().filter(|m| m.is_file() && m.len() <= FILE_LIMIT)?;
        let file: File = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        let ours = file.version == VERSION && file.slmd == build() && file.key == self.key;
        ours.then_some(file)
    }

    /// Every configuration that was ever tried leaves a file.
    fn forget_the_oldest(&self) {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut ours: Vec<(SystemTime, PathBuf)> = entries
            .filter(|e| e.file_name().to_string_lossy().starts_with(PREFIX))
            .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
            .collect();
        ours.sort();
        let too_many = ours.len().saturating_sub(FILES_KEPT);
        for (_, path) in &ours[..too_many] {
            // Another process may have been faster.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Which build of slmd this is: another one holds another code.
fn build() -> String {
    let bytes = std::env::current_exe().and_then(|exe| exe.metadata()).map_or(0, |m| m.len());
    format!("{} of {bytes} bytes", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(context_tokens: u32) -> Key {
        Key {
            model: "ab".into(),
            engine: "tract".into(),
            library: "1".into(),
            cpu: "x".into(),
            board: "generic".into(),
            threads: 2,
            slots: 2,
            context_tokens,
            max_chunk: 128,
            kv: "f32".into(),
        }
    }

    #[test]
    fn figures_are_remembered_by_key_and_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let inside = folder.path().join("deeper");
        let (here, there) =
            (Measurements::new(&inside, key(1)), Measurements::new(&inside, key(2)));
        assert_eq!(here.get::<u32>("a"), None);
        here.put("a", &7u32).expect("written");
        here.put("b", &vec![1.5f64]).expect("written");
        here.put("a", &8u32).expect("written");
        assert_eq!((here.get("a"), here.get("b")), (Some(8u32), Some(vec![1.5f64])));
        assert_eq!(here.get::<String>("a"), None, "of another type");
        assert_eq!(there.get::<u32>("a"), None, "of another key");
        assert_eq!(std::fs::read_dir(&inside).expect("there").count(), 1, "nothing is left behind");
    }

    #[test]
    fn torn_and_foreign_files_are_as_good_as_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let (here, there) =
            (Measurements::new(folder.path(), key(1)), Measurements::new(folder.path(), key(2)));
        here.put("a", &7u32).expect("written");
        let whole = std::fs::read(here.path()).expect("readable");
        std::fs::write(there.path(), &whole).expect("writable");
        assert_eq!(there.get::<u32>("a"), None, "the key inside is another one");
        let later = String::from_utf8(whole.clone()).expect("text");
        let later = later.replace("\"version\": 1", "\"version\": 2");
        for bytes in [&whole[..0], &whole[..whole.len() / 2], later.as_bytes()] {
            std::fs::write(here.path(), bytes).expect("writable");
            assert_eq!(here.get::<u32>("a"), None);
        }
        here.put("a", &9u32).expect("written over it");
        assert_eq!(here.get("a"), Some(9u32));
        let blocked = Measurements::new(&here.path().join("no-folder"), key(1));
        assert!(blocked.put("a", &1u32).is_err() && blocked.get::<u32>("a").is_none());
    }

    #[test]
    fn only_so_many_files_are_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        for context in 0..2 * FILES_KEPT as u32 {
            Measurements::new(folder.path(), key(context)).put("a", &context).expect("written");
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), FILES_KEPT);
    }
}
