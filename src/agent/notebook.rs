//! The ledger while a pass is under way: journeys that run side by side note in it, and each note is on disk before it counts.

use std::sync::{Mutex, PoisonError};

use crate::{
    core::{ledger::Ledger, ownership::OwnerId},
    ports::{Store, error::StoreError},
};

/// A ledger and where it is kept.
pub struct Notebook<'a> {
    store: &'a dyn Store,
    ledger: Mutex<Ledger>,
}

impl<'a> Notebook<'a> {
    /// Opens the ledger as it was saved last.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(store: &'a dyn Store) -> Result<Self, StoreError> {
        Ok(Self { store, ledger: Mutex::new(store.load()?) })
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
    /// It cannot be saved; it is changed all the same.
    pub fn note(&self, change: impl FnOnce(&mut Ledger)) -> Result<(), StoreError> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ledger.clone();
        change(&mut ledger);
        if *ledger == before { Ok(()) } else { self.store.save(&ledger) }
    }
}
