//! What another program last made of the resolver's file: a file in the run directory, for `status` alone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    core::diff::{Line, lines},
    store::managed::AGENT_LOCK,
    sys::fs::{is_locked, read_regular, replace},
};

/// A change of the file by another program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trampled {
    /// When it was last noticed, in seconds since 1970.
    pub at: u64,
    /// How often since the agent began.
    pub times: u64,
    /// Whether the file is left to the other program for now.
    pub held: bool,
    /// What became of it.
    pub fate: Fate,
    /// The lines that it took out, with `-`, and put in, with `+`.
    pub difference: Vec<String>,
}

/// What became of another program's change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// What was there before was put back.
    #[default]
    PutBack,
    /// The owner of the resolver did not take that.
    Stays,
}

impl Trampled {
    /// What this boot knows. What an agent that is gone left to another program is left to it no longer.
    #[must_use]
    pub fn load(run_dir: &Path) -> Option<Self> {
        let content = read_regular(&file(run_dir), LIMIT).ok()??;
        let mut known = serde_json::from_slice::<Self>(&content).ok()?;
        known.held &= !matches!(is_locked(&run_dir.join(AGENT_LOCK)), Ok(Some(false) | None));
        Some(known)
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

/// The lines that went, with `-`, and those that came, with `+`.
#[must_use]
pub fn difference(before: &str, after: &str) -> Vec<String> {
    let told = lines(before, after).into_iter().map(|line| match line {
        Line::Gone(line) => format!("-{line}"),
        Line::Come(line) => format!("+{line}"),
    });
    told.collect()
}

fn file(run_dir: &Path) -> PathBuf {
    run_dir.join("trampled.json")
}

const LIMIT: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Trampled::load(directory.path()), None);
        let trampled = Trampled {
            at: 7,
            times: 2,
            held: true,
            fate: Fate::Stays,
            difference: vec!["-a".to_owned()],
        };
        trampled.save(directory.path()).unwrap();
        let gone = Trampled { held: false, ..trampled.clone() };
        assert_eq!(Trampled::load(directory.path()), Some(gone), "its agent has not run");
        let lock = fs::File::create(directory.path().join(AGENT_LOCK)).unwrap();
        lock.lock().unwrap();
        assert_eq!(Trampled::load(directory.path()), Some(trampled));
    }
}
