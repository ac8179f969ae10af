//! Publishing by dynamic update: into a real BIND, and into the sandbox's server.

mod dhcid;
mod faults;
mod kea;
mod matrix;
mod primary;
mod refusals;

use std::fs;

use sandbox::{dns::Server, fault::Fault};

use crate::{
    authority::{
        Authority, Named, ZoneFile, dig, fleet, forward_only, parsed, serial, tsig_keygen,
    },
    support::{Lab, NAME, OUR_MARKER, REVERSE, US, ZONE, fleet_server, own_address, web},
};

#[test]
fn a_host_that_boots_has_its_address_its_reverse_and_its_marker_in_the_zone() {
    Authority::each(|authority, key| {
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "reverse = true");
        let before = (authority.serial(ZONE), authority.serial("10.in-addr.arpa"));
        lab.once().prints(&["published", "web-1.corp.internal. A 10.0.1.23"]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.23"]);
        assert_eq!(authority.read(NAME, "TXT"), [OUR_MARKER]);
        assert_eq!(authority.read(REVERSE, "PTR"), [NAME]);
        assert_eq!(authority.read(REVERSE, "TXT"), [OUR_MARKER]);
        // One update a zone: BIND raises the serial by one for each message.
        let after = (authority.serial(ZONE), authority.serial("10.in-addr.arpa"));
        assert_eq!((after.0 - before.0, after.1 - before.1), (1, 1));
        if let Authority::Ours(server) = authority {
            assert_eq!(server.updates(), 2);
            let received = server.received();
            let updates = received.iter().filter(|one| one.is_update);
            assert!(
                updates.clone().all(|one| one.signer.as_deref() == Some("agent-key.")),
                "{received:?}"
            );
        }
    });
}

#[test]
fn a_host_below_a_wildcard_gets_its_own_name_and_one_that_stands_there_is_left_alone() {
    Authority::each(|authority, key| {
        authority.add(ZONE, "*.corp.internal. 60 A 10.9.9.9");
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "");
        lab.once();
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.23"]);
        assert_eq!(authority.read("web-2.corp.internal.", "A"), ["10.9.9.9"]);

        authority.add(ZONE, "web-2.corp.internal. 60 A 10.9.9.9");
        lab.world.update_instance(US, |host| {
            host.tags.insert("Name".into(), "web-2".into());
        });
        lab.once_fails().says(&[
            "web-2.corp.internal. is left alone: it holds records without an owner marker",
        ]);
        assert_eq!(authority.read("web-2.corp.internal.", "A"), ["10.9.9.9"]);
    });
}

#[test]
fn a_second_pass_sends_no_update() {
    Authority::each(|authority, key| {
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "reverse = true");
        lab.once();
        let before = (authority.serial(ZONE), authority.serial("10.in-addr.arpa"));
        lab.once().prints(&["2 unchanged"]);
        assert_eq!(before, (authority.serial(ZONE), authority.serial("10.in-addr.arpa")));
        if let Authority::Ours(server) = authority {
            assert_eq!(server.updates(), 2);
        }
    });
}

#[test]
fn a_second_pass_sends_no_update_even_without_its_memory() {
    Authority::each(|authority, key| {
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "reverse = true");
        lab.once();
        fs::remove_dir_all(lab.path("state")).unwrap();
        let before = authority.serial(ZONE);
        lab.once().prints(&["2 unchanged"]);
        assert_eq!(authority.serial(ZONE), before);
    });
}

#[test]
fn the_name_follows_its_address_and_the_old_reverse_name_goes() {
    Authority::each(|authority, key| {
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "reverse = true");
        lab.once();
        lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
        lab.once().prints(&["A 10.0.1.99"]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.99"]);
        assert_eq!(authority.read("99.1.0.10.in-addr.arpa.", "PTR"), [NAME]);
        assert_eq!(authority.read(REVERSE, "ANY"), [""; 0]);
    });
}

#[test]
fn a_ttl_that_was_configured_anew_replaces_the_old_one() {
    Authority::each(|authority, key| {
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "ttl = 60");
        lab.once();
        lab.publish_at(&[authority.addr()], key, "ttl = 120");
        // RFC 2136's prerequisites ignore a TTL; the plan must not.
        lab.once().prints(&["published"]);
        lab.once().prints(&["unchanged"]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.23"]);
    });
}

#[test]
fn a_name_that_somebody_made_by_hand_is_left_alone() {
    for record in [
        "web-1.corp.internal. 300 A 192.0.2.7",
        "web-1.corp.internal. 300 TXT \"a note\"",
        "web-1.corp.internal. 300 MX 10 mail.example.",
        "web-1.corp.internal. 300 CNAME other.corp.internal.",
    ] {
        Authority::each(|authority, key| {
            authority.add(ZONE, record);
            let before = authority.serial(ZONE);
            let lab = Lab::new();
            lab.publish_at(&[authority.addr()], key, "reverse = false");
            let run = lab.once_fails();
            run.says(&["web-1.corp.internal. is left alone", "hint:"]).prints(&["left alone"]);
            assert_eq!(authority.serial(ZONE), before, "{record}");
        });
    }
}

#[test]
fn a_name_of_another_instance_is_left_alone() {
    Authority::each(|authority, key| {
        authority.add(ZONE, "web-1.corp.internal. 60 A 10.0.9.9");
        authority.add(ZONE, "web-1.corp.internal. 60 TXT \"tagalong-owner=i-0bbbbbbbbbbbbbbb2\"");
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "reverse = false");
        lab.once_fails().says(&[
            "web-1.corp.internal. is left alone: it belongs to i-0bbbbbbbbbbbbbbb2",
            "hint: choose another name",
        ]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.9.9"]);
        lab.tagalong(&["withdraw"]).expect_code(0);
        assert_eq!(authority.read(NAME, "A"), ["10.0.9.9"]);
    });
}

#[test]
fn a_blocked_name_does_not_keep_the_others_from_being_published() {
    Authority::each(|authority, key| {
        authority.add(ZONE, "web-1.corp.internal. 60 A 10.0.9.9");
        let lab = Lab::new();
        lab.publish_at(
            &[authority.addr()],
            key,
            "[[record]]\nname = \"{instance-id}.corp.internal\"",
        );
        lab.once_fails();
        assert_eq!(authority.read(&format!("{US}.{ZONE}"), "A"), ["10.0.1.23"]);
    });
}

#[test]
fn withdraw_takes_back_what_is_ours_and_nothing_else() {
    Authority::each(|authority, key| {
        authority.add(ZONE, "web-2.corp.internal. 60 A 10.0.9.9");
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "reverse = true");
        lab.once();
        authority.add(ZONE, "web-1.corp.internal. 60 TXT \"v=spf1 -all\"");
        authority.add(ZONE, "web-1.corp.internal. 60 MX 10 mail.example.");
        lab.tagalong(&["withdraw"]).expect_code(0).prints(&["withdrew"]);
        assert_eq!(authority.read(NAME, "A"), [""; 0]);
        assert_eq!(authority.read(NAME, "TXT"), ["\"v=spf1 -all\""]);
        assert_eq!(authority.read(NAME, "MX"), ["10 mail.example."]);
        assert_eq!(authority.read(REVERSE, "ANY"), [""; 0]);
        assert_eq!(authority.read("web-2.corp.internal.", "A"), ["10.0.9.9"]);
        lab.tagalong(&["withdraw"]).expect_code(0);
    });
}

#[test]
fn withdraw_without_its_memory_still_finds_what_is_ours() {
    Authority::each(|authority, key| {
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "reverse = true");
        lab.once();
        fs::remove_dir_all(lab.path("state")).unwrap();
        lab.tagalong(&["withdraw"]).expect_code(0);
        assert_eq!(authority.read(NAME, "ANY"), [""; 0]);
        assert_eq!(authority.read(REVERSE, "ANY"), [""; 0]);
    });
}

#[test]
fn a_name_whose_zone_is_away_for_a_while_is_taken_back_when_it_returns() {
    let lab = Lab::new();
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let both = fleet_server(vec![parsed(&key)]);
    lab.publish_at(&[both.addr()], &key, "");
    lab.once();
    let forward = Server::start(own_address(), forward_only(), vec![parsed(&key)]).unwrap();
    lab.publish_at(&[forward.addr()], &key, "");
    lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    lab.once().says(&["23.1.0.10.in-addr.arpa. is still to be taken back"]);
    lab.tagalong(&["withdraw"])
        .expect_code(1)
        .says(&["23.1.0.10.in-addr.arpa. was not taken back"]);
    lab.publish_at(&[both.addr()], &key, "");
    lab.tagalong(&["withdraw"]).expect_code(0);
    assert_eq!(dig(both.addr(), REVERSE, "ANY"), [""; 0]);
}

#[test]
fn names_of_a_backend_that_is_not_configured_any_more_are_not_passed_over() {
    Authority::each(|authority, key| {
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "reverse = false");
        lab.once();
        let before = fs::read_to_string(lab.path("config.toml")).unwrap();
        lab.configure("[resolver]\nmanager = \"none\"\n");
        let lost = "web-1.corp.internal. was published by backend `internal`";
        lab.tagalong(&["withdraw"]).expect_code(1).says(&[lost]);
        lab.once().says(&[lost]);
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.23"]);
        lab.file("config.toml", &before);
        lab.tagalong(&["withdraw"]).expect_code(0);
        assert_eq!(authority.read(NAME, "ANY"), [""; 0]);
    });
}

#[test]
fn a_server_that_fails_for_a_moment_is_asked_again() {
    let lab = Lab::new();
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let server = fleet_server(vec![parsed(&key)]);
    server.fault(Fault { fail: Some(500), requests: Some(4), ..Fault::default() });
    lab.publish_at(&[server.addr()], &key, "reverse = false");
    lab.once();
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
}

#[test]
fn a_record_that_was_renamed_leaves_nothing_behind_under_its_old_name() {
    Authority::each(|authority, key| {
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "reverse = true");
        lab.once();
        lab.world.update_instance(US, |host| {
            host.tags.insert("Name".into(), "Web 7".into());
        });
        lab.once().prints(&["withdrew", "web-7.corp.internal. A 10.0.1.23"]);
        assert_eq!(authority.read(NAME, "ANY"), [""; 0]);
        assert_eq!(authority.read("web-7.corp.internal.", "A"), ["10.0.1.23"]);
        assert_eq!(authority.read(REVERSE, "PTR"), ["web-7.corp.internal."]);
    });
}

#[test]
fn a_backend_under_a_new_name_goes_on_with_what_the_old_one_published() {
    Authority::each(|authority, key| {
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "reverse = true");
        lab.once();
        let config = fs::read_to_string(lab.path("config.toml")).unwrap();
        lab.file("config.toml", &config.replace("backend.internal", "backend.corp"));
        lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
        let run = lab.once().prints(&["corp: published web-1.corp.internal. A 10.0.1.99"]);
        assert!(!run.stderr.contains(&format!("{NAME} was published by")), "{run}");
        // What the old name left goes in the same pass.
        run.prints(&["withdrew 23.1.0.10.in-addr.arpa. PTR"]);
        let config = fs::read_to_string(lab.path("config.toml")).unwrap();
        lab.file("config.toml", &config.replace("backend.corp", "backend.third"));
        lab.tagalong(&["withdraw"]).expect_code(0);
        assert_eq!(authority.read(NAME, "ANY"), [""; 0]);
    });
}

#[test]
fn names_of_a_backend_that_is_gone_are_taken_back_when_it_returns() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let [old, new] =
        [(); 2].map(|()| Server::start(own_address(), forward_only(), vec![parsed(&key)]).unwrap());
    let lab = Lab::new();
    lab.publish_at(&[old.addr()], &key, "reverse = false\nbackend = \"internal\"");
    lab.once();
    let config = fs::read_to_string(lab.path("config.toml")).unwrap();
    let elsewhere = config
        .replace("\"internal\"", "\"other\"")
        .replace("backend.internal", "backend.other")
        .replace(&old.addr().to_string(), &new.addr().to_string());
    lab.file("config.toml", &elsewhere);
    // What this run has made itself, and finds when it tries again, is no proof of who made it.
    new.lose_next_updates(1);
    let lost = "web-1.corp.internal. was published by backend `internal`, which the configuration no longer has";
    lab.once().says(&[lost]);
    lab.once().says(&[lost]);
    let (_, internal) = config.split_once("[backend.internal]").unwrap();
    let (internal, _) = internal.split_once("[resolver]").unwrap();
    lab.file("config.toml", &format!("{elsewhere}[backend.internal]{internal}"));
    let run =
        lab.once().prints(&["internal: withdrew web-1.corp.internal. A", "other: 1 unchanged"]);
    assert!(!run.stderr.contains(lost), "{run}");
    assert_eq!(dig(old.addr(), NAME, "A"), [""; 0]);
    assert_eq!(dig(new.addr(), NAME, "A"), ["10.0.1.23"]);
}

#[test]
fn a_reverse_zone_that_nobody_serves_fails_only_if_reverse_names_are_demanded() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let named = Named::primary(&fleet()[..1], &key);
    let ours = Server::start(own_address(), forward_only(), vec![parsed(&key)]).unwrap();
    for server in [named.addr, ours.addr()] {
        let lab = Lab::new();
        lab.publish_at(&[server], &key, "");
        lab.once().says(&["note: no zone of the backend holds 23.1.0.10.in-addr.arpa."]);
        lab.publish_at(&[server], &key, "reverse = true");
        lab.once_fails().says(&["23.1.0.10.in-addr.arpa. is left alone", "create the zone"]);
        lab.publish_at(&[server], &key, "reverse = false");
        let run = lab.once();
        assert!(!run.stderr.contains("in-addr"), "{run}");
        assert_eq!(dig(server, NAME, "A"), ["10.0.1.23"]);
    }
}

#[test]
fn key_files_of_every_algorithm_that_tsig_keygen_knows_work_on_named() {
    for algorithm in
        ["hmac-md5", "hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"]
    {
        let key = tsig_keygen(algorithm, "agent-key");
        let named = Named::primary(&fleet(), &key);
        let lab = Lab::new();
        lab.publish_at(&[named.addr], &key, "reverse = true");
        lab.once();
        assert_eq!(dig(named.addr, NAME, "A"), ["10.0.1.23"], "{algorithm}");
    }
}

#[test]
fn addresses_of_both_families_and_of_several_interfaces_stand_at_one_name() {
    let second = sandbox::instance::Interface::new([10, 0, 2, 40].into());
    Authority::each(|authority, key| {
        let host = web().ipv6("2600:1f18::17".parse().unwrap()).interface(second.clone());
        let lab = Lab::with(host);
        lab.publish_at(
            &[authority.addr()],
            key,
            "reverse = false\naddresses = [\"private-ipv4\", \"ipv6\", \"private-ipv4 device-index=1\"]",
        );
        lab.once();
        assert_eq!(authority.read(NAME, "A"), ["10.0.1.23", "10.0.2.40"]);
        assert_eq!(authority.read(NAME, "AAAA"), ["2600:1f18::17"]);
    });
}

#[test]
fn a_name_below_a_zone_cut_of_the_same_server_goes_into_the_deeper_zone() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let mut parent = ZoneFile::new("corp.internal");
    parent.lines.push("dev 300 IN NS ns1.example.".to_owned());
    let named = Named::primary(&[parent, ZoneFile::new("dev.corp.internal")], &key);
    let lab = Lab::with(web().tag("Name", "web-1.dev"));
    lab.publish_at(&[named.addr], &key, "reverse = false");
    let (above, below) = (serial(named.addr, ZONE), serial(named.addr, "dev.corp.internal"));
    lab.once();
    assert_eq!(dig(named.addr, "web-1.dev.corp.internal", "A"), ["10.0.1.23"]);
    assert_eq!(serial(named.addr, ZONE), above);
    assert_eq!(serial(named.addr, "dev.corp.internal"), below + 1);
}

#[test]
fn servers_that_are_discovered_are_published_at_too() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let server = fleet_server(vec![parsed(&key)]);
    let lab = Lab::new();
    lab.list_server(server.addr(), "us-east-1a");
    let key_file = lab.file("tsig.key", &key);
    lab.configure(&format!(
        "[[record]]\nname = \"{{tag:Name}}.corp.internal\"\n\
         [backend.internal]\nkind = \"rfc2136\"\nkey_file = \"{}\"\n\
         [discovery]\nport = {}\n[resolver]\nmanager = \"none\"\n",
        key_file.display(),
        crate::support::DNS_PORT
    ));
    lab.once();
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
}
