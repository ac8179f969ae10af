//! The planner's truth table, case by case. Its laws over random zones are in `tests/it/properties.rs`.

use super::*;
use crate::core::{membership::Member, rrset::Rdata};

const NAME: &str = "web-1.corp.internal.";

fn us() -> OwnerId {
    OwnerId::new("i-us")
}

fn records(lines: &[(&str, Rdata)]) -> Records {
    let mut records = Records::new();
    for (name, value) in lines {
        let key = RrsetKey::new(name.parse().unwrap(), value.rtype());
        records.entry(key).or_insert_with(|| Rrset::new(60, [])).values.insert(value.clone());
    }
    records
}

fn observed(lines: &[(&str, Rdata)]) -> Observed {
    let zone: Name = "corp.internal".parse().unwrap();
    let zones = BTreeMap::from([(NAME.parse().unwrap(), zone)]);
    Observed { zones, records: records(lines), ..Observed::default() }
}

fn wish(values: &[Rdata]) -> BTreeMap<Name, Wish> {
    let wish = Wish {
        ttl: 60,
        values: values.iter().cloned().collect(),
        reverse: Reverse::Never,
        conflict: Conflict::Refuse,
        shared: false,
        because: Vec::new(),
    };
    BTreeMap::from([(NAME.parse().unwrap(), wish)])
}

fn a(last: u8) -> Rdata {
    Rdata::A([10, 0, 0, last].into())
}

/// Guards and diff lines of the only change.
fn told(plan: &Plan) -> Vec<String> {
    let change = plan.changes.first().unwrap();
    let guards = change.guards.iter().map(|guard| match guard {
        Guard::NameNotInUse(name) => format!("? {name} not in use"),
        Guard::Unchanged(key, set) => format!("? {key} {set}"),
        Guard::Absent(key) => format!("? no {key}"),
        Guard::Exists(key) => format!("? any {key}"),
    });
    guards.chain(change.swaps.iter().map(ToString::to_string)).collect()
}

#[test]
fn a_vacant_name_is_taken_with_its_marker_in_one_change() {
    let plan = plan(&us(), &wish(&[a(1)]), &BTreeSet::new(), &observed(&[]));
    assert_eq!(
        told(&plan),
        [
            "? web-1.corp.internal. not in use",
            "+ web-1.corp.internal. A 10.0.0.1 60 s",
            r#"+ web-1.corp.internal. TXT "tagalong-owner=i-us" 60 s"#,
        ]
    );
}

#[test]
fn an_address_that_changed_is_swapped_under_the_marker() {
    let plan = plan(
        &us(),
        &wish(&[a(2)]),
        &BTreeSet::new(),
        &observed(&[(NAME, a(1)), (NAME, us().marker())]),
    );
    assert_eq!(
        told(&plan),
        [
            r#"? web-1.corp.internal. TXT "tagalong-owner=i-us""#,
            "? no web-1.corp.internal. CNAME",
            "* web-1.corp.internal. A 10.0.0.1 → 10.0.0.2 60 s",
        ]
    );
}

#[test]
fn what_is_right_already_sends_nothing() {
    let plan = plan(
        &us(),
        &wish(&[a(1)]),
        &BTreeSet::new(),
        &observed(&[(NAME, a(1)), (NAME, us().marker())]),
    );
    assert!(plan.is_empty());
    assert_eq!(plan.unchanged, [NAME.parse().unwrap()]);
}

#[test]
fn a_name_of_another_owner_is_left_alone() {
    let them = OwnerId::new("i-them");
    let seen = observed(&[(NAME, a(1)), (NAME, them.marker())]);
    let plan = plan(&us(), &wish(&[a(2)]), &BTreeSet::from([NAME.parse().unwrap()]), &seen);
    assert!(plan.is_empty());
    assert_eq!(plan.blocked, [Blocked { name: NAME.parse().unwrap(), by: Obstacle::Theirs(them) }]);
}

#[test]
fn a_name_without_a_marker_is_left_alone_even_if_it_has_the_wanted_address() {
    let plan = plan(&us(), &wish(&[a(1)]), &BTreeSet::new(), &observed(&[(NAME, a(1))]));
    assert!(plan.is_empty());
    assert_eq!(plan.blocked, [Blocked { name: NAME.parse().unwrap(), by: Obstacle::Foreign }]);
}

#[test]
fn an_alias_at_our_name_blocks_it() {
    let alias = Rdata::Cname("elsewhere.corp.internal".parse().unwrap());
    let plan = plan(
        &us(),
        &wish(&[a(1)]),
        &BTreeSet::new(),
        &observed(&[(NAME, alias), (NAME, us().marker())]),
    );
    assert_eq!(plan.blocked, [Blocked { name: NAME.parse().unwrap(), by: Obstacle::Alias }]);
}

#[test]
fn an_address_family_that_is_not_wanted_any_more_goes() {
    let old = Rdata::Aaaa("2001:db8::1".parse().unwrap());
    let seen = observed(&[(NAME, a(1)), (NAME, old), (NAME, us().marker())]);
    let plan = plan(&us(), &wish(&[a(1)]), &BTreeSet::new(), &seen);
    assert_eq!(told(&plan).last().unwrap(), "- web-1.corp.internal. AAAA 2001:db8::1");
}

#[test]
fn a_retired_name_loses_our_records_and_keeps_the_others() {
    let spf = Rdata::Txt(vec![b"v=spf1".to_vec()]);
    let mx = Rdata::Other { rtype: 15, octets: vec![0, 10, 0] };
    let seen = observed(&[(NAME, a(1)), (NAME, us().marker()), (NAME, spf), (NAME, mx)]);
    let plan = plan(&us(), &BTreeMap::new(), &BTreeSet::from([NAME.parse().unwrap()]), &seen);
    assert_eq!(
        told(&plan),
        [
            "- web-1.corp.internal. A 10.0.0.1",
            r#"* web-1.corp.internal. TXT "tagalong-owner=i-us", "v=spf1" → "v=spf1" 60 s"#,
        ]
    );
}

#[test]
fn a_retired_name_that_is_not_ours_any_more_is_forgotten() {
    for seen in [
        observed(&[]),
        observed(&[(NAME, a(1))]),
        observed(&[(NAME, OwnerId::new("i-them").marker())]),
    ] {
        let plan = plan(&us(), &BTreeMap::new(), &BTreeSet::from([NAME.parse().unwrap()]), &seen);
        assert!(plan.is_empty());
        assert_eq!(plan.gone, [NAME.parse().unwrap()]);
    }
}

#[test]
fn a_retired_name_whose_zone_nobody_serves_is_not_forgotten() {
    let name: Name = NAME.parse().unwrap();
    let plan = plan(&us(), &BTreeMap::new(), &BTreeSet::from([name.clone()]), &Observed::default());
    assert!(plan.is_empty() && plan.gone.is_empty());
    assert_eq!(plan.unreached, [name]);
}

#[test]
fn a_reverse_name_that_no_zone_holds_is_a_failure_only_when_it_was_asked_for() {
    let check = |reverse: Reverse, blocked: usize, skipped: usize| {
        let mut wanted = wish(&[Rdata::Ptr("web-1.corp.internal".parse().unwrap())]);
        wanted.values_mut().for_each(|wish| wish.reverse = reverse);
        let plan = plan(&us(), &wanted, &BTreeSet::new(), &Observed::default());
        assert_eq!((plan.blocked.len(), plan.skipped.len()), (blocked, skipped), "{reverse:?}");
    };
    check(Reverse::Always, 1, 0);
    check(Reverse::IfServed, 0, 1);
}

#[test]
fn names_of_two_zones_are_two_changes_and_what_a_reverse_name_leads_to_comes_first() {
    let mut wanted = wish(&[a(1)]);
    let reverse: Name = "1.0.0.10.in-addr.arpa".parse().unwrap();
    let mut ptr = wanted.values().next().unwrap().clone();
    ptr.values = BTreeSet::from([Rdata::Ptr(NAME.parse().unwrap())]);
    wanted.insert(reverse.clone(), ptr);
    let mut seen = observed(&[]);
    seen.zones.insert(reverse, "10.in-addr.arpa".parse().unwrap());
    let plan = plan(&us(), &wanted, &BTreeSet::new(), &seen);
    let zones = plan.changes.iter().map(|change| change.zone.to_string()).collect::<Vec<_>>();
    assert_eq!(zones, ["corp.internal.", "10.in-addr.arpa."]);
}

#[test]
fn a_name_goes_from_another_instance_to_us_by_rule_and_never_by_chance() {
    const REVERSE: &str = "1.0.0.10.in-addr.arpa.";
    let them = OwnerId::new("i-them");
    let exists = |last: u8| Life::Exists(BTreeSet::from([[10, 0, 0, last].into()]));
    let lives = [None, Some(Life::Gone), Some(exists(1)), Some(exists(2))];
    let policies = [Conflict::Refuse, Conflict::TakeOverIfGone, Conflict::Suffix];
    // What is known of the other: nothing; it is gone; it exists, with the address of the reverse name; with another.
    let table = [
        (NAME, [[false; 4], [false, true, false, false], [false; 4]]),
        (REVERSE, [[false, true, false, true]; 3]),
    ];
    for (name, rows) in table {
        let standing =
            if name == REVERSE { Rdata::Ptr("x.corp.internal".parse().unwrap()) } else { a(9) };
        let value = if name == REVERSE { Rdata::Ptr(NAME.parse().unwrap()) } else { a(1) };
        let name: Name = name.parse().unwrap();
        for (conflict, row) in policies.into_iter().zip(rows) {
            for (life, expect) in lives.iter().zip(row) {
                let mut seen = observed(&[]);
                seen.zones = BTreeMap::from([(name.clone(), name.parent().unwrap())]);
                seen.records =
                    records(&[(name.as_str(), standing.clone()), (name.as_str(), them.marker())]);
                seen.owners.extend(life.clone().map(|life| (them.clone(), life)));
                let mut wanted = wish(std::slice::from_ref(&value));
                let mut wish = wanted.pop_first().unwrap().1;
                wish.conflict = conflict;
                let wanted = BTreeMap::from([(name.clone(), wish)]);
                let plan = plan(&us(), &wanted, &BTreeSet::new(), &seen);
                let case = format!("{name} {conflict:?} {life:?}");
                assert_eq!(plan.blocked.is_empty(), expect, "{case}");
                assert_eq!(plan.changes.len(), usize::from(expect), "{case}");
                let asks =
                    life.is_none() && (name.is_reverse() || conflict == Conflict::TakeOverIfGone);
                assert_eq!(plan.contested.contains(&them), asks, "{case}");
            }
        }
    }
}

#[test]
fn what_is_taken_over_is_replaced_with_its_marker_in_one_change_and_text_of_others_stays() {
    let them = OwnerId::new("i-them");
    let spf = Rdata::Txt(vec![b"v=spf1 -all".to_vec()]);
    let mut seen = observed(&[(NAME, a(9)), (NAME, them.marker()), (NAME, spf)]);
    seen.owners.insert(them.clone(), Life::Gone);
    let mut wanted = wish(&[a(1)]);
    wanted.get_mut(&NAME.parse::<Name>().unwrap()).unwrap().conflict = Conflict::TakeOverIfGone;
    let first = plan(&us(), &wanted, &BTreeSet::new(), &seen);
    assert_eq!(
        told(&first),
        [
            "? no web-1.corp.internal. CNAME",
            "* web-1.corp.internal. A 10.0.0.9 → 10.0.0.1 60 s",
            r#"* web-1.corp.internal. TXT "tagalong-owner=i-them", "v=spf1 -all" → "tagalong-owner=i-us", "v=spf1 -all" 60 s"#,
        ]
    );
    assert_eq!(first.changes[0].swaps[0].because.to_string(), "its owner i-them is gone");
    // Two owners' markers: both must be gone.
    let disputed = OwnerId::new("i-other").marker();
    let key = RrsetKey::new(NAME.parse().unwrap(), RrType::Txt);
    seen.records.get_mut(&key).unwrap().values.insert(disputed);
    let second = plan(&us(), &wanted, &BTreeSet::new(), &seen);
    assert_eq!((second.blocked.len(), second.contested.len()), (1, 1));
}

fn shared(values: &[Rdata]) -> BTreeMap<Name, Wish> {
    let mut wanted = wish(values);
    wanted.values_mut().for_each(|wish| wish.shared = true);
    wanted
}

fn member(id: &str, last: u8) -> Rdata {
    Member { owner: OwnerId::new(id), addresses: BTreeSet::from([[10, 0, 0, last].into()]) }
        .marker()
}

#[test]
fn a_member_adds_and_removes_its_own_values_whatever_others_have() {
    let check = |standing: &[(&str, Rdata)], wanted: &[Rdata], expect: &[&str]| {
        let seen = observed(standing);
        let (wanted, retired) = match wanted {
            [] => (BTreeMap::new(), BTreeSet::from([NAME.parse().unwrap()])),
            values => (shared(values), BTreeSet::new()),
        };
        let plan = plan(&us(), &wanted, &retired, &seen);
        let told = if plan.changes.is_empty() { Vec::new() } else { told(&plan) };
        assert_eq!(told, expect, "{standing:?}");
        assert!(plan.blocked.is_empty(), "{standing:?}");
    };
    let first = [
        "? web-1.corp.internal. not in use",
        "+ web-1.corp.internal. A 10.0.0.1 60 s",
        r#"+ web-1.corp.internal. TXT "tagalong-member=i-us" "10.0.0.1" 60 s"#,
    ];
    check(&[], &[a(1)], &first);
    let guards = ["? any web-1.corp.internal. TXT", "? no web-1.corp.internal. CNAME"];
    let other = [(NAME, a(9)), (NAME, member("i-other", 9))];
    check(&other, &[a(1)], &[&guards[..], &first[1..]].concat());
    let both = [&other[..], &[(NAME, a(1)), (NAME, member("i-us", 1))]].concat();
    check(&both, &[a(1)], &[]);
    let moved = [
        "* web-1.corp.internal. A 10.0.0.1 → 10.0.0.2 60 s",
        r#"* web-1.corp.internal. TXT "tagalong-member=i-us" "10.0.0.1" → "tagalong-member=i-us" "10.0.0.2" 60 s"#,
    ];
    check(&both, &[a(2)], &[&guards[..], &moved].concat());
    let left = [
        "- web-1.corp.internal. A 10.0.0.1",
        r#"- web-1.corp.internal. TXT "tagalong-member=i-us" "10.0.0.1""#,
    ];
    check(&both, &[], &left);
    // The address went to another member, and so did its record.
    let handed_on = [&both[..], &[(NAME, member("i-next", 1))]].concat();
    check(&handed_on, &[], &left[1..]);
    check(&other, &[], &[]);
}

#[test]
fn a_name_is_shared_or_somebodys_alone_and_goes_from_one_to_the_other_with_its_last_host() {
    let blocked = |standing: &[(&str, Rdata)], wanted: &BTreeMap<Name, Wish>| {
        let plan = plan(&us(), wanted, &BTreeSet::new(), &observed(standing));
        plan.blocked.first().map(|blocked| blocked.by.clone())
    };
    let theirs = [(NAME, a(9)), (NAME, OwnerId::new("i-other").marker())];
    assert_eq!(blocked(&theirs, &shared(&[a(1)])), Some(Obstacle::Theirs(OwnerId::new("i-other"))));
    assert_eq!(blocked(&[(NAME, a(9))], &shared(&[a(1)])), Some(Obstacle::Foreign));
    let others = [(NAME, a(9)), (NAME, member("i-other", 9))];
    assert_eq!(blocked(&others, &wish(&[a(1)])), Some(Obstacle::Shared));

    let alone = [(NAME, a(1)), (NAME, us().marker())];
    let to_shared = plan(&us(), &shared(&[a(1)]), &BTreeSet::new(), &observed(&alone));
    let marker = r#"* web-1.corp.internal. TXT "tagalong-owner=i-us" → "tagalong-member=i-us" "10.0.0.1" 60 s"#;
    assert_eq!(told(&to_shared)[2..], [marker]);
    let last = [(NAME, a(1)), (NAME, member("i-us", 1))];
    let to_alone = plan(&us(), &wish(&[a(1)]), &BTreeSet::new(), &observed(&last));
    let marker = r#"* web-1.corp.internal. TXT "tagalong-member=i-us" "10.0.0.1" → "tagalong-owner=i-us" 60 s"#;
    assert_eq!(told(&to_alone)[1..], [marker]);
}

#[test]
fn a_host_gives_no_name_up_for_one_that_it_does_not_get_and_nobody_is_led_to_that() {
    let [old, new, reverse] =
        ["old.corp.internal.", "new.corp.internal.", "1.0.0.10.in-addr.arpa."]
            .map(|it| it.parse::<Name>().unwrap());
    let pointer = |to: &Name| Rdata::Ptr(to.clone());
    let mut wanted = wish(&[a(1)]);
    let wish = wanted.pop_first().unwrap().1;
    wanted
        .insert(reverse.clone(), Wish { values: BTreeSet::from([pointer(&new)]), ..wish.clone() });
    wanted.insert(new.clone(), wish);
    let mut seen = observed(&[]);
    seen.zones = BTreeMap::from([
        (old.clone(), "corp.internal".parse().unwrap()),
        (new.clone(), "corp.internal".parse().unwrap()),
        (reverse.clone(), "10.in-addr.arpa".parse().unwrap()),
    ]);
    seen.records = records(&[
        (old.as_str(), a(1)),
        (old.as_str(), us().marker()),
        (reverse.as_str(), pointer(&old)),
        (reverse.as_str(), us().marker()),
    ]);
    let retired = BTreeSet::from([old.clone()]);
    let free = plan(&us(), &wanted, &retired, &seen);
    assert_eq!((free.changes.len(), free.kept.len()), (2, 0));
    for obstacle in ["another's", "no zone"] {
        let mut seen = seen.clone();
        if obstacle == "no zone" {
            seen.zones.remove(&new);
        } else {
            seen.records.extend(records(&[(new.as_str(), a(9))]));
        }
        let plan = plan(&us(), &wanted, &retired, &seen);
        assert_eq!(plan.changes, [], "{obstacle}");
        assert_eq!((plan.blocked.len(), &plan.kept), (1, &vec![old.clone()]), "{obstacle}");
        assert_eq!(plan.skipped, [(reverse.clone(), Reason::Awaits(new.clone()))], "{obstacle}");
    }
}
