//! `tagalong doctor`: looks at each thing that can be wrong, and says how to mend it. It changes nothing, sends no update,
//! and is over by its deadline: the checks run side by side, and each makes do with the time that there is.

mod affinity;
mod aws;
pub(super) mod keys;
mod local;
mod measure;
mod resolver;
mod zones;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style};
use futures_util::FutureExt as _;
use serde::Serialize;

pub(super) use self::affinity::run as affinity;
use super::{
    Code,
    args::Args,
    known::Known,
    once::resolvers,
    pass::bounded,
    print,
    wiring::{Host, deadline, on_host, read, refused},
};
use crate::{
    config::Manager,
    core::finding::{Check, Finding, Verdict},
    ec2::imds::Patience,
    ports::{Failure, topic::Topic},
    resolver::Resolvers,
    store::Access,
};

pub(super) fn run(args: &Args, limit: Duration, started: Instant) -> Code {
    let deadline = deadline(started, limit);
    let whole = args.clone();
    let examination = move || show(&whole, &examine(&whole, deadline));
    bounded(limit.saturating_sub(started.elapsed()), examination).unwrap_or_else(|why| {
        print::failure(&why);
        Code::Failed
    })
}

fn examine(args: &Args, deadline: tokio::time::Instant) -> Vec<Finding> {
    let mut findings = local::findings(args);
    match read(args) {
        Err(errors) => findings.extend(errors.iter().map(local::misconfigured)),
        Ok(settings) => {
            let resolvers = resolvers(args);
            let outcome = on_host(settings, args, Access::ReadOnly, PATIENCE, async |host| {
                Box::pin(examine_host(host, args, &resolvers, deadline)).await
            });
            match outcome {
                Ok((found, notices)) => {
                    findings.extend(found);
                    findings.extend(local::state(&args.state_dir, &notices));
                }
                Err(failures) => findings.extend(
                    failures.iter().map(|it| failed(Check::Configuration, Verdict::Wrong, it)),
                ),
            }
        }
    }
    findings.sort_by_key(|finding| finding.check);
    let mut told = Vec::<Finding>::new();
    for mut finding in findings {
        if finding.verdict != Verdict::Fine && finding.remedy.is_empty() {
            finding.remedy.push(remedy(finding.check).to_owned());
        }
        if !told.contains(&finding) {
            told.push(finding);
        }
    }
    told
}

async fn examine_host(
    host: &Host<'_>,
    args: &Args,
    resolvers: &Resolvers,
    deadline: tokio::time::Instant,
) -> Vec<Finding> {
    let begun = tokio::time::Instant::now();
    let left = deadline.saturating_duration_since(begun);
    // The metadata first, then the list of servers that they say where to ask for, then those servers.
    let (metadata_until, list_until) = (begun + left / 3, begun + left * 2 / 3);
    let metadata = async { Arc::new(aws::read_metadata(host, metadata_until).await) }.shared();
    let known = async {
        let facts = metadata.clone().await;
        host.complete(facts.facts.as_ref())
            .map(Arc::new)
            .map_err(|errors| Arc::new(refused(&errors)))
    };
    let known = known.shared();
    // What no tag can change much is looked at at once.
    let early = async {
        match host.complete(None) {
            Ok(known) => Ok(Arc::new(known)),
            Err(_) => known.clone().await,
        }
    };
    // Whatever is late is lost alone.
    let apart = async {
        let Ok(known) = early.await else { return Vec::new() };
        let (mut findings, owner) = tokio::join!(
            in_time(Check::VpcResolver, deadline, aws::vpc_resolver(&known)),
            in_time(Check::Owner, deadline, resolver::owner(&known, resolvers))
        );
        findings.extend(owner);
        findings
    };
    let whole = async {
        let metadata = metadata.clone().await;
        let mut findings = aws::metadata(host, &metadata);
        let known = match known.clone().await {
            Ok(known) => known,
            Err(failures) => {
                let failures = failures.iter();
                findings
                    .extend(failures.map(|it| failed(Check::Configuration, Verdict::Wrong, it)));
                return findings;
            }
        };
        findings.extend(local::configuration(&known, host));
        findings.extend(keys::findings(host, &known, list_until).await);
        let listed = aws::list(host, &known, list_until).await;
        let owners = if listed.is_none() { aws::owners(&known, list_until).await } else { None };
        match owners {
            Some(finding) => findings.push(finding),
            None => findings.extend(aws::ec2(&known, listed.as_ref(), &host.untold())),
        }
        let listed = listed.unwrap_or_else(|| Ok(Vec::new()));
        let servers = resolver::servers(host, &known, resolvers, &args.root, listed.clone());
        let facts = metadata.facts.as_ref();
        let names = affinity::findings(host, &known, resolvers, &args.root, facts);
        let (servers, zones, names) = tokio::join!(
            in_time(Check::Server, deadline, servers),
            zones::findings(host, &known, listed, deadline),
            in_time(Check::Affinity, deadline, names)
        );
        findings.extend(servers.into_iter().chain(zones).chain(names));
        findings
    };
    let (mut findings, whole) = tokio::join!(apart, whole);
    findings.extend(whole);
    findings
}

/// What `work` finds by the deadline.
async fn in_time(
    check: Check,
    deadline: tokio::time::Instant,
    work: impl Future<Output = Vec<Finding>>,
) -> Vec<Finding> {
    let late = |_| vec![Finding::wrong(check, "it was not looked at in time").remedy([MORE_TIME])];
    tokio::time::timeout_at(deadline, work).await.unwrap_or_else(late)
}

/// What a failure is as a finding: its causes are the reasons, its hints the remedies.
fn failed(check: Check, verdict: Verdict, failure: &Failure) -> Finding {
    let mut texts = failure.texts.iter();
    let first = texts.next().map(String::as_str).unwrap_or_default();
    let finding = Finding::of(check, verdict, first).because(texts).remedy(&failure.hints);
    Finding { see: Some(failure.topic.to_string()), ..finding }
}

/// What to do about what has no remedy of its own.
fn remedy(check: Check) -> &'static str {
    match check {
        Check::Configuration => {
            "`tagalong config check` says what is wrong and where; an agent that runs keeps what it has"
        }
        Check::KeyFile => "write it as `tsig-keygen` does, for root alone to read",
        Check::State => "see that root can read and write it, and that its disk is not full",
        Check::Agent => "`systemctl status tagalong` and `journalctl --unit tagalong` say more",
        Check::LastPass => "`tagalong once` makes a pass now, and says what is wrong",
        Check::Metadata | Check::Tags | Check::Ec2 => {
            "it may pass: a pass tries again until its deadline, the agent later and later"
        }
        Check::VpcResolver => "see whether the VPC has DNS support (`enableDnsSupport`)",
        Check::Owner => "see that its files are files that root can read",
        Check::Server | Check::Zone => SEE_SERVER,
        Check::ResolvConf => "`tagalong plan` shows what would be set, `tagalong once` sets it",
        Check::FirstServer => "let there be a second server",
        Check::Affinity => "`tagalong doctor --affinity NAME` says more",
        Check::Overwritten => "keep that program away from the file",
        Check::Names => "correct the tag or the `[[record]]` that it comes from",
        Check::Tsig => "let this host and the server have the same key",
    }
}

/// Where the manual says more about what a check finds.
fn topic(check: Check) -> Topic {
    match check {
        Check::Configuration => Topic::Configuration,
        Check::KeyFile => Topic::Keys,
        Check::State | Check::Agent | Check::LastPass => Topic::Memory,
        Check::Metadata | Check::Tags => Topic::Metadata,
        Check::Ec2 | Check::VpcResolver => Topic::Ec2,
        Check::Server | Check::FirstServer | Check::Affinity => Topic::DnsServers,
        Check::Owner | Check::ResolvConf | Check::Overwritten => Topic::Resolver,
        Check::Names => Topic::Names,
        Check::Zone | Check::Tsig => Topic::Rfc2136,
    }
}

/// Whether this host's resolver is ours to set.
fn is_managed(known: &Known) -> bool {
    known.config.resolver.manager != Manager::None
}

fn show(args: &Args, findings: &[Finding]) -> Code {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let (wrong, notes) = (count(Verdict::Wrong), count(Verdict::Note));
    if args.json {
        print::data(json(findings, wrong, notes));
    } else {
        let lines = findings.iter().flat_map(lines);
        let fine = count(Verdict::Fine);
        let summary = format!("{wrong} wrong, {notes} to note, {fine} fine; nothing was changed");
        print::data(lines.chain([summary]).collect::<Vec<_>>().join("\n"));
    }
    if wrong > 0 { Code::Failed } else { Code::Done }
}

/// One line where all is well; otherwise what rests on what, and what can be done, each on a line of its own.
fn lines(whole: &Finding) -> Vec<String> {
    let Finding { check, verdict, finding, because, remedy, .. } = whole;
    let head = format!("{check:14}");
    if *verdict == Verdict::Fine {
        let because = if because.is_empty() {
            String::new()
        } else {
            format!(" because: {}", because.join(" · "))
        };
        return vec![format!("{head}{finding}{because}")];
    }
    let colour = if *verdict == Verdict::Wrong { AnsiColor::Red } else { AnsiColor::Yellow };
    let word = |colour: AnsiColor, text: &str| {
        print::styled(Style::new().fg_color(Some(colour.into())), &format!("{text}:"))
    };
    let mut lines = vec![format!("{head}{} {finding}", word(colour, &verdict.to_string()))];
    lines.extend(because.iter().map(|it| format!("  {} {it}", word(colour, "because"))));
    lines.extend(remedy.iter().map(|it| format!("  {} {it}", word(AnsiColor::Cyan, "hint"))));
    lines.extend(see(whole).map(|it| format!("  {} {it}", word(AnsiColor::Cyan, "see"))));
    lines
}

/// Where the manual says more about what is not well.
fn see(finding: &Finding) -> Option<String> {
    let said = || finding.see.clone().unwrap_or_else(|| topic(finding.check).to_string());
    (finding.verdict != Verdict::Fine).then(said)
}

fn json(findings: &[Finding], wrong: usize, notes: usize) -> String {
    #[derive(Serialize)]
    struct Out<'a> {
        ok: bool,
        wrong: usize,
        notes: usize,
        findings: Vec<Row<'a>>,
    }
    #[derive(Serialize)]
    struct Row<'a> {
        check: String,
        verdict: String,
        finding: &'a str,
        because: &'a [String],
        remedy: &'a [String],
        see: Option<String>,
    }
    let rows = findings.iter().map(|it| Row {
        check: it.check.to_string(),
        verdict: it.verdict.to_string(),
        finding: &it.finding,
        because: &it.because,
        remedy: &it.remedy,
        see: see(it),
    });
    let out = Out { ok: wrong == 0, wrong, notes, findings: rows.collect() };
    serde_json::to_string_pretty(&out).unwrap_or_default()
}

/// What to look at where a DNS server does not answer.
const SEE_SERVER: &str =
    "see whether it runs, and its security group (UDP and TCP port 53 from here)";
const MORE_TIME: &str = "give doctor more time: `--deadline 30s`";
/// Two tries: a person waits.
const PATIENCE: Patience = Patience {
    attempts: 2,
    limit: Duration::from_millis(800),
    backoff: Duration::from_millis(100),
};
