//! What can be made to go wrong with a stand-in while it runs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A stand-in that faults are switched on for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// The instance metadata service.
    Imds,
    /// The EC2 query API.
    Ec2,
    /// The STS query API.
    Sts,
    /// The Route 53 REST API.
    Route53,
    /// Systems Manager's Parameter Store.
    Ssm,
    /// Secrets Manager.
    SecretsManager,
    /// The authoritative DNS servers (all of them; each server also has a switch of its own).
    Dns,
}

/// How a stand-in misbehaves. The default is not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    /// Wait this many milliseconds before each answer.
    pub delay_ms: u64,
    /// Take the request and never answer it.
    pub drop: bool,
    /// Answer with this HTTP status (4xx or 5xx), or for DNS with SERVFAIL, in place of the real answer.
    pub fail: Option<u16>,
    /// Answer as the service does when its rate limit is exceeded.
    pub throttle: bool,
    /// Answer with bytes that the protocol does not allow.
    pub malformed: bool,
    /// The fault ends by itself after this many requests; `None` is until it is cleared.
    pub requests: Option<u32>,
    /// Reaches these requests only, and counts no others: IMDS paths that begin so behind the version
    /// (`meta-data/tags/`), calls of this action of EC2, STS or Route 53 (`DescribeInstances`), in one Region where one is
    /// named (`DescribeInstances@eu-west-1`; Route 53 has none), DNS messages of this opcode (`UPDATE`, `QUERY`).
    pub only: Option<String>,
    /// Lets this many requests through first.
    pub skip: u32,
}

impl Fault {
    /// The wait before each answer.
    #[must_use]
    pub fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// Whether it is about the request of this name; see [`only`](Self::only).
    fn concerns(&self, service: Service, name: &str) -> bool {
        match (&self.only, service) {
            (None, _) => true,
            (Some(only), Service::Imds) => name.starts_with(only.as_str()),
            (Some(only), _) if only.contains('@') => name == only,
            (Some(only), _) => name.split('@').next() == Some(only),
        }
    }
}

/// The switches of every service: shared, changed while the services run.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<BTreeMap<Service, Fault>>>);

impl Faults {
    /// Makes `service` misbehave as `fault` says from its next request on.
    pub fn set(&self, service: Service, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(service, fault);
    }

    /// Every service behaves again.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The fault that the request at hand meets; counts it against `skip` and `requests`. `name` is what `only` is held
    /// against: a path of IMDS behind the version, or the action of an API with its Region.
    #[must_use]
    pub fn meet(&self, service: Service, name: &str) -> Fault {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = faults.get_mut(&service).filter(|fault| fault.concerns(service, name));
        let Some(fault) = fault else { return Fault::default() };
        if fault.skip > 0 {
            fault.skip -= 1;
            return Fault::default();
        }
        let met = fault.clone();
        if let Some(left) = &mut fault.requests {
            *left = left.saturating_sub(1);
            if *left == 0 {
                faults.remove(&service);
            }
        }
        met
    }
}
