//! What stands around the host: EC2 with its instances, their metadata, and DNS servers, each on an address of its own.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use sandbox::{
    black_hole::BlackHole,
    dns::{Key, Server, Zone, Zones},
    imds::Whom,
    instance::{Instance, InstanceState},
    running::{Listen, Running},
    world::World,
};

use crate::Outcome;

/// The stage; dropping it ends everything on it.
pub(crate) struct Stage {
    pub(crate) key: Key,
    world: World,
    services: Running,
    zones: Zones,
    port: u16,
    servers: BTreeMap<Ipv4Addr, Server>,
    holes: Vec<BlackHole>,
}

/// A DNS server: an instance of EC2 with an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DnsServer {
    pub(crate) name: &'static str,
    pub(crate) zone: &'static str,
    pub(crate) address: Ipv4Addr,
    instance: &'static str,
}

pub(crate) const DNS_1: DnsServer = DnsServer {
    name: "dns-1",
    zone: "us-east-1a",
    address: Ipv4Addr::new(127, 10, 0, 1),
    instance: "i-0d500000000000001",
};
pub(crate) const DNS_2: DnsServer = DnsServer {
    name: "dns-2",
    zone: "us-east-1b",
    address: Ipv4Addr::new(127, 10, 0, 2),
    instance: "i-0d500000000000002",
};
pub(crate) const DNS_3: DnsServer = DnsServer {
    name: "dns-3",
    zone: "us-east-1a",
    address: Ipv4Addr::new(127, 10, 0, 3),
    instance: "i-0d500000000000003",
};

/// The host that the agent runs on.
pub(crate) const HOST: &str = "i-0a500000000000001";
/// Its first address. Nothing is ever sent there: it only stands in metadata and DNS.
pub(crate) const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 17);

impl Stage {
    /// Two DNS servers, and a host that is about to boot.
    pub(crate) fn set() -> Outcome<Self> {
        let world = World::new();
        let host = Instance::new(HOST, "us-east-1a", FIRST_ADDRESS).tag("Name", "web-1");
        world.put_instance(host.metadata_tags().role("web"));
        let services = Running::start(
            world.clone(),
            Listen {
                imds: vec![((METADATA, 0).into(), Whom::Instance(HOST.to_owned()))],
                aws: Some((AWS, 0).into()),
                control: None,
            },
        )?;
        // one set of zones behind all servers: each of them takes updates, and all of them show them
        let zones = Zones::new(vec![
            Zone::new("corp.internal.").record("puppet 60 A 10.0.1.5"),
            Zone::new("10.in-addr.arpa."),
        ])?;
        let key = Key::generate("agents.corp.internal.");
        let mut stage =
            Self { key, world, services, zones, port: 0, servers: BTreeMap::new(), holes: vec![] };
        stage.start(DNS_1)?;
        stage.start(DNS_2)?;
        Ok(stage)
    }

    pub(crate) fn metadata(&self) -> Outcome<SocketAddr> {
        self.services.imds().first().copied().ok_or_else(|| "no metadata service".into())
    }

    pub(crate) fn aws(&self) -> Outcome<SocketAddr> {
        self.services.aws().ok_or_else(|| "no EC2".into())
    }

    /// The port of all DNS servers: not 53, which is root's.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where a DNS server answers.
    pub(crate) fn socket(&self, server: DnsServer) -> SocketAddr {
        (server.address, self.port).into()
    }

    /// Starts a DNS server, and an instance for it, with the tag.
    pub(crate) fn start(&mut self, server: DnsServer) -> Outcome<()> {
        // the first takes any free port, the others the same one
        let running = Server::primary(self.socket(server), &self.zones, vec![self.key.clone()])?;
        self.port = running.addr().port();
        self.servers.insert(server.address, running);
        self.world.put_instance(
            Instance::new(server.instance, server.zone, server.address)
                .tag("Name", server.name)
                .tag("tagalong:dns-server", "corp.internal"),
        );
        Ok(())
    }

    /// Has EC2 end a DNS server: from now on it is no running instance, and soon it will not answer.
    pub(crate) fn terminate(&self, server: DnsServer) {
        self.world.update_instance(server.instance, |instance| {
            instance.state = InstanceState::ShuttingDown;
        });
    }

    /// Puts a black hole where a DNS server was: packets go in, nothing comes out, not even "port unreachable".
    pub(crate) fn silence(&mut self, server: DnsServer) -> Outcome<()> {
        drop(self.servers.remove(&server.address));
        self.holes.push(BlackHole::start(self.socket(server))?);
        Ok(())
    }

    /// Gives the host another address, as a move to another subnet does.
    pub(crate) fn move_host(&self, address: Ipv4Addr) {
        self.world.update_instance(HOST, |instance| instance.move_to(address));
    }
}

const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 10, 0, 254));
const AWS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 10, 0, 200));
