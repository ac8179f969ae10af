//! The host's resolver: which servers get into resolv.conf, in which order, and when the file stays as it is.

mod beside;
mod ec2;
mod files;
mod order;
mod readers;

use std::{collections::BTreeSet, fs, path::Path};

use sandbox::{
    black_hole::BlackHole,
    dns::{Server, Zone},
    fault::Fault,
    instance::{Instance, InstanceState},
};
use tagalong::{
    config::Manager, core::resolv_conf::MARKER, ports::ResolverManager, resolver::Resolvers,
};

use crate::support::{Lab, SERVER_TAG, ZONE, block_on, fleet_server, own_address, resolv_conf};

/// The manager of the file in `root`.
fn manager(root: &Path, state: &Path) -> Box<dyn ResolverManager> {
    let resolvers = Resolvers::of(root, state, &state.join("run"));
    block_on(resolvers.open(Manager::ResolvConf)).unwrap().unwrap()
}

/// The servers of a resolv.conf, in order.
fn nameservers(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("nameserver ")).map(str::to_owned).collect()
}

fn ips(servers: &[&Server]) -> Vec<String> {
    servers.iter().map(|server| server.addr().ip().to_string()).collect()
}

#[test]
fn living_servers_go_into_resolv_conf_and_dead_and_unwilling_ones_do_not() {
    let lab = Lab::new();
    let living = fleet_server(Vec::new());
    let hole = BlackHole::start(own_address()).unwrap();
    let stranger = Server::start(own_address(), vec![Zone::new("other.example")], vec![]).unwrap();
    let failing = fleet_server(Vec::new());
    failing.fault(Fault { fail: Some(500), ..Fault::default() });
    let babbling = fleet_server(Vec::new());
    babbling.fault(Fault { malformed: true, ..Fault::default() });
    let closed = own_address();
    for address in
        [hole.addr(), stranger.addr(), failing.addr(), babbling.addr(), closed, living.addr()]
    {
        lab.list_server(address, "us-east-1a");
    }
    lab.file("root/etc/resolv.conf", &resolv_conf(&[own_address()]));
    lab.resolve_only("");
    lab.once().prints(&["resolvers", "set (5 of 6 do not serve)"]);
    assert_eq!(nameservers(&lab.resolv_conf()), ips(&[&living]));
    assert!(hole.datagrams() > 0, "it was asked");
}

#[test]
fn lines_that_are_not_ours_are_kept_byte_for_byte() {
    let lab = Lab::new();
    let server = fleet_server(Vec::new());
    lab.list_server(server.addr(), "us-east-1a");
    let dead = own_address().ip();
    lab.file(
        "root/etc/resolv.conf",
        &format!(
            "# by hand\t\ndomain old.example\nnameserver {dead}\nsearch old.example\noptions rotate timeout:9\n\n\
             sortlist 10.0.0.0/255.0.0.0\n;  the end"
        ),
    );
    lab.resolve_only("");
    lab.once();
    assert_eq!(
        lab.resolv_conf(),
        format!(
            "{MARKER}\nnameserver {}\nsearch corp.internal\noptions timeout:1 attempts:2 rotate\n\
             # by hand\t\n\nsortlist 10.0.0.0/255.0.0.0\n;  the end\n",
            server.addr().ip()
        )
    );
}

#[test]
fn at_most_three_servers_are_set_and_those_of_this_zone_come_first() {
    let lab = Lab::new();
    let servers: Vec<_> = (0..5).map(|_| fleet_server(Vec::new())).collect();
    for (server, zone) in
        servers.iter().zip(["us-east-1b", "us-east-1a", "us-east-1b", "us-east-1a", "us-east-1b"])
    {
        lab.list_server(server.addr(), zone);
    }
    lab.resolve_only("");
    lab.once();
    let set = nameservers(&lab.resolv_conf());
    assert_eq!(set.len(), 3);
    let near = ips(&[&servers[1], &servers[3]]);
    assert!(set[..2].iter().all(|one| near.contains(one)), "{set:?}, near are {near:?}");
}

#[test]
fn a_resolver_that_is_right_is_not_written_again() {
    let lab = Lab::new();
    let servers = [fleet_server(Vec::new()), fleet_server(Vec::new())];
    servers.iter().for_each(|server| lab.list_server(server.addr(), "us-east-1a"));
    lab.resolve_only("");
    lab.once().prints(&[" set"]);
    let file = || {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(lab.path("root/etc/resolv.conf")).unwrap();
        (metadata.ino(), metadata.mtime_nsec(), lab.resolv_conf())
    };
    let before = file();
    lab.once().prints(&["unchanged"]);
    assert_eq!(file(), before);
}

#[test]
fn a_respawned_server_replaces_the_dead_one_and_the_living_one_stays() {
    let lab = Lab::new();
    let (first, second) = (fleet_server(Vec::new()), fleet_server(Vec::new()));
    lab.list_server(first.addr(), "us-east-1a");
    lab.list_server(second.addr(), "us-east-1a");
    lab.resolve_only("");
    lab.once();
    let set = nameservers(&lab.resolv_conf());
    assert_eq!(set.len(), 2);
    let (leader, other) =
        if set[0] == first.addr().ip().to_string() { (first, second) } else { (second, first) };
    let respawned = fleet_server(Vec::new());
    lab.list_server(respawned.addr(), "us-east-1a");
    leader.stop();
    lab.once();
    let set = nameservers(&lab.resolv_conf()).into_iter().collect::<BTreeSet<_>>();
    assert_eq!(set, ips(&[&other, &respawned]).into_iter().collect());
}

#[test]
fn no_living_server_leaves_the_file_as_it_is_byte_for_byte() {
    let lab = Lab::new();
    let hole = BlackHole::start(own_address()).unwrap();
    lab.list_server(hole.addr(), "us-east-1a");
    lab.list_server(own_address(), "us-east-1a");
    let text = format!("{}# no newline at the end", resolv_conf(&[own_address()]));
    lab.file("root/etc/resolv.conf", &text);
    lab.resolve_only("");
    lab.once_fails().says(&["error: no DNS server answers", "hint:"]).prints(&["kept"]);
    assert_eq!(lab.resolv_conf(), text);
}

#[test]
fn a_server_in_use_that_answers_is_not_given_up_for_listed_ones_that_do_not() {
    let lab = Lab::new();
    lab.list_server(own_address(), "us-east-1a");
    let used = fleet_server(Vec::new());
    let text = resolv_conf(&[used.addr()]);
    lab.file("root/etc/resolv.conf", &text);
    lab.resolve_only("");
    lab.once().prints(&["kept: no listed server serves, and a server in use answers"]);
    assert_eq!(lab.resolv_conf(), text);
}

#[test]
fn a_server_that_does_not_know_the_fleets_zone_replaces_none_that_does() {
    let lab = Lab::new();
    let stranger = Server::start(own_address(), vec![Zone::new("internal")], vec![]).unwrap();
    let ours = fleet_server(Vec::new());
    lab.list_server(stranger.addr(), "us-east-1a");
    let file = resolv_conf(&[ours.addr()]);
    lab.file("root/etc/resolv.conf", &file);
    lab.resolve_only("");
    lab.once().prints(&["kept: no listed server serves, and a server in use answers"]);
    assert_eq!(lab.resolv_conf(), file);
    lab.list_server(ours.addr(), "us-east-1b");
    lab.once();
    assert_eq!(nameservers(&lab.resolv_conf()), ips(&[&ours]));
}

#[test]
fn instances_of_another_vpc_or_value_and_those_that_do_not_run_are_no_servers() {
    let lab = Lab::new();
    let right = fleet_server(Vec::new());
    lab.list_server(right.addr(), "us-east-1a");
    let wrong: Vec<_> = (0..4).map(|_| fleet_server(Vec::new())).collect();
    let instance = |number: usize| {
        let std::net::IpAddr::V4(ip) = wrong[number].addr().ip() else { unreachable!() };
        Instance::new(&format!("i-0dddddddddddddd0{number}"), "us-east-1a", ip)
    };
    lab.world.put_instance(instance(0).tag(SERVER_TAG, ZONE).vpc("vpc-0fedcba9876543210"));
    lab.world.put_instance(instance(1).tag(SERVER_TAG, "other.internal"));
    lab.world.put_instance(instance(2).tag(SERVER_TAG, ZONE).state(InstanceState::Stopped));
    lab.world.put_instance(instance(3).tag("Name", ZONE));
    lab.configure(&format!(
        "[discovery]\nvalue = \"{ZONE}\"\nport = {}\n[resolver]\nsearch = [\"{ZONE}\"]\n",
        crate::support::DNS_PORT
    ));
    lab.once();
    assert_eq!(nameservers(&lab.resolv_conf()), ips(&[&right]));
    assert!(wrong.iter().all(|server| server.received().is_empty()), "they were not even asked");
}

#[test]
fn a_server_on_this_host_that_answered_is_replaced_with_a_word_about_it() {
    let lab = Lab::new();
    let (server, cache) = (fleet_server(Vec::new()), fleet_server(Vec::new()));
    lab.list_server(server.addr(), "us-east-1a");
    lab.file("root/etc/resolv.conf", &resolv_conf(&[cache.addr()]));
    lab.resolve_only("");
    let words = "the DNS server on this host that answered until now is not asked any more";
    lab.once().says(&[words, "`[resolver] manager = \"none\"` leaves it in use"]);
    assert_eq!(nameservers(&lab.resolv_conf()), ips(&[&server]));
    assert!(!lab.once().stderr.contains(words), "once");
}

#[test]
fn the_vpcs_resolver_is_used_only_when_nothing_else_answers_and_never_mixed_in() {
    let mut lab = Lab::new();
    let vpc = fleet_server(Vec::new());
    lab.vpc_resolver = vpc.addr();
    let server = fleet_server(Vec::new());
    lab.list_server(server.addr(), "us-east-1a");
    lab.file("root/etc/resolv.conf", &resolv_conf(&[own_address()]));
    lab.resolve_only("");
    lab.once();
    assert_eq!(nameservers(&lab.resolv_conf()), ips(&[&server]));
    let address = server.addr();
    server.stop();
    lab.resolve_only("fallback = \"none\"");
    lab.once_fails();
    assert_eq!(nameservers(&lab.resolv_conf()), [address.ip().to_string()]);
    lab.resolve_only("");
    for _ in 0..2 {
        lab.once().says(&[
            "note: no DNS server of the fleet is known to serve; the VPC's resolver is used until one does",
        ]);
        assert_eq!(nameservers(&lab.resolv_conf()), ips(&[&vpc]));
    }
    let back = Server::start(address, crate::support::fleet_zones(), vec![]).unwrap();
    lab.once();
    assert_eq!(nameservers(&lab.resolv_conf()), ips(&[&back]));
    // A slip of the pen in the search list is told at once, whoever serves meanwhile.
    lab.file("root/etc/resolv.conf", &resolv_conf(&[own_address()]));
    let config = fs::read_to_string(lab.path("config.toml")).unwrap();
    lab.file("config.toml", &config.replace(ZONE, "crop.internal"));
    lab.once().says(&["no listed server knows crop.internal., which each is asked for"]);
}
