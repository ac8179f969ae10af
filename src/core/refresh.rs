//! What is kept about published names beside their records, and when they are sent again for it.
//!
//! A server that grants a lease (RFC 9664) takes records back by itself, unless they are sent again in time. An update leases
//! what it adds and nothing else: whatever is done about a name is done about all of it. An index of marked names is written
//! with their markers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    change::{Guard, RrsetSwap, Scope, ZoneChange},
    ledger::{Ledger, Published},
    membership::Member,
    name::Name,
    naming::Wish,
    ownership::OwnerId,
    plan::{Observed, Plan},
    reason::Reason,
    rrset::{Rdata, RrType, Rrset, RrsetKey},
};

/// What a backend keeps about what it publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// The lease that it asks for.
    pub lease: Option<Duration>,
    /// Whether it has an index of marked names.
    pub index: bool,
}

/// What is kept about a published name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Its lease.
    pub lease: Lease,
    /// Whether it was put into the index.
    pub indexed: bool,
}

impl Kept {
    /// What is kept about names that were changed under `keeping`, with the lease that the server granted.
    #[must_use]
    pub fn of(keeping: Keeping, granted: Option<Duration>) -> Self {
        let lease = match (keeping.lease, granted) {
            (None, _) => Lease::Unasked,
            (Some(_), None) => Lease::Ungranted,
            (Some(_), Some(granted)) => Lease::Granted(granted.as_secs()),
        };
        Self { lease, indexed: keeping.index }
    }

    /// Whether a change of one of the name's records must bring the others with it.
    fn needs_all(self, keeping: Keeping) -> bool {
        let is_leased = keeping.lease.is_some() && self.lease != Lease::Ungranted;
        is_leased || self.needs_index(keeping)
    }

    fn needs_index(self, keeping: Keeping) -> bool {
        keeping.index && !self.indexed
    }
}

/// What is known of the lease of a published name.
///
/// ```text
/// asked for now   the name's lease            to be sent again
/// yes             never asked for             now, to ask for one
/// yes             asked for, and not granted  never: the server does not know leases
/// yes, no         granted                     when four fifths of it are over (RFC 9664 section 5.2); now, to end it
/// no              never asked for             never
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lease {
    /// None was asked for.
    #[default]
    Unasked,
    /// The server granted none.
    Ungranted,
    /// The server takes the records back after this many seconds.
    Granted(u64),
}

impl Published {
    fn is_due(&self, keeping: Keeping, now: u64) -> bool {
        let is_over = match (keeping.lease, self.kept.lease) {
            (Some(_), Lease::Unasked) | (None, Lease::Granted(_)) => true,
            (Some(_), Lease::Granted(_)) => self.refresh_at().is_some_and(|at| at <= now),
            (Some(_), Lease::Ungranted) | (None, Lease::Unasked | Lease::Ungranted) => false,
        };
        is_over || self.kept.needs_index(keeping)
    }

    fn refresh_at(&self) -> Option<u64> {
        match self.kept.lease {
            Lease::Granted(seconds) => Some(self.at.saturating_add(seconds - seconds.div_ceil(5))),
            Lease::Unasked | Lease::Ungranted => None,
        }
    }
}

impl Ledger {
    /// How long it is until a lease of ours has to be refreshed, spread by `chance`, from 0 to 1, over a twentieth of it.
    #[must_use]
    pub fn refresh_in(&self, now: u64, chance: f64) -> Option<Duration> {
        let published = self.published.values().flat_map(|names| names.values());
        let waits = published.filter_map(|published| {
            let left = Duration::from_secs(published.refresh_at()?.saturating_sub(now));
            let Lease::Granted(seconds) = published.kept.lease else { return None };
            Some(left + Duration::from_secs(seconds).mul_f64(chance / 20.0))
        });
        waits.min()
    }
}

/// Adds to a plan what it takes to keep names: everything of ours at names whose turn it is, and at those that change anyway.
pub fn refresh(
    plan: &mut Plan,
    owner: &OwnerId,
    desired: &BTreeMap<Name, Wish>,
    observed: &Observed,
    published: &BTreeMap<Name, Published>,
    keeping: Keeping,
    now: u64,
) {
    for (name, wish) in desired {
        let Some(zone) = observed.zones.get(name) else { continue };
        let unknown = Published { at: now, confirmed: true, kept: Kept::default() };
        let known = published.get(name).unwrap_or(&unknown);
        let is_unchanged = plan.unchanged.contains(name);
        let is_wanted =
            if is_unchanged { known.is_due(keeping, now) } else { known.kept.needs_all(keeping) };
        let place = plan.changes.iter().position(|change| change.zone == *zone);
        if !is_wanted || (place.is_none() && !is_unchanged) {
            continue;
        }
        let place = place.unwrap_or_else(|| {
            let zone = zone.clone();
            plan.changes.push(ZoneChange { zone, guards: Vec::new(), swaps: Vec::new() });
            plan.changes.len() - 1
        });
        let Some(change) = plan.changes.get_mut(place) else { continue };
        let is_changed = change.swaps.iter().any(|swap| swap.key.name == *name);
        if !is_unchanged && !is_changed {
            continue;
        }
        for rtype in [RrType::A, RrType::Aaaa, RrType::Ptr, RrType::Txt] {
            let key = RrsetKey::new(name.clone(), rtype);
            if let Some(there) = observed.records.get(&key) {
                send_again(change, key, there, |value| is_ours(value, owner, wish));
            }
        }
        if is_unchanged {
            change.guards.extend(guards(name, wish, observed));
            plan.unchanged.retain(|unchanged| unchanged != name);
        }
    }
}

/// Whether a value at a wanted name is what we put there.
fn is_ours(value: &Rdata, owner: &OwnerId, wish: &Wish) -> bool {
    let marker = OwnerId::of_marker(value);
    let marker = marker.or_else(|| Some(Member::of_marker(value)?.owner));
    wish.values.contains(value) || marker.as_ref() == Some(owner)
}

/// Adds to `change` those of an RRset's values that are ours and stay.
fn send_again(
    change: &mut ZoneChange,
    key: RrsetKey,
    there: &Rrset,
    is_ours: impl Fn(&Rdata) -> bool,
) {
    let ours = there.values.iter().filter(|value| is_ours(value)).cloned();
    let ours = ours.collect::<BTreeSet<_>>();
    match change.swaps.iter_mut().find(|swap| swap.key == key).map(|swap| &mut swap.scope) {
        Some(Scope::Whole) => {}
        Some(Scope::Values { remove, add }) => {
            add.extend(ours.into_iter().filter(|value| !remove.contains(value)));
        }
        None if ours.is_empty() => {}
        None => change.swaps.push(RrsetSwap {
            key,
            before: Some(there.clone()),
            after: Some(there.clone()),
            scope: Scope::Values { remove: BTreeSet::new(), add: ours },
            because: Reason::Kept,
        }),
    }
}

/// The name is still ours, or still shared, and no alias.
fn guards(name: &Name, wish: &Wish, observed: &Observed) -> Vec<Guard> {
    let key = |rtype| RrsetKey::new(name.clone(), rtype);
    let markers = observed.records.get(&key(RrType::Txt)).map(|there| {
        if wish.shared {
            Guard::Exists(key(RrType::Txt))
        } else {
            Guard::Unchanged(key(RrType::Txt), there.clone())
        }
    });
    markers.into_iter().chain([Guard::Absent(key(RrType::Cname))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_due_after_four_fifths_and_whenever_what_is_wanted_of_it_changes() {
        let wanted = Some(Duration::from_secs(7200));
        let due = |lease, asked, now| {
            let kept = Kept { lease, indexed: false };
            let keeping = Keeping { lease: asked, index: false };
            Published { at: 1000, confirmed: true, kept }.is_due(keeping, now)
        };
        for (lease, asked, now, expect) in [
            (Lease::Unasked, wanted, 1000, true),
            (Lease::Unasked, None, u64::MAX, false),
            (Lease::Ungranted, wanted, u64::MAX, false),
            (Lease::Ungranted, None, u64::MAX, false),
            (Lease::Granted(100), wanted, 1079, false),
            (Lease::Granted(100), wanted, 1080, true),
            (Lease::Granted(100), None, 1000, true),
        ] {
            assert_eq!(due(lease, asked, now), expect, "{lease:?} {asked:?} {now}");
        }
    }

    #[test]
    fn a_name_is_due_until_the_index_has_it() {
        let keeping = Keeping { lease: None, index: true };
        let known = |indexed| {
            let kept = Kept { lease: Lease::Unasked, indexed };
            Published { at: 0, confirmed: true, kept }
        };
        assert!(known(false).is_due(keeping, 0) && known(false).kept.needs_all(keeping));
        assert!(!known(true).is_due(keeping, 0) && !known(true).kept.needs_all(keeping));
        assert!(!known(false).is_due(Keeping::default(), 0));
    }

    #[test]
    fn the_first_lease_to_be_refreshed_sets_the_time() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.refresh_in(0, 1.0), None);
        let leases = [Lease::Granted(1000), Lease::Granted(200), Lease::Ungranted, Lease::Unasked];
        let names = ledger.published.entry("b".to_owned()).or_default();
        for (number, lease) in leases.into_iter().enumerate() {
            let name = format!("n{number}.x").parse().unwrap();
            names.insert(
                name,
                Published { at: 1000, confirmed: true, kept: Kept { lease, ..Kept::default() } },
            );
        }
        assert_eq!(ledger.refresh_in(1000, 0.0), Some(Duration::from_secs(160)));
        assert_eq!(ledger.refresh_in(1100, 1.0), Some(Duration::from_secs(70)));
        assert_eq!(ledger.refresh_in(5000, 0.0), Some(Duration::ZERO));
    }
}
