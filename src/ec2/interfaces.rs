//! What the metadata service does not tell of this instance's interfaces: their tags, and which public addresses are Elastic ones.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::NetworkInterface;

use super::tags::{Home, PAGE, client, failed, filter};
use crate::{core::facts::Detail, ports::error::DirectoryError};

/// The details of an instance's interfaces, by interface id.
///
/// # Errors
/// EC2 does not tell.
pub async fn details(
    home: Home<'_>,
    instance_id: &str,
) -> Result<BTreeMap<String, Detail>, DirectoryError> {
    let pages = client(&home.regional(home.region), home.endpoint)
        .describe_network_interfaces()
        .filters(filter("attachment.instance-id", vec![instance_id.to_owned()]))
        .into_paginator()
        .page_size(PAGE)
        .items()
        .send();
    let found = pages.collect::<Result<Vec<_>, _>>().await;
    let found = found.map_err(|error| failed("ec2:DescribeNetworkInterfaces", &error))?;
    Ok(found.iter().filter_map(detail).collect())
}

fn detail(interface: &NetworkInterface) -> Option<(String, Detail)> {
    let tags = interface.tag_set().iter().filter_map(|tag| {
        Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()))
    });
    let associations =
        interface.private_ip_addresses().iter().filter_map(|address| address.association());
    // An address that EC2 gave by itself has no allocation (EC2 API Reference, NetworkInterfaceAssociation).
    let elastic = associations.filter(|association| association.allocation_id().is_some());
    let elastic = elastic.filter_map(|association| association.public_ip()?.parse().ok());
    let detail = Detail { tags: tags.collect(), elastic_ipv4s: elastic.collect() };
    Some((interface.network_interface_id()?.to_owned(), detail))
}
