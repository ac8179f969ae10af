//! Names that many hosts share: each host adds and removes just its own addresses, under a marker of its own.
//!
//! A member's marker is one TXT record at the name: `"tagalong-member=i-0aaaaaaaaaaaaaaa1" "home=123456789012/us-east-1" "10.0.1.23"`.
//! It says which addresses came with it, so that they go with it.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    change::{Guard, RrsetSwap, Scope},
    name::Name,
    naming::Wish,
    ownership::{OwnerId, Ownership, ownership_of},
    plan::Standing,
    reason::{Obstacle, Reason},
    rrset::{Rdata, RrType, Rrset, RrsetKey},
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

/// What it takes to be a member of a shared name: nothing when we are one already.
pub(super) fn join(
    owner: &OwnerId,
    name: &Name,
    wish: &Wish,
    here: &Standing<'_>,
) -> Result<(Vec<Guard>, Vec<RrsetSwap>), Obstacle> {
    let because = match ownership_of(owner, here.values().copied()) {
        Ownership::Vacant => Reason::Vacant,
        Ownership::Ours => Reason::Ours,
        Ownership::Shared => Reason::Shared,
        Ownership::Theirs(other) => return Err(Obstacle::Theirs(other)),
        Ownership::Foreign => return Err(Obstacle::Foreign),
    };
    if here.contains_key(&RrType::Cname) {
        return Err(Obstacle::Alias);
    }
    let ours = Member {
        owner: owner.clone(),
        addresses: wish.values.iter().filter_map(Rdata::ip).collect(),
    };
    let swaps = become_member(owner, name, Some((&ours, wish.ttl)), here, &because);
    let guards = match because {
        _ if swaps.is_empty() => Vec::new(),
        Reason::Vacant => vec![Guard::NameNotInUse(name.clone())],
        _ => vec![
            Guard::Exists(RrsetKey::new(name.clone(), RrType::Txt)),
            Guard::Absent(RrsetKey::new(name.clone(), RrType::Cname)),
        ],
    };
    Ok((guards, swaps))
}

/// From what `owner` has at a shared name to what it shall have. What another member has as well, such as an address that
/// went from one instance to the next, is that one's.
pub(super) fn become_member(
    owner: &OwnerId,
    name: &Name,
    wanted: Option<(&Member, u32)>,
    here: &Standing<'_>,
    because: &Reason,
) -> Vec<RrsetSwap> {
    let (before, others): (Vec<_>, Vec<_>) =
        members(here.values().copied()).partition(|member| member.owner == *owner);
    let mut swaps = Vec::new();
    for rtype in [RrType::A, RrType::Aaaa, RrType::Txt] {
        let of = |member: &Member| match rtype {
            RrType::Txt => BTreeSet::from([member.marker()]),
            _ => member.values(rtype),
        };
        let wanted_values = wanted.map(|(member, _)| of(member)).unwrap_or_default();
        let mut own = before.iter().flat_map(of).collect::<BTreeSet<_>>();
        let kept = others.iter().flat_map(of).collect::<BTreeSet<_>>();
        let present = here.get(&rtype).map(|set| set.values.clone()).unwrap_or_default();
        // A name that was ours alone becomes one that others share.
        own.extend(
            present.iter().filter(|it| OwnerId::of_marker(it).as_ref() == Some(owner)).cloned(),
        );
        let is_gone = |value: &&Rdata| {
            present.contains(value) && !wanted_values.contains(value) && !kept.contains(value)
        };
        let remove = own.iter().filter(is_gone).cloned().collect::<BTreeSet<_>>();
        let add = wanted_values.difference(&present).cloned().collect::<BTreeSet<_>>();
        if remove.is_empty() && add.is_empty() {
            continue;
        }
        // One RRset has one TTL (RFC 2181 section 5.2): that of whoever was first.
        let ttl = here.get(&rtype).map_or(wanted.map_or(0, |(_, ttl)| ttl), |set| set.ttl);
        let after = present.difference(&remove).chain(&add).cloned().collect::<Vec<_>>();
        swaps.push(RrsetSwap {
            key: RrsetKey::new(name.clone(), rtype),
            before: here.get(&rtype).map(|set| (*set).clone()),
            after: (!after.is_empty()).then(|| Rrset::new(ttl, after)),
            scope: Scope::Values { remove, add },
            because: because.clone(),
        });
    }
    swaps
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
