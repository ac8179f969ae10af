//! The EC2 query API.

use std::net::Ipv4Addr;

use sandbox::{
    fault::Service,
    instance::{Instance, InstanceState},
};

use crate::{
    client::Reply,
    stage::{Stage, WEB, web},
};

const DB: &str = "i-0aaaaaaaaaaaaaaa2";

/// `web` (10.0.1.23), a stopped `db` in another zone and VPC, and nothing else.
fn two() -> Stage {
    let stage = Stage::new();
    let db = Instance::new(DB, "us-east-1b", Ipv4Addr::new(10, 1, 2, 5))
        .tag("Role", "db")
        .tag("dns:order", "1");
    stage.world.put_instance(db.state(InstanceState::Stopped).vpc("vpc-2"));
    stage
}

/// `web` and instances `i-…00` to `i-…11` with `Role=dns`.
fn thirteen() -> Stage {
    let stage = Stage::new();
    for number in 0..12_u8 {
        let id = format!("i-0bbbbbbbbbbbbbb{number:02}");
        stage.world.put_instance(
            Instance::new(&id, "us-east-1a", Ipv4Addr::new(10, 0, 9, number)).tag("Role", "dns"),
        );
    }
    stage
}

fn describe(stage: &Stage, parameters: &[(&str, &str)]) -> Vec<String> {
    let reply = stage.ec2(&[&[("Action", "DescribeInstances")], parameters].concat());
    assert_eq!(reply.status, 200, "{}", reply.body);
    reply.texts("instanceId")
}

fn error(reply: &Reply) -> (u16, String) {
    (reply.status, reply.code())
}

#[test]
fn an_instance_is_described_with_its_network_and_tags() {
    let stage = two();
    stage.world.update_instance(WEB, |web| {
        *web = web
            .clone()
            .public_ipv4(Ipv4Addr::new(198, 51, 100, 7))
            .ipv6("2001:db8::7".parse().unwrap())
            .role("dns");
    });
    let reply = stage.ec2(&[("Action", "DescribeInstances"), ("InstanceId.1", WEB)]);
    assert!(reply.body.contains(
        "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">"
    ));
    for (element, expect) in [
        ("instanceId", WEB),
        ("name", "running"),
        ("code", "16"),
        ("privateIpAddress", "10.0.1.23"),
        ("privateDnsName", "ip-10-0-1-23.ec2.internal"),
        ("ipAddress", "198.51.100.7"),
        ("ipv6Address", "2001:db8::7"),
        ("availabilityZone", "us-east-1a"),
        ("vpcId", "vpc-0123456789abcdef0"),
        ("macAddress", "02:00:0a:00:01:17"),
        ("launchTime", "2026-01-01T00:00:00.000Z"),
        ("publicIp", "198.51.100.7"),
        ("arn", "arn:aws:iam::123456789012:instance-profile/dns"),
        ("ownerId", "123456789012"),
    ] {
        assert_eq!(reply.text(element).as_deref(), Some(expect), "{element}");
    }
    assert_eq!(reply.texts("key"), ["Name", "Role"]);
    assert_eq!(reply.texts("value"), ["web-1", "web"]);
}

#[test]
fn filters_narrow_by_every_name_and_any_value() {
    let stage = two();
    for (filters, expect) in [
        (vec![("tag:Role", "web")], vec![WEB]),
        (vec![("tag:Role", "WEB")], vec![]),
        (vec![("tag:role", "web")], vec![]),
        (vec![("tag:Role", "?b")], vec![DB]),
        (vec![("tag:Role", "*b")], vec![WEB, DB]),
        (vec![("tag-key", "dns:*")], vec![DB]),
        (vec![("instance-state-name", "running")], vec![WEB]),
        (vec![("vpc-id", "vpc-2")], vec![DB]),
        (vec![("availability-zone", "us-east-1b")], vec![DB]),
        (vec![("private-ip-address", "10.0.1.23")], vec![WEB]),
        (vec![("subnet-id", "subnet-0000000000a000100")], vec![WEB]),
        (vec![("instance-id", DB)], vec![DB]),
        (vec![("tag:Role", "db"), ("instance-state-name", "running")], vec![]),
        (vec![("tag:Role", "db"), ("instance-state-name", "stopped")], vec![DB]),
    ] {
        let parameters: Vec<_> = (1..)
            .zip(&filters)
            .flat_map(|(number, (name, value))| {
                [
                    (format!("Filter.{number}.Name"), *name),
                    (format!("Filter.{number}.Value.1"), *value),
                ]
            })
            .collect();
        let parameters: Vec<_> =
            parameters.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(describe(&stage, &parameters), expect, "{filters:?}");
    }
    let either = [
        ("Filter.1.Name", "instance-state-name"),
        ("Filter.1.Value.1", "running"),
        ("Filter.1.Value.2", "stopped"),
    ];
    assert_eq!(describe(&stage, &either), [WEB, DB]);
}

#[test]
fn an_unknown_filter_is_an_error() {
    for filter in ["role", "tag", "Tag:Role"] {
        let stage = two();
        let reply = stage.ec2(&[
            ("Action", "DescribeInstances"),
            ("Filter.1.Name", filter),
            ("Filter.1.Value.1", "x"),
        ]);
        assert_eq!(error(&reply), (400, "InvalidParameterValue".into()));
        assert_eq!(reply.text("Message"), Some(format!("The filter '{filter}' is invalid")));
    }
}

#[test]
fn a_page_may_come_back_short_and_only_the_token_says_whether_it_was_the_last() {
    let stage = thirteen();
    let filter = [("Filter.1.Name", "tag:Role"), ("Filter.1.Value.1", "dns"), ("MaxResults", "5")];
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let mut parameters = [&[("Action", "DescribeInstances")], &filter[..]].concat();
        if !token.is_empty() {
            parameters.push(("NextToken", &token));
        }
        let reply = stage.ec2(&parameters);
        pages.push(reply.texts("instanceId"));
        assert!(pages.len() < 10, "it goes round in circles");
        match reply.text("nextToken") {
            Some(next) => token = next,
            None => break,
        }
    }
    assert_eq!(
        pages.iter().map(Vec::len).collect::<Vec<_>>(),
        [4, 5, 3],
        "the first page had `web` in it"
    );
    assert_eq!(pages.concat().len(), 12);
    assert!(pages.concat().is_sorted());
}

#[test]
fn an_exact_last_page_has_no_token() {
    let stage = thirteen();
    let reply = stage.ec2(&[("Action", "DescribeInstances"), ("MaxResults", "13")]);
    assert_eq!((reply.texts("instanceId").len(), reply.text("nextToken")), (13, None));
    let reply = stage.ec2(&[("Action", "DescribeInstances"), ("MaxResults", "12")]);
    assert_eq!(reply.texts("instanceId").len(), 12);
    assert!(reply.text("nextToken").is_some());
}

#[test]
fn pages_and_ids_are_checked() {
    let stage = two();
    for (parameters, expect) in [
        (vec![("MaxResults", "4")], "InvalidParameterValue"),
        (vec![("MaxResults", "1001")], "InvalidParameterValue"),
        (vec![("MaxResults", "x")], "InvalidParameterValue"),
        (vec![("MaxResults", "5"), ("InstanceId.1", WEB)], "InvalidParameterCombination"),
        (vec![("NextToken", "made-up")], "InvalidNextToken"),
        (vec![("InstanceId.1", "i-0123456789abcdef0")], "InvalidInstanceID.NotFound"),
        (
            vec![("InstanceId.1", WEB), ("InstanceId.2", "i-0123456789abcdef0")],
            "InvalidInstanceID.NotFound",
        ),
        (vec![("InstanceId.1", "web")], "InvalidInstanceID.Malformed"),
    ] {
        let reply = stage.ec2(&[&[("Action", "DescribeInstances")], &parameters[..]].concat());
        assert_eq!(error(&reply), (400, expect.into()), "{parameters:?}");
    }
    assert_eq!(error(&stage.ec2(&[("Action", "RunInstances")])), (400, "InvalidAction".into()));
    assert_eq!(error(&stage.ec2(&[])), (400, "MissingAction".into()));
}

#[test]
fn a_terminated_instance_is_still_described_but_has_no_address() {
    let stage = two();
    let reply = stage.ec2(&[("Action", "TerminateInstances"), ("InstanceId.1", WEB)]);
    assert_eq!(reply.texts("name"), ["terminated", "running"]);
    let reply = stage.ec2(&[("Action", "DescribeInstances"), ("InstanceId.1", WEB)]);
    assert_eq!(reply.text("name").as_deref(), Some("terminated"));
    assert_eq!(reply.text("privateIpAddress"), None);
    assert_eq!(reply.text("vpcId"), None);
    let by_address = [("Filter.1.Name", "private-ip-address"), ("Filter.1.Value.1", "10.0.1.23")];
    assert_eq!(describe(&stage, &by_address), [""; 0]);
    let reply = stage.ec2(&[("Action", "StartInstances"), ("InstanceId.1", WEB)]);
    assert_eq!(error(&reply), (400, "IncorrectInstanceState".into()));
    let reply = stage.ec2(&[("Action", "StartInstances"), ("InstanceId.1", DB)]);
    assert_eq!(reply.texts("name"), ["running", "stopped"]);
}

#[test]
fn tags_are_described_filtered_and_paged() {
    let stage = two();
    let reply = stage.ec2(&[
        ("Action", "DescribeTags"),
        ("Filter.1.Name", "resource-id"),
        ("Filter.1.Value.1", DB),
        ("Filter.2.Name", "key"),
        ("Filter.2.Value.1", "dns:*"),
    ]);
    assert_eq!(reply.texts("resourceId"), [DB]);
    assert_eq!(reply.texts("resourceType"), ["instance"]);
    assert_eq!(reply.texts("value"), ["1"]);
    for number in 0..4 {
        stage
            .world
            .update_instance(DB, |db| drop(db.tags.insert(format!("k{number}"), "v".into())));
    }
    let first = stage.ec2(&[("Action", "DescribeTags"), ("MaxResults", "5")]);
    let token = first.text("nextToken").unwrap();
    let second =
        stage.ec2(&[("Action", "DescribeTags"), ("MaxResults", "5"), ("NextToken", &token)]);
    assert_eq!(first.texts("key"), ["Name", "Role", "Role", "dns:order", "k0"]);
    assert_eq!(second.texts("key"), ["k1", "k2", "k3"]);
    assert_eq!(second.text("nextToken"), None);
    let reply = stage.ec2(&[
        ("Action", "DescribeTags"),
        ("Filter.1.Name", "vpc-id"),
        ("Filter.1.Value.1", "x"),
    ]);
    assert_eq!(error(&reply), (400, "InvalidParameterValue".into()));
}

#[test]
fn tags_are_created_and_deleted_on_all_resources_or_on_none() {
    let stage = two();
    let both = [("ResourceId.1", WEB), ("ResourceId.2", DB)];
    let create = |tags: &[(&str, &str)], resources: &[(&str, &str)]| {
        stage.ec2(&[&[("Action", "CreateTags")], resources, tags].concat())
    };
    let tag = [("Tag.1.Key", "dns:order"), ("Tag.1.Value", "7")];
    assert_eq!(create(&tag, &both).text("return").as_deref(), Some("true"));
    let order = |id: &str| stage.world.instance(id).unwrap().tags.get("dns:order").cloned();
    assert_eq!((order(WEB), order(DB)), (Some("7".into()), Some("7".into())));

    let unknown = [("ResourceId.1", WEB), ("ResourceId.2", "i-0123456789abcdef0")];
    let other = [("Tag.1.Key", "dns:order"), ("Tag.1.Value", "8")];
    assert_eq!(error(&create(&other, &unknown)), (400, "InvalidInstanceID.NotFound".into()));
    assert_eq!(order(WEB), Some("7".into()), "nothing was tagged");
    let reply = create(&tag, &[("ResourceId.1", "vpc-1")]);
    assert_eq!(error(&reply), (400, "InvalidID".into()));

    let delete =
        |tags: &[(&str, &str)]| stage.ec2(&[&[("Action", "DeleteTags")], &both[..], tags].concat());
    assert_eq!(delete(&other).status, 200, "another value: nothing to delete, no error");
    assert_eq!(order(WEB), Some("7".into()));
    assert_eq!(delete(&tag[..1]).status, 200);
    assert_eq!((order(WEB), order(DB)), (None, None));
}

#[test]
fn tags_that_aws_does_not_take_are_refused() {
    let stage = two();
    stage.world.put_instance(web().metadata_tags());
    let long = "x".repeat(257);
    for (id, key, value) in [
        (DB, "aws:x", "1"),
        (DB, "AWS:x", "1"),
        (DB, "", "1"),
        (DB, &long[..129], "1"),
        (DB, "x", &long),
        (WEB, "a b", "1"),
    ] {
        let reply = stage.ec2(&[
            ("Action", "CreateTags"),
            ("ResourceId.1", id),
            ("Tag.1.Key", key),
            ("Tag.1.Value", value),
        ]);
        assert_eq!(error(&reply), (400, "InvalidParameterValue".into()), "{key} {value}");
    }
    let spaced = [("ResourceId.1", DB), ("Tag.1.Key", "a b"), ("Tag.1.Value", "")];
    assert_eq!(
        stage.ec2(&[&[("Action", "CreateTags")], &spaced[..]].concat()).status,
        200,
        "no IMDS tags there"
    );
    stage.world.update_instance(DB, |db| {
        db.tags.extend((0..47).map(|n| (format!("k{n}"), String::new())));
    });
    let reply =
        stage.ec2(&[("Action", "CreateTags"), ("ResourceId.1", DB), ("Tag.1.Key", "one-more")]);
    assert_eq!(error(&reply), (400, "TagLimitExceeded".into()));
}

#[test]
fn a_dry_run_only_says_that_it_would_have_worked() {
    let stage = two();
    let reply =
        stage.ec2(&[("Action", "TerminateInstances"), ("InstanceId.1", WEB), ("DryRun", "true")]);
    assert_eq!(error(&reply), (412, "DryRunOperation".into()));
    assert_eq!(stage.world.instance(WEB).unwrap().state, InstanceState::Running);
}

#[test]
fn each_api_has_its_own_bucket_and_an_unfiltered_listing_has_a_smaller_one() {
    // the rate may give a few more while the burst is being used up; twice as many would be another bucket
    for (parameters, burst) in [
        (vec![("Action", "DescribeInstances")], 50),
        (vec![("Action", "DescribeInstances"), ("MaxResults", "5")], 100),
        (vec![("Action", "DescribeTags")], 100),
        (vec![("Action", "CreateTags"), ("ResourceId.1", WEB), ("Tag.1.Key", "x")], 100),
    ] {
        let stage = two();
        stage.world.set_throttling(true);
        let mut answered = 0;
        let refused = loop {
            let reply = stage.ec2(&parameters);
            if reply.status != 200 {
                break reply;
            }
            answered += 1;
            assert!(answered < 400, "never throttled: {parameters:?}");
        };
        assert_eq!(error(&refused), (503, "RequestLimitExceeded".into()));
        assert!((burst..burst + burst / 2).contains(&answered), "{parameters:?} {answered}");
        assert_eq!(
            stage.ec2(&[("Action", "StopInstances"), ("InstanceId.1", WEB)]).status,
            200,
            "another API"
        );
    }
}

#[test]
fn requests_are_recorded_by_their_action() {
    let stage = two();
    stage.ec2(&[("Action", "DescribeTags")]);
    stage.sts(&[("Action", "GetCallerIdentity")]);
    let ec2 = stage.world.requests(Service::Ec2);
    assert_eq!((ec2.len(), ec2[0].target.as_str(), ec2[0].status), (1, "DescribeTags", Some(200)));
    let sts = stage.world.requests(Service::Sts);
    assert_eq!(
        (sts.len(), sts[0].target.as_str(), sts[0].status),
        (1, "GetCallerIdentity", Some(200))
    );
}
