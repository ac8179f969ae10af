//! gai.conf(5): the block that makes getaddrinfo(3) put near addresses first. It has no owner but us and the administrator.

use std::{fs, path::Path};

use crate::{
    core::{
        affinity::Network,
        gai_conf::{GAI_CONF, GaiConf},
    },
    ports::error::ResolverError,
    sys::fs::{follow, inside, read_regular, replace},
};

/// The file of the host whose files are at `root`; one without a line if there is none.
///
/// # Errors
/// It cannot be read.
pub fn read(root: &Path) -> Result<GaiConf, ResolverError> {
    let path = inside(root, Path::new(GAI_CONF));
    let content = follow(root, &path).and_then(|path| read_regular(&path, LIMIT));
    let content = content.map_err(|source| failed("read", &path, source))?;
    Ok(GaiConf::parse(&content.unwrap_or_default()))
}

/// Gives the file a block for `networks`, or takes ours away where there is none to speak of. A file that had nothing else in
/// it goes with it.
///
/// # Errors
/// The file cannot be written.
pub fn write(root: &Path, after: &GaiConf) -> Result<(), ResolverError> {
    let path = inside(root, Path::new(GAI_CONF));
    let content = after.render();
    let written = if content.is_empty() {
        follow(root, &path).and_then(fs::remove_file)
    } else {
        replace(root, &path, &content, 0o644).map(drop)
    };
    written.map_err(|source| failed("write", &path, source))
}

/// Takes our block away; `false` when there is none.
///
/// # Errors
/// The file cannot be read or written.
pub fn restore(root: &Path) -> Result<bool, ResolverError> {
    let now = read(root)?;
    if !now.is_ours() {
        return Ok(false);
    }
    write(root, &now.with(&[] as &[Network]))?;
    Ok(true)
}

fn failed(operation: &'static str, path: &Path, source: std::io::Error) -> ResolverError {
    ResolverError::File { operation, path: path.display().to_string(), source }
}

const LIMIT: u64 = 1 << 20;
