//! `ChangeResourceRecordSets`: what a batch may do.

use sandbox::zone::{RecordSet, Zone};

use crate::stage::{Stage, ZONE, batch, multivalue, set, set_with, weighted};

#[test]
fn a_record_set_is_created_once() {
    let stage = Stage::new();
    stage.changed(&[("CREATE", set("web.corp.test", "A", &["10.0.0.1"]))]);
    assert_eq!(stage.records(), ["web.corp.test. A 60 10.0.0.1"]);
    // another value, another case: the same set
    for name in ["web.corp.test.", "WEB.Corp.Test"] {
        let problems = stage.refused(&[("CREATE", set(name, "A", &["10.0.0.2"]))]);
        let expect = "Tried to create resource record set [name='web.corp.test.', type='A'] but it already exists";
        assert_eq!(problems, [expect]);
    }
    stage.changed(&[("CREATE", set("web.corp.test", "AAAA", &["2001:db8::1"]))]);
}

#[test]
fn a_record_set_is_deleted_only_by_its_exact_content() {
    let stage = Stage::new();
    stage.changed(&[("CREATE", set("web.corp.test", "A", &["10.0.0.1", "10.0.0.2"]))]);
    let other = "the values provided do not match the current values";
    for (wrong, expect) in [
        (set("web.corp.test", "A", &["10.0.0.1"]), other),
        (set("web.corp.test", "A", &["10.0.0.1", "10.0.0.3"]), other),
        (set_with("web.corp.test", "A", "", 61, &["10.0.0.1", "10.0.0.2"]), other),
        (set("web.corp.test", "AAAA", &["2001:db8::1"]), "it was not found"),
        (set("web2.corp.test", "A", &["10.0.0.1", "10.0.0.2"]), "it was not found"),
        (set_with("web.corp.test", "A", &weighted("x"), 60, &["10.0.0.1"]), "it was not found"),
    ] {
        let problems = stage.refused(&[("DELETE", wrong)]);
        assert!(problems.len() == 1 && problems[0].ends_with(expect), "{problems:?}");
    }
    stage.changed(&[("DELETE", set("WEB.corp.test", "A", &["10.0.0.2", "10.0.0.1"]))]);
    assert!(stage.records().is_empty());
}

#[test]
fn an_upsert_replaces_the_whole_set_or_makes_it() {
    let stage = Stage::new();
    for (values, ttl) in [(&["10.0.0.1", "10.0.0.2"][..], 60), (&["10.0.0.3"], 30)] {
        stage.changed(&[("UPSERT", set_with("web.corp.test", "A", "", ttl, values))]);
    }
    assert_eq!(stage.records(), ["web.corp.test. A 30 10.0.0.3"]);
}

#[test]
fn a_delete_and_a_create_in_one_batch_compare_and_swap() {
    let stage = Stage::new();
    let swap = |old: &str, new: &str| {
        [
            ("DELETE", set("web.corp.test", "A", &[old])),
            ("CREATE", set("web.corp.test", "A", &[new])),
        ]
    };
    stage.changed(&[("CREATE", set("web.corp.test", "A", &["10.0.0.1"]))]);
    stage.changed(&swap("10.0.0.1", "10.0.0.2"));
    assert_eq!(stage.records(), ["web.corp.test. A 60 10.0.0.2"]);
    let problems = stage.refused(&swap("10.0.0.1", "10.0.0.3"));
    assert!(
        problems[0].ends_with("the values provided do not match the current values"),
        "{problems:?}"
    );
}

#[test]
fn a_batch_is_all_or_nothing_and_names_every_problem() {
    let stage = Stage::new();
    stage.changed(&[("CREATE", set("a.corp.test", "A", &["10.0.0.1"]))]);
    let problems = stage.refused(&[
        ("CREATE", set("b.corp.test", "A", &["10.0.0.2"])),
        ("CREATE", set("a.corp.test", "A", &["10.0.0.3"])),
        ("DELETE", set("zz.corp.test", "A", &["10.0.0.4"])),
    ]);
    assert_eq!(problems.len(), 2);
    assert!(
        problems[0].contains("a.corp.test.") && problems[1].contains("zz.corp.test."),
        "{problems:?}"
    );
    assert_eq!(stage.records(), ["a.corp.test. A 60 10.0.0.1"]);
}

#[test]
fn a_batch_does_not_contradict_itself() {
    let stage = Stage::new();
    let a = |value: &str| set("a.corp.test", "A", &[value]);
    for actions in [
        vec![("CREATE", a("10.0.0.1")), ("CREATE", a("10.0.0.2"))],
        vec![("UPSERT", a("10.0.0.1")), ("UPSERT", a("10.0.0.2"))],
        vec![("CREATE", a("10.0.0.1")), ("DELETE", a("10.0.0.1"))],
    ] {
        let problems = stage.refused(&actions);
        let expect = "The request contains an invalid set of changes for a resource record set 'A a.corp.test.'";
        assert!(problems.iter().any(|problem| problem == expect), "{problems:?}");
    }
}

#[test]
fn a_value_must_be_one_of_its_type() {
    let stage = Stage::new();
    for (kind, values, expect) in [
        ("A", &["999.1.1.1"][..], "ARRDATAIllegalIPv4Address"),
        ("A", &["2001:db8::1"], "ARRDATAIllegalIPv4Address"),
        ("AAAA", &["10.0.0.1"], "AAAARRDATAIllegalIPv6Address"),
        ("TXT", &["owner=i-1"], "Value should be enclosed in quotation marks"),
        ("A", &["10.0.0.1", "10.0.0.1"], "Duplicate Resource Record: '10.0.0.1'"),
        ("CNAME", &["a.corp.test", "b.corp.test"], "exactly one value"),
    ] {
        let problems = stage.refused(&[("UPSERT", set("x.corp.test", kind, values))]);
        assert!(problems[0].contains(expect), "{kind} {values:?}: {problems:?}");
    }
    stage.changed(&[("CREATE", set("x.corp.test", "TXT", &["\"owner=i-1\""]))]);
}

#[test]
fn a_name_must_be_inside_the_zone_and_a_name() {
    let stage = Stage::new();
    for (name, expect) in [
        ("x.other.test", "RRSet with DNS name x.other.test. is not permitted in zone corp.test."),
        ("xcorp.test", "is not permitted in zone corp.test."),
        ("a..corp.test", "DomainLabelEmpty"),
        (&format!("{}.corp.test", "x".repeat(64)), "DomainLabelTooLong"),
    ] {
        let problems = stage.refused(&[("CREATE", set(name, "A", &["10.0.0.1"]))]);
        assert!(problems[0].contains(expect), "{name}: {problems:?}");
    }
}

#[test]
fn odd_characters_are_stored_as_octal_escapes_however_they_were_sent() {
    let stage = Stage::new();
    stage.changed(&[("CREATE", set("*.corp.test", "A", &["10.0.0.1"]))]);
    assert_eq!(stage.records(), ["\\052.corp.test. A 60 10.0.0.1"]);
    stage.refused(&[("CREATE", set("\\052.corp.test", "A", &["10.0.0.1"]))]);
    stage.changed(&[("DELETE", set("\\052.CORP.test", "A", &["10.0.0.1"]))]);
    assert!(stage.records().is_empty());
}

#[test]
fn a_cname_stands_alone_and_never_at_the_apex() {
    let stage = Stage::new();
    stage.changed(&[("CREATE", set("a.corp.test", "A", &["10.0.0.1"]))]);
    stage.changed(&[("CREATE", set("c.corp.test", "CNAME", &["a.corp.test"]))]);
    for (name, kind, value, expect) in [
        ("a.corp.test", "CNAME", "x.test", "conflicts with other records with the same DNS name"),
        (
            "c.corp.test",
            "TXT",
            "\"x\"",
            "a conflicting RRSet of type CNAME with the same DNS name already exists",
        ),
        ("corp.test", "CNAME", "x.test", "is not permitted at apex in zone corp.test."),
    ] {
        let problems = stage.refused(&[("CREATE", set(name, kind, &[value]))]);
        assert!(problems[0].contains(expect), "{name}: {problems:?}");
    }
    // in one batch the order decides
    let swap = [
        ("DELETE", set("a.corp.test", "A", &["10.0.0.1"])),
        ("CREATE", set("a.corp.test", "CNAME", &["c.corp.test"])),
    ];
    stage.refused(&[swap[1].clone(), swap[0].clone()]);
    stage.changed(&swap);
}

#[test]
fn sets_of_one_name_and_type_share_one_routing_policy() {
    let stage = Stage::new();
    let policies =
        [("simple", String::new()), ("weighted", weighted("a")), ("multivalue", multivalue("a"))];
    for (one, first) in &policies {
        for (other, second) in policies.iter().filter(|(other, _)| other != one) {
            let second = second.replace("<SetIdentifier>a", "<SetIdentifier>b");
            let name = format!("{one}-{other}.corp.test");
            stage.changed(&[("CREATE", set_with(&name, "A", first, 60, &["10.0.0.1"]))]);
            let problems =
                stage.refused(&[("CREATE", set_with(&name, "A", &second, 60, &["10.0.0.2"]))]);
            let expect = match *other {
                "simple" => "cannot be created as other RRSets exist with the same name and type.",
                "weighted" => "SetIdentifier b cannot be created as a non-weighted set exists",
                _ => "SetIdentifier b cannot be created as a non-multivalue answer set exists",
            };
            assert!(problems[0].contains(expect), "{name}: {problems:?}");
        }
    }
}

#[test]
fn members_of_a_group_are_told_apart_by_their_identifier() {
    let stage = Stage::new();
    let member =
        |id: &str, address: &str| set_with("m.corp.test", "A", &multivalue(id), 60, &[address]);
    stage.changed(&[("CREATE", member("i-1", "10.0.0.1")), ("CREATE", member("i-2", "10.0.0.2"))]);
    let problems = stage.refused(&[("CREATE", member("i-1", "10.0.0.9"))]);
    assert!(problems[0].contains("set-identifier='i-1'] but it already exists"), "{problems:?}");
    stage.refused(&[("DELETE", member("i-1", "10.0.0.2"))]);
    stage.changed(&[("DELETE", member("i-1", "10.0.0.1"))]);
    assert_eq!(stage.records(), ["m.corp.test. A 60 10.0.0.2 (i-2)"]);
    for extra in ["<SetIdentifier>x</SetIdentifier>", "<Weight>1</Weight>"] {
        stage.refused(&[("CREATE", set_with("n.corp.test", "A", extra, 60, &["10.0.0.1"]))]);
    }
}

#[test]
fn a_weighted_group_has_one_ttl() {
    let stage = Stage::new();
    let member = |id: &str, ttl| set_with("w.corp.test", "A", &weighted(id), ttl, &["10.0.0.1"]);
    stage.changed(&[("CREATE", member("a", 60)), ("CREATE", member("b", 60))]);
    let problems = stage.refused(&[("UPSERT", member("a", 30))]);
    assert!(problems[0].contains("weighted sets must contain the same TTL"), "{problems:?}");
    stage.changed(&[("UPSERT", member("a", 30)), ("UPSERT", member("b", 30))]);
}

#[test]
fn a_group_has_at_most_a_hundred_members() {
    let stage = Stage::new();
    let members = |range: std::ops::Range<u8>| {
        let member = |n| {
            set_with(
                "m.corp.test",
                "A",
                &multivalue(&format!("i-{n}")),
                60,
                &[&format!("10.0.0.{n}")],
            )
        };
        range.map(|n| ("CREATE", member(n))).collect::<Vec<_>>()
    };
    stage.changed(&members(0..100));
    assert!(stage.refused(&members(100..101))[0].contains("100"));
}

#[test]
fn a_batch_holds_a_thousand_records_and_an_upsert_counts_twice() {
    let stage = Stage::new();
    let many = |action: &'static str, count: usize| {
        (0..count)
            .map(|n| (action, set(&format!("h{n}.corp.test"), "A", &["10.0.0.1"])))
            .collect::<Vec<_>>()
    };
    let limit = "Number of records limit of 1000 exceeded.";
    assert_eq!(stage.refused(&many("CREATE", 1001)), [limit]);
    assert_eq!(stage.refused(&many("UPSERT", 501)), [limit]);
    stage.changed(&many("UPSERT", 500));
    stage.changed(&many("DELETE", 500));
    stage.changed(&many("CREATE", 1000));
    assert_eq!(stage.records().len(), 1000);
    // elements are counted, not sets
    let values: Vec<_> = (0..400).map(|n| format!("10.1.{}.{}", n / 250, n % 250)).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    let three =
        ["a", "b", "c"].map(|name| ("CREATE", set(&format!("{name}.corp.test"), "A", &values)));
    assert_eq!(stage.refused(&three), [limit]);
    stage.changed(&three[..2]);
    let one_more = [&values[..], &["10.2.0.1"]].concat();
    let problems = stage.refused(&[("CREATE", set("d.corp.test", "A", &one_more))]);
    assert!(problems[0].contains("400"), "{problems:?}");
}

#[test]
fn a_batch_holds_32000_characters_of_values_and_an_upsert_counts_twice() {
    let stage = Stage::new();
    let text = |length: usize| {
        let strings = vec![format!("\"{}\"", "x".repeat(198)); length / 200].join("");
        set("t.corp.test", "TXT", &[&strings])
    };
    let several = |action: &'static str, count: usize| {
        (0..count)
            .map(|n| (action, text(4000).replace("t.corp.test", &format!("t{n}.corp.test"))))
            .collect::<Vec<_>>()
    };
    let limit = "Number of characters limit of 32000 exceeded.";
    assert_eq!(stage.refused(&several("CREATE", 9)), [limit]);
    assert_eq!(stage.refused(&several("UPSERT", 5)), [limit]);
    stage.changed(&several("UPSERT", 4));
    stage.changed(&several("DELETE", 4));
    stage.changed(&several("CREATE", 8));
}

#[test]
fn the_apex_keeps_its_soa_and_ns() {
    let stage = Stage::new();
    let record = |kind: &str| {
        let record = stage.world.find_records(ZONE, "corp.test", kind).remove(0);
        let values: Vec<_> = record.values.iter().map(String::as_str).collect();
        set_with("corp.test", kind, "", record.ttl.unwrap(), &values)
    };
    for kind in ["SOA", "NS"] {
        let problems = stage.refused(&[("DELETE", record(kind))]);
        assert!(problems[0].starts_with("A HostedZone must contain"), "{problems:?}");
    }
}

#[test]
fn what_is_no_change_batch_is_refused_before_it_is_looked_at() {
    let stage = Stage::new();
    let good = batch(&[("CREATE", set("a.corp.test", "A", &["10.0.0.1"]))]);
    let no_values = "<Name>a.corp.test</Name><Type>A</Type>".to_owned();
    for (body, expect) in [
        ("not XML".to_owned(), "MalformedInput"),
        (
            good.replace("https://route53.amazonaws.com/doc/2013-04-01/", "urn:other"),
            "MalformedInput",
        ),
        (batch(&[]), "MalformedInput"),
        (good.replace("CREATE", "REPLACE"), "InvalidInput"),
        (good.replace("<Type>A<", "<Type>X<"), "InvalidInput"),
        (good.replace("<TTL>60<", "<TTL>2147483648<"), "InvalidInput"),
        (good.replace("<TTL>60</TTL>", ""), "InvalidInput"),
        (batch(&[("CREATE", no_values)]), "InvalidInput"),
    ] {
        let reply = stage.route53("POST", "hostedzone/Z1/rrset", &body);
        assert_eq!((reply.status, reply.code().as_str()), (400, expect), "{body}");
    }
    let reply = stage.route53("POST", "hostedzone/Z404/rrset", &good);
    assert_eq!((reply.status, reply.code().as_str()), (404, "NoSuchHostedZone"));
    assert!(stage.records().is_empty());
}

#[test]
fn an_alias_has_no_ttl_of_its_own() {
    let stage = Stage::new();
    let alias = "<Name>www.corp.test</Name><Type>A</Type><AliasTarget><HostedZoneId>Z1</HostedZoneId>\
                 <DNSName>web.corp.test</DNSName><EvaluateTargetHealth>false</EvaluateTargetHealth></AliasTarget>";
    stage.changed(&[("CREATE", alias.to_owned())]);
    let reply = stage.change(&[("UPSERT", format!("{alias}<TTL>60</TTL>"))]);
    assert_eq!(reply.code(), "InvalidInput");
    let listed = stage.route53("GET", "hostedzone/Z1/rrset?name=www.corp.test&maxitems=1", "");
    assert_eq!(
        (listed.text("DNSName").as_deref(), listed.text("TTL")),
        (Some("web.corp.test"), None)
    );
}

#[test]
fn records_put_into_the_world_are_what_the_api_shows() {
    let stage = Stage::new();
    let record = RecordSet::new("Web.Corp.Test", "A", 60, &["10.0.0.1"]);
    stage.world.put_zone(Zone::new(ZONE, "corp.test").record(record));
    stage.changed(&[("DELETE", set("web.corp.test", "A", &["10.0.0.1"]))]);
    assert!(stage.world.find_records(ZONE, "web.corp.test.", "A").is_empty());
}
