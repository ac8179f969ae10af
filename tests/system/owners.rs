//! Hosts whose resolver has an owner: each gets the fleet's servers into the real program, keeps them there, follows a server
//! that is respawned, and gives the resolver back. One suite, and every owner is a subject of it.

use std::net::Ipv4Addr;

use crate::{
    boot::{MORE, first_boot, follows_the_servers},
    lab::{APP, PRIMARY, ROUTER, until},
    machine::{Machine, Shape},
};

const SECOND: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 3);
const STRANGER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// All that resolved is told.
const RESOLVED_HOLDS: &str = "resolvectl dns; resolvectl domain; resolvectl default-route";

/// A host, and how its resolver can be interfered with.
struct Subject {
    shape: Shape,
    /// What its network's dispatcher runs our hook for by then, so that the hook reports it.
    told: Option<&'static str>,
    /// What its resolv.conf is before it is first booted, where it is not its image's.
    file: Option<&'static str>,
    /// What `status` says.
    owner: &'static str,
    /// Commands after which the resolver is somebody else's, each.
    tramples: &'static [&'static str],
    /// Takes away what the tramples would leave.
    clear: &'static str,
    /// A look-up by the owner's own tool, beside getent(1).
    query: Option<&'static str>,
    /// The owner's own service.
    service: Option<&'static str>,
    /// All that the owner holds, and what makes it begin anew.
    holds: Option<(&'static str, &'static str)>,
    /// Commands and what they say once the resolver was given back.
    given_back: &'static [(&'static str, &'static str)],
}

fn check(subject: &Subject) {
    let Subject { shape, told, file, owner, tramples, clear, query, service, holds, given_back } =
        subject;
    if !shape.can_boot(&format!("the owner of the resolver of {shape:?}")) {
        return;
    }
    let mut machine = Machine::new(*shape, MORE);
    if let Some(file) = file {
        machine.put("/etc/resolv.conf", file);
    }
    first_boot(&mut machine);
    follows_the_servers(&machine);
    let status = machine.ask("tagalong status");
    assert!(status.contains(&format!("owner         {owner} because: ")), "{status}");
    let doctor = machine.run("tagalong doctor");
    let doctor = String::from_utf8_lossy(&doctor.stdout);
    eprintln!("{shape:?}\n{doctor}");
    let line = doctor.lines().find(|line| line.contains("owner")).unwrap_or_default();
    assert!(line.contains(owner) && !line.contains("wrong"), "{doctor}");
    // nsswitch.conf says who reads the file: there programs do, although resolved writes it.
    let reader = if query.is_some() && *shape != Shape::AmazonLinux2023 {
        "systemd-resolved 5 s"
    } else {
        "glibc "
    };
    let cost = doctor.lines().find(|line| line.starts_with("first_server")).unwrap_or_default();
    assert!(cost.contains(&format!(": {reader}")), "{doctor}");
    let resolves = |machine: &Machine| {
        machine.resolves(APP)
            && query.is_none_or(|query| machine.run(&format!("{query} {APP}")).status.success())
    };

    assert!(resolves(&machine));

    // The first server dies, and the respawned one alone answers.
    let second = machine.vpc.named(SECOND);
    // With the zone, which it has from the first.
    until("the respawned server serves", || {
        machine.ask("tagalong status").contains("10.66.0.3:53 in use: answered in")
    });
    let dead = machine.vpc.kill_primary();
    until("the dead server is out of use", || !machine.uses(PRIMARY));
    until("names are found at the respawned server", || resolves(&machine));
    assert!(!machine.uses(ROUTER), "the client's own server is not asked beside ours");
    if file.is_some() {
        until("who reads the file finds it there too", || {
            machine.ask("cat /etc/resolv.conf").contains(&format!("nameserver {SECOND}\n"))
        });
    }
    drop(dead);
    machine.vpc.respawn_primary();
    until("the first server is back", || machine.uses(PRIMARY));

    let log = machine.ask("journalctl --no-pager -b -u tagalong");
    assert!(!log.contains("another program changed"), "nobody else has changed it yet: {log}");
    for trample in *tramples {
        machine.ask(trample);
        until(&format!("the servers are back after `{trample}`"), || {
            machine.uses(PRIMARY) && !machine.uses(STRANGER) && !machine.uses(ROUTER)
        });
        until(&format!("names are found after `{trample}`"), || resolves(&machine));
    }
    if let Some(told) = told {
        until("the dispatcher has run our hook", || {
            machine.ask("cat /run/tagalong/hook/* 2>/dev/null || :").contains(told)
        });
    }
    if let Some(service) = service {
        holds_nobody_up_while_it_hangs(&machine, service);
        until("names are found when it goes on", || resolves(&machine));
    }
    let once = machine.ask("tagalong once");
    let second_pass = once.split("resolvers ").nth(1).unwrap_or_default();
    assert!(second_pass.contains(" unchanged"), "nothing is left to be done: {once}");

    let log = machine.ask("journalctl --no-pager -b -u tagalong");
    assert!(!log.contains("does not use them"), "each time it was told, the owner did it: {log}");

    machine.ask(clear);
    machine.remove_package();
    until("the resolver is given back", || machine.uses(ROUTER) && !machine.uses(PRIMARY));
    for (command, says) in *given_back {
        let said = machine.ask(command);
        assert!(said.contains(says), "{command}: {said}");
    }
    if let Some((holds, begin_anew)) = holds {
        let given = machine.ask(holds);
        machine.ask(begin_anew);
        until("the owner has begun anew", || machine.uses(ROUTER));
        let mut own = String::new();
        until(&format!("nothing is left that it would not make by itself: {given}"), || {
            own = machine.ask(holds);
            own == given
        });
    }
    drop(second);
}

/// A service that is there and never answers.
fn holds_nobody_up_while_it_hangs(machine: &Machine, service: &str) {
    machine.ask(&format!("systemctl kill --kill-whom=main --signal=STOP {service}"));
    for command in ["once --deadline 20s", "status", "doctor --deadline 20s"] {
        let run = machine.run(&format!("timeout 25 tagalong {command} 2>&1"));
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        assert!(matches!(run.status.code(), Some(0 | 1)), "{command}: {run:?}");
        // What NetworkManager has made of the file can be read without it.
        let is_told = run.status.code() == Some(1) && said.contains("no answer in time");
        assert!(is_told || service == "NetworkManager", "{command}: {said}");
    }
    machine.ask(&format!("systemctl kill --kill-whom=main --signal=CONT {service}"));
}

#[test]
fn resolved_of_amazon_linux_2023_follows_the_fleets_servers_and_is_given_back() {
    check(&Subject {
        file: None,
        told: None,
        shape: Shape::AmazonLinux2023,
        owner: "systemd-resolved",
        tramples: &[
            "resolvectl dns ens5 192.0.2.1",
            "systemctl restart systemd-networkd",
            "systemctl restart systemd-resolved",
            // A second link with servers of its own.
            "ip link add hand0 type veth peer name hand1 && ip addr add 192.0.2.2/24 dev hand0 && \
             ip link set hand1 up && ip link set hand0 up && resolvectl dns hand0 192.0.2.1",
            // Servers of no link, which resolved's own file names first; and the same for everything.
            "mkdir -p /etc/systemd/resolved.conf.d && \
             printf '[Resolve]\\nDNS=192.0.2.1\\n' > /etc/systemd/resolved.conf.d/hand.conf && \
             systemctl restart systemd-resolved",
            "rm /run/systemd/resolved.conf.d/zz-tagalong.conf && \
             printf '[Resolve]\\nDNS=192.0.2.1\\nDomains=~.\\n' > /etc/systemd/resolved.conf.d/hand.conf && \
             systemctl restart systemd-resolved",
            "resolvectl domain ens5 '~corp.internal' && resolvectl dns ens5 192.0.2.1",
            "resolvectl dns hand0 192.0.2.1 && resolvectl domain hand0 hand.example",
        ],
        clear: "",
        query: Some("resolvectl query"),
        service: Some("systemd-resolved"),
        holds: Some((RESOLVED_HOLDS, "systemctl restart systemd-networkd systemd-resolved")),
        given_back: &[
            ("resolvectl default-route hand0", "yes"),
            ("resolvectl dns hand0", "192.0.2.1"),
            ("resolvectl domain hand0", "hand.example"),
            ("resolvectl dns", "Global: 192.0.2.1"),
            ("resolvectl domain", "Global: ~."),
            (
                "ip link delete hand0 && rm /etc/systemd/resolved.conf.d/hand.conf && \
                 systemctl restart systemd-resolved && echo cleared",
                "cleared",
            ),
        ],
    });
}

#[test]
fn resolveds_stub_of_ubuntu_follows_the_fleets_servers_and_is_given_back() {
    check(&Subject {
        file: None,
        told: Some("reason=BOUND\ninterface=ens5\n"),
        shape: Shape::Ubuntu,
        owner: "systemd-resolved",
        // At boot the dispatcher had no hook to run, and so did not start (`ConditionDirectoryNotEmpty`).
        tramples: &[
            "resolvectl dns ens5 192.0.2.1",
            "systemctl start networkd-dispatcher && networkctl reconfigure ens5",
        ],
        clear: "",
        query: Some("resolvectl query"),
        service: Some("systemd-resolved"),
        holds: Some((RESOLVED_HOLDS, "systemctl restart systemd-networkd systemd-resolved")),
        given_back: &[],
    });
}

#[test]
fn a_plain_file_beside_resolved_follows_the_fleets_servers_with_it_and_both_are_given_back() {
    check(&Subject {
        told: None,
        file: Some("nameserver 10.66.0.1\n"),
        shape: Shape::Ubuntu,
        owner: "systemd-resolved",
        tramples: &[
            "resolvectl dns ens5 192.0.2.1",
            "echo 'nameserver 192.0.2.1' > /etc/resolv.conf",
        ],
        clear: "",
        query: Some("resolvectl query"),
        service: Some("systemd-resolved"),
        holds: Some((
            "cat /etc/resolv.conf; resolvectl dns; resolvectl domain; resolvectl default-route",
            "systemctl restart systemd-networkd systemd-resolved",
        )),
        given_back: &[("cat /etc/resolv.conf", "nameserver 10.66.0.1\n")],
    });
}

#[test]
fn resolved_that_network_manager_tells_on_fedora_follows_the_fleets_servers_and_is_given_back() {
    check(&Subject {
        file: None,
        told: None,
        shape: Shape::Fedora,
        owner: "systemd-resolved",
        tramples: &["resolvectl dns ens5 192.0.2.1", "systemctl restart NetworkManager"],
        clear: "",
        query: Some("resolvectl query"),
        service: Some("systemd-resolved"),
        holds: Some((RESOLVED_HOLDS, "systemctl restart NetworkManager")),
        given_back: &[],
    });
}

#[test]
fn network_manager_follows_the_fleets_servers_and_is_given_back() {
    check(&Subject {
        file: None,
        told: None,
        shape: Shape::NetworkManager,
        owner: "networkmanager",
        tramples: &[
            "echo 'nameserver 192.0.2.1' > /etc/resolv.conf",
            "systemctl restart NetworkManager",
            "nmcli connection up \"$(nmcli --terse --fields=NAME connection show --active | head -n 1)\"",
        ],
        clear: "",
        query: None,
        service: Some("NetworkManager"),
        holds: Some((
            "busctl get-property org.freedesktop.NetworkManager /org/freedesktop/NetworkManager \
             org.freedesktop.NetworkManager GlobalDnsConfiguration; cat /etc/resolv.conf",
            "systemctl restart NetworkManager",
        )),
        given_back: &[],
    });
}

#[test]
fn a_plain_file_follows_the_fleets_servers_and_is_given_back() {
    check(&Subject {
        file: None,
        told: None,
        shape: Shape::Debian,
        owner: "resolv-conf",
        tramples: &[
            "echo 'nameserver 192.0.2.1' > /etc/resolv.conf",
            "rm /etc/resolv.conf",
            "echo 'nameserver 192.0.2.1' > /etc/new && mv /etc/new /etc/resolv.conf",
        ],
        clear: "",
        query: None,
        service: None,
        holds: None,
        given_back: &[],
    });
}

#[test]
fn openresolv_follows_the_fleets_servers_and_is_given_back() {
    check(&Subject {
        file: None,
        told: None,
        shape: Shape::Openresolv,
        owner: "resolvconf",
        tramples: &[
            // Nobody else makes resolvconf write: the client, which comes every five seconds, is held.
            "kill -STOP $(cat /run/dhclient.ens5.pid) && echo 'nameserver 192.0.2.1' > /etc/resolv.conf",
            "echo 'nameserver 192.0.2.1' | resolvconf -a other",
            "echo 'nameserver 192.0.2.1' | resolvconf -x -a another",
        ],
        clear: "resolvconf -d other && resolvconf -d another && kill -CONT $(cat /run/dhclient.ens5.pid)",
        query: None,
        service: None,
        holds: None,
        given_back: &[],
    });
}

#[test]
fn debians_resolvconf_follows_the_fleets_servers_and_is_given_back() {
    check(&Subject {
        file: None,
        told: None,
        shape: Shape::Resolvconf,
        owner: "resolvconf",
        tramples: &[
            "echo 'nameserver 192.0.2.1' > /etc/resolv.conf",
            "! resolvconf --updates-are-enabled",
            "echo 'nameserver 192.0.2.1' | resolvconf -a lo.other",
            "resolvconf --enable-updates && resolvconf -u",
        ],
        clear: "resolvconf -d lo.other",
        query: None,
        service: None,
        holds: None,
        given_back: &[],
    });
}
