//! The agent's jobs: what a pass does, part by part, on a host that stays.

mod leases;
mod metrics;
mod reload;
mod resolver;
mod stop;
mod telling;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    io,
    net::IpAddr,
    rc::Rc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::{sync::Mutex, time::Instant};

use self::{
    resolver::Listing,
    telling::{LOOK, in_full},
};
use super::{
    args::Args,
    known::Known,
    leases::Leases,
    once::{register_all, resolvers},
    pass::turn,
    wiring::{Host, refused},
};
use crate::{
    agent::{
        daemon::{Performed, Work},
        notebook::Notebook,
        report::Report,
        standing::Standing,
    },
    config::{
        Config, Occasion,
        settings::{ConfigError, Settings},
    },
    core::{
        event::{Ending, Event},
        facts::Facts,
        job::{Job, Note, Outcome, Possession, Rhythm},
        lease::Lease,
        metrics::Samples,
        reason::Reason,
        resolv_conf::Wanted,
    },
    ec2::imds::Patience,
    event::network::Addresses,
    ports::{Clock as _, Failure},
    resolver::Resolvers,
    store::trampled::Trampled,
    sys::clock::SystemClock,
    telemetry::metrics::Exposition,
};

/// Does the agent's jobs. One thread does them all, so that what is between two awaits happens at once.
pub(super) struct Worker<'a> {
    args: &'a Args,
    notebook: &'a Notebook<'a>,
    resolvers: Resolvers,
    leases: Leases,
    host: RefCell<Rc<Host<'a>>>,
    /// The configuration of the files; tags add to it once they are read.
    config: RefCell<Rc<Config>>,
    /// With what the tags say; without facts where the metadata service has told nothing yet.
    known: RefCell<Option<Rc<Known>>>,
    /// What the metadata service said last.
    looked: RefCell<Option<Facts>>,
    /// Whether the last look failed.
    blind: Cell<bool>,
    /// Whether this agent has tried to publish.
    registered: Cell<bool>,
    ending: Cell<bool>,
    /// Addresses of leases that the metadata service does not list, long after it should.
    given_up: RefCell<BTreeSet<IpAddr>>,
    /// What the resolver was set to say.
    wanted: RefCell<Option<Wanted>>,
    /// What it said when that was done.
    stood: RefCell<String>,
    /// Held while the resolver is set.
    setting: Mutex<()>,
    /// The order of servers that the last pass would have set.
    proposed: RefCell<Vec<IpAddr>>,
    /// Servers in use that did not serve when they were asked last.
    silent: RefCell<BTreeSet<IpAddr>>,
    /// Known servers that were left out when all were ranked last.
    left_out: RefCell<BTreeSet<IpAddr>>,
    /// Whether the resolver was given back, since it is to be left alone.
    given_back: Cell<bool>,
    trampled: RefCell<Trampled>,
    /// How the parts stand.
    report: RefCell<Report>,
    standing: RefCell<Standing>,
    /// Since when another pass is waited for.
    waiting_since: Cell<Option<Instant>>,
    /// When the agent began, in seconds since 1970.
    started: u64,
    /// When all names stood last, in seconds since 1970.
    registered_at: Cell<Option<u64>>,
    /// Whether that was taken back since.
    taken_back: Cell<bool>,
    /// What was counted since then.
    counts: RefCell<Samples>,
    pub(super) exposition: Exposition,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        args: &'a Args,
        settings: Settings,
        notebook: &'a Notebook<'a>,
        addresses: Addresses,
    ) -> Result<Self, Vec<ConfigError>> {
        let config = Config::of(&settings)?;
        let leases = Leases::of(&args.run_dir, addresses);
        // What an agent before us held is held no longer.
        let mut trampled = Trampled::load(&args.run_dir).unwrap_or_default();
        if std::mem::take(&mut trampled.held) {
            let _ = trampled.save(&args.run_dir);
        }
        let host =
            Host::new(settings, notebook, leases.clone(), &args.run_dir, Patience::default())?;
        Ok(Self {
            args,
            notebook,
            resolvers: resolvers(args),
            leases,
            host: RefCell::new(Rc::new(host)),
            config: RefCell::new(Rc::new(config)),
            known: RefCell::default(),
            looked: RefCell::default(),
            blind: Cell::default(),
            registered: Cell::default(),
            ending: Cell::default(),
            given_up: RefCell::default(),
            wanted: RefCell::default(),
            stood: RefCell::default(),
            setting: Mutex::default(),
            proposed: RefCell::default(),
            silent: RefCell::default(),
            left_out: RefCell::default(),
            given_back: Cell::default(),
            trampled: RefCell::new(trampled),
            report: RefCell::default(),
            standing: RefCell::default(),
            waiting_since: Cell::default(),
            started: SystemClock.now(),
            registered_at: Cell::default(),
            taken_back: Cell::default(),
            counts: RefCell::default(),
            exposition: Exposition::below(&args.run_dir),
        })
    }

    /// What the files and the tags say together, and the files alone while the tags are not known.
    pub(super) fn config(&self) -> Config {
        self.known().map_or_else(|| (**self.config.borrow()).clone(), |known| known.config.clone())
    }

    /// How often the configuration says that things are done.
    pub(super) fn rhythm(&self) -> Rhythm {
        let config = self.config();
        Rhythm {
            look: config.look,
            probe: config.resolver.probe,
            refresh: config.discovery.refresh,
            renew: RENEW,
            withdraw_at_end: config.withdraw.contains(&Occasion::Terminate),
        }
    }

    fn host(&self) -> Rc<Host<'a>> {
        self.host.borrow().clone()
    }

    async fn register(&self) -> Performed {
        let host = self.host();
        // Another pass is at work, and will do it; ours follows to see what is left. One that hangs is passed by.
        let turn = turn(&self.args.run_dir, Duration::ZERO);
        if turn.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            let waiting_since = self.waiting_since.get().unwrap_or_else(Instant::now);
            self.waiting_since.set(Some(waiting_since));
            if waiting_since.elapsed() < PASS_LIMIT {
                return Performed::with(Outcome::Failed);
            }
            tracing::warn!("another pass is still at work, and is not waited for any longer");
        }
        self.waiting_since.set(None);
        let deadline = Instant::now() + PASS_LIMIT;
        let known = async {
            let facts = self.facts(&host, deadline).await.map_err(|failure| vec![failure])?;
            host.complete(Some(&facts)).map_err(|errors| refused(&errors))
        };
        let (registered, failures) = match known.await {
            Ok(known) => {
                self.learn(&host, Rc::new(known.clone()));
                let last = self.notebook.ledger().servers;
                let servers = async {
                    match last {
                        Some(last) => Ok(last.servers),
                        None => host.servers(&known, deadline).await,
                    }
                };
                register_all(&host, known.clone(), deadline, servers.boxed_local().shared()).await
            }
            Err(failures) => (Vec::new(), failures),
        };
        {
            let mut report = self.report.borrow_mut();
            report.instance_id = self
                .known()
                .and_then(|known| known.facts.clone())
                .map(|facts| facts.identity.instance_id);
            report.notices = self.known().map(|known| known.notices()).unwrap_or_default();
            (report.registered, report.failures) = (registered, failures);
        }
        let part = Report { resolved: None, ..self.report.borrow().clone() };
        let mut done = part.registered.iter().flat_map(|part| &part.done);
        if done.any(|swap| swap.because != Reason::Kept) {
            tracing::info!("{part}");
        } else {
            tracing::debug!("{part}");
        }
        self.say("register", &part);
        self.registered.set(true);
        let clock = SystemClock;
        let again_in = self.notebook.ledger().refresh_in(clock.now(), clock.jitter());
        let performed = Performed { again_in, ..self.close(&host, part.is_good()) };
        if part.waits_for_others() {
            return Performed { outcome: Outcome::Blocked, ..performed };
        }
        performed
    }

    async fn look(&self) -> Performed {
        let host = self.host();
        let (facts, ending) = host.look().await;
        let mut performed = Performed::with(Outcome::Done);
        if let Ok(ending) = &ending {
            performed.events.extend(self.heed(*ending));
        }
        if let Ok(facts) = &facts {
            let before = self.looked.replace(Some(facts.clone()));
            let was_blind = self.blind.replace(false);
            if was_blind || before.is_some_and(|before| before != *facts) {
                performed.events.push(Event::FactsChanged);
                if self.ending.get() {
                    // No registration reads them any more, and a tag may say that the records stay.
                    let _ = self.known_anew(&host).await;
                }
            }
        }
        if self.ending.get() {
            // Whether the records go with the instance, a tag may say, which another job may just have read.
            if self.known().is_none() {
                let _ = self.known_anew(&host).await;
            }
            performed.rhythm = Some(self.rhythm());
        }
        self.blind.set(facts.is_err());
        let was_failing = self.is_failing(LOOK);
        let failure = facts.err().or(ending.err()).map(|error| in_full(&Failure::of(&error)));
        let is_failing = failure.is_some();
        self.say_conditions(LOOK, failure);
        if is_failing || was_failing {
            performed.status = Some(self.status(&self.report.borrow()));
        }
        if is_failing {
            performed.outcome = Outcome::Failed;
        }
        performed
    }

    /// What is new about the instance's end.
    fn heed(&self, ending: Option<Ending>) -> Option<Event> {
        match (self.ending.replace(ending.is_some()), ending) {
            (false, Some(ending)) => {
                tracing::warn!(?ending, "EC2 announces the end of this instance");
                Some(Event::Ending(ending))
            }
            (true, None) => {
                tracing::info!("the end of this instance is not announced any more");
                Some(Event::EndingRevoked)
            }
            _ => None,
        }
    }

    fn known(&self) -> Option<Rc<Known>> {
        self.known.borrow().clone()
    }

    /// What is known of this host; on one that has just begun, its facts are waited for, but not long: the last good list
    /// needs none.
    async fn known_or_read(&self, host: &Rc<Host<'_>>) -> Option<Rc<Known>> {
        match self.known() {
            Some(known) => Some(known),
            None => self.known_anew(host).await,
        }
    }

    /// What is known of this host by its facts, or by the files alone where they are not to be had soon.
    async fn known_anew(&self, host: &Rc<Host<'_>>) -> Option<Rc<Known>> {
        let facts = host.facts(Instant::now() + FACTS_PATIENCE).await;
        let known = Rc::new(host.complete(facts.as_ref().ok()).ok()?);
        if facts.is_ok() {
            self.learn(host, known.clone());
        }
        Some(known)
    }

    /// Keeps what is known now, unless it was read for a configuration that is not in force any more.
    fn learn(&self, host: &Rc<Host<'_>>, known: Rc<Known>) {
        if std::ptr::eq(Rc::as_ptr(host).cast::<()>(), Rc::as_ptr(&self.host()).cast::<()>()) {
            *self.known.borrow_mut() = Some(known);
        }
    }

    /// What is known, or what the files say where nothing is.
    fn known_or_files(&self) -> Option<Rc<Known>> {
        self.known().or_else(|| self.host().complete(None).ok().map(Rc::new))
    }

    async fn begin(&self, job: Job, possession: Possession) -> Performed {
        match job {
            Job::Reload => self.reload(),
            Job::Guard => self.guard().await,
            Job::Look => self.look().await,
            Job::Register => self.register().await,
            Job::Withdraw => {
                let outcome = self.take_back(Instant::now() + PASS_LIMIT).await;
                self.close(&self.host(), outcome == Outcome::Done)
            }
            Job::Rank => self.set_resolver(Listing::Last, possession).await,
            Job::List => self.set_resolver(Listing::New, possession).await,
            Job::Probe => self.probe().await,
        }
    }
}

#[async_trait(?Send)]
impl Work for Worker<'_> {
    fn hear(&self, event: &Event) {
        if let Event::Lease(Lease { new_address: Some(address), .. }) = event {
            self.given_up.borrow_mut().remove(address);
        }
        // Connections from an address that is gone would be waited for in vain.
        if matches!(event, Event::Network | Event::Lease(_) | Event::ClockStepped) {
            self.host().forget_connections();
        }
    }

    async fn perform(&self, job: Job, possession: Possession) -> Performed {
        let performed = self.begin(job, possession).await;
        self.measure(job, &performed.outcome);
        performed
    }

    fn note(&self, note: Note) -> String {
        let mut trampled = self.trampled.borrow_mut();
        match note {
            Note::Held(span) => {
                trampled.held = true;
                tracing::warn!(
                    difference = ?trampled.difference,
                    "another program keeps changing resolv.conf; it is left alone for {} s",
                    span.as_secs()
                );
            }
            Note::HoldOver => {
                trampled.held = false;
                tracing::info!("nobody changes resolv.conf any more");
            }
        }
        let _ = trampled.save(&self.args.run_dir);
        drop(trampled);
        self.tell();
        self.status(&self.report.borrow())
    }
}

/// A registration, or taking the records back; what is not done by then is tried again.
const PASS_LIMIT: Duration = Duration::from_secs(20);
const FACTS_PATIENCE: Duration = Duration::from_secs(3);
/// Each registration costs calls: ten thousand hosts must stay inside Route 53's five a second.
const RENEW: Duration = Duration::from_secs(6 * 3600);
