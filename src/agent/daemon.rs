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
    core::{
        event::Event,
        job::{Job, Note, Outcome, Possession, Rhythm},
        schedule::{Moment, Schedule},
    },
    ports::{Clock, Supervisor},
};

/// What the agent does when a job is due.
#[async_trait(?Send)]
pub trait Work {
    /// Hears of an event, before any job that it asks for begins.
    fn hear(&self, event: &Event);
    /// Does the job; bounded in time. `possession` says whose the resolver's file is.
    async fn perform(&self, job: Job, possession: Possession) -> Performed;
    /// Tells the operator what the schedule decided; gives the agent's new status.
    fn note(&self, note: Note) -> String;
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
    /// How often things are to be done from now on, where that may have changed.
    pub rhythm: Option<Rhythm>,
    /// When the job is to be done again at the latest, where it has a term.
    pub again_in: Option<Duration>,
}

impl Performed {
    /// A job that ended so, and found nothing out.
    #[must_use]
    pub fn with(outcome: Outcome) -> Self {
        Self { outcome, events: Vec::new(), status: None, rhythm: None, again_in: None }
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
            let possession = schedule.possession(now);
            for job in schedule.due(now) {
                tracing::debug!(?job, ?possession, "begins");
                let (handle, given_up) = oneshot::channel();
                handles.insert(job, handle);
                running.push(async move { (job, self.perform(job, possession, given_up).await) });
            }
            self.supervisor.alive();
            let wake = self.wake(&schedule, now);
            tokio::select! {
                biased;
                Some((job, performed)) = running.next() => {
                    let now = began.elapsed();
                    handles.remove(&job);
                    tracing::debug!(?job, outcome = ?performed.outcome, events = ?performed.events, "ends");
                    // By what is wanted now, whatever it found.
                    if let Some(rhythm) = performed.rhythm {
                        schedule.adopt(rhythm, now);
                    }
                    for event in &performed.events {
                        schedule.on(event, now, self.clock.jitter());
                    }
                    let note = schedule.done(job, performed.outcome, now, self.clock.jitter());
                    if let Some(term) = performed.again_in {
                        schedule.ask_by(job, now + term);
                    }
                    let noted = note.map(|note| self.work.note(note));
                    if let Some(status) = noted.or(performed.status) {
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
                }
                () = sleep_until(began + wake) => {}
            }
            for job in schedule.take_interrupted() {
                // Dropped, it says so.
                handles.remove(&job);
            }
        }
        self.supervisor.stopping();
    }

    /// Does a job, unless its handle is dropped first. What it has done until then stands; the next one goes on from there.
    async fn perform(
        &self,
        job: Job,
        possession: Possession,
        given_up: oneshot::Receiver<()>,
    ) -> Performed {
        tokio::select! {
            biased;
            performed = self.work.perform(job, possession) => performed,
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

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap, sync::Mutex};

    use tokio::{
        sync::mpsc::{self, Sender},
        time::{Duration, sleep, timeout},
    };

    use super::*;
    use crate::core::lease::Lease;

    /// Jobs that take the time that they are given, on a clock that jumps.
    struct Fake {
        takes: BTreeMap<Job, Duration>,
        outcome: fn(Job) -> Outcome,
        finds: fn(Job) -> Vec<Event>,
        began: Instant,
        /// When which job began.
        begun: RefCell<Vec<(Duration, Job)>>,
        notes: RefCell<Vec<Note>>,
    }

    #[async_trait(?Send)]
    impl Work for Fake {
        fn hear(&self, _event: &Event) {}

        async fn perform(&self, job: Job, _possession: Possession) -> Performed {
            self.begun.borrow_mut().push((self.began.elapsed(), job));
            sleep(self.takes.get(&job).copied().unwrap_or_default()).await;
            let status = Some(format!("{job:?}"));
            let events = (self.finds)(job);
            Performed { events, status, ..Performed::with((self.outcome)(job)) }
        }

        fn note(&self, note: Note) -> String {
            self.notes.borrow_mut().push(note);
            format!("{note:?}")
        }
    }

    /// What the service manager was told.
    #[derive(Default)]
    struct Told(Mutex<Vec<&'static str>>);

    impl Told {
        fn note(&self, what: &'static str) {
            self.0.lock().unwrap().push(what);
        }

        fn count(&self, what: &str) -> usize {
            self.0.lock().unwrap().iter().filter(|told| **told == what).count()
        }
    }

    impl Supervisor for Told {
        fn ready(&self) {
            self.note("ready");
        }
        fn status(&self, _status: &str) {
            self.note("status");
        }
        fn alive(&self) {
            self.note("alive");
        }
        fn stopping(&self) {
            self.note("stopping");
        }
        fn patience(&self) -> Option<Duration> {
            Some(seconds(60))
        }
    }

    struct Middling;

    impl Clock for Middling {
        fn now(&self) -> u64 {
            0
        }
        fn jitter(&self) -> f64 {
            0.5
        }
    }

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    /// Runs an agent for `span`, with `events` at their times; gives when which job began, and what was told.
    async fn run(
        takes: &[(Job, u64)],
        outcome: fn(Job) -> Outcome,
        span: Duration,
        events: Vec<(u64, Event)>,
    ) -> (Vec<(Duration, Job)>, Told) {
        let work = fake(takes, outcome);
        let told = run_with(&work, span, events).await;
        (work.begun.into_inner(), told)
    }

    fn fake(takes: &[(Job, u64)], outcome: fn(Job) -> Outcome) -> Fake {
        Fake {
            takes: takes.iter().map(|(job, time)| (*job, seconds(*time))).collect(),
            outcome,
            finds: |_| Vec::new(),
            began: Instant::now(),
            begun: RefCell::default(),
            notes: RefCell::default(),
        }
    }

    async fn run_with(work: &Fake, span: Duration, events: Vec<(u64, Event)>) -> Told {
        let rhythm = Rhythm {
            look: seconds(5),
            probe: seconds(10),
            refresh: seconds(60),
            renew: seconds(21_600),
            withdraw_at_end: true,
        };
        let told = Told::default();
        let (sender, receiver) = mpsc::channel(8);
        let agent = Agent { work, rhythm, supervisor: &told, clock: &Middling };
        let script = async |sender: Sender<Event>| {
            let began = Instant::now();
            for (at, event) in events {
                sleep_until(began + seconds(at)).await;
                sender.send(event).await.unwrap();
            }
            sleep_until(began + span).await;
            sender.send(Event::Stop).await.unwrap();
        };
        let ended = async { tokio::join!(agent.run(receiver), script(sender)) };
        timeout(span + seconds(1), ended).await.expect("it ends at once when it is told to");
        told
    }

    fn times(begun: &[(Duration, Job)], job: Job) -> Vec<u64> {
        begun.iter().filter(|(_, one)| *one == job).map(|(at, _)| at.as_secs()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_hangs_holds_up_no_other_nor_the_end() {
        let hangs = [(Job::Register, 1 << 20), (Job::List, 1 << 20)];
        let (begun, told) = run(&hangs, |_| Outcome::Done, seconds(599), Vec::new()).await;
        assert_eq!(times(&begun, Job::Register), [0], "once at a time");
        assert_eq!(times(&begun, Job::Look).len(), 120);
        assert_eq!(times(&begun, Job::Probe).len(), 59);
        assert_eq!((told.count("ready"), told.count("stopping")), (1, 1));
        assert!(told.count("alive") >= 20, "at least each 30 s");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_agent_does_what_its_rhythm_says_and_no_more() {
        let (begun, told) = run(&[], |_| Outcome::Done, seconds(3600), Vec::new()).await;
        let count = |job| times(&begun, job).len();
        assert_eq!((count(Job::Look), count(Job::Probe), count(Job::List)), (720, 359, 60));
        assert_eq!((count(Job::Register), count(Job::Rank), count(Job::Guard)), (1, 1, 0));
        assert!(told.count("alive") < 2 * begun.len() + 150, "no busy loop");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_job_is_tried_less_and_less_and_never_in_a_busy_loop() {
        let outcome = |job| if job == Job::Register { Outcome::Failed } else { Outcome::Done };
        let (begun, _) = run(&[], outcome, seconds(600), Vec::new()).await;
        assert_eq!(times(&begun, Job::Register)[..7], [0, 0, 1, 4, 8, 16, 32]);
        assert!(times(&begun, Job::Register).len() < 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_registration_that_waits_is_begun_anew_by_a_lease() {
        let report = "reason=BOUND\ninterface=eth0\nnew=10.0.0.1\nold=\nend\n";
        let lease = Event::Lease(Lease::parse(report).unwrap());
        let (begun, _) =
            run(&[(Job::Register, 20)], |_| Outcome::Done, seconds(60), vec![(5, lease)]).await;
        assert_eq!(times(&begun, Job::Register)[..2], [0, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_registration_that_waits_is_given_up_when_the_end_is_found_by_another_job() {
        let mut work = fake(&[(Job::Register, 20)], |_| Outcome::Done);
        work.finds = |job| match job {
            Job::Look => vec![Event::Ending(crate::core::event::Ending::Spot)],
            _ => Vec::new(),
        };
        run_with(&work, seconds(10), Vec::new()).await;
        let begun = work.begun.into_inner();
        assert_eq!(times(&begun, Job::Withdraw), [0], "it does not wait for the other: {begun:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fight_is_said_once_when_it_is_given_up_and_once_when_it_is_over() {
        let outcome = |job| if job == Job::Guard { Outcome::Trampled } else { Outcome::Done };
        let work = fake(&[], outcome);
        let touched = (1..=40).map(|at| (at, Event::ResolverTouched));
        run_with(&work, seconds(200), touched.collect()).await;
        let notes = work.notes.into_inner();
        assert_eq!(notes, [Note::Held(seconds(60)), Note::HoldOver]);
        let guards = times(&work.begun.into_inner(), Job::Guard);
        assert_eq!(guards, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 70], "and once when the hold ends");
    }
}
