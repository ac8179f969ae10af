//! What the agent has to say of itself: to systemd, to `status`, and to the log.

use super::Worker;
use crate::{
    agent::{daemon::Performed, registration::Registered, report::Report, resolution::Resolved},
    cli::{pass::leave, wiring::Host},
    core::job::Outcome,
    ports::{Failure, topic::Topic},
};

impl Worker<'_> {
    /// The end of a job that changed how things stand.
    pub(super) fn close(&self, host: &Host<'_>, is_good: bool) -> Performed {
        let mut report = self.report.borrow_mut();
        report.inputs = host.inputs();
        // For `status` alone.
        let _ = leave(&self.args.run_dir, &report);
        report.registered.iter_mut().for_each(Registered::settle);
        let status = Some(self.status(&report));
        let outcome = if is_good { Outcome::Done } else { Outcome::Failed };
        Performed { status, rhythm: Some(self.rhythm()), ..Performed::with(outcome) }
    }

    /// `published web-1.corp.internal. · resolvers 10.0.0.2, 10.0.0.3 unchanged (1 of 3 do not serve)`
    pub(super) fn status(&self, report: &Report) -> String {
        let ledger = self.notebook.ledger();
        let names = ledger
            .published
            .values()
            .flatten()
            .filter(|(name, published)| published.confirmed && !name.is_reverse());
        let names = names.map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        let failure = report
            .failures
            .iter()
            .chain(report.registered.iter().flat_map(|part: &Registered| &part.failures))
            .next();
        let mut parts = Vec::new();
        if !names.is_empty() {
            let since = if self.registered.get() { "" } else { " before this start" };
            parts.push(format!("published{since} {}", names.join(", ")));
        }
        let blocked = report.registered.iter().flat_map(|part| &part.blocked);
        parts.extend(blocked.map(|blocked| format!("{} left alone: {}", blocked.name, blocked.by)));
        parts.extend(failure.map(|failure| format!("failing: {failure}")));
        if parts.is_empty() {
            parts.push("nothing published".to_owned());
        }
        let resolved = Report { registered: Vec::new(), failures: Vec::new(), ..report.clone() };
        parts.extend(resolved.resolved.as_ref().map(Resolved::summary));
        if self.trampled.borrow().held {
            parts.push("resolv.conf is left to another program".to_owned());
        }
        let standing = self.standing.borrow();
        let standing = PARTS.iter().flat_map(|part| standing.of(part));
        parts.extend(standing.map(str::to_owned));
        parts.join(" · ")
    }

    /// Tells what is new about a part: what begins to go wrong, and what is over.
    pub(super) fn say(&self, part: &'static str, report: &Report) {
        let blocked = report.registered.iter().flat_map(|part| &part.blocked);
        let blocked = blocked.map(|blocked| {
            let hint = blocked.by.hint();
            format!("{} is left alone: {}; {hint}; see {}", blocked.name, blocked.by, Topic::Names)
        });
        let failures = report.failures().map(in_full);
        self.say_conditions(
            part,
            blocked.chain(failures).chain(report.notices()).collect::<Vec<_>>(),
        );
    }

    /// Whether something is in the way of a part.
    pub(super) fn is_failing(&self, part: &str) -> bool {
        self.standing.borrow().of(part).next().is_some()
    }

    pub(super) fn say_conditions(
        &self,
        part: &'static str,
        conditions: impl IntoIterator<Item = String>,
    ) {
        let mut standing = self.standing.borrow_mut();
        // The look never ends: what it has told is told, and is over, by it alone.
        let is_known = |text: &String| {
            part != LOOK && standing.meets(LOOK, text) && !standing.meets(part, text)
        };
        let conditions = conditions.into_iter().filter(|text| !is_known(text)).collect::<Vec<_>>();
        let news = standing.now(part, conditions);
        drop(standing);
        news.begun.iter().for_each(|text| tracing::warn!("{text}"));
        news.over.iter().for_each(|text| tracing::info!("over: {text}"));
    }
}

/// A failure with what to do, and where the manual says more.
pub(super) fn in_full(failure: &Failure) -> String {
    let hints = failure.hints.iter().map(|hint| format!("; {hint}"));
    format!("{failure}{}; see {}", hints.collect::<String>(), failure.topic)
}

/// What is in the way of the metadata.
pub(super) const LOOK: &str = "look";
/// What is in the way of the configuration.
pub(super) const RELOAD: &str = "reload";
/// What is in the way of the resolver.
pub(super) const RESOLVE: &str = "resolve";
/// What is in the way of putting it back.
pub(super) const GUARD: &str = "guard";
/// What the status line says of them; the registration has words of its own.
const PARTS: [&str; 4] = [LOOK, RELOAD, RESOLVE, GUARD];
