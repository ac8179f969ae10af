//! What our server can be told to do wrong, and that it does that and nothing else.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::Message,
    rr::{DNSClass, RData, RecordType, rdata::A},
};
use sandbox::{
    dns::{Key, Protocol, Role, Server, Settings, Signed, Zone, Zones},
    fault::{Fault, Faults, Service},
};

use super::tools::{
    ANY_PORT, ask, dig, exchange, exchange_tcp, now, nsupdate, rcode, receive, record, update,
};

const ADD: &str =
    "zone corp.internal.\nprereq nxdomain web.corp.internal.\nadd web.corp.internal. 60 A 10.0.0.1";

#[test]
fn a_delayed_answer_comes_late() {
    let (server, _) = start();
    server.fault(Fault { delay_ms: 150, ..Fault::default() });
    for exchange in [exchange, exchange_tcp] {
        let began = Instant::now();
        assert_eq!(rcode(&exchange(server.addr(), &query())), "NOERROR");
        assert!(began.elapsed() >= Duration::from_millis(150));
    }
}

#[test]
fn a_delayed_answer_holds_nobody_up_and_its_work_is_done_at_once() {
    let (server, key) = start();
    server.fault(Fault { delay_ms: 3_600_000, requests: Some(1), ..Fault::default() });
    let socket = ask(server.addr(), &add(&key).message);
    socket.send(&query()).unwrap();
    assert_eq!(receive(&socket).unwrap().first_chunk(), Some(&QUERY_ID));
    assert_eq!(count(&server), 1);
}

#[test]
fn a_dropped_request_is_counted_and_not_done() {
    let (server, key) = start();
    server.fault(Fault { drop: true, requests: Some(1), ..Fault::default() });
    let socket = ask(server.addr(), &add(&key).message);
    socket.send(&query()).unwrap();
    let answer = receive(&socket).unwrap();
    assert_eq!(
        answer.first_chunk(),
        Some(&QUERY_ID),
        "the first answer is that to the second request"
    );
    assert_eq!((count(&server), server.updates(), server.queries()), (0, 1, 1));
}

#[test]
fn a_failing_or_throttling_server_says_so_under_its_signature_and_does_nothing() {
    let (server, key) = start();
    let fail = Fault { fail: Some(503), requests: Some(1), ..Fault::default() };
    let throttle = Fault { throttle: true, requests: Some(1), ..Fault::default() };
    for (fault, code) in [(fail, "SERVFAIL"), (throttle, "REFUSED")] {
        server.fault(fault);
        let signed = add(&key);
        let answer = exchange(server.addr(), &signed.message);
        assert_eq!((rcode(&answer), count(&server)), (code, 0));
        assert!(key.read_answer(&answer, &signed.mac).unwrap().verifies);
    }
    assert_eq!(
        nsupdate(server.addr(), Some(&key), &[], ADD),
        "NOERROR",
        "the fault has ended by itself"
    );
}

#[test]
fn a_malformed_answer_has_the_right_id_and_is_no_message() {
    let (server, key) = start();
    server.fault(Fault { malformed: true, ..Fault::default() });
    for answer in [exchange(server.addr(), &query()), exchange_tcp(server.addr(), &query())] {
        assert_eq!(answer.first_chunk(), Some(&QUERY_ID));
        assert!(Message::from_vec(&answer).is_err());
    }
    server.behave();
    assert_eq!(nsupdate(server.addr(), Some(&key), &[], ADD), "NOERROR");
}

#[test]
fn a_fault_of_the_account_reaches_every_server() {
    let faults = Faults::default();
    let zones = Zones::new(vec![Zone::new("corp.internal.")]).unwrap();
    let settings = Settings {
        addr: ANY_PORT,
        zones,
        keys: vec![],
        role: Role::Primary,
        faults: Some(faults.clone()),
    };
    let servers = [Server::with(settings.clone()).unwrap(), Server::with(settings).unwrap()];
    for (fault, code) in
        [(Fault { throttle: true, ..Fault::default() }, "REFUSED"), (Fault::default(), "NOERROR")]
    {
        faults.set(Service::Dns, fault);
        for server in &servers {
            assert_eq!(rcode(&exchange(server.addr(), &query())), code);
        }
    }
}

#[test]
fn forged_answers_come_before_the_real_one() {
    let (server, key) = start();
    server.forge_next(1);
    let signed = add(&key);
    let socket = ask(server.addr(), &signed.message);
    let answers = [receive(&socket), receive(&socket), receive(&socket)].map(Result::unwrap);
    for answer in &answers {
        let [question] = &Message::from_vec(answer).unwrap().queries[..] else {
            panic!("no question")
        };
        assert_eq!(answer.first_chunk::<2>(), signed.message.first_chunk());
        assert_eq!(
            (question.name().to_ascii().as_str(), question.query_type()),
            ("corp.internal.", RecordType::SOA)
        );
    }
    let verifies = |answer| key.read_answer(answer, &signed.mac).map(|answer| answer.verifies);
    let [unsigned, wrong, real] = &answers;
    assert_eq!((rcode(unsigned), verifies(unsigned)), ("REFUSED", None));
    assert_eq!((rcode(wrong), verifies(wrong)), ("REFUSED", Some(false)));
    assert_eq!((rcode(real), verifies(real)), ("NOERROR", Some(true)));

    server.forge_next_updates(1);
    assert_eq!(rcode(&exchange(server.addr(), &query())), "NOERROR", "a query is passed over");
    assert_eq!(rcode(&exchange(server.addr(), &add(&key).message)), "REFUSED");
}

#[test]
fn a_lost_answer_leaves_the_work_done() {
    let (server, key) = start();
    server.lose_next_updates(1);
    let first = ask(server.addr(), &query());
    assert_eq!(rcode(&receive(&first).unwrap()), "NOERROR", "a query is passed over");
    first.send(&add(&key).message).unwrap();
    first.send(&add(&key).message).unwrap();
    assert_eq!(
        rcode(&receive(&first).unwrap()),
        "YXDOMAIN",
        "the answer to the second: the first was applied"
    );
    assert_eq!((count(&server), server.serial("corp.internal.")), (1, Some(2)));
    server.lose_next(1);
    first.send(&query()).unwrap();
    first.send(&add(&key).message).unwrap();
    assert_eq!(rcode(&receive(&first).unwrap()), "YXDOMAIN", "the answer to the query was lost");
}

#[test]
fn a_truncated_answer_does_nothing_until_it_is_asked_for_over_tcp() {
    let (server, key) = start();
    server.truncate_udp(true);
    let signed = add(&key);
    let answer = exchange(server.addr(), &signed.message);
    assert!(Message::from_vec(&answer).unwrap().truncation && count(&server) == 0);
    assert!(key.read_answer(&answer, &signed.mac).unwrap().verifies);
    let answer = exchange_tcp(server.addr(), &signed.message);
    assert_eq!((rcode(&answer), count(&server)), ("NOERROR", 1));

    assert!(
        dig(server.addr(), None, "web.corp.internal. A +short").ends_with("10.0.0.1\n"),
        "dig turns to TCP"
    );
    let protocols: Vec<_> = server.received().iter().map(|received| received.protocol).collect();
    assert_eq!(protocols, [Protocol::Udp, Protocol::Tcp, Protocol::Udp, Protocol::Tcp]);
}

#[test]
fn a_server_with_a_wrong_clock_answers_badtime_and_tells_its_time() {
    let (server, key) = start();
    for skew in [3600, -3600] {
        server.clock_skew(skew);
        assert_eq!(nsupdate(server.addr(), Some(&key), &[], ADD), "NOTAUTH(BADTIME)");
        let signed = add(&key);
        let answer = exchange(server.addr(), &signed.message);
        let answer = key.read_answer(&answer, &signed.mac).unwrap();
        let told = answer.other.iter().fold(0, |time, byte| time << 8 | i64::from(*byte));
        assert!(
            answer.verifies && (told - i64::try_from(now()).unwrap() - skew).abs() <= 1,
            "{answer:?}"
        );
    }
    server.clock_skew(200);
    assert_eq!(nsupdate(server.addr(), Some(&key), &[], ADD), "NOERROR", "within the fudge");
}

#[test]
fn a_stopped_server_is_unreachable_and_its_address_is_free_at_once() {
    let key = Key::generate("agents.");
    let zones = Zones::new(vec![Zone::new("corp.internal.")]).unwrap();
    // an address of its own, so that no other test takes the port
    let server =
        Server::primary("127.0.0.13:0".parse().unwrap(), &zones, vec![key.clone()]).unwrap();
    let addr = server.addr();
    assert_eq!(nsupdate(addr, Some(&key), &["-v"], ADD), "NOERROR");
    let _open = TcpStream::connect(addr).unwrap();
    let silent = ask(addr, &query());
    receive(&silent).unwrap();
    server.stop();
    silent.send(&query()).unwrap();
    assert_eq!(receive(&silent).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);

    let server = Server::primary(addr, &zones, vec![key]).unwrap();
    assert_eq!((server.addr(), count(&server)), (addr, 1));
    assert_eq!(rcode(&exchange(addr, &query())), "NOERROR");
}

#[test]
fn a_server_stops_and_starts_while_other_tests_start_processes() {
    // on its way to `exec` a child has copies of every socket: they must neither take datagrams nor hold the port
    let zones = Zones::new(vec![Zone::new("corp.internal.")]).unwrap();
    let addr = Server::primary("127.0.0.16:0".parse().unwrap(), &zones, vec![]).unwrap().addr();
    std::thread::scope(|scope| {
        let spawning = scope.spawn(|| (0..200).for_each(|_| drop(dig(addr, None, "-v"))));
        while !spawning.is_finished() {
            let server = Server::primary(addr, &zones, vec![]).unwrap();
            let socket = ask(addr, &query());
            assert_eq!(rcode(&receive(&socket).unwrap()), "NOERROR");
            server.stop();
            assert_eq!(TcpStream::connect(addr).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            socket.send(&query()).unwrap();
            assert_eq!(receive(&socket).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn two_addresses_serve_the_same_zones() {
    let key = Key::generate("agents.");
    let zones = Zones::new(vec![Zone::new("corp.internal.")]).unwrap();
    let first =
        Server::primary("127.0.0.11:0".parse().unwrap(), &zones, vec![key.clone()]).unwrap();
    let second: SocketAddr = format!("127.0.0.12:{}", first.addr().port()).parse().unwrap();
    let second = Server::primary(second, &zones, vec![key.clone()]).unwrap();
    assert_eq!(nsupdate(second.addr(), Some(&key), &[], ADD), "NOERROR");
    assert_eq!(nsupdate(first.addr(), Some(&key), &[], ADD), "YXDOMAIN");
    assert_eq!(dig(first.addr(), None, "web.corp.internal. A +short"), "10.0.0.1\n");
    first.stop();
    assert_eq!(dig(second.addr(), None, "web.corp.internal. A +short"), "10.0.0.1\n");
}

#[test]
fn updates_that_race_are_applied_one_after_the_other() {
    let (server, key) = start();
    let codes: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| rcode(&exchange(server.addr(), &add(&key).message))))
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert_eq!(codes.iter().filter(|code| **code == "NOERROR").count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == "YXDOMAIN").count(), 15, "{codes:?}");
    assert_eq!(server.serial("corp.internal."), Some(2));
}

fn start() -> (Server, Key) {
    let key = Key::generate("agents.");
    (Server::start(ANY_PORT, vec![Zone::new("corp.internal.")], vec![key.clone()]).unwrap(), key)
}

/// How many addresses `web.corp.internal.` has.
fn count(server: &Server) -> usize {
    server.records("web.corp.internal.").len()
}

/// Adds `web.corp.internal.`, provided that there is no such name.
fn add(key: &Key) -> Signed {
    let name = "web.corp.internal.";
    let free = record(name, DNSClass::NONE, 0, RData::Update0(RecordType::ANY));
    let add = record(name, DNSClass::IN, 60, RData::A(A::new(10, 0, 0, 1)));
    key.sign(&update("corp.internal.", vec![free], vec![add]).to_vec().unwrap(), now())
}

/// Asks for the SOA.
fn query() -> Vec<u8> {
    let mut message = update("corp.internal.", vec![], vec![]);
    message.metadata.op_code = hickory_proto::op::OpCode::Query;
    message.metadata.id = u16::from_be_bytes(QUERY_ID);
    message.to_vec().unwrap()
}

const QUERY_ID: [u8; 2] = [0xab, 0xcd];
