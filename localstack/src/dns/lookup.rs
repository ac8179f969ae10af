//! Answers queries from the zones (RFC 1034 §4.3.2): data, NODATA and NXDOMAIN with the SOA, referrals, CNAME chains,
//! wildcards (RFC 4592).

use std::collections::BTreeMap;

use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{DNSClass, LowerName, Name, RData, Record, RecordType},
};

use super::zone::{Contents, Node, RrSet, enclosing};

/// Fills `answer` with what the zones say to `query`.
pub(super) fn look_up(zones: &BTreeMap<LowerName, Contents>, query: &Query, answer: &mut Message) {
    let mut name = query.name().clone();
    for _ in 0..MAX_CHAIN {
        let lower = LowerName::new(&name);
        let found =
            (query.query_class() == DNSClass::IN).then(|| enclosing(zones, &lower)).flatten();
        let Some(zone) = found else {
            if answer.answers.is_empty() {
                answer.metadata.response_code = ResponseCode::Refused;
            }
            return;
        };
        if let Some((cut, servers)) = delegation(zone, &lower, query.query_type()) {
            answer.authorities.extend(records(&Name::from(&cut), servers));
            add_addresses(zone, servers, answer);
            return;
        }
        answer.metadata.authoritative = true;
        let Some(node) = node(zone, &lower) else {
            if !exists(zone, &lower) {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            return add_negative(zone, query.query_type(), answer);
        };
        let chain = node
            .get(&RecordType::CNAME)
            .filter(|_| !matches!(query.query_type(), RecordType::CNAME | RecordType::ANY));
        if let Some(set) = chain {
            answer.answers.extend(records(&name, set));
            let Some(RData::CNAME(target)) = set.data.first() else { return };
            name = target.0.clone();
            continue;
        }
        let wanted = |kind: &RecordType| {
            query.query_type() == RecordType::ANY || *kind == query.query_type()
        };
        let sets: Vec<_> = node.iter().filter(|(kind, _)| wanted(kind)).collect();
        if sets.is_empty() {
            return add_negative(zone, query.query_type(), answer);
        }
        for (kind, set) in sets {
            answer.answers.extend(records(&name, set));
            if *kind == RecordType::NS {
                add_addresses(zone, set, answer);
            }
        }
        return;
    }
}

/// All of a zone, between two copies of its SOA (RFC 5936 §2.2).
pub(super) fn transfer(zone: &Contents, answer: &mut Message) {
    answer.metadata.authoritative = true;
    let soa = || {
        zone.rrset(&zone.origin, RecordType::SOA)
            .into_iter()
            .flat_map(|set| records(&set.owner, set))
    };
    answer.answers.extend(soa());
    let sets = zone.nodes.values().flatten().filter(|(kind, _)| **kind != RecordType::SOA);
    answer.answers.extend(sets.flat_map(|(_, set)| records(&set.owner, set)));
    answer.answers.extend(soa());
}

/// The servers of the zone below that `name` belongs to.
fn delegation<'z>(
    zone: &'z Contents,
    name: &LowerName,
    kind: RecordType,
) -> Option<(LowerName, &'z RrSet)> {
    let mut found = None;
    let mut at = name.clone();
    while zone.origin.zone_of(&at) && at != zone.origin {
        if let Some(servers) = zone.rrset(&at, RecordType::NS)
            && !(kind == RecordType::DS && at == *name)
        {
            found = Some((at.clone(), servers));
        }
        at = at.base_name();
    }
    found
}

/// What stands at `name`, or at the wildcard that covers it: the one right below its closest encloser (RFC 4592 §3.3.1).
fn node<'z>(zone: &'z Contents, name: &LowerName) -> Option<&'z Node> {
    if exists(zone, name) {
        return zone.nodes.get(name);
    }
    let mut encloser = name.base_name();
    while !exists(zone, &encloser) {
        encloser = encloser.base_name();
    }
    zone.nodes.get(&LowerName::from(Name::from(&encloser).prepend_label("*").ok()?))
}

/// Whether something stands at `name` or below it (RFC 4592 §2.2.2).
fn exists(zone: &Contents, name: &LowerName) -> bool {
    zone.nodes.range(name..).next().is_some_and(|(next, _)| name.zone_of(next))
}

fn add_negative(zone: &Contents, kind: RecordType, answer: &mut Message) {
    let (Some(set), Some(soa)) = (zone.rrset(&zone.origin, RecordType::SOA), zone.soa()) else {
        return;
    };
    // RFC 2308 §3; and nought to an SOA query for an unknown name, so that nobody caches "no zone here" (`zero-no-soa-ttl`)
    let is_search = kind == RecordType::SOA && answer.response_code == ResponseCode::NXDomain;
    let ttl = if is_search { 0 } else { set.ttl.min(soa.minimum) };
    let set = RrSet { ttl, ..set.clone() };
    answer.authorities.extend(records(&set.owner, &set));
}

fn add_addresses(zone: &Contents, servers: &RrSet, answer: &mut Message) {
    for server in &servers.data {
        let RData::NS(server) = server else { continue };
        let Some(node) = zone.nodes.get(&LowerName::new(&server.0)) else { continue };
        for kind in [RecordType::A, RecordType::AAAA] {
            let sets = node.get(&kind).into_iter();
            answer.additionals.extend(sets.flat_map(|set| records(&server.0, set)));
        }
    }
}

/// The records of `set` at `name`, which is another than its own when a wildcard stands for it.
fn records(name: &Name, set: &RrSet) -> Vec<Record> {
    let owner = if set.owner == *name { &set.owner } else { name };
    set.data.iter().map(|data| Record::from_rdata(owner.clone(), set.ttl, data.clone())).collect()
}

const MAX_CHAIN: usize = 8;
