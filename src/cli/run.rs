//! `tagalong run`: the agent under systemd. It opens what it needs, starts what wakes it, and hands over to its loop.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{
    Code,
    args::Args,
    print,
    wiring::{no_runtime, refused, settings},
    worker::Worker,
};
use crate::{
    agent::{daemon::Agent, notebook::Notebook},
    event::{self, network::Addresses},
    ports::{Failure, Supervisor as _, topic::Topic},
    store::{Access, StateFile, managed::AGENT_LOCK},
    sys::{clock::SystemClock, fs::lock, shutdown},
    telemetry::notify::Systemd,
};

pub(super) fn run(args: &Args) -> Code {
    let Some(settings) = settings(args) else { return Code::Failed };
    let alone = std::fs::create_dir_all(&args.run_dir)
        .and_then(|()| lock(&args.run_dir.join(AGENT_LOCK), LOOKED_AT));
    let _alone = match alone {
        Ok(lock) => lock,
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            let text = format!("the agent runs already: {error}");
            let hint = "`systemctl status tagalong`; another one needs a `--run-dir` and a `--state-dir` of its own";
            print::failure(&Failure::told(text, Some(hint), Topic::Memory));
            return Code::Failed;
        }
        Err(error) => {
            let text = format!("{} cannot be written: {error}", args.run_dir.display());
            print::failure(&Failure::told(
                text,
                Some("run it as root, or name another `--run-dir`"),
                Topic::Memory,
            ));
            return Code::Failed;
        }
    };
    let store = StateFile::new(&args.state_dir, Access::ReadWrite);
    let notebook = Notebook::open(&store);
    store.take_notices().iter().for_each(print::notice);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            print::failure(&no_runtime(&error));
            return Code::Failed;
        }
    };
    let code = runtime.block_on(live(args, settings, &notebook));
    // A look-up of the system that hangs must not hold up our end.
    runtime.shutdown_background();
    code
}

async fn live(
    args: &Args,
    settings: crate::config::settings::Settings,
    notebook: &Notebook<'_>,
) -> Code {
    let addresses = Addresses::default();
    let worker = match Worker::new(args, settings, notebook, addresses.clone()) {
        Ok(worker) => worker,
        Err(errors) => {
            refused(&errors).iter().for_each(print::failure);
            return Code::Failed;
        }
    };
    let (sender, events) = mpsc::channel(QUEUE);
    let _sources = event::start_all(&args.run_dir, &args.root, &addresses, &sender);
    let supervisor = Systemd::default();
    let agent = Agent {
        work: &worker,
        rhythm: worker.rhythm(),
        supervisor: &supervisor,
        clock: &SystemClock,
    };
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the agent begins");
    let exposition = worker.exposition.clone();
    let answering = async {
        while let Some(addr) = worker.config().metrics {
            // It may be of an interface that is not up yet.
            let Err(error) = exposition.serve(addr).await;
            worker.cannot_listen(addr, &error);
            sleep(LISTENING_AGAIN).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = agent.run(events) => {}
        () = answering => {}
    }
    exposition.end();
    let stopped = Instant::now();
    let withdraws = worker.withdraws_at_stop(shutdown::under_way);
    let (withdraws, ()) = tokio::join!(withdraws, worker.leave_the_resolver_alone());
    if withdraws {
        supervisor.status("taking the records back");
        worker.take_back(stopped + STOP_LIMIT).await;
    }
    tracing::info!("the agent ends");
    Code::Done
}

/// From the signal to the end of a withdrawal: whoever stops us waits, for 2 s in all.
const STOP_LIMIT: Duration = Duration::from_millis(1800);
/// Until the metrics' address is tried again.
const LISTENING_AGAIN: Duration = Duration::from_secs(10);
/// Whoever looks whether the agent runs holds the lock for an instant.
const LOOKED_AT: Duration = Duration::from_millis(200);
/// Events that wait while the loop is busy; sources wait when there are more.
const QUEUE: usize = 64;
