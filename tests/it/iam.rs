//! `config iam-policy`: a host whose role has what it grants, and nothing else, does everything; and all of it is needed.

use std::collections::BTreeSet;

use sandbox::{
    fault::Service,
    instance::{DEFAULT_VPC, Instance, InstanceState},
    zone::{RecordSet, Zone},
};
use serde_json::Value;

use crate::support::{DNS_PORT, Lab, US, ZONE, fleet_server, web};

const ID: &str = "Z0CORP";
const GONE: &str = "i-0bbbbbbbbbbbbbbb2";

/// A host in whose metadata there are no tags, in an account with a zone for names and one for reverse names; an instance that
/// is gone has left a name.
fn lab() -> Lab {
    let lab = Lab::with(Instance { metadata_tags: false, ..web() });
    let marker = format!("\"tagalong-owner={GONE}\" \"home=123456789012/us-east-1\"");
    let zone = Zone::new(ID, ZONE).vpc("us-east-1", DEFAULT_VPC);
    let left = format!("web-9.{ZONE}");
    let zone = zone.record(RecordSet::new(&left, "A", 60, &["10.0.2.2"]));
    lab.world.put_zone(zone.record(RecordSet::new(&left, "TXT", 60, &[&marker])));
    let reverse = Zone::new("Z0REVERSE", "10.in-addr.arpa").vpc("us-east-1", DEFAULT_VPC);
    lab.world.put_zone(reverse);
    let gone = Instance::new(GONE, "us-east-1a", [10, 0, 2, 2].into());
    lab.world.put_instance(gone.state(InstanceState::Terminated));
    lab
}

fn publish(lab: &Lab, record: &str, backend: &str) {
    lab.configure(&format!(
        "[[record]]\nname = \"{{tag:Name}}.{ZONE}\"\n{record}\n[backend.aws]\nkind = \"route53\"\n{backend}\n\
         [resolver]\nmanager = \"none\"\n"
    ));
}

/// Gives the role what its configuration asks for, and says which actions those are.
fn grant(lab: &Lab) -> BTreeSet<String> {
    let run = lab.tagalong(&["config", "iam-policy"]).expect_code(0);
    lab.world.set_policy(&run.stdout).unwrap();
    let policy = run.json();
    let statements = policy["Statement"].as_array().unwrap();
    let actions = statements.iter().flat_map(|it| it["Action"].as_array().unwrap());
    actions.map(|action| action.as_str().unwrap().to_owned()).collect()
}

/// The actions that were called since the last time.
fn called(lab: &Lab) -> BTreeSet<String> {
    let ec2 = lab.world.requests(Service::Ec2).into_iter().map(|it| format!("ec2:{}", it.target));
    let route53 = lab.world.requests(Service::Route53).into_iter().map(|it| {
        let path = it.target.trim_start_matches("/2013-04-01/").to_owned();
        let action = match (it.method.as_str(), &path.split('/').collect::<Vec<_>>()[..]) {
            ("POST", ["hostedzone", _, "rrset"]) => "ChangeResourceRecordSets",
            ("GET", ["hostedzone", _, "rrset"]) => "ListResourceRecordSets",
            ("GET", ["hostedzone", _]) => "GetHostedZone",
            ("GET", ["hostedzonesbyname"]) => "ListHostedZonesByName",
            ("GET", ["hostedzonesbyvpc"]) => "ListHostedZonesByVPC",
            _ => panic!("{} {path}", it.method),
        };
        format!("route53:{action}")
    });
    let called = ec2.chain(route53).collect();
    lab.world.clear_requests();
    called
}

/// All that the host does under the policy of its configuration calls all that it grants, and nothing else.
fn lives_by_its_policy(lab: &Lab) {
    let granted = grant(lab);
    lab.world.clear_requests();
    lab.once();
    lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    lab.once();
    lab.tagalong(&["reap", "--grace", "1ms", "--yes"]).expect_code(0).prints(&["web-9"]);
    lab.tagalong(&["withdraw"]).expect_code(0);
    let mut called = called(lab);
    // needed beside ListHostedZonesByVPC, and never called
    if called.contains("route53:ListHostedZonesByVPC") {
        called.insert("ec2:DescribeVpcs".to_owned());
    }
    assert_eq!(called, granted);
}

#[test]
fn a_zone_that_is_configured_needs_no_other() {
    let lab = lab();
    publish(&lab, "", &format!("zone_id = \"{ID}\""));
    lives_by_its_policy(&lab);
    let policy = lab.tagalong(&["config", "iam-policy"]).json();
    assert!(!policy.to_string().contains("hostedzone/*"), "{policy}");
}

#[test]
fn tags_that_the_metadata_hold_need_nothing_of_ec2() {
    let lab = lab();
    publish(&lab, "", &format!("zone_id = \"{ID}\""));
    let without = grant(&lab);
    lab.world.update_instance(US, |host| host.metadata_tags = true);
    lives_by_its_policy(&lab);
    let with = grant(&lab);
    assert_eq!(without.difference(&with).collect::<Vec<_>>(), ["ec2:DescribeTags"]);
    // A key that they cannot hold is EC2's to tell, which does not.
    let config = std::fs::read_to_string(lab.path("config.toml")).unwrap();
    lab.file("config.toml", &config.replace("{tag:Name}", "{tag:Host name}"));
    lab.world.set_denied_actions(["ec2:DescribeTags"]);
    assert_eq!(grant(&lab), without);
}

#[test]
fn reverse_names_and_zones_that_are_found_need_more() {
    let lab = lab();
    // A public zone is found by name only where no private one is.
    let other = "[[record]]\nname = \"{instance-id}.public.test\"\n";
    publish(&lab, &format!("reverse = true\n{other}"), "");
    lab.world.put_zone(Zone::new("Z0PUBLIC", "public.test"));
    lives_by_its_policy(&lab);
}

#[test]
fn every_policy_of_a_record_and_of_sharing_is_enough() {
    for record in ["shared = true", "conflict = \"suffix\"", "conflict = \"take-over-if-gone\""] {
        for sharing in ["simple", "multivalue"] {
            let lab = lab();
            publish(&lab, record, &format!("zone_id = \"{ID}\"\nsharing = \"{sharing}\""));
            lives_by_its_policy(&lab);
        }
    }
}

#[test]
fn a_literal_name_with_a_suffix_is_granted_too() {
    let lab = lab();
    let taken = RecordSet::new(&format!("db.{ZONE}"), "A", 60, &["10.0.3.3"]);
    lab.world.put_zone(Zone::new(ID, ZONE).vpc("us-east-1", DEFAULT_VPC).record(taken));
    lab.configure(&format!(
        "[[record]]\nname = \"db.{ZONE}\"\nconflict = \"suffix\"\n[backend.aws]\nkind = \"route53\"\n\
         zone_id = \"{ID}\"\n[resolver]\nmanager = \"none\"\n"
    ));
    grant(&lab);
    lab.once().prints(&["db-2.corp.internal. A 10.0.1.23"]);
}

#[test]
fn a_resolver_alone_needs_ec2_alone() {
    let lab = lab();
    let server = fleet_server(Vec::new());
    lab.list_server(server.addr(), "us-east-1b");
    lab.file("root/etc/resolv.conf", "");
    lab.configure(&format!(
        "[discovery]\nport = {DNS_PORT}\n[resolver]\nsearch = [\"{ZONE}\"]\nprefer = [\"x.{ZONE}\"]\n"
    ));
    let granted = grant(&lab);
    lab.world.clear_requests();
    lab.once();
    let mut called = called(&lab);
    // Without records the tags could have told some.
    called.remove("ec2:DescribeTags");
    assert_eq!(called, granted);
}

#[test]
fn nothing_else_in_the_zone_can_be_changed() {
    let lab = lab();
    publish(&lab, "", &format!("zone_id = \"{ID}\""));
    grant(&lab);
    for other in ["name = \"a.other.internal\"", "name = \"corp.internal\""] {
        lab.world.put_zone(Zone::new(ID, "internal").vpc("us-east-1", DEFAULT_VPC));
        lab.configure(&format!(
            "[[record]]\n{other}\n[backend.aws]\nkind = \"route53\"\nzone_id = \"{ID}\"\n[resolver]\nmanager = \"none\"\n"
        ));
        lab.once_fails()
            .says(&["does not let this instance call route53:ChangeResourceRecordSets"]);
    }
    assert_eq!(lab.world.find_records(ID, "a.other.internal", "A").len(), 0);
}

#[test]
fn a_configuration_that_calls_nothing_says_so() {
    let lab = lab();
    let run = lab.tagalong(&["config", "iam-policy"]).expect_code(0);
    assert_eq!(run.json()["Statement"], Value::Array(Vec::new()));
    run.says(&["calls nothing of AWS"]);
}
