//! What the last pass read and did: a file in the run directory, for `status` alone. It ends with the boot, and nothing
//! depends on it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::sys::fs::{read_regular, replace};

/// A pass that came to an end, or to its deadline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastPass {
    /// When it was over, in seconds since 1970.
    pub at: u64,
    /// Whether everything that was asked for is so.
    pub ok: bool,
    /// What it did, in one line.
    pub summary: String,
    /// When the instance's metadata was read last, by this pass or one before it, in seconds since 1970.
    pub metadata: Option<u64>,
    /// The same of its tags.
    pub tags: Option<u64>,
    /// The same of the list of DNS servers.
    pub servers: Option<u64>,
}

impl LastPass {
    /// The last pass of this boot; `None` if there was none, or if it left nothing that can be read.
    #[must_use]
    pub fn load(run_dir: &Path) -> Option<Self> {
        let content = read_regular(&file(run_dir), LIMIT).ok()??;
        serde_json::from_slice(&content).ok()
    }

    /// Leaves it for `status`; the run directory is made if it is missing.
    ///
    /// # Errors
    /// The directory or the file cannot be written.
    pub fn save(&self, run_dir: &Path) -> io::Result<()> {
        fs::create_dir_all(run_dir)?;
        let mut content = serde_json::to_vec_pretty(self)?;
        content.push(b'\n');
        replace(run_dir, &file(run_dir), &content, 0o644).map(drop)
    }
}

fn file(run_dir: &Path) -> PathBuf {
    run_dir.join("last-pass.json")
}

const LIMIT: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_read_and_what_is_no_pass_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let run_dir = directory.path().join("run/tagalong");
        assert_eq!(LastPass::load(&run_dir), None);
        let pass = LastPass {
            at: 7,
            ok: true,
            summary: "internal: 1 unchanged".to_owned(),
            metadata: Some(6),
            ..LastPass::default()
        };
        pass.save(&run_dir).unwrap();
        assert_eq!(LastPass::load(&run_dir), Some(pass));
        fs::write(file(&run_dir), "half").unwrap();
        assert_eq!(LastPass::load(&run_dir), None);
    }
}
