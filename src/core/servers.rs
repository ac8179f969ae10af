//! Which DNS servers to use, in which order, and why.
//!
//! Order: this Availability Zone before others; servers in use before new ones; then an order that differs from host to
//! host, so that a fleet does not put its whole load on one server. A server that is silent, or refuses, is left out: the
//! resolver would wait for the one and be turned away by the other.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::reason::Reason;

/// A DNS server that a tag names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// The EC2 instance; `None` for a server that is known by its address only.
    pub instance_id: Option<String>,
    /// Its Availability Zone.
    pub availability_zone: Option<String>,
}

impl NameServer {
    /// A server that is known by its address only.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self { address, instance_id: None, availability_zone: None }
    }
}

/// What probes of a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answered for the zone, after this time.
    Alive(Duration),
    /// It answered after this time, and does not know the zone: good for the rest of the world only.
    Ignorant(Duration),
    /// It answers, but refuses, fails, or does not know the zone.
    Unwilling {
        /// The response code's mnemonic.
        rcode: String,
    },
    /// It did not answer.
    Silent {
        /// How many queries were sent.
        queries: u32,
    },
}

impl Health {
    /// Whether a resolver that uses the server gets answers at all.
    #[must_use]
    pub fn answers(&self) -> bool {
        matches!(self, Self::Alive(_) | Self::Ignorant(_))
    }
}

/// Where a host stands, as far as the order of servers depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// The Availability Zone.
    pub availability_zone: String,
    /// What spreads hosts over equal servers: the instance id.
    pub spread: String,
}

/// A server and what decided its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// The server.
    pub server: NameServer,
    /// Why it stands where it stands.
    pub because: Vec<Reason>,
}

/// The servers to use, best first, and those that are not used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranking {
    /// In order of preference.
    pub usable: Vec<Ranked>,
    /// Silent and unwilling ones.
    pub left_out: Vec<Ranked>,
}

/// Orders the servers that were probed. `in_use` is what the resolver has now.
#[must_use]
pub fn rank(
    servers: &[NameServer],
    health: &BTreeMap<SocketAddr, Health>,
    here: &Here,
    in_use: &[IpAddr],
) -> Ranking {
    let mut ranking = Ranking::default();
    let mut keyed = Vec::new();
    let mut seen = Vec::new();
    for server in servers {
        if seen.contains(&server.address) {
            continue;
        }
        seen.push(server.address);
        let health = health.get(&server.address).cloned().unwrap_or(Health::Silent { queries: 0 });
        let mut because = vec![reason_of(&health)];
        because.extend(server.availability_zone.as_ref().map(|zone| {
            if *zone == here.availability_zone {
                Reason::SameZone(zone.clone())
            } else {
                Reason::OtherZone(zone.clone())
            }
        }));
        let place = in_use.iter().position(|address| *address == server.address.ip());
        because.extend(place.map(|_| Reason::InUse));
        let ranked = Ranked { server: server.clone(), because };
        if !matches!(health, Health::Alive(_)) {
            ranking.left_out.push(ranked);
            continue;
        }
        let key = (
            server.availability_zone.as_deref() != Some(&here.availability_zone),
            place.unwrap_or(usize::MAX),
            spread(&here.spread, server.address),
        );
        keyed.push((key, ranked));
    }
    keyed.sort_by_key(|(key, _)| *key);
    ranking.usable = keyed.into_iter().map(|(_, ranked)| ranked).collect();
    ranking
}

fn reason_of(health: &Health) -> Reason {
    match health {
        Health::Alive(time) => Reason::Alive(*time),
        Health::Ignorant(_) => Reason::Ignorant,
        Health::Unwilling { rcode } => Reason::Unwilling { rcode: rcode.clone() },
        Health::Silent { queries } => Reason::Silent { queries: *queries },
    }
}

/// FNV-1a over host and choice: the same on every run, another order on every host.
///
/// Choices may differ in their last octet only, which FNV leaves out of most bits; one step of a finalizer spreads it.
pub(super) fn spread(host: &str, choice: impl fmt::Display) -> u64 {
    let text = format!("{host} {choice}");
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(last: u8, zone: &str) -> NameServer {
        NameServer {
            address: SocketAddr::from(([10, 0, 0, last], 53)),
            instance_id: None,
            availability_zone: Some(zone.to_owned()),
        }
    }

    fn here(spread: &str) -> Here {
        Here { availability_zone: "a".to_owned(), spread: spread.to_owned() }
    }

    fn health(states: &[(u8, Health)]) -> BTreeMap<SocketAddr, Health> {
        states
            .iter()
            .map(|(last, health)| (SocketAddr::from(([10, 0, 0, *last], 53)), health.clone()))
            .collect()
    }

    fn order(ranking: &Ranking) -> Vec<String> {
        ranking.usable.iter().map(|ranked| ranked.server.address.ip().to_string()).collect()
    }

    const ALIVE: Health = Health::Alive(Duration::from_millis(1));

    #[test]
    fn living_servers_of_the_same_zone_come_first_and_silent_ones_not_at_all() {
        let servers = [server(1, "b"), server(2, "a"), server(3, "a")];
        let states = health(&[(1, ALIVE), (2, Health::Silent { queries: 2 }), (3, ALIVE)]);
        let ranking = rank(&servers, &states, &here("i-1"), &[]);
        assert_eq!(order(&ranking), ["10.0.0.3", "10.0.0.1"]);
        assert_eq!(ranking.usable[0].because[1].to_string(), "same zone a");
        assert_eq!(ranking.left_out[0].because[0].to_string(), "silent to 2 queries");
    }

    #[test]
    fn servers_in_use_keep_their_places() {
        let servers = [server(1, "a"), server(2, "a"), server(3, "a")];
        let states = health(&[(1, ALIVE), (2, ALIVE), (3, ALIVE)]);
        let in_use = ["10.0.0.3".parse().unwrap(), "10.0.0.1".parse().unwrap()];
        let ranking = rank(&servers, &states, &here("i-1"), &in_use);
        assert_eq!(order(&ranking), ["10.0.0.3", "10.0.0.1", "10.0.0.2"]);
    }

    #[test]
    fn hosts_spread_over_equal_servers() {
        let servers = [server(1, "a"), server(2, "a"), server(3, "a")];
        let states = health(&[(1, ALIVE), (2, ALIVE), (3, ALIVE)]);
        let mut first = BTreeMap::new();
        for host in 0..300 {
            let ranking = rank(&servers, &states, &here(&format!("i-{host}")), &[]);
            *first.entry(order(&ranking).remove(0)).or_insert(0) += 1;
        }
        assert!(first.len() == 3 && first.values().all(|count| *count > 60), "{first:?}");
    }

    #[test]
    fn a_server_that_refuses_is_not_used() {
        let refused = Health::Unwilling { rcode: "REFUSED".to_owned() };
        let servers = [server(1, "a"), server(2, "b")];
        let ranking = rank(&servers, &health(&[(1, refused), (2, ALIVE)]), &here("i-1"), &[]);
        assert_eq!(order(&ranking), ["10.0.0.2"]);
        assert_eq!(ranking.left_out[0].because[0].to_string(), "answered REFUSED");
    }

    #[test]
    fn a_server_that_does_not_know_the_zone_is_not_used() {
        let servers = [server(1, "a"), server(2, "b")];
        let states = health(&[(1, Health::Ignorant(Duration::ZERO)), (2, ALIVE)]);
        let ranking = rank(&servers, &states, &here("i-1"), &[]);
        assert_eq!(order(&ranking), ["10.0.0.2"]);
        assert_eq!(ranking.left_out[0].because[0].to_string(), "does not know the zone");
    }

    #[test]
    fn a_server_that_is_listed_twice_counts_once() {
        let servers = [server(1, "a"), server(1, "a")];
        assert_eq!(order(&rank(&servers, &health(&[(1, ALIVE)]), &here("i-1"), &[])).len(), 1);
    }
}
