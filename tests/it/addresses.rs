//! `record[].addresses`: which of an instance's addresses a name stands for, and that the zone follows them.

use std::net::Ipv4Addr;

use sandbox::{
    dns::Server,
    fault::{Fault, Service},
    instance::{Instance, Interface},
};

use crate::{
    authority::{dig, parsed, tsig_keygen},
    support::{Lab, NAME, US, ZONE, fleet_server, web},
};

const ELASTIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const BY_ITSELF: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// `web-1` with an Elastic address, and with a second interface in another subnet that is tagged, has two addresses and a public
/// one that EC2 gave by itself.
fn host() -> Instance {
    let mut second = Interface::new([10, 0, 2, 23].into());
    second.private_ipv4s.push([10, 0, 2, 24].into());
    second.public_ipv4s.insert(BY_ITSELF, [10, 0, 2, 23].into());
    second.tags.insert("role".into(), "db".into());
    web().elastic_ipv4(ELASTIC).interface(second)
}

fn lab(instance: Instance) -> (Lab, Server) {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let server = fleet_server(vec![parsed(&key)]);
    let lab = Lab::with(instance);
    lab.publish_at(&[server.addr()], &key, "");
    (lab, server)
}

fn select(lab: &Lab, server: &Server, addresses: &str) {
    let key = std::fs::read_to_string(lab.path("tsig.key")).unwrap();
    lab.publish_at(&[server.addr()], &key, &format!("reverse = false\naddresses = [{addresses}]"));
}

fn published(server: &Server) -> Vec<String> {
    dig(server.addr(), NAME, "A")
}

fn interface_calls(lab: &Lab) -> usize {
    let calls = lab.world.requests(Service::Ec2);
    calls.iter().filter(|call| call.target == "DescribeNetworkInterfaces").count()
}

#[test]
fn each_selector_gives_its_addresses_and_ec2_is_asked_only_where_it_alone_knows() {
    let (lab, server) = lab(host());
    let second = Interface::new([10, 0, 2, 23].into());
    let (eni, subnet) = (second.id.as_str(), second.subnet_id.as_str());
    let check = |selector: &str, expect: &[&str], calls: usize| {
        select(&lab, &server, &format!("\"{selector}\""));
        lab.world.clear_requests();
        lab.once();
        assert_eq!(
            (published(&server), interface_calls(&lab)),
            (strings(expect), calls),
            "{selector}"
        );
    };
    check("private-ipv4", &["10.0.1.23"], 0);
    check("private-ipv4 device-index=1", &["10.0.2.23"], 0);
    check(&format!("private-ipv4 subnet={subnet}"), &["10.0.2.23"], 0);
    check(&format!("secondary interface={eni}"), &["10.0.2.24"], 0);
    check("10.0.2.0/24", &["10.0.2.23", "10.0.2.24"], 0);
    check(&format!("subnet={subnet} cidr=10.0.2.24/32"), &["10.0.2.24"], 0);
    check("public-ipv4", &["198.51.100.7"], 0);
    check("public-ipv4 device-index=1", &["203.0.113.7"], 0);
    check("elastic-ipv4", &["198.51.100.7"], 1);
    check("private-ipv4 tag:role=db", &["10.0.2.23"], 1);
    check("tag:role", &["10.0.2.23"], 1);
    check("secondary tag:role=db subnet=subnet-0000000000a000200", &["10.0.2.24"], 1);
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn what_nothing_matches_is_said_and_what_stood_there_stays() {
    let (lab, server) = lab(host());
    lab.once();
    for selector in ["elastic-ipv4 device-index=1", "private-ipv4 tag:role=web", "tag:other"] {
        select(&lab, &server, &format!("\"{selector}\""));
        let run = lab.tagalong(&["once", "--deadline", "1s"]).expect_code(1);
        run.says(&[&format!("nothing matches `{selector}`")]);
        assert_eq!(published(&server), ["10.0.1.23"]);
    }
}

#[test]
fn an_ec2_that_does_not_tell_of_interfaces_holds_up_only_what_hangs_on_it() {
    let (lab, server) = lab(host());
    select(&lab, &server, "\"elastic-ipv4\"");
    lab.once();
    let other = "[[record]]\nname = \"other.corp.internal\"\nreverse = false\n";
    let key = std::fs::read_to_string(lab.path("tsig.key")).unwrap();
    lab.publish_at(
        &[server.addr()],
        &key,
        &format!("reverse = false\naddresses = [\"elastic-ipv4\"]\n{other}"),
    );
    lab.world.set_denied_actions(["ec2:DescribeNetworkInterfaces"]);
    lab.once_fails().says(&["ec2:DescribeNetworkInterfaces"]);
    assert_eq!(published(&server), ["198.51.100.7"]);
    assert_eq!(dig(server.addr(), "other.corp.internal", "A"), ["10.0.1.23"]);
    // What passes is waited for.
    lab.world.set_denied_actions([""; 0]);
    let only = Some("DescribeNetworkInterfaces".to_owned());
    let fault = Fault { throttle: true, only, requests: Some(4), ..Fault::default() };
    lab.world.faults().set(Service::Ec2, fault);
    lab.once();
}

#[test]
fn a_and_aaaa_stand_under_one_name_or_under_two_and_one_family_goes_without_the_other() {
    let ipv6 = "2001:db8::23".parse().unwrap();
    let (lab, server) = lab(web().ipv6(ipv6));
    let both = format!(
        "reverse = false\naddresses = [\"private-ipv4\", \"ipv6\"]\n[[record]]\nname = \"v6.{ZONE}\"\nreverse = false\naddresses = [\"ipv6\"]\n"
    );
    let key = std::fs::read_to_string(lab.path("tsig.key")).unwrap();
    lab.publish_at(&[server.addr()], &key, &both);
    lab.once();
    let at = |name: &str, kind: &str| dig(server.addr(), name, kind);
    let v6 = format!("v6.{ZONE}");
    assert_eq!(
        (at(NAME, "A"), at(NAME, "AAAA")),
        (strings(&["10.0.1.23"]), strings(&["2001:db8::23"]))
    );
    assert_eq!((at(&v6, "A"), at(&v6, "AAAA")), (vec![], strings(&["2001:db8::23"])));
    lab.world.update_instance(US, |host| host.interfaces[0].ipv6s.clear());
    lab.tagalong(&["once", "--deadline", "1s"]);
    assert_eq!((at(NAME, "A"), at(NAME, "AAAA")), (strings(&["10.0.1.23"]), vec![]));
}
