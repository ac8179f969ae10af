//! Servers that are not the primary lead to it.

use std::net::{Ipv6Addr, SocketAddr};

use sandbox::dns::{Server, Zone, Zones};

use crate::{
    authority::{Named, ZoneFile, dig, free_port, parsed, tsig_keygen},
    support::{Lab, NAME, own_address, until},
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
