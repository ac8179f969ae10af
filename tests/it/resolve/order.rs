//! Which servers stand where, and why: drained, impaired, behind, new, elsewhere.

use std::{collections::BTreeSet, fs, net::UdpSocket, thread, time::Duration};

use sandbox::{
    black_hole::BlackHole,
    dns::Server,
    fault::{Fault, Service},
    instance::Instance,
};

use super::{ips, nameservers};
use crate::support::{DNS_PORT, Lab, SERVER_TAG, ZONE, fleet_server, own_address, resolv_conf};

/// Two servers of this zone, the first of which this host prefers and has first in resolv.conf.
fn pair() -> (Lab, Server, Server) {
    let lab = Lab::new();
    let (one, other) = (fleet_server(Vec::new()), fleet_server(Vec::new()));
    lab.list_server(one.addr(), "us-east-1a");
    lab.list_server(other.addr(), "us-east-1a");
    lab.resolve_only("");
    lab.once();
    let is_first = nameservers(&lab.resolv_conf()) == ips(&[&one, &other]);
    if is_first { (lab, one, other) } else { (lab, other, one) }
}

fn tag(lab: &Lab, server: &Server, key: &str, value: &str) {
    let std::net::IpAddr::V4(address) = server.addr().ip() else { unreachable!() };
    lab.world.update_instance(&format!("i-{:017x}", u32::from(address)), |instance| {
        instance.tags.insert(key.to_owned(), value.to_owned());
    });
}

/// The second server stands first, and `status` says why the other does not.
fn is_demoted(lab: &Lab, one: &Server, other: &Server, why: &str) {
    assert_eq!(nameservers(&lab.resolv_conf()), ips(&[other, one]), "{why}");
    let status = lab.tagalong(&["status"]).stdout;
    let line = status.lines().find(|line| line.contains(&one.addr().to_string())).unwrap();
    assert!(line.contains(why), "{line}");
}

#[test]
fn a_server_that_a_tag_says_is_draining_is_used_last() {
    let (lab, one, other) = pair();
    lab.once();
    assert_eq!(nameservers(&lab.resolv_conf()), ips(&[&one, &other]));
    tag(&lab, &one, "tagalong:draining", "true");
    lab.once().prints(&[" set"]);
    is_demoted(&lab, &one, &other, "draining");
    tag(&lab, &one, "tagalong:draining", "false");
    lab.once();
    // As if it had never been drained: a fleet's hosts are not to end with one order all of them.
    assert_eq!(nameservers(&lab.resolv_conf()), ips(&[&one, &other]));
}

#[test]
fn a_server_whose_tags_value_says_that_it_is_draining_is_used_last() {
    let (lab, one, other) = pair();
    lab.configure(&format!(
        "[discovery]\nport = {DNS_PORT}\nvalue = \"{ZONE}\"\n[resolver]\nsearch = [\"{ZONE}\"]\n"
    ));
    tag(&lab, &one, SERVER_TAG, &format!("{ZONE} draining"));
    lab.once();
    is_demoted(&lab, &one, &other, "draining");
}

#[test]
fn a_server_that_does_not_answer_over_tcp_is_used_after_those_that_do() {
    let (lab, one, other) = pair();
    let relay = UdpSocket::bind(own_address()).unwrap();
    relay.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (address, real) = (relay.local_addr().unwrap(), one.addr());
    lab.list_server(address, "us-east-1a");
    lab.file("root/etc/resolv.conf", &resolv_conf(&[address, other.addr()]));
    one.stop();
    let behind = fleet_server(Vec::new());
    let upstream = behind.addr();
    let work = thread::spawn(move || {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut buffer = [0; 4096];
        // One pass, and what `status` asks.
        for _ in 0..2 {
            let Ok((length, from)) = relay.recv_from(&mut buffer) else { return };
            client.send_to(&buffer[..length], upstream).unwrap();
            let length = client.recv(&mut buffer).unwrap();
            relay.send_to(&buffer[..length], from).unwrap();
        }
    });
    lab.once();
    let set = nameservers(&lab.resolv_conf());
    assert_eq!(set, [other.addr().ip().to_string(), address.ip().to_string()], "not {real}");
    let status = lab.tagalong(&["status"]).stdout;
    assert!(status.contains("does not answer over TCP"), "{status}");
    work.join().unwrap();
}

#[test]
fn a_server_that_has_been_behind_its_peers_for_too_long_is_used_after_them() {
    let (lab, one, other) = pair();
    other.zones().add(&format!("new.{ZONE}. 60 IN A 10.0.0.1")).unwrap();
    lab.once();
    assert_eq!(nameservers(&lab.resolv_conf()), ips(&[&one, &other]), "not for long yet");
    let state: serde_json::Value = serde_json::from_str(&lab.state()).unwrap();
    let since = state["behind"][one.addr().to_string()].as_u64().unwrap();
    let long_ago = lab.state().replace(&since.to_string(), &(since - 601).to_string());
    lab.file("state/state.json", &long_ago);
    lab.once();
    is_demoted(&lab, &one, &other, "behind its peers for");
    one.zones().add(&format!("new.{ZONE}. 60 IN A 10.0.0.1")).unwrap();
    lab.once();
    assert!(!lab.state().contains("behind"), "{}", lab.state());
}

#[test]
fn a_server_that_is_new_has_to_answer_twice() {
    let (lab, one, other) = pair();
    let new = fleet_server(Vec::new());
    lab.list_server(new.addr(), "us-east-1a");
    // It answers over UDP and TCP, and then not.
    new.fault(Fault { fail: Some(500), skip: 2, requests: Some(1), ..Fault::default() });
    lab.once();
    assert_eq!(nameservers(&lab.resolv_conf()), ips(&[&one, &other]));
    lab.once();
    let set = nameservers(&lab.resolv_conf()).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(set, ips(&[&one, &other, &new]).into_iter().collect());
}

#[test]
fn servers_that_refuse_are_used_rather_than_silent_ones_if_nobody_else_answers() {
    let (lab, one, other) = pair();
    let hole = BlackHole::start(own_address()).unwrap();
    lab.file("root/etc/resolv.conf", &resolv_conf(&[hole.addr()]));
    let agent = fs::File::create(lab.path("run/agent.lock")).unwrap();
    agent.lock().unwrap();
    one.stop();
    other.fault(Fault { fail: Some(500), ..Fault::default() });
    lab.once().says(&["no DNS server serves; those that refuse or fail are used"]);
    assert_eq!(nameservers(&lab.resolv_conf()), ips(&[&other]));
    assert!(!lab.path("run/resolver").exists(), "a DHCP client may know of a better one");
}

#[test]
fn more_than_three_servers_are_held_in_reserve() {
    let (lab, one, other) = pair();
    let more = [fleet_server(Vec::new()), fleet_server(Vec::new())];
    more.iter().for_each(|server| lab.list_server(server.addr(), "us-east-1a"));
    lab.once();
    let set = nameservers(&lab.resolv_conf());
    assert_eq!(set.len(), 3);
    let status = lab.tagalong(&["status"]).stdout;
    assert_eq!(status.matches("in reserve").count(), 1, "{status}");
    let [first, second] = more;
    let mut servers = vec![one, other, first, second];
    let used = servers.iter().position(|server| set[0] == server.addr().ip().to_string());
    servers.swap_remove(used.unwrap()).stop();
    lab.once();
    let now = nameservers(&lab.resolv_conf());
    assert_eq!(now.len(), 3, "the one in reserve has taken its place");
    assert!(!now.contains(&set[0]), "{now:?}");
}

#[test]
fn servers_of_other_vpcs_and_regions_are_used_when_configured() {
    let lab = Lab::new();
    let servers = [(); 3].map(|()| fleet_server(Vec::new()));
    let places =
        [("us-east-1a", "vpc-other"), ("eu-west-1b", "vpc-far"), ("eu-west-1b", "vpc-strange")];
    for (server, (zone, vpc)) in servers.iter().zip(places) {
        let std::net::IpAddr::V4(address) = server.addr().ip() else { unreachable!() };
        let id = format!("i-{:017x}", u32::from(address));
        let instance = Instance::new(&id, zone, address).vpc(vpc).tag(SERVER_TAG, ZONE);
        lab.world.put_instance(instance);
    }
    lab.file("root/etc/resolv.conf", &resolv_conf(&[own_address()]));
    let set = |discovery: &str| {
        lab.configure(&format!(
            "[discovery]\nport = {DNS_PORT}\n{discovery}[resolver]\nsearch = [\"{ZONE}\"]\n"
        ));
        lab.tagalong(&["once", "--deadline", "4s"]);
        nameservers(&lab.resolv_conf())
    };
    assert_eq!(set("vpcs = [\"vpc-other\"]\n"), ips(&[&servers[0]]));
    let both = "vpcs = [\"vpc-other\", \"vpc-far\"]\nregions = [\"us-east-1\", \"eu-west-1\"]\n";
    let far = set("regions = [\"eu-west-1\"]\n");
    assert_eq!(far.len(), 2, "any VPC of another Region: {far:?}");
    assert!(!far.contains(&ips(&[&servers[0]])[0]));
    assert_eq!(set(both), ips(&[&servers[0], &servers[1]]));
    // One Region that does not tell keeps what it had, and the other's news is used.
    let added = fleet_server(Vec::new());
    let std::net::IpAddr::V4(address) = added.addr().ip() else { unreachable!() };
    let instance = Instance::new("i-0000000000000add", "us-east-1a", address).vpc("vpc-other");
    lab.world.put_instance(instance.tag(SERVER_TAG, ZONE));
    let only = Some("DescribeInstances@eu-west-1".to_owned());
    lab.world.faults().set(Service::Ec2, Fault { fail: Some(500), only, ..Fault::default() });
    let mut used = set(both);
    used.sort();
    let mut expect = ips(&[&servers[0], &servers[1], &added]);
    expect.sort();
    assert_eq!(used, expect);
}
