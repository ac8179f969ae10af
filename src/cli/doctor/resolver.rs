//! What `doctor` finds about the host's resolver: its owner, its servers, its file, and what a dead first server costs.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use futures_util::future::join_all;

use super::{failed, is_managed};
use crate::{
    agent::resolution::{Action, Mode, Resolved},
    cli::{known::Known, once::resolve, wiring::Host},
    core::{
        detect::{self, Clue, Hindrance, Owner},
        diagnosis::{Options, Reach, Readers, Setter, first_server, lines_of},
        finding::{Check, Finding, Verdict},
        name::Name,
        resolv_conf::{RESOLV_CONF, ResolvConf},
        servers::{Burden, Health, NameServer, Ranked},
    },
    ports::{Depth, Failure, Prober as _},
    resolver::{Resolvers, health::SoaProber},
    sys::{
        clock::now,
        fs::{follow, inside, read_regular},
    },
    wire::{
        exchange::{ExchangeError, Peer, Timing},
        message::{Question, Recursion, query},
    },
};

/// Who owns the resolver, and what keeps us from telling it.
pub(super) async fn owner(known: &Known, resolvers: &Resolvers) -> Vec<Finding> {
    let manager = match resolvers.open(known.config.resolver.manager).await {
        Ok(Some(manager)) => manager,
        Ok(None) => {
            return vec![
                Finding::fine(Check::Owner, "left alone")
                    .because(["`[resolver] manager` is \"none\""]),
            ];
        }
        Err(error) => return vec![failed(Check::Owner, Verdict::Wrong, &Failure::of(&error))],
    };
    let verdict = manager.verdict();
    let clues = &verdict.because;
    if let Err(error) = manager.current().await {
        return vec![failed(Check::Owner, Verdict::Wrong, &Failure::of(&error)).because(clues)];
    }
    let writes = verdict.owner == Owner::ResolvConf;
    let has = |wanted: &Clue| writes && clues.contains(wanted);
    let other = clues.iter().find(|clue| matches!(clue, Clue::WrittenByOther(_)));
    let is_resolved = verdict.owner == Owner::SystemdResolved;
    let beside = if is_resolved { resolvers.beside().await } else { Vec::new() };
    if !beside.is_empty() {
        let asked =
            beside.iter().map(|(link, domain)| format!("link {link} is asked for {domain}"));
        return vec![
            Finding::note(Check::Owner, format!("{}, which asks others beside our servers", verdict.owner))
                .because(asked)
                .because(clues)
                .remedy(["if that is not meant, take the domain away from that link, as `resolvectl domain LINK` shows it"]),
        ];
    }
    vec![if has(&Clue::Hindered(Hindrance::Immutable)) {
        Finding::wrong(Check::Owner, format!("{}, and it cannot be written", verdict.owner))
            .because(clues)
            .remedy(["`chattr -i` the file, or set `[resolver] manager = \"none\"`"])
    } else if has(&Clue::Hindered(Hindrance::ReadOnly)) {
        Finding::wrong(Check::Owner, format!("{}, and it cannot be written", verdict.owner))
            .because(clues)
            .remedy(["let the file be on a file system that can be written, or set `[resolver] manager = \"none\"`"])
    } else if clues.iter().any(|clue| matches!(clue, Clue::Unreadable(_))) {
        Finding::wrong(
            Check::Owner,
            format!("{}, and programs of other users than root cannot read it", verdict.owner),
        )
        .because(clues)
        .remedy([
            "`chmod 644 /etc/resolv.conf`: they look names up at 127.0.0.1 now, where nobody is",
        ])
    } else if let Some(other) = other.filter(|_| writes) {
        Finding::note(Check::Owner, format!("{}, and {other}", verdict.owner))
            .because(clues)
            .remedy(["keep that program away from the file: it will write it again"])
    } else if has(&Clue::LocalServer) {
        Finding::note(
            Check::Owner,
            format!("{}, which has a DNS server on this host so far", verdict.owner),
        )
        .because(clues)
        .remedy(["a pass sets the fleet's servers in its place; `[resolver] manager = \"none\"` leaves it in use"])
    } else {
        Finding::fine(Check::Owner, verdict.owner).because(clues)
    }]
}

/// What the host's resolver uses now.
pub(super) struct InUse {
    /// Who reads it.
    pub(super) readers: Readers,
    /// Its settings; the file itself, where programs read that.
    pub(super) settings: ResolvConf,
}

/// The settings in force, whoever owns them.
pub(super) async fn in_use(known: &Known, resolvers: &Resolvers, root: &Path) -> io::Result<InUse> {
    if let Ok(Some(manager)) = resolvers.open(known.config.resolver.manager).await {
        let detect::Verdict { owner, because } = manager.verdict();
        let asks_resolved = *owner == Owner::SystemdResolved
            && (because.contains(&Clue::StubAddress) || resolvers.is_resolved_asked_first());
        let readers = if asks_resolved { Readers::SystemdResolved } else { Readers::Programs };
        // What programs read where resolved or nobody renders it is the file itself; others may keep a cache between.
        let is_the_file =
            matches!(owner, Owner::ResolvConf | Owner::SystemdResolved) && !asks_resolved;
        if !is_the_file && let Ok(settings) = manager.current().await {
            return Ok(InUse { readers, settings });
        }
    }
    let settings = ResolvConf::parse(&file(root, RESOLV_CONF)?);
    Ok(InUse { readers: Readers::Programs, settings })
}

/// The content of a file of the host, as programs find it; empty where there is none.
pub(super) fn file(root: &Path, path: &str) -> io::Result<Vec<u8>> {
    let path = follow(root, &inside(root, Path::new(path)))?;
    Ok(read_regular(&path, LIMIT)?.unwrap_or_default())
}

/// The servers, those that are listed and those in use, and the file.
pub(super) async fn servers(
    host: &Host<'_>,
    known: &Known,
    resolvers: &Resolvers,
    root: &Path,
    listed: Result<Vec<NameServer>, Failure>,
) -> Vec<Finding> {
    let reason = listed.as_ref().err().cloned();
    let (resolved, used) = tokio::join!(
        resolve(host, known, resolvers, listed, Mode::Plan),
        in_use(known, resolvers, root)
    );
    let InUse { readers, settings } = match used {
        Ok(used) => used,
        Err(error) => {
            return vec![
                Finding::wrong(Check::ResolvConf, format!("{RESOLV_CONF} cannot be read"))
                    .because([error])
                    .remedy(["run `tagalong doctor` as root"]),
            ];
        }
    };
    let addresses = settings.nameservers();
    let mut asked = BTreeSet::new();
    let distinct = addresses.iter().filter(|address| asked.insert(**address));
    let questions = distinct.map(|address| probe(known, *address));
    let probed = join_all(questions).await;
    let mut findings = listed_servers(&resolved, &addresses, known);
    let is_listed = |address: IpAddr| {
        let Resolved { ranking, .. } = &resolved;
        let mut ranked = ranking.usable.iter().chain(&ranking.left_out);
        ranked.any(|ranked| ranked.server.address.ip() == address)
    };
    let others = probed.iter().filter(|probe| !is_listed(probe.address));
    findings.extend(others.map(|probe| unlisted(probe, &resolved, known)));
    if readers == Readers::Programs {
        findings.extend(lines_of(&settings));
    }
    findings.extend(file_findings(&resolved, &addresses, reason.as_ref()));
    let reach = |address: &IpAddr| {
        let probe = probed.iter().find(|probe| probe.address == *address);
        (*address, probe.map_or(Reach::Silent, |probe| probe.reach))
    };
    let reaches = addresses.iter().map(reach).collect::<Vec<_>>();
    let options = Options::of(&settings.options());
    let setter = if is_managed(known) { Setter::Agent } else { Setter::Other };
    findings.extend(first_server(&reaches, options, readers, setter, &settings.search()));
    findings
}

/// A server in use.
struct Probe {
    address: IpAddr,
    health: Health,
    reach: Reach,
}

async fn probe(known: &Known, address: IpAddr) -> Probe {
    let server = SocketAddr::new(address, known.config.discovery.port);
    let prober = SoaProber::new(known.probe_zone());
    let listed = NameServer::at(server);
    let (health, reach) = tokio::join!(prober.probe(&listed, Depth::Quick), reach(server));
    Probe { address, health, reach }
}

/// Whether a server that does not answer lets its callers wait for that.
async fn reach(server: SocketAddr) -> Reach {
    let peer = Peer { server, key: None, clock: now, timing: ONE_QUESTION };
    let Ok(request) = query(&Name::root(), Question::Soa, Recursion::Desired) else {
        return Reach::Silent;
    };
    match peer.ask(&request).await {
        Err(ExchangeError::NoAnswer { .. }) => Reach::Silent,
        Err(ExchangeError::Unreachable { .. }) => Reach::Closed,
        Ok(_) | Err(_) => Reach::Answers,
    }
}

/// Each listed server, best first, and why it stands there.
fn listed_servers(resolved: &Resolved, in_use: &[IpAddr], known: &Known) -> Vec<Finding> {
    let place = |ranked: &Ranked| {
        let address = ranked.server.address;
        let used = in_use.contains(&address.ip());
        (used, format!("{address} {}", if used { "in use" } else { "not in use" }))
    };
    let usable = resolved.ranking.usable.iter().map(|ranked| {
        let (_, text) = place(ranked);
        if ranked.burden == Burden::Impaired {
            Finding::note(Check::Server, format!("{text}, and used after sound ones"))
                .because(&ranked.because)
                .remedy(["see the transfer of its zone, and whether TCP port 53 is open to it"])
        } else {
            Finding::fine(Check::Server, text).because(&ranked.because)
        }
    });
    let left_out = resolved.ranking.left_out.iter().map(|ranked| {
        let (used, text) = place(ranked);
        let verdict = if used { Verdict::Wrong } else { Verdict::Note };
        let id = ranked.server.instance_id.as_deref().unwrap_or("its host");
        Finding::of(Check::Server, verdict, format!("{text}, and does not serve"))
            .because(&ranked.because)
            .remedy([format!(
                "see whether {id} runs a DNS server of {}, and its security group (UDP and TCP port 53 from here); what serves no \
                 more should not carry the tag {}",
                known.probe_zone(),
                known.config.discovery.tag
            )])
    });
    usable.chain(left_out).collect()
}

/// A server that is in use and that nobody lists.
fn unlisted(probe: &Probe, resolved: &Resolved, known: &Known) -> Finding {
    let Probe { address, health, .. } = probe;
    let text = format!("{address} in use");
    if !is_managed(known) && matches!(health, Health::Ignorant(_)) {
        let zone = known.probe_zone();
        return Finding::note(Check::Server, format!("{text}, and does not know {zone}"))
            .because(["`[resolver] manager` is \"none\", so that the resolver is left as it is"])
            .remedy([format!(
                "if programs here are to find names of {zone}, let the resolver ask a server of it"
            )]);
    }
    let (serves, because) = match health {
        Health::Alive(answer) => (true, format!("answered in {} ms", answer.time.as_millis())),
        Health::Ignorant(_) => (false, format!("does not know {}", known.probe_zone())),
        Health::Unwilling { rcode } => (false, format!("answered {rcode}")),
        Health::Silent { queries } => (false, format!("silent to {queries} queries")),
    };
    let replace = ["`tagalong once` puts the listed servers that live into its place"];
    let is_ours = is_managed(known) && !resolved.ranking.usable.is_empty();
    match (serves, is_ours) {
        (true, false) => Finding::fine(Check::Server, text).because([because]),
        (true, true) => Finding::note(Check::Server, format!("{text}, and not listed"))
            .because([because])
            .remedy(replace),
        (false, true) => Finding::wrong(Check::Server, format!("{text}, and does not serve"))
            .because([because, "no tag lists it".to_owned()])
            .remedy(replace),
        (false, false) => Finding::wrong(Check::Server, format!("{text}, and does not serve"))
            .because([because])
            .remedy(["see that server, or let the resolver use another"]),
    }
}

/// What the resolver's settings are, against what they should be.
fn file_findings(
    resolved: &Resolved,
    in_use: &[IpAddr],
    unlisted: Option<&Failure>,
) -> Vec<Finding> {
    let names = |addresses: &[IpAddr]| {
        let texts = addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
        if texts.is_empty() { "no server".to_owned() } else { texts.join(", ") }
    };
    let now = names(in_use);
    let notices = &resolved.notices;
    let mut findings = match &resolved.action {
        Action::Unchanged => vec![Finding::fine(Check::ResolvConf, now).because(notices)],
        Action::Written { .. } => {
            vec![
                Finding::note(
                    Check::ResolvConf,
                    format!("{now}; would be {}", names(&resolved.in_use)),
                )
                .because(notices)
                .remedy(["`tagalong plan` shows what would be set, `tagalong once` sets it"]),
            ]
        }
        Action::Kept(why) => {
            vec![
                Finding::note(Check::ResolvConf, format!("{now}; kept: {why}"))
                    .because(notices)
                    .remedy([if resolved.ranking.left_out.is_empty() {
                        "see what is wrong with the list of servers, and what takes the resolver over"
                    } else {
                        "see the servers that do not serve, and what takes the resolver over"
                    }]),
            ]
        }
        Action::Unmanaged => vec![Finding::fine(Check::ResolvConf, now)],
        // What its owner says against it is told of the owner.
        Action::Failed => return Vec::new(),
    };
    // What EC2 says is told of EC2.
    let failures = resolved.failures.iter().filter(|failure| Some(*failure) != unlisted);
    findings.extend(failures.map(|failure| failed(Check::ResolvConf, Verdict::Wrong, failure)));
    findings
}

const LIMIT: u64 = 1 << 20;
/// As long as a probe.
const ONE_QUESTION: Timing =
    Timing { retransmit: Duration::from_millis(300), limit: Duration::from_millis(600) };
