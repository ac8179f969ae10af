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
    sys::fs::{follow, inside, read_regular, replace},
};

/// The manager of the file in `root`.
#[derive(Debug)]
pub struct Direct {
    root: PathBuf,
    path: PathBuf,
    /// Where the file as it was found before us is kept.
    found: PathBuf,
    /// Stands where nothing was found before us.
    absent: PathBuf,
    /// Stands once that was looked at in this boot: what a machine image carries was found by another instance.
    looked: PathBuf,
    verdict: Verdict,
}

impl Direct {
    /// The manager of the file in `root`; what was found before us is kept in `state`, and in `run_dir` that it was.
    #[must_use]
    pub fn new(root: &Path, state: &Path, run_dir: &Path, verdict: Verdict) -> Self {
        Self {
            root: root.to_path_buf(),
            path: inside(root, Path::new(RESOLV_CONF)),
            found: state.join("resolv.conf.found"),
            absent: state.join("resolv.conf.absent"),
            looked: run_dir.join("resolv.conf.looked"),
            verdict,
        }
    }

    /// Keeps the file as it was before our first change of it in this boot. What others make of it later is not what was found.
    fn keep(&self, before: Option<&[u8]>) -> Result<(), ResolverError> {
        let is_kept = self.found.exists() || self.absent.exists();
        let is_ours = before.is_some_and(|content| ResolvConf::parse(content).is_ours());
        if is_ours || (is_kept && self.looked.exists()) {
            return Ok(());
        }
        // Where that cannot be noted, what is kept is not given up for what may be another program's.
        if keep(&self.looked, b"").is_err() && is_kept {
            return Ok(());
        }
        let (kept, other) = match before {
            Some(content) => (keep(&self.found, content), &self.absent),
            None => (keep(&self.absent, b""), &self.found),
        };
        kept?;
        let _ = std::fs::remove_file(other);
        Ok(())
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
        let kept = self.keep(before.as_deref());
        write(&self.root, &self.path, &after.render())?;
        kept
    }

    async fn restore(&self) -> Result<bool, ResolverError> {
        let is_ours = self.current().await?.is_ours();
        match read_kept(&self.found)? {
            _ if !is_ours => return Ok(false),
            Some(content) => write(&self.root, &self.path, &content)?,
            None if self.absent.exists() => remove(&self.root, &self.path)?,
            None => return Ok(false),
        }
        // Whatever is found when we begin again is another file. That this one stays is no harm: it is what stands there now.
        for kept in [&self.found, &self.absent, &self.looked] {
            let _ = std::fs::remove_file(kept);
        }
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
    let failed = |source| ResolverError::File {
        operation: "write",
        path: path.display().to_string(),
        source,
    };
    // A link into a directory of /run whose program is away, or has not begun yet.
    let target = follow(root, path).map_err(failed)?;
    if target.starts_with(inside(root, Path::new("/run")))
        && let Some(directory) = target.parent()
    {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    replace(root, path, content, 0o644).map(drop).map_err(failed)
}

/// Takes the file away that `path` means, and leaves a link that leads there.
fn remove(root: &Path, path: &Path) -> Result<(), ResolverError> {
    let removed = follow(root, path).and_then(std::fs::remove_file);
    removed.map_err(|source| ResolverError::File {
        operation: "remove",
        path: path.display().to_string(),
        source,
    })
}
