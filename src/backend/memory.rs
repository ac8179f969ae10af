//! Zones in memory that obey RFC 2136 section 3: what the journeys and the planner are tested against.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    core::{
        name::Name,
        ownership::records_at,
        plan::{Guard, Observed, Scope, ZoneChange},
        rrset::{Records, RrType, Rrset, RrsetKey},
    },
    ports::{Backend, error::BackendError},
};

/// The backend: some zones, and all their records.
#[derive(Debug, Default)]
pub struct Memory {
    zones: BTreeSet<Name>,
    records: Mutex<Records>,
}

impl Memory {
    /// Empty zones with these apexes.
    #[must_use]
    pub fn new(zones: impl IntoIterator<Item = Name>) -> Self {
        Self { zones: zones.into_iter().collect(), records: Mutex::default() }
    }

    /// The records, to look at and to tamper with.
    pub fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn zone_of(&self, name: &Name) -> Option<&Name> {
        let holding = self.zones.iter().filter(|zone| name.is_within(zone));
        holding.max_by_key(|zone| zone.labels().count())
    }
}

#[async_trait]
impl Backend for Memory {
    async fn observe(&self, names: &[Name]) -> Result<Observed, BackendError> {
        let records = self.records();
        let zones =
            names.iter().filter_map(|name| Some((name.clone(), self.zone_of(name)?.clone())));
        let at = names
            .iter()
            .flat_map(|name| records_at(name, &records))
            .map(|(key, set)| (key.clone(), set.clone()));
        Ok(Observed { zones: zones.collect(), records: at.collect(), ..Observed::default() })
    }

    async fn apply(&self, change: &ZoneChange) -> Result<Option<Duration>, BackendError> {
        let mut records = self.records();
        if !holds(change, &records) {
            return Err(BackendError::Conflict { zone: change.zone.clone() });
        }
        for swap in &change.swaps {
            let before = records.remove(&swap.key);
            let after = match &swap.scope {
                Scope::Whole => swap.after.clone(),
                Scope::Values { remove, add } => {
                    let ttl = swap.after.as_ref().map(|set| set.ttl);
                    let mut set = before.unwrap_or_else(|| Rrset::new(0, []));
                    set.values.retain(|value| !remove.contains(value));
                    set.values.extend(add.iter().cloned());
                    set.ttl = ttl.filter(|_| !add.is_empty()).unwrap_or(set.ttl);
                    Some(set).filter(|set| !set.values.is_empty())
                }
            };
            // RFC 2136 section 3.4.2.2: what may not stand beside an alias is ignored without an error.
            let alias = RrsetKey::new(swap.key.name.clone(), RrType::Cname);
            if let Some(after) = after.filter(|_| !records.contains_key(&alias)) {
                records.insert(swap.key.clone(), after);
            }
        }
        Ok(None)
    }

    async fn read(&self, zone: &Name) -> Result<Records, BackendError> {
        if !self.zones.contains(zone) {
            return Err(BackendError::NoZone { zone_id: zone.to_string() });
        }
        let records = self.records();
        let here = records.iter().filter(|(key, _)| self.zone_of(&key.name) == Some(zone));
        Ok(here.map(|(key, set)| (key.clone(), set.clone())).collect())
    }

    fn place(&self) -> String {
        "memory".to_owned()
    }
}

/// Whether the prerequisites hold; values are compared, TTLs are not (RFC 2136 section 3.2.3).
fn holds(change: &ZoneChange, records: &Records) -> bool {
    let same = |key: &RrsetKey, set: Option<&Rrset>| {
        records.get(key).map(|set| &set.values) == set.map(|set| &set.values)
    };
    let guards = change.guards.iter().all(|guard| match guard {
        Guard::NameNotInUse(name) => records_at(name, records).next().is_none(),
        Guard::Unchanged(key, set) => same(key, Some(set)),
        Guard::Absent(key) => same(key, None),
        Guard::Exists(key) => records.contains_key(key),
    });
    let mut whole = change.swaps.iter().filter(|swap| swap.scope == Scope::Whole);
    guards && whole.all(|swap| same(&swap.key, swap.before.as_ref()))
}
