//! A configuration and the facts that completed it: what is wanted, who is asked for servers, what is opened.

use std::{collections::BTreeMap, time::Duration};

use aws_config::SdkConfig;
use tokio::time::Instant;

use super::wiring::{Host, failure_of, refused};
use crate::{
    agent::patience::{Patience, insist},
    backend::{self, Opened, Surroundings},
    config::{self, Config},
    core::{
        facts::{Facts, TagSource},
        name::Name,
        naming::{Desired, NamingError, desire},
        servers::{Here, NameServer},
    },
    ec2::tags::{TaggedServers, client},
    ports::{Failure, ServerDirectory as _},
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

impl Known {
    /// The wanted names; waits for tags and addresses that are late, by reading the facts again, until the deadline.
    pub(super) async fn desired(
        &mut self,
        host: &Host<'_>,
        deadline: Instant,
    ) -> Result<Desired, Vec<Failure>> {
        let mut patience = Patience::until(deadline);
        loop {
            let Some(facts) = &self.facts else { return Ok(Desired::new()) };
            let unread = facts.tags.unread.as_ref();
            let desired = desire(&self.config.records, facts);
            let (failures, may_pass, pause) = match (desired, unread) {
                _ if !self.refused.is_empty() => {
                    (self.refused.clone(), unread.is_some_and(|why| why.may_pass), SLOW)
                }
                // What tags would have published is not known, and must not be withdrawn for that.
                (Ok(_), Some(why)) if self.lacks_tags() && !self.is_idle() => {
                    (vec![failure_of(why)], why.may_pass, SLOW)
                }
                (Ok(desired), _) => return Ok(desired),
                (Err(NamingError::MissingTag { .. }), Some(why)) => {
                    (vec![failure_of(why)], why.may_pass, SLOW)
                }
                (Err(error), _) => (
                    vec![Failure::told(&error, Some(error.hint()))],
                    error.may_pass(),
                    pause_of(&error),
                ),
            };
            if !may_pass || !patience.wait(pause, &SystemClock).await {
                return Err(failures);
            }
            let Ok(facts) = host.facts(deadline).await else { return Err(failures) };
            *self = host.complete(Some(&facts)).map_err(|errors| refused(&errors))?;
        }
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
    pub(super) async fn servers(&self, deadline: Instant) -> Result<Vec<NameServer>, Failure> {
        let Some(vpc) = self.facts.as_ref().and_then(Facts::vpc_id) else {
            return Err(Failure::told(
                "the VPC of this instance is not known, so its DNS servers cannot be listed",
                None,
            ));
        };
        let ec2 = client(&self.aws, self.config.ec2_endpoint.as_deref());
        let directory = TaggedServers::new(ec2, self.config.discovery.clone(), vpc);
        insist(deadline, &SystemClock, "ec2:DescribeInstances", async || directory.list().await)
            .await
    }

    /// Opens a backend.
    pub(super) fn open(
        &self,
        name: &str,
        discovered: &[NameServer],
        zone_ids: BTreeMap<String, Name>,
    ) -> Result<Opened, Failure> {
        let identity = self.facts.as_ref().map(|facts| &facts.identity);
        let config = self
            .config
            .backends
            .get(name)
            .ok_or_else(|| Failure::told(format!("there is no backend `{name}`"), None))?;
        let region = identity.map_or("us-east-1", |identity| identity.region.as_str());
        let around = Surroundings {
            aws: &self.aws,
            partition: identity.map_or("aws", |identity| identity.partition.as_str()),
            vpc: self.facts.as_ref().and_then(Facts::vpc_id).map(|vpc| (region, vpc)),
            discovered: discovered.iter().map(|server| server.address).collect(),
            zone_ids,
        };
        backend::open(name, config, around)
            .map_err(|error| Failure { texts: crate::ports::chain(&error), hints: Vec::new() })
    }

    /// Whether the configuration says which hosted zone a backend publishes in.
    pub(super) fn has_zone_id(&self, backend: &str) -> bool {
        matches!(
            self.config.backends.get(backend),
            Some(config::BackendConfig::Route53 { zone_id: Some(_), .. })
        )
    }

    /// Whether a backend's servers are the discovered ones.
    pub(super) fn needs_discovery(&self, backend: &str) -> bool {
        matches!(
            self.config.backends.get(backend),
            Some(config::BackendConfig::Rfc2136 { servers: None, .. })
        )
    }

    /// Where this host stands.
    pub(super) fn here(&self) -> Here {
        let identity = self.facts.as_ref().map(|facts| &facts.identity);
        Here {
            availability_zone: identity
                .map(|identity| identity.availability_zone.clone())
                .unwrap_or_default(),
            spread: identity.map(|identity| identity.instance_id.clone()).unwrap_or_default(),
        }
    }

    /// The zone that servers are probed for: the first search domain, or the tag's value if it can be one; else the root.
    pub(super) fn probe_zone(&self) -> Name {
        let search = self.config.resolver.policy.search.first();
        let value = self.config.discovery.value.as_ref().filter(|value| value.contains('.'));
        search.or(value).and_then(|text| text.parse().ok()).unwrap_or_else(Name::root)
    }

    /// What the operator should know about how the facts came together.
    pub(super) fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if self.facts.as_ref().is_some_and(|facts| facts.tags.source == TagSource::DescribeTags) {
            notices.push("instance tags were read with ec2:DescribeTags, since the instance's metadata does not hold them".to_owned());
        }
        if self.lacks_tags() && self.is_idle() && self.refused.is_empty() {
            let unread = self.facts.iter().filter_map(|facts| facts.tags.unread.as_ref());
            notices.extend(unread.map(|why| {
                format!(
                    "instance tags cannot be read, so they configure nothing: {}",
                    failure_of(why)
                )
            }));
        }
        if !self.config.resolver.prefer.is_empty() {
            notices.push("`resolver.prefer` is read, and does nothing in this version".to_owned());
        }
        notices
    }
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
