//! Why the store does not do what it was asked.

use super::archive::ArchiveError;
use crate::bundle::BundleError;
use crate::bundle::signature::SignatureError;
use std::io;
use std::path::{Path, PathBuf};

/// One closed set of reasons, each with what to do next.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another command holds the folder.
    #[error("{}: another `slmd model` command is at work there; wait for it", path.display())]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// The disk is full.
    #[error(
        "no room to {what} in {}: {need} bytes more are needed; `slmd model remove` removes the model \
         that is not active",
        path.display()
    )]
    NoRoom {
        /// What was to be done.
        what: String,
        /// Where.
        path: PathBuf,
        /// Bytes that are missing, at least.
        need: u64,
    },
    /// The system refused something.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// A later version wrote the state.
    #[error(
        "{} was written by a newer slmd (format {format}, this one reads {ours}); use that one",
        path.display()
    )]
    Newer {
        /// The state's file.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// The format that this version knows.
        ours: u32,
    },
    /// `current` is something else than a link of the store.
    #[error(
        "{} is not a link that slmd made ({found}); move it away, then activate again",
        path.display()
    )]
    ForeignCurrent {
        /// The link's place.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// There is nothing to install at that path.
    #[error("{}: no such file or folder", path.display())]
    NoSource {
        /// The path.
        path: PathBuf,
    },
    /// The archive cannot be taken.
    #[error("{}: {error}", path.display())]
    Archive {
        /// The archive, or the folder.
        path: PathBuf,
        /// Why.
        error: ArchiveError,
    },
    /// Nobody vouches for the files.
    #[error(
        "{source_name} has no slmd.toml, which lists its files and their hashes; `slmd-model seal` or \
         `slmd-model export` writes it"
    )]
    NoManifest {
        /// What was to be installed.
        source_name: String,
    },
    /// A file that the manifest does not list.
    #[error("the manifest does not list {file:?}; remove the file, or list it with its hash")]
    Unlisted {
        /// The file.
        file: String,
    },
    /// The bundle is damaged, or none.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Signed, but not so that it could be believed.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Not signed.
    #[error(
        "the model is not signed (no slmd.toml.minisig), and models.require-signature wants it to be; \
         sign it with `minisign -Sm slmd.toml`"
    )]
    Unsigned,
    /// Older than what was active already.
    #[error(
        "the model's counter is {counter}, and a model of counter {highest} was active here already: \
         it would bring back what that one replaced; root may take it with --allow-downgrade"
    )]
    Downgrade {
        /// The model's.
        counter: u64,
        /// The highest that was ever active.
        highest: u64,
    },
    /// No installed model of that name.
    #[error("no installed model is called {name:?}; {}", there(known))]
    Unknown {
        /// As given.
        name: String,
        /// The slots and names there are.
        known: Vec<String>,
    },
    /// Several are meant.
    #[error("both slots hold a model called {name:?}: say which, `a` or `b`")]
    Ambiguous {
        /// As given.
        name: String,
    },
    /// There is none to go back to.
    #[error("there is no previous model to go back to; `slmd model list` shows what is installed")]
    NoPrevious,
    /// It serves.
    #[error("slot {slot} is active; activate another model first")]
    IsActive {
        /// The slot.
        slot: &'static str,
    },
}

fn there(known: &[String]) -> String {
    match known {
        [] => "none is installed, `slmd model install` does it".to_owned(),
        known => format!("there is {}", known.join(", ")),
    }
}

impl StoreError {
    /// A stable name of the reason, for `--json`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "in_use",
            Self::NoRoom { .. } => "no_room",
            Self::Io { .. } => "io",
            Self::Newer { .. } => "newer",
            Self::ForeignCurrent { .. } => "foreign_current",
            Self::NoSource { .. } => "no_source",
            Self::Archive { error, .. } => error.code(),
            Self::NoManifest { .. } => "no_manifest",
            Self::Unlisted { .. } => "unlisted",
            Self::Bundle(error) => error.code(),
            Self::Signature(SignatureError::UnknownKey { .. }) => "unknown_key",
            Self::Signature(_) => "bad_signature",
            Self::Unsigned => "unsigned",
            Self::Downgrade { .. } => "downgrade",
            Self::Unknown { .. } => "unknown",
            Self::Ambiguous { .. } => "ambiguous",
            Self::NoPrevious => "no_previous",
            Self::IsActive { .. } => "is_active",
        }
    }

    /// Whether it says something about the model, which is worth remembering.
    pub const fn is_about_the_model(&self) -> bool {
        matches!(
            self,
            Self::Archive { .. }
                | Self::NoManifest { .. }
                | Self::Unlisted { .. }
                | Self::Bundle(_)
                | Self::Signature(_)
                | Self::Unsigned
                | Self::Downgrade { .. }
        )
    }

    /// Of an operation on a path.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoRoom { what: what.to_owned(), path, need: 1 }
            }
            _ => Self::Io { what, path, source },
        }
    }
}
