//! Races that are lost, limits that are reached, rights and zones that are missing.

use std::thread;

use sandbox::{
    fault::{Fault, Service},
    zone::RecordSet,
};

use super::{Calls, ID, NAME, calls, lab, publish, values};
use crate::support::{Lab, OUR_MARKER, US, until};

/// Runs a pass, and `meanwhile` between its reading and its writing: Route 53 is slow, and the change is on its way.
fn race(lab: &Lab, meanwhile: impl FnOnce()) -> crate::support::Run {
    lab.world.clear_requests();
    lab.world.faults().set(Service::Route53, Fault { delay_ms: 1000, ..Fault::default() });
    thread::scope(|scope| {
        let run = scope.spawn(|| lab.tagalong(&["once", "--deadline", "20s"]));
        until("the change is on its way", || {
            let requests = lab.world.requests(Service::Route53);
            requests.iter().any(|request| request.method == "POST" && request.status.is_none())
        });
        meanwhile();
        lab.world.faults().clear();
        run.join().unwrap()
    })
}

fn put(lab: &Lab, records: &[RecordSet]) {
    let mut zone = lab.world.zone(ID).unwrap();
    records.iter().for_each(|record| zone.records.insert(record.clone()));
    lab.world.put_zone(zone);
}

#[test]
fn a_name_that_another_host_takes_between_reading_and_writing_is_the_others() {
    let lab = lab();
    let theirs = [
        RecordSet::new(NAME, "A", 60, &["10.0.9.9"]),
        RecordSet::new(NAME, "TXT", 60, &["\"tagalong-owner=i-0bbbbbbbbbbbbbbb2\""]),
    ];
    let run = race(&lab, || put(&lab, &theirs)).expect_code(1);
    run.says(&["web-1.corp.internal. is left alone: it belongs to i-0bbbbbbbbbbbbbbb2"]);
    assert_eq!(values(&lab, ID, NAME, "A"), ["10.0.9.9"]);
    assert_eq!(calls(&lab).changes, 1, "the lost race, and no second try");
}

#[test]
fn a_record_that_changes_between_reading_and_writing_is_planned_again() {
    let lab = lab();
    lab.once();
    lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    let text = [RecordSet::new(NAME, "TXT", 60, &[OUR_MARKER, "\"v=spf1 -all\""])];
    race(&lab, || put(&lab, &text)).expect_code(0);
    assert_eq!(values(&lab, ID, NAME, "A"), ["10.0.1.99"]);
    let mut kept = values(&lab, ID, NAME, "TXT");
    kept.sort();
    assert_eq!(kept, [OUR_MARKER, "\"v=spf1 -all\""]);
    // The lost race, once more as a server that judges a CREATE before its DELETE would have it, and the change itself.
    assert!((2..=3).contains(&calls(&lab).changes));
}

#[test]
fn a_record_that_goes_between_reading_and_writing_is_made_anew() {
    let lab = lab();
    lab.once();
    lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    race(&lab, || {
        let mut zone = lab.world.zone(ID).unwrap();
        for kind in ["A", "TXT"] {
            lab.world.find_records(ID, NAME, kind).iter().for_each(|record| {
                zone.records.remove(record);
            });
        }
        lab.world.put_zone(zone);
    })
    .expect_code(0);
    assert_eq!(values(&lab, ID, NAME, "A"), ["10.0.1.99"]);
    assert_eq!(values(&lab, ID, NAME, "TXT"), [OUR_MARKER]);
}

#[test]
fn throttled_calls_are_made_again_inside_the_deadline() {
    for requests in [1, 3, 6] {
        let lab = lab();
        let fault = Fault { throttle: true, requests: Some(requests), ..Fault::default() };
        lab.world.faults().set(Service::Route53, fault);
        lab.once();
        assert_eq!(values(&lab, ID, NAME, "A"), ["10.0.1.23"], "{requests}");
    }
}

#[test]
fn a_change_that_is_throttled_is_made_again_without_reading_again() {
    let lab = lab();
    let only = Some("ChangeResourceRecordSets".to_owned());
    let fault = Fault { throttle: true, requests: Some(7), only, ..Fault::default() };
    lab.world.faults().set(Service::Route53, fault);
    lab.once();
    assert_eq!(calls(&lab), Calls { lists: 1, changes: 8, zones: 0 });
}

#[test]
fn the_accounts_five_requests_a_second_are_enough_for_a_pass_with_many_names() {
    let lab = lab();
    lab.world.set_throttling(true);
    let more = (0..8).map(|n| format!("[[record]]\nname = \"a{n}.corp.internal\"\n"));
    publish(&lab, &more.collect::<String>(), &format!("zone_id = \"{ID}\""));
    lab.once();
    assert_eq!(values(&lab, ID, "a7.corp.internal", "A"), ["10.0.1.23"]);
}

#[test]
fn a_prior_request_that_is_not_complete_is_waited_for() {
    let lab = lab();
    lab.world.refuse_next_changes(4);
    lab.once();
    assert_eq!(values(&lab, ID, NAME, "A"), ["10.0.1.23"]);
}

#[test]
fn throttling_that_does_not_end_is_said_when_the_deadline_comes() {
    let lab = lab();
    lab.world.faults().set(Service::Route53, Fault { throttle: true, ..Fault::default() });
    lab.tagalong(&["once", "--deadline", "10s"])
        .expect_code(1)
        .says(&["error: Route 53 throttles route53:ListResourceRecordSets", "caused by: "]);
}

#[test]
fn a_second_pass_without_its_memory_changes_nothing() {
    let lab = lab();
    lab.once();
    std::fs::remove_dir_all(lab.path("state")).unwrap();
    calls(&lab);
    lab.once().prints(&["1 unchanged"]);
    assert_eq!(calls(&lab).changes, 0);
}

#[test]
fn an_error_of_route_53_that_passes_is_waited_out() {
    for fault in [
        Fault { fail: Some(500), requests: Some(2), ..Fault::default() },
        Fault { fail: Some(503), requests: Some(2), ..Fault::default() },
        Fault { malformed: true, requests: Some(1), ..Fault::default() },
    ] {
        let lab = lab();
        lab.world.faults().set(Service::Route53, fault.clone());
        lab.once();
        assert_eq!(values(&lab, ID, NAME, "A"), ["10.0.1.23"], "{fault:?}");
    }
}

#[test]
fn a_call_that_is_rejected_is_said_and_not_made_again() {
    for action in ["GetHostedZone", "ListResourceRecordSets"] {
        let lab = lab();
        if action == "GetHostedZone" {
            let other = "[[record]]\nname = \"web-1.other.internal\"";
            publish(&lab, other, &format!("zone_id = \"{ID}\""));
        }
        let fault = Fault { fail: Some(400), ..Fault::default() };
        lab.world.faults().set(Service::Route53, fault);
        lab.once_fails().says(&[
            &format!("error: Route 53 rejects route53:{action}"),
            "caused by: ",
            "hint: the cause is what Route 53 says",
        ]);
        let requests = lab.world.requests(Service::Route53);
        assert_eq!(requests.len(), 1, "{requests:?}");
    }
}

#[test]
fn a_right_that_is_missing_is_named_with_what_to_allow() {
    let zone = format!("zone_id = \"{ID}\"");
    let other = "[[record]]\nname = \"web-1.other.internal\"";
    // Those that find zones are about none.
    let on_it = " on the hosted zone";
    for (action, record, backend, place) in [
        ("route53:ChangeResourceRecordSets", "", zone.as_str(), on_it),
        ("route53:ListResourceRecordSets", "", &zone, on_it),
        ("route53:GetHostedZone", other, &zone, on_it),
        ("route53:ListHostedZonesByVPC", "", "", ""),
    ] {
        let lab = lab();
        publish(&lab, record, backend);
        lab.world.set_denied_actions([action]);
        let run = lab.once_fails();
        let run = run.says(&[
            &format!("error: Route 53 does not let this instance call {action}"),
            &format!("hint: allow {action}{place} to the instance's role"),
            "is not authorized to perform",
        ]);
        assert!(!run.stderr.contains("ConnectorError"), "no debug output: {run}");
        assert!(lab.world.find_records(ID, NAME, "A").is_empty());
    }
}

#[test]
fn a_zone_id_that_is_wrong_is_said() {
    let lab = lab();
    publish(&lab, "", "zone_id = \"Z0NOPE\"");
    lab.once_fails().says(&["error: Route 53 has no hosted zone Z0NOPE", "hint: see `zone_id`"]);
}

#[test]
fn a_name_that_no_zone_holds_is_said() {
    let lab = Lab::new();
    publish(&lab, "", "");
    lab.once_fails()
        .says(&["web-1.corp.internal. is left alone: no zone that the backend serves holds it"]);
}

#[test]
fn an_instance_without_a_role_says_that_it_has_no_credentials() {
    let lab = lab();
    lab.world.update_instance(US, |host| host.role = None);
    lab.once_fails().says(&[
        "the instance has no instance profile",
        "hint: attach an instance profile whose role may call route53:",
    ]);
}
