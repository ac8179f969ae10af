//! Servers that are not the primary lead to it.

use std::net::{Ipv6Addr, SocketAddr};

use sandbox::{
    dns::{Server, Zone, Zones},
    fault::Fault,
};

use crate::{
    authority::{Named, ZoneFile, dig, forward_only, free_port, parsed, tsig_keygen},
    support::{Lab, NAME, REVERSE, fleet_server, own_address, until},
};

#[test]
fn a_named_secondary_leads_to_its_primary_by_the_name_in_the_soa() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    // Both on one port, since an SOA names a host and not a port: the secondary on 127.0.0.1, the primary on ::1.
    let port = loop {
        let candidate = free_port([127, 0, 0, 1].into()).port();
        let twin = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), candidate);
        if sandbox::black_hole::BlackHole::start(twin).is_ok() {
            break candidate;
        }
    };
    let mut zone = ZoneFile::new("corp.internal");
    "ns1.corp.internal.".clone_into(&mut zone.mname);
    zone.lines.push("ns1 300 IN AAAA ::1".to_owned());
    zone.lines.push("@ 300 IN NS ns2".to_owned());
    zone.lines.push("ns2 300 IN A 127.0.0.1".to_owned());
    let zones = [zone];
    let at = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port);
    let primary = Named::primary_at(at, &zones, &key);
    let secondary = Named::secondary(primary.addr, &zones, &key);
    until("the secondary has the zone", || {
        dig(secondary.addr, "ns1.corp.internal", "AAAA") == ["::1"]
    });
    let lab = Lab::new();
    lab.publish_at(&[secondary.addr], &key, "reverse = false");
    lab.once();
    assert_eq!(dig(primary.addr, NAME, "A"), ["10.0.1.23"]);
    // The secondary lags behind: what counts is what the primary says.
    lab.once().prints(&["1 unchanged"]);
    // Which of the two serves it, their serial numbers tell.
    let (first, second) = (primary.addr, secondary.addr);
    lab.tagalong(&["status"]).expect_code(0).prints(&[&format!(
        "zone          corp.internal. {first} (primary) has 2 · {second} is behind at 1\n"
    )]);
    drop(secondary);
    let secondary = Named::secondary(primary.addr, &zones, &key);
    until("the secondary has what the primary has", || !dig(secondary.addr, NAME, "A").is_empty());
    lab.tagalong(&["status"]).expect_code(0).prints(&[&format!("{second} has 2\n")]);
    drop(secondary);
    let status = lab.tagalong(&["status"]).expect_code(0);
    status.prints(&[&format!("{second} does not tell\n")]);

    // One that does not know the key is neither said to take it, nor to be as dead as its primary.
    let secondary = Named::secondary(primary.addr, &zones, "");
    until("it has the zone", || !dig(secondary.addr, NAME, "A").is_empty());
    let leads = format!("{second} does not answer agent-key. (hmac-sha256) as an authority");
    lab.tagalong(&["doctor"]).prints(&[&leads, "give a secondary the key too"]);
    drop(primary);
    let doctor = lab.tagalong(&["doctor"]).prints(&[&leads]);
    assert!(!doctor.stdout.contains(&format!("{second} does not answer\n")), "{doctor}");
}

#[test]
fn a_secondary_whose_soa_names_nobody_leads_to_the_primary_by_the_zones_other_servers() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let (primary, replica) = (own_address(), own_address());
    let zone = Zone::new("corp.internal")
        .record("@ 300 SOA hidden.corp.internal. hostmaster.corp.internal. 1 3600 600 86400 60")
        .record("@ 300 NS ns1.corp.internal.")
        .record(format!("ns1 300 A {}", primary.ip()));
    let zones = Zones::new(vec![zone]).unwrap();
    let primary = Server::primary(primary, &zones, vec![parsed(&key)]).unwrap();
    let replica = Server::replica(replica, &zones, vec![parsed(&key)]).unwrap();
    let lab = Lab::new();
    lab.publish_at(&[replica.addr()], &key, "reverse = false");
    lab.once();
    assert_eq!((primary.updates(), dig(primary.addr(), NAME, "A").len()), (1, 1));
}

#[test]
fn a_server_that_takes_no_update_just_now_is_passed_over_for_the_next() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    for fault in [
        Fault { drop: true, only: Some("UPDATE".to_owned()), ..Fault::default() },
        Fault { fail: Some(500), only: Some("UPDATE".to_owned()), ..Fault::default() },
    ] {
        let zones = Zones::new(vec![Zone::new("corp.internal")]).unwrap();
        let ill = Server::primary(own_address(), &zones, vec![parsed(&key)]).unwrap();
        let sound = Server::primary(own_address(), &zones, vec![parsed(&key)]).unwrap();
        ill.fault(fault);
        let lab = Lab::new();
        lab.publish_at(&[ill.addr(), sound.addr()], &key, "reverse = false");
        lab.once();
        assert!(ill.updates() > 0);
        assert_eq!(sound.updates(), 1);
    }
}

#[test]
fn a_replica_that_takes_no_updates_leads_to_its_primary() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let (primary, replica) = (own_address(), own_address());
    let zone = Zone::new("corp.internal")
        .record("@ 300 SOA ns1.corp.internal. hostmaster.corp.internal. 1 3600 600 86400 60")
        .record("@ 300 NS ns1.corp.internal.")
        .record(format!("ns1 300 A {}", primary.ip()));
    let zones = Zones::new(vec![zone]).unwrap();
    let primary = Server::primary(primary, &zones, vec![parsed(&key)]).unwrap();
    // It does not know the key, either.
    for keys in [vec![parsed(&key)], Vec::new()] {
        let replica = Server::replica(replica, &zones, keys).unwrap();
        let lab = Lab::new();
        lab.publish_at(&[replica.addr()], &key, "reverse = false");
        let before = primary.updates();
        lab.once();
        assert_eq!(primary.updates(), before + 1);
        assert_eq!(dig(primary.addr(), NAME, "A"), ["10.0.1.23"]);
        lab.tagalong(&["withdraw"]).expect_code(0);
    }
}

#[test]
fn a_server_without_the_zone_is_passed_over_for_one_that_has_it() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let others = [ZoneFile::new("other.internal")];
    let named = Named::primary(&others, &key);
    let ours = Server::start(own_address(), vec![Zone::new("other.internal")], vec![parsed(&key)])
        .unwrap();
    for without in [named.addr, ours.addr()] {
        let server = fleet_server(vec![parsed(&key)]);
        let lab = Lab::new();
        lab.publish_at(&[without, server.addr()], &key, "reverse = true");
        lab.once();
        assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
        assert_eq!(dig(server.addr(), REVERSE, "PTR"), [NAME]);
    }
}

#[test]
fn each_zone_is_found_at_the_server_that_has_it() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let keys = || vec![parsed(&key)];
    let forward = Server::start(own_address(), forward_only(), keys()).unwrap();
    let zone = Zone::new("10.in-addr.arpa");
    let reverse = Server::start(own_address(), vec![zone], keys()).unwrap();
    let lab = Lab::new();
    lab.publish_at(&[forward.addr(), reverse.addr()], &key, "");
    lab.once();
    assert_eq!(dig(forward.addr(), NAME, "A"), ["10.0.1.23"]);
    assert_eq!(dig(reverse.addr(), REVERSE, "PTR"), [NAME]);
    lab.once().prints(&["2 unchanged"]);
}

#[test]
fn a_cache_that_knows_nobody_below_the_root_leads_nowhere() {
    // A primary is looked for on the port of whoever told of it; and named listens on addresses of interfaces only.
    let at = free_port([127, 0, 0, 1].into());
    let root_address = SocketAddr::new(own_address().ip(), at.port());
    let zone = Zone::new(".")
        .record("@ 300 SOA a.root-servers.test. hostmaster.root-servers.test. 1 3600 600 86400 60")
        .record("@ 300 NS a.root-servers.test.")
        .record(format!("a.root-servers.test. 300 A {}", root_address.ip()));
    let root = Server::start(root_address, vec![zone], Vec::new()).unwrap();
    let cache = Named::cache(at, root.addr(), "");
    let lab = Lab::new();
    lab.publish_at(&[cache.addr], &tsig_keygen("hmac-sha256", "agent-key"), "reverse = false");
    lab.once_fails().says(&["left alone: no zone that the backend serves holds it"]);
    assert_eq!(root.updates(), 0);
    let asked = root.received();
    assert!(asked.iter().all(|one| one.signer.is_none()), "by the cache alone: {asked:?}");
    assert!(asked.iter().any(|one| one.name == NAME), "{asked:?}");
}

#[test]
fn a_zone_whose_server_does_not_answer_is_waited_for_and_not_taken_for_none() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let keys = || vec![parsed(&key)];
    let forward = Server::start(own_address(), forward_only(), keys()).unwrap();
    let zone = Zone::new("10.in-addr.arpa");
    let reverse = Server::start(own_address(), vec![zone], keys()).unwrap();
    let lab = Lab::new();
    lab.publish_at(&[forward.addr(), reverse.addr()], &key, "reverse = true");
    let silent = Fault { drop: true, ..Fault::default() };
    for fault in [silent.clone(), Fault { fail: Some(500), ..Fault::default() }] {
        reverse.fault(fault);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| lab.tagalong(&["once", "--deadline", "20s"]));
            // The rest does not wait with it.
            until("the name is published", || dig(forward.addr(), NAME, "A") == ["10.0.1.23"]);
            let asked = reverse.queries();
            until("the server is asked again", || reverse.queries() > asked + 3);
            reverse.behave();
            run.join().unwrap().expect_code(0);
        });
        assert_eq!(dig(reverse.addr(), REVERSE, "PTR"), [NAME]);
        lab.tagalong(&["withdraw"]).expect_code(0);
    }
    reverse.fault(silent);
    lab.once_fails()
        .says(&["it is not known whether a zone of the backend holds 23.1.0.10.in-addr.arpa."]);
    // Where it would only be welcome, it is said, and is no failure.
    lab.tagalong(&["withdraw", "--deadline", "4s"]);
    std::fs::remove_dir_all(lab.path("state")).unwrap();
    lab.publish_at(&[forward.addr(), reverse.addr()], &key, "");
    lab.once().says(&["whether a zone of the backend holds 23.1.0.10.in-addr.arpa. is not known"]);
}

#[test]
fn an_authority_is_believed_before_a_cache_that_is_asked_first() {
    // The cache knows the parent's zone, in which the child's is not delegated: a split horizon.
    let at = free_port([127, 0, 0, 1].into());
    let parent_address = SocketAddr::new(own_address().ip(), at.port());
    let parent = Zone::new("internal.test")
        .record("@ 300 SOA ns1.internal.test. hostmaster.internal.test. 1 3600 600 86400 60")
        .record("@ 300 NS ns1.internal.test.")
        .record(format!("ns1 300 A {}", parent_address.ip()));
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let parent = Server::start(parent_address, vec![parent], vec![parsed(&key)]).unwrap();
    let cache = Named::cache(at, parent.addr(), &key);
    let child = Zone::new("dev.internal.test");
    let child = Server::start(own_address(), vec![child], vec![parsed(&key)]).unwrap();
    let lab = Lab::new();
    lab.publish_at(&[cache.addr, child.addr()], &key, "reverse = false");
    let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
    lab.file("config.toml", &config.replace("corp.internal", "dev.internal.test"));
    lab.once();
    assert_eq!(dig(child.addr(), "web-1.dev.internal.test.", "A"), ["10.0.1.23"]);
    assert_eq!(parent.updates(), 0);
}
