//! Whether the keys of the backends can be had, and who else can read them.

use tokio::time::{Instant, timeout_at};

use super::MORE_TIME;
use crate::{
    backend::rfc2136::Keys,
    cli::{known::Known, wiring::Host},
    config::{BackendConfig, KeyPlace, Keytab},
    core::finding::{Check, Finding},
    keys::file::KeyFile,
    ports::{Failure, KeySource as _, error::KeyError},
};

pub(super) async fn findings(host: &Host<'_>, known: &Known, deadline: Instant) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (backend, config) in &known.config.backends {
        let BackendConfig::Rfc2136 { keys, zone_keys, keytab, .. } = config else { continue };
        if let Some(Keytab { path, .. }) = keytab {
            findings.push(keytab_file(&KeyFile::keytab(path), backend));
            continue;
        }
        let (Some(source), Some(place)) = (host.keys(known, backend), keys) else {
            findings.push(
                Finding::note(Check::KeyFile, format!("backend `{backend}` has no key"))
                    .because(["its updates are not signed: whoever can send from this address can send them too"])
                    .remedy([format!("make a key with `tsig-keygen`, and name it: `backend.{backend}.key_file`")]),
            );
            continue;
        };
        let at = source.place();
        findings.push(match timeout_at(deadline, Keys::read(source, zone_keys.clone())).await {
            Ok(Ok(keys)) => match exposure(place) {
                Some(text) => Finding::note(Check::KeyFile, text).remedy([FOR_ROOT_ALONE]),
                None => Finding::fine(Check::KeyFile, format!("{at} has {}", keys.names())),
            },
            Ok(Err(error)) => {
                let word = place.word();
                unusable(&error, format!(
                    "write it as `tsig-keygen` does, for root alone to read, or correct `backend.{backend}.{word}`"
                ))
            }
            Err(_) => Finding::wrong(Check::KeyFile, format!("the {at} was not to be had in time"))
                .remedy([MORE_TIME]),
        });
    }
    findings
}

/// The keytab as a file; what it is good for, the zones' servers say.
fn keytab_file(file: &KeyFile, backend: &str) -> Finding {
    match (file.text(), file.exposure()) {
        (Ok(_), None) => Finding::fine(Check::KeyFile, format!("there is a {}", file.place())),
        (Ok(_), Some(text)) => Finding::note(Check::KeyFile, text).remedy([FOR_ROOT_ALONE]),
        (Err(error), _) => unusable(
            &error,
            format!(
                "join the host to its realm (`realm join`, `ktadd`), or correct `backend.{backend}.keytab`"
            ),
        ),
    }
}

const FOR_ROOT_ALONE: &str =
    "let root alone read and write it, and think of a new key if others may have read it";

fn unusable(error: &KeyError, or: String) -> Finding {
    let Failure { texts, hints, .. } = Failure::of(error);
    let (first, causes) =
        texts.split_first().map_or(("", &[][..]), |(one, rest)| (one.as_str(), rest));
    Finding::wrong(Check::KeyFile, first).because(causes).remedy(hints.into_iter().chain([or]))
}

/// What is unwise about keys that are in a file.
pub(in crate::cli) fn exposure(place: &KeyPlace) -> Option<String> {
    match place {
        KeyPlace::File(path) => KeyFile::at(path).exposure(),
        KeyPlace::Credential(_) | KeyPlace::Parameter(_) | KeyPlace::Secret(_) => None,
    }
}
