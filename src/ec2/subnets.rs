//! Which subnets a VPC has: what tells the addresses of an Availability Zone from those of another.

use async_trait::async_trait;
use aws_sdk_ec2::{Client, types::SubnetCidrBlockStateCode};

use super::tags::{Home, PAGE, client, failed, filter};
use crate::{
    core::affinity::Subnet,
    ports::{SubnetDirectory, error::DirectoryError},
};

/// The subnets of a VPC.
#[derive(Debug)]
pub struct VpcSubnets {
    client: Client,
    vpc_id: String,
}

impl VpcSubnets {
    /// Those of the VPC in which `home` is.
    #[must_use]
    pub fn new(home: Home<'_>) -> Self {
        let shared = home.regional(home.region);
        Self { client: client(&shared, home.endpoint), vpc_id: home.vpc_id.to_owned() }
    }
}

#[async_trait]
impl SubnetDirectory for VpcSubnets {
    async fn list(&self) -> Result<Vec<Subnet>, DirectoryError> {
        let pages = self
            .client
            .describe_subnets()
            .filters(filter("vpc-id", vec![self.vpc_id.clone()]))
            .into_paginator()
            .page_size(PAGE)
            .items()
            .send();
        let found = pages.collect::<Result<Vec<_>, _>>().await;
        let found = found.map_err(|error| failed("ec2:DescribeSubnets", &error))?;
        let mut subnets = Vec::new();
        for subnet in found {
            let is_associated = |block: &&aws_sdk_ec2::types::SubnetIpv6CidrBlockAssociation| {
                let state = block.ipv6_cidr_block_state().and_then(|state| state.state());
                state == Some(&SubnetCidrBlockStateCode::Associated)
            };
            let ipv6 = subnet.ipv6_cidr_block_association_set().iter().filter(is_associated);
            let blocks =
                ipv6.filter_map(|block| block.ipv6_cidr_block()).chain(subnet.cidr_block());
            subnets.extend(blocks.filter_map(|block| {
                Some(Subnet {
                    cidr: block.parse().ok()?,
                    availability_zone: subnet.availability_zone()?.to_owned(),
                    vpc_id: subnet.vpc_id()?.to_owned(),
                })
            }));
        }
        subnets.sort();
        Ok(subnets)
    }
}
