//! How long a new lease takes to be served, and a tag to be in resolv.conf, with the parts of both: on a host in network namespaces with
//! the real client, DHCP server and named, as in `tests/system`.
//!
//! usage, as root: `cargo bench --bench whole_host -- [ROUNDS]`
//!
//! With `--profile dev` it is built in seconds, and the agent is some milliseconds slower.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark fails by panicking, makes its files as it likes, and prints its figures"
)]

#[path = "../localstack/tests/dns/bind.rs"]
mod bind;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/system/lab.rs"]
mod lab;

use std::{
    fs,
    net::Ipv4Addr,
    thread,
    time::{Duration, SystemTime},
};

use sandbox::fault::Service;

use lab::{FIRST_ADDRESS, Hooks, Host, INTERFACE, NAME, can_run, until};

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 150);
const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 66, 0, 2), Ipv4Addr::new(10, 66, 0, 3)];

fn main() {
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(20);
    if can_run("this benchmark") {
        println!("{rounds} rounds each; median, and the longest");
        lease_to_record(rounds, Hooks::Installed);
        lease_to_record(rounds, Hooks::Missing);
        tag_to_file(rounds);
    }
}

/// Of which a hook tells, or rtnetlink alone, as with systemd-networkd and after a NAK under NetworkManager.
fn lease_to_record(rounds: usize, hooks: Hooks) {
    let mut host = Host::new("", hooks);
    host.dhclient();
    host.agent("[metadata]\nrefresh = \"1h\"\n");
    until("it is published", || host.vpc.published(NAME) == [FIRST_ADDRESS.to_string()]);
    let report = host.path(&format!("/run/tagalong/hook/{INTERFACE}:4"));
    let (begun, event) = match hooks {
        Hooks::Installed => (
            "from the hook's report to the agent being awake",
            "event=Some(Lease(Lease { reason: Bound",
        ),
        Hooks::Missing => (
            "from the address in the kernel (looked at every 5 ms) to the agent being awake",
            "event=Some(Network)",
        ),
    };
    let mut parts = Parts::new([
        begun,
        "to the update being acknowledged by the primary",
        "to the new address being seen in an answer (asked every 5 ms)",
        "in all",
    ]);
    for round in 0..rounds {
        // What the last one set off is over.
        thread::sleep(Duration::from_secs(1));
        let address = if round % 2 == 0 { OTHER } else { FIRST_ADDRESS };
        let read = host.log("agent").len();
        host.vpc.move_host(address);
        until("the host has it", || host.has(address));
        let had = SystemTime::now();
        until("it is served", || host.vpc.published(NAME) == [address.to_string()]);
        let served = SystemTime::now();
        let reported = match hooks {
            Hooks::Installed => fs::metadata(&report).unwrap().modified().unwrap(),
            Hooks::Missing => had,
        };
        let log = host.log("agent").split_off(read);
        // The last before it was published: another tells that the old address is gone.
        let end = log.find("published backend").unwrap();
        let line = log[..end].rfind(event).map_or(0, |at| log[..at].rfind('\n').unwrap_or(0));
        let woken = moment(&log[line..], event);
        let acknowledged = moment(&log, "published backend=\"internal\" zone=corp.internal.");
        parts.add(&[time_of_day(reported), woken, acknowledged, time_of_day(served)]);
    }
    println!("a lease for another address, hooks {hooks:?}:");
    parts.print();
}

fn tag_to_file(rounds: usize) {
    let mut host = Host::new("", Hooks::Installed);
    let _servers = SERVERS.map(|address| host.vpc.named(address));
    host.vpc.list(SERVERS[0]);
    host.dhclient();
    host.agent("[discovery]\nrefresh = \"5s\"\n");
    until("the first is in use", || host.uses(SERVERS[0]));
    let mut parts = Parts::new([
        "from the tag to the next listing (every 5 s, with jitter)",
        "to resolv.conf being set (EC2's answer, and probes of all servers)",
        "to its being seen (looked at every 5 ms)",
        "in all",
    ]);
    let mut calls = 0;
    for _ in 0..rounds {
        let asked = host.vpc.world.requests(Service::Ec2).len();
        let read = host.log("agent").len();
        let tagged = SystemTime::now();
        host.vpc.list(SERVERS[1]);
        until("the second is in use", || host.uses(SERVERS[1]));
        let seen = SystemTime::now();
        calls += host.vpc.world.requests(Service::Ec2).len() - asked;
        until("it is said", || host.log("agent")[read..].contains("resolver set"));
        let log = host.log("agent");
        let set = read + log[read..].find("resolver set").unwrap();
        // It may have begun before the tag, and read it all the same.
        let listing = log[..set].rfind("begins job=List").unwrap();
        let line = log[..listing].rfind('\n').map_or(0, |end| end + 1);
        parts.add(&[
            time_of_day(tagged),
            moment(&log[line..], "begins job=List").max(time_of_day(tagged)),
            moment(&log[read..], "resolver set"),
            time_of_day(seen),
        ]);
        host.vpc.unlist(SERVERS[1]);
        until("it is out again", || !host.uses(SERVERS[1]));
    }
    println!("a DNS server's tag, with {calls} call(s) of EC2 in all:");
    parts.print();
}

/// How long each step took, round by round; the last is all of them.
struct Parts {
    names: [&'static str; 4],
    took: [Vec<Duration>; 4],
}

impl Parts {
    fn new(names: [&'static str; 4]) -> Self {
        Self { names, took: Default::default() }
    }

    fn add(&mut self, moments: &[Duration; 4]) {
        for (took, pair) in self.took.iter_mut().zip(moments.windows(2)) {
            took.push(pair[1].saturating_sub(pair[0]));
        }
        self.took[3].push(moments[3].saturating_sub(moments[0]));
    }

    fn print(mut self) {
        for (name, took) in self.names.iter().zip(&mut self.took) {
            took.sort();
            println!("  {:>9.1?} {:>9.1?}  {name}", took[took.len() / 2], took[took.len() - 1]);
        }
    }
}

/// When the first line with `what` was logged: `2026-11-24T18:18:00.790903Z …`, as a time of the day.
fn moment(log: &str, what: &str) -> Duration {
    let line =
        log.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {log}"));
    let (_, time) = line.split_once('T').unwrap();
    let (clock, fraction) = time.split_once('Z').unwrap().0.split_once('.').unwrap();
    let seconds = clock.split(':').fold(0, |all, part| all * 60 + part.parse::<u64>().unwrap());
    Duration::from_secs(seconds) + Duration::from_micros(fraction.parse().unwrap())
}

fn time_of_day(moment: SystemTime) -> Duration {
    let since = moment.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Duration::new(since.as_secs() % 86_400, since.subsec_nanos())
}
