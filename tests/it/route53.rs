//! Publishing in a Route 53 hosted zone: compare and swap in one batch, and no call more than it takes.

mod trouble;
mod zones;

use sandbox::{
    fault::Service,
    instance::DEFAULT_VPC,
    zone::{Alias, RecordSet, Zone},
};

use crate::support::{Lab, OUR_MARKER, US};

const NAME: &str = "web-1.corp.internal";
const ID: &str = "Z0CORP";
const REVERSE_ID: &str = "Z0REVERSE";

/// A private zone for the names, and one for the reverse names.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.world.put_zone(Zone::new(ID, "corp.internal").vpc("us-east-1", DEFAULT_VPC));
    lab.world.put_zone(Zone::new(REVERSE_ID, "10.in-addr.arpa").vpc("us-east-1", DEFAULT_VPC));
    publish(&lab, "", &format!("zone_id = \"{ID}\""));
    lab
}

fn publish(lab: &Lab, record: &str, backend: &str) {
    lab.configure(&format!(
        "[[record]]\nname = \"{{tag:Name}}.corp.internal\"\n{record}\n\
         [backend.aws]\nkind = \"route53\"\n{backend}\n[resolver]\nmanager = \"none\"\n"
    ));
}

/// The values of the simple set of this name and type.
fn values(lab: &Lab, zone: &str, name: &str, kind: &str) -> Vec<String> {
    lab.world.find_records(zone, name, kind).into_iter().flat_map(|set| set.values).collect()
}

/// How often Route 53 was asked for each thing since the last time.
#[derive(Debug, PartialEq, Eq)]
struct Calls {
    lists: usize,
    changes: usize,
    zones: usize,
}

fn calls(lab: &Lab) -> Calls {
    let requests = lab.world.requests(Service::Route53);
    lab.world.clear_requests();
    let count = |method: &str, is_records: bool| {
        let matches = requests.iter().filter(|request| {
            request.method == method && request.target.contains("/rrset") == is_records
        });
        matches.count()
    };
    assert_eq!(count("POST", false), 0, "{requests:?}");
    Calls { lists: count("GET", true), changes: count("POST", true), zones: count("GET", false) }
}

#[test]
fn a_host_that_boots_has_its_address_and_its_marker_in_the_zone_by_one_change() {
    let lab = lab();
    lab.once().prints(&["aws: published web-1.corp.internal. A 10.0.1.23"]);
    assert_eq!(values(&lab, ID, NAME, "A"), ["10.0.1.23"]);
    assert_eq!(values(&lab, ID, NAME, "TXT"), [OUR_MARKER]);
    assert_eq!(calls(&lab), Calls { lists: 1, changes: 1, zones: 0 });
}

#[test]
fn a_second_pass_lists_each_name_once_and_changes_nothing() {
    let lab = lab();
    lab.once();
    let before = lab.world.records(ID);
    calls(&lab);
    lab.once().prints(&["1 unchanged"]);
    assert_eq!(calls(&lab), Calls { lists: 1, changes: 0, zones: 0 });
    assert_eq!(lab.world.records(ID), before);
}

#[test]
fn the_name_follows_its_address_and_its_ttl() {
    let lab = lab();
    lab.once();
    lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    lab.once();
    assert_eq!(values(&lab, ID, NAME, "A"), ["10.0.1.99"]);
    publish(&lab, "ttl = 300", &format!("zone_id = \"{ID}\""));
    lab.once();
    let set = lab.world.find_records(ID, NAME, "A");
    assert_eq!((set.len(), set[0].ttl), (1, Some(300)));
    calls(&lab);
    lab.once().prints(&["1 unchanged"]);
    assert_eq!(calls(&lab).changes, 0);
}

#[test]
fn reverse_names_are_written_where_they_are_demanded() {
    let lab = lab();
    publish(&lab, "reverse = true", &format!("zone_id = \"{ID}\""));
    lab.once();
    let reverse = "23.1.0.10.in-addr.arpa";
    assert_eq!(values(&lab, REVERSE_ID, reverse, "PTR"), ["web-1.corp.internal."]);
    assert_eq!(calls(&lab), Calls { lists: 2, changes: 2, zones: 2 });
    lab.once();
    assert_eq!(calls(&lab), Calls { lists: 2, changes: 0, zones: 0 });
    lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    lab.once();
    assert_eq!(values(&lab, REVERSE_ID, reverse, "PTR"), [""; 0]);
    assert_eq!(values(&lab, REVERSE_ID, reverse, "TXT"), [""; 0]);
    assert_eq!(values(&lab, REVERSE_ID, "99.1.0.10.in-addr.arpa", "PTR"), ["web-1.corp.internal."]);
    lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 98].into()));
    lab.tagalong(&["plan"]).expect_code(2).prints(&[
        &format!("zone corp.internal. at Route 53 zone {ID}\n"),
        &format!("zone 10.in-addr.arpa. at Route 53 zone {REVERSE_ID}\n"),
    ]);
}

#[test]
fn the_zone_is_found_by_the_hosts_vpc_once_and_remembered() {
    let lab = lab();
    // Public, of the same name, and private to another VPC: neither is what this host's names are looked up in.
    lab.world.put_zone(Zone::new("Z0PUBLIC", "corp.internal"));
    lab.world
        .put_zone(Zone::new("Z0OTHER", "corp.internal").vpc("us-east-1", "vpc-0fedcba9876543210"));
    publish(&lab, "", "");
    lab.once();
    assert_eq!(values(&lab, ID, NAME, "A"), ["10.0.1.23"]);
    assert_eq!(calls(&lab), Calls { lists: 1, changes: 1, zones: 1 });
    lab.world.update_instance(US, |host| host.move_to([10, 0, 1, 99].into()));
    lab.once();
    assert_eq!(calls(&lab), Calls { lists: 1, changes: 1, zones: 0 });
    assert_eq!(lab.world.records("Z0PUBLIC").len() + lab.world.records("Z0OTHER").len(), 4);
}

#[test]
fn a_public_zone_is_found_by_its_name() {
    let lab = Lab::new();
    lab.world.put_zone(Zone::new("Z0PUBLIC", "corp.internal"));
    lab.world.put_zone(Zone::new("Z0NEXT", "corp.internalx"));
    publish(&lab, "", "");
    lab.once();
    assert_eq!(values(&lab, "Z0PUBLIC", NAME, "A"), ["10.0.1.23"]);
    calls(&lab);
    lab.once();
    assert_eq!(calls(&lab), Calls { lists: 1, changes: 0, zones: 0 });
}

#[test]
fn a_name_that_is_somebody_elses_is_left_alone() {
    let foreign = [
        RecordSet::new(NAME, "A", 300, &["192.0.2.7"]),
        RecordSet::new(NAME, "TXT", 300, &["\"a note\""]),
        RecordSet::new(NAME, "MX", 300, &["10 mail.example."]),
        RecordSet::new(NAME, "CNAME", 300, &["other.corp.internal."]),
        RecordSet::new(NAME, "TXT", 300, &["\"tagalong-owner=i-0bbbbbbbbbbbbbbb2\""]),
        RecordSet::new(NAME, "A", 60, &["192.0.2.7"]).weighted("one", 10),
        RecordSet::new(NAME, "A", 60, &["192.0.2.7"]).multivalue("one"),
        RecordSet {
            ttl: None,
            values: Vec::new(),
            alias: Some(Alias {
                hosted_zone_id: ID.to_owned(),
                dns_name: "other.corp.internal.".to_owned(),
                evaluate_target_health: false,
            }),
            ..RecordSet::new(NAME, "A", 60, &[])
        },
    ];
    for record in foreign {
        let lab = lab();
        let zone = Zone::new(ID, "corp.internal").vpc("us-east-1", DEFAULT_VPC);
        lab.world.put_zone(zone.record(record.clone()));
        lab.once_fails().says(&["web-1.corp.internal. is left alone", "hint: "]);
        assert_eq!(calls(&lab).changes, 0, "{record:?}");
        lab.tagalong(&["withdraw"]).expect_code(0);
        assert_eq!(calls(&lab).changes, 0, "{record:?}");
    }
}

#[test]
fn withdraw_takes_back_what_is_ours_and_nothing_else() {
    let lab = lab();
    lab.once();
    let mut zone = lab.world.zone(ID).unwrap();
    zone.records.insert(RecordSet::new(NAME, "MX", 300, &["10 mail.example."]));
    zone.records.insert(RecordSet::new(NAME, "TXT", 60, &["\"v=spf1 -all\"", OUR_MARKER]));
    lab.world.put_zone(zone);
    lab.tagalong(&["withdraw"]).expect_code(0).prints(&["aws: withdrew web-1.corp.internal. A"]);
    assert_eq!(values(&lab, ID, NAME, "A"), [""; 0]);
    assert_eq!(values(&lab, ID, NAME, "TXT"), ["\"v=spf1 -all\""]);
    assert_eq!(values(&lab, ID, NAME, "MX"), ["10 mail.example."]);
}

#[test]
fn a_record_that_was_renamed_leaves_nothing_behind_under_its_old_name() {
    let lab = lab();
    lab.once();
    lab.world.update_instance(US, |host| {
        host.tags.insert("Name".into(), "web-7".into());
    });
    lab.once();
    assert_eq!(values(&lab, ID, "web-7.corp.internal", "A"), ["10.0.1.23"]);
    assert!(lab.world.find_records(ID, NAME, "A").is_empty());
    assert!(lab.world.find_records(ID, NAME, "TXT").is_empty());
}
