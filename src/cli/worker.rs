//! The agent's jobs: what a pass does, part by part, on a host that stays.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{FutureExt as _, future::join_all};
use tokio::time::{Instant, sleep};

use super::{
    args::Args,
    known::Known,
    once::{Places, register_all, resolve},
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
        resolution::{Action, Mode, Resolved},
        standing::Standing,
    },
    config::{
        Config, Manager, Occasion,
        settings::{ConfigError, Settings},
    },
    core::{
        facts::Facts,
        resolv_conf::{ResolvConf, Wanted},
        schedule::{Event, Job, Note, Outcome, Rhythm},
        servers::{Health, NameServer},
    },
    ec2::{facts::mac_of, imds::Patience},
    event::{hook::Hooks, network::Addresses},
    ports::{Clock as _, Failure, Prober as _},
    resolver::{self, health::SoaProber},
    store::trampled::{Trampled, difference},
    sys::{clock::SystemClock, shutdown::Shutdown},
};

/// Does the agent's jobs. One thread does them all, so that what is between two awaits happens at once.
pub(super) struct Worker<'a> {
    args: &'a Args,
    notebook: &'a Notebook<'a>,
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
    silent: RefCell<BTreeSet<IpAddr>>,
    trampled: RefCell<Trampled>,
    /// How the parts stand.
    report: RefCell<Report>,
    standing: RefCell<Standing>,
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
            silent: RefCell::default(),
            trampled: RefCell::default(),
            report: RefCell::default(),
            standing: RefCell::default(),
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
        let report = withdraw(&self.host(), deadline).await;
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
        // Another pass is at work, and will do it; ours follows to see what is left.
        let Ok(_turn) = turn(&self.args.run_dir, Duration::ZERO) else {
            return Performed::with(Outcome::Failed);
        };
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

    /// The facts, with what the hooks reported: an address that a lease gave is waited for, since the metadata may lag behind.
    async fn facts(&self, host: &Host<'_>, deadline: Instant) -> Result<Facts, Failure> {
        let patience = Instant::now() + LAG;
        loop {
            let mut facts = host.facts(deadline).await?;
            facts.lost = self.lost();
            let Some(awaited) = self.awaited(&facts) else { return Ok(facts) };
            if Instant::now() >= patience {
                tracing::warn!(
                    "the metadata do not list {awaited}, which a lease gave {} s ago",
                    LAG.as_secs()
                );
                self.given_up.borrow_mut().insert(awaited);
                return Ok(facts);
            }
            sleep(LAG_PAUSE).await;
        }
    }

    /// Addresses that leases have lost, and that no interface has.
    fn lost(&self) -> BTreeSet<IpAddr> {
        let lost = self.hooks.leases().into_iter().filter_map(|lease| lease.lost());
        lost.filter(|address| self.addresses.has(*address) != Some(true)).collect()
    }

    /// An address that a lease gave to one of EC2's interfaces, and that the facts do not have.
    fn awaited(&self, facts: &Facts) -> Option<IpAddr> {
        let is_ec2s = |interface: &str| {
            mac_of(interface).is_some_and(|mac| facts.interfaces.iter().any(|one| one.mac == mac))
        };
        let is_listed = |address: IpAddr| {
            facts.interfaces.iter().any(|one| match address {
                IpAddr::V4(ipv4) => one.local_ipv4s.contains(&ipv4),
                IpAddr::V6(ipv6) => one.ipv6s.contains(&ipv6),
            })
        };
        let leases = self.hooks.leases().into_iter().filter(|lease| is_ec2s(&lease.interface));
        let held = leases.filter_map(|lease| lease.held());
        held.filter(|address| self.addresses.has(*address) != Some(false))
            .find(|address| !is_listed(*address) && !self.given_up.borrow().contains(address))
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

    async fn set_resolver(&self, listing: Listing) -> Performed {
        let host = self.host();
        let Some(known) = self.known_or_read(&host).await else {
            return Performed::with(Outcome::Failed);
        };
        let manager = known.config.resolver.manager;
        let needs_list = known.config.backends.keys().any(|name| known.needs_discovery(name));
        if manager == Manager::None && !needs_list {
            return Performed::with(Outcome::Done);
        }
        let last = self.notebook.ledger().servers;
        let listed = match (listing, last) {
            (Listing::New, _) => host.servers(&known, Instant::now() + LIST_LIMIT).await,
            (Listing::Last, Some(last)) => Ok(last.servers),
            (Listing::Last, None) => return Performed::with(Outcome::Done),
        };
        let is_listed = listed.is_ok();
        let places = Places::of(self.args);
        let resolved = resolve(&host, &known, &places, listed, Mode::Apply).await;
        if resolved.wanted.is_some() {
            self.wanted.borrow_mut().clone_from(&resolved.wanted);
        }
        if matches!(resolved.action, Action::Written { .. }) {
            self.silent.borrow_mut().clear();
            tracing::info!(
                owner = resolved.owner,
                "{}",
                Report { resolved: Some(resolved.clone()), ..Report::default() }
            );
        }
        let is_good = resolved.failures.is_empty() && (is_listed || listing == Listing::Last);
        self.report.borrow_mut().resolved = Some(resolved.clone());
        self.say("resolve", &Report { resolved: Some(resolved), ..Report::default() });
        self.close(&host, is_good)
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

    /// Puts the file back if another program changed it.
    fn guard(&self) -> Performed {
        let Some(wanted) = self.wanted.borrow().clone() else {
            return Performed::with(Outcome::Done);
        };
        let manager = match self.manager() {
            Ok(Some(manager)) => manager,
            Ok(None) => return Performed::with(Outcome::Done),
            Err(failure) => {
                // Somebody else owns the resolver now: that is no overwriting, and not ours to undo.
                self.say_conditions("guard", [failure.to_string()]);
                return Performed::with(Outcome::Done);
            }
        };
        let current = match manager.current() {
            Ok(current) => current.unwrap_or_default(),
            Err(error) => {
                self.say_conditions("guard", [Failure::of(&error).to_string()]);
                return Performed::with(Outcome::Failed);
            }
        };
        if current.says(&wanted) {
            self.say_conditions("guard", []);
            return Performed::with(Outcome::Done);
        }
        self.note_trampling(&current, &wanted);
        if let Err(error) = manager.apply(&wanted) {
            self.say_conditions("guard", [Failure::of(&error).to_string()]);
            return Performed::with(Outcome::Failed);
        }
        Performed::with(Outcome::Trampled)
    }

    fn note_trampling(&self, theirs: &ResolvConf, wanted: &Wanted) {
        let ours = theirs.with(wanted).to_string();
        let mut trampled = self.trampled.borrow_mut();
        trampled.at = SystemClock.now();
        trampled.times += 1;
        trampled.difference = difference(&ours, &theirs.to_string());
        tracing::info!(difference = ?trampled.difference, "another program changed resolv.conf; it is put back");
        // It is there to be looked at, and nothing depends on it.
        let _ = trampled.save(&self.args.run_dir);
    }

    fn manager(&self) -> Result<Option<Box<dyn crate::ports::ResolverManager>>, Failure> {
        let manager = self
            .known()
            .map_or(self.config.borrow().resolver.manager, |known| known.config.resolver.manager);
        resolver::open(manager, &self.args.root, &self.args.state_dir)
            .map_err(|error| Failure::of(&error))
    }

    /// Whether the servers in use serve. Only a change is an event: what stays silent is ranked again by its own timer.
    async fn probe(&self) -> Performed {
        let mut performed = Performed::with(Outcome::Done);
        let Some(known) = self.known() else { return performed };
        let Ok(Some(manager)) = self.manager() else { return performed };
        let Ok(Some(current)) = manager.current() else { return performed };
        let prober = SoaProber::new(known.probe_zone());
        let answers = current.nameservers().into_iter().map(|address| {
            let (prober, port) = (&prober, known.config.discovery.port);
            async move {
                let health = prober.probe(&NameServer::at(SocketAddr::new(address, port))).await;
                (address, matches!(health, Health::Alive(_)))
            }
        });
        let answers = join_all(answers).await;
        let silent = answers.into_iter().filter(|(_, serves)| !serves).map(|(address, _)| address);
        let silent = silent.collect::<BTreeSet<_>>();
        let before = self.silent.replace(silent.clone());
        if silent.difference(&before).next().is_some() {
            performed.events.push(Event::ServerSilent);
        }
        performed
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
            Job::Guard => self.guard(),
            Job::Look => self.look().await,
            Job::Register => self.register().await,
            Job::Withdraw => Performed::with(self.take_back(Instant::now() + PASS_LIMIT).await),
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

/// Which list of servers is ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// The one that is known.
    Last,
    /// One that is read now.
    New,
}

/// A registration, or taking the records back; what is not done by then is tried again.
const PASS_LIMIT: Duration = Duration::from_secs(20);
const LIST_LIMIT: Duration = Duration::from_secs(10);
const FACTS_PATIENCE: Duration = Duration::from_secs(3);
/// By when the metadata list what the link has.
const LAG: Duration = Duration::from_secs(10);
const LAG_PAUSE: Duration = Duration::from_millis(200);
/// Each registration costs calls: ten thousand hosts must stay inside Route 53's five a second.
const RENEW: Duration = Duration::from_secs(6 * 3600);
