//! `reap`: what instances that are gone have left goes, by rule, after a time, and nothing else.

mod index;

use sandbox::{
    fault::{Fault, Service},
    instance::{DEFAULT_VPC, Instance, InstanceState},
    zone::{RecordSet, Zone},
};

use crate::{
    authority::{Named, dig, fleet, tsig_keygen},
    support::{Lab, NAME, ZONE},
};

const GONE: &str = "i-0bbbbbbbbbbbbbbb2";
const LIVES: &str = "i-0ccccccccccccccc3";
const HOME: &str = "\"home=123456789012/us-east-1\"";

/// A zone with names of this host, of two that are gone, of one that lives, of another account, and of nobody.
fn zone() -> (Lab, Named) {
    zone_given_to("any")
}

/// The same, with a reverse zone that is transferred to these alone.
fn zone_given_to(transfer: &str) -> (Lab, Named) {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let mut zones = fleet();
    transfer.clone_into(&mut zones[1].transfer);
    let named = Named::primary(&zones, &key);
    let lab = Lab::new();
    lab.publish_at(&[named.addr], &key, "reverse = true");
    lab.once();
    let marked = [
        ("web-2", "A 10.0.2.2", format!("\"tagalong-owner={GONE}\" {HOME}")),
        ("web-3", "A 10.0.2.3", format!("\"tagalong-owner={LIVES}\" {HOME}")),
        (
            "web-4",
            "A 10.0.2.4",
            "\"tagalong-owner=i-0ddddddddddddddd4\" \"home=999999999999/us-east-1\"".to_owned(),
        ),
        ("web-5", "A 10.0.2.5", "\"v=spf1 -all\"".to_owned()),
        ("pool", "A 10.0.2.2", format!("\"tagalong-member={GONE}\" {HOME} \"10.0.2.2\"")),
        ("pool", "A 10.0.2.3", format!("\"tagalong-member={LIVES}\" {HOME} \"10.0.2.3\"")),
    ];
    for (name, record, text) in marked {
        named.nsupdate(&format!(
            "zone {ZONE}\nupdate add {name}.{ZONE}. 60 {record}\nupdate add {name}.{ZONE}. 60 TXT {text}\nsend\n"
        ));
    }
    named.nsupdate(&format!(
        "zone 10.in-addr.arpa\nupdate add 2.2.0.10.in-addr.arpa. 60 PTR web-2.{ZONE}.\n\
         update add 2.2.0.10.in-addr.arpa. 60 TXT \"tagalong-owner={GONE}\" {HOME}\nsend\n"
    ));
    lab.world.put_instance(Instance::new(LIVES, "us-east-1a", [10, 0, 2, 3].into()));
    let gone = Instance::new(GONE, "us-east-1a", [10, 0, 2, 2].into());
    lab.world.put_instance(gone.state(InstanceState::Terminated));
    (lab, named)
}

const AT_ONCE: [&str; 3] = ["reap", "--grace", "1ms"];

#[test]
fn a_plan_comes_first_and_then_only_what_instances_that_are_gone_have_marked_goes() {
    let (lab, named) = zone();
    let read = |name: &str, kind: &str| dig(named.addr, &format!("{name}.{ZONE}"), kind);
    let plan = lab.tagalong(&AT_ONCE).expect_code(0).prints(&[
        "- web-2.corp.internal. A 10.0.2.2  its owner i-0bbbbbbbbbbbbbbb2 is gone",
        "- pool.corp.internal. A 10.0.2.2",
        "- 2.2.0.10.in-addr.arpa. PTR web-2.corp.internal.",
        "of another account, or not known: i-0ddddddddddddddd4",
        "3 owner(s) in 10.in-addr.arpa., corp.internal.: 3 name(s) would be removed; --yes does it",
    ]);
    assert!(!plan.stdout.contains("web-3"), "{plan}");
    assert_eq!(read("web-2", "A"), ["10.0.2.2"]);
    lab.tagalong(&[&AT_ONCE[..], &["--yes"]].concat())
        .expect_code(0)
        .prints(&["3 name(s) removed"]);
    assert_eq!((read("web-2", "A"), read("web-2", "TXT")), (vec![], vec![]));
    assert_eq!((read("pool", "A"), read("pool", "TXT").len()), (vec!["10.0.2.3".to_owned()], 1));
    assert_eq!(dig(named.addr, "2.2.0.10.in-addr.arpa", "PTR"), [""; 0]);
    for (name, address) in [("web-3", "10.0.2.3"), ("web-4", "10.0.2.4"), ("web-5", "10.0.2.5")] {
        assert_eq!(read(name, "A"), [address]);
    }
    assert_eq!(dig(named.addr, NAME, "A"), ["10.0.1.23"]);
    let again = lab.tagalong(&[&AT_ONCE[..], &["--yes", "--json"]].concat()).expect_code(0).json();
    assert_eq!(again["backends"][0]["removals"].as_array().unwrap().len(), 0);
}

#[test]
fn an_instance_must_have_been_gone_for_a_time_and_one_that_is_back_begins_anew() {
    let (lab, named) = zone();
    lab.tagalong(&["reap", "--yes"]).expect_code(0).prints(&[
        "is gone; its records go in 3600 s at the earliest: \
             2.2.0.10.in-addr.arpa., pool.corp.internal., web-2.corp.internal.",
        "0 name(s) removed",
    ]);
    let long_ago = |lab: &Lab| {
        let state: serde_json::Value = serde_json::from_str(&lab.state()).unwrap();
        let since = state["gone"][GONE].as_u64().unwrap();
        lab.file(
            "state/state.json",
            &lab.state().replace(&since.to_string(), &(since - 3601).to_string()),
        );
    };
    long_ago(&lab);
    // It was a mistake of EC2's: the instance is there.
    lab.world.put_instance(Instance::new(GONE, "us-east-1a", [10, 0, 2, 2].into()));
    lab.tagalong(&["reap", "--yes"]).expect_code(0).prints(&["0 name(s) removed"]);
    lab.world.remove_instance(GONE);
    lab.tagalong(&["reap", "--yes"]).expect_code(0).prints(&["is gone; its records go in"]);
    long_ago(&lab);
    lab.tagalong(&["reap", "--yes"]).expect_code(0).prints(&["3 name(s) removed"]);
    assert_eq!(dig(named.addr, "web-2.corp.internal", "A"), [""; 0]);
}

#[test]
fn no_more_than_the_limit_goes_at_once_and_nothing_where_ec2_does_not_know_this_instance() {
    let (lab, named) = zone();
    let some = [&AT_ONCE[..], &["--yes", "--limit", "1"]].concat();
    lab.tagalong(&some).expect_code(0).prints(&["1 name(s) removed, 2 left by --limit"]);
    lab.world.faults().set(Service::Ec2, Fault { fail: Some(503), ..Fault::default() });
    lab.tagalong(&[&AT_ONCE[..], &["--yes"]].concat())
        .expect_code(1)
        .says(&["ec2:DescribeInstances"]);
    lab.world.faults().clear();
    // As if another account's EC2 answered: of this one nobody is there.
    let us = lab.world.remove_instance(crate::support::US).unwrap();
    lab.world.put_instance(Instance { state: InstanceState::Terminated, ..us });
    lab.tagalong(&[&AT_ONCE[..], &["--yes"]].concat()).expect_code(1).says(&["is not believed"]);
    assert_eq!(dig(named.addr, "pool.corp.internal", "TXT").len(), 2);
}

#[test]
fn a_zone_that_is_not_given_says_what_the_server_needs_and_the_others_are_looked_through() {
    let (lab, _named) = zone_given_to("none");
    lab.tagalong(&AT_ONCE)
        .expect_code(1)
        .says(&["refused the transfer of 10.in-addr.arpa.", "`allow-transfer { key KEY; };`"])
        .prints(&["2 name(s) would be removed"]);
    lab.tagalong(&["reap", "a..b"]).expect_code(64);
    lab.tagalong(&["reap", "elsewhere.example"])
        .expect_code(1)
        .says(&["is no authority for elsewhere.example."]);
}

#[test]
fn a_zone_of_many_messages_is_read_whole_and_two_hosts_that_reap_at_once_do_no_harm() {
    let (lab, named) = zone();
    let many = (0..3000).map(|number| {
        format!(
            "update add gone-{number}.{ZONE}. 60 A 10.9.{}.{}\nupdate add gone-{number}.{ZONE}. 60 TXT \"tagalong-owner={GONE}\" {HOME}\n",
            number / 250,
            number % 250
        )
    });
    for some in many.collect::<Vec<_>>().chunks(200) {
        named.nsupdate(&format!("zone {ZONE}\n{}send\n", some.concat()));
    }
    let plan = lab.tagalong(&[&AT_ONCE[..], &["--json"]].concat()).expect_code(0).json();
    let part = &plan["backends"][0];
    assert_eq!(
        (part["removals"].as_array().unwrap().len(), part["left"].as_u64()),
        (50, Some(2953))
    );
    let other = Lab::beside(&lab.world, crate::support::web());
    std::fs::copy(lab.path("tsig.key"), other.path("tsig.key")).unwrap();
    let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
    let config =
        config.replace(&lab.path("").display().to_string(), &other.path("").display().to_string());
    other.file(
        "config.toml",
        &config.replace(&lab.metadata, &other.metadata).replace(&lab.aws, &other.aws),
    );
    let arguments = [&AT_ONCE[..], &["--yes", "--limit", "300"]].concat();
    let runs = [lab.start(&arguments), other.start(&arguments)];
    for run in runs {
        run.finish().expect_code(0);
    }
    let left = lab
        .tagalong(&[&AT_ONCE[..], &["--json", "--limit", "9999"]].concat())
        .expect_code(0)
        .json();
    let left = left["backends"][0]["removals"].as_array().unwrap().len();
    assert!((2403..=2703).contains(&left), "{left}");
}

#[test]
fn a_route_53_zone_of_many_pages_is_looked_through() {
    let lab = Lab::new();
    let marker = format!("\"tagalong-owner={GONE}\" {HOME}");
    let member = format!("\"tagalong-member={GONE}\" {HOME} \"10.0.2.2\"");
    let mut zone = Zone::new("Z0CORP", ZONE).vpc("us-east-1", DEFAULT_VPC);
    for number in 0..400 {
        let name = format!("gone-{number}.{ZONE}.");
        zone = zone.record(RecordSet::new(&name, "A", 60, &["10.0.9.9"]));
        zone = zone.record(RecordSet::new(&name, "TXT", 60, &[&marker]));
    }
    let pool = format!("pool.{ZONE}.");
    zone = zone.record(RecordSet::new(&pool, "A", 60, &["10.0.2.2"]).multivalue(GONE));
    zone = zone.record(RecordSet::new(&pool, "TXT", 60, &[&member]).multivalue(GONE));
    lab.world.put_zone(zone);
    lab.configure(&format!(
        "[[record]]\nname = \"{{tag:Name}}.{ZONE}\"\n[backend.aws]\nkind = \"route53\"\n[resolver]\nmanager = \"none\"\n"
    ));
    lab.tagalong(&["reap", "--grace", "1ms", "--yes", "--limit", "1000"])
        .expect_code(0)
        .prints(&["401 name(s) removed"]);
    let left =
        lab.world.records("Z0CORP").into_iter().filter(|set| set.kind == "A" || set.kind == "TXT");
    assert_eq!(left.count(), 0);
}
