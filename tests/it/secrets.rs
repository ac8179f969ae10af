//! What no log, report, status or state may hold: the secrets of the host that it is about. Each test's host is searched at its end.

use std::{fs, path::Path};

use crate::support::Lab;

/// Fails if anything that was told on this host, or kept there, holds the secret of a key, or one of the role's credentials.
pub(crate) fn are_kept(lab: &Lab) {
    let (mut told, mut secrets) = (Vec::new(), lab.world.secrets());
    let dir = lab.dir.path();
    read(dir, &mut |path, text| {
        let short = path.strip_prefix(dir).unwrap();
        let is_ours = ["run", "state", "root"].iter().any(|folder| short.starts_with(folder));
        if is_ours || path.extension().is_some_and(|extension| extension == "log") {
            told.push((short.to_owned(), text));
        } else {
            secrets.push(text);
        }
    });
    let secrets = secrets.iter().flat_map(|text| of(text)).collect::<Vec<_>>();
    for (path, text) in &told {
        let leaked = secrets.iter().find(|secret| text.contains(**secret));
        assert!(leaked.is_none(), "{} holds a secret:\n{text}", path.display());
    }
}

/// The secrets of the keys that `text` holds as `tsig-keygen` writes them, or all of a text that is one word.
fn of(text: &str) -> Vec<&str> {
    let text = text.trim();
    let is_word = text.len() >= 16 && !text.contains(char::is_whitespace);
    let keys = text.split("secret \"").skip(1).filter_map(|rest| rest.split('"').next());
    keys.filter(|secret| secret.len() >= 16).chain(is_word.then_some(text)).collect()
}

fn read(dir: &Path, each: &mut impl FnMut(&Path, String)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => read(&path, each),
            Ok(kind) if kind.is_file() => {
                if let Ok(octets) = fs::read(&path) {
                    each(&path, String::from_utf8_lossy(&octets).into_owned());
                }
            }
            _ => {}
        }
    }
}

#[test]
#[should_panic(expected = "run/leak.log holds a secret")]
fn a_secret_that_is_told_is_seen() {
    let lab = Lab::new();
    lab.file(
        "tsig.key",
        "key \"agent-key\" { algorithm hmac-sha256; secret \"bm90IGEgc2VjcmV0IGF0IGFsbA==\"; };",
    );
    lab.file("run/leak.log", "signed with bm90IGEgc2VjcmV0IGF0IGFsbA==");
}
