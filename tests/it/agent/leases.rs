//! Leases of what is published (RFC 9664): refreshed while the agent lives, over when it does not.

use std::{fs, thread, time::Duration};

use super::Home;
use crate::{
    authority::{Authority, Named, fleet, tsig_keygen},
    peers::Peer,
    support::{Lab, NAME, REVERSE, until},
};

/// What the sandbox's server grants at most, however much is asked for.
const GRANTED: Duration = Duration::from_secs(12);

fn leasing(more: &str) -> Home {
    let home = Home::new();
    home.server.grant_leases(Some(GRANTED));
    home.configure("");
    let path = home.lab.path("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\nkey_file", &format!("\nlease = \"10m\"\n{more}key_file")))
        .unwrap();
    home
}

fn stays_and_goes(home: &Home) {
    let agent = home.settled();
    let updates = home.server.updates();
    let began = std::time::Instant::now();
    while began.elapsed() < GRANTED * 2 {
        assert_eq!(home.published(), ["10.0.1.23"], "the lease was not refreshed in time");
        assert_eq!(home.server.records(REVERSE).len(), 2);
        assert_eq!(home.server.records(NAME).len(), 2, "{:?}", home.server.records(NAME));
        thread::sleep(Duration::from_millis(100));
    }
    let sent = home.server.updates() - updates;
    // Two zones, each refreshed after four fifths of the lease.
    assert!((2..=12).contains(&sent), "{sent} updates");
    drop(agent);
    until("nobody refreshes it, and it goes", || home.published().is_empty());
    until("all of it goes", || {
        home.server.records(NAME).is_empty() && home.server.records(REVERSE).is_empty()
    });
}

#[test]
fn a_lease_is_refreshed_in_time_and_ends_with_the_host() {
    stays_and_goes(&leasing(""));
}

#[test]
fn a_name_that_is_marked_by_dhcid_is_refreshed_with_its_mark() {
    stays_and_goes(&leasing("marker = \"dhcid\"\n"));
}

#[test]
fn a_change_of_one_record_leases_the_whole_name_anew() {
    let home = leasing("");
    let once = |home: &Home| home.lab.tagalong(&["once", "--deadline", "10s"]);
    once(&home).expect_code(0);
    thread::sleep(GRANTED * 2 / 3);
    home.lab.world.update_instance(crate::support::US, |us| us.move_to([10, 0, 1, 24].into()));
    assert_eq!(home.published(), ["10.0.1.23"], "the first lease is not over");
    once(&home).expect_code(0);
    // The marker's first lease would be over by now, and the address's is not.
    thread::sleep(GRANTED * 2 / 3);
    assert_eq!(home.server.records(NAME).len(), 2, "{:?}", home.server.records(NAME));
    until("it goes", || home.server.records(NAME).is_empty());
    // What went is published as something new.
    once(&home).expect_code(0).prints(&["published"]);
    assert_eq!(home.published(), ["10.0.1.24"]);
}

#[test]
fn a_lease_that_is_not_wanted_any_more_is_ended_and_one_that_is_wanted_now_asked_for() {
    let home = leasing("");
    let once = || home.lab.tagalong(&["once", "--deadline", "10s"]).expect_code(0);
    let leased = fs::read_to_string(home.lab.path("config.toml")).unwrap();
    home.configure("");
    once().prints(&["published"]);
    fs::write(home.lab.path("config.toml"), leased).unwrap();
    let plan = home.lab.tagalong(&["plan"]).expect_code(0);
    plan.prints(&["it is sent again, to be kept"]);
    once().prints(&["sent again"]);
    assert!(home.lab.state().contains("\"lease\": 12"), "{}", home.lab.state());
    home.configure("");
    once().prints(&["sent again"]);
    assert!(!home.lab.state().contains("lease"), "{}", home.lab.state());
    thread::sleep(GRANTED + Duration::from_secs(1));
    assert_eq!(home.published(), ["10.0.1.23"], "it stays now");
    once().prints(&["unchanged"]);
}

#[test]
fn text_of_others_at_our_name_is_not_leased_with_it() {
    let home = leasing("");
    let once = |verb: &str| home.lab.tagalong(&[verb, "--deadline", "10s"]).expect_code(0);
    once("once");
    home.server.zones().add(&format!("{NAME} 60 TXT \"v=spf1 -all\"")).unwrap();
    home.lab.world.update_instance(crate::support::US, |us| us.move_to([10, 0, 1, 24].into()));
    once("once");
    once("withdraw");
    thread::sleep(GRANTED + Duration::from_secs(1));
    let left = home.server.records(NAME);
    assert_eq!(
        left.iter().map(|(kind, _, data)| (&**kind, &**data)).collect::<Vec<_>>(),
        [("TXT", "\"v=spf1 -all\"")]
    );
}

#[test]
fn an_old_name_that_stays_is_refreshed_until_the_new_one_stands() {
    let home = leasing("");
    home.server.zones().add("taken.corp.internal. 60 A 10.9.9.9").unwrap();
    let agent = home.settled();
    home.lab.world.update_instance(crate::support::US, |us| {
        us.tags.insert("Name".to_owned(), "taken".to_owned());
    });
    let began = std::time::Instant::now();
    while began.elapsed() < GRANTED * 2 {
        assert_eq!(
            home.published(),
            ["10.0.1.23"],
            "the old name's lease was not refreshed: {}",
            agent.log()
        );
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(home.server.records("taken.corp.internal.").len(), 1);
}

#[test]
fn a_server_that_grants_no_time_at_all_is_not_asked_again_and_again() {
    for granted in [Duration::ZERO, Duration::from_secs(1)] {
        let home = leasing("");
        home.server.grant_leases(Some(granted));
        let _agent = home.start();
        until("it has published", || home.server.updates() >= 2);
        let before = home.server.updates();
        thread::sleep(Duration::from_secs(8));
        let sent = home.server.updates() - before;
        let expect = if granted.is_zero() { 0..=0 } else { 1..=6 };
        assert!(expect.contains(&sent), "{sent} updates in 8 s for {granted:?}");
    }
}

#[test]
fn a_lease_that_is_taken_out_while_an_address_changes_leaves_the_whole_name() {
    let home = leasing("");
    let once = || home.lab.tagalong(&["once", "--deadline", "10s"]).expect_code(0);
    once();
    home.configure("");
    home.lab.world.update_instance(crate::support::US, |us| us.move_to([10, 0, 1, 24].into()));
    once();
    thread::sleep(GRANTED + Duration::from_secs(1));
    assert_eq!(home.server.records(NAME).len(), 2, "{:?}", home.server.records(NAME));
    once().prints(&["unchanged"]);
}

#[test]
fn servers_that_know_no_leases_are_not_asked_again_without_a_change() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let named = Authority::Bind(Named::primary(&fleet(), &key));
    let (knot, powerdns) = (Peer::knot(&key), Peer::powerdns(&key));
    for server in [named.addr(), knot.addr, powerdns.addr] {
        let lab = Lab::new();
        lab.publish_at(&[server], &key, "");
        let path = lab.path("config.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("\nkey_file", "\nlease = \"2h\"\nkey_file")).unwrap();
        lab.once().prints(&["published"]);
        assert!(lab.state().contains("\"lease\": 0"), "{}", lab.state());
        let serial = crate::authority::serial(server, "corp.internal");
        let second = lab.once().prints(&["unchanged"]);
        assert!(!second.stdout.contains("sent again"), "{second}");
        assert_eq!(crate::authority::serial(server, "corp.internal"), serial);
        lab.tagalong(&["withdraw"]).expect_code(0);
    }
}
