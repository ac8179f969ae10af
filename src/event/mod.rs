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

use tokio::{
    sync::mpsc::Sender,
    task::JoinSet,
    time::{Instant, sleep},
};

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

/// A source that fails is started again, later and later; what it would have said is found by the agent's timers meanwhile, and
/// by a look then.
async fn keep_running(source: Box<dyn EventSource>, events: Sender<Event>) {
    let mut pause = FIRST_PAUSE;
    let mut missed = Vec::new();
    loop {
        let began = Instant::now();
        // It watches from its first turn on; what is told then cannot fall in between.
        let tell_missed = async {
            for event in std::mem::take(&mut missed) {
                let _ = events.send(event).await;
            }
        };
        let (error, ()) = tokio::join!(source.run(&events), tell_missed);
        if events.is_closed() {
            return;
        }
        if began.elapsed() >= LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        tracing::warn!(
            "{} cannot be watched ({error}); again in {} s",
            source.subject(),
            pause.as_secs()
        );
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        missed = source.missed();
    }
}

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicU32, Ordering},
    };

    use async_trait::async_trait;
    use tokio::sync::mpsc;

    use super::*;

    /// What cannot be watched at first.
    #[derive(Default)]
    struct Late(AtomicU32);

    #[async_trait]
    impl EventSource for Late {
        fn subject(&self) -> String {
            "a file".to_owned()
        }

        async fn run(&self, events: &Sender<Event>) -> io::Error {
            if self.0.fetch_add(1, Ordering::Relaxed) < 2 {
                return io::ErrorKind::NotFound.into();
            }
            events.closed().await;
            io::ErrorKind::BrokenPipe.into()
        }

        fn missed(&self) -> Vec<Event> {
            vec![Event::ResolverTouched]
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_been_missed_is_told_when_a_source_is_started_again() {
        let (sender, mut events) = mpsc::channel(4);
        let began = Instant::now();
        let running = tokio::spawn(keep_running(Box::new(Late::default()), sender));
        for at in [1, 3] {
            let told = tokio::time::timeout(LONGEST_PAUSE, events.recv()).await;
            assert_eq!(told.expect("it is told"), Some(Event::ResolverTouched));
            assert_eq!(began.elapsed().as_secs(), at);
        }
        drop(events);
        running.await.unwrap();
    }
}
