//! The agent's memory on disk: one versioned JSON file, replaced whole, flushed before anything relies on it.
//!
//! A file that cannot be read as a ledger is set aside under another name and said so; the run goes on with an empty one,
//! since the zone is the truth and the file a hint.

pub mod v1;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use crate::{
    core::ledger::Ledger,
    ports::{Store, error::StoreError},
    sys::fs::{read_regular, replace},
};

/// The store in a state directory.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    notices: Mutex<Vec<String>>,
}

impl StateFile {
    /// The store in `directory`, which is made when it is missing.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join("state.json"), notices: Mutex::new(Vec::new()) }
    }

    /// What the operator should know about files that were set aside; each is told once.
    pub fn take_notices(&self) -> Vec<String> {
        self.notices.lock().map(|mut notices| std::mem::take(&mut *notices)).unwrap_or_default()
    }

    fn error(&self, operation: &'static str) -> impl FnOnce(io::Error) -> StoreError {
        let path = self.path.display().to_string();
        move |source| StoreError { operation, path, source }
    }

    fn set_aside(&self, why: &str) -> Result<(), StoreError> {
        let aside = self.path.with_extension("json.broken");
        fs::rename(&self.path, &aside).map_err(self.error("set aside"))?;
        if let Ok(mut notices) = self.notices.lock() {
            notices.push(format!(
                "the state file {} cannot be read ({why}); it is set aside as {}, and the run goes on without it",
                self.path.display(),
                aside.display()
            ));
        }
        Ok(())
    }
}

impl Store for StateFile {
    fn load(&self) -> Result<Ledger, StoreError> {
        let content = match read_regular(&self.path, LIMIT) {
            Ok(Some(content)) => content,
            Ok(None) => return Ok(Ledger::default()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
                ) =>
            {
                self.set_aside(&error.to_string())?;
                return Ok(Ledger::default());
            }
            Err(error) => return Err(self.error("read")(error)),
        };
        match v1::parse(&content) {
            Ok(ledger) => Ok(ledger),
            Err(error) => {
                self.set_aside(&error.to_string())?;
                Ok(Ledger::default())
            }
        }
    }

    fn save(&self, ledger: &Ledger) -> Result<(), StoreError> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(directory).map_err(self.error("make the directory of"))?;
        let content =
            v1::render(ledger).map_err(|error| self.error("write")(io::Error::other(error)))?;
        replace(directory, &self.path, &content, 0o600).map_err(self.error("write"))?;
        Ok(())
    }
}

/// Far more than ten thousand names take.
const LIMIT: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        ledger::{KnownServers, Published},
        ownership::OwnerId,
        servers::NameServer,
    };

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default().of(&OwnerId::new("i-1"));
        let names = ledger.published.entry("internal".to_owned()).or_default();
        names.insert("web-1.corp.internal".parse().unwrap(), Published { at: 7, confirmed: true });
        ledger.servers =
            Some(KnownServers { servers: vec![NameServer::at(([10, 0, 0, 2], 53).into())], at: 9 });
        ledger.macs = vec!["02:00:00:00:00:01".to_owned()];
        ledger.zone_ids.insert("corp.internal".parse().unwrap(), "Z1".to_owned());
        ledger
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let store = StateFile::new(&directory.path().join("deep/er"));
        assert_eq!(store.load().unwrap(), Ledger::default());
        store.save(&ledger()).unwrap();
        assert_eq!(store.load().unwrap(), ledger());
        assert!(store.take_notices().is_empty());
    }

    #[test]
    fn a_broken_file_is_set_aside_and_said_once() {
        for broken in [
            "",
            "{",
            "{\"version\": 2}",
            "{\"version\":1,\"published\":{\"a\":{\"b..c\":{\"at\":1}}}}",
            "\u{0}",
        ] {
            let directory = tempfile::tempdir().unwrap();
            let store = StateFile::new(directory.path());
            fs::write(directory.path().join("state.json"), broken).unwrap();
            assert_eq!(store.load().unwrap(), Ledger::default(), "{broken}");
            assert_eq!(
                fs::read_to_string(directory.path().join("state.json.broken")).unwrap(),
                broken
            );
            assert_eq!(store.take_notices().len(), 1);
            assert_eq!(store.load().unwrap(), Ledger::default());
            assert!(store.take_notices().is_empty());
        }
    }
}
