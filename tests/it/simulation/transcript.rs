//! What happened in a history, told line by line where somebody wants to read it, and counted where nobody does.

use std::{collections::BTreeMap, fmt::Debug};

use tagalong::agent::resolution::{Action, Resolved};

use super::{chance::mix, world::Pass};

/// What happened, told or only counted.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    /// The lines, where they are wanted.
    pub(super) lines: Option<Vec<String>>,
    /// A number that any difference of two histories changes.
    pub(super) hash: u64,
    /// How often what was seen.
    pub(super) tally: BTreeMap<&'static str, u64>,
}

impl Transcript {
    pub(super) fn told() -> Self {
        Self { lines: Some(Vec::new()), ..Self::default() }
    }

    pub(super) fn tell(&mut self, what: &str, how: &dyn Debug) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{what} {how:?}"));
        }
    }

    fn hash(&mut self, octets: &[u8]) {
        for chunk in octets.chunks(8) {
            let number = chunk.iter().fold(1, |number, octet| number << 8 | u64::from(*octet));
            self.hash = mix(self.hash ^ number);
        }
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    /// Notes what a pass did.
    pub(super) fn note(
        &mut self,
        kind: &dyn Debug,
        pass: &Pass,
        outcome: Option<&Resolved>,
        after: Option<&[u8]>,
    ) {
        let did = match outcome.map(|outcome| &outcome.action) {
            None if pass.replaced.is_some() => "killed after it wrote",
            None => "killed before it wrote",
            Some(Action::Failed) => "failed",
            Some(Action::Unchanged) => "unchanged",
            Some(Action::Written { .. }) => "written",
            Some(Action::Kept(why)) => why,
            Some(Action::Unmanaged) => "unmanaged",
        };
        self.count(did);
        let notices = outcome.map(|outcome| outcome.notices.as_slice()).unwrap_or_default();
        for (words, what) in [
            ("VPC's resolver is used", "fallback"),
            ("those that refuse or fail are used", "last resort"),
            ("the last list is used", "last good list"),
        ] {
            if notices.iter().any(|notice| notice.contains(words)) {
                self.count(what);
            }
        }
        self.hash(did.as_bytes());
        self.hash(&pass.told.to_le_bytes());
        self.hash(after.unwrap_or(b"none"));
        if self.lines.is_some() {
            let failures = outcome.map(|outcome| outcome.failures.as_slice()).unwrap_or_default();
            let text = String::from_utf8_lossy(after.unwrap_or(b"none")).into_owned();
            self.tell("pass", &(kind, did, notices, failures));
            self.tell("  answers", &pass.answers);
            self.tell("  file", &text);
        }
    }
}
