//! Journey 3: find and use the living DNS servers. Listed servers → probe → rank → render → hand to the manager.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::notebook::Notebook;
use crate::{
    core::{
        ledger::KnownServers,
        resolv_conf::{ResolvConf, ResolverPolicy, Wanted, wanted},
        servers::{Health, Here, NameServer, Ranked, Ranking, rank},
    },
    ports::{Clock, Failure, Prober, ResolverManager, error::ResolverError},
};

/// What the resolver shall use.
pub struct Resolution<'a> {
    /// What the directory said.
    pub listed: Result<Vec<NameServer>, Failure>,
    /// Who probes.
    pub prober: &'a dyn Prober,
    /// Who owns the resolver.
    pub manager: &'a dyn ResolverManager,
    /// What is set beside servers.
    pub policy: &'a ResolverPolicy,
    /// Where this host stands.
    pub here: Here,
    /// The servers to use when nothing else answers.
    pub fallback: Vec<NameServer>,
    /// The port of servers in resolv.conf, which cannot say one: 53, but in tests.
    pub port: u16,
    /// The memory.
    pub notebook: &'a Notebook<'a>,
    /// The time.
    pub clock: &'a dyn Clock,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Resolved {
    /// What is in the resolver now.
    pub in_use: Vec<IpAddr>,
    /// Every server that was asked, best first, and why.
    pub ranking: Ranking,
    /// What the resolver shall say, if that could be found out.
    pub wanted: Option<Wanted>,
    /// What was done.
    pub action: Action,
    /// Who owns the resolver, and because of which clues.
    pub owner: String,
    /// What the operator should know.
    pub notices: Vec<String>,
    /// What went wrong.
    pub failures: Vec<Failure>,
}

impl Resolved {
    /// `resolvers 10.0.0.2, 10.0.0.3 set (1 of 3 do not serve)`
    #[must_use]
    pub fn summary(&self) -> String {
        let addresses = self.in_use.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let addresses = if addresses.is_empty() { "none" } else { addresses.as_str() };
        let left_out = self.ranking.left_out.len();
        let known = left_out + self.ranking.usable.len();
        let aside = if left_out == 0 {
            String::new()
        } else {
            format!(" ({left_out} of {known} do not serve)")
        };
        match &self.action {
            Action::Failed => format!("resolvers {addresses} not set{aside}"),
            Action::Unmanaged => "resolver left alone".to_owned(),
            Action::Unchanged => format!("resolvers {addresses} unchanged{aside}"),
            Action::Written { .. } => format!("resolvers {addresses} set{aside}"),
            Action::Kept(why) => format!("resolvers {addresses} kept: {why}{aside}"),
        }
    }

    /// Says the reason `why` where the outcome says what was known before it, `late`.
    pub fn learn(&mut self, late: &Failure, why: &Failure) {
        for notice in &mut self.notices {
            *notice = notice.replace(&late.to_string(), &why.to_string());
        }
        self.failures
            .iter_mut()
            .filter(|failure| *failure == late)
            .for_each(|failure| failure.clone_from(why));
    }
}

/// What was done to the resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// The journey did not come to its end; the failures say why.
    #[default]
    Failed,
    /// It was as it should be.
    Unchanged,
    /// It was set.
    Written {
        /// The content before.
        before: String,
        /// The content after.
        after: String,
    },
    /// It was left as it is although it is not what is wanted.
    Kept(&'static str),
    /// It is not ours to set, by configuration.
    Unmanaged,
}

impl Resolved {
    /// Whether the resolver has what we want in it, servers that have answered.
    #[must_use]
    pub fn is_managed(&self) -> bool {
        self.wanted.is_some() && matches!(self.action, Action::Unchanged | Action::Written { .. })
    }
}

/// Whether the journey ends before it sets anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Set the resolver.
    Apply,
    /// Only say what would be set.
    Plan,
}

impl Resolution<'_> {
    /// The whole journey.
    pub async fn run(&self, mode: Mode) -> Resolved {
        let mut outcome = Resolved::default();
        let owner = self.manager.verdict().owner;
        outcome.owner = format!("{owner} because: {}", self.clues());
        let current = match self.manager.current().await {
            Ok(current) => current,
            Err(error) => {
                outcome.failures.push(self.failure(&error));
                return outcome;
            }
        };
        outcome.in_use = current.nameservers();
        let listed = self.listed(mode, &mut outcome);
        let present = outcome
            .in_use
            .iter()
            .map(|address| NameServer::at(SocketAddr::new(*address, self.port)));
        let present = present.collect::<Vec<_>>();
        let health = self.probe(listed.iter().chain(&present)).await;
        outcome.ranking = rank(&listed, &health, &self.here, &outcome.in_use);
        tracing::debug!(ranking = ?outcome.ranking, "ranked");
        let lives = |server: &NameServer| health.get(&server.address).is_some_and(Health::answers);
        // What cannot be asked may live.
        let some_lives = present.iter().any(lives) || current.has_scoped_server();
        let (wanted, otherwise) = match wanted(&outcome.ranking, self.policy) {
            Some(wanted) => (Some(wanted), ""),
            None if some_lives => (None, "no listed server serves, and a server in use does"),
            None => {
                (self.fallback(&mut outcome).await, "no server serves; a silent one may come back")
            }
        };
        outcome.wanted.clone_from(&wanted);
        if let Some(wanted) = wanted {
            self.hand_over(&current, &wanted, mode, &mut outcome).await;
        } else {
            outcome.action = Action::Kept(otherwise);
            if listed.is_empty() && outcome.failures.is_empty() {
                outcome.action = Action::Kept("no DNS servers are known");
            } else if !some_lives {
                outcome.failures.push(Failure::told(
                    "no DNS server answers",
                    Some("see the servers' own state"),
                ));
            }
        }
        outcome
    }

    /// What its owner says against it, and how it was found to be the owner.
    fn failure(&self, error: &ResolverError) -> Failure {
        let mut failure = Failure::of(error);
        failure.hints.insert(0, format!("seen: {}", self.clues()));
        failure
    }

    fn clues(&self) -> String {
        let because = &self.manager.verdict().because;
        because.iter().map(ToString::to_string).collect::<Vec<_>>().join(" · ")
    }

    /// The servers to choose from: the list, or the last good one when there is none, or an empty one.
    fn listed(&self, mode: Mode, outcome: &mut Resolved) -> Vec<NameServer> {
        let known = self.notebook.ledger().servers;
        let why = match &self.listed {
            Ok(servers) if !servers.is_empty() => {
                let now = self.clock.now();
                let remember = |ledger: &mut crate::core::ledger::Ledger| {
                    if ledger.servers.as_ref().is_none_or(|known| known.servers != *servers) {
                        ledger.servers = Some(KnownServers { servers: servers.clone(), at: now });
                    }
                };
                if mode == Mode::Apply
                    && let Err(error) = self.notebook.note(remember)
                {
                    outcome.failures.push(Failure::of(&error));
                }
                return servers.clone();
            }
            Ok(_) => "no running instance carries the tag of DNS servers".to_owned(),
            Err(failure) => {
                // With a last good list the resolver is served; without one this part of the pass has failed.
                if known.is_none() {
                    outcome.failures.push(failure.clone());
                }
                failure.to_string()
            }
        };
        if let Some(known) = known {
            let age = self.clock.now().saturating_sub(known.at);
            outcome.notices.push(format!("{why}; the list of {age} s ago is used"));
            known.servers
        } else {
            outcome.notices.push(why);
            Vec::new()
        }
    }

    async fn probe<'s>(
        &self,
        servers: impl Iterator<Item = &'s NameServer>,
    ) -> BTreeMap<SocketAddr, Health> {
        let mut distinct: Vec<&NameServer> = Vec::new();
        for server in servers {
            if distinct.iter().all(|known| known.address != server.address) {
                distinct.push(server);
            }
        }
        let probes = distinct
            .into_iter()
            .map(|server| async { (server.address, self.prober.probe(server).await) });
        futures_util::future::join_all(probes).await.into_iter().collect()
    }

    /// What the fallback makes of the resolver, if it answers; our search list and options are the discovered servers'.
    async fn fallback(&self, outcome: &mut Resolved) -> Option<Wanted> {
        // It is there for the rest of the world: that it does not know the fleet's zone is no fault.
        let health =
            self.probe(self.fallback.iter()).await.into_iter().map(
                |(address, health)| match health {
                    Health::Ignorant(time) => (address, Health::Alive(time)),
                    health => (address, health),
                },
            );
        let ranking = rank(&self.fallback, &health.collect(), &self.here, &outcome.in_use);
        let wanted = wanted(&ranking, self.policy)?;
        outcome.notices.push(
            "no discovered server serves; the VPC's resolver is used until one does".to_owned(),
        );
        Some(wanted)
    }

    async fn hand_over(
        &self,
        current: &ResolvConf,
        wanted: &Wanted,
        mode: Mode,
        outcome: &mut Resolved,
    ) {
        let after = self.manager.becomes(current, wanted);
        let owner = self.manager.verdict().owner;
        if after == *current {
            outcome.action = Action::Unchanged;
            return;
        }
        if mode == Mode::Apply {
            let told = self.manager.apply(wanted).await;
            let now = self.manager.current().await;
            let stands = now.is_ok_and(|now| self.manager.becomes(&now, wanted) == now);
            match told {
                // Set all the same, it may be: only what was there before could not be kept.
                Err(error) => outcome.failures.push(self.failure(&error)),
                Ok(()) if !stands => {
                    outcome.failures.push(self.failure(&ResolverError::Ignored { owner }));
                }
                Ok(()) => {}
            }
            if !stands {
                return;
            }
        }
        outcome.in_use.clone_from(&wanted.nameservers);
        outcome.action = Action::Written { before: current.to_string(), after: after.to_string() };
        tracing::info!(servers = ?wanted.nameservers, because = %reasons(&outcome.ranking), "resolver set");
    }
}

/// Why each server stands where it stands.
fn reasons(ranking: &Ranking) -> String {
    let ranked = ranking.usable.iter().chain(&ranking.left_out);
    let texts = ranked.map(|Ranked { server, because }| {
        let because = because.iter().map(ToString::to_string).collect::<Vec<_>>();
        format!("{}: {}", server.address.ip(), because.join(" · "))
    });
    texts.collect::<Vec<_>>().join("; ")
}
