//! The instance metadata service.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream},
};

use sandbox::{
    fault::Service,
    imds::Whom,
    instance::{Instance, Interface, LifeCycle, SpotAction},
    running::{Listen, Running},
    world::World,
};

use crate::{
    client::Ask,
    stage::{Stage, WEB, loopback, web},
};

const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "X-aws-ec2-metadata-token";
const INSTANCE_ID: &str = "/latest/meta-data/instance-id";

#[test]
fn a_token_is_given_for_one_second_to_six_hours_only() {
    let stage = Stage::new();
    for (ttl, expect) in [
        (Some("1"), 200),
        (Some("21600"), 200),
        (Some("0"), 400),
        (Some("21601"), 400),
        (Some("x"), 400),
        (None, 400),
    ] {
        let mut ask = Ask::new("PUT", "/latest/api/token");
        if let Some(ttl) = ttl {
            ask = ask.header(TTL, ttl);
        }
        let reply = ask.to(stage.imds());
        assert_eq!(reply.status, expect, "{ttl:?}");
        if expect == 200 {
            assert_eq!(reply.header("x-aws-ec2-metadata-token-ttl-seconds"), ttl);
            assert!(reply.body.len() > 40, "{}", reply.body);
        }
    }
}

#[test]
fn a_forwarded_request_gets_no_token() {
    let stage = Stage::new();
    let ask = Ask::new("PUT", "/latest/api/token")
        .header(TTL, "60")
        .header("X-Forwarded-For", "10.0.0.1");
    assert_eq!(ask.to(stage.imds()).status, 403);
}

#[test]
fn nothing_is_told_without_a_good_token() {
    let stage = Stage::new();
    assert_eq!(Ask::new("GET", INSTANCE_ID).to(stage.imds()).status, 401);
    assert_eq!(Ask::new("GET", "/").to(stage.imds()).status, 401);
    assert_eq!(Ask::new("GET", INSTANCE_ID).header(TOKEN, "made-up").to(stage.imds()).status, 401);
    let reply = Ask::new("GET", INSTANCE_ID).header(TOKEN, stage.token()).to(stage.imds());
    assert_eq!((reply.status, reply.body.as_str()), (200, WEB));
    assert!(reply.header("x-aws-ec2-metadata-token-ttl-seconds").is_some());
    assert_eq!(Ask::new("GET", "/latest/api/token").header(TTL, "60").to(stage.imds()).status, 405);
}

#[test]
fn an_expired_token_is_refused_and_a_new_one_works() {
    let stage = Stage::new();
    let token = stage.token();
    let ask = Ask::new("GET", INSTANCE_ID).header(TOKEN, &token);
    assert_eq!(ask.to(stage.imds()).status, 200);
    stage.world.expire_tokens();
    assert_eq!(ask.to(stage.imds()).status, 401);
    assert_eq!(stage.metadata(INSTANCE_ID).status, 200);
}

#[test]
fn a_token_lives_no_longer_than_it_was_asked_for() {
    let stage = Stage::new();
    let token = Ask::new("PUT", "/latest/api/token").header(TTL, "1").to(stage.imds()).body;
    let given = std::time::Instant::now();
    let ask = Ask::new("GET", INSTANCE_ID).header(TOKEN, &token);
    assert_eq!(ask.to(stage.imds()).status, 200);
    while ask.to(stage.imds()).status == 200 {
        assert!(given.elapsed().as_secs() < 10, "the token never expires");
    }
    assert!(given.elapsed().as_millis() > 900);
    assert_eq!(ask.to(stage.imds()).status, 401);
}

#[test]
fn a_token_is_good_for_its_own_instance_only() {
    let world = World::new();
    let [here, there] = ["i-0aaaaaaaaaaaaaaa1", "i-0aaaaaaaaaaaaaaa2"];
    world.put_instance(Instance::new(here, "us-east-1a", Ipv4Addr::new(10, 0, 1, 1)));
    world.put_instance(Instance::new(there, "us-east-1b", Ipv4Addr::new(10, 0, 2, 1)));
    let imds = [here, there].map(|id| (loopback(), Whom::Instance(id.to_owned()))).to_vec();
    let running = Running::start(world, Listen { imds, ..Listen::default() }).unwrap();
    let token = Ask::new("PUT", "/latest/api/token").header(TTL, "60").to(running.imds()[0]).body;
    let ask = Ask::new("GET", INSTANCE_ID).header(TOKEN, token);
    assert_eq!(ask.to(running.imds()[0]).body, here);
    assert_eq!(ask.to(running.imds()[1]).status, 401);
}

#[test]
fn one_listener_tells_instances_apart_by_their_source_address() {
    let world = World::new();
    let [one, two] = [Ipv4Addr::new(127, 0, 0, 11), Ipv4Addr::new(127, 0, 0, 12)];
    world.put_instance(Instance::new("i-0aaaaaaaaaaaaaaa1", "us-east-1a", one));
    world.put_instance(Instance::new("i-0aaaaaaaaaaaaaaa2", "us-east-1a", two));
    let listen = Listen { imds: vec![(loopback(), Whom::BySource)], ..Listen::default() };
    let running = Running::start(world, listen).unwrap();
    let server = running.imds()[0];
    for (source, expect) in [(one, "i-0aaaaaaaaaaaaaaa1"), (two, "i-0aaaaaaaaaaaaaaa2")] {
        let source = IpAddr::V4(source);
        let token =
            Ask::new("PUT", "/latest/api/token").header(TTL, "60").from(source).to(server).body;
        let ask = Ask::new("GET", INSTANCE_ID).header(TOKEN, token);
        assert_eq!(ask.clone().from(source).to(server).body, expect);
        assert_ne!(ask.to(server).status, 200, "a stranger's address");
    }
}

#[test]
fn imds_listens_on_ipv6_too() {
    let world = World::new();
    world.put_instance(web().ipv6(Ipv6Addr::LOCALHOST));
    let listen = Listen {
        imds: vec![((Ipv6Addr::LOCALHOST, 0).into(), Whom::BySource)],
        ..Listen::default()
    };
    let running = Running::start(world, listen).unwrap();
    let token = Ask::new("PUT", "/latest/api/token").header(TTL, "60").to(running.imds()[0]).body;
    assert_eq!(Ask::new("GET", INSTANCE_ID).header(TOKEN, token).to(running.imds()[0]).body, WEB);
}

#[test]
fn versions_are_listed_and_unknown_ones_are_not_there() {
    let stage = Stage::new();
    let root = stage.metadata("/");
    assert!(
        root.body.starts_with("2016-09-02\n") && root.body.ends_with("\nlatest"),
        "{}",
        root.body
    );
    for version in root.body.lines() {
        assert_eq!(
            stage.metadata(&format!("/{version}/meta-data/instance-id")).body,
            WEB,
            "{version}"
        );
    }
    for version in ["2021-03-24", "2007-01-19", "newest"] {
        assert_eq!(
            stage.metadata(&format!("/{version}/meta-data/instance-id")).status,
            404,
            "{version}"
        );
    }
}

#[test]
fn directories_are_listed_one_entry_a_line_with_a_slash_after_directories() {
    let stage = Stage::new();
    assert_eq!(stage.metadata("/latest/").body, "dynamic\nmeta-data");
    assert_eq!(
        stage.value("placement/").unwrap(),
        "availability-zone\navailability-zone-id\nregion"
    );
    assert_eq!(stage.value("network").unwrap(), "interfaces/");
    assert_eq!(stage.value("network/interfaces/macs/").unwrap(), "02:00:0a:00:01:17/");
    let top = stage.value("").unwrap();
    assert!(top.starts_with("ami-id\n") && top.contains("\nnetwork/\nplacement/\n"), "{top}");
    assert!(!top.contains("tags") && !top.contains("iam") && !top.contains("spot"), "{top}");
}

#[test]
fn an_instance_is_described_by_its_values() {
    let stage = Stage::new();
    for (path, expect) in [
        ("ami-id", "ami-0123456789abcdef0"),
        ("instance-type", "t3.micro"),
        ("instance-life-cycle", "on-demand"),
        ("hostname", "ip-10-0-1-23.ec2.internal"),
        ("local-hostname", "ip-10-0-1-23.ec2.internal"),
        ("local-ipv4", "10.0.1.23"),
        ("mac", "02:00:0a:00:01:17"),
        ("placement/availability-zone", "us-east-1a"),
        ("placement/availability-zone-id", "use1-az1"),
        ("placement/region", "us-east-1"),
        ("services/domain", "amazonaws.com"),
        ("services/partition", "aws"),
    ] {
        assert_eq!(stage.value(path).as_deref(), Some(expect), "{path}");
    }
    for absent in [
        "public-ipv4",
        "ipv6",
        "iam/info",
        "spot/instance-action",
        "autoscaling",
        "nothing",
        "ami-id/x",
    ] {
        assert_eq!(stage.value(absent), None, "{absent}");
    }
}

#[test]
fn an_interface_is_described_below_its_mac() {
    let stage = Stage::new();
    let mut second = Interface::new(Ipv4Addr::new(10, 0, 2, 9));
    second.private_ipv4s.push(Ipv4Addr::new(10, 0, 2, 10));
    stage.world.put_instance(
        web()
            .ipv6("2001:db8:1:2::9".parse().unwrap())
            .public_ipv4(Ipv4Addr::new(198, 51, 100, 7))
            .interface(second),
    );
    for (path, expect) in [
        ("02:00:0a:00:01:17/device-number", Some("0")),
        ("02:00:0a:00:01:17/local-ipv4s", Some("10.0.1.23")),
        ("02:00:0a:00:01:17/ipv6s", Some("2001:db8:1:2::9")),
        ("02:00:0a:00:01:17/public-ipv4s", Some("198.51.100.7")),
        ("02:00:0a:00:01:17/ipv4-associations/", Some("198.51.100.7")),
        ("02:00:0a:00:01:17/ipv4-associations/198.51.100.7", Some("10.0.1.23")),
        ("02:00:0a:00:01:17/subnet-ipv4-cidr-block", Some("10.0.1.0/24")),
        ("02:00:0a:00:01:17/subnet-ipv6-cidr-blocks", Some("2001:db8:1:2::/64")),
        ("02:00:0a:00:01:17/vpc-ipv4-cidr-blocks", Some("10.0.0.0/16")),
        ("02:00:0a:00:01:17/vpc-ipv6-cidr-blocks", Some("2001:db8:1::/56")),
        ("02:00:0a:00:01:17/vpc-id", Some("vpc-0123456789abcdef0")),
        ("02:00:0a:00:01:17/owner-id", Some("123456789012")),
        ("02:00:0a:00:02:09/device-number", Some("1")),
        ("02:00:0a:00:02:09/local-ipv4s", Some("10.0.2.9\n10.0.2.10")),
        ("02:00:0a:00:02:09/local-hostname", Some("ip-10-0-2-9.ec2.internal")),
        ("02:00:0a:00:02:09/ipv6s", None),
        ("02:00:0a:00:02:09/public-ipv4s", None),
    ] {
        assert_eq!(
            stage.value(&format!("network/interfaces/macs/{path}")).as_deref(),
            expect,
            "{path}"
        );
    }
    assert_eq!(stage.value("public-ipv4").as_deref(), Some("198.51.100.7"));
    assert_eq!(stage.value("ipv6").as_deref(), Some("2001:db8:1:2::9"));
}

#[test]
fn tags_that_are_switched_off_are_an_empty_list_below_nothing() {
    let stage = Stage::new();
    assert_eq!(stage.value("tags"), None);
    assert_eq!(stage.value("tags/instance").as_deref(), Some(""));
    assert_eq!(stage.value("tags/instance/Role"), None);
}

#[test]
fn tags_that_are_switched_on_are_keys_and_raw_values() {
    let stage = Stage::new();
    stage.world.put_instance(web().tag("dns:order", " a/b & é").metadata_tags());
    assert_eq!(stage.value("tags").as_deref(), Some("instance/"));
    assert_eq!(stage.value("tags/instance").as_deref(), Some("Name\nRole\ndns:order"));
    assert_eq!(stage.value("tags/instance/dns:order").as_deref(), Some(" a/b & é"));
    assert_eq!(stage.value("tags/instance/dns%3Aorder").as_deref(), Some(" a/b & é"));
    assert_eq!(stage.value("tags/instance/Missing"), None);
    assert!(stage.value("").unwrap().lines().any(|line| line == "tags/"));
}

#[test]
fn tags_exist_from_the_version_of_march_2021_on() {
    let stage = Stage::new();
    stage.world.put_instance(web().metadata_tags());
    for (version, expect) in
        [("2021-01-03", 404), ("2021-03-23", 200), ("2024-04-11", 200), ("latest", 200)]
    {
        for path in ["tags/instance/Role", "tags/instance", "tags"] {
            assert_eq!(
                stage.metadata(&format!("/{version}/meta-data/{path}")).status,
                expect,
                "{version} {path}"
            );
        }
    }
}

#[test]
fn a_change_of_the_world_shows_at_once() {
    let stage = Stage::new();
    assert!(stage.world.update_instance(WEB, |web| {
        web.move_to(Ipv4Addr::new(10, 0, 1, 99));
        web.metadata_tags = true;
        web.tags.insert("Role".into(), "db".into());
        web.target_lifecycle_state = Some("Terminated".into());
        web.life_cycle = LifeCycle::Spot;
        web.spot_action =
            Some(SpotAction { action: "stop".into(), time: "2026-01-01T00:00:00Z".into() });
    }));
    for (path, expect) in [
        ("local-ipv4", "10.0.1.99"),
        ("tags/instance/Role", "db"),
        ("autoscaling/target-lifecycle-state", "Terminated"),
        ("instance-life-cycle", "spot"),
        ("spot/instance-action", "{\"action\":\"stop\",\"time\":\"2026-01-01T00:00:00Z\"}"),
    ] {
        assert_eq!(stage.value(path).as_deref(), Some(expect), "{path}");
    }
    assert!(!stage.world.update_instance("i-0", |_| ()));
    assert!(stage.world.remove_instance(WEB).is_some());
    let ask = Ask::new("PUT", "/latest/api/token").header(TTL, "60");
    assert_eq!(ask.to(stage.imds()).status, 404, "no instance, no service");
}

#[test]
fn user_data_are_there_and_listed_where_the_instance_was_launched_with_some() {
    let stage = Stage::new();
    assert_eq!(stage.metadata("/latest/user-data").status, 404);
    let text = "#cloud-config\nruncmd: []\n";
    stage.world.update_instance(WEB, |web| web.user_data = Some(text.to_owned()));
    assert_eq!(stage.metadata("/latest/user-data").body, text);
    assert_eq!(stage.metadata("/latest/").body, "dynamic\nmeta-data\nuser-data");
}

#[test]
fn the_identity_document_names_account_place_and_address() {
    let stage = Stage::new();
    let text = stage.metadata("/latest/dynamic/instance-identity/document").body;
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (key, expect) in [
        ("accountId", "123456789012"),
        ("region", "us-east-1"),
        ("availabilityZone", "us-east-1a"),
        ("instanceId", WEB),
        ("privateIp", "10.0.1.23"),
        ("instanceType", "t3.micro"),
        ("imageId", "ami-0123456789abcdef0"),
        ("architecture", "x86_64"),
        ("version", "2017-09-30"),
        ("pendingTime", "2026-01-01T00:00:00Z"),
    ] {
        assert_eq!(document[key], expect, "{key}");
    }
}

#[test]
fn one_connection_carries_many_requests() {
    let stage = Stage::new();
    let token = stage.token();
    let mut stream = TcpStream::connect(stage.imds()).unwrap();
    for _ in 0..3 {
        let ask = Ask::new("GET", INSTANCE_ID).header(TOKEN, &token);
        stream.write_all(ask.written("keep-alive").as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(WEB.as_bytes()) {
            let mut chunk = [0; 512];
            let count = stream.read(&mut chunk).unwrap();
            assert!(count > 0, "closed after {answer:?}");
            answer.extend_from_slice(&chunk[..count]);
        }
    }
}

#[test]
fn every_request_is_recorded_with_its_status() {
    let stage = Stage::new();
    stage.value("mac");
    stage.value("nothing");
    let seen = stage.world.requests(Service::Imds);
    let seen: Vec<_> = seen
        .iter()
        .map(|request| (request.method.as_str(), request.target.as_str(), request.status))
        .collect();
    let token = ("PUT", "/latest/api/token", Some(200));
    let expect = [
        token,
        ("GET", "/latest/meta-data/mac", Some(200)),
        token,
        ("GET", "/latest/meta-data/nothing", Some(404)),
    ];
    assert_eq!(seen, expect);
    stage.world.clear_requests();
    assert!(stage.world.requests(Service::Imds).is_empty());
}
