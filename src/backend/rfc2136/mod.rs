//! Publishing by dynamic update (RFC 2136) signed with TSIG (RFC 8945).
//!
//! One round of queries, side by side, tells the records and the zone of every name: a query for SOA below a zone's apex is
//! answered with the zone's SOA. A server that is not the zone's primary leads to it by the SOA's MNAME. Queries are signed
//! as updates are, so that both meet the same view, and a wrong key is found out before anything is sent; by Kerberos only
//! updates are.

mod copies;
mod dhcid;
mod index;
mod kerberos;
mod keys;
mod lower;
mod observe;
mod refusal;
mod transfer;
mod update;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Mutex,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::timeout;

pub use self::{
    copies::ZoneCopy,
    keys::Keys,
    observe::{Place, Standing},
};
use self::{dhcid::Marks, kerberos::Kerberos, observe::Seen};
use crate::{
    core::{
        name::Name,
        plan::{Guard, Observed, ZoneChange},
        refresh::Keeping,
        rrset::Records,
    },
    ports::{Backend, Failure, error::BackendError},
    sys::clock::now,
    wire::{
        exchange::{Peer, Timing},
        key::TsigKey,
        message::Soa,
    },
};

/// The backend: its servers in order of preference, and what was learnt about zones.
#[derive(Debug)]
pub struct Rfc2136 {
    name: String,
    servers: Vec<SocketAddr>,
    keys: Keys,
    /// What signs updates in their place.
    kerberos: Option<Kerberos>,
    /// Where names are marked by DHCID.
    marks: Option<Marks>,
    /// The lease that is asked for, and whether marked names are indexed.
    keeping: Keeping,
    zones: Mutex<BTreeMap<Name, Home>>,
    /// Zones whose update a server would not take, and the primary that it led to: only that one knows how they stand.
    primaries: Mutex<BTreeMap<Name, SocketAddr>>,
    /// Who has answered under which key.
    vouched: Mutex<BTreeSet<(SocketAddr, Name)>>,
    /// Names that an update found in use.
    in_use: Mutex<BTreeSet<Name>>,
}

/// Where a zone is at home.
#[derive(Clone, Debug)]
struct Home {
    server: SocketAddr,
    soa: Soa,
}

/// What the servers say about names together.
#[derive(Default)]
struct Told {
    /// What each said, where it knows the name's zone.
    seen: Vec<(SocketAddr, Seen)>,
    /// Names that nobody knew a zone for, and why somebody may yet.
    unanswered: BTreeMap<Name, String>,
}

impl Rfc2136 {
    /// The backend `name` with these servers.
    #[must_use]
    pub fn new(name: &str, servers: Vec<SocketAddr>, keys: Keys) -> Self {
        let name = name.to_owned();
        let (zones, primaries, vouched, in_use) = Default::default();
        Self {
            name,
            servers,
            keys,
            kerberos: None,
            marks: None,
            keeping: Keeping::default(),
            zones,
            primaries,
            vouched,
            in_use,
        }
    }

    /// The same, which keeps this about what it publishes.
    #[must_use]
    pub fn keeping(self, keeping: Keeping) -> Self {
        Self { keeping, ..self }
    }

    fn home(&self, zone: &Name) -> Option<Home> {
        self.zones.lock().ok()?.get(zone).cloned()
    }

    fn remember(&self, server: SocketAddr, soa: &Soa) {
        if let Ok(mut zones) = self.zones.lock() {
            zones.insert(soa.zone.clone(), Home { server, soa: soa.clone() });
        }
    }

    /// The primary that a secondary of the zone led to.
    fn led_to(&self, zone: &Name) -> Option<SocketAddr> {
        self.primaries.lock().ok()?.get(zone).copied()
    }

    /// Whether a primary that only a cache told of may be asked. What a cache says of a name that does not exist leads to
    /// whoever holds the domain above it: nothing unsigned goes to the rest of the world for that.
    fn may_follow(&self, primary: SocketAddr) -> bool {
        !self.keys.in_use().is_empty() || is_private(primary.ip())
    }

    fn has_vouched(&self, server: SocketAddr, key: &Name) -> bool {
        self.vouched.lock().is_ok_and(|vouched| vouched.contains(&(server, key.clone())))
    }

    fn is_in_use(&self, name: &Name) -> bool {
        self.in_use.lock().is_ok_and(|names| names.contains(name))
    }

    /// Remembers which names a lost race may have been about.
    fn note_in_use(&self, guards: &[Guard]) {
        let names = guards.iter().filter_map(|guard| match guard {
            Guard::NameNotInUse(name) => Some(name.clone()),
            Guard::Unchanged(..) | Guard::Absent(_) | Guard::Exists(_) => None,
        });
        if let Ok(mut in_use) = self.in_use.lock() {
            in_use.extend(names);
        }
    }

    /// Asks the servers, each a moment after the one before it, so that a silent one costs little. Of each name the first
    /// server that is an authority for it is believed, or else the first that knows one by hearsay. If none can tell
    /// anything, the worst that was said is reported.
    async fn observe_anywhere(&self, names: &[Name]) -> Result<Told, BackendError> {
        let mut told = Told::default();
        let mut open = names.to_vec();
        let mut hearsay = Vec::new();
        let (mut answers, mut failure) = (0, None);
        let mut others = self.servers.iter();
        let mut asked = FuturesUnordered::new();
        while !open.is_empty() {
            if let Some(server) = others.next() {
                let names = open.clone();
                asked.push(async move { (*server, self.observe_at(*server, &names).await) });
            }
            let (patience, is_last) = match (others.len(), answers) {
                (0, 0) => (Duration::MAX, true),
                (0, _) => (STRAGGLERS, true),
                (_, _) => (HEAD_START, false),
            };
            match timeout(patience, asked.next()).await {
                Ok(Some((server, Ok(seen)))) => {
                    answers += 1;
                    for one in seen.into_iter().filter(|one| one.soa.is_some()) {
                        match open.iter().position(|name| *name == one.name) {
                            Some(place) if one.authoritative => {
                                open.remove(place);
                                told.seen.push((server, one));
                            }
                            Some(_) => hearsay.push((server, one)),
                            None => {}
                        }
                    }
                }
                // Silence says less than any answer.
                Ok(Some((_, Err(error @ BackendError::NoAnswer { .. })))) => {
                    failure = failure.or(Some(error));
                }
                Ok(Some((_, Err(error)))) => failure = Some(error),
                Err(_) if is_last => {
                    failure = failure.or_else(|| Some(self.silence()));
                    break;
                }
                Err(_) => {}
                Ok(None) => break,
            }
        }
        for (server, one) in hearsay {
            if let Some(place) = open.iter().position(|name| *name == one.name) {
                open.remove(place);
                told.seen.push((server, one));
            }
        }
        match failure {
            _ if self.servers.is_empty() => {
                return Err(BackendError::NoServers { backend: self.name.clone() });
            }
            Some(failure) if answers == 0 => return Err(failure),
            Some(failure) => {
                let why = Failure::of(&failure).to_string();
                told.unanswered = open.into_iter().map(|name| (name, why.clone())).collect();
            }
            None => {}
        }
        Ok(told)
    }

    /// What a server is that has not answered when all others have.
    fn silence(&self) -> BackendError {
        let source = format!("nothing came within {} ms of the others", STRAGGLERS.as_millis());
        BackendError::NoAnswer { backend: self.name.clone(), source: source.into() }
    }
}

impl Rfc2136 {
    async fn try_to_observe(&self, names: &[Name]) -> Result<Observed, BackendError> {
        if names.is_empty() {
            return Ok(Observed::default());
        }
        let Told { seen, unanswered } = self.observe_anywhere(names).await?;
        let mut observed = Observed { unanswered, ..Observed::default() };
        let mut elsewhere: BTreeMap<SocketAddr, BTreeSet<Name>> = BTreeMap::new();
        for (server, one) in seen {
            match (one.soa, one.authoritative) {
                (Some(soa), true) => match self.led_to(&soa.zone).filter(|led| *led != server) {
                    // A secondary lags behind: after one lost race, what it says would only lose the next.
                    Some(primary) => {
                        elsewhere.entry(primary).or_default().insert(one.name);
                    }
                    None => {
                        self.remember(server, &soa);
                        observed.zones.insert(one.name, soa.zone);
                        observed.records.extend(one.records);
                    }
                },
                // A cache or a forwarder told: what counts is what the primary says.
                (Some(soa), false) => {
                    let primary = self.primary(server, &soa).await;
                    if let Some(primary) = primary.filter(|primary| self.may_follow(*primary)) {
                        elsewhere.entry(primary).or_default().insert(one.name);
                    }
                }
                (None, _) => {}
            }
        }
        for (primary, names) in elsewhere {
            let names: Vec<Name> = names.into_iter().collect();
            for one in self.observe_at(primary, &names).await? {
                if let (Some(soa), true) = (one.soa, one.authoritative) {
                    self.remember(primary, &soa);
                    observed.zones.insert(one.name, soa.zone);
                    observed.records.extend(one.records);
                }
            }
        }
        if let Some(marks) = &self.marks {
            marks.recognize(&mut observed.records);
        }
        Ok(observed)
    }
}

#[async_trait]
impl Backend for Rfc2136 {
    async fn observe(&self, names: &[Name]) -> Result<Observed, BackendError> {
        self.keys.try_each(|| self.try_to_observe(names)).await
    }

    async fn apply(&self, change: &ZoneChange) -> Result<Option<Duration>, BackendError> {
        self.keys.try_each(|| self.try_to_apply(change)).await
    }

    async fn read(&self, zone: &Name) -> Result<Records, BackendError> {
        self.keys.try_each(|| self.try_to_read(zone)).await
    }

    fn keeping(&self) -> Keeping {
        self.keeping
    }

    fn place(&self) -> String {
        let servers = self.servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let keys = self.keys.in_use().names();
        if let Some(Kerberos { keytab, .. }) = &self.kerberos {
            format!("{servers} (GSS-TSIG, keytab {})", keytab.path.display())
        } else if keys.is_empty() {
            format!("{servers} (unsigned)")
        } else {
            let names = keys.iter().filter_map(|key| key.split(' ').next()).collect::<Vec<_>>();
            format!("{servers} (TSIG {})", names.join(", "))
        }
    }
}

fn peer(server: SocketAddr, key: Option<&TsigKey>) -> Peer<'_> {
    Peer { server, key, clock: now, timing: TIMING }
}

/// Addresses that are not of the Internet (RFC 1918, RFC 4193, RFC 6598) or of this host alone.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ipv4) => {
            let [first, second, ..] = ipv4.octets();
            let is_shared = first == 100 && second & 0xc0 == 64;
            ipv4.is_private() || ipv4.is_loopback() || ipv4.is_link_local() || is_shared
        }
        IpAddr::V6(ipv6) => {
            ipv6.is_unique_local() || ipv6.is_loopback() || ipv6.is_unicast_link_local()
        }
    }
}

/// By when a living server on the same network has answered.
const HEAD_START: Duration = Duration::from_millis(300);

/// How much later than the others the last server may be.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// One server's share of a pass: it is on the same network, and there may be others to ask.
const TIMING: Timing =
    Timing { retransmit: Duration::from_millis(300), limit: Duration::from_millis(2500) };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_unsigned_follows_a_cache_into_the_internet() {
        let unsigned = Rfc2136::new("b", Vec::new(), Keys::none());
        let may =
            |address: &str| unsigned.may_follow(SocketAddr::new(address.parse().unwrap(), 53));
        for private in
            ["10.0.0.2", "172.16.0.2", "192.168.0.2", "100.64.0.2", "127.0.0.1", "fd00:ec2::53"]
        {
            assert!(may(private), "{private}");
        }
        for public in ["198.41.0.4", "100.128.0.1", "2001:503:ba3e::2:30"] {
            assert!(!may(public), "{public}");
        }
    }
}
