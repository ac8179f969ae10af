//! The life of one host: faults and passes as chance has them, then calm, in which the resolver has to settle.

use std::{cell::RefCell, collections::BTreeSet, net::IpAddr, time::Duration};

use tagalong::{
    agent::{
        notebook::Notebook,
        resolution::{Action, Mode, Resolution, Resolved},
    },
    core::{
        resolv_conf::{ResolvConf, ResolverPolicy, Wanted},
        servers::{Here, NameServer},
    },
    ports::{Failure, topic::Topic},
    store::v1,
};
use tokio::time::{sleep, timeout};

use super::{
    chance::Chance,
    fault::{Fault, content, mood},
    promises::{STALE, Seen, must, nameservers},
    scene::Scene,
    transcript::Transcript,
    world::{Directory, Disk, OTHER_REGION, Owner, Pass, VPC, World, at},
};

/// Who resolves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `tagalong once`, beside the agent if there is one.
    Once,
    /// The agent, with a list that it reads now.
    List,
    /// The agent, with the list that it knows.
    Rank,
    /// The agent in a fight over the file, with a list that it reads now.
    Learn,
    /// `tagalong plan`.
    Plan,
}

impl Kind {
    /// Whether it may set the resolver.
    pub(super) fn applies(self) -> bool {
        !matches!(self, Self::Plan | Self::Learn)
    }

    /// Whether it remembers which order it wanted.
    pub(super) fn follows(self) -> bool {
        matches!(self, Self::List | Self::Rank)
    }

    /// Whether the agent does it, and not a process that ends with it.
    fn is_the_agents(self) -> bool {
        matches!(self, Self::List | Self::Rank | Self::Learn)
    }
}

/// An agent that runs.
pub(super) struct Agent<'s> {
    notebook: Notebook<'s>,
    proposed: RefCell<Vec<IpAddr>>,
    /// What the resolver is held to.
    pub(super) wanted: Option<Wanted>,
    /// The orders that it wanted without setting them, and the last of them if that was in the last pass.
    waited_for: BTreeSet<Vec<IpAddr>>,
    waits_for: Option<Vec<IpAddr>>,
    /// The newest list that it has seen.
    list: Option<List>,
    /// Whether the state file could not be read since: what it is then is not known to be older.
    may_forget: bool,
}

/// A list of EC2, and the how manieth it was.
type List = (u64, Vec<NameServer>);

impl<'s> Agent<'s> {
    fn start(scene: &'s Scene, saved: Option<&List>) -> Self {
        let notebook = Notebook::open(scene);
        let list = saved.filter(|_| notebook.unread().is_none()).cloned();
        let (waited_for, waits_for) = Default::default();
        let (proposed, wanted) = Default::default();
        Self { notebook, proposed, wanted, waited_for, waits_for, list, may_forget: false }
    }
}

/// One host from its first boot to its rest.
pub(super) struct History<'s> {
    pub(super) scene: &'s Scene,
    pub(super) chance: Chance,
    pub(super) policy: ResolverPolicy,
    pub(super) fallback: Vec<NameServer>,
    /// Whether the metadata service says where the host is.
    pub(super) knows: bool,
    pub(super) transcript: &'s mut Transcript,
    pub(super) agent: Option<Agent<'s>>,
    spread: String,
    /// How many lists EC2 gave.
    lists: u64,
    /// The newest of them that was saved.
    saved: Option<List>,
}

pub(super) const HERE: &str = "us-east-1a";

impl<'s> History<'s> {
    pub(super) fn new(scene: &'s Scene, seed: u64, transcript: &'s mut Transcript) -> Self {
        let mut chance = Chance::of(seed);
        let vpc = NameServer::at((at(VPC), 53).into());
        let fallback = if chance.percent(70) { vec![vpc] } else { Vec::new() };
        let mut world = scene.world();
        world.serial = chance.pick(&[7, u32::MAX - 1]);
        for _ in 0..chance.below(6) {
            let zone = chance.pick(&[Some(HERE), Some("us-east-1b"), Some("us-east-1c"), None]);
            let mood = mood(&mut chance);
            world.launch(zone, mood);
        }
        let fleet = world.fleet.clone();
        world.listing = fleet;
        world.file = content(&world, &mut chance);
        drop(world);
        Self {
            scene,
            policy: policy(chance.below(3)),
            fallback,
            knows: chance.percent(90),
            chance,
            transcript,
            agent: None,
            spread: format!("i-{seed:017x}"),
            lists: 0,
            saved: None,
        }
    }

    /// The whole life.
    pub(super) async fn live(mut self) -> Result<(), String> {
        // Some histories have many kinds of trouble, some have one over and over.
        let kinds = 1 + self.chance.below(8);
        let kinds = (0..kinds).map(|_| u8::try_from(self.chance.below(usize::from(Fault::KINDS))));
        let kinds = kinds.collect::<Result<Vec<_>, _>>().unwrap();
        for _ in 0..2 + self.chance.below(6) {
            for _ in 0..self.chance.below(4) {
                self.suffer(&kinds);
            }
            let pause = self.chance.pick(&[0, 1, 60, 700]);
            sleep(Duration::from_secs(pause)).await;
            let kind = self.chance.pick(&KINDS);
            let cut = self.chance.percent(10).then(|| {
                let limit = self.chance.pick(&[60, 1300]);
                Duration::from_millis(u64::try_from(self.chance.below(limit)).unwrap())
            });
            if self.chance.percent(30) {
                self.guard(cut).await?;
            }
            self.pass(kind, cut).await?;
        }
        self.settle().await
    }

    fn suffer(&mut self, kinds: &[u8]) {
        let mut world = self.scene.world();
        let fault = Fault::draw(kinds, &world, &mut self.chance);
        let lags = self.chance.percent(20);
        fault.strike(&mut world, lags);
        drop(world);
        self.transcript.tell(if lags { "EC2 does not know yet:" } else { "" }, &fault);
        match fault {
            Fault::Knows(knows) => self.knows = knows,
            Fault::Killed => self.agent = None,
            Fault::Upgraded(number) => {
                self.agent = None;
                self.policy = policy(number);
                let mut world = self.scene.world();
                world.ledger = v1::parse(&v1::render(&world.ledger).unwrap()).unwrap();
            }
            Fault::Forgotten => self.saved = None,
            _ => {}
        }
    }

    /// One pass; a killed process ends after `cut`.
    pub(super) async fn pass(
        &mut self,
        kind: Kind,
        cut: Option<Duration>,
    ) -> Result<Option<Resolved>, String> {
        let scene = self.scene;
        if kind.is_the_agents() {
            self.agent.get_or_insert_with(|| Agent::start(scene, self.saved.as_ref()));
        }
        let own;
        let kind = if kind == Kind::Learn && self.stands().await { Kind::List } else { kind };
        let (notebook, mode) = match (kind, &self.agent) {
            (Kind::Learn, Some(agent)) => (&agent.notebook, Mode::Learn),
            (Kind::List | Kind::Rank, Some(agent)) => {
                (&agent.notebook, Mode::Follow(&agent.proposed))
            }
            (Kind::Plan, _) => {
                own = Notebook::open_read_only(scene);
                (&own, Mode::Plan)
            }
            _ => {
                own = Notebook::open(scene);
                (&own, Mode::Apply)
            }
        };
        let said = if self.knows {
            let last = known(notebook).unwrap_or_default();
            let said = scene.world().list(&last);
            if matches!(scene.world().directory, Directory::Partial | Directory::EmptyRegion)
                && let Ok(said) = &said
            {
                let mut theirs = last.iter().filter(|one| one.is_in(OTHER_REGION));
                must!(
                    said.is_empty() || theirs.all(|one| said.contains(one)),
                    "a Region that told of nobody lost a server of {last:?}: {said:?}"
                );
            }
            said
        } else {
            Err(Failure::told("the VPC of this instance is not known", None, Topic::Metadata))
        };
        let listed = match kind {
            // As `cli/worker/resolver.rs` does it.
            Kind::Rank => match notebook.last_servers() {
                Some(last) => Ok(last.servers),
                None => return Ok(None),
            },
            _ => said,
        };
        let new = listed.clone().ok().filter(|list| !list.is_empty());
        let list = new.clone().or_else(|| known(notebook)).unwrap_or_default();
        // Where another process noted meanwhile, it depends on the disk which of both is known.
        let behind = [notebook.ledger().behind, scene.world().ledger.behind.clone()];
        let (before, undisturbed, keeps) = {
            let mut world = scene.world();
            world.pass = Pass { is_slow: cut.is_some(), ..Pass::default() };
            let alone = world.before_us.is_none() && world.after_us.is_none();
            let keeps = world.disk == Disk::Fine && notebook.unread().is_none();
            (world.file.clone(), alone && world.owner == Owner::Willing, keeps)
        };
        let zone = if self.knows { HERE } else { "" };
        let spread = if self.knows { self.spread.clone() } else { String::new() };
        let resolution = Resolution {
            announce: &|wanted| scene.world().announced = Some(wanted.clone()),
            listed,
            sought: String::new(),
            prober: scene,
            manager: scene,
            policy: &self.policy,
            here: Here { availability_zone: zone.to_owned(), spread, in_use: Vec::new() },
            fallback: self.fallback.clone(),
            port: 53,
            notebook,
            clock: scene,
            stale: STALE,
        };
        let outcome = match cut {
            Some(cut) => timeout(cut, resolution.run(mode)).await.ok(),
            None => Some(resolution.run(mode).await),
        };
        let (after, pass) = {
            let world = scene.world();
            (world.file.clone(), world.pass.clone())
        };
        self.transcript.note(&format_args!("{kind:?}"), &pass, outcome.as_ref(), after.as_deref());
        let seen = Seen {
            kind,
            list: &list,
            fallback: &self.fallback,
            zone,
            policy: &self.policy,
            behind: &behind[0],
            before: before.as_deref().unwrap_or_default(),
            after: after.as_deref().unwrap_or_default(),
            undisturbed,
            pass: &pass,
            outcome: outcome.as_ref(),
        };
        seen.judge().or_else(|why| {
            let other = Seen { behind: &behind[1], ..seen };
            if behind[0] == behind[1] { Err(why) } else { other.judge() }
        })?;
        if pass.read.is_some() && kind != Kind::Rank && kind != Kind::Plan && new.is_some() {
            self.lists += 1;
            let new = new.map(|list| (self.lists, list));
            if keeps {
                self.saved.clone_from(&new);
            }
            if let (Kind::List | Kind::Learn, Some(agent)) = (kind, &mut self.agent) {
                agent.list = new;
            }
        }
        self.remembers(kind, &pass, outcome.as_ref())?;
        match (&outcome, &mut self.agent) {
            (Some(resolved), Some(agent)) if kind.is_the_agents() => {
                agent.wanted = resolved.held_to(agent.wanted.take());
            }
            (None, Some(_)) if kind.is_the_agents() => self.agent = None,
            _ => {}
        }
        Ok(outcome)
    }

    /// What the pass leaves in memories: no list of servers gets lost, and no order is waited for twice.
    fn remembers(
        &mut self,
        kind: Kind,
        pass: &Pass,
        outcome: Option<&Resolved>,
    ) -> Result<(), String> {
        let on_disk = self.scene.world().ledger.servers.clone().map(|known| known.servers);
        let age = |list: &Option<List>| list.as_ref().map(|(number, _)| *number);
        let servers = |list: &Option<List>| list.as_ref().map(|(_, servers)| servers.clone());
        if kind.is_the_agents()
            && let Some(agent) = &self.agent
            && age(&agent.list) > age(&self.saved)
            && on_disk == servers(&agent.list)
        {
            // What could not be saved when it was read is saved now.
            self.saved.clone_from(&agent.list);
        }
        must!(
            on_disk == servers(&self.saved),
            "the list on disk is {on_disk:?}, and was {:?}",
            self.saved
        );
        let Some(agent) = &mut self.agent else { return Ok(()) };
        agent.may_forget |= self.scene.world().disk == Disk::Unreadable;
        let now = known(&agent.notebook);
        if now != servers(&agent.list) {
            let is_newer = age(&self.saved) > age(&agent.list) && now == servers(&self.saved);
            let was_lost = agent.may_forget && now == servers(&self.saved);
            must!(
                is_newer || was_lost,
                "the agent's list is {now:?}, and was {:?}; on disk is {:?}",
                agent.list,
                self.saved
            );
            agent.list.clone_from(&self.saved);
        }
        let (Kind::List | Kind::Rank, Some(outcome)) = (kind, outcome) else { return Ok(()) };
        let wanted = outcome.wanted.as_ref().map(|wanted| wanted.nameservers.clone());
        let waits = matches!(outcome.action, Action::Kept("a better order must be wanted twice"));
        if waits {
            let again = agent.waits_for == wanted;
            must!(!again, "it waits again for {wanted:?}, which it had wanted");
            agent.waited_for.extend(wanted.clone());
        }
        agent.waits_for = wanted.filter(|_| waits);
        if let (Some((_, after)), Some(read)) = (&pass.replaced, &pass.read) {
            let (is, was) = (nameservers(after), nameservers(read));
            let as_it_was = outcome.wanted.clone().map(|wanted| {
                let wanted = Wanted { nameservers: was.clone(), ..wanted };
                ResolvConf::parse(read).with(&wanted).render()
            });
            let was_merely_other = outcome.ranking.is_mere_reordering_of(&was)
                && is != was
                && as_it_was.as_ref() == Some(read);
            must!(
                !was_merely_other || agent.waited_for.contains(&is),
                "{is:?} was set at once, and is no better than {was:?}"
            );
        }
        Ok(())
    }

    /// The servers that the next pass has to choose from, as long as nothing happens.
    pub(super) fn choice(&self) -> Vec<NameServer> {
        let last = self.saved.clone().map(|(_, list)| list).unwrap_or_default();
        let listed = self.scene.world().list(&last).ok();
        let listed = listed.filter(|list| self.knows && !list.is_empty());
        listed.or_else(|| self.saved.clone().map(|(_, list)| list)).unwrap_or_default()
    }

    pub(super) fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.scene.world()
    }

    /// Starts the agent anew if it is due, or if it could not read the state file when it began: it takes no notes then.
    pub(super) fn restart(&mut self, is_due: bool) {
        self.agent.take_if(|agent| is_due || agent.notebook.unread().is_some());
    }

    pub(super) fn say(&mut self, what: &str) {
        self.transcript.tell(what, &());
    }

    pub(super) fn saw(&mut self, what: &'static str) {
        self.transcript.count(what);
    }
}

fn known(notebook: &Notebook<'_>) -> Option<Vec<NameServer>> {
    notebook.ledger().servers.map(|known| known.servers)
}

/// The configurations of the agent's versions.
fn policy(number: usize) -> ResolverPolicy {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match number {
        0 => ResolverPolicy::default(),
        1 => ResolverPolicy { search: words(&["corp.internal"]), ..ResolverPolicy::default() },
        _ => ResolverPolicy {
            search: words(&["corp.internal", "example"]),
            options: words(&["timeout:1", "attempts:2"]),
            ..ResolverPolicy::default()
        },
    }
}

/// Passes as often as they are.
const KINDS: [Kind; 11] = [
    Kind::Learn,
    Kind::List,
    Kind::List,
    Kind::List,
    Kind::List,
    Kind::Rank,
    Kind::Rank,
    Kind::Once,
    Kind::Once,
    Kind::Once,
    Kind::Plan,
];
