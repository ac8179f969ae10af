//! The names and ids that AWS derives from others.

use std::net::Ipv4Addr;

use crate::{instance::Instance, world::Account};

/// `ip-10-0-1-23.ec2.internal`, or `.REGION.compute.internal` outside us-east-1; by id for an IPv6-only instance.
pub(crate) fn private_hostname(account: &Account, instance: &Instance) -> String {
    match instance.private_ipv4() {
        Some(ipv4) => hostname_of(account, ipv4),
        None => format!("{}.{}", instance.id, private_domain(account)),
    }
}

/// The same for an address.
pub(crate) fn hostname_of(account: &Account, ipv4: Ipv4Addr) -> String {
    let [a, b, c, d] = ipv4.octets();
    format!("ip-{a}-{b}-{c}-{d}.{}", private_domain(account))
}

fn private_domain(account: &Account) -> String {
    match account.region.as_str() {
        "us-east-1" => "ec2.internal".to_owned(),
        region => format!("{region}.compute.internal"),
    }
}

/// `ec2-198-51-100-7.compute-1.amazonaws.com`, or `.REGION.compute` outside us-east-1.
pub(crate) fn public_hostname(account: &Account, ipv4: Ipv4Addr) -> String {
    let [a, b, c, d] = ipv4.octets();
    let place = match account.region.as_str() {
        "us-east-1" => "compute-1".to_owned(),
        region => format!("{region}.compute"),
    };
    format!("ec2-{a}-{b}-{c}-{d}.{place}.{}", account.services_domain)
}

/// `us-east-1a` to `use1-az1`. In AWS the letters are shuffled per account; here they are not.
pub(crate) fn zone_id(availability_zone: &str) -> String {
    let letter = availability_zone.bytes().last().filter(u8::is_ascii_lowercase).unwrap_or(b'a');
    let region = availability_zone.trim_end_matches(|letter: char| letter.is_ascii_lowercase());
    let parts: Vec<_> = region.split('-').collect();
    let short = parts.iter().map(|part| match *part {
        "northeast" => "ne",
        "northwest" => "nw",
        "southeast" => "se",
        "southwest" => "sw",
        "north" => "n",
        "south" => "s",
        "east" => "e",
        "west" => "w",
        "central" => "c",
        "gov" => "g",
        other => other,
    });
    format!("{}-az{}", short.collect::<String>(), letter - b'a' + 1)
}

/// The reservation of an instance: `r-` and the digits of its id.
pub(crate) fn reservation(instance_id: &str) -> String {
    format!("r-{}", instance_id.trim_start_matches("i-"))
}

/// An IAM unique id: a prefix and what `name` gives in base 36, always the same.
pub(crate) fn unique_id(prefix: &str, name: &str) -> String {
    // FNV-1a; only stability matters
    let mut hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut id = prefix.to_owned();
    for _ in 0..17 {
        let digit = u32::try_from(hash % 36)
            .ok()
            .and_then(|digit| char::from_digit(digit, 36))
            .unwrap_or('0');
        id.push(digit.to_ascii_uppercase());
        hash = hash.rotate_right(5).wrapping_add(hash / 36);
    }
    id
}

/// `arm64` for Graviton types (a `g` after the generation), else `x86_64`.
pub(crate) fn architecture(instance_type: &str) -> &'static str {
    let family = instance_type.split('.').next().unwrap_or_default();
    let options = family.trim_start_matches(|letter: char| letter.is_ascii_lowercase());
    if options.contains('g') { "arm64" } else { "x86_64" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_ids_are_short_regions_and_numbers() {
        for (zone, expect) in [
            ("us-east-1a", "use1-az1"),
            ("eu-central-1c", "euc1-az3"),
            ("ap-southeast-2b", "apse2-az2"),
        ] {
            assert_eq!(zone_id(zone), expect);
        }
    }

    #[test]
    fn graviton_types_are_arm() {
        for (given, expect) in [
            ("t4g.small", "arm64"),
            ("t3.micro", "x86_64"),
            ("c7gn.large", "arm64"),
            ("g4dn.xlarge", "x86_64"),
        ] {
            assert_eq!(architecture(given), expect, "{given}");
        }
    }
}
