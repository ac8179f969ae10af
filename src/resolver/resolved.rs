//! systemd-resolved(8), told over D-Bus (org.freedesktop.resolve1(5)).
//!
//! The link that holds the default route gets our servers, and the route-only domain `~.`; the other links with servers lose
//! the default route of look-ups, and domains that are ours too, so that nobody is asked beside ours, nor listed in resolved's
//! own resolv.conf. Another link's `~.` is an administrator's word, as for a VPN, and stays; system-wide servers for all or for
//! our domains do not. A link that
//! systemd-networkd(8) manages is set there: it forgets that when it is restarted, and then resolved's file changes, which
//! wakes the agent. Both forget at a reboot; so what was found is kept in the run directory.

mod beside;

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use zbus::{OwnedObjectPath, Type};

use super::{
    bus::{Bus, Object, is_named},
    direct::{keep, read_kept},
};
use crate::{
    core::{
        detect::{Owner, Verdict},
        resolv_conf::{ResolvConf, Wanted},
    },
    ports::{ResolverManager, error::ResolverError},
    sys::fs::inside,
};

/// The manager of systemd-resolved.
#[derive(Debug)]
pub struct Resolved {
    bus: Arc<Bus>,
    root: PathBuf,
    /// Where the settings of the link as they were found are kept.
    found: PathBuf,
    verdict: Verdict,
}

/// A link's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Settings {
    link: i32,
    servers: Vec<IpAddr>,
    /// Each with whether it only routes (`~corp`).
    domains: Vec<(String, bool)>,
    /// Whether names that no link's domains hold are asked there, and resolved's own resolv.conf lists its servers.
    default_route: bool,
    /// Whether systemd-networkd manages the link: what its files and leases say is then what was found.
    is_managed: bool,
    /// Whether it got our servers; if not, it only lost the default route.
    got_ours: bool,
}

impl Resolved {
    /// The manager of the host whose files are at `root`; what was found before us is kept in `run_dir`.
    #[must_use]
    pub fn new(bus: Arc<Bus>, root: &Path, run_dir: &Path, verdict: Verdict) -> Self {
        let found = run_dir.join("systemd-resolved.found");
        Self { bus, root: root.to_path_buf(), found, verdict }
    }

    /// The link that servers are asked through.
    async fn link(&self) -> Result<i32, ResolverError> {
        self.bus.reach(Owner::SystemdResolved).await?;
        default_link(&self.root).ok_or(ResolverError::NoLink)
    }

    /// What `link` has.
    async fn settings(&self, link: i32) -> Result<Settings, ResolverError> {
        let operation = "read a link's servers";
        let path: OwnedObjectPath =
            self.bus.call(&manager(RESOLVED), operation, "GetLink", &(link,)).await?;
        let object = Object {
            path: path.as_str().to_owned(),
            interface: "org.freedesktop.resolve1.Link",
            ..manager(RESOLVED)
        };
        let servers: Vec<(i32, Vec<u8>)> = self.bus.property(&object, operation, "DNS").await?;
        let servers = servers.into_iter().filter_map(|(_, octets)| address(&octets)).collect();
        let domains = self.bus.property(&object, operation, "Domains").await?;
        let default_route = self.bus.property(&object, operation, "DefaultRoute").await?;
        Ok(Settings { link, servers, domains, default_route, ..Settings::default() })
    }

    /// The links beside `link` that have servers.
    async fn others(&self, link: i32) -> Result<Vec<Settings>, ResolverError> {
        let operation = "read the servers of all links";
        let all: Vec<(i32, i32, Vec<u8>)> =
            self.bus.property(&manager(RESOLVED), operation, "DNS").await?;
        let links = all.into_iter().map(|(link, ..)| link);
        let mut others = Vec::new();
        // Servers of no link at all have the number 0.
        for other in links.filter(|other| ![0, link].contains(other)).collect::<BTreeSet<_>>() {
            match self.settings(other).await {
                Ok(settings) => others.push(settings),
                Err(error) if is_named(&error, NO_SUCH_LINK) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(others)
    }

    /// Tells resolved about a link, or systemd-networkd where that manages it; gives whether it does.
    async fn tell<B: Serialize + Type + Sync>(
        &self,
        operation: &'static str,
        method: &'static str,
        body: &B,
    ) -> Result<bool, ResolverError> {
        match self.bus.call(&manager(RESOLVED), operation, method, body).await {
            Ok(()) => Ok(false),
            Err(error) if is_named(&error, LINK_BUSY) => {
                self.bus.call(&manager(NETWORKD), operation, method, body).await.map(|()| true)
            }
            Err(error) => Err(error),
        }
    }

    async fn set_servers(&self, link: i32, servers: &[IpAddr]) -> Result<bool, ResolverError> {
        let servers = servers.iter().map(|address| match address {
            IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
        });
        let servers = servers.collect::<Vec<_>>();
        self.tell("set a link's servers", "SetLinkDNS", &(link, servers)).await
    }

    async fn set_domains(
        &self,
        link: i32,
        domains: &[(String, bool)],
    ) -> Result<bool, ResolverError> {
        self.tell("set a link's domains", "SetLinkDomains", &(link, domains)).await
    }

    async fn set_default_route(&self, link: i32, is_default: bool) -> Result<bool, ResolverError> {
        let operation = "say whether a link is the default route";
        self.tell(operation, "SetLinkDefaultRoute", &(link, is_default)).await
    }

    /// Answers of other servers, and that there are none, are forgotten; where that fails they live no longer than they may.
    async fn flush(&self) {
        let told = self.bus.call::<_, ()>(&manager(RESOLVED), "forget", "FlushCaches", &()).await;
        drop(told);
    }

    fn kept(&self) -> Result<Vec<Settings>, ResolverError> {
        let Some(content) = read_kept(&self.found)? else { return Ok(Vec::new()) };
        serde_json::from_slice(&content).map_err(|error| ResolverError::File {
            operation: "understand",
            path: self.found.display().to_string(),
            source: error.into(),
        })
    }

    /// Keeps what was found at a link, unless something is kept of it.
    fn keep(&self, kept: &mut Vec<Settings>, found: Settings) -> Result<(), ResolverError> {
        match kept.iter_mut().find(|known| known.link == found.link) {
            Some(known) if known.got_ours || !found.got_ours => return Ok(()),
            Some(known) => known.got_ours = true,
            None => kept.push(found),
        }
        keep(&self.found, &serde_json::to_vec(kept).unwrap_or_default())
    }

    /// Keeps whether systemd-networkd manages a link, which is known once something was set there.
    fn note_managed(
        &self,
        kept: &mut [Settings],
        link: i32,
        is_managed: bool,
    ) -> Result<(), ResolverError> {
        let known = kept.iter_mut().find(|known| known.link == link);
        match known.filter(|known| known.is_managed != is_managed) {
            Some(known) => known.is_managed = is_managed,
            None => return Ok(()),
        }
        keep(&self.found, &serde_json::to_vec(kept).unwrap_or_default())
    }

    /// A link whose servers stayed is asked again for what it was asked for; what was changed there meanwhile stays.
    async fn let_be_asked(&self, found: &Settings) -> Result<(), ResolverError> {
        let mut domains = self.settings(found.link).await?.domains;
        for domain in &found.domains {
            if !domains.contains(domain) {
                domains.push(domain.clone());
            }
        }
        self.set_domains(found.link, &domains).await?;
        self.set_default_route(found.link, found.default_route).await.map(drop)
    }

    async fn give_back(&self, found: &Settings) -> Result<(), ResolverError> {
        let Settings { link, servers, domains, default_route, is_managed, got_ours } = found;
        let given = if !*is_managed && !*got_ours {
            self.let_be_asked(found).await
        } else if *is_managed {
            let operation = "give a link's servers back";
            self.bus.call(&manager(NETWORKD), operation, "RevertLinkDNS", &(link,)).await
        } else {
            let given = self.set_servers(*link, servers).await;
            let given = given.and(self.set_domains(*link, domains).await);
            given.and(self.set_default_route(*link, *default_route).await).map(drop)
        };
        match given {
            Err(error) if is_named(&error, NO_SUCH_LINK) => Ok(()),
            given => given,
        }
    }
}

#[async_trait]
impl ResolverManager for Resolved {
    async fn current(&self) -> Result<ResolvConf, ResolverError> {
        let link = self.link().await?;
        let own = self.settings(link).await?;
        let mut others = self.others(link).await?;
        others.retain(|other| other.rivals(&own.domains));
        others.extend(self.system_wide(&own.domains).await?);
        // A server that is reached over one link only is not to be asked by others.
        let servers = [vec![own.clone()], others].concat().into_iter().flat_map(|one| {
            one.servers.into_iter().map(move |server| match server {
                IpAddr::V6(address) if address.is_unicast_link_local() => {
                    format!("{address}%{}", one.link)
                }
                address => address.to_string(),
            })
        });
        Ok(ResolvConf::of(servers, &words(&own.domains), &[]))
    }

    fn becomes(&self, current: &ResolvConf, wanted: &Wanted) -> ResolvConf {
        let servers = wanted.nameservers.iter().map(ToString::to_string);
        ResolvConf::of(servers, &words(&domains(&current.search(), wanted)), &[])
    }

    async fn apply(&self, wanted: &Wanted) -> Result<(), ResolverError> {
        let link = self.link().await?;
        // That it cannot be told what was there is said, and is no reason to stay with dead servers.
        let (mut kept, mut unkept) = match self.kept() {
            Ok(kept) => (kept, Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        // A link with our servers that is not the default route any more. That it is gone is no fault.
        for old in kept.extract_if(.., |old| old.link != link && old.got_ours) {
            let _ = self.give_back(&old).await;
        }
        let before = self.settings(link).await?;
        let domains = domains(&words(&before.domains), wanted);
        // It stays with the server that it asked last as long as that is in the list; so it is told the first alone at first.
        let first = wanted.nameservers.get(..1).unwrap_or_default();
        unkept = unkept.and(self.keep(&mut kept, Settings { got_ours: true, ..before }));
        if self.system_wide(&domains).await?.is_some() {
            unkept = unkept.and(self.silence(&domains).await);
        }
        let is_managed = self.set_servers(link, first).await?;
        unkept = unkept.and(self.note_managed(&mut kept, link, is_managed));
        self.set_servers(link, &wanted.nameservers).await?;
        self.set_domains(link, &domains).await?;
        for other in self.others(link).await? {
            if !other.rivals(&domains) {
                continue;
            }
            let link = other.link;
            let mut left = other.domains.clone();
            left.retain(|(domain, _)| !is_in(&domains, domain));
            unkept = unkept.and(self.keep(&mut kept, other));
            let is_managed = self.set_default_route(link, false).await?;
            self.set_domains(link, &left).await?;
            unkept = unkept.and(self.note_managed(&mut kept, link, is_managed));
        }
        self.flush().await;
        unkept
    }

    async fn restore(&self) -> Result<bool, ResolverError> {
        let kept = self.kept()?;
        // First, since it forgets what it was told when it is started anew.
        let spoke = self.let_speak().await?;
        if kept.is_empty() {
            return Ok(spoke);
        }
        for found in &kept {
            self.give_back(found).await?;
        }
        self.flush().await;
        let _ = fs::remove_file(&self.found);
        Ok(true)
    }

    fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

impl Settings {
    /// Whether the link's servers are asked for what those of a link with `ours` are asked for.
    fn rivals(&self, ours: &[(String, bool)]) -> bool {
        self.default_route || self.domains.iter().any(|(domain, _)| is_in(ours, domain))
    }

    fn has(&self, domain: &str) -> bool {
        is_in(&self.domains, domain.trim_start_matches('~'))
    }
}

/// Whether a domain is among some, `~.` apart, which is for everything else.
fn is_in(domains: &[(String, bool)], domain: &str) -> bool {
    domain != "." && domains.iter().any(|(known, _)| known.eq_ignore_ascii_case(domain))
}

/// The domains of a link with our servers: the wanted search list or its own, what it routes, and everything else.
fn domains(current: &[String], wanted: &Wanted) -> Vec<(String, bool)> {
    let (routed, searched): (Vec<_>, Vec<_>) =
        current.iter().partition(|domain| domain.starts_with('~'));
    let own = searched.into_iter().cloned().collect::<Vec<_>>();
    let searched = if wanted.search.is_empty() { own } else { wanted.search.clone() };
    let mut domains = searched.into_iter().map(|domain| (domain, false)).collect::<Vec<_>>();
    // Of one domain it keeps one word, and what is searched is routed too.
    let routed = routed.into_iter().map(|domain| domain.trim_start_matches('~').to_owned());
    let routed = routed.filter(|domain| !is_in(&domains, domain)).collect::<Vec<_>>();
    domains.extend(routed.into_iter().map(|domain| (domain, true)));
    let everything = (".".to_owned(), true);
    if !domains.contains(&everything) {
        domains.push(everything);
    }
    domains
}

/// As resolvectl(1) says them.
fn words(domains: &[(String, bool)]) -> Vec<String> {
    let word = |(domain, only_routes): &(String, bool)| {
        if *only_routes { format!("~{domain}") } else { domain.clone() }
    };
    domains.iter().map(word).collect()
}

fn manager((service, path, interface): (&'static str, &str, &'static str)) -> Object {
    Object { owner: Owner::SystemdResolved, service, path: path.to_owned(), interface }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

/// The link with the best default route: IPv4's, or IPv6's where there is none.
fn default_link(root: &Path) -> Option<i32> {
    let read = |path: &str| fs::read_to_string(inside(root, Path::new(path))).unwrap_or_default();
    let v4 = read("/proc/net/route");
    let v4 = v4.lines().filter_map(|line| {
        let fields = line.split_ascii_whitespace().collect::<Vec<_>>();
        let [link, "00000000", _, _, _, _, metric, "00000000", ..] = fields.as_slice() else {
            return None;
        };
        Some((metric.parse::<u32>().ok()?, (*link).to_owned()))
    });
    let v6 = read("/proc/net/ipv6_route");
    let v6 = v6.lines().filter_map(|line| {
        let fields = line.split_ascii_whitespace().collect::<Vec<_>>();
        let [target, "00", _, _, _, metric, _, _, _, link] = fields.as_slice() else {
            return None;
        };
        let is_default = target.bytes().all(|octet| octet == b'0') && *link != "lo";
        is_default.then(|| Some((u32::from_str_radix(metric, 16).ok()?, (*link).to_owned())))?
    });
    let link = v4.min().or_else(|| v6.min()).map(|(_, link)| link)?;
    read(&format!("/sys/class/net/{link}/ifindex")).trim().parse().ok()
}

const RESOLVED: (&str, &str, &str) =
    ("org.freedesktop.resolve1", "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager");
const NETWORKD: (&str, &str, &str) =
    ("org.freedesktop.network1", "/org/freedesktop/network1", "org.freedesktop.network1.Manager");
const NO_SUCH_LINK: &str = "org.freedesktop.resolve1.NoSuchLink";
/// systemd-networkd manages the link.
const LINK_BUSY: &str = "org.freedesktop.resolve1.LinkBusy";
const EVERYTHING: &str = "~.";
const AF_INET: i32 = 2;
const AF_INET6: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    #[test]
    fn the_link_with_the_best_default_route_is_ours() {
        let routes = format!(
            "{HEAD}ens6\t00000000\t0100A8C0\t0003\t0\t0\t200\t00000000\t0\t0\t0\n\
             ens5\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             ens5\t0000420A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        );
        let links = [("sys/class/net/ens5/ifindex", "2\n"), ("sys/class/net/ens6/ifindex", "3\n")];
        let root = host(&[("proc/net/route", &routes), links[0], links[1]]);
        assert_eq!(default_link(root.path()), Some(2));
        let v6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     ens6\n\
                  00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
        let root =
            host(&[("proc/net/route", HEAD), ("proc/net/ipv6_route", v6), links[0], links[1]]);
        assert_eq!(default_link(root.path()), Some(3), "IPv6 alone");
        assert_eq!(default_link(host(&[]).path()), None);
    }

    #[test]
    fn a_link_keeps_what_it_routes_and_gets_everything_else() {
        let wanted = |search: &[&str]| Wanted {
            nameservers: vec!["10.0.0.2".parse().unwrap()],
            search: search.iter().map(ToString::to_string).collect(),
            options: vec!["timeout:1".to_owned()],
            sortlist: None,
        };
        let current = ["ec2.internal".to_owned(), "~vpn.corp".to_owned()];
        let after = |search: &[&str]| words(&domains(&current, &wanted(search)));
        assert_eq!(after(&[]), ["ec2.internal", "~vpn.corp", "~."]);
        assert_eq!(after(&["corp.internal"]), ["corp.internal", "~vpn.corp", "~."]);
        let split = ["~Corp.internal".to_owned(), "~.".to_owned()];
        let after_split = domains(&split, &wanted(&["corp.internal"]));
        assert_eq!(words(&after_split), ["corp.internal", "~."]);
        let twice = domains(&after(&["corp.internal"]), &wanted(&["corp.internal"]));
        assert_eq!(words(&twice), after(&["corp.internal"]));
    }
}
