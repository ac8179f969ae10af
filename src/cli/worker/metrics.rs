//! How the agent stands, in numbers.

use std::{collections::BTreeMap, io, net::SocketAddr};

use super::Worker;
use crate::{
    agent::{
        registration::Registered,
        resolution::{Action, Resolved},
    },
    core::{
        job::{Job, Outcome},
        metrics::{
            BUILD_INFO, CONTESTED, INPUT_AT, OVERWRITTEN, PUBLISHED, REFUSED, REGISTERED,
            REGISTERED_AT, RESOLVER_SET, SERVERS, START_TIME, Samples, TASKS,
        },
        servers::Ranked,
    },
    ports::Clock as _,
    sys::clock::SystemClock,
};

impl Worker<'_> {
    /// After a job: counts it, and tells how things stand.
    pub(super) fn measure(&self, job: Job, outcome: &Outcome) {
        self.counts.borrow_mut().count(&TASKS, &[word_of(job), word(outcome)]);
        match job {
            Job::Register if *outcome == Outcome::Done => {
                self.registered_at.set(Some(SystemClock.now()));
                self.taken_back.set(false);
            }
            Job::Register => self.taken_back.set(false),
            Job::Withdraw => self.taken_back.set(true),
            _ => {}
        }
        self.tell();
    }

    /// Tells how things stand.
    pub(super) fn tell(&self) {
        let text = self.samples().with(&self.counts.borrow()).render();
        let told = self.exposition.tell(&text);
        let told = told.map_err(|error| format!("the metrics cannot be written: {error}"));
        self.say_conditions(METRICS, told.err());
    }

    /// The listener's address cannot be had now.
    pub(in crate::cli) fn cannot_listen(&self, addr: SocketAddr, error: &io::Error) {
        self.say_conditions(LISTENER, [format!("no metrics are answered at {addr}: {error}")]);
    }

    fn samples(&self) -> Samples {
        let mut samples = Samples::default();
        samples.set(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1);
        samples.set(&START_TIME, &[], self.started);
        // Before anything happens: nobody sees a count's first step otherwise.
        for task in Job::ALL {
            for outcome in [DONE, FAILED, BLOCKED, THROTTLED, TRAMPLED] {
                samples.set(&TASKS, &[word_of(task), outcome], 0);
            }
        }
        self.measure_names(&mut samples);
        let inputs = self.host().inputs();
        let list = inputs.servers.filter(|_| self.report.borrow().resolved.is_some());
        for (input, at) in [("metadata", inputs.metadata), ("tags", inputs.tags), ("servers", list)]
        {
            if let Some(at) = at {
                samples.set(&INPUT_AT, &[input], at);
            }
        }
        if let Some(resolved) = &self.report.borrow().resolved {
            measure_resolver(&mut samples, resolved);
        }
        let trampled = self.trampled.borrow();
        samples.set(&OVERWRITTEN, &[], trampled.times);
        samples.set(&CONTESTED, &[], trampled.held.into());
        samples
    }

    fn measure_names(&self, samples: &mut Samples) {
        let report = self.report.borrow();
        if self.registered.get() && !self.taken_back.get() {
            let good = report.registered.iter().all(Registered::is_good);
            samples.set(&REGISTERED, &[], (report.failures.is_empty() && good).into());
            for part in &report.registered {
                samples.set(&REFUSED, &[&part.backend], part.blocked.len() as u64);
            }
        }
        if let Some(at) = self.registered_at.get() {
            samples.set(&REGISTERED_AT, &[], at);
        }
        let ledger = self.notebook.ledger();
        for backend in self.config().backends.keys() {
            let names = ledger.published.get(backend).into_iter().flat_map(BTreeMap::values);
            let confirmed = names.filter(|published| published.confirmed).count();
            samples.set(&PUBLISHED, &[backend], confirmed as u64);
        }
    }
}

fn measure_resolver(samples: &mut Samples, resolved: &Resolved) {
    let usable = &resolved.ranking.usable;
    let left_out = resolved.ranking.left_out.len();
    // Where nobody was asked, or EC2 did not tell, there is nothing to say of them.
    let none_is_listed = matches!(resolved.action, Action::Kept(_)) && resolved.failures.is_empty();
    if !usable.is_empty() || left_out > 0 || none_is_listed {
        let is_used = |ranked: &&Ranked| resolved.in_use.contains(&ranked.server.address.ip());
        let in_use = usable.iter().filter(is_used).count();
        let reserve = usable.len() - in_use;
        for (state, count) in [("in_use", in_use), ("reserve", reserve), ("left_out", left_out)] {
            samples.set(&SERVERS, &[state], count as u64);
        }
    }
    if resolved.action != Action::Unmanaged {
        samples.set(&RESOLVER_SET, &[], (resolved.is_set() && resolved.failures.is_empty()).into());
    }
}

fn word_of(job: Job) -> &'static str {
    match job {
        Job::Reload => "reload",
        Job::Guard => "guard",
        Job::Look => "look",
        Job::Register => "register",
        Job::Withdraw => "withdraw",
        Job::Rank => "rank",
        Job::List => "list",
        Job::Probe => "probe",
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done | Outcome::Reloaded(_) => DONE,
        Outcome::Failed | Outcome::Interrupted | Outcome::Refused => FAILED,
        Outcome::Blocked => BLOCKED,
        Outcome::Throttled => THROTTLED,
        Outcome::Trampled => TRAMPLED,
    }
}

const DONE: &str = "done";
const FAILED: &str = "failed";
const BLOCKED: &str = "blocked";
const THROTTLED: &str = "throttled";
const TRAMPLED: &str = "trampled";

/// What is in the way of their address.
const LISTENER: &str = "listener";
/// What is in the way of metrics.
pub(super) const METRICS: &str = "metrics";
