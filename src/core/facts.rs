//! What EC2 and the machine itself say this host is, in EC2's words (EC2 User Guide, "Instance metadata categories").

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// Everything that a pass knows about its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The identity document.
    pub identity: Identity,
    /// The machine's own host name, its first label.
    pub hostname: String,
    /// Every attached network interface, by device number.
    pub interfaces: Vec<Interface>,
    /// The instance's tags.
    pub tags: Tags,
    /// Addresses that are the instance's, and that its interfaces have lost: a lease ended or was given back.
    pub lost: BTreeSet<IpAddr>,
    /// Addresses that it has, and that nobody should begin to talk to: IPv6's deprecated and temporary ones.
    pub discouraged: BTreeSet<IpAddr>,
    /// What only EC2 tells of the interfaces.
    pub details: Details,
}

/// What only EC2 tells of the interfaces; it is asked where a record's addresses hang on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Details {
    /// Nobody asked.
    #[default]
    NotAsked,
    /// By interface id.
    Told(BTreeMap<String, Detail>),
    /// EC2 did not tell.
    Unread(Unread),
}

/// What only EC2 tells of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Which of its public addresses are Elastic ones, and stay the account's.
    pub elastic_ipv4s: BTreeSet<Ipv4Addr>,
}

/// Who the instance is: the instance identity document and `services/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `i-…`
    pub instance_id: String,
    /// The account's twelve digits.
    pub account_id: String,
    /// `eu-west-1`
    pub region: String,
    /// `eu-west-1a`
    pub availability_zone: String,
    /// `aws`, `aws-cn`, `aws-us-gov`
    pub partition: String,
    /// `amazonaws.com`, `amazonaws.com.cn`
    pub services_domain: String,
}

/// One elastic network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// The hardware address, as the metadata service writes it.
    pub mac: String,
    /// The order of attachment; 0 is the primary interface.
    pub device_number: u32,
    /// `eni-…`
    pub interface_id: String,
    /// `subnet-…`
    pub subnet_id: String,
    /// `vpc-…`
    pub vpc_id: String,
    /// Private addresses, the primary one first.
    pub local_ipv4s: Vec<Ipv4Addr>,
    /// Public and Elastic addresses.
    pub public_ipv4s: Vec<Ipv4Addr>,
    /// IPv6 addresses.
    pub ipv6s: Vec<Ipv6Addr>,
    /// The subnet's CIDR blocks, of both families.
    pub subnet_cidrs: Vec<Cidr>,
    /// The VPC's CIDR blocks, of both families.
    pub vpc_cidrs: Vec<Cidr>,
}

/// The instance's tags, and whether they could be read at all: "no such tag" and "tags are off" are different things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tags {
    /// Where they come from.
    pub source: TagSource,
    /// Key to value.
    pub values: BTreeMap<String, String>,
    /// Why those that only EC2 has could not be read; who needs none of them need not care.
    pub unread: Option<Unread>,
}

/// What an instance's metadata do not hold, and EC2 is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Its tags.
    Tags,
    /// Its interfaces.
    Interfaces,
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// What.
    pub asked: Asked,
    /// The error first, then its causes.
    pub texts: Vec<String>,
    /// What the operator can do.
    pub hints: Vec<String>,
    /// Whether asking again can help.
    pub may_pass: bool,
}

/// Where tags were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagSource {
    /// `tags/instance` of the metadata service.
    Metadata,
    /// DescribeTags, since the metadata service does not offer tags on this instance.
    DescribeTags,
    /// Nowhere: the metadata service does not offer them, and nothing else was needed or could be asked.
    Unavailable,
}

impl fmt::Display for TagSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "instance metadata",
            Self::DescribeTags => "DescribeTags",
            Self::Unavailable => "nowhere (tags in instance metadata are off)",
        })
    }
}

impl Facts {
    /// The interface with device number 0.
    #[must_use]
    pub fn primary_interface(&self) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.device_number == 0)
    }

    /// The VPC of the primary interface.
    #[must_use]
    pub fn vpc_id(&self) -> Option<&str> {
        self.primary_interface()
            .map(|interface| interface.vpc_id.as_str())
            .filter(|id| !id.is_empty())
    }
}

/// A block of addresses, `10.0.0.0/16` or `2001:db8::/64` (RFC 4632, RFC 4291 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cidr {
    network: IpAddr,
    length: u8,
}

impl Cidr {
    /// The block of one address.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self { network: address, length: if address.is_ipv4() { 32 } else { 128 } }
    }

    /// Whether `address` lies in the block.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.network.is_ipv4() == address.is_ipv4()
            && self.network() == (Self { network: address, ..self }).network()
    }

    /// Whether every address of `other` lies in the block.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.length <= other.length && self.contains(other.network)
    }

    /// The first address: host bits that the text had are cleared.
    #[must_use]
    pub fn network(self) -> IpAddr {
        match (self.network, self.netmask()) {
            (IpAddr::V4(network), IpAddr::V4(mask)) => (network & mask).into(),
            (IpAddr::V6(network), IpAddr::V6(mask)) => (network & mask).into(),
            (network, _) => network,
        }
    }

    /// The block's length as a mask, `255.255.0.0`.
    #[must_use]
    pub fn netmask(self) -> IpAddr {
        let length = u32::from(self.length);
        match self.network {
            IpAddr::V4(_) => Ipv4Addr::from(u32::MAX.checked_shl(32 - length).unwrap_or(0)).into(),
            IpAddr::V6(_) => {
                Ipv6Addr::from(u128::MAX.checked_shl(128 - length).unwrap_or(0)).into()
            }
        }
    }

    /// How many leading bits all of its addresses share.
    #[must_use]
    pub fn length(self) -> u8 {
        self.length
    }

    /// The block that this one and `other` are the two halves of.
    #[must_use]
    pub fn join(self, other: Self) -> Option<Self> {
        let whole = Self { length: self.length.checked_sub(1)?, ..self };
        let are_halves = self.length == other.length && whole.covers(other) && !self.covers(other);
        are_halves.then(|| Self { network: whole.network(), ..whole })
    }

    /// The block in IPv6 notation: IPv4 as IPv4-mapped addresses (RFC 4291 section 2.5.5.2).
    #[must_use]
    pub fn to_ipv6_mapped(self) -> Self {
        match self.network() {
            IpAddr::V4(network) => {
                Self { network: network.to_ipv6_mapped().into(), length: self.length + 96 }
            }
            network @ IpAddr::V6(_) => Self { network, ..self },
        }
    }
}

/// A text is not `ADDRESS/LENGTH`, or the length does not fit the address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CidrError;

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a CIDR block such as `10.0.0.0/16` or `2001:db8::/64`")
    }
}

impl std::error::Error for CidrError {}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (network, length) = text.split_once('/').ok_or(CidrError)?;
        let network = network.parse::<IpAddr>().map_err(|_| CidrError)?;
        let length = length.parse::<u8>().map_err(|_| CidrError)?;
        let limit = if network.is_ipv4() { 32 } else { 128 };
        if length > limit { Err(CidrError) } else { Ok(Self { network, length }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

/// The address of a metadata service at `ADDRESS[:PORT]` or `localhost[:PORT]`.
///
/// # Errors
/// It is a name: that would be looked up through the resolver that is to be set.
pub fn metadata_address(authority: &str) -> Result<SocketAddr, String> {
    let host = authority.trim_start_matches('[').trim_end_matches(']');
    let with_port = authority.replacen("localhost", "127.0.0.1", 1);
    let bare = || host.parse().ok().map(|address| SocketAddr::new(address, 80));
    let local = || (host == "localhost").then(|| SocketAddr::from(([127, 0, 0, 1], 80)));
    with_port.parse().ok().or_else(bare).or_else(local).ok_or_else(|| {
        format!("`{authority}` is no address, and the metadata service cannot be named by a name: who would look it up?")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_holds_its_own_addresses_only() {
        let check = |block: &str, address: &str, expect: bool| {
            assert_eq!(
                block.parse::<Cidr>().unwrap().contains(address.parse().unwrap()),
                expect,
                "{block} {address}"
            );
        };
        check("10.0.0.0/16", "10.0.255.1", true);
        check("10.0.0.0/16", "10.1.0.1", false);
        check("0.0.0.0/0", "192.0.2.1", true);
        check("10.0.0.1/32", "10.0.0.1", true);
        check("10.0.0.1/32", "10.0.0.2", false);
        check("2001:db8::/64", "2001:db8::9", true);
        check("2001:db8::/64", "2001:db8:0:1::9", false);
        check("::/0", "2001:db8::1", true);
        check("::/0", "10.0.0.1", false);
    }

    #[test]
    fn a_block_tells_its_first_address_and_its_mask() {
        let check = |block: &str, network: &str, mask: &str, mapped: &str| {
            let block = block.parse::<Cidr>().unwrap();
            assert_eq!(block.network().to_string(), network);
            assert_eq!(block.netmask().to_string(), mask);
            assert_eq!(block.to_ipv6_mapped().to_string(), mapped);
        };
        check("10.0.3.7/23", "10.0.2.0", "255.255.254.0", "::ffff:10.0.2.0/119");
        check("0.0.0.0/0", "0.0.0.0", "0.0.0.0", "::ffff:0.0.0.0/96");
        check("10.0.0.1/32", "10.0.0.1", "255.255.255.255", "::ffff:10.0.0.1/128");
        check("2001:db8::9/32", "2001:db8::", "ffff:ffff::", "2001:db8::/32");
    }

    #[test]
    fn two_halves_make_a_block_and_nothing_else_does() {
        let check = |one: &str, other: &str, expect: Option<&str>| {
            let (one, other) = (one.parse::<Cidr>().unwrap(), other.parse::<Cidr>().unwrap());
            assert_eq!(one.join(other).map(|whole| whole.to_string()).as_deref(), expect);
            assert_eq!(other.join(one), one.join(other));
        };
        check("10.0.0.0/24", "10.0.1.0/24", Some("10.0.0.0/23"));
        check("10.0.1.0/24", "10.0.2.0/24", None);
        check("10.0.0.0/24", "10.0.0.0/24", None);
        check("10.0.0.0/24", "10.0.0.0/25", None);
        check("0.0.0.0/0", "0.0.0.0/0", None);
        check("0.0.0.0/1", "128.0.0.0/1", Some("0.0.0.0/0"));
        check("0.0.0.0/1", "::/1", None);
        check("2001:db8::/64", "2001:db8:0:1::/64", Some("2001:db8::/63"));
    }

    #[test]
    fn what_is_not_a_block_is_refused() {
        for text in ["10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0/8", "x/8", "10.0.0.0/-1"] {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError), "{text}");
        }
    }
}
