//! What becomes of the zone when a lease changes, with the real client and the packaged hooks.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use crate::lab::{
    FIRST_ADDRESS, Hooks, Host, INTERFACE, MOVED_INTERFACE, NAME, ROUTER, SECOND_INTERFACE, US,
    ZONE, can_run, say, until,
};

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 150);

const MARKER: &str = "# Managed by tagalong: the fleet's living DNS servers, found by EC2 tag. Edits of `nameserver` do not last.";
const THIRD: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 151);
const SECOND_NAME: &str = "web-1-second.corp.internal";

/// Nothing but an event wakes the agent in the time of a test.
const NO_LOOKS: &str = "[metadata]\nrefresh = \"1h\"\n";

#[test]
fn a_lease_for_another_address_is_followed_by_the_zone() {
    if can_run("a lease for another address") {
        follows(Hooks::Installed);
    }
}

#[test]
fn an_address_that_no_hook_reports_is_followed_by_the_zone() {
    if can_run("an address that no hook reports") {
        follows(Hooks::Missing);
    }
}

fn follows(hooks: Hooks) {
    let mut host = Host::new("", hooks);
    host.dhclient();
    host.agent(NO_LOOKS);
    until("the first address is published", || {
        host.vpc.published(NAME) == [FIRST_ADDRESS.to_string()]
    });
    host.vpc.move_host(OTHER);
    until("the host has the new address", || host.has(OTHER));
    let bound = Instant::now();
    until("the new address is published", || host.vpc.published(NAME) == [OTHER.to_string()]);
    say(&format!(
        "hooks {hooks:?}: {:?} from BOUND to the new address being served, at most",
        bound.elapsed()
    ));
    if hooks == Hooks::Installed {
        let report = host.read(&format!("/run/tagalong/hook/{INTERFACE}:4"));
        assert!(report.contains(&format!("new={OTHER}")), "{report}");
    }
}

#[test]
fn a_network_that_comes_late_finds_an_agent_that_publishes_and_a_client_that_may_still_set_the_resolver()
 {
    if !can_run("a network that comes late") {
        return;
    }
    let mut host = Host::new("", Hooks::Installed);
    // What the last boot left, of servers that are gone.
    let dead = "nameserver 10.66.0.9\n";
    host.write("/etc/resolv.conf", &format!("{MARKER}\n{dead}"));
    host.agent("");
    until("it has listed in vain", || host.log("agent").contains("ends job=List outcome=Failed"));
    assert!(host.read("/etc/resolv.conf").contains(dead), "nothing better is known");
    host.dhclient();
    until("it is published", || host.vpc.published(NAME) == [FIRST_ADDRESS.to_string()]);
    let file = host.read("/etc/resolv.conf");
    assert!(file.contains(&format!("nameserver {ROUTER}\n")) && !file.contains(dead), "{file}");
}

#[test]
fn an_address_that_was_given_back_is_replaced_as_soon_as_there_is_a_network_again() {
    if !can_run("an address that is given back") {
        return;
    }
    let mut host = Host::new("", Hooks::Installed);
    host.dhclient();
    host.agent("");
    until("the first address is published", || {
        host.vpc.published(NAME) == [FIRST_ADDRESS.to_string()]
    });
    host.release(INTERFACE);
    until("the release is reported", || {
        host.read(&format!("/run/tagalong/hook/{INTERFACE}:4")).contains("reason=RELEASE")
    });
    // The only way to the servers is gone with the address: the record stays until there is one, and then it is right.
    host.vpc.move_host(OTHER);
    host.dhclient();
    until("the next address is published", || host.vpc.published(NAME) == [OTHER.to_string()]);
}

#[test]
fn an_address_that_is_given_back_or_expires_is_withdrawn_by_the_way_that_is_left_and_stays_so() {
    if !can_run("an address that is lost while there is another way") {
        return;
    }
    let mut host = with_two_leases();
    // RELEASE: the second interface's address, and that alone.
    host.release(SECOND_INTERFACE);
    until("what was given back is withdrawn", || host.vpc.published(SECOND_NAME).is_empty());
    assert_eq!(host.vpc.published(NAME), [FIRST_ADDRESS.to_string()]);
    host.dhclient_on(SECOND_INTERFACE);
    until("it is published again", || host.vpc.published(SECOND_NAME) == [OTHER.to_string()]);
    // EXPIRE: no server renews the first one's. The second interface has its address and its route for good.
    host.kill(SECOND_INTERFACE);
    host.ip(&["addr", "change", &format!("{OTHER}/24"), "dev", SECOND_INTERFACE]);
    let route = ["route", "add", "default", "via", &ROUTER.to_string(), "dev", SECOND_INTERFACE];
    host.ip(&[&route[..], &["metric", "200"]].concat());
    host.vpc.stop_dhcp();
    until("the lease expires", || {
        host.read(&format!("/run/tagalong/hook/{INTERFACE}:4")).contains("reason=EXPIRE")
    });
    until("what expired is withdrawn", || host.vpc.published(NAME).is_empty());
    assert_eq!(host.vpc.published(SECOND_NAME), [OTHER.to_string()]);
    // FAIL follows, which names no address, while the metadata still list the one that is lost.
    let passes = || host.log("agent").matches("ends job=Register").count();
    let before = passes();
    until("the client gives up", || {
        host.read(&format!("/run/tagalong/hook/{INTERFACE}:fail")).contains("reason=FAIL")
    });
    until("it is looked at", || passes() > before);
    assert_eq!(host.vpc.published(NAME), [""; 0], "{}", host.log("agent"));
    assert_eq!(host.vpc.published(SECOND_NAME), [OTHER.to_string()]);
}

#[test]
fn of_two_interfaces_with_leases_each_is_followed_by_its_own_name() {
    if !can_run("two interfaces with leases") {
        return;
    }
    let host = with_two_leases();
    host.vpc.move_host(THIRD);
    until("the first one's new address is published", || {
        host.vpc.published(NAME) == [THIRD.to_string()]
    });
    assert_eq!(host.vpc.published(SECOND_NAME), [OTHER.to_string()]);
}

#[test]
fn an_address_that_another_interface_has_taken_over_is_published_although_the_first_one_lost_it() {
    if !can_run("an address that moves to another interface") {
        return;
    }
    let mut host = with_two_leases();
    let is_published = |host: &Host| host.vpc.published(SECOND_NAME) == [OTHER.to_string()];
    // The old interface's client says EXPIRE, STOP or nothing; the report of the loss stays there when the new one has the address.
    host.release(SECOND_INTERFACE);
    host.replace_second();
    host.dhclient_on(MOVED_INTERFACE);
    until("it is published again", || is_published(&host));
    let old = host.read(&format!("/run/tagalong/hook/{SECOND_INTERFACE}:4"));
    assert!(old.contains("reason=RELEASE"), "{old}");
    // What the old interface lost stays lost there, and is not held against the new one at later passes.
    let passes = |host: &Host| host.log("agent").matches("ends job=Register").count();
    let before = passes(&host);
    host.vpc.move_host(THIRD);
    until("another pass", || {
        passes(&host) > before && host.vpc.published(NAME) == [THIRD.to_string()]
    });
    assert!(is_published(&host));
}

/// A host with two interfaces, each with a lease and a name.
fn with_two_leases() -> Host {
    // For the client, whose server gives two minutes, and which waits one before it gives up.
    let client = "supersede dhcp-lease-time 15;\ntimeout 5;\n";
    let mut host = Host::new(client, Hooks::Installed);
    host.dhclient();
    host.attach_second(OTHER);
    host.dhclient_on(SECOND_INTERFACE);
    host.agent(
        "[metadata]\nrefresh = \"1h\"\n[[record]]\nname = \"{tag:Name}-second.corp.internal\"\naddresses = [\"device-index=1\"]\n"
    );
    until("both are published", || {
        host.vpc.published(NAME) == [FIRST_ADDRESS.to_string()]
            && host.vpc.published(SECOND_NAME) == [OTHER.to_string()]
    });
    host
}

#[test]
fn a_second_interface_that_is_attached_is_published_and_one_that_goes_takes_no_other_name_with_it()
{
    if !can_run("a second interface") {
        return;
    }
    let mut host = Host::new("", Hooks::Installed);
    host.dhclient();
    host.agent(
        "[metadata]\nrefresh = \"1h\"\n[[record]]\nname = \"{tag:Name}-second.corp.internal\"\naddresses = [\"device-index=1\"]\n",
    );
    until("the first address is published", || {
        host.vpc.published(NAME) == [FIRST_ADDRESS.to_string()]
    });
    assert!(host.vpc.published(SECOND_NAME).is_empty());
    host.attach_second(OTHER);
    host.ip(&["addr", "add", &format!("{OTHER}/32"), "dev", SECOND_INTERFACE]);
    until("the second interface is published", || {
        host.vpc.published(SECOND_NAME) == [OTHER.to_string()]
    });
    assert_eq!(host.vpc.published(NAME), [FIRST_ADDRESS.to_string()]);
    host.detach_second();
    until("its address is said to be missing", || {
        host.log("agent").contains("the instance has no address for web-1-second")
    });
    assert_eq!(host.vpc.published(NAME), [FIRST_ADDRESS.to_string()]);
}

#[test]
fn a_renewal_with_agent_servers_and_metadata_dead_or_the_agent_stopped_goes_through() {
    if !can_run("a renewal with everything dead") {
        return;
    }
    let mut host = Host::new("", Hooks::Installed);
    host.vpc.world.faults().set(
        sandbox::fault::Service::Imds,
        sandbox::fault::Fault { drop: true, ..sandbox::fault::Fault::default() },
    );
    let dead = host.vpc.kill_primary();
    host.dhclient();
    let renewals = |host: &Host| host.log(INTERFACE).matches("bound to").count();
    let before = renewals(&host);
    until("three renewals", || renewals(&host) >= before + 3);
    // The report of the last one waits for an agent.
    let report = host.read(&format!("/run/tagalong/hook/{INTERFACE}:4"));
    assert!(report.contains("reason=RENEW"), "{report}");
    host.vpc.world.faults().clear();
    drop(dead);
    host.vpc.respawn_primary();
    host.agent("");
    until("an agent that comes late publishes", || {
        host.vpc.published(NAME) == [FIRST_ADDRESS.to_string()]
    });
    // One that is stopped holds up nobody either, and finds what it has missed.
    host.signal("agent", "STOP");
    host.vpc.move_host(OTHER);
    until("the client has the new address", || {
        host.log(INTERFACE).contains(&format!("bound to {OTHER}"))
    });
    let before = renewals(&host);
    until("a renewal", || renewals(&host) > before);
    assert_eq!(host.vpc.published(NAME), [FIRST_ADDRESS.to_string()]);
    host.signal("agent", "CONT");
    until("the new address is published", || host.vpc.published(NAME) == [OTHER.to_string()]);
}

#[test]
fn an_ipv6_address_that_is_deprecated_is_not_published_beside_one_that_is_preferred() {
    if !can_run("an IPv6 address that is deprecated") {
        return;
    }
    let mut host = Host::new("", Hooks::Missing);
    host.dhclient();
    let ipv6s = ["2001:db8:66::7", "2001:db8:66::8"].map(|text| text.parse::<Ipv6Addr>().unwrap());
    let lives = |host: &Host, address: Ipv6Addr, seconds: &str| {
        let address = format!("{address}/64");
        host.ip(&[
            "-6",
            "addr",
            "replace",
            &address,
            "dev",
            INTERFACE,
            "nodad",
            "valid_lft",
            "forever",
            "preferred_lft",
            seconds,
        ]);
    };
    ipv6s.iter().for_each(|address| lives(&host, *address, "forever"));
    host.vpc.world.update_instance(US, |us| us.interfaces[0].ipv6s = ipv6s.to_vec());
    let name = format!("both.{ZONE}");
    host.agent(&format!(
        "[[record]]\nname = \"{name}\"\naddresses = [\"ipv6\"]\nreverse = false\n{NO_LOOKS}"
    ));
    let is_published = |host: &Host, expect: &[Ipv6Addr]| {
        let found = host.vpc.published_as(&name, "AAAA");
        found.len() == expect.len()
            && expect.iter().all(|address| found.contains(&address.to_string()))
    };
    until("both are published", || is_published(&host, &ipv6s));
    // An event of rtnetlink, and nothing else, says so.
    lives(&host, ipv6s[0], "0");
    until("the deprecated one is gone", || is_published(&host, &ipv6s[1..]));
    lives(&host, ipv6s[0], "forever");
    until("it is back", || is_published(&host, &ipv6s));
    ipv6s.iter().for_each(|address| lives(&host, *address, "0"));
    until("all are deprecated", || is_published(&host, &ipv6s));
}
