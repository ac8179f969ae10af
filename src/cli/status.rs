//! `tagalong status`: what is published, which servers are in use and which are silent, who owns the resolver, how old the
//! inputs are. It reads the memory and the resolver, probes the servers, and changes nothing.

mod zones;

use std::{
    fmt::Display,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    Code,
    args::Args,
    once::{resolve, resolvers},
    print,
    wiring::{memory_notices, on_host, read, refused},
};
use crate::{
    agent::{
        notebook::Notebook,
        report::Report,
        resolution::{Action, Mode, Resolved},
    },
    core::{
        ledger::Ledger,
        name::Name,
        resolv_conf::{RESOLV_CONF, ResolvConf},
        servers::Ranked,
    },
    ec2::imds::Patience,
    ports::{Clock as _, Failure},
    store::{
        Access, StateFile,
        last_pass::LastPass,
        trampled::{Fate, Trampled},
    },
    sys::{clock::SystemClock, fs::inside},
};

/// What `status` shows; its JSON form is for other programs.
#[derive(Serialize)]
struct Status {
    instance_id: Option<String>,
    published: Vec<Published>,
    zones: Vec<zones::Published>,
    servers: Vec<Server>,
    /// Seconds since the list of servers last changed.
    servers_age: Option<u64>,
    resolver: ResolverStatus,
    trampled: Option<Overwritten>,
    last_pass: Option<Pass>,
    inputs: Inputs,
}

/// The last pass of this boot.
#[derive(Serialize)]
struct Pass {
    /// Seconds since it was over.
    age: u64,
    ok: bool,
    summary: String,
}

/// What another program made of the resolver's file in this boot.
#[derive(Serialize)]
struct Overwritten {
    /// Seconds since it was last noticed.
    age: u64,
    times: u64,
    /// Whether the file is left to the other program for now.
    held: bool,
    /// Whether it could not be put back.
    stays: bool,
    difference: Vec<String>,
}

/// Seconds since each input was read last; none for what this boot has not read.
#[derive(Clone, Copy, Serialize)]
struct Inputs {
    metadata: Option<u64>,
    tags: Option<u64>,
    servers: Option<u64>,
}

#[derive(Serialize)]
struct Published {
    name: String,
    backend: String,
    /// Whether the authority acknowledged it.
    confirmed: bool,
    /// Seconds since it was last changed.
    age: u64,
}

#[derive(Serialize)]
struct Server {
    address: String,
    instance_id: Option<String>,
    availability_zone: Option<String>,
    in_use: bool,
    serves: bool,
    because: Vec<String>,
}

#[derive(Serialize)]
struct ResolverStatus {
    owner: String,
    nameservers: Vec<String>,
    /// None where it is not known what it should be.
    up_to_date: Option<bool>,
}

pub(super) fn run(args: &Args, _started: Instant) -> Code {
    let seen = look(args);
    // By then an agent that has just begun has said what it found.
    let (last_pass, trampled) = (LastPass::load(&args.run_dir), Trampled::load(&args.run_dir));
    let (status, notices, failures) = match seen {
        Ok(((ledger, resolved, zones), notices)) => {
            let status = status(&ledger, &resolved, zones, last_pass, trampled);
            (status, notices, resolved.failures)
        }
        // What needs no configuration; an agent that runs goes on with the one that it has read.
        Err(failures) => {
            let store = StateFile::new(&args.state_dir, Access::ReadOnly);
            let notebook = Notebook::open_read_only(&store);
            let ledger = notebook.ledger();
            let file = fs::read(inside(&args.root, Path::new(RESOLV_CONF))).unwrap_or_default();
            let in_use = ResolvConf::parse(&file).nameservers();
            let resolved = Resolved { in_use, ..Resolved::default() };
            let mut status = status(&ledger, &resolved, Vec::new(), last_pass, trampled);
            status.resolver.up_to_date = None;
            (status, memory_notices(&store, &notebook), failures)
        }
    };
    notices.iter().for_each(print::notice);
    let nothing =
        if notices.is_empty() { "nothing" } else { "not known: the memory cannot be read" };
    print::data(if args.json {
        serde_json::to_string_pretty(&status).unwrap_or_default()
    } else {
        text(&status, nothing)
    });
    if failures.is_empty() { Code::Done } else { failed(&failures) }
}

/// The memory, what would be set, and the zones; and what the memory has to say.
type Seen = ((Ledger, Resolved, Vec<zones::Published>), Vec<String>);

fn look(args: &Args) -> Result<Seen, Vec<Failure>> {
    let settings = read(args).map_err(|errors| refused(&errors))?;
    let resolvers = resolvers(args);
    // What tags say is part of the configuration; where nobody tells at once, what is known will do.
    let (seen, notices) = on_host(settings, args, Access::ReadOnly, ONE_TRY, async |host| {
        let facts = host.facts(tokio::time::Instant::now() + FACTS_PATIENCE).await.ok();
        let known = host.complete(facts.as_ref()).map_err(|errors| refused(&errors))?;
        let ledger = host.notebook.ledger();
        let listed = ledger.servers.as_ref().map(|known| known.servers.clone()).unwrap_or_default();
        let (resolved, zones) = tokio::join!(
            resolve(host, &known, &resolvers, Ok(listed), Mode::Recall),
            zones::look(&known, &ledger)
        );
        Ok::<_, Vec<Failure>>((ledger, resolved, zones))
    })?;
    Ok((seen?, notices))
}

fn failed(failures: &[Failure]) -> Code {
    failures.iter().for_each(print::failure);
    Code::Failed
}

fn status(
    ledger: &Ledger,
    resolved: &Resolved,
    zones: Vec<zones::Published>,
    last_pass: Option<LastPass>,
    trampled: Option<Trampled>,
) -> Status {
    let now = SystemClock.now();
    let age = |at: u64| now.saturating_sub(at);
    let published = ledger.published.iter().flat_map(|(backend, names)| {
        names.iter().map(|(name, published)| Published {
            name: name.to_string(),
            backend: backend.clone(),
            confirmed: published.confirmed,
            age: age(published.at),
        })
    });
    // What `in_use` says after a planned hand-over is what would be; what is there now is in the diff's old side.
    let nameservers = match &resolved.action {
        Action::Written { before, .. } => ResolvConf::parse(before.as_bytes()).nameservers(),
        _ => resolved.in_use.clone(),
    };
    let server = |ranked: &Ranked, serves: bool| Server {
        address: ranked.server.address.to_string(),
        instance_id: ranked.server.instance_id.clone(),
        availability_zone: ranked.server.availability_zone.clone(),
        in_use: nameservers.contains(&ranked.server.address.ip()),
        serves,
        because: ranked.because.iter().map(ToString::to_string).collect(),
    };
    let usable = resolved.ranking.usable.iter().map(|ranked| server(ranked, true));
    let left_out = resolved.ranking.left_out.iter().map(|ranked| server(ranked, false));
    Status {
        instance_id: ledger.owner.as_ref().map(ToString::to_string),
        published: published.collect(),
        zones,
        servers: usable.chain(left_out).collect(),
        servers_age: ledger.servers.as_ref().map(|known| age(known.at)),
        resolver: ResolverStatus {
            owner: resolved.owner.clone(),
            nameservers: nameservers.iter().map(ToString::to_string).collect(),
            up_to_date: Some(!matches!(resolved.action, Action::Written { .. } | Action::Failed)),
        },
        trampled: trampled.map(|Trampled { at, times, held, fate, difference }| Overwritten {
            age: age(at),
            times,
            held,
            stays: fate == Fate::Stays,
            difference,
        }),
        inputs: {
            let pass = last_pass.clone().unwrap_or_default();
            Inputs {
                metadata: pass.metadata.map(age),
                tags: pass.tags.map(age),
                servers: pass.servers.map(age),
            }
        },
        last_pass: last_pass.map(|LastPass { at, ok, summary, .. }| Pass {
            age: age(at),
            ok,
            summary,
        }),
    }
}

fn text(status: &Status, nothing: &str) -> String {
    let mut lines = Vec::new();
    lines.extend(status.instance_id.iter().map(|id| format!("memory of     {id}")));
    if status.published.is_empty() {
        lines.push(format!("published     {nothing}"));
    }
    for one in &status.published {
        let confirmed = if one.confirmed { "" } else { ", not acknowledged" };
        lines.push(format!(
            "published     {} by {}, {} s ago{confirmed}",
            one.name, one.backend, one.age
        ));
    }
    lines.extend(status.zones.iter().map(zones::Published::text));
    for server in &status.servers {
        let used = if server.in_use { "in use" } else { "not in use" };
        lines.push(format!(
            "server        {} {used}: {}",
            server.address,
            server.because.join(" · ")
        ));
    }
    if let Some(age) = status.servers_age {
        lines.push(format!("servers       the list is the same for {age} s"));
    }
    let due = match status.resolver.up_to_date {
        Some(true) => "",
        Some(false) => " (out of date: run `tagalong once`)",
        None => " (without a configuration it is not known whether that is right)",
    };
    let used = match status.resolver.nameservers.as_slice() {
        [] => "no servers of ours".to_owned(),
        servers => servers.join(", "),
    };
    lines.push(format!("resolv.conf   {used}{due}"));
    if !status.resolver.owner.is_empty() {
        lines.push(format!("owner         {}", status.resolver.owner));
    }
    if let Some(Overwritten { age, times, held, stays, difference }) = &status.trampled {
        let held = match (held, stays) {
            (true, _) => "; the file is left to another program for now",
            (false, true) => "; it could not be put back",
            (false, false) => "",
        };
        lines.push(format!(
            "overwritten   by another program {times} time(s), last {age} s ago{held}: {}",
            difference.join(" · ")
        ));
    }
    let Inputs { metadata, tags, servers } = status.inputs;
    let inputs = [("metadata", metadata), ("tags", tags), ("list of servers", servers)];
    let inputs = inputs.map(|(what, age)| match age {
        Some(age) => format!("{what} {age} s ago"),
        None => format!("{what} not since the boot"),
    });
    lines.push(format!("inputs        {}", inputs.join(" · ")));
    lines.push(match &status.last_pass {
        Some(Pass { age, ok: true, summary }) => format!("last pass     {age} s ago: {summary}"),
        Some(Pass { age, ok: false, summary }) => {
            format!("last pass     {age} s ago, failed: {summary}")
        }
        None => "last pass     none since the boot".to_owned(),
    });
    lines.join("\n")
}

/// A pass's outcome for other programs.
#[derive(Serialize)]
pub(super) struct ReportJson {
    ok: bool,
    summary: String,
    instance_id: Option<String>,
    registered: Vec<PartJson>,
    nameservers: Vec<String>,
    notices: Vec<String>,
    failures: Vec<FailureJson>,
}

#[derive(Serialize)]
struct PartJson {
    backend: String,
    place: String,
    done: Vec<String>,
    unchanged: Vec<String>,
    blocked: Vec<Left>,
    skipped: Vec<Left>,
}

/// A name that is not published, and why.
#[derive(Serialize)]
pub(super) struct Left {
    name: String,
    because: String,
}

impl Left {
    pub(super) fn of(name: &Name, because: impl Display) -> Self {
        Self { name: name.to_string(), because: because.to_string() }
    }
}

#[derive(Serialize)]
struct FailureJson {
    error: String,
    caused_by: Vec<String>,
    hints: Vec<String>,
    see: String,
}

impl ReportJson {
    pub(super) fn of(report: &Report) -> Self {
        let parts = report.registered.iter().map(|part| PartJson {
            backend: part.backend.clone(),
            place: part.place.clone(),
            done: part.done.iter().map(ToString::to_string).collect(),
            unchanged: part.unchanged.iter().map(ToString::to_string).collect(),
            blocked: part.blocked.iter().map(|one| Left::of(&one.name, &one.by)).collect(),
            skipped: part.skipped.iter().map(|(name, why)| Left::of(name, why)).collect(),
        });
        let failures = report.failures().map(|failure| FailureJson {
            error: failure.texts.first().cloned().unwrap_or_default(),
            caused_by: failure.texts.iter().skip(1).cloned().collect(),
            hints: failure.hints.clone(),
            see: failure.topic.to_string(),
        });
        Self {
            ok: report.is_good(),
            summary: report.to_string(),
            instance_id: report.instance_id.clone(),
            registered: parts.collect(),
            nameservers: report
                .resolved
                .iter()
                .flat_map(|part| part.in_use.iter().map(ToString::to_string))
                .collect(),
            notices: report.notices().collect(),
            failures: failures.collect(),
        }
    }

    pub(super) fn render(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

const ONE_TRY: Patience =
    Patience { attempts: 1, limit: Duration::from_millis(300), backoff: Duration::ZERO };
const FACTS_PATIENCE: Duration = Duration::from_millis(500);
