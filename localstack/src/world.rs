//! The account that all stand-ins share: instances, hosted zones, who may call, and how strict they are.
//!
//! A `World` is a cheap handle. Whatever changes through one handle shows in the next answer of every stand-in.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use crate::{
    bucket::{Bucket, Limit},
    credentials::Credentials,
    fault::{Faults, Service},
    http::Call,
    instance::Instance,
    journal::{Journal, Request, Ticket},
    policy::{Policy, Wish},
    zone::{RecordSet, Zone},
};

/// A handle on the account.
#[derive(Clone, Debug, Default)]
pub struct World {
    state: Arc<Mutex<State>>,
    faults: Faults,
}

/// Who owns everything, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    /// `us-east-1`.
    pub region: String,
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
    /// `amazonaws.com`.
    pub services_domain: String,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            id: "123456789012".into(),
            region: "us-east-1".into(),
            partition: "aws".into(),
            services_domain: "amazonaws.com".into(),
        }
    }
}

/// What a state file holds and `GET /state` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshot {
    /// The account.
    pub account: Account,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// Its hosted zones.
    pub zones: Vec<Zone>,
}

impl World {
    /// An empty account in us-east-1.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty account of another id, Region, partition or services domain.
    #[must_use]
    pub fn of(account: Account) -> Self {
        let world = Self::default();
        world.state().account = account;
        world
    }

    /// The account itself.
    #[must_use]
    pub fn account(&self) -> Account {
        self.state().account.clone()
    }

    /// Adds the instance, or replaces the one with its id.
    pub fn put_instance(&self, instance: Instance) {
        self.state().instances.insert(instance.id.clone(), instance);
    }

    /// Changes an instance in place; false when there is none with this id.
    pub fn update_instance(&self, id: &str, change: impl FnOnce(&mut Instance)) -> bool {
        self.state().instances.get_mut(id).map(change).is_some()
    }

    /// Takes the instance away, and gives it.
    #[allow(clippy::must_use_candidate, reason = "taking it away is what most callers want")]
    pub fn remove_instance(&self, id: &str) -> Option<Instance> {
        self.state().instances.remove(id)
    }

    /// The instance as it is now.
    #[must_use]
    pub fn instance(&self, id: &str) -> Option<Instance> {
        self.state().instances.get(id).cloned()
    }

    /// Adds the zone, or replaces the one with its id; SOA and NS are added when they are missing.
    pub fn put_zone(&self, mut zone: Zone) {
        zone.complete();
        self.state().zones.insert(zone.id.clone(), zone);
    }

    /// The zone as it is now.
    #[must_use]
    pub fn zone(&self, id: &str) -> Option<Zone> {
        self.state().zones.get(id).cloned()
    }

    /// The zone's record sets in Route 53's order, SOA and NS of the apex included; empty without such a zone.
    #[must_use]
    pub fn records(&self, zone_id: &str) -> Vec<RecordSet> {
        self.zone(zone_id).map(|zone| zone.records.into()).unwrap_or_default()
    }

    /// Every set of `name` and `kind` in the zone: one, or all members of a group.
    #[must_use]
    pub fn find_records(&self, zone_id: &str, name: &str, kind: &str) -> Vec<RecordSet> {
        let state = self.state();
        let Some(zone) = state.zones.get(zone_id) else { return Vec::new() };
        zone.records.of_name(name).filter(|record| record.kind == kind).cloned().collect()
    }

    /// The fault switches.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The requests that `service` has taken since the last [`World::clear_requests`], oldest first.
    #[must_use]
    pub fn requests(&self, service: Service) -> Vec<Request> {
        self.state().journal.of(service)
    }

    /// Forgets the requests of all services.
    pub fn clear_requests(&self) {
        self.state().journal.clear();
    }

    /// Whether the APIs enforce AWS's request limits. They do unless told otherwise; every call starts full buckets.
    pub fn set_throttling(&self, is_on: bool) {
        let mut state = self.state();
        state.is_unthrottled = !is_on;
        state.buckets.clear();
    }

    /// Lets a long-lived access key call the APIs; `test` may from the start.
    pub fn allow_access_key(&self, id: &str) {
        self.state().credentials.allow(id);
    }

    /// How long the role credentials that IMDS hands out from now on are valid; six hours unless set.
    pub fn set_credential_lifetime(&self, lifetime: Duration) {
        self.state().credentials.lifetime = lifetime;
    }

    /// The IAM actions that nobody may do, for example `route53:ChangeResourceRecordSets`, `ec2:*`; replaces the last set.
    pub fn set_denied_actions<I: IntoIterator<Item: Into<String>>>(&self, actions: I) {
        self.state().denied = actions.into_iter().map(Into::into).collect();
    }

    /// The policy of the role that every caller has, in IAM's JSON; without one everything is allowed.
    ///
    /// # Errors
    /// It is no policy, or one that is not understood in full.
    pub fn set_policy(&self, json: &str) -> Result<(), serde_json::Error> {
        self.state().policy = Some(serde_json::from_str(json)?);
        Ok(())
    }

    /// Keeps a parameter of Parameter Store, of type `SecureString`, under its name.
    pub fn put_parameter(&self, name: &str, value: &str) {
        let key = (Service::Ssm, name.trim_start_matches('/').to_owned());
        self.state().vault.insert(key, value.to_owned());
    }

    /// Keeps a secret of Secrets Manager under its name.
    pub fn put_secret(&self, name: &str, text: &str) {
        self.state().vault.insert((Service::SecretsManager, name.to_owned()), text.to_owned());
    }

    /// Everything that nobody may tell: the texts of parameters and secrets, and of the role's credentials what is not their name.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let state = self.state();
        state.vault.values().cloned().chain(state.credentials.secrets()).collect()
    }

    /// Makes IMDS refuse every token that it has given out.
    pub fn expire_tokens(&self) {
        self.state().tokens.clear();
    }

    /// `HttpPutResponseHopLimit`: the IP TTL of the packets that carry a token; 1 unless set.
    pub fn set_hop_limit(&self, hops: u8) {
        self.state().hop_limit = hops;
    }

    /// How long a Route 53 change is PENDING; 200 ms unless set.
    pub fn set_propagation(&self, delay: Duration) {
        self.state().changes.propagation = delay;
    }

    /// How long after a change the zone answers further ones with `PriorRequestNotComplete`; not at all unless set.
    pub fn set_change_window(&self, window: Duration) {
        self.state().changes.window = window;
    }

    /// The next `count` changes, of whatever zone, are answered with `PriorRequestNotComplete`.
    pub fn refuse_next_changes(&self, count: u32) {
        self.state().changes.refused = count;
    }

    /// Account, instances and zones as they are now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        Snapshot {
            account: state.account.clone(),
            instances: state.instances.values().cloned().collect(),
            zones: state.zones.values().cloned().collect(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Snapshot> for World {
    fn from(snapshot: Snapshot) -> Self {
        let world = Self::of(snapshot.account);
        snapshot.instances.into_iter().for_each(|instance| world.put_instance(instance));
        snapshot.zones.into_iter().for_each(|zone| world.put_zone(zone));
        world
    }
}

// ---------------------------------------------------------------------------------------------------------------------

/// Everything behind the handle.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) account: Account,
    pub(crate) instances: BTreeMap<String, Instance>,
    pub(crate) zones: BTreeMap<String, Zone>,
    pub(crate) credentials: Credentials,
    pub(crate) changes: Changes,
    /// IMDS tokens.
    pub(crate) tokens: HashMap<String, Token>,
    pub(crate) hop_limit: u8,
    denied: BTreeSet<String>,
    policy: Option<Policy>,
    /// Parameters and secrets, by who keeps them and by name.
    pub(crate) vault: BTreeMap<(Service, String), String>,
    is_unthrottled: bool,
    buckets: HashMap<String, Bucket>,
    journal: Journal,
    serial: u64,
}

/// An IMDS session token: good for one instance and a while.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) instance: String,
    pub(crate) until: Instant,
}

/// The changes that Route 53 has taken.
#[derive(Debug)]
pub(crate) struct Changes {
    pub(crate) submitted: BTreeMap<String, Submitted>,
    pub(crate) busy: HashMap<String, Instant>,
    pub(crate) propagation: Duration,
    pub(crate) window: Duration,
    pub(crate) refused: u32,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct Submitted {
    pub(crate) at: SystemTime,
    pub(crate) insync: Instant,
    pub(crate) comment: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            account: Account::default(),
            instances: BTreeMap::new(),
            zones: BTreeMap::new(),
            credentials: Credentials::default(),
            changes: Changes {
                submitted: BTreeMap::new(),
                busy: HashMap::new(),
                propagation: Duration::from_millis(200),
                window: Duration::ZERO,
                refused: 0,
            },
            tokens: HashMap::new(),
            hop_limit: 1,
            denied: BTreeSet::new(),
            policy: None,
            vault: BTreeMap::new(),
            is_unthrottled: false,
            buckets: HashMap::new(),
            journal: Journal::default(),
            serial: 0,
        }
    }
}

impl State {
    /// Whether a request fits into the bucket `name`.
    pub(crate) fn admits(&mut self, name: &str, limit: Limit) -> bool {
        if self.is_unthrottled {
            return true;
        }
        let now = Instant::now();
        self.buckets
            .entry(name.to_owned())
            .or_insert_with(|| Bucket::full(limit, now))
            .take(limit, now)
    }

    /// Whether the caller may not do it.
    pub(crate) fn denies(&self, wish: &Wish) -> bool {
        self.denied.iter().any(|pattern| crate::pattern::matches(pattern, &wish.action))
            || self.policy.as_ref().is_some_and(|policy| !policy.allows(wish))
    }

    /// A number that no other thing of this world has.
    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// In the form of AWS's request ids.
    pub(crate) fn request_id(&mut self) -> String {
        format!("00000000-0000-4000-8000-{:012x}", self.next_serial())
    }

    pub(crate) fn note(&mut self, service: Service, call: &Call, target: String) -> Ticket {
        let session = self.credentials.session(&call.headers).map(str::to_owned);
        self.journal.note(service, call.method.as_str(), target, session)
    }

    pub(crate) fn settle(&mut self, ticket: Ticket, status: u16) {
        self.journal.settle(ticket, status);
    }
}
