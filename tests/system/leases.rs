//! What becomes of the zone when a lease changes, with the real client and the packaged hooks.

use std::{net::Ipv4Addr, time::Instant};

use crate::lab::{FIRST_ADDRESS, Hooks, Host, INTERFACE, NAME, can_run, until};

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 150);

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
    until("the client has the new address", || {
        host.log("dhclient").contains(&format!("bound to {OTHER}"))
    });
    let bound = Instant::now();
    until("the new address is published", || host.vpc.published(NAME) == [OTHER.to_string()]);
    eprintln!(
        "hooks {hooks:?}: {:?} from BOUND to the new address being served, at most",
        bound.elapsed()
    );
    if hooks == Hooks::Installed {
        let report = host.read(&format!("/run/tagalong/hook/{INTERFACE}:4"));
        assert!(report.contains(&format!("new={OTHER}")), "{report}");
    }
}

#[test]
fn an_address_that_is_given_back_is_withdrawn_where_the_network_still_allows_it() {
    if !can_run("an address that is given back") {
        return;
    }
    let mut host = Host::new("", Hooks::Installed);
    host.dhclient();
    host.agent("");
    until("the first address is published", || {
        host.vpc.published(NAME) == [FIRST_ADDRESS.to_string()]
    });
    let output = host
        .command(
            "dhclient",
            &[
                "-4",
                "-r",
                "-v",
                "-pf",
                "/run/dhclient.pid",
                "-lf",
                "/run/dhclient.leases",
                INTERFACE,
            ],
        )
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    until("the release is reported", || {
        host.read(&format!("/run/tagalong/hook/{INTERFACE}:4")).contains("reason=RELEASE")
    });
    // The only way to the servers is gone with the address: the record stays until there is one, and then it is right.
    host.kill("dhclient");
    host.vpc.move_host(OTHER);
    host.dhclient();
    until("the next address is published", || host.vpc.published(NAME) == [OTHER.to_string()]);
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
    let second = "web-1-second.corp.internal";
    until("the first address is published", || {
        host.vpc.published(NAME) == [FIRST_ADDRESS.to_string()]
    });
    assert!(host.vpc.published(second).is_empty());
    host.attach_second(OTHER);
    until("the second interface is published", || {
        host.vpc.published(second) == [OTHER.to_string()]
    });
    assert_eq!(host.vpc.published(NAME), [FIRST_ADDRESS.to_string()]);
    host.detach_second();
    until("its address is said to be missing", || {
        host.log("agent").contains("the instance has no address for web-1-second")
    });
    assert_eq!(host.vpc.published(NAME), [FIRST_ADDRESS.to_string()]);
}

#[test]
fn a_renewal_with_agent_servers_and_metadata_dead_goes_through() {
    if !can_run("a renewal with everything dead") {
        return;
    }
    let mut host = Host::new("", Hooks::Installed);
    host.vpc.world.faults().set(
        sandbox::fault::Service::Imds,
        sandbox::fault::Fault { drop: true, ..sandbox::fault::Fault::default() },
    );
    host.dhclient();
    let renewals = |host: &Host| host.log("dhclient").matches("bound to").count();
    let before = renewals(&host);
    until("three renewals", || renewals(&host) >= before + 3);
    // The report of the last one waits for an agent.
    let report = host.read(&format!("/run/tagalong/hook/{INTERFACE}:4"));
    assert!(report.contains("reason=RENEW"), "{report}");
    host.vpc.world.faults().clear();
    host.agent("");
    until("an agent that comes late publishes", || {
        host.vpc.published(NAME) == [FIRST_ADDRESS.to_string()]
    });
}
