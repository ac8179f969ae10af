//! The `Filter.N` parameters: all must hold, each by any of its values, with wildcards.

use crate::{
    form::Form,
    instance::{Instance, InstanceState, Interface},
    naming, pattern,
    world::Account,
};

use super::{Error, subnets::Subnet};

/// One filter.
#[derive(Debug)]
pub(super) struct Filter {
    name: String,
    values: Vec<String>,
}

/// The filters of a request.
pub(super) fn parse(form: &Form) -> Result<Vec<Filter>, Error> {
    form.members("Filter")
        .into_values()
        .map(|member| {
            let name = member.get("Name").ok_or_else(|| Error::missing("Filter.Name"))?;
            let values = member.iter().filter(|(field, _)| field.starts_with("Value."));
            let values: Vec<_> = values.map(|(_, value)| (*value).to_owned()).collect();
            if values.is_empty() {
                return Err(Error::value("The filter 'null' is invalid"));
            }
            if values.len() > 200 {
                return Err(Error::new(
                    "FilterLimitExceeded",
                    "The maximum number of filter values is 200",
                ));
            }
            Ok(Filter { name: (*name).to_owned(), values })
        })
        .collect()
}

impl Filter {
    /// Whether the instance passes.
    pub(super) fn admits(&self, account: &Account, instance: &Instance) -> Result<bool, Error> {
        // a terminated instance has left its network
        let is_present = instance.state != InstanceState::Terminated;
        let address =
            is_present.then(|| instance.private_ipv4()).flatten().map(|ipv4| ipv4.to_string());
        let interfaces = || instance.interfaces.iter().filter(|_| is_present);
        let held: Vec<String> = match self.name.as_str() {
            "instance-id" => vec![instance.id.clone()],
            "instance-state-name" => vec![instance.state.name().to_owned()],
            "instance-state-code" => vec![instance.state.code().to_string()],
            "instance-type" => vec![instance.instance_type.clone()],
            "image-id" => vec![instance.image_id.clone()],
            "availability-zone" => vec![instance.availability_zone.clone()],
            "vpc-id" => is_present.then(|| instance.vpc_id.clone()).into_iter().collect(),
            "subnet-id" => {
                let primary = is_present.then(|| instance.primary()).flatten();
                primary.map(|primary| primary.subnet_id.clone()).into_iter().collect()
            }
            "private-ip-address" => address.into_iter().collect(),
            "private-dns-name" => vec![naming::private_hostname(account, instance)],
            "network-interface.addresses.private-ip-address" => interfaces()
                .flat_map(|interface| &interface.private_ipv4s)
                .map(ToString::to_string)
                .collect(),
            "network-interface.ipv6-addresses.ipv6-address" => interfaces()
                .flat_map(|interface| &interface.ipv6s)
                .map(ToString::to_string)
                .collect(),
            "tag-key" => instance.tags.keys().cloned().collect(),
            name => match name.strip_prefix("tag:") {
                Some(key) => instance.tags.get(key).cloned().into_iter().collect(),
                None => return Err(self.unknown()),
            },
        };
        Ok(held.iter().any(|text| self.admits_text(text)))
    }

    /// Whether the subnet passes a filter of `DescribeSubnets`.
    pub(super) fn admits_subnet(&self, subnet: &Subnet) -> Result<bool, Error> {
        let held = match self.name.as_str() {
            "availability-zone" | "availabilityZone" => &subnet.availability_zone,
            "subnet-id" => &subnet.id,
            "vpc-id" => &subnet.vpc_id,
            _ => return Err(self.unknown()),
        };
        Ok(self.admits_text(held))
    }

    /// Whether the attached interface passes a filter of `DescribeNetworkInterfaces`.
    pub(super) fn admits_interface(
        &self,
        instance: &Instance,
        interface: &Interface,
    ) -> Result<bool, Error> {
        let held = match self.name.as_str() {
            "attachment.instance-id" => Some(&instance.id),
            "network-interface-id" => Some(&interface.id),
            "subnet-id" => Some(&interface.subnet_id),
            "vpc-id" => Some(&instance.vpc_id),
            name => match name.strip_prefix("tag:") {
                Some(key) => interface.tags.get(key),
                None => return Err(self.unknown()),
            },
        };
        Ok(held.is_some_and(|text| self.admits_text(text)))
    }

    /// Whether the tag of an instance passes a filter of `DescribeTags`.
    pub(super) fn admits_tag(&self, instance: &str, key: &str, value: &str) -> Result<bool, Error> {
        Ok(match self.name.as_str() {
            "resource-id" => self.admits_text(instance),
            "resource-type" => self.admits_text("instance"),
            "key" => self.admits_text(key),
            "value" => self.admits_text(value),
            name => match name.strip_prefix("tag:") {
                Some(wanted) => wanted == key && self.admits_text(value),
                None => return Err(self.unknown()),
            },
        })
    }

    fn admits_text(&self, text: &str) -> bool {
        self.values.iter().any(|pattern| pattern::matches(pattern, text))
    }

    fn unknown(&self) -> Error {
        Error::value(format!("The filter '{}' is invalid", self.name))
    }
}
