//! The metadata service: version 2 only, present or absent or unknown, never through a proxy, and all of it side by side.

use std::{
    net::{Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use sandbox::{
    black_hole::BlackHole,
    dns::Server,
    fault::{Fault, Service},
    imds::Whom,
    instance::Interface,
    journal::Request,
    running::{Listen, Running},
};
use tagalong::{
    core::facts::{Facts, TagSource},
    ec2::{
        facts::MetadataFacts,
        imds::{Imds, Item, Patience},
    },
    ports::{Disposition, FactSource as _, Situation as _, error::FactError},
};

use crate::{
    authority::{dig, free_port, parsed, tsig_keygen},
    support::{Lab, NAME, Started, US, block_on, fleet_server, own_address, web},
};

/// Four tries, and not long between them.
const PATIENCE: Patience =
    Patience { attempts: 4, limit: Duration::from_millis(300), backoff: Duration::from_millis(20) };

fn get(imds: &Imds, path: &str) -> Result<Item, FactError> {
    block_on(imds.get(path))
}

fn asked(lab: &Lab) -> Vec<Request> {
    let requests = lab.world.requests(Service::Imds);
    lab.world.clear_requests();
    requests
}

/// Methods and statuses, in order.
fn told(requests: &[Request]) -> Vec<(String, Option<u16>)> {
    requests.iter().map(|request| (request.method.clone(), request.status)).collect()
}

fn facts(lab: &Lab, tags: &[&str]) -> Facts {
    let imds = Imds::new(&lab.metadata, PATIENCE);
    let source = MetadataFacts {
        imds: &imds,
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        any_tag: false,
        expected_macs: Vec::new(),
        describe_tags: None,
    };
    block_on(source.read()).unwrap()
}

/// A host that publishes its name at a server of the sandbox.
fn publishing() -> (Lab, Server) {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let server = fleet_server(vec![parsed(&key)]);
    let lab = Lab::new();
    lab.publish_at(&[server.addr()], &key, "reverse = false");
    (lab, server)
}

#[test]
fn one_session_token_is_had_by_put_and_no_request_is_made_without() {
    let (lab, _server) = publishing();
    lab.once();
    let requests = asked(&lab);
    assert_eq!(
        (requests[0].method.as_str(), requests[0].target.as_str()),
        ("PUT", "/latest/api/token")
    );
    assert!(requests[1..].iter().all(|one| one.method == "GET"), "{requests:?}");
    assert!(requests[1..].iter().all(|one| one.target.starts_with("/2021-07-15/")), "{requests:?}");
    // A request without a token, which is version 1, would be a 401 here.
    assert!(requests.iter().all(|one| matches!(one.status, Some(200 | 404))), "{requests:?}");
}

#[test]
fn a_token_that_the_service_refuses_is_renewed_at_once() {
    let lab = Lab::new();
    let imds = Imds::new(&lab.metadata, PATIENCE);
    block_on(async {
        assert!(matches!(imds.get("meta-data/mac").await, Ok(Item::Present(_))));
        lab.world.expire_tokens();
        asked(&lab);
        assert!(matches!(imds.get("meta-data/mac").await, Ok(Item::Present(_))));
    });
    let expect = [("GET", 401), ("PUT", 200), ("GET", 200)];
    let requests = asked(&lab);
    assert_eq!(told(&requests), expect.map(|(method, status)| (method.to_owned(), Some(status))));
}

#[test]
fn what_is_not_there_is_absent_and_is_not_asked_for_again() {
    let mut host = web();
    host.metadata_tags = false;
    let lab = Lab::with(host);
    let imds = Imds::new(&lab.metadata, PATIENCE);
    for (path, status) in [("meta-data/public-ipv4", 404), ("meta-data/tags/instance/", 200)] {
        assert_eq!(get(&imds, path).unwrap(), Item::Absent, "{path}");
        let requests = asked(&lab);
        let last = requests.last().unwrap();
        assert_eq!(last.status, Some(status), "{path}");
        assert_eq!(requests.iter().filter(|one| one.method == "GET").count(), 1, "{path}");
    }
}

#[test]
fn an_error_or_a_silence_or_nonsense_is_unknown_and_tried_again_a_bounded_number_of_times() {
    let fault = Fault::default;
    for fault in [
        Fault { fail: Some(500), ..fault() },
        Fault { fail: Some(503), ..fault() },
        Fault { throttle: true, ..fault() },
        Fault { drop: true, ..fault() },
        Fault { malformed: true, ..fault() },
    ] {
        let lab = Lab::new();
        let imds = Imds::new(&lab.metadata, PATIENCE);
        assert!(get(&imds, "meta-data/mac").is_ok());
        asked(&lab);
        lab.world.faults().set(Service::Imds, fault.clone());
        // The token is known still: it is the item itself that is asked for, and only it.
        let error = get(&imds, "meta-data/mac").unwrap_err();
        assert!(matches!(error.disposition(), Disposition::Retry { .. }), "{fault:?}: {error}");
        let requests = asked(&lab);
        // A kept connection that breaks is replaced by a fresh one within the same try.
        assert!((4..=8).contains(&requests.len()), "{fault:?}: {requests:?}");
        let fault = Fault { requests: Some(2), ..fault };
        lab.world.faults().set(Service::Imds, fault.clone());
        assert!(matches!(get(&imds, "meta-data/mac"), Ok(Item::Present(_))), "{fault:?}");
    }
}

/// The service answers 500 for what begins so, `requests` times or always; the session token is good.
fn fail_items(lab: &Lab, only: &str, requests: Option<u32>) {
    let only = Some(only.to_owned());
    lab.world
        .faults()
        .set(Service::Imds, Fault { fail: Some(500), only, requests, ..Fault::default() });
}

#[test]
fn an_item_that_is_unknown_is_no_address_less_and_no_half_a_name() {
    let (lab, server) = publishing();
    lab.world.update_instance(US, |host| {
        *host = host.clone().ipv6("2600:1f18::17".parse().unwrap());
    });
    let text = std::fs::read_to_string(lab.path("config.toml")).unwrap();
    let both = "addresses = [\"private-ipv4\", \"ipv6\"]\nreverse = false";
    lab.file("config.toml", &text.replace("reverse = false", both));
    let mac = lab.world.instance(US).unwrap().interfaces[0].mac.clone();
    let stands = || [dig(server.addr(), NAME, "A"), dig(server.addr(), NAME, "AAAA")].concat();
    let whole = ["10.0.1.23", "2600:1f18::17"];
    let interface = format!("meta-data/network/interfaces/macs/{mac}/");
    for item in [&format!("{interface}ipv6s"), &interface, "meta-data/tags/instance/Name"] {
        // Before anything is published, and when all of it is.
        for before in [&[][..], &whole] {
            fail_items(&lab, item, None);
            let path = item.trim_end_matches('/');
            let run = lab.tagalong(&["once", "--deadline", "2s"]).expect_code(1);
            run.says(&["answered 500 for /2021-07-15/", path]);
            assert_eq!(stands(), before, "{item}");
            let tries = asked(&lab).into_iter().filter(|one| one.target.contains(path));
            assert!(tries.count() > 1, "{item} is asked for again");
            fail_items(&lab, item, Some(2));
            lab.once();
            assert_eq!(stands(), whole, "{item}");
        }
        lab.tagalong(&["withdraw"]).expect_code(0);
    }
}

#[test]
fn a_service_that_refuses_the_token_is_said_at_once_with_what_to_look_at() {
    let (lab, _server) = publishing();
    lab.world.faults().set(Service::Imds, Fault { fail: Some(403), ..Fault::default() });
    lab.once_fails().says(&[
        "refuses a session token (HTTP 403)",
        "hint: is the metadata endpoint disabled (403)",
    ]);
    let requests = asked(&lab);
    assert!(
        requests.iter().all(|one| one.method == "PUT"),
        "no fall-back to version 1: {requests:?}"
    );
    assert_eq!(requests.len(), 1, "it is no use to ask again: {requests:?}");
}

#[test]
fn a_service_that_comes_late_is_waited_for() {
    let (mut lab, server) = publishing();
    let address = free_port([127, 0, 0, 1].into());
    let text = std::fs::read_to_string(lab.path("config.toml")).unwrap();
    lab.file("config.toml", &text.replace(&lab.metadata, &format!("http://{address}")));
    lab.metadata = format!("http://{address}");
    let started = lab.start(&["once", "--deadline", "20s"]);
    let listen =
        Listen { imds: vec![(address, Whom::Instance(US.to_owned()))], ..Listen::default() };
    let _late = Running::start(lab.world.clone(), listen).unwrap();
    started.finish().expect_code(0);
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
}

#[test]
fn no_proxy_of_the_environment_is_ever_used_for_metadata() {
    let (lab, server) = publishing();
    let hole = BlackHole::start(own_address()).unwrap();
    for proxy in [hole.addr(), own_address()] {
        let mut command = lab.command(&["once", "--deadline", "20s"]);
        for variable in
            ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]
        {
            command.env(variable, format!("http://{proxy}"));
        }
        Started::of(command).finish().expect_code(0);
        assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
    }
    assert_eq!(hole.connections(), 0);
}

#[test]
fn the_ipv6_endpoint_works_by_file_and_by_environment() {
    let (lab, server) = publishing();
    let listen = Listen {
        imds: vec![(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 0), Whom::Instance(US.to_owned()))],
        ..Listen::default()
    };
    let running = Running::start(lab.world.clone(), listen).unwrap();
    let endpoint = format!("http://[::1]:{}", running.imds()[0].port());
    let text = std::fs::read_to_string(lab.path("config.toml")).unwrap();
    let dead = text.replace(&lab.metadata, "http://127.0.0.1:9");
    lab.file("config.toml", &text.replace(&lab.metadata, &endpoint));
    lab.once();
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
    lab.tagalong(&["withdraw"]).expect_code(0);
    lab.file("config.toml", &dead);
    let mut command = lab.command(&["once", "--deadline", "20s"]);
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("{endpoint}/"));
    Started::of(command).finish().expect_code(0);
    assert_eq!(dig(server.addr(), NAME, "A"), ["10.0.1.23"]);
}

#[test]
fn a_metadata_endpoint_that_is_a_name_is_refused_since_it_would_be_looked_up() {
    let (lab, _server) = publishing();
    let text = std::fs::read_to_string(lab.path("config.toml")).unwrap();
    lab.file("config.toml", &text.replace(&lab.metadata, "http://metadata.example"));
    lab.once_fails().says(&["metadata.example", "cannot be named by a name"]);
}

#[test]
fn every_interface_is_read_with_its_addresses_and_blocks() {
    let mut second = Interface::new([10, 0, 2, 40].into());
    second.private_ipv4s.push([10, 0, 2, 41].into());
    second.public_ipv4s.insert([203, 0, 113, 9].into(), [10, 0, 2, 40].into());
    let lab = Lab::with(
        web()
            .ipv6("2600:1f18::17".parse().unwrap())
            .interface(second)
            .interface(Interface::new([10, 0, 3, 1].into())),
    );
    let facts = facts(&lab, &["Name"]);
    assert_eq!(facts.identity.instance_id, US);
    assert_eq!(facts.identity.availability_zone, "us-east-1a");
    assert_eq!(facts.identity.account_id, "123456789012");
    assert_eq!(
        (facts.identity.partition.as_str(), facts.identity.services_domain.as_str()),
        ("aws", "amazonaws.com")
    );
    let numbers: Vec<_> = facts.interfaces.iter().map(|one| one.device_number).collect();
    assert_eq!(numbers, [0, 1, 2]);
    let texts =
        |list: &[std::net::Ipv4Addr]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&facts.interfaces[0].local_ipv4s), ["10.0.1.23"]);
    assert_eq!(facts.interfaces[0].ipv6s, ["2600:1f18::17".parse::<Ipv6Addr>().unwrap()]);
    assert_eq!(texts(&facts.interfaces[1].local_ipv4s), ["10.0.2.40", "10.0.2.41"]);
    assert_eq!(texts(&facts.interfaces[1].public_ipv4s), ["203.0.113.9"]);
    let blocks: Vec<_> = facts.interfaces[0].subnet_cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(blocks, ["10.0.1.0/24", "2600:1f18::/64"]);
    assert_eq!(
        (facts.tags.source, facts.tags.values["Name"].as_str()),
        (TagSource::Metadata, "web-1")
    );
}

/// How many requests stood one after another, each begun only after the one before it could have been answered.
fn rounds(requests: &[Request], answer: Duration) -> usize {
    let mut times: Vec<Instant> = requests.iter().map(|request| request.at).collect();
    times.sort();
    let mut last = None;
    times
        .into_iter()
        .filter(|at| {
            let follows = last.is_none_or(|last: Instant| *at >= last + answer);
            if follows {
                last = Some(*at);
            }
            follows
        })
        .count()
}

#[test]
fn facts_are_read_side_by_side_one_round_after_the_token_where_the_interfaces_are_known() {
    // Slow enough that what a busy machine spreads is not taken for a round of its own.
    let delay_ms = 600;
    let (lab, _server) = publishing();
    lab.world.update_instance(US, |host| {
        *host = host.clone().interface(Interface::new([10, 0, 2, 40].into()));
    });
    lab.world.faults().set(Service::Imds, Fault { delay_ms, ..Fault::default() });
    for (pass, expect) in [("the first pass", 3), ("a later pass", 2)] {
        lab.once();
        let requests = asked(&lab);
        assert!(requests.len() > 20, "{pass}: {requests:?}");
        let rounds = rounds(&requests, Duration::from_millis(delay_ms));
        assert!(rounds <= expect, "{pass} took {rounds} rounds: {requests:?}");
    }
}
