//! What to change: wanted and retired names, against what was observed, to conditional changes per zone.
//!
//! | ownership | wanted                             | retired              |
//! |-----------|------------------------------------|----------------------|
//! | `Vacant`  | create, guard: name still not used | nothing, forgotten   |
//! | `Ours`    | replace what differs, guard: marker and absences unchanged | delete ours, keep others' types |
//! | `Theirs`  | blocked                            | nothing, forgotten   |
//! | `Foreign` | blocked                            | nothing, forgotten   |
//!
//! A plan is a pure function of its inputs, and the plan of its own result is empty.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    name::Name,
    naming::{Reverse, Wish},
    ownership::{OwnerId, Ownership, marked, ownership, unmarked},
    reason::{Obstacle, Reason},
    rrset::{Records, RrType, Rrset, RrsetKey},
};

/// What a backend saw: the zone that holds each name that was asked for, and the records at those names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Each name's zone; a name that no zone of the backend holds is left out.
    pub zones: BTreeMap<Name, Name>,
    /// All records at the names.
    pub records: Records,
}

/// Compare and swap of one RRset: becomes `after`, if it is still `before`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RrsetSwap {
    /// Which RRset.
    pub key: RrsetKey,
    /// What was read there.
    pub before: Option<Rrset>,
    /// What shall stand there.
    pub after: Option<Rrset>,
    /// Why.
    pub because: Reason,
}

/// A condition on something that the change does not itself replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// No record of any type stands at the name (RFC 2136 section 2.4.5).
    NameNotInUse(Name),
    /// The RRset holds exactly these values (RFC 2136 section 2.4.2).
    Unchanged(RrsetKey, Rrset),
    /// There is no such RRset (RFC 2136 section 2.4.3).
    Absent(RrsetKey),
}

/// Changes of one zone that happen together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneChange {
    /// The zone's apex.
    pub zone: Name,
    /// What must hold beside the swaps' own `before`.
    pub guards: Vec<Guard>,
    /// The swaps, by name and type.
    pub swaps: Vec<RrsetSwap>,
}

/// A wanted name that is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The name.
    pub name: Name,
    /// Why.
    pub by: Obstacle,
}

/// What is to be done in the zones of one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Plan {
    /// One change a zone.
    pub changes: Vec<ZoneChange>,
    /// Wanted names that are somebody else's, or nobody's to give.
    pub blocked: Vec<Blocked>,
    /// Wanted names that are as they should be.
    pub unchanged: Vec<Name>,
    /// Wanted names that are left out by rule, and why.
    pub skipped: Vec<(Name, Reason)>,
    /// Retired names at which nothing of ours stands.
    pub gone: Vec<Name>,
    /// Retired names whose zone nobody serves just now.
    pub unreached: Vec<Name>,
}

impl Plan {
    /// Whether nothing would be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

/// Plans the way from `observed` to `desired`, for names that `owner` may change.
pub fn plan(
    owner: &OwnerId,
    desired: &BTreeMap<Name, Wish>,
    retired: &BTreeSet<Name>,
    observed: &Observed,
) -> Plan {
    let mut plan = Plan::default();
    let mut zones: BTreeMap<Name, ZoneChange> = BTreeMap::new();
    let mut put = |zone: &Name, (guards, swaps): (Vec<Guard>, Vec<RrsetSwap>)| {
        let change = zones.entry(zone.clone()).or_insert_with(|| ZoneChange {
            zone: zone.clone(),
            guards: Vec::new(),
            swaps: Vec::new(),
        });
        change.guards.extend(guards);
        change.swaps.extend(swaps);
    };
    for (name, wish) in desired {
        let Some(zone) = observed.zones.get(name) else {
            match wish.reverse {
                Reverse::IfServed => {
                    plan.skipped.push((name.clone(), Reason::Unserved(name.clone())));
                }
                Reverse::Always | Reverse::Never => {
                    plan.blocked.push(Blocked { name: name.clone(), by: Obstacle::Unserved });
                }
            }
            continue;
        };
        match publish(owner, name, wish, &observed.records) {
            Ok((_, swaps)) if swaps.is_empty() => plan.unchanged.push(name.clone()),
            Ok(change) => put(zone, change),
            Err(by) => plan.blocked.push(Blocked { name: name.clone(), by }),
        }
    }
    for name in retired.iter().filter(|name| !desired.contains_key(name)) {
        let ours = ownership(name, owner, &observed.records) == Ownership::Ours;
        match observed.zones.get(name) {
            Some(zone) if ours => put(zone, retire(owner, name, &observed.records)),
            Some(_) => plan.gone.push(name.clone()),
            // Its zone may come back, and what is ours there with it: it is not forgotten.
            None => plan.unreached.push(name.clone()),
        }
    }
    plan.changes = zones.into_values().collect();
    plan
}

/// What one wanted name takes: nothing when it is right already.
fn publish(
    owner: &OwnerId,
    name: &Name,
    wish: &Wish,
    observed: &Records,
) -> Result<(Vec<Guard>, Vec<RrsetSwap>), Obstacle> {
    let because = match ownership(name, owner, observed) {
        Ownership::Vacant => Reason::Vacant,
        Ownership::Ours => Reason::Ours,
        Ownership::Theirs(other) => return Err(Obstacle::Theirs(other)),
        Ownership::Foreign => return Err(Obstacle::Foreign),
    };
    if observed.contains_key(&RrsetKey::new(name.clone(), RrType::Cname)) {
        return Err(Obstacle::Alias);
    }
    let mut swaps = Vec::new();
    for rtype in MANAGED {
        let values =
            wish.values.iter().filter(|value| value.rtype() == rtype).cloned().collect::<Vec<_>>();
        let after = (!values.is_empty()).then(|| Rrset::new(wish.ttl, values));
        swaps.extend(swap(name, rtype, observed, after, &because));
    }
    if because == Reason::Vacant {
        let marker = Some(marked(None, owner, wish.ttl));
        swaps.extend(swap(name, RrType::Txt, observed, marker, &because));
        return Ok((vec![Guard::NameNotInUse(name.clone())], swaps));
    }
    Ok((still_ours(name, observed, &swaps), swaps))
}

/// What taking back one of our names takes.
fn retire(owner: &OwnerId, name: &Name, observed: &Records) -> (Vec<Guard>, Vec<RrsetSwap>) {
    let mut swaps = MANAGED
        .iter()
        .filter_map(|rtype| swap(name, *rtype, observed, None, &Reason::Retired))
        .collect::<Vec<_>>();
    let marker = observed.get(&RrsetKey::new(name.clone(), RrType::Txt));
    let after = marker.and_then(|set| unmarked(set, owner));
    swaps.extend(swap(name, RrType::Txt, observed, after, &Reason::Retired));
    (Vec::new(), swaps)
}

fn swap(
    name: &Name,
    rtype: RrType,
    observed: &Records,
    after: Option<Rrset>,
    because: &Reason,
) -> Option<RrsetSwap> {
    let key = RrsetKey::new(name.clone(), rtype);
    let before = observed.get(&key).cloned();
    (before != after).then(|| RrsetSwap { key, before, after, because: because.clone() })
}

/// The conditions under which a name that was ours still is, and can still take addresses.
fn still_ours(name: &Name, observed: &Records, swaps: &[RrsetSwap]) -> Vec<Guard> {
    if swaps.is_empty() {
        return Vec::new();
    }
    let marker = RrsetKey::new(name.clone(), RrType::Txt);
    let unchanged = observed.get(&marker).map(|set| Guard::Unchanged(marker, set.clone()));
    // A server ignores an address that is added beside an alias, and answers NOERROR (RFC 2136 section 3.4.2.2).
    let no_alias = Guard::Absent(RrsetKey::new(name.clone(), RrType::Cname));
    unchanged.into_iter().chain([no_alias]).collect()
}

/// The types that are tagalong's at a name that it owns; others there are left alone.
const MANAGED: [RrType; 3] = [RrType::A, RrType::Aaaa, RrType::Ptr];

impl fmt::Display for RrsetSwap {
    /// One line of a diff: `* web-1.corp.internal. A 10.0.1.17 → 10.0.1.23 60 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RrsetKey { name, rtype } = &self.key;
        match (&self.before, &self.after) {
            (None, Some(after)) => write!(f, "+ {name} {rtype} {after} {} s", after.ttl),
            (Some(before), None) => write!(f, "- {name} {rtype} {before}"),
            (Some(before), Some(after)) if before.values == after.values => {
                write!(f, "* {name} {rtype} {after} {} s → {} s", before.ttl, after.ttl)
            }
            (Some(before), Some(after)) => {
                write!(f, "* {name} {rtype} {before} → {after} {} s", after.ttl)
            }
            (None, None) => write!(f, "  {name} {rtype}"),
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
