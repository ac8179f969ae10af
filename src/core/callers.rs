//! Which member of a shared name each way to look it up puts first, and why: what the host's own files make of the answer.
//!
//! ```text
//! way                            family       sorted by
//! gethostbyname                  IPv4         resolv.conf's sortlist
//! getaddrinfo(AF_INET)           IPv4         gai.conf, then the host's own subnet and the longest prefix in it, then sortlist
//! getaddrinfo(AF_UNSPEC)         both         gai.conf, then the same (RFC 6724 rule 9; glibc: IPv4 in the own subnet alone)
//! Java                           IPv4 first   as getaddrinfo(AF_UNSPEC)
//! Go's own, musl's               both         tables of their own; no file
//! systemd-resolved               both         nothing: whoever asks it sorts
//! ```
//! glibc: `resolv/nss_dns/dns-host.c` (`addrsort`), `nss/getaddrinfo.c`; measured with 2.36. musl: `src/network/lookup_name.c`,
//! which sorts nothing when all addresses are IPv4. Go: `src/net/addrselect.go`, where rule 9 is for IPv6 alone.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use super::{affinity::Surroundings, gai_conf::GaiConf};

/// A way to look a name up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    /// `gethostbyname(3)`, and `getent hosts`, which asks for IPv6 before.
    Gethostbyname,
    /// `getaddrinfo(3)` for `AF_INET`, as `getent ahostsv4` calls it.
    GetaddrinfoInet,
    /// `getaddrinfo(3)` for `AF_UNSPEC`, as `getent ahosts` and nearly every program call it.
    GetaddrinfoUnspec,
    /// Java.
    Java,
    /// Java with `java.net.preferIPv4Stack`.
    JavaIpv4,
    /// Node's `dns.lookup`.
    Node,
    /// Python's `socket.getaddrinfo`.
    Python,
    /// Go's own resolver.
    Go,
    /// Go with cgo.
    GoCgo,
    /// Programs that are linked with musl.
    Musl,
    /// systemd-resolved, asked directly.
    SystemdResolved,
}

impl Caller {
    /// All of them, glibc's first.
    pub const ALL: [Self; 11] = [
        Self::Gethostbyname,
        Self::GetaddrinfoInet,
        Self::GetaddrinfoUnspec,
        Self::Java,
        Self::JavaIpv4,
        Self::Node,
        Self::Python,
        Self::Go,
        Self::GoCgo,
        Self::Musl,
        Self::SystemdResolved,
    ];
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gethostbyname => "gethostbyname",
            Self::GetaddrinfoInet => "getaddrinfo_inet",
            Self::GetaddrinfoUnspec => "getaddrinfo_unspec",
            Self::Java => "java",
            Self::JavaIpv4 => "java_ipv4",
            Self::Node => "node",
            Self::Python => "python",
            Self::Go => "go",
            Self::GoCgo => "go_cgo",
            Self::Musl => "musl",
            Self::SystemdResolved => "systemd_resolved",
        })
    }
}

/// A pair of resolv.conf's `sortlist`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    network: u32,
    mask: u32,
}

impl Sort {
    /// Reads a word as glibc does: a network without a mask has that of its class, and `/24` is the mask 0.0.0.24, which
    /// matches nothing.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        let (network, mask) = match word.split_once(['/', '&']) {
            Some((network, mask)) => (network, Some(mask)),
            None => (word, None),
        };
        let network = u32::from(network.parse::<Ipv4Addr>().ok()?);
        let of_class = match network >> 29 {
            0..=3 => 0xff00_0000,
            4 | 5 => 0xffff_0000,
            _ => 0xffff_ff00,
        };
        let given = mask.and_then(|mask| {
            mask.parse::<Ipv4Addr>().map(u32::from).or_else(|_| mask.parse::<u32>()).ok()
        });
        Some(Self { network, mask: given.unwrap_or(of_class) })
    }

    fn matches(self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(address) if u32::from(address) & self.mask == self.network)
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), Ipv4Addr::from(self.mask))
    }
}

/// What decides on a host.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The members of the name.
    pub members: &'a [IpAddr],
    /// `sortlist` in force.
    pub sortlist: &'a [Sort],
    /// gai.conf in force.
    pub gai: &'a GaiConf,
    /// Where the host stands.
    pub here: &'a Surroundings,
    /// Whether glibc's callers ask systemd-resolved, which knows no `sortlist` (nss-resolve(8)).
    pub asks_resolved: bool,
}

/// Why one member comes before another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is asked for IPv4 alone.
    Ipv4Only,
    /// It puts IPv4 before IPv6.
    Ipv4First,
    /// IPv6 comes before IPv4, by the tables of RFC 6724.
    Ipv6First,
    /// This pair of `sortlist` names it.
    Sortlist(Sort),
    /// There is a `sortlist`, and it does not get this far.
    SortlistIgnored,
    /// gai.conf gives it more than others.
    Precedence(u32),
    /// gai.conf says what is nearer, and it is not read.
    GaiConfIgnored,
    /// It is in the host's own subnet.
    OwnSubnet,
    /// It shares the longest prefix with the host's own address.
    LongestPrefix(u32),
    /// Nothing tells it from the others.
    AsAnswered,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4Only => f.write_str("it asks for IPv4 alone"),
            Self::Ipv4First => f.write_str("it puts IPv4 before IPv6"),
            Self::Ipv6First => f.write_str("IPv6 comes before IPv4"),
            Self::Sortlist(pair) => write!(f, "sortlist {pair}"),
            Self::SortlistIgnored => f.write_str("sortlist has no effect on it"),
            Self::Precedence(value) => write!(f, "gai.conf gives it precedence {value}"),
            Self::GaiConfIgnored => f.write_str("gai.conf has no effect on it"),
            Self::OwnSubnet => {
                f.write_str("it is in this host's own subnet (RFC 6724 section 6 rule 9)")
            }
            Self::LongestPrefix(bits) => {
                write!(
                    f,
                    "it shares {bits} bits with this host's address (RFC 6724 section 6 rule 9)"
                )
            }
            Self::AsAnswered => f.write_str("in the order of the server's answer, which rotates"),
        }
    }
}

/// What a caller will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Whoever may come first: one, or several in turn.
    pub first: Vec<IpAddr>,
    /// Why.
    pub because: Vec<Why>,
}

/// What `caller` puts first.
#[must_use]
pub fn expect(caller: Caller, ground: &Ground<'_>) -> Expectation {
    use Caller::{GetaddrinfoInet, Gethostbyname, Go, Java, JavaIpv4, Musl, SystemdResolved};
    let Ground { members, sortlist, gai, here, asks_resolved } = *ground;
    let mut race = Race { left: members.to_vec(), because: Vec::new() };
    if matches!(caller, Gethostbyname | GetaddrinfoInet | JavaIpv4) {
        race.left.retain(IpAddr::is_ipv4);
        race.because.extend((race.left.len() < members.len()).then_some(Why::Ipv4Only));
    }
    let reads_gai = !matches!(caller, Gethostbyname | Go | Musl | SystemdResolved);
    let reads_sortlist =
        matches!(caller, Gethostbyname | GetaddrinfoInet | JavaIpv4) && !asks_resolved;
    // Rule 1: what cannot be reached from here comes last.
    let has_ipv6 = here.addresses.iter().any(IpAddr::is_ipv6);
    if caller == Java || (!has_ipv6 && caller != SystemdResolved) {
        race.keep(|address| u64::from(address.is_ipv6()), |_| Why::Ipv4First);
    }
    if reads_gai {
        let is_mixed = !race.all(IpAddr::is_ipv6) && !race.all(IpAddr::is_ipv4);
        let precedence = |address| gai.precedence(address);
        race.keep(
            |address| u64::from(u32::MAX - precedence(address)),
            |address| match address {
                IpAddr::V6(_) if is_mixed && !gai.is_ours() => Why::Ipv6First,
                _ => Why::Precedence(precedence(address)),
            },
        );
    }
    // musl sorts nothing when there is no IPv6 among them.
    if caller == Go || (caller == Musl && !race.all(IpAddr::is_ipv4)) {
        race.keep(|address| u64::from(address.is_ipv4()), |_| Why::Ipv6First);
    }
    if reads_gai && race.all(IpAddr::is_ipv4) {
        let is_own = |address| here.subnets.iter().any(|subnet| subnet.contains(address));
        race.keep(|address| u64::from(!is_own(address)), |_| Why::OwnSubnet);
        if race.left.iter().all(|address| is_own(*address)) {
            let shared = |address| shared_bits(address, here);
            race.keep(|it| u64::from(128 - shared(it)), |it| Why::LongestPrefix(shared(it)));
        }
    }
    if race.all(IpAddr::is_ipv6) && caller != SystemdResolved {
        let shared = |address| shared_bits(address, here);
        race.keep(|address| u64::from(128 - shared(address)), |it| Why::LongestPrefix(shared(it)));
    }
    if reads_sortlist {
        let place = |address| sortlist.iter().position(|pair| pair.matches(address));
        race.keep(
            |address| place(address).map_or(u64::MAX, |place| place as u64),
            |address| {
                let pair = place(address).and_then(|place| sortlist.get(place));
                pair.map_or(Why::AsAnswered, |pair| Why::Sortlist(*pair))
            },
        );
    }
    let Race { mut left, mut because } = race;
    if left.len() > 1 {
        because.extend((!reads_sortlist && !sortlist.is_empty()).then_some(Why::SortlistIgnored));
        because.extend((!reads_gai && gai.is_ours()).then_some(Why::GaiConfIgnored));
        because.push(Why::AsAnswered);
    }
    left.sort();
    Expectation { first: left, because }
}

/// Whoever may still come first.
struct Race {
    left: Vec<IpAddr>,
    because: Vec<Why>,
}

impl Race {
    fn all(&self, is_so: fn(&IpAddr) -> bool) -> bool {
        self.left.iter().all(is_so)
    }

    /// Keeps those that cost least, and says why if that leaves somebody out.
    fn keep(&mut self, cost: impl Fn(IpAddr) -> u64, why: impl Fn(IpAddr) -> Why) {
        let Some(best) = self.left.iter().map(|address| cost(*address)).min() else { return };
        let before = self.left.len();
        self.left.retain(|address| cost(*address) == best);
        if self.left.len() < before {
            self.because.extend(self.left.first().map(|address| why(*address)));
        }
    }
}

/// How many leading bits an address shares with one of the host's own of its family.
fn shared_bits(address: IpAddr, here: &Surroundings) -> u32 {
    let shared = here.addresses.iter().filter_map(|own| match (own, address) {
        (IpAddr::V4(own), IpAddr::V4(it)) => {
            Some((u32::from(*own) ^ u32::from(it)).leading_zeros())
        }
        (IpAddr::V6(own), IpAddr::V6(it)) => {
            Some((u128::from(*own) ^ u128::from(it)).leading_zeros())
        }
        _ => None,
    });
    shared.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use Caller::{
        GetaddrinfoInet, GetaddrinfoUnspec, Gethostbyname, Go, GoCgo, Java, JavaIpv4, Musl, Node,
        Python, SystemdResolved,
    };

    use super::*;
    use crate::core::affinity::networks;

    const IPV4: &str = "10.0.1.5 10.0.2.5 10.0.3.5";
    const BOTH: &str = "10.0.2.5 10.0.3.5 2001:db8:0:2::5 2001:db8:0:3::5";

    fn addresses(text: &str) -> Vec<IpAddr> {
        text.split_ascii_whitespace().map(|address| address.parse().unwrap()).collect()
    }

    struct Host {
        sortlist: &'static str,
        gai: GaiConf,
        here: Surroundings,
        asks_resolved: bool,
    }

    /// A host at `addresses`, in the subnets `subnets`, whose files say nothing.
    fn host(own: &str, subnets: &str) -> Host {
        let blocks = |text: &str| {
            text.split_ascii_whitespace().map(|block| block.parse().unwrap()).collect::<Vec<_>>()
        };
        let here = Surroundings {
            addresses: addresses(own),
            subnets: blocks(subnets),
            ..Surroundings::default()
        };
        Host { sortlist: "", gai: GaiConf::default(), here, asks_resolved: false }
    }

    #[track_caller]
    fn check(host: &Host, members: &str, callers: &[Caller], first: &str, why: &str) {
        let sortlist = host.sortlist.split_ascii_whitespace().filter_map(Sort::of);
        let ground = Ground {
            members: &addresses(members),
            sortlist: &sortlist.collect::<Vec<_>>(),
            gai: &host.gai,
            here: &host.here,
            asks_resolved: host.asks_resolved,
        };
        for caller in callers {
            let Expectation { first: found, because } = expect(*caller, &ground);
            assert_eq!(found, addresses(first), "{caller}: {because:?}");
            let said = because.iter().map(ToString::to_string).collect::<Vec<_>>().join(" · ");
            assert!(said.contains(why), "{caller}: `{why}` is not in `{said}`");
        }
    }

    #[test]
    fn the_table_that_was_measured() {
        let unspec = [GetaddrinfoUnspec, Node, Java, Python, GoCgo];
        let inet = [GetaddrinfoInet, JavaIpv4];
        let rotates = "rotates";
        let elsewhere = host("10.0.9.9", "10.0.9.0/24");
        check(&elsewhere, IPV4, &Caller::ALL, IPV4, rotates);
        let sorted = Host { sortlist: "10.0.2.0/255.255.255.0", ..host("10.0.9.9", "10.0.9.0/24") };
        check(&sorted, IPV4, &[Gethostbyname], "10.0.2.5", "sortlist 10.0.2.0/255.255.255.0");
        check(&sorted, IPV4, &inet, "10.0.2.5", "sortlist 10.0.2.0/255.255.255.0");
        check(&sorted, IPV4, &unspec, IPV4, "sortlist has no effect on it");
        let inside = Host { here: host("10.0.3.9", "10.0.3.0/24").here, ..sorted };
        check(&inside, IPV4, &[Gethostbyname], "10.0.2.5", "sortlist");
        check(&inside, IPV4, &inet, "10.0.3.5", "own subnet");
        check(&inside, IPV4, &unspec, "10.0.3.5", "own subnet");
        // The host, its neighbour by number, and others, in whatever order they were answered: 30 of 30.
        let at_home = host("10.0.1.7", "10.0.1.0/24");
        let members = "10.0.1.200 10.0.1.100 10.0.1.6";
        for callers in [&unspec[..], &inet[..]] {
            check(&at_home, members, callers, "10.0.1.6", "shares 31 bits");
            check(&at_home, &format!("{members} 10.0.1.7"), callers, "10.0.1.7", "shares 32 bits");
        }
        let gai =
            GaiConf::parse(b"precedence ::ffff:0:0/96 10\nprecedence ::ffff:10.0.2.0/120 15\n");
        let ranked = Host { gai, ..elsewhere };
        check(&ranked, IPV4, &[Gethostbyname], IPV4, rotates);
        check(&ranked, IPV4, &inet, "10.0.2.5", "gai.conf gives it precedence 15");
        check(&ranked, IPV4, &unspec, "10.0.2.5", "gai.conf gives it precedence 15");
    }

    #[test]
    fn a_sortlist_is_read_as_glibc_reads_it() {
        let sorted = |sortlist| Host { sortlist, ..host("10.0.9.9", "10.0.9.0/24") };
        // measured: a prefix length is not honoured, and a bare network is its whole class
        check(&sorted("10.0.2.0/24"), IPV4, &[Gethostbyname], IPV4, "rotates");
        check(&sorted("10.0.2.0"), IPV4, &[Gethostbyname], IPV4, "rotates");
        check(
            &sorted("10.0.0.0 192.168.0.0"),
            "192.168.0.5 10.0.2.5",
            &[Gethostbyname],
            "10.0.2.5",
            "sortlist 10.0.0.0/255.0.0.0",
        );
        check(
            &sorted("nonsense 10.0.3.0&255.255.255.0 10.0.2.0/255.255.255.0"),
            IPV4,
            &[Gethostbyname],
            "10.0.3.5",
            "sortlist 10.0.3.0",
        );
        let resolved = Host { asks_resolved: true, ..sorted("10.0.2.0/255.255.255.0") };
        check(
            &resolved,
            IPV4,
            &[Gethostbyname, GetaddrinfoInet],
            IPV4,
            "sortlist has no effect on it",
        );
    }

    #[test]
    fn both_families() {
        let ipv4_only = host("10.0.9.9", "10.0.9.0/24");
        let all = [GetaddrinfoUnspec, Java, Node, Python, GoCgo, Go, Musl];
        check(&ipv4_only, BOTH, &all, "10.0.2.5 10.0.3.5", "it puts IPv4 before IPv6");
        check(&ipv4_only, BOTH, &[Gethostbyname, JavaIpv4], "10.0.2.5 10.0.3.5", "IPv4 alone");
        let dual = host("10.0.9.9 2001:db8:0:3::9", "10.0.9.0/24 2001:db8:0:3::/64");
        let all = [GetaddrinfoUnspec, Node, Python, GoCgo, Go, Musl];
        check(&dual, BOTH, &all, "2001:db8:0:3::5", "IPv6 comes before IPv4 · it shares 124 bits");
        check(&dual, BOTH, &[Java], "10.0.2.5 10.0.3.5", "it puts IPv4 before IPv6");
        check(&dual, BOTH, &[SystemdResolved], BOTH, "rotates");
        check(&dual, "", &Caller::ALL, "", "");
    }

    #[test]
    fn our_own_gai_conf_serves_whoever_reads_it() {
        let mut near = host("10.0.1.9", "10.0.1.0/24");
        near.here.vpc = vec!["10.0.0.0/16".parse().unwrap()];
        near.here.zone = vec!["10.0.4.0/24".parse().unwrap()];
        near.gai = GaiConf::default().with(&networks(&near.here));
        let members = "10.0.4.5 10.0.2.5 10.1.0.5";
        check(
            &near,
            members,
            &[GetaddrinfoUnspec, Java, Node, GetaddrinfoInet],
            "10.0.4.5",
            "precedence 12",
        );
        check(
            &near,
            members,
            &[Gethostbyname, Go, Musl],
            "10.0.2.5 10.0.4.5 10.1.0.5",
            "gai.conf has no effect on it",
        );
    }
}
