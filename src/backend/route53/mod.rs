//! Publishing in a Route 53 hosted zone: one list call for each name, one change call for each zone.
//!
//! Route 53 gives an account five calls a second, whoever makes them, so nothing is asked twice: the zone's id comes from the
//! configuration or is found once and remembered, and its name is not asked for where nothing hangs on it; the state of a
//! change is not polled. Throttling and `PriorRequestNotComplete` are tried again with full jitter by the SDK's standard
//! mode, until the pass's deadline.

mod lower;
mod refusal;
mod zones;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use async_trait::async_trait;
use aws_config::{Region, SdkConfig, retry::RetryConfig};
use aws_sdk_route53::{
    Client,
    config::Builder,
    error::SdkError,
    operation::change_resource_record_sets::ChangeResourceRecordSetsError,
    types::{ChangeAction, ChangeBatch, RrType as Type},
};

use self::{
    lower::{Groups, Shares, lower, name_of, route53_name, rrset_of},
    refusal::{failed, is_lost_race, is_outside, is_refused_for_creates_alone},
    zones::bare_id,
};
use crate::{
    config::Sharing,
    core::{
        name::Name,
        plan::{Observed, ZoneChange},
        reason::Reason,
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
    /// What was read, until a change has been tried on it: whoever is throttled in between need not read again.
    seen: Mutex<BTreeMap<(String, Name), Records>>,
    /// The multivalue answer sets of the names that were read last.
    groups: Mutex<Groups>,
    /// Whether the endpoint is not AWS's own.
    is_stand_in: bool,
    /// Whether the configured zone's name may be presumed.
    presumes: AtomicBool,
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
        // Who is throttled here is so for the whole account: many small waits of many hosts only make it worse.
        let retry = RetryConfig::standard().with_max_attempts(ATTEMPTS);
        config.set_retry_config(Some(retry.with_initial_backoff(FIRST_WAIT)));
        let zone_id = settings.zone_id.map(|id| bare_id(&id));
        let vpc = settings.vpc.map(|(region, id)| (region.to_owned(), id.to_owned()));
        Self {
            client: Client::from_conf(config.build()),
            zone_id,
            vpc,
            member: settings.member.to_owned(),
            sharing: settings.sharing,
            seen: Mutex::default(),
            groups: Mutex::default(),
            is_stand_in,
            presumes: AtomicBool::new(false),
            zones: Mutex::new(settings.known),
            homes: Mutex::default(),
        }
    }

    /// The zones that are known, by id: worth remembering.
    #[must_use]
    pub fn zone_ids(&self) -> BTreeMap<String, Name> {
        self.zones.lock().map(|zones| zones.clone()).unwrap_or_default()
    }

    /// Where changes of a zone go: the configured one, or the one that its names are found in.
    #[must_use]
    pub fn place_of(&self, zone: &Name) -> String {
        let configured =
            self.zone_id.clone().filter(|_| self.configured_zone().as_ref() == Some(zone));
        let found = || self.known_zone_of(zone).map(|(_, id)| id);
        configured.or_else(found).map_or_else(|| self.place(), |id| format!("Route 53 zone {id}"))
    }

    async fn change(&self, zone_id: &str, batch: ChangeBatch) -> Result<(), ChangeError> {
        let call = self.client.change_resource_record_sets().hosted_zone_id(zone_id);
        call.change_batch(batch).send().await.map(drop)
    }

    /// What stands at `name`.
    async fn records_of(&self, zone_id: &str, name: &Name) -> Result<Records, BackendError> {
        let key = (zone_id.to_owned(), name.clone());
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(records) = seen {
            return Ok(records);
        }
        let records = self.records_at(zone_id, Some(name)).await?;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(key, records.clone());
        Ok(records)
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
        let presumed = self.presumed(names);
        for name in names {
            let zone = match &presumed {
                Some(presumed) => Some(presumed.clone()),
                None => self.zone_of(name).await?,
            };
            let Some((mut zone, mut id)) = zone else { continue };
            let records = match self.records_of(&id, name).await {
                // Remembered, and deleted since.
                Err(BackendError::NoZone { .. }) if self.zone_id.as_ref() != Some(&id) => {
                    self.forget(&id);
                    let Some(found) = self.zone_of(name).await? else { continue };
                    (zone, id) = found;
                    self.records_of(&id, name).await?
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

    async fn apply(&self, change: &ZoneChange) -> Result<Option<Duration>, BackendError> {
        // Nothing goes by itself here, whatever was kept where the names were before.
        let mut lasting = change.clone();
        lasting.swaps.retain(|swap| swap.because != Reason::Kept);
        let change = &lasting;
        if change.swaps.is_empty() {
            return Ok(None);
        }
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
        let answer = answer.map_err(|error| (failed(CHANGE, &id, &error), error));
        if !matches!(answer, Err((BackendError::Throttled { .. }, _))) {
            self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        match answer {
            Ok(()) => Ok(None),
            Err((_, error)) if is_lost_race(&error) => {
                Err(BackendError::Conflict { zone: change.zone.clone() })
            }
            // The zone was presumed: once its name is known, it is planned again.
            Err((_, error)) if is_outside(&error) && !self.zone_ids().contains_key(&id) => {
                self.learn(&id).await?;
                Err(BackendError::Conflict { zone: change.zone.clone() })
            }
            Err((failure, _)) => Err(failure),
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

type ChangeError = SdkError<ChangeResourceRecordSetsError>;

/// Tries of one call; the journeys try on until the pass's deadline.
const ATTEMPTS: u32 = 3;
/// The most that is waited between the first two.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const CHANGE: &str = "route53:ChangeResourceRecordSets";
const LIST_RECORDS: &str = "route53:ListResourceRecordSets";
/// More than stand at a name that no host shares.
const MOST_SETS: i32 = 100;
/// The most that one call gives.
const A_PAGE: i32 = 300;
