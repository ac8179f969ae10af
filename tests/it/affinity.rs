//! `[resolver] prefer`: what the resolver's files say of the networks near this host.

use std::fs;

use sandbox::{
    dns::{Server, Zone},
    fault::{Fault, Service},
    instance::Instance,
};

use crate::support::{DNS_PORT, Lab, ZONE, fleet_server, own_address};

/// A host at 10.0.1.23 in us-east-1a of 10.0.0.0/16, with a subnet beside its own in its zone, and one in another.
fn lab() -> (Lab, Server) {
    let lab = Lab::new();
    let server = fleet_server(Vec::new());
    lab.list_server(server.addr(), "us-east-1b");
    for (id, zone, address) in
        [("i-4", "us-east-1a", [10, 0, 4, 1]), ("i-5", "us-east-1b", [10, 0, 5, 1])]
    {
        lab.world.put_instance(Instance::new(id, zone, address.into()));
    }
    lab.file("root/etc/resolv.conf", "");
    lab.resolve_only("prefer = [\"puppet.corp.internal\"]");
    (lab, server)
}

fn gai_conf(lab: &Lab) -> String {
    fs::read_to_string(lab.path("root/etc/gai.conf")).unwrap_or_default()
}

fn sortlist(lab: &Lab) -> String {
    let text = lab.resolv_conf();
    text.lines().find(|line| line.starts_with("sortlist")).unwrap_or_default().to_owned()
}

fn subnet_calls(lab: &Lab) -> usize {
    let calls = lab.world.requests(Service::Ec2);
    calls.iter().filter(|call| call.target == "DescribeSubnets").count()
}

const NEAR: [&str; 3] = [
    "precedence ::ffff:10.0.1.0/120 13 # same subnet\n",
    "precedence ::ffff:10.0.4.0/120 12 # same zone\n",
    "precedence ::ffff:10.0.0.0/112 11 # same VPC\n",
];
const OWN: &str = "# the administrator's\nscopev4 ::ffff:10.0.0.0/104 14\n";

#[test]
fn near_networks_go_first_in_both_files_and_are_read_once_a_day() {
    let (lab, _server) = lab();
    lab.file("root/etc/gai.conf", OWN);
    // A plan asks too, and keeps nothing.
    let sorted = "10.0.1.0/255.255.255.0 10.0.4.0/255.255.255.0 10.0.0.0/255.255.0.0 ;tagalong";
    for calls in 1..=2 {
        lab.tagalong(&["plan"]).expect_code(2).prints(&[sorted, "# same zone"]);
        assert_eq!(subnet_calls(&lab), calls);
    }
    lab.world.clear_requests();
    lab.once();
    let text = gai_conf(&lab);
    let block = NEAR.concat();
    assert!(text.contains(&block) && text.ends_with(OWN), "{text}");
    assert!(text.contains("precedence ::/0 40"), "the default table is restated: {text}");
    assert_eq!(
        sortlist(&lab),
        "sortlist 10.0.1.23/255.255.255.255 10.0.1.0/255.255.255.0 10.0.4.0/255.255.255.0 10.0.0.0/255.255.0.0 ;tagalong"
    );
    assert_eq!(subnet_calls(&lab), 1);
    lab.once().prints(&["unchanged"]);
    assert_eq!(gai_conf(&lab), text);
    assert_eq!(subnet_calls(&lab), 1);
}

#[test]
fn nothing_is_written_unless_asked_for_and_everything_is_taken_away_again() {
    let (lab, _server) = lab();
    lab.resolve_only("");
    lab.once();
    assert!(!lab.path("root/etc/gai.conf").exists());
    assert_eq!((sortlist(&lab), subnet_calls(&lab)), (String::new(), 0));

    lab.file("root/etc/gai.conf", OWN);
    lab.resolve_only("prefer = [\"puppet.corp.internal\"]");
    lab.once();
    assert!(gai_conf(&lab).contains(NEAR[0]));
    lab.resolve_only("");
    lab.once();
    assert_eq!((gai_conf(&lab), sortlist(&lab)), (OWN.to_owned(), String::new()));

    lab.resolve_only("prefer = [\"puppet.corp.internal\"]");
    lab.once();
    lab.tagalong(&["restore"]).expect_code(0).prints(&["resolv-conf, gai.conf"]);
    assert_eq!(gai_conf(&lab), OWN);
}

#[test]
fn a_sortlist_too_short_for_all_networks_holds_those_of_the_members() {
    let lab = Lab::new();
    for third in (20..60).step_by(2) {
        let id = format!("i-{third}");
        lab.world.put_instance(Instance::new(&id, "us-east-1a", [10, 0, third, 1].into()));
    }
    lab.file("root/etc/resolv.conf", "");
    lab.resolve_only("prefer = [\"pool\"]");
    for member in (20..60).step_by(8) {
        let zone = Zone::new(ZONE).record(format!("pool.{ZONE}. 60 A 10.0.{member}.9"));
        let server = Server::start(own_address(), vec![zone], Vec::new()).unwrap();
        lab.list_server(server.addr(), "us-east-1b");
        lab.once();
        let list = sortlist(&lab);
        assert_eq!(list.matches('/').count(), 10, "{list}");
        assert!(list.contains(&format!(" 10.0.{member}.0/255.255.255.0 ")), "{member}: {list}");
        assert!(list.ends_with(" 10.0.0.0/255.255.0.0 ;tagalong"), "{list}");
        // Silent servers tell of no member: what was known stays.
        server.stop();
        lab.tagalong(&["once", "--deadline", "6s"]);
        assert_eq!(sortlist(&lab), list);
    }
}

#[test]
fn an_ec2_that_does_not_tell_leaves_this_subnet_and_the_vpc() {
    let (lab, _server) = lab();
    lab.world.set_denied_actions(["ec2:DescribeSubnets"]);
    lab.once().says(&["near networks are this subnet and the VPC alone", "DescribeSubnets"]);
    let text = gai_conf(&lab);
    assert!(text.contains(NEAR[0]) && text.contains(NEAR[2]) && !text.contains(NEAR[1]), "{text}");
    lab.once();
    assert_eq!(subnet_calls(&lab), 1, "it is not asked again at once");
}

#[test]
fn an_ec2_that_tells_too_late_is_told_of_and_leaves_the_same() {
    let (lab, _server) = lab();
    lab.world.faults().set(
        Service::Ec2,
        Fault { delay_ms: 2500, only: Some("DescribeSubnets".to_owned()), ..Fault::default() },
    );
    let pass = lab.once();
    pass.says(&["near networks are this subnet and the VPC alone", "did not tell the subnets"]);
    let text = gai_conf(&lab);
    assert!(text.contains(NEAR[0]) && text.contains(NEAR[2]) && !text.contains(NEAR[1]), "{text}");
}

#[test]
fn a_host_that_is_not_known_keeps_what_it_has() {
    let (lab, _server) = lab();
    lab.once();
    let before = (gai_conf(&lab), sortlist(&lab));
    lab.world.faults().set(Service::Imds, Fault { fail: Some(503), ..Fault::default() });
    lab.tagalong(&["once", "--deadline", "4s"]);
    assert_eq!((gai_conf(&lab), sortlist(&lab)), before);
}

#[test]
fn a_plan_shows_what_would_be_said_and_writes_nothing() {
    let (lab, _server) = lab();
    lab.tagalong(&["plan"])
        .expect_code(2)
        .prints(&["gai.conf", "+ precedence ::ffff:10.0.1.0/120"]);
    assert!(!lab.path("root/etc/gai.conf").exists());
    lab.configure(&format!(
        "[discovery]\nport = {DNS_PORT}\n[resolver]\nmanager = \"none\"\nsearch = [\"{ZONE}\"]\nprefer = [\"x.y\"]\n"
    ));
    lab.once();
    assert!(!lab.path("root/etc/gai.conf").exists(), "`none` leaves all of the resolver alone");
}
