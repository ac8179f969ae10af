//! Journey 1: publish who this host is. Wanted names → observe → plan → remember → apply → remember.

mod planning;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

pub use self::planning::{Planned, stand_in};
use super::{
    notebook::Notebook,
    patience::{Patience, out_of_time},
};
use crate::{
    core::{
        name::Name,
        naming::{Reverse, Wish},
        ownership::OwnerId,
        plan::{Blocked, Plan, RrsetSwap},
        reason::Reason,
        refresh::Kept,
    },
    ports::{
        Backend, Clock, Disposition, Failure, InstanceDirectory, Situation as _,
        error::BackendError,
    },
};

/// What one backend shall publish for this host.
pub struct Registration<'a> {
    /// Who we are.
    pub owner: &'a OwnerId,
    /// The backend's name.
    pub name: &'a str,
    /// The backend.
    pub backend: &'a dyn Backend,
    /// The names that it shall hold; none to withdraw.
    pub desired: &'a BTreeMap<Name, Wish>,
    /// What becomes of names that were published before and are not to be held now.
    pub unwanted: Unwanted,
    /// Backends that have published, and that the configuration no longer has.
    pub former: &'a BTreeSet<String>,
    /// Names to take back although the ledger does not know them.
    pub also_retired: BTreeSet<Name>,
    /// Who knows whether other owners of names still exist; nobody is asked where nothing is to be published.
    pub instances: Option<&'a dyn InstanceDirectory>,
    /// The memory.
    pub notebook: &'a Notebook<'a>,
    /// The time.
    pub clock: &'a dyn Clock,
    /// When it must be over.
    pub deadline: Instant,
}

/// What becomes of names that were published before and are not wanted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwanted {
    /// They are taken back.
    Retired,
    /// They stay: it is not known yet what is wanted.
    Kept,
}

/// What became of it.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Registered {
    /// The backend's name.
    pub backend: String,
    /// Where it publishes.
    pub place: String,
    /// What was changed.
    pub done: Vec<RrsetSwap>,
    /// What was right already.
    pub unchanged: Vec<Name>,
    /// What is somebody else's.
    pub blocked: Vec<Blocked>,
    /// What was left out by rule.
    pub skipped: Vec<(Name, Reason)>,
    /// What is to be taken back as soon as its zone is served again.
    pub unreached: Vec<Name>,
    /// What the operator should know.
    pub notices: Vec<String>,
    /// What went wrong.
    pub failures: Vec<Failure>,
    /// Whether the same would only go wrong again.
    pub is_held: bool,
}

impl Registered {
    /// This outcome after an earlier one of the same backend and pass: what that one did was done.
    pub fn after(mut self, earlier: Option<Self>) -> Self {
        if let Some(earlier) = earlier {
            let again = std::mem::replace(&mut self.done, earlier.done);
            self.unchanged.retain(|name| self.done.iter().all(|swap| swap.key.name != *name));
            self.done.extend(again);
        }
        self
    }

    /// The outcome of a backend that could not even be opened.
    pub fn failed(backend: &str, failure: Failure) -> Self {
        Self { backend: backend.to_owned(), failures: vec![failure], ..Self::default() }
    }

    /// Whether what is wrong with it stays so until somebody else does something.
    #[must_use]
    pub fn waits_for_others(&self) -> bool {
        self.is_held || (self.failures.is_empty() && !self.blocked.is_empty())
    }

    /// What it is for a later pass that did not register: what was done stands.
    pub fn settle(&mut self) {
        let done = std::mem::take(&mut self.done).into_iter();
        let stands = done.filter(|swap| swap.because != Reason::Retired && swap.own().1.is_some());
        let stands = stands.map(|swap| swap.key.name);
        let all = self.unchanged.drain(..).chain(stands).collect::<BTreeSet<_>>();
        self.unchanged = all.into_iter().collect();
    }

    /// Whether everything wanted stands.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.blocked.is_empty()
    }
}

impl Registration<'_> {
    /// The whole journey, again and again until it is done, until it can never be, or until the deadline.
    pub async fn run(&self) -> Registered {
        let mut outcome = Registered {
            backend: self.name.to_owned(),
            place: self.backend.place(),
            ..Registered::default()
        };
        let mut patience = Patience::until(self.deadline);
        let mut lost_races = 0;
        loop {
            let pass = self.pass(&mut outcome);
            let error = match timeout_at(self.deadline, pass).await {
                Ok(None) => return outcome,
                Ok(Some(error)) => error,
                Err(_) => {
                    if outcome.failures.is_empty() {
                        outcome.failures.push(out_of_time(&self.backend.place()));
                    }
                    return outcome;
                }
            };
            outcome.failures = vec![Failure::of(&error)];
            outcome.is_held = error.disposition() == Disposition::Hold;
            let again = match error.disposition() {
                // Lost races are planned again at once, and not for ever: two writers may keep each other busy.
                Disposition::Replan if lost_races < MOST_LOST_RACES => {
                    lost_races += 1;
                    Instant::now() < self.deadline
                }
                Disposition::Replan => patience.wait(Duration::from_millis(200), self.clock).await,
                Disposition::Retry { after } => patience.wait(after, self.clock).await,
                Disposition::Ease { after } => patience.ease(after, self.clock).await,
                Disposition::Hold => false,
            };
            if !again {
                return outcome;
            }
            tracing::debug!(backend = self.name, %error, "tried again");
        }
    }

    /// Whether a former backend is this one under its old name, by what stands before anything is done: that is its own then.
    fn is_renamed(&self, plan: &Plan) -> bool {
        if self.former.is_empty() {
            return false;
        }
        let before = self.notebook.ledger().published;
        let noted = before.get(self.name);
        let is_new = |name: &&Name| noted.is_none_or(|noted| !noted.contains_key(*name));
        let standing = plan.standing().filter(is_new).cloned().collect::<BTreeSet<_>>();
        // Where it cannot be noted it is as it was.
        let _ = self.notebook.note(|it| it.note_renamed(self.name, &standing, self.former));
        self.notebook.ledger().published != before
    }

    /// One time through; the error is what stands in the way of more.
    async fn pass(&self, outcome: &mut Registered) -> Option<BackendError> {
        let mut planned = self.plan().await;
        if planned.as_ref().is_ok_and(|planned| self.is_renamed(&planned.plan)) {
            planned = self.plan().await;
        }
        let Planned { plan, desired, notices } = match planned {
            Ok(planned) => planned,
            Err(error) => return Some(error),
        };
        outcome.failures.clear();
        outcome.is_held = false;
        outcome.notices = notices;
        outcome.notices.extend(plan.kept.iter().map(|name| {
            format!("{name}, which is not wanted any more, stays until what takes its place is published")
        }));
        outcome.blocked.clone_from(&plan.blocked);
        outcome.skipped.clone_from(&plan.skipped);
        outcome.unchanged.clone_from(&plan.unchanged);
        let noted = self.notebook.ledger().published.remove(self.name).unwrap_or_default();
        // A reverse name that is welcome where it is served, and never was, is not worth waiting for.
        let is_optional = |name: &Name| {
            let wish = desired.get(name);
            wish.is_some_and(|wish| wish.reverse == Reverse::IfServed) && !noted.contains_key(name)
        };
        let mut stopped = None;
        for (name, why) in &plan.unanswered {
            if is_optional(name) {
                let reason = Reason::Unanswered { name: name.clone(), why: why.clone() };
                outcome.skipped.push((name.clone(), reason));
            } else {
                let (name, source) = (name.clone(), why.clone().into());
                stopped = Some(BackendError::ZoneUnknown { name, source });
            }
        }
        outcome.unreached =
            plan.unreached.iter().filter(|name| noted.contains_key(name)).cloned().collect();
        let now = self.clock.now();
        if let Err(error) = self.notebook.note(|ledger| ledger.note_before(self.name, &plan, now)) {
            // A name that we could forget is one that nobody would ever take back: do not publish it.
            outcome.failures.push(Failure::of(&error));
            return None;
        }
        let mut done = Plan { changes: Vec::new(), ..plan.clone() };
        let mut kept = Vec::new();
        let mut lost = BTreeSet::new();
        for change in &plan.changes {
            // A reverse name follows its name, and stays while that does.
            let (change, waiting) = change.without_way_to(&lost);
            let is_over = change.swaps.is_empty() && !waiting.is_empty();
            let waiting = waiting.into_iter().map(|(name, target)| (name, Reason::Awaits(target)));
            outcome.skipped.extend(waiting);
            if is_over {
                continue;
            }
            let applied = self.backend.apply(&change).await;
            if applied.is_err() {
                lost.extend(change.swaps.iter().map(|swap| swap.key.name.clone()));
            }
            match applied {
                Ok(granted) => {
                    kept.push(Kept::of(self.backend.keeping(), granted));
                    tracing::debug!(backend = self.name, zone = %change.zone, swaps = change.swaps.len(), "published");
                    outcome.done.extend(change.swaps.iter().cloned());
                    done.changes.push(change);
                }
                // The other zones are not to suffer from it.
                Err(error) if error.disposition() == Disposition::Hold => {
                    outcome.is_held = true;
                    outcome.failures.push(Failure::of(&error));
                }
                Err(error) => stopped = Some(error),
            }
        }
        if let Err(error) =
            self.notebook.note(|ledger| ledger.note_after(self.name, &done, &kept, &desired, now))
        {
            outcome.failures.push(Failure::of(&error));
        }
        stopped
    }
}

/// Races lost in a row before we step back.
const MOST_LOST_RACES: u32 = 3;
