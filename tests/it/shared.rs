//! Names that many hosts share: each adds and removes just its own addresses, and none is lost, whoever else is at work there.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sandbox::{
    fault::Service,
    instance::{DEFAULT_VPC, Instance},
    world::World,
    zone::{RecordSet, Zone},
};

use crate::{
    authority::Authority,
    support::{Lab, US, ZONE, web},
};

const NAME: &str = "puppet.corp.internal.";
const HOSTS: u8 = 50;
const SHARED: &str = "[[record]]\nname = \"puppet.corp.internal\"\nshared = true\n";

/// Hosts of one account, each with its own metadata service.
fn fleet(configure: impl Fn(&Lab)) -> (World, Vec<Lab>) {
    let world = World::new();
    world.set_throttling(false);
    let labs = (1..=HOSTS).map(|number| {
        let host = Instance::new(&id(number), "us-east-1a", address(number));
        let lab = Lab::beside(&world, host.metadata_tags().role("dns-agent"));
        configure(&lab);
        lab
    });
    let labs = labs.collect();
    (world, labs)
}

fn id(number: u8) -> String {
    format!("i-0000000000000{number:04x}")
}

fn address(number: u8) -> Ipv4Addr {
    [10, 0, 1, number].into()
}

fn dynamic(lab: &Lab, authority: &Authority, key: &str) {
    let key_file = lab.file("tsig.key", key);
    lab.configure(&format!(
        "{SHARED}[backend.internal]\nkind = \"rfc2136\"\nservers = [\"{}\"]\nkey_file = \"{}\"\n[resolver]\nmanager = \"none\"\n",
        authority.addr(),
        key_file.display()
    ));
}

fn route53(lab: &Lab, sharing: &str) {
    lab.configure(&format!(
        "{SHARED}[backend.aws]\nkind = \"route53\"\nsharing = \"{sharing}\"\n[resolver]\nmanager = \"none\"\n"
    ));
}

/// So many programs at a time are enough for one machine.
static TURN: Mutex<()> = Mutex::new(());

/// Runs a verb on all of these hosts at a time.
fn at_once(labs: &[Lab], verb: &str) {
    let runs = labs.iter().map(|lab| lab.start(&[verb, "--deadline", "100s"]));
    for run in runs.collect::<Vec<_>>() {
        run.finish_within(Duration::from_secs(120)).expect_code(0);
    }
}

/// All join; then half of them leave while the others move to other addresses; `at` says what stands there.
fn come_and_go(world: &World, labs: &[Lab], at: impl Fn(&str) -> Vec<String>) {
    let expect = |addresses: &[Ipv4Addr], what: &str| {
        let values = addresses.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        assert_eq!(at("A").into_iter().collect::<BTreeSet<_>>(), values, "{what}");
        assert_eq!(at("TXT").len(), values.len(), "a marker each, {what}");
    };
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    at_once(labs, "once");
    expect(&(1..=HOSTS).map(address).collect::<Vec<_>>(), "all have joined");
    at_once(labs, "once");
    let (leave, stay) = labs.split_at(labs.len() / 2);
    let moved = (HOSTS / 2 + 1..=HOSTS).map(|number| {
        let address = Ipv4Addr::new(10, 0, 2, number);
        world.update_instance(&id(number), |host| host.move_to(address));
        address
    });
    let moved = moved.collect::<Vec<_>>();
    let leaving = leave.iter().map(|lab| lab.start(&["withdraw", "--deadline", "100s"]));
    let leaving = leaving.collect::<Vec<_>>();
    at_once(stay, "once");
    for run in leaving {
        run.finish_within(Duration::from_secs(120)).expect_code(0);
    }
    expect(&moved, "half have left, and half have moved");
    at_once(stay, "withdraw");
    expect(&[], "all have left");
}

#[test]
fn fifty_hosts_that_come_and_go_at_once_lose_no_value_and_leave_none_at_a_dns_server() {
    Authority::each(|authority, key| {
        let (world, labs) = fleet(|lab| dynamic(lab, authority, key));
        let before = authority.serial(ZONE);
        come_and_go(&world, &labs, |kind| authority.read(NAME, kind));
        let updates = authority.serial(ZONE) - before;
        eprintln!("{HOSTS} hosts: {updates} updates were carried out for 125 changes");
        assert_eq!(updates, 125, "each change is one update, and no other");
    });
}

#[test]
fn fifty_hosts_that_come_and_go_at_once_lose_no_value_and_leave_none_in_route_53() {
    for sharing in ["multivalue", "simple"] {
        let (world, labs) = fleet(|lab| route53(lab, sharing));
        world.put_zone(Zone::new("Z0CORP", ZONE).vpc("us-east-1", DEFAULT_VPC));
        let at = |kind: &str| {
            let sets = world.records("Z0CORP").into_iter();
            let sets = sets.filter(|set| set.name == NAME && set.kind == kind);
            sets.flat_map(|set| set.values).collect::<Vec<_>>()
        };
        come_and_go(&world, &labs, at);
        let calls = world.requests(Service::Route53);
        let of = |what: fn(&str, &str) -> bool| {
            calls.iter().filter(|call| what(&call.method, &call.target)).count()
        };
        let changes = of(|method, target| method == "POST" && target.contains("/rrset"));
        let lists = of(|method, target| method == "GET" && target.contains("/rrset"));
        eprintln!(
            "{sharing}: {HOSTS} hosts made 125 changes and 50 passes without one by {changes} change calls and {lists} list calls"
        );
        if sharing == "multivalue" {
            assert_eq!(changes, 125, "nobody is in another's way");
        }
    }
}

#[test]
fn a_name_that_is_not_shared_is_no_shared_one_and_the_last_member_may_have_it_alone() {
    Authority::each(|authority, key| {
        let world = World::new();
        world.set_throttling(false);
        let us = Lab::beside(&world, web());
        dynamic(&us, authority, key);
        for (record, why) in [
            ("A 10.0.9.9", "it holds records without an owner marker"),
            ("TXT \"tagalong-owner=i-0bbbbbbbbbbbbbbb2\"", "it belongs to i-0bbbbbbbbbbbbbbb2"),
            ("CNAME app.corp.internal.", "it holds records without an owner marker"),
        ] {
            authority.add(ZONE, &format!("{NAME} 60 {record}"));
            us.once_fails().says(&[why]);
            authority.remove(ZONE, NAME);
        }
        authority.add(
            ZONE,
            &format!("{NAME} 300 TXT \"tagalong-member=i-0bbbbbbbbbbbbbbb2\" \"10.0.9.9\""),
        );
        authority.add(ZONE, &format!("{NAME} 300 A 10.0.9.9"));
        us.once().prints(&["published puppet.corp.internal. A 10.0.1.23"]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.23", "10.0.9.9"]);
        us.tagalong(&["plan"]).expect_code(0);

        let alone = |lab: &Lab| {
            let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
            lab.file(
                "config.toml",
                &config.replace("shared = true", "shared = false\nreverse = false"),
            );
        };
        alone(&us);
        us.once_fails().says(&["other hosts share it"]);
        authority.remove(ZONE, NAME);
        dynamic(&us, authority, key);
        us.once();
        alone(&us);
        us.once();
        let marker = authority.read(NAME, "TXT");
        assert!(marker[0].starts_with(&format!("\"tagalong-owner={US}\"")), "{marker:?}");
        dynamic(&us, authority, key);
        us.once();
        let marker = authority.read(NAME, "TXT");
        assert!(marker[0].starts_with(&format!("\"tagalong-member={US}\"")), "{marker:?}");
        assert_eq!((marker.len(), authority.read(NAME, "A")), (1, vec!["10.0.1.23".to_owned()]));
    });
}

#[test]
fn a_multivalue_set_of_somebody_else_is_left_alone() {
    let lab = Lab::new();
    let foreign = RecordSet::new(NAME, "A", 60, &["10.0.9.9"]).multivalue("blue");
    let zone = Zone::new("Z0CORP", ZONE).vpc("us-east-1", DEFAULT_VPC).record(foreign);
    lab.world.put_zone(zone);
    route53(&lab, "multivalue");
    lab.once_fails().says(&["it holds records without an owner marker"]);
}
