//! The other client, dhcpcd, with the packaged hook.

use std::{net::Ipv4Addr, time::Instant};

use crate::lab::{FIRST_ADDRESS, Hooks, Host, INTERFACE, NAME, can_run, until};

const OTHER: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 150);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 2);

#[test]
fn dhcpcds_lease_for_another_address_is_followed_and_its_hook_leaves_our_file_alone() {
    if !can_run("dhcpcd") {
        return;
    }
    let mut host = Host::new("", Hooks::Installed);
    let _server = host.vpc.named(SERVER);
    host.vpc.list(SERVER);
    host.dhcpcd();
    host.agent("[metadata]\nrefresh = \"1h\"\n");
    until("the first address is published", || {
        host.vpc.published(NAME) == [FIRST_ADDRESS.to_string()]
    });
    until("the resolver is set", || host.uses(SERVER));
    host.vpc.move_host(OTHER);
    let leased = format!("leased {OTHER}");
    until("the client has the new address", || host.log("dhcpcd").contains(&leased));
    let bound = Instant::now();
    until("the new address is published", || host.vpc.published(NAME) == [OTHER.to_string()]);
    eprintln!(
        "dhcpcd: {:?} from its lease to the new address being served, at most",
        bound.elapsed()
    );
    let report = host.read(&format!("/run/tagalong/hook/{INTERFACE}:4"));
    assert!(report.contains(&format!("new={OTHER}")), "{report}");
    assert!(
        host.uses(SERVER) && !host.log("agent").contains("another program changed"),
        "{}",
        host.read("/etc/resolv.conf")
    );
}
