//! `CreateHostedZone`, `DeleteHostedZone` and `GetHostedZone`.

use crate::{
    name,
    rest_error::Error,
    world::State,
    xml::Xml,
    zone::{NAME_SERVERS, Vpc, Zone},
};

use super::{Reply, change::submit, invalid_input, no_such_zone, request::NewZone};

/// `CreateHostedZone`.
pub(super) fn create(state: &mut State, text: &str) -> Result<Reply, Error> {
    let wanted = NewZone::parse(text)?;
    let apex = name::canonical(&wanted.name).map_err(|_| {
        Error::new(400, "InvalidDomainName", format!("{} is not a valid domain name", wanted.name))
    })?;
    if wanted.is_private && wanted.vpc.is_none() {
        return Err(invalid_input(
            "When you're creating a private hosted zone, you must specify a VPC.",
        ));
    }
    if state.zones.values().any(|zone| zone.caller_reference == wanted.caller_reference) {
        let message = "A hosted zone has already been created with the specified caller reference.";
        return Err(Error::new(409, "HostedZoneAlreadyExists", message));
    }
    let is_taken =
        |vpc: &Vpc| state.zones.values().any(|zone| zone.name == apex && zone.vpcs.contains(vpc));
    if let Some(vpc) = wanted.vpc.as_ref().filter(|vpc| is_taken(vpc)) {
        let message = format!(
            "The VPC {} in region {} has already been associated with the hosted zone with the same domain name.",
            vpc.id, vpc.region
        );
        return Err(Error::new(400, "ConflictingDomainExists", message));
    }
    let id = format!("Z{:020}", state.next_serial());
    let mut zone = Zone::new(&id, &apex);
    zone.caller_reference = wanted.caller_reference;
    zone.comment = wanted.comment;
    zone.vpcs.extend(wanted.vpc);
    let info = submit(state, None);
    state.zones.insert(id.clone(), zone.clone());
    let reply = Reply::ok("CreateHostedZoneResponse", move |xml| {
        hosted_zone(xml, &zone);
        info.write(xml);
        if !zone.is_private() {
            delegation_set(xml);
        }
        zone.vpcs.iter().for_each(|one| vpc(xml, one));
    });
    Ok(Reply { status: 201, location: Some(format!("/2013-04-01/hostedzone/{id}")), ..reply })
}

/// `DeleteHostedZone`.
pub(super) fn delete(state: &mut State, id: &str) -> Result<Reply, Error> {
    let zone = state.zones.get(id).ok_or_else(|| no_such_zone(id))?;
    let is_own = |name: &str, kind: &str| name == zone.name && matches!(kind, "SOA" | "NS");
    if zone.records.iter().any(|record| !is_own(&record.name, &record.kind)) {
        let message = "The specified hosted zone contains non-required resource record sets and so cannot be deleted.";
        return Err(Error::new(400, "HostedZoneNotEmpty", message));
    }
    state.zones.remove(id);
    let info = submit(state, None);
    Ok(Reply::ok("DeleteHostedZoneResponse", move |xml| info.write(xml)))
}

/// `GetHostedZone`.
pub(super) fn get(state: &State, id: &str) -> Result<Reply, Error> {
    let zone = state.zones.get(id).cloned().ok_or_else(|| no_such_zone(id))?;
    Ok(Reply::ok("GetHostedZoneResponse", move |xml| {
        hosted_zone(xml, &zone);
        if zone.is_private() {
            xml.nest("VPCs", |xml| zone.vpcs.iter().for_each(|one| vpc(xml, one)));
        } else {
            delegation_set(xml);
        }
    }))
}

/// `<HostedZone>`.
pub(super) fn hosted_zone(xml: &mut Xml, zone: &Zone) {
    xml.nest("HostedZone", |xml| {
        xml.leaf("Id", format!("/hostedzone/{}", zone.id));
        xml.leaf("Name", &zone.name);
        xml.leaf("CallerReference", &zone.caller_reference);
        xml.nest("Config", |xml| {
            xml.leaf_if("Comment", Some(&zone.comment).filter(|comment| !comment.is_empty()));
            xml.leaf("PrivateZone", zone.is_private());
        });
        xml.leaf("ResourceRecordSetCount", zone.records.len());
    });
}

fn vpc(xml: &mut Xml, vpc: &Vpc) {
    xml.nest("VPC", |xml| {
        xml.leaf("VPCRegion", &vpc.region);
        xml.leaf("VPCId", &vpc.id);
    });
}

fn delegation_set(xml: &mut Xml) {
    xml.nest("DelegationSet", |xml| {
        xml.nest("NameServers", |xml| {
            // without the final dot here, unlike in the NS record
            for server in NAME_SERVERS {
                xml.leaf("NameServer", server.trim_end_matches('.'));
            }
        });
    });
}
