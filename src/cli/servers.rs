//! The list of the fleet's DNS servers, completed by what was listed last.

use std::{collections::BTreeMap, sync::PoisonError};

use tokio::time::Instant;

use super::{known::Known, wiring::Host};
use crate::{
    agent::report::Inputs,
    core::servers::{NameServer, complete},
    ports::{Clock as _, Failure, Listing},
    sys::clock::SystemClock,
};

/// A Region whose part of the list is that of last time.
pub(super) struct Untold {
    text: String,
    is_throttled: bool,
}

impl Host<'_> {
    /// The listed DNS servers, tried again until the deadline; of a Region that does not tell while others do, those that
    /// were listed last.
    pub(super) async fn servers(
        &self,
        known: &Known,
        deadline: Instant,
    ) -> Result<Vec<NameServer>, Failure> {
        let Listing { regions } = known.servers(deadline).await?;
        let now = Some(SystemClock.now());
        self.note_inputs(Inputs { servers: now, ..Inputs::default() });
        let last = self.notebook.ledger().servers.map(|known| known.servers).unwrap_or_default();
        let mut failed = BTreeMap::new();
        let told = regions.into_iter().map(|(region, list)| match list {
            Ok(servers) => (region, Some(servers)),
            Err(error) => {
                failed.insert(region.clone(), Failure::of(&error));
                (region, None)
            }
        });
        let (servers, kept) = complete(told.collect(), &last);
        let untold = kept.into_iter().map(|(region, kept)| {
            let failure = failed.remove(&region);
            let why = failure.as_ref().map_or("it lists nobody".to_owned(), ToString::to_string);
            Untold {
                text: format!("{region}: {why}; {kept} server(s) of the last list are kept"),
                is_throttled: failure.is_some_and(|failure| failure.is_throttled),
            }
        });
        *self.untold.lock().unwrap_or_else(PoisonError::into_inner) = untold.collect();
        Ok(servers)
    }

    /// What the last list of servers left untold.
    pub(super) fn untold(&self) -> Vec<String> {
        let untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        untold.iter().map(|one| one.text.clone()).collect()
    }

    /// Whether a Region left it untold for being asked too much.
    pub(super) fn is_throttled(&self) -> bool {
        let untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        untold.iter().any(|one| one.is_throttled)
    }
}
