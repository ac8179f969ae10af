//! What datagrams can do to an update: be forged, be lost, be too small; and what a dead server does to it.

use std::{fmt::Write as _, thread};

use sandbox::{
    black_hole::BlackHole,
    dns::{Protocol, Server},
    fault::Fault,
};

use crate::{
    authority::{Named, dig, fleet, parsed, tsig_keygen},
    support::{Lab, NAME, OUR_MARKER, Run, US, fleet_server, own_address, until, web},
};

fn server() -> (Server, String) {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    (fleet_server(vec![parsed(&key)]), key)
}

fn updates_by(server: &Server, protocol: Protocol) -> usize {
    server.received().iter().filter(|one| one.is_update && one.protocol == protocol).count()
}

#[test]
fn forged_answers_before_the_real_one_decide_nothing() {
    for forge in [Server::forge_next, Server::forge_next_updates] {
        let (server, key) = server();
        let lab = Lab::new();
        lab.publish_at(&[server.addr()], &key, "reverse = true");
        forge(&server, 100);
        lab.once();
        server.behave();
        assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
        // The real answer came over UDP after the forged ones: nothing had to be sent again.
        assert_eq!(server.updates(), 2);
    }
}

#[test]
fn an_update_whose_answer_is_lost_is_found_done() {
    for lost in 1..=4 {
        let (server, key) = server();
        let lab = Lab::new();
        lab.publish_at(&[server.addr()], &key, "reverse = false");
        server.lose_next_updates(lost);
        lab.once();
        assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"], "{lost} lost");
        assert_eq!(dig(server.addr(), NAME, "TXT"), [OUR_MARKER], "{lost} lost");
        lab.once().prints(&["1 unchanged"]);
    }
}

#[test]
fn queries_that_are_lost_are_asked_again() {
    let (server, key) = server();
    let lab = Lab::new();
    lab.publish_at(&[server.addr()], &key, "reverse = true");
    server.lose_next(3);
    lab.once();
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
}

#[test]
fn what_is_truncated_over_udp_is_asked_over_tcp() {
    let (server, key) = server();
    let lab = Lab::new();
    lab.publish_at(&[server.addr()], &key, "reverse = true");
    server.truncate_udp(true);
    lab.once();
    server.truncate_udp(false);
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
    assert_eq!(updates_by(&server, Protocol::Tcp), 2);
}

#[test]
fn a_large_update_goes_over_tcp_at_once() {
    let secondaries = |count: u8| {
        let mut host = web();
        let more = (0..count).map(|last| std::net::Ipv4Addr::new(10, 0, 5, last));
        host.interfaces[0].private_ipv4s.extend(more);
        host
    };
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let named = Named::primary(&fleet(), &key);
    let ours = fleet_server(vec![parsed(&key)]);
    for server in [named.addr, ours.addr()] {
        let lab = Lab::with(secondaries(90));
        let record = "reverse = false\naddresses = [\"private-ipv4\", \"secondary\"]";
        lab.publish_at(&[server], &key, record);
        lab.once();
        // Too many to come back in a datagram of 1232 octets: the second pass reads them over TCP, and finds them right.
        lab.once().prints(&["1 unchanged"]);
        assert_eq!(dig(server, NAME, "A").len(), 91);
    }
    assert_eq!((updates_by(&ours, Protocol::Udp), updates_by(&ours, Protocol::Tcp)), (0, 1));
}

#[test]
fn many_names_on_one_host_are_still_one_update_a_zone() {
    let (server, key) = server();
    let records = (0..40).fold(String::from("reverse = false\n"), |mut text, number| {
        write!(text, "[[record]]\nname = \"a{number}.corp.internal\"\nreverse = false\n").unwrap();
        text
    });
    let lab = Lab::new();
    lab.publish_at(&[server.addr()], &key, &records);
    lab.once();
    assert_eq!(server.updates(), 1);
    assert_eq!(dig(server.addr(), "a39.corp.internal.", "A"), ["10.0.1.23"]);
}

#[test]
fn a_dead_server_before_a_living_one_does_not_stop_it() {
    let (server, key) = server();
    let hole = BlackHole::start(own_address()).unwrap();
    for dead in [hole.addr(), own_address()] {
        let lab = Lab::new();
        lab.publish_at(&[dead, server.addr()], &key, "reverse = false");
        lab.once();
        assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"], "{dead}");
        lab.tagalong(&["withdraw"]).expect_code(0);
    }
    assert!(hole.datagrams() > 0);
}

#[test]
fn a_server_that_fails_or_talks_nonsense_does_not_stop_the_next() {
    for fault in [
        Fault { fail: Some(500), ..Fault::default() },
        Fault { malformed: true, ..Fault::default() },
    ] {
        let (server, key) = server();
        let broken = fleet_server(vec![parsed(&key)]);
        broken.fault(fault.clone());
        let lab = Lab::new();
        lab.publish_at(&[broken.addr(), server.addr()], &key, "reverse = false");
        lab.once();
        assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"], "{fault:?}");
    }
}

#[test]
fn servers_that_are_all_dead_fail_with_the_last_ones_silence() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let hole = BlackHole::start(own_address()).unwrap();
    let lab = Lab::new();
    lab.publish_at(&[hole.addr()], &key, "");
    lab.once_fails().says(&[
        "no server of backend `internal` answers",
        &format!("caused by: no answer from {}", hole.addr()),
    ]);
}

#[test]
fn a_server_that_comes_back_within_the_deadline_is_used() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let address = own_address();
    let lab = Lab::new();
    lab.publish_at(&[address], &key, "reverse = false");
    let started = lab.start(&["once", "--deadline", "30s"]);
    // It has been asked, in vain, before it is there.
    let hole = BlackHole::start(address).unwrap();
    until("a query came", || hole.datagrams() > 0);
    drop(hole);
    let server = Server::start(address, crate::support::fleet_zones(), vec![parsed(&key)]).unwrap();
    started.finish().expect_code(0);
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
}

/// Runs a pass, and `meanwhile` between its reading and its writing: answers are slow, and what they say is old.
fn race(lab: &Lab, server: &Server, meanwhile: impl FnOnce()) -> Run {
    let seen = (server.queries(), server.updates());
    server.fault(Fault { delay_ms: 1000, ..Fault::default() });
    thread::scope(|scope| {
        let run = scope.spawn(|| lab.tagalong(&["once", "--deadline", "20s"]));
        // Addresses of both families, the marker and the zone.
        until("it has asked for everything", || server.queries() >= seen.0 + 4);
        meanwhile();
        until("the update is on its way", || server.updates() > seen.1);
        server.behave();
        run.join().unwrap()
    })
}

#[test]
fn a_name_that_another_host_takes_between_reading_and_writing_is_the_others() {
    let (server, key) = server();
    let lab = Lab::new();
    lab.publish_at(&[server.addr()], &key, "reverse = false");
    let run = race(&lab, &server, || {
        server.zones().add("web-1.corp.internal. 60 A 10.0.9.9").unwrap();
        server
            .zones()
            .add("web-1.corp.internal. 60 TXT \"tagalong-owner=i-0bbbbbbbbbbbbbbb2\"")
            .unwrap();
    });
    run.expect_code(1)
        .says(&["web-1.corp.internal. is left alone: it belongs to i-0bbbbbbbbbbbbbbb2"]);
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.9.9"]);
}

#[test]
fn a_record_that_goes_between_reading_and_writing_is_made_anew() {
    let (server, key) = server();
    let lab = Lab::new();
    lab.publish_at(&[server.addr()], &key, "reverse = false");
    lab.once();
    lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    race(&lab, &server, || server.zones().delete(NAME, None)).expect_code(0);
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.99"]);
    assert_eq!(dig(server.addr(), NAME, "TXT"), [OUR_MARKER]);
}
