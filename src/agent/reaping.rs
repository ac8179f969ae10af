//! Journey 4: take away what instances that are gone have left. Zones → owners → who is gone, and since when → plan → apply.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::notebook::Notebook;
use crate::{
    core::{
        change::{RrsetSwap, ZoneChange},
        name::Name,
        ownership::{Life, OwnerId},
        reap::{owned, removal},
        rrset::Records,
    },
    ports::{Backend, Clock, Failure, InstanceDirectory, error::BackendError, topic::Topic},
};

/// What is to be looked through.
pub struct Reaping<'a> {
    /// This instance: what it has in the zones is never touched, and an EC2 that does not know it is not believed.
    pub us: &'a OwnerId,
    /// Where the zones are.
    pub backend: &'a dyn Backend,
    /// Who knows whether owners still exist.
    pub instances: &'a dyn InstanceDirectory,
    /// The memory.
    pub notebook: &'a Notebook<'a>,
    /// The time.
    pub clock: &'a dyn Clock,
    /// How long an owner must have been known to be gone.
    pub grace: Duration,
    /// How many names may go at once.
    pub limit: usize,
}

/// How far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// It is said what would go.
    Plan,
    /// It goes.
    Apply,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Reaped {
    /// What was looked through.
    pub zones: Vec<Name>,
    /// How many owners there are beside us.
    pub owners: usize,
    /// What goes, or would go.
    pub removals: Vec<Removal>,
    /// Owners that are gone, and not for long enough.
    pub waiting: Vec<Waiting>,
    /// How many names are left for another time, by the limit.
    pub left: usize,
    /// Owners of whom EC2 of this account cannot know.
    pub unknown: Vec<OwnerId>,
    /// What was taken away.
    pub done: Vec<RrsetSwap>,
    /// What the operator should know.
    pub notices: Vec<String>,
    /// What went wrong.
    pub failures: Vec<Failure>,
}

/// An owner that is gone, and not for long enough.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Who.
    pub owner: OwnerId,
    /// The seconds that are left.
    pub left: u64,
    /// The names that carry its marker.
    pub names: BTreeSet<Name>,
}

/// What goes from one name.
#[derive(Clone, Debug)]
pub struct Removal {
    /// The name.
    pub name: Name,
    /// Whose it was.
    pub owner: OwnerId,
    /// Since when its owner is known to be gone, in seconds since 1970.
    pub since: u64,
    /// The change.
    pub change: ZoneChange,
}

impl Reaping<'_> {
    /// Looks through `zones`.
    pub async fn run(&self, zones: &[Name], extent: Extent) -> Reaped {
        let mut reaped = Reaped::default();
        let mut read = BTreeMap::<Name, Records>::new();
        for zone in zones {
            match self.backend.read(zone).await {
                Ok(records) => {
                    reaped.zones.push(zone.clone());
                    read.insert(zone.clone(), records);
                }
                Err(error) => reaped.failures.push(Failure::of(&error)),
            }
        }
        let marked = read.iter().map(|(zone, records)| (zone, owned(records)));
        let mut marked = marked.collect::<BTreeMap<_, _>>();
        let owners = marked.values().flat_map(BTreeMap::keys).filter(|owner| *owner != self.us);
        let owners = owners.cloned().collect::<BTreeSet<_>>();
        reaped.owners = owners.len();
        if owners.is_empty() {
            return reaped;
        }
        let asked = owners.iter().chain([self.us]).cloned().collect();
        let lives = match self.instances.lives(&asked).await {
            Ok(lives) => lives,
            Err(error) => {
                reaped.failures.push(Failure::of(&error));
                return reaped;
            }
        };
        if !matches!(lives.get(self.us), Some(Life::Exists(_))) {
            let failure = Failure::told(
                format!(
                    "EC2 does not list {}, which this is: what it says of others is not believed",
                    self.us
                ),
                Some("see `aws.endpoint`, and whether the role is of the instance's own account"),
                Topic::Ec2,
            );
            reaped.failures.push(failure);
            return reaped;
        }
        reaped.unknown = owners.iter().filter(|it| !lives.contains_key(it)).cloned().collect();
        let gone = lives.iter().filter(|(_, life)| **life == Life::Gone);
        let gone = gone.map(|(owner, _)| owner.clone()).collect::<BTreeSet<_>>();
        let now = self.clock.now();
        if let Err(error) = self.notebook.note(|ledger| ledger.note_gone(&owners, &gone, now)) {
            reaped.failures.push(Failure::of(&error));
        }
        let known = self.notebook.ledger().gone;
        for owner in gone {
            let since = known.get(&owner.to_string()).copied().unwrap_or(now);
            let left = self.grace.as_secs().saturating_sub(now.saturating_sub(since));
            if left > 0 {
                let names = marked.values_mut().filter_map(|names| names.remove(&owner));
                let names = names.flatten().collect();
                reaped.waiting.push(Waiting { owner, left, names });
                continue;
            }
            for (zone, records) in &read {
                let names = marked.get_mut(zone).and_then(|names| names.remove(&owner));
                for name in names.unwrap_or_default() {
                    match removal(zone, &name, &owner, records) {
                        Some(change) => {
                            let owner = owner.clone();
                            reaped.removals.push(Removal { name, owner, since, change });
                        }
                        None => reaped.notices.push(format!(
                            "{name} carries markers of several owners, one of them {owner}, which is gone: it is left alone"
                        )),
                    }
                }
            }
        }
        reaped
            .removals
            .sort_by(|one, other| (one.since, &one.name).cmp(&(other.since, &other.name)));
        reaped.left = reaped.removals.len().saturating_sub(self.limit);
        reaped.removals.truncate(self.limit);
        if extent == Extent::Apply {
            self.apply(&mut reaped).await;
        }
        reaped
    }

    async fn apply(&self, reaped: &mut Reaped) {
        for Removal { name, change, .. } in &reaped.removals {
            match self.backend.apply(change).await {
                Ok(_) => {
                    tracing::info!(%name, "reaped");
                    reaped.done.extend(change.swaps.iter().cloned());
                }
                // Its owner came back, or another host was faster.
                Err(BackendError::Conflict { .. }) => {
                    reaped.notices.push(format!("{name} was changed meanwhile, and is left alone"));
                }
                Err(error) => reaped.failures.push(Failure::of(&error)),
            }
        }
    }
}
