//! An instance as an item of `DescribeInstances`.

use crate::{
    instance::{Instance, InstanceState, Interface, LifeCycle},
    naming,
    world::Account,
    xml::Xml,
};

/// A reservation of one instance.
pub(super) fn reservation(xml: &mut Xml, account: &Account, instance: &Instance) {
    xml.nest("item", |xml| {
        xml.leaf("reservationId", naming::reservation(&instance.id));
        xml.leaf("ownerId", &account.id);
        xml.nest("groupSet", |_| ());
        xml.nest("instancesSet", |xml| xml.nest("item", |xml| item(xml, account, instance)));
    });
}

/// `<code>16</code><name>running</name>`.
pub(super) fn state(xml: &mut Xml, state: InstanceState) {
    xml.leaf("code", state.code());
    xml.leaf("name", state.name());
}

fn item(xml: &mut Xml, account: &Account, instance: &Instance) {
    // a terminated instance is described without network: no addresses, no VPC, no interfaces
    let network = (instance.state != InstanceState::Terminated).then_some(instance);
    let primary = network.and_then(Instance::primary);
    let ipv4 = network.and_then(Instance::private_ipv4);
    let public = primary.and_then(|primary| primary.public_ipv4s.keys().next());
    let role = instance.role.as_deref();
    xml.leaf("instanceId", &instance.id);
    xml.leaf("imageId", &instance.image_id);
    xml.nest("instanceState", |xml| state(xml, instance.state));
    xml.leaf(
        "privateDnsName",
        ipv4.map(|ipv4| naming::hostname_of(account, ipv4)).unwrap_or_default(),
    );
    xml.leaf(
        "dnsName",
        public.map(|public| naming::public_hostname(account, *public)).unwrap_or_default(),
    );
    xml.leaf("reason", "");
    xml.leaf("amiLaunchIndex", 0);
    xml.nest("productCodes", |_| ());
    xml.leaf("instanceType", &instance.instance_type);
    xml.leaf("launchTime", time(&instance.launch_time));
    xml.nest("placement", |xml| {
        xml.leaf("availabilityZone", &instance.availability_zone);
        xml.leaf("groupName", "");
        xml.leaf("tenancy", "default");
    });
    xml.nest("monitoring", |xml| xml.leaf("state", "disabled"));
    xml.leaf_if("subnetId", primary.map(|primary| &primary.subnet_id));
    xml.leaf_if("vpcId", network.map(|network| &network.vpc_id));
    xml.leaf_if("privateIpAddress", ipv4);
    xml.leaf_if("ipAddress", public);
    xml.leaf_if("ipv6Address", primary.and_then(|primary| primary.ipv6s.first()));
    xml.leaf("architecture", naming::architecture(&instance.instance_type));
    xml.leaf("rootDeviceType", "ebs");
    xml.leaf("virtualizationType", "hvm");
    xml.leaf("hypervisor", "xen");
    xml.leaf_if("instanceLifecycle", (instance.life_cycle == LifeCycle::Spot).then_some("spot"));
    if let Some(role) = role {
        xml.nest("iamInstanceProfile", |xml| {
            xml.leaf(
                "arn",
                format!("arn:{}:iam::{}:instance-profile/{role}", account.partition, account.id),
            );
            xml.leaf("id", naming::unique_id("AIPA", role));
        });
    }
    if !instance.tags.is_empty() {
        xml.nest("tagSet", |xml| {
            for (key, value) in &instance.tags {
                xml.nest("item", |xml| {
                    xml.leaf("key", key);
                    xml.leaf("value", value);
                });
            }
        });
    }
    xml.nest("networkInterfaceSet", |xml| {
        for interface in network.iter().flat_map(|network| &network.interfaces) {
            xml.nest("item", |xml| network_interface(xml, account, instance, interface));
        }
    });
    xml.nest("metadataOptions", |xml| {
        xml.leaf("state", "applied");
        xml.leaf("httpTokens", "required");
        xml.leaf("httpPutResponseHopLimit", 1);
        xml.leaf("httpEndpoint", "enabled");
        xml.leaf(
            "instanceMetadataTags",
            if instance.metadata_tags { "enabled" } else { "disabled" },
        );
    });
}

/// An item of `DescribeNetworkInterfaces`, which has a little more than one of `DescribeInstances`.
pub(super) fn described_interface(
    xml: &mut Xml,
    account: &Account,
    instance: &Instance,
    interface: &Interface,
) {
    xml.leaf("availabilityZone", &instance.availability_zone);
    xml.leaf("requesterManaged", false);
    network_interface(xml, account, instance, interface);
    xml.nest("tagSet", |xml| {
        for (key, value) in &interface.tags {
            xml.nest("item", |xml| {
                xml.leaf("key", key);
                xml.leaf("value", value);
            });
        }
    });
}

fn network_interface(xml: &mut Xml, account: &Account, instance: &Instance, interface: &Interface) {
    let first = interface.private_ipv4s.first();
    xml.leaf("networkInterfaceId", &interface.id);
    xml.leaf("subnetId", &interface.subnet_id);
    xml.leaf("vpcId", &instance.vpc_id);
    xml.leaf("description", "");
    xml.leaf("ownerId", &account.id);
    xml.leaf("status", "in-use");
    xml.leaf("macAddress", &interface.mac);
    xml.leaf_if("privateIpAddress", first);
    xml.leaf_if("privateDnsName", first.map(|ipv4| naming::hostname_of(account, *ipv4)));
    xml.leaf("sourceDestCheck", true);
    xml.nest("groupSet", |_| ());
    xml.nest("attachment", |xml| {
        xml.leaf("attachmentId", interface.id.replacen("eni-", "eni-attach-", 1));
        xml.leaf("deviceIndex", interface.device_number);
        xml.leaf("status", "attached");
        xml.leaf("attachTime", time(&instance.launch_time));
        xml.leaf("deleteOnTermination", interface.device_number == 0);
        xml.leaf("networkCardIndex", 0);
    });
    xml.nest("privateIpAddressesSet", |xml| {
        for (place, ipv4) in interface.private_ipv4s.iter().enumerate() {
            xml.nest("item", |xml| {
                xml.leaf("privateIpAddress", ipv4);
                xml.leaf("privateDnsName", naming::hostname_of(account, *ipv4));
                xml.leaf("primary", place == 0);
                let public = interface.public_ipv4s.iter().find(|(_, private)| *private == ipv4);
                if let Some((public, _)) = public {
                    xml.nest("association", |xml| {
                        xml.leaf("publicIp", public);
                        xml.leaf("publicDnsName", naming::public_hostname(account, *public));
                        if interface.elastic_ipv4s.contains(public) {
                            let number = u32::from(*public);
                            xml.leaf("ipOwnerId", &account.id);
                            xml.leaf("allocationId", format!("eipalloc-{number:017x}"));
                            xml.leaf("associationId", format!("eipassoc-{number:017x}"));
                        } else {
                            xml.leaf("ipOwnerId", "amazon");
                        }
                    });
                }
            });
        }
    });
    xml.nest("ipv6AddressesSet", |xml| {
        for ipv6 in &interface.ipv6s {
            xml.nest("item", |xml| xml.leaf("ipv6Address", ipv6));
        }
    });
    xml.leaf("interfaceType", "interface");
}

/// EC2 writes milliseconds where IMDS does not.
fn time(iso8601: &str) -> String {
    match iso8601.strip_suffix('Z') {
        Some(seconds) if !seconds.contains('.') => format!("{seconds}.000Z"),
        _ => iso8601.to_owned(),
    }
}
