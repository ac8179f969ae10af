//! The metadata of one instance as a tree of directories and values.
//! EC2 User Guide, "Instance metadata categories".

use std::fmt::Display;

use serde_json::json;

use crate::{
    clock::iso8601,
    instance::{Instance, Interface, LifeCycle},
    naming,
    world::{Account, State},
};

use super::{TAGS_SINCE, TARGET_LIFECYCLE_STATE_SINCE};

/// A directory, or what a path ends in.
#[derive(Debug)]
pub(super) enum Node {
    Directory(Vec<(String, Node)>),
    Value(String),
}

impl Node {
    /// The child of that name.
    pub(super) fn into_child(self, name: &str) -> Option<Self> {
        match self {
            Self::Directory(children) => {
                children.into_iter().find(|(of, _)| of == name).map(|(_, child)| child)
            }
            Self::Value(_) => None,
        }
    }

    /// The body of the answer: a value raw; a directory one entry a line, sub-directories with a slash, no final newline.
    pub(super) fn print(self) -> String {
        match self {
            Self::Value(value) => value,
            Self::Directory(children) => {
                let lines = children.into_iter().map(|(name, child)| match child {
                    Self::Directory(_) => name + "/",
                    Self::Value(_) => name,
                });
                lines.collect::<Vec<_>>().join("\n")
            }
        }
    }

    fn with(self, name: &str, child: impl Into<Self>) -> Self {
        match self {
            Self::Directory(mut children) => {
                children.push((name.to_owned(), child.into()));
                Self::Directory(children)
            }
            value @ Self::Value(_) => value,
        }
    }

    fn with_some(self, name: &str, child: Option<impl Into<Self>>) -> Self {
        match child {
            Some(child) => self.with(name, child),
            None => self,
        }
    }
}

impl<T: Display> From<T> for Node {
    fn from(value: T) -> Self {
        Self::Value(value.to_string())
    }
}

/// Everything below a version.
pub(super) fn of(state: &mut State, instance: &Instance, version: &str) -> Node {
    let dynamic = directory().with(
        "instance-identity",
        directory().with("document", identity_document(&state.account, instance)),
    );
    directory()
        .with("dynamic", dynamic)
        .with("meta-data", meta_data(state, instance, version))
        .with_some("user-data", instance.user_data.as_ref())
}

fn meta_data(state: &mut State, instance: &Instance, version: &str) -> Node {
    let account = state.account.clone();
    let primary = instance.primary();
    let ipv4 = instance.private_ipv4();
    let hostname = naming::private_hostname(&account, instance);
    let public = primary.and_then(|primary| {
        primary.public_ipv4s.iter().find(|(_, private)| Some(**private) == ipv4)
    });
    let life_cycle = match instance.life_cycle {
        LifeCycle::OnDemand => "on-demand",
        LifeCycle::Spot => "spot",
    };
    let target = instance
        .target_lifecycle_state
        .as_ref()
        .filter(|_| version >= TARGET_LIFECYCLE_STATE_SINCE);
    let tags = (instance.metadata_tags && version >= TAGS_SINCE).then(|| {
        let tags =
            instance.tags.iter().fold(directory(), |tags, (key, value)| tags.with(key, value));
        directory().with("instance", tags)
    });
    directory()
        .with("ami-id", &instance.image_id)
        .with("ami-launch-index", 0)
        .with_some(
            "autoscaling",
            target.map(|target| directory().with("target-lifecycle-state", target)),
        )
        .with("hostname", &hostname)
        .with_some("iam", instance.role.as_ref().map(|role| iam(state, &account, instance, role)))
        .with("instance-id", &instance.id)
        .with("instance-life-cycle", life_cycle)
        .with("instance-type", &instance.instance_type)
        .with_some("ipv6", primary.and_then(|primary| primary.ipv6s.first()))
        .with("local-hostname", &hostname)
        .with_some("local-ipv4", ipv4)
        .with_some("mac", primary.map(|primary| &primary.mac))
        .with(
            "network",
            directory().with("interfaces", directory().with("macs", macs(&account, instance))),
        )
        .with("placement", placement(&account, instance))
        .with_some("public-ipv4", public.map(|(public, _)| public))
        .with("reservation-id", naming::reservation(&instance.id))
        .with("security-groups", "default")
        .with(
            "services",
            directory()
                .with("domain", &account.services_domain)
                .with("partition", &account.partition),
        )
        .with_some(
            "spot",
            instance.spot_action.as_ref().map(|action| {
                directory()
                    .with("instance-action", json!({"action": action.action, "time": action.time}))
            }),
        )
        .with_some("tags", tags)
}

fn placement(account: &Account, instance: &Instance) -> Node {
    directory()
        .with("availability-zone", &instance.availability_zone)
        .with("availability-zone-id", naming::zone_id(&instance.availability_zone))
        .with("region", &account.region)
}

fn macs(account: &Account, instance: &Instance) -> Node {
    instance.interfaces.iter().fold(directory(), |macs, interface| {
        macs.with(&interface.mac, network_interface(account, instance, interface))
    })
}

fn network_interface(account: &Account, instance: &Instance, interface: &Interface) -> Node {
    let first = interface.private_ipv4s.first();
    let associations = (!interface.public_ipv4s.is_empty()).then(|| {
        interface
            .public_ipv4s
            .iter()
            .fold(directory(), |all, (public, private)| all.with(&public.to_string(), private))
    });
    directory()
        .with("device-number", interface.device_number)
        .with("interface-id", &interface.id)
        .with_some("ipv4-associations", associations)
        .with_some("ipv6s", lines(&interface.ipv6s))
        .with_some("local-hostname", first.map(|ipv4| naming::hostname_of(account, *ipv4)))
        .with_some("local-ipv4s", lines(&interface.private_ipv4s))
        .with("mac", &interface.mac)
        .with("owner-id", &account.id)
        .with_some("public-ipv4s", lines(interface.public_ipv4s.keys()))
        .with("security-groups", "default")
        .with("subnet-id", &interface.subnet_id)
        .with("subnet-ipv4-cidr-block", &interface.subnet_cidr)
        .with_some("subnet-ipv6-cidr-blocks", lines(&interface.subnet_ipv6_cidrs))
        .with("vpc-id", &instance.vpc_id)
        .with_some("vpc-ipv4-cidr-block", interface.vpc_cidrs.first())
        .with_some("vpc-ipv4-cidr-blocks", lines(&interface.vpc_cidrs))
        .with_some("vpc-ipv6-cidr-blocks", lines(&interface.vpc_ipv6_cidrs))
}

fn iam(state: &mut State, account: &Account, instance: &Instance, role: &str) -> Node {
    let issued = state.credentials.of_session(role, &instance.id);
    let info = json!({
        "Code": "Success",
        "LastUpdated": iso8601(issued.since),
        "InstanceProfileArn": format!("arn:{}:iam::{}:instance-profile/{role}", account.partition, account.id),
        "InstanceProfileId": naming::unique_id("AIPA", role),
    });
    let credentials = json!({
        "Code": "Success",
        "LastUpdated": iso8601(issued.since),
        "Type": "AWS-HMAC",
        "AccessKeyId": issued.access_key,
        "SecretAccessKey": issued.secret,
        "Token": issued.token,
        "Expiration": iso8601(issued.expires),
    });
    directory()
        .with("info", format!("{info:#}"))
        .with("security-credentials", directory().with(role, format!("{credentials:#}")))
}

fn identity_document(account: &Account, instance: &Instance) -> String {
    let document = json!({
        "accountId": account.id,
        "architecture": naming::architecture(&instance.instance_type),
        "availabilityZone": instance.availability_zone,
        "imageId": instance.image_id,
        "instanceId": instance.id,
        "instanceType": instance.instance_type,
        "pendingTime": instance.launch_time,
        "privateIp": instance.private_ipv4(),
        "region": account.region,
        "version": "2017-09-30",
    });
    format!("{document:#}")
}

fn directory() -> Node {
    Node::Directory(Vec::new())
}

/// One item a line; `None`, and so 404, when there is none.
fn lines<T: Display>(items: impl IntoIterator<Item = T>) -> Option<String> {
    let lines: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}
