//! Archives of bundles, read as streams: which files they hold, and nothing else of what tar can say.
//!
//! Whoever made the archive is not trusted: names are held against rules, sizes against limits, before
//! anything is written, and every other kind of entry than files and folders is refused by name. What
//! the files are for is not known here, nor where they go.

mod entries;
mod header;
mod name;
mod pax;
mod squeeze;

pub use entries::{Archive, Entry, Kind};
pub use name::{Name, Names};

/// The most that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files and folders.
    pub entries: usize,
    /// Bytes of all files, unpacked.
    pub bytes: u64,
    /// Bytes that come out of one compressed byte, on the whole.
    pub expansion: u64,
}

impl Limits {
    /// Of a bundle of at most so many bytes.
    pub const fn of(bytes: u64) -> Self {
        // Text compresses to a tenth; deflate makes a thousand bytes of one where nothing is said.
        Self { entries: 4096, bytes, expansion: 100 }
    }
}

/// Why an archive is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// It ends in the middle, or a piece of it was changed.
    #[error("damaged, or not whole: {0}")]
    Damaged(String),
    /// Neither tar nor tar in gzip.
    #[error("not an archive that slmd unpacks: {0}; take .tar or .tar.gz")]
    Format(String),
    /// Another kind of entry than a file or a folder.
    #[error("{name:?} is {kind}; a bundle has files and folders only")]
    Kind {
        /// The entry.
        name: String,
        /// What it is.
        kind: String,
    },
    /// A name that is not taken.
    #[error("the name {name:?} is not taken: {problem}")]
    Name {
        /// The name.
        name: String,
        /// Why.
        problem: String,
    },
    /// More than the limits allow.
    #[error("too large: {0}")]
    TooLarge(String),
    /// A file could not be read.
    #[error("{0}")]
    Read(String),
}

impl ArchiveError {
    /// A stable name of the reason, for `--json`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Damaged(_) => "archive_damaged",
            Self::Format(_) => "archive_format",
            Self::Kind { .. } => "archive_entry",
            Self::Name { .. } => "archive_name",
            Self::TooLarge(_) => "archive_too_large",
            Self::Read(_) => "archive_unreadable",
        }
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
pub(super) mod tests;
