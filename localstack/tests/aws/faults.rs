//! Faults on demand, and the end of everything.

use std::{
    io::ErrorKind,
    net::TcpStream,
    time::{Duration, Instant},
};

use sandbox::{
    fault::{Fault, Service},
    running::{Listen, Running},
    world::World,
};

use crate::{
    client::{Ask, parse},
    stage::{Stage, form, set, signed},
};

/// One request of each service, and the code of its throttling answer.
fn each() -> [(Service, Ask<'static>, u16, &'static str); 4] {
    let query = |action: &str, version: &str, service: &str| {
        signed(Ask::new("POST", "/"), service)
            .body(form(&[("Action", action), ("Version", version)]))
    };
    [
        (
            Service::Imds,
            Ask::new("PUT", "/latest/api/token")
                .header("X-aws-ec2-metadata-token-ttl-seconds", "9"),
            503,
            "",
        ),
        (
            Service::Ec2,
            query("DescribeInstances", "2016-11-15", "ec2"),
            503,
            "RequestLimitExceeded",
        ),
        (Service::Sts, query("GetCallerIdentity", "2011-06-15", "sts"), 400, "Throttling"),
        (
            Service::Route53,
            signed(Ask::new("GET", "/2013-04-01/hostedzone"), "route53"),
            400,
            "Throttling",
        ),
    ]
}

fn server(stage: &Stage, service: Service) -> std::net::SocketAddr {
    if service == Service::Imds { stage.imds() } else { stage.aws() }
}

#[test]
fn a_failing_service_answers_with_the_given_status_until_it_is_cleared() {
    let stage = Stage::new();
    for (service, ask, ..) in each() {
        stage.world.faults().set(service, Fault { fail: Some(502), ..Fault::default() });
        for (other, ask, ..) in each() {
            let expect = if other == service { 502 } else { 200 };
            assert_eq!(ask.to(server(&stage, other)).status, expect, "{service:?} {other:?}");
        }
        stage.world.faults().clear();
        assert_eq!(ask.to(server(&stage, service)).status, 200);
        assert_eq!(
            stage
                .world
                .requests(service)
                .iter()
                .filter(|request| request.status == Some(502))
                .count(),
            1
        );
    }
}

#[test]
fn a_throttled_service_answers_as_it_does_above_its_rate() {
    let stage = Stage::new();
    for (service, ask, status, code) in each() {
        stage
            .world
            .faults()
            .set(service, Fault { throttle: true, requests: Some(2), ..Fault::default() });
        for _ in 0..2 {
            let reply = ask.to(server(&stage, service));
            assert_eq!(reply.status, status, "{service:?}");
            assert!(code.is_empty() || reply.code() == code, "{}", reply.body);
        }
        assert_eq!(
            ask.to(server(&stage, service)).status,
            200,
            "the third request is past the fault"
        );
    }
}

/// A fault's service and its `only`; a request that it is not about, and one that it is.
type Asked<'a> = (Service, &'a str, &'a dyn Fn() -> u16, &'a dyn Fn() -> u16);

#[test]
fn a_fault_of_some_requests_reaches_and_counts_no_others() {
    let stage = Stage::new();
    let fault = |only: &str| Fault {
        fail: Some(500),
        only: Some(only.to_owned()),
        requests: Some(1),
        ..Fault::default()
    };
    let ec2 = |action| stage.ec2(&[("Action", action)]).status;
    let sts = |action| stage.sts(&[("Action", action)]).status;
    let route53 = |path| stage.route53("GET", path, "").status;
    let imds = |path| stage.metadata(path).status;
    let cases: [Asked<'_>; 6] = [
        (Service::Ec2, "DescribeTags", &|| ec2("DescribeInstances"), &|| ec2("DescribeTags")),
        (Service::Sts, "GetCallerIdentity", &|| sts("Other"), &|| sts("GetCallerIdentity")),
        (Service::Route53, "GetHostedZone", &|| route53("hostedzone/Z1/rrset"), &|| {
            route53("hostedzone/Z1")
        }),
        (Service::Route53, "ListHostedZones", &|| route53("hostedzone/Z1"), &|| {
            route53("hostedzone")
        }),
        (Service::Imds, "meta-data/local-", &|| imds("/latest/meta-data/mac"), &|| {
            imds("/2021-03-23/meta-data/local-ipv4")
        }),
        (Service::Imds, "dynamic/", &|| imds("/latest/meta-data/dynamic/"), &|| {
            imds("/latest/dynamic/instance-identity/document")
        }),
    ];
    for (service, only, other, meant) in cases {
        stage.world.faults().set(service, fault(only));
        for _ in 0..2 {
            assert_ne!(other(), 500, "{only}");
        }
        assert_eq!(meant(), 500, "{only}");
        assert_eq!(meant(), 200, "{only}: it was for one request");
    }
}

#[test]
fn a_fault_that_skips_begins_after_as_many_requests_of_its_kind() {
    let stage = Stage::new();
    let ec2 = |action| stage.ec2(&[("Action", action)]).status;
    let fault = Fault {
        fail: Some(500),
        only: Some("DescribeInstances".to_owned()),
        skip: 2,
        requests: Some(1),
        ..Fault::default()
    };
    stage.world.faults().set(Service::Ec2, fault);
    let actions =
        ["DescribeTags", "DescribeInstances", "DescribeTags", "DescribeInstances", "DescribeTags"];
    assert!(actions.iter().all(|action| ec2(action) == 200));
    assert_eq!([ec2("DescribeInstances"), ec2("DescribeInstances")], [500, 200]);
}

#[test]
fn a_dropped_request_is_read_and_never_answered() {
    let stage = Stage::new();
    for (service, ask, ..) in each() {
        stage
            .world
            .faults()
            .set(service, Fault { drop: true, requests: Some(1), ..Fault::default() });
        let silence = ask.raw(server(&stage, service), Duration::from_millis(300)).unwrap_err();
        assert!(matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silence}");
        let seen = stage.world.requests(service);
        assert_eq!((seen.len(), seen[0].status), (1, None));
        assert_eq!(ask.to(server(&stage, service)).status, 200);
    }
}

#[test]
fn a_dropped_change_is_not_made() {
    let stage = Stage::new();
    stage
        .world
        .faults()
        .set(Service::Route53, Fault { drop: true, requests: Some(1), ..Fault::default() });
    let body = crate::stage::batch(&[("CREATE", set("a.corp.test", "A", &["10.0.0.1"]))]);
    let ask = signed(Ask::new("POST", "/2013-04-01/hostedzone/Z1/rrset"), "route53").body(body);
    assert!(ask.raw(stage.aws(), Duration::from_millis(300)).is_err());
    assert!(stage.records().is_empty());
}

#[test]
fn a_malformed_answer_is_not_http_though_the_work_was_done() {
    let stage = Stage::new();
    stage
        .world
        .faults()
        .set(Service::Route53, Fault { malformed: true, requests: Some(1), ..Fault::default() });
    let body = crate::stage::batch(&[("CREATE", set("a.corp.test", "A", &["10.0.0.1"]))]);
    let ask = signed(Ask::new("POST", "/2013-04-01/hostedzone/Z1/rrset"), "route53").body(body);
    let raw = ask.raw(stage.aws(), Duration::from_secs(20)).unwrap();
    assert!(!raw.is_empty() && parse(&raw).is_none() && !raw.starts_with(b"HTTP"));
    assert_eq!(stage.records(), ["a.corp.test. A 60 10.0.0.1"]);
    assert_eq!(stage.route53("GET", "hostedzone/Z1", "").status, 200);
}

#[test]
fn a_slow_service_makes_one_client_wait_and_not_another() {
    let stage = Stage::new();
    stage.world.faults().set(Service::Ec2, Fault { delay_ms: 400, ..Fault::default() });
    let start = Instant::now();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| stage.ec2(&[("Action", "DescribeInstances")]).status);
        assert_eq!(stage.route53("GET", "hostedzone", "").status, 200);
        assert!(start.elapsed() < Duration::from_millis(400));
        assert_eq!(slow.join().unwrap(), 200);
    });
    assert!(start.elapsed() >= Duration::from_millis(400));
}

#[test]
fn the_ports_are_free_again_when_it_is_dropped_even_in_the_middle_of_a_request() {
    let stage = Stage::new();
    let (imds, aws) = (stage.imds(), stage.aws());
    stage.world.faults().set(Service::Ec2, Fault { drop: true, ..Fault::default() });
    std::thread::scope(|scope| {
        let ask =
            signed(Ask::new("POST", "/"), "ec2").body(form(&[("Action", "DescribeInstances")]));
        let hanging =
            scope.spawn(move || ask.raw(aws, Duration::from_secs(20)).map(|answer| answer.len()));
        while stage.world.requests(Service::Ec2).is_empty() {
            std::thread::yield_now();
        }
        drop(stage);
        // closed without an answer, not timed out
        assert!(
            !matches!(hanging.join().unwrap(), Err(error) if error.kind() == ErrorKind::WouldBlock)
        );
    });
    for address in [imds, aws] {
        assert!(TcpStream::connect(address).is_err(), "{address} still listens");
    }
}

#[test]
fn an_address_that_is_taken_is_named_in_the_error() {
    let stage = Stage::new();
    let listen = Listen { aws: Some(stage.aws()), ..Listen::default() };
    let error = Running::start(World::new(), listen).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&stage.aws().to_string()), "{error}");
}
