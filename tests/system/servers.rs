//! What becomes of the host's resolver when the fleet's DNS servers change, and what it costs in calls of EC2.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use sandbox::fault::Service;

use crate::{
    lab::{FIRST_ADDRESS, Hooks, Host, NAME, US, ZONE, can_run, say, until},
    lookups::Lookups,
};

/// `timeout:5`
const WAIT: Duration = Duration::from_secs(5);
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 3);
const THIRD: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 4);

#[test]
fn a_respawned_server_reaches_the_host_at_its_next_listing_and_a_dead_one_is_out_before_it() {
    if !can_run("a respawned server") {
        return;
    }
    let mut host = Host::new("", Hooks::Installed);
    let first = host.vpc.named(FIRST);
    let _second = host.vpc.named(SECOND);
    host.vpc.list(FIRST);
    host.vpc.list(SECOND);
    host.dhclient();
    host.agent("probe = \"2s\"\n[discovery]\nrefresh = \"5s\"\n");
    until("both are in use", || host.uses(FIRST) && host.uses(SECOND));
    let lookups = Lookups::start(&host);

    let calls = |host: &Host| host.vpc.world.requests(Service::Ec2).len();
    let (before, tagged) = (calls(&host), Instant::now());
    let _third = host.vpc.named(THIRD);
    host.vpc.list(THIRD);
    until("the new one is in use", || host.uses(THIRD));
    say(&format!(
        "from the tag to the file: {:?} with the list read every 5 s, {} call(s) of EC2",
        tagged.elapsed(),
        calls(&host) - before
    ));
    // One call a listing: 5 s, with a quarter of jitter on each.
    let listings = tagged.elapsed().as_secs_f64() / 3.75 + 1.0;
    assert!(f64::from(u32::try_from(calls(&host) - before).unwrap()) <= listings);

    let died = Instant::now();
    drop(first);
    let _dead = host.vpc.black_hole(FIRST);
    until("the dead one is out", || !host.uses(FIRST));
    say(&format!("from its death to the file: {:?} with probes every 2 s", died.elapsed()));
    assert!(host.uses(SECOND) && host.uses(THIRD));
    // EC2 still lists it, and so do listings for as long as it does: it stays out all the same.
    let listed = calls(&host);
    until("two more listings", || calls(&host) >= listed + 2);
    assert!(!host.uses(FIRST), "{}", host.read("/etc/resolv.conf"));
    let tally = lookups.stop();
    say(&format!("servers respawned: {tally}"));
    assert_eq!(tally.failed, 0, "{tally}");
}

#[test]
fn a_server_that_is_drained_is_shut_down_without_one_look_up_that_fails_or_waits_for_it() {
    if !can_run("a server that is drained") {
        return;
    }
    let mut host = Host::new("", Hooks::Installed);
    let mut servers = [FIRST, SECOND].map(|address| (address, Some(host.vpc.named(address))));
    servers.iter().for_each(|(address, _)| host.vpc.list(*address));
    host.dhclient();
    // Whoever asks a dead server waits for longer than any look-up of this test may take.
    host.agent("options = [\"timeout:5\", \"attempts:1\"]\n[discovery]\nrefresh = \"2s\"\n");
    until("both are in use", || host.uses(FIRST) && host.uses(SECOND));
    let first = || {
        let text = host.read("/etc/resolv.conf");
        let line = text.lines().find_map(|line| line.strip_prefix("nameserver "));
        line.unwrap_or_default().to_owned()
    };
    let (drained, process) =
        servers.iter_mut().find(|(address, _)| address.to_string() == first()).unwrap();
    let lookups = Lookups::start(&host);
    host.vpc.drain(*drained);
    until("it is used last", || host.uses(*drained) && first() != drained.to_string());
    // Shut down while it is still listed and still in the file.
    drop(process.take());
    let _dead = host.vpc.black_hole(*drained);
    until("it is out", || !host.uses(*drained));
    let tally = lookups.stop();
    say(&format!("a server drained and shut down: {tally}"));
    assert_eq!(tally.failed, 0, "{tally}");
    assert!(tally.longest < WAIT, "{tally}");
}

#[test]
fn a_clock_that_is_set_has_everything_looked_at_anew() {
    if !can_run("a clock that is set") {
        return;
    }
    let mut host = Host::new("", Hooks::Installed);
    host.dhclient();
    host.agent("[metadata]\nrefresh = \"1h\"\n");
    until("it has begun", || host.log("agent").contains("ends job=Look"));
    let looks = |host: &Host| host.log("agent").matches("begins job=Look").count();
    let before = looks(&host);
    until("it is published", || host.vpc.published(NAME) == [FIRST_ADDRESS.to_string()]);
    // Nothing else would find it within the hour.
    let other = format!("web-2.{ZONE}");
    host.vpc.world.update_instance(US, |us| drop(us.tags.insert("Name".into(), "web-2".into())));
    // To what it is: for the kernel that is a step like any other, and for everybody else on this machine none.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    if rustix::time::clock_settime(rustix::time::ClockId::Realtime, now).is_err() {
        return say("NOT RUN: a clock that is set needs the right to set it");
    }
    until("it looks again", || looks(&host) > before);
    assert!(host.log("agent").contains("event=Some(ClockStepped)"));
    until("the zone is right", || host.vpc.published(&other) == [FIRST_ADDRESS.to_string()]);
    until("and holds no other name", || host.vpc.published(NAME).is_empty());
}
