//! The agent's memory on disk: one versioned JSON file, replaced whole, flushed before anything relies on it.
//!
//! A file that cannot be read as a ledger is set aside under another name and said so; the run goes on with an empty one,
//! since the zone is the truth and the file a hint. Processes that change it take turns by a lock on a file beside it: a
//! lock on the file itself would be lost with the rename that replaces it.

pub mod last_pass;
pub mod managed;
pub mod trampled;
pub mod v1;

use std::{
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::{
    core::ledger::Ledger,
    ports::{Store, error::StoreError},
    sys::fs::{lock, read_regular, replace},
};

/// Whether the state directory may be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It stays as it is, to the byte.
    ReadOnly,
    /// What is noted is saved.
    ReadWrite,
}

/// The store in a state directory.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    access: Access,
    notices: Mutex<Vec<String>>,
    /// Whether the lock was waited for in vain: whoever holds it holds it for good.
    locked_out: AtomicBool,
}

impl StateFile {
    /// The store in `directory`, which is made when something is to be saved and it is missing.
    #[must_use]
    pub fn new(directory: &Path, access: Access) -> Self {
        Self {
            path: directory.join("state.json"),
            access,
            notices: Mutex::default(),
            locked_out: AtomicBool::new(false),
        }
    }

    /// What the operator should know about files that cannot be read; each is told once.
    pub fn take_notices(&self) -> Vec<String> {
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn error(&self, operation: &'static str) -> impl FnOnce(io::Error) -> StoreError {
        let path = self.path.display().to_string();
        move |source| StoreError { operation, path, source }
    }

    fn notice(&self, why: &str, what_then: &str) {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).push(format!(
            "the state file {} cannot be read ({why}); {what_then}, and the run goes on without it",
            self.path.display()
        ));
    }

    fn read(&self) -> Result<Content, StoreError> {
        match read_regular(&self.path, LIMIT) {
            Ok(Some(content)) => Ok(v1::parse(&content).map_or_else(
                |error| Content::Broken(error.to_string()),
                |ledger| Content::Good(Box::new(ledger)),
            )),
            Ok(None) => Ok(Content::Good(Box::default())),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
                ) =>
            {
                Ok(Content::Broken(error.to_string()))
            }
            Err(error) => Err(self.error("read")(error)),
        }
    }

    /// Waits for the other processes' turns, and begins ours.
    fn lock(&self) -> Result<Turn<'_>, StoreError> {
        let locked_out = self.locked_out.load(Ordering::Relaxed);
        let patience = if locked_out { Duration::ZERO } else { LOCK_PATIENCE };
        let file = lock(&self.path.with_extension("lock"), patience);
        self.locked_out.store(file.is_err(), Ordering::Relaxed);
        Ok(Turn { store: self, _lock: file.map_err(self.error("lock"))? })
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }
}

/// What the file holds.
enum Content {
    Good(Box<Ledger>),
    /// No ledger, and why.
    Broken(String),
}

/// The time in which no other process changes the file.
struct Turn<'a> {
    store: &'a StateFile,
    _lock: File,
}

impl Turn<'_> {
    /// The ledger; a file that is none is set aside, which only a turn can: without one it could be another's new file.
    fn load(&self) -> Result<Ledger, StoreError> {
        let why = match self.store.read()? {
            Content::Good(ledger) => return Ok(*ledger),
            Content::Broken(why) => why,
        };
        let aside = self.store.path.with_extension("json.broken");
        fs::rename(&self.store.path, &aside).map_err(self.store.error("set aside"))?;
        self.store.notice(&why, &format!("it is set aside as {}", aside.display()));
        Ok(Ledger::default())
    }

    fn save(&self, ledger: &Ledger) -> Result<(), StoreError> {
        let StateFile { path, .. } = self.store;
        let content = v1::render(ledger)
            .map_err(|error| self.store.error("write")(io::Error::other(error)))?;
        replace(self.store.directory(), path, &content, 0o600)
            .map_err(self.store.error("write"))?;
        Ok(())
    }
}

impl Store for StateFile {
    fn load(&self) -> Result<Ledger, StoreError> {
        match (self.read()?, self.access) {
            (Content::Good(ledger), _) => Ok(*ledger),
            (Content::Broken(_), Access::ReadWrite) => self.lock()?.load(),
            (Content::Broken(why), Access::ReadOnly) => {
                self.notice(&why, "it is left as it is");
                Ok(Ledger::default())
            }
        }
    }

    fn update(&self, change: &dyn Fn(&mut Ledger) -> bool) -> Result<Ledger, StoreError> {
        // Most notes say what is there already: those need no turn, and no directory that can be written to.
        if let Content::Good(mut ledger) = self.read()?
            && !change(&mut ledger)
        {
            return Ok(*ledger);
        }
        if self.access == Access::ReadOnly {
            return Err(self.error("write")(io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        let mut private = fs::DirBuilder::new();
        let private = private.recursive(true).mode(0o700);
        private.create(self.directory()).map_err(self.error("make the directory of"))?;
        let turn = self.lock()?;
        let mut ledger = turn.load()?;
        if change(&mut ledger) {
            turn.save(&ledger)?;
        }
        Ok(ledger)
    }
}

/// Far more than ten thousand names take.
const LIMIT: u64 = 16 << 20;

/// A turn is a few milliseconds long, unless the disk or the process hangs. Nothing else of the pass goes on meanwhile.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        ledger::{KnownServers, Published},
        ownership::OwnerId,
        refresh::{Kept, Lease},
        servers::NameServer,
    };

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default().of(&OwnerId::new("i-1"));
        let names = ledger.published.entry("internal".to_owned()).or_default();
        let kept = Kept { lease: Lease::Granted(7200), indexed: true };
        let published = Published { at: 7, confirmed: true, kept };
        names.insert("web-1.corp.internal".parse().unwrap(), published);
        ledger.servers =
            Some(KnownServers { servers: vec![NameServer::at(([10, 0, 0, 2], 53).into())], at: 9 });
        ledger.macs = vec!["02:00:00:00:00:01".to_owned()];
        ledger.remember_zones(
            "aws",
            [("Z1".to_owned(), "corp.internal".parse().unwrap())].into(),
            7,
        );
        ledger
    }

    fn becomes(wanted: Ledger) -> impl Fn(&mut Ledger) -> bool {
        move |ledger| std::mem::replace(ledger, wanted.clone()) != wanted
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let store = StateFile::new(&directory.path().join("deep/er"), Access::ReadWrite);
        assert_eq!(store.load().unwrap(), Ledger::default());
        assert_eq!(store.update(&|_| false).unwrap(), Ledger::default());
        assert!(!directory.path().join("deep").exists());
        assert_eq!(store.update(&becomes(ledger())).unwrap(), ledger());
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
            let store = StateFile::new(directory.path(), Access::ReadWrite);
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

    #[test]
    fn changes_at_the_same_time_are_all_kept() {
        let directory = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let store = StateFile::new(directory.path(), Access::ReadWrite);
                scope.spawn(move || {
                    for round in 0..10 {
                        let mac = format!("{writer}-{round}");
                        let add = |ledger: &mut Ledger| {
                            ledger.macs.push(mac.clone());
                            true
                        };
                        store.update(&add).unwrap();
                    }
                });
            }
        });
        let store = StateFile::new(directory.path(), Access::ReadWrite);
        assert_eq!(store.load().unwrap().macs.len(), 80);
    }

    #[test]
    fn a_lock_that_is_never_given_back_is_not_waited_for_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let store = StateFile::new(directory.path(), Access::ReadWrite);
        let _held = store.lock().unwrap();
        let error = store.update(&becomes(ledger())).unwrap_err();
        assert_eq!(error.operation, "lock");
        assert!(error.source.to_string().contains("is held by another pass"), "{error:?}");
        assert_eq!(store.update(&|_| false).unwrap(), Ledger::default(), "nothing to wait for");
    }

    #[test]
    fn whoever_only_reads_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("state.json"), "{").unwrap();
        let store = StateFile::new(directory.path(), Access::ReadOnly);
        assert_eq!(store.load().unwrap(), Ledger::default());
        assert!(store.take_notices().concat().contains("it is left as it is"));
        store.update(&becomes(ledger())).unwrap_err();
        assert_eq!(fs::read(directory.path().join("state.json")).unwrap(), b"{");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
