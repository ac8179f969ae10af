//! One table of updates, sent by `nsupdate` to BIND and to our server: same rcode, same zone afterwards, same serial.

use hickory_proto::{
    op::{Message, Query},
    rr::{
        DNSClass, RData, RecordType,
        rdata::{A, TXT},
    },
};
use sandbox::dns::{Algorithm, Key, Server};

use super::tools::{
    ANY_PORT, Subject, ZoneText, exchange, name, now, nsupdate, rcode, record, transfer, update,
};

/// `@` stands for the zone. `after` leaves the apex out; `None` says that nothing changed.
struct Case {
    what: &'static str,
    zone: &'static [&'static str],
    script: &'static [&'static str],
    code: &'static str,
    after: Option<&'static [&'static str]>,
}

const WEB: &[&str] = &["web.@ 60 A 10.0.0.1"];
const TWO: &[&str] = &["web.@ 60 A 10.0.0.1", "web.@ 60 A 10.0.0.2"];
const ALIAS: &[&str] = &["web.@ 60 CNAME host.example."];
const MIXED: &[&str] =
    &["web.@ 60 A 10.0.0.1", "web.@ 60 AAAA fd00::1", "web.@ 60 TXT \"owner=i-1\""];

#[rustfmt::skip]
const CASES: &[Case] = &[
    // prerequisites, one kind after the other
    Case { what: "a value that is there", zone: WEB, script: &["prereq yxrrset web.@ A 10.0.0.1", "add txt.@ 60 TXT yes"], code: "NOERROR", after: Some(&["txt.@ 60 TXT \"yes\"", "web.@ 60 A 10.0.0.1"]) },
    Case { what: "a value that is another", zone: WEB, script: &["prereq yxrrset web.@ A 10.0.0.9", "delete web.@ A"], code: "NXRRSET", after: None },
    Case { what: "one value of two", zone: TWO, script: &["prereq yxrrset web.@ A 10.0.0.1", "delete web.@ A"], code: "NXRRSET", after: None },
    Case { what: "two values of one", zone: WEB, script: &["prereq yxrrset web.@ A 10.0.0.1", "prereq yxrrset web.@ A 10.0.0.2", "delete web.@ A"], code: "NXRRSET", after: None },
    Case { what: "both values, in another order", zone: TWO, script: &["prereq yxrrset web.@ A 10.0.0.2", "prereq yxrrset web.@ A 10.0.0.1", "delete web.@ A"], code: "NOERROR", after: Some(&[]) },
    Case { what: "a value said twice", zone: WEB, script: &["prereq yxrrset web.@ A 10.0.0.1", "prereq yxrrset web.@ A 10.0.0.1", "delete web.@ A"], code: "NXRRSET", after: None },
    Case { what: "a value at a name in other case", zone: WEB, script: &["prereq yxrrset WEB.@ A 10.0.0.1", "delete Web.@ A"], code: "NOERROR", after: Some(&[]) },
    Case { what: "a text that differs in case", zone: &["web.@ 60 TXT \"owner=i-1\""], script: &["prereq yxrrset web.@ TXT \"owner=I-1\"", "delete web.@ TXT"], code: "NXRRSET", after: None },
    Case { what: "a target that differs in case only", zone: &["1.@ 60 PTR web.example."], script: &["prereq yxrrset 1.@ PTR WEB.example.", "delete 1.@ PTR"], code: "NOERROR", after: Some(&[]) },
    Case { what: "a text in two strings", zone: &["web.@ 60 TXT \"a b\" \"c\""], script: &["prereq yxrrset web.@ TXT \"a b\" \"c\"", "delete web.@ TXT"], code: "NOERROR", after: Some(&[]) },
    Case { what: "the same text in one string", zone: &["web.@ 60 TXT \"a\" \"b\""], script: &["prereq yxrrset web.@ TXT \"ab\"", "delete web.@ TXT"], code: "NXRRSET", after: None },
    Case { what: "any value, there", zone: WEB, script: &["prereq yxrrset web.@ A", "delete web.@ A"], code: "NOERROR", after: Some(&[]) },
    Case { what: "any value, of a type not there", zone: WEB, script: &["prereq yxrrset web.@ AAAA", "delete web.@ A"], code: "NXRRSET", after: None },
    Case { what: "no such type, not there", zone: WEB, script: &["prereq nxrrset web.@ AAAA", "add web.@ 60 AAAA fd00::1"], code: "NOERROR", after: Some(&["web.@ 60 A 10.0.0.1", "web.@ 60 AAAA fd00::1"]) },
    Case { what: "no such type, there", zone: WEB, script: &["prereq nxrrset web.@ A", "add web.@ 60 A 10.0.0.2"], code: "YXRRSET", after: None },
    Case { what: "name in use, in use", zone: WEB, script: &["prereq yxdomain web.@", "delete web.@ A"], code: "NOERROR", after: Some(&[]) },
    Case { what: "name in use, unknown", zone: WEB, script: &["prereq yxdomain db.@", "delete web.@ A"], code: "NXDOMAIN", after: None },
    Case { what: "name not in use, unknown", zone: &[], script: &["prereq nxdomain web.@", "add web.@ 60 A 10.0.0.1"], code: "NOERROR", after: Some(WEB) },
    Case { what: "name not in use, in use", zone: &["web.@ 60 TXT \"x\""], script: &["prereq nxdomain web.@", "add web.@ 60 A 10.0.0.1"], code: "YXDOMAIN", after: None },
    // prerequisites are about what stands there, not about what a query is told
    Case { what: "a CNAME is no address", zone: ALIAS, script: &["prereq nxrrset web.@ A", "add db.@ 60 A 10.0.0.1"], code: "NOERROR", after: Some(&["db.@ 60 A 10.0.0.1", "web.@ 60 CNAME host.example."]) },
    Case { what: "a wildcard is not in use elsewhere", zone: &["*.@ 60 A 10.0.0.9"], script: &["prereq nxdomain web.@", "add web.@ 60 A 10.0.0.1"], code: "NOERROR", after: Some(&["*.@ 60 A 10.0.0.9", "web.@ 60 A 10.0.0.1"]) },
    Case { what: "a wildcard has no value elsewhere", zone: &["*.@ 60 A 10.0.0.9"], script: &["prereq yxrrset web.@ A", "add web.@ 60 A 10.0.0.1"], code: "NXRRSET", after: None },
    Case { what: "an empty name above others is not in use", zone: &["a.b.@ 60 A 10.0.0.1"], script: &["prereq nxdomain b.@", "delete a.b.@ A"], code: "NOERROR", after: Some(&[]) },
    Case { what: "a name emptied by an earlier update is not in use", zone: WEB, script: &["delete web.@ A", "send", "zone @", "prereq nxdomain web.@", "add web.@ 60 A 10.0.0.2"], code: "NOERROR", after: Some(&["web.@ 60 A 10.0.0.2"]) },
    Case { what: "the first of two failing prerequisites", zone: WEB, script: &["prereq nxdomain web.@", "prereq nxrrset web.@ A", "add db.@ 60 A 10.0.0.1"], code: "YXDOMAIN", after: None },
    Case { what: "values are compared last", zone: WEB, script: &["prereq yxrrset web.@ A 10.0.0.9", "prereq nxdomain web.@", "add db.@ 60 A 10.0.0.1"], code: "YXDOMAIN", after: None },
    Case { what: "prerequisites alone, met", zone: WEB, script: &["prereq yxrrset web.@ A 10.0.0.1"], code: "NOERROR", after: None },
    Case { what: "prerequisites alone, not met", zone: WEB, script: &["prereq nxdomain web.@"], code: "YXDOMAIN", after: None },
    // updates
    Case { what: "compare and swap", zone: MIXED, script: &["prereq yxrrset web.@ A 10.0.0.1", "prereq yxrrset web.@ TXT \"owner=i-1\"", "delete web.@ A", "add web.@ 60 A 10.0.0.2"], code: "NOERROR", after: Some(&["web.@ 60 A 10.0.0.2", "web.@ 60 AAAA fd00::1", "web.@ 60 TXT \"owner=i-1\""]) },
    Case { what: "delete and add what was there", zone: WEB, script: &["delete web.@ A", "add web.@ 60 A 10.0.0.1"], code: "NOERROR", after: None },
    Case { what: "add what is there", zone: WEB, script: &["add web.@ 60 A 10.0.0.1"], code: "NOERROR", after: None },
    Case { what: "add what is there with another TTL", zone: WEB, script: &["add web.@ 90 A 10.0.0.1"], code: "NOERROR", after: Some(&["web.@ 90 A 10.0.0.1"]) },
    Case { what: "the TTL of the newcomer is everybody's", zone: WEB, script: &["add web.@ 90 A 10.0.0.2"], code: "NOERROR", after: Some(&["web.@ 90 A 10.0.0.1", "web.@ 90 A 10.0.0.2"]) },
    Case { what: "add and delete again", zone: WEB, script: &["add web.@ 60 A 10.0.0.2", "delete web.@ A 10.0.0.2"], code: "NOERROR", after: None },
    Case { what: "delete one of two", zone: TWO, script: &["delete web.@ A 10.0.0.1"], code: "NOERROR", after: Some(&["web.@ 60 A 10.0.0.2"]) },
    Case { what: "delete the last one", zone: WEB, script: &["delete web.@ A 10.0.0.1"], code: "NOERROR", after: Some(&[]) },
    Case { what: "delete what is not there", zone: WEB, script: &["delete web.@ A 10.0.0.9", "delete db.@ A", "delete mail.@"], code: "NOERROR", after: None },
    Case { what: "delete an RRset", zone: MIXED, script: &["delete web.@ AAAA"], code: "NOERROR", after: Some(&["web.@ 60 A 10.0.0.1", "web.@ 60 TXT \"owner=i-1\""]) },
    Case { what: "delete a name", zone: MIXED, script: &["delete web.@"], code: "NOERROR", after: Some(&[]) },
    Case { what: "delete a name that has servers of its own", zone: &["sub.@ 60 NS ns.example."], script: &["delete sub.@"], code: "NOERROR", after: Some(&[]) },
    Case { what: "delete a target in other case", zone: &["1.@ 60 PTR web.example."], script: &["delete 1.@ PTR WEB.EXAMPLE."], code: "NOERROR", after: Some(&[]) },
    Case { what: "all four types at once", zone: &[], script: &["add web.@ 60 A 10.0.0.1", "add web.@ 60 AAAA fd00::1", "add web.@ 60 TXT \"owner=i-1\"", "add 1.@ 60 PTR web.@"], code: "NOERROR", after: Some(&["1.@ 60 PTR web.@", "web.@ 60 A 10.0.0.1", "web.@ 60 AAAA fd00::1", "web.@ 60 TXT \"owner=i-1\""]) },
    // CNAME conflicts are passed over, RFC 2136 §3.4.2.2
    Case { what: "an address beside a CNAME", zone: ALIAS, script: &["add web.@ 60 A 10.0.0.1", "add db.@ 60 A 10.0.0.2"], code: "NOERROR", after: Some(&["db.@ 60 A 10.0.0.2", "web.@ 60 CNAME host.example."]) },
    Case { what: "a CNAME beside an address", zone: WEB, script: &["add web.@ 60 CNAME host.example."], code: "NOERROR", after: None },
    Case { what: "a CNAME in place of an address", zone: WEB, script: &["delete web.@ A", "add web.@ 60 CNAME host.example."], code: "NOERROR", after: Some(ALIAS) },
    Case { what: "an address in place of a CNAME", zone: ALIAS, script: &["delete web.@ CNAME", "add web.@ 60 A 10.0.0.1"], code: "NOERROR", after: Some(WEB) },
    Case { what: "a CNAME in place of another", zone: ALIAS, script: &["add web.@ 90 CNAME other.example."], code: "NOERROR", after: Some(&["web.@ 90 CNAME other.example."]) },
    // the apex
    Case { what: "delete the apex", zone: &["@ 60 A 10.0.0.1"], script: &["delete @"], code: "NOERROR", after: Some(&[]) },
    Case { what: "delete the servers, the last server, and the SOA of the apex", zone: &[], script: &["delete @ NS", "delete @ NS ns1.example.", "delete @ SOA"], code: "NOERROR", after: None },
    Case { what: "add a server and delete the other", zone: &[], script: &["add @ 300 NS ns2.example.", "delete @ NS ns1.example.", "add @ 300 NS ns1.example.", "delete @ NS ns2.example."], code: "NOERROR", after: None },
    // refused as a whole: the record before the bad one is not applied either
    Case { what: "a name outside the zone", zone: WEB, script: &["add db.@ 60 A 10.0.0.2", "add db.elsewhere. 60 A 10.0.0.2"], code: "NOTZONE", after: None },
    Case { what: "a prerequisite outside the zone", zone: WEB, script: &["prereq nxdomain db.elsewhere.", "add db.@ 60 A 10.0.0.2"], code: "NOTZONE", after: None },
    Case { what: "an address under no host name", zone: WEB, script: &["check-names off", "add db.@ 60 A 10.0.0.2", "add web_1.@ 60 A 10.0.0.2"], code: "REFUSED", after: None },
    Case { what: "an IPv6 address under no host name", zone: WEB, script: &["check-names off", "add -web.@ 60 AAAA fd00::1"], code: "REFUSED", after: None },
    Case { what: "a text under no host name", zone: &[], script: &["add _tagalong.web.@ 60 TXT \"owner=i-1\""], code: "NOERROR", after: Some(&["_tagalong.web.@ 60 TXT \"owner=i-1\""]) },
    Case { what: "an address under a wildcard", zone: &[], script: &["add *.web.@ 60 A 10.0.0.1"], code: "NOERROR", after: Some(&["*.web.@ 60 A 10.0.0.1"]) },
];

#[test]
fn every_update_does_here_what_it_does_in_bind() {
    let key = Key::generate("agents.");
    let zones: Vec<_> =
        CASES.iter().enumerate().map(|(at, case)| ZoneText::new(&origin(at), case.zone)).collect();
    let mut wrong = Vec::new();
    for subject in Subject::both(&zones, std::slice::from_ref(&key)) {
        for (at, case) in CASES.iter().enumerate() {
            let origin = origin(at);
            let before = transfer(subject.addr(), &key, &origin);
            let lines: Vec<_> = case.script.iter().map(|line| expand(line, &origin)).collect();
            let code = nsupdate(
                subject.addr(),
                Some(&key),
                &[],
                &format!("zone {origin}\n{}", lines.join("\n")),
            );
            let after = transfer(subject.addr(), &key, &origin);
            let is_as_said = match case.after {
                None => after == before,
                Some(expected) => {
                    let serial = if lines.iter().any(|line| line == "send") { 3 } else { 2 };
                    let mut expected = ZoneText::new(&origin, expected).lines;
                    expected = expected
                        .iter()
                        .map(|line| line.replace(" 1 3600", &format!(" {serial} 3600")))
                        .collect();
                    expected.sort();
                    after == expected
                }
            };
            if code != case.code || !is_as_said {
                wrong.push(format!(
                    "{}: {}: {code}, then\n  {}",
                    subject.name(),
                    case.what,
                    after.join("\n  ")
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

#[test]
fn an_update_over_tcp_does_what_it_does_over_udp() {
    let key = Key::generate("agents.");
    for subject in
        Subject::both(&[ZoneText::new("corp.internal.", WEB)], std::slice::from_ref(&key))
    {
        let swap = "zone corp.internal.\nprereq yxrrset web.corp.internal. A 10.0.0.1\ndelete web.corp.internal. A\nadd web.corp.internal. 60 A 10.0.0.2";
        assert_eq!(
            nsupdate(subject.addr(), Some(&key), &["-v"], swap),
            "NOERROR",
            "{}",
            subject.name()
        );
        assert_eq!(
            nsupdate(subject.addr(), Some(&key), &["-v"], swap),
            "NXRRSET",
            "{}",
            subject.name()
        );
    }
}

#[test]
fn nsupdate_finds_the_zone_by_itself() {
    let key = Key::generate("agents.");
    for subject in Subject::both(
        &[ZoneText::new("corp.internal.", &[]), ZoneText::new("0.10.in-addr.arpa.", &[])],
        std::slice::from_ref(&key),
    ) {
        for script in [
            "add a.b.corp.internal. 60 A 10.0.0.1",
            "add 1.0.0.10.in-addr.arpa. 60 PTR a.b.corp.internal.",
        ] {
            assert_eq!(
                nsupdate(subject.addr(), Some(&key), &[], script),
                "NOERROR",
                "{}",
                subject.name()
            );
        }
        assert_eq!(
            transfer(subject.addr(), &key, "0.10.in-addr.arpa.").len(),
            3,
            "{}",
            subject.name()
        );
    }
}

#[test]
fn a_reverse_record_points_at_a_host_name() {
    let key = Key::generate("agents.");
    for subject in
        Subject::both(&[ZoneText::new("0.10.in-addr.arpa.", &[])], std::slice::from_ref(&key))
    {
        let script = "check-names off\nzone 0.10.in-addr.arpa.\nadd 1.0.0.10.in-addr.arpa. 60 PTR web_1.corp.internal.";
        assert_eq!(
            nsupdate(subject.addr(), Some(&key), &[], script),
            "REFUSED",
            "{}",
            subject.name()
        );
    }
}

#[test]
fn a_zone_that_is_not_served_is_not_updated() {
    let key = Key::generate("agents.");
    for subject in
        Subject::both(&[ZoneText::new("corp.internal.", WEB)], std::slice::from_ref(&key))
    {
        for zone in ["elsewhere.", "sub.corp.internal.", "internal."] {
            let code = nsupdate(
                subject.addr(),
                Some(&key),
                &[],
                &format!("zone {zone}\nadd web.{zone} 60 A 10.0.0.1"),
            );
            assert_eq!(code, "NOTAUTH", "{} {zone}", subject.name());
        }
    }
}

#[test]
fn what_no_tool_sends_is_refused_here_as_in_bind() {
    let key = Key::generate("agents.");
    let cases = odd_updates("corp.internal.");
    let mut wrong = Vec::new();
    for subject in
        Subject::both(&[ZoneText::new("corp.internal.", WEB)], std::slice::from_ref(&key))
    {
        for (what, message, expected) in &cases {
            let signed = key.sign(&message.to_vec().unwrap(), now());
            let code = rcode(&exchange(subject.addr(), &signed.message));
            if code != *expected {
                wrong.push(format!("{}: {what}: {code}, not {expected}", subject.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_replica_refuses_the_update_and_serves_what_the_primary_took() {
    let key = Key { name: "big.".into(), algorithm: Algorithm::HmacSha512, secret: vec![7; 64] };
    let zone = ZoneText::new("corp.internal.", &[]).zone();
    let primary = Server::start(ANY_PORT, vec![zone], vec![key.clone()]).unwrap();
    let replica = Server::replica(ANY_PORT, primary.zones(), vec![key.clone()]).unwrap();
    let script = "zone corp.internal.\nadd web.corp.internal. 60 A 10.0.0.1";
    assert_eq!(nsupdate(replica.addr(), Some(&key), &[], script), "NOTAUTH");
    assert_eq!(nsupdate(primary.addr(), Some(&key), &[], script), "NOERROR");
    assert_eq!(
        replica.records("WEB.corp.internal."),
        [("A".to_owned(), 60, "10.0.0.1".to_owned())]
    );
    assert_eq!(replica.serial("corp.internal."), Some(2));
    assert_eq!((primary.updates(), replica.updates()), (1, 1));
    assert_eq!(replica.received().last().unwrap().signer.as_deref(), Some("big."));
}

#[test]
fn what_is_changed_behind_the_agents_back_changes_the_serial() {
    let server =
        Server::start(ANY_PORT, vec![ZoneText::new("corp.internal.", WEB).zone()], vec![]).unwrap();
    server.zones().add("db.corp.internal. 30 TXT \"it's \\\"mine\\\"\"").unwrap();
    server.zones().delete("web.corp.internal.", Some("A"));
    assert_eq!(server.serial("corp.internal."), Some(3));
    let all = server.zones().all("corp.internal.");
    assert_eq!(all.last().unwrap(), "db.corp.internal. 30 TXT \"it's \\\"mine\\\"\"", "{all:?}");
    assert!(server.zones().add("web.elsewhere. 60 A 10.0.0.1").is_err());
}

/// Updates of `zone`, and the rcodes that they deserve.
fn odd_updates(zone: &str) -> Vec<(&'static str, Message, &'static str)> {
    let a = || RData::A(A::new(10, 0, 0, 1));
    let nothing = |kind| RData::Update0(kind);
    let (web, any, none, inside) =
        ("web.corp.internal.", DNSClass::ANY, DNSClass::NONE, DNSClass::IN);
    let questions = |queries: Vec<Query>| {
        let mut message = update(zone, vec![], vec![record(web, DNSClass::IN, 60, a())]);
        message.queries = queries;
        message
    };
    let unmet = || vec![record(web, none, 0, nothing(RecordType::ANY))];
    let soa = || Query::query(name(zone), RecordType::SOA);
    vec![
        (
            "an address for a zone",
            questions(vec![Query::query(name(zone), RecordType::A)]),
            "FORMERR",
        ),
        ("two zones", questions(vec![soa(), soa()]), "FORMERR"),
        ("no zone", questions(vec![]), "FORMERR"),
        (
            "a prerequisite with a TTL",
            update(zone, vec![record(web, any, 1, nothing(RecordType::A))], vec![]),
            "FORMERR",
        ),
        ("a value with a TTL", update(zone, vec![record(web, inside, 1, a())], vec![]), "FORMERR"),
        (
            "a prerequisite of another class",
            update(zone, vec![record(web, DNSClass::CH, 0, a())], vec![]),
            "FORMERR",
        ),
        (
            "a prerequisite with data that has none",
            update(zone, vec![record(web, none, 0, a())], vec![]),
            "FORMERR",
        ),
        (
            "an update of another class",
            update(zone, vec![], vec![record(web, DNSClass::CH, 60, a())]),
            "FORMERR",
        ),
        (
            "a deletion with a TTL",
            update(zone, vec![], vec![record(web, any, 60, nothing(RecordType::A))]),
            "FORMERR",
        ),
        (
            "a deletion of an RRset with data",
            update(zone, vec![], vec![record(web, any, 0, a())]),
            "FORMERR",
        ),
        (
            "a deletion of a record with a TTL",
            update(zone, vec![], vec![record(web, none, 60, a())]),
            "FORMERR",
        ),
        (
            "an address without one",
            update(zone, vec![], vec![record(web, inside, 60, nothing(RecordType::A))]),
            "FORMERR",
        ),
        (
            "any type, added",
            update(zone, vec![], vec![record(web, inside, 60, nothing(RecordType::ANY))]),
            "FORMERR",
        ),
        (
            "any type, of class NONE",
            update(zone, vec![], vec![record(web, none, 0, nothing(RecordType::ANY))]),
            "FORMERR",
        ),
        (
            "a transfer, deleted",
            update(zone, vec![], vec![record(web, any, 0, nothing(RecordType::AXFR))]),
            "FORMERR",
        ),
        (
            "a failing prerequisite, and an update of another zone",
            update(zone, unmet(), vec![record("web.elsewhere.", inside, 60, a())]),
            "NOTZONE",
        ),
        (
            "a failing prerequisite, and a malformed update",
            update(zone, unmet(), vec![record(web, any, 60, nothing(RecordType::A))]),
            "FORMERR",
        ),
        (
            "a failing prerequisite, and a name that is no host's",
            update(zone, unmet(), vec![record("web_1.corp.internal.", inside, 60, a())]),
            "REFUSED",
        ),
        (
            "a text of 255 bytes",
            update(
                zone,
                vec![],
                vec![record(web, inside, 60, RData::TXT(TXT::new(vec!["x".repeat(255)])))],
            ),
            "NOERROR",
        ),
    ]
}

fn origin(at: usize) -> String {
    format!("case{at}.test.")
}

fn expand(line: &str, origin: &str) -> String {
    let line = line.replace('@', origin);
    let is_update = line.starts_with("add ") || line.starts_with("delete ");
    if is_update { format!("update {line}") } else { line }
}
