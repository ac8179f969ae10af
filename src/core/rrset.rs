//! Resource records as sets: the unit that the DNS answers, compares and replaces (RFC 9499 "RRset", RFC 2181 section 5).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::name::Name;

/// The record types that tagalong reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RrType {
    /// RFC 1035 section 3.4.1.
    A,
    /// RFC 3596.
    Aaaa,
    /// RFC 1035 section 3.3.12.
    Ptr,
    /// RFC 1035 section 3.3.14; carries the owner marker.
    Txt,
    /// RFC 1035 section 3.3.1; excludes every other type at its name.
    Cname,
    /// RFC 1035 section 3.3.11.
    Ns,
    /// RFC 4701: the marker of ISC's DHCP servers and Kea.
    Dhcid,
    /// Any other type, by number: never written, but it makes a name somebody's.
    Other(u16),
}

impl fmt::Display for RrType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A => f.pad("A"),
            Self::Aaaa => f.pad("AAAA"),
            Self::Ptr => f.pad("PTR"),
            Self::Txt => f.pad("TXT"),
            Self::Cname => f.pad("CNAME"),
            Self::Ns => f.pad("NS"),
            Self::Dhcid => f.pad("DHCID"),
            Self::Other(number) => f.pad(&format!("TYPE{number}")),
        }
    }
}

/// One record's data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rdata {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// The name of an address.
    Ptr(Name),
    /// Character strings, each at most 255 octets.
    Txt(Vec<Vec<u8>>),
    /// The name that this one is an alias of.
    Cname(Name),
    /// A server of the zone that begins here.
    Ns(Name),
    /// Data of another type, as it stands on the wire (RFC 3597).
    Other {
        /// The type's number.
        rtype: u16,
        /// The data's octets.
        octets: Vec<u8>,
    },
}

impl Rdata {
    /// The A or AAAA record of `address`.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::A(v4),
            IpAddr::V6(v6) => Self::Aaaa(v6),
        }
    }

    /// The address of an A or AAAA record.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::A(address) => Some((*address).into()),
            Self::Aaaa(address) => Some((*address).into()),
            _ => None,
        }
    }

    /// The type whose data this is.
    #[must_use]
    pub fn rtype(&self) -> RrType {
        match self {
            Self::A(_) => RrType::A,
            Self::Aaaa(_) => RrType::Aaaa,
            Self::Ptr(_) => RrType::Ptr,
            Self::Txt(_) => RrType::Txt,
            Self::Cname(_) => RrType::Cname,
            Self::Ns(_) => RrType::Ns,
            Self::Other { rtype: 49, .. } => RrType::Dhcid,
            Self::Other { rtype, .. } => RrType::Other(*rtype),
        }
    }
}

impl fmt::Display for Rdata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(address) => address.fmt(f),
            Self::Aaaa(address) => address.fmt(f),
            Self::Ptr(name) | Self::Cname(name) | Self::Ns(name) => name.fmt(f),
            Self::Txt(strings) => f.write_str(&presentation(strings)),
            Self::Other { octets, .. } => {
                write!(f, "\\# {} ", octets.len())?;
                octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
            }
        }
    }
}

/// Which RRset: a name and a type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RrsetKey {
    /// The owner name.
    pub name: Name,
    /// The type.
    pub rtype: RrType,
}

impl RrsetKey {
    /// The RRset of `rtype` at `name`.
    #[must_use]
    pub fn new(name: Name, rtype: RrType) -> Self {
        Self { name, rtype }
    }
}

impl fmt::Display for RrsetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.rtype)
    }
}

/// A non-empty set of records of one name and type, with one TTL (RFC 2181 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rrset {
    /// Time to live, in seconds.
    pub ttl: u32,
    /// The values; RFC 2136 compares them as a set.
    pub values: BTreeSet<Rdata>,
}

impl Rrset {
    /// A set of `values` kept for `ttl` seconds.
    #[must_use]
    pub fn new(ttl: u32, values: impl IntoIterator<Item = Rdata>) -> Self {
        Self { ttl, values: values.into_iter().collect() }
    }
}

impl fmt::Display for Rrset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in self.values.iter().enumerate() {
            write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A zone, or the part of one that was looked at.
pub type Records = BTreeMap<RrsetKey, Rrset>;

/// TXT strings in quotes, as zone files and Route 53 write them (RFC 1035 section 5.1).
#[must_use]
pub fn presentation(strings: &[Vec<u8>]) -> String {
    let quoted = strings.iter().map(|string| {
        let inner = string.iter().fold(String::new(), |text, octet| match octet {
            b'"' | b'\\' => format!("{text}\\{}", char::from(*octet)),
            0x20..=0x7e => format!("{text}{}", char::from(*octet)),
            _ => format!("{text}\\{octet:03}"),
        });
        format!("\"{inner}\"")
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_set_have_no_order() {
        let one = Rrset::new(
            60,
            [Rdata::A(Ipv4Addr::new(10, 0, 0, 2)), Rdata::A(Ipv4Addr::new(10, 0, 0, 1))],
        );
        let other = Rrset::new(
            60,
            [Rdata::A(Ipv4Addr::new(10, 0, 0, 1)), Rdata::A(Ipv4Addr::new(10, 0, 0, 2))],
        );
        assert_eq!(one, other);
        assert_eq!(one.to_string(), "10.0.0.1, 10.0.0.2");
    }

    #[test]
    fn text_prints_quoted_and_escaped() {
        assert_eq!(
            presentation(&[b"a \"b\" \\ \xff".to_vec(), b"c".to_vec()]),
            r#""a \"b\" \\ \255" "c""#
        );
    }
}
