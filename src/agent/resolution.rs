//! Journey 3: find and use the living DNS servers. Listed servers → probe → rank → render → hand to the manager.

mod guard;
mod outcome;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

pub use self::{
    guard::{Guard, Guarded},
    outcome::{Action, Resolved},
};
use super::notebook::Notebook;
use crate::{
    core::{
        detect::{Clue, Owner, Verdict},
        ledger::{KnownServers, Ledger},
        resolv_conf::{ResolvConf, ResolverPolicy, Wanted, wanted},
        servers::{Answer, Findings, Health, Here, NameServer, Ranking, behind, rank},
    },
    ports::{Clock, Depth, Failure, Prober, ResolverManager, error::ResolverError, topic::Topic},
};

/// What the resolver shall use.
pub struct Resolution<'a> {
    /// What the directory said.
    pub listed: Result<Vec<NameServer>, Failure>,
    /// What it was asked for, in words.
    pub sought: String,
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
    /// Who is told what is about to be set.
    pub announce: &'a (dyn Fn(&Wanted) + Sync),
    /// The time.
    pub clock: &'a dyn Clock,
    /// How long a server may be behind its peers.
    pub stale: Duration,
}

/// What is done about the resolver.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// It is set.
    Apply,
    /// It is set, by an agent that remembers the order of servers that it wanted last: a mere reordering must be wanted twice.
    Follow(&'a RefCell<Vec<IpAddr>>),
    /// The list is remembered, and nothing is set while another program is left alone with the resolver and one of its servers
    /// answers.
    Learn,
    /// It is only said what would be set.
    Plan,
    /// The same, by what is remembered alone.
    Recall,
}

impl Mode<'_> {
    /// Whether the resolver is set.
    #[must_use]
    pub fn applies(self) -> bool {
        matches!(self, Self::Apply | Self::Follow(_))
    }

    /// Whether EC2 is asked.
    #[must_use]
    pub fn asks(self) -> bool {
        self.applies() || matches!(self, Self::Plan)
    }

    /// Whether what is found is remembered.
    #[must_use]
    pub fn remembers(self) -> bool {
        !matches!(self, Self::Plan | Self::Recall)
    }

    /// Remembers an order, where it can be, and says whether it may be set now.
    fn is_settled(self, order: &[IpAddr]) -> bool {
        match self {
            Self::Follow(wanted) => wanted.replace(order.to_vec()) == order,
            Self::Apply | Self::Learn | Self::Plan | Self::Recall => true,
        }
    }
}

impl Resolution<'_> {
    /// The whole journey.
    pub async fn run(&self, mode: Mode<'_>) -> Resolved {
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
        let present = current.all_nameservers().into_iter();
        let present = present.map(|address| NameServer::at(SocketAddr::new(address, self.port)));
        let present = present.collect::<Vec<_>>();
        let mut health = self.probe(listed.iter().chain(&present), Depth::Thorough).await;
        self.probe_newcomers(&listed, &present, &mut health).await;
        let stale = self.stale(&health, mode, &mut outcome);
        let here = Here { in_use: outcome.in_use.clone(), ..self.here.clone() };
        let findings = Findings { health, stale };
        outcome.ranking = rank(&listed, &findings, &here);
        tracing::debug!(ranking = ?outcome.ranking, "ranked");
        let lives =
            |server: &NameServer| findings.health.get(&server.address).is_some_and(Health::answers);
        // What cannot be asked may live.
        let mut some_lives = present.iter().any(lives) || current.has_scoped_server();
        let mut wanted = wanted(&outcome.ranking, self.policy);
        if wanted.is_none() && !some_lives {
            // One moment of silence is no reason to leave them all.
            let again = self.probe(present.iter(), Depth::Quick).await;
            if again.values().any(Health::answers) {
                some_lives = true;
            } else {
                wanted = self.fallback(&mut outcome).await;
            }
        }
        outcome.wanted.clone_from(&wanted);
        if !listed.is_empty() && outcome::is_unknown_to_all(&outcome.ranking) {
            outcome.notices.push(format!(
                "no listed server knows {}, which each is asked for: see the first of `resolver.search`, and `discovery.value`",
                self.prober.zone()
            ));
        }
        if wanted.is_none() && !some_lives {
            wanted = self.last_resort(&mut outcome);
        }
        // In a fight, too: what another program wrote is left to it only as long as one of its servers lives.
        let mode = match mode {
            Mode::Learn if !some_lives && outcome.wanted.is_some() => Mode::Apply,
            mode => mode,
        };
        if let Some(wanted) = wanted {
            self.hand_over(&current, &wanted, mode, &mut outcome).await;
            let is_replaced = mode.applies() && matches!(outcome.action, Action::Written { .. });
            let Verdict { owner, because } = self.manager.verdict();
            // Another owner's cache on this host asks whom that owner is told.
            let was_local = *owner == Owner::ResolvConf && because.contains(&Clue::LocalServer);
            if some_lives && is_replaced && was_local {
                outcome.notices.push(outcome::LOCAL_SERVER_REPLACED.to_owned());
            }
        } else {
            let is_unknown = listed.is_empty() && (some_lives || outcome.failures.is_empty());
            outcome.action = Action::Kept(if is_unknown {
                "no DNS servers are known"
            } else if some_lives {
                "no listed server serves, and a server in use answers"
            } else {
                "no server serves; a silent one may come back"
            });
            let of_vpc = |server: &NameServer| self.fallback.contains(server);
            if some_lives && !is_unknown && present.iter().all(of_vpc) {
                outcome.notices.push(outcome::FALLEN_BACK.to_owned());
            }
            if !some_lives && !is_unknown {
                let hint = Some("see the servers' own state");
                let failure = Failure::told("no DNS server answers", hint, Topic::DnsServers);
                outcome.failures.push(failure);
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
    fn listed(&self, mode: Mode<'_>, outcome: &mut Resolved) -> Vec<NameServer> {
        let known = self.notebook.ledger().servers;
        let why = match &self.listed {
            Ok(servers) if !servers.is_empty() => {
                let now = self.clock.now();
                let remember = |ledger: &mut Ledger| {
                    if ledger.servers.as_ref().is_none_or(|known| known.servers != *servers) {
                        ledger.servers = Some(KnownServers { servers: servers.clone(), at: now });
                    }
                };
                if mode.remembers()
                    && let Err(error) = self.notebook.note(remember)
                {
                    outcome.failures.push(Failure::of(&error));
                }
                return servers.clone();
            }
            Ok(_) => format!("no running instance carries {}", self.sought),
            // With a last good list the resolver is served; without one this part of the pass has failed.
            Err(failure) if known.is_none() => {
                outcome.failures.push(failure.clone());
                return Vec::new();
            }
            Err(failure) => failure.to_string(),
        };
        if let Some(known) = known {
            let age = self.clock.now().saturating_sub(known.at);
            outcome
                .notices
                .push(format!("{why}; the last list is used, which changed {age} s ago"));
            known.servers
        } else {
            outcome.notices.push(why);
            Vec::new()
        }
    }

    async fn probe<'s>(
        &self,
        servers: impl Iterator<Item = &'s NameServer>,
        depth: Depth,
    ) -> BTreeMap<SocketAddr, Health> {
        let mut distinct: Vec<&NameServer> = Vec::new();
        for server in servers {
            if distinct.iter().all(|known| known.address != server.address) {
                distinct.push(server);
            }
        }
        let probes = distinct
            .into_iter()
            .map(|server| async { (server.address, self.prober.probe(server, depth).await) });
        futures_util::future::join_all(probes).await.into_iter().collect()
    }

    /// A server that is not in use yet has to answer twice.
    async fn probe_newcomers(
        &self,
        listed: &[NameServer],
        present: &[NameServer],
        health: &mut BTreeMap<SocketAddr, Health>,
    ) {
        let newcomers = listed.iter().filter(|server| {
            present.iter().all(|known| known.address != server.address)
                && matches!(health.get(&server.address), Some(Health::Alive(_)))
        });
        for (address, second) in self.probe(newcomers, Depth::Quick).await {
            if !matches!(second, Health::Alive(_)) {
                health.insert(address, second);
            }
        }
    }

    /// Which servers have been behind their peers for too long; since when is remembered.
    fn stale(
        &self,
        health: &BTreeMap<SocketAddr, Health>,
        mode: Mode<'_>,
        outcome: &mut Resolved,
    ) -> BTreeMap<SocketAddr, Duration> {
        let now = self.clock.now();
        let behind = behind(health, &self.notebook.ledger().behind, now);
        let remember = |ledger: &mut Ledger| {
            if ledger.behind != behind {
                ledger.behind.clone_from(&behind);
            }
        };
        if mode.remembers()
            && let Err(error) = self.notebook.note(remember)
        {
            outcome.failures.push(Failure::of(&error));
        }
        let since = |at: u64| Duration::from_secs(now.saturating_sub(at));
        let stale = behind.into_iter().map(|(address, at)| (address, since(at)));
        stale.filter(|(_, since)| *since >= self.stale).collect()
    }

    /// What servers that answer, but refuse or fail, make of the resolver: they may do better any moment, which a silent one
    /// keeps everybody waiting for. The resolver is not held to them: whatever another program sets can only be better.
    fn last_resort(&self, outcome: &mut Resolved) -> Option<Wanted> {
        let Ranking { left_out, unwilling, .. } = &outcome.ranking;
        let usable = left_out.get(..*unwilling).unwrap_or_default().to_vec();
        let wanted = wanted(&Ranking { usable, ..Ranking::default() }, self.policy)?;
        outcome.notices.push(
            "no DNS server serves; those that refuse or fail are used rather than silent ones"
                .to_owned(),
        );
        Some(wanted)
    }

    /// What the fallback makes of the resolver, if it answers; our search list and options are the discovered servers'.
    async fn fallback(&self, outcome: &mut Resolved) -> Option<Wanted> {
        // It is there for the rest of the world: that it does not know the fleet's zone is no fault.
        let health = self.probe(self.fallback.iter(), Depth::Quick).await.into_iter();
        let health = health.map(|(address, health)| match health {
            Health::Ignorant(time) => {
                let answer = Answer { time, serial: 0, is_authoritative: false, over_tcp: None };
                (address, Health::Alive(answer))
            }
            health => (address, health),
        });
        let findings = Findings { health: health.collect(), ..Findings::default() };
        let here = Here { in_use: outcome.in_use.clone(), ..self.here.clone() };
        let ranking = rank(&self.fallback, &findings, &here);
        let wanted = wanted(&ranking, self.policy)?;
        outcome.notices.push(outcome::FALLEN_BACK.to_owned());
        Some(wanted)
    }

    async fn hand_over(
        &self,
        current: &ResolvConf,
        wanted: &Wanted,
        mode: Mode<'_>,
        outcome: &mut Resolved,
    ) {
        let after = self.manager.becomes(current, wanted);
        outcome.stands = current.to_string();
        let owner = self.manager.verdict().owner;
        if after == *current {
            outcome.action = Action::Unchanged;
            mode.is_settled(&[]);
            return;
        }
        if matches!(mode, Mode::Learn) {
            outcome.action = Action::Kept("another program keeps changing it");
            return;
        }
        let as_now = Wanted { nameservers: outcome.in_use.clone(), ..wanted.clone() };
        if outcome.ranking.is_mere_reordering_of(&outcome.in_use)
            && self.manager.becomes(current, &as_now) == *current
            && !mode.is_settled(&wanted.nameservers)
        {
            outcome.action = Action::Kept(outcome::REORDERING);
            return;
        }
        if mode.applies() {
            if outcome.wanted.is_some() {
                (self.announce)(wanted);
            }
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
        } else if let (Mode::Plan, Some(error)) = (mode, outcome::hindrance(self.manager.verdict()))
        {
            outcome.failures.push(self.failure(&error));
            return;
        }
        outcome.in_use.clone_from(&wanted.nameservers);
        outcome.stands = after.to_string();
        outcome.action = Action::Written { before: current.to_string(), after: after.to_string() };
        tracing::info!(servers = ?wanted.nameservers, because = %outcome::reasons(&outcome.ranking), "resolver set");
    }
}
