//! The agent's jobs: what a pass does, part by part, on a host that stays.

mod leases;
mod resolver;

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

use self::resolver::Listing;
use super::{
    args::Args,
    known::Known,
    once::{register_all, resolvers},
    pass::{leave, turn},
    wiring::{Host, read, refused},
    withdraw::withdraw,
};
use crate::{
    agent::{
        daemon::{Performed, Work},
        notebook::Notebook,
        registration::Registered,
        report::Report,
        resolution::Resolved,
        standing::Standing,
    },
    config::{
        Config, Occasion,
        settings::{ConfigError, Settings},
    },
    core::{
        facts::Facts,
        resolv_conf::Wanted,
        schedule::{Event, Job, Note, Outcome, Rhythm},
    },
    ec2::imds::Patience,
    event::{hook::Hooks, network::Addresses},
    ports::Failure,
    resolver::Resolvers,
    store::trampled::Trampled,
    sys::shutdown::Shutdown,
};

/// Does the agent's jobs. One thread does them all, so that what is between two awaits happens at once.
pub(super) struct Worker<'a> {
    args: &'a Args,
    notebook: &'a Notebook<'a>,
    resolvers: Resolvers,
    hooks: Hooks,
    addresses: Addresses,
    host: RefCell<Rc<Host<'a>>>,
    /// The configuration of the files; tags add to it once they are read.
    config: RefCell<Rc<Config>>,
    known: RefCell<Option<Rc<Known>>>,
    /// What the metadata service said last.
    looked: RefCell<Option<Facts>>,
    /// Whether the last look failed.
    blind: Cell<bool>,
    ending: Cell<bool>,
    /// Addresses of leases that the metadata service does not list, long after it should.
    given_up: RefCell<BTreeSet<IpAddr>>,
    /// What the resolver was set to say.
    wanted: RefCell<Option<Wanted>>,
    /// Held while the resolver is set.
    setting: Mutex<()>,
    /// The order of servers that the last pass would have set.
    proposed: RefCell<Vec<IpAddr>>,
    silent: RefCell<BTreeSet<IpAddr>>,
    trampled: RefCell<Trampled>,
    /// How the parts stand.
    report: RefCell<Report>,
    standing: RefCell<Standing>,
    /// Since when another pass is waited for.
    waiting_since: Cell<Option<Instant>>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        args: &'a Args,
        settings: Settings,
        notebook: &'a Notebook<'a>,
        addresses: Addresses,
    ) -> Result<Self, Vec<ConfigError>> {
        let config = Config::of(&settings)?;
        let host = Host::new(settings, notebook, Patience::default())?;
        Ok(Self {
            args,
            notebook,
            resolvers: resolvers(args),
            hooks: Hooks::in_run_dir(&args.run_dir),
            addresses,
            host: RefCell::new(Rc::new(host)),
            config: RefCell::new(Rc::new(config)),
            known: RefCell::default(),
            looked: RefCell::default(),
            blind: Cell::default(),
            ending: Cell::default(),
            given_up: RefCell::default(),
            wanted: RefCell::default(),
            setting: Mutex::default(),
            proposed: RefCell::default(),
            silent: RefCell::default(),
            trampled: RefCell::default(),
            report: RefCell::default(),
            standing: RefCell::default(),
            waiting_since: Cell::default(),
        })
    }

    /// How often the configuration says that things are done.
    pub(super) fn rhythm(&self) -> Rhythm {
        let config = self.config.borrow();
        Rhythm {
            look: config.look,
            probe: config.resolver.probe,
            refresh: config.discovery.refresh,
            renew: RENEW,
            withdraw_at_end: config.withdraw.contains(&Occasion::Terminate),
        }
    }

    /// Whether the records go with the agent.
    pub(super) fn withdraws_at_stop(&self, shutdown: Option<Shutdown>) -> bool {
        let occasions = &self.config.borrow().withdraw;
        occasions.contains(&Occasion::Stop)
            || (occasions.contains(&Occasion::Poweroff) && shutdown == Some(Shutdown::Poweroff))
    }

    /// Takes the records back, whatever else is under way.
    pub(super) async fn take_back(&self, deadline: Instant) -> Outcome {
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
                *self.known.borrow_mut() = Some(Rc::new(known.clone()));
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
        if part.registered.iter().any(|part| !part.done.is_empty()) {
            tracing::info!("{part}");
        }
        self.say("register", &part);
        self.close(&host, part.is_good())
    }

    async fn look(&self) -> Performed {
        let host = self.host();
        let mut performed = Performed::with(Outcome::Done);
        let (mut facts, ending) = match host.look().await {
            Ok(looked) => looked,
            Err(error) => {
                self.blind.set(true);
                self.say_conditions("look", [Failure::of(&error).to_string()]);
                performed.outcome = Outcome::Failed;
                return performed;
            }
        };
        self.say_conditions("look", []);
        facts.lost = self.lost();
        let before = self.looked.replace(Some(facts.clone()));
        let was_blind = self.blind.replace(false);
        if was_blind || before.is_some_and(|before| before != facts) {
            performed.events.push(Event::FactsChanged);
        }
        match ending {
            Some(ending) if !self.ending.replace(true) => {
                tracing::warn!(?ending, "EC2 announces the end of this instance");
                performed.events.push(Event::Ending(ending));
            }
            None if self.ending.replace(false) => {
                tracing::info!("the end of this instance is not announced any more");
                performed.events.push(Event::EndingRevoked);
            }
            _ => {}
        }
        performed
    }

    fn known(&self) -> Option<Rc<Known>> {
        self.known.borrow().clone()
    }

    /// What is known of this host; on one that has just begun, its facts are waited for, but not long: the last good list
    /// needs none.
    async fn known_or_read(&self, host: &Host<'_>) -> Option<Rc<Known>> {
        if let Some(known) = self.known() {
            return Some(known);
        }
        let facts = host.facts(Instant::now() + FACTS_PATIENCE).await;
        let known = Rc::new(host.complete(facts.as_ref().ok()).ok()?);
        if facts.is_ok() {
            self.known.borrow_mut().get_or_insert_with(|| known.clone());
        }
        Some(known)
    }

    fn reload(&self) -> Performed {
        let checked = read(self.args).and_then(|settings| {
            let config = Config::of(&settings)?;
            Ok((Host::new(settings, self.notebook, Patience::default())?, config))
        });
        match checked {
            Ok((host, config)) => {
                self.say_conditions("reload", []);
                tracing::info!("the configuration was read again");
                *self.host.borrow_mut() = Rc::new(host);
                *self.config.borrow_mut() = Rc::new(config);
                *self.known.borrow_mut() = None;
                Performed::with(Outcome::Reloaded(self.rhythm()))
            }
            Err(errors) => {
                let told = errors
                    .iter()
                    .map(|error| format!("the old configuration stays in force: {error}"));
                self.say_conditions("reload", told);
                Performed::with(Outcome::Done)
            }
        }
    }

    /// The end of a job that changed how things stand.
    fn close(&self, host: &Host<'_>, is_good: bool) -> Performed {
        let mut report = self.report.borrow_mut();
        report.inputs = host.inputs();
        // For `status` alone.
        let _ = leave(&self.args.run_dir, &report);
        let status = Some(self.status(&report));
        let outcome = if is_good { Outcome::Done } else { Outcome::Failed };
        Performed { outcome, events: Vec::new(), status }
    }

    /// `published web-1.corp.internal. · resolvers 10.0.0.2, 10.0.0.3 unchanged (1 of 3 do not serve)`
    fn status(&self, report: &Report) -> String {
        let ledger = self.notebook.ledger();
        let names = ledger
            .published
            .values()
            .flatten()
            .filter(|(name, published)| published.confirmed && !name.is_reverse());
        let names = names.map(|(name, _)| name.to_string()).collect::<Vec<_>>();
        let failure = report
            .failures
            .iter()
            .chain(report.registered.iter().flat_map(|part: &Registered| &part.failures))
            .next();
        let mut parts = Vec::new();
        if !names.is_empty() {
            parts.push(format!("published {}", names.join(", ")));
        }
        let blocked = report.registered.iter().flat_map(|part| &part.blocked);
        parts.extend(blocked.map(|blocked| format!("{} left alone: {}", blocked.name, blocked.by)));
        parts.extend(failure.map(|failure| format!("failing: {failure}")));
        if parts.is_empty() {
            parts.push("nothing published".to_owned());
        }
        let resolved = Report { registered: Vec::new(), failures: Vec::new(), ..report.clone() };
        parts.extend(resolved.resolved.as_ref().map(Resolved::summary));
        parts.join(" · ")
    }

    /// Tells what is new about a part: what begins to go wrong, and what is over.
    fn say(&self, part: &'static str, report: &Report) {
        let blocked = report.registered.iter().flat_map(|part| &part.blocked);
        let blocked = blocked.map(|blocked| {
            format!("{} is left alone: {}; {}", blocked.name, blocked.by, blocked.by.hint())
        });
        let failures = report.failures().map(|failure| {
            let hints = failure.hints.iter().map(|hint| format!("; {hint}"));
            format!("{failure}{}", hints.collect::<String>())
        });
        self.say_conditions(
            part,
            blocked.chain(failures).chain(report.notices()).collect::<Vec<_>>(),
        );
    }

    fn say_conditions(&self, part: &'static str, conditions: impl IntoIterator<Item = String>) {
        let news = self.standing.borrow_mut().now(part, conditions);
        news.begun.iter().for_each(|text| tracing::warn!("{text}"));
        news.over.iter().for_each(|text| tracing::info!("over: {text}"));
    }
}

#[async_trait(?Send)]
impl Work for Worker<'_> {
    fn hear(&self, event: &Event) {
        // Connections from an address that is gone would be waited for in vain.
        if matches!(event, Event::Network | Event::Lease(_) | Event::ClockStepped) {
            self.host().forget_connections();
        }
    }

    async fn perform(&self, job: Job) -> Performed {
        match job {
            Job::Reload => self.reload(),
            Job::Guard => self.guard().await,
            Job::Look => self.look().await,
            Job::Register => self.register().await,
            Job::Withdraw => {
                let outcome = self.take_back(Instant::now() + PASS_LIMIT).await;
                self.close(&self.host(), outcome == Outcome::Done)
            }
            Job::Rank => self.set_resolver(Listing::Last).await,
            Job::List => self.set_resolver(Listing::New).await,
            Job::Probe => self.probe().await,
        }
    }

    fn note(&self, note: Note) {
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
    }
}

/// A registration, or taking the records back; what is not done by then is tried again.
const PASS_LIMIT: Duration = Duration::from_secs(20);
const FACTS_PATIENCE: Duration = Duration::from_secs(3);
/// Each registration costs calls: ten thousand hosts must stay inside Route 53's five a second.
const RENEW: Duration = Duration::from_secs(6 * 3600);
