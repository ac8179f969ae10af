//! Who owns this host's resolver: a verdict with its clues, from values that a probe gathered.

use std::fmt;

use super::resolv_conf::ResolvConf;

/// Everything that the verdict may depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostProbe {
    /// Where /etc/resolv.conf points, if it is a symbolic link.
    pub link: Option<String>,
    /// Its content; `None` when there is no such file.
    pub content: Option<Vec<u8>>,
    /// What keeps the file from being replaced as files are.
    pub hindrances: Vec<Hindrance>,
    /// The permission bits of the file, after its links.
    pub mode: Option<u32>,
    /// How many names the file has.
    pub names: u64,
    /// The services of nsswitch.conf(5)'s `hosts` line, in order.
    pub hosts: Vec<String>,
    /// systemd-resolved(8) as the message bus knows it.
    pub resolved: Presence,
    /// NetworkManager(8) as the message bus knows it.
    pub network_manager: Presence,
    /// What NetworkManager does about DNS, if it runs.
    pub dns_mode: Option<DnsMode>,
    /// Which program resolvconf(8) is, if there is one.
    pub resolvconf: Option<Resolvconf>,
}

/// What the message bus says of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// There is no bus to ask: an image, or a host without one.
    #[default]
    Unknown,
    /// It does not run, and the bus cannot start it.
    Absent,
    /// It does not run now; the first call starts it.
    Startable,
    /// It runs; its version, if it says one.
    Runs(Option<String>),
}

/// `Mode` and `RcManager` of NetworkManager's D-Bus interface `DnsManager`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsMode {
    /// `default`, `dnsmasq`, `systemd-resolved`, `none`, …
    pub mode: String,
    /// `symlink`, `file`, `resolvconf`, `unmanaged`, …
    pub rc_manager: String,
}

/// The programs that have the name resolvconf(8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolvconf {
    /// openresolv.
    Openresolv,
    /// Debian's.
    Debian,
    /// systemd's resolvectl(1) under that name.
    Resolvectl,
}

/// What keeps resolv.conf from being replaced by a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// It is a mount point, as containers have it.
    Mounted,
    /// Its file system is read-only.
    ReadOnly,
    /// It has the attribute `i` of chattr(1).
    Immutable,
}

/// Whatever may own the resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Nobody in particular: the file is ours to write.
    ResolvConf,
    /// systemd-resolved(8).
    SystemdResolved,
    /// NetworkManager(8).
    NetworkManager,
    /// openresolv's or Debian's resolvconf(8).
    Resolvconf,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ResolvConf => "resolv-conf",
            Self::SystemdResolved => "systemd-resolved",
            Self::NetworkManager => "networkmanager",
            Self::Resolvconf => "resolvconf",
        })
    }
}

/// Something that was seen and that the verdict rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clue {
    /// The configuration says who is told, whatever is seen.
    Configured,
    /// The file does not exist.
    Missing,
    /// It is an ordinary file.
    PlainFile,
    /// It is a symbolic link to this path.
    LinkTo(String),
    /// It cannot be replaced by a rename.
    Hindered(Hindrance),
    /// With these permission bits it cannot be read by programs of other users than root.
    Unreadable(u32),
    /// It is one of so many names of one file, and will not be once it is replaced.
    HardLinked(u64),
    /// Its only servers are systemd-resolved's stub.
    StubAddress,
    /// Its only servers are on this host: a cache or a forwarder.
    LocalServer,
    /// A comment says that this program wrote it.
    WrittenBy(Owner),
    /// A comment says that this program wrote it, which is none that we can tell what to write.
    WrittenByOther(&'static str),
    /// It carries our marker.
    Ours,
    /// The program runs.
    Runs(Owner, Option<String>),
    /// The program does not run, and is started when it is asked.
    Startable(Owner),
    /// The program does not run.
    Absent(Owner),
    /// There is no message bus to ask about the program.
    NoBus(Owner),
    /// Programs ask systemd-resolved before they read the file (nss-resolve(8)).
    AskedFirst,
    /// NetworkManager leaves the file to others.
    LeavesAlone(DnsMode),
    /// NetworkManager gives its servers to systemd-resolved.
    PassesOn,
    /// resolvconf(8) is this program.
    Program(Resolvconf),
    /// There is no resolvconf(8).
    NoProgram,
}

impl fmt::Display for Clue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => f.write_str("the configuration says so"),
            Self::Missing => f.write_str("resolv.conf does not exist"),
            Self::PlainFile => f.write_str("resolv.conf is a plain file"),
            Self::LinkTo(target) => write!(f, "resolv.conf is a link to {target}"),
            Self::Hindered(Hindrance::Mounted) => {
                f.write_str("it is a mount point, so it is written in place")
            }
            Self::Hindered(Hindrance::ReadOnly) => f.write_str("its file system is read-only"),
            Self::Hindered(Hindrance::Immutable) => f.write_str("it is immutable (chattr +i)"),
            Self::Unreadable(mode) => {
                write!(f, "its mode {mode:04o} keeps programs of other users from reading it")
            }
            Self::HardLinked(names) => write!(f, "its file has {names} names"),
            Self::StubAddress => f.write_str("its only servers are systemd-resolved's stub"),
            Self::LocalServer => f.write_str("its only servers are on this host"),
            Self::WrittenBy(owner) => write!(f, "a comment in it says that {owner} wrote it"),
            Self::WrittenByOther(program) => {
                write!(f, "a comment in it says that {program} wrote it")
            }
            Self::Ours => f.write_str("it carries our marker"),
            Self::Runs(owner, None) => write!(f, "{owner} runs"),
            Self::Runs(owner, Some(version)) => write!(f, "{owner} {version} runs"),
            Self::Startable(owner) => write!(f, "{owner} is started when it is asked"),
            Self::Absent(owner) => write!(f, "{owner} does not run"),
            Self::NoBus(owner) => write!(f, "there is no message bus to ask about {owner}"),
            Self::AskedFirst => f.write_str("nsswitch.conf asks systemd-resolved first"),
            Self::LeavesAlone(DnsMode { mode, rc_manager }) => {
                write!(f, "networkmanager leaves it alone (dns {mode}, rc-manager {rc_manager})")
            }
            Self::PassesOn => f.write_str("networkmanager gives its servers to systemd-resolved"),
            Self::Program(program) => f.write_str(match program {
                Resolvconf::Openresolv => "resolvconf is openresolv",
                Resolvconf::Debian => "resolvconf is Debian's",
                Resolvconf::Resolvectl => "resolvconf is systemd's resolvectl",
            }),
            Self::NoProgram => f.write_str("there is no resolvconf"),
        }
    }
}

/// Who owns the resolver, and why we think so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The owner.
    pub owner: Owner,
    /// The clues.
    pub because: Vec<Clue>,
}

/// Decides who owns the resolver. What resolv.conf says is a claim; it stands if the program is there to keep it.
///
/// ```text
/// resolv.conf is                      the program                                      owner
/// a link into resolved's directory,   runs, may be started, or cannot be asked for     systemd-resolved
///   or names its stub                 is absent                                        the file
/// NetworkManager's link or comment    runs and writes the file, or cannot be asked for networkmanager
///                                     cannot be asked, and the file has our marker     the file
///                                     runs and gives its servers to systemd-resolved   systemd-resolved
///                                     runs and leaves the file alone, or is absent     the file
/// resolvconf's link or comment        is openresolv, or Debian's                       resolvconf
///                                     is resolvectl, and resolved is not absent        systemd-resolved
///                                     is absent                                        the file
/// anything else                       nsswitch asks resolved before dns, and it runs   systemd-resolved
///                                     otherwise                                        the file
/// ```
#[must_use]
pub fn detect(probe: &HostProbe) -> Verdict {
    let content = probe.content.as_deref().unwrap_or_default();
    let file = ResolvConf::parse(content);
    let mut because = vec![match (&probe.link, &probe.content) {
        (Some(target), _) => Clue::LinkTo(target.clone()),
        (None, Some(_)) => Clue::PlainFile,
        (None, None) => Clue::Missing,
    }];
    because.extend(probe.hindrances.iter().copied().map(Clue::Hindered));
    because.extend(probe.mode.filter(|mode| mode & 0o004 == 0).map(Clue::Unreadable));
    because.extend((probe.names > 1).then_some(Clue::HardLinked(probe.names)));
    let claimed = claim(probe.link.as_deref(), content, &file, &mut because);
    let owner = match claimed {
        Some(Owner::SystemdResolved) => resolved(probe, &mut because),
        Some(Owner::NetworkManager) => network_manager(probe, &mut because),
        Some(Owner::Resolvconf) => resolvconf(probe, &mut because),
        Some(Owner::ResolvConf) | None => unclaimed(probe, &mut because),
    };
    Verdict { owner, because }
}

/// Whose the file says that it is.
fn claim(
    link: Option<&str>,
    content: &[u8],
    file: &ResolvConf,
    because: &mut Vec<Clue>,
) -> Option<Owner> {
    let by_link = link.and_then(owner_of_link);
    if by_link.is_none() && file.is_ours() {
        because.push(Clue::Ours);
        // We keep others' comments: what was written while its owner was away is still the owner's.
        let owner = author(content).and_then(Result::ok);
        because.extend(owner.map(Clue::WrittenBy));
        return owner;
    }
    let servers = file.nameservers();
    let all = |is: fn(&str) -> bool| {
        !servers.is_empty() && servers.iter().all(|address| is(&address.to_string()))
    };
    let is_stub = all(|address| STUBS.contains(&address));
    if is_stub {
        because.push(Clue::StubAddress);
    } else if all(|address| address.starts_with("127.") || address == "::1") {
        because.push(Clue::LocalServer);
    }
    let by_comment = author(content);
    match by_comment {
        Some(Ok(owner)) => because.push(Clue::WrittenBy(owner)),
        Some(Err(program)) => because.push(Clue::WrittenByOther(program)),
        None => {}
    }
    by_link.or(is_stub.then_some(Owner::SystemdResolved)).or(by_comment.and_then(Result::ok))
}

fn resolved(probe: &HostProbe, because: &mut Vec<Clue>) -> Owner {
    because.push(standing(Owner::SystemdResolved, &probe.resolved));
    if probe.resolved == Presence::Absent { Owner::ResolvConf } else { Owner::SystemdResolved }
}

fn network_manager(probe: &HostProbe, because: &mut Vec<Clue>) -> Owner {
    because.push(standing(Owner::NetworkManager, &probe.network_manager));
    if probe.network_manager == Presence::Absent {
        return unclaimed(probe, because);
    }
    match &probe.dns_mode {
        Some(DnsMode { mode, .. }) if mode == "systemd-resolved" => {
            because.push(Clue::PassesOn);
            resolved(probe, because)
        }
        Some(how) if how.mode == "none" || how.rc_manager == "unmanaged" => {
            because.push(Clue::LeavesAlone(how.clone()));
            unclaimed(probe, because)
        }
        // It is asked, and hangs: what we wrote ourselves is not its own.
        None if because.contains(&Clue::Ours) => unclaimed(probe, because),
        _ => Owner::NetworkManager,
    }
}

fn resolvconf(probe: &HostProbe, because: &mut Vec<Clue>) -> Owner {
    because.push(probe.resolvconf.map_or(Clue::NoProgram, Clue::Program));
    match probe.resolvconf {
        Some(Resolvconf::Openresolv | Resolvconf::Debian) => Owner::Resolvconf,
        Some(Resolvconf::Resolvectl) => resolved(probe, because),
        None => unclaimed(probe, because),
    }
}

/// Whether the services of nsswitch.conf(5)'s `hosts` line have nss-resolve(8) before the file's servers.
#[must_use]
pub fn asks_resolved_first(hosts: &[String]) -> bool {
    let place = |service: &str| hosts.iter().position(|known| known == service);
    place("resolve").is_some_and(|resolve| place("dns").is_none_or(|dns| resolve < dns))
}

/// Nobody keeps the file; yet programs may never read it.
fn unclaimed(probe: &HostProbe, because: &mut Vec<Clue>) -> Owner {
    if asks_resolved_first(&probe.hosts) && matches!(probe.resolved, Presence::Runs(_)) {
        because.extend([Clue::AskedFirst, standing(Owner::SystemdResolved, &probe.resolved)]);
        return Owner::SystemdResolved;
    }
    Owner::ResolvConf
}

fn standing(owner: Owner, presence: &Presence) -> Clue {
    match presence {
        Presence::Unknown => Clue::NoBus(owner),
        Presence::Absent => Clue::Absent(owner),
        Presence::Startable => Clue::Startable(owner),
        Presence::Runs(version) => Clue::Runs(owner, version.clone()),
    }
}

fn owner_of_link(target: &str) -> Option<Owner> {
    let owners = [
        ("/run/systemd/resolve/", Owner::SystemdResolved),
        ("/lib/systemd/resolv.conf", Owner::SystemdResolved),
        ("/run/NetworkManager/", Owner::NetworkManager),
        ("/run/resolvconf/", Owner::Resolvconf),
        ("/etc/resolvconf/run/", Owner::Resolvconf),
    ];
    owners.iter().find(|(place, _)| target.contains(place)).map(|(_, owner)| *owner)
}

/// Which program the comments among some lines of a file say wrote them.
#[must_use]
pub fn author_of(lines: &str) -> Option<String> {
    let author = author(lines.as_bytes())?;
    Some(author.map_or_else(str::to_owned, |owner| owner.to_string()))
}

/// Who a comment says wrote the file; an error is a program that we cannot tell what to write.
fn author(content: &[u8]) -> Option<Result<Owner, &'static str>> {
    let text = String::from_utf8_lossy(content);
    let comments = text.lines().filter(|line| line.starts_with(['#', ';']));
    let authors = [
        ("Generated by NetworkManager", Ok(Owner::NetworkManager)),
        ("Generated by resolvconf", Ok(Owner::Resolvconf)),
        ("generated by resolvconf(8)", Ok(Owner::Resolvconf)),
        ("managed by man:systemd-resolved(8)", Ok(Owner::SystemdResolved)),
        ("Generated by dhcpcd", Err("dhcpcd")),
        ("autogenerated by netconfig", Err("netconfig")),
        ("generated by tailscale", Err("tailscale")),
        ("cloud-init has written this file", Err("cloud-init")),
    ];
    comments.into_iter().find_map(|line| {
        authors.iter().find(|(words, _)| line.contains(words)).map(|(_, author)| *author)
    })
}

/// Where systemd-resolved listens: its stub, and the one that passes queries on unchanged.
const STUBS: [&str; 2] = ["127.0.0.53", "127.0.0.54"];

#[cfg(test)]
#[path = "detect_tests.rs"]
mod tests;
