//! What `naming`, `template` and `address` promise.

use super::*;
use crate::core::{
    facts::{Detail, Details, Identity, Interface, Tags},
    template::TemplateError as TemplateFault,
};

fn facts() -> Facts {
    Facts {
        identity: Identity {
            instance_id: "i-0abc".to_owned(),
            account_id: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            availability_zone: "eu-west-1a".to_owned(),
            partition: "aws".to_owned(),
            services_domain: "amazonaws.com".to_owned(),
        },
        hostname: "box".to_owned(),
        interfaces: vec![
            Interface {
                device_number: 0,
                interface_id: "eni-1".to_owned(),
                subnet_id: "subnet-1".to_owned(),
                local_ipv4s: vec!["10.0.1.23".parse().unwrap(), "10.0.1.24".parse().unwrap()],
                public_ipv4s: vec!["203.0.113.7".parse().unwrap()],
                ipv6s: vec!["2001:db8::7".parse().unwrap()],
                ..Interface::default()
            },
            Interface {
                device_number: 1,
                interface_id: "eni-2".to_owned(),
                subnet_id: "subnet-2".to_owned(),
                local_ipv4s: vec!["10.9.0.5".parse().unwrap(), "10.9.0.6".parse().unwrap()],
                ..Interface::default()
            },
        ],
        lost: BTreeSet::new(),
        discouraged: BTreeSet::new(),
        details: Details::NotAsked,
        tags: Tags {
            source: TagSource::Metadata,
            values: BTreeMap::from([
                ("Name".to_owned(), "Web 1".to_owned()),
                ("Role".to_owned(), "puppet".to_owned()),
            ]),
            unread: None,
        },
    }
}

fn policy(name: &str, addresses: &[&str]) -> RecordPolicy {
    RecordPolicy {
        name: name.parse().unwrap(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ttl: 60,
        reverse: Reverse::Never,
        conflict: Conflict::Refuse,
        shared: false,
        backend: "internal".to_owned(),
    }
}

fn lines(desired: &Desired) -> Vec<String> {
    let names =
        desired.iter().flat_map(|(backend, names)| names.iter().map(move |wish| (backend, wish)));
    let lines = names.map(|(backend, (name, wish))| {
        let values = wish.values.iter().map(|value| format!("{} {value}", value.rtype()));
        format!("{backend} {name} {} {}", wish.ttl, values.collect::<Vec<_>>().join(", "))
    });
    lines.collect()
}

#[test]
fn every_placeholder_stands_for_its_fact() {
    let check = |template: &str, expect: &str| {
        assert_eq!(
            template.parse::<Template>().unwrap().render(&facts()).unwrap().to_string(),
            expect
        );
    };
    check("{tag:Name}.corp.internal", "web-1.corp.internal.");
    check("{instance-id}.x", "i-0abc.x.");
    check("{hostname}.x", "box.x.");
    check("{az}.{region}.{account}.x.", "eu-west-1a.eu-west-1.123456789012.x.");
    check("ip-{private-ipv4-dashed}.X", "ip-10-0-1-23.x.");
    check("{tag:Role}-{tag:Name}.x", "puppet-web-1.x.");
}

#[test]
fn a_template_that_cannot_work_is_refused_when_it_is_read() {
    let check = |text: &str, expect: TemplateFault| {
        assert_eq!(text.parse::<Template>().unwrap_err(), expect, "{text}");
    };
    check("", TemplateFault::Empty);
    check("{tag:Name.x", TemplateFault::Brace);
    check("a}.x", TemplateFault::Brace);
    check("{tag:}.x", TemplateFault::NoKey);
    check("{name}.x", TemplateFault::Unknown("name".to_owned()));
    check("a b.x", TemplateFault::Literal { text: "a b.x".to_owned(), character: ' ' });
}

#[test]
fn a_tags_value_becomes_labels_by_the_rules() {
    let check = |value: &str, expect: Result<&str, &str>| {
        let mut facts = facts();
        facts.tags.values.insert("Name".to_owned(), value.to_owned());
        let template: Template = "{tag:Name}.corp.internal".parse().unwrap();
        match (template.render(&facts), expect) {
            (Ok(name), Ok(expect)) => {
                assert_eq!(name.to_string(), format!("{expect}.corp.internal."))
            }
            (Err(error), Err(expect)) => {
                assert!(error.to_string().contains(expect), "{error}");
                assert!(error.to_string().contains("tag `Name`"), "{error}");
            }
            (got, _) => panic!("`{value}` gave {got:?}, not {expect:?}"),
        }
    };
    check("web-1", Ok("web-1"));
    check("  Web  Server__01 ", Ok("web-server-01"));
    check("web 1.prod", Ok("web-1.prod"));
    check("a _\tb", Ok("a-b"));
    check(&"a".repeat(63), Ok(&"a".repeat(63)));
    check(&"a".repeat(64), Err("64 octets"));
    check("web/1", Err("character `/` (U+002F)"));
    check("wéb", Err("character `é` (U+00E9)"));
    check("web\u{0}1", Err("U+0000"));
    check("", Err("a label would be empty"));
    check("   ", Err("a label would be empty"));
    check("a..b", Err("a label would be empty"));
    check("-web", Err("begins or ends with a hyphen"));
    check("web_.x", Err("label `web-` begins or ends with a hyphen"));
}

#[test]
fn a_name_over_255_octets_is_an_error() {
    let mut facts = facts();
    facts
        .tags
        .values
        .insert("Name".to_owned(), ["a".repeat(63), "b".repeat(63), "c".repeat(63)].join("."));
    let template: Template = "{tag:Name}.d.{tag:Name}".parse().unwrap();
    let error = template.render(&facts).unwrap_err();
    assert!(matches!(error, NamingError::BadName { why: NameError::TooLong, .. }), "{error}");
}

#[test]
fn a_missing_tag_is_never_half_a_name() {
    let error = only_failure(&[policy("{tag:Team}.x", &["private-ipv4"])]);
    assert!(error.may_pass());
    assert_eq!(
        error.to_string(),
        "the instance has no tag `Team`, which `{tag:Team}.x` needs (tags come from instance metadata)"
    );
}

#[test]
fn addresses_are_chosen_by_kind_interface_and_block() {
    let check = |selectors: &[&str], expect: &[&str]| {
        let desired = whole(&[policy("h.x", selectors)]);
        let wish = &desired["internal"][&"h.x".parse().unwrap()];
        let got = wish.values.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(got, expect, "{selectors:?}");
    };
    check(&["private-ipv4"], &["10.0.1.23"]);
    check(&["secondary"], &["10.0.1.24"]);
    check(&["public-ipv4"], &["203.0.113.7"]);
    check(&["ipv6"], &["2001:db8::7"]);
    check(&["private-ipv4", "ipv6"], &["10.0.1.23", "2001:db8::7"]);
    check(&["private-ipv4", "ipv6 device-index=1"], &["10.0.1.23"]);
    check(&["device-index=1"], &["10.9.0.5"]);
    check(&["secondary device-index=1"], &["10.9.0.6"]);
    check(&["10.9.0.0/16"], &["10.9.0.5", "10.9.0.6"]);
    check(&["private-ipv4 cidr=10.0.1.24/32"], &["10.0.1.24"]);
    check(&["2001:db8::/32"], &["2001:db8::7"]);
    check(&["subnet=subnet-2"], &["10.9.0.5"]);
    check(&["10.0.0.0/8 interface=eni-2"], &["10.9.0.5", "10.9.0.6"]);
    check(&["private-ipv4", "secondary subnet=subnet-2 device-index=0"], &["10.0.1.23"]);
}

#[test]
fn what_only_ec2_knows_is_waited_for_and_stands_in_no_others_way() {
    for selector in ["elastic-ipv4", "tag:role=db", "secondary tag:role"] {
        let policies = [policy("h.x", &["private-ipv4", selector]), policy("o.x", &["ipv6"])];
        let Wishes { desired, failed } = desire(&policies, &facts());
        assert_eq!(lines(&desired), ["internal o.x. 60 AAAA 2001:db8::7"]);
        assert_eq!(failed, [NamingError::NoDetails { name: "h.x".parse().unwrap() }]);
        assert!(failed[0].may_pass());
    }
    let tags = BTreeMap::from([("role".to_owned(), "db".to_owned())]);
    let elastic_ipv4s = BTreeSet::from(["203.0.113.7".parse().unwrap()]);
    let details = Details::Told(BTreeMap::from([
        ("eni-1".to_owned(), Detail { elastic_ipv4s, ..Detail::default() }),
        ("eni-2".to_owned(), Detail { tags, ..Detail::default() }),
    ]));
    let facts = Facts { details, ..facts() };
    let check = |selector: &str, expect: &str| {
        let desired = desire(&[policy("h.x", &[selector])], &facts).desired;
        assert_eq!(lines(&desired), [format!("internal h.x. 60 A {expect}")], "{selector}");
    };
    check("elastic-ipv4", "203.0.113.7");
    check("tag:role=db", "10.9.0.5");
    check("secondary tag:role", "10.9.0.6");
    for selector in ["elastic-ipv4 device-index=1", "tag:role=web", "tag:rol"] {
        let failed = desire(&[policy("h.x", &[selector])], &facts).failed;
        assert!(matches!(failed[..], [NamingError::NoAddress { .. }]), "{selector}: {failed:?}");
    }
}

#[test]
fn addresses_that_nobody_should_begin_to_talk_to_are_left_out_unless_there_is_no_other() {
    let facts = Facts { discouraged: BTreeSet::from(["2001:db8::7".parse().unwrap()]), ..facts() };
    let check = |selectors: &[&str], expect: &str| {
        let desired = desire(&[policy("h.x", selectors)], &facts).desired;
        assert_eq!(lines(&desired), [format!("internal h.x. 60 {expect}")]);
    };
    check(&["private-ipv4", "ipv6"], "A 10.0.1.23");
    check(&["ipv6"], "AAAA 2001:db8::7");
}

#[test]
fn a_selector_that_says_nothing_is_refused() {
    for text in [
        "",
        "ipv5",
        "private-ipv4 nic=1",
        "device-index=x",
        "10.0.0.0/40",
        "tag:",
        "subnet=eni-1",
        "interface=eth0",
    ] {
        assert!(text.parse::<AddressSelector>().is_err(), "{text}");
    }
}

#[test]
fn a_record_without_any_address_is_an_error_and_not_a_removal() {
    let error = only_failure(&[policy("h.x", &["ipv6 device-index=1"])]);
    assert_eq!(
        error.to_string(),
        "the instance has no address for h.x.: nothing matches `ipv6 device-index=1`"
    );
}

#[test]
fn reverse_names_point_at_the_first_record_and_never_stand_for_public_addresses() {
    let mut first = policy("{tag:Name}.x", &["private-ipv4", "public-ipv4"]);
    first.reverse = Reverse::Always;
    let mut second = policy("alias.x", &["private-ipv4"]);
    second.reverse = Reverse::IfServed;
    second.ttl = 30;
    assert_eq!(
        lines(&whole(&[first, second])),
        [
            "internal 23.1.0.10.in-addr.arpa. 60 PTR web-1.x.",
            "internal alias.x. 30 A 10.0.1.23",
            "internal web-1.x. 60 A 10.0.1.23, A 203.0.113.7",
        ]
    );
}

#[test]
fn two_records_of_one_name_are_joined() {
    let mut second = policy("h.x", &["ipv6"]);
    second.ttl = 30;
    let desired = whole(&[policy("h.x", &["private-ipv4"]), second]);
    assert_eq!(lines(&desired), ["internal h.x. 30 A 10.0.1.23, AAAA 2001:db8::7"]);
}

fn whole(policies: &[RecordPolicy]) -> Desired {
    let wishes = desire(policies, &facts());
    assert_eq!(wishes.failed, []);
    wishes.desired
}

fn only_failure(policies: &[RecordPolicy]) -> NamingError {
    let mut wishes = desire(policies, &facts());
    assert_eq!((wishes.failed.len(), wishes.desired.values().flatten().count()), (1, 0));
    wishes.failed.remove(0)
}

#[test]
fn a_record_that_cannot_be_made_stands_in_no_others_way_and_makes_no_half_name() {
    let good = policy("h.x", &["private-ipv4"]);
    let wishes = desire(&[policy("{tag:Team}.x", &["private-ipv4"]), good.clone()], &facts());
    assert_eq!(wishes.failed.len(), 1);
    let forward = |desired: Desired| {
        let names = desired.into_values().flatten().filter(|(name, _)| !name.is_reverse());
        names.collect::<Vec<_>>()
    };
    assert_eq!(forward(wishes.desired), forward(whole(std::slice::from_ref(&good))));
    let missing_half = policy("h.x", &["ipv6 device-index=1"]);
    for policies in [[good.clone(), missing_half.clone()], [missing_half, good]] {
        let wishes = desire(&policies, &facts());
        assert_eq!((wishes.failed.len(), wishes.desired.values().flatten().count()), (1, 0));
    }
}

#[test]
fn an_address_points_back_to_no_other_name_while_that_of_its_first_record_is_unknown() {
    let reversed =
        |name| RecordPolicy { reverse: Reverse::IfServed, ..policy(name, &["private-ipv4"]) };
    let wishes = desire(&[reversed("{tag:Team}.x"), reversed("h.x")], &facts());
    let names = wishes.desired.values().flatten().map(|(name, _)| name.to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["h.x."]);
}
