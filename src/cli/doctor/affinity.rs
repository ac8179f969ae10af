//! Which member of a shared name is the nearest, and which programs use it: for the names of `[resolver] prefer` as findings;
//! for one name, with `tagalong doctor --affinity NAME`, measured where the runtime is installed.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde::Serialize;

use super::{
    PATIENCE, failed,
    measure::{LOOKUPS, Measured, measure},
    resolver::{InUse, file, in_use},
};
use crate::{
    cli::{
        Code,
        args::Args,
        known::Known,
        lookup::{addresses, candidates},
        once::resolvers,
        pass::bounded,
        print,
        wiring::{Host, deadline, on_host, refused, settings},
    },
    core::{
        affinity::{Member, Nearness, Surroundings, order},
        callers::{Caller, Expectation, Ground, Sort, expect},
        detect::Owner,
        diagnosis::Readers,
        facts::Facts,
        finding::{Check, Finding, Verdict},
        gai_conf::{GAI_CONF, GaiConf},
        name::Name,
        resolv_conf::ResolvConf,
    },
    ports::{Failure, topic::Topic},
    resolver::Resolvers,
    store::Access,
};

pub(in crate::cli) fn run(args: &Args, name: &str, limit: Duration, started: Instant) -> Code {
    let deadline = deadline(started, limit);
    let (whole, name) = (args.clone(), name.to_owned());
    let look = move || match find(&whole, &name, deadline) {
        Ok((found, notices)) => {
            notices.iter().for_each(print::notice);
            print::data(if whole.json { json(&found) } else { text(&found) });
            Code::Done
        }
        Err(failures) => {
            failures.iter().for_each(print::failure);
            Code::Failed
        }
    };
    bounded(limit.saturating_sub(started.elapsed()), look).unwrap_or_else(|why| {
        print::failure(&why);
        Code::Failed
    })
}

/// What was found out about a name.
struct Found {
    name: Name,
    server: SocketAddr,
    members: Vec<Member>,
    sortlist: Vec<Sort>,
    gai_is_ours: bool,
    callers: Vec<(Caller, Measured, Expectation)>,
}

impl Found {
    fn nearest(&self) -> Option<Nearness> {
        self.members.first().map(|member| member.nearness)
    }

    /// Whether all of `firsts` are as near as the nearest member; `None` where there are none.
    fn are_nearest<'a>(&self, firsts: impl Iterator<Item = &'a IpAddr>) -> Option<bool> {
        let nearness = |address: &IpAddr| {
            self.members.iter().find(|one| one.address == *address).map(|one| one.nearness)
        };
        let are_near = firsts.map(|address| nearness(address) == self.nearest());
        are_near.reduce(|one, other| one && other)
    }
}

fn find(
    args: &Args,
    name: &str,
    deadline: tokio::time::Instant,
) -> Result<(Found, Vec<String>), Vec<Failure>> {
    let Some(settings) = settings(args) else { return Err(Vec::new()) };
    let resolvers = resolvers(args);
    let outcome = on_host(settings, args, Access::ReadOnly, PATIENCE, async |host| {
        let looked = tokio::time::timeout_at(deadline, look(host, args, &resolvers, name));
        let late = || {
            vec![Failure::told(
                "the deadline came before the name was looked up",
                None,
                Topic::Deadline,
            )]
        };
        looked.await.unwrap_or_else(|_| Err(late()))
    });
    let (found, more) = outcome?;
    let (found, mut notices) = found?;
    notices.extend(more);
    Ok((found, notices))
}

async fn look(
    host: &Host<'_>,
    args: &Args,
    resolvers: &Resolvers,
    name: &str,
) -> Result<(Found, Vec<String>), Vec<Failure>> {
    let mut notices = Vec::new();
    let facts = tokio::time::timeout(FACTS_PATIENCE, host.look()).await;
    let facts = facts.ok().and_then(|(facts, _)| facts.ok());
    if facts.is_none() {
        notices.push(
            "where this host stands is not known: the metadata service does not tell".to_owned(),
        );
    }
    let known = host.complete(facts.as_ref()).map_err(|errors| refused(&errors))?;
    let used = in_use(&known, resolvers, &args.root).await;
    let InUse { readers, settings } = used.map_err(|error| {
        let text = format!("resolv.conf cannot be read: {error}");
        vec![Failure::told(text, Some("run `tagalong doctor` as root"), Topic::Resolver)]
    })?;
    let pool = pool(host, &known, &settings, name).await.map_err(|failure| vec![failure])?;
    let here = here(host, facts.as_ref());
    let sortlist = sortlist(&settings);
    let gai = GaiConf::parse(&file(&args.root, GAI_CONF).unwrap_or_default());
    let ground = Ground {
        members: &pool.addresses,
        sortlist: &sortlist,
        gai: &gai,
        here: &here,
        asks_resolved: readers == Readers::SystemdResolved,
    };
    let is_this_host = args.root.as_os_str() == "/";
    let looks = Caller::ALL.iter().map(|caller| async {
        if is_this_host { measure(*caller, name).await } else { Measured::Not(ANOTHER_ROOT) }
    });
    let measured = join_all(looks).await;
    let callers = Caller::ALL.iter().zip(measured);
    let callers = callers.map(|(caller, measured)| (*caller, measured, expect(*caller, &ground)));
    let found = Found {
        name: pool.name,
        server: pool.server,
        members: order(&pool.addresses, &here),
        callers: callers.collect(),
        gai_is_ours: gai.is_ours(),
        sortlist,
    };
    Ok((found, notices))
}

/// A shared name, as a DNS server of this host tells it.
struct Pool {
    name: Name,
    server: SocketAddr,
    addresses: Vec<IpAddr>,
}

/// Asks the servers in use, then those that were listed last.
async fn pool(
    host: &Host<'_>,
    known: &Known,
    settings: &ResolvConf,
    name: &str,
) -> Result<Pool, Failure> {
    let port = known.config.discovery.port;
    let in_use = settings.nameservers().into_iter().map(|ip| SocketAddr::new(ip, port));
    let listed = host.notebook.ledger().servers.into_iter().flat_map(|known| known.servers);
    let servers = in_use.chain(listed.map(|server| server.address)).collect::<Vec<_>>();
    let answer = addresses(&servers, &candidates(name, &settings.search())).await;
    let (server, name, addresses) = answer.ok_or_else(|| {
        let servers = servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let servers = if servers.is_empty() { "nobody" } else { servers.as_str() };
        Failure::told(
            format!("no DNS server of this host knows an address of {name} (asked: {servers})"),
            Some("`tagalong doctor` says how they stand"),
            Topic::DnsServers,
        )
    })?;
    Ok(Pool { name, server, addresses })
}

fn here(host: &Host<'_>, facts: Option<&Facts>) -> Surroundings {
    let subnets = host.notebook.ledger().subnets.map(|known| known.subnets).unwrap_or_default();
    facts.map(|facts| Surroundings::of(facts, &subnets)).unwrap_or_default()
}

fn sortlist(settings: &ResolvConf) -> Vec<Sort> {
    settings.words_of("sortlist").iter().filter_map(|word| Sort::of(word)).collect()
}

/// The members of each name of `[resolver] prefer`, nearest first, and whether this host's files put them so.
pub(super) async fn findings(
    host: &Host<'_>,
    known: &Known,
    resolvers: &Resolvers,
    root: &Path,
    facts: Option<&Facts>,
) -> Vec<Finding> {
    let names = &known.config.resolver.prefer;
    if names.is_empty() {
        return Vec::new();
    }
    let Some(facts) = facts else {
        let text = "which members of the preferred names are near is not known";
        return vec![
            Finding::note(Check::Affinity, text)
                .because(["the metadata service does not tell where this host stands"])
                .remedy(["see what is said of `metadata`"]),
        ];
    };
    // What cannot be read is told of resolv.conf itself.
    let Ok(InUse { readers, settings }) = in_use(known, resolvers, root).await else {
        return Vec::new();
    };
    // Only the file itself has a place for it.
    let has_sortlist = match resolvers.open(known.config.resolver.manager).await {
        Ok(Some(manager)) => manager.verdict().owner == Owner::ResolvConf,
        Ok(None) | Err(_) => true,
    };
    let here = here(host, Some(facts));
    let sortlist = sortlist(&settings);
    let gai = GaiConf::parse(&file(root, GAI_CONF).unwrap_or_default());
    let look = async |name: &String| {
        let Pool { name, addresses, .. } = match pool(host, known, &settings, name).await {
            Ok(pool) => pool,
            Err(failure) => return failed(Check::Affinity, Verdict::Wrong, &failure),
        };
        let members = order(&addresses, &here);
        let ground = Ground {
            members: &addresses,
            sortlist: &sortlist,
            gai: &gai,
            here: &here,
            asks_resolved: readers == Readers::SystemdResolved,
        };
        let nearest = members.first().map(|member| member.nearness);
        let follows = |caller: &Caller| *caller != Caller::Gethostbyname || has_sortlist;
        let astray = FOLLOWING.into_iter().filter(follows).filter(|caller| {
            let first = expect(*caller, &ground).first;
            let is_near = |member: &&Member| Some(member.nearness) == nearest;
            let near = members.iter().filter(is_near).map(|member| member.address);
            let near = near.collect::<Vec<_>>();
            first.iter().any(|address| !near.contains(address))
        });
        let astray = astray.map(|caller| caller.to_string()).collect::<Vec<_>>();
        if astray.is_empty() {
            Finding::fine(Check::Affinity, format!("the nearest of {name} is used first"))
                .because(members)
        } else {
            let callers = astray.join(" and ");
            Finding::note(Check::Affinity, format!("{callers} may not use the nearest of {name}"))
                .because(members)
                .remedy([format!("`tagalong doctor --affinity {name}` says why")])
        }
    };
    join_all(names.iter().map(look)).await
}

fn text(found: &Found) -> String {
    let Found { name, server, members, sortlist, .. } = found;
    let mut lines = vec![format!("name               {name} at {server}")];
    lines.extend(members.iter().map(|member| format!("member             {member}")));
    let pairs = sortlist.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let pairs = if pairs.is_empty() { "none".to_owned() } else { pairs };
    lines.push(format!("sortlist           {pairs}"));
    let gai = if found.gai_is_ours { "has our block" } else { "has no block of ours" };
    lines.push(format!("gai.conf           {gai}"));
    for (caller, measured, expectation) in &found.callers {
        let because = expectation.because.iter().map(ToString::to_string).collect::<Vec<_>>();
        let because =
            if because.is_empty() { "there is no other".to_owned() } else { because.join(" · ") };
        let firsts = expectation.first.iter().map(ToString::to_string).collect::<Vec<_>>();
        let firsts = if firsts.is_empty() { "none".to_owned() } else { firsts.join(" or ") };
        let (what, nearest) = match measured {
            Measured::Firsts(firsts) => {
                let tally =
                    firsts.iter().map(|(address, count)| format!("{address} {count} of {LOOKUPS}"));
                let tally = tally.collect::<Vec<_>>().join(", ");
                (format!("measured: {tally}"), found.are_nearest(firsts.keys()))
            }
            Measured::Not(why) => {
                (format!("{why}; known: {firsts}"), found.are_nearest(expectation.first.iter()))
            }
        };
        let near = match nearest {
            Some(true) => "nearest first",
            Some(false) => "not the nearest first",
            None => "no address",
        };
        lines.push(format!("{caller:19}{what} ({near}) because: {because}"));
    }
    lines.join("\n")
}

fn json(found: &Found) -> String {
    #[derive(Serialize)]
    struct Out {
        name: String,
        server: String,
        members: Vec<MemberJson>,
        sortlist: Vec<String>,
        gai_conf_is_ours: bool,
        callers: Vec<CallerJson>,
    }
    #[derive(Serialize)]
    struct MemberJson {
        address: IpAddr,
        nearness: String,
        because: Option<String>,
    }
    #[derive(Serialize)]
    struct CallerJson {
        caller: String,
        /// How often each address came first; null where it was not measured.
        measured: Option<BTreeMap<IpAddr, usize>>,
        not_measured: Option<&'static str>,
        expected: Vec<IpAddr>,
        nearest_first: Option<bool>,
        because: Vec<String>,
    }
    let members = found.members.iter().map(|member| MemberJson {
        address: member.address,
        nearness: member.nearness.to_string(),
        because: member.because.map(|cidr| cidr.to_string()),
    });
    let callers = found.callers.iter().map(|(caller, measured, expectation)| {
        let (firsts, why) = match measured {
            Measured::Firsts(firsts) => (Some(firsts.clone()), None),
            Measured::Not(why) => (None, Some(*why)),
        };
        CallerJson {
            caller: caller.to_string(),
            nearest_first: match &firsts {
                Some(firsts) => found.are_nearest(firsts.keys()),
                None => found.are_nearest(expectation.first.iter()),
            },
            measured: firsts,
            not_measured: why,
            expected: expectation.first.clone(),
            because: expectation.because.iter().map(ToString::to_string).collect(),
        }
    });
    let out = Out {
        name: found.name.to_string(),
        server: found.server.to_string(),
        members: members.collect(),
        sortlist: found.sortlist.iter().map(ToString::to_string).collect(),
        gai_conf_is_ours: found.gai_is_ours,
        callers: callers.collect(),
    };
    serde_json::to_string_pretty(&out).unwrap_or_default()
}

const ANOTHER_ROOT: &str = "not measured under another --root";
const FACTS_PATIENCE: Duration = Duration::from_secs(2);
/// Who is held to the nearest by the files that are written; the others are measured for one name.
const FOLLOWING: [Caller; 2] = [Caller::GetaddrinfoUnspec, Caller::Gethostbyname];
