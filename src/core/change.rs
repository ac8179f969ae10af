//! Changes of a zone: what is swapped, and what must still be so.

use std::{collections::BTreeSet, fmt};

use super::{
    name::Name,
    reason::Reason,
    rrset::{Rdata, Rrset, RrsetKey},
};

/// Compare and swap of one RRset: becomes `after`, if it is still `before`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RrsetSwap {
    /// Which RRset.
    pub key: RrsetKey,
    /// What was read there.
    pub before: Option<Rrset>,
    /// What shall stand there.
    pub after: Option<Rrset>,
    /// How much of the RRset it is about.
    pub scope: Scope,
    /// Why.
    pub because: Reason,
}

/// How much of an RRset a swap is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Whole,
    /// These values alone, whatever else stands there: others have theirs in the same set.
    Values {
        /// What goes.
        remove: BTreeSet<Rdata>,
        /// What comes.
        add: BTreeSet<Rdata>,
    },
}

impl RrsetSwap {
    /// What goes and what comes, of what is ours.
    #[must_use]
    pub fn own(&self) -> (Option<Rrset>, Option<Rrset>) {
        let ttl = |set: &Option<Rrset>| set.as_ref().map_or(0, |set| set.ttl);
        let some = |ttl: u32, values: &BTreeSet<Rdata>| {
            (!values.is_empty()).then(|| Rrset::new(ttl, values.iter().cloned()))
        };
        match &self.scope {
            Scope::Whole => (self.before.clone(), self.after.clone()),
            Scope::Values { remove, add } => {
                (some(ttl(&self.before), remove), some(ttl(&self.after), add))
            }
        }
    }
}

/// A condition on something that the change does not itself replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// No record of any type stands at the name (RFC 2136 section 2.4.5).
    NameNotInUse(Name),
    /// The RRset holds exactly these values (RFC 2136 section 2.4.2).
    Unchanged(RrsetKey, Rrset),
    /// There is no such RRset (RFC 2136 section 2.4.3).
    Absent(RrsetKey),
    /// There is such an RRset, whatever its values (RFC 2136 section 2.4.1).
    Exists(RrsetKey),
}

/// Changes of one zone that happen together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneChange {
    /// The zone's apex.
    pub zone: Name,
    /// What must hold beside the swaps' own `before`.
    pub guards: Vec<Guard>,
    /// The swaps, by name and type.
    pub swaps: Vec<RrsetSwap>,
}

impl fmt::Display for RrsetSwap {
    /// One line of a diff: `* web-1.corp.internal. A 10.0.1.17 → 10.0.1.23 60 s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RrsetKey { name, rtype } = &self.key;
        let (before, after) = self.own();
        match (&before, &after) {
            (None, Some(after)) => write!(f, "+ {name} {rtype} {after} {} s", after.ttl),
            (Some(before), None) => write!(f, "- {name} {rtype} {before}"),
            (Some(before), Some(after)) if before.values == after.values => {
                write!(f, "* {name} {rtype} {after} {} s → {} s", before.ttl, after.ttl)
            }
            (Some(before), Some(after)) => {
                write!(f, "* {name} {rtype} {before} → {after} {} s", after.ttl)
            }
            (None, None) => write!(f, "  {name} {rtype}"),
        }
    }
}
