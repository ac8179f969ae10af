//! Which endpoints of AWS are called: in every partition, and those of FIPS 140 and of IPv6 where they are asked for. Told by
//! the names that the VPC's resolver is asked for; it knows none of them.

use std::collections::BTreeSet;

use sandbox::{
    dns::{Server, Zone},
    instance::Instance,
    world::{Account, World},
};

use crate::support::{Lab, Started, US, own_address};

/// The endpoints that a pass wants which calls EC2, Route 53, Systems Manager and Secrets Manager.
fn called(partition: &str, region: &str, aws: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let account = Account {
        partition: partition.to_owned(),
        region: region.to_owned(),
        ..World::new().account()
    };
    let world = World::of(account);
    world.set_throttling(false);
    let web = Instance::new(US, &format!("{region}a"), [10, 0, 1, 23].into());
    let lab = Lab::beside(&world, web.tag("Name", "web-1").metadata_tags().role("dns-agent"));
    let resolver = Server::start(own_address(), vec![Zone::new(".")], vec![]).unwrap();
    let records = ["a", "p", "s"].map(|backend| {
        format!("[[record]]\nname = \"{backend}.corp.internal\"\nbackend = \"{backend}\"\n")
    });
    let keys = [("p", "key_parameter"), ("s", "key_secret")].map(|(backend, word)| {
        format!(
            "[backend.{backend}]\nkind = \"rfc2136\"\nservers = [\"127.0.0.1:9\"]\n{word} = \"/k\"\n"
        )
    });
    lab.file(
        "config.toml",
        &format!(
            "version = 1\n[metadata]\nendpoint = \"{}\"\n[aws]\nvpc_resolver = [\"{}\"]\n{aws}{}\
             [backend.a]\nkind = \"route53\"\nzone_id = \"Z1\"\n{}[resolver]\nfallback = \"none\"\n",
            lab.metadata,
            resolver.addr(),
            records.concat(),
            keys.concat()
        ),
    );
    let mut command = lab.command(&["once", "--deadline", "3s"]);
    command.envs(environment.iter().copied());
    Started::of(command).finish().expect_code(1);
    let names = resolver.received().into_iter().map(|one| one.name.to_lowercase());
    names
        .filter(|name| name.contains("amazonaws") || name.contains("api.aws"))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

#[test]
fn each_partition_has_its_own() {
    assert_eq!(
        called("aws", "us-east-1", "", &[]),
        [
            "ec2.us-east-1.amazonaws.com.",
            "route53.amazonaws.com.",
            "secretsmanager.us-east-1.amazonaws.com.",
            "ssm.us-east-1.amazonaws.com.",
        ]
    );
    assert_eq!(
        called("aws-cn", "cn-north-1", "", &[]),
        [
            "ec2.cn-north-1.amazonaws.com.cn.",
            "route53.amazonaws.com.cn.",
            "secretsmanager.cn-north-1.amazonaws.com.cn.",
            "ssm.cn-north-1.amazonaws.com.cn.",
        ]
    );
    assert_eq!(
        called("aws-us-gov", "us-gov-east-1", "", &[]),
        [
            "ec2.us-gov-east-1.amazonaws.com.",
            "route53.us-gov.amazonaws.com.",
            "secretsmanager.us-gov-east-1.amazonaws.com.",
            "ssm.us-gov-east-1.amazonaws.com.",
        ]
    );
}

#[test]
fn those_of_fips_140_and_of_ipv6_are_called_where_they_are_asked_for() {
    let fips = [
        "ec2-fips.us-east-1.amazonaws.com.",
        "route53-fips.amazonaws.com.",
        "secretsmanager-fips.us-east-1.amazonaws.com.",
        "ssm-fips.us-east-1.amazonaws.com.",
    ];
    assert_eq!(called("aws", "us-east-1", "use_fips_endpoint = true\n", &[]), fips);
    assert_eq!(called("aws", "us-east-1", "", &[("AWS_USE_FIPS_ENDPOINT", "true")]), fips);
    assert_eq!(
        called("aws", "us-east-1", "use_dualstack_endpoint = true\n", &[]),
        [
            "ec2.us-east-1.api.aws.",
            "route53.global.api.aws.",
            // This one is reached by both anyway, says AWS's SDK.
            "secretsmanager.us-east-1.amazonaws.com.",
            "ssm.us-east-1.api.aws.",
        ]
    );
}
