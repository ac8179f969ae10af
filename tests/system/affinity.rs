//! Which member of a shared name programs get first, by the calls that they really make, on the system's own C library.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    process::Command,
};

use sandbox::instance::Instance;

use crate::lab::{FIRST_ADDRESS, Hooks, Host, INTERFACE, PRIMARY, US, ZONE, can_run, say, until};

const SAME_SUBNET: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 60);
const SAME_ZONE: Ipv4Addr = Ipv4Addr::new(10, 66, 7, 60);
const SAME_VPC: Ipv4Addr = Ipv4Addr::new(10, 66, 9, 60);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 60);
const LOOKUPS: usize = 30;

/// A way to look a name up; the program prints the first address of each look-up.
#[derive(Clone, Copy)]
struct Caller {
    name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
}

/// `$0` is the name.
const GETENT: &str = "for lookup in $(seq 30); do getent \"$1\" \"$0\" | head -n 1; done";
const PYTHON: &str = "import socket, sys\n\
    for lookup in range(30): print(socket.getaddrinfo(sys.argv[1], 80)[0][4][0])";
const JAVA: &str = r"
public class Lookups {
    public static void main(String[] arguments) throws Exception {
        for (int lookup = 0; lookup < 30; lookup++)
            System.out.println(java.net.InetAddress.getByName(arguments[0]).getHostAddress());
    }
}";

const NODE: &str = "(async () => { for (let lookup = 0; lookup < 30; lookup++) \
    console.log((await require('dns').promises.lookup(process.argv[1])).address) })()";

const CALLERS: [Caller; 7] = [
    Caller { name: "getent hosts", program: "sh", arguments: &["-c", GETENT, "NAME", "hosts"] },
    Caller { name: "getent ahosts", program: "sh", arguments: &["-c", GETENT, "NAME", "ahosts"] },
    Caller {
        name: "getent ahostsv4",
        program: "sh",
        arguments: &["-c", GETENT, "NAME", "ahostsv4"],
    },
    Caller { name: "Python", program: "python3", arguments: &["-c", PYTHON, "NAME"] },
    Caller { name: "Node", program: "node", arguments: &["-e", NODE, "NAME"] },
    Caller {
        name: "Java",
        program: "java",
        arguments: &["-Dsun.net.inetaddr.ttl=0", "/etc/tagalong/Lookups.java", "NAME"],
    },
    Caller {
        name: "Java, IPv4 only",
        program: "java",
        arguments: &[
            "-Djava.net.preferIPv4Stack=true",
            "-Dsun.net.inetaddr.ttl=0",
            "/etc/tagalong/Lookups.java",
            "NAME",
        ],
    },
];

impl Caller {
    /// How often one of `near` came first; `None` where the program is not there.
    fn prefers(&self, host: &Host, name: &str, near: &[IpAddr]) -> Option<usize> {
        let is_there = host.command("sh", &["-c", &format!("command -v {}", self.program)]);
        if !succeeds(is_there) {
            say(&format!("NOT RUN: the look-ups of {} need {}", self.name, self.program));
            return None;
        }
        let arguments = self.arguments.iter().map(|one| if *one == "NAME" { name } else { one });
        let arguments = arguments.collect::<Vec<_>>();
        let output = host.command(self.program, &arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let firsts = text.lines().filter_map(|line| line.split_whitespace().next());
        let firsts = firsts.collect::<Vec<_>>();
        assert_eq!(firsts.len(), LOOKUPS, "{}: {output:?}", self.name);
        let is_near =
            |first: &&&str| first.parse().is_ok_and(|first: IpAddr| near.contains(&first));
        Some(firsts.iter().filter(is_near).count())
    }
}

fn succeeds(mut command: Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

#[test]
fn the_nearest_member_of_a_preferred_name_comes_first_in_every_look_up_and_the_next_nearest_when_it_leaves()
 {
    if !can_run("the nearest member of a shared name") {
        return;
    }
    let mut host = Host::new("", Hooks::Installed);
    let name = format!("puppet.{ZONE}");
    let member = |what: &str, address| format!("update {what} {name}. 1 A {address}");
    start(&mut host, &[SAME_ZONE, SAME_VPC, ELSEWHERE].map(|address| member("add", address)));
    needs_help(&host, &name, &CALLERS, &[SAME_ZONE.into()]);
    prefer(&host, &name);
    until("by sortlist too", || host.read("/etc/resolv.conf").contains("\nsortlist "));
    first_is(&host, &name, &CALLERS, &[SAME_ZONE.into()]);
    host.vpc.update(&[member("delete", SAME_ZONE)]);
    first_is(&host, &name, &CALLERS, &[SAME_VPC.into()]);
    let files = || (host.read("/etc/gai.conf"), host.read("/etc/resolv.conf"));
    let before = files();
    host.signal("agent", "HUP");
    assert_eq!(files(), before);
}

#[test]
fn a_member_on_this_host_comes_first_then_one_in_its_subnet_then_one_in_its_zone() {
    if !can_run("a member on this host and in its subnet") {
        return;
    }
    let mut host = Host::new("", Hooks::Installed);
    let name = format!("cache.{ZONE}");
    let member = |what: &str, address| format!("update {what} {name}. 1 A {address}");
    let members = [FIRST_ADDRESS, SAME_SUBNET, SAME_ZONE, SAME_VPC];
    start(&mut host, &members.map(|address| member("add", address)));
    prefer(&host, &name);
    until("by sortlist too", || host.read("/etc/resolv.conf").contains("\nsortlist "));
    // Java starts slowly, and is asked by the other tests.
    let callers = CALLERS.into_iter().filter(|caller| caller.program != "java").collect::<Vec<_>>();
    for near in [FIRST_ADDRESS, SAME_SUBNET, SAME_ZONE, SAME_VPC] {
        first_is(&host, &name, &callers, &[near.into()]);
        host.vpc.update(&[member("delete", near)]);
    }
}

/// A host of the fleet with its own addresses, whose name server has the `members`.
fn start(host: &mut Host, members: &[String]) {
    host.write("/etc/tagalong/Lookups.java", JAVA);
    for (id, zone, address) in [("i-7", "us-east-1a", SAME_ZONE), ("i-9", "us-east-1b", SAME_VPC)] {
        host.vpc.world.put_instance(Instance::new(id, zone, address).ipv6(mapped(address)));
    }
    host.vpc.update(members);
    host.vpc.list(PRIMARY);
    host.dhclient();
    host.agent("");
    until("the fleet's server is in use", || host.uses(PRIMARY));
}

fn prefer(host: &Host, name: &str) {
    let config = host.vpc.config(&format!("prefer = [\"{name}\"]\n"));
    host.write("/etc/tagalong/config.toml", &config);
    host.signal("agent", "HUP");
    until("near networks are preferred", || host.read("/etc/gai.conf").contains("# same zone"));
}

/// Without `prefer` the nearest is first by chance alone.
fn needs_help(host: &Host, name: &str, callers: &[Caller], near: &[IpAddr]) {
    for caller in callers {
        if let Some(count) = caller.prefers(host, name, near) {
            eprintln!(
                "{name}, {}: the nearest first in {count} of {LOOKUPS} as it is",
                caller.name
            );
            assert!(count < LOOKUPS, "{} needs no help", caller.name);
        }
    }
}

/// Programs of one's own, to be measured beside: `TAGALONG_CALLERS` names them, each takes a name and prints the first address of each of
/// 30 look-ups. Nothing is asserted of them: what they do is their own.
fn measure_others(host: &Host, name: &str, near: &[IpAddr]) {
    let programs = std::env::var("TAGALONG_CALLERS").unwrap_or_default();
    for program in programs.split(':').filter(|program| !program.is_empty()) {
        let output = host.command(program, &[name]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let firsts = text.lines().filter_map(|line| line.parse::<IpAddr>().ok());
        let count = firsts.filter(|first| near.contains(first)).count();
        eprintln!("{name}, {program}: the nearest first in {count} of {LOOKUPS}");
    }
}

fn first_is(host: &Host, name: &str, callers: &[Caller], near: &[IpAddr]) {
    measure_others(host, name, near);
    for caller in callers {
        if let Some(count) = caller.prefers(host, name, near) {
            eprintln!("{name}, {}: {near:?} first in {count} of {LOOKUPS}", caller.name);
            assert_eq!(count, LOOKUPS, "{} and {near:?}", caller.name);
        }
    }
}

/// `10.66.7.60` and `2001:db8:66:7::60`.
fn mapped(address: Ipv4Addr) -> Ipv6Addr {
    let [_, vpc, subnet, host] = address.octets();
    let digits = |octet: u8| u16::from_str_radix(&octet.to_string(), 16).unwrap();
    Ipv6Addr::new(0x2001, 0xdb8, digits(vpc), digits(subnet), 0, 0, 0, digits(host))
}

#[test]
fn the_nearest_member_comes_first_in_getaddrinfo_where_names_have_ipv6_addresses_alone_or_too() {
    if !can_run("the nearest member of a shared name by IPv6") {
        return;
    }
    let mut host = Host::new("", Hooks::Installed);
    let own = mapped(FIRST_ADDRESS);
    host.ip(&["addr", "add", &format!("{own}/64"), "dev", INTERFACE, "nodad"]);
    host.ip(&["-6", "route", "add", "default", "via", "fe80::1", "dev", INTERFACE]);
    let us = Instance::new(US, "us-east-1a", FIRST_ADDRESS).ipv6(own);
    host.vpc.world.update_instance(US, |host| {
        let (mac, with_ipv6) = (host.interfaces[0].mac.clone(), us.interfaces[0].clone());
        host.interfaces[0] = with_ipv6;
        host.interfaces[0].mac = mac;
    });
    let (both, alone) = (format!("both.{ZONE}"), format!("alone.{ZONE}"));
    let members = [SAME_ZONE, SAME_VPC, ELSEWHERE].map(|ipv4| {
        let ipv6 = mapped(ipv4);
        [
            format!("update add {both}. 1 A {ipv4}"),
            format!("update add {both}. 1 AAAA {ipv6}"),
            format!("update add {alone}. 1 AAAA {ipv6}"),
        ]
    });
    start(&mut host, members.as_flattened());
    // `getent hosts` asks for IPv6 addresses before, which nothing sorts.
    let is_getaddrinfo = |caller: &&Caller| caller.name != "getent hosts";
    let callers = CALLERS.into_iter().filter(|caller| is_getaddrinfo(&caller)).collect::<Vec<_>>();
    let (of_ipv4, of_both): (Vec<_>, Vec<_>) = callers
        .into_iter()
        .partition(|caller| ["getent ahostsv4", "Java, IPv4 only"].contains(&caller.name));
    let near = |address: Ipv4Addr| [IpAddr::from(address), mapped(address).into()];
    prefer(&host, &both);
    for callers in [&of_both, &of_ipv4] {
        first_is(&host, &both, callers, &near(SAME_ZONE));
    }
    first_is(&host, &alone, &of_both, &near(SAME_ZONE));
    for name in [&both, &alone] {
        let leaves = mapped(SAME_ZONE);
        host.vpc.update(&[format!("update delete {name}. AAAA {leaves}")]);
    }
    host.vpc.update(&[format!("update delete {both}. A {SAME_ZONE}")]);
    for callers in [&of_both, &of_ipv4] {
        first_is(&host, &both, callers, &near(SAME_VPC));
    }
    first_is(&host, &alone, &of_both, &near(SAME_VPC));
}
