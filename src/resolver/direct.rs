//! resolv.conf itself: read, replaced whole, given back.

use std::path::{Path, PathBuf};

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
        let state = self.found.parent().unwrap_or(Path::new("/"));
        let unmade = |source| ResolverError::File {
            operation: "make",
            path: state.display().to_string(),
            source,
        };
        std::fs::create_dir_all(state).map_err(unmade)?;
        write(state, &self.found, content)
    }
}

impl ResolverManager for Direct {
    fn current(&self) -> Result<Option<ResolvConf>, ResolverError> {
        Ok(read(&self.root)?.map(|content| ResolvConf::parse(&content)))
    }

    fn apply(&self, wanted: &Wanted) -> Result<(), ResolverError> {
        let before = read(&self.root)?;
        let file = ResolvConf::parse(before.as_deref().unwrap_or_default());
        if file.says(wanted) {
            return Ok(());
        }
        // That the old file cannot be kept is said, and is no reason to stay with dead servers.
        let kept = before.map_or(Ok(()), |before| self.keep(&before));
        write(&self.root, &self.path, &file.with(wanted).render())?;
        kept
    }

    fn restore(&self) -> Result<bool, ResolverError> {
        let unreadable = |source| ResolverError::File {
            operation: "read",
            path: self.found.display().to_string(),
            source,
        };
        let ours = self.current()?.is_some_and(|file| file.is_ours());
        match read_regular(&self.found, 1 << 20).map_err(unreadable)? {
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

fn write(root: &Path, path: &Path, content: &[u8]) -> Result<(), ResolverError> {
    let unwritable = |source| ResolverError::File {
        operation: "write",
        path: path.display().to_string(),
        source,
    };
    replace(root, path, content, 0o644).map(drop).map_err(unwritable)
}
