//! A DNS server's life: started on an address, told to misbehave, asked what it saw, stopped.

use std::{
    collections::VecDeque,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    answer::{Desk, Received},
    key::Key,
    sockets::{Running, serve},
    switches::Switches,
    zone::{Zone, Zones},
};
use crate::fault::{Fault, Faults};

/// Whether a server takes updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes them.
    #[default]
    Primary,
    /// Answers them with NOTAUTH.
    Replica,
}

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens, UDP and TCP; port 0 takes one that is free on both.
    pub addr: SocketAddr,
    /// What it serves.
    pub zones: Zones,
    /// Who may update, and transfer, the zones.
    pub keys: Vec<Key>,
    /// Whether it takes updates.
    pub role: Role,
    /// The account's switches, that it obeys besides its own.
    pub faults: Option<Faults>,
}

/// A running server; dropping it ends it and closes its port.
pub struct Server {
    running: Running,
    desk: Arc<Desk>,
}

impl Server {
    /// Starts a server with zones of its own, that `keys` may update.
    ///
    /// # Errors
    /// The address cannot be bound, or (`InvalidInput`) a zone cannot be read.
    pub fn start(addr: SocketAddr, zones: Vec<Zone>, keys: Vec<Key>) -> io::Result<Self> {
        let zones = Zones::new(zones)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Self::primary(addr, &zones, keys)
    }

    /// Starts a server with zones that others serve too; it takes updates.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn primary(addr: SocketAddr, zones: &Zones, keys: Vec<Key>) -> io::Result<Self> {
        Self::with(Settings { addr, zones: zones.clone(), keys, role: Role::Primary, faults: None })
    }

    /// Starts a server with zones that others serve too; it takes no updates.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn replica(addr: SocketAddr, zones: &Zones, keys: Vec<Key>) -> io::Result<Self> {
        Self::with(Settings { addr, zones: zones.clone(), keys, role: Role::Replica, faults: None })
    }

    /// Starts a server as `settings` say.
    ///
    /// # Errors
    /// The address cannot be bound, or (`InvalidInput`) a key's name is no domain name.
    pub fn with(settings: Settings) -> io::Result<Self> {
        let Settings { addr, zones, keys, role, faults } = settings;
        if let Some(key) = keys.iter().find(|key| key.domain_name().is_none()) {
            let why = format!("key name `{}` is not a domain name", key.name);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let switches = Switches::new(faults);
        let (received, leases) = Default::default();
        let desk = Arc::new(Desk { zones, keys, role, switches, leases, received });
        let answering = Arc::clone(&desk);
        Ok(Self { running: Running::start(addr, move |sockets| serve(sockets, answering))?, desk })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.running.addr
    }

    /// What it serves: to look at, to change behind tagalong's back, and to start another server with.
    #[must_use]
    pub fn zones(&self) -> &Zones {
        &self.desk.zones
    }

    /// What stands at `name`: type, TTL and data, as `dig` shows them, sorted.
    #[must_use]
    pub fn records(&self, name: &str) -> Vec<(String, u32, String)> {
        self.desk.leases.collect(&self.desk.zones);
        self.desk.zones.records(name)
    }

    /// The serial number of a zone.
    #[must_use]
    pub fn serial(&self, zone: &str) -> Option<u32> {
        self.desk.zones.serial(zone)
    }

    /// Every request since the start (the last 100 000), also those that a fault swallowed.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.log().iter().cloned().collect()
    }

    /// Forgets what it has received.
    pub fn forget_received(&self) {
        self.log().clear();
    }

    /// Whether it takes updates.
    #[must_use]
    pub fn role(&self) -> Role {
        self.desk.role
    }

    /// How many of `received` were not updates.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.log().iter().filter(|received| !received.is_update).count()
    }

    /// How many of `received` were updates.
    #[must_use]
    pub fn updates(&self) -> usize {
        self.log().iter().filter(|received| received.is_update).count()
    }

    /// Misbehaves as `fault` says from the next request on: `delay_ms` delays the answer and not the work; `drop`, `fail`
    /// (SERVFAIL), `throttle` (REFUSED) and `malformed` (the right id, then no message) do no work.
    pub fn fault(&self, fault: Fault) {
        self.desk.switches.set_fault(fault);
    }

    /// Sends two forged answers before the real one to each of the next `requests` over UDP: right id and question,
    /// REFUSED, one without a signature and (when the request had one) one with a wrong signature.
    pub fn forge_next(&self, requests: u32) {
        self.desk.switches.forge_next(requests);
    }

    /// As `forge_next`, and passes over what is not an update.
    pub fn forge_next_updates(&self, updates: u32) {
        self.desk.switches.forge_next_updates(updates);
    }

    /// Does what the next `requests` ask for, and loses the answers.
    pub fn lose_next(&self, requests: u32) {
        self.desk.switches.lose_next(requests);
    }

    /// As `lose_next`, and passes over what is not an update.
    pub fn lose_next_updates(&self, updates: u32) {
        self.desk.switches.lose_next_updates(updates);
    }

    /// Answers every datagram with TC and nothing else; what it asks for is done when it comes again over TCP.
    pub fn truncate_udp(&self, truncate: bool) {
        self.desk.switches.set_truncate_udp(truncate);
    }

    /// Sets the server's clock ahead, or back: beyond 300 s signatures meet BADTIME.
    pub fn clock_skew(&self, seconds: i64) {
        self.desk.switches.set_clock_skew(seconds);
    }

    /// Grants `lease` to what updates add that ask for one (RFC 9664: the server decides), from the next one on; with `None`,
    /// none any more.
    pub fn grant_leases(&self, lease: Option<Duration>) {
        self.desk.leases.grant(lease);
    }

    /// Behaves again, as far as its own switches go.
    pub fn behave(&self) {
        self.desk.switches.clear();
    }

    /// Ends it; datagrams that come later meet "port unreachable", and the address can be used at once.
    pub fn stop(self) {
        drop(self);
    }

    fn log(&self) -> MutexGuard<'_, VecDeque<Received>> {
        self.desk.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addr", &self.addr())
            .field("role", &self.desk.role)
            .finish_non_exhaustive()
    }
}
