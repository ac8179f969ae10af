//! Which hosted zone a name is published in, when there are several, or when what was remembered is wrong.

use sandbox::{
    fault::{Fault, Service},
    instance::DEFAULT_VPC,
    zone::Zone,
};

use super::{Calls, ID, NAME, calls, publish, values};
use crate::support::{Lab, US};

const OTHER: &str = "Z0OTHER";
const OTHER_VPC: &str = "vpc-0fedcba9876543210";

/// Two zones of one name, as a split horizon has them.
fn split_horizon() -> Lab {
    let lab = Lab::new();
    for id in [ID, OTHER] {
        lab.world.put_zone(Zone::new(id, "corp.internal"));
    }
    lab
}

#[test]
fn a_zone_id_that_was_changed_is_the_one_that_counts() {
    let lab = split_horizon();
    publish(&lab, "", &format!("zone_id = \"{ID}\""));
    lab.once();
    publish(&lab, "", &format!("zone_id = \"{OTHER}\""));
    lab.once();
    assert_eq!(values(&lab, OTHER, NAME, "A"), ["10.0.1.23"]);
}

#[test]
fn two_backends_with_zones_of_one_name_publish_each_in_its_own() {
    let lab = split_horizon();
    lab.world
        .update_instance(US, |host| *host = host.clone().public_ipv4([198, 51, 100, 7].into()));
    // Split horizon: another address for whoever asks from outside.
    let record = |name: &str, backend: &str| {
        format!(
            "[[record]]\nname = \"{name}.corp.internal\"\nbackend = \"{backend}\"\naddresses = [\"{backend}-ipv4\"]\n"
        )
    };
    let configure = |name: &str| {
        lab.configure(&format!(
            "{}{}[backend.public]\nkind = \"route53\"\nzone_id = \"{ID}\"\n\
             [backend.private]\nkind = \"route53\"\nzone_id = \"{OTHER}\"\n[resolver]\nmanager = \"none\"\n",
            record(name, "public"),
            record(name, "private"),
        ));
    };
    for name in ["one", "two"] {
        configure(name);
        lab.once();
        for (id, address) in [(ID, "198.51.100.7"), (OTHER, "10.0.1.23")] {
            let name = format!("{name}.corp.internal");
            assert_eq!(values(&lab, id, &name, "A"), [address], "{id}");
        }
    }
    for id in [ID, OTHER] {
        assert_eq!(values(&lab, id, "one.corp.internal", "A"), [""; 0], "{id}");
    }
}

#[test]
fn a_remembered_zone_that_is_gone_is_looked_for_again() {
    let lab = Lab::new();
    lab.world.put_zone(Zone::new(ID, "corp.internal").vpc("us-east-1", DEFAULT_VPC));
    publish(&lab, "", "");
    lab.once();
    let state = lab.state();
    assert!(state.contains(ID), "{state}");
    lab.file("state/state.json", &state.replace(ID, "Z0GONE"));
    lab.once().prints(&["1 unchanged"]);
    assert!(lab.state().contains(ID));
}

#[test]
fn a_zone_that_was_cut_out_of_a_remembered_one_is_found_within_a_day() {
    let lab = Lab::new();
    lab.world.put_zone(Zone::new(ID, "corp.internal").vpc("us-east-1", DEFAULT_VPC));
    let record = |name: &str| {
        lab.configure(&format!(
            "[[record]]\nname = \"{name}\"\n[backend.aws]\nkind = \"route53\"\n[resolver]\nmanager = \"none\"\n"
        ));
        lab.once();
    };
    record("one.eu.corp.internal");
    lab.world.put_zone(Zone::new(OTHER, "eu.corp.internal").vpc("us-east-1", DEFAULT_VPC));
    record("two.eu.corp.internal");
    assert_eq!(values(&lab, OTHER, "two.eu.corp.internal", "A"), [""; 0], "it is remembered");

    let mut state: serde_json::Value = serde_json::from_str(&lab.state()).unwrap();
    let at = state["zones_at"]["aws"].as_u64().unwrap();
    state["zones_at"]["aws"] = (at - 90_000).into();
    lab.file("state/state.json", &state.to_string());
    record("two.eu.corp.internal");
    assert_eq!(values(&lab, OTHER, "two.eu.corp.internal", "A"), ["10.0.1.23"]);
    lab.world.clear_requests();
    record("two.eu.corp.internal");
    let calls = lab.world.requests(Service::Route53);
    assert!(calls.iter().all(|call| call.target.ends_with("/rrset")), "{calls:?}");
}

#[test]
fn a_private_zone_of_another_vpc_is_not_written() {
    let lab = Lab::new();
    lab.world.put_zone(Zone::new(OTHER, "corp.internal").vpc("us-east-1", OTHER_VPC));
    let before = lab.world.records(OTHER);
    publish(&lab, "", "");
    lab.once_fails()
        .says(&["web-1.corp.internal. is left alone: no zone that the backend serves holds it"]);
    assert_eq!(lab.world.records(OTHER), before);
}

#[test]
fn a_public_zone_is_found_behind_however_many_private_ones_of_its_name() {
    for (private, pages) in [(1, 1), (150, 2)] {
        let lab = Lab::new();
        for number in 0..private {
            let zone = Zone::new(&format!("Z0A{number:03}"), "corp.internal");
            lab.world.put_zone(zone.vpc("us-east-1", &format!("vpc-0fedcba987654{number:04}")));
        }
        lab.world.put_zone(Zone::new("Z0PUBLIC", "corp.internal"));
        publish(&lab, "", "");
        lab.once();
        assert_eq!(values(&lab, "Z0PUBLIC", NAME, "A"), ["10.0.1.23"], "{private}");
        // By VPC, by the name itself, and by the zone's.
        assert_eq!(calls(&lab).zones, 2 + pages, "{private}");
    }
}

/// More private zones on the host's VPC than one page holds; the zone that the name is in is on the first, and one that
/// is cut out of it on the second.
fn many_zones() -> Lab {
    let lab = Lab::new();
    let private = |id: &str, zone: &str| {
        lab.world.put_zone(Zone::new(id, zone).vpc("us-east-1", DEFAULT_VPC));
    };
    private(ID, "internal");
    for number in 0..110 {
        private(&format!("Z0D{number:03}"), &format!("team-{number}.example"));
    }
    private(OTHER, "corp.internal");
    publish(&lab, "", "");
    lab
}

#[test]
fn the_deepest_of_a_vpcs_zones_is_found_on_whichever_page_it_is() {
    let lab = many_zones();
    lab.once();
    assert_eq!(values(&lab, OTHER, NAME, "A"), ["10.0.1.23"]);
    assert_eq!(values(&lab, ID, NAME, "A"), [""; 0]);
    assert_eq!(calls(&lab).zones, 2);
}

#[test]
fn a_page_of_zones_that_fails_is_not_taken_for_the_end_of_them() {
    let lab = many_zones();
    let only = Some("ListHostedZonesByVPC".to_owned());
    // As often as one call is tried.
    let fault = Fault { fail: Some(500), only, skip: 1, requests: Some(3), ..Fault::default() };
    lab.world.faults().set(Service::Route53, fault);
    lab.once();
    assert_eq!(values(&lab, OTHER, NAME, "A"), ["10.0.1.23"]);
    assert_eq!(values(&lab, ID, NAME, "A"), [""; 0]);
    assert_eq!(calls(&lab).zones, 1 + 3 + 2);
}

#[test]
fn the_name_of_the_configured_zone_is_asked_for_only_where_something_hangs_on_it() {
    let lab = Lab::new();
    lab.world.put_zone(Zone::new(ID, "internal"));
    publish(&lab, "", &format!("zone_id = \"{ID}\""));
    lab.once();
    assert_eq!(values(&lab, ID, NAME, "A"), ["10.0.1.23"]);
    assert_eq!(calls(&lab).zones, 0);
    // A plan shows it.
    lab.tagalong(&["plan"]).expect_code(0);
    assert_eq!(calls(&lab).zones, 1);
    // Names of two domains may be in one zone, and then one change has both.
    publish(&lab, "[[record]]\nname = \"db.lab.internal\"", &format!("zone_id = \"{ID}\""));
    lab.once();
    assert_eq!(values(&lab, ID, "db.lab.internal", "A"), ["10.0.1.23"]);
    let Calls { changes, zones, .. } = calls(&lab);
    assert_eq!((changes, zones), (1, 1));
}

#[test]
fn a_name_outside_the_configured_zone_is_an_error_and_is_published_nowhere() {
    let lab = Lab::new();
    lab.world.put_zone(Zone::new(ID, "corp.internal").vpc("us-east-1", DEFAULT_VPC));
    lab.world.put_zone(Zone::new(OTHER, "other.internal").vpc("us-east-1", DEFAULT_VPC));
    lab.world.put_zone(Zone::new("Z0PUBLIC", "other.internal"));
    let more = "[[record]]\nname = \"{tag:Name}.other.internal\"\n";
    publish(&lab, more, &format!("zone_id = \"{ID}\""));
    lab.once_fails().says(&[
        "error: web-1.other.internal. is left alone: it is outside corp.internal., the backend's only zone",
        "hint: choose a name in that zone, name another backend, or correct its `zone_id`",
    ]);
    for id in [OTHER, "Z0PUBLIC"] {
        assert_eq!(values(&lab, id, "web-1.other.internal", "A"), [""; 0], "{id}");
    }
    assert_eq!(values(&lab, ID, NAME, "A"), ["10.0.1.23"], "the other record is not to suffer");
    assert_eq!(calls(&lab).zones, 1, "other zones are not even looked for");
    // Alone, it is Route 53 that says so of the change, and then the zone's name is asked for.
    let lab = Lab::new();
    lab.world.put_zone(Zone::new(ID, "corp.internal").vpc("us-east-1", DEFAULT_VPC));
    lab.configure(&format!(
        "[[record]]\nname = \"{{tag:Name}}.other.internal\"\n[backend.aws]\nkind = \"route53\"\nzone_id = \"{ID}\"\n\
         [resolver]\nmanager = \"none\"\n"
    ));
    lab.once_fails()
        .says(&["is left alone: it is outside corp.internal., the backend's only zone"]);
}

#[test]
fn a_name_left_in_a_zone_that_is_configured_no_more_is_said_and_taken_back_when_it_is_again() {
    let lab = Lab::new();
    lab.world.put_zone(Zone::new(ID, "corp.internal").vpc("us-east-1", DEFAULT_VPC));
    lab.world.put_zone(Zone::new(OTHER, "other.internal").vpc("us-east-1", DEFAULT_VPC));
    let publish_in = |zone: &str, id: &str| {
        lab.configure(&format!(
            "[[record]]\nname = \"{{tag:Name}}.{zone}\"\n[backend.aws]\nkind = \"route53\"\n\
             zone_id = \"{id}\"\n[resolver]\nmanager = \"none\"\n"
        ));
    };
    publish_in("corp.internal", ID);
    lab.once();
    publish_in("other.internal", OTHER);
    for _ in 0..2 {
        lab.once().says(&["note: web-1.corp.internal. is still to be taken back"]);
        assert_eq!(values(&lab, OTHER, "web-1.other.internal", "A"), ["10.0.1.23"]);
        assert_eq!(values(&lab, ID, NAME, "A"), ["10.0.1.23"], "it is outside the only zone");
    }
    publish_in("other.internal", ID);
    lab.once_fails().says(&["web-1.other.internal. is left alone: it is outside corp.internal."]);
    assert_eq!(values(&lab, ID, NAME, "A"), ["10.0.1.23"], "it has no other name yet");
    publish_in("new.corp.internal", ID);
    lab.once();
    assert_eq!(values(&lab, ID, NAME, "A"), [""; 0]);
}
