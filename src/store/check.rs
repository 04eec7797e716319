//! Whether a folder is a bundle that may be installed here: all of it listed, nothing changed, signed
//! by whom it must be, and not older than what was active.

use super::archive::Limits;
use super::error::StoreError;
use super::source::Source;
use super::state::{Installed, SignedBy};
use super::unpack::{Contents, Progress, Unpacker};
use crate::bundle::files::{CONFIG_LIMIT, read_file};
use crate::bundle::signature::{self, Key, SIGNATURE, SIGNATURE_LIMIT};
use crate::bundle::{BundleError, MANIFEST, Manifest};
use std::path::Path;

/// Which models are taken.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Whose signatures count.
    pub keys: Vec<Key>,
    /// Whether unsigned ones are refused.
    pub require_signature: bool,
    /// The most bytes of one.
    pub max_bytes: u64,
    /// Whether a lower counter than the highest so far is taken.
    pub allow_downgrade: bool,
}

impl Policy {
    pub(super) const fn limits(&self) -> Limits {
        Limits::of(self.max_bytes)
    }

    /// Holds a counter against the highest so far.
    ///
    /// # Errors
    /// [`StoreError::Downgrade`].
    pub(super) const fn counter(&self, counter: u64, highest: u64) -> Result<(), StoreError> {
        if counter < highest && !self.allow_downgrade {
            return Err(StoreError::Downgrade { counter, highest });
        }
        Ok(())
    }
}

/// A manifest that is true of a folder, and who signed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Vouched {
    /// The manifest.
    pub manifest: Manifest,
    /// Who signed it; none: nobody, or nobody's signature counts.
    pub signed_by: Option<SignedBy>,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Reads all files of a folder, and holds them against its manifest and the policy.
///
/// # Errors
/// [`StoreError`]: the first thing that is wrong.
pub(super) fn inspect(
    folder: &Path,
    policy: &Policy,
    progress: Progress<'_>,
) -> Result<Vouched, StoreError> {
    let mut hasher = Unpacker::nowhere(progress);
    Source::open(folder, policy.limits())?.drain(policy.limits(), &mut hasher)?;
    vouch(folder, &hasher.finish()?, policy)
}

/// Holds what a folder has against its manifest, and the manifest against the policy.
///
/// # Errors
/// As [`inspect`].
pub(super) fn vouch(
    folder: &Path,
    contents: &Contents,
    policy: &Policy,
) -> Result<Vouched, StoreError> {
    let shown = folder.join(MANIFEST).display().to_string();
    let bytes = read_file(&folder.join(MANIFEST), CONFIG_LIMIT)?
        .ok_or_else(|| StoreError::NoManifest { source_name: folder.display().to_string() })?;
    // Before anything of it is believed.
    let signed_by = signed_by(folder, &bytes, policy)?;
    let manifest = Manifest::parse(&shown, &bytes)?;
    let beside = [MANIFEST, SIGNATURE];
    if let Some(file) = contents
        .keys()
        .find(|name| !beside.contains(&name.as_str()) && !manifest.files.contains_key(*name))
    {
        return Err(StoreError::Unlisted { file: file.clone() });
    }
    for (name, expected) in &manifest.files {
        let file = folder.join(name).display().to_string();
        let Some(found) = contents.get(name) else {
            return Err(BundleError::Missing { file, hint: "the manifest lists it".into() }.into());
        };
        if found.sha256 != *expected {
            let (expected, found) = (expected.clone(), found.sha256.clone());
            return Err(BundleError::Hash { file, expected, found }.into());
        }
    }
    let bytes = contents.values().map(|found| found.bytes).sum();
    Ok(Vouched { manifest, signed_by, bytes })
}

fn signed_by(
    folder: &Path,
    manifest: &[u8],
    policy: &Policy,
) -> Result<Option<SignedBy>, StoreError> {
    match read_file(&folder.join(SIGNATURE), SIGNATURE_LIMIT)? {
        // Without keys nobody's signature says anything.
        Some(bytes) if !policy.keys.is_empty() => {
            let signed = signature::check(&policy.keys, manifest, &bytes)?;
            Ok(Some(SignedBy { key_id: signed.key_id, comment: signed.comment }))
        }
        _ if policy.require_signature => Err(StoreError::Unsigned),
        _ => Ok(None),
    }
}

impl Vouched {
    /// As it is remembered.
    pub(super) fn installed(self, folder: String, sha256: String, now_unix_s: u64) -> Installed {
        Installed {
            folder,
            name: self.manifest.name,
            version: self.manifest.version,
            counter: self.manifest.counter.unwrap_or(0),
            sha256,
            bytes: self.bytes,
            installed_at_unix_s: now_unix_s,
            signed_by: self.signed_by,
            activated_at_unix_s: None,
            refusal: None,
        }
    }
}
