//! An EC2 instance and its network interfaces, as IMDS and `DescribeInstances` both show them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

/// One instance of the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// `i-` and 17 hexadecimal digits.
    pub id: String,
    /// Where it is in its life.
    #[serde(default)]
    pub state: InstanceState,
    /// `us-east-1a`.
    pub availability_zone: String,
    /// The VPC of all its interfaces.
    #[serde(default = "default_vpc")]
    pub vpc_id: String,
    /// ISO 8601, UTC.
    #[serde(default = "default_launch_time")]
    pub launch_time: String,
    /// The IAM role whose credentials IMDS hands out; `None` is an instance without instance profile.
    #[serde(default)]
    pub role: Option<String>,
    /// `t3.micro`.
    #[serde(default = "default_type")]
    pub instance_type: String,
    /// `ami-…`.
    #[serde(default = "default_image")]
    pub image_id: String,
    /// On-demand or spot.
    #[serde(default)]
    pub life_cycle: LifeCycle,
    /// `InstanceMetadataTags`: whether IMDS shows the tags. Off unless switched on, as in AWS.
    #[serde(default)]
    pub metadata_tags: bool,
    /// The tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The attached interfaces; device number 0 is the primary one.
    pub interfaces: Vec<Interface>,
    /// The pending interruption of a spot instance (`spot/instance-action`).
    #[serde(default)]
    pub spot_action: Option<SpotAction>,
    /// What the Auto Scaling group wants of it (`autoscaling/target-lifecycle-state`), for example `Terminated`.
    #[serde(default)]
    pub target_lifecycle_state: Option<String>,
    /// What the instance was launched with for cloud-init, decoded.
    #[serde(default)]
    pub user_data: Option<String>,
}

impl Instance {
    /// A running instance with one interface, whose ids, MAC, subnet (/24) and VPC (/16) follow from its address.
    #[must_use]
    pub fn new(id: &str, availability_zone: &str, ipv4: Ipv4Addr) -> Self {
        Self {
            id: id.to_owned(),
            state: InstanceState::Running,
            availability_zone: availability_zone.to_owned(),
            vpc_id: default_vpc(),
            launch_time: default_launch_time(),
            role: None,
            instance_type: default_type(),
            image_id: default_image(),
            life_cycle: LifeCycle::OnDemand,
            metadata_tags: false,
            tags: BTreeMap::new(),
            interfaces: vec![Interface::new(ipv4)],
            spot_action: None,
            target_lifecycle_state: None,
            user_data: None,
        }
    }

    /// With one more tag.
    #[must_use]
    pub fn tag(mut self, key: &str, value: &str) -> Self {
        self.tags.insert(key.to_owned(), value.to_owned());
        self
    }

    /// With the tags visible in IMDS.
    #[must_use]
    pub fn metadata_tags(mut self) -> Self {
        self.metadata_tags = true;
        self
    }

    /// With an instance profile for `role`.
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        self.role = Some(role.to_owned());
        self
    }

    /// In `state`.
    #[must_use]
    pub fn state(mut self, state: InstanceState) -> Self {
        self.state = state;
        self
    }

    /// In another VPC.
    #[must_use]
    pub fn vpc(mut self, vpc_id: &str) -> Self {
        vpc_id.clone_into(&mut self.vpc_id);
        self
    }

    /// With an IPv6 address on its primary interface, and the /64 of it as the subnet's IPv6 block.
    #[must_use]
    pub fn ipv6(mut self, address: Ipv6Addr) -> Self {
        if let Some(primary) = self.interfaces.first_mut() {
            let segments = address.segments();
            let [a, b, c, d, ..] = segments;
            primary.subnet_ipv6_cidrs =
                vec![format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))];
            primary.vpc_ipv6_cidrs =
                vec![format!("{}/56", Ipv6Addr::new(a, b, c, d & 0xff00, 0, 0, 0, 0))];
            primary.ipv6s.push(address);
        }
        self
    }

    /// With a public address for its primary private one.
    #[must_use]
    pub fn public_ipv4(mut self, public: Ipv4Addr) -> Self {
        if let Some(primary) = self.interfaces.first_mut()
            && let Some(private) = primary.private_ipv4s.first().copied()
        {
            primary.public_ipv4s.insert(public, private);
        }
        self
    }

    /// With an Elastic address for its primary private one.
    #[must_use]
    pub fn elastic_ipv4(self, elastic: Ipv4Addr) -> Self {
        let mut instance = self.public_ipv4(elastic);
        if let Some(primary) = instance.interfaces.first_mut() {
            primary.elastic_ipv4s.insert(elastic);
        }
        instance
    }

    /// With a further interface; its device number is the next free one.
    #[must_use]
    pub fn interface(mut self, interface: Interface) -> Self {
        let device_number =
            self.interfaces.iter().map(|other| other.device_number + 1).max().unwrap_or(0);
        self.interfaces.push(Interface { device_number, ..interface });
        self
    }

    /// Gives the primary interface another primary address, as a replaced instance under the same id would have.
    pub fn move_to(&mut self, ipv4: Ipv4Addr) {
        if let Some(primary) = self.interfaces.first_mut() {
            match primary.private_ipv4s.first_mut() {
                Some(first) => *first = ipv4,
                None => primary.private_ipv4s.push(ipv4),
            }
        }
    }

    /// The interface with device number 0, or else the first.
    #[must_use]
    pub fn primary(&self) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.device_number == 0)
            .or(self.interfaces.first())
    }

    /// The primary private IPv4 address.
    #[must_use]
    pub fn private_ipv4(&self) -> Option<Ipv4Addr> {
        self.primary().and_then(|interface| interface.private_ipv4s.first().copied())
    }

    /// Whether `address` is a private IPv4 or an IPv6 address of one of its interfaces.
    #[must_use]
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.interfaces.iter().any(|interface| match address {
            IpAddr::V4(v4) => interface.private_ipv4s.contains(&v4),
            IpAddr::V6(v6) => interface.ipv6s.contains(&v6),
        })
    }
}

/// One elastic network interface. Read from JSON it needs only `private_ipv4s` or `ipv6s`; the rest is derived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Sketch")]
pub struct Interface {
    /// `eni-…`.
    pub id: String,
    /// Lower case, with colons.
    pub mac: String,
    /// 0 is the primary interface.
    pub device_number: u32,
    /// `subnet-…`.
    pub subnet_id: String,
    /// The subnet's IPv4 block.
    pub subnet_cidr: String,
    /// The VPC's IPv4 blocks, the primary one first.
    pub vpc_cidrs: Vec<String>,
    /// Private addresses, the primary one first.
    pub private_ipv4s: Vec<Ipv4Addr>,
    /// IPv6 addresses.
    pub ipv6s: Vec<Ipv6Addr>,
    /// Public address to the private one that it is associated with.
    pub public_ipv4s: BTreeMap<Ipv4Addr, Ipv4Addr>,
    /// Those of them that are Elastic.
    pub elastic_ipv4s: BTreeSet<Ipv4Addr>,
    /// The subnet's IPv6 blocks.
    pub subnet_ipv6_cidrs: Vec<String>,
    /// The VPC's IPv6 blocks.
    pub vpc_ipv6_cidrs: Vec<String>,
    /// Its own tags, which IMDS never shows.
    pub tags: BTreeMap<String, String>,
}

impl Interface {
    /// A primary interface whose ids, MAC, subnet (/24) and VPC (/16) follow from its address.
    #[must_use]
    pub fn new(ipv4: Ipv4Addr) -> Self {
        let [a, b, c, d] = ipv4.octets();
        Self {
            id: format!("eni-{:017x}", u32::from(ipv4)),
            mac: format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}"),
            device_number: 0,
            subnet_id: format!("subnet-{:017x}", u32::from(Ipv4Addr::new(a, b, c, 0))),
            subnet_cidr: format!("{a}.{b}.{c}.0/24"),
            vpc_cidrs: vec![format!("{a}.{b}.0.0/16")],
            private_ipv4s: vec![ipv4],
            ipv6s: Vec::new(),
            public_ipv4s: BTreeMap::new(),
            elastic_ipv4s: BTreeSet::new(),
            subnet_ipv6_cidrs: Vec::new(),
            vpc_ipv6_cidrs: Vec::new(),
            tags: BTreeMap::new(),
        }
    }
}

/// An interface as a person writes it, with everything that can be derived left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sketch {
    id: Option<String>,
    mac: Option<String>,
    #[serde(default)]
    device_number: u32,
    subnet_id: Option<String>,
    subnet_cidr: Option<String>,
    vpc_cidrs: Option<Vec<String>>,
    #[serde(default)]
    private_ipv4s: Vec<Ipv4Addr>,
    #[serde(default)]
    ipv6s: Vec<Ipv6Addr>,
    #[serde(default)]
    public_ipv4s: BTreeMap<Ipv4Addr, Ipv4Addr>,
    #[serde(default)]
    elastic_ipv4s: BTreeSet<Ipv4Addr>,
    #[serde(default)]
    subnet_ipv6_cidrs: Vec<String>,
    #[serde(default)]
    vpc_ipv6_cidrs: Vec<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
}

impl From<Sketch> for Interface {
    fn from(sketch: Sketch) -> Self {
        let derived =
            Self::new(sketch.private_ipv4s.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED));
        Self {
            id: sketch.id.unwrap_or(derived.id),
            mac: sketch.mac.unwrap_or(derived.mac),
            device_number: sketch.device_number,
            subnet_id: sketch.subnet_id.unwrap_or(derived.subnet_id),
            subnet_cidr: sketch.subnet_cidr.unwrap_or(derived.subnet_cidr),
            vpc_cidrs: sketch.vpc_cidrs.unwrap_or(derived.vpc_cidrs),
            private_ipv4s: sketch.private_ipv4s,
            ipv6s: sketch.ipv6s,
            public_ipv4s: sketch.public_ipv4s,
            elastic_ipv4s: sketch.elastic_ipv4s,
            subnet_ipv6_cidrs: sketch.subnet_ipv6_cidrs,
            vpc_ipv6_cidrs: sketch.vpc_ipv6_cidrs,
            tags: sketch.tags,
        }
    }
}

/// Where an instance is in its life, with EC2's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Starting.
    Pending,
    /// Started.
    #[default]
    Running,
    /// On its way to `Terminated`.
    ShuttingDown,
    /// Gone; still described for about an hour, without addresses.
    Terminated,
    /// On its way to `Stopped`.
    Stopping,
    /// Off; keeps its private addresses.
    Stopped,
}

impl InstanceState {
    /// The low byte of EC2's state code.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    /// EC2's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// How the instance is paid for (`instance-life-cycle`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LifeCycle {
    /// On demand.
    #[default]
    OnDemand,
    /// Spot.
    Spot,
}

/// A spot interruption notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpotAction {
    /// `terminate`, `stop` or `hibernate`.
    pub action: String,
    /// ISO 8601, UTC.
    pub time: String,
}

/// The VPC that instances are in unless they say otherwise.
pub const DEFAULT_VPC: &str = "vpc-0123456789abcdef0";

fn default_vpc() -> String {
    DEFAULT_VPC.to_owned()
}
fn default_launch_time() -> String {
    "2026-01-01T00:00:00Z".to_owned()
}
fn default_type() -> String {
    "t3.micro".to_owned()
}
fn default_image() -> String {
    "ami-0123456789abcdef0".to_owned()
}
