//! What is around one simulated host: DNS servers and their moods, EC2's list, resolv.conf and its owner, the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tagalong::{
    core::{
        ledger::Ledger,
        resolv_conf::Wanted,
        servers::{Answer, Health, NameServer, complete},
    },
    ports::{Depth, Failure, error::DirectoryError},
};

/// The Region that tells of nobody where one does not.
pub(super) const OTHER_REGION: &str = "eu-west-1";

/// How a DNS server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Sound,
    /// It answers for the zone without being an authority.
    Cache,
    NoTcp,
    /// It answers, and not for the zone.
    Ignorant,
    Refuses,
    Fails,
    Babbles,
    Dead,
    /// It answers so many queries, and then none.
    Fades(u32),
    /// It leaves so many queries without an answer, and then answers.
    Wakes(u32),
    /// It answers every other query.
    Flickers(u32),
}

/// A DNS server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) mood: Mood,
    /// The serial that it has stayed at, if it has lost its primary.
    pub(super) stuck: Option<u32>,
    /// How long it takes to answer.
    wait: Duration,
}

/// What EC2 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Directory {
    Lists,
    /// Each server twice.
    ListsTwice,
    Empty,
    Throttled,
    Failing,
    /// The other Region does not tell.
    Partial,
    /// The other Region lists nobody.
    EmptyRegion,
    Forbidden,
}

/// What becomes of what the owner of resolv.conf is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Willing,
    /// The file cannot be read.
    Unreadable,
    /// The file cannot be written.
    Refuses,
    /// It says yes, and does nothing.
    Deaf,
    /// It does it, and complains.
    Complains,
}

/// What becomes of what is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disk {
    Fine,
    /// Full, or read-only.
    Unwritable,
    Unreadable,
}

/// Everything around one host.
#[derive(Debug)]
pub(super) struct World {
    pub(super) servers: BTreeMap<IpAddr, Server>,
    /// The zone's serial at its primary.
    pub(super) serial: u32,
    /// The instances that are tagged.
    pub(super) fleet: Vec<NameServer>,
    /// What EC2 knows of them so far.
    pub(super) listing: Vec<NameServer>,
    pub(super) directory: Directory,
    pub(super) file: Option<Vec<u8>>,
    pub(super) owner: Owner,
    /// What another program writes just before we do, and just after.
    pub(super) before_us: Option<Vec<u8>>,
    pub(super) after_us: Option<Vec<u8>>,
    /// What a pass said that it was about to set.
    pub(super) announced: Option<Wanted>,
    pub(super) ledger: Ledger,
    pub(super) disk: Disk,
    /// What the wall clock is ahead of the time since the history began.
    pub(super) epoch: u64,
    pub(super) pass: Pass,
}

/// What was seen of the pass under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Pass {
    /// Whether each step takes its time, so that it can end between any two.
    pub(super) is_slow: bool,
    /// What was read first of resolv.conf.
    pub(super) read: Option<Vec<u8>>,
    /// What stood there when it was replaced, and what it was replaced by.
    pub(super) replaced: Option<(Vec<u8>, Vec<u8>)>,
    /// What servers answered, in order.
    pub(super) answers: BTreeMap<IpAddr, Vec<Health>>,
    /// Which time was told last.
    pub(super) told: u64,
}

pub(super) const VPC: &str = "169.254.169.253";
/// The address of the VPC's resolver that DHCP hands out.
pub(super) const DHCP: &str = "10.0.0.2";
/// A resolver that nobody tagged.
pub(super) const STRANGER: &str = "10.7.7.7";
/// Where nobody ever was.
pub(super) const NOBODY: &str = "10.9.9.9";

pub(super) fn at(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl World {
    pub(super) fn new(serial: u32) -> Self {
        let servers = [VPC, DHCP, STRANGER]
            .map(|address| (at(address), Server::new(Mood::Ignorant, Duration::from_millis(1))));
        Self {
            servers: servers.into(),
            serial,
            fleet: Vec::new(),
            listing: Vec::new(),
            directory: Directory::Lists,
            file: None,
            owner: Owner::Willing,
            before_us: None,
            after_us: None,
            announced: None,
            ledger: Ledger::default(),
            disk: Disk::Fine,
            epoch: 1_700_000_000,
            pass: Pass::default(),
        }
    }

    /// A new instance in a zone, at an address that none had before; IPv6 now and then.
    pub(super) fn launch(&mut self, zone: Option<&str>, mood: Mood) -> IpAddr {
        let number = u16::try_from(self.servers.len()).unwrap();
        let third = zone.map_or(9, |zone| zone.as_bytes()[zone.len() - 1] - b'a');
        let address: IpAddr = if number % 5 == 4 {
            [0xfd00, 0xec2, 0, 0, 0, 0, u16::from(third), number].into()
        } else {
            [10, 1, third, u8::try_from(number).unwrap()].into()
        };
        let wait = Duration::from_millis(if number.is_multiple_of(2) { 1 } else { 9 });
        self.servers.insert(address, Server::new(mood, wait));
        self.fleet.push(NameServer {
            instance_id: Some(format!("i-{number:017x}")),
            availability_zone: zone.map(str::to_owned),
            ..NameServer::at(SocketAddr::new(address, 53))
        });
        address
    }

    pub(super) fn mood(&self, address: &IpAddr) -> Mood {
        self.servers.get(address).map_or(Mood::Dead, |server| server.mood)
    }

    pub(super) fn set_mood(&mut self, address: &IpAddr, mood: Mood) {
        self.servers.get_mut(address).unwrap().mood = mood;
    }

    /// What EC2 answers now, completed by what it listed last, as `cli/wiring.rs` does it.
    pub(super) fn list(&self, last: &[NameServer]) -> Result<Vec<NameServer>, Failure> {
        let action = "ec2:DescribeInstances";
        let source = || "as the history has it".into();
        let error = match self.directory {
            Directory::Lists | Directory::ListsTwice => {
                let times = if self.directory == Directory::Lists { 1 } else { 2 };
                let mut listing = vec![self.listing.clone(); times].concat();
                listing.sort();
                return Ok(listing);
            }
            Directory::Partial | Directory::EmptyRegion => {
                let there = |server: &NameServer| server.is_in(OTHER_REGION);
                let here = self.listing.iter().filter(|server| !there(server)).cloned();
                let other = (self.directory == Directory::EmptyRegion).then(Vec::new);
                let regions = vec![
                    ("us-east-1".to_owned(), Some(here.collect())),
                    (OTHER_REGION.to_owned(), other),
                ];
                return Ok(complete(regions, last).0);
            }
            Directory::Empty => return Ok(Vec::new()),
            Directory::Throttled => DirectoryError::Throttled { action, source: source() },
            Directory::Failing => DirectoryError::Failed { action, source: source() },
            Directory::Forbidden => DirectoryError::NotAuthorized { action, source: source() },
        };
        Err(Failure::of(&error))
    }

    /// How long a server lets wait for its next answer, and what that is.
    pub(super) fn answer(&mut self, address: &IpAddr, depth: Depth) -> (Duration, Health) {
        let silent = (SILENCE, Health::Silent { queries: 2 });
        let serial = self.serial;
        let Some(server) = self.servers.get_mut(address) else { return silent };
        let (is_authoritative, has_tcp) = match &mut server.mood {
            Mood::Sound | Mood::Wakes(0) => (true, true),
            Mood::Cache => (false, true),
            Mood::NoTcp => (true, false),
            Mood::Ignorant => return (server.wait, Health::Ignorant(server.wait)),
            Mood::Refuses => return (server.wait, unwilling("REFUSED")),
            Mood::Fails => return (server.wait, unwilling("SERVFAIL")),
            Mood::Babbles => return (server.wait, unwilling("nonsense")),
            Mood::Dead | Mood::Fades(0) => return silent,
            Mood::Fades(left) => {
                *left -= 1;
                (true, true)
            }
            Mood::Wakes(left) => {
                *left -= 1;
                return silent;
            }
            Mood::Flickers(count) => {
                *count += 1;
                if *count % 2 == 0 {
                    return silent;
                }
                (true, true)
            }
        };
        let answer = Answer {
            time: server.wait,
            serial: server.stuck.unwrap_or(serial),
            is_authoritative,
            over_tcp: (depth == Depth::Thorough).then_some(has_tcp),
        };
        (server.wait, Health::Alive(answer))
    }

    /// The last fault is over: what comes and goes stays as it is, and everybody does what he is told.
    pub(super) fn calm(&mut self) {
        for server in self.servers.values_mut() {
            server.mood = match server.mood {
                Mood::Fades(_) => Mood::Dead,
                Mood::Wakes(_) | Mood::Flickers(_) => Mood::Sound,
                mood => mood,
            };
        }
        (self.owner, self.disk) = (Owner::Willing, Disk::Fine);
        (self.before_us, self.after_us) = (None, None);
        self.listing.clone_from(&self.fleet);
    }

    /// The addresses of the instances that are tagged.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let addresses = self.fleet.iter().map(|server| server.address.ip());
        addresses.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

impl Server {
    fn new(mood: Mood, wait: Duration) -> Self {
        Self { mood, stuck: None, wait }
    }
}

fn unwilling(rcode: &str) -> Health {
    Health::Unwilling { rcode: rcode.to_owned() }
}

/// What the real prober waits.
const SILENCE: Duration = Duration::from_millis(600);
