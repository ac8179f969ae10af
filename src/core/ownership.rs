//! Who owns a name: the marker that travels with the records, and what it says.
//!
//! RFC 4703 section 5 calls the question "FQDN in use"; the marker here is one TXT record at the name (RFC 1464 form), since
//! every server and Route 53 keep TXT, and one token serves A, AAAA and PTR alike.
//!
//! | at the name                        | ownership      |
//! |------------------------------------|----------------|
//! | nothing                            | `Vacant`       |
//! | our marker, with or without others | `Ours`         |
//! | another instance's marker          | `Theirs`       |
//! | records, none of them a marker     | `Foreign`      |
//! | two owners' markers                | `Theirs`: it is disputed, so it is not ours to change |

use std::fmt;

use super::{
    name::Name,
    rrset::{Rdata, Records, RrType, Rrset, RrsetKey},
};

/// What a marker's text begins with; the owner follows.
const MARKER: &str = "tagalong-owner=";

/// Who owns a name: an EC2 instance id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnerId(String);

impl OwnerId {
    /// The owner with this instance id.
    #[must_use]
    pub fn new(instance_id: impl Into<String>) -> Self {
        Self(instance_id.into())
    }

    /// The owner's marker.
    #[must_use]
    pub fn marker(&self) -> Rdata {
        Rdata::Txt(vec![format!("{MARKER}{}", self.0).into_bytes()])
    }

    fn of_marker(value: &Rdata) -> Option<Self> {
        let Rdata::Txt(strings) = value else { return None };
        let text = String::from_utf8(strings.concat()).ok()?;
        text.strip_prefix(MARKER).map(Self::new)
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whose a name is, as far as its records tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Nothing stands there.
    Vacant,
    /// It carries our marker.
    Ours,
    /// It carries another owner's marker.
    Theirs(OwnerId),
    /// It holds records and no marker.
    Foreign,
}

/// Whose `name` is to `owner`.
#[must_use]
pub fn ownership(name: &Name, owner: &OwnerId, observed: &Records) -> Ownership {
    ownership_of(owner, records_at(name, observed).map(|(_, set)| set))
}

/// Whose the name is to `owner` at which `sets` stand, and no others.
#[must_use]
pub fn ownership_of<'a>(owner: &OwnerId, sets: impl IntoIterator<Item = &'a Rrset>) -> Ownership {
    let mut sets = sets.into_iter().peekable();
    if sets.peek().is_none() {
        return Ownership::Vacant;
    }
    let owners = sets.flat_map(|set| &set.values).filter_map(OwnerId::of_marker);
    let mut found = Ownership::Foreign;
    for marked in owners {
        if &marked != owner {
            return Ownership::Theirs(marked);
        }
        found = Ownership::Ours;
    }
    found
}

/// Whether any of the records is an owner's marker.
#[must_use]
pub fn is_marked(records: &Records) -> bool {
    records.values().flat_map(|set| &set.values).any(|value| OwnerId::of_marker(value).is_some())
}

/// The RRsets at `name`.
pub fn records_at<'a>(
    name: &'a Name,
    records: &'a Records,
) -> impl Iterator<Item = (&'a RrsetKey, &'a Rrset)> {
    records
        .range(RrsetKey::new(name.clone(), RrType::A)..)
        .take_while(move |(key, _)| &key.name == name)
}

/// The TXT set at a name with `owner`'s marker added to what stands there.
#[must_use]
pub fn marked(present: Option<&Rrset>, owner: &OwnerId, ttl: u32) -> Rrset {
    let mut set = present.cloned().unwrap_or_else(|| Rrset::new(ttl, []));
    set.values.insert(owner.marker());
    set
}

/// The TXT set at a name with `owner`'s marker taken out of it; `None` when nothing else is left.
#[must_use]
pub fn unmarked(present: &Rrset, owner: &OwnerId) -> Option<Rrset> {
    let mut set = present.clone();
    set.values.remove(&owner.marker());
    (!set.values.is_empty()).then_some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(values: &[Rdata]) -> Records {
        let name: Name = "web-1.corp.internal".parse().unwrap();
        let mut records = Records::new();
        for value in values {
            let key = RrsetKey::new(name.clone(), value.rtype());
            records.entry(key).or_insert_with(|| Rrset::new(60, [])).values.insert(value.clone());
        }
        records
    }

    #[test]
    fn the_marker_decides_whose_a_name_is() {
        let us = OwnerId::new("i-1");
        let them = OwnerId::new("i-2");
        let address = Rdata::A([10, 0, 0, 1].into());
        let spf = Rdata::Txt(vec![b"v=spf1 -all".to_vec()]);
        let check = |values: &[Rdata], expect: Ownership| {
            assert_eq!(
                ownership(&"web-1.corp.internal".parse().unwrap(), &us, &at(values)),
                expect,
                "{values:?}"
            );
        };
        check(&[], Ownership::Vacant);
        check(&[us.marker()], Ownership::Ours);
        check(&[us.marker(), address.clone(), spf.clone()], Ownership::Ours);
        check(&[them.marker(), address.clone()], Ownership::Theirs(them.clone()));
        check(&[us.marker(), them.marker()], Ownership::Theirs(them.clone()));
        check(&[address], Ownership::Foreign);
        check(&[spf], Ownership::Foreign);
        check(&[Rdata::Other { rtype: 15, octets: vec![0] }], Ownership::Foreign);
    }

    #[test]
    fn records_of_a_neighbour_do_not_count() {
        let mut records = at(&[OwnerId::new("i-1").marker()]);
        let neighbour = RrsetKey::new("web-1.corp.internal.x".parse().unwrap(), RrType::A);
        records.insert(neighbour, Rrset::new(60, [Rdata::A([10, 0, 0, 9].into())]));
        let other: Name = "web-2.corp.internal".parse().unwrap();
        assert_eq!(ownership(&other, &OwnerId::new("i-1"), &records), Ownership::Vacant);
    }

    #[test]
    fn text_of_others_at_our_name_is_kept() {
        let us = OwnerId::new("i-1");
        let spf = Rrset::new(300, [Rdata::Txt(vec![b"v=spf1 -all".to_vec()])]);
        let with = marked(Some(&spf), &us, 60);
        assert_eq!(with.ttl, 300);
        assert_eq!(with.values.len(), 2);
        assert_eq!(unmarked(&with, &us), Some(spf));
        assert_eq!(unmarked(&marked(None, &us, 60), &us), None);
    }
}
