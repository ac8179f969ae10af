//! `DescribeNetworkInterfaces`: those that are attached to instances (EC2 API Reference).

use crate::{form::Form, world::State};

use super::{Content, Error, describe::Page, document, filter};

pub(super) fn describe(state: &State, form: &Form, region: &str) -> Result<Content, Error> {
    let page = Page::parse(form)?;
    let filters = filter::parse(form)?;
    // an unknown filter is an error even when no interface is there to be filtered
    let probe = crate::instance::Instance::new("", "", std::net::Ipv4Addr::UNSPECIFIED);
    for (filter, interface) in filters.iter().zip(probe.interfaces.iter().cycle()) {
        filter.admits_interface(&probe, interface)?;
    }
    let mut found = Vec::new();
    for instance in state.instances.values().filter(|it| it.availability_zone.starts_with(region)) {
        for interface in &instance.interfaces {
            let mut passes = page.after.as_ref().is_none_or(|after| interface.id > *after);
            for filter in &filters {
                passes = passes && filter.admits_interface(instance, interface)?;
            }
            if passes {
                found.push((instance.clone(), interface.clone()));
            }
        }
    }
    found.sort_by(|(_, one), (_, other)| one.id.cmp(&other.id));
    let token = page.cut(&mut found, |(_, interface)| interface.id.clone());
    let account = state.account.clone();
    Ok(Box::new(move |xml| {
        xml.nest("networkInterfaceSet", |xml| {
            for (instance, interface) in &found {
                xml.nest("item", |xml| {
                    document::described_interface(xml, &account, instance, interface);
                });
            }
        });
        xml.leaf_if("nextToken", token);
    }))
}
