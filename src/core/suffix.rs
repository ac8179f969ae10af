//! The names that stand in for one that is not ours to take: `web-1-2`, `web-1-3`, … for `web-1`.
//!
//! A host that holds one of them keeps it, also when the name itself becomes free: others have learnt it by now.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    name::Name,
    naming::Wish,
    ownership::{OwnerId, Ownership, ownership},
    plan::Observed,
    reason::{Obstacle, Reason},
    rrset::Rdata,
};

/// The highest number that is tried.
pub const MOST: u32 = 99;

/// The candidate with this number; `None` where the name would be too long.
#[must_use]
pub fn candidate(name: &Name, number: u32) -> Option<Name> {
    let first = name.labels().next()?;
    name.parent()?.child(&format!("{first}-{number}")).ok()
}

/// Of the names that were published before, the one that stands in for `name`: none if that is among them itself.
#[must_use]
pub fn held(name: &Name, published: &BTreeSet<Name>) -> Option<Name> {
    if published.contains(name) {
        return None;
    }
    (2..=MOST).map_while(|number| candidate(name, number)).find(|it| published.contains(it))
}

/// The first of some candidates that is ours already, or else the first that is free.
#[must_use]
pub fn choose(candidates: &[Name], owner: &OwnerId, observed: &Observed) -> Option<Name> {
    let stands = |wanted: Ownership| {
        let mut served = candidates.iter().filter(|name| observed.zones.contains_key(name));
        served.find(|name| ownership(name, owner, &observed.records) == wanted).cloned()
    };
    stands(Ownership::Ours).or_else(|| stands(Ownership::Vacant))
}

/// Moves the wish for `wanted` to `name`, with the pointers that lead to it.
pub fn rename(
    desired: &mut BTreeMap<Name, Wish>,
    wanted: &Name,
    name: &Name,
    why: Option<Obstacle>,
) {
    let Some(mut wish) = desired.remove(wanted) else { return };
    wish.because.extend(
        why.map(|obstacle| Reason::Suffixed {
            wanted: wanted.clone(),
            obstacle: Box::new(obstacle),
        }),
    );
    desired.insert(name.clone(), wish);
    let (from, to) = (Rdata::Ptr(wanted.clone()), Rdata::Ptr(name.clone()));
    for wish in desired.values_mut() {
        if wish.values.remove(&from) {
            wish.values.insert(to.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        naming::{Conflict, Reverse},
        rrset::{Records, Rrset, RrsetKey},
    };

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn names(texts: &[&str]) -> Vec<Name> {
        texts.iter().map(|text| name(text)).collect()
    }

    #[test]
    fn the_first_label_is_numbered_as_long_as_there_is_room() {
        assert_eq!(candidate(&name("web-1.corp"), 2), Some(name("web-1-2.corp")));
        let long = format!("{}.corp", "a".repeat(61));
        assert_eq!(candidate(&name(&long), 9), Some(name(&format!("{}-9.corp", "a".repeat(61)))));
        assert_eq!(candidate(&name(&long), 10), None);
    }

    #[test]
    fn a_candidate_that_was_published_stays_unless_the_name_itself_was() {
        let held =
            |published: &[&str]| held(&name("web-1.corp"), &names(published).into_iter().collect());
        assert_eq!(held(&["web-1-3.corp", "db.corp"]), Some(name("web-1-3.corp")));
        assert_eq!(held(&["web-1-3.corp", "web-1.corp"]), None);
        assert_eq!(held(&["web-1-x.corp"]), None);
    }

    #[test]
    fn ours_comes_before_a_free_one_and_what_no_zone_holds_is_neither() {
        let us = OwnerId::new("i-us");
        let mut records = Records::new();
        for (at, marker) in [("b.corp", OwnerId::new("i-them").marker()), ("d.corp", us.marker())] {
            let key = RrsetKey::new(name(at), marker.rtype());
            records.insert(key, Rrset::new(60, [marker]));
        }
        let served = |served: &[&str]| Observed {
            zones: names(served).into_iter().map(|it| (it, name("corp"))).collect(),
            records: records.clone(),
            ..Observed::default()
        };
        let candidates = names(&["a.corp", "b.corp", "c.corp", "d.corp"]);
        let choose = |at: &[&str]| choose(&candidates, &us, &served(at));
        assert_eq!(choose(&["a.corp", "b.corp", "c.corp", "d.corp"]), Some(name("d.corp")));
        assert_eq!(choose(&["b.corp", "c.corp"]), Some(name("c.corp")));
        assert_eq!(choose(&["b.corp"]), None);
    }

    #[test]
    fn the_pointers_follow_the_name() {
        let wish = |value| Wish {
            ttl: 60,
            values: BTreeSet::from([value]),
            reverse: Reverse::Never,
            conflict: Conflict::Suffix,
            shared: false,
            because: Vec::new(),
        };
        let mut desired = BTreeMap::from([
            (name("web-1.corp"), wish(Rdata::A([10, 0, 0, 1].into()))),
            (name("1.0.0.10.in-addr.arpa"), wish(Rdata::Ptr(name("web-1.corp")))),
        ]);
        rename(&mut desired, &name("web-1.corp"), &name("web-1-2.corp"), Some(Obstacle::Foreign));
        assert!(desired.contains_key(&name("web-1-2.corp")) && desired.len() == 2);
        let pointer = &desired[&name("1.0.0.10.in-addr.arpa")];
        assert_eq!(pointer.values, BTreeSet::from([Rdata::Ptr(name("web-1-2.corp"))]));
        let because = desired[&name("web-1-2.corp")].because[0].to_string();
        assert!(because.starts_with("in place of web-1.corp.: it holds records"), "{because}");
    }
}
