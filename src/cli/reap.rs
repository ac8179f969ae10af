//! `tagalong reap`: the records of instances that are gone, and with `--yes` their end.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::time::timeout_at;

use super::{
    Code,
    args::Args,
    known::{Known, Wishes},
    once::{backends, open},
    print,
    wiring::{Host, deadline, on_host, refused, settings},
};
use crate::{
    agent::{
        patience::out_of_time,
        reaping::{Extent, Reaped, Reaping, Waiting},
    },
    core::{name::Name, ownership::OwnerId},
    ec2::imds::Patience,
    ports::{Backend, Failure, topic::Topic},
    store::Access,
    sys::clock::{SystemClock, now},
};

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) zones: &'a [String],
    pub(super) extent: Extent,
    pub(super) grace: Duration,
    pub(super) limit: usize,
}

/// What was found in each backend.
type Found = Vec<(String, Reaped)>;

pub(super) fn run(args: &Args, wanted: &Wanted<'_>, limit: Duration, started: Instant) -> Code {
    let Some(settings) = settings(args) else { return Code::Failed };
    let zones = wanted.zones.iter().map(|zone| {
        zone.parse::<Name>().map_err(|error| format!("`{zone}` is no domain name: {error}"))
    });
    let zones = match zones.collect::<Result<Vec<_>, _>>() {
        Ok(zones) => zones,
        Err(error) => {
            print::error(error);
            return Code::Usage;
        }
    };
    let deadline = deadline(started, limit);
    let outcome = on_host(settings, args, Access::ReadWrite, Patience::default(), async |host| {
        let reaped = timeout_at(deadline, reap(host, &zones, wanted, deadline)).await;
        reaped.unwrap_or_else(|_| Err(vec![out_of_time("a zone's server, or EC2")]))
    });
    let (found, failures, notices) = match outcome {
        Ok((Ok(found), notices)) => (found, Vec::new(), notices),
        Ok((Err(failures), notices)) => (Vec::new(), failures, notices),
        Err(failures) => (Vec::new(), failures, Vec::new()),
    };
    notices.iter().for_each(print::notice);
    failures.iter().for_each(print::failure);
    for (_, reaped) in &found {
        reaped.notices.iter().for_each(print::notice);
        reaped.failures.iter().for_each(print::failure);
    }
    if args.json {
        print::data(json(&found));
    } else {
        print::data(text(&found, wanted));
    }
    let is_good = failures.is_empty() && found.iter().all(|(_, reaped)| reaped.failures.is_empty());
    if is_good { Code::Done } else { Code::Failed }
}

async fn reap(
    host: &Host<'_>,
    zones: &[Name],
    wanted: &Wanted<'_>,
    deadline: tokio::time::Instant,
) -> Result<Found, Vec<Failure>> {
    let facts = host.facts(deadline).await.map_err(|failure| vec![failure])?;
    let known = host.complete(Some(&facts)).map_err(|errors| refused(&errors))?;
    let us = OwnerId::of(&facts.identity);
    let Some(instances) = known.instances() else {
        let text = "the VPC of this instance is not known, so nobody can be looked up";
        return Err(vec![Failure::told(text, None, Topic::Metadata)]);
    };
    let wishes = known.wishes();
    let mut found = Vec::new();
    for name in backends(&known, &wishes.desired, host.notebook) {
        let needs_list = known.needs_discovery(&name);
        let listed = if needs_list { host.servers(&known, deadline).await } else { Ok(Vec::new()) };
        let opened = open(host, &known, &name, listed, deadline).await;
        let (opened, _) = opened.map_err(|failure| vec![failure])?;
        let reaping = Reaping {
            us: &us,
            backend: opened.port(),
            instances: &instances,
            notebook: host.notebook,
            clock: &SystemClock,
            grace: wanted.grace,
            limit: wanted.limit,
        };
        let zones = match zones {
            [] => own_zones(opened.port(), &known, &wishes, &name).await.map_err(|it| vec![it])?,
            zones => zones.to_vec(),
        };
        found.push((name, reaping.run(&zones, wanted.extent).await));
    }
    if found.is_empty() && !wishes.failures.is_empty() {
        return Err(wishes.failures);
    }
    if found.is_empty() {
        let hint = "configure a record, by file or by tag";
        let text = "no backend has a name of this host";
        return Err(vec![Failure::told(text, Some(hint), Topic::Names)]);
    }
    Ok(found)
}

/// The zones that hold this host's names.
async fn own_zones(
    backend: &dyn Backend,
    known: &Known,
    wishes: &Wishes,
    name: &str,
) -> Result<Vec<Name>, Failure> {
    debug_assert!(known.config.backends.contains_key(name));
    let names = wishes.desired.get(name).into_iter().flatten().map(|(name, _)| name.clone());
    let observed = backend.observe(&names.collect::<Vec<_>>()).await;
    let observed = observed.map_err(|error| Failure::of(&error))?;
    Ok(observed.zones.into_values().collect::<BTreeSet<_>>().into_iter().collect())
}

fn text(found: &Found, wanted: &Wanted<'_>) -> String {
    let mut lines = Vec::new();
    for (backend, reaped) in found {
        let now = now();
        for removal in &reaped.removals {
            let age = now.saturating_sub(removal.since);
            for swap in &removal.change.swaps {
                lines.push(format!("{swap}  {}, seen {age} s ago", swap.because));
            }
        }
        for Waiting { owner, left, names } in &reaped.waiting {
            let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            lines.push(format!(
                "  {owner} is gone; its records go in {left} s at the earliest: {names}"
            ));
        }
        if !reaped.unknown.is_empty() {
            let owners = reaped.unknown.iter().map(ToString::to_string).collect::<Vec<_>>();
            lines.push(format!("  of another account, or not known: {}", owners.join(", ")));
        }
        let zones = reaped.zones.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let gone = reaped.removals.len();
        let what = match (wanted.extent, reaped.left) {
            (Extent::Apply, 0) => format!("{gone} name(s) removed"),
            (Extent::Apply, left) => format!("{gone} name(s) removed, {left} left by --limit"),
            (Extent::Plan, 0) if gone == 0 => "nothing would be removed now".to_owned(),
            (Extent::Plan, left) => {
                format!("{} name(s) would be removed; --yes does it", gone + left)
            }
        };
        lines.push(if reaped.zones.is_empty() {
            format!("{backend}: no zone could be read")
        } else {
            format!("{backend}: {} owner(s) in {zones}: {what}", reaped.owners)
        });
    }
    lines.join("\n")
}

fn json(found: &Found) -> String {
    #[derive(Serialize)]
    struct Out<'a> {
        backends: Vec<Part<'a>>,
    }
    #[derive(Serialize)]
    struct Part<'a> {
        backend: &'a str,
        zones: Vec<String>,
        owners: usize,
        removals: Vec<Gone>,
        waiting: Vec<String>,
        unknown: Vec<String>,
        left: usize,
        removed: usize,
    }
    #[derive(Serialize)]
    struct Gone {
        name: String,
        owner: String,
        since: u64,
        changes: Vec<String>,
    }
    let strings = |owners: &[OwnerId]| owners.iter().map(ToString::to_string).collect();
    let parts = found.iter().map(|(backend, reaped)| Part {
        backend,
        zones: reaped.zones.iter().map(ToString::to_string).collect(),
        owners: reaped.owners,
        removals: reaped
            .removals
            .iter()
            .map(|removal| Gone {
                name: removal.name.to_string(),
                owner: removal.owner.to_string(),
                since: removal.since,
                changes: removal.change.swaps.iter().map(ToString::to_string).collect(),
            })
            .collect(),
        waiting: reaped.waiting.iter().map(|waiting| waiting.owner.to_string()).collect(),
        unknown: strings(&reaped.unknown),
        left: reaped.left,
        removed: reaped.done.iter().map(|swap| &swap.key.name).collect::<BTreeSet<_>>().len(),
    });
    serde_json::to_string_pretty(&Out { backends: parts.collect() }).unwrap_or_default()
}
