//! From wanted names to a plan: what stands is read, contested owners are looked up, and names that are not ours to take give
//! way to the next free ones.

use std::collections::{BTreeMap, BTreeSet};

use super::{Registration, Unwanted};
use crate::{
    core::{
        name::Name,
        naming::{Conflict, Wish},
        ownership::{OwnerId, Ownership, ownership},
        plan::{Blocked, Observed, Plan, plan},
        reason::Obstacle,
        refresh::{Lease, refresh},
        suffix,
    },
    ports::{Backend, Failure, error::BackendError},
};

/// What is to be done, and what that is for.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The wanted names, with those that stand in for others.
    pub desired: BTreeMap<Name, Wish>,
    /// What the operator should know.
    pub notices: Vec<String>,
}

impl Registration<'_> {
    /// Reads what stands and plans the way from there: journey 1 up to the point where something would be sent.
    ///
    /// # Errors
    /// The backend cannot be read.
    pub async fn plan(&self) -> Result<Planned, BackendError> {
        let mut desired = self.desired.clone();
        // By the name that stands in.
        let mut wanted = BTreeMap::new();
        let ledger = self.notebook.ledger();
        let published = ledger.published.get(self.name).into_iter().flat_map(BTreeMap::keys);
        let published = published.cloned().collect::<BTreeSet<_>>();
        for name in self.desired.iter().filter(|(_, wish)| wish.conflict == Conflict::Suffix) {
            let held = suffix::held(name.0, &published);
            if let Some(held) = held.filter(|held| !self.desired.contains_key(held)) {
                suffix::rename(&mut desired, name.0, &held, None);
                wanted.insert(held, name.0.clone());
            }
        }
        let mut notices = Vec::new();
        let (mut plan, mut observed) = self.plan_for(&desired, &mut notices).await?;
        for _ in 0..MOST_ROUNDS {
            let taken = plan.blocked.iter().filter(|blocked| is_suffixed(blocked, &desired));
            let taken = taken.cloned().collect::<Vec<_>>();
            let mut is_renamed = false;
            for Blocked { name, by } in taken {
                let base = wanted.remove(&name).unwrap_or_else(|| name.clone());
                if let Some(free) = self.next_free(&base, &desired).await? {
                    suffix::rename(&mut desired, &name, &free, Some(by));
                    wanted.insert(free, base);
                    is_renamed = true;
                }
            }
            if !is_renamed {
                break;
            }
            (plan, observed) = self.plan_for(&desired, &mut notices).await?;
        }
        let published = ledger.published.get(self.name).cloned().unwrap_or_default();
        let (keeping, now) = (self.backend.keeping(), self.clock.now());
        refresh(&mut plan, self.owner, &observed, &published, keeping, now);
        Ok(Planned { plan, desired, notices })
    }

    async fn plan_for(
        &self,
        desired: &BTreeMap<Name, Wish>,
        notices: &mut Vec<String>,
    ) -> Result<(Plan, Observed), BackendError> {
        let mut retired = match self.unwanted {
            Unwanted::Retired => self.notebook.ledger().retired(self.name, desired),
            Unwanted::Kept => BTreeSet::new(),
        };
        retired.extend(self.also_retired.iter().cloned());
        let known = self.notebook.ledger().published.remove(self.name).unwrap_or_default();
        let kept = known.into_iter().filter(|(name, known)| {
            // What stays, unwanted or not, stays only as long as its lease is refreshed.
            matches!(known.kept.lease, Lease::Granted(_)) && !retired.contains(name)
        });
        let kept = kept.map(|(name, _)| name).collect::<BTreeSet<_>>();
        let others = retired.iter().filter(|name| !desired.contains_key(name));
        let names = desired.keys().chain(others);
        let mut observed = self.backend.observe(&names.cloned().collect::<Vec<_>>()).await?;
        let kept = kept.into_iter().filter(|name| !desired.contains_key(name)).collect::<Vec<_>>();
        if !kept.is_empty() {
            match self.backend.observe(&kept).await {
                Ok(others) => {
                    observed.zones.extend(others.zones);
                    observed.records.extend(others.records);
                }
                Err(error) => {
                    let names = kept.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    let why = Failure::of(&error);
                    notices.push(format!("the lease of {names} cannot be refreshed now: {why}"));
                }
            }
        }
        let first = plan(self.owner, desired, &retired, &observed);
        let Some(instances) = self.instances.filter(|_| !first.contested.is_empty()) else {
            return Ok((first, observed));
        };
        match instances.lives(&first.contested).await {
            Ok(lives) => observed.owners = lives,
            Err(error) => {
                let owners = first.contested.iter().map(ToString::to_string);
                notices.push(format!(
                    "whether {} still exists is not known: {}",
                    owners.collect::<Vec<_>>().join(", "),
                    Failure::of(&error)
                ));
            }
        }
        Ok((plan(self.owner, desired, &retired, &observed), observed))
    }

    /// The name that stands in for `name`, a few at a time.
    async fn next_free(
        &self,
        name: &Name,
        desired: &BTreeMap<Name, Wish>,
    ) -> Result<Option<Name>, BackendError> {
        let candidates = (2..=suffix::MOST).map_while(|number| suffix::candidate(name, number));
        let candidates = candidates.filter(|candidate| !desired.contains_key(candidate));
        for some in candidates.collect::<Vec<_>>().chunks(AT_ONCE) {
            let observed: Observed = self.backend.observe(some).await?;
            let free = suffix::choose(some, self.owner, &observed);
            if free.is_some() {
                return Ok(free);
            }
        }
        Ok(None)
    }
}

/// The name that stands in for `name` by the zone alone, for a host that has lost its memory: any may, since others that were
/// there before have gone.
///
/// # Errors
/// The backend cannot be read.
pub async fn stand_in(
    backend: &dyn Backend,
    owner: &OwnerId,
    name: &Name,
) -> Result<Option<Name>, BackendError> {
    let candidates = (2..=suffix::MOST).map_while(|number| suffix::candidate(name, number));
    for some in candidates.collect::<Vec<_>>().chunks(MORE_AT_ONCE) {
        let observed = backend.observe(some).await?;
        let ours = |name: &&Name| ownership(name, owner, &observed.records) == Ownership::Ours;
        if let Some(found) = some.iter().find(ours) {
            return Ok(Some(found.clone()));
        }
    }
    Ok(None)
}

fn is_suffixed(blocked: &Blocked, desired: &BTreeMap<Name, Wish>) -> bool {
    let wish = desired.get(&blocked.name);
    wish.is_some_and(|wish| wish.conflict == Conflict::Suffix)
        && !blocked.name.is_reverse()
        && matches!(blocked.by, Obstacle::Theirs(_) | Obstacle::Foreign | Obstacle::Alias)
}

/// One for the name itself, and one where that was lost to another host meanwhile.
const MOST_ROUNDS: u32 = 3;
/// Each is a query or a call.
const AT_ONCE: usize = 4;
const MORE_AT_ONCE: usize = 16;
