//! What the program `sandbox` begins with, as `--state` gives it: the account of a [`Snapshot`], and the DNS of its hosts.

use serde::Deserialize;

use crate::{
    dns::{Key, Zone},
    instance::Instance,
    world::{Account, Snapshot},
    zone,
};

/// A state file; `{}` is an empty account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StateFile {
    /// The account.
    pub account: Account,
    /// Its instances.
    pub instances: Vec<Instance>,
    /// Its Route 53 hosted zones.
    pub zones: Vec<zone::Zone>,
    /// What its own DNS servers serve.
    pub dns: Dns,
}

/// What the DNS servers serve, all of them the same.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Who may update and transfer the zones: `{"name": "agents.", "algorithm": "hmac-sha256", "secret": "BASE64"}`.
    pub keys: Vec<Key>,
    /// The zones: `{"name": "corp.internal.", "records": ["web-1 60 A 10.0.1.23"]}`.
    pub zones: Vec<Zone>,
}

impl StateFile {
    /// The account's part, and the DNS servers'.
    #[must_use]
    pub fn split(self) -> (Snapshot, Dns) {
        let Self { account, instances, zones, dns } = self;
        (Snapshot { account, instances, zones }, dns)
    }
}
