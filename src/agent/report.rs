//! What a pass did, in one place: one summary line, the failures, and whether it was good.

use std::{collections::BTreeSet, fmt};

use super::{registration::Registered, resolution::Resolved};
use crate::{
    core::{plan::RrsetSwap, reason::Reason, rrset::RrType},
    ports::Failure,
};

/// The outcome of a pass.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Who this host is.
    pub instance_id: Option<String>,
    /// Each backend's outcome.
    pub registered: Vec<Registered>,
    /// The resolver's outcome; `None` when that part did not come to an end.
    pub resolved: Option<Resolved>,
    /// What the operator should know.
    pub notices: Vec<String>,
    /// What went wrong before the parts began.
    pub failures: Vec<Failure>,
    /// When each input was read.
    pub inputs: Inputs,
    /// Whether the pass was given up while it was at work, so that nobody knows how far it came.
    pub cut_off: bool,
}

/// When each input of a pass was read last, in seconds since 1970; `None` where it was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// The instance's metadata.
    pub metadata: Option<u64>,
    /// The instance's tags, from its metadata or from EC2.
    pub tags: Option<u64>,
    /// The list of DNS servers, from EC2.
    pub servers: Option<u64>,
}

impl Inputs {
    /// These, or where one was not read, that of `earlier`.
    #[must_use]
    pub fn or(self, earlier: Self) -> Self {
        Self {
            metadata: self.metadata.or(earlier.metadata),
            tags: self.tags.or(earlier.tags),
            servers: self.servers.or(earlier.servers),
        }
    }
}

impl Report {
    /// Whether everything that was asked for is so.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failures().next().is_none() && self.registered.iter().all(Registered::is_good)
    }

    /// Whether nothing is wrong but what somebody else must mend.
    #[must_use]
    pub fn waits_for_others(&self) -> bool {
        let mut bad = self.registered.iter().filter(|part| !part.is_good()).peekable();
        self.failures.is_empty() && bad.peek().is_some() && bad.all(Registered::waits_for_others)
    }

    /// Everything that went wrong; what both parts met is told once.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        let registered = self.registered.iter().flat_map(|part| &part.failures);
        let resolved = self.resolved.iter().flat_map(|part| &part.failures);
        let mut told: Vec<&Failure> = Vec::new();
        for failure in self.failures.iter().chain(registered).chain(resolved) {
            if !told.contains(&failure) {
                told.push(failure);
            }
        }
        told.into_iter()
    }

    /// Everything that the operator should know, of all parts.
    pub fn notices(&self) -> impl Iterator<Item = String> {
        let resolved = self.resolved.iter().flat_map(|part| part.notices.clone());
        let skipped =
            self.registered.iter().flat_map(|part| part.skipped.iter()).map(|(name, reason)| {
                match reason {
                    Reason::Awaits(_) => format!("{name} is left out: {reason}"),
                    _ => reason.to_string(),
                }
            });
        let unreached = self.registered.iter().flat_map(|part| {
            part.unreached.iter().map(|name| {
                format!("{name} is still to be taken back: the backend does not reach its zone now")
            })
        });
        let registered = self.registered.iter().flat_map(|part| part.notices.clone());
        let own = self.notices.iter().cloned();
        own.chain(registered).chain(skipped).chain(unreached).chain(resolved)
    }
}

impl fmt::Display for Report {
    /// `published web-1.corp. A 10.0.1.23; 1 unchanged · resolvers 10.0.0.2, 10.0.0.3 (1 of 3 not used)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.cut_off {
            return f.write_str("cut off at the deadline; `tagalong status` says what stands");
        }
        let mut parts = Vec::new();
        for part in &self.registered {
            parts.push(registered(part));
        }
        if self.registered.is_empty() {
            let failed = !self.failures.is_empty();
            parts.push(if failed { "not registered" } else { "nothing to publish" }.to_owned());
        }
        parts.extend(self.resolved.as_ref().map(Resolved::summary));
        f.write_str(&parts.join(" · "))
    }
}

fn registered(part: &Registered) -> String {
    let mut told = Vec::new();
    let after = |swap: &RrsetSwap| {
        // The marker goes without saying.
        let is_told = swap.key.rtype != RrType::Txt && swap.because != Reason::Kept;
        let set = swap.own().1.filter(|_| is_told)?;
        Some(format!("{} {set}", swap.key))
    };
    let refreshed = part.done.iter().filter(|swap| swap.because == Reason::Kept);
    let refreshed = refreshed.map(|swap| swap.key.name.to_string()).collect::<BTreeSet<_>>();
    let published = part.done.iter().filter_map(after).collect::<Vec<_>>();
    let withdrawn =
        part.done.iter().filter(|swap| swap.own().1.is_none() && swap.key.rtype != RrType::Txt);
    let withdrawn = withdrawn.map(|swap| swap.key.to_string()).collect::<Vec<_>>();
    if !published.is_empty() {
        told.push(format!("published {}", published.join(", ")));
    }
    if !refreshed.is_empty() {
        let names = refreshed.into_iter().collect::<Vec<_>>().join(", ");
        told.push(format!("sent again {names}"));
    }
    if !withdrawn.is_empty() {
        told.push(format!("withdrew {}", withdrawn.join(", ")));
    }
    if !part.unchanged.is_empty() {
        told.push(format!("{} unchanged", part.unchanged.len()));
    }
    if !part.blocked.is_empty() {
        let names = part.blocked.iter().map(|blocked| blocked.name.to_string()).collect::<Vec<_>>();
        told.push(format!("left alone {}", names.join(", ")));
    }
    if !part.failures.is_empty() {
        told.push("failed".to_owned());
    }
    if told.is_empty() {
        told.push("nothing to do".to_owned());
    }
    format!("{}: {}", part.backend, told.join("; "))
}
