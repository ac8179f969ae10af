//! What EC2's tags say: which instances are DNS servers, and this instance's own tags when the metadata service has none.
//!
//! Always with a server-side filter and in pages: calls without are charged to a bucket half as large, for the whole
//! account and Region (EC2 developer guide, "Request throttling").

use std::{collections::BTreeMap, error::Error, net::SocketAddr};

use async_trait::async_trait;
use aws_config::{Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::{
    Client,
    config::Builder,
    error::{ProvideErrorMetadata, SdkError},
    types::{Filter, Instance},
};

use crate::{
    config::Discovery,
    core::servers::NameServer,
    ports::{Listing, ServerDirectory, error::DirectoryError, said},
};

/// A client of EC2 at `endpoint`, or at AWS's own.
#[must_use]
pub fn client(shared: &SdkConfig, endpoint: Option<&str>) -> Client {
    let mut config = Builder::from(shared);
    config.set_endpoint_url(endpoint.map(str::to_owned));
    Client::from_conf(config.build())
}

/// The DNS servers of a fleet: the running instances that carry the tag, in one VPC or several.
#[derive(Debug)]
pub struct TaggedServers {
    discovery: Discovery,
    places: Vec<Place>,
}

/// A Region in which servers are looked for.
#[derive(Debug)]
struct Place {
    region: String,
    /// EC2 there.
    client: Client,
    /// The VPCs that count there; none for all.
    vpcs: Vec<String>,
}

/// How EC2 is called, and where this instance is.
#[derive(Clone, Copy, Debug)]
pub struct Home<'a> {
    /// What clients share.
    pub shared: &'a SdkConfig,
    /// EC2's endpoint in place of AWS.
    pub endpoint: Option<&'a str>,
    /// This instance's Region.
    pub region: &'a str,
    /// Its VPC.
    pub vpc_id: &'a str,
}

impl Home<'_> {
    /// What clients of `region` share.
    pub(super) fn regional(&self, region: &str) -> SdkConfig {
        self.shared.to_builder().region(Region::new(region.to_owned())).build()
    }
}

impl TaggedServers {
    /// The servers that `discovery` describes.
    #[must_use]
    pub fn new(home: Home<'_>, discovery: Discovery) -> Self {
        let own = [home.region.to_owned()];
        let regions = if discovery.regions.is_empty() {
            own.as_slice()
        } else {
            discovery.regions.as_slice()
        };
        let places = regions.iter().map(|region| {
            let shared = home.regional(region);
            let is_own = discovery.vpcs.is_empty() && region == home.region;
            let vpcs = if is_own { vec![home.vpc_id.to_owned()] } else { discovery.vpcs.clone() };
            Place { region: region.clone(), client: client(&shared, home.endpoint), vpcs }
        });
        Self { places: places.collect(), discovery }
    }

    async fn list_in(
        &self,
        Place { client, vpcs, .. }: &Place,
    ) -> Result<Vec<NameServer>, DirectoryError> {
        let tag = match &self.discovery.value {
            Some(value) => filter(
                &format!("tag:{}", self.discovery.tag),
                vec![literal(value), literal(&format!("{value}{DRAINING}"))],
            ),
            None => filter("tag-key", vec![literal(&self.discovery.tag)]),
        };
        let mut filters = vec![tag, filter("instance-state-name", vec!["running".to_owned()])];
        filters.extend((!vpcs.is_empty()).then(|| filter("vpc-id", vpcs.clone())));
        let pages = client
            .describe_instances()
            .set_filters(Some(filters))
            .into_paginator()
            .page_size(PAGE)
            .items()
            .send();
        let reservations = pages
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(|error| failed(DESCRIBE_INSTANCES, &error))?;
        let instances = reservations.iter().flat_map(aws_sdk_ec2::types::Reservation::instances);
        Ok(instances.filter_map(|instance| server(instance, &self.discovery)).collect())
    }
}

#[async_trait]
impl ServerDirectory for TaggedServers {
    async fn list(&self) -> Result<Listing, DirectoryError> {
        let lists = self.places.iter().map(|place| self.list_in(place));
        let lists = futures_util::future::join_all(lists).await;
        let regions = self.places.iter().map(|place| place.region.clone()).zip(lists);
        let mut regions = regions.collect::<Vec<_>>();
        if regions.iter().all(|(_, list)| list.is_err())
            && let Some((_, Err(error))) = regions.pop()
        {
            return Err(error);
        }
        Ok(Listing { regions })
    }
}

fn server(instance: &Instance, discovery: &Discovery) -> Option<NameServer> {
    let address =
        instance.private_ip_address().or_else(|| instance.ipv6_address())?.parse().ok()?;
    let tag = |key: &str| {
        let tag = instance.tags().iter().find(|tag| tag.key() == Some(key));
        tag.map(|tag| tag.value().unwrap_or_default())
    };
    let is_draining = tag(&discovery.draining).is_some_and(|value| value != "false")
        || tag(&discovery.tag).is_some_and(|value| format!(" {value}").ends_with(DRAINING));
    Some(NameServer {
        address: SocketAddr::new(address, discovery.port),
        instance_id: instance.instance_id().map(str::to_owned),
        availability_zone: instance
            .placement()
            .and_then(|place| place.availability_zone())
            .map(str::to_owned),
        is_draining,
    })
}

/// DescribeTags for one instance.
#[derive(Debug)]
pub struct DescribeTags {
    /// What clients share; its region is replaced by the instance's.
    pub shared: SdkConfig,
    /// EC2's endpoint in place of AWS.
    pub endpoint: Option<String>,
}

impl DescribeTags {
    /// All tags of an instance.
    ///
    /// # Errors
    /// EC2 does not tell.
    pub async fn of(
        &self,
        instance_id: &str,
        region: &str,
    ) -> Result<BTreeMap<String, String>, DirectoryError> {
        let shared = self.shared.to_builder().region(Region::new(region.to_owned())).build();
        let pages = client(&shared, self.endpoint.as_deref())
            .describe_tags()
            .filters(filter("resource-id", vec![instance_id.to_owned()]))
            .into_paginator()
            .page_size(PAGE)
            .items()
            .send();
        let tags = pages
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(|error| failed(DESCRIBE_TAGS, &error))?;
        Ok(tags
            .into_iter()
            .filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default())))
            .collect())
    }
}

pub(super) fn filter(name: &str, values: Vec<String>) -> Filter {
    Filter::builder().name(name).set_values(Some(values)).build()
}

/// A filter's value without its wildcards, `*` and `?`, which a backslash makes literal.
fn literal(value: &str) -> String {
    value.replace('\\', "\\\\").replace('*', "\\*").replace('?', "\\?")
}

pub(super) fn failed<E, R>(action: &'static str, error: &SdkError<E, R>) -> DirectoryError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while cause.is_some_and(|cause| !cause.is::<CredentialsError>()) {
        cause = cause.and_then(Error::source);
    }
    let no_credentials = matches!(
        cause.and_then(|cause| cause.downcast_ref()),
        Some(CredentialsError::CredentialsNotLoaded(_))
    );
    let code =
        error.as_service_error().and_then(|service| service.code()).unwrap_or_default().to_owned();
    let source = said(error.code(), error.message(), error);
    match code.as_str() {
        "UnauthorizedOperation" | "AuthFailure" | "AccessDenied" => {
            DirectoryError::NotAuthorized { action, source }
        }
        "RequestLimitExceeded" | "Throttling" => DirectoryError::Throttled { action, source },
        _ if no_credentials => DirectoryError::NoCredentials { action, source },
        _ => DirectoryError::Failed { action, source },
    }
}

pub(super) const DESCRIBE_INSTANCES: &str = "ec2:DescribeInstances";
const DESCRIBE_TAGS: &str = "ec2:DescribeTags";
pub(super) const PAGE: i32 = 200;
/// What the tag's value ends in when the server is about to be shut down.
const DRAINING: &str = " draining";
