//! Decides what an UPDATE does to a zone: RFC 2136 §3.2 to §3.4, all or nothing.
//!
//! As BIND 9.18 does it, where the RFC says otherwise or nothing: the updates are scanned before the prerequisites are
//! checked, a record said twice in the prerequisites is no set that a zone can hold, records that join an RRset give it
//! their TTL (RFC 2181 §5.2), a host's address record under a name that is no host name is refused (`check-names`), and
//! an update that changes nothing leaves the serial.

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, LowerName, Name, RData, Record, RecordType},
};

use super::zone::Contents;

/// Checks `updates`, then `prerequisites`, and applies the updates; at an error the zone is as it was.
pub(super) fn update(
    zone: &mut Contents,
    prerequisites: &[Record],
    updates: &[Record],
) -> Result<(), ResponseCode> {
    for record in updates {
        prescan(zone, record)?;
    }
    check_prerequisites(zone, prerequisites)?;
    let before = zone.clone();
    for record in updates {
        apply(zone, record);
    }
    let serial = |zone: &Contents| zone.soa().map(|soa| soa.serial);
    if *zone != before && serial(zone) == serial(&before) {
        zone.increment_serial();
    }
    Ok(())
}

/// §3.2.5.
///
/// ```text
/// CLASS    TYPE     RDATA    Meaning                             else
/// ANY      ANY      empty    Name is in use                      NXDOMAIN
/// ANY      rrset    empty    RRset exists (value independent)    NXRRSET
/// NONE     ANY      empty    Name is not in use                  YXDOMAIN
/// NONE     rrset    empty    RRset does not exist                YXRRSET
/// zone     rrset    rr       RRset exists (value dependent)      NXRRSET
/// ```
fn check_prerequisites(zone: &Contents, prerequisites: &[Record]) -> Result<(), ResponseCode> {
    let mut wanted: Vec<(LowerName, RecordType, Vec<&RData>)> = Vec::new();
    for record in prerequisites {
        let (name, kind) = (LowerName::new(&record.name), record.record_type());
        if record.ttl != 0 {
            return Err(ResponseCode::FormErr);
        }
        if !zone.origin.zone_of(&name) {
            return Err(ResponseCode::NotZone);
        }
        let is_empty = matches!(record.data, RData::Update0(_));
        let is_there = match kind {
            RecordType::ANY => zone.nodes.contains_key(&name),
            _ => zone.rrset(&name, kind).is_some(),
        };
        match (record.dns_class, kind) {
            (DNSClass::ANY | DNSClass::NONE, _) if !is_empty => return Err(ResponseCode::FormErr),
            (DNSClass::ANY, RecordType::ANY) if !is_there => return Err(ResponseCode::NXDomain),
            (DNSClass::ANY, _) if !is_there => return Err(ResponseCode::NXRRSet),
            (DNSClass::NONE, RecordType::ANY) if is_there => return Err(ResponseCode::YXDomain),
            (DNSClass::NONE, _) if is_there => return Err(ResponseCode::YXRRSet),
            (DNSClass::ANY | DNSClass::NONE, _) => {}
            (DNSClass::IN, _) if is_empty || is_query_type(kind) => {
                return Err(ResponseCode::FormErr);
            }
            (DNSClass::IN, _) => match wanted.iter_mut().find(|set| set.0 == name && set.1 == kind)
            {
                Some((.., data)) => data.push(&record.data),
                None => wanted.push((name, kind, vec![&record.data])),
            },
            _ => return Err(ResponseCode::FormErr),
        }
    }
    // §3.2.3: same members, no more, no less; to BIND a record said twice is two
    let is_met = |(name, kind, data): &(LowerName, RecordType, Vec<&RData>)| {
        zone.rrset(name, *kind).is_some_and(|set| {
            data.len() == set.data.len() && set.data.iter().all(|there| data.contains(&there))
        })
    };
    if wanted.iter().all(is_met) { Ok(()) } else { Err(ResponseCode::NXRRSet) }
}

/// §3.4.1.3: what is wrong with `record` whatever the zone holds.
fn prescan(zone: &Contents, record: &Record) -> Result<(), ResponseCode> {
    let kind = record.record_type();
    let is_empty = matches!(record.data, RData::Update0(_));
    if !zone.origin.zone_of(&LowerName::new(&record.name)) {
        return Err(ResponseCode::NotZone);
    }
    let is_right = match record.dns_class {
        DNSClass::IN => !is_query_type(kind) && !is_empty,
        DNSClass::ANY => {
            record.ttl == 0 && is_empty && (kind == RecordType::ANY || !is_query_type(kind))
        }
        DNSClass::NONE => record.ttl == 0 && !is_query_type(kind) && !is_empty,
        _ => false,
    };
    if !is_right {
        return Err(ResponseCode::FormErr);
    }
    if record.dns_class == DNSClass::IN && !are_names_right(record) {
        return Err(ResponseCode::Refused);
    }
    Ok(())
}

/// §3.4.2.7.
///
/// ```text
/// CLASS    TYPE     RDATA    Meaning
/// ANY      ANY      empty    Delete all RRsets from a name
/// ANY      rrset    empty    Delete an RRset
/// NONE     rrset    rr       Delete an RR from an RRset
/// zone     rrset    rr       Add to an RRset
/// ```
fn apply(zone: &mut Contents, record: &Record) {
    let (name, kind) = (LowerName::new(&record.name), record.record_type());
    let is_kept = |kind| name == zone.origin && matches!(kind, RecordType::SOA | RecordType::NS);
    match record.dns_class {
        DNSClass::IN if !is_ignored(zone, &name, record) => {
            zone.add(&record.name, record.ttl, record.data.clone());
        }
        DNSClass::ANY if kind == RecordType::ANY => {
            if name == zone.origin {
                zone.retain(&name, |kind, _| matches!(kind, RecordType::SOA | RecordType::NS));
            } else {
                zone.nodes.remove(&name);
            }
        }
        DNSClass::ANY if !is_kept(kind) => zone.delete(&name, kind),
        // §3.4.2.4: neither the SOA nor the last NS of the apex
        DNSClass::NONE if kind == RecordType::SOA => {}
        DNSClass::NONE
            if is_kept(kind) && zone.rrset(&name, kind).is_some_and(|set| set.data.len() == 1) => {}
        DNSClass::NONE => zone.retain(&name, |_, data| *data != record.data),
        _ => {}
    }
}

/// §3.4.2.2: a CNAME beside other data or other data beside a CNAME, and an SOA that is not newer, are passed over.
fn is_ignored(zone: &Contents, name: &LowerName, record: &Record) -> bool {
    let Some(node) = zone.nodes.get(name) else { return record.record_type() == RecordType::SOA };
    match &record.data {
        RData::SOA(new) => match zone.soa() {
            // serial number arithmetic, RFC 1982 §3.2
            Some(old) if *name == zone.origin => {
                !matches!(new.serial.wrapping_sub(old.serial), 1..=0x7fff_ffff)
            }
            _ => true,
        },
        RData::CNAME(_) => node.keys().any(|kind| *kind != RecordType::CNAME),
        _ => node.contains_key(&RecordType::CNAME),
    }
}

/// BIND's `check-names` for a primary zone: hosts have host names (RFC 952, RFC 1123 §2.1).
fn are_names_right(record: &Record) -> bool {
    match &record.data {
        RData::A(_) | RData::AAAA(_) => is_host_name(&record.name),
        RData::PTR(target) if is_reverse(&record.name) => is_host_name(&target.0),
        RData::NS(server) => is_host_name(&server.0),
        _ => true,
    }
}

fn is_host_name(name: &Name) -> bool {
    name.iter().skip(usize::from(name.is_wildcard())).all(|label| {
        let is_border = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        is_border(label.first())
            && is_border(label.last())
            && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    })
}

fn is_reverse(name: &Name) -> bool {
    let mut labels = name.iter().rev();
    labels.next().is_some_and(|label| label.eq_ignore_ascii_case(b"arpa"))
        && labels.next().is_some_and(|label| {
            label.eq_ignore_ascii_case(b"in-addr") || label.eq_ignore_ascii_case(b"ip6")
        })
}

/// The types that are asked for and never stored: the meta types and QTYPEs 128 to 255, and OPT.
fn is_query_type(kind: RecordType) -> bool {
    matches!(u16::from(kind), 0 | 41 | 128..=255)
}
