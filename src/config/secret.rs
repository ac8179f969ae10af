//! Secrets: read from files of their own, never printed.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    sys::fs::read_regular,
    wire::key::{KeyFileError, TsigKey},
};

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It is not there.
    #[error("there is no key file {}", .0.display())]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("the key file {} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It holds no key.
    #[error("the key file {} holds no usable key", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: KeyFileError,
    },
}

/// Reads a TSIG key from a file as `tsig-keygen` writes it.
///
/// # Errors
/// The file is missing, unreadable or holds no key.
pub fn tsig_key(path: &Path) -> Result<TsigKey, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_path_buf(), source };
    let content = read_regular(path, LIMIT).map_err(unreadable)?;
    let content = content.ok_or_else(|| SecretError::Missing(path.to_path_buf()))?;
    let text = String::from_utf8_lossy(&content);
    text.parse().map_err(|source| SecretError::NoKey { path: path.to_path_buf(), source })
}

/// What is unwise about the file of a key that can be used: who else can read or change it.
#[must_use]
pub fn exposure(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.mode();
    let others = match (mode & 0o004, mode & 0o022) {
        (0, 0) => return None,
        (0, _) => "changed by others than its owner",
        _ => "read by everybody",
    };
    Some(format!(
        "the key file {} can be {others}; `chmod 600` it, since whoever has the key can publish as any host",
        path.display()
    ))
}

const LIMIT: u64 = 64 << 10;
