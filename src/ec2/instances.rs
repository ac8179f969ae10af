//! What has become of instances that own names: whether they exist, and which addresses they have.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_ec2::{
    Client,
    types::{Instance, InstanceStateName},
};

use super::tags::{DESCRIBE_INSTANCES, Home, PAGE, client, failed, filter};
use crate::{
    core::ownership::{Life, OwnerId},
    ports::{InstanceDirectory, error::DirectoryError},
};

/// The instances of an account.
#[derive(Debug)]
pub struct Instances<'a> {
    home: Home<'a>,
    account: &'a str,
}

impl<'a> Instances<'a> {
    /// Those of `account`, in which `home` is.
    #[must_use]
    pub fn new(home: Home<'a>, account: &'a str) -> Self {
        Self { home, account }
    }

    /// Those of some instances of a Region that EC2 lists, whatever their state.
    async fn listed(
        &self,
        region: &str,
        ids: &[&str],
    ) -> Result<BTreeMap<String, Life>, DirectoryError> {
        let client = client(&self.home.regional(region), self.home.endpoint);
        let mut found = BTreeMap::new();
        for some in ids.chunks(MOST_VALUES) {
            found.extend(describe(&client, some).await?);
        }
        Ok(found)
    }

    async fn lives_in(
        &self,
        region: &str,
        owners: &[&OwnerId],
    ) -> Result<BTreeMap<OwnerId, Life>, DirectoryError> {
        let ids = owners.iter().map(|owner| owner.instance_id()).collect::<Vec<_>>();
        let mut found = self.listed(region, &ids).await?;
        let absent = owners.iter().filter(|owner| !found.contains_key(owner.instance_id()));
        // One without a home may have been anywhere.
        let absent = absent.filter(|owner| owner.home().is_some()).copied().collect::<Vec<_>>();
        if !absent.is_empty() {
            // A launch is not seen everywhere at once (EC2 developer guide, "Eventual consistency").
            tokio::time::sleep(SECOND_LOOK).await;
            let ids = absent.iter().map(|owner| owner.instance_id()).collect::<Vec<_>>();
            let again = self.listed(region, &ids).await?;
            for id in ids {
                found.insert(id.to_owned(), again.get(id).cloned().unwrap_or(Life::Gone));
            }
        }
        let lives = owners.iter().filter_map(|owner| {
            found.get(owner.instance_id()).map(|life| ((*owner).clone(), life.clone()))
        });
        Ok(lives.collect())
    }
}

#[async_trait]
impl InstanceDirectory for Instances<'_> {
    async fn lives(
        &self,
        owners: &BTreeSet<OwnerId>,
    ) -> Result<BTreeMap<OwnerId, Life>, DirectoryError> {
        let mut regions = BTreeMap::<&str, Vec<&OwnerId>>::new();
        for owner in owners {
            match owner.home() {
                Some(home) if home.account != self.account => {}
                Some(home) => regions.entry(&home.region).or_default().push(owner),
                None => regions.entry(self.home.region).or_default().push(owner),
            }
        }
        let mut lives = BTreeMap::new();
        for (region, owners) in regions {
            lives.extend(self.lives_in(region, &owners).await?);
        }
        Ok(lives)
    }
}

/// With a filter, not by `InstanceIds`: of those, one that does not exist makes the whole call fail.
async fn describe(client: &Client, ids: &[&str]) -> Result<Vec<(String, Life)>, DirectoryError> {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    let pages = client.describe_instances().filters(filter("instance-id", ids)).into_paginator();
    let reservations = pages.page_size(PAGE).items().send().collect::<Result<Vec<_>, _>>().await;
    let reservations = reservations.map_err(|error| failed(DESCRIBE_INSTANCES, &error))?;
    let instances = reservations.iter().flat_map(aws_sdk_ec2::types::Reservation::instances);
    Ok(instances.filter_map(|it| Some((it.instance_id()?.to_owned(), life(it)))).collect())
}

fn life(instance: &Instance) -> Life {
    let state = instance.state().and_then(|state| state.name());
    if state == Some(&InstanceStateName::Terminated) {
        return Life::Gone;
    }
    let interfaces = instance.network_interfaces().iter().flat_map(|interface| {
        let private = interface.private_ip_addresses().iter();
        let private = private.filter_map(|address| address.private_ip_address());
        private.chain(interface.ipv6_addresses().iter().filter_map(|it| it.ipv6_address()))
    });
    let own = [instance.private_ip_address(), instance.ipv6_address()].into_iter().flatten();
    let addresses = interfaces.chain(own).filter_map(|address| address.parse::<IpAddr>().ok());
    Life::Exists(addresses.collect())
}

/// Of one filter (EC2 API Reference, DescribeInstances).
const MOST_VALUES: usize = 200;
const SECOND_LOOK: Duration = Duration::from_secs(2);
