//! Secrets: read from files of their own, never printed.

use std::path::{Path, PathBuf};

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

const LIMIT: u64 = 64 << 10;
