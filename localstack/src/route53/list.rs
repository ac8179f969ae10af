//! The listings of records and hosted zones, page by page.

use crate::{
    form::Form,
    name,
    rest_error::Error,
    world::State,
    xml::Xml,
    zone::{RecordSet, Zone, key},
};

use super::{Reply, invalid_input, no_such_zone, zones::hosted_zone};

/// `ListResourceRecordSets`: from the first set at or after the given name, type and identifier.
pub(super) fn records(state: &State, zone_id: &str, query: &Form) -> Result<Reply, Error> {
    let zone = state.zones.get(zone_id).ok_or_else(|| no_such_zone(zone_id))?;
    let start = (query.get("name"), query.get("type"), query.get("identifier"));
    let start = match start {
        (None, None, None) => key_of_start(None, "", ""),
        (Some(name), kind, None) => key_of_start(Some(name), kind.unwrap_or_default(), ""),
        (Some(name), Some(kind), Some(identifier)) => key_of_start(Some(name), kind, identifier),
        (None, Some(_), _) => {
            return Err(invalid_input("The input is not valid: type was specified without name"));
        }
        (_, None, Some(_)) => {
            return Err(invalid_input(
                "The input is not valid: identifier was specified without name and type",
            ));
        }
    }?;
    let size = page_size(query, 300)?;
    let mut rest = zone.records.starting_at(start);
    let page: Vec<_> = rest.by_ref().take(size).cloned().collect();
    let next = rest.next().cloned();
    Ok(Reply::ok("ListResourceRecordSetsResponse", move |xml| {
        xml.nest("ResourceRecordSets", |xml| {
            for record in &page {
                record_set(xml, record);
            }
        });
        xml.leaf("IsTruncated", next.is_some());
        if let Some(next) = next {
            xml.leaf("NextRecordName", next.name);
            xml.leaf("NextRecordType", next.kind);
            xml.leaf_if("NextRecordIdentifier", next.set_identifier);
        }
        xml.leaf("MaxItems", size);
    }))
}

/// `ListHostedZones`, by id.
pub(super) fn zones(state: &State, query: &Form) -> Result<Reply, Error> {
    let size = page_size(query, 100)?;
    let marker = query.get("marker").filter(|marker| !marker.is_empty()).map(str::to_owned);
    if let Some(marker) = marker.as_ref().filter(|marker| !state.zones.contains_key(*marker)) {
        return Err(no_such_zone(marker));
    }
    let mut rest = state.zones.range(marker.clone().unwrap_or_default()..).map(|(_, zone)| zone);
    let page: Vec<_> = rest.by_ref().take(size).cloned().collect();
    let next = rest.next().map(|zone| zone.id.clone());
    Ok(Reply::ok("ListHostedZonesResponse", move |xml| {
        hosted_zones(xml, &page);
        xml.leaf_if("Marker", marker);
        xml.leaf("IsTruncated", next.is_some());
        xml.leaf_if("NextMarker", next);
        xml.leaf("MaxItems", size);
    }))
}

/// `ListHostedZonesByName`: every zone from the given name on, not only those of that name.
pub(super) fn zones_by_name(state: &State, query: &Form) -> Result<Reply, Error> {
    let size = page_size(query, 100)?;
    let name = query.get("dnsname").filter(|name| !name.is_empty()).map(str::to_owned);
    let id = query.get("hostedzoneid").filter(|id| !id.is_empty()).map(str::to_owned);
    if id.is_some() && name.is_none() {
        return Err(invalid_input(
            "The input is not valid: hostedzoneid was specified without dnsname",
        ));
    }
    let place = |zone: &Zone| (name::order(&zone.name), zone.id.clone());
    let start = match &name {
        Some(name) => {
            let canonical = name::canonical(name)
                .map_err(|problem| Error::new(400, "InvalidDomainName", problem.to_string()))?;
            Some((name::order(&canonical), id.clone().unwrap_or_default()))
        }
        None => None,
    };
    let mut found: Vec<_> =
        state.zones.values().filter(|zone| Some(place(zone)) >= start).cloned().collect();
    found.sort_by_key(place);
    let next = found.get(size).map(|zone| (zone.name.clone(), zone.id.clone()));
    found.truncate(size);
    Ok(Reply::ok("ListHostedZonesByNameResponse", move |xml| {
        hosted_zones(xml, &found);
        xml.leaf_if("DNSName", name);
        xml.leaf_if("HostedZoneId", id);
        xml.leaf("IsTruncated", next.is_some());
        if let Some((name, id)) = next {
            xml.leaf("NextDNSName", name);
            xml.leaf("NextHostedZoneId", id);
        }
        xml.leaf("MaxItems", size);
    }))
}

/// `ListHostedZonesByVPC`: the private zones that answer in the VPC.
pub(super) fn zones_by_vpc(state: &State, query: &Form) -> Result<Reply, Error> {
    let size = page_size(query, 100)?;
    let (Some(vpc), Some(region)) = (query.get("vpcid"), query.get("vpcregion")) else {
        return Err(invalid_input("The input is not valid: vpcid and vpcregion are required"));
    };
    let after = query.get("nexttoken").unwrap_or_default();
    let is_wanted =
        |zone: &&Zone| zone.vpcs.iter().any(|one| one.id == vpc && one.region == region);
    let mut rest = state.zones.values().filter(is_wanted).filter(|zone| zone.id.as_str() > after);
    let page: Vec<_> = rest.by_ref().take(size).cloned().collect();
    let token = page.last().filter(|_| rest.next().is_some()).map(|last| last.id.clone());
    let account = state.account.id.clone();
    Ok(Reply::ok("ListHostedZonesByVPCResponse", move |xml| {
        xml.nest("HostedZoneSummaries", |xml| {
            for zone in &page {
                xml.nest("HostedZoneSummary", |xml| {
                    xml.leaf("HostedZoneId", &zone.id);
                    xml.leaf("Name", &zone.name);
                    xml.nest("Owner", |xml| xml.leaf("OwningAccount", &account));
                });
            }
        });
        xml.leaf("MaxItems", size);
        xml.leaf_if("NextToken", token);
    }))
}

fn key_of_start(
    name: Option<&str>,
    kind: &str,
    identifier: &str,
) -> Result<crate::zone::Key, Error> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(Default::default()) };
    let name = name::canonical(name).map_err(|problem| invalid_input(problem.to_string()))?;
    Ok(key(&name, kind, identifier))
}

/// `maxitems`; a request for more than the most is one for the most.
fn page_size(query: &Form, most: usize) -> Result<usize, Error> {
    match query.get("maxitems").map(str::parse::<usize>) {
        None => Ok(most),
        Some(Ok(size @ 1..)) => Ok(size.min(most)),
        Some(_) => {
            Err(invalid_input("The input is not valid: maxitems must be a number of at least 1"))
        }
    }
}

fn hosted_zones(xml: &mut Xml, zones: &[Zone]) {
    xml.nest("HostedZones", |xml| zones.iter().for_each(|zone| hosted_zone(xml, zone)));
}

fn record_set(xml: &mut Xml, record: &RecordSet) {
    xml.nest("ResourceRecordSet", |xml| {
        xml.leaf("Name", &record.name);
        xml.leaf("Type", &record.kind);
        xml.leaf_if("SetIdentifier", record.set_identifier.as_ref());
        xml.leaf_if("Weight", record.weight);
        xml.leaf_if("Region", record.region.as_ref());
        xml.leaf_if("Failover", record.failover.as_ref());
        xml.leaf_if("MultiValueAnswer", record.multi_value_answer.filter(|answer| *answer));
        xml.leaf_if("TTL", record.ttl);
        if !record.values.is_empty() {
            xml.nest("ResourceRecords", |xml| {
                record.values.iter().for_each(|value| {
                    xml.nest("ResourceRecord", |xml| xml.leaf("Value", value));
                });
            });
        }
        if let Some(alias) = &record.alias {
            xml.nest("AliasTarget", |xml| {
                xml.leaf("HostedZoneId", &alias.hosted_zone_id);
                xml.leaf("DNSName", &alias.dns_name);
                xml.leaf("EvaluateTargetHealth", alias.evaluate_target_health);
            });
        }
        xml.leaf_if("HealthCheckId", record.health_check_id.as_ref());
    });
}
