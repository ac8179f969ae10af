//! Publishing: names, zones and their primaries, signatures. The servers are real `named`s and the sandbox's.

use std::fs;

use sandbox::{
    black_hole::BlackHole,
    dns::{Server, Zones},
    fault::{Fault, Service},
    instance::DEFAULT_VPC,
    zone::Zone,
};

use super::{finds, fresh, healthy, of_check};
use crate::{
    authority::{Authority, Named, ZoneFile, fleet, parsed, tsig_keygen, tsig_text},
    support::{DNS_PORT, NAME, US, ZONE, fleet_server, fleet_zones, own_address},
};

#[test]
fn each_zone_is_told_with_its_names_its_server_and_its_primary() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let mut zones = fleet();
    zones[0].mname = "ns1.corp.internal.".to_owned();
    zones[0].lines.push("ns1 60 IN A 127.0.0.1".to_owned());
    let named = Named::primary(&zones, &key);
    let host = fresh();
    host.lab.file("tsig.key", &key);
    host.publish_at(&format!("[\"{}\"]", named.addr), "");
    let zone =
        format!("corp.internal. at {} holds web-1.corp.internal. (backend `internal`)", named.addr);
    let primary = format!("its primary by MNAME is ns1.corp.internal. at {}", named.addr);
    finds(&host.lab, 0, "zone", "fine", &[&zone, &primary]);
    let words = ["10.in-addr.arpa. at ", "ns1.example., has no address there", "NOTAUTH"];
    finds(&host.lab, 0, "zone", "fine", &words);
    let words = [
        "4 change(s) are still to be made",
        "web-1.corp.internal. A 10.0.1.23 60 s",
        "tagalong once",
    ];
    finds(&host.lab, 0, "names", "note", &words);
}

#[test]
fn signatures_that_a_server_does_not_take_are_wrong_with_the_backends_own_words() {
    Authority::each(|authority, key| {
        let secret = key.split('"').nth(3).unwrap();
        let host = fresh();
        host.publish_at(&format!("[\"{}\"]", authority.addr()), "");
        for (text, words) in [
            (
                tsig_keygen("hmac-sha256", "agent-key"),
                ["has another secret for TSIG key agent-key. (BADSIG)", "compare the secrets"],
            ),
            (
                tsig_keygen("hmac-sha256", "stranger"),
                ["does not know TSIG key stranger. with hmac-sha256 (BADKEY)", "put the same"],
            ),
            (
                tsig_text("hmac-sha512", "agent-key", secret),
                ["does not know TSIG key agent-key. with hmac-sha512 (BADKEY)", "put the same"],
            ),
        ] {
            host.lab.file("tsig.key", &text);
            finds(&host.lab, 1, "tsig", "wrong", &words);
        }
        host.lab.file("tsig.key", key);
        let good = format!("agent-key. (hmac-sha256) is good for what {} serves", authority.addr());
        finds(&host.lab, 0, "tsig", "fine", &[&good]);
        assert_eq!(authority.read(NAME, "A"), [""; 0], "nothing was sent");
    });
}

#[test]
fn a_clock_that_is_wrong_is_told_with_the_skew() {
    let host = healthy();
    host.servers[0].clock_skew(4000);
    let words =
        ["(BADTIME): its clock is ", " s ahead of ours", "move this host's forward (chrony"];
    finds(&host.lab, 1, "tsig", "wrong", &words);
    let run = host.lab.tagalong(&["doctor", "--json"]).expect_code(1);
    // The other server is asked for itself, and its clock is right.
    let tsig = of_check(&run, "tsig");
    assert!(tsig.iter().any(|finding| finding["verdict"] == "fine"), "{run}");
    let wrong = tsig.iter().find(|finding| finding["verdict"] == "wrong").unwrap();
    let told = wrong["finding"].as_str().unwrap().split("its clock is ").nth(1).unwrap();
    let skew = told.split(' ').next().unwrap().parse::<i64>().unwrap();
    assert!((3990..=4010).contains(&skew), "{run}");
}

#[test]
fn a_name_that_no_zone_holds_is_wrong() {
    let key = tsig_keygen("hmac-sha256", "agent-key");
    let named = Named::primary(&[ZoneFile::new("elsewhere.example")], &key);
    let host = fresh();
    host.lab.file("tsig.key", &key);
    host.publish_at(&format!("[\"{}\"]", named.addr), "");
    let words = [
        "web-1.corp.internal. is left alone",
        "no zone that the backend serves holds it",
        "create the zone",
    ];
    finds(&host.lab, 1, "names", "wrong", &words);
    let words = [
        &*format!("{} serves none of the names' zones", named.addr),
        "the view that this host falls into",
    ];
    finds(&host.lab, 1, "zone", "note", &words);
}

#[test]
fn a_name_that_is_somebody_elses_is_wrong() {
    let host = healthy();
    let server = &host.servers[0];
    server.zones().delete(NAME, None);
    server.zones().add("web-1.corp.internal. 60 A 10.0.9.9").unwrap();
    let words = [
        "web-1.corp.internal. is left alone",
        "it holds records without an owner marker",
        "choose another name",
    ];
    finds(&host.lab, 1, "names", "wrong", &words);
}

#[test]
fn a_name_that_cannot_be_made_is_wrong() {
    let host = healthy();
    host.lab.world.update_instance(US, |us| {
        us.tags.remove("Name");
    });
    finds(&host.lab, 1, "names", "wrong", &["Name"]);
}

#[test]
fn servers_that_are_silent_or_refuse_are_told_each_for_itself() {
    let host = healthy();
    let hole = BlackHole::start(own_address()).unwrap();
    let living = host.servers[0].addr();
    host.publish_at(&format!("[\"{}\", \"{living}\"]", hole.addr()), "");
    let words = [&*format!("{} does not answer", hole.addr()), "no answer from", "security group"];
    finds(&host.lab, 0, "zone", "note", &words);
    host.publish_at(&format!("[\"{}\"]", hole.addr()), "");
    finds(&host.lab, 1, "zone", "wrong", &[&format!("{} does not answer", hole.addr())]);
    host.servers[0].fault(Fault { throttle: true, ..Fault::default() });
    host.publish_at(&format!("[\"{living}\"]"), "");
    let refusing = format!("{living} serves none of the names' zones");
    finds(&host.lab, 1, "zone", "note", &[&refusing, "it answers REFUSED, or"]);
    let failing = fleet_server(vec![parsed(&host.key)]);
    failing.fault(Fault { fail: Some(500), ..Fault::default() });
    host.publish_at(&format!("[\"{}\"]", failing.addr()), "");
    finds(&host.lab, 1, "zone", "wrong", &["SERVFAIL", "the server's log says why"]);
}

#[test]
fn whether_ec2_tells_who_still_exists_is_asked_where_only_that_needs_it() {
    let host = healthy();
    let with = |record: &str| {
        host.publish_at(&format!("[\"{}\"]", host.servers[0].addr()), "manager = \"none\"\n");
        let config = fs::read_to_string(host.lab.path("config.toml")).unwrap();
        let record = format!("[[record]]\n{record}\n");
        host.lab.file("config.toml", &config.replacen("[[record]]\n", &record, 1));
    };
    with("");
    finds(&host.lab, 0, "ec2", "fine", &["ec2:DescribeInstances is answered", "still exists"]);
    host.lab.world.faults().set(Service::Ec2, Fault { fail: Some(500), ..Fault::default() });
    // A reverse name may be taken over from whoever had the address before.
    finds(&host.lab, 0, "ec2", "note", &["ec2:DescribeInstances failed", "still exists"]);
    with("conflict = \"take-over-if-gone\"");
    finds(&host.lab, 1, "ec2", "wrong", &["ec2:DescribeInstances failed", "still exists"]);
    with("reverse = false");
    finds(&host.lab, 0, "ec2", "fine", &["not needed", "no backend looks for its servers"]);
}

#[test]
fn a_secondary_without_a_way_to_its_primary_is_told_to_end_in_notauth() {
    let host = healthy();
    let zones = Zones::new(fleet_zones()).unwrap();
    let replica = Server::replica(own_address(), &zones, vec![parsed(&host.key)]).unwrap();
    host.publish_at(&format!("[\"{}\"]", replica.addr()), "");
    let words = [
        "corp.internal. at ",
        &*format!("is {} a secondary, updates end in NOTAUTH", replica.addr()),
    ];
    finds(&host.lab, 0, "zone", "fine", &words);
    assert_eq!(replica.updates(), 0);
}

#[test]
fn route_53_is_looked_at_as_it_is_by_a_pass() {
    let host = healthy();
    let records =
        format!("[[record]]\nname = \"{{tag:Name}}.{ZONE}\"\n[backend.aws]\nkind = \"route53\"\n");
    let rest = format!(
        "[discovery]\nport = {DNS_PORT}\n[resolver]\nmanager = \"none\"\nsearch = [\"{ZONE}\"]\n"
    );
    host.lab.world.put_zone(Zone::new("Z0CORP", ZONE).vpc("us-east-1", DEFAULT_VPC));
    host.lab.configure(&format!("{records}zone_id = \"Z0CORP\"\n{rest}"));
    finds(
        &host.lab,
        0,
        "zone",
        "fine",
        &["corp.internal. at ", "holds web-1.corp.internal. (backend `aws`)"],
    );
    finds(&host.lab, 0, "ec2", "fine", &["not needed"]);
    host.lab.world.set_denied_actions(["route53:ListResourceRecordSets"]);
    let words = [
        "Route 53 does not let this instance call route53:ListResourceRecordSets",
        "allow route53:ListResourceRecordSets",
        "troubleshooting.md#route-53",
    ];
    finds(&host.lab, 1, "zone", "wrong", &words);
    host.lab.world.set_denied_actions([""; 0]);
    host.lab.configure(&format!("{records}zone_id = \"Z0NONE\"\n{rest}"));
    finds(&host.lab, 1, "zone", "wrong", &["Route 53 has no hosted zone Z0NONE", "see `zone_id`"]);
}
