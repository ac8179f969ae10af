//! A host from its first boot to its last shutdown.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use sandbox::fault::{Fault, Service};

use crate::{
    lab::{APP, FIRST_ADDRESS, NAME, PRIMARY, say, until},
    machine::{End, Machine, Shape},
};

const SECOND: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 3);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 150);
/// Of what changes in the metadata only an event of the network or of a hook tells in the time of a test.
pub(crate) const MORE: &str = "[lifecycle]\nwithdraw = [\"poweroff\"]\n[discovery]\nrefresh = \"5s\"\n[metadata]\nrefresh = \"1h\"\n";

fn is_published(machine: &Machine, address: Ipv4Addr) -> bool {
    machine.vpc.published(NAME) == [address.to_string()]
}

#[test]
fn debian_is_named_at_boot_follows_lease_and_servers_keeps_its_name_over_a_reboot_and_gives_it_up_at_poweroff()
 {
    if Shape::Debian.can_boot("the life of a Debian host") {
        let mut machine = Machine::new(Shape::Debian, MORE);
        first_boot(&mut machine);
        follows_the_servers(&machine);
        follows_its_lease(&machine);
        until("the server that is gone is not asked any more", || !machine.uses(SECOND));
        is_upgraded(&machine);
        hangs(&machine);
        is_switched_off(&mut machine);
    }
}

/// A newer package while the agent runs: the new one runs, and neither the resolver nor the name was given up in between.
fn is_upgraded(machine: &Machine) {
    let show = |what: &str| {
        machine.ask(&format!("systemctl show --value --property={what} tagalong")).trim().to_owned()
    };
    let (pid, published) = (show("MainPID"), machine.vpc.published(NAME));
    let file = "stat --format='%i %y' /etc/resolv.conf; cat /etc/resolv.conf";
    let before = machine.ask(file);
    machine.upgrade("99.0.0");
    assert_eq!(show("ActiveState"), "active");
    assert_ne!(show("MainPID"), pid, "the new one runs");
    assert_eq!(machine.ask("systemctl is-enabled tagalong").trim(), "enabled");
    assert_eq!(machine.ask(file), before, "the very file");
    assert_eq!(machine.vpc.published(NAME), published);
    // One that its operator has stopped stays so.
    machine.ask("systemctl stop tagalong");
    machine.upgrade("99.0.1");
    assert_eq!(show("ActiveState"), "inactive");
    machine.ask("systemctl start tagalong");
}

/// An agent that does nothing any more is ended by systemd's watchdog, and started anew.
fn hangs(machine: &Machine) {
    machine.ask(
        "mkdir -p /run/systemd/system/tagalong.service.d && \
         printf '[Service]\nWatchdogSec=3s\nRestartSec=1s\n' > /run/systemd/system/tagalong.service.d/quick.conf && \
         systemctl daemon-reload && systemctl restart tagalong",
    );
    let show = |what: &str| {
        machine.ask(&format!("systemctl show --value --property={what} tagalong")).trim().to_owned()
    };
    let pid = show("MainPID");
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(show("MainPID"), pid, "one that lives is left alone");
    machine.ask("systemctl kill --kill-whom=main --signal=STOP tagalong");
    until("systemd starts it anew", || show("NRestarts") == "1" && show("ActiveState") == "active");
    assert_ne!(show("MainPID"), pid);
    let keeps_away = || machine.run("test -e /run/tagalong/resolver").status.success();
    until("it keeps dhclient away from resolv.conf", keeps_away);
    machine.ask(
        "printf '[Service]\\nRestart=no\\n' > /run/systemd/system/tagalong.service.d/quick.conf && \
         systemctl daemon-reload && systemctl kill --kill-whom=main --signal=KILL tagalong",
    );
    until("it is dead", || show("ActiveState") == "failed");
    assert!(!keeps_away(), "nobody follows the servers any more");
    machine.ask(
        "rm /run/systemd/system/tagalong.service.d/quick.conf && systemctl daemon-reload && \
         systemctl start tagalong",
    );
}

#[test]
fn amazon_linux_2023_is_named_at_boot_follows_its_lease_keeps_its_name_over_a_reboot_and_gives_it_up_at_poweroff()
 {
    if Shape::AmazonLinux2023.can_boot("the life of a host like Amazon Linux 2023") {
        let mut machine = Machine::new(Shape::AmazonLinux2023, MORE);
        first_boot(&mut machine);
        follows_its_lease(&machine);
        is_upgraded(&machine);
        assert_eq!(machine.ask("ls /run/tagalong/hook"), "", "rtnetlink alone");
        // As networkd-dispatcher calls it, where that is installed.
        machine
            .ask("IFACE=ens5 STATE=routable /usr/lib/networkd-dispatcher/routable.d/90-tagalong");
        let report = machine.ask("cat /run/tagalong/hook/ens5:4");
        assert!(report.starts_with("reason=BOUND\ninterface=ens5\n"), "{report}");
        is_switched_off(&mut machine);
    }
}

#[test]
fn debians_images_for_ec2_are_named_at_boot_and_follow_the_servers() {
    for shape in [Shape::Debian12, Shape::Debian13] {
        if shape.can_boot("a host like Debian's images for EC2") {
            let mut machine = Machine::new(shape, MORE);
            first_boot(&mut machine);
            follows_the_servers(&machine);
        }
    }
}

#[test]
fn a_host_of_network_manager_that_leaves_resolv_conf_alone_follows_servers_and_a_lease_that_no_dispatcher_reports()
 {
    if Shape::NetworkManager.can_boot("a host of NetworkManager") {
        let mut machine = Machine::new(Shape::NetworkManager, MORE);
        machine.put("/etc/NetworkManager/conf.d/90-dns.conf", "[main]\ndns=none\n");
        first_boot(&mut machine);
        follows_the_servers(&machine);
        follows_its_lease(&machine);
        let reports = "cat /run/tagalong/hook/* 2>/dev/null || :";
        assert!(!machine.ask(reports).contains(&OTHER.to_string()), "no dispatcher reported it");
        machine.ask("nmcli device reapply ens5");
        until("what the dispatcher is told is reported", || {
            machine.ask(reports).contains("reason=BOUND\ninterface=ens5\n")
        });
    }
}

#[test]
fn a_host_of_dhcpcd_follows_lease_and_servers() {
    if Shape::Dhcpcd.can_boot("a host of dhcpcd") {
        let mut machine = Machine::new(Shape::Dhcpcd, MORE);
        first_boot(&mut machine);
        follows_the_servers(&machine);
        follows_its_lease(&machine);
        assert!(machine.uses(PRIMARY));
        let log = machine.ask("journalctl --no-pager -b -u tagalong");
        assert!(!log.contains("another program changed"), "its hook keeps dhcpcd away: {log}");
    }
}

pub(crate) fn first_boot(machine: &mut Machine) {
    machine.vpc.list(PRIMARY);
    let began = Instant::now();
    machine.switch_on();
    until("the name is served", || is_published(machine, FIRST_ADDRESS));
    let named = began.elapsed();
    machine.wait_until_booted();
    let booted = began.elapsed();
    say(&format!("{:?}: named {named:.1?} after power on, booted {booted:.1?}", machine.shape));
    assert_eq!(machine.ask("cloud-init status").trim(), "status: done");
    assert!(machine.ask("cloud-init schema --system").contains("Valid cloud-config"));
    assert_eq!(machine.ask("systemctl is-active tagalong").trim(), "active");
    let exposure =
        machine.ask("systemd-analyze security --no-pager --threshold=30 tagalong.service");
    say(exposure.lines().last().unwrap_or_default());
    // Others' units are the container's affair.
    let failed = machine.ask("systemctl --failed --plain --no-legend");
    assert!(!failed.contains("tagalong") && !failed.contains("cloud"), "{failed}");
    let before = machine.ask("systemctl show --value --property=Before tagalong");
    let before = before.split_whitespace().collect::<BTreeSet<_>>();
    // Nothing else waits for it.
    assert_eq!(before, BTreeSet::from(["multi-user.target", "shutdown.target"]));
}

pub(crate) fn follows_the_servers(machine: &Machine) {
    until("the resolver is set", || machine.uses(PRIMARY));
    assert!(machine.resolves(APP));
    let calls = || machine.vpc.world.requests(Service::Ec2).len();
    let (before, tagged) = (calls(), Instant::now());
    let _second = machine.vpc.named(SECOND);
    machine.vpc.list(SECOND);
    until("the respawned server is in use", || machine.uses(SECOND));
    say(&format!(
        "{:?}: from the tag to the file {:.1?}, with the list read every 5 s and {} call(s) of EC2",
        machine.shape,
        tagged.elapsed(),
        calls() - before
    ));
}

fn follows_its_lease(machine: &Machine) {
    let moved = Instant::now();
    machine.vpc.move_host(OTHER);
    until("the host has the new address", || {
        machine.ask("cat /proc/net/fib_trie").contains(&OTHER.to_string())
    });
    let bound = moved.elapsed();
    until("the new address is published", || is_published(machine, OTHER));
    say(&format!(
        "{:?}: from the change at the DHCP server to the host {:.1?}, to the zone {:.3?} later",
        machine.shape,
        bound,
        moved.elapsed().saturating_sub(bound)
    ));
}

fn is_switched_off(machine: &mut Machine) {
    let (end, took) = machine.shut_down("reboot");
    assert_eq!(end, End::Reboot);
    assert!(is_published(machine, OTHER), "a reboot keeps the name");
    say(&format!("{:?}: down for a reboot in {took:.1?}", machine.shape));
    let boot = machine.boot();
    say(&format!("{:?}: booted again in {boot:.1?}", machine.shape));
    assert!(is_published(machine, OTHER));
    assert_eq!(machine.ask("systemctl is-active tagalong").trim(), "active");

    let (end, took) = machine.shut_down("poweroff");
    assert_eq!(end, End::Off);
    assert_eq!(
        machine.vpc.published(NAME),
        [""; 0],
        "it can be taken back only while there is a network"
    );
    say(&format!("{:?}: off in {took:.1?}, the name withdrawn", machine.shape));
}

#[test]
fn a_package_that_is_removed_gives_the_resolver_back_as_it_was_found_and_dhclient_has_it_again() {
    if !Shape::Debian.can_boot("the removal of the package") {
        return;
    }
    let mut machine = Machine::new(Shape::Debian, "");
    first_boot(&mut machine);
    until("the resolver is set", || machine.uses(PRIMARY));
    let found = machine.ask("cat /var/lib/tagalong/resolv.conf.found");
    assert!(found.contains("nameserver 10.66.0.1\n"), "dhclient's: {found}");
    machine.remove_package();
    assert_eq!(machine.ask("cat /etc/resolv.conf"), found);
    assert!(is_published(&machine, FIRST_ADDRESS), "the host is still there");
    // What dhclient writes from now on stays.
    machine.ask("echo 'nameserver 192.0.2.1' > /etc/resolv.conf");
    machine.vpc.move_host(OTHER);
    until("dhclient has set the file", || machine.uses(crate::lab::ROUTER));
    machine.ask("dpkg --purge tagalong");
    let left = machine.ask("find / -xdev -path /proc -prune -o -name '*tagalong*' -print");
    let left: Vec<_> = left.lines().filter(|path| !path.starts_with("/root/")).collect();
    assert_eq!(left, ["/etc/tagalong"], "the fleet's own files");
}

#[test]
fn no_boot_of_debian_waits_for_silent_metadata_nor_for_dead_dns_servers() {
    if Shape::Debian.can_boot("boots with everything dead") {
        boots_with_everything_dead(Shape::Debian);
    }
}

#[test]
fn no_boot_of_amazon_linux_2023_waits_for_silent_metadata_nor_for_dead_dns_servers() {
    if Shape::AmazonLinux2023.can_boot("boots like Amazon Linux 2023's with everything dead") {
        boots_with_everything_dead(Shape::AmazonLinux2023);
    }
}

fn boots_with_everything_dead(shape: Shape) {
    let mut machine = Machine::new(shape, "");
    machine.vpc.list(PRIMARY);
    let dead = machine.vpc.kill_primary();
    let took = machine.boot();
    let commands = machine.ask("cloud-init analyze blame | grep --max-count=1 scripts-user");
    say(&format!(
        "the first boot took {took:.1?} with DNS servers dead, of it with the user data's commands, where a whole pass was \
         asked for, of 30 s at most: {}",
        commands.trim()
    ));
    let seconds = commands.trim().split('s').next().and_then(|text| text.parse::<f64>().ok());
    assert!(seconds.is_some_and(|seconds| seconds < 40.0), "a hang, not a figure: {commands}");
    drop(dead);
    machine.vpc.respawn_primary();
    until("the name is served, without a restart", || is_published(&machine, FIRST_ADDRESS));

    for (what, silent_servers, silent_metadata) in [
        ("DNS servers dead", true, false),
        ("metadata silent as well", true, true),
        ("metadata silent", false, true),
    ] {
        let mut dead = silent_servers.then(|| machine.vpc.kill_primary());
        if silent_metadata {
            let fault = Fault { drop: true, ..Fault::default() };
            machine.vpc.world.faults().set(Service::Imds, fault);
            // It would wait for them for minutes, with the agent and without it.
            machine.ask("touch /etc/cloud/cloud-init.disabled");
        }
        let mut took = Vec::new();
        for agent in ["mask", "unmask"] {
            machine.run(&format!("systemctl {agent} tagalong"));
            machine.shut_down("reboot");
            machine.boot();
            took.push(machine.boot_time());
        }
        let start = ["ActiveEnterTimestampMonotonic", "InactiveExitTimestampMonotonic"].map(|at| {
            let show = machine.ask(&format!("systemctl show --value --property={at} tagalong"));
            Duration::from_micros(show.trim().parse().unwrap())
        });
        let start = start[0].saturating_sub(start[1]);
        say(&format!(
            "{shape:?}, {what}: the boot took {:.2?} without the agent and {:.2?} with it, of it {start:.2?} until it was ready",
            took[0], took[1]
        ));
        assert!(start < Duration::from_secs(5), "a hang, not a figure: {start:?}");
        assert!(took[1] < took[0] + Duration::from_secs(10), "a hang, not a figure: {took:?}");
        assert_eq!(machine.ask("systemctl is-active tagalong").trim(), "active");
        if dead.take().is_some() {
            machine.vpc.respawn_primary();
        }
        machine.vpc.world.faults().clear();
        until("the name is served, without a restart", || is_published(&machine, FIRST_ADDRESS));
    }
}
