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
    ports::{ServerDirectory, chain, error::DirectoryError},
};

/// A client of EC2 at `endpoint`, or at AWS's own.
#[must_use]
pub fn client(shared: &SdkConfig, endpoint: Option<&str>) -> Client {
    let mut config = Builder::from(shared);
    config.set_endpoint_url(endpoint.map(str::to_owned));
    Client::from_conf(config.build())
}

/// The DNS servers of a VPC: its running instances that carry the tag.
#[derive(Debug)]
pub struct TaggedServers {
    client: Client,
    discovery: Discovery,
    vpc_id: String,
}

impl TaggedServers {
    /// The servers of `vpc_id` that `discovery` describes.
    #[must_use]
    pub fn new(client: Client, discovery: Discovery, vpc_id: &str) -> Self {
        Self { client, discovery, vpc_id: vpc_id.to_owned() }
    }
}

#[async_trait]
impl ServerDirectory for TaggedServers {
    async fn list(&self) -> Result<Vec<NameServer>, DirectoryError> {
        let tag = match &self.discovery.value {
            Some(value) => filter(&format!("tag:{}", self.discovery.tag), &literal(value)),
            None => filter("tag-key", &literal(&self.discovery.tag)),
        };
        let pages = self
            .client
            .describe_instances()
            .filters(tag)
            .filters(filter("vpc-id", &self.vpc_id))
            .filters(filter("instance-state-name", "running"))
            .into_paginator()
            .page_size(PAGE)
            .items()
            .send();
        let reservations = pages
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(|error| failed(DESCRIBE_INSTANCES, &error))?;
        let instances = reservations.iter().flat_map(aws_sdk_ec2::types::Reservation::instances);
        let mut servers = instances
            .filter_map(|instance| server(instance, self.discovery.port))
            .collect::<Vec<_>>();
        servers.sort();
        Ok(servers)
    }
}

fn server(instance: &Instance, port: u16) -> Option<NameServer> {
    let address =
        instance.private_ip_address().or_else(|| instance.ipv6_address())?.parse().ok()?;
    Some(NameServer {
        address: SocketAddr::new(address, port),
        instance_id: instance.instance_id().map(str::to_owned),
        availability_zone: instance
            .placement()
            .and_then(|place| place.availability_zone())
            .map(str::to_owned),
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
            .filters(filter("resource-id", instance_id))
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

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// A filter's value without its wildcards, `*` and `?`, which a backslash makes literal.
fn literal(value: &str) -> String {
    value.replace('\\', "\\\\").replace('*', "\\*").replace('?', "\\?")
}

fn failed<E, R>(action: &'static str, error: &SdkError<E, R>) -> DirectoryError
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
    let source = chain(error).join(": ").into();
    match code.as_str() {
        "UnauthorizedOperation" | "AuthFailure" | "AccessDenied" => {
            DirectoryError::NotAuthorized { action, source }
        }
        "RequestLimitExceeded" | "Throttling" => DirectoryError::Throttled { action, source },
        _ if no_credentials => DirectoryError::NoCredentials { action, source },
        _ => DirectoryError::Failed { action, source },
    }
}

const DESCRIBE_INSTANCES: &str = "ec2:DescribeInstances";
const DESCRIBE_TAGS: &str = "ec2:DescribeTags";
const PAGE: i32 = 200;
