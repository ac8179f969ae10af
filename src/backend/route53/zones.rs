//! Which hosted zone a name is in: the configured one, one that is known, or one that Route 53 finds by the VPC or by name.

use std::sync::atomic::Ordering;

use aws_sdk_route53::types::{HostedZoneConfig, VpcRegion};

use super::{
    Route53,
    lower::{name_of, route53_name},
    refusal::failed,
};
use crate::{core::name::Name, ports::error::BackendError};

impl Route53 {
    /// Does without the name of the configured zone where nothing hangs on it: a call less for each host that boots.
    pub fn presume(&self) {
        self.presumes.store(true, Ordering::Relaxed);
    }

    /// What stands for the name of the configured zone: the domain right above `names`, if they are siblings. Whether they are
    /// in that zone at all, Route 53 says of the change.
    pub(super) fn presumed(&self, names: &[Name]) -> Option<(Name, String)> {
        let id = self.zone_id.as_ref().filter(|id| !self.zone_ids().contains_key(*id))?;
        let above = names.first()?.parent()?;
        let are_siblings = names.iter().all(|name| name.parent().as_ref() == Some(&above));
        let may_be = self.presumes.load(Ordering::Relaxed) && !above.is_reverse();
        (may_be && are_siblings).then(|| (above, id.clone()))
    }

    /// The zone that holds `name`: the configured one, the longest known one, or the one that Route 53 finds by name. Where
    /// a zone is configured, only reverse names are looked for in others.
    pub(super) async fn zone_of(
        &self,
        name: &Name,
    ) -> Result<Option<(Name, String)>, BackendError> {
        if let Some(id) = &self.zone_id {
            if !self.zone_ids().contains_key(id) {
                self.learn(id).await?;
            }
            let configured = self.configured_zone().filter(|zone| name.is_within(zone));
            if configured.is_some() || !name.is_reverse() {
                return Ok(configured.map(|zone| (zone, id.clone())));
            }
        }
        if let Some(found) = self.known_zone_of(name) {
            return Ok(Some(found));
        }
        self.learn_private_zones().await?;
        if let Some(found) = self.known_zone_of(name) {
            return Ok(Some(found));
        }
        // Reverse names of private addresses are in private zones or nowhere.
        if name.is_reverse() { Ok(None) } else { self.search(name).await }
    }

    /// The name of the configured zone, once that is known.
    pub(super) fn configured_zone(&self) -> Option<Name> {
        self.zone_id.as_ref().and_then(|id| self.zone_ids().remove(id))
    }

    pub(super) fn known_zone_of(&self, name: &Name) -> Option<(Name, String)> {
        let zones = self.zone_ids().into_iter().map(|(id, zone)| (zone, id));
        let holding = zones.filter(|(zone, _)| name.is_within(zone));
        holding.max_by_key(|(zone, _)| zone.labels().count())
    }

    /// The name of the zone with this id.
    pub(super) async fn learn(&self, id: &str) -> Result<(), BackendError> {
        let answer = self
            .client
            .get_hosted_zone()
            .id(id)
            .send()
            .await
            .map_err(|error| failed(GET_ZONE, id, &error))?;
        let zone = answer.hosted_zone().and_then(|zone| name_of(zone.name()));
        self.remember(zone.ok_or_else(|| BackendError::NoZone { zone_id: id.to_owned() })?, id);
        Ok(())
    }

    /// The private zones that this host's VPC resolves, in one call for each hundred of them. None is remembered before all
    /// are known: a zone of another page may be cut out of it.
    pub(super) async fn learn_private_zones(&self) -> Result<(), BackendError> {
        let Some((region, vpc)) = &self.vpc else { return Ok(()) };
        let region = VpcRegion::from(region.as_str());
        let mut zones = Vec::new();
        let mut token = None;
        loop {
            let call = self.client.list_hosted_zones_by_vpc().vpc_id(vpc);
            let answer = call.vpc_region(region.clone()).set_next_token(token).send().await;
            let answer = answer.map_err(|error| failed(LIST_VPC_ZONES, vpc, &error))?;
            let summaries = answer.hosted_zone_summaries().iter();
            let named =
                summaries.map(|zone| (name_of(zone.name()), bare_id(zone.hosted_zone_id())));
            zones.extend(named.filter_map(|(zone, id)| Some((zone?, id))));
            token = answer.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        for (zone, id) in zones {
            self.remember(zone, &id);
        }
        Ok(())
    }

    /// Finds the public zone by its name, from the name itself upwards.
    pub(super) async fn search(&self, name: &Name) -> Result<Option<(Name, String)>, BackendError> {
        let mut candidate = Some(name.clone());
        while let Some(zone) = candidate.filter(|zone| zone.labels().count() > 1) {
            if let Some(id) = self.public_zone(&zone).await? {
                self.remember(zone.clone(), &id);
                return Ok(Some((zone, id)));
            }
            candidate = zone.parent();
        }
        Ok(None)
    }

    /// The public zone of this name. Private ones of the same name stand in the same list, and those are other VPCs': this
    /// host's own are found by its VPC.
    pub(super) async fn public_zone(&self, zone: &Name) -> Result<Option<String>, BackendError> {
        let text = route53_name(zone);
        let mut start_id = None;
        loop {
            let call = self.client.list_hosted_zones_by_name().dns_name(&text);
            let answer = call.set_hosted_zone_id(start_id).send().await;
            let answer = answer.map_err(|error| failed(LIST_ZONES, &text, &error))?;
            let found = answer.hosted_zones().iter().find(|found| {
                let is_private = found.config().is_some_and(HostedZoneConfig::private_zone);
                !is_private && name_of(found.name()).as_ref() == Some(zone)
            });
            if let Some(found) = found {
                return Ok(Some(bare_id(found.id())));
            }
            let next_name = answer.next_dns_name().and_then(name_of);
            start_id = answer.next_hosted_zone_id().map(str::to_owned);
            if start_id.is_none() || next_name.as_ref() != Some(zone) {
                return Ok(None);
            }
        }
    }

    pub(super) fn remember(&self, zone: Name, id: &str) {
        if let Ok(mut zones) = self.zones.lock() {
            zones.insert(id.to_owned(), zone);
        }
    }

    /// Forgets a zone that was remembered, and is no more.
    pub(super) fn forget(&self, id: &str) {
        if let Ok(mut zones) = self.zones.lock() {
            zones.remove(id);
        }
    }
}

/// `Z1` of `/hostedzone/Z1`.
pub(super) fn bare_id(id: &str) -> String {
    id.rsplit('/').next().unwrap_or(id).to_owned()
}

const GET_ZONE: &str = "route53:GetHostedZone";
const LIST_VPC_ZONES: &str = "route53:ListHostedZonesByVPC";
const LIST_ZONES: &str = "route53:ListHostedZonesByName";
