//! Trying again, with full jitter and inside a deadline (AWS Architecture Blog, "Exponential Backoff and Jitter").

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use crate::ports::{Clock, Disposition, Failure, Situation, topic::Topic};

/// Waits between tries.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// When it is over.
    pub deadline: Instant,
    begun: Instant,
    /// How often the wait has doubled.
    tries: u32,
}

impl Patience {
    /// Patience until `deadline`.
    #[must_use]
    pub fn until(deadline: Instant) -> Self {
        Self { deadline, begun: Instant::now(), tries: 0 }
    }

    /// Waits before the next try where too much was asked already: longer at once; `false` when there is no time for one.
    pub async fn ease(&mut self, at_least: Duration, clock: &dyn Clock) -> bool {
        self.tries = self.tries.max(EASED);
        self.wait(at_least, clock).await
    }

    /// Waits before the next try; `false` when there is no time for one.
    pub async fn wait(&mut self, at_least: Duration, clock: &dyn Clock) -> bool {
        let longest = LONGEST.max(self.begun.elapsed() / PART);
        let spread = FIRST.saturating_mul(1 << self.tries.min(20)).min(longest);
        self.tries += 1;
        let wait = at_least + spread.mul_f64(clock.jitter());
        if Instant::now() + wait >= self.deadline {
            return false;
        }
        sleep(wait).await;
        true
    }
}

/// Tries until it works, until it never will, or until the deadline; `who` is asked.
///
/// # Errors
/// The last failure; one that says that the time was up when nothing had failed before.
pub async fn insist<T, E: Situation + 'static>(
    deadline: Instant,
    clock: &dyn Clock,
    who: &str,
    mut attempt: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T, Failure> {
    let mut patience = Patience::until(deadline);
    let mut last = None;
    loop {
        let error = match timeout_at(deadline, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => return Err(last.unwrap_or_else(|| out_of_time(who))),
        };
        let failure = Failure::of(&error);
        let again = match error.disposition() {
            Disposition::Retry { after } => patience.wait(after, clock).await,
            Disposition::Ease { after } => patience.ease(after, clock).await,
            Disposition::Replan => patience.wait(Duration::ZERO, clock).await,
            Disposition::Hold => false,
        };
        if !again {
            return Err(failure);
        }
        last = Some(failure);
    }
}

/// The failure of a try that was under way when the time was up, and `who` had not answered.
#[must_use]
pub fn out_of_time(who: &str) -> Failure {
    Failure::told(
        format!("the deadline came before {who} answered"),
        Some("see whether it is there; a pass by hand has more time with `--deadline`"),
        Topic::Deadline,
    )
}

/// Of how many tries in vain one that is throttled is worth.
const EASED: u32 = 5;
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// Who has waited long already, among many who want the same, may wait this part of it longer; the last of them is no later for it.
const PART: u32 = 20;
