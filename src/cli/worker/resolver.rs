//! The agent's jobs about the resolver: the servers in it, and the file that other programs write too.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::Worker;
use crate::{
    agent::{
        daemon::Performed,
        report::Report,
        resolution::{Action, Mode},
    },
    cli::{known::Known, once::resolve},
    config::Manager,
    core::{
        resolv_conf::ResolvConf,
        schedule::{Event, Outcome},
        servers::{Health, NameServer},
    },
    ports::{Clock as _, Depth, Failure, Prober as _, ResolverManager},
    resolver::health::SoaProber,
    store::{managed, trampled::difference},
    sys::clock::SystemClock,
};

/// Which list of servers is ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// The one that is known.
    Last,
    /// One that is read now.
    New,
}

impl Worker<'_> {
    pub(super) async fn set_resolver(&self, listing: Listing) -> Performed {
        let host = self.host();
        let Some(known) = self.known_or_read(&host).await else {
            return Performed::with(Outcome::Failed);
        };
        let manager = known.config.resolver.manager;
        let needs_list = known.config.backends.keys().any(|name| known.needs_discovery(name));
        if manager == Manager::None {
            self.leave_the_resolver_alone();
        }
        if manager == Manager::None && !needs_list {
            return Performed::with(Outcome::Done);
        }
        let listed = match listing {
            Listing::New => host.servers(&known, Instant::now() + LIST_LIMIT).await,
            Listing::Last => match self.notebook.last_servers() {
                Some(last) => Ok(last.servers),
                None => return Performed::with(Outcome::Done),
            },
        };
        let is_listed = listed.is_ok();
        let is_throttled = listed.as_ref().is_err_and(|failure| failure.is_throttled);
        // Until it is known what was set, nobody can tell our own change from others'.
        let setting = self.setting.lock().await;
        let resolved =
            resolve(&host, &known, &self.resolvers, listed, Mode::Follow(&self.proposed)).await;
        // Where nobody serves, whatever another program writes can only be better.
        self.wanted.borrow_mut().clone_from(&resolved.wanted);
        drop(setting);
        let usable = resolved.ranking.usable.iter().map(|ranked| ranked.server.address.ip());
        let usable = usable.collect::<BTreeSet<_>>();
        self.silent.borrow_mut().retain(|address| !usable.contains(address));
        if matches!(resolved.action, Action::Written { .. }) {
            self.silent.borrow_mut().clear();
            tracing::info!(
                owner = resolved.owner,
                "{}",
                Report { resolved: Some(resolved.clone()), ..Report::default() }
            );
        }
        let is_good = resolved.failures.is_empty() && (is_listed || listing == Listing::Last);
        self.report.borrow_mut().resolved = Some(resolved.clone());
        self.say("resolve", &Report { resolved: Some(resolved), ..Report::default() });
        let performed = self.close(&host, is_good);
        if is_throttled {
            return Performed { outcome: Outcome::Throttled, ..performed };
        }
        performed
    }

    /// From now on it is others', and the clients' hooks do not keep them away.
    pub(in crate::cli) fn leave_the_resolver_alone(&self) {
        *self.wanted.borrow_mut() = None;
        let _ = managed::set(&self.args.run_dir, false);
    }

    /// Puts the file back if another program changed it.
    pub(super) async fn guard(&self) -> Performed {
        let _setting = self.setting.lock().await;
        let Some(wanted) = self.wanted.borrow().clone() else {
            return Performed::with(Outcome::Done);
        };
        let manager = match self.manager().await {
            Ok(Some(manager)) => manager,
            Ok(None) => return Performed::with(Outcome::Done),
            Err(failure) => {
                // Somebody else owns the resolver now: that is no overwriting, and not ours to undo.
                self.say_conditions("guard", [failure.to_string()]);
                return Performed::with(Outcome::Done);
            }
        };
        let current = match manager.current().await {
            Ok(current) => current,
            Err(error) => {
                self.say_conditions("guard", [Failure::of(&error).to_string()]);
                return Performed::with(Outcome::Failed);
            }
        };
        let ours = manager.becomes(&current, &wanted);
        if ours == current {
            self.say_conditions("guard", []);
            return Performed::with(Outcome::Done);
        }
        let answers = match self.known() {
            Some(known) => ask(&known, wanted.nameservers.clone()).await,
            None => Vec::new(),
        };
        if !answers.iter().any(|(_, health)| health.answers()) {
            // They have died since they were set: whatever was written instead can only be better, until all are ranked again.
            let events = vec![Event::ServerSilent];
            return Performed { events, ..Performed::with(Outcome::Done) };
        }
        self.note_trampling(&current, &ours);
        if let Err(error) = manager.apply(&wanted).await {
            self.say_conditions("guard", [Failure::of(&error).to_string()]);
            return Performed::with(Outcome::Failed);
        }
        Performed::with(Outcome::Trampled)
    }

    fn note_trampling(&self, theirs: &ResolvConf, ours: &ResolvConf) {
        let mut trampled = self.trampled.borrow_mut();
        trampled.at = SystemClock.now();
        trampled.times += 1;
        trampled.difference = difference(&ours.to_string(), &theirs.to_string());
        tracing::info!(difference = ?trampled.difference, "another program changed the resolver's servers; they are put back");
        // It is there to be looked at, and nothing depends on it.
        let _ = trampled.save(&self.args.run_dir);
    }

    async fn manager(&self) -> Result<Option<Box<dyn ResolverManager>>, Failure> {
        let manager = self
            .known()
            .map_or(self.config.borrow().resolver.manager, |known| known.config.resolver.manager);
        self.resolvers.open(manager).await.map_err(|error| Failure::of(&error))
    }

    /// Whether the servers in use serve. Only a change is an event: what stays silent is ranked again by its own timer.
    pub(super) async fn probe(&self) -> Performed {
        let mut performed = Performed::with(Outcome::Done);
        let Some(known) = self.known() else { return performed };
        let Ok(Some(manager)) = self.manager().await else { return performed };
        let Ok(current) = manager.current().await else { return performed };
        let answers = ask(&known, current.nameservers()).await;
        let silent = answers.into_iter().filter(|(_, health)| !matches!(health, Health::Alive(_)));
        let silent = silent.map(|(address, _)| address);
        let silent = silent.collect::<BTreeSet<_>>();
        let before = self.silent.replace(silent.clone());
        if silent.difference(&before).next().is_some() {
            performed.events.push(Event::ServerSilent);
        }
        performed
    }
}

/// What each server answers now.
async fn ask(known: &Known, servers: Vec<IpAddr>) -> Vec<(IpAddr, Health)> {
    let prober = SoaProber::new(known.probe_zone());
    let port = known.config.discovery.port;
    let answers = servers.into_iter().map(|address| {
        let (prober, server) = (&prober, NameServer::at(SocketAddr::new(address, port)));
        async move { (address, prober.probe(&server, Depth::Quick).await) }
    });
    join_all(answers).await
}

const LIST_LIMIT: Duration = Duration::from_secs(10);
