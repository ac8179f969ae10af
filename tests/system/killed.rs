//! An agent that is killed over and over while leases and servers change.

use std::{net::Ipv4Addr, thread, time::Duration};

use crate::lab::{FIRST_ADDRESS, Hooks, Host, NAME, can_run, until};

const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 66, 0, 2), Ipv4Addr::new(10, 66, 0, 3)];
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 150);
const MARK: &str = "# Managed by tagalong";

#[test]
fn killed_200_times_while_leases_and_servers_change_it_leaves_a_whole_file_and_state_and_the_zone_is_right_at_the_end()
 {
    if !can_run("an agent that is killed") {
        return;
    }
    let mut host = Host::new("", Hooks::Installed);
    let _servers = SERVERS.map(|address| host.vpc.named(address));
    host.vpc.list(SERVERS[0]);
    host.dhclient();
    host.agent("");
    until("it is settled", || host.uses(SERVERS[0]) && !host.vpc.published(NAME).is_empty());
    host.kill("agent");
    let (mut moves, mut of_ours) = (0, 0);
    let named = std::env::var("TAGALONG_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut seed = named.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("the moments are those of TAGALONG_SEED={seed}");
    for round in 0..200_u32 {
        // The client comes back every five seconds.
        if round % 50 == 25 {
            host.vpc.move_host(if round % 100 == 25 { OTHER } else { FIRST_ADDRESS });
            moves += 1;
        }
        match round % 4 {
            0 => host.vpc.list(SERVERS[1]),
            2 => host.vpc.unlist(SERVERS[1]),
            _ => {}
        }
        host.agent("");
        // The moments are spread over all that it does at its start, and after it.
        // (Knuth's MMIX generator)
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_millis((seed >> 33) % 601));
        host.kill("agent");
        let file = host.read("/etc/resolv.conf");
        let is_ours = file.starts_with(MARK);
        of_ours += u32::from(is_ours);
        let is_whole =
            if is_ours { file.ends_with("attempts:2\n") } else { file.contains("nameserver ") };
        assert!(is_whole, "half a resolv.conf: {file:?}");
        let state = host.read("/var/lib/tagalong/state.json");
        serde_json::from_str::<serde_json::Value>(&state).expect("a loadable state file");
    }
    let log = host.log("agent");
    let [begun, set, published] =
        ["the agent begins", "resolver set", ": published "].map(|what| log.matches(what).count());
    eprintln!(
        "killed 200 times, {moves} changes of the lease; the file was ours {of_ours} times; {begun} had begun, {set} set the \
         resolver, {published} published"
    );
    assert!(begun > 150 && set > 20 && published > 2, "most die before they do anything");
    host.vpc.move_host(OTHER);
    host.vpc.list(SERVERS[1]);
    host.agent("");
    until("the zone is right", || host.vpc.published(NAME) == [OTHER.to_string()]);
    let reverse = |address: Ipv4Addr| {
        let [a, b, c, d] = address.octets();
        host.vpc.published_as(&format!("{d}.{c}.{b}.{a}.in-addr.arpa"), "PTR")
    };
    until("the reverse zone is right", || {
        reverse(OTHER) == [format!("{NAME}.")] && reverse(FIRST_ADDRESS).is_empty()
    });
    until("the file is right", || SERVERS.iter().all(|address| host.uses(*address)));
    assert!(!host.log("agent").contains("cannot be read"), "{}", host.log("agent"));
}
