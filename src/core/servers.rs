//! Which DNS servers to use, in which order, and why.
//!
//! Order: sound servers before impaired ones, and those that are about to be shut down last; this Availability Zone before
//! others; then an order that differs from host to host and never depends on what happened before, so that a fleet does not
//! put its whole load on one server, also after each of them has been away in turn. A server that is silent, refuses or does not know the zone is left out: the resolver would wait
//! for the first, and be turned away or misled by the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{reason::Reason, resolv_conf::MAXNS};

/// A DNS server that a tag names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// The EC2 instance; `None` for a server that is known by its address only.
    pub instance_id: Option<String>,
    /// Its Availability Zone.
    pub availability_zone: Option<String>,
    /// Whether it is about to be shut down, and is to be used last.
    pub is_draining: bool,
}

impl NameServer {
    /// A server that is known by its address only.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self { address, instance_id: None, availability_zone: None, is_draining: false }
    }

    /// Whether it is in a Region, of which a zone's name is made: a letter for an Availability Zone (`us-west-2a`), a place
    /// for a Local or Wavelength Zone (`us-west-2-lax-1a`).
    #[must_use]
    pub fn is_in(&self, region: &str) -> bool {
        let zone = self.availability_zone.as_deref().unwrap_or_default();
        zone.strip_prefix(region)
            .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(|c: char| c.is_ascii_digit()))
    }
}

/// The servers of all Regions: what each lists, and of one that does not tell, or lists nobody while others tell or list
/// otherwise, what it listed last, and how many those are.
///
/// Where all tell and none lists anybody, the list is empty, and what becomes of that is not decided here.
#[must_use]
pub fn complete(
    regions: Vec<(String, Option<Vec<NameServer>>)>,
    last: &[NameServer],
) -> (Vec<NameServer>, Vec<(String, usize)>) {
    let is_empty = |list: &Option<Vec<NameServer>>| list.as_ref().is_some_and(Vec::is_empty);
    if regions.iter().all(|(_, list)| is_empty(list)) {
        return (Vec::new(), Vec::new());
    }
    let (mut servers, mut kept) = (Vec::new(), Vec::new());
    for (region, list) in regions {
        let is_told = list.is_some();
        if let Some(list) = list.filter(|list| !list.is_empty()) {
            servers.extend(list);
            continue;
        }
        let before = servers.len();
        servers.extend(last.iter().filter(|server| server.is_in(&region)).cloned());
        let count = servers.len() - before;
        // A Region that never had any is no news.
        if !is_told || count > 0 {
            kept.push((region, count));
        }
    }
    servers.sort();
    (servers, kept)
}

/// What probes of a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It answered for the zone.
    Alive(Answer),
    /// It answered after this time, and does not know the zone: good for the rest of the world only.
    Ignorant(Duration),
    /// It answers, but refuses, fails, or talks nonsense.
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

/// A server's answer to the question for the zone's SOA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How long it took.
    pub time: Duration,
    /// The zone's serial there.
    pub serial: u32,
    /// Whether the server is an authority of the zone (the AA bit).
    pub is_authoritative: bool,
    /// Whether it answers over TCP too; `None` when it was not asked that.
    pub over_tcp: Option<bool>,
}

impl Health {
    /// Whether a resolver that uses the server gets answers at all.
    #[must_use]
    pub fn answers(&self) -> bool {
        matches!(self, Self::Alive(_) | Self::Ignorant(_))
    }
}

/// Since when servers have been behind the newest serial of the zone, by address; the older of two serials is that of
/// RFC 1982 section 3.2. What is not behind now, or did not answer as an authority, is forgotten.
#[must_use]
pub fn behind(
    health: &BTreeMap<SocketAddr, Health>,
    before: &BTreeMap<SocketAddr, u64>,
    now: u64,
) -> BTreeMap<SocketAddr, u64> {
    let serials = health.iter().filter_map(|(address, health)| match health {
        Health::Alive(answer) if answer.is_authoritative => Some((*address, answer.serial)),
        _ => None,
    });
    let serials = serials.collect::<Vec<_>>();
    let is_behind = |serial: u32| serials.iter().any(|(_, other)| is_older(serial, *other));
    let behind = serials.iter().filter(|(_, serial)| is_behind(*serial));
    // A time to come is that of a clock which has been set back since.
    let since = |address| before.get(address).map_or(now, |since| now.min(*since));
    behind.map(|(address, _)| (*address, since(address))).collect()
}

fn is_older(serial: u32, other: u32) -> bool {
    serial != other && other.wrapping_sub(serial) < 1 << 31
}

/// Where a host stands, as far as the order of servers depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// The Availability Zone.
    pub availability_zone: String,
    /// What spreads hosts over equal servers: the instance id.
    pub spread: String,
    /// What the resolver has now.
    pub in_use: Vec<IpAddr>,
}

/// What is known of the servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What probes said.
    pub health: BTreeMap<SocketAddr, Health>,
    /// Which have been behind the newest serial for too long, and for how long.
    pub stale: BTreeMap<SocketAddr, Duration>,
}

/// What speaks against a server that serves; the worst last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Burden {
    /// Nothing.
    #[default]
    None,
    /// Its answers may be old, or are not its own, or it does not answer over TCP.
    Impaired,
    /// It is about to be shut down.
    Draining,
}

/// A server and what decided its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// The server.
    pub server: NameServer,
    /// What speaks against it.
    pub burden: Burden,
    /// Why it stands where it stands.
    pub because: Vec<Reason>,
}

/// The servers to use, best first, and those that are not used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranking {
    /// In order of preference.
    pub usable: Vec<Ranked>,
    /// Those that answer without serving the zone, then silent ones.
    pub left_out: Vec<Ranked>,
    /// How many of those left out answer at all, though they refuse or fail: better than nobody.
    pub unwilling: usize,
}

impl Ranking {
    /// Whether `in_use` has the same servers as would be set, and none before a sounder one: nothing is gained by another
    /// order but preference. Where nobody serves there is no order.
    #[must_use]
    pub fn is_mere_reordering_of(&self, in_use: &[IpAddr]) -> bool {
        let set = self.usable.iter().map(|ranked| ranked.server.address.ip()).take(MAXNS);
        let burden = |address: &IpAddr| {
            let ranked = self.usable.iter().find(|ranked| ranked.server.address.ip() == *address);
            ranked.map(|ranked| ranked.burden)
        };
        !self.usable.is_empty()
            && set.collect::<BTreeSet<_>>() == in_use.iter().copied().collect()
            && in_use.iter().map(burden).is_sorted()
    }
}

/// Orders the servers that were probed.
#[must_use]
pub fn rank(servers: &[NameServer], findings: &Findings, here: &Here) -> Ranking {
    let mut ranking = Ranking::default();
    let (mut usable, mut left_out) = (Vec::new(), Vec::new());
    let mut seen = Vec::new();
    for server in servers {
        if seen.contains(&server.address) {
            continue;
        }
        seen.push(server.address);
        let silent = Health::Silent { queries: 0 };
        let health = findings.health.get(&server.address).unwrap_or(&silent);
        let stale = findings.stale.get(&server.address).copied();
        let mut because = vec![reason_of(health)];
        let troubles = troubles(health, stale);
        let is_impaired = !troubles.is_empty();
        because.extend(troubles);
        because.extend(server.is_draining.then_some(Reason::Draining));
        because.extend(server.availability_zone.as_ref().map(|zone| {
            if *zone == here.availability_zone {
                Reason::SameZone(zone.clone())
            } else {
                Reason::OtherZone(zone.clone())
            }
        }));
        because.extend(here.in_use.contains(&server.address.ip()).then_some(Reason::InUse));
        let burden = match (server.is_draining, is_impaired) {
            (true, _) => Burden::Draining,
            (false, true) => Burden::Impaired,
            (false, false) => Burden::None,
        };
        let ranked = Ranked { server: server.clone(), burden, because };
        if !matches!(health, Health::Alive(_)) {
            left_out.push((reluctance(health), ranked));
            continue;
        }
        let key = (
            burden,
            server.availability_zone.as_deref() != Some(&here.availability_zone),
            spread(&here.spread, server.address),
        );
        usable.push((key, ranked));
    }
    usable.sort_by_key(|(key, _)| *key);
    left_out.sort_by_key(|(key, _)| *key);
    ranking.unwilling = left_out.iter().filter(|(key, _)| *key == UNWILLING).count();
    ranking.usable = usable.into_iter().map(|(_, ranked)| ranked).collect();
    ranking.left_out = left_out.into_iter().map(|(_, ranked)| ranked).collect();
    for ranked in ranking.usable.iter_mut().skip(MAXNS) {
        ranked.because.push(Reason::NoRoom);
    }
    ranking
}

fn reason_of(health: &Health) -> Reason {
    match health {
        Health::Alive(answer) => Reason::Alive(answer.time),
        Health::Ignorant(_) => Reason::Ignorant,
        Health::Unwilling { rcode } => Reason::Unwilling { rcode: rcode.clone() },
        Health::Silent { queries } => Reason::Silent { queries: *queries },
    }
}

/// What makes a server that serves worse than others.
fn troubles(health: &Health, stale: Option<Duration>) -> Vec<Reason> {
    let Health::Alive(answer) = health else { return Vec::new() };
    let mut troubles = Vec::new();
    troubles.extend((!answer.is_authoritative).then_some(Reason::NotAuthoritative));
    troubles.extend(stale.map(|since| Reason::Stale { serial: answer.serial, since }));
    troubles.extend((answer.over_tcp == Some(false)).then_some(Reason::NoTcp));
    troubles
}

/// The order of those that are left out.
fn reluctance(health: &Health) -> u8 {
    match health {
        Health::Unwilling { .. } => UNWILLING,
        Health::Alive(_) | Health::Ignorant(_) => 1,
        Health::Silent { .. } => 2,
    }
}

const UNWILLING: u8 = 0;

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
        NameServer { availability_zone: Some(zone.to_owned()), ..NameServer::at(at(last)) }
    }

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 53))
    }

    fn here(spread: &str, in_use: &[&str]) -> Here {
        Here {
            availability_zone: "a".to_owned(),
            spread: spread.to_owned(),
            in_use: in_use.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    fn found(states: &[(u8, Health)]) -> Findings {
        let health = states.iter().map(|(last, health)| (at(*last), health.clone())).collect();
        Findings { health, ..Findings::default() }
    }

    fn order(ranking: &Ranking) -> Vec<String> {
        ranking.usable.iter().map(|ranked| ranked.server.address.ip().to_string()).collect()
    }

    #[test]
    fn a_server_is_in_the_region_of_its_zone() {
        let is_in = |zone, region| server(1, zone).is_in(region);
        assert!(is_in("us-west-2a", "us-west-2") && is_in("us-west-2-lax-1a", "us-west-2"));
        assert!(!is_in("us-west-2a", "us-west-1") && !is_in("us-west-11a", "us-west-1"));
        assert!(!NameServer::at(at(1)).is_in("us-west-2"));
    }

    #[test]
    fn a_region_that_does_not_tell_or_lists_nobody_keeps_its_part_of_the_last_list() {
        let last = [server(1, "us-east-1a"), server(2, "eu-west-1a"), server(3, "eu-west-1b")];
        let check =
            |us: Option<&[u8]>, eu: Option<&[u8]>, expect: &[u8], kept: &[(&str, usize)]| {
                let told = |some: Option<&[u8]>, zone: &str| {
                    some.map(|some| some.iter().map(|one| server(*one, zone)).collect())
                };
                let regions = vec![
                    ("us-east-1".to_owned(), told(us, "us-east-1a")),
                    ("eu-west-1".to_owned(), told(eu, "eu-west-1a")),
                ];
                let (servers, noted) = complete(regions, &last);
                let addresses = servers.iter().map(|it| it.address).collect::<Vec<_>>();
                assert_eq!(addresses, expect.iter().map(|one| at(*one)).collect::<Vec<_>>());
                let kept = kept.iter().map(|(region, count)| ((*region).to_owned(), *count));
                assert_eq!(noted, kept.collect::<Vec<_>>());
            };
        check(Some(&[4]), Some(&[5]), &[4, 5], &[]);
        check(Some(&[4]), None, &[2, 3, 4], &[("eu-west-1", 2)]);
        check(Some(&[4]), Some(&[]), &[2, 3, 4], &[("eu-west-1", 2)]);
        check(None, Some(&[]), &[1, 2, 3], &[("us-east-1", 1), ("eu-west-1", 2)]);
        check(Some(&[]), Some(&[]), &[], &[]);
        let regions = vec![
            ("us-east-1".to_owned(), Some(vec![server(4, "us-east-1a")])),
            ("ap-east-1".to_owned(), Some(Vec::new())),
        ];
        assert_eq!(complete(regions, &last).1, []);
    }

    const ANSWER: Answer = Answer {
        time: Duration::from_millis(1),
        serial: 7,
        is_authoritative: true,
        over_tcp: Some(true),
    };
    const ALIVE: Health = Health::Alive(ANSWER);
    const SILENT: Health = Health::Silent { queries: 2 };

    fn refuses() -> Health {
        Health::Unwilling { rcode: "REFUSED".to_owned() }
    }

    #[test]
    fn living_servers_of_the_same_zone_come_first_and_silent_ones_not_at_all() {
        let servers = [server(1, "b"), server(2, "a"), server(3, "a")];
        let ranking =
            rank(&servers, &found(&[(1, ALIVE), (2, SILENT), (3, ALIVE)]), &here("i-1", &[]));
        assert_eq!(order(&ranking), ["10.0.0.3", "10.0.0.1"]);
        assert_eq!(ranking.usable[0].because[1].to_string(), "same zone a");
        assert_eq!(ranking.left_out[0].because[0].to_string(), "silent to 2 queries");
    }

    /// How many of 300 hosts come to have each server first, when they live through these lists one after the other.
    fn firsts(lists: &[Vec<NameServer>]) -> BTreeMap<String, u32> {
        let states = found(&[1, 2, 3, 4, 5, 6].map(|last| (last, ALIVE)));
        let mut first = BTreeMap::new();
        for host in 0..300 {
            let mut here = here(&format!("i-{host}"), &[]);
            for servers in lists {
                let ranking = rank(servers, &states, &here);
                here.in_use = ranking.usable.iter().map(|it| it.server.address.ip()).collect();
            }
            *first.entry(here.in_use[0].to_string()).or_insert(0) += 1;
        }
        first
    }

    #[test]
    fn hosts_spread_over_equal_servers_also_after_each_was_away_in_turn() {
        let list = |numbers: [u8; 3]| numbers.map(|last| server(last, "a")).to_vec();
        let without = |away: usize| {
            let mut servers = list([1, 2, 3]);
            servers.remove(away);
            servers
        };
        let drained = |number: usize| {
            let mut servers = list([1, 2, 3]);
            servers[number].is_draining = true;
            servers
        };
        let all = list([1, 2, 3]);
        let lives = [
            vec![all.clone()],
            vec![drained(0), all.clone(), drained(1), all.clone(), drained(2), all.clone()],
            vec![without(0), all.clone(), without(1), all.clone(), without(2), all],
            vec![list([1, 2, 3]), list([4, 2, 3]), list([4, 5, 3]), list([4, 5, 6])],
        ];
        for lists in lives {
            let first = firsts(&lists);
            assert!(first.len() == 3 && first.values().all(|count| *count > 80), "{first:?}");
        }
    }

    #[test]
    fn a_server_that_refuses_is_not_used_and_stands_before_a_silent_one() {
        let servers = [server(3, "a"), server(1, "a"), server(2, "b")];
        let states = found(&[(1, refuses()), (2, ALIVE), (3, SILENT)]);
        let ranking = rank(&servers, &states, &here("i-1", &[]));
        assert_eq!(order(&ranking), ["10.0.0.2"]);
        assert_eq!(ranking.left_out[0].because[0].to_string(), "answered REFUSED");
        assert_eq!(ranking.unwilling, 1);
    }

    #[test]
    fn a_server_that_does_not_know_the_zone_is_not_used() {
        let servers = [server(1, "a"), server(2, "b")];
        let states = found(&[(1, Health::Ignorant(Duration::ZERO)), (2, ALIVE)]);
        let ranking = rank(&servers, &states, &here("i-1", &[]));
        assert_eq!(order(&ranking), ["10.0.0.2"]);
        assert_eq!(ranking.left_out[0].because[0].to_string(), "does not know the zone");
        assert_eq!(ranking.unwilling, 0, "it would deny what it does not know");
    }

    #[test]
    fn a_server_that_is_listed_twice_counts_once() {
        let servers = [server(1, "a"), server(1, "a")];
        let ranking = rank(&servers, &found(&[(1, ALIVE)]), &here("i-1", &[]));
        assert_eq!(order(&ranking).len(), 1);
    }

    #[test]
    fn impaired_servers_come_after_sound_ones_whatever_their_zone_and_it_is_said_why() {
        let impaired = [
            (Answer { is_authoritative: false, ..ANSWER }, "is no authority of the zone"),
            (Answer { over_tcp: Some(false), ..ANSWER }, "does not answer over TCP"),
        ];
        let servers = [server(1, "a"), server(2, "b")];
        for (answer, why) in impaired {
            let states = found(&[(1, Health::Alive(answer)), (2, ALIVE)]);
            let ranking = rank(&servers, &states, &here("i-1", &["10.0.0.1"]));
            assert_eq!(order(&ranking), ["10.0.0.2", "10.0.0.1"]);
            assert_eq!(ranking.usable[1].because[1].to_string(), why);
        }
        let mut states = found(&[(1, ALIVE), (2, ALIVE)]);
        states.stale.insert(at(1), Duration::from_secs(700));
        let ranking = rank(&servers, &states, &here("i-1", &[]));
        assert_eq!(order(&ranking), ["10.0.0.2", "10.0.0.1"]);
        assert_eq!(
            ranking.usable[1].because[1].to_string(),
            "behind its peers for 700 s, at serial 7"
        );
    }

    #[test]
    fn a_server_that_drains_is_used_last() {
        let draining = NameServer { is_draining: true, ..server(1, "a") };
        let servers = [draining, server(2, "b"), server(3, "b")];
        let no_tcp = Health::Alive(Answer { over_tcp: Some(false), ..ANSWER });
        let states = found(&[(1, ALIVE), (2, no_tcp), (3, ALIVE)]);
        let ranking = rank(&servers, &states, &here("i-1", &["10.0.0.1", "10.0.0.3"]));
        assert_eq!(order(&ranking), ["10.0.0.3", "10.0.0.2", "10.0.0.1"]);
        assert_eq!(ranking.usable[2].because[1].to_string(), "draining");
    }

    #[test]
    fn more_than_three_are_in_reserve() {
        let servers = [1, 2, 3, 4].map(|last| server(last, "a"));
        let states = found(&[(1, ALIVE), (2, ALIVE), (3, ALIVE), (4, ALIVE)]);
        let ranking = rank(&servers, &states, &here("i-1", &[]));
        let last = ranking.usable[3].because.last().unwrap().to_string();
        assert_eq!(last, "in reserve: resolv.conf holds three servers");
        assert_ne!(ranking.usable[2].because.last(), ranking.usable[3].because.last());
    }

    #[test]
    fn only_preference_makes_a_mere_reordering() {
        let servers = [server(1, "a"), server(2, "b")];
        let check = |servers: &[NameServer], in_use: &[&str]| {
            let here = here("i-1", in_use);
            let ranking = rank(servers, &found(&[(1, ALIVE), (2, ALIVE)]), &here);
            ranking.is_mere_reordering_of(&here.in_use)
        };
        assert!(check(&servers, &["10.0.0.2", "10.0.0.1"]));
        assert!(!check(&servers, &["10.0.0.2"]), "one is new");
        assert!(!check(&servers, &["10.0.0.2", "10.0.0.3"]), "one is gone");
        let draining = NameServer { is_draining: true, ..server(2, "b") };
        let servers = [server(1, "a"), draining];
        assert!(!check(&servers, &["10.0.0.2", "10.0.0.1"]), "one is about to be shut down");
        let nobody = Ranking::default().is_mere_reordering_of(&[]);
        assert!(!nobody, "whatever else is set is more than nothing");
    }

    #[test]
    fn an_authority_is_behind_from_when_its_serial_was_first_the_older_one() {
        let serial = |serial| Health::Alive(Answer { serial, ..ANSWER });
        let behind = |states: &[(u8, Health)], before: &[(u8, u64)], now| {
            let before = before.iter().map(|(last, since)| (at(*last), *since)).collect();
            let behind = behind(&found(states).health, &before, now);
            behind
                .into_iter()
                .map(|(address, since)| (address.to_string(), since))
                .collect::<Vec<_>>()
        };
        let first = || ("10.0.0.1:53".to_owned(), 100);
        assert_eq!(behind(&[(1, serial(7)), (2, serial(8))], &[], 100), [first()]);
        assert_eq!(behind(&[(1, serial(7)), (2, serial(9))], &[(1, 100)], 200), [first()]);
        assert!(behind(&[(1, serial(9)), (2, serial(9))], &[(1, 100)], 300).is_empty());
        assert!(behind(&[(1, SILENT), (2, serial(9))], &[(1, 100)], 300).is_empty());
        let set_back = behind(&[(1, serial(7)), (2, serial(9))], &[(1, 100)], 50);
        assert_eq!(set_back, [("10.0.0.1:53".to_owned(), 50)], "the clock was set back");
        let wraps = [(1, serial(u32::MAX)), (2, serial(1))];
        assert_eq!(behind(&wraps, &[], 100), [first()], "serials go round");
        let cached = Health::Alive(Answer { is_authoritative: false, serial: 6, ..ANSWER });
        assert!(behind(&[(1, cached), (2, serial(8))], &[], 100).is_empty(), "a cache may lag");
    }
}
