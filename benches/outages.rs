//! What an outage of DNS servers costs programs: a hundred look-ups a second by getent(1) while one server dies, all die and come back,
//! one is respawned at another address, one is drained and shut down. With tagalong, with a static resolv.conf, with the same and
//! tagalong's options, and with systemd-resolved alone; each on a booted host, one after the other in one run.
//!
//! usage, as root, after `tests/system/make-roots target/system-roots`: `cargo bench --profile dev --bench outages [-- WHICH...]`, where
//! WHICH is part of a line's "WHO: WHAT"; all lines if there is none.

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
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/system/machine.rs"]
mod machine;
#[path = "../tests/system/package.rs"]
mod package;

use std::{net::Ipv4Addr, thread, time::Duration};

use lab::{APP, can_run, until};
use machine::{Machine, Shape};

const FIRST: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 3);
const THIRD: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 4);
const CONFIG: &str =
    "probe = \"2s\"\nsearch = [\"corp.internal\"]\n[discovery]\nrefresh = \"5s\"\n";

/// Who sets the resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Static,
    StaticWithOptions,
    Resolved,
    Tagalong,
}

impl Subject {
    const ALL: [Self; 4] = [Self::Static, Self::StaticWithOptions, Self::Resolved, Self::Tagalong];

    fn name(self) -> &'static str {
        match self {
            Self::Static => "static resolv.conf",
            Self::StaticWithOptions => "static, timeout:1 attempts:2",
            Self::Resolved => "systemd-resolved alone",
            Self::Tagalong => "tagalong",
        }
    }

    /// A host with two servers, FIRST asked first.
    fn machine(self) -> Machine {
        let shape = if self == Self::Resolved { Shape::Ubuntu } else { Shape::Debian };
        let mut machine = Machine::new(shape, &format!("[resolver]\n{CONFIG}"));
        machine.put("/root/prober.py", PROBER);
        machine.vpc.list(FIRST);
        machine.vpc.list(SECOND);
        machine.boot();
        machine
    }

    /// Sets the resolver as it was at first; tagalong has done so itself.
    fn set(self, machine: &Machine) {
        // As tagalong's host searches, so that the time of a look-up is one for the same names.
        let servers = format!("nameserver {FIRST}\\nnameserver {SECOND}\\nsearch corp.internal\\n");
        let commands = match self {
            Self::Tagalong => return,
            Self::Static => format!("printf '{servers}' > /etc/resolv.conf"),
            Self::StaticWithOptions => {
                format!("printf '{servers}options timeout:1 attempts:2\\n' > /etc/resolv.conf")
            }
            Self::Resolved => format!(
                "resolvectl dns ens5 {FIRST} {SECOND} && resolvectl domain ens5 corp.internal '~.' && \
                 resolvectl flush-caches"
            ),
        };
        machine.ask("systemctl stop tagalong && tagalong restore");
        // The client would write its own at each renewal.
        machine.run("systemctl kill --signal=STOP ifup@ens5 networking; killall -STOP dhclient");
        machine.ask(&commands);
    }
}

fn main() {
    if !can_run("this benchmark") || !Shape::Ubuntu.can_boot("this benchmark") {
        return;
    }
    let mut wanted = std::env::args().skip(1).collect::<Vec<_>>();
    // cargo's own
    wanted.retain(|word| word != "--bench");
    let mut lines = 0;
    println!("failed of all look-ups, the longest");
    for subject in Subject::ALL {
        let rows: [(&str, Scenario); 4] = [
            ("one server dies", one_dies),
            ("all die, and are back after 8 s", all_die_and_come_back),
            ("one is respawned elsewhere", one_is_respawned),
            ("one is drained and shut down", one_is_drained),
        ];
        for (what, scenario) in rows {
            let line = format!("{}: {what}", subject.name());
            if !(wanted.is_empty() || wanted.iter().any(|word| line.contains(word))) {
                continue;
            }
            lines += 1;
            let machine = subject.machine();
            let servers = Servers {
                first: Some(machine.vpc.named(FIRST)),
                second: Some(machine.vpc.named(SECOND)),
                ..Servers::default()
            };
            subject.set(&machine);
            until("names are found", || machine.resolves(APP));
            if subject == Subject::Tagalong {
                until("both are used", || machine.uses(FIRST) && machine.uses(SECOND));
            }
            machine.ask(&format!(
                "python3 /root/prober.py {APP} > /root/tally 2>/root/errors & echo $! > /root/pid"
            ));
            thread::sleep(Duration::from_secs(2));
            let servers = scenario(&machine, servers);
            machine.ask("kill -TERM $(cat /root/pid)");
            until("the look-ups are over", || !machine.run("cat /root/tally").stdout.is_empty());
            println!("{line:<64} {}", machine.ask("cat /root/tally").trim());
            drop(servers);
        }
    }
    assert!(lines > 0, "there is no line with {wanted:?}");
}

/// What becomes of the servers.
type Scenario = fn(&Machine, Servers) -> Servers;

/// What stands for each server: a process, or a hole.
#[derive(Default)]
struct Servers {
    first: Option<lab::Name>,
    second: Option<lab::Name>,
    third: Option<lab::Name>,
    holes: Vec<sandbox::black_hole::BlackHole>,
}

/// The server that is asked first.
fn leader(machine: &Machine) -> Ipv4Addr {
    let text = machine.ask("cat /etc/resolv.conf");
    let second = text.find(&format!("nameserver {SECOND}\n"));
    let first = text.find(&format!("nameserver {FIRST}\n"));
    if second.is_some() && second < first { SECOND } else { FIRST }
}

fn kill(machine: &Machine, servers: &mut Servers, address: Ipv4Addr) {
    let process = if address == FIRST { &mut servers.first } else { &mut servers.second };
    drop(process.take());
    servers.holes.push(machine.vpc.black_hole(address));
}

fn one_dies(machine: &Machine, mut servers: Servers) -> Servers {
    kill(machine, &mut servers, leader(machine));
    thread::sleep(Duration::from_secs(20));
    servers
}

fn all_die_and_come_back(machine: &Machine, mut servers: Servers) -> Servers {
    kill(machine, &mut servers, FIRST);
    kill(machine, &mut servers, SECOND);
    thread::sleep(Duration::from_secs(8));
    servers.holes.clear();
    servers.first = Some(machine.vpc.named(FIRST));
    servers.second = Some(machine.vpc.named(SECOND));
    thread::sleep(Duration::from_secs(12));
    servers
}

fn one_is_respawned(machine: &Machine, mut servers: Servers) -> Servers {
    let leader = leader(machine);
    servers.third = Some(machine.vpc.named(THIRD));
    machine.vpc.unlist(leader);
    machine.vpc.list(THIRD);
    thread::sleep(Duration::from_secs(8));
    kill(machine, &mut servers, leader);
    thread::sleep(Duration::from_secs(12));
    servers
}

fn one_is_drained(machine: &Machine, mut servers: Servers) -> Servers {
    let leader = leader(machine);
    machine.vpc.drain(leader);
    thread::sleep(Duration::from_secs(8));
    kill(machine, &mut servers, leader);
    thread::sleep(Duration::from_secs(12));
    servers
}

const PROBER: &str = r#"
import signal, subprocess, sys, threading, time
done, lock, over = [], threading.Lock(), threading.Event()
def look_up():
    began = time.monotonic()
    good = subprocess.run(["getent", "ahosts", sys.argv[1]], stdout=subprocess.DEVNULL).returncode == 0
    with lock:
        done.append((good, time.monotonic() - began))
signal.signal(signal.SIGTERM, lambda *_: over.set())
threads, next = [], time.monotonic()
while not over.is_set():
    threads.append(threading.Thread(target=look_up))
    threads[-1].start()
    next += 0.01
    over.wait(max(0, next - time.monotonic()))
for thread in threads:
    thread.join()
slow = sum(1 for _, took in done if took >= 0.5)
print("%d of %d failed, %d took 0.5 s or more, the longest %.1f s" % (
    sum(1 for good, _ in done if not good), len(done), slow, max(took for _, took in done)))
"#;
