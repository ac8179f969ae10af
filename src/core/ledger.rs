//! What this host published last and where, and what it last knew: a hint, kept a superset of what is in the zones.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::{
    affinity::Subnet,
    name::Name,
    naming::Wish,
    ownership::OwnerId,
    plan::{Plan, RrsetSwap},
    reason::Reason,
    refresh::Kept,
    servers::NameServer,
};

/// The agent's memory between passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Whose memory it is; a machine image can carry another instance's.
    pub owner: Option<OwnerId>,
    /// Names that may stand in a zone by our doing, by backend.
    pub published: BTreeMap<String, BTreeMap<Name, Published>>,
    /// The last list of DNS servers that was good, and when it was read.
    pub servers: Option<KnownServers>,
    /// The subnets of this host's VPC.
    pub subnets: Option<KnownSubnets>,
    /// Since when DNS servers have been behind their peers' serial, in seconds since 1970.
    pub behind: BTreeMap<SocketAddr, u64>,
    /// The Availability Zone of this host.
    pub availability_zone: Option<String>,
    /// Hardware addresses that the metadata service listed last.
    pub macs: Vec<String>,
    /// The role whose credentials the metadata service gave last.
    pub role: Option<String>,
    /// Since when owners of names are known to be gone, in seconds since 1970, by instance id.
    pub gone: BTreeMap<String, u64>,
    /// The zones that each backend found in Route 53.
    pub zones: BTreeMap<String, KnownZones>,
}

/// Hosted zones and when they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownZones {
    /// Their names by id: two zones can have one name.
    pub by_id: BTreeMap<String, Name>,
    /// Seconds since 1970.
    pub at: u64,
}

/// A name that may stand in a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Seconds since 1970 when it was last changed, or first attempted.
    pub at: u64,
    /// Whether the authority acknowledged it.
    pub confirmed: bool,
    /// What is kept about it, since the last change.
    pub kept: Kept,
}

/// A list of DNS servers and when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownServers {
    /// The servers, in EC2's order.
    pub servers: Vec<NameServer>,
    /// Seconds since 1970.
    pub at: u64,
}

/// A VPC's subnets, and until when they need not be read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownSubnets {
    /// `vpc-…`
    pub vpc_id: String,
    /// Their blocks.
    pub subnets: Vec<Subnet>,
    /// Seconds since 1970.
    pub until: u64,
}

impl Ledger {
    /// This ledger if it is `owner`'s or nobody's yet; an empty one if it is another's. That one came with a machine image,
    /// perhaps from another VPC, where other names, zones and servers are.
    #[must_use]
    pub fn of(self, owner: &OwnerId) -> Self {
        let is_anothers = self.owner.as_ref().is_some_and(|other| other != owner);
        let kept = if is_anothers { Self::default() } else { self };
        Self { owner: Some(owner.clone()), ..kept }
    }

    /// Keeps what a backend knows of its zones now; nothing, for one that has none.
    pub fn remember_zones(&mut self, backend: &str, by_id: BTreeMap<String, Name>, now: u64) {
        if by_id.is_empty() {
            self.zones.remove(backend);
        } else if self.fresh_zones(backend, now).is_none_or(|known| *known != by_id) {
            self.zones.insert(backend.to_owned(), KnownZones { by_id, at: now });
        }
    }

    /// The zones that a backend found, by id, unless that is long ago: a zone may have been cut out of them since.
    #[must_use]
    pub fn fresh_zones(&self, backend: &str, now: u64) -> Option<&BTreeMap<String, Name>> {
        let known = self.zones.get(backend)?;
        (now.saturating_sub(known.at) < ZONES_LAST).then_some(&known.by_id)
    }

    /// Remembers which of some owners are gone, and since when that is known; gives the times.
    pub fn note_gone(&mut self, asked: &BTreeSet<OwnerId>, gone: &BTreeSet<OwnerId>, now: u64) {
        for owner in asked {
            if gone.contains(owner) {
                self.gone.entry(owner.to_string()).or_insert(now);
            } else {
                self.gone.remove(&owner.to_string());
            }
        }
    }

    /// The names published by `backend` before, and not wanted now.
    #[must_use]
    pub fn retired(&self, backend: &str, desired: &BTreeMap<Name, Wish>) -> BTreeSet<Name> {
        let names = self.published.get(backend).into_iter().flat_map(BTreeMap::keys);
        names.filter(|name| !desired.contains_key(name)).cloned().collect()
    }

    /// Of the `former` backends, which the configuration no longer has, the one that has published some of `standing` is `backend` under
    /// its old name, where that has found them as ours without having published them: what it published is the other's. Where
    /// there are several, nobody can say which: views of one domain have the same names.
    pub fn note_renamed(
        &mut self,
        backend: &str,
        standing: &BTreeSet<Name>,
        former: &BTreeSet<String>,
    ) {
        let published = |former: &&String| {
            let names = self.published.get(*former).into_iter().flat_map(BTreeMap::keys);
            names.into_iter().any(|name| standing.contains(name))
        };
        let mut old = former.iter().filter(published);
        let (Some(old), None) = (old.next(), old.next()) else { return };
        let mut names = self.published.remove(old).unwrap_or_default();
        names.extend(self.published.remove(backend).unwrap_or_default());
        self.published.insert(backend.to_owned(), names);
    }

    /// Before a plan is carried out: every name that may come to stand in a zone.
    pub fn note_before(&mut self, backend: &str, plan: &Plan, now: u64) {
        let names = self.published.entry(backend.to_owned()).or_default();
        for swap in plan
            .changes
            .iter()
            .flat_map(|change| &change.swaps)
            .filter(|swap| swap.own().1.is_some())
        {
            names.entry(swap.key.name.clone()).or_insert(Published {
                at: now,
                confirmed: false,
                kept: Kept::default(),
            });
        }
    }

    /// After a plan's changes were acknowledged, and what is kept about each: what stands is confirmed, what went is forgotten.
    pub fn note_after(
        &mut self,
        backend: &str,
        plan: &Plan,
        kept: &[Kept],
        desired: &BTreeMap<Name, Wish>,
        now: u64,
    ) {
        let names = self.published.entry(backend.to_owned()).or_default();
        let kept = kept.iter().copied().chain(std::iter::repeat(Kept::default()));
        for (change, kept) in plan.changes.iter().zip(kept) {
            for RrsetSwap { key, because, .. } in &change.swaps {
                let name = &key.name;
                if desired.contains_key(name) || *because == Reason::Kept {
                    names.insert(name.clone(), Published { at: now, confirmed: true, kept });
                } else {
                    names.remove(name);
                }
            }
        }
        for name in &plan.unchanged {
            // What was confirmed before keeps its time, so that a pass which changes nothing writes nothing.
            let published = names.entry(name.clone()).or_insert(Published {
                at: now,
                confirmed: true,
                kept: Kept::default(),
            });
            published.confirmed = true;
        }
        for name in &plan.gone {
            names.remove(name);
        }
        if names.is_empty() {
            self.published.remove(backend);
        }
    }
}

/// A day, in seconds: one more call of Route 53 for each host.
const ZONES_LAST: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        naming::{Conflict, Reverse},
        plan::{Observed, plan},
        rrset::Rdata,
    };

    fn us() -> OwnerId {
        OwnerId::new("i-us")
    }

    fn wanted(name: &str) -> BTreeMap<Name, Wish> {
        let wish = Wish {
            ttl: 60,
            values: BTreeSet::from([Rdata::A([10, 0, 0, 1].into())]),
            reverse: Reverse::Never,
            conflict: Conflict::Refuse,
            shared: false,
            because: Vec::new(),
        };
        BTreeMap::from([(name.parse().unwrap(), wish)])
    }

    fn seen(names: &[&str]) -> Observed {
        let zone: Name = "x".parse().unwrap();
        let zones = names.iter().map(|name| (name.parse().unwrap(), zone.clone())).collect();
        Observed { zones, ..Observed::default() }
    }

    #[test]
    fn a_name_is_noted_before_it_is_sent_and_confirmed_after() {
        let desired = wanted("a.x");
        let plan = plan(&us(), &desired, &BTreeSet::new(), &seen(&["a.x"]));
        let mut ledger = Ledger::default().of(&us());
        ledger.note_before("internal", &plan, 7);
        assert_eq!(
            ledger.published["internal"][&"a.x".parse().unwrap()],
            Published { at: 7, confirmed: false, kept: Kept::default() }
        );
        ledger.note_after("internal", &plan, &[], &desired, 8);
        assert_eq!(
            ledger.published["internal"][&"a.x".parse().unwrap()],
            Published { at: 8, confirmed: true, kept: Kept::default() }
        );
        assert!(ledger.retired("internal", &desired).is_empty());
        assert_eq!(
            ledger.retired("internal", &wanted("b.x")),
            BTreeSet::from(["a.x".parse().unwrap()])
        );
    }

    #[test]
    fn a_pass_that_changes_nothing_notes_nothing() {
        let desired = wanted("a.x");
        let first = plan(&us(), &desired, &BTreeSet::new(), &seen(&["a.x"]));
        let mut ledger = Ledger::default().of(&us());
        ledger.note_after("internal", &first, &[], &desired, 7);
        let before = ledger.clone();
        let again = Plan { unchanged: vec!["a.x".parse().unwrap()], ..Plan::default() };
        ledger.note_after("internal", &again, &[], &desired, 99);
        assert_eq!(ledger, before);
    }

    #[test]
    fn a_backend_under_a_new_name_is_known_by_what_it_finds_unless_two_may_be_it() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let published = |names: &[&str]| {
            let one = Published { at: 7, confirmed: true, kept: Kept::default() };
            names.iter().map(|it| (name(it), one.clone())).collect::<BTreeMap<_, _>>()
        };
        let former = |names: &[&str]| names.iter().map(|it| (*it).to_owned()).collect();
        let all = BTreeMap::from([
            ("inside".to_owned(), published(&["a.x", "b.x"])),
            ("outside".to_owned(), published(&["a.x"])),
        ]);
        let found = BTreeSet::from([name("a.x")]);
        let renamed = |found: &BTreeSet<Name>, former: BTreeSet<String>| {
            let mut ledger = Ledger { published: all.clone(), ..Ledger::default() };
            ledger.note_renamed("new", found, &former);
            ledger.published
        };
        let mut one = all.clone();
        let names = one.remove("inside").unwrap();
        one.insert("new".to_owned(), names);
        assert_eq!(renamed(&found, former(&["inside"])), one);
        assert_eq!(renamed(&found, former(&["inside", "outside"])), all, "either may be it");
        assert_eq!(renamed(&found, former(&[])), all, "both are there");
        assert_eq!(renamed(&BTreeSet::from([name("c.x")]), former(&["inside"])), all);
    }

    #[test]
    fn a_name_that_went_is_forgotten() {
        let mut ledger = Ledger::default().of(&us());
        let desired = wanted("a.x");
        let first = plan(&us(), &desired, &BTreeSet::new(), &seen(&["a.x"]));
        ledger.note_after("internal", &first, &[], &desired, 7);
        let none = BTreeMap::new();
        let retired = ledger.retired("internal", &none);
        let second = plan(&us(), &none, &retired, &seen(&["a.x"]));
        ledger.note_after("internal", &second, &[], &none, 8);
        assert!(ledger.published.is_empty());
    }

    #[test]
    fn another_instances_memory_says_nothing_of_ours() {
        let mut ledger = Ledger::default().of(&OwnerId::new("i-image"));
        let desired = wanted("a.x");
        let plan = plan(&us(), &desired, &BTreeSet::new(), &seen(&["a.x"]));
        ledger.note_before("internal", &plan, 7);
        ledger.servers = Some(KnownServers { servers: Vec::new(), at: 7 });
        ledger.remember_zones("aws", BTreeMap::from([("Z".to_owned(), "x".parse().unwrap())]), 7);
        assert_eq!(ledger.of(&us()), Ledger { owner: Some(us()), ..Ledger::default() });
    }
}
