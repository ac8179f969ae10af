//! Where records are published. To add a backend:
//!
//! 1. write `backend/NAME.rs` with a type that implements [`Backend`]: `observe` reads from the authority, `apply` is one
//!    compare and swap; lower every [`Guard`](crate::core::plan::Guard), and say in a table what each becomes;
//! 2. add its variant to `config::BackendConfig`, its keys to `config/table.rs`, and an arm to [`open`];
//! 3. add one line to the subjects of `tests/it/conformance.rs`, and make the suite pass.

pub mod memory;
pub mod rfc2136;
pub mod route53;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use aws_config::SdkConfig;

use self::{
    rfc2136::{Keys, Rfc2136},
    route53::Route53,
};
use crate::{
    config::{BackendConfig, Marker},
    core::name::Name,
    ports::{Backend, KeySource, error::KeyError},
};

/// What backends share.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// How AWS is called.
    pub aws: &'a SdkConfig,
    /// Which AWS.
    pub partition: &'a str,
    /// This host's instance id.
    pub member: &'a str,
    /// This host's VPC: `(region, id)`.
    pub vpc: Option<(&'a str, &'a str)>,
    /// The fleet's DNS servers, for a backend that uses those.
    pub discovered: Vec<SocketAddr>,
    /// The zones that this backend found in Route 53 before, by id.
    pub zone_ids: BTreeMap<String, Name>,
}

/// A backend, and what it learnt that is worth remembering.
#[derive(Clone)]
pub enum Opened {
    /// Dynamic updates.
    Rfc2136(Arc<Rfc2136>),
    /// Route 53.
    Route53(Arc<Route53>),
}

impl Opened {
    /// The backend as the journeys know it.
    #[must_use]
    pub fn port(&self) -> &dyn Backend {
        match self {
            Self::Rfc2136(backend) => backend.as_ref(),
            Self::Route53(backend) => backend.as_ref(),
        }
    }

    /// Saves what calls it can, for one who publishes, and shows nobody the names of zones.
    pub fn presume(&self) {
        if let Self::Route53(backend) = self {
            backend.presume();
        }
    }

    /// Where changes of a zone go, for people.
    #[must_use]
    pub fn place_of(&self, zone: &Name) -> String {
        match self {
            Self::Route53(backend) => backend.place_of(zone),
            Self::Rfc2136(_) => self.port().place(),
        }
    }

    /// Zone ids to remember.
    #[must_use]
    pub fn zone_ids(&self) -> BTreeMap<String, Name> {
        match self {
            Self::Rfc2136(_) => BTreeMap::new(),
            Self::Route53(backend) => backend.zone_ids(),
        }
    }
}

/// Opens the backend `name`, whose keys are kept at `source`.
///
/// # Errors
/// Its keys cannot be had.
pub async fn open(
    name: &str,
    config: &BackendConfig,
    source: Option<Arc<dyn KeySource>>,
    around: Surroundings<'_>,
) -> Result<Opened, KeyError> {
    match config {
        BackendConfig::Rfc2136 { servers, zone_keys, keytab, keeping, marker, .. } => {
            let servers = servers.clone().unwrap_or(around.discovered);
            let keys = match source {
                Some(source) => Keys::read(source, zone_keys.clone()).await?,
                None => Keys::none(),
            };
            let mut backend = Rfc2136::new(name, servers, keys).keeping(*keeping);
            if let Some(keytab) = keytab {
                backend = backend.signing_by(keytab.clone());
            }
            Ok(Opened::Rfc2136(Arc::new(match marker {
                Marker::Txt => backend,
                Marker::Dhcid => backend.marking_by_dhcid(around.member),
            })))
        }
        BackendConfig::Route53 { zone_id, endpoint, sharing } => {
            let settings = route53::Settings {
                zone_id: zone_id.clone(),
                endpoint: endpoint.clone(),
                partition: around.partition,
                vpc: around.vpc,
                member: around.member,
                sharing: *sharing,
                known: around.zone_ids,
            };
            Ok(Opened::Route53(Arc::new(Route53::new(around.aws, settings))))
        }
    }
}
