//! `tagalong once`: one whole pass, both parts side by side, each failing alone, all of it inside the deadline.

use std::{
    collections::BTreeSet,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::join_all};

use super::{
    Code,
    args::Args,
    print,
    status::ReportJson,
    wiring::{Host, Known, deadline, open_store, runtime, settings},
};
use crate::{
    agent::{
        notebook::Notebook,
        registration::{Registered, Registration},
        report::Report,
        resolution::{Action, Mode, Resolution, Resolved},
    },
    config::{Fallback, Manager, settings::Settings},
    core::{naming::Desired, ownership::OwnerId, servers::NameServer},
    ec2::imds::Patience,
    ports::{Failure, Situation as _},
    resolver::{self, health::SoaProber},
    store::StateFile,
    sys::clock::SystemClock,
};

/// Where a pass works.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) root: std::path::PathBuf,
    pub(super) state: std::path::PathBuf,
}

impl Places {
    pub(super) fn of(args: &Args) -> Self {
        Self { root: args.root.clone(), state: args.state_dir.clone() }
    }
}

pub(super) fn run(args: &Args, limit: Duration, started: Instant) -> Code {
    let Some(settings) = settings(args) else { return Code::Failed };
    let places = Places::of(args);
    let report = bounded(limit, started, move || pass(settings, &places, started, limit));
    finish(args, report)
}

/// Runs `work` on a thread of its own and waits no longer than the deadline: a system call that hangs hangs alone.
pub(super) fn bounded(
    limit: Duration,
    started: Instant,
    work: impl FnOnce() -> Report + Send + 'static,
) -> Report {
    let (sender, receiver) = mpsc::channel();
    let spawned =
        thread::Builder::new().name("pass".to_owned()).spawn(move || sender.send(work()).ok());
    if let Err(error) = spawned {
        return Report {
            failures: vec![Failure::told(format!("no thread for the pass: {error}"), None)],
            ..Report::default()
        };
    }
    receiver.recv_timeout(limit.saturating_sub(started.elapsed())).unwrap_or_else(|_| Report {
        failures: vec![Failure::told(
            "the deadline came while the system kept the pass waiting",
            None,
        )],
        ..Report::default()
    })
}

/// Prints a pass's outcome.
pub(super) fn finish(args: &Args, report: Report) -> Code {
    report.notices().for_each(print::notice);
    for part in &report.registered {
        for blocked in &part.blocked {
            print::failure(&Failure::told(
                format!("{} is left alone: {}", blocked.name, blocked.by),
                Some(blocked.by.hint()),
            ));
        }
    }
    report.failures().for_each(print::failure);
    if args.json {
        print::data(ReportJson::of(&report).render());
    } else {
        print::data(&report);
    }
    if report.is_good() { Code::Done } else { Code::Failed }
}

fn pass(settings: Settings, places: &Places, started: Instant, limit: Duration) -> Report {
    let failed = |failure| Report { failures: vec![failure], ..Report::default() };
    let store = open_store(&places.state);
    let notebook = match Notebook::open(&store) {
        Ok(notebook) => notebook,
        Err(error) => return failed(Failure::of(&error)),
    };
    let host = match Host::new(settings, &notebook, Patience::default()) {
        Ok(host) => host,
        Err(errors) => return refused(errors),
    };
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return failed(Failure::told(format!("no runtime: {error}"), None)),
    };
    let mut report = runtime.block_on(both(&host, places, deadline(started, limit)));
    runtime.shutdown_background();
    report.notices.extend(store_notices(&store));
    report
}

pub(super) fn store_notices(store: &StateFile) -> Vec<String> {
    store.take_notices()
}

pub(super) fn refused(errors: Vec<crate::config::settings::ConfigError>) -> Report {
    let failures = errors.iter().map(|error| Failure::told(error, None)).collect();
    Report { failures, ..Report::default() }
}

/// Registers and resolves side by side. The resolver does not wait long for facts: its last good list needs none.
async fn both(host: &Host<'_>, places: &Places, deadline: tokio::time::Instant) -> Report {
    let facts = async { host.facts(deadline).await.map(Arc::new).map_err(Arc::new) }.shared();
    let known = async {
        let facts = facts.clone().await;
        match host.complete(facts.as_deref().ok()) {
            Ok(known) => Ok((known, facts.err())),
            Err(errors) => {
                Err(errors.iter().map(|error| Failure::told(error, None)).collect::<Vec<_>>())
            }
        }
    };
    let known = known.map(Arc::new).shared();
    let servers = {
        let known = known.clone();
        async move {
            match known.await.as_ref() {
                Ok((known, None)) => known.servers(deadline).await,
                Ok((_, Some(failure))) => Err(failure.as_ref().clone()),
                Err(failures) => {
                    Err(failures.first().cloned().unwrap_or_else(|| Failure::told("unknown", None)))
                }
            }
        }
        .shared()
    };

    let register = async {
        let known = match known.clone().await.as_ref() {
            Ok((known, None)) => known.clone(),
            Ok((_, Some(failure))) => return Err(vec![failure.as_ref().clone()]),
            Err(failures) => return Err(failures.clone()),
        };
        register_all(host, known, deadline, servers.clone()).await
    };
    let resolve = async {
        let early = tokio::time::timeout(FACTS_PATIENCE, known.clone()).await.is_ok();
        if !early && let Ok(blind) = host.complete(None) {
            // Better the last good list now than the newest one too late; a newer one follows if it comes.
            let silent = Err(Failure::told("the instance's metadata are not there yet", None));
            let blind = resolve(host, &blind, places, silent, Mode::Apply).await;
            match known.clone().await.as_ref() {
                Ok((known, None)) => {
                    return Some(
                        resolve(host, known, places, servers.clone().await, Mode::Apply).await,
                    );
                }
                _ => return Some(blind),
            }
        }
        match known.clone().await.as_ref() {
            Ok((known, _)) => {
                let managed = known.config.resolver.manager != Manager::None;
                let servers = if managed { servers.clone().await } else { Ok(Vec::new()) };
                Some(resolve(host, known, places, servers, Mode::Apply).await)
            }
            Err(_) => None,
        }
    };
    let (registered, resolved) = tokio::join!(register, resolve);
    let mut report = Report { resolved, ..Report::default() };
    match registered {
        Ok(registered) => report.registered = registered,
        Err(failures) => report.failures = failures,
    }
    if let Ok((known, _)) = known.await.as_ref() {
        report.instance_id = known.facts.as_ref().map(|facts| facts.identity.instance_id.clone());
        report.notices = known.notices();
    }
    report
}

/// Publishes in every backend that has something to hold or to give back.
async fn register_all(
    host: &Host<'_>,
    mut known: Known,
    deadline: tokio::time::Instant,
    servers: impl Future<Output = Result<Vec<NameServer>, Failure>> + Clone,
) -> Result<Vec<Registered>, Vec<Failure>> {
    let desired = known.desired(host, deadline).await.map_err(|failure| vec![failure])?;
    let Some(facts) = &known.facts else { return Ok(Vec::new()) };
    let owner = OwnerId::new(&facts.identity.instance_id);
    host.notebook.belongs_to(&owner);
    let backends = backends(&known, &desired, host.notebook);
    let parts = backends
        .iter()
        .map(|name| register(host, &known, name, &desired, &owner, deadline, servers.clone()));
    Ok(join_all(parts).await)
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

async fn register(
    host: &Host<'_>,
    known: &Known,
    name: &str,
    desired: &Desired,
    owner: &OwnerId,
    deadline: tokio::time::Instant,
    servers: impl Future<Output = Result<Vec<NameServer>, Failure>>,
) -> Registered {
    let discovered = if known.needs_discovery(name) {
        discovered(host.notebook, servers.await)
    } else {
        Ok(Vec::new())
    };
    let opened = match discovered
        .and_then(|servers| known.open(name, &servers, host.notebook.ledger().zone_ids))
    {
        Ok(opened) => opened,
        Err(failure) => return Registered::failed(name, failure),
    };
    let nothing = std::collections::BTreeMap::new();
    let registration = Registration {
        owner,
        name,
        backend: opened.port(),
        desired: desired.get(name).unwrap_or(&nothing),
        also_retired: BTreeSet::new(),
        notebook: host.notebook,
        clock: &SystemClock,
        deadline,
    };
    let mut outcome = registration.run().await;
    if let Err(error) = host.notebook.note(|ledger| ledger.zone_ids.extend(opened.zone_ids())) {
        outcome.failures.push(Failure { texts: crate::ports::chain(&error), hints: error.hints() });
    }
    outcome
}

/// The servers of a backend that uses discovered ones: the list, or the last good one.
pub(super) fn discovered(
    notebook: &Notebook<'_>,
    listed: Result<Vec<NameServer>, Failure>,
) -> Result<Vec<NameServer>, Failure> {
    let known = notebook.ledger().servers.map(|known| known.servers);
    match (listed, known) {
        (Ok(servers), None) => Ok(servers),
        (Ok(servers), Some(known)) => Ok(if servers.is_empty() { known } else { servers }),
        (Err(_), Some(known)) => Ok(known),
        (Err(failure), None) => Err(failure),
    }
}

/// Sets the resolver, or in [`Mode::Plan`] says what would be set.
pub(super) async fn resolve(
    host: &Host<'_>,
    known: &Known,
    places: &Places,
    listed: Result<Vec<NameServer>, Failure>,
    mode: Mode,
) -> Resolved {
    let manager = match resolver::open(known.config.resolver.manager, &places.root, &places.state) {
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
    let resolution = Resolution {
        listed,
        prober: &SoaProber::new(known.probe_zone()),
        manager: manager.as_ref(),
        policy: &known.config.resolver.policy,
        here: known.here(),
        fallback,
        port: known.config.discovery.port,
        notebook: host.notebook,
        clock: &SystemClock,
    };
    resolution.run(mode).await
}

/// How long the resolver waits for the metadata before it makes do with the last good list.
const FACTS_PATIENCE: Duration = Duration::from_secs(3);
