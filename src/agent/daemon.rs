//! The agent: one loop over one closed set of events. It begins the jobs that `core/schedule.rs` says are due, side by side,
//! and sleeps until the next event, the next deadline, or the end of a job.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc::Receiver, oneshot},
    task::yield_now,
    time::{Instant, sleep_until},
};

use crate::{
    core::schedule::{Event, Job, Moment, Note, Outcome, Rhythm, Schedule},
    ports::{Clock, Supervisor},
};

/// What the agent does when a job is due.
#[async_trait(?Send)]
pub trait Work {
    /// Hears of an event, before any job that it asks for begins.
    fn hear(&self, event: &Event);
    /// Does the job; bounded in time.
    async fn perform(&self, job: Job) -> Performed;
    /// Tells the operator what the schedule decided.
    fn note(&self, note: Note);
}

/// What became of a job.
#[derive(Debug)]
pub struct Performed {
    /// How it ended.
    pub outcome: Outcome,
    /// What it found out.
    pub events: Vec<Event>,
    /// What the agent has to say of itself now, in one line; `None` when that is what it said before.
    pub status: Option<String>,
}

impl Performed {
    /// A job that ended so, and found nothing out.
    #[must_use]
    pub fn with(outcome: Outcome) -> Self {
        Self { outcome, events: Vec::new(), status: None }
    }
}

/// The agent's loop.
pub struct Agent<'a> {
    /// Who does the jobs.
    pub work: &'a dyn Work,
    /// How often.
    pub rhythm: Rhythm,
    /// Who started us.
    pub supervisor: &'a dyn Supervisor,
    /// The source of chance.
    pub clock: &'a dyn Clock,
}

impl Agent<'_> {
    /// Runs until it is told to stop. Jobs under way are given up then: whatever they were at is made good by the next start.
    pub async fn run(&self, mut events: Receiver<Event>) {
        let began = Instant::now();
        let mut schedule = Schedule::new(self.rhythm.clone());
        let mut running = FuturesUnordered::new();
        let mut handles: BTreeMap<Job, oneshot::Sender<()>> = BTreeMap::new();
        // The sources have their first turn, so that a signal is ours from here on.
        yield_now().await;
        self.supervisor.ready();
        loop {
            let now = began.elapsed();
            for job in schedule.due(now) {
                tracing::debug!(?job, "begins");
                let (handle, given_up) = oneshot::channel();
                handles.insert(job, handle);
                running.push(async move { (job, self.perform(job, given_up).await) });
            }
            self.supervisor.alive();
            let wake = self.wake(&schedule, now);
            tokio::select! {
                biased;
                Some((job, performed)) = running.next() => {
                    let now = began.elapsed();
                    handles.remove(&job);
                    tracing::debug!(?job, outcome = ?performed.outcome, events = ?performed.events, "ends");
                    for event in &performed.events {
                        schedule.on(event, now, self.clock.jitter());
                    }
                    let note = schedule.done(job, performed.outcome, now, self.clock.jitter());
                    if let Some(note) = note {
                        self.work.note(note);
                    }
                    if let Some(status) = performed.status {
                        self.supervisor.status(&status);
                    }
                }
                event = events.recv() => {
                    tracing::debug!(?event, "woken");
                    match event {
                        None | Some(Event::Stop) => break,
                        Some(event) => {
                            self.work.hear(&event);
                            schedule.on(&event, began.elapsed(), self.clock.jitter());
                        }
                    }
                    for job in schedule.take_interrupted() {
                        // Dropped, it says so.
                        handles.remove(&job);
                    }
                }
                () = sleep_until(began + wake) => {}
            }
        }
        self.supervisor.stopping();
    }

    /// Does a job, unless its handle is dropped first. What it has done until then stands; the next one goes on from there.
    async fn perform(&self, job: Job, given_up: oneshot::Receiver<()>) -> Performed {
        tokio::select! {
            biased;
            performed = self.work.perform(job) => performed,
            _ = given_up => Performed::with(Outcome::Interrupted),
        }
    }

    /// When to wake at the latest: for the next job, and to tell the supervisor that we live.
    fn wake(&self, schedule: &Schedule, now: Moment) -> Moment {
        let alive = self.supervisor.patience().map(|patience| now + patience / 2);
        [schedule.next_deadline(), alive].into_iter().flatten().min().unwrap_or(now + A_DAY)
    }
}

/// Nothing is due for longer than that; the clock of timers cannot be trusted with for ever.
const A_DAY: Duration = Duration::from_secs(86_400);
