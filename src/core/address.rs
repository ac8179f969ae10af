//! Address selectors: which of an instance's addresses a record stands for.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use super::facts::{Cidr, Detail, Details, Facts, Interface};

/// Which addresses of the instance: `private-ipv4`, `ipv6 device-index=1`, `10.0.0.0/16`, `elastic-ipv4 tag:role=db`.
///
/// A kind, then where: any of `device-index=N`, `interface=eni-…`, `subnet=subnet-…`, `tag:KEY=VALUE` or `tag:KEY` (of the
/// interface), and `cidr=BLOCK`. All of them hold together. Where no interface is described, it is the primary one, or for a
/// bare CIDR block every one. `private-ipv4` is an interface's primary address, `secondary` are its others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSelector {
    kind: AddressKind,
    interfaces: Vec<Trait>,
    cidr: Option<Cidr>,
    text: String,
}

/// What tells an interface from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trait {
    Device(u32),
    Id(String),
    Subnet(String),
    /// A tag's key, and its value unless any will do.
    Tag(String, Option<String>),
}

/// What kind of address a selector chooses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// The interface's primary private address.
    PrivateIpv4,
    /// Its public and Elastic addresses.
    PublicIpv4,
    /// Its Elastic addresses alone.
    ElasticIpv4,
    /// Its IPv6 addresses.
    Ipv6,
    /// Its private addresses other than the primary one.
    Secondary,
    /// Any private or IPv6 address: what a bare CIDR block chooses from.
    Any,
}

/// A text selects no addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectorError(String);

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` selects no address; there are private-ipv4, public-ipv4, elastic-ipv4, ipv6, secondary and CIDR blocks, \
             each with `device-index=N`, `interface=ENI`, `subnet=SUBNET`, `tag:KEY=VALUE` (neither with spaces) or `cidr=BLOCK` after it if need be",
            self.0
        )
    }
}

impl std::error::Error for SelectorError {}

impl FromStr for AddressSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let wrong = || SelectorError(text.to_owned());
        let mut words = text.split_ascii_whitespace();
        let (mut interfaces, mut cidr) = (Vec::new(), None);
        let kind = match words.next().ok_or_else(wrong)? {
            "private-ipv4" => AddressKind::PrivateIpv4,
            "public-ipv4" => AddressKind::PublicIpv4,
            "elastic-ipv4" => AddressKind::ElasticIpv4,
            "ipv6" => AddressKind::Ipv6,
            "secondary" => AddressKind::Secondary,
            word => {
                if let Some(one) = Trait::of(word) {
                    interfaces.push(one);
                    AddressKind::PrivateIpv4
                } else {
                    cidr = Some(word.parse().map_err(|_| wrong())?);
                    AddressKind::Any
                }
            }
        };
        for word in words {
            match (Trait::of(word), word.strip_prefix("cidr=")) {
                (Some(one), _) => interfaces.push(one),
                (None, Some(block)) => cidr = Some(block.parse().map_err(|_| wrong())?),
                (None, None) => return Err(wrong()),
            }
        }
        Ok(Self { kind, interfaces, cidr, text: text.to_owned() })
    }
}

impl Trait {
    fn of(word: &str) -> Option<Self> {
        if let Some(tag) = word.strip_prefix("tag:").filter(|tag| !tag.is_empty()) {
            let (key, value) = tag.split_once('=').map_or((tag, None), |(key, it)| (key, Some(it)));
            return Some(Self::Tag(key.to_owned(), value.map(str::to_owned)));
        }
        match word.split_once('=')? {
            ("device-index", number) => number.parse().ok().map(Self::Device),
            ("interface", id) => id.starts_with("eni-").then(|| Self::Id(id.to_owned())),
            ("subnet", id) => id.starts_with("subnet-").then(|| Self::Subnet(id.to_owned())),
            _ => None,
        }
    }

    fn is_of(&self, interface: &Interface, detail: Option<&Detail>) -> bool {
        match self {
            Self::Device(number) => interface.device_number == *number,
            Self::Id(id) => interface.interface_id == *id,
            Self::Subnet(id) => interface.subnet_id == *id,
            Self::Tag(key, value) => {
                let found = detail.and_then(|detail| detail.tags.get(key));
                found.is_some_and(|found| value.as_ref().is_none_or(|value| found == value))
            }
        }
    }
}

impl fmt::Display for AddressSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl AddressSelector {
    /// The kind of address it chooses from.
    #[must_use]
    pub fn kind(&self) -> AddressKind {
        self.kind
    }

    /// Whether what only EC2 tells of the interfaces decides.
    #[must_use]
    pub fn needs_details(&self) -> bool {
        self.kind == AddressKind::ElasticIpv4
            || self.interfaces.iter().any(|one| matches!(one, Trait::Tag(..)))
    }

    /// The matching addresses and the device numbers of their interfaces, in EC2's order.
    #[must_use]
    pub fn select(&self, facts: &Facts) -> Vec<(IpAddr, u32)> {
        let primary = [Trait::Device(0)];
        let traits = match (self.kind, self.interfaces.as_slice()) {
            (AddressKind::Any, []) => &[][..],
            (_, []) => &primary,
            (_, traits) => traits,
        };
        let detail = |interface: &Interface| match &facts.details {
            Details::Told(details) => details.get(&interface.interface_id),
            Details::NotAsked | Details::Unread(_) => None,
        };
        let interfaces = facts.interfaces.iter().map(|it| (it, detail(it)));
        let interfaces =
            interfaces.filter(|(it, detail)| traits.iter().all(|one| one.is_of(it, *detail)));
        let pairs = interfaces.flat_map(|(it, detail)| {
            self.of_interface(it, detail).into_iter().map(|address| (address, it.device_number))
        });
        pairs.filter(|(address, _)| self.cidr.is_none_or(|cidr| cidr.contains(*address))).collect()
    }

    fn of_interface(&self, interface: &Interface, detail: Option<&Detail>) -> Vec<IpAddr> {
        let private = interface.local_ipv4s.iter().copied().map(IpAddr::from);
        let public = interface.public_ipv4s.iter().copied();
        let ipv6 = interface.ipv6s.iter().copied().map(IpAddr::from);
        match self.kind {
            // A CIDR block beside the kind chooses among the addresses, so the primary one is not singled out first.
            AddressKind::PrivateIpv4 if self.cidr.is_some() => private.collect(),
            AddressKind::PrivateIpv4 => private.take(1).collect(),
            AddressKind::Secondary => private.skip(1).collect(),
            AddressKind::PublicIpv4 => public.map(IpAddr::from).collect(),
            AddressKind::ElasticIpv4 => {
                let is_elastic = |address: &Ipv4Addr| {
                    detail.is_some_and(|detail| detail.elastic_ipv4s.contains(address))
                };
                public.filter(is_elastic).map(IpAddr::from).collect()
            }
            AddressKind::Ipv6 => ipv6.collect(),
            AddressKind::Any => private.chain(ipv6).collect(),
        }
    }
}
