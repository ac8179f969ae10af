//! Names made of tags: late ones, missing ones, ones that cannot be names, and ones that only EC2 can tell.

use std::thread;

use sandbox::{
    dns::Server,
    fault::{Fault, Service},
    instance::Instance,
};

use crate::{
    authority::{dig, parsed, tsig_keygen},
    support::{Lab, NAME, US, fleet_server, until, web},
};

/// A host that publishes its name at a server of the sandbox.
fn lab(instance: Instance) -> (Lab, Server) {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let server = fleet_server(vec![parsed(&key)]);
    let lab = Lab::with(instance);
    lab.publish_at(&[server.addr()], &key, "reverse = false");
    (lab, server)
}

fn named(value: &str) -> Instance {
    web().tag("Name", value)
}

fn nameless() -> Instance {
    let mut host = web().tag("Other", "x");
    host.tags.remove("Name");
    host
}

/// How often the metadata service was asked for the list of tags.
fn looks(lab: &Lab) -> usize {
    let requests = lab.world.requests(Service::Imds);
    requests.iter().filter(|one| one.target.ends_with("/tags/instance/")).count()
}

#[test]
fn a_tag_that_comes_late_is_waited_for() {
    let (lab, server) = lab(nameless());
    thread::scope(|scope| {
        let run = scope.spawn(|| lab.tagalong(&["once", "--deadline", "20s"]));
        // It has looked, found nothing, and looked again: only now does the tag come.
        until("the pass looks for the tag again", || looks(&lab) >= 2);
        assert_eq!(server.updates(), 0, "never a half-made name");
        lab.world.update_instance(US, |host| {
            host.tags.insert("Name".into(), "web-1".into());
        });
        run.join().unwrap().expect_code(0);
    });
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
}

#[test]
fn a_tag_that_comes_late_to_an_instance_without_tags_in_its_metadata_is_waited_for() {
    let mut host = nameless();
    host.metadata_tags = false;
    let (lab, server) = lab(host);
    thread::scope(|scope| {
        let run = scope.spawn(|| lab.tagalong(&["once", "--deadline", "20s"]));
        until("EC2 has been asked", || !lab.world.requests(Service::Ec2).is_empty());
        lab.world.update_instance(US, |host| {
            host.tags.insert("Name".into(), "web-1".into());
        });
        run.join().unwrap().expect_code(0);
    });
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
}

#[test]
fn a_tag_that_comes_late_is_waited_for_without_any_right_in_ec2() {
    let mut host = nameless();
    host.tags.clear();
    let (lab, server) = lab(host);
    lab.world.set_denied_actions(["ec2:*"]);
    thread::scope(|scope| {
        let run = scope.spawn(|| lab.tagalong(&["once", "--deadline", "20s"]));
        until("the pass looks for the tag again", || looks(&lab) >= 2);
        lab.world.update_instance(US, |host| {
            host.tags.insert("Name".into(), "web-1".into());
        });
        run.join().unwrap().expect_code(0);
    });
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
    assert!(lab.world.requests(Service::Ec2).is_empty(), "tags are on: EC2 has no more of them");
}

#[test]
fn a_tag_that_never_comes_is_an_error_that_names_it_and_nothing_is_published() {
    let (lab, server) = lab(nameless());
    lab.once_fails().says(&[
        "error: the instance has no tag `Name`, which `{tag:Name}.corp.internal` needs",
        "hint: set the tag on the instance",
    ]);
    assert!(looks(&lab) > 1, "it was waited for");
    assert_eq!(server.received().len(), 0);
}

#[test]
fn a_plan_does_not_wait_for_a_tag() {
    let (lab, _server) = lab(nameless());
    lab.tagalong(&["plan"]).expect_code(1).says(&["the instance has no tag `Name`"]);
    assert_eq!(looks(&lab), 1);
}

#[test]
fn values_become_host_names_by_rule() {
    let check = |value: &str, name: &str| {
        let (lab, server) = lab(named(value));
        lab.once();
        assert_eq!(dig(server.addr(), name, "A"), ["10.0.1.23"], "{value}");
    };
    check("Web Server_1", "web-server-1.corp.internal.");
    check("web-1.dev", "web-1.dev.corp.internal.");
    check(&"x".repeat(63), &format!("{}.corp.internal.", "x".repeat(63)));
}

#[test]
fn a_value_that_cannot_be_a_host_name_names_the_tag_and_the_character() {
    for (value, words) in [
        ("web!", "character `!` (U+0021)"),
        ("web/1", "character `/` (U+002F)"),
        ("müller", "character `ü` (U+00FC)"),
        ("web\u{200b}1", "(U+200B)"),
        ("-web", "label `-web` begins or ends with a hyphen"),
        ("a..b", "a label would be empty"),
        (&"x".repeat(64), "64 octets long; 63 is the limit"),
    ] {
        let (lab, server) = lab(named(value));
        let run =
            lab.once_fails().says(&["tag `Name`", "cannot be part of a host name", words, "hint:"]);
        assert!(run.stderr.contains(&value.escape_debug().to_string()), "{run}");
        assert_eq!(looks(&lab), 1, "waiting does not help: {run}");
        assert_eq!(server.received().len(), 0, "{value}");
    }
}

#[test]
fn tags_that_the_metadata_does_not_hold_are_had_from_ec2_and_said() {
    let mut host = web();
    host.metadata_tags = false;
    let (lab, server) = lab(host);
    lab.once().says(&["note: instance tags were read with ec2:DescribeTags"]);
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
    assert!(lab.world.requests(Service::Ec2).iter().all(|one| one.target == "DescribeTags"));
}

#[test]
fn no_tag_is_asked_of_ec2_when_no_name_needs_one() {
    let mut host = web();
    host.metadata_tags = false;
    let (lab, server) = lab(host);
    let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
    lab.file("config.toml", &config.replace("{tag:Name}", "{instance-id}"));
    let run = lab.once();
    assert_eq!(run.stderr, "");
    assert!(lab.world.requests(Service::Ec2).is_empty());
    assert_eq!(dig(server.addr(), &format!("{US}.corp.internal."), "A"), ["10.0.1.23"]);
}

#[test]
fn a_key_that_the_metadata_service_cannot_hold_is_had_from_ec2() {
    let (lab, server) = lab(web().tag("Host Name/é", "web-3"));
    let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
    lab.file("config.toml", &config.replace("{tag:Name}", "{tag:Host Name/é}"));
    lab.once().says(&["ec2:DescribeTags"]);
    assert_eq!(dig(server.addr(), "web-3.corp.internal.", "A"), ["10.0.1.23"]);
}

#[test]
fn tags_that_are_nowhere_to_be_had_say_how_to_turn_them_on() {
    let mut host = web();
    host.metadata_tags = false;
    let (lab, server) = lab(host);
    lab.world.set_denied_actions(["ec2:DescribeTags"]);
    lab.once_fails().says(&[
        "error: the instance's tags are neither in its metadata nor to be had from EC2",
        "caused by: EC2 does not let this instance call ec2:DescribeTags",
        "--instance-metadata-tags enabled",
        "hint: allow ec2:DescribeTags to the instance's role",
    ]);
    assert_eq!(server.received().len(), 0);
}

/// A host that its tags alone configure, in EC2 and not in its metadata.
fn configured_by_tags() -> (Lab, Server) {
    let (lab, server) = lab(web());
    let key_file = lab.path("tsig.key").display().to_string();
    let servers = server.addr().to_string();
    lab.world.update_instance(US, |host| {
        host.metadata_tags = false;
        for (key, value) in [
            ("tagalong:record.name", "{tag:Name}.corp.internal"),
            ("tagalong:backend.internal.kind", "rfc2136"),
            ("tagalong:backend.internal.servers", servers.as_str()),
            ("tagalong:backend.internal.key_file", key_file.as_str()),
            ("tagalong:resolver.serach", "corp.internal"),
        ] {
            host.tags.insert(key.into(), value.into());
        }
    });
    lab.configure("[resolver]\nmanager = \"none\"\n");
    (lab, server)
}

#[test]
fn tags_alone_configure_a_host_whose_metadata_does_not_hold_them() {
    let (lab, server) = configured_by_tags();
    lab.once().says(&[
        "note: instance tags were read with ec2:DescribeTags",
        "note: the tag `tagalong:resolver.serach` sets nothing, since there is no such key",
    ]);
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
}

#[test]
fn tags_that_cannot_be_read_are_noted_where_nothing_is_configured() {
    let (lab, server) = configured_by_tags();
    lab.world.set_denied_actions(["ec2:DescribeTags"]);
    lab.once().says(&[
        "note: instance tags cannot be read, so they configure nothing",
        "EC2 does not let this instance call ec2:DescribeTags",
    ]);
    assert_eq!(server.received().len(), 0);
}

#[test]
fn names_that_tags_made_stay_while_the_tags_cannot_be_read() {
    let (lab, server) = configured_by_tags();
    let key_file = lab.path("tsig.key");
    let (servers, key_file) = (server.addr(), key_file.display());
    lab.configure(&format!(
        "[backend.internal]\nkind = \"rfc2136\"\nservers = [\"{servers}\"]\nkey_file = \"{key_file}\"\n\
         [resolver]\nmanager = \"none\"\n"
    ));
    lab.once();
    lab.world.set_denied_actions(["ec2:DescribeTags"]);
    lab.once_fails().says(&["hint: allow ec2:DescribeTags to the instance's role"]);
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
}

#[test]
fn a_throttled_describe_tags_is_tried_again() {
    let mut host = web();
    host.metadata_tags = false;
    let (lab, server) = lab(host);
    let fault = Fault { throttle: true, requests: Some(3), ..Fault::default() };
    lab.world.faults().set(Service::Ec2, fault);
    lab.once();
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
}

#[test]
fn every_placeholder_of_the_manual_has_its_value() {
    let (lab, server) = lab(web());
    let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
    let name = "{tag:Name}.{instance-id}.{az}.{region}.{account}.ip-{private-ipv4-dashed}";
    lab.file("config.toml", &config.replace("{tag:Name}", name));
    lab.once();
    let expect =
        format!("web-1.{US}.us-east-1a.us-east-1.123456789012.ip-10-0-1-23.corp.internal.");
    assert_eq!(dig(server.addr(), &expect, "A"), ["10.0.1.23"]);
}

#[test]
fn a_record_whose_tag_is_missing_stops_no_other_and_takes_nothing_back() {
    let (lab, server) = lab(web().tag("Role", "db"));
    let records = |second: &str| {
        let key_file = lab.path("tsig.key");
        lab.configure(&format!(
            "[[record]]\nname = \"{{tag:Name}}.corp.internal\"\nreverse = false\n\
             [[record]]\nname = \"{second}.corp.internal\"\nreverse = false\n\
             [backend.internal]\nkind = \"rfc2136\"\nservers = [\"{}\"]\nkey_file = \"{}\"\n\
             [resolver]\nmanager = \"none\"\n",
            server.addr(),
            key_file.display()
        ));
    };
    records("{tag:Role}");
    lab.once();
    assert_eq!(dig(server.addr(), "db.corp.internal.", "A"), ["10.0.1.23"]);
    lab.world.update_instance(US, |host| {
        host.tags.remove("Role");
        host.move_to([10, 0, 1, 99].into());
    });
    let run = lab.once_fails().says(&["the instance has no tag `Role`"]);
    assert!(run.stdout.contains("published web-1.corp.internal. A 10.0.1.99"), "{run}");
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.99"]);
    assert_eq!(dig(server.addr(), "db.corp.internal.", "A"), ["10.0.1.23"], "it may come back");
    records("{instance-id}");
    lab.once();
    assert_eq!(dig(server.addr(), "db.corp.internal.", "A"), [""; 0], "now it is known");
}

#[test]
fn withdrawing_what_can_be_named_neither_by_the_memory_nor_now_is_a_failure() {
    let (lab, server) = lab(web());
    lab.once();
    std::fs::remove_dir_all(lab.path("state")).unwrap();
    lab.world.update_instance(US, |host| {
        host.tags.remove("Name");
    });
    lab.tagalong(&["withdraw", "--deadline", "4s"]).expect_code(1).says(&["no tag `Name`"]);
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
}
