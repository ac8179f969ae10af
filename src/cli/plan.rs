//! `tagalong plan`: what would change, as a diff, and why; nothing is sent, nothing is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style};
use futures_util::{FutureExt as _, future::join_all};
use serde::Serialize;

use super::{
    Code,
    args::Args,
    known::{Known, Wishes},
    once::{LIST_PATIENCE, abandoned, backends, open, resolve, resolvers},
    pass::left_alone,
    print,
    status::Left,
    wiring::{Host, deadline, on_host, refused, settings},
};
use crate::{
    agent::{
        patience::out_of_time,
        registration::{self, Registration},
        resolution::{Action, Mode, Resolved},
    },
    config::Manager,
    core::{
        diff,
        name::Name,
        ownership::OwnerId,
        plan::{Plan, RrsetSwap},
        reason::Reason,
        servers::NameServer,
    },
    ec2::imds::Patience,
    ports::{Failure, InstanceDirectory},
    resolver::Resolvers,
    store::Access,
    sys::clock::SystemClock,
};

/// What `plan` found.
#[derive(Default)]
struct Found {
    plans: Vec<Part>,
    resolved: Option<Resolved>,
    notices: Vec<String>,
    failures: Vec<Failure>,
}

pub(super) fn run(args: &Args, limit: Duration, started: Instant) -> Code {
    let Some(settings) = settings(args) else { return Code::Failed };
    let resolvers = resolvers(args);
    let deadline = deadline(started, limit);
    let outcome = on_host(settings, args, Access::ReadOnly, Patience::default(), async |host| {
        find(host, &resolvers, deadline).await
    });
    let found = match outcome {
        Ok((mut found, notices)) => {
            found.notices.extend(notices);
            found
        }
        Err(failures) => Found { failures, ..Found::default() },
    };
    show(args, &found)
}

async fn find(host: &Host<'_>, resolvers: &Resolvers, deadline: tokio::time::Instant) -> Found {
    let mut found = Found::default();
    let facts = match host.facts(deadline).await {
        Ok(facts) => facts,
        Err(failure) => {
            found.failures.push(failure);
            return found;
        }
    };
    let known = match host.complete(Some(&facts)) {
        Ok(known) => known,
        Err(errors) => {
            found.failures = refused(&errors);
            return found;
        }
    };
    found.notices = known.notices();
    if known.is_whole() {
        found.notices.extend(abandoned(&known, host.notebook));
    }
    // A plan is asked for by a person: a tag that is missing is said at once, and not waited for.
    let wishes = known.wishes();
    found.failures.clone_from(&wishes.failures);
    let owner = OwnerId::of(&facts.identity);
    host.notebook.belongs_to(&owner);
    let managed = known.config.resolver.manager != Manager::None;
    let names = if wishes.failures.is_empty() || !wishes.desired.is_empty() {
        backends(&known, &wishes.desired, host.notebook)
    } else {
        BTreeSet::new()
    };
    let needs_list = managed || names.iter().any(|name| known.needs_discovery(name));
    // As a pass does it: then what the last good list makes of it is told.
    let patience = deadline.min(tokio::time::Instant::now() + LIST_PATIENCE);
    let listed =
        async { if needs_list { host.servers(&known, patience).await } else { Ok(Vec::new()) } };
    let listed = listed.shared();
    let plans = names.iter().map(|name| {
        let (known, listed, wishes, owner) = (&known, listed.clone(), &wishes, &owner);
        async move {
            let listed = if known.needs_discovery(name) { listed.await } else { Ok(Vec::new()) };
            plan_of(host, known, name, wishes, owner, listed, deadline).await
        }
    });
    let resolve =
        async { resolve(host, &known, resolvers, listed.clone().await, Mode::Plan).await };
    let (plans, resolved) = tokio::join!(join_all(plans), resolve);
    for plan in plans {
        match plan {
            Ok((plan, notices)) => {
                found.plans.push(plan);
                found.notices.extend(notices);
            }
            Err(failure) => found.failures.push(failure),
        }
    }
    found.resolved = Some(resolved);
    found
}

/// What would change in one backend.
struct Part {
    backend: String,
    /// Where each of its zones is.
    places: BTreeMap<Name, String>,
    plan: Plan,
}

/// That, and what the operator should know.
type Planned = (Part, Vec<String>);

async fn plan_of(
    host: &Host<'_>,
    known: &Known,
    name: &str,
    wishes: &Wishes,
    owner: &OwnerId,
    listed: Result<Vec<NameServer>, Failure>,
    deadline: tokio::time::Instant,
) -> Result<Planned, Failure> {
    let (opened, notice) = open(host, known, name, listed, deadline).await?;
    let nothing = BTreeMap::new();
    let instances = known.instances();
    let registration = Registration {
        instances: instances.as_ref().map(|it| it as &dyn InstanceDirectory),
        owner,
        name,
        backend: opened.port(),
        desired: wishes.desired.get(name).unwrap_or(&nothing),
        unwanted: wishes.unwanted(),
        former: &BTreeSet::new(),
        also_retired: BTreeSet::new(),
        notebook: host.notebook,
        clock: &SystemClock,
        deadline,
    };
    match tokio::time::timeout_at(deadline, registration.plan()).await {
        Ok(Ok(registration::Planned { plan, notices, .. })) => {
            let unanswered = plan.unanswered.iter().map(|(name, why)| {
                Reason::Unanswered { name: name.clone(), why: why.clone() }.to_string()
            });
            let notices = unanswered.chain(notices).chain(notice).collect();
            let zones = plan.changes.iter().map(|change| &change.zone);
            let places = zones.map(|zone| (zone.clone(), opened.place_of(zone))).collect();
            Ok((Part { backend: name.to_owned(), places, plan }, notices))
        }
        Ok(Err(error)) => Err(Failure::of(&error)),
        Err(_) => Err(out_of_time(&opened.port().place())),
    }
}

fn show(args: &Args, found: &Found) -> Code {
    let resolved = found.resolved.as_ref();
    found
        .notices
        .iter()
        .chain(resolved.iter().flat_map(|part| &part.notices))
        .for_each(print::notice);
    failures(found).for_each(print::failure);
    let mut blocked = found.plans.iter().flat_map(|part| &part.plan.blocked).peekable();
    let is_blocked = blocked.peek().is_some();
    blocked.for_each(|blocked| print::failure(&left_alone(blocked)));
    let swaps = found
        .plans
        .iter()
        .flat_map(|part| part.plan.changes.iter().flat_map(|change| &change.swaps));
    let swaps = swaps.filter(|swap| swap.because != Reason::Kept).collect::<Vec<_>>();
    if args.json {
        print::data(json(found));
    } else {
        print::data(text(found));
    }
    // What a pass would end with: a name that is another's is in its way, whatever else it could change.
    if is_blocked || failures(found).next().is_some() {
        Code::Failed
    } else if !swaps.is_empty() || !files(found).is_empty() {
        Code::Changes
    } else {
        Code::Done
    }
}

/// Each once: a list of servers that is not to be had is in the way of backends and of the resolver.
fn failures(found: &Found) -> impl Iterator<Item = &Failure> {
    let all = found.failures.iter().chain(found.resolved.iter().flat_map(|part| &part.failures));
    let mut told = Vec::new();
    for failure in all {
        if !told.contains(&failure) {
            told.push(failure);
        }
    }
    told.into_iter()
}

fn text(found: &Found) -> String {
    let mut lines = Vec::new();
    let (mut changes, mut zones, mut unchanged, mut blocked) = (0, 0, 0, 0);
    for Part { places, plan, .. } in &found.plans {
        for change in &plan.changes {
            zones += 1;
            let place = places.get(&change.zone).map_or("", String::as_str);
            lines.push(format!("zone {} at {place}", change.zone));
            for swap in &change.swaps {
                changes += 1;
                lines.push(format!("{}  {}", coloured(swap), swap.because));
            }
        }
        for one in &plan.blocked {
            lines.push(format!("! {} is left alone: {}", one.name, one.by));
        }
        unchanged += plan.unchanged.len();
        blocked += plan.blocked.len();
    }
    let mut set = String::new();
    for (place, before, after) in files(found) {
        set += &format!(", {} would be set", place.trim_start_matches("/etc/"));
        lines.push(place);
        lines.extend(diff(before, after));
    }
    let mut rest =
        if blocked == 0 { "nothing blocked".to_owned() } else { format!("{blocked} blocked") };
    let failed = failures(found).count();
    if failed > 0 {
        rest = format!("{rest}, what depends on {} is not known", count(failed, "error"));
    }
    lines.push(format!(
        "{} in {}, {} unchanged, {rest}{set}; nothing was sent",
        count(changes, "change"),
        count(zones, "zone"),
        count(unchanged, "name"),
    ));
    lines.join("\n")
}

/// What would be set on this host, and its content before and after.
fn files(found: &Found) -> Vec<(String, &str, &str)> {
    let Some(resolved) = &found.resolved else { return Vec::new() };
    let gai_conf = resolved.selection.as_ref().map(|action| ("/etc/gai.conf".to_owned(), action));
    let places = [(resolved.place(), &resolved.action)].into_iter().chain(gai_conf);
    let written = places.filter_map(|(place, action)| match action {
        Action::Written { before, after } => Some((place, before.as_str(), after.as_str())),
        _ => None,
    });
    written.collect()
}

fn coloured(swap: &RrsetSwap) -> String {
    let colour = match swap.own() {
        (None, _) => AnsiColor::Green,
        (_, None) => AnsiColor::Red,
        _ => AnsiColor::Yellow,
    };
    print::styled(colour.on_default(), &swap.to_string())
}

/// The lines that go and those that come.
fn diff(before: &str, after: &str) -> Vec<String> {
    let row = |colour: AnsiColor, sign: &str, line: &str| {
        print::styled(Style::new().fg_color(Some(colour.into())), &format!("{sign} {line}"))
    };
    let lines = diff::lines(before, after).into_iter().map(|line| match line {
        diff::Line::Gone(line) => row(AnsiColor::Red, "-", line),
        diff::Line::Come(line) => row(AnsiColor::Green, "+", line),
    });
    lines.collect()
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn json(found: &Found) -> String {
    #[derive(Serialize)]
    struct Out {
        changes: Vec<Swap>,
        unchanged: Vec<String>,
        blocked: Vec<Left>,
        skipped: Vec<Left>,
        resolv_conf: Option<File>,
        gai_conf: Option<File>,
        failures: Vec<String>,
    }
    #[derive(Serialize)]
    struct Swap {
        backend: String,
        zone: String,
        name: String,
        r#type: String,
        before: Option<Set>,
        after: Option<Set>,
        because: String,
    }
    #[derive(Serialize)]
    struct Set {
        ttl: u32,
        values: Vec<String>,
    }
    #[derive(Serialize)]
    struct File {
        before: String,
        after: String,
    }
    let set = |set: &crate::core::rrset::Rrset| Set {
        ttl: set.ttl,
        values: set.values.iter().map(ToString::to_string).collect(),
    };
    let plans = || found.plans.iter().map(|Part { backend, plan, .. }| (backend, plan));
    let changes = plans().flat_map(|(backend, plan)| {
        plan.changes.iter().flat_map(move |change| {
            change.swaps.iter().map(move |swap| (swap, swap.own())).map(
                move |(swap, (before, after))| Swap {
                    backend: backend.clone(),
                    zone: change.zone.to_string(),
                    name: swap.key.name.to_string(),
                    r#type: swap.key.rtype.to_string(),
                    before: before.as_ref().map(set),
                    after: after.as_ref().map(set),
                    because: swap.because.to_string(),
                },
            )
        })
    });
    let file = |action: Option<&Action>| match action {
        Some(Action::Written { before, after }) => {
            Some(File { before: before.clone(), after: after.clone() })
        }
        _ => None,
    };
    let resolved = found.resolved.as_ref();
    let resolv_conf = file(resolved.map(|part| &part.action));
    let gai_conf = file(resolved.and_then(|part| part.selection.as_ref()));
    let out = Out {
        changes: changes.collect(),
        unchanged: plans()
            .flat_map(|(_, plan)| plan.unchanged.iter().map(ToString::to_string))
            .collect(),
        blocked: plans()
            .flat_map(|(_, plan)| plan.blocked.iter().map(|one| Left::of(&one.name, &one.by)))
            .collect(),
        skipped: plans()
            .flat_map(|(_, plan)| plan.skipped.iter().map(|(name, why)| Left::of(name, why)))
            .collect(),
        resolv_conf,
        gai_conf,
        failures: failures(found).map(ToString::to_string).collect(),
    };
    serde_json::to_string_pretty(&out).unwrap_or_default()
}
