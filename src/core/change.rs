//! Changes of a zone: what is swapped, and what must still be so.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

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

impl Guard {
    /// The name that it is about.
    #[must_use]
    pub fn name(&self) -> &Name {
        match self {
            Self::NameNotInUse(name) => name,
            Self::Unchanged(key, _) | Self::Absent(key) | Self::Exists(key) => &key.name,
        }
    }
}

impl ZoneChange {
    /// The change without the names whose PTR records lead, or would lead, to one of `lost`: what is left of it, and those names, each
    /// with where it leads.
    #[must_use]
    pub fn without_way_to(&self, lost: &BTreeSet<Name>) -> (Self, BTreeMap<Name, Name>) {
        let mut waiting = BTreeMap::new();
        for swap in &self.swaps {
            // Where it will lead counts; where it led only if it goes.
            let (before, after) = swap.own();
            let values = after.or(before);
            let values = values.iter().flat_map(|set| &set.values);
            let target = values.filter_map(|value| match value {
                Rdata::Ptr(target) => lost.get(target),
                _ => None,
            });
            waiting.extend(target.map(|target| (swap.key.name.clone(), target.clone())));
        }
        let mut left = self.clone();
        left.guards.retain(|guard| !waiting.contains_key(guard.name()));
        left.swaps.retain(|swap| !waiting.contains_key(&swap.key.name));
        (left, waiting)
    }
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

#[cfg(test)]
mod tests {
    use super::{super::rrset::RrType, *};

    #[test]
    fn a_reverse_name_waits_for_where_it_will_lead_and_if_it_goes_for_where_it_led() {
        let [old, new, reverse]: [Name; 3] =
            ["old.a.", "new.b.", "1.0.0.10.in-addr.arpa."].map(|name| name.parse().unwrap());
        let ptr = |target: &Name| Some(Rrset::new(60, [Rdata::Ptr(target.clone())]));
        let change = |before, after| ZoneChange {
            zone: "10.in-addr.arpa.".parse().unwrap(),
            guards: vec![Guard::Absent(RrsetKey::new(reverse.clone(), RrType::Cname))],
            swaps: vec![RrsetSwap {
                key: RrsetKey::new(reverse.clone(), RrType::Ptr),
                before,
                after,
                scope: Scope::Whole,
                because: Reason::Ours,
            }],
        };
        for (before, after, lost, waits) in [
            (ptr(&old), ptr(&new), &new, true),
            // The old name could not be taken away, the new one stands.
            (ptr(&old), ptr(&new), &old, false),
            (ptr(&old), None, &old, true),
            (None, ptr(&new), &new, true),
            (None, ptr(&new), &old, false),
        ] {
            let change = change(before, after);
            let (left, waiting) = change.without_way_to(&BTreeSet::from([lost.clone()]));
            assert_eq!(waiting.get(&reverse), waits.then_some(lost), "{change:?}");
            assert_eq!((left.swaps.is_empty(), left.guards.is_empty()), (waits, waits));
        }
    }
}
