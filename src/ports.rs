//! The outside world on one page: what a pass needs of it, and what can go wrong there.
//!
//! Errors are situations. Each has a [`Disposition`], which is all that the journeys look at, a text for people, and hints.

pub mod error;
pub mod topic;

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt, io,
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::mpsc::Sender;
use zeroize::Zeroizing;

use self::{
    error::{BackendError, DirectoryError, FactError, KeyError, ResolverError, StoreError},
    topic::Topic,
};
use crate::core::{
    affinity::Subnet,
    detect::Verdict,
    event::Event,
    facts::Facts,
    ledger::Ledger,
    name::Name,
    ownership::{Life, OwnerId},
    plan::{Observed, ZoneChange},
    refresh::Keeping,
    resolv_conf::{ResolvConf, Wanted},
    rrset::Records,
    servers::{Health, NameServer},
};

/// What to do next about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Try the same again, not before this time has passed.
    Retry {
        /// The least wait.
        after: Duration,
    },
    /// Whoever answers is asked too much: try again, not before this time has passed, and ask less often from now on.
    Ease {
        /// The least wait.
        after: Duration,
    },
    /// What was read is out of date: observe and plan again.
    Replan,
    /// Trying again changes nothing; somebody has to do something.
    Hold,
}

/// An error of this page.
pub trait Situation: Error {
    /// What to do next.
    fn disposition(&self) -> Disposition;
    /// Where the manual says more.
    fn topic(&self) -> Topic;
    /// What the operator can do about it.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Says who this host is.
#[async_trait]
pub trait FactSource: Send + Sync {
    /// Reads all facts anew.
    async fn read(&self) -> Result<Facts, FactError>;
}

/// Says which DNS servers the fleet has.
#[async_trait]
pub trait ServerDirectory: Send + Sync {
    /// The listed servers, Region by Region. An empty list is an answer, and never a reason to forget the last one.
    ///
    /// # Errors
    /// No Region tells; where some do, those that do not are in the listing.
    async fn list(&self) -> Result<Listing, DirectoryError>;
}

/// What a directory of DNS servers tells.
#[derive(Debug, Default)]
pub struct Listing {
    /// Each Region, and its servers, or why it does not tell.
    pub regions: Vec<(String, Result<Vec<NameServer>, DirectoryError>)>,
}

/// Gives TSIG keys as text, the way `tsig-keygen` writes them.
#[async_trait]
pub trait KeySource: fmt::Debug + Send + Sync {
    /// The text; what was read before will do.
    ///
    /// # Errors
    /// It cannot be had.
    async fn read(&self) -> Result<Zeroizing<String>, KeyError>;

    /// The text as it is now.
    ///
    /// # Errors
    /// It cannot be had.
    async fn read_anew(&self) -> Result<Zeroizing<String>, KeyError>;

    /// Where it is kept: `key file /etc/tagalong/tsig.key`.
    fn place(&self) -> String;
}

/// Says what has become of instances.
#[async_trait]
pub trait InstanceDirectory: Send + Sync {
    /// What EC2 says of each, looked up now; those that it cannot know are left out: of another account, or not listed where
    /// nothing says that they ever were in this one.
    async fn lives(
        &self,
        owners: &BTreeSet<OwnerId>,
    ) -> Result<BTreeMap<OwnerId, Life>, DirectoryError>;
}

/// Says which subnets this host's VPC has.
#[async_trait]
pub trait SubnetDirectory: Send + Sync {
    /// All blocks of all subnets, in a stable order.
    async fn list(&self) -> Result<Vec<Subnet>, DirectoryError>;
}

/// How much a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Over UDP.
    Quick,
    /// Over UDP and TCP.
    Thorough,
}

/// Asks a DNS server whether it serves.
#[async_trait]
pub trait Prober: Send + Sync {
    /// Probes one server; bounded in time.
    async fn probe(&self, server: &NameServer, depth: Depth) -> Health;

    /// The zone that each is asked for.
    fn zone(&self) -> &Name;
}

/// A place where records are published.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Reads the zones and the records of `names` from their authority, never from a cache.
    async fn observe(&self, names: &[Name]) -> Result<Observed, BackendError>;
    /// Carries a change out, whole or not at all, if everything is still as it was read. Gives the lease that the server
    /// grants to what was added (RFC 9664), where it grants one.
    async fn apply(&self, change: &ZoneChange) -> Result<Option<Duration>, BackendError>;
    /// What is kept about what it publishes.
    fn keeping(&self) -> Keeping {
        Keeping::default()
    }
    /// Reads everything in a zone from its authority.
    async fn read(&self, zone: &Name) -> Result<Records, BackendError>;
    /// Where changes go, for people: `10.0.0.2 (TSIG agent-key.)`.
    fn place(&self) -> String;
}

/// Whatever owns the host's resolver; all of them speak in the words of resolv.conf(5).
#[async_trait]
pub trait ResolverManager: Send + Sync {
    /// What the resolver uses now; empty when nothing is configured.
    async fn current(&self) -> Result<ResolvConf, ResolverError>;
    /// What `current` is once `wanted` is applied: the same when nothing is to be done.
    fn becomes(&self, current: &ResolvConf, wanted: &Wanted) -> ResolvConf;
    /// Makes it use what is wanted. What is there before is kept for [`restore`](Self::restore), unless something is kept.
    async fn apply(&self, wanted: &Wanted) -> Result<(), ResolverError>;
    /// What is set stays, and whoever changed it before us may do so again: the end of an agent that may come back.
    async fn release(&self) -> Result<(), ResolverError> {
        Ok(())
    }
    /// Gives back what was found before the first [`apply`](Self::apply); `false` when nothing was ever taken.
    async fn restore(&self) -> Result<bool, ResolverError>;
    /// Who it is, and how that was found out.
    fn verdict(&self) -> &Verdict;
}

/// The agent's memory between passes.
pub trait Store: Send + Sync {
    /// The ledger as it was saved last; an empty one when there is none, or when it is broken.
    fn load(&self) -> Result<Ledger, StoreError>;
    /// Applies `change` to the ledger as it was saved last, by whatever process, and saves that if `change` says so, so
    /// that it survives a crash from here on. Gives the changed ledger. `change` may be called again on a newer one.
    fn update(&self, change: &dyn Fn(&mut Ledger) -> bool) -> Result<Ledger, StoreError>;
}

/// The wall clock, in seconds since 1970.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> u64;
    /// A number from 0 to 1 that no two hosts share: what spreads retries.
    fn jitter(&self) -> f64;
}

/// Something that wakes the agent.
#[async_trait]
pub trait EventSource: Send + Sync {
    /// What it watches, for people.
    fn subject(&self) -> String;
    /// Sends events until it is cancelled; it returns when nobody listens any more, or when it cannot go on.
    async fn run(&self, events: &Sender<Event>) -> io::Error;
    /// What may have happened while it did not run.
    fn missed(&self) -> Vec<Event>;
}

/// Whoever started the agent and watches over it (`sd_notify(3)`).
pub trait Supervisor: Send + Sync {
    /// The agent is at work.
    fn ready(&self);
    /// What it has to say of itself, in one line.
    fn status(&self, status: &str);
    /// It is alive.
    fn alive(&self);
    /// It is about to end.
    fn stopping(&self);
    /// How long it may be silent before it is taken for dead; `None` if nobody counts.
    fn patience(&self) -> Option<Duration>;
}

/// A failure as it is reported: the error's text, those of its causes, and hints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The error first, then its causes.
    pub texts: Vec<String>,
    /// What the operator can do.
    pub hints: Vec<String>,
    /// Whether somebody was asked too much ([`Disposition::Ease`]).
    pub is_throttled: bool,
    /// Where the manual says more.
    pub topic: Topic,
}

impl Failure {
    /// The failure that `error` is.
    #[must_use]
    pub fn of(error: &(impl Situation + 'static)) -> Self {
        let is_throttled = matches!(error.disposition(), Disposition::Ease { .. });
        Self { texts: chain(error), hints: error.hints(), is_throttled, topic: error.topic() }
    }

    /// A failure that is told in one sentence.
    #[must_use]
    pub fn told(text: impl fmt::Display, hint: Option<&str>, topic: Topic) -> Self {
        let hints = hint.map(str::to_owned).into_iter().collect();
        Self { texts: vec![text.to_string()], hints, is_throttled: false, topic }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts.join(": "))
    }
}

/// What a service said of a call that it refused, by its own code and message; the error's texts where it said nothing.
#[must_use]
pub fn said(
    code: Option<&str>,
    message: Option<&str>,
    error: &(dyn Error + 'static),
) -> Box<dyn Error + Send + Sync> {
    match (code, message) {
        (Some(code), Some(message)) => format!("{code}: {message}").into(),
        _ => chain(error).join(": ").into(),
    }
}

/// The texts of an error and its causes; a cause that only repeats is left out.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if texts.last().is_none_or(|last| !last.ends_with(&text)) {
            texts.push(text);
        }
        source = cause.source();
    }
    texts
}
