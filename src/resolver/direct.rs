//! resolv.conf itself: read, replaced whole, given back.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::probe::read;
use crate::{
    core::{
        detect::Verdict,
        resolv_conf::{RESOLV_CONF, ResolvConf, Wanted},
    },
    ports::{ResolverManager, error::ResolverError},
    sys::fs::{inside, read_regular, replace},
};

/// The manager of the file in `root`.
#[derive(Debug)]
pub struct Direct {
    root: PathBuf,
    path: PathBuf,
    /// Where the file as it was found before us is kept.
    found: PathBuf,
    verdict: Verdict,
}

impl Direct {
    /// The manager of the file in `root`; what was found before us is kept in `state`.
    #[must_use]
    pub fn new(root: &Path, state: &Path, verdict: Verdict) -> Self {
        Self {
            root: root.to_path_buf(),
            path: inside(root, Path::new(RESOLV_CONF)),
            found: state.join("resolv.conf.found"),
            verdict,
        }
    }

    /// Keeps the file as it was before our first change of it. What others make of it later is not what was found.
    fn keep(&self, content: &[u8]) -> Result<(), ResolverError> {
        if self.found.exists() || ResolvConf::parse(content).is_ours() {
            return Ok(());
        }
        keep(&self.found, content)
    }
}

#[async_trait]
impl ResolverManager for Direct {
    async fn current(&self) -> Result<ResolvConf, ResolverError> {
        Ok(read(&self.root)?.map(|content| ResolvConf::parse(&content)).unwrap_or_default())
    }

    fn becomes(&self, current: &ResolvConf, wanted: &Wanted) -> ResolvConf {
        current.with(wanted)
    }

    async fn apply(&self, wanted: &Wanted) -> Result<(), ResolverError> {
        let before = read(&self.root)?;
        let file = ResolvConf::parse(before.as_deref().unwrap_or_default());
        let after = file.with(wanted);
        if after == file {
            return Ok(());
        }
        // That the old file cannot be kept is said, and is no reason to stay with dead servers.
        let kept = before.map_or(Ok(()), |before| self.keep(&before));
        write(&self.root, &self.path, &after.render())?;
        kept
    }

    async fn restore(&self) -> Result<bool, ResolverError> {
        let ours = self.current().await?.is_ours();
        match read_kept(&self.found)? {
            Some(content) if ours => write(&self.root, &self.path, &content)?,
            _ => return Ok(false),
        }
        // Whatever is found when we begin again is another file. That this one stays is no harm: it is what stands there now.
        let _ = std::fs::remove_file(&self.found);
        Ok(true)
    }

    fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

/// Keeps what was found, in a directory that is made if it is missing.
pub(super) fn keep(found: &Path, content: &[u8]) -> Result<(), ResolverError> {
    let directory = found.parent().unwrap_or(Path::new("/"));
    let unmade = |source| ResolverError::File {
        operation: "make",
        path: directory.display().to_string(),
        source,
    };
    std::fs::create_dir_all(directory).map_err(unmade)?;
    write(directory, found, content)
}

/// What was kept, if anything was.
pub(super) fn read_kept(found: &Path) -> Result<Option<Vec<u8>>, ResolverError> {
    read_regular(found, 1 << 20).map_err(|source| ResolverError::File {
        operation: "read",
        path: found.display().to_string(),
        source,
    })
}

fn write(root: &Path, path: &Path, content: &[u8]) -> Result<(), ResolverError> {
    let unwritable = |source| ResolverError::File {
        operation: "write",
        path: path.display().to_string(),
        source,
    };
    replace(root, path, content, 0o644).map(drop).map_err(unwritable)
}
