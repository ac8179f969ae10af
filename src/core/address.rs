//! Address selectors: which of an instance's addresses a record stands for.

use std::{fmt, net::IpAddr, str::FromStr};

use super::facts::{Cidr, Facts, Interface};

/// Which addresses of the instance: `private-ipv4`, `ipv6 device-index=1`, `10.0.0.0/16`.
///
/// A kind, then any of `device-index=N` and `cidr=BLOCK`. Without a device index it is the primary interface, or for a
/// bare CIDR block every interface. `private-ipv4` is an interface's primary address, `secondary` are its others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSelector {
    kind: AddressKind,
    device_number: Option<u32>,
    cidr: Option<Cidr>,
    text: String,
}

/// What kind of address a selector chooses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// The interface's primary private address.
    PrivateIpv4,
    /// Its public and Elastic addresses.
    PublicIpv4,
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
            "`{}` selects no address; there are private-ipv4, public-ipv4, ipv6, secondary and CIDR blocks, each with \
             `device-index=N` or `cidr=BLOCK` after it if need be",
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
        let (mut device_number, mut cidr) = (None, None);
        let kind = match words.next().ok_or_else(wrong)? {
            "private-ipv4" => AddressKind::PrivateIpv4,
            "public-ipv4" => AddressKind::PublicIpv4,
            "ipv6" => AddressKind::Ipv6,
            "secondary" => AddressKind::Secondary,
            word => {
                if let Some(number) = word.strip_prefix("device-index=") {
                    device_number = Some(number.parse().map_err(|_| wrong())?);
                    AddressKind::PrivateIpv4
                } else {
                    cidr = Some(word.parse().map_err(|_| wrong())?);
                    AddressKind::Any
                }
            }
        };
        for word in words {
            match word.split_once('=') {
                Some(("device-index", number)) => {
                    device_number = Some(number.parse().map_err(|_| wrong())?);
                }
                Some(("cidr", block)) => cidr = Some(block.parse().map_err(|_| wrong())?),
                _ => return Err(wrong()),
            }
        }
        Ok(Self { kind, device_number, cidr, text: text.to_owned() })
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

    /// The matching addresses and the device numbers of their interfaces, in EC2's order.
    #[must_use]
    pub fn select(&self, facts: &Facts) -> Vec<(IpAddr, u32)> {
        let everywhere = self.kind == AddressKind::Any && self.device_number.is_none();
        let wanted = self.device_number.unwrap_or(0);
        let interfaces =
            facts.interfaces.iter().filter(|i| everywhere || i.device_number == wanted);
        let pairs =
            interfaces.flat_map(|i| self.of_interface(i).into_iter().map(|a| (a, i.device_number)));
        pairs.filter(|(address, _)| self.cidr.is_none_or(|cidr| cidr.contains(*address))).collect()
    }

    fn of_interface(&self, interface: &Interface) -> Vec<IpAddr> {
        let private = interface.local_ipv4s.iter().copied().map(IpAddr::from);
        let ipv6 = interface.ipv6s.iter().copied().map(IpAddr::from);
        match self.kind {
            // A CIDR block beside the kind chooses among the addresses, so the primary one is not singled out first.
            AddressKind::PrivateIpv4 if self.cidr.is_some() => private.collect(),
            AddressKind::PrivateIpv4 => private.take(1).collect(),
            AddressKind::Secondary => private.skip(1).collect(),
            AddressKind::PublicIpv4 => {
                interface.public_ipv4s.iter().copied().map(IpAddr::from).collect()
            }
            AddressKind::Ipv6 => ipv6.collect(),
            AddressKind::Any => private.chain(ipv6).collect(),
        }
    }
}
