//! `tagalong withdraw`: this host's own records go, from every backend; others' are not touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tokio::time::timeout_at;

use super::{
    Code,
    args::Args,
    once::{abandoned, backends, former, open},
    pass::carry_out,
    wiring::{Host, failure_of, refused},
};
use crate::{
    agent::{
        patience::out_of_time,
        registration::{Registered, Registration, Unwanted, stand_in},
        report::Report,
    },
    core::{
        facts::Facts,
        naming::{Conflict, Wishes, desire},
        ownership::OwnerId,
    },
    ports::{Failure, topic::Topic},
    store::managed::AGENT_LOCK,
    sys::{clock::SystemClock, fs::is_locked},
};

pub(super) fn run(args: &Args, limit: Duration, started: Instant) -> Code {
    let agent = args.run_dir.join(AGENT_LOCK);
    carry_out(args, limit, started, async move |host, deadline| {
        let mut report = withdraw(host, None, deadline).await;
        if matches!(is_locked(&agent), Ok(Some(true))) {
            let text = "the agent runs, and publishes them again when something changes, or within six hours: `systemctl stop tagalong` first";
            report.notices.push(text.to_owned());
        }
        report
    })
}

/// Takes back what this host has published; its facts are read where they are not `known`.
pub(super) async fn withdraw(
    host: &Host<'_>,
    known: Option<Facts>,
    deadline: tokio::time::Instant,
) -> Report {
    let mut report = Report::default();
    let read = match known {
        Some(facts) => Ok(facts),
        None => host.facts(deadline).await,
    };
    let facts = match read {
        Ok(facts) => facts,
        Err(failure) => {
            report.failures.push(failure);
            return report;
        }
    };
    let known = match host.complete(Some(&facts)) {
        Ok(known) if known.refused.is_empty() => known,
        Ok(known) => return Report { failures: known.refused, ..Report::default() },
        Err(errors) => return Report { failures: refused(&errors), ..Report::default() },
    };
    report.instance_id = Some(facts.identity.instance_id.clone());
    report.notices = known.notices();
    let owner = OwnerId::of(&facts.identity);
    host.notebook.belongs_to(&owner);
    // Names that would be wanted are withdrawn even if the memory was lost; without tags, those of the memory are.
    let Wishes { desired, failed } = desire(&known.config.records, &facts);
    if host.notebook.ledger().published.is_empty() {
        // Neither the memory nor the configuration can say what may stand.
        let unnamed =
            failed.iter().map(|error| Failure::told(error, Some(error.hint()), Topic::Names));
        report.failures.extend(unnamed);
    }
    let names = backends(&known, &desired, host.notebook);
    let needs_list = names.iter().any(|name| known.needs_discovery(name));
    // Most of the time is the DNS servers': where EC2 is silent, those that are known may do.
    let now = tokio::time::Instant::now();
    let by = now + deadline.saturating_duration_since(now) / 4;
    let listed = if needs_list { host.servers(&known, by).await } else { Ok(Vec::new()) };
    let nothing = BTreeMap::new();
    for name in names {
        let (opened, notice) = match open(host, &known, &name, listed.clone(), deadline).await {
            Ok(opened) => opened,
            Err(failure) => {
                report.registered.push(Registered::failed(&name, failure));
                continue;
            }
        };
        let wanted = || desired.get(&name).into_iter().flatten();
        let mut also_retired = wanted().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
        let mut unread = None;
        let now = tokio::time::Instant::now();
        let by_then = now + deadline.saturating_duration_since(now) / 2;
        if !host.notebook.ledger().published.contains_key(&name) {
            for (name, _) in wanted().filter(|(_, wish)| wish.conflict == Conflict::Suffix) {
                match timeout_at(by_then, stand_in(opened.port(), &owner, name)).await {
                    Ok(Ok(found)) => also_retired.extend(found),
                    Ok(Err(error)) => unread = Some(Failure::of(&error)),
                    Err(_) => unread = Some(out_of_time(&opened.port().place())),
                }
            }
        }
        let registration = Registration {
            owner: &owner,
            name: &name,
            backend: opened.port(),
            desired: &nothing,
            unwanted: Unwanted::Retired,
            former: &former(&known, host.notebook),
            also_retired,
            instances: None,
            notebook: host.notebook,
            clock: &SystemClock,
            deadline,
        };
        let mut outcome = registration.run().await;
        outcome.notices.extend(notice);
        outcome.failures.extend(unread);
        let left = outcome.unreached.iter().map(|name| {
            Failure::told(
                format!("{name} was not taken back: the backend does not reach its zone now"),
                Some("withdraw again when it is served"),
                Topic::Names,
            )
        });
        outcome.failures.extend(left.collect::<Vec<_>>());
        report.registered.push(outcome);
    }
    let lost = abandoned(&known, host.notebook);
    let unread = facts.tags.unread.iter().filter(|_| !lost.is_empty());
    report.failures.extend(unread.map(failure_of));
    report.inputs = host.inputs();
    report.failures.extend(lost.iter().map(|text| {
        Failure::told(
            text,
            Some("put that backend back for as long as it takes to withdraw"),
            Topic::Names,
        )
    }));
    report
}
