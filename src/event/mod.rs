//! What wakes the agent. To add a source:
//!
//! 1. write `event/NAME.rs` with a type that implements [`EventSource`]: it sends until it is cancelled, and returns only
//!    when it cannot go on;
//! 2. add a line to [`start_all`];
//! 3. only if it is a new kind of event: a variant of `core/schedule.rs`'s [`Event`], which makes the compiler list every
//!    place that has to think about it.

pub mod clock;
pub mod hook;
pub mod network;
pub mod resolver_file;
pub mod signals;

use std::{path::Path, time::Duration};

use tokio::{sync::mpsc::Sender, task::JoinSet};

use self::{
    clock::ClockSteps,
    hook::Hooks,
    network::{Addresses, Network},
    resolver_file::ResolverFile,
    signals::Signals,
};
use crate::{core::event::Event, ports::EventSource};

/// Starts every source; they end when the set is dropped.
pub fn start_all(
    run_dir: &Path,
    root: &Path,
    addresses: &Addresses,
    events: &Sender<Event>,
) -> JoinSet<()> {
    let sources: [Box<dyn EventSource>; 5] = [
        Box::new(Signals),
        Box::new(Hooks::in_run_dir(run_dir)),
        Box::new(Network::new(addresses.clone())),
        Box::new(ResolverFile::in_root(root)),
        Box::new(ClockSteps),
    ];
    let mut running = JoinSet::new();
    for source in sources {
        running.spawn(keep_running(source, events.clone()));
    }
    running
}

/// A source that fails is started again, later and later; what it would have said is found by the agent's timers meanwhile.
async fn keep_running(source: Box<dyn EventSource>, events: Sender<Event>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let error = source.run(&events).await;
        if events.is_closed() {
            return;
        }
        tracing::warn!(
            "{} cannot be watched ({error}); again in {} s",
            source.subject(),
            pause.as_secs()
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
