//! What is kept about published names beside their records, and when they are sent again for it.
//!
//! A server that grants a lease (RFC 9664) takes records back by itself, unless they are sent again in time. An update leases
//! what it adds and nothing else: where one record of a name changes, the others are sent with it. An index of marked names is
//! written with their markers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    change::{Guard, RrsetSwap, Scope, ZoneChange},
    ledger::{Ledger, Published},
    membership::{Member, members},
    name::Name,
    ownership::{OwnerId, Ownership, ownership_of, records_at},
    plan::{Observed, Plan},
    reason::Reason,
    rrset::{Rdata, RrType, RrsetKey},
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
            // No time at all is no lease.
            (Some(_), Some(granted)) => match granted.as_secs() {
                0 => Lease::Ungranted,
                seconds => Lease::Granted(seconds),
            },
        };
        Self { lease, indexed: keeping.index }
    }

    /// Whether a change of one of the name's records must bring the others with it.
    fn needs_all(self, keeping: Keeping) -> bool {
        let is_leased = keeping.lease.is_some() || matches!(self.lease, Lease::Granted(_));
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
/// yes             granted                     when four fifths of it are over (RFC 9664 section 5.2)
/// no              granted                     now, to end it
/// no              never, or not granted       never
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
            // One that began in the future was counted by another clock.
            (Some(_), Lease::Granted(_)) => {
                self.at > now || self.refresh_at().is_some_and(|at| at <= now)
            }
            (Some(_), Lease::Ungranted) | (None, Lease::Unasked | Lease::Ungranted) => false,
        };
        is_over || self.kept.needs_index(keeping)
    }

    fn refresh_at(&self) -> Option<u64> {
        match self.kept.lease {
            Lease::Granted(seconds) => {
                let term = (seconds - seconds.div_ceil(5)).max(SHORTEST_TERM);
                Some(self.at.saturating_add(term))
            }
            Lease::Unasked | Lease::Ungranted => None,
        }
    }
}

impl Ledger {
    /// How long it is, after a pass, until a lease of ours has to be refreshed, spread by `chance`, from 0 to 1, over a twentieth
    /// of it. What is due by now is what that pass could not refresh: it is tried again as any failure is.
    #[must_use]
    pub fn refresh_in(&self, now: u64, chance: f64) -> Option<Duration> {
        let published = self.published.values().flat_map(|names| names.values());
        let waits = published.filter_map(|published| {
            let left = published.refresh_at()?.checked_sub(now).filter(|left| *left > 0)?;
            let left = Duration::from_secs(left);
            let Lease::Granted(seconds) = published.kept.lease else { return None };
            Some(left + Duration::from_secs(seconds).mul_f64(chance / 20.0))
        });
        waits.min()
    }
}

/// Adds to a plan what it takes to keep names: all of ours at each that changes and stays; and at each whose turn it is a change
/// of its own, so that it shares no other's fate. That is any name of ours that was read and stays as it is, wanted or not yet
/// given up.
pub fn refresh(
    plan: &mut Plan,
    owner: &OwnerId,
    observed: &Observed,
    published: &BTreeMap<Name, Published>,
    keeping: Keeping,
    now: u64,
) {
    let mut again = Vec::new();
    for (name, zone) in &observed.zones {
        let ours = ours_at(owner, name, observed);
        if ours.is_empty() {
            continue;
        }
        let unknown = Published { at: now, confirmed: true, kept: Kept::default() };
        let known = published.get(name).unwrap_or(&unknown);
        let is_about = |swap: &RrsetSwap| swap.key.name == *name;
        let changing = plan.changes.iter_mut().find(|change| change.swaps.iter().any(is_about));
        match changing {
            Some(change) if known.kept.needs_all(keeping) && !leaves(change, name, owner) => {
                send_again(change, &ours, observed);
            }
            None if known.is_due(keeping, now) => {
                let guards = still_ours(owner, name, observed);
                let mut change = ZoneChange { zone: zone.clone(), guards, swaps: Vec::new() };
                send_again(&mut change, &ours, observed);
                again.push(change);
                plan.unchanged.retain(|unchanged| unchanged != name);
            }
            _ => {}
        }
    }
    plan.changes.extend(again);
}

/// What of the records at a name is ours: all that we manage at one that is ours alone, at a shared one what came with our
/// marker; nothing at any other.
fn ours_at(
    owner: &OwnerId,
    name: &Name,
    observed: &Observed,
) -> BTreeMap<RrsetKey, BTreeSet<Rdata>> {
    let here = || records_at(name, &observed.records);
    let members = members(here().map(|(_, set)| set)).collect::<Vec<_>>();
    let shares = members.iter().filter(|member| member.owner == *owner);
    let shares = shares.flat_map(|member| &member.addresses).copied().collect::<BTreeSet<_>>();
    let is_whole = match ownership_of(owner, here().map(|(_, set)| set)) {
        Ownership::Ours => members.is_empty(),
        Ownership::Shared if members.iter().any(|member| member.owner == *owner) => false,
        _ => return BTreeMap::new(),
    };
    let is_ours = |value: &Rdata| match value {
        Rdata::Txt(_) => is_marker_of(owner, value),
        Rdata::Ptr(_) => is_whole,
        _ => value.ip().is_some_and(|ip| is_whole || shares.contains(&ip)),
    };
    let sets = here().map(|(key, set)| {
        let ours = set.values.iter().filter(|value| is_ours(value)).cloned();
        (key.clone(), ours.collect::<BTreeSet<_>>())
    });
    sets.filter(|(_, ours)| !ours.is_empty()).collect()
}

fn is_marker_of(owner: &OwnerId, value: &Rdata) -> bool {
    let marker = OwnerId::of_marker(value);
    let marker = marker.or_else(|| Some(Member::of_marker(value)?.owner));
    marker.as_ref() == Some(owner)
}

/// Whether a change takes our marker from a name.
fn leaves(change: &ZoneChange, name: &Name, owner: &OwnerId) -> bool {
    let key = RrsetKey::new(name.clone(), RrType::Txt);
    let markers = change.swaps.iter().find(|swap| swap.key == key);
    markers.is_some_and(|swap| {
        let mut after = swap.after.iter().flat_map(|set| &set.values);
        !after.any(|value| is_marker_of(owner, value))
    })
}

/// Adds to `change` those of our values that stay.
fn send_again(
    change: &mut ZoneChange,
    ours: &BTreeMap<RrsetKey, BTreeSet<Rdata>>,
    observed: &Observed,
) {
    for (key, ours) in ours {
        match change.swaps.iter_mut().find(|swap| swap.key == *key).map(|swap| &mut swap.scope) {
            // It brings all that is ours in the set anyway.
            Some(Scope::Whole) => {}
            Some(Scope::Values { remove, add }) => add.extend(ours.difference(remove).cloned()),
            None => {
                let there = observed.records.get(key).cloned();
                let add = ours.clone();
                change.swaps.push(RrsetSwap {
                    key: key.clone(),
                    before: there.clone(),
                    after: there,
                    scope: Scope::Values { remove: BTreeSet::new(), add },
                    because: Reason::Kept,
                });
            }
        }
    }
}

/// The name is still ours, or we still have a part in it, and it is no alias.
fn still_ours(owner: &OwnerId, name: &Name, observed: &Observed) -> Vec<Guard> {
    let key = |rtype| RrsetKey::new(name.clone(), rtype);
    let here = || records_at(name, &observed.records).map(|(_, set)| set);
    let markers = observed.records.get(&key(RrType::Txt)).map(|there| {
        if ownership_of(owner, here()) == Ownership::Ours {
            Guard::Unchanged(key(RrType::Txt), there.clone())
        } else {
            // Others come and go.
            Guard::Exists(key(RrType::Txt))
        }
    });
    markers.into_iter().chain([Guard::Absent(key(RrType::Cname))]).collect()
}

/// Between two refreshes, in seconds, however short the leases that a server grants.
const SHORTEST_TERM: u64 = 5;

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
            (Lease::Granted(100), wanted, 999, true),
            (Lease::Granted(1), wanted, 1004, false),
            (Lease::Granted(1), wanted, 1005, true),
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
        assert_eq!(ledger.refresh_in(1160, 0.0), Some(Duration::from_secs(640)));
        assert_eq!(ledger.refresh_in(5000, 0.0), None, "what is over could not be refreshed");
    }
}
