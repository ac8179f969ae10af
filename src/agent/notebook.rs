//! The ledger while a pass is under way: journeys that run side by side note in it, and each note is on disk before it counts.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use crate::{
    core::{ledger::Ledger, ownership::OwnerId},
    ports::{Store, error::StoreError},
};

/// A ledger and where it is kept.
pub struct Notebook<'a> {
    store: &'a dyn Store,
    ledger: Mutex<Ledger>,
    /// Why it could not be opened.
    unread: Option<StoreError>,
}

impl<'a> Notebook<'a> {
    /// Opens the ledger as it was saved last. One that cannot be read is as good as empty to whoever only looks, and takes no
    /// note: it may hold names, which saving it anew would forget.
    pub fn open(store: &'a dyn Store) -> Self {
        match store.load() {
            Ok(ledger) => Self { store, ledger: Mutex::new(ledger), unread: None },
            Err(error) => Self { store, ledger: Mutex::default(), unread: Some(error) },
        }
    }

    /// Why the ledger could not be opened.
    pub fn unread(&self) -> Option<&StoreError> {
        self.unread.as_ref()
    }

    /// The ledger as it stands.
    pub fn ledger(&self) -> Ledger {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what another instance noted: the ledger came with a machine image.
    pub fn belongs_to(&self, owner: &OwnerId) {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        *ledger = std::mem::take(&mut *ledger).of(owner);
    }

    /// Changes the ledger, and saves it if that made a difference.
    ///
    /// # Errors
    /// It cannot be saved, or could not be opened; it is changed all the same.
    pub fn note(&self, change: impl FnOnce(&mut Ledger)) -> Result<(), StoreError> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ledger.clone();
        change(&mut ledger);
        if *ledger == before {
            return Ok(());
        }
        match &self.unread {
            None => self.store.save(&ledger),
            Some(StoreError { operation, path, source }) => Err(StoreError {
                operation,
                path: path.clone(),
                source: io::Error::new(source.kind(), source.to_string()),
            }),
        }
    }
}
