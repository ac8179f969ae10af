//! The agent's jobs about the resolver: the servers in it, and the file that other programs write too.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use super::{
    Worker,
    telling::{GUARD, RESOLVE, in_full},
};
use crate::{
    agent::{
        daemon::Performed,
        report::Report,
        resolution::{Action, Guard, Guarded, Mode},
    },
    cli::{known::Known, once::resolve},
    config::Manager,
    core::{
        event::Event,
        job::{Outcome, Possession},
        resolv_conf::ResolvConf,
        servers::{Health, NameServer, Ranked},
    },
    ports::{Clock as _, Depth, Failure, Prober as _, ResolverManager, error::ResolverError},
    resolver::health::SoaProber,
    store::{
        managed,
        trampled::{Fate, Trampled, difference},
    },
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
    pub(super) async fn set_resolver(&self, listing: Listing, possession: Possession) -> Performed {
        let host = self.host();
        let Some(known) = self.known_or_read(&host).await else {
            return Performed::with(Outcome::Failed);
        };
        let manager = known.config.resolver.manager;
        let needs_list = known.config.backends.keys().any(|name| known.needs_discovery(name));
        if manager == Manager::None {
            self.give_the_resolver_back().await;
        }
        if manager == Manager::None && !needs_list {
            self.say_conditions(RESOLVE, []);
            return Performed::with(Outcome::Done);
        }
        let listed = match listing {
            Listing::New => host.servers(&known, Instant::now() + LIST_LIMIT).await,
            Listing::Last => match self.notebook.last_servers() {
                Some(last) => Ok(last.servers),
                None => return Performed::with(Outcome::Done),
            },
        };
        let ranked_list = listed.as_ref().ok().cloned();
        let is_listed = listed.is_ok();
        let is_throttled = match &listed {
            Ok(_) => listing == Listing::New && host.is_throttled(),
            Err(failure) => failure.is_throttled,
        };
        // Until it is known what was set, nobody can tell our own change from others'.
        let setting = self.setting.lock().await;
        let mode = if possession == Possession::Contested && !self.is_as_it_was_set().await {
            Mode::Learn
        } else {
            Mode::Follow(&self.proposed)
        };
        let resolved = resolve(&host, &known, &self.resolvers, listed, mode).await;
        let before = self.wanted.take();
        let held_to = resolved.held_to(before.clone());
        if held_to != before || resolved.is_managed() {
            self.stood.borrow_mut().clone_from(&resolved.stands);
        }
        self.wanted.replace(held_to);
        if resolved.action != Action::Unmanaged {
            self.given_back.set(false);
        }
        if resolved.is_managed() && resolved.failures.is_empty() {
            self.stands_again();
        }
        drop(setting);
        let addresses = |ranked: &[Ranked]| {
            ranked.iter().map(|ranked| ranked.server.address.ip()).collect::<BTreeSet<_>>()
        };
        let usable = addresses(&resolved.ranking.usable);
        self.silent.borrow_mut().retain(|address| !usable.contains(address));
        *self.left_out.borrow_mut() = addresses(&resolved.ranking.left_out);
        if matches!(resolved.action, Action::Written { .. }) {
            self.silent.borrow_mut().clear();
            tracing::debug!(owner = resolved.owner, "{}", resolved.summary());
        }
        let is_good = resolved.failures.is_empty() && (is_listed || listing == Listing::Last);
        self.report.borrow_mut().resolved = Some(resolved.clone());
        self.say(RESOLVE, &Report { resolved: Some(resolved), ..Report::default() });
        let mut performed = self.close(&host, is_good);
        // A pass beside the agent has read a newer list meanwhile, and set what this one has written over.
        let newest = self.notebook.last_servers().map(|last| last.servers);
        if listing == Listing::Last && newest != ranked_list {
            performed.events.push(Event::ServerBack);
        }
        if is_throttled {
            return Performed { outcome: Outcome::Throttled, ..performed };
        }
        performed
    }

    /// Whether nobody has changed the resolver since it was set.
    async fn is_as_it_was_set(&self) -> bool {
        let Some(wanted) = self.wanted.borrow().clone() else { return false };
        let Ok(Some(manager)) = self.manager().await else { return false };
        Guard::stands(manager.as_ref(), &wanted).await
    }

    /// The configuration says that it is none of ours.
    async fn give_the_resolver_back(&self) {
        self.forget_the_resolver();
        self.say_conditions(GUARD, []);
        if self.given_back.replace(true) {
            return;
        }
        let mut failures = Vec::new();
        for (owner, outcome) in self.resolvers.restore().await {
            match outcome {
                Ok(true) => tracing::info!(owner, "the resolver is as it was found"),
                Ok(false) => {}
                Err(error) => {
                    // Asked for again with the next list.
                    self.given_back.set(false);
                    failures.push(in_full(&Failure::of(&error)));
                }
            }
        }
        self.say_conditions("give back", failures);
    }

    /// At the end of the agent: what was set stays, and whoever owns the resolver may change it again.
    pub(in crate::cli) async fn leave_the_resolver_alone(&self) {
        let was_managed = self.wanted.borrow().is_some();
        self.forget_the_resolver();
        if was_managed {
            // It is said by `restore`, and time is short, also where nobody says who owns it.
            let released = async {
                if let Ok(Some(manager)) = self.manager().await {
                    let _ = manager.release().await;
                }
            };
            let _ = timeout(RELEASE_LIMIT, released).await;
        }
    }

    /// From now on it is others', and the clients' hooks do not keep them away.
    fn forget_the_resolver(&self) {
        *self.wanted.borrow_mut() = None;
        self.report.borrow_mut().resolved = None;
        let _ = managed::set(&self.args.run_dir, None);
    }

    /// Puts the file back if another program changed it.
    pub(super) async fn guard(&self) -> Performed {
        let was_failing = self.is_failing(GUARD);
        let mut performed = self.put_back().await;
        if was_failing || self.is_failing(GUARD) {
            performed.status = Some(self.status(&self.report.borrow()));
        }
        performed
    }

    async fn put_back(&self) -> Performed {
        let _setting = self.setting.lock().await;
        let Some(wanted) = self.wanted.borrow().clone() else {
            return Performed::with(Outcome::Done);
        };
        let manager = match self.manager().await {
            Ok(Some(manager)) => manager,
            Ok(None) => return Performed::with(Outcome::Done),
            Err(failure) => {
                // Somebody else owns the resolver now: that is no overwriting, and not ours to undo.
                self.say_conditions(GUARD, [in_full(&failure)]);
                return Performed::with(Outcome::Done);
            }
        };
        let ranks_again =
            |event| Performed { events: vec![event], ..Performed::with(Outcome::Done) };
        let Some(known) = self.known_or_files() else { return ranks_again(Event::ServerSilent) };
        let guard = Guard {
            manager: manager.as_ref(),
            prober: &SoaProber::new(known.probe_zone()),
            wanted: &wanted,
            announced: managed::wanted(&self.args.run_dir),
            port: known.config.discovery.port,
        };
        let failed = |error: &ResolverError| {
            self.say_conditions(GUARD, [Failure::of(error).to_string()]);
            Performed::with(Outcome::Failed)
        };
        match guard.run().await {
            Guarded::Stands => {
                self.stands_again();
                self.say_conditions(GUARD, []);
                Performed::with(Outcome::Done)
            }
            Guarded::Unknown(error) => failed(&error),
            Guarded::SetByAPass => {
                *self.wanted.borrow_mut() = None;
                ranks_again(Event::ServerBack)
            }
            Guarded::Outlived => ranks_again(Event::ServerSilent),
            Guarded::Overwritten { theirs, ours, put_back } => {
                self.note_trampling(
                    &theirs,
                    &ours,
                    if put_back.is_ok() { Fate::PutBack } else { Fate::Stays },
                );
                match put_back {
                    Ok(()) => {
                        self.say_conditions(GUARD, []);
                        Performed::with(Outcome::Trampled)
                    }
                    Err(error) => failed(&error),
                }
            }
        }
    }

    /// What could not be put back then is as it should be now.
    fn stands_again(&self) {
        let mut trampled = self.trampled.borrow_mut();
        if trampled.fate == Fate::Stays {
            trampled.fate = Fate::PutBack;
            let _ = trampled.save(&self.args.run_dir);
        }
    }

    fn note_trampling(&self, theirs: &ResolvConf, ours: &ResolvConf, fate: Fate) {
        // Held against what stood there: what is put back keeps lines of theirs, a comment that says who they are among them.
        let difference = difference(&self.stood.borrow(), &theirs.to_string());
        let mut trampled = self.trampled.borrow_mut();
        if fate == Fate::Stays && trampled.fate == fate && trampled.difference == difference {
            // The same change, once more in vain.
            return;
        }
        let times = trampled.times + 1;
        let held = trampled.held;
        *trampled = Trampled { at: SystemClock.now(), times, held, fate, difference };
        let what = match fate {
            Fate::PutBack => "they are put back",
            Fate::Stays => "they cannot be put back",
        };
        tracing::info!(difference = ?trampled.difference, "another program changed the resolver's servers; {what}");
        if fate == Fate::PutBack {
            *self.stood.borrow_mut() = ours.to_string();
        }
        // It is there to be looked at, and nothing depends on it.
        let _ = trampled.save(&self.args.run_dir);
    }

    async fn manager(&self) -> Result<Option<Box<dyn ResolverManager>>, Failure> {
        let manager = self.config().resolver.manager;
        self.resolvers.open(manager).await.map_err(|error| Failure::of(&error))
    }

    /// Whether the servers in use serve, and those that were left out still do not. Only a change is an event: what stays
    /// silent is ranked again by its own timer.
    pub(super) async fn probe(&self) -> Performed {
        let mut performed = Performed::with(Outcome::Done);
        let Some(known) = self.known_or_files() else { return performed };
        let Ok(Some(manager)) = self.manager().await else { return performed };
        let Ok(current) = manager.current().await else { return performed };
        let in_use = current.nameservers();
        let mut left_out = self.left_out.borrow().clone();
        left_out.retain(|address| !in_use.contains(address));
        let (answers, others) =
            tokio::join!(ask(&known, in_use), ask(&known, left_out.into_iter().collect()));
        let serves = |health: &Health| matches!(health, Health::Alive(_));
        let silent = answers.into_iter().filter(|(_, health)| !serves(health));
        let silent = silent.map(|(address, _)| address).collect::<BTreeSet<_>>();
        let before = self.silent.replace(silent.clone());
        if silent.difference(&before).next().is_some() {
            performed.events.push(Event::ServerSilent);
        }
        if others.iter().any(|(_, health)| serves(health)) {
            performed.events.push(Event::ServerBack);
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
/// The agent is to end within two seconds.
const RELEASE_LIMIT: Duration = Duration::from_millis(300);
