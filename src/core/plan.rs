//! What to change: wanted and retired names, against what was observed, to conditional changes per zone.
//!
//! | ownership | wanted                             | retired              |
//! |-----------|------------------------------------|----------------------|
//! | `Vacant`  | create, guard: name still not used | nothing, forgotten   |
//! | `Ours`    | replace what differs, guard: marker and absences unchanged | delete ours, keep others' types |
//! | `Theirs`  | blocked, or taken over by rule (`gives_way`) | nothing, forgotten |
//! | `Foreign` | blocked                            | nothing, forgotten   |
//!
//! Of a shared name only our own values are changed, whatever others do there meanwhile:
//!
//! | ownership | wanted, shared                     | retired              |
//! |-----------|------------------------------------|----------------------|
//! | `Vacant`  | add ours, guard: name still not used | nothing, forgotten |
//! | `Shared`  | add and remove ours, guard: there are still markers, no alias | remove ours |
//! | `Ours`    | our owner's marker becomes a member's | see above         |
//! | `Theirs`, `Foreign` | blocked                  | nothing, forgotten   |
//!
//! A plan is a pure function of its inputs, and the plan of its own result is empty.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    iter::Peekable,
};

pub use super::change::{Guard, RrsetSwap, Scope, ZoneChange};
use super::{
    membership::{become_member, join, members},
    name::Name,
    naming::{Conflict, Reverse, Wish},
    ownership::{Life, OwnerId, Ownership, marked, owners, ownership_of, taken_over, unmarked},
    reason::{Obstacle, Reason},
    rrset::{Rdata, Records, RrType, Rrset, RrsetKey},
};

/// What a backend saw: the zone that holds each name that was asked for, and the records at those names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Each name's zone; a name that no zone of the backend holds is left out.
    pub zones: BTreeMap<Name, Name>,
    /// All records at the names.
    pub records: Records,
    /// The one zone that names other than reverse ones may be in, where the backend's configuration says so.
    pub bound_to: Option<Name>,
    /// Names that no zone was found for while a server that could know one did not tell, and what became of it.
    pub unanswered: BTreeMap<Name, String>,
    /// What EC2 said of other owners; those that it was not asked about, or cannot know, are left out.
    pub owners: BTreeMap<OwnerId, Life>,
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
    /// One change a zone, and one for each name that is sent again.
    pub changes: Vec<ZoneChange>,
    /// Wanted names that are somebody else's, or nobody's to give.
    pub blocked: Vec<Blocked>,
    /// Wanted names that are as they should be.
    pub unchanged: Vec<Name>,
    /// Wanted names that are left out by rule, and why.
    pub skipped: Vec<(Name, Reason)>,
    /// Retired names at which nothing of ours stands.
    pub gone: Vec<Name>,
    /// Retired names that stay until what is to stand in their place can be published.
    pub kept: Vec<Name>,
    /// Retired names whose zone nobody serves just now.
    pub unreached: Vec<Name>,
    /// Wanted and retired names of which it is not known whether a zone holds them, and why; nothing is done about them.
    pub unanswered: BTreeMap<Name, String>,
    /// Other owners on whose life it depends whether a blocked name is taken over, and of whom nothing is known yet.
    pub contested: BTreeSet<OwnerId>,
}

impl Plan {
    /// Whether nothing would be sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Names at which something of ours stands, as it should or not; not those that are taken over.
    pub fn standing(&self) -> impl Iterator<Item = &Name> {
        let swaps = self.changes.iter().flat_map(|change| &change.swaps);
        let is_ours = |swap: &&RrsetSwap| {
            let is_taken = matches!(swap.because, Reason::OwnerGone(_) | Reason::OwnerMoved(_));
            swap.own().0.is_some() && !is_taken
        };
        self.unchanged.iter().chain(swaps.filter(is_ours).map(|swap| &swap.key.name))
    }

    /// Whether a wanted name will not stand.
    fn lacks(&self, name: &Name) -> bool {
        self.unanswered.contains_key(name)
            || self.blocked.iter().any(|blocked| blocked.name == *name)
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
    let (reverse, forward): (Vec<_>, Vec<_>) =
        desired.iter().partition(|(name, _)| name.is_reverse());
    for names in [forward, reverse] {
        let mut walk = Walk::through(observed);
        for (name, wish) in names {
            if let Some(target) = waits_for(wish, &plan) {
                plan.skipped.push((name.clone(), Reason::Awaits(target)));
                continue;
            }
            let (zone, here) = walk.to(name);
            let Some(zone) = zone else {
                pass_over(name, wish, observed, &mut plan);
                continue;
            };
            let change = if wish.shared {
                join(owner, name, wish, &here)
            } else {
                publish(owner, name, wish, &here, &observed.owners)
            };
            match change {
                Ok((_, swaps)) if swaps.is_empty() => plan.unchanged.push(name.clone()),
                Ok(change) => put(zone, change),
                Err(by) => {
                    if matches!(by, Obstacle::Theirs(_)) && may_give_way(name, wish) {
                        let others = owners(here.values().copied());
                        let others = others.filter(|it| it != owner);
                        plan.contested
                            .extend(others.filter(|it| !observed.owners.contains_key(it)));
                    }
                    plan.blocked.push(Blocked { name: name.clone(), by });
                }
            }
        }
    }
    // A host does not give its name up for one that it does not get.
    let waits = desired.keys().any(|name| !name.is_reverse() && plan.lacks(name));
    let mut walk = Walk::through(observed);
    for name in retired.iter().filter(|name| !desired.contains_key(name)) {
        let (zone, here) = walk.to(name);
        if waits && !name.is_reverse() && zone.is_some() {
            plan.kept.push(name.clone());
            continue;
        }
        let ours = ownership_of(owner, here.values().copied()) == Ownership::Ours;
        let shares = members(here.values().copied()).any(|member| member.owner == *owner);
        match zone {
            Some(zone) if ours => put(zone, retire(owner, name, &here)),
            Some(zone) if shares => {
                put(zone, (Vec::new(), become_member(owner, name, None, &here, &Reason::Retired)))
            }
            Some(_) => plan.gone.push(name.clone()),
            // Its zone may come back, and what is ours there with it: it is not forgotten.
            None => {
                plan.unreached.push(name.clone());
                let why = observed.unanswered.get_key_value(name);
                plan.unanswered.extend(why.map(|(name, why)| (name.clone(), why.clone())));
            }
        }
    }
    plan.changes = zones.into_values().collect();
    // What reverse names lead to comes first: it may be refused.
    plan.changes.sort_by_key(|change| change.zone.is_reverse());
    plan.unchanged.sort();
    plan
}

/// The name that a reverse name would point to, and that is not published; nobody is led there.
fn waits_for(wish: &Wish, plan: &Plan) -> Option<Name> {
    let mut targets = wish.values.iter().map(|value| match value {
        Rdata::Ptr(target) if plan.lacks(target) => Some(target.clone()),
        _ => None,
    });
    let first = targets.next()?;
    if targets.all(|target| target.is_some()) { first } else { None }
}

/// Notes a wanted name that no zone of the backend holds.
fn pass_over(name: &Name, wish: &Wish, observed: &Observed, plan: &mut Plan) {
    if let Some(why) = observed.unanswered.get(name) {
        plan.unanswered.insert(name.clone(), why.clone());
        return;
    }
    match wish.reverse {
        Reverse::IfServed => plan.skipped.push((name.clone(), Reason::Unserved(name.clone()))),
        Reverse::Always | Reverse::Never => {
            let bound = observed.bound_to.clone().filter(|_| !name.is_reverse());
            let by = bound.map_or(Obstacle::Unserved, Obstacle::Outside);
            plan.blocked.push(Blocked { name: name.clone(), by });
        }
    }
}

/// The RRsets at one name, by type.
pub(super) type Standing<'a> = BTreeMap<RrType, &'a Rrset>;

/// Goes through what was observed in the order of names, which is that of the wanted ones: a search for each name would
/// make many names cost more than their number.
struct Walk<'a> {
    zones: Peekable<btree_map::Iter<'a, Name, Name>>,
    records: Peekable<btree_map::Iter<'a, RrsetKey, Rrset>>,
}

impl<'a> Walk<'a> {
    fn through(observed: &'a Observed) -> Self {
        let (zones, records) = (observed.zones.iter(), observed.records.iter());
        Self { zones: zones.peekable(), records: records.peekable() }
    }

    /// The zone of `name` and what stands at it; `name` comes after all that were asked for before.
    fn to(&mut self, name: &Name) -> (Option<&'a Name>, Standing<'a>) {
        while self.zones.next_if(|(at, _)| *at < name).is_some() {}
        while self.records.next_if(|(key, _)| key.name < *name).is_some() {}
        let zone = self.zones.next_if(|(at, _)| *at == name).map(|(_, zone)| zone);
        let here = std::iter::from_fn(|| self.records.next_if(|(key, _)| key.name == *name));
        (zone, here.map(|(key, set)| (key.rtype, set)).collect())
    }
}

/// What one wanted name takes: nothing when it is right already.
fn publish(
    owner: &OwnerId,
    name: &Name,
    wish: &Wish,
    here: &Standing<'_>,
    lives: &BTreeMap<OwnerId, Life>,
) -> Result<(Vec<Guard>, Vec<RrsetSwap>), Obstacle> {
    let because = match ownership_of(owner, here.values().copied()) {
        Ownership::Vacant => Reason::Vacant,
        Ownership::Ours => Reason::Ours,
        Ownership::Theirs(other) => {
            let mut others = owners(here.values().copied()).filter(|it| it != owner);
            if !others.all(|it| gives_way(name, wish, lives.get(&it))) {
                return Err(Obstacle::Theirs(other));
            }
            if lives.get(&other) == Some(&Life::Gone) {
                Reason::OwnerGone(other)
            } else {
                Reason::OwnerMoved(other)
            }
        }
        Ownership::Shared => {
            // The last member may have it alone.
            if members(here.values().copied()).any(|member| member.owner != *owner) {
                return Err(Obstacle::Shared);
            }
            Reason::Shared
        }
        Ownership::Foreign => return Err(Obstacle::Foreign),
    };
    if here.contains_key(&RrType::Cname) {
        return Err(Obstacle::Alias);
    }
    let mut swaps = Vec::new();
    for rtype in MANAGED {
        let values =
            wish.values.iter().filter(|value| value.rtype() == rtype).cloned().collect::<Vec<_>>();
        let after = (!values.is_empty()).then(|| Rrset::new(wish.ttl, values));
        swaps.extend(swap(name, rtype, here, after, &because));
    }
    if because == Reason::Vacant {
        let marker = Some(marked(None, owner, wish.ttl));
        swaps.extend(swap(name, RrType::Txt, here, marker, &because));
        return Ok((vec![Guard::NameNotInUse(name.clone())], swaps));
    }
    if because != Reason::Ours {
        // The change itself has the condition that the marker is still the other's.
        let after = here.get(&RrType::Txt).map(|set| taken_over(set, owner, wish.ttl));
        swaps.extend(swap(name, RrType::Txt, here, after, &because));
        return Ok((vec![Guard::Absent(RrsetKey::new(name.clone(), RrType::Cname))], swaps));
    }
    Ok((still_ours(name, here, &swaps), swaps))
}

/// Whether a name that another instance's marker names goes to us.
///
/// ```text
/// what EC2 says of the other instance   a name, `take-over-if-gone`   a name, else   a reverse name
/// gone                                  ours                          blocked        ours
/// exists, without the address           blocked                       blocked        ours
/// exists, with the address              blocked                       blocked        blocked
/// nothing: another account's, or mute   blocked                       blocked        blocked
/// ```
/// A reverse name follows its address, which EC2 gives to one instance at a time in a VPC: ours has it now.
fn gives_way(name: &Name, wish: &Wish, life: Option<&Life>) -> bool {
    match life {
        Some(Life::Gone) => may_give_way(name, wish),
        Some(Life::Exists(addresses)) => {
            name.is_reverse() && !addresses.iter().any(|address| Name::reverse(*address) == *name)
        }
        None => false,
    }
}

/// Whether it matters for the name what EC2 says of another owner.
fn may_give_way(name: &Name, wish: &Wish) -> bool {
    name.is_reverse() || wish.conflict == Conflict::TakeOverIfGone
}

/// What taking back one of our names takes.
pub(super) fn retire(
    owner: &OwnerId,
    name: &Name,
    here: &Standing<'_>,
) -> (Vec<Guard>, Vec<RrsetSwap>) {
    let mut swaps = MANAGED
        .iter()
        .filter_map(|rtype| swap(name, *rtype, here, None, &Reason::Retired))
        .collect::<Vec<_>>();
    let after = here.get(&RrType::Txt).and_then(|set| unmarked(set, owner));
    swaps.extend(swap(name, RrType::Txt, here, after, &Reason::Retired));
    (Vec::new(), swaps)
}

fn swap(
    name: &Name,
    rtype: RrType,
    here: &Standing<'_>,
    after: Option<Rrset>,
    because: &Reason,
) -> Option<RrsetSwap> {
    let before = here.get(&rtype).copied();
    (before != after.as_ref()).then(|| RrsetSwap {
        key: RrsetKey::new(name.clone(), rtype),
        before: before.cloned(),
        after,
        scope: Scope::Whole,
        because: because.clone(),
    })
}

/// The conditions under which a name that was ours still is, and can still take addresses.
fn still_ours(name: &Name, here: &Standing<'_>, swaps: &[RrsetSwap]) -> Vec<Guard> {
    if swaps.is_empty() {
        return Vec::new();
    }
    let unchanged = here
        .get(&RrType::Txt)
        .map(|set| Guard::Unchanged(RrsetKey::new(name.clone(), RrType::Txt), (*set).clone()));
    // A server ignores an address that is added beside an alias, and answers NOERROR (RFC 2136 section 3.4.2.2).
    let no_alias = Guard::Absent(RrsetKey::new(name.clone(), RrType::Cname));
    unchanged.into_iter().chain([no_alias]).collect()
}

/// The types that are tagalong's at a name that it owns; others there are left alone.
const MANAGED: [RrType; 3] = [RrType::A, RrType::Aaaa, RrType::Ptr];

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
