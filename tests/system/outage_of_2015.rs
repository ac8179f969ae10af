//! The outage of 2015, replayed: a DNS server is respawned at another address, the old one is shut down, and dhclient, which never
//! reads its configuration again, writes the dead server back into resolv.conf at its next renewal.

use std::{net::Ipv4Addr, thread, time::Duration};

use crate::{
    lab::{Hooks, Host, can_run, say, until},
    lookups::Lookups,
};

const OLD: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 2);
const NEW: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 4);
/// Renewals come every five seconds.
const TWO_RENEWALS: Duration = Duration::from_secs(12);

fn overrides(server: Ipv4Addr) -> String {
    format!("supersede domain-name-servers {server};\n")
}

#[test]
fn without_tagalong_a_renewal_brings_the_dead_server_back_and_lookups_fail() {
    if !can_run("the outage of 2015") {
        return;
    }
    let mut host = Host::new(&overrides(OLD), Hooks::Missing);
    let old = host.vpc.named(OLD);
    host.dhclient();
    assert!(host.uses(OLD), "dhclient wrote what its configuration says");
    let lookups = Lookups::start(&host);
    // The respawn: the new list is pushed to both files, and everything looks great.
    let _new = host.vpc.named(NEW);
    host.write("/etc/dhcp/dhclient.conf", &overrides(NEW));
    host.write("/etc/resolv.conf", &format!("nameserver {NEW}\n"));
    drop(old);
    let _dead = host.vpc.black_hole(OLD);
    until("the renewal writes the dead server back", || host.uses(OLD));
    thread::sleep(TWO_RENEWALS);
    let tally = lookups.stop();
    say(&format!("2015, without tagalong: {tally}"));
    assert!(tally.failed > 0, "{tally}");
    assert!(host.uses(OLD) && !host.uses(NEW), "the host has lost DNS");
}

#[test]
fn with_tagalong_no_lookup_fails_while_a_server_is_respawned_and_the_old_one_shut_down() {
    if !can_run("the outage of 2015, with tagalong") {
        return;
    }
    let mut host = Host::new(&overrides(OLD), Hooks::Installed);
    let old = host.vpc.named(OLD);
    host.vpc.list(OLD);
    host.dhclient();
    host.agent("[discovery]\nrefresh = \"5s\"\n");
    until("the agent sets the resolver", || {
        host.read("/etc/resolv.conf").starts_with("# Managed by tagalong")
    });
    let lookups = Lookups::start(&host);
    // The respawn: nothing is pushed anywhere. The new server has its tag, and that is all.
    let _new = host.vpc.named(NEW);
    host.vpc.list(NEW);
    until("the new server is in use", || host.uses(NEW));
    drop(old);
    let _dead = host.vpc.black_hole(OLD);
    until("the dead server is out", || !host.uses(OLD));
    let renewals = || host.log(crate::lab::INTERFACE).matches("bound to").count();
    let before = renewals();
    until("two renewals", || renewals() >= before + 2);
    assert!(host.uses(NEW) && !host.uses(OLD), "{}", host.read("/etc/resolv.conf"));
    let tally = lookups.stop();
    say(&format!("2015, with tagalong: {tally}"));
    assert_eq!(tally.failed, 0, "{tally}");
    assert!(tally.lookups > 50, "{tally}");
    assert_eq!(host.vpc.published(crate::lab::NAME), [crate::lab::FIRST_ADDRESS.to_string()]);
}
