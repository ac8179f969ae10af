//! The planner's laws, over zones and wishes that nobody thought of.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{collection, prelude::*, sample, test_runner::Config};
use tagalong::{
    backend::memory::Memory,
    core::{
        ledger::Published,
        name::Name,
        naming::{Conflict, Reverse, Wish},
        ownership::{OwnerId, Ownership, ownership, records_at},
        plan::{Observed, Plan, plan},
        refresh::{Keeping, Kept, Lease, refresh},
        resolv_conf::{ResolvConf, Wanted},
        rrset::{Rdata, Records, RrType, Rrset, RrsetKey},
    },
    ports::Backend as _,
};

use crate::support::block_on;

const NAMES: [&str; 4] =
    ["a.corp.internal", "b.corp.internal", "1.0.0.10.in-addr.arpa", "2.0.0.10.in-addr.arpa"];

fn us() -> OwnerId {
    OwnerId::new("i-us")
}

fn name() -> impl Strategy<Value = Name> {
    sample::select(NAMES.to_vec()).prop_map(|text| text.parse().unwrap())
}

fn value() -> impl Strategy<Value = Rdata> {
    prop_oneof![
        4 => (1..4_u8).prop_map(|last| Rdata::A([10, 0, 0, last].into())),
        2 => (1..3_u16).prop_map(|last| Rdata::Aaaa([0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into())),
        2 => name().prop_map(Rdata::Ptr),
        2 => Just(us().marker()),
        1 => Just(OwnerId::new("i-them").marker()),
        1 => Just(Rdata::Txt(vec![b"v=spf1 -all".to_vec()])),
        1 => name().prop_map(Rdata::Cname),
        1 => Just(Rdata::Other { rtype: 15, octets: vec![0, 10, 0] }),
    ]
}

fn records() -> impl Strategy<Value = Records> {
    collection::vec((name(), value(), sample::select(vec![30_u32, 60])), 0..12).prop_map(|rows| {
        let mut records = Records::new();
        for (name, value, ttl) in rows {
            let set = records
                .entry(RrsetKey::new(name, value.rtype()))
                .or_insert_with(|| Rrset::new(ttl, []));
            set.values.insert(value);
        }
        // No server holds anything beside an alias (RFC 1034 section 3.6.2), nor two aliases.
        let aliases =
            records.keys().filter(|key| key.rtype == RrType::Cname).map(|key| key.name.clone());
        let aliases: BTreeSet<Name> = aliases.collect();
        records.retain(|key, _| key.rtype == RrType::Cname || !aliases.contains(&key.name));
        records
    })
}

fn wishes() -> impl Strategy<Value = BTreeMap<Name, Wish>> {
    let addresses = collection::btree_set(
        prop_oneof![
            (1..4_u8).prop_map(|last| Rdata::A([10, 0, 0, last].into())),
            (1..3_u16).prop_map(|last| Rdata::Aaaa([0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into())),
        ],
        1..3,
    );
    collection::btree_map(name(), (addresses, sample::select(vec![30_u32, 60])), 0..4).prop_map(
        |rows| {
            let wish = |(values, ttl)| Wish {
                ttl,
                values,
                reverse: Reverse::Always,
                conflict: Conflict::Refuse,
                shared: false,
                because: Vec::new(),
            };
            rows.into_iter().map(|(name, row)| (name, wish(row))).collect()
        },
    )
}

fn zones() -> [Name; 2] {
    ["corp.internal".parse().unwrap(), "10.in-addr.arpa".parse().unwrap()]
}

fn all_names() -> Vec<Name> {
    NAMES.iter().map(|text| text.parse().unwrap()).collect()
}

/// A zone in memory that holds `records`, and what an observer sees of it.
fn world(records: &Records) -> (Memory, Observed) {
    let memory = Memory::new(zones());
    *memory.records() = records.clone();
    let observed = block_on(memory.observe(&all_names())).unwrap();
    (memory, observed)
}

fn carry_out(memory: &Memory, plan: &Plan) -> bool {
    plan.changes.iter().all(|change| block_on(memory.apply(change)).is_ok())
}

/// What stands at names that are not ours, and what others put at ours.
fn not_ours(records: &Records) -> Records {
    let ours = |name: &Name| ownership(name, &us(), records) == Ownership::Ours;
    let managed = [RrType::A, RrType::Aaaa, RrType::Ptr];
    let mut rest = Records::new();
    for (key, set) in records {
        let mut set = set.clone();
        if ours(&key.name) {
            set.values.remove(&us().marker());
            if managed.contains(&key.rtype) || set.values.is_empty() {
                continue;
            }
        }
        rest.insert(key.clone(), set);
    }
    rest
}

proptest! {
    #![proptest_config(Config { cases: 2000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn the_plan_of_its_own_result_is_empty(records in records(), wishes in wishes(), retired in collection::btree_set(name(), 0..3)) {
        let (memory, observed) = world(&records);
        let first = plan(&us(), &wishes, &retired, &observed);
        prop_assert!(carry_out(&memory, &first), "what was just read still holds");
        let after = block_on(memory.observe(&all_names())).unwrap();
        let second = plan(&us(), &wishes, &retired, &after);
        prop_assert!(second.is_empty(), "{second:?}");
    }

    #[test]
    fn keeping_names_sends_what_is_ours_and_changes_nothing_else(
        records in records(), wishes in wishes(), retired in collection::btree_set(name(), 0..3),
        asked in any::<bool>(), index in any::<bool>(), indexed in any::<bool>(), lease in 0..3_u8,
    ) {
        let (memory, observed) = world(&records);
        let mut first = plan(&us(), &wishes, &retired, &observed);
        let without = first.clone();
        let lease = [Lease::Unasked, Lease::Ungranted, Lease::Granted(100)][usize::from(lease)];
        let kept = Kept { lease, indexed };
        let keeping = Keeping { lease: asked.then_some(Duration::from_secs(100)), index };
        let known = all_names().into_iter().map(|name| (name, Published { at: 0, confirmed: true, kept })).collect();
        refresh(&mut first, &us(), &observed, &known, keeping, 80);
        prop_assert!(carry_out(&memory, &first), "what was just read still holds");
        let after = memory.records().clone();
        let (other, _) = world(&records);
        carry_out(&other, &without);
        prop_assert_eq!(&after, &*other.records());
        let swaps = || first.changes.iter().flat_map(|change| &change.swaps);
        // Where a lease may end, or an index is wanted, all that is ours is sent; where nothing is kept, nothing more.
        let is_due = lease == Lease::Granted(100) || (asked && lease == Lease::Unasked) || (index && !indexed);
        let touched = swaps().map(|swap| swap.key.name.clone()).collect::<BTreeSet<_>>();
        let sent: BTreeSet<_> = swaps()
            .flat_map(|swap| swap.own().1.into_iter().flat_map(|set| set.values).map(|value| (swap.key.name.clone(), value)))
            .collect();
        let managed = [RrType::A, RrType::Aaaa, RrType::Ptr];
        for name in all_names().iter().filter(|name| ownership(name, &us(), &after) == Ownership::Ours) {
            if !is_due && !touched.contains(name) {
                continue;
            }
            if !is_due && !asked {
                continue;
            }
            let ours = records_at(name, &after).flat_map(|(key, set)| set.values.iter().map(|value| (key.rtype, value)));
            for (rtype, value) in ours.filter(|(rtype, value)| managed.contains(rtype) || **value == us().marker()) {
                prop_assert!(sent.contains(&(name.clone(), value.clone())), "{name} {rtype} {value} was not sent");
            }
        }
        if !is_due && !asked {
            prop_assert_eq!(first, without);
        }
    }

    #[test]
    fn a_name_we_do_not_own_is_never_changed(records in records(), wishes in wishes(), retired in collection::btree_set(name(), 0..3)) {
        let (memory, observed) = world(&records);
        let before = not_ours(&records);
        let first = plan(&us(), &wishes, &retired, &observed);
        carry_out(&memory, &first);
        let after = memory.records().clone();
        for (key, set) in &before {
            prop_assert_eq!(after.get(key).map(|after| after.values.is_superset(&set.values)), Some(true), "{}", key);
        }
    }

    #[test]
    fn an_accepted_plan_leaves_what_was_wished_and_its_marker(records in records(), wishes in wishes()) {
        let (memory, observed) = world(&records);
        let first = plan(&us(), &wishes, &BTreeSet::new(), &observed);
        carry_out(&memory, &first);
        let after = memory.records().clone();
        for (name, wish) in &wishes {
            if first.blocked.iter().any(|blocked| blocked.name == *name) {
                continue;
            }
            prop_assert_eq!(ownership(name, &us(), &after), Ownership::Ours);
            let stands: BTreeSet<_> = records_at(name, &after)
                .filter(|(key, _)| [RrType::A, RrType::Aaaa, RrType::Ptr].contains(&key.rtype))
                .flat_map(|(_, set)| set.values.iter().cloned())
                .collect();
            prop_assert_eq!(&stands, &wish.values);
        }
    }

    #[test]
    fn a_change_made_meanwhile_is_never_overwritten(
        records in records(), wishes in wishes(), name in name(), value in value(),
    ) {
        let (memory, observed) = world(&records);
        let first = plan(&us(), &wishes, &BTreeSet::new(), &observed);
        // Somebody adds a record after we looked.
        let key = RrsetKey::new(name, value.rtype());
        {
            let mut now = memory.records();
            let set = now.entry(key.clone()).or_insert_with(|| Rrset::new(60, []));
            set.values.insert(value.clone());
        }
        carry_out(&memory, &first);
        let was_there = observed.records.get(&key).is_some_and(|set| set.values.contains(&value));
        let stands = memory.records().get(&key).is_some_and(|set| set.values.contains(&value));
        prop_assert!(was_there || stands, "{} {} was lost", key, value);
    }

    #[test]
    fn withdrawing_leaves_nothing_of_ours(records in records()) {
        let (memory, observed) = world(&records);
        let all: BTreeSet<Name> = all_names().into_iter().collect();
        let last = plan(&us(), &BTreeMap::new(), &all, &observed);
        prop_assert!(carry_out(&memory, &last));
        let after = memory.records().clone();
        for name in all_names().iter().filter(|name| ownership(name, &us(), &records) == Ownership::Ours) {
            prop_assert_ne!(ownership(name, &us(), &after), Ownership::Ours);
            prop_assert!(records_at(name, &after).all(|(key, _)| ![RrType::A, RrType::Aaaa, RrType::Ptr].contains(&key.rtype)));
        }
    }

    #[test]
    fn writing_resolv_conf_twice_is_writing_it_once(content in collection::vec(any::<u8>(), 0..200), servers in 1..4_u8) {
        let wanted = Wanted {
            nameservers: (1..=servers).map(|last| [10, 0, 0, last].into()).collect(),
            search: vec!["corp.internal".to_owned()],
            options: vec!["timeout:1".to_owned()],
            sortlist: None,
        };
        let once = ResolvConf::parse(&content).with(&wanted);
        let again = ResolvConf::parse(&once.render());
        prop_assert_eq!(&again.with(&wanted), &again);
        prop_assert_eq!(again.render(), once.render());
        prop_assert_eq!(again.nameservers(), wanted.nameservers);
    }

    #[test]
    fn a_resolv_conf_that_nobody_changes_stays_byte_for_byte(content in "([a-z #;:.0-9]{0,30}\n){0,8}") {
        prop_assert_eq!(ResolvConf::parse(content.as_bytes()).render(), content.as_bytes());
    }

    #[test]
    fn a_name_that_parses_prints_and_parses_to_itself(labels in collection::vec(collection::vec(any::<u8>(), 1..20), 0..6)) {
        if let Ok(name) = Name::from_labels(&labels) {
            let again: Name = name.as_str().parse().unwrap();
            prop_assert_eq!(again, name);
        }
    }
}
