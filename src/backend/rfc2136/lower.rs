//! A change to the prerequisites and updates of RFC 2136.

use crate::{
    core::{
        plan::{Guard, RrsetSwap, Scope, ZoneChange},
        rrset::{RrType, Rrset},
    },
    wire::message::{Prerequisite, Update},
};

/// The two sections of the UPDATE message that carries out `change`.
///
/// An RRset is replaced by deleting it and adding its new values: with both in one message the zone never lacks it, and
/// the message can be sent twice without harm.
#[must_use]
pub(super) fn lower(change: &ZoneChange) -> (Vec<Prerequisite>, Vec<Update>) {
    let guards = change.guards.iter().map(|guard| match guard {
        Guard::NameNotInUse(name) => Prerequisite::NameNotInUse(name.clone()),
        Guard::Unchanged(key, set) => Prerequisite::RrsetExistsExactly(key.clone(), set.clone()),
        Guard::Absent(key) => Prerequisite::RrsetDoesNotExist(key.clone()),
        Guard::Exists(key) => Prerequisite::RrsetExists(key.clone()),
    });
    let unused =
        |swap: &RrsetSwap| change.guards.contains(&Guard::NameNotInUse(swap.key.name.clone()));
    // Of values that are ours alone it does not matter what others have beside them.
    let whole = change.swaps.iter().filter(|swap| swap.scope == Scope::Whole && !unused(swap));
    let befores = whole.map(|swap| match &swap.before {
        Some(before) => Prerequisite::RrsetExistsExactly(swap.key.clone(), before.clone()),
        None => Prerequisite::RrsetDoesNotExist(swap.key.clone()),
    });
    let mut prerequisites: Vec<Prerequisite> = Vec::new();
    for prerequisite in guards.chain(befores) {
        if !prerequisites.contains(&prerequisite) {
            prerequisites.push(prerequisite);
        }
    }
    let updates = change.swaps.iter().flat_map(|swap| {
        let key = || swap.key.clone();
        let (before, after) = own(swap);
        let delete = before.map(|before| match swap.scope {
            // Where all goes, all goes; of a text set that stays in part, a part.
            Scope::Whole if swap.key.rtype != RrType::Txt || swap.after.is_none() => {
                Update::DeleteRrset(key())
            }
            _ => Update::DeleteFromRrset(key(), before),
        });
        let add = after.map(|after| Update::AddToRrset(key(), after));
        delete.into_iter().chain(add)
    });
    (prerequisites, updates.collect())
}

/// What goes and what comes. Texts of others stand beside our markers, and are not touched: an update that sent them again would
/// lease them (RFC 9664), and nobody would refresh them.
fn own(swap: &RrsetSwap) -> (Option<Rrset>, Option<Rrset>) {
    let (before, after) = swap.own();
    match (&before, &after) {
        (Some(old), Some(new)) if swap.key.rtype == RrType::Txt && old.ttl == new.ttl => {
            let only = |one: &Rrset, other: &Rrset| {
                let values = one.values.difference(&other.values).cloned().collect::<Vec<_>>();
                (!values.is_empty()).then(|| Rrset::new(one.ttl, values))
            };
            // Our marker comes with whatever comes, for its lease.
            let comes = only(new, &old.without_markers());
            match swap.scope {
                Scope::Whole => (only(old, new), comes),
                Scope::Values { .. } => (before, after),
            }
        }
        _ => (before, after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        name::Name,
        reason::Reason,
        rrset::{Rdata, RrType, Rrset, RrsetKey},
    };

    fn key(rtype: RrType) -> RrsetKey {
        RrsetKey::new("a.x".parse::<Name>().unwrap(), rtype)
    }

    fn set(last: u8) -> Rrset {
        Rrset::new(60, [Rdata::A([10, 0, 0, last].into())])
    }

    #[test]
    fn a_new_name_needs_one_prerequisite_only() {
        let change = ZoneChange {
            zone: "x".parse().unwrap(),
            guards: vec![Guard::NameNotInUse("a.x".parse().unwrap())],
            swaps: vec![RrsetSwap {
                key: key(RrType::A),
                before: None,
                after: Some(set(1)),
                scope: Scope::Whole,
                because: Reason::Vacant,
            }],
        };
        let (prerequisites, updates) = lower(&change);
        assert_eq!(prerequisites, [Prerequisite::NameNotInUse("a.x".parse().unwrap())]);
        assert_eq!(updates, [Update::AddToRrset(key(RrType::A), set(1))]);
    }

    #[test]
    fn a_swap_is_conditional_on_what_was_read_and_happens_in_one_message() {
        let change = ZoneChange {
            zone: "x".parse().unwrap(),
            guards: vec![Guard::Absent(key(RrType::Cname))],
            swaps: vec![
                RrsetSwap {
                    key: key(RrType::A),
                    before: Some(set(1)),
                    after: Some(set(2)),
                    scope: Scope::Whole,
                    because: Reason::Ours,
                },
                RrsetSwap {
                    key: key(RrType::Txt),
                    before: Some(set(3)),
                    after: None,
                    scope: Scope::Whole,
                    because: Reason::Retired,
                },
                RrsetSwap {
                    key: key(RrType::Aaaa),
                    before: None,
                    after: Some(set(4)),
                    scope: Scope::Whole,
                    because: Reason::Ours,
                },
            ],
        };
        let (prerequisites, updates) = lower(&change);
        assert_eq!(
            prerequisites,
            [
                Prerequisite::RrsetDoesNotExist(key(RrType::Cname)),
                Prerequisite::RrsetExistsExactly(key(RrType::A), set(1)),
                Prerequisite::RrsetExistsExactly(key(RrType::Txt), set(3)),
                Prerequisite::RrsetDoesNotExist(key(RrType::Aaaa)),
            ]
        );
        assert_eq!(
            updates,
            [
                Update::DeleteRrset(key(RrType::A)),
                Update::AddToRrset(key(RrType::A), set(2)),
                Update::DeleteRrset(key(RrType::Txt)),
                Update::AddToRrset(key(RrType::Aaaa), set(4)),
            ]
        );
    }

    #[test]
    fn values_of_a_shared_set_come_and_go_whatever_others_have_there() {
        let value = |last: u8| set(last).values;
        let change = ZoneChange {
            zone: "x".parse().unwrap(),
            guards: vec![Guard::Exists(key(RrType::Txt))],
            swaps: vec![RrsetSwap {
                key: key(RrType::A),
                before: Some(set(9)),
                after: Some(set(8)),
                scope: Scope::Values { remove: value(1), add: value(2) },
                because: Reason::Shared,
            }],
        };
        let (prerequisites, updates) = lower(&change);
        assert_eq!(prerequisites, [Prerequisite::RrsetExists(key(RrType::Txt))]);
        assert_eq!(
            updates,
            [
                Update::DeleteFromRrset(key(RrType::A), set(1)),
                Update::AddToRrset(key(RrType::A), set(2)),
            ]
        );
    }
}
