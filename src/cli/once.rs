//! `tagalong once`: one whole pass, both parts side by side, each failing alone, all of it inside the deadline.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::join_all};
use tokio::time::timeout_at;

use super::{
    Code,
    affinity::{near, prefer, sorted},
    args::Args,
    known::{Known, Wishes},
    pass::carry_out,
    wiring::{Host, refused},
};
use crate::{
    agent::{
        notebook::Notebook,
        patience::{Patience, out_of_time},
        registration::{Registered, Registration},
        report::Report,
        resolution::{Action, Mode, Resolution, Resolved},
    },
    backend::Opened,
    config::{Fallback, Manager},
    core::{name::Name, naming::Desired, ownership::OwnerId, servers::NameServer},
    ports::{Clock as _, Failure, InstanceDirectory, topic::Topic},
    resolver::{Resolvers, health::SoaProber},
    store::managed,
    sys::clock::SystemClock,
};

/// Whoever owns the resolver of the host that the command line names.
pub(super) fn resolvers(args: &Args) -> Resolvers {
    Resolvers::of(&args.root, &args.state_dir, &args.run_dir)
}

pub(super) fn run(args: &Args, limit: Duration, started: Instant) -> Code {
    let resolvers = resolvers(args);
    carry_out(args, limit, started, async move |host, deadline| {
        both(host, &resolvers, deadline).await
    })
}

/// Registers and resolves side by side. The resolver does not wait long for facts: its last good list needs none.
async fn both(host: &Host<'_>, resolvers: &Resolvers, deadline: tokio::time::Instant) -> Report {
    let facts = async { host.facts(deadline).await.map(Arc::new).map_err(Arc::new) }.shared();
    let known = async {
        let facts = facts.clone().await;
        match host.complete(facts.as_deref().ok()) {
            Ok(known) => Ok((known, facts.err())),
            Err(errors) => Err(refused(&errors)),
        }
    };
    let known = known.map(Arc::new).shared();
    let servers = {
        let known = known.clone();
        async move {
            match known.await.as_ref() {
                Ok((known, None)) => host.servers(known, deadline).await,
                Ok((_, Some(failure))) => Err(failure.as_ref().clone()),
                Err(failures) => Err(failures.first().cloned().unwrap_or_else(|| {
                    Failure::told("the configuration cannot be used", None, Topic::Configuration)
                })),
            }
        }
        .shared()
    };

    let register = async {
        let known = match known.clone().await.as_ref() {
            Ok((known, None)) => known.clone(),
            Ok((_, Some(failure))) => return (Vec::new(), vec![failure.as_ref().clone()]),
            Err(failures) => return (Vec::new(), failures.clone()),
        };
        register_all(host, known, deadline, servers.clone()).await
    };
    let listed = async {
        match known.clone().await.as_ref() {
            Ok((known, _)) if known.config.resolver.manager == Manager::None => Ok(Vec::new()),
            _ => servers.clone().await,
        }
    };
    let listed = listed.shared();
    let resolve = async {
        let mut blind = None;
        if tokio::time::timeout(list_patience(deadline), listed.clone()).await.is_err() {
            // Better the last good list now than the newest one too late; a newer one follows if it comes.
            let late = list_is_late();
            let so_far = match known.clone().now_or_never().as_deref() {
                Some(Ok((known, _))) => Some(known.clone()),
                Some(Err(_)) => None,
                None => host.complete(None).ok(),
            };
            if let Some(so_far) = so_far {
                let outcome = resolve(host, &so_far, resolvers, Err(late.clone()), Mode::Apply);
                blind = timeout_at(deadline, outcome).await.ok();
            }
            if let (Err(why), Some(blind)) = (listed.clone().await, &mut blind) {
                blind.learn(&late, &why);
                return Some(blind.clone());
            }
        }
        match known.clone().await.as_ref() {
            Ok((known, _)) => {
                let outcome = resolve(host, known, resolvers, listed.clone().await, Mode::Apply);
                Some(timeout_at(deadline, outcome).await.ok().or(blind).unwrap_or_else(|| {
                    Resolved { failures: vec![out_of_time("a DNS server")], ..Resolved::default() }
                }))
            }
            Err(_) => blind,
        }
    };
    let (registered, resolved) = tokio::join!(register, resolve);
    let mut report = Report { resolved, inputs: host.inputs(), ..Report::default() };
    (report.registered, report.failures) = registered;
    if let Ok((known, _)) = known.clone().await.as_ref() {
        report.instance_id = known.facts.as_ref().map(|facts| facts.identity.instance_id.clone());
        report.notices = known.notices();
        // While tags are refused or unread, it is not known what the configuration has.
        if known.is_whole() {
            report.notices.extend(abandoned(known, host.notebook));
        }
    }
    report
}

/// Publishes in every backend that has something to hold or to give back; what cannot be named yet is waited for, and the
/// rest does not wait with it. Gives what became of each backend, and what could not be said.
pub(super) async fn register_all(
    host: &Host<'_>,
    mut known: Known,
    deadline: tokio::time::Instant,
    servers: impl Future<Output = Result<Vec<NameServer>, Failure>> + Clone,
) -> (Vec<Registered>, Vec<Failure>) {
    let mut registered: Vec<Registered> = Vec::new();
    let mut patience = Patience::until(deadline);
    let mut published = None;
    loop {
        let wishes = known.wishes();
        let Some(facts) = &known.facts else { return (registered, wishes.failures) };
        let sayable = wishes.failures.is_empty() || !wishes.desired.is_empty();
        if sayable && published.as_ref() != Some(&wishes.desired) {
            let owner = OwnerId::of(&facts.identity);
            host.notebook.belongs_to(&owner);
            let backends = backends(&known, &wishes.desired, host.notebook);
            let parts = backends.iter().map(|name| {
                register(host, &known, name, &wishes, &owner, deadline, servers.clone())
            });
            let outcomes = join_all(parts).await.into_iter().map(|outcome| {
                let earlier = registered.iter().position(|one| one.backend == outcome.backend);
                outcome.after(earlier.map(|place| registered.swap_remove(place)))
            });
            let outcomes = outcomes.collect::<Vec<_>>();
            registered.extend(outcomes);
            registered.sort_by(|one, other| one.backend.cmp(&other.backend));
            published = Some(wishes.desired);
        }
        let Some(pause) = wishes.pause.filter(|_| !wishes.failures.is_empty()) else {
            return (registered, wishes.failures);
        };
        match known.look_again(host, &mut patience, pause).await {
            Ok(true) => {}
            Ok(false) => return (registered, wishes.failures),
            Err(failures) => return (registered, failures),
        }
    }
}

/// The backends that have published, and that the configuration no longer has; none while that is not known.
pub(super) fn former(known: &Known, notebook: &Notebook<'_>) -> BTreeSet<String> {
    let published = notebook.ledger().published.into_keys().filter(|_| known.is_whole());
    published.filter(|name| !known.config.backends.contains_key(name)).collect()
}

/// Names that nobody will take back, since the backend that they were published by is not configured any more.
pub(super) fn abandoned(known: &Known, notebook: &Notebook<'_>) -> Vec<String> {
    let published = notebook.ledger().published.into_iter();
    let lost = published.filter(|(backend, _)| !known.config.backends.contains_key(backend));
    let told = |backend: &str, name: &Name| {
        format!(
            "{name} was published by backend `{backend}`, which the configuration no longer has"
        )
    };
    lost.flat_map(|(backend, names)| names.into_keys().map(move |name| told(&backend, &name)))
        .collect()
}

/// The backends that have something to do: names to hold, or names to give back.
pub(super) fn backends(
    known: &Known,
    desired: &Desired,
    notebook: &Notebook<'_>,
) -> BTreeSet<String> {
    let published = notebook.ledger().published.into_keys();
    published
        .chain(desired.keys().cloned())
        .filter(|name| known.config.backends.contains_key(name))
        .collect()
}

/// Publishes in one backend. Where the list of servers is late, the last good one serves meanwhile, and what fails with it is
/// tried again with the new one.
async fn register(
    host: &Host<'_>,
    known: &Known,
    name: &str,
    wishes: &Wishes,
    owner: &OwnerId,
    deadline: tokio::time::Instant,
    servers: impl Future<Output = Result<Vec<NameServer>, Failure>> + Clone,
) -> Registered {
    let at = async |listed, deadline| {
        register_at(host, known, name, wishes, owner, deadline, listed).await
    };
    if !known.needs_discovery(name) {
        return at(Ok(Vec::new()), deadline).await;
    }
    if host.notebook.ledger().servers.is_none() {
        return at(servers.await, deadline).await;
    }
    if let Ok(listed) = tokio::time::timeout(list_patience(deadline), servers.clone()).await {
        return at(listed, deadline).await;
    }
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    let outcome = at(Err(list_is_late()), deadline - left / 2).await;
    if outcome.is_good() {
        return outcome;
    }
    match servers.await {
        Ok(listed) => at(Ok(listed), deadline).await.after(Some(outcome)),
        Err(_) => outcome,
    }
}

async fn register_at(
    host: &Host<'_>,
    known: &Known,
    name: &str,
    wishes: &Wishes,
    owner: &OwnerId,
    deadline: tokio::time::Instant,
    listed: Result<Vec<NameServer>, Failure>,
) -> Registered {
    let (opened, notice) = match open(host, known, name, listed, deadline).await {
        Ok(opened) => opened,
        Err(failure) => return Registered::failed(name, failure),
    };
    opened.presume();
    let nothing = std::collections::BTreeMap::new();
    let instances = known.instances();
    let registration = Registration {
        instances: instances.as_ref().map(|it| it as &dyn InstanceDirectory),
        owner,
        name,
        backend: opened.port(),
        desired: wishes.desired.get(name).unwrap_or(&nothing),
        unwanted: wishes.unwanted(),
        former: &former(known, host.notebook),
        also_retired: BTreeSet::new(),
        notebook: host.notebook,
        clock: &SystemClock,
        deadline,
    };
    let mut outcome = registration.run().await;
    outcome.notices.extend(notice);
    let (zones, now) = (opened.zone_ids(), SystemClock.now());
    if let Err(error) = host.notebook.note(|ledger| ledger.remember_zones(name, zones.clone(), now))
    {
        outcome.failures.push(Failure::of(&error));
    }
    outcome
}

/// Opens a backend; one that uses discovered servers gets the list, or the last good one, and then a notice says so.
pub(super) async fn open(
    host: &Host<'_>,
    known: &Known,
    name: &str,
    listed: Result<Vec<NameServer>, Failure>,
    deadline: tokio::time::Instant,
) -> Result<(Opened, Option<String>), Failure> {
    let ledger = host.notebook.ledger();
    let mut notice = None;
    let servers = match listed {
        _ if !known.needs_discovery(name) => Vec::new(),
        Ok(servers) if !servers.is_empty() => servers,
        listed => match (ledger.servers.as_ref(), listed) {
            (Some(last_good), listed) => {
                let why = listed
                    .err()
                    .map_or("no DNS server is listed".to_owned(), |why| why.to_string());
                let age = SystemClock.now().saturating_sub(last_good.at);
                notice = Some(format!("{why}; backend `{name}` uses the list of {age} s ago"));
                last_good.servers.clone()
            }
            (None, Ok(servers)) => servers,
            (None, Err(failure)) => return Err(failure),
        },
    };
    let zones = if known.has_zone_id(name) {
        ledger.zones.get(name).map(|known| &known.by_id)
    } else {
        ledger.fresh_zones(name, SystemClock.now())
    };
    let zones = zones.cloned().unwrap_or_default();
    let opened = known.open(name, &servers, zones, host.keys(known, name), deadline).await?;
    Ok((opened, notice))
}

/// Sets the resolver, or in [`Mode::Plan`] says what would be set.
pub(super) async fn resolve(
    host: &Host<'_>,
    known: &Known,
    resolvers: &Resolvers,
    listed: Result<Vec<NameServer>, Failure>,
    mode: Mode<'_>,
) -> Resolved {
    let manager = match resolvers.open(known.config.resolver.manager).await {
        Ok(Some(manager)) => manager,
        Ok(None) => return Resolved { action: Action::Unmanaged, ..Resolved::default() },
        Err(error) => {
            return Resolved {
                action: Action::Kept("it cannot be set"),
                failures: vec![Failure::of(&error)],
                ..Resolved::default()
            };
        }
    };
    let fallback = match known.config.resolver.fallback {
        Fallback::Vpc => {
            known.config.vpc_resolver.iter().map(|address| NameServer::at(*address)).collect()
        }
        Fallback::None => Vec::new(),
    };
    let mut outcome = Resolved::default();
    let networks = near(host, known, mode, &mut outcome).await;
    let mut policy = known.config.resolver.policy.clone();
    policy.sortlist = sorted(host, known, &listed, networks.as_deref()).await;
    let resolution = Resolution {
        listed,
        sought: known.sought(),
        prober: &SoaProber::new(known.probe_zone()),
        manager: manager.as_ref(),
        policy: &policy,
        here: known.here(&host.notebook.ledger()),
        fallback,
        port: known.config.discovery.port,
        notebook: host.notebook,
        // Nothing depends on it but that an agent beside us does not take us for another program.
        announce: &|wanted| drop(managed::set(&host.run_dir, Some(wanted))),
        clock: &SystemClock,
        stale: known.config.resolver.stale,
    };
    let mut resolved = resolution.run(mode).await;
    prefer(resolvers, networks.as_deref(), mode, &mut resolved);
    resolved.notices.extend(host.untold());
    resolved.notices.extend(outcome.notices);
    resolved.failures.extend(outcome.failures);
    resolved
}

/// How long the list of servers is waited for before the last good one does.
fn list_patience(deadline: tokio::time::Instant) -> Duration {
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    LIST_PATIENCE.min(left / 4)
}

fn list_is_late() -> Failure {
    Failure::told("EC2 has not listed the DNS servers yet", None, Topic::Ec2)
}

/// The longest that it is waited for.
pub(super) const LIST_PATIENCE: Duration = Duration::from_secs(3);
