//! A verb that changes something: one pass on a thread of its own, never longer than its deadline, then its report.

use std::{
    fs::{self, File},
    io::{self, ErrorKind::TimedOut},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    Code,
    args::Args,
    print,
    status::ReportJson,
    wiring::{Host, deadline, on_host, settings},
};
use crate::{
    agent::report::{Inputs, Report},
    core::plan::Blocked,
    ec2::imds::Patience,
    ports::{Clock as _, Failure, topic::Topic},
    store::{Access, last_pass::LastPass, managed},
    sys::{clock::SystemClock, fs::lock},
};

/// Does `work` on this host until the deadline at the latest, and says how it went.
pub(super) fn carry_out(
    args: &Args,
    limit: Duration,
    started: Instant,
    work: impl AsyncFnOnce(&Host<'_>, tokio::time::Instant) -> Report + Send + 'static,
) -> Code {
    let deadline = deadline(started, limit);
    // Whoever has taken it has the last word: the pass itself, or the one who gives it up.
    let last_word = Arc::new(AtomicBool::new(false));
    let (whole, last) = (args.clone(), last_word.clone());
    let pass = move || {
        let args = whole;
        let Some(settings) = settings(&args) else { return Code::Failed };
        let turn = turn(&args.run_dir, limit / 2);
        let patience = Patience::default();
        let outcome = on_host(settings, &args, Access::ReadWrite, patience, async |host| {
            work(host, deadline).await
        });
        let mut report = report_of(outcome);
        report.notices.extend(turn.err().filter(|error| error.kind() == TimedOut).map(|_| {
            "another pass is still at work, and was not waited for any longer".to_owned()
        }));
        if last.swap(true, Ordering::SeqCst) { Code::Failed } else { finish(&args, &report) }
    };
    let whole = args.clone();
    bounded(limit.saturating_sub(started.elapsed()), pass).unwrap_or_else(|why| {
        if last_word.swap(true, Ordering::SeqCst) {
            // It is done, and stuck in saying so.
            return Code::Failed;
        }
        let report = Report { failures: vec![why], cut_off: true, ..Report::default() };
        bounded(LAST_WORDS, move || finish(&whole, &report)).unwrap_or(Code::Failed)
    })
}

/// Waits while another pass is at work, so that what it read is not out of date when it writes; one that hangs is passed by:
/// every write is conditional, and the memory has a lock of its own.
pub(super) fn turn(run_dir: &Path, patience: Duration) -> io::Result<File> {
    fs::create_dir_all(run_dir)?;
    lock(&run_dir.join("pass.lock"), patience)
}

/// Runs `work` on a thread of its own and waits no longer than `limit`: a system call that hangs hangs alone.
pub(super) fn bounded(
    limit: Duration,
    work: impl FnOnce() -> Code + Send + 'static,
) -> Result<Code, Failure> {
    let (sender, receiver) = mpsc::channel();
    let spawned =
        thread::Builder::new().name("pass".to_owned()).spawn(move || sender.send(work()).ok());
    spawned.map_err(|error| {
        Failure::told(format!("no thread for the pass: {error}"), None, Topic::Deadline)
    })?;
    let late = |_| {
        Failure::told(
            "the deadline came while the system kept the pass waiting",
            None,
            Topic::Deadline,
        )
    };
    receiver.recv_timeout(limit).map_err(late)
}

/// A name that is another's, as what went wrong.
pub(super) fn left_alone(blocked: &Blocked) -> Failure {
    let text = format!("{} is left alone: {}", blocked.name, blocked.by);
    Failure::told(text, Some(blocked.by.hint()), Topic::Names)
}

/// Prints a pass's outcome, and leaves it for `status`.
fn finish(args: &Args, report: &Report) -> Code {
    report.notices().for_each(print::notice);
    for part in &report.registered {
        for blocked in &part.blocked {
            print::failure(&left_alone(blocked));
        }
    }
    report.failures().for_each(print::failure);
    if args.json {
        print::data(ReportJson::of(report).render());
    } else {
        print::data(report);
    }
    if let Err(error) = leave(&args.run_dir, report) {
        print::notice(format!(
            "`status` will not know of this pass: {} cannot be written: {error}",
            args.run_dir.display()
        ));
    }
    if report.is_good() { Code::Done } else { Code::Failed }
}

/// Leaves what `status` and the hooks of DHCP clients are to know.
pub(super) fn leave(run_dir: &Path, report: &Report) -> io::Result<()> {
    // Not taken away where nobody answers: the network may be gone for a moment, and the client is about to be asked.
    let managed = report.resolved.as_ref().filter(|resolved| resolved.is_managed());
    if let Some(wanted) = managed.and_then(|resolved| resolved.wanted.as_ref()) {
        managed::set(run_dir, Some(wanted))?;
    }
    let before = LastPass::load(run_dir).unwrap_or_default();
    let Inputs { metadata, tags, servers } = report.inputs;
    let why = report.failures().next().map(|failure| format!(": {failure}"));
    LastPass {
        at: SystemClock.now(),
        ok: report.is_good(),
        summary: format!("{report}{}", why.unwrap_or_default()),
        metadata: metadata.or(before.metadata),
        tags: tags.or(before.tags),
        servers: servers.or(before.servers),
    }
    .save(run_dir)
}

/// The report of a pass, or of why there was none.
fn report_of(outcome: Result<(Report, Vec<String>), Vec<Failure>>) -> Report {
    match outcome {
        Ok((mut report, notices)) => {
            report.notices.extend(notices);
            report
        }
        Err(failures) => Report { failures, ..Report::default() },
    }
}

/// How long a pass that was cut off may take to say so.
const LAST_WORDS: Duration = Duration::from_millis(200);
