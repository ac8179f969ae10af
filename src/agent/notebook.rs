//! The ledger while a pass is under way: journeys that run side by side note in it, and each note is on disk before it counts.
//!
//! Other processes note in the same ledger: a pass at boot and one of a lease hook overlap. So a note changes what is on
//! disk at that moment, never a copy that was read before.

use std::{
    cell::RefCell,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    core::{
        ledger::{KnownServers, Ledger},
        ownership::OwnerId,
    },
    ports::{Store, error::StoreError},
};

/// A ledger and where it is kept.
pub struct Notebook<'a> {
    store: &'a dyn Store,
    ledger: Mutex<Ledger>,
    /// Whose the ledger has to be, once that is known.
    owner: Mutex<Option<OwnerId>>,
    /// What is on disk in place of the list of servers that could not be saved.
    unsaved: Mutex<Option<Unsaved>>,
    /// Whether notes are saved.
    keeps: bool,
    /// Why it could not be opened.
    unread: Option<StoreError>,
}

/// The list of servers is in memory only: it is saved with the next note, unless another process has saved one since.
#[derive(Clone)]
struct Unsaved {
    on_disk: Option<KnownServers>,
}

impl<'a> Notebook<'a> {
    /// Opens the ledger as it was saved last. One that cannot be read is as good as empty to whoever only looks, and takes no
    /// note: it may hold names, which saving it anew would forget.
    pub fn open(store: &'a dyn Store) -> Self {
        Self::with(store, true)
    }

    /// As [`open`](Self::open), for a verb that only looks: its notes end with it.
    pub fn open_read_only(store: &'a dyn Store) -> Self {
        Self::with(store, false)
    }

    fn with(store: &'a dyn Store, keeps: bool) -> Self {
        let (ledger, unread) = match store.load() {
            Ok(ledger) => (ledger, None),
            Err(error) => (Ledger::default(), Some(error)),
        };
        let (ledger, owner, unsaved) = (Mutex::new(ledger), Mutex::default(), Mutex::default());
        Self { store, ledger, owner, unsaved, keeps, unread }
    }

    /// Why the ledger could not be opened.
    pub fn unread(&self) -> Option<&StoreError> {
        self.unread.as_ref()
    }

    /// The ledger as it stands.
    pub fn ledger(&self) -> Ledger {
        locked(&self.ledger).clone()
    }

    /// The last list of DNS servers, whichever process read it; the last that this one knows, where the file cannot be read.
    pub fn last_servers(&self) -> Option<KnownServers> {
        let _ = self.note(|_| {});
        self.ledger().servers
    }

    /// Forgets what another instance noted: the ledger came with a machine image.
    pub fn belongs_to(&self, owner: &OwnerId) {
        let mut ledger = locked(&self.ledger);
        *ledger = std::mem::take(&mut *ledger).of(owner);
        *locked(&self.owner) = Some(owner.clone());
    }

    /// Changes the ledger, and saves it if that made a difference to what is on disk.
    ///
    /// # Errors
    /// It cannot be saved, or could not be opened; it is changed all the same.
    pub fn note(&self, change: impl Fn(&mut Ledger)) -> Result<(), StoreError> {
        let mut ledger = locked(&self.ledger);
        let owner = locked(&self.owner).clone();
        let known = ledger.servers.clone();
        let unsaved = locked(&self.unsaved).clone();
        let changes = |ledger: &mut Ledger| {
            if let Some(owner) = &owner {
                *ledger = std::mem::take(ledger).of(owner);
            }
            let before = ledger.clone();
            // A file without a list was lost, or could not be written: that is no reason to forget ours.
            let is_unsaved = unsaved.as_ref().is_some_and(|it| it.on_disk == before.servers);
            if is_unsaved || before.servers.is_none() {
                ledger.servers.clone_from(&known);
            }
            change(ledger);
            *ledger != before
        };
        if !self.keeps {
            changes(&mut ledger);
            return Ok(());
        }
        if let Some(StoreError { operation, path, source }) = &self.unread {
            if !changes(&mut ledger) {
                return Ok(());
            }
            let source = io::Error::new(source.kind(), source.to_string());
            return Err(StoreError { operation, path: path.clone(), source });
        }
        // The list on disk, and the one that this note leaves there: what we knew, where the file cannot be read.
        let lists = RefCell::new(None);
        let noting = |ledger: &mut Ledger| {
            let on_disk = ledger.servers.clone();
            let is_changed = changes(ledger);
            lists.replace(Some((on_disk, ledger.servers.clone())));
            is_changed
        };
        match self.store.update(&noting) {
            Ok(saved) => {
                *locked(&self.unsaved) = None;
                *ledger = saved;
                Ok(())
            }
            Err(error) => {
                changes(&mut ledger);
                let (on_disk, ours) =
                    lists.take().unwrap_or_else(|| (known, ledger.servers.clone()));
                // Even one that is ours already: another process may have saved another list since we read it first.
                if on_disk != ours {
                    *locked(&self.unsaved) = Some(Unsaved { on_disk });
                }
                Err(error)
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::core::servers::NameServer;

    /// A disk that can be full.
    #[derive(Default)]
    struct Disk {
        ledger: Mutex<Ledger>,
        is_full: AtomicBool,
    }

    impl Store for Disk {
        fn load(&self) -> Result<Ledger, StoreError> {
            Ok(locked(&self.ledger).clone())
        }

        fn update(&self, change: &dyn Fn(&mut Ledger) -> bool) -> Result<Ledger, StoreError> {
            let mut ledger = self.load()?;
            if change(&mut ledger) {
                if self.is_full.load(Ordering::Relaxed) {
                    let source = io::ErrorKind::StorageFull.into();
                    return Err(StoreError { operation: "write", path: String::new(), source });
                }
                *locked(&self.ledger) = ledger.clone();
            }
            Ok(ledger)
        }
    }

    fn list(last: u8) -> KnownServers {
        let servers = vec![NameServer::at(([10, 0, 0, last], 53).into())];
        KnownServers { servers, at: u64::from(last) }
    }

    #[test]
    fn a_list_that_cannot_be_saved_is_remembered_and_saved_when_it_can_be() {
        let disk = Disk::default();
        let notebook = Notebook::open(&disk);
        disk.is_full.store(true, Ordering::Relaxed);
        assert!(notebook.note(|ledger| ledger.servers = Some(list(2))).is_err());
        let _ = notebook.note(|_| {});
        assert_eq!(
            notebook.ledger().servers,
            Some(list(2)),
            "a note that changes nothing is no list"
        );
        disk.is_full.store(false, Ordering::Relaxed);
        notebook.note(|_| {}).unwrap();
        assert_eq!(
            (notebook.ledger().servers, disk.load().unwrap().servers),
            (Some(list(2)), Some(list(2)))
        );
    }

    #[test]
    fn a_file_that_was_lost_is_no_reason_to_forget_the_list() {
        let disk = Disk::default();
        let notebook = Notebook::open(&disk);
        notebook.note(|ledger| ledger.servers = Some(list(2))).unwrap();
        *locked(&disk.ledger) = Ledger::default();
        assert_eq!(notebook.last_servers(), Some(list(2)));
        assert_eq!(disk.load().unwrap().servers, Some(list(2)));
    }

    #[test]
    fn a_list_that_another_process_saved_since_is_the_newer_one() {
        let disk = Disk::default();
        let notebook = Notebook::open(&disk);
        disk.is_full.store(true, Ordering::Relaxed);
        assert!(notebook.note(|ledger| ledger.servers = Some(list(2))).is_err());
        disk.is_full.store(false, Ordering::Relaxed);
        Notebook::open(&disk).note(|ledger| ledger.servers = Some(list(3))).unwrap();
        notebook.note(|_| {}).unwrap();
        assert_eq!(
            (notebook.ledger().servers, disk.load().unwrap().servers),
            (Some(list(3)), Some(list(3)))
        );
    }

    #[test]
    fn a_list_that_is_ours_already_is_saved_over_another_one_too() {
        let disk = Disk::default();
        let notebook = Notebook::open(&disk);
        notebook.note(|ledger| ledger.servers = Some(list(2))).unwrap();
        Notebook::open(&disk).note(|ledger| ledger.servers = Some(list(3))).unwrap();
        // EC2 lists the first one again.
        disk.is_full.store(true, Ordering::Relaxed);
        assert!(notebook.note(|ledger| ledger.servers = Some(list(2))).is_err());
        assert_eq!(notebook.last_servers(), Some(list(2)));
        disk.is_full.store(false, Ordering::Relaxed);
        assert_eq!(notebook.last_servers(), Some(list(2)));
        assert_eq!(disk.load().unwrap().servers, Some(list(2)));
    }
}
