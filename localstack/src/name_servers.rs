//! The DNS servers and black holes of a fleet, by address: they come, misbehave and go while everything else runs.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    black_hole::BlackHole,
    dns::{Key, Role, Server, Settings, Zones},
    fault::Faults,
};

/// A handle on all of them; they end with the last.
#[derive(Clone, Debug, Default)]
pub struct NameServers {
    zones: Zones,
    keys: Vec<Key>,
    faults: Faults,
    stations: Arc<Mutex<BTreeMap<SocketAddr, Station>>>,
}

/// What is at an address.
#[derive(Debug)]
pub enum Station {
    /// A DNS server.
    Server(Server),
    /// What takes everything and answers nothing.
    BlackHole(BlackHole),
}

impl NameServers {
    /// None yet. All of them will serve `zones` to `keys`, and obey the account's `faults`.
    #[must_use]
    pub fn new(zones: Zones, keys: Vec<Key>, faults: Faults) -> Self {
        Self { zones, keys, faults, stations: Arc::default() }
    }

    /// Starts a DNS server, in place of what is at the address; port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be bound. What was there is gone all the same.
    pub fn start(&self, addr: SocketAddr, role: Role) -> io::Result<SocketAddr> {
        let mut stations = self.stations();
        stations.remove(&addr);
        let server = Server::with(Settings {
            addr,
            zones: self.zones.clone(),
            keys: self.keys.clone(),
            role,
            faults: Some(self.faults.clone()),
        })?;
        let addr = server.addr();
        stations.insert(addr, Station::Server(server));
        Ok(addr)
    }

    /// Starts a black hole, in place of what is at the address: a DNS server that dies without a word.
    ///
    /// # Errors
    /// The address cannot be bound. What was there is gone all the same.
    pub fn start_black_hole(&self, addr: SocketAddr) -> io::Result<SocketAddr> {
        let mut stations = self.stations();
        stations.remove(&addr);
        let hole = BlackHole::start(addr)?;
        let addr = hole.addr();
        stations.insert(addr, Station::BlackHole(hole));
        Ok(addr)
    }

    /// Ends what is at the address, where later packets meet "port unreachable"; false when nothing was there.
    #[allow(clippy::must_use_candidate, reason = "ending it is what most callers want")]
    pub fn stop(&self, addr: SocketAddr) -> bool {
        self.stations().remove(&addr).is_some()
    }

    /// The zones that all of them serve.
    #[must_use]
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// What `look` makes of the DNS server at the address; `None` when there is none.
    pub fn at<T>(&self, addr: SocketAddr, look: impl FnOnce(&Server) -> T) -> Option<T> {
        match self.stations().get(&addr)? {
            Station::Server(server) => Some(look(server)),
            Station::BlackHole(_) => None,
        }
    }

    /// What `look` makes of each, in the order of their addresses.
    pub fn each<T>(&self, look: impl FnMut(&Station) -> T) -> Vec<T> {
        self.stations().values().map(look).collect()
    }

    fn stations(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Station>> {
        self.stations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
