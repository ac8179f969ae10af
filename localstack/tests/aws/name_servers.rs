//! DNS servers in the hand of the control API.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use sandbox::{
    dns::{Role, Zone, Zones},
    name_servers::NameServers,
    running::{Listen, Running},
    world::World,
};
use serde_json::{Value, json};

use crate::{
    client::{Ask, Reply},
    stage::loopback,
};

/// A sandbox with one DNS server.
struct Fleet {
    running: Running,
    server: SocketAddr,
}

impl Fleet {
    fn new() -> Self {
        let world = World::new();
        let zone = Zone::new("corp.test").record("web 60 A 10.0.0.1");
        let name_servers =
            NameServers::new(Zones::new(vec![zone]).unwrap(), vec![], world.faults().clone());
        let server = name_servers.start(loopback(), Role::Primary).unwrap();
        let listen = Listen { control: Some(loopback()), ..Listen::default() };
        Self { running: Running::start_with(world, listen, name_servers).unwrap(), server }
    }

    fn control(&self, method: &str, path: &str, body: &Value) -> Reply {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let path = path.replace("ADDR", &self.server.to_string());
        Ask::new(method, &path).body(body).to(self.running.control().unwrap())
    }

    fn put(&self, path: &str, body: &Value) {
        let reply = self.control("PUT", path, body);
        assert!(matches!(reply.status, 200 | 204), "{path}: {reply:?}");
    }

    fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.control("GET", path, &Value::Null).body).unwrap()
    }

    /// What `web.corp.test` is answered with.
    fn answer(&self) -> Answer {
        query(self.server, "web.corp.test").answer()
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The response code, whether it was cut, and how many records there are.
    Code(u8, bool, u8),
    Nonsense,
    Silence,
    Closed,
}

/// One A record.
const FINE: Answer = Answer::Code(0, false, 1);

#[test]
fn a_server_misbehaves_as_told() {
    let fleet = Fleet::new();
    assert_eq!(fleet.answer(), FINE);
    for (path, body, expect) in [
        ("/dns/ADDR/fault", json!({"drop": true}), Answer::Silence),
        ("/dns/ADDR/fault", json!({"fail": 500}), Answer::Code(2, false, 0)),
        ("/dns/ADDR/fault", json!({"throttle": true}), Answer::Code(5, false, 0)),
        ("/dns/ADDR/fault", json!({"malformed": true}), Answer::Nonsense),
        ("/dns/ADDR/lose", json!({"requests": 1}), Answer::Silence),
        ("/dns/ADDR/forge", json!({"requests": 1}), Answer::Code(5, false, 0)),
        ("/dns/ADDR/truncate-udp", json!(true), Answer::Code(0, true, 0)),
        ("/dns/ADDR/clock-skew", json!(-600), FINE),
        ("/faults/dns", json!({"fail": 500}), Answer::Code(2, false, 0)),
    ] {
        fleet.put(path, &body);
        assert_eq!(fleet.answer(), expect, "{path} {body}");
        assert_eq!(fleet.control("DELETE", "/dns/ADDR/faults", &Value::Null).status, 204);
        assert_eq!(fleet.control("DELETE", "/faults", &Value::Null).status, 204);
        assert_eq!(fleet.answer(), FINE, "after {path} {body}");
    }
}

#[test]
fn budgets_for_updates_pass_over_queries() {
    let fleet = Fleet::new();
    fleet.put("/dns/ADDR/lose", &json!({"updates": 1}));
    fleet.put("/dns/ADDR/forge", &json!({"updates": 1}));
    assert_eq!(fleet.answer(), FINE);
}

#[test]
fn servers_come_go_and_fall_silent() {
    let fleet = Fleet::new();
    fleet.put("/dns/ADDR", &json!("black-hole"));
    assert_eq!(fleet.answer(), Answer::Silence);
    let expect = json!([{
        "address": fleet.server, "is": "black-hole", "datagrams": 1, "connections": 0
    }]);
    assert_eq!(fleet.get("/dns"), expect);
    assert_eq!(fleet.control("PUT", "/dns/ADDR/fault", &json!({})).status, 404);
    fleet.put("/dns/ADDR", &json!("replica"));
    assert_eq!(fleet.answer(), FINE);
    assert_eq!(fleet.get("/dns")[0]["is"], "replica");
    assert_eq!(fleet.control("DELETE", "/dns/ADDR", &Value::Null).status, 204);
    assert_eq!(fleet.answer(), Answer::Closed);
    assert_eq!(fleet.control("DELETE", "/dns/ADDR", &Value::Null).status, 404);
    assert_eq!(fleet.get("/dns"), json!([]));
    let started = fleet.control("PUT", "/dns/127.0.0.1:0", &json!("primary"));
    let started: Value = serde_json::from_str(&started.body).unwrap();
    let address = started["address"].as_str().unwrap().parse().unwrap();
    assert_eq!(query(address, "web.corp.test").answer(), FINE);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let fleet = Fleet::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _taken = std::net::TcpListener::bind(taken).unwrap();
    let reply = fleet.control("PUT", &format!("/dns/{taken}"), &json!("primary"));
    assert!(reply.status == 409 && reply.body.contains(&taken.to_string()), "{reply:?}");
}

#[test]
fn records_are_shown_added_and_deleted() {
    let fleet = Fleet::new();
    let line = json!("db.corp.test. 30 A 10.0.0.2");
    assert_eq!(fleet.control("POST", "/dns/records", &line).status, 204);
    let deleted = fleet.control("DELETE", "/dns/records/web.corp.test.", &Value::Null);
    assert_eq!(deleted.status, 204);
    let shown = fleet.get("/dns/records");
    let lines: Vec<_> =
        shown["corp.test."].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(
        lines,
        [
            "corp.test. 300 NS ns1.corp.test.",
            "corp.test. 300 SOA ns1.corp.test. hostmaster.corp.test. 3 3600 600 86400 60",
            "db.corp.test. 30 A 10.0.0.2",
        ]
    );
}

#[test]
fn requests_are_shown_and_forgotten() {
    let fleet = Fleet::new();
    assert_eq!(fleet.answer(), FINE);
    let seen = &fleet.get("/requests")["dns"];
    assert_eq!(seen.as_array().unwrap().len(), 1);
    assert_eq!(seen[0]["server"], json!(fleet.server));
    assert_eq!((&seen[0]["name"], &seen[0]["type"]), (&json!("web.corp.test."), &json!("A")));
    assert_eq!((&seen[0]["protocol"], &seen[0]["is_update"]), (&json!("udp"), &json!(false)));
    assert_eq!(fleet.get("/dns")[0]["queries"], 1);
    assert_eq!(fleet.control("DELETE", "/requests", &Value::Null).status, 204);
    assert_eq!(fleet.get("/requests")["dns"], json!([]));
}

#[test]
fn a_wrong_request_says_why() {
    let fleet = Fleet::new();
    for (method, path, body, status, word) in [
        ("PUT", "/dns/nowhere", json!("primary"), 400, "nowhere"),
        ("PUT", "/dns/ADDR", json!("secondary"), 400, "secondary"),
        ("PUT", "/dns/ADDR/fault", json!({"slow": 1}), 400, "slow"),
        ("PUT", "/dns/127.0.0.1:1/fault", json!({}), 404, "127.0.0.1:1"),
        ("PUT", "/dns/ADDR/lose", json!({"answers": 1}), 400, "answers"),
        ("POST", "/dns/records", json!("a.other.test. 60 A 10.0.0.1"), 400, "other.test"),
        ("POST", "/dns/records", json!("a.corp.test. 60 A ten"), 400, "a.corp.test."),
        ("PUT", "/dns/ADDR/nothing", json!(1), 404, "nothing"),
        ("PUT", "/throttling", json!("off"), 400, "off"),
    ] {
        let reply = fleet.control(method, path, &body);
        assert!(reply.status == status && reply.body.contains(word), "{method} {path}: {reply:?}");
    }
    assert_eq!(fleet.answer(), FINE);
}

/// A question under way.
pub(crate) struct Asked(UdpSocket);

/// Asks for the addresses of `name`.
pub(crate) fn query(server: SocketAddr, name: &str) -> Asked {
    let mut message = vec![0xab, 0xcd, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind(loopback()).unwrap();
    socket.connect(server).unwrap();
    socket.send(&message).unwrap();
    Asked(socket)
}

impl Asked {
    /// Whether an answer with one address comes.
    pub(crate) fn is_fine(&self) -> bool {
        self.answer() == FINE
    }

    /// Whether nothing comes.
    pub(crate) fn is_silence(&self) -> bool {
        self.answer() == Answer::Silence
    }

    fn answer(&self) -> Answer {
        // what comes at all comes within a millisecond; what does not is waited for as long as this
        self.0.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
        let mut buffer = [0; 512];
        match self.0.recv(&mut buffer) {
            Ok(length) if buffer[12..length].iter().all(|octet| *octet == 0xff) => Answer::Nonsense,
            Ok(_) => Answer::Code(buffer[3] & 0xf, buffer[2] & 2 != 0, buffer[7]),
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Answer::Closed,
            Err(_) => Answer::Silence,
        }
    }
}
