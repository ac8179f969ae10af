//! Which member of a shared name is nearest, and which networks lie around this host in order of nearness.
//!
//! What resolver files say follows from where the host stands, not from who a name's members are, so that the files change
//! rarely. Of a network inside another the longer prefix decides (RFC 6724 section 2.1); the nearer one is never the shorter.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use super::{
    facts::{Cidr, Facts},
    servers::spread,
};

/// How near an address is; the nearer, the less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nearness {
    /// An address of this host.
    ThisHost,
    /// In a subnet of one of its interfaces.
    SameSubnet,
    /// In another subnet of its Availability Zone and VPC.
    SameZone,
    /// In its VPC, in another zone or in one that is not known.
    SameVpc,
    /// Outside its VPC.
    Elsewhere,
}

impl fmt::Display for Nearness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ThisHost => "this host",
            Self::SameSubnet => "same subnet",
            Self::SameZone => "same zone",
            Self::SameVpc => "same VPC",
            Self::Elsewhere => "elsewhere",
        })
    }
}

/// One block of a subnet, as EC2 lists it; a subnet with IPv6 is two of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subnet {
    /// The block, of either family.
    pub cidr: Cidr,
    /// Its Availability Zone.
    pub availability_zone: String,
    /// `vpc-…`
    pub vpc_id: String,
}

/// Where a host stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// The blocks of its interfaces' subnets.
    pub subnets: Vec<Cidr>,
    /// The blocks of its Availability Zone's subnets; empty when no subnet is known, and its own may be among them.
    pub zone: Vec<Cidr>,
    /// The blocks of its VPC.
    pub vpc: Vec<Cidr>,
    /// What spreads hosts over equals: the instance id.
    pub spread: String,
}

impl Surroundings {
    /// What the host's facts and the known subnets say.
    #[must_use]
    pub fn of(facts: &Facts, known: &[Subnet]) -> Self {
        let interfaces = &facts.interfaces;
        let addresses = interfaces.iter().flat_map(|interface| {
            let ipv4s = interface.local_ipv4s.iter().chain(&interface.public_ipv4s);
            let ipv6s = interface.ipv6s.iter().copied().map(IpAddr::from);
            ipv4s.copied().map(IpAddr::from).chain(ipv6s)
        });
        let in_zone = known.iter().filter(|subnet| {
            subnet.availability_zone == facts.identity.availability_zone
                && interfaces.iter().any(|interface| interface.vpc_id == subnet.vpc_id)
        });
        Self {
            addresses: addresses.filter(|address| !facts.lost.contains(address)).collect(),
            subnets: interfaces.iter().flat_map(|i| i.subnet_cidrs.clone()).collect(),
            zone: in_zone.map(|subnet| subnet.cidr).collect(),
            vpc: interfaces.iter().flat_map(|i| i.vpc_cidrs.clone()).collect(),
            spread: facts.identity.instance_id.clone(),
        }
    }
}

/// A network around this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its addresses.
    pub cidr: Cidr,
    /// How near they are.
    pub nearness: Nearness,
}

/// The host's own addresses and the networks around it, nearest first; equally near ones in an order that differs from host to host.
#[must_use]
pub fn networks(here: &Surroundings) -> Vec<Network> {
    let own = here.addresses.iter().map(|address| Cidr::host(*address)).collect();
    let classes = [
        (Nearness::ThisHost, &own),
        (Nearness::SameSubnet, &here.subnets),
        (Nearness::SameZone, &here.zone),
        (Nearness::SameVpc, &here.vpc),
    ];
    let mut networks = Vec::<Network>::new();
    for (nearness, blocks) in classes {
        let is_new = |block: &Cidr| !networks.iter().any(|nearer| nearer.cidr.covers(*block));
        let mut class = merge(blocks.iter().copied().filter(is_new).collect());
        class.sort_by_key(|cidr| (cidr.network().is_ipv6(), spread(&here.spread, cidr)));
        networks.extend(class.into_iter().map(|cidr| Network { cidr, nearness }));
    }
    networks
}

/// A member of a shared name, and what decided its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its address.
    pub address: IpAddr,
    /// How near it is.
    pub nearness: Nearness,
    /// The network that holds it; none for this host itself and for what is elsewhere.
    pub because: Option<Cidr>,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.nearness)?;
        self.because.map_or(Ok(()), |cidr| write!(f, " {cidr}"))
    }
}

/// The members, nearest first; equally near ones in an order that differs from host to host, so that a fleet does not put
/// its whole load on one.
#[must_use]
pub fn order(members: &[IpAddr], here: &Surroundings) -> Vec<Member> {
    let networks = networks(here);
    let members = members.iter().copied().collect::<BTreeSet<_>>();
    let mut members =
        members.into_iter().map(|address| place(address, here, &networks)).collect::<Vec<_>>();
    members.sort_by_key(|member| (member.nearness, spread(&here.spread, member.address)));
    members
}

/// The value of resolv.conf's `sortlist`; `None` when no network is IPv4, the only family that it knows. Where it cannot hold
/// them all, those that hold none of `members` are left out first.
///
/// With dotted masks: glibc reads a prefix length as an address, and gives a network without a mask that of its class.
#[must_use]
pub fn sortlist(networks: &[Network], members: &[IpAddr]) -> Option<String> {
    let mut pairs = ipv4_pairs(networks);
    let mut left_out = pairs.len().saturating_sub(MAXRESOLVSORT);
    let holds_one = |network: &Network| members.iter().any(|member| network.cidr.contains(*member));
    pairs.reverse();
    pairs.retain(|network| {
        let is_out = left_out > 0 && !holds_one(network);
        left_out -= usize::from(is_out);
        !is_out
    });
    let pairs = pairs.iter().rev().take(MAXRESOLVSORT);
    let pairs = pairs.map(|Network { cidr, .. }| format!("{}/{}", cidr.network(), cidr.netmask()));
    let pairs = pairs.collect::<Vec<_>>();
    (!pairs.is_empty()).then(|| pairs.join(" "))
}

/// Whether `sortlist` can hold them all.
#[must_use]
pub fn fits_sortlist(networks: &[Network]) -> bool {
    ipv4_pairs(networks).len() <= MAXRESOLVSORT
}

fn ipv4_pairs(networks: &[Network]) -> Vec<Network> {
    let ipv4 = networks.iter().filter(|network| network.cidr.network().is_ipv4());
    let (own, around): (Vec<_>, Vec<_>) =
        ipv4.partition(|network| network.nearness == Nearness::ThisHost);
    own.into_iter().take(MOST_OWN).chain(around).copied().collect()
}

fn place(address: IpAddr, here: &Surroundings, networks: &[Network]) -> Member {
    if here.addresses.contains(&address) {
        return Member { address, nearness: Nearness::ThisHost, because: None };
    }
    match networks.iter().find(|network| network.cidr.contains(address)) {
        Some(Network { cidr, nearness }) => {
            Member { address, nearness: *nearness, because: Some(*cidr) }
        }
        None => Member { address, nearness: Nearness::Elsewhere, because: None },
    }
}

/// The blocks without those that others cover, and two halves as their whole.
fn merge(mut blocks: Vec<Cidr>) -> Vec<Cidr> {
    blocks.sort_unstable();
    let mut merged = Vec::<Cidr>::new();
    for mut block in blocks {
        if merged.last().is_some_and(|last| last.covers(block)) {
            continue;
        }
        while let Some(whole) = merged.last().and_then(|last| last.join(block)) {
            merged.pop();
            block = whole;
        }
        merged.push(block);
    }
    merged
}

/// How many pairs `sortlist` may have (`MAXRESOLVSORT` in resolv.h).
const MAXRESOLVSORT: usize = 10;
/// How many of them are for this host's own addresses, which getaddrinfo(3) prefers without being told.
const MOST_OWN: usize = 3;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::core::facts::{Details, Identity, Interface, TagSource, Tags};

    fn blocks(text: &str) -> Vec<Cidr> {
        text.split_ascii_whitespace().map(|block| block.parse().unwrap()).collect()
    }

    fn addresses(text: &str) -> Vec<IpAddr> {
        text.split_ascii_whitespace().map(|address| address.parse().unwrap()).collect()
    }

    fn here(spread: &str) -> Surroundings {
        Surroundings {
            addresses: addresses("10.0.1.7 2001:db8:0:1::7"),
            subnets: blocks("10.0.1.0/24 2001:db8:0:1::/64"),
            zone: blocks("10.0.1.0/24 10.0.4.0/24 2001:db8:0:1::/64 2001:db8:0:4::/64"),
            vpc: blocks("10.0.0.0/16 2001:db8::/56"),
            spread: spread.to_owned(),
        }
    }

    fn show(networks: &[Network]) -> Vec<String> {
        let mut lines =
            networks.iter().map(|n| (n.nearness, n.cidr.to_string())).collect::<Vec<_>>();
        assert!(lines.is_sorted_by_key(|(nearness, _)| *nearness), "{lines:?}");
        lines.sort();
        lines.iter().map(|(nearness, cidr)| format!("{cidr} {nearness}")).collect()
    }

    #[test]
    fn a_member_is_as_near_as_the_nearest_network_that_holds_it() {
        let check = |address: &str, expect: &str| {
            let members = order(&addresses(address), &here("i-1"));
            assert_eq!(members[0].to_string(), expect);
        };
        check("10.0.1.7", "10.0.1.7: this host");
        check("10.0.1.8", "10.0.1.8: same subnet 10.0.1.0/24");
        check("10.0.4.8", "10.0.4.8: same zone 10.0.4.0/24");
        check("10.0.2.8", "10.0.2.8: same VPC 10.0.0.0/16");
        check("10.1.2.8", "10.1.2.8: elsewhere");
        check("2001:db8:0:1::7", "2001:db8:0:1::7: this host");
        check("2001:db8:0:1::8", "2001:db8:0:1::8: same subnet 2001:db8:0:1::/64");
        check("2001:db8:0:4::8", "2001:db8:0:4::8: same zone 2001:db8:0:4::/64");
        check("2001:db8:0:9::8", "2001:db8:0:9::8: same VPC 2001:db8::/56");
        check("2001:db8:1::8", "2001:db8:1::8: elsewhere");
    }

    #[test]
    fn the_nearer_member_comes_first_on_every_host_and_each_comes_once() {
        let members = addresses("192.0.2.1 10.0.2.8 10.0.4.8 10.0.1.8 10.0.1.7 10.0.2.8");
        for host in 0..50 {
            let order = order(&members, &here(&format!("i-{host}")));
            let order = order.iter().map(|m| m.address).collect::<Vec<_>>();
            assert_eq!(order, addresses("10.0.1.7 10.0.1.8 10.0.4.8 10.0.2.8 192.0.2.1"));
        }
    }

    #[test]
    fn hosts_spread_over_equally_near_members() {
        for count in 2..=6 {
            let members = (1..=count).map(|n| IpAddr::from([10, 0, 2, n])).collect::<Vec<_>>();
            let mut first = BTreeMap::new();
            for host in 0..600 {
                let here = here(&format!("i-0{:016x}", host * 0x1234_5678_9abc_u64));
                *first.entry(order(&members, &here)[0].address).or_insert(0) += 1;
            }
            let fair = 600 / u32::from(count);
            assert!(
                first.len() == members.len() && first.values().all(|n| *n > fair * 8 / 10),
                "{first:?}"
            );
        }
    }

    #[test]
    fn hosts_spread_over_equally_near_networks() {
        let zone = blocks("10.0.4.0/24 10.0.6.0/24 10.0.8.0/24");
        let first = |host: u8| {
            let here = Surroundings { zone: zone.clone(), ..here(&format!("i-{host}")) };
            let is_zone = |network: &Network| network.nearness == Nearness::SameZone;
            networks(&here).into_iter().find(is_zone).unwrap().cidr
        };
        assert_eq!((0..20).map(first).collect::<BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn the_order_of_members_and_blocks_as_given_changes_nothing() {
        let mut turned = here("i-1");
        for list in [&mut turned.subnets, &mut turned.zone, &mut turned.vpc] {
            list.reverse();
        }
        assert_eq!(networks(&here("i-1")), networks(&turned));
        let mut members = addresses("10.0.2.1 10.0.2.2 10.0.2.3 10.0.4.1");
        let before = order(&members, &turned);
        members.reverse();
        assert_eq!(order(&members, &turned), before);
    }

    #[test]
    fn networks_go_outwards_and_none_is_said_twice() {
        let check = |subnets: &str, zone: &str, vpc: &str, expect: &[&str]| {
            let here = Surroundings {
                subnets: blocks(subnets),
                zone: blocks(zone),
                vpc: blocks(vpc),
                addresses: Vec::new(),
                ..here("i-1")
            };
            assert_eq!(show(&networks(&here)), expect, "{subnets} | {zone} | {vpc}");
        };
        check("", "", "", &[]);
        check(
            "10.0.1.0/24",
            "",
            "10.0.0.0/16",
            &["10.0.1.0/24 same subnet", "10.0.0.0/16 same VPC"],
        );
        // two interfaces in one subnet; the VPC is one subnet
        check(
            "10.0.0.0/24 10.0.0.0/24",
            "10.0.0.0/24",
            "10.0.0.0/24",
            &["10.0.0.0/24 same subnet"],
        );
        // halves become their whole, but never together with a nearer network
        check(
            "10.0.0.0/24",
            "10.0.0.0/24 10.0.1.0/24 10.0.2.0/24 10.0.3.0/25 10.0.3.128/25",
            "10.0.0.0/16 10.1.0.0/16",
            &[
                "10.0.0.0/24 same subnet",
                "10.0.1.0/24 same zone",
                "10.0.2.0/23 same zone",
                "10.0.0.0/15 same VPC",
            ],
        );
        // what a nearer network covers is no farther for being listed again
        check(
            "10.0.0.0/23",
            "10.0.1.0/24",
            "10.0.0.0/16",
            &["10.0.0.0/23 same subnet", "10.0.0.0/16 same VPC"],
        );
    }

    #[test]
    fn the_sortlist_is_ipv4_with_dotted_masks_nearest_first_and_at_most_ten() {
        assert_eq!(
            sortlist(&networks(&here("i-1")), &[]).unwrap(),
            "10.0.1.7/255.255.255.255 10.0.1.0/255.255.255.0 10.0.4.0/255.255.255.0 10.0.0.0/255.255.0.0"
        );
        let ipv6_only =
            Surroundings { subnets: blocks("2001:db8::/64"), ..Surroundings::default() };
        assert_eq!(sortlist(&networks(&ipv6_only), &[]), None);
        assert_eq!(sortlist(&[], &[]), None);
        let zone = (1..20).map(|n| format!("10.0.{}.0/25", n * 2).parse().unwrap()).collect();
        let crowded = networks(&Surroundings { zone, ..here("i-1") });
        assert!(!fits_sortlist(&crowded) && fits_sortlist(&networks(&here("i-1"))));
        let list = sortlist(&crowded, &[]).unwrap();
        assert_eq!(list.split(' ').count(), 10);
        assert!(list.starts_with("10.0.1.7/255.255.255.255 10.0.1.0/255.255.255.0 "), "{list}");
        assert!(list.contains("/255.255.255.128"));
        for member in (1..20).map(|n| IpAddr::from([10, 0, n * 2, 5])) {
            let list = sortlist(&crowded, &[member, [10, 0, 1, 9].into(), [10, 0, 99, 1].into()]);
            let list = list.unwrap();
            let pairs = list.split(' ').collect::<Vec<_>>();
            let holds = |pair: &&str| pair.starts_with(&member.to_string().replace(".5", ".0/"));
            assert!(pairs.len() == 10 && pairs.iter().any(holds), "{member}: {list}");
            assert_eq!((pairs[1], pairs[9]), ("10.0.1.0/255.255.255.0", "10.0.0.0/255.255.0.0"));
        }
        let addresses = (1..50).map(|n| IpAddr::from([10, 0, 1, n * 2])).collect();
        let list = sortlist(&networks(&Surroundings { addresses, ..here("i-1") }), &[]).unwrap();
        assert!(list.ends_with("10.0.0.0/255.255.0.0"), "the VPC has room: {list}");
    }

    #[test]
    fn only_subnets_of_this_zone_and_this_vpc_are_near() {
        let interface = Interface {
            vpc_id: "vpc-1".to_owned(),
            local_ipv4s: vec![[10, 0, 1, 7].into(), [10, 0, 1, 8].into()],
            public_ipv4s: vec![[192, 0, 2, 7].into()],
            ipv6s: vec!["2001:db8::7".parse().unwrap()],
            subnet_cidrs: blocks("10.0.1.0/24"),
            vpc_cidrs: blocks("10.0.0.0/16"),
            ..Interface::default()
        };
        let facts = Facts {
            identity: Identity {
                instance_id: "i-1".to_owned(),
                account_id: String::new(),
                region: "r".to_owned(),
                availability_zone: "ra".to_owned(),
                partition: "aws".to_owned(),
                services_domain: String::new(),
            },
            hostname: String::new(),
            interfaces: vec![interface],
            tags: Tags { source: TagSource::Unavailable, values: BTreeMap::new(), unread: None },
            lost: BTreeSet::from([IpAddr::from([10, 0, 1, 8])]),
            discouraged: BTreeSet::new(),
            details: Details::NotAsked,
        };
        let subnet = |block: &str, zone: &str, vpc: &str| Subnet {
            cidr: block.parse().unwrap(),
            availability_zone: zone.to_owned(),
            vpc_id: vpc.to_owned(),
        };
        let known = [
            subnet("10.0.1.0/24", "ra", "vpc-1"),
            subnet("10.0.2.0/24", "rb", "vpc-1"),
            subnet("10.0.4.0/24", "ra", "vpc-1"),
            subnet("10.0.8.0/24", "ra", "vpc-2"),
        ];
        let here = Surroundings::of(&facts, &known);
        assert_eq!(here.addresses, addresses("10.0.1.7 192.0.2.7 2001:db8::7"), "not the lost one");
        assert_eq!(here.zone, blocks("10.0.1.0/24 10.0.4.0/24"));
        assert_eq!(Surroundings::of(&facts, &[]).zone, []);
        assert_eq!(here.spread, "i-1");
    }
}
