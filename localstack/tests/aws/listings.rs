//! Route 53's listings, and zones coming and going.

use sandbox::zone::Zone;

use crate::stage::{Stage, ZONE, set, set_with, weighted};

fn filled() -> Stage {
    let stage = Stage::new();
    stage.changed(&[
        ("CREATE", set("b.corp.test", "A", &["10.0.0.1"])),
        ("CREATE", set("a.b.corp.test", "A", &["10.0.0.2"])),
        ("CREATE", set("b.corp.test", "TXT", &["\"x &amp; y\""])),
        ("CREATE", set("a.corp.test", "A", &["10.0.0.3"])),
        ("CREATE", set_with("w.corp.test", "A", &weighted("two"), 60, &["10.0.0.5"])),
        ("CREATE", set_with("w.corp.test", "A", &weighted("one"), 60, &["10.0.0.4"])),
    ]);
    stage
}

fn list(stage: &Stage, query: &str) -> Vec<String> {
    let reply = stage.route53("GET", &format!("hostedzone/{ZONE}/rrset{query}"), "");
    assert_eq!(reply.status, 200, "{}", reply.body);
    let pairs = reply.texts("Name").into_iter().zip(reply.texts("Type"));
    pairs.map(|(name, kind)| format!("{name} {kind}")).collect()
}

#[test]
fn records_are_listed_by_reversed_name_then_type_then_identifier() {
    let stage = filled();
    let expect = [
        "corp.test. NS",
        "corp.test. SOA",
        "a.corp.test. A",
        "b.corp.test. A",
        "b.corp.test. TXT",
        "a.b.corp.test. A",
        "w.corp.test. A",
        "w.corp.test. A",
    ];
    assert_eq!(list(&stage, ""), expect);
    let reply = stage.route53("GET", "hostedzone/Z1/rrset", "");
    assert!(reply.body.contains(
        "<ListResourceRecordSetsResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">"
    ));
    assert_eq!(reply.texts("SetIdentifier"), ["one", "two"]);
    assert!(reply.texts("Value").contains(&"\"x & y\"".to_owned()));
    assert_eq!(
        (reply.text("IsTruncated").as_deref(), reply.text("MaxItems").as_deref()),
        (Some("false"), Some("300"))
    );
}

#[test]
fn a_listing_starts_at_or_after_what_it_is_given() {
    let stage = filled();
    for (query, expect) in [
        ("?name=b.corp.test&maxitems=1", "b.corp.test. A"),
        ("?name=B.CORP.test.&type=A&maxitems=1", "b.corp.test. A"),
        ("?name=b.corp.test&type=AAAA&maxitems=1", "b.corp.test. TXT"),
        ("?name=b.corp.test&type=ZZZ&maxitems=1", "a.b.corp.test. A"),
        // nothing of this name: the next one comes back, which a client must notice
        ("?name=c.corp.test&type=A&maxitems=1", "w.corp.test. A"),
    ] {
        assert_eq!(list(&stage, query), [expect], "{query}");
    }
    assert!(list(&stage, "?name=x.corp.test").is_empty());
    for query in [
        "?type=A",
        "?identifier=one",
        "?name=w.corp.test&identifier=one",
        "?maxitems=0",
        "?name=a..b",
    ] {
        let reply = stage.route53("GET", &format!("hostedzone/Z1/rrset{query}"), "");
        assert_eq!((reply.status, reply.code().as_str()), (400, "InvalidInput"), "{query}");
    }
}

#[test]
fn a_truncated_listing_says_where_the_next_one_starts() {
    let stage = filled();
    let mut query = "?maxitems=3".to_owned();
    let mut pages = Vec::new();
    loop {
        let reply = stage.route53("GET", &format!("hostedzone/{ZONE}/rrset{query}"), "");
        pages.push(reply.texts("Name").len());
        assert!(pages.len() < 10, "it goes round in circles");
        if reply.text("IsTruncated").as_deref() == Some("false") {
            assert_eq!(reply.text("NextRecordName"), None);
            break;
        }
        let [name, kind] =
            ["NextRecordName", "NextRecordType"].map(|element| reply.text(element).unwrap());
        let identifier = reply
            .text("NextRecordIdentifier")
            .map(|id| format!("&identifier={id}"))
            .unwrap_or_default();
        query = format!("?maxitems=3&name={name}&type={kind}{identifier}");
    }
    assert_eq!(pages, [3, 3, 2]);
    let reply =
        stage.route53("GET", "hostedzone/Z1/rrset?name=w.corp.test&type=A&identifier=two", "");
    assert_eq!(reply.texts("SetIdentifier"), ["two"]);
    let reply = stage.route53("GET", "hostedzone/Z1/rrset?maxitems=7", "");
    assert_eq!(reply.text("NextRecordIdentifier").as_deref(), Some("two"));
}

#[test]
fn a_page_has_at_most_three_hundred_sets() {
    let stage = Stage::new();
    let many: Vec<_> =
        (0..400).map(|n| ("CREATE", set(&format!("h{n}.corp.test"), "A", &["10.0.0.1"]))).collect();
    stage.changed(&many);
    assert_eq!(list(&stage, "").len(), 300);
    assert_eq!(list(&stage, "?maxitems=1000").len(), 300);
}

#[test]
fn escaped_names_can_be_asked_for_either_way() {
    let stage = Stage::new();
    stage.changed(&[("CREATE", set("*.corp.test", "A", &["10.0.0.1"]))]);
    for name in ["*.corp.test", "%2A.corp.test", "%5C052.corp.test", "\\052.corp.test."] {
        assert_eq!(
            list(&stage, &format!("?name={name}&type=A&maxitems=1")),
            ["\\052.corp.test. A"],
            "{name}"
        );
    }
}

#[test]
fn zones_are_found_by_id_name_and_vpc() {
    let stage = Stage::new();
    stage.world.put_zone(Zone::new("Z2", "b.test"));
    stage.world.put_zone(Zone::new("Z3", "corp.test"));
    stage.world.put_zone(Zone::new("Z0", "a.test").vpc("eu-west-1", "vpc-0123456789abcdef0"));
    let ids = |path: &str| stage.route53("GET", path, "").texts("Id");
    assert_eq!(
        ids("hostedzone"),
        ["/hostedzone/Z0", "/hostedzone/Z1", "/hostedzone/Z2", "/hostedzone/Z3"]
    );
    assert_eq!(
        ids("hostedzonesbyname"),
        ["/hostedzone/Z0", "/hostedzone/Z2", "/hostedzone/Z1", "/hostedzone/Z3"]
    );
    assert_eq!(ids("hostedzonesbyname?dnsname=corp.test"), ["/hostedzone/Z1", "/hostedzone/Z3"]);
    assert_eq!(ids("hostedzonesbyname?dnsname=corp.test&hostedzoneid=Z2"), ["/hostedzone/Z3"]);
    assert_eq!(ids("hostedzonesbyname?dnsname=corp.test&hostedzoneid=Z3"), ["/hostedzone/Z3"]);
    assert_eq!(
        ids("hostedzonesbyname?dnsname=b"),
        ["/hostedzone/Z0", "/hostedzone/Z2", "/hostedzone/Z1", "/hostedzone/Z3"]
    );
    let by_vpc = |region: &str| {
        let path = format!("hostedzonesbyvpc?vpcid=vpc-0123456789abcdef0&vpcregion={region}");
        stage.route53("GET", &path, "").texts("HostedZoneId")
    };
    assert_eq!(by_vpc("us-east-1"), ["Z1"]);
    assert_eq!(by_vpc("eu-west-1"), ["Z0"]);
    assert_eq!(
        stage.route53("GET", "hostedzonesbyname?hostedzoneid=Z1", "").code(),
        "InvalidInput"
    );
    assert_eq!(stage.route53("GET", "hostedzonesbyvpc?vpcid=x", "").code(), "InvalidInput");
}

#[test]
fn zone_listings_come_in_pages() {
    let stage = Stage::new();
    stage.world.put_zone(Zone::new("Z2", "b.test"));
    stage.world.put_zone(Zone::new("Z3", "c.test"));
    let first = stage.route53("GET", "hostedzone?maxitems=2", "");
    assert_eq!((first.texts("Id").len(), first.text("NextMarker").as_deref()), (2, Some("Z3")));
    let second = stage.route53("GET", "hostedzone?maxitems=2&marker=Z3", "");
    assert_eq!(
        (second.texts("Id"), second.text("IsTruncated").as_deref()),
        (vec!["/hostedzone/Z3".into()], Some("false"))
    );
    let first = stage.route53("GET", "hostedzonesbyname?maxitems=1", "");
    assert_eq!(first.text("NextDNSName").as_deref(), Some("c.test."));
    assert_eq!(first.text("NextHostedZoneId").as_deref(), Some("Z3"));
}

#[test]
fn a_zone_tells_its_vpcs_or_its_name_servers() {
    let stage = Stage::new();
    stage.world.put_zone(Zone::new("Z2", "b.test"));
    let private = stage.route53("GET", "hostedzone/Z1", "");
    assert_eq!(private.text("PrivateZone").as_deref(), Some("true"));
    assert_eq!(private.texts("VPCId"), ["vpc-0123456789abcdef0"]);
    assert_eq!(private.text("ResourceRecordSetCount").as_deref(), Some("2"));
    let public = stage.route53("GET", "hostedzone/Z2", "");
    assert_eq!((public.texts("VPCId").len(), public.texts("NameServer").len()), (0, 4));
    let reply = stage.route53("GET", "hostedzone/Z404", "");
    assert_eq!((reply.status, reply.code().as_str()), (404, "NoSuchHostedZone"));
    assert_eq!(stage.route53("GET", "healthcheck", "").code(), "UnknownOperationException");
}

fn new_zone(name: &str, reference: &str, vpc: &str) -> String {
    format!(
        "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>{name}</Name>{vpc}\
         <CallerReference>{reference}</CallerReference><HostedZoneConfig><Comment>c</Comment>\
         <PrivateZone>{}</PrivateZone></HostedZoneConfig></CreateHostedZoneRequest>",
        !vpc.is_empty()
    )
}

#[test]
fn zones_are_created_once_and_deleted_when_empty() {
    let stage = Stage::new();
    let vpc = "<VPC><VPCRegion>us-east-1</VPCRegion><VPCId>vpc-9</VPCId></VPC>";
    let reply = stage.route53("POST", "hostedzone", &new_zone("New.Test", "r1", vpc));
    assert_eq!(reply.status, 201, "{}", reply.body);
    assert_eq!(
        (reply.text("Name").as_deref(), reply.text("VPCId").as_deref()),
        (Some("new.test."), Some("vpc-9"))
    );
    let id = reply.text("Id").unwrap().replace("/hostedzone/", "");
    assert_eq!(reply.header("location"), Some(format!("/2013-04-01/hostedzone/{id}").as_str()));
    for (body, expect) in [
        (new_zone("new.test", "r1", vpc), (409, "HostedZoneAlreadyExists")),
        (new_zone("new.test", "r2", vpc), (400, "ConflictingDomainExists")),
        (new_zone("a..b", "r3", ""), (400, "InvalidDomainName")),
        (new_zone("x.test", "r4", "").replace(">false<", ">true<"), (400, "InvalidInput")),
    ] {
        let reply = stage.route53("POST", "hostedzone", &body);
        assert_eq!((reply.status, reply.code().as_str()), expect);
    }
    let record = crate::stage::batch(&[("CREATE", set("a.new.test", "A", &["10.0.0.1"]))]);
    assert_eq!(stage.route53("POST", &format!("hostedzone/{id}/rrset"), &record).status, 200);
    assert_eq!(
        stage.route53("DELETE", &format!("hostedzone/{id}"), "").code(),
        "HostedZoneNotEmpty"
    );
    let record = record.replace("CREATE", "DELETE");
    assert_eq!(stage.route53("POST", &format!("hostedzone/{id}/rrset"), &record).status, 200);
    assert_eq!(stage.route53("DELETE", &format!("hostedzone/{id}"), "").status, 200);
    assert!(stage.world.zone(&id).is_none());
}
