//! What is left in a zone by instances that are gone: only what carries their markers.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    change::ZoneChange,
    membership::{become_member, members},
    name::Name,
    ownership::{OwnerId, Ownership, owners, ownership_of, records_at},
    plan::retire,
    reason::Reason,
    rrset::Records,
};

/// The names that carry an owner's marker, or a member's, by whose it is.
#[must_use]
pub fn owned(records: &Records) -> BTreeMap<OwnerId, BTreeSet<Name>> {
    let mut owned = BTreeMap::<OwnerId, BTreeSet<Name>>::new();
    for (key, set) in records {
        let marked = owners([set]).chain(members([set]).map(|member| member.owner));
        for owner in marked {
            owned.entry(owner).or_default().insert(key.name.clone());
        }
    }
    owned
}

/// What takes from `name` all that `owner` has there, if it is still as it was read; `None` if it has nothing there alone: a
/// name with two owners' markers is disputed, and that is for a person to end.
#[must_use]
pub fn removal(zone: &Name, name: &Name, owner: &OwnerId, records: &Records) -> Option<ZoneChange> {
    let here = records_at(name, records).map(|(key, set)| (key.rtype, set)).collect();
    let ownership = ownership_of(owner, records_at(name, records).map(|(_, set)| set));
    let mut change = ZoneChange { zone: zone.clone(), guards: Vec::new(), swaps: Vec::new() };
    if ownership == Ownership::Ours {
        (change.guards, change.swaps) = retire(owner, name, &here);
    } else if ownership == Ownership::Shared {
        change.swaps = become_member(owner, name, None, &here, &Reason::Retired);
    }
    for swap in &mut change.swaps {
        swap.because = Reason::OwnerGone(owner.clone());
    }
    (!change.swaps.is_empty()).then_some(change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        membership::Member,
        rrset::{Rdata, Rrset, RrsetKey},
    };

    fn records(lines: &[(&str, Rdata)]) -> Records {
        let mut records = Records::new();
        for (name, value) in lines {
            let key = RrsetKey::new(name.parse().unwrap(), value.rtype());
            records.entry(key).or_insert_with(|| Rrset::new(60, [])).values.insert(value.clone());
        }
        records
    }

    fn a(last: u8) -> Rdata {
        Rdata::A([10, 0, 0, last].into())
    }

    #[test]
    fn only_what_the_gone_instance_marked_goes_and_nothing_without_a_marker() {
        let [gone, other] = ["i-gone", "i-other"].map(OwnerId::new);
        let member = |owner: &OwnerId, last: u8| {
            let addresses = BTreeSet::from([[10, 0, 0, last].into()]);
            Member { owner: owner.clone(), addresses }.marker()
        };
        let spf = Rdata::Txt(vec![b"v=spf1 -all".to_vec()]);
        let records = records(&[
            ("web.corp", a(1)),
            ("web.corp", gone.marker()),
            ("web.corp", spf),
            ("db.corp", a(2)),
            ("db.corp", other.marker()),
            ("by-hand.corp", a(3)),
            ("pool.corp", a(4)),
            ("pool.corp", member(&gone, 4)),
            ("pool.corp", a(5)),
            ("pool.corp", member(&other, 5)),
            ("disputed.corp", gone.marker()),
            ("disputed.corp", other.marker()),
        ]);
        let owned = owned(&records);
        let names = |owner: &OwnerId| owned[owner].iter().map(Name::as_str).collect::<Vec<_>>();
        assert_eq!(names(&gone), ["disputed.corp.", "pool.corp.", "web.corp."]);
        let told = |name: &str| {
            let change = removal(&"corp".parse().unwrap(), &name.parse().unwrap(), &gone, &records);
            let swaps = change.map(|change| change.swaps).unwrap_or_default();
            swaps.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            told("web.corp"),
            [
                "- web.corp. A 10.0.0.1",
                r#"* web.corp. TXT "tagalong-owner=i-gone", "v=spf1 -all" → "v=spf1 -all" 60 s"#,
            ]
        );
        assert_eq!(
            told("pool.corp"),
            ["- pool.corp. A 10.0.0.4", r#"- pool.corp. TXT "tagalong-member=i-gone" "10.0.0.4""#]
        );
        for name in ["db.corp", "by-hand.corp", "disputed.corp", "nothing.corp"] {
            assert_eq!(told(name), [""; 0], "{name}");
        }
    }
}
