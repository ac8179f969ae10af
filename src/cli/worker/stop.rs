//! The end of the agent, and of the host.

use std::time::Duration;

use tokio::time::Instant;

use super::Worker;
use crate::{
    cli::{pass::turn, withdraw::withdraw},
    config::Occasion,
    core::job::Outcome,
    sys::shutdown::Shutdown,
};

impl Worker<'_> {
    /// Whether the records go with the agent.
    pub(in crate::cli) async fn withdraws_at_stop(
        &self,
        shutdown: impl AsyncFnOnce() -> Option<Shutdown>,
    ) -> bool {
        let occasions = self.config().withdraw;
        if occasions.contains(&Occasion::Stop) {
            return true;
        }
        if !occasions.contains(&Occasion::Poweroff) {
            return false;
        }
        let shutdown = shutdown().await;
        tracing::info!(?shutdown, "what becomes of the host, as systemd tells");
        shutdown == Some(Shutdown::Poweroff)
    }

    /// Takes the records back, whatever else is under way.
    pub(in crate::cli) async fn take_back(&self, deadline: Instant) -> Outcome {
        let facts = self.known().and_then(|known| known.facts.clone());
        // A pass of another process would publish again what it does not see go.
        let _turn = turn(&self.args.run_dir, Duration::from_millis(300));
        let report = withdraw(&self.host(), facts, deadline).await;
        let outcome = if report.is_good() { Outcome::Done } else { Outcome::Failed };
        self.say("withdraw", &report);
        tracing::info!("{report}");
        let mut whole = self.report.borrow_mut();
        whole.registered = report.registered;
        whole.failures = report.failures;
        outcome
    }
}
