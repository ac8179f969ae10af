//! How Route 53 takes changes: one after another, not too many, and not at once everywhere.

use std::time::{Duration, Instant};

use sandbox::zone::Zone;

use crate::stage::{Stage, batch, set};

#[test]
fn a_change_is_pending_for_a_while_and_then_in_sync() {
    let stage = Stage::new();
    let reply = stage.changed(&[("CREATE", set("a.corp.test", "A", &["10.0.0.1"]))]);
    let sent = Instant::now();
    assert_eq!(
        (reply.text("Status").as_deref(), reply.text("Comment").as_deref()),
        (Some("PENDING"), Some("test"))
    );
    let id = reply.text("Id").unwrap();
    let id = id.strip_prefix("/change/").unwrap();
    let status = || stage.route53("GET", &format!("change/{id}"), "").text("Status").unwrap();
    while status() == "PENDING" {
        assert!(sent.elapsed() < Duration::from_secs(10), "it never becomes INSYNC");
    }
    assert_eq!(status(), "INSYNC");
    assert!(sent.elapsed() > Duration::from_millis(150));
    stage.world.set_propagation(Duration::from_hours(1));
    let reply = stage.changed(&[("CREATE", set("b.corp.test", "A", &["10.0.0.1"]))]);
    let id = reply.text("Id").unwrap();
    assert_eq!(stage.route53("GET", &id[1..], "").text("Status").as_deref(), Some("PENDING"));
    let reply = stage.route53("GET", "change/C404", "");
    assert_eq!((reply.status, reply.code().as_str()), (404, "NoSuchChange"));
}

#[test]
fn a_zone_takes_one_change_at_a_time_when_told_so() {
    let stage = Stage::new();
    stage.world.put_zone(Zone::new("Z2", "other.test"));
    let upsert = [("UPSERT", set("a.corp.test", "A", &["10.0.0.1"]))];
    stage.world.refuse_next_changes(2);
    for _ in 0..2 {
        let reply = stage.change(&upsert);
        assert_eq!((reply.status, reply.code().as_str()), (400, "PriorRequestNotComplete"));
        assert!(stage.records().is_empty());
    }
    stage.world.set_change_window(Duration::from_hours(1));
    stage.changed(&upsert);
    assert_eq!(stage.change(&upsert).code(), "PriorRequestNotComplete");
    let other = batch(&[("CREATE", set("a.other.test", "A", &["10.0.0.1"]))]);
    assert_eq!(
        stage.route53("POST", "hostedzone/Z2/rrset", &other).status,
        200,
        "another zone is free"
    );
}

#[test]
fn the_account_has_five_requests_a_second_for_everything() {
    let stage = Stage::new();
    stage.world.set_throttling(true);
    let mut answered = 0;
    let paths = ["hostedzone", "hostedzone/Z1", "hostedzone/Z1/rrset", "hostedzonesbyname"];
    let refused = paths.iter().cycle().take(200).find_map(|path| {
        let reply = stage.route53("GET", path, "");
        if reply.status == 200 {
            answered += 1;
        }
        (reply.status != 200).then_some(reply)
    });
    let refused = refused.expect("two hundred requests were answered");
    assert_eq!((refused.status, refused.code().as_str()), (400, "Throttling"));
    assert_eq!(refused.text("Message").as_deref(), Some("Rate exceeded"));
    assert!((5..15).contains(&answered), "{answered}");
}
