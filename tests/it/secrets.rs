//! What no log, report, status or state may hold: the secrets of the host that it is about. Each test's host is searched at its end.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Fails if anything that was told on the host of this folder, or kept there, holds one of `secrets`, or a key that is in
/// another file of it.
pub(crate) fn are_kept(dir: &Path, secrets: &[String]) {
    let mut told = Vec::new();
    let mut secrets = secrets.iter().flat_map(|text| of(text)).collect::<Vec<_>>();
    read(dir, &mut |path, octets| {
        let short = path.strip_prefix(dir).unwrap();
        let is_ours = ["run", "state", "root"].iter().any(|folder| short.starts_with(folder));
        let kind = path.extension().unwrap_or_default();
        let text = String::from_utf8_lossy(octets);
        if is_ours || kind == "log" {
            told.push((short.to_owned(), text.into_owned()));
        } else if kind == "keytab" {
            secrets.extend(of_keytab(octets));
        } else {
            secrets.extend(of(&text));
        }
    });
    for (path, text) in &told {
        let is_leaked = secrets.iter().any(|secret| text.contains(secret));
        assert!(!is_leaked, "{} holds a secret:\n{text}", path.display());
    }
}

/// The secrets of the keys that `text` holds as `tsig-keygen` writes them, or all of a text that is one word.
fn of(text: &str) -> Vec<String> {
    let text = text.trim();
    let is_word = text.len() >= 16 && !text.contains(char::is_whitespace);
    let keys = text.split("secret \"").skip(1).filter_map(|rest| rest.split('"').next());
    let keys = keys.filter(|secret| secret.len() >= 16).chain(is_word.then_some(text));
    keys.map(str::to_owned).collect()
}

/// Every 15 octets of a keytab, as hexadecimal, as Rust's numbers and in base64: what a key begins with, wherever it stands, is
/// among them, and what 15 octets are in base64 does not depend on those after them.
fn of_keytab(octets: &[u8]) -> Vec<String> {
    let forms = octets.windows(15).flat_map(|some| {
        let hexadecimal = format!("{some:02x?}").replace(['[', ',', ' ', ']'], "");
        let numbers = format!("{some:?}").replace(['[', ']'], "");
        [hexadecimal.to_uppercase(), hexadecimal, numbers, STANDARD.encode(some)]
    });
    forms.collect()
}

fn read(dir: &Path, each: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => read(&path, each),
            Ok(kind) if kind.is_file() => {
                if let Ok(octets) = fs::read(&path) {
                    each(&path, &octets);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn a_secret_that_is_told_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let role = ["2rkgnlxvq1secretaccesskey".to_owned()];
    let key =
        "key \"agent-key\" { algorithm hmac-sha256; secret \"bm90IGEgc2VjcmV0IGF0IGFsbA==\"; };";
    fs::write(dir.join("tsig.key"), key).unwrap();
    fs::write(dir.join("host.keytab"), b"\x05\x02 of host/web-1: sixteen octets k").unwrap();
    fs::create_dir(dir.join("run")).unwrap();
    for told in [
        "bm90IGEgc2VjcmV0IGF0IGFsbA==",
        "2rkgnlxvq1secretaccesskey",
        "7369787465656e206f6374657473206b",
        "7369787465656E206F6374657473206B",
        "[115, 105, 120, 116, 101, 101, 110, 32, 111, 99, 116, 101, 116, 115, 32, 107]",
        "c2l4dGVlbiBvY3RldHMgaw==",
    ] {
        for place in ["told.log", "run/status.json"] {
            fs::write(dir.join(place), format!("signed with {told}")).unwrap();
            let search = std::panic::catch_unwind(|| are_kept(dir, &role));
            assert!(search.is_err(), "{told} in {place}");
            fs::write(dir.join(place), "signed with agent-key").unwrap();
            are_kept(dir, &role);
        }
    }
}
