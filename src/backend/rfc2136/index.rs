//! An index of the names that carry markers, for zones that nobody may transfer: a PTR record for each name, below `_tagalong`
//! at the zone's apex, in the update that brings or takes the marker.
//!
//! ```text
//! ce._tagalong.corp.internal. 300 IN PTR web-1.corp.internal.
//! ```
//! The first label is a digest of the name: a server may limit the size of a set (BIND: `max-records-per-type`), and an answer
//! has no more than 64 KiB.

use std::collections::{BTreeMap, BTreeSet};

use super::{Home, Rfc2136};
use crate::{
    core::{
        membership::members,
        name::Name,
        ownership::owners,
        plan::{Guard, RrsetSwap, Scope, ZoneChange},
        rrset::{Rdata, Records, RrType, Rrset, RrsetKey},
    },
    ports::error::BackendError,
    wire::message::{Question, Rcode},
};

/// The change with the entries that it takes in the zone's index.
pub(super) fn indexed(change: &ZoneChange) -> ZoneChange {
    let markers = change.swaps.iter().filter(|swap| swap.key.rtype == RrType::Txt);
    let mut guards = change.guards.clone();
    let mut entries = Vec::new();
    for swap in markers {
        let Some(shard) = shard(&change.zone, &swap.key.name) else { continue };
        let entry = BTreeSet::from([Rdata::Ptr(swap.key.name.clone())]);
        let (scope, after) = if brings_one(swap) {
            let set = Rrset::new(TTL, entry.iter().cloned());
            (Scope::Values { remove: BTreeSet::new(), add: entry }, Some(set))
        } else if is_marked(swap.before.as_ref()) && !is_marked(swap.after.as_ref()) {
            // The last of those who share it, if nobody has joined meanwhile.
            let last = swap.before.clone().filter(|_| swap.scope != Scope::Whole);
            guards.extend(last.map(|last| Guard::Unchanged(swap.key.clone(), last)));
            (Scope::Values { remove: entry, add: BTreeSet::new() }, None)
        } else {
            continue;
        };
        let (key, because) = (RrsetKey::new(shard, RrType::Ptr), swap.because.clone());
        entries.push(RrsetSwap { key, before: None, after, scope, because });
    }
    let swaps = change.swaps.iter().cloned().chain(entries).collect();
    ZoneChange { zone: change.zone.clone(), guards, swaps }
}

fn is_marked(set: Option<&Rrset>) -> bool {
    set.is_some_and(|set| owners([set]).next().is_some() || members([set]).next().is_some())
}

/// Whether a marker is written, be it again.
fn brings_one(swap: &RrsetSwap) -> bool {
    let (_, after) = swap.own();
    is_marked(after.as_ref())
}

/// The place of a name's entry.
fn shard(zone: &Name, name: &Name) -> Option<Name> {
    // FNV-1a, folded: what it takes is to be even, and the same for ever.
    let hash = name
        .as_str()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, octet| (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193));
    let [one, two, three, four] = hash.to_be_bytes();
    shard_at(zone, one ^ two ^ three ^ four)
}

fn shard_at(zone: &Name, number: u8) -> Option<Name> {
    zone.child(APEX).ok()?.child(&format!("{number:02x}")).ok()
}

impl Rfc2136 {
    /// What stands at the names of a zone's index; `None` where there is no index.
    pub(super) async fn read_by_index(&self, zone: &Name) -> Result<Option<Records>, BackendError> {
        let Some(Home { server, .. }) = self.home(zone).filter(|_| self.keeping.index) else {
            return Ok(None);
        };
        let shards = (0..=u8::MAX).filter_map(|number| shard_at(zone, number)).collect::<Vec<_>>();
        let mut names = BTreeSet::new();
        for some in shards.chunks(AT_ONCE) {
            let questions = some.iter().map(|name| (name, Question::Type(RrType::Ptr)));
            for answer in self.ask(server, &questions.collect::<Vec<_>>()).await? {
                if !matches!(answer.rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
                    return Ok(None);
                }
                let values = answer.answers.into_values().flat_map(|set| set.values);
                names.extend(values.filter_map(|value| match value {
                    Rdata::Ptr(name) if name.is_within(zone) => Some(name),
                    _ => None,
                }));
            }
        }
        // Our own name is in it, if anybody's is.
        if names.is_empty() {
            return Ok(None);
        }
        let mut records = BTreeMap::new();
        for some in names.into_iter().collect::<Vec<_>>().chunks(AT_ONCE) {
            let seen = self.observe_at(server, some).await?.into_iter();
            let of_zone = seen.filter(|one| {
                one.authoritative && one.soa.as_ref().is_some_and(|soa| soa.zone == *zone)
            });
            records.extend(of_zone.flat_map(|one| one.records));
        }
        Ok(Some(records))
    }
}

/// The label below the zone's apex that no host has (RFC 8552).
const APEX: &str = "_tagalong";
/// Of entries, in seconds; only `reap` reads them.
const TTL: u32 = 300;
/// Names at a time; of each a few questions are asked.
const AT_ONCE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{ownership::OwnerId, reason::Reason};

    fn change(before: &[Rdata], after: &[Rdata], scope: Scope) -> ZoneChange {
        let set =
            |values: &[Rdata]| (!values.is_empty()).then(|| Rrset::new(60, values.iter().cloned()));
        let key = RrsetKey::new("web-1.corp.internal".parse().unwrap(), RrType::Txt);
        let (before, after) = (set(before), set(after));
        let swap = RrsetSwap { key, before, after, scope, because: Reason::Ours };
        let zone = "corp.internal".parse().unwrap();
        ZoneChange { zone, guards: Vec::new(), swaps: vec![swap] }
    }

    #[test]
    fn a_name_is_listed_with_its_first_marker_and_goes_with_its_last() {
        let [us, them] = ["i-us", "i-them"].map(|id| OwnerId::new(id).marker());
        let spf = Rdata::Txt(vec![b"v=spf1 -all".to_vec()]);
        let values = |remove: &[&Rdata], add: &[&Rdata]| Scope::Values {
            remove: remove.iter().copied().cloned().collect(),
            add: add.iter().copied().cloned().collect(),
        };
        let entry = |before: &[Rdata], after: &[Rdata], scope: Scope| {
            let swaps = indexed(&change(before, after, scope)).swaps;
            let entry = swaps.get(1).map(|swap| (swap.key.to_string(), swap.own()));
            entry.map(|(key, own)| (key, own.0.is_some(), own.1.is_some()))
        };
        let listed =
            |comes: bool| Some(("ce._tagalong.corp.internal. PTR".to_owned(), !comes, comes));
        let one = std::slice::from_ref::<Rdata>;
        assert_eq!(entry(&[], one(&us), Scope::Whole), listed(true));
        assert_eq!(entry(one(&spf), &[us.clone(), spf.clone()], Scope::Whole), listed(true));
        assert_eq!(entry(one(&them), one(&us), Scope::Whole), listed(true), "taken over");
        assert_eq!(entry(one(&us), one(&us), values(&[], &[&us])), listed(true), "sent again");
        assert_eq!(entry(one(&us), &[], Scope::Whole), listed(false));
        assert_eq!(entry(&[us.clone(), spf.clone()], one(&spf), Scope::Whole), listed(false));
        assert_eq!(entry(&[us.clone(), them.clone()], one(&them), values(&[&us], &[])), None);
        assert_eq!(entry(one(&us), &[], values(&[&us], &[])), listed(false));
        assert_eq!(entry(one(&spf), &[], Scope::Whole), None);
    }
}
