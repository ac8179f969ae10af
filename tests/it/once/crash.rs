//! SIGKILL at any instant: what is there is whole, and the next pass brings everything to where it should be.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use sandbox::{dns::Server, fault::Fault};

use super::whole;
use crate::{
    authority::{dig, parsed, tsig_keygen},
    support::{Lab, NAME, OUR_MARKER, REVERSE, US, fleet_server, own_address, resolv_conf, until},
};

#[test]
fn a_pass_that_is_killed_at_any_moment_is_made_good_by_the_next() {
    let whole = whole();
    let whole_pass = {
        let started = Instant::now();
        whole.lab.once();
        started.elapsed()
    };
    let lab = &whole.lab;
    let mut kills = 0;
    for round in 0..20_u8 {
        // Something to do: another address, another name, a resolver that somebody has overwritten.
        lab.world.update_instance(US, |host| {
            host.move_to([10, 0, 2, round].into());
            host.tags.insert("Name".into(), format!("web-{}", round % 3));
        });
        let trampled = resolv_conf(&[own_address()]);
        lab.file("root/etc/resolv.conf", &trampled);
        let started = lab.start(&["once", "--deadline", "20s"]);
        // The moments are spread over the length of a pass.
        thread::sleep(whole_pass * u32::from(round) / 20);
        started.kill();
        kills += 1;

        let text = lab.resolv_conf();
        let is_ours = whole.is_resolving() && text.ends_with("attempts:2\n");
        assert!(is_ours || text == trampled, "half a resolv.conf: {text}");
        if let Ok(state) = fs::read_to_string(lab.path("state/state.json")) {
            serde_json::from_str::<serde_json::Value>(&state).expect("a loadable state file");
        }
    }
    assert_eq!(kills, 20);
    lab.world.update_instance(US, |host| {
        host.move_to([10, 0, 1, 23].into());
        host.tags.insert("Name".into(), "web-1".into());
    });
    let run = lab.once();
    assert!(!run.stderr.contains("set aside"), "{run}");
    let server = whole.server.addr();
    assert_eq!(dig(server, NAME, "A"), ["10.0.1.23"], "{run}");
    assert_eq!(dig(server, NAME, "TXT"), [OUR_MARKER]);
    assert_eq!(dig(server, REVERSE, "PTR"), [NAME]);
    // No orphan is left of any round: three names at the apex, and one in the reverse zone.
    let owners = |zone| owners(&whole.server, zone);
    assert_eq!(owners("corp.internal."), ["corp.internal.", NAME], "{run}");
    assert_eq!(owners("10.in-addr.arpa."), ["10.in-addr.arpa.", REVERSE], "{run}");
    assert!(whole.is_resolving());
    let leftovers = |name: &str| {
        let names = fs::read_dir(lab.path(name)).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.to_string_lossy().into_owned()).collect::<Vec<_>>()
    };
    // A file that was being written when its writer was killed may stay; it is never read.
    let is_known = |name: &String| {
        ["resolv.conf", "state.json", "state.lock", "resolv.conf.found"].contains(&name.as_str())
            || name.contains(".tagalong-")
    };
    assert!(leftovers("root/etc").iter().chain(&leftovers("state")).all(is_known));
}

#[test]
fn two_passes_at_once_end_with_both_content() {
    let whole = whole();
    without_turns(&whole.lab);
    let passes: Vec<_> = (0..4).map(|_| whole.lab.start(&["once", "--deadline", "20s"])).collect();
    for pass in passes {
        let run = pass.finish();
        assert_eq!(run.code, 0, "{run}");
        assert!(run.elapsed < Duration::from_secs(20), "{run}");
    }
    assert!(whole.is_published() && whole.is_resolving());
    let run = whole.lab.once();
    assert!(run.stdout.contains("2 unchanged"), "{run}");
}

#[test]
fn two_passes_at_once_forget_no_name_of_each_other() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let server = fleet_server(vec![parsed(&key)]);
    let lab = Lab::new();
    lab.publish_at(&[server.addr()], &key, "");
    without_turns(&lab);
    // Both have read the memory before either has anything to note.
    server.fault(Fault { delay_ms: 800, ..Fault::default() });
    let at_boot = lab.start(&["once", "--deadline", "20s"]);
    until("the first pass asks", || server.queries() > 0);
    lab.world.update_instance(US, |host| host.move_to([10, 0, 2, 24].into()));
    let at_lease = lab.start(&["once", "--deadline", "20s"]);
    let runs = [at_boot.finish(), at_lease.finish()];
    server.behave();
    for reverse in [REVERSE, "24.2.0.10.in-addr.arpa."] {
        let is_known = lab.state().contains(reverse);
        assert!(is_known || dig(server.addr(), reverse, "PTR").is_empty(), "{reverse}: {runs:?}");
    }
    lab.once();
    assert_eq!(
        owners(&server, "10.in-addr.arpa."),
        ["10.in-addr.arpa.", "24.2.0.10.in-addr.arpa."]
    );
    lab.tagalong(&["withdraw"]).expect_code(0);
    assert_eq!(owners(&server, "corp.internal."), ["corp.internal."]);
    assert_eq!(owners(&server, "10.in-addr.arpa."), ["10.in-addr.arpa."]);
}

/// Passes that have no run directory cannot wait for each other.
fn without_turns(lab: &Lab) {
    lab.file("run", "in the way");
}

/// The names in a zone that hold records.
fn owners(server: &Server, zone: &str) -> Vec<String> {
    let lines = server.zones().all(zone);
    let mut owners: Vec<_> =
        lines.iter().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect();
    owners.dedup();
    owners
}

#[test]
fn a_pass_waits_for_another_to_end_and_passes_by_one_that_hangs() {
    let whole = whole();
    let hold = || {
        fs::create_dir_all(whole.lab.path("run")).unwrap();
        let file = fs::File::create(whole.lab.path("run/pass.lock")).unwrap();
        file.lock().unwrap();
        file
    };
    let other = hold();
    let waiting = whole.lab.start(&["once", "--deadline", "20s"]);
    thread::sleep(Duration::from_millis(300));
    assert!(whole.lab.world.requests(sandbox::fault::Service::Imds).is_empty());
    drop(other);
    let run = waiting.finish().expect_code(0);
    assert_eq!(run.stderr, "");
    assert!(whole.is_published());

    let _hangs = hold();
    whole.lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    let run = whole.lab.tagalong(&["once", "--deadline", "4s"]).expect_code(0);
    run.says(&["note: another pass is still at work, and was not waited for any longer"]);
    assert_eq!(dig(whole.server.addr(), NAME, "A"), ["10.0.1.99"]);
}
