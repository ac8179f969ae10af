//! What `doctor` finds without asking anybody: the configuration, the memory, the agent, its last pass,
//! and who overwrote the resolver.

use std::path::Path;

use crate::{
    cli::{args::Args, known::Known, once::abandoned, wiring::Host},
    config::settings::ConfigError,
    core::{
        detect::author_of,
        finding::{Check, Finding, Verdict},
    },
    ports::Clock as _,
    store::{
        last_pass::LastPass,
        managed::AGENT_LOCK,
        trampled::{Fate, Trampled},
    },
    sys::{clock::SystemClock, fs::is_locked},
};

/// What the run directory tells.
pub(super) fn findings(args: &Args) -> Vec<Finding> {
    vec![agent(&args.run_dir), last_pass(&args.run_dir), overwritten(&args.run_dir)]
}

fn agent(run_dir: &Path) -> Finding {
    let start =
        ["`systemctl enable --now tagalong`; `journalctl --unit tagalong` says why it ended"];
    match is_locked(&run_dir.join(AGENT_LOCK)) {
        Ok(Some(true)) => Finding::fine(Check::Agent, "it runs"),
        Ok(Some(false)) => Finding::wrong(Check::Agent, "it ran in this boot, and does not run now")
            .because(["nobody holds its lock"])
            .remedy(start),
        Ok(None) => Finding::note(Check::Agent, "it has not run in this boot")
            .because(["nobody follows leases, tags and silent servers; `tagalong once` did so once, if at all"])
            .remedy(["`systemctl enable --now tagalong`"]),
        Err(error) => Finding::note(Check::Agent, "it is not known whether it runs")
            .because([format!("{}: {error}", run_dir.join(AGENT_LOCK).display())])
            .remedy(["run `tagalong doctor` as root"]),
    }
}

fn last_pass(run_dir: &Path) -> Finding {
    let Some(LastPass { at, ok, summary, .. }) = LastPass::load(run_dir) else {
        return Finding::note(Check::LastPass, "none since the boot")
            .remedy(["`tagalong once` makes one"]);
    };
    let age = SystemClock.now().saturating_sub(at);
    if ok {
        Finding::fine(Check::LastPass, format!("{age} s ago: {summary}"))
    } else {
        Finding::wrong(Check::LastPass, format!("{age} s ago, failed"))
            .because([summary])
            .remedy(["what else is wrong here is why; otherwise `tagalong once` says it again"])
    }
}

fn overwritten(run_dir: &Path) -> Finding {
    let Some(Trampled { at, times, held, fate, difference }) = Trampled::load(run_dir) else {
        return Finding::fine(Check::Overwritten, "by no other program since the boot");
    };
    let age = SystemClock.now().saturating_sub(at);
    let added = difference.iter().filter_map(|line| line.strip_prefix('+'));
    let author = author_of(&added.collect::<Vec<_>>().join("\n"));
    let who =
        author.map_or("another program".to_owned(), |author| format!("{author}, by its comment,"));
    let finding = format!("{who} changed the resolver {times} time(s), last {age} s ago");
    let (verdict, finding) = match fate {
        _ if held => (Verdict::Wrong, format!("{finding}; it is left to that program for now")),
        Fate::Stays => (Verdict::Wrong, format!("{finding}; it could not be put back")),
        Fate::PutBack => (Verdict::Note, format!("{finding}; it was put back")),
    };
    Finding::of(Check::Overwritten, verdict, finding)
        .because(difference)
        .remedy(["find it by the lines that it writes, and keep it away from resolv.conf (the hooks of our packages do that for DHCP clients)"])
}

/// An error of the configuration.
pub(super) fn misconfigured(error: &ConfigError) -> Finding {
    Finding::wrong(Check::Configuration, &error.what).because([&error.origin])
}

/// What is wrong with the configuration's tags and with the files that it names, and what somebody should know.
pub(super) fn configuration(known: &Known, host: &Host<'_>) -> Vec<Finding> {
    let (records, backends) = (known.config.records.len(), known.config.backends.len());
    let sizes = format!("{records} record(s), {backends} backend(s)");
    let refused = known.refused.iter();
    let mut findings = refused
        .map(|failure| super::failed(Check::Configuration, Verdict::Wrong, failure))
        .collect::<Vec<_>>();
    if findings.is_empty() {
        findings.push(Finding::fine(Check::Configuration, sizes));
    }
    let keyless = known.keyless();
    findings.extend(known.notices().iter().map(|it| {
        let remedy = if keyless.contains(it) {
            "correct the tag's key, or remove it"
        } else {
            "switch on tags in instance metadata"
        };
        Finding::note(Check::Tags, it).remedy([remedy])
    }));
    if known.is_whole() {
        let lost = abandoned(known, host.notebook);
        findings.extend(lost.iter().map(|it| {
            Finding::note(Check::Names, it).remedy([
                "put `[backend.NAME]` back until `tagalong once` has taken back what no record wants there, or remove the records by hand",
            ])
        }));
    }
    findings
}

/// What is wrong with the memory.
pub(super) fn state(directory: &Path, notices: &[String]) -> Vec<Finding> {
    if notices.is_empty() {
        return vec![Finding::fine(Check::State, format!("{} can be read", directory.display()))];
    }
    let wrong = notices.iter().map(|notice| {
        Finding::wrong(Check::State, notice).remedy([
            "the next pass sets a broken file aside and begins anew; what cannot be read needs root, or a sound disk",
        ])
    });
    wrong.collect()
}
