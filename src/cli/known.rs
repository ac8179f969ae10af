//! A configuration and the facts that completed it: what is wanted, who is asked for servers, what is opened.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_config::SdkConfig;
use tokio::time::Instant;

use super::wiring::{Host, failure_of, refused};
use crate::{
    agent::{
        patience::{Patience, insist},
        registration::Unwanted,
    },
    backend::{self, Opened, Surroundings},
    config::{BackendConfig, Config, Discovery, settings::keyless_tags},
    core::{
        address::AddressSelector,
        affinity::Subnet,
        facts::{Asked, Details, Facts, TagSource, Unread},
        ledger::Ledger,
        name::Name,
        naming::{self, Desired, NamingError, desire},
        servers::{Here, NameServer},
    },
    ec2::{
        instances::Instances,
        interfaces,
        subnets::VpcSubnets,
        tags::{Home, TaggedServers},
    },
    ports::{
        Disposition, Failure, KeySource, Listing, ServerDirectory as _, Situation as _,
        SubnetDirectory as _, topic::Topic,
    },
    sys::clock::SystemClock,
};

/// A configuration and the facts that completed it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) facts: Option<Facts>,
    pub(super) config: Config,
    pub(super) aws: SdkConfig,
    /// What is wrong with the tags' part of the configuration, which is left out then: nothing can be published.
    pub(super) refused: Vec<Failure>,
}

/// What this host should publish, as far as it can be said.
#[derive(Clone, Debug, Default)]
pub(super) struct Wishes {
    pub(super) desired: Desired,
    /// What cannot be said, and why.
    pub(super) failures: Vec<Failure>,
    /// After which time it may be otherwise; `None` if waiting does not help.
    pub(super) pause: Option<Duration>,
}

impl Wishes {
    fn none(failures: Vec<Failure>, pause: Option<Duration>) -> Self {
        Self { failures, pause, ..Self::default() }
    }

    /// What becomes of names that were published before and are not among the wanted ones.
    pub(super) fn unwanted(&self) -> Unwanted {
        if self.failures.is_empty() { Unwanted::Retired } else { Unwanted::Kept }
    }
}

impl Known {
    /// The wanted names, as far as they can be said now.
    pub(super) fn wishes(&self) -> Wishes {
        let Some(facts) = &self.facts else { return Wishes::default() };
        let unread = facts.tags.unread.as_ref();
        let may_pass = unread.is_some_and(|why| why.may_pass);
        if !self.refused.is_empty() {
            return Wishes::none(self.refused.clone(), may_pass.then_some(SLOW));
        }
        // What tags would have published is not known, and must not be withdrawn for that.
        if let Some(why) = unread.filter(|_| self.lacks_tags() && !self.is_idle()) {
            return Wishes::none(vec![failure_of(why)], may_pass.then_some(SLOW));
        }
        let naming::Wishes { desired, failed } = desire(&self.config.records, facts);
        let mut wishes = Wishes { desired, ..Wishes::default() };
        for error in failed {
            let (failure, pause) = match (&error, unread, &facts.details) {
                (NamingError::MissingTag { .. }, Some(why), _)
                | (NamingError::NoDetails { .. }, _, Details::Unread(why)) => {
                    (failure_of(why), why.may_pass.then_some(SLOW))
                }
                _ => {
                    let failure = Failure::told(&error, Some(error.hint()), Topic::Names);
                    (failure, error.may_pass().then(|| pause_of(&error)))
                }
            };
            if !wishes.failures.contains(&failure) {
                wishes.failures.push(failure);
            }
            wishes.pause = wishes.pause.max(pause);
        }
        wishes
    }

    /// Reads the facts again after a pause, for tags and addresses that are late; `false` when there is no time for it.
    ///
    /// # Errors
    /// The configuration that the new facts make cannot be.
    pub(super) async fn look_again(
        &mut self,
        host: &Host<'_>,
        patience: &mut Patience,
        pause: Duration,
    ) -> Result<bool, Vec<Failure>> {
        if !patience.wait(pause, &SystemClock).await {
            return Ok(false);
        }
        let Ok(facts) = host.facts(patience.deadline).await else { return Ok(false) };
        *self = host.complete(Some(&facts)).map_err(|errors| refused(&errors))?;
        Ok(true)
    }

    /// Whether nothing of the configuration was left out.
    pub(super) fn is_whole(&self) -> bool {
        let unread = self.facts.as_ref().is_some_and(|facts| facts.tags.unread.is_some());
        self.refused.is_empty() && !unread
    }

    /// Whether tags could not be read that might say what is to be published, since the files do not.
    fn lacks_tags(&self) -> bool {
        self.config.records.is_empty()
            && self.facts.as_ref().is_some_and(|facts| facts.tags.unread.is_some())
    }

    /// Whether tags are refused for good to a host whose files do not publish anything anywhere.
    fn is_idle(&self) -> bool {
        let unread = self.facts.as_ref().and_then(|facts| facts.tags.unread.as_ref());
        self.config.backends.is_empty() && unread.is_some_and(|why| !why.may_pass)
    }

    /// The listed DNS servers, tried again until the deadline.
    pub(super) async fn servers(&self, deadline: Instant) -> Result<Listing, Failure> {
        let home = self.home()?;
        let directory = TaggedServers::new(home, self.config.discovery.clone());
        insist(deadline, &SystemClock, "ec2:DescribeInstances", async || directory.list().await)
            .await
    }

    /// The subnets of this host's VPC.
    pub(super) async fn subnets(&self) -> Result<Vec<Subnet>, Failure> {
        let home = self.home()?;
        VpcSubnets::new(home).list().await.map_err(|error| Failure::of(&error))
    }

    /// What only EC2 tells of the interfaces, where a record's addresses hang on it.
    pub(super) async fn details(&self) -> Details {
        let mut selectors = self.config.records.iter().flat_map(|record| &record.addresses);
        let Some(facts) =
            self.facts.as_ref().filter(|_| selectors.any(AddressSelector::needs_details))
        else {
            return Details::NotAsked;
        };
        let Ok(home) = self.home() else { return Details::NotAsked };
        match interfaces::details(home, &facts.identity.instance_id).await {
            Ok(told) => Details::Told(told),
            Err(error) => {
                let may_pass = matches!(
                    error.disposition(),
                    Disposition::Retry { .. } | Disposition::Ease { .. }
                );
                let Failure { texts, hints, .. } = Failure::of(&error);
                Details::Unread(Unread { asked: Asked::Interfaces, texts, hints, may_pass })
            }
        }
    }

    /// The instances of this host's account; `None` where it is not known which that is.
    pub(super) fn instances(&self) -> Option<Instances<'_>> {
        let identity = &self.facts.as_ref()?.identity;
        Some(Instances::new(self.home().ok()?, &identity.account_id))
    }

    /// Where this host is, to EC2.
    fn home(&self) -> Result<Home<'_>, Failure> {
        let Some(vpc_id) = self.facts.as_ref().and_then(Facts::vpc_id) else {
            let text = "the VPC of this instance is not known, so its DNS servers cannot be listed";
            return Err(Failure::told(text, None, Topic::Metadata));
        };
        let region = self.facts.as_ref().map_or("", |facts| facts.identity.region.as_str());
        let endpoint = self.config.ec2_endpoint.as_deref();
        Ok(Home { shared: &self.aws, endpoint, region, vpc_id })
    }

    /// Opens a backend; its keys are waited for until the deadline.
    pub(super) async fn open(
        &self,
        name: &str,
        discovered: &[NameServer],
        zone_ids: BTreeMap<String, Name>,
        keys: Option<Arc<dyn KeySource>>,
        deadline: Instant,
    ) -> Result<Opened, Failure> {
        let identity = self.facts.as_ref().map(|facts| &facts.identity);
        let config = self.config.backends.get(name).ok_or_else(|| {
            Failure::told(format!("there is no backend `{name}`"), None, Topic::Configuration)
        })?;
        let region = identity.map_or("us-east-1", |identity| identity.region.as_str());
        let who = keys.as_ref().map(|keys| keys.place()).unwrap_or_default();
        insist(deadline, &SystemClock, &who, async || {
            let around = Surroundings {
                aws: &self.aws,
                member: identity.map_or("", |identity| &identity.instance_id),
                partition: identity.map_or("aws", |identity| identity.partition.as_str()),
                vpc: self.facts.as_ref().and_then(Facts::vpc_id).map(|vpc| (region, vpc)),
                discovered: discovered.iter().map(|server| server.address).collect(),
                zone_ids: zone_ids.clone(),
            };
            backend::open(name, config, keys.clone(), around).await
        })
        .await
    }

    /// Whether the configuration says which hosted zone a backend publishes in.
    pub(super) fn has_zone_id(&self, backend: &str) -> bool {
        matches!(
            self.config.backends.get(backend),
            Some(BackendConfig::Route53 { zone_id: Some(_), .. })
        )
    }

    /// Whether a backend's servers are the discovered ones.
    pub(super) fn needs_discovery(&self, backend: &str) -> bool {
        matches!(
            self.config.backends.get(backend),
            Some(BackendConfig::Rfc2136 { servers: None, .. })
        )
    }

    /// Where this host stands, or stood when that was known last.
    pub(super) fn here(&self, ledger: &Ledger) -> Here {
        let identity = self.facts.as_ref().map(|facts| &facts.identity);
        let zone = identity.map(|identity| identity.availability_zone.clone());
        let id = identity.map(|identity| identity.instance_id.clone());
        let remembered = || ledger.owner.as_ref().map(ToString::to_string);
        Here {
            availability_zone: zone
                .or_else(|| ledger.availability_zone.clone())
                .unwrap_or_default(),
            spread: id.or_else(remembered).unwrap_or_default(),
            in_use: Vec::new(),
        }
    }

    /// What DNS servers are known by, and where they are looked for.
    pub(super) fn sought(&self) -> String {
        let Discovery { tag, value, vpcs, regions, .. } = &self.config.discovery;
        let value = value.as_deref().map(|value| format!("={value}")).unwrap_or_default();
        let own = self.facts.as_ref().and_then(Facts::vpc_id).unwrap_or("this VPC");
        let home = self.facts.as_ref().map(|facts| &facts.identity.region);
        let is_home = |region: &String| home.is_none_or(|home| home == region);
        let vpcs = if !vpcs.is_empty() {
            vpcs.join(", ")
        } else if regions.iter().all(is_home) {
            own.to_owned()
        } else if regions.iter().any(is_home) {
            format!("{own} and any VPC of the other Regions")
        } else {
            "any VPC".to_owned()
        };
        let regions = match regions.as_slice() {
            [] => String::new(),
            regions => format!(" of {}", regions.join(", ")),
        };
        format!("the tag {tag}{value} in {vpcs}{regions}")
    }

    /// The zone that servers are probed for: the first search domain, the tag's value if it can be one, or what this host's
    /// names end in; else the root, which an authority alone does not know.
    pub(super) fn probe_zone(&self) -> Name {
        let search = self.config.resolver.policy.search.first();
        let value = self.config.discovery.value.as_ref().filter(|value| value.contains('.'));
        let named = search.into_iter().chain(value).find_map(|text| text.parse().ok());
        let own = || self.config.records.iter().find_map(|record| record.name.domain());
        named.or_else(own).unwrap_or_else(Name::root)
    }

    /// What is to be said of tags that look as if they set something.
    pub(super) fn keyless(&self) -> Vec<String> {
        let tags = self.facts.iter().flat_map(|facts| facts.tags.values.keys());
        let Discovery { tag, draining, .. } = &self.config.discovery;
        keyless_tags(tags, [tag, draining]).map(keyless_tag).collect()
    }

    /// What the operator should know about how the facts came together.
    pub(super) fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if self.facts.as_ref().is_some_and(|facts| facts.tags.source == TagSource::DescribeTags) {
            notices.push("instance tags were read with ec2:DescribeTags, since the instance's metadata does not hold them".to_owned());
        }
        notices.extend(self.keyless());
        if self.lacks_tags() && self.is_idle() && self.refused.is_empty() {
            let unread = self.facts.iter().filter_map(|facts| facts.tags.unread.as_ref());
            notices.extend(unread.map(|why| {
                format!(
                    "instance tags cannot be read, so they configure nothing: {}",
                    failure_of(why)
                )
            }));
        }
        notices
    }
}

/// What is said of a tag that looks as if it set something.
pub(super) fn keyless_tag(tag: &str) -> String {
    format!("the tag `{tag}` sets nothing, since there is no such key: see tagalong.toml(5)")
}

/// Tags of the metadata service cost nothing to read again; DescribeTags comes out of the account's budget.
fn pause_of(error: &NamingError) -> Duration {
    match error {
        NamingError::MissingTag { source: TagSource::Metadata, .. } => Duration::from_millis(500),
        _ => SLOW,
    }
}

/// Between two questions to EC2.
const SLOW: Duration = Duration::from_secs(2);
