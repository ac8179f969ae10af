//! The ledger while a pass is under way: journeys that run side by side note in it, and each note is on disk before it counts.
//!
//! Other processes note in the same ledger: a pass at boot and one of a lease hook overlap. So a note changes what is on
//! disk at that moment, never a copy that was read before.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    core::{ledger::Ledger, ownership::OwnerId},
    ports::{Store, error::StoreError},
};

/// A ledger and where it is kept.
pub struct Notebook<'a> {
    store: &'a dyn Store,
    ledger: Mutex<Ledger>,
    /// Whose the ledger has to be, once that is known.
    owner: Mutex<Option<OwnerId>>,
    /// Whether notes are saved.
    keeps: bool,
    /// Why it could not be opened.
    unread: Option<StoreError>,
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
        Self { store, ledger: Mutex::new(ledger), owner: Mutex::default(), keeps, unread }
    }

    /// Why the ledger could not be opened.
    pub fn unread(&self) -> Option<&StoreError> {
        self.unread.as_ref()
    }

    /// The ledger as it stands.
    pub fn ledger(&self) -> Ledger {
        locked(&self.ledger).clone()
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
        let changes = |ledger: &mut Ledger| {
            if let Some(owner) = &owner {
                *ledger = std::mem::take(ledger).of(owner);
            }
            let before = ledger.clone();
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
        match self.store.update(&changes) {
            Ok(saved) => {
                *ledger = saved;
                Ok(())
            }
            Err(error) => {
                changes(&mut ledger);
                Err(error)
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
