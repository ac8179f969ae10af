//! `DescribeSubnets`: the subnets that instances have interfaces in (EC2 API Reference).

use std::collections::BTreeMap;

use crate::{form::Form, world::State};

use super::{Content, Error, describe::Page, filter};

/// A subnet.
#[derive(Clone, Debug)]
pub(super) struct Subnet {
    pub(super) id: String,
    pub(super) vpc_id: String,
    pub(super) availability_zone: String,
    cidr: String,
    ipv6_cidrs: Vec<String>,
}

pub(super) fn describe(state: &State, form: &Form, region: &str) -> Result<Content, Error> {
    let page = Page::parse(form)?;
    let filters = filter::parse(form)?;
    let mut found = Vec::new();
    for subnet in subnets(state).into_values() {
        let mut passes = subnet.availability_zone.starts_with(region);
        for filter in &filters {
            passes = filter.admits_subnet(&subnet)? && passes;
        }
        if passes && page.after.as_ref().is_none_or(|after| subnet.id > *after) {
            found.push(subnet);
        }
    }
    let token = page.cut(&mut found, |subnet| subnet.id.clone());
    Ok(Box::new(move |xml| {
        xml.nest("subnetSet", |xml| {
            for subnet in &found {
                xml.nest("item", |xml| {
                    xml.leaf("subnetId", &subnet.id);
                    xml.leaf("state", "available");
                    xml.leaf("vpcId", &subnet.vpc_id);
                    xml.leaf("cidrBlock", &subnet.cidr);
                    xml.leaf("availabilityZone", &subnet.availability_zone);
                    xml.nest("ipv6CidrBlockAssociationSet", |xml| {
                        for cidr in &subnet.ipv6_cidrs {
                            xml.nest("item", |xml| {
                                xml.leaf("ipv6CidrBlock", cidr);
                                xml.nest("ipv6CidrBlockState", |xml| {
                                    xml.leaf("state", "associated");
                                });
                            });
                        }
                    });
                });
            }
        });
        xml.leaf_if("nextToken", token);
    }))
}

fn subnets(state: &State) -> BTreeMap<String, Subnet> {
    let interfaces = state.instances.values().flat_map(|instance| {
        instance.interfaces.iter().map(move |interface| (instance, interface))
    });
    let subnets = interfaces.map(|(instance, interface)| {
        let subnet = Subnet {
            id: interface.subnet_id.clone(),
            vpc_id: instance.vpc_id.clone(),
            availability_zone: instance.availability_zone.clone(),
            cidr: interface.subnet_cidr.clone(),
            ipv6_cidrs: interface.subnet_ipv6_cidrs.clone(),
        };
        (interface.subnet_id.clone(), subnet)
    });
    subnets.collect()
}
