//! Names that many hosts share: each host adds and removes just its own addresses, under a marker of its own.
//!
//! A member's marker is one TXT record at the name: `"tagalong-member=i-0aaaaaaaaaaaaaaa1" "home=123456789012/us-east-1" "10.0.1.23"`.
//! It says which addresses came with it, so that they go with it.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    ownership::OwnerId,
    rrset::{Rdata, RrType, Rrset},
};

/// What a marker's first character-string begins with; the member follows.
const MEMBER: &str = "tagalong-member=";

/// A host that shares a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The host.
    pub owner: OwnerId,
    /// What it added.
    pub addresses: BTreeSet<IpAddr>,
}

impl Member {
    /// The member's marker.
    #[must_use]
    pub fn marker(&self) -> Rdata {
        let addresses = self.addresses.iter().map(|address| address.to_string().into_bytes());
        Rdata::Txt(self.owner.strings(MEMBER).chain(addresses).collect())
    }

    /// The member whose marker a value is.
    #[must_use]
    pub fn of_marker(value: &Rdata) -> Option<Self> {
        let Rdata::Txt(strings) = value else { return None };
        let owner = OwnerId::of_strings(MEMBER, strings)?;
        let addresses =
            strings.iter().filter_map(|string| str::from_utf8(string).ok()?.parse().ok());
        Some(Self { owner, addresses: addresses.collect() })
    }

    /// Its records of one type.
    #[must_use]
    pub fn values(&self, rtype: RrType) -> BTreeSet<Rdata> {
        let values = self.addresses.iter().map(|address| Rdata::address(*address));
        values.filter(|value| value.rtype() == rtype).collect()
    }
}

/// The members of whom there is a marker.
pub fn members<'a>(sets: impl IntoIterator<Item = &'a Rrset>) -> impl Iterator<Item = Member> {
    sets.into_iter().flat_map(|set| &set.values).filter_map(Member::of_marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_says_who_came_with_which_addresses() {
        let addresses = ["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let member = Member { owner: OwnerId::new("i-1"), addresses: addresses.into() };
        let Rdata::Txt(strings) = member.marker() else { panic!() };
        assert_eq!(strings, [&b"tagalong-member=i-1"[..], b"10.0.0.1", b"2001:db8::1"]);
        assert_eq!(Member::of_marker(&member.marker()), Some(member.clone()));
        assert_eq!(member.values(RrType::A), BTreeSet::from([Rdata::address(addresses[0])]));
        assert_eq!(Member::of_marker(&member.owner.marker()), None);
    }
}
