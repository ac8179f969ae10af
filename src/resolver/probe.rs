//! Gathers what the verdict on the resolver's owner rests on.

use std::{fs, path::Path};

use crate::{
    core::{detect::HostProbe, resolv_conf::RESOLV_CONF},
    ports::error::ResolverError,
    sys::fs::{follow, inside, read_regular},
};

/// Looks at the host whose files are at `root`.
///
/// # Errors
/// resolv.conf is there and cannot be read.
pub fn probe(root: &Path) -> Result<HostProbe, ResolverError> {
    let path = inside(root, Path::new(RESOLV_CONF));
    let link = fs::read_link(&path).ok().map(|target| target.display().to_string());
    Ok(HostProbe { link, content: read(root)? })
}

/// The content of resolv.conf, if there is one.
///
/// # Errors
/// It cannot be read.
pub(super) fn read(root: &Path) -> Result<Option<Vec<u8>>, ResolverError> {
    let path = inside(root, Path::new(RESOLV_CONF));
    let unreadable = |source| ResolverError::File {
        operation: "read",
        path: path.display().to_string(),
        source,
    };
    read_regular(&follow(root, &path).map_err(unreadable)?, LIMIT).map_err(unreadable)
}

const LIMIT: u64 = 1 << 20;
