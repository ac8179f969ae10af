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
//! | a DHCID (RFC 4701), whatever else  | `Foreign`: a DHCP client's; a backend that marks by DHCID shows ours as our marker |
//! | two owners' markers                | `Theirs`: it is disputed, so it is not ours to change |
//! | members' markers, and no owner's   | `Shared` (see `core/membership.rs`) |

use std::{cmp::Ordering, collections::BTreeSet, fmt, net::IpAddr};

use super::{
    facts::Identity,
    membership::{Member, members},
    name::Name,
    rrset::{Rdata, Records, RrType, Rrset, RrsetKey},
};

/// What a marker's first character-string begins with; the owner follows.
const MARKER: &str = "tagalong-owner=";
/// What a marker's second one begins with; the account and the Region follow.
const HOME: &str = "home=";

/// Who owns a name: an EC2 instance. Two owners are the same if their instance ids are, which EC2 gives only once.
#[derive(Clone, Debug)]
pub struct OwnerId {
    instance_id: String,
    home: Option<Home>,
}

/// Where EC2 knows an instance: nowhere else can it tell that one is gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Home {
    /// The account's id.
    pub account: String,
    /// `us-east-1`
    pub region: String,
}

impl OwnerId {
    /// The owner with this instance id, of which it is not known where it is.
    #[must_use]
    pub fn new(instance_id: impl Into<String>) -> Self {
        Self { instance_id: instance_id.into(), home: None }
    }

    /// The instance itself.
    #[must_use]
    pub fn of(identity: &Identity) -> Self {
        let home = Home { account: identity.account_id.clone(), region: identity.region.clone() };
        Self { instance_id: identity.instance_id.clone(), home: Some(home) }
    }

    /// The instance id.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.instance_id
    }

    /// Where EC2 knows it, as far as its marker says.
    #[must_use]
    pub fn home(&self) -> Option<&Home> {
        self.home.as_ref()
    }

    /// The owner's marker: `"tagalong-owner=i-0aaaaaaaaaaaaaaa1" "home=123456789012/us-east-1"`.
    #[must_use]
    pub fn marker(&self) -> Rdata {
        Rdata::Txt(self.strings(MARKER).collect())
    }

    /// Whom a marker names; `None` for what is none.
    #[must_use]
    pub fn of_marker(value: &Rdata) -> Option<Self> {
        let Rdata::Txt(strings) = value else { return None };
        Self::of_strings(MARKER, strings)
    }

    /// The character-strings of a marker that begins with `what`.
    pub(super) fn strings(&self, what: &str) -> impl Iterator<Item = Vec<u8>> {
        let owner = format!("{what}{}", self.instance_id);
        let home = self.home.iter().map(|home| format!("{HOME}{}/{}", home.account, home.region));
        [owner].into_iter().chain(home).map(String::into_bytes)
    }

    /// Whom a marker that begins with `what` names.
    pub(super) fn of_strings(what: &str, strings: &[Vec<u8>]) -> Option<Self> {
        let mut strings = strings.iter().filter_map(|string| str::from_utf8(string).ok());
        let instance_id = strings.next()?.strip_prefix(what)?.to_owned();
        let home = strings.find_map(|string| {
            let (account, region) = string.strip_prefix(HOME)?.split_once('/')?;
            Some(Home { account: account.to_owned(), region: region.to_owned() })
        });
        Some(Self { instance_id, home })
    }
}

impl PartialEq for OwnerId {
    fn eq(&self, other: &Self) -> bool {
        self.instance_id == other.instance_id
    }
}

impl Eq for OwnerId {}

impl Ord for OwnerId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.instance_id.cmp(&other.instance_id)
    }
}

impl PartialOrd for OwnerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.instance_id)
    }
}

/// What EC2 says of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It is terminated, or there is no such instance.
    Gone,
    /// It exists, and these are its addresses.
    Exists(BTreeSet<IpAddr>),
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
    /// It is shared by members.
    Shared,
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
    let sets = sets.into_iter().collect::<Vec<_>>();
    if sets.is_empty() {
        return Ownership::Vacant;
    }
    if sets.iter().flat_map(|set| &set.values).any(|value| value.rtype() == RrType::Dhcid) {
        return Ownership::Foreign;
    }
    let is_shared = members(sets.iter().copied()).next().is_some();
    let mut found = if is_shared { Ownership::Shared } else { Ownership::Foreign };
    for marked in owners(sets) {
        if &marked != owner {
            return Ownership::Theirs(marked);
        }
        found = Ownership::Ours;
    }
    found
}

/// The owners of whom there is a marker.
pub fn owners<'a>(sets: impl IntoIterator<Item = &'a Rrset>) -> impl Iterator<Item = OwnerId> {
    sets.into_iter().flat_map(|set| &set.values).filter_map(OwnerId::of_marker)
}

/// Whether any of the records is an owner's marker.
#[must_use]
pub fn is_marked(records: &Records) -> bool {
    owners(records.values()).next().is_some() || members(records.values()).next().is_some()
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

impl Rrset {
    /// The same without anybody's markers.
    #[must_use]
    pub fn without_markers(&self) -> Self {
        let is_marker = |value: &Rdata| {
            OwnerId::of_marker(value).is_some() || Member::of_marker(value).is_some()
        };
        Self::new(self.ttl, self.values.iter().filter(|value| !is_marker(value)).cloned())
    }
}

/// The TXT set at a name with `owner`'s marker taken out of it; `None` when nothing else is left.
#[must_use]
pub fn unmarked(present: &Rrset, owner: &OwnerId) -> Option<Rrset> {
    let mut set = present.clone();
    set.values.retain(|value| OwnerId::of_marker(value).as_ref() != Some(owner));
    (!set.values.is_empty()).then_some(set)
}

/// The TXT set at a name that goes from whoever's markers stand there to `owner`; text of others is kept.
#[must_use]
pub fn taken_over(present: &Rrset, owner: &OwnerId, ttl: u32) -> Rrset {
    let mut set = present.clone();
    set.values
        .retain(|value| OwnerId::of_marker(value).is_none() && Member::of_marker(value).is_none());
    marked((!set.values.is_empty()).then_some(&set), owner, ttl)
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
        let member = Member { owner: them.clone(), addresses: BTreeSet::new() }.marker();
        check(&[member.clone(), address.clone()], Ownership::Shared);
        check(&[member.clone(), us.marker()], Ownership::Ours);
        check(&[member, them.marker()], Ownership::Theirs(them.clone()));
        check(&[address], Ownership::Foreign);
        check(&[spf], Ownership::Foreign);
        check(&[Rdata::Other { rtype: 15, octets: vec![0] }], Ownership::Foreign);
        let dhcid = Rdata::Other { rtype: 49, octets: vec![0, 2, 1] };
        let member = Member { owner: us.clone(), addresses: BTreeSet::new() }.marker();
        check(&[us.marker(), dhcid.clone()], Ownership::Foreign);
        check(&[member, dhcid], Ownership::Foreign);
    }

    #[test]
    fn a_marker_says_whose_it_is_and_where_that_is_known() {
        let read = |strings: &[&str]| {
            let strings = strings.iter().map(|string| string.as_bytes().to_vec()).collect();
            OwnerId::of_marker(&Rdata::Txt(strings))
        };
        let us = read(&["tagalong-owner=i-1", "home=123456789012/us-east-1"]).unwrap();
        assert_eq!(us.instance_id(), "i-1");
        let home = us.home().unwrap();
        assert_eq!((home.account.as_str(), home.region.as_str()), ("123456789012", "us-east-1"));
        assert_eq!(read(&["tagalong-owner=i-1"]), Some(us.clone()), "the instance alone counts");
        assert_eq!(read(&["v=spf1 -all", "tagalong-owner=i-1"]), None);
        let Rdata::Txt(strings) = us.marker() else { panic!() };
        assert_eq!(strings, [&b"tagalong-owner=i-1"[..], b"home=123456789012/us-east-1"]);
        let old = Rrset::new(60, [OwnerId::new("i-1").marker()]);
        assert_eq!(unmarked(&old, &us), None, "also one that says less");
    }

    #[test]
    fn whoever_takes_a_name_over_leaves_no_marker_but_its_own_and_keeps_other_text() {
        let us = OwnerId::new("i-1");
        let spf = Rdata::Txt(vec![b"v=spf1 -all".to_vec()]);
        let [them, others] = ["i-2", "i-3"].map(|id| OwnerId::new(id).marker());
        let present = Rrset::new(300, [spf.clone(), them.clone(), others]);
        assert_eq!(taken_over(&present, &us, 60), Rrset::new(300, [spf, us.marker()]));
        assert_eq!(taken_over(&Rrset::new(300, [them]), &us, 60), Rrset::new(60, [us.marker()]));
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
