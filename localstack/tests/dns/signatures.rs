//! Who may update, and how the answer is signed: the same from BIND and from our server.

use sandbox::dns::{Algorithm, Answered, Key};

use super::tools::{Subject, ZoneText, dig, exchange, now, nsupdate, rcode, record, update};
use hickory_proto::rr::{DNSClass, RData, rdata::A};

const ADD: &str = "zone corp.internal.\nadd web.corp.internal. 60 A 10.0.0.1";

#[test]
fn only_the_holder_of_the_key_updates_the_zone() {
    let key = Key::generate("agents.");
    let wrong_secret = Key::generate("agents.");
    let wrong_algorithm = Key { algorithm: Algorithm::HmacSha512, ..key.clone() };
    let unknown = Key::generate("strangers.");
    for subject in both(&key) {
        let send = |key, script: &str| nsupdate(subject.addr(), key, &[], script);
        let name = subject.name();
        assert_eq!(send(None, ADD), "REFUSED", "{name}");
        let unmet = "zone corp.internal.\nprereq yxdomain nobody.corp.internal.";
        assert_eq!(
            send(None, unmet),
            "REFUSED",
            "{name}: without the key one learns nothing by prerequisites"
        );
        assert_eq!(send(Some(&unknown), ADD), "NOTAUTH(BADKEY)", "{name}");
        assert_eq!(send(Some(&wrong_algorithm), ADD), "NOTAUTH(BADKEY)", "{name}");
        assert_eq!(send(Some(&wrong_secret), ADD), "NOTAUTH(BADSIG)", "{name}");
        let still_not = "zone corp.internal.\nprereq nxdomain web.corp.internal.";
        assert_eq!(send(Some(&key), still_not), "NOERROR", "{name}");
        assert_eq!(send(Some(&key), ADD), "NOERROR", "{name}");
    }
}

#[test]
fn every_algorithm_signs_and_is_answered_signed() {
    let algorithms =
        [(Algorithm::HmacSha256, 32), (Algorithm::HmacSha384, 48), (Algorithm::HmacSha512, 64)];
    let keys = algorithms.map(|(algorithm, length)| Key {
        name: format!("{}-key", algorithm.name()),
        algorithm,
        secret: vec![9; length],
    });
    let long = Key {
        name: "longer-than-a-block.".into(),
        algorithm: Algorithm::HmacSha256,
        secret: vec![3; 100],
    };
    let keys: Vec<_> = keys.into_iter().chain([long]).collect();
    for subject in Subject::both(&[ZoneText::new("corp.internal.", &[])], &keys) {
        for key in &keys {
            // nsupdate verifies the answer, and fails when it does not verify
            assert_eq!(
                nsupdate(subject.addr(), Some(key), &[], ADD),
                "NOERROR",
                "{} {}",
                subject.name(),
                key.name
            );
            assert!(answered(&subject, key, now()).1.verifies, "{} {}", subject.name(), key.name);
        }
    }
}

#[test]
fn an_unsigned_request_is_answered_unsigned() {
    let key = Key::generate("agents.");
    for subject in both(&key) {
        let answer = exchange(subject.addr(), &message());
        assert_eq!(
            (rcode(&answer), key.read_answer(&answer, &[])),
            ("REFUSED", None),
            "{}",
            subject.name()
        );
    }
}

#[test]
fn a_wrong_key_is_told_so_without_a_signature() {
    let key = Key::generate("agents.");
    for subject in both(&key) {
        for (key, error) in [(Key::generate("agents."), 16), (Key::generate("strangers."), 17)] {
            let (code, Answered { signed, error: told, .. }) = answered(&subject, &key, now());
            assert_eq!((code, signed, told), ("NOTAUTH", false, error), "{}", subject.name());
        }
    }
}

#[test]
fn a_wrong_clock_is_told_the_right_time_under_a_signature_that_verifies() {
    let key = Key::generate("agents.");
    for subject in both(&key) {
        for wrong in [0, 301, now() - 3600, now() + 3600] {
            let before = now();
            let (code, answer) = answered(&subject, &key, wrong);
            assert_eq!(
                (code, answer.verifies, answer.error, answer.time),
                ("NOTAUTH", true, 18, wrong),
                "{}",
                subject.name()
            );
            let told = answer.other.iter().fold(0, |time, byte| time << 8 | u64::from(*byte));
            assert!((before..=now()).contains(&told), "{} says it is {told}", subject.name());
        }
        for near in [now() - 290, now() + 290] {
            let (code, answer) = answered(&subject, &key, near);
            assert_eq!(
                (code, answer.verifies, answer.error),
                ("NOERROR", true, 0),
                "{}",
                subject.name()
            );
        }
    }
}

#[test]
fn a_failed_prerequisite_is_told_under_a_signature() {
    let key = Key::generate("agents.");
    for subject in both(&key) {
        let unmet = record("web.corp.internal.", DNSClass::IN, 0, RData::A(A::new(10, 0, 0, 1)));
        let signed =
            key.sign(&update("corp.internal.", vec![unmet], vec![]).to_vec().unwrap(), now());
        let answer = exchange(subject.addr(), &signed.message);
        assert_eq!(rcode(&answer), "NXRRSET", "{}", subject.name());
        assert!(key.read_answer(&answer, &signed.mac).unwrap().verifies, "{}", subject.name());
    }
}

#[test]
fn a_signature_that_is_not_one_is_a_format_error() {
    let key = Key::generate("agents.");
    let signed = key.sign(&message(), now()).message;
    let mut twice = key.sign(&signed, now()).message;
    let mut cut = signed.clone();
    cut.truncate(signed.len() - 7);
    for subject in both(&key) {
        for (what, message) in [("two signatures", &mut twice), ("half a signature", &mut cut)] {
            assert_eq!(
                rcode(&exchange(subject.addr(), message)),
                "FORMERR",
                "{}: {what}",
                subject.name()
            );
        }
    }
}

#[test]
fn a_signed_query_is_answered_signed() {
    let key = Key::generate("agents.");
    for subject in both(&key) {
        let said = dig(subject.addr(), Some(&key), "corp.internal. SOA +norecurse");
        assert!(
            said.contains("status: NOERROR") && said.contains("TSIG PSEUDOSECTION"),
            "{}: {said}",
            subject.name()
        );
        assert!(!said.to_lowercase().contains("warning"), "{}: {said}", subject.name());
    }
}

#[test]
fn the_key_file_is_the_one_that_tsig_keygen_writes() {
    let key = Key {
        name: "agents.".into(),
        algorithm: Algorithm::HmacSha256,
        secret: b"0123456789abcdef".to_vec(),
    };
    let expected =
        "key \"agents.\" {\n\talgorithm hmac-sha256;\n\tsecret \"MDEyMzQ1Njc4OWFiY2RlZg==\";\n};\n";
    assert_eq!(key.to_key_file(), expected);
    assert_ne!(Key::generate("a.").secret, Key::generate("a.").secret);
    assert!(!format!("{key:?}").contains("0123"));
}

fn both(key: &Key) -> [Subject; 2] {
    Subject::both(&[ZoneText::new("corp.internal.", &[])], std::slice::from_ref(key))
}

fn message() -> Vec<u8> {
    let add = record("web.corp.internal.", DNSClass::IN, 60, RData::A(A::new(10, 0, 0, 1)));
    update("corp.internal.", vec![], vec![add]).to_vec().unwrap()
}

/// The rcode and the signature that an update signed at `time` is answered with.
fn answered(subject: &Subject, key: &Key, time: u64) -> (&'static str, Answered) {
    let signed = key.sign(&message(), time);
    let answer = exchange(subject.addr(), &signed.message);
    (rcode(&answer), key.read_answer(&answer, &signed.mac).expect("no TSIG in the answer"))
}
