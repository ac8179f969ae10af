//! Names marked by DHCID (RFC 4701) in place of TXT, for zones that DHCP servers update too (RFC 4703).
//!
//! Everybody else knows one kind of marker, the TXT record: what stands in the zone is translated to it as it is read, and back
//! as it is changed.
//!
//! | at the name                           | is read as                     |
//! |---------------------------------------|--------------------------------|
//! | our DHCID                             | our TXT marker in its place    |
//! | another DHCID, or several             | as it is: nobody's name here   |
//! | TXT markers, and no DHCID             | as it is                       |

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use super::Rfc2136;
use crate::{
    core::{
        name::Name,
        ownership::OwnerId,
        plan::{Guard, RrsetSwap, Scope, ZoneChange},
        rrset::{Rdata, Records, RrType, Rrset, RrsetKey},
    },
    wire::dhcid::{dhcid, duid_of},
};

/// The marks of one owner.
#[derive(Debug)]
pub(super) struct Marks {
    owner: OwnerId,
    duid: Vec<u8>,
    /// Names at which our DHCID was read; others of ours carry TXT, from before.
    marked: Mutex<BTreeSet<Name>>,
}

impl Rfc2136 {
    /// The same, which marks names by the DHCID of this instance.
    #[must_use]
    pub fn marking_by_dhcid(self, instance_id: &str) -> Self {
        Self { marks: Some(Marks::of(instance_id)), ..self }
    }
}

impl Marks {
    pub(super) fn of(instance_id: &str) -> Self {
        let owner = OwnerId::new(instance_id);
        Self { owner, duid: duid_of(instance_id), marked: Mutex::default() }
    }

    fn key(name: &Name) -> RrsetKey {
        RrsetKey::new(name.clone(), RrType::Dhcid)
    }

    fn set(&self, name: &Name, ttl: u32) -> Rrset {
        Rrset::new(ttl, [dhcid(&self.duid, name)])
    }

    fn is_ours(&self, value: &Rdata) -> bool {
        OwnerId::of_marker(value).as_ref() == Some(&self.owner)
    }

    /// Whether there is a marker of ours in the set, and what else there is.
    fn split(&self, set: Option<&Rrset>) -> (bool, Option<Rrset>) {
        let Some(set) = set else { return (false, None) };
        let (ours, rest): (BTreeSet<_>, BTreeSet<_>) =
            set.values.iter().cloned().partition(|value| self.is_ours(value));
        (!ours.is_empty(), (!rest.is_empty()).then(|| Rrset::new(set.ttl, rest)))
    }

    /// What was read, with TXT markers in place of DHCIDs.
    pub(super) fn recognize(&self, records: &mut Records) {
        let keys = records.keys().filter(|key| key.rtype == RrType::Dhcid).cloned();
        for key in keys.collect::<Vec<_>>() {
            let text = RrsetKey::new(key.name.clone(), RrType::Txt);
            let found = records.get(&key).cloned().unwrap_or_else(|| Rrset::new(0, []));
            if found.values == self.set(&key.name, 0).values {
                records.remove(&key);
                let set = records.entry(text).or_insert_with(|| Rrset::new(found.ttl, []));
                set.values.insert(self.owner.marker());
                let mut marked = self.marked.lock().unwrap_or_else(PoisonError::into_inner);
                marked.insert(key.name);
            }
        }
    }

    /// The change as it is carried out.
    pub(super) fn translate(&self, change: &ZoneChange) -> ZoneChange {
        let guards = change.guards.iter().flat_map(|guard| self.guards(guard)).collect();
        let swaps = change.swaps.iter().flat_map(|swap| self.swaps(swap)).collect();
        ZoneChange { zone: change.zone.clone(), guards, swaps }
    }

    fn is_marked(&self, name: &Name) -> bool {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    fn guards(&self, guard: &Guard) -> Vec<Guard> {
        let Guard::Unchanged(key, set) = guard else { return vec![guard.clone()] };
        let (has_ours, rest) = self.split(Some(set));
        if key.rtype != RrType::Txt || !has_ours || !self.is_marked(&key.name) {
            return vec![guard.clone()];
        }
        let rest = rest
            .map_or_else(|| Guard::Absent(key.clone()), |rest| Guard::Unchanged(key.clone(), rest));
        vec![rest, Guard::Unchanged(Self::key(&key.name), self.set(&key.name, set.ttl))]
    }

    fn swaps(&self, swap: &RrsetSwap) -> Vec<RrsetSwap> {
        let name = &swap.key.name;
        let (had, before) = self.split(swap.before.as_ref());
        let (has, after) = self.split(swap.after.as_ref());
        if let Some(again) = self.sent_again(swap) {
            return again;
        }
        let is_about_us = swap.key.rtype == RrType::Txt && swap.scope == Scope::Whole;
        // One that carries TXT from before keeps it.
        if !is_about_us || had == has || (had && !self.is_marked(name)) {
            return vec![swap.clone()];
        }
        let ttl = |set: &Option<Rrset>| set.as_ref().map_or(0, |set| set.ttl);
        let mark = RrsetSwap {
            key: Self::key(name),
            before: had.then(|| self.set(name, ttl(&swap.before))),
            after: has.then(|| self.set(name, ttl(&swap.after))),
            ..swap.clone()
        };
        let text = (before != after).then(|| RrsetSwap { before, after, ..swap.clone() });
        text.into_iter().chain([mark]).collect()
    }

    /// A marker that stands, and is sent again for its lease.
    fn sent_again(&self, swap: &RrsetSwap) -> Option<Vec<RrsetSwap>> {
        let Scope::Values { add, .. } = &swap.scope else { return None };
        let name = &swap.key.name;
        if swap.key.rtype != RrType::Txt || !self.is_marked(name) {
            return None;
        }
        let ours = add.iter().any(|value| self.is_ours(value));
        let set = self.set(name, swap.after.as_ref().map_or(0, |set| set.ttl));
        let scope = Scope::Values { remove: BTreeSet::new(), add: set.values.clone() };
        let key = Self::key(name);
        let (before, after) = (Some(set.clone()), Some(set));
        ours.then(|| vec![RrsetSwap { key, before, after, scope, because: swap.because.clone() }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::reason::Reason;

    const US: &str = "i-0aaaaaaaaaaaaaaa1";

    fn name() -> Name {
        "web-1.corp.internal".parse().unwrap()
    }

    fn at(sets: &[(RrType, &[Rdata])]) -> Records {
        let sets = sets.iter().map(|(rtype, values)| {
            (RrsetKey::new(name(), *rtype), Rrset::new(60, values.iter().cloned()))
        });
        sets.collect()
    }

    fn one<T: Clone>(value: &T) -> [T; 1] {
        [value.clone()]
    }

    fn text(word: &str) -> Rdata {
        Rdata::Txt(vec![word.as_bytes().to_vec()])
    }

    #[test]
    fn our_dhcid_is_read_as_our_marker_and_another_makes_the_name_foreign() {
        let marks = Marks::of(US);
        let ours = OwnerId::new(US).marker();
        let (mine, other) = (dhcid(&duid_of(US), &name()), dhcid(&duid_of("i-2"), &name()));
        let read = |sets: &[(RrType, &[Rdata])]| {
            let mut records = at(sets);
            marks.recognize(&mut records);
            records
        };
        let spf = text("v=spf1 -all");
        assert_eq!(read(&[(RrType::Dhcid, &one(&mine))]), at(&[(RrType::Txt, &one(&ours))]));
        assert_eq!(
            read(&[(RrType::Txt, &one(&spf)), (RrType::Dhcid, &one(&mine))]),
            at(&[(RrType::Txt, &[spf.clone(), ours.clone()])])
        );
        let foreign: [&[Rdata]; 2] = [&one(&other), &[other.clone(), mine]];
        for dhcids in foreign {
            let sets: [(RrType, &[Rdata]); 2] =
                [(RrType::Txt, &[spf.clone(), ours.clone()]), (RrType::Dhcid, dhcids)];
            assert_eq!(read(&sets), at(&sets));
        }
        assert_eq!(read(&[(RrType::Txt, &one(&ours))]), at(&[(RrType::Txt, &[ours])]));
    }

    #[test]
    fn markers_are_written_as_dhcids_and_what_carries_text_from_before_keeps_it() {
        let marks = Marks::of(US);
        let (ours, spf) = (OwnerId::new(US).marker(), text("v=spf1 -all"));
        let set = |values: &[Rdata]| {
            Some(Rrset::new(60, values.iter().cloned())).filter(|set| !set.values.is_empty())
        };
        let swap = |rtype, before: &[Rdata], after: &[Rdata]| RrsetSwap {
            key: RrsetKey::new(name(), rtype),
            before: set(before),
            after: set(after),
            scope: Scope::Whole,
            because: Reason::Ours,
        };
        let mine = [dhcid(&duid_of(US), &name())];
        let made = swap(RrType::Dhcid, &[], &mine);
        assert_eq!(marks.swaps(&swap(RrType::Txt, &[], &one(&ours))), one(&made));
        let theirs = OwnerId::new("i-2").marker();
        assert_eq!(
            marks.swaps(&swap(
                RrType::Txt,
                &[theirs.clone(), spf.clone()],
                &[ours.clone(), spf.clone()]
            )),
            [swap(RrType::Txt, &[theirs, spf.clone()], &one(&spf)), made]
        );
        let gone = swap(RrType::Txt, &[ours.clone(), spf.clone()], &one(&spf));
        let unchanged =
            Guard::Unchanged(RrsetKey::new(name(), RrType::Txt), Rrset::new(60, [ours.clone()]));
        assert_eq!(marks.swaps(&gone), one(&gone));
        assert_eq!(marks.guards(&unchanged), one(&unchanged));

        marks.recognize(&mut at(&[(RrType::Dhcid, &mine)]));
        assert_eq!(marks.swaps(&gone), [swap(RrType::Dhcid, &mine, &[])]);
        assert_eq!(
            marks.guards(&unchanged),
            [
                Guard::Absent(RrsetKey::new(name(), RrType::Txt)),
                Guard::Unchanged(Marks::key(&name()), Rrset::new(60, mine)),
            ]
        );
    }
}
