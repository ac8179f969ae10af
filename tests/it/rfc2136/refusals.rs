//! Every refusal has a message of its own, with a hint, and changes nothing.

use std::time::Duration;

use tagalong::{
    backend::rfc2136::{Keys, Rfc2136},
    core::{
        plan::{Guard, RrsetSwap, Scope, ZoneChange},
        reason::Reason,
        rrset::{Rdata, RrType, Rrset, RrsetKey},
    },
    ports::{Backend as _, Disposition, Situation as _, error::BackendError},
    sys::clock::now,
    wire::{
        exchange::{ExchangeError, Peer, Timing},
        key::Keyring,
        message::{Question, Rcode, Recursion, query, update},
    },
};

use crate::{
    authority::{Authority, Named, dig, fleet, parsed, tsig_keygen, tsig_text},
    peers::Peer as Other,
    support::{Lab, NAME, REVERSE, US, ZONE, block_on, fleet_server},
};

#[test]
fn another_secret_is_badsig_and_says_whose_secrets_to_compare() {
    Authority::each(|authority, key| {
        let other = tsig_keygen("hmac-sha256", "agent-key");
        assert_ne!(other, key);
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], &other, "");
        lab.once_fails().says(&[
            "has another secret for TSIG key agent-key. (BADSIG)",
            "hint: compare the secrets of `agent-key.`",
        ]);
        assert_eq!(authority.read(NAME, "A"), [""; 0]);
    });
}

#[test]
fn a_key_that_the_server_does_not_know_is_badkey_and_says_where_to_put_it() {
    Authority::each(|authority, _| {
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], &tsig_keygen("hmac-sha256", "stranger"), "");
        lab.once_fails().says(&[
            "does not know TSIG key stranger. with hmac-sha256 (BADKEY)",
            "hint: put the same `key \"stranger.\"",
        ]);
        assert_eq!(authority.read(NAME, "A"), [""; 0]);
    });
}

#[test]
fn the_right_key_with_another_algorithm_is_badkey_and_names_the_algorithm() {
    Authority::each(|authority, key| {
        let secret = key.split('"').nth(3).unwrap();
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], &tsig_text("hmac-sha512", "agent-key", secret), "");
        lab.once_fails().says(&["does not know TSIG key agent-key. with hmac-sha512 (BADKEY)"]);
        assert_eq!(authority.read(NAME, "A"), [""; 0]);
    });
}

#[test]
fn a_clock_that_is_wrong_is_badtime_with_the_skew_measured() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let server = fleet_server(vec![parsed(&key)]);
    for (skew, words, hint) in
        [(4000, "ahead of ours", "forward"), (-4000, "behind of ours", "back")]
    {
        server.clock_skew(skew);
        let lab = Lab::new();
        lab.publish_at(&[server.addr()], &key, "");
        let run = lab.once_fails();
        let run = run.says(&["(BADTIME)", words, &format!("move this host's {hint} (chrony")]);
        let told = run.stderr.split("its clock is ").nth(1).unwrap().split(' ').next().unwrap();
        assert!((3990..=4010).contains(&told.parse::<i64>().unwrap()), "{run}");
    }
    assert_eq!(server.updates(), 0);
}

#[test]
fn servers_tell_their_own_time_to_whoever_signs_with_another_and_the_skew_is_what_it_was() {
    const HOUR: i64 = 3600;
    let text = tsig_keygen("hmac-sha256", "agent-key");
    let (named, knot) = (Named::primary(&fleet(), &text), Other::knot(&text));
    let powerdns = Other::powerdns(&text);
    let keys: Keyring = text.parse().unwrap();
    let key = keys.iter().next();
    let zone = ZONE.parse().unwrap();
    let requests = [
        query(&zone, Question::Soa, Recursion::Desired).unwrap(),
        update(&zone, &[], &[], None).unwrap(),
    ];
    let timing = Timing { retransmit: Duration::from_millis(300), limit: Duration::from_secs(20) };
    let clocks: [(fn() -> u64, i64); 2] =
        [(|| now() + HOUR.unsigned_abs(), -HOUR), (|| now() - HOUR.unsigned_abs(), HOUR)];
    for server in [named.addr, knot.addr, powerdns.addr] {
        for (clock, skew) in clocks {
            let peer = Peer { server, key, clock, timing };
            for request in &requests {
                match block_on(peer.ask(request)) {
                    Err(ExchangeError::BadTime { skew: told, .. }) => {
                        assert!((told - skew).abs() <= 60, "{told} s, and not {skew} s");
                        assert_ne!(server, powerdns.addr);
                    }
                    // It refuses whatever is wrong with a signature, and signs nothing.
                    Err(ExchangeError::Unverified {
                        rcode: Rcode::REFUSED | Rcode::NOTAUTH,
                        error: None,
                        ..
                    }) if server == powerdns.addr => {}
                    other => panic!("{server} {skew}: {other:?}"),
                }
            }
        }
        let peer = Peer { server, key, clock: now, timing };
        assert!(requests.iter().all(|request| block_on(peer.ask(request)).is_ok()), "{server}");
    }
}

#[test]
fn a_name_outside_the_zone_of_its_update_is_notzone_and_says_where_to_look() {
    Authority::each(|authority, key| {
        let keys = Keys::fixed(key).unwrap();
        let backend = Rfc2136::new("internal", vec![authority.addr()], keys);
        let outside = "web-1.elsewhere.example.".parse().unwrap();
        let change = ZoneChange {
            zone: ZONE.parse().unwrap(),
            guards: vec![Guard::NameNotInUse("web-1.corp.internal".parse().unwrap())],
            swaps: vec![RrsetSwap {
                scope: Scope::Whole,
                key: RrsetKey::new(outside, RrType::A),
                before: None,
                after: Some(Rrset::new(60, [Rdata::A([10, 0, 1, 23].into())])),
                because: Reason::Vacant,
            }],
        };
        let error = block_on(backend.apply(&change)).unwrap_err();
        assert!(matches!(error, BackendError::NotZone { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!(
                "{} says that a name of the update is outside corp.internal. (NOTZONE)",
                authority.addr()
            )
        );
        assert_eq!(error.disposition(), Disposition::Hold);
        let hints = error.hints();
        assert_eq!(
            hints,
            ["the zone was cut while the change was on its way; see the delegations"]
        );
    });
}

#[test]
fn a_policy_that_forbids_the_update_is_refused_and_says_what_bind_needs() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    for policy in [
        "update-policy { grant agent-key name other.corp.internal. A TXT; };",
        "update-policy { grant agent-key zonesub A; };",
        "allow-update { none; };",
    ] {
        let mut zones = fleet();
        policy.clone_into(&mut zones[0].policy);
        let named = Named::primary(&zones, &key);
        let lab = Lab::new();
        lab.publish_at(&[named.addr], &key, "reverse = true");
        lab.once_fails().says(&[
            "refused the update of corp.internal. (REFUSED)",
            "hint: on BIND the zone needs `update-policy { grant KEY wildcard *.corp.internal. A AAAA TXT; };`",
        ]);
        assert_eq!(dig(named.addr, NAME, "ANY"), [""; 0], "{policy}");
        // Nobody is led to a name that is not there.
        assert_eq!(dig(named.addr, REVERSE, "PTR"), [""; 0], "{policy}");
    }
}

#[test]
fn a_zone_that_the_server_does_not_have_is_said_with_what_to_do() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let named = Named::primary(&fleet()[1..], &key);
    let ours = fleet_server(vec![parsed(&key)]);
    for (server, name) in [(named.addr, "corp.internal"), (ours.addr(), "elsewhere.example")] {
        let lab = Lab::new();
        lab.publish_at(&[server], &key, "");
        let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
        lab.file("config.toml", &config.replace("corp.internal", name));
        lab.once_fails().says(&[
            &format!("web-1.{name}. is left alone: no zone that the backend serves holds it"),
            "hint: create the zone",
        ]);
    }
}

#[test]
fn a_server_that_takes_no_updates_and_knows_no_other_primary_is_notauth() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let zones = sandbox::dns::Zones::new(crate::support::fleet_zones()).unwrap();
    let replica =
        sandbox::dns::Server::replica(crate::support::own_address(), &zones, vec![parsed(&key)])
            .unwrap();
    let lab = Lab::new();
    lab.publish_at(&[replica.addr()], &key, "");
    lab.once_fails().says(&[
        "is no authority for corp.internal. (NOTAUTH)",
        "hint: send updates to the primary of corp.internal., or create the zone there",
    ]);
}

#[test]
fn a_wrong_secret_is_told_as_each_server_tells_it() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let wrong = tsig_keygen("hmac-sha256", "agent-key");
    for (start, words) in [
        (Other::knot as fn(&str) -> Other, "BADSIG"),
        (Other::powerdns, "`pdnsutil list-tsig-keys`"),
    ] {
        let server = start(&key);
        let lab = Lab::new();
        lab.publish_at(&[server.addr], &wrong, "");
        lab.once_fails().says(&[words]);
        lab.publish_at(&[server.addr], &key, "");
        lab.once().prints(&["published", "web-1.corp.internal. A 10.0.1.23"]);
        lab.once().prints(&["unchanged"]);
        lab.tagalong(&["reap", "--grace", "1ms"]).expect_code(0).prints(&["0 owner(s) in"]);
        lab.tagalong(&["withdraw"]).expect_code(0).prints(&["withdrew", "web-1.corp.internal. A"]);
    }
}

#[test]
fn an_update_that_nobody_signed_is_refused_and_says_which_key_sets_that_right() {
    Authority::each(|authority, key| {
        let lab = Lab::new();
        lab.publish_at(&[authority.addr()], key, "reverse = false");
        let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
        let lines = config.lines().filter(|line| !line.starts_with("key_file"));
        lab.file("config.toml", &lines.collect::<Vec<_>>().join("\n"));
        lab.once_fails().says(&["refused the unsigned update", "set `key_file` of the backend"]);
    });
}

#[test]
fn a_key_file_that_cannot_be_used_says_which_and_why() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let server = fleet_server(vec![parsed(&key)]);
    let lab = Lab::new();
    for (content, words) in [
        ("", "holds no usable key"),
        ("key x { algorithm hmac-sha256; };", "holds no usable key"),
        ("key x { algorithm hmac-sha3; secret \"AAAA\"; };", "holds no usable key"),
        ("key x { algorithm hmac-sha256; secret \"%%%\"; };", "holds no usable key"),
    ] {
        lab.publish_at(&[server.addr()], content, "");
        let run = lab.once_fails().says(&["tsig.key", words]);
        assert!(!run.stderr.contains("%%%"), "a secret is never printed: {run}");
    }
    std::fs::remove_file(lab.path("tsig.key")).unwrap();
    lab.once_fails().says(&["there is no key file", "tsig.key"]);
    assert_eq!(server.received().len(), 0);
}

#[test]
fn a_reverse_name_neither_comes_nor_goes_while_its_name_is_refused() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let mut zones = fleet();
    "update-policy { grant agent-key name web-1.corp.internal. A AAAA TXT; };"
        .clone_into(&mut zones[0].policy);
    let named = Named::primary(&zones, &key);
    let lab = Lab::new();
    lab.publish_at(&[named.addr], &key, "reverse = true");
    lab.once();
    assert_eq!(dig(named.addr, REVERSE, "PTR"), [NAME]);

    lab.world.update_instance(US, |us| {
        us.tags.insert("Name".to_owned(), "web-2".to_owned());
    });
    let run = lab.once_fails().says(&["refused the update of corp.internal. (REFUSED)"]);
    assert!(!run.stderr.contains("10.in-addr.arpa. (REFUSED)"), "{run}");
    assert_eq!(dig(named.addr, REVERSE, "PTR"), [NAME], "it leads where the host still is");
    assert_eq!(dig(named.addr, NAME, "A"), ["10.0.1.23"]);

    lab.world.update_instance(US, |us| us.move_to([10, 0, 1, 77].into()));
    lab.once_fails();
    assert_eq!(dig(named.addr, REVERSE, "PTR"), [NAME], "its address stands too");
    assert_eq!(dig(named.addr, "77.1.0.10.in-addr.arpa.", "PTR"), [""; 0]);

    lab.world.update_instance(US, |us| {
        us.tags.insert("Name".to_owned(), "web-1".to_owned());
    });
    lab.once();
    assert_eq!(dig(named.addr, REVERSE, "PTR"), [""; 0]);
    assert_eq!(dig(named.addr, "77.1.0.10.in-addr.arpa.", "PTR"), [NAME]);
}

#[test]
fn the_primarys_refusal_counts_and_not_what_a_secondary_thinks_of_the_key() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let mut zones = fleet();
    zones[0].mname = "ns1.corp.internal.".to_owned();
    zones[0].lines = vec!["ns1 IN A 127.0.0.1".to_owned()];
    "update-policy { grant agent-key name other.corp.internal. A TXT; };"
        .clone_into(&mut zones[0].policy);
    let primary = Named::primary(&zones, &key);
    let other = tsig_keygen("hmac-sha256", "another-key");
    let stranger = Named::primary(&zones, &other);
    assert!(!dig(stranger.addr, ZONE, "SOA").is_empty(), "it is there");
    let lab = Lab::new();
    lab.publish_at(&[primary.addr, stranger.addr], &key, "");
    let run =
        lab.once_fails().says(&["127.0.0.1", "refused the update of corp.internal. (REFUSED)"]);
    assert!(!run.stderr.contains("BADKEY"), "{run}");
}
