//! Publishing in a Route 53 hosted zone: one list call for each name, one change call for each zone.
//!
//! Route 53 gives an account five calls a second, whoever makes them, so nothing is asked twice: the zone's id comes from the
//! configuration or is found once and remembered; the state of a change is not polled. Throttling and
//! `PriorRequestNotComplete` are tried again with full jitter by the SDK's standard mode, until the pass's deadline.

mod lower;
mod refusal;

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;
use aws_config::{Region, SdkConfig};
use aws_sdk_route53::{
    Client,
    config::Builder,
    error::SdkError,
    operation::change_resource_record_sets::ChangeResourceRecordSetsError,
    types::{ChangeAction, ChangeBatch, HostedZoneConfig, RrType as Type, VpcRegion},
};

use self::{
    lower::{Groups, Shares, lower, name_of, route53_name, rrset_of},
    refusal::{failed, is_lost_race, is_refused_for_creates_alone},
};
use crate::{
    config::Sharing,
    core::{
        name::Name,
        plan::{Observed, ZoneChange},
        rrset::{Records, Rrset},
    },
    ports::{Backend, error::BackendError},
};

/// What a Route 53 backend is made of.
#[derive(Debug)]
pub struct Settings<'a> {
    /// The zone of the configuration.
    pub zone_id: Option<String>,
    /// The endpoint in place of AWS.
    pub endpoint: Option<String>,
    /// `aws`, `aws-cn`: which of AWS's Route 53.
    pub partition: &'a str,
    /// This host's VPC, whose private zones hold its names: `(region, id)`.
    pub vpc: Option<(&'a str, &'a str)>,
    /// This host's instance id.
    pub member: &'a str,
    /// How names that hosts share are written.
    pub sharing: Sharing,
    /// The zones found before, by id.
    pub known: BTreeMap<String, Name>,
}

/// The backend.
#[derive(Debug)]
pub struct Route53 {
    client: Client,
    zone_id: Option<String>,
    vpc: Option<(String, String)>,
    member: String,
    sharing: Sharing,
    /// The multivalue answer sets of the names that were read last.
    groups: Mutex<Groups>,
    /// Whether the endpoint is not AWS's own.
    is_stand_in: bool,
    zones: Mutex<BTreeMap<String, Name>>,
    /// Which zone each zone name meant when it was read last.
    homes: Mutex<BTreeMap<Name, String>>,
}

impl Route53 {
    /// A backend that calls Route 53 as `shared` says.
    #[must_use]
    pub fn new(shared: &SdkConfig, settings: Settings<'_>) -> Self {
        let mut config = Builder::from(shared).region(signing_region(settings.partition));
        let is_stand_in = settings.endpoint.is_some();
        config.set_endpoint_url(settings.endpoint);
        let zone_id = settings.zone_id.map(|id| bare_id(&id));
        let vpc = settings.vpc.map(|(region, id)| (region.to_owned(), id.to_owned()));
        Self {
            client: Client::from_conf(config.build()),
            zone_id,
            vpc,
            member: settings.member.to_owned(),
            sharing: settings.sharing,
            groups: Mutex::default(),
            is_stand_in,
            zones: Mutex::new(settings.known),
            homes: Mutex::default(),
        }
    }

    /// The zones that are known, by id: worth remembering.
    #[must_use]
    pub fn zone_ids(&self) -> BTreeMap<String, Name> {
        self.zones.lock().map(|zones| zones.clone()).unwrap_or_default()
    }

    /// The zone that holds `name`: the configured one, the longest known one, or the one that Route 53 finds by name. Where
    /// a zone is configured, only reverse names are looked for in others.
    async fn zone_of(&self, name: &Name) -> Result<Option<(Name, String)>, BackendError> {
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
    fn configured_zone(&self) -> Option<Name> {
        self.zone_id.as_ref().and_then(|id| self.zone_ids().remove(id))
    }

    fn known_zone_of(&self, name: &Name) -> Option<(Name, String)> {
        let zones = self.zone_ids().into_iter().map(|(id, zone)| (zone, id));
        let holding = zones.filter(|(zone, _)| name.is_within(zone));
        holding.max_by_key(|(zone, _)| zone.labels().count())
    }

    /// The name of the zone with this id.
    async fn learn(&self, id: &str) -> Result<(), BackendError> {
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
    async fn learn_private_zones(&self) -> Result<(), BackendError> {
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
    async fn search(&self, name: &Name) -> Result<Option<(Name, String)>, BackendError> {
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
    async fn public_zone(&self, zone: &Name) -> Result<Option<String>, BackendError> {
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

    fn remember(&self, zone: Name, id: &str) {
        if let Ok(mut zones) = self.zones.lock() {
            zones.insert(id.to_owned(), zone);
        }
    }

    /// Forgets a zone that was remembered, and is no more.
    fn forget(&self, id: &str) {
        if let Ok(mut zones) = self.zones.lock() {
            zones.remove(id);
        }
    }

    async fn change(&self, zone_id: &str, batch: ChangeBatch) -> Result<(), ChangeError> {
        let call = self.client.change_resource_record_sets().hosted_zone_id(zone_id);
        call.change_batch(batch).send().await.map(drop)
    }

    /// What stands at `name`, or in the whole zone.
    async fn records_at(
        &self,
        zone_id: &str,
        name: Option<&Name>,
    ) -> Result<Records, BackendError> {
        let (mut records, mut groups) = (Records::new(), Groups::new());
        let is_wanted = |found: &Name| name.is_none_or(|name| name == found);
        let mut start = name.map(route53_name);
        let (mut rtype, mut identifier) = (name.map(|_| Type::A), None);
        loop {
            let call = self.client.list_resource_record_sets().hosted_zone_id(zone_id);
            let call = call.set_start_record_name(start).set_start_record_type(rtype);
            let call = call.set_start_record_identifier(identifier);
            let call = call.max_items(if name.is_some() { MOST_SETS } else { A_PAGE });
            let answer =
                call.send().await.map_err(|error| failed(LIST_RECORDS, zone_id, &error))?;
            for (key, set, member) in answer.resource_record_sets().iter().filter_map(rrset_of) {
                if !is_wanted(&key.name) {
                    continue;
                }
                let whole = records.entry(key.clone()).or_insert_with(|| Rrset::new(set.ttl, []));
                whole.values.extend(set.values.iter().cloned());
                groups.extend(member.map(|member| ((key, member), set)));
            }
            // Of one name more than a page is there where many hosts share it.
            let next = answer.next_record_name();
            let is_next = |next: &&str| name_of(next).is_some_and(|next| is_wanted(&next));
            let Some(next) = next.filter(is_next) else { break };
            start = Some(next.to_owned());
            rtype = answer.next_record_type().cloned();
            identifier = answer.next_record_identifier().map(str::to_owned);
        }
        if let Ok(mut known) = self.groups.lock() {
            known.retain(|(key, _), _| !is_wanted(&key.name));
            known.extend(groups);
        }
        Ok(records)
    }
}

#[async_trait]
impl Backend for Route53 {
    async fn observe(&self, names: &[Name]) -> Result<Observed, BackendError> {
        let mut observed = Observed::default();
        for name in names {
            let Some((mut zone, mut id)) = self.zone_of(name).await? else { continue };
            let records = match self.records_at(&id, Some(name)).await {
                // Remembered, and deleted since.
                Err(BackendError::NoZone { .. }) if self.zone_id.as_ref() != Some(&id) => {
                    self.forget(&id);
                    let Some(found) = self.zone_of(name).await? else { continue };
                    (zone, id) = found;
                    self.records_at(&id, Some(name)).await?
                }
                answer => answer?,
            };
            observed.records.extend(records);
            if let Ok(mut homes) = self.homes.lock() {
                homes.insert(zone.clone(), id);
            }
            observed.zones.insert(name.clone(), zone);
        }
        observed.bound_to = self.configured_zone();
        Ok(observed)
    }

    async fn apply(&self, change: &ZoneChange) -> Result<(), BackendError> {
        let unknown = || BackendError::NoZone { zone_id: change.zone.to_string() };
        let home = self.homes.lock().ok().and_then(|homes| homes.get(&change.zone).cloned());
        let id = match home {
            Some(id) => id,
            None => self.zone_of(&change.zone).await?.ok_or_else(unknown)?.1,
        };
        let unbuilt = |error| BackendError::Failed { action: CHANGE, source: Box::new(error) };
        let groups = self.groups.lock().map(|groups| groups.clone()).unwrap_or_default();
        let shares = match self.sharing {
            Sharing::Multivalue => Some(Shares { member: &self.member, groups: &groups }),
            Sharing::Simple => None,
        };
        let batch = lower(change, &ChangeAction::Create, shares).map_err(unbuilt)?;
        let with_upsert = lower(change, &ChangeAction::Upsert, shares).map_err(unbuilt)?;
        let replaces = batch != with_upsert;
        let mut answer = self.change(&id, batch).await;
        // LocalStack (moto 5.2) holds a CREATE against the records before the batch, even if the batch deletes them. With
        // UPSERT in its place nothing is lost: DELETE of what was read still fails if anything else stands.
        if replaces && self.is_stand_in && answer.as_ref().is_err_and(is_refused_for_creates_alone)
        {
            answer = self.change(&id, with_upsert).await;
        }
        match answer {
            Ok(()) => Ok(()),
            Err(error) if is_lost_race(&error) => {
                Err(BackendError::Conflict { zone: change.zone.clone() })
            }
            Err(error) => Err(failed(CHANGE, &id, &error)),
        }
    }

    async fn read(&self, zone: &Name) -> Result<Records, BackendError> {
        let unknown = || BackendError::NoZone { zone_id: zone.to_string() };
        let (found, id) = self.zone_of(zone).await?.ok_or_else(unknown)?;
        if found != *zone {
            return Err(unknown());
        }
        if let Ok(mut homes) = self.homes.lock() {
            homes.insert(zone.clone(), id.clone());
        }
        self.records_at(&id, None).await
    }

    fn place(&self) -> String {
        match &self.zone_id {
            Some(id) => format!("Route 53 zone {id}"),
            None => "Route 53".to_owned(),
        }
    }
}

/// Route 53 is one service a partition, signed for one Region of it (AWS General Reference, "Route 53 endpoints").
fn signing_region(partition: &str) -> Region {
    Region::new(match partition {
        "aws-cn" => "cn-northwest-1",
        "aws-us-gov" => "us-gov-west-1",
        _ => "us-east-1",
    })
}

/// `Z1` of `/hostedzone/Z1`.
fn bare_id(id: &str) -> String {
    id.rsplit('/').next().unwrap_or(id).to_owned()
}

type ChangeError = SdkError<ChangeResourceRecordSetsError>;

const CHANGE: &str = "route53:ChangeResourceRecordSets";
const GET_ZONE: &str = "route53:GetHostedZone";
const LIST_RECORDS: &str = "route53:ListResourceRecordSets";
const LIST_VPC_ZONES: &str = "route53:ListHostedZonesByVPC";
const LIST_ZONES: &str = "route53:ListHostedZonesByName";
/// More than stand at a name that no host shares.
const MOST_SETS: i32 = 100;
/// The most that one call gives.
const A_PAGE: i32 = 300;
