//! Queries, by `dig`: the same answer from BIND and from our server.

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode},
    rr::{DNSClass, RData, RecordType, rdata::TXT},
};
use sandbox::dns::{Key, Protocol, Server, Zone};

use super::tools::{
    ANY_PORT, Subject, ZoneText, ask, dig, exchange, now, rcode, receive, record, update,
};

const ZONE: &[&str] = &[
    "web.@ 60 A 10.0.0.1",
    "web.@ 60 A 10.0.0.2",
    "web.@ 60 AAAA fd00::1",
    "Mixed.@ 60 TXT \"a b\" \"c\"",
    "alias.@ 60 CNAME web.@",
    "alias2.@ 60 CNAME alias.@",
    "dangling.@ 60 CNAME nobody.@",
    "away.@ 60 CNAME web.elsewhere.",
    "deep.down.@ 60 A 10.0.0.3",
    "*.wild.@ 60 A 10.0.0.4",
    "there.wild.@ 60 TXT \"x\"",
    "below.ent.wild.@ 60 TXT \"x\"",
    "*.alias.wild2.@ 60 CNAME web.@",
    "sub.@ 60 NS ns.sub.@",
    "ns.sub.@ 60 A 10.0.0.5",
];

const QUERIES: &[&str] = &[
    "corp.internal. SOA",
    "corp.internal. NS",
    "corp.internal. A",
    "CORP.internal. SOA",
    "web.corp.internal. A",
    "WeB.cOrP.internal. A",
    "web.corp.internal. AAAA",
    "web.corp.internal. TXT",
    "web.corp.internal. SOA",
    "web.corp.internal. ANY",
    "mixed.corp.internal. TXT",
    "nobody.corp.internal. A",
    "nobody.corp.internal. SOA",
    "below.web.corp.internal. A",
    "alias.corp.internal. A",
    "alias.corp.internal. CNAME",
    "alias.corp.internal. ANY",
    "alias.corp.internal. SOA",
    "alias2.corp.internal. A",
    "alias2.corp.internal. TXT",
    "dangling.corp.internal. A",
    "away.corp.internal. A",
    "down.corp.internal. A",
    "deep.down.corp.internal. A",
    "any.wild.corp.internal. A",
    "one.two.wild.corp.internal. A",
    "any.wild.corp.internal. TXT",
    "there.wild.corp.internal. A",
    "below.there.wild.corp.internal. A",
    "ent.wild.corp.internal. A",
    "other.ent.wild.corp.internal. A",
    "*.wild.corp.internal. A",
    "any.alias.wild2.corp.internal. A",
    "sub.corp.internal. A",
    "sub.corp.internal. NS",
    "sub.corp.internal. DS",
    "host.sub.corp.internal. SOA",
    "ns.sub.corp.internal. A",
    "1.0.0.10.in-addr.arpa. PTR",
    "2.0.0.10.in-addr.arpa. SOA",
    "elsewhere. A",
    "internal. SOA",
    "corp.internal. IXFR=1 +notcp",
    "web.corp.internal. A +noedns",
    "web.corp.internal. A +dnssec",
    "web.corp.internal. A +tcp",
    "web.corp.internal. A +edns=1 +noednsnegotiation",
    "web.corp.internal. A +opcode=status",
    "many.test. TXT +ignore",
    "many.test. TXT +ignore +bufsize=800",
    "many.test. TXT",
];

#[test]
fn every_query_is_answered_here_as_in_bind() {
    let many: Vec<_> = (0..40).map(|at| format!("@ 60 TXT \"{at:>050}\"")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let zones = [
        ZoneText::new("corp.internal.", ZONE),
        ZoneText::new("0.10.in-addr.arpa.", &["1.0.@ 60 PTR web.corp.internal."]),
        ZoneText::new("many.test.", &many),
    ];
    let [bind, ours] = Subject::both(&zones, &[Key::generate("agents.")]);
    let mut wrong = Vec::new();
    for query in QUERIES {
        let [theirs, ours] = [&bind, &ours]
            .map(|subject| answer(&dig(subject.addr(), None, &format!("{DIG} {query}"))));
        if theirs != ours {
            wrong.push(format!(
                "{query}:\n  named:\n    {}\n  ours:\n    {}",
                theirs.join("\n    "),
                ours.join("\n    ")
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} queries:\n{}",
        wrong.len(),
        QUERIES.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_question_comes_back_in_its_own_case() {
    let server = Server::start(
        ANY_PORT,
        vec![Zone::new("corp.internal.").record("web 60 A 10.0.0.1")],
        vec![],
    )
    .unwrap();
    let said = dig(server.addr(), None, "WeB.CoRp.InTeRnAl. A +noall +question +answer");
    // and the answer in the zone's, as from BIND
    assert!(
        said.starts_with(";WeB.CoRp.InTeRnAl.") && said.contains("\nweb.corp.internal."),
        "{said}"
    );
}

#[test]
fn a_zone_makes_up_its_apex() {
    let zone = Zone::new("0.10.in-addr.arpa.")
        .record("@ 60 NS ns1.corp.internal.")
        .record("1.0 60 IN PTR web.corp.internal.");
    let server = Server::start(ANY_PORT, vec![zone, Zone::new("corp.internal")], vec![]).unwrap();
    let soa = |zone: &str| dig(server.addr(), None, &format!("{zone} SOA +short"));
    assert_eq!(
        soa("corp.internal."),
        "ns1.corp.internal. hostmaster.corp.internal. 1 3600 600 86400 60\n"
    );
    assert!(soa("0.10.in-addr.arpa.").starts_with("ns1.corp.internal. "));
    assert_eq!(
        server.records("1.0.0.10.in-addr.arpa."),
        [("PTR".to_owned(), 60, "web.corp.internal.".to_owned())]
    );
}

#[test]
fn a_zone_that_cannot_be_read_does_not_start() {
    for line in [
        "",
        "web",
        "web 60",
        "web A 10.0.0.1",
        "web 60 A",
        "web 60 A 10.0.0",
        "web 60 NONSENSE x",
        "web.elsewhere. 60 A 10.0.0.1",
        "a..b 60 A 10.0.0.1",
    ] {
        let Err(error) =
            Server::start(ANY_PORT, vec![Zone::new("corp.internal.").record(line)], vec![])
        else {
            panic!("`{line}` was taken");
        };
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "`{line}`");
    }
}

#[test]
fn noise_is_not_answered_and_does_no_harm() {
    let server = Server::start(ANY_PORT, vec![Zone::new("corp.internal.")], vec![]).unwrap();
    let mut an_answer = Message::new(1, MessageType::Response, OpCode::Query).to_vec().unwrap();
    let socket = ask(server.addr(), &[]);
    for noise in [&[0; 11][..], &[0xff; 300], &an_answer] {
        socket.send(noise).unwrap();
    }
    an_answer[2] &= 0x7f; // a query without a question
    socket.send(&an_answer).unwrap();
    assert_eq!(rcode(&receive(&socket).unwrap()), "FORMERR");
    let said = dig(server.addr(), None, "corp.internal. SOA +short +tcp");
    assert!(said.starts_with("ns1."), "{said}");
}

#[test]
fn a_message_with_any_bytes_wrong_is_answered_and_never_ends_the_server() {
    let key = Key::generate("agents.");
    let server =
        Server::start(ANY_PORT, vec![Zone::new("corp.internal.")], vec![key.clone()]).unwrap();
    let add = record(
        "web.corp.internal.",
        DNSClass::IN,
        60,
        RData::TXT(TXT::new(vec!["a".into(), "b".into()])),
    );
    let gone = record("web.corp.internal.", DNSClass::NONE, 0, RData::Update0(RecordType::ANY));
    let mut message = update("corp.internal.", vec![gone], vec![add]);
    message.set_edns(Edns::new());
    let update = key.sign(&message.to_vec().unwrap(), now()).message;
    message.metadata.op_code = OpCode::Query;
    (message.answers, message.authorities) = (vec![], vec![]);
    let query = key.sign(&message.to_vec().unwrap(), now()).message;

    let mut random = 0x2545_f491_4f6c_dd1d_u64; // xorshift: the same bytes each time
    for round in 0..4000 {
        let mut message = if round % 2 == 0 { update.clone() } else { query.clone() };
        for _ in 0..=round % 4 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let [at, byte, ..] = random.to_le_bytes();
            let length = message.len();
            message[usize::from(at) % length] = byte;
        }
        message[2] &= 0x7f; // else it is an answer
        exchange(server.addr(), &message);
    }
    assert_eq!(server.queries() + server.updates(), 4000);
}

#[test]
fn what_was_asked_is_remembered() {
    let server = Server::start(ANY_PORT, vec![Zone::new("corp.internal.")], vec![]).unwrap();
    dig(server.addr(), None, "Web.corp.internal. AAAA +tcp");
    let [asked] = &server.received()[..] else { panic!("{:?}", server.received()) };
    assert_eq!(
        (asked.name.as_str(), asked.kind.as_str(), asked.protocol),
        ("Web.corp.internal.", "AAAA", Protocol::Tcp)
    );
    assert!(
        !asked.is_update && asked.signer.is_none() && asked.kind == RecordType::AAAA.to_string()
    );
    assert_eq!((server.queries(), server.updates()), (1, 0));
}

/// What of `dig`'s output is the server's: status, flags, and the sections, each sorted.
fn answer(said: &str) -> Vec<String> {
    let lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut lines: Vec<_> = lines
        .filter(|line| {
            !line.is_empty() && !line.starts_with("; <<>>") && !line.starts_with(";; global")
        })
        .collect();
    for line in &mut lines {
        if let Some((start, _)) = line.split_once(", id: ") {
            *line = start.to_owned();
        }
        if let Some((flags, _)) = line.split_once(", ADDITIONAL") {
            *line = flags.to_owned();
        }
    }
    lines
        .chunk_by(|_, next| !next.starts_with(";;"))
        .flat_map(|section| {
            let mut section = section.to_vec();
            section.sort();
            section
        })
        .collect()
}

const DIG: &str = "+norecurse +nocookie +nostats +noadditional";
