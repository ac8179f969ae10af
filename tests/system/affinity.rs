//! Which member of a shared name programs get first, by the calls that they really make, on the system's own C library.

use std::{net::Ipv4Addr, process::Command};

use sandbox::instance::Instance;

use crate::lab::{Hooks, Host, PRIMARY, ZONE, can_run, say, until};

const SAME_ZONE: Ipv4Addr = Ipv4Addr::new(10, 66, 7, 60);
const SAME_VPC: Ipv4Addr = Ipv4Addr::new(10, 66, 9, 60);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 60);
const LOOKUPS: usize = 30;

/// A way to look a name up; the program prints the first address of each look-up.
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

const CALLERS: [Caller; 6] = [
    Caller { name: "getent hosts", program: "sh", arguments: &["-c", GETENT, "NAME", "hosts"] },
    Caller { name: "getent ahosts", program: "sh", arguments: &["-c", GETENT, "NAME", "ahosts"] },
    Caller {
        name: "getent ahostsv4",
        program: "sh",
        arguments: &["-c", GETENT, "NAME", "ahostsv4"],
    },
    Caller { name: "Python", program: "python3", arguments: &["-c", PYTHON, "NAME"] },
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
    /// How often `address` came first; `None` where the program is not there.
    fn prefers(&self, host: &Host, name: &str, address: Ipv4Addr) -> Option<usize> {
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
        Some(firsts.iter().filter(|first| **first == address.to_string()).count())
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
    host.write("/etc/tagalong/Lookups.java", JAVA);
    for (id, zone, address) in [("i-7", "us-east-1a", SAME_ZONE), ("i-9", "us-east-1b", SAME_VPC)] {
        host.vpc.world.put_instance(Instance::new(id, zone, address));
    }
    let name = format!("puppet.{ZONE}");
    let member = |what: &str, address| format!("update {what} {name}. 1 A {address}");
    host.vpc.update(&[SAME_ZONE, SAME_VPC, ELSEWHERE].map(|address| member("add", address)));
    host.vpc.list(PRIMARY);
    host.dhclient();
    host.agent("");
    until("the fleet's server is in use", || host.uses(PRIMARY));
    for caller in &CALLERS {
        if let Some(near) = caller.prefers(&host, &name, SAME_ZONE) {
            eprintln!("{}: the nearest first in {near} of {LOOKUPS} as it is", caller.name);
            assert!(near < LOOKUPS, "{} needs no help", caller.name);
        }
    }

    host.write("/etc/tagalong/config.toml", &host.vpc.config(&format!("prefer = [\"{name}\"]\n")));
    host.signal("agent", "HUP");
    until("near networks are preferred", || host.read("/etc/gai.conf").contains("# same zone"));
    until("by sortlist too", || host.read("/etc/resolv.conf").contains("\nsortlist "));
    for (leaves, near) in [(None, SAME_ZONE), (Some(SAME_ZONE), SAME_VPC)] {
        if let Some(member_that_leaves) = leaves {
            host.vpc.update(&[member("delete", member_that_leaves)]);
        }
        for caller in &CALLERS {
            if let Some(count) = caller.prefers(&host, &name, near) {
                eprintln!("{}: {near} first in {count} of {LOOKUPS}", caller.name);
                assert_eq!(count, LOOKUPS, "{} and {near}", caller.name);
            }
        }
    }
    let files = || (host.read("/etc/gai.conf"), host.read("/etc/resolv.conf"));
    let before = files();
    host.signal("agent", "HUP");
    assert_eq!(files(), before);
}
