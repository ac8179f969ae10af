//! When the agent does what: events and the end of jobs to jobs that are due, with the time and chance as arguments.
//!
//! An event makes its job due at once; what arrives while the job runs becomes one more run. A job that failed is tried
//! again with full jitter over a span that doubles (AWS Architecture Blog, "Exponential Backoff and Jitter"). One that was throttled is
//! begun half as often from then on, and twice as often again after each time that it was not: all hosts of an account share its budget.

use std::{collections::BTreeMap, time::Duration};

use super::{
    event::Event,
    job::{Job, Note, Outcome, Possession, Rhythm},
    pace::Pace,
    trample::Trample,
};

/// Time since the agent began.
pub type Moment = Duration;

/// What is due when.
#[derive(Clone, Debug)]
pub struct Schedule {
    rhythm: Rhythm,
    slots: BTreeMap<Job, Slot>,
    trample: Trample,
    /// Whether the end of the instance is announced.
    announced: bool,
    /// Whether it was looked whether it is, once.
    looked: bool,
    interrupted: Vec<Job>,
    looks: Pace,
    /// Second tries that the network set off.
    retries: Pace,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    due: Option<Moment>,
    running: bool,
    /// How often in a row it was begun anew before it had ended.
    interruptions: u32,
    /// Asked for while it ran.
    again: bool,
    /// In a row.
    failures: u32,
    /// How often its period is doubled, since the fleet asks too much.
    doublings: u32,
}

impl Schedule {
    /// The schedule of an agent that begins now: everything once, and then by its rhythm.
    #[must_use]
    pub fn new(rhythm: Rhythm) -> Self {
        let mut slots: BTreeMap<_, _> =
            Job::ALL.into_iter().map(|job| (job, Slot::default())).collect();
        // The known servers are ranked at once: a host with dead ones does not wait for EC2.
        for job in [Job::Look, Job::Register, Job::Rank, Job::List] {
            slots.insert(job, Slot { due: Some(Moment::ZERO), ..Slot::default() });
        }
        slots.insert(Job::Probe, Slot { due: Some(rhythm.probe), ..Slot::default() });
        Self {
            rhythm,
            slots,
            trample: Trample::default(),
            announced: false,
            looked: false,
            interrupted: Vec::new(),
            looks: Pace::of(MOST_LOOKS, LOOKS_SPAN),
            retries: Pace::of(MOST_RETRIES, RETRIES_SPAN),
        }
    }

    /// Takes an event at `now`; `chance` is from 0 to 1.
    ///
    /// ```text
    /// event            Register        Look   Rank     List                Guard  Withdraw
    /// Lease, idle      -               -      -        -                   -      -
    /// Lease, else      now             -      -        now if it failed    -      -
    /// Network          now if failed   now    -        now if it failed    -      -
    /// ResolverTouched  -               -      -        -                   now    -
    /// FactsChanged     now             -      now      -                   -      -
    /// ServerSilent     -               -      now      soon                -      -
    /// ServerBack       -               -      now      -                   -      -
    /// ClockStepped     now             now    now      now                 -      -
    /// Ending           never           -      -        -                   -      now
    /// EndingRevoked    now             -      -        -                   -      -
    /// Reload           (the job Reload, and when it succeeded as ClockStepped)
    /// ```
    pub fn on(&mut self, event: &Event, now: Moment, chance: f64) {
        match event {
            Event::Lease(lease) if lease.is_idle() => {}
            Event::Lease(_) => {
                self.interrupt(Job::Register);
                self.ask(Job::Register, now);
                self.ask_if_failed(Job::List, now);
            }
            Event::Network => {
                self.interrupt(Job::Register);
                self.interrupt(Job::Look);
                self.ask(Job::Look, now);
                if self.has_failed(Job::Register) || self.has_failed(Job::List) {
                    let when = self.retries.begin(now).unwrap_or(now);
                    self.ask_if_failed(Job::Register, when);
                    self.ask_if_failed(Job::List, when);
                }
            }
            Event::ResolverTouched => self.ask(Job::Guard, now),
            Event::FactsChanged => {
                self.ask(Job::Register, now);
                self.ask(Job::Rank, now);
            }
            Event::ServerSilent => {
                self.ask(Job::Rank, now);
                // A fleet that sees one server die must not ask EC2 in the same second.
                let soon = self.eased(Job::List, SOON.min(self.rhythm.refresh));
                self.ask_by(Job::List, now + soon.mul_f64(chance));
            }
            Event::ServerBack => self.ask(Job::Rank, now),
            Event::ClockStepped => self.ask_everything(now),
            Event::Ending(_) => self.announce(true, now),
            Event::EndingRevoked => self.announce(false, now),
            Event::Reload => self.ask(Job::Reload, now),
            // It is the loop's own affair.
            Event::Stop => {}
        }
    }

    fn announce(&mut self, announced: bool, now: Moment) {
        let before = self.withdraws();
        self.announced = announced;
        self.turn_round(before, now);
    }

    /// Whether the records are to be gone, since the instance is about to end.
    fn withdraws(&self) -> bool {
        self.announced && self.rhythm.withdraw_at_end
    }

    /// Takes the records back from now on, or publishes them again, where that is not what was done `before`.
    fn turn_round(&mut self, before: bool, now: Moment) {
        match (before, self.withdraws()) {
            (false, true) => {
                self.interrupt(Job::Register);
                self.ask(Job::Withdraw, now);
            }
            (true, false) => {
                self.interrupt(Job::Withdraw);
                self.slot(Job::Withdraw).due = None;
                self.ask(Job::Register, now);
            }
            _ => {}
        }
    }

    /// The jobs to begin now; each counts as running until [`done`](Self::done).
    pub fn due(&mut self, now: Moment) -> Vec<Job> {
        let (ending, held) = (self.withdraws(), self.trample.held_until(now));
        let blocked = self.blocked();
        let mut jobs = Vec::new();
        for (job, slot) in &mut self.slots {
            let Some(due) = slot.due else { continue };
            if slot.running || due > now || blocked.contains(job) {
                continue;
            }
            if *job == Job::Look
                && let Some(until) = self.looks.begin(now)
            {
                slot.due = Some(until);
                continue;
            }
            match held {
                Some(until) if job.puts_back() => {
                    slot.due = Some(until);
                    continue;
                }
                _ => {}
            }
            slot.due = None;
            // The records of an instance that ends are gone or going; those of one that does not end stay.
            if (*job == Job::Register && ending) || (*job == Job::Withdraw && !ending) {
                continue;
            }
            slot.running = true;
            jobs.push(*job);
        }
        jobs
    }

    /// A job ended at `now`; `chance` is from 0 to 1.
    pub fn done(&mut self, job: Job, outcome: Outcome, now: Moment, chance: f64) -> Option<Note> {
        let longest = match outcome {
            Outcome::Failed => Some(LONGEST),
            Outcome::Blocked => Some(LONGEST_BLOCKED),
            _ => None,
        };
        let interrupted = outcome == Outcome::Interrupted;
        let slot = self.slot(job);
        slot.doublings = match outcome {
            Outcome::Throttled => (slot.doublings + 1).min(MOST_DOUBLINGS),
            Outcome::Failed | Outcome::Blocked | Outcome::Interrupted => slot.doublings,
            _ => slot.doublings.saturating_sub(1),
        };
        let next = if interrupted {
            Some(now)
        } else if let Some(longest) = longest {
            let wait = backoff(self.slot(job).failures, longest, chance);
            Some(now + self.period(job).map_or(wait, |period| wait.min(period)))
        } else {
            // Not all hosts of a fleet at once: between 3/4 and 5/4 of it.
            let period = self.period(job).map(|period| self.eased(job, period));
            period.map(|period| now + period.mul_f64(0.75 + chance / 2.0))
        };
        self.looked |= job == Job::Look && !interrupted;
        let slot = self.slot(job);
        slot.running = false;
        slot.interruptions = if interrupted { slot.interruptions + 1 } else { 0 };
        let is_bad = longest.is_some() || outcome == Outcome::Throttled;
        slot.failures = if is_bad { slot.failures.saturating_add(1) } else { 0 };
        let again = std::mem::take(&mut slot.again);
        let next = if again { Some(now) } else { next };
        slot.due = earlier(slot.due, next);
        match outcome {
            Outcome::Trampled => self.trample.happened(now).map(Note::Held),
            Outcome::Reloaded(rhythm) => {
                self.adopt(rhythm, now);
                self.ask_everything(now);
                None
            }
            Outcome::Done
            | Outcome::Failed
            | Outcome::Blocked
            | Outcome::Refused
            | Outcome::Throttled
            | Outcome::Interrupted => self.trample.is_over(now).then_some(Note::HoldOver),
        }
    }

    /// Jobs that wait for the end of another: what one publishes the other takes back.
    fn blocked(&self) -> Vec<Job> {
        let runs = |job: Job| self.slots.get(&job).is_some_and(|slot| slot.running);
        let mut blocked = Vec::new();
        // What is not to be there any more is not published for a moment.
        if runs(Job::Withdraw) || !self.looked {
            blocked.push(Job::Register);
        }
        if runs(Job::Register) {
            blocked.push(Job::Withdraw);
        }
        blocked
    }

    /// Another rhythm, from `now` on: what is done by it is not waited for longer than by the new one.
    pub fn adopt(&mut self, rhythm: Rhythm, now: Moment) {
        if self.rhythm != rhythm {
            let before = self.withdraws();
            self.rhythm = rhythm;
            self.turn_round(before, now);
            for job in [Job::Look, Job::Probe, Job::List] {
                if let Some(period) = self.period(job) {
                    let period = self.eased(job, period);
                    self.ask_by(job, now + period);
                }
            }
        }
    }

    /// When the next job is due; `None` while all wait for events or for the end of what runs.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        let blocked = self.blocked();
        let waiting =
            self.slots.iter().filter(|(job, slot)| !slot.running && !blocked.contains(job));
        waiting.filter_map(|(_, slot)| slot.due).min()
    }

    /// Whose the resolver's file is at `now`.
    #[must_use]
    pub fn possession(&self, now: Moment) -> Possession {
        match self.trample.held_until(now) {
            Some(_) => Possession::Contested,
            None => Possession::Ours,
        }
    }

    /// The jobs that are to be given up, since what they wait for has changed; each is to be reported as
    /// [`Outcome::Interrupted`].
    pub fn take_interrupted(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.interrupted)
    }

    /// A job that was at work when the network changed may wait for an answer that can never come. It is not begun anew for
    /// ever: where links come and go all the time, each job must come to its end.
    fn interrupt(&mut self, job: Job) {
        let slot = self.slot(job);
        if slot.running && slot.interruptions < MOST_INTERRUPTIONS {
            self.interrupted.push(job);
        }
    }

    fn ask_everything(&mut self, now: Moment) {
        for job in [Job::Look, Job::Register, Job::Rank, Job::List] {
            self.ask(job, now);
        }
    }

    fn ask(&mut self, job: Job, now: Moment) {
        let slot = self.slot(job);
        if slot.running {
            slot.again = true;
        }
        self.ask_by(job, now);
    }

    /// Makes a job that does not run due at `when` at the latest.
    pub fn ask_by(&mut self, job: Job, when: Moment) {
        let slot = self.slot(job);
        if !slot.running {
            slot.due = earlier(slot.due, Some(when));
        }
    }

    fn ask_if_failed(&mut self, job: Job, when: Moment) {
        if self.has_failed(job) {
            self.slot(job).again |= self.slot(job).running && job == Job::Register;
            self.ask_by(job, when);
        }
    }

    /// Whether it failed last, or is a registration that may be about to; a network that comes back makes no throttled call less.
    fn has_failed(&self, job: Job) -> bool {
        self.slots.get(&job).is_some_and(|slot| {
            slot.doublings == 0 && (slot.failures > 0 || (slot.running && job == Job::Register))
        })
    }

    fn period(&self, job: Job) -> Option<Duration> {
        match job {
            Job::Look => Some(self.rhythm.look),
            Job::Probe => Some(self.rhythm.probe),
            Job::List => Some(self.rhythm.refresh),
            Job::Register => Some(self.rhythm.renew),
            Job::Reload | Job::Guard | Job::Withdraw | Job::Rank => None,
        }
    }

    /// The time between two runs of a job, as long as the fleet must wait for all its hosts to have their turn.
    fn eased(&self, job: Job, time: Duration) -> Duration {
        let doublings = self.slots.get(&job).map_or(0, |slot| slot.doublings);
        time.saturating_mul(1 << doublings)
    }

    fn slot(&mut self, job: Job) -> &mut Slot {
        self.slots.entry(job).or_default()
    }
}

fn earlier(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn backoff(failures: u32, longest: Duration, chance: f64) -> Duration {
    // Never at once: a failure that takes no time would become a busy loop.
    LEAST + FIRST.saturating_mul(1 << failures.min(16)).min(longest).mul_f64(chance)
}

/// Of the default refresh of a minute: an hour. 10,000 hosts that list so often are 3 calls a second; EC2 gives an account 20.
const MOST_DOUBLINGS: u32 = 6;
const MOST_INTERRUPTIONS: u32 = 3;
/// One lease that changes is three or four events.
const MOST_LOOKS: usize = 6;
const LOOKS_SPAN: Duration = Duration::from_secs(5);
/// A network that comes up is a few events, and the last of them counts.
const MOST_RETRIES: usize = 4;
const RETRIES_SPAN: Duration = Duration::from_secs(30);
const LEAST: Duration = Duration::from_millis(200);
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// What others must do first is asked after at most so often: each time costs calls of an account's budget.
const LONGEST_BLOCKED: Duration = Duration::from_secs(900);
/// How soon the list is read again when a server in use is silent: it may have been respawned.
const SOON: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{event::Ending, lease::Lease};

    const HALF: f64 = 0.5;

    fn rhythm() -> Rhythm {
        Rhythm {
            look: seconds(5),
            probe: seconds(10),
            refresh: seconds(60),
            renew: seconds(21_600),
            withdraw_at_end: true,
        }
    }

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    /// A schedule whose first jobs are done.
    fn settled() -> Schedule {
        let mut schedule = Schedule::new(rhythm());
        for _ in 0..2 {
            for job in schedule.due(Moment::ZERO) {
                assert_eq!(schedule.done(job, Outcome::Done, Moment::ZERO, HALF), None);
            }
        }
        schedule
    }

    fn lease(reason: &str, new: &str, old: &str) -> Event {
        let report = format!("reason={reason}\ninterface=eth0\nnew={new}\nold={old}\nend\n");
        Event::Lease(Lease::parse(&report).unwrap())
    }

    fn check(event: &Event, expect: &[Job]) {
        let mut schedule = settled();
        schedule.on(event, seconds(1), HALF);
        assert_eq!(schedule.due(seconds(1)), expect, "{event:?}");
    }

    #[test]
    fn everything_is_done_once_at_the_start_and_then_by_its_rhythm() {
        let mut schedule = Schedule::new(rhythm());
        assert_eq!(schedule.due(Moment::ZERO), [Job::Look, Job::Rank, Job::List]);
        assert_eq!(schedule.due(Moment::ZERO), [], "each once");
        assert!(schedule.next_deadline() > Some(Moment::ZERO), "no busy loop");
        schedule.done(Job::Look, Outcome::Failed, Moment::ZERO, HALF);
        assert_eq!(schedule.due(Moment::ZERO), [Job::Register], "whatever came of the look");
        let mut schedule = settled();
        assert_eq!(schedule.next_deadline(), Some(seconds(5)));
        assert_eq!(schedule.due(seconds(5)), [Job::Look]);
        assert_eq!(schedule.due(seconds(10)), [Job::Probe]);
        assert_eq!(schedule.due(seconds(60)), [Job::List]);
        assert_eq!(schedule.due(seconds(21_600)), [Job::Register]);
    }

    #[test]
    fn each_event_asks_for_its_jobs_at_once() {
        check(&lease("RENEW", "10.0.0.1", "10.0.0.1"), &[]);
        check(&lease("BOUND", "10.0.0.1", ""), &[Job::Register]);
        check(&lease("EXPIRE", "", "10.0.0.1"), &[Job::Register]);
        check(&Event::Network, &[Job::Look]);
        check(&Event::ResolverTouched, &[Job::Guard]);
        check(&Event::FactsChanged, &[Job::Register, Job::Rank]);
        check(&Event::ServerSilent, &[Job::Rank]);
        check(&Event::ServerBack, &[Job::Rank]);
        check(&Event::ClockStepped, &[Job::Look, Job::Register, Job::Rank, Job::List]);
        check(&Event::Ending(Ending::Spot), &[Job::Withdraw]);
        check(&Event::EndingRevoked, &[]);
        check(&Event::Reload, &[Job::Reload]);
    }

    #[test]
    fn what_arrives_while_a_job_runs_becomes_one_more_run() {
        let mut schedule = settled();
        schedule.on(&Event::FactsChanged, seconds(1), HALF);
        assert_eq!(schedule.due(seconds(1)), [Job::Register, Job::Rank]);
        for _ in 0..5 {
            schedule.on(&Event::FactsChanged, seconds(2), HALF);
        }
        assert_eq!(schedule.due(seconds(2)), [], "it runs already");
        schedule.done(Job::Register, Outcome::Done, seconds(3), HALF);
        assert_eq!(schedule.due(seconds(3)), [Job::Register]);
        schedule.done(Job::Register, Outcome::Done, seconds(4), HALF);
        assert_eq!(schedule.due(seconds(4)), []);
    }

    #[test]
    fn failures_are_tried_again_later_and_later_and_never_at_once() {
        let mut schedule = settled();
        let mut now = seconds(1);
        schedule.on(&Event::FactsChanged, now, HALF);
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert!(schedule.due(now).contains(&Job::Register));
            schedule.done(Job::Register, Outcome::Failed, now, 1.0);
            let due = schedule.slots[&Job::Register].due.unwrap();
            waits.push(due.saturating_sub(now).as_millis());
            now = due;
        }
        assert_eq!(waits, [1200, 2200, 4200, 8200, 16200, 32200, 60200, 60200, 60200]);
        assert!(backoff(0, LONGEST, 0.0) > Duration::ZERO);
        assert!(schedule.due(now).contains(&Job::Register));
        schedule.done(Job::Register, Outcome::Done, now, HALF);
        assert_eq!(schedule.slots[&Job::Register].failures, 0);
    }

    #[test]
    fn a_job_that_is_at_work_while_the_network_changes_is_begun_anew_but_not_for_ever() {
        let bound = lease("BOUND", "10.0.0.1", "");
        for (event, expect) in [
            (&bound, vec![Job::Register]),
            (&Event::Network, vec![Job::Register]),
            (&Event::ResolverTouched, vec![]),
        ] {
            let mut schedule = settled();
            schedule.ask(Job::Register, seconds(1));
            assert_eq!(schedule.due(seconds(1)), [Job::Register]);
            schedule.on(event, seconds(1), HALF);
            assert_eq!(schedule.take_interrupted(), expect, "{event:?}");
            assert_eq!(schedule.take_interrupted(), [], "once");
        }
        let mut schedule = settled();
        schedule.ask(Job::Register, seconds(1));
        for round in 0..5 {
            assert!(schedule.due(seconds(1)).contains(&Job::Register), "at once");
            schedule.on(&bound, seconds(1), HALF);
            let interrupted = schedule.take_interrupted();
            assert_eq!(interrupted.is_empty(), round >= 3, "{round}");
            let outcome = if round < 3 { Outcome::Interrupted } else { Outcome::Done };
            schedule.done(Job::Register, outcome, seconds(1), HALF);
            if round == 3 {
                assert!(
                    schedule.due(seconds(1)).contains(&Job::Register),
                    "it was asked for again"
                );
                break;
            }
        }
    }

    #[test]
    fn the_network_coming_up_ends_the_wait_of_what_failed() {
        let mut schedule = settled();
        for job in [Job::Register, Job::List] {
            schedule.ask(job, seconds(1));
            schedule.due(seconds(1));
            schedule.done(job, Outcome::Failed, seconds(1), 1.0);
        }
        schedule.on(&Event::Network, seconds(2), HALF);
        assert_eq!(schedule.due(seconds(2)), [Job::Look, Job::Register, Job::List]);
    }

    #[test]
    fn links_that_come_and_go_set_off_no_more_than_a_few_second_tries() {
        let mut schedule = settled();
        schedule.ask(Job::List, seconds(1));
        let mut lists = 0;
        for tenth in 10..310 {
            let now = Duration::from_millis(100) * tenth;
            schedule.on(&Event::Network, now, HALF);
            for job in schedule.due(now) {
                lists += u32::from(job == Job::List);
                let outcome = if job == Job::List { Outcome::Failed } else { Outcome::Done };
                schedule.on(&Event::Network, now, HALF);
                schedule.done(job, outcome, now, 1.0);
            }
        }
        // Its own tries by then are at 1, 2.2, 4.4, 8.6, 16.8 and 33 s.
        assert!((5..=10).contains(&lists), "{lists}");
    }

    #[test]
    fn a_new_rhythm_is_kept_from_now_on() {
        let mut schedule = settled();
        schedule.adopt(Rhythm { probe: seconds(2), ..rhythm() }, seconds(1));
        assert_eq!(schedule.due(seconds(3)), [Job::Probe]);
        schedule.done(Job::Probe, Outcome::Done, seconds(3), HALF);
        assert!(schedule.due(seconds(5)).contains(&Job::Probe));
        schedule.adopt(Rhythm { probe: seconds(2), ..rhythm() }, seconds(6));
        assert_eq!(schedule.slots[&Job::Probe].due, None, "the same one changes nothing");
    }

    #[test]
    fn a_silent_server_brings_the_next_listing_forward_but_not_for_all_hosts_at_once() {
        let listed_at = |chance| {
            let mut schedule = settled();
            schedule.on(&Event::ServerSilent, seconds(1), chance);
            schedule.slots[&Job::List].due.unwrap()
        };
        assert_eq!(listed_at(0.0), seconds(1));
        assert_eq!(listed_at(1.0), seconds(11));
    }

    #[test]
    fn an_instance_that_ends_takes_its_records_back_and_never_publishes_them_again() {
        let mut schedule = settled();
        schedule.on(&Event::Ending(Ending::Spot), seconds(1), HALF);
        schedule.on(&Event::FactsChanged, seconds(1), HALF);
        assert_eq!(schedule.due(seconds(1)), [Job::Withdraw, Job::Rank]);
        schedule.done(Job::Withdraw, Outcome::Done, seconds(2), HALF);
        schedule.on(&Event::Ending(Ending::Spot), seconds(6), HALF);
        schedule.on(&lease("BOUND", "10.0.0.1", ""), seconds(6), HALF);
        assert!(
            !schedule
                .due(seconds(6))
                .iter()
                .any(|job| matches!(job, Job::Register | Job::Withdraw))
        );
        schedule.on(&Event::EndingRevoked, seconds(7), HALF);
        assert!(schedule.due(seconds(7)).contains(&Job::Register));
    }

    #[test]
    fn records_stay_at_the_end_if_that_is_configured() {
        let mut schedule = Schedule::new(Rhythm { withdraw_at_end: false, ..rhythm() });
        schedule.due(Moment::ZERO);
        schedule.on(&Event::Ending(Ending::AutoScaling), seconds(1), HALF);
        assert_eq!(schedule.due(seconds(1)), []);
    }

    #[test]
    fn an_end_that_is_announced_counts_from_when_the_configuration_lets_it() {
        let stays = || Rhythm { withdraw_at_end: false, ..rhythm() };
        let mut schedule = Schedule::new(stays());
        schedule.on(&Event::Ending(Ending::Spot), Moment::ZERO, HALF);
        for _ in 0..2 {
            for job in schedule.due(Moment::ZERO) {
                schedule.done(job, Outcome::Done, Moment::ZERO, HALF);
            }
        }
        schedule.adopt(rhythm(), seconds(1));
        assert_eq!(schedule.due(seconds(1)), [Job::Withdraw]);
        schedule.done(Job::Withdraw, Outcome::Done, seconds(1), HALF);
        schedule.adopt(rhythm(), seconds(2));
        assert_eq!(schedule.due(seconds(2)), [], "once");
        schedule.adopt(stays(), seconds(3));
        assert_eq!(schedule.due(seconds(3)), [Job::Register]);
    }

    #[test]
    fn a_new_configuration_is_acted_on_at_once() {
        let mut schedule = settled();
        schedule.on(&Event::Reload, seconds(1), HALF);
        assert_eq!(schedule.due(seconds(1)), [Job::Reload]);
        let faster = Rhythm { probe: seconds(2), ..rhythm() };
        schedule.done(Job::Reload, Outcome::Reloaded(faster), seconds(1), HALF);
        assert_eq!(schedule.due(seconds(1)), [Job::Look, Job::Register, Job::Rank, Job::List]);
        schedule.on(&Event::Reload, seconds(2), HALF);
        schedule.due(seconds(2));
        schedule.done(Job::Reload, Outcome::Done, seconds(2), HALF);
        assert_eq!(schedule.due(seconds(2)), [], "a refused one changes nothing");
        assert_eq!(schedule.due(seconds(3)), [Job::Probe], "by the new rhythm");
    }

    #[test]
    fn in_a_fight_over_the_file_it_is_not_put_back_until_the_hold_ends_and_servers_are_looked_after()
     {
        let mut schedule = settled();
        let mut note = None;
        let mut now = seconds(1);
        while note.is_none() {
            assert!(now < seconds(3), "never held");
            schedule.on(&Event::ResolverTouched, now, HALF);
            assert_eq!(schedule.due(now), [Job::Guard]);
            note = schedule.done(Job::Guard, Outcome::Trampled, now, HALF);
            now += Duration::from_millis(100);
        }
        let Some(Note::Held(hold)) = note else { panic!("{note:?}") };
        assert_eq!(schedule.possession(now), Possession::Contested);
        schedule.on(&Event::ResolverTouched, now, HALF);
        schedule.on(&Event::ServerSilent, now, HALF);
        assert_eq!(schedule.due(now), [Job::Rank], "its servers are looked after all the same");
        schedule.done(Job::Rank, Outcome::Done, now, HALF);
        let after = now + hold;
        let due = schedule.due(after);
        assert!(due.contains(&Job::Guard), "{due:?}");
        assert_eq!(schedule.done(Job::Guard, Outcome::Trampled, after, HALF), None);
        assert_eq!(schedule.done(Job::List, Outcome::Done, after, HALF), None, "too early to tell");
        let later = after + seconds(10);
        schedule.due(later);
        assert_eq!(schedule.done(Job::Look, Outcome::Done, later, HALF), Some(Note::HoldOver));
        schedule.due(later + seconds(10));
        assert_eq!(
            schedule.done(Job::Look, Outcome::Done, later + seconds(10), HALF),
            None,
            "once"
        );
    }

    #[test]
    fn what_somebody_else_must_mend_is_asked_after_less_and_less_until_something_changes() {
        let mut schedule = settled();
        schedule.on(&Event::FactsChanged, seconds(1), HALF);
        let (mut now, mut tries) = (seconds(1), 0);
        while now < seconds(86_400) {
            for job in schedule.due(now) {
                let is_it = job == Job::Register;
                tries += u32::from(is_it);
                let outcome = if is_it { Outcome::Blocked } else { Outcome::Done };
                schedule.done(job, outcome, now, HALF);
            }
            now = schedule.next_deadline().unwrap();
        }
        assert!((190..230).contains(&tries), "{tries} in a day");
        schedule.on(&Event::FactsChanged, now, HALF);
        assert!(schedule.due(now).contains(&Job::Register));
    }

    #[test]
    fn what_publishes_and_what_takes_back_are_never_at_work_together() {
        let mut schedule = settled();
        schedule.on(&lease("BOUND", "10.0.0.2", "10.0.0.1"), seconds(1), HALF);
        assert_eq!(schedule.due(seconds(1)), [Job::Register]);
        schedule.on(&Event::Ending(Ending::Spot), seconds(1), HALF);
        assert_eq!(schedule.take_interrupted(), [Job::Register]);
        assert_eq!(schedule.due(seconds(1)), []);
        assert!(schedule.next_deadline().is_some_and(|next| next > seconds(1)), "no busy loop");
        schedule.done(Job::Register, Outcome::Interrupted, seconds(2), HALF);
        assert_eq!(schedule.due(seconds(2)), [Job::Withdraw]);
        schedule.on(&Event::EndingRevoked, seconds(2), HALF);
        assert_eq!(schedule.take_interrupted(), [Job::Withdraw]);
        assert_eq!(schedule.due(seconds(2)), []);
        schedule.done(Job::Withdraw, Outcome::Interrupted, seconds(3), HALF);
        assert_eq!(schedule.due(seconds(3)), [Job::Register]);
    }

    #[test]
    fn a_network_that_comes_back_makes_no_call_that_was_throttled() {
        let mut schedule = settled();
        schedule.on(&Event::ClockStepped, seconds(1), HALF);
        for job in schedule.due(seconds(1)) {
            let outcome = if job == Job::List { Outcome::Throttled } else { Outcome::Done };
            schedule.done(job, outcome, seconds(1), HALF);
        }
        schedule.on(&Event::Network, seconds(2), HALF);
        assert_eq!(schedule.due(seconds(2)), [Job::Look]);
    }

    /// Of DescribeInstances with a filter EC2 gives an account 100 calls at once and 20 more each second (EC2 API Reference,
    /// "Request throttling").
    #[test]
    fn ten_thousand_hosts_come_to_ask_about_as_often_as_an_account_may() {
        const HOUR: Duration = Duration::from_secs(3600);
        let rhythm = Rhythm { look: 24 * HOUR, probe: 24 * HOUR, renew: 24 * HOUR, ..rhythm() };
        let mut hosts = vec![Schedule::new(rhythm); 10_000];
        let mut queue: std::collections::BTreeSet<(Moment, usize)> =
            (0..hosts.len()).map(|host| (Moment::ZERO, host)).collect();
        let mut seed = 1_u64;
        let (mut tokens, mut filled) = (100.0, Moment::ZERO);
        let (mut calls, mut refused) = (0_u32, 0_u32);
        while let Some((now, host)) = queue.pop_first().filter(|(now, _)| *now < 2 * HOUR) {
            for job in hosts[host].due(now) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let chance = f64::from(u32::try_from(seed >> 32).unwrap()) / f64::from(u32::MAX);
                let mut outcome = Outcome::Done;
                if job == Job::List {
                    tokens = (tokens + 20.0 * now.saturating_sub(filled).as_secs_f64()).min(100.0);
                    filled = now;
                    if tokens >= 1.0 {
                        tokens -= 1.0;
                    } else {
                        outcome = Outcome::Throttled;
                    }
                    if now >= HOUR {
                        calls += 1;
                        refused += u32::from(outcome == Outcome::Throttled);
                    }
                }
                hosts[host].done(job, outcome, now, chance);
            }
            queue.extend(hosts[host].next_deadline().map(|next| (next, host)));
        }
        // Each at its own rhythm would be 167 calls a second.
        let (calls, refused) = (f64::from(calls) / 3600.0, f64::from(refused) / 3600.0);
        assert!(calls < 40.0, "{calls} calls a second, {refused} of them refused");
        assert!(refused < calls / 2.0, "{calls} calls a second, {refused} of them refused");
    }
}
