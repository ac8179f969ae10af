//! Names that are not free: taken over by rule from instances that are gone, stood in for by the next free one, or left alone.

use std::{thread, time::Duration};

use sandbox::{
    fault::{Fault, Service},
    instance::{DEFAULT_VPC, Instance, InstanceState},
    zone::{RecordSet, Zone},
};

use crate::{
    authority::Authority,
    support::{Lab, NAME, OUR_MARKER, REVERSE, ZONE},
};

const THEM: &str = "i-0bbbbbbbbbbbbbbb2";
const REVERSE_ZONE: &str = "10.in-addr.arpa";

/// A name of another instance, whose marker says where it is known.
fn theirs(authority: &Authority, home: &str) {
    authority.add(ZONE, &format!("{NAME} 60 A 10.0.9.9"));
    authority.add(ZONE, &format!("{NAME} 60 TXT \"tagalong-owner={THEM}\"{home}"));
}

const HOME: &str = " \"home=123456789012/us-east-1\"";
const TAKE_OVER: &str = "reverse = false\nconflict = \"take-over-if-gone\"";

/// How often instances were looked up; nothing else is asked of EC2 here.
fn look_ups(lab: &Lab) -> usize {
    let requests = lab.world.requests(Service::Ec2);
    requests.iter().filter(|request| request.target == "DescribeInstances").count()
}

#[test]
fn a_name_is_taken_over_from_an_instance_that_does_not_exist_any_more() {
    Authority::each(|authority, key| {
        theirs(authority, HOME);
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, TAKE_OVER);
        lab.tagalong(&["plan"]).expect_code(2).prints(&[&format!("its owner {THEM} is gone")]);
        lab.once().prints(&["published", "A 10.0.1.23"]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.23"]);
        assert_eq!(authority.read(NAME, "TXT"), [OUR_MARKER]);
        let asked = look_ups(&lab);
        assert_eq!(asked, 4, "`plan` and `once`, each twice");
        lab.once().prints(&["unchanged"]);
        assert_eq!(look_ups(&lab), asked, "nobody is looked up where nothing is contested");
    });
}

#[test]
fn a_name_is_taken_over_from_a_terminated_instance_also_where_its_marker_says_no_home() {
    Authority::each(|authority, key| {
        theirs(authority, "");
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, TAKE_OVER);
        let blocked = format!("{NAME} is left alone: it belongs to {THEM}");
        // It may be of another account.
        lab.once_fails().says(&[&blocked]);
        let them = Instance::new(THEM, "us-east-1a", [10, 0, 9, 9].into());
        for state in [InstanceState::Running, InstanceState::Stopped, InstanceState::ShuttingDown] {
            lab.world.put_instance(them.clone().state(state));
            lab.once_fails().says(&[&blocked]);
        }
        lab.world.put_instance(them.state(InstanceState::Terminated));
        lab.once();
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.23"]);
    });
}

#[test]
fn a_name_of_another_account_or_of_whom_ec2_does_not_tell_is_left_alone() {
    Authority::each(|authority, key| {
        theirs(authority, " \"home=999999999999/us-east-1\"");
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, TAKE_OVER);
        lab.once_fails().says(&[&format!("{NAME} is left alone: it belongs to {THEM}")]);
        assert_eq!(look_ups(&lab), 0);
    });
    Authority::each(|authority, key| {
        theirs(authority, HOME);
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, TAKE_OVER);
        lab.world.faults().set(Service::Ec2, Fault { fail: Some(503), ..Fault::default() });
        lab.once_fails().says(&[
            &format!("{NAME} is left alone: it belongs to {THEM}"),
            &format!("whether {THEM} still exists is not known"),
        ]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.9.9"]);
    });
}

#[test]
fn an_instance_that_ec2_does_not_list_yet_is_not_taken_for_one_that_is_gone() {
    Authority::each(|authority, key| {
        theirs(authority, HOME);
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, TAKE_OVER);
        let run = lab.start(&["once", "--deadline", "20s"]);
        crate::support::until("it is looked up", || look_ups(&lab) == 1);
        thread::sleep(Duration::from_millis(200));
        lab.world.put_instance(Instance::new(THEM, "us-east-1a", [10, 0, 9, 9].into()));
        run.finish().expect_code(1).says(&["is left alone"]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.9.9"]);
    });
}

#[test]
fn a_reverse_name_follows_its_address_from_an_instance_that_is_gone_or_has_another_one() {
    Authority::each(|authority, key| {
        authority.add(REVERSE_ZONE, &format!("{REVERSE} 60 PTR old.corp.internal."));
        authority.add(REVERSE_ZONE, &format!("{REVERSE} 60 TXT \"tagalong-owner={THEM}\"{HOME}"));
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "reverse = true");
        // Another VPC's instance can have the same address.
        lab.world
            .put_instance(Instance::new(THEM, "us-east-1a", [10, 0, 1, 23].into()).vpc("vpc-2"));
        lab.once_fails().says(&[&format!("{REVERSE} is left alone: it belongs to {THEM}")]);
        assert_eq!(
            authority.read(NAME, "A"),
            ["10.0.1.23"],
            "the name itself does not wait for it"
        );
        lab.world.put_instance(Instance::new(THEM, "us-east-1a", [10, 0, 1, 24].into()));
        lab.tagalong(&["plan"]).prints(&[&format!("its owner {THEM} has another address now")]);
        lab.once();
        assert_eq!(authority.read(REVERSE, "PTR"), [NAME]);
        assert_eq!(authority.read(REVERSE, "TXT"), [OUR_MARKER]);
    });
}

#[test]
fn a_host_keeps_its_name_and_what_points_to_it_until_it_gets_the_new_one() {
    Authority::each(|authority, key| {
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "reverse = true");
        lab.once();
        authority.add(ZONE, "web-2.corp.internal. 60 A 10.0.9.9");
        let rename = |name: &str| {
            lab.world.update_instance(crate::support::US, |host| {
                host.tags.insert("Name".into(), name.into());
            });
        };
        rename("web-2");
        lab.once_fails().says(&[
            "web-2.corp.internal. is left alone",
            "web-1.corp.internal., which is not wanted any more, stays until",
        ]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.23"]);
        assert_eq!(authority.read(REVERSE, "PTR"), [NAME]);
        // Nor for one in a zone that nobody has, as a slip of the pen makes it.
        let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
        lab.file("config.toml", &config.replace("}.corp.internal", "}.corp.intrenal"));
        lab.once_fails();
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.23"]);
        assert_eq!(authority.read(REVERSE, "PTR"), [NAME]);
        lab.file("config.toml", &config);
        authority.remove(ZONE, "web-2.corp.internal.");
        lab.once();
        assert_eq!(authority.read(NAME, "A"), [""; 0]);
        assert_eq!(authority.read(REVERSE, "PTR"), ["web-2.corp.internal."]);
    });
}

const STAND_IN: &str = "web-1-3.corp.internal.";
const LATER: &str = "web-1-8.corp.internal.";
const SUFFIX: &str = "reverse = true\nconflict = \"suffix\"";

#[test]
fn the_next_free_name_stands_in_for_one_that_is_taken_and_is_kept() {
    Authority::each(|authority, key| {
        theirs(authority, HOME);
        authority.add(ZONE, "web-1-2.corp.internal. 60 A 10.0.9.8");
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, SUFFIX);
        lab.tagalong(&["plan"]).prints(&[STAND_IN]);
        lab.once().prints(&[STAND_IN]);
        assert_eq!(authority.read(STAND_IN, "A"), ["10.0.1.23"]);
        assert_eq!(authority.read(REVERSE, "PTR"), [STAND_IN]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.9.9"]);
        assert_eq!(authority.read("web-1-2.corp.internal.", "A"), ["10.0.9.8"]);
        lab.once().prints(&["2 unchanged"]);
        // Without its memory it finds it again.
        std::fs::remove_dir_all(lab.path("state")).unwrap();
        lab.once().prints(&["2 unchanged"]);
        // A name that others know by now is not given up for a better one.
        authority.remove(ZONE, NAME);
        lab.once().prints(&["2 unchanged"]);
        assert_eq!(authority.read(NAME, "A"), [""; 0]);
        lab.tagalong(&["withdraw"]).expect_code(0);
        assert_eq!(authority.read(STAND_IN, "A"), [""; 0]);
        assert_eq!(authority.read(REVERSE, "PTR"), [""; 0]);
    });
}

#[test]
fn a_host_that_has_lost_its_memory_takes_back_what_stands_in_too() {
    Authority::each(|authority, key| {
        theirs(authority, HOME);
        authority.add(ZONE, "web-1-2.corp.internal. 60 A 10.0.9.8");
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, SUFFIX);
        for number in 3..8 {
            authority.add(ZONE, &format!("web-1-{number}.corp.internal. 60 A 10.0.9.8"));
        }
        lab.once().prints(&[LATER]);
        // Those before it have gone since.
        for number in 2..8 {
            authority.remove(ZONE, &format!("web-1-{number}.corp.internal."));
        }
        std::fs::remove_dir_all(lab.path("state")).unwrap();
        lab.tagalong(&["withdraw"]).expect_code(0).prints(&[LATER]);
        assert_eq!(authority.read(LATER, "ANY"), [""; 0]);
        assert_eq!(authority.read(REVERSE, "PTR"), [""; 0]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.9.9"]);
    });
}

#[test]
fn two_hosts_of_one_name_get_one_each_whoever_is_first() {
    Authority::each(|authority, key| {
        let ids = ["i-0aaaaaaaaaaaaaaa1", THEM, "i-0ccccccccccccccc3"];
        let labs = ids.map(|id| {
            let last = u8::from_str_radix(&id[id.len() - 1..], 16).unwrap();
            let host = Instance::new(id, "us-east-1a", [10, 0, 1, last].into());
            let lab = Lab::with(host.tag("Name", "web-1").metadata_tags().role("dns-agent"));
            lab.publish_at(&[authority.addr()], key, SUFFIX);
            lab
        });
        let runs = labs.each_ref().map(|lab| lab.start(&["once", "--deadline", "20s"]));
        for run in runs {
            run.finish().expect_code(0);
        }
        let names = [NAME, "web-1-2.corp.internal.", STAND_IN];
        let mut addresses = names.map(|name| authority.read(name, "A").concat());
        addresses.sort();
        assert_eq!(addresses, ["10.0.1.1", "10.0.1.2", "10.0.1.3"]);
    });
}

#[test]
fn names_in_route53_are_taken_over_and_stood_in_for_by_the_same_rules() {
    for (conflict, expect) in [("take-over-if-gone", NAME), ("suffix", "web-1-2.corp.internal.")] {
        let lab = Lab::new();
        let zone = Zone::new("Z0CORP", ZONE).vpc("us-east-1", DEFAULT_VPC);
        let marker = format!("\"tagalong-owner={THEM}\"{HOME}");
        let zone = zone.record(RecordSet::new(NAME, "A", 60, &["10.0.9.9"]));
        lab.world.put_zone(zone.record(RecordSet::new(NAME, "TXT", 60, &[&marker])));
        lab.configure(&format!(
            "[[record]]\nname = \"{{tag:Name}}.{ZONE}\"\nconflict = \"{conflict}\"\n[backend.aws]\nkind = \"route53\"\n\
             [resolver]\nmanager = \"none\"\n"
        ));
        lab.once().prints(&[expect, "A 10.0.1.23"]);
        lab.once().prints(&["unchanged"]);
    }
}
