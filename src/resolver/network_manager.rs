//! NetworkManager(8), told over D-Bus: its global DNS configuration, which stands above every connection's own.
//!
//! It is the property `GlobalDnsConfiguration` (see \[global-dns\] in NetworkManager.conf(5)), and outlives a reboot; so what
//! was found is kept in the state directory. NetworkManager then renders resolv.conf, and no connection is touched.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use zbus::OwnedVariant;

use super::{
    bus::{Bus, Object},
    direct::{keep, read_kept},
    probe::settings,
};
use crate::{
    core::{
        detect::{DnsMode, Owner, Verdict},
        resolv_conf::{ResolvConf, Wanted},
    },
    ports::{ResolverManager, error::ResolverError},
};

/// The manager of NetworkManager's global DNS configuration.
#[derive(Debug)]
pub struct NetworkManager {
    bus: Arc<Bus>,
    root: PathBuf,
    found: PathBuf,
    verdict: Verdict,
}

/// `GlobalDnsConfiguration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct GlobalDns {
    searches: Vec<String>,
    options: Vec<String>,
    /// By domain; `*` is for every name that no other domain holds.
    domains: BTreeMap<String, Domain>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Domain {
    servers: Vec<String>,
    options: Vec<String>,
}

impl NetworkManager {
    /// The manager of the host whose files are at `root`; what was found before us is kept in `state`.
    #[must_use]
    pub fn new(bus: Arc<Bus>, root: &Path, state: &Path, verdict: Verdict) -> Self {
        let found = state.join("networkmanager.found");
        Self { bus, root: root.to_path_buf(), found, verdict }
    }

    async fn global(&self) -> Result<GlobalDns, ResolverError> {
        let operation = "read the global DNS configuration";
        self.bus.property(&object(), operation, PROPERTY).await.map(GlobalDns::of)
    }

    async fn set(&self, global: &GlobalDns) -> Result<(), ResolverError> {
        let operation = "set the global DNS configuration";
        self.bus.set_property(&object(), operation, PROPERTY, &global.to_variant()).await
    }
}

#[async_trait]
impl ResolverManager for NetworkManager {
    async fn current(&self) -> Result<ResolvConf, ResolverError> {
        let file = settings(&self.root)?;
        if !file.is_local() {
            return Ok(file);
        }
        // A cache that it runs on this host stands in the file, and asks those that it was told.
        let GlobalDns { searches, options, mut domains } = self.global().await?;
        let servers = domains.remove(EVERY_NAME).unwrap_or_default().servers;
        Ok(if servers.is_empty() { file } else { ResolvConf::of(servers, &searches, &options) })
    }

    fn becomes(&self, current: &ResolvConf, wanted: &Wanted) -> ResolvConf {
        current.settings_with(wanted)
    }

    async fn apply(&self, wanted: &Wanted) -> Result<(), ResolverError> {
        let before = self.global().await?;
        // That it cannot be told what was there is said, and is no reason to stay with dead servers.
        let kept = match read_kept(&self.found) {
            Ok(None) => keep(&self.found, &serde_json::to_vec(&before).unwrap_or_default()),
            kept => kept.map(drop),
        };
        let after = self.current().await?.with(wanted);
        let servers = wanted.nameservers.iter().map(ToString::to_string).collect();
        let mut domains = before.domains;
        domains.insert(EVERY_NAME.to_owned(), Domain { servers, options: Vec::new() });
        self.set(&GlobalDns { searches: after.search(), options: after.options(), domains })
            .await?;
        kept
    }

    async fn restore(&self) -> Result<bool, ResolverError> {
        let Some(content) = read_kept(&self.found)? else { return Ok(false) };
        let found = serde_json::from_slice(&content).map_err(|error| ResolverError::File {
            operation: "understand",
            path: self.found.display().to_string(),
            source: error.into(),
        })?;
        self.set(&found).await?;
        let _ = fs::remove_file(&self.found);
        Ok(true)
    }

    fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}

impl GlobalDns {
    fn of(mut value: BTreeMap<String, OwnedVariant>) -> Self {
        let domains = value.remove("domains").and_then(|value| BTreeMap::try_from(value).ok());
        let domains: BTreeMap<String, OwnedVariant> = domains.unwrap_or_default();
        let domain = |(name, value): (String, OwnedVariant)| {
            let mut value = BTreeMap::try_from(value).ok()?;
            let domain = Domain {
                servers: list(&mut value, "servers"),
                options: list(&mut value, "options"),
            };
            Some((name, domain))
        };
        Self {
            searches: list(&mut value, "searches"),
            options: list(&mut value, "options"),
            domains: domains.into_iter().filter_map(domain).collect(),
        }
    }

    fn to_variant(&self) -> OwnedVariant {
        let domains = self.domains.iter().map(|(name, Domain { servers, options })| {
            (name.clone(), dictionary([("servers", servers), ("options", options)]))
        });
        let domains = domains.collect::<BTreeMap<_, _>>();
        let mut all = BTreeMap::new();
        if !domains.is_empty() {
            all.insert("domains".to_owned(), OwnedVariant::from(domains));
        }
        for (key, words) in [("searches", &self.searches), ("options", &self.options)] {
            all.extend(entry(key, words));
        }
        OwnedVariant::from(all)
    }
}

/// What NetworkManager does about DNS.
pub(super) async fn dns_mode(bus: &Bus) -> Option<DnsMode> {
    let object = Object {
        path: "/org/freedesktop/NetworkManager/DnsManager".to_owned(),
        interface: "org.freedesktop.NetworkManager.DnsManager",
        ..object()
    };
    let operation = "read how it sets DNS servers";
    let mode = bus.property(&object, operation, "Mode").await.ok()?;
    let rc_manager = bus.property(&object, operation, "RcManager").await.ok()?;
    Some(DnsMode { mode, rc_manager })
}

/// Its version.
pub(super) async fn version(bus: &Bus) -> Option<String> {
    bus.property(&object(), "read its version", "Version").await.ok()
}

fn object() -> Object {
    Object {
        owner: Owner::NetworkManager,
        service: SERVICE,
        path: "/org/freedesktop/NetworkManager".to_owned(),
        interface: SERVICE,
    }
}

fn list(value: &mut BTreeMap<String, OwnedVariant>, key: &str) -> Vec<String> {
    value.remove(key).and_then(|value| Vec::try_from(value).ok()).unwrap_or_default()
}

fn dictionary<const N: usize>(entries: [(&str, &Vec<String>); N]) -> OwnedVariant {
    let entries = entries.into_iter().filter_map(|(key, words)| entry(key, words));
    OwnedVariant::from(entries.collect::<BTreeMap<_, _>>())
}

fn entry(key: &str, words: &Vec<String>) -> Option<(String, OwnedVariant)> {
    let value = OwnedVariant::try_from(zbus::Variant::from(words)).ok()?;
    (!words.is_empty()).then(|| (key.to_owned(), value))
}

pub(super) const SERVICE: &str = "org.freedesktop.NetworkManager";
const PROPERTY: &str = "GlobalDnsConfiguration";
const EVERY_NAME: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_was_set() {
        let servers = vec!["10.0.0.2".to_owned(), "fd00::2".to_owned()];
        let domains = BTreeMap::from([
            ("*".to_owned(), Domain { servers, options: Vec::new() }),
            ("vpn.corp".to_owned(), Domain { options: vec!["x".to_owned()], ..Domain::default() }),
        ]);
        let global =
            GlobalDns { searches: vec!["corp.internal".to_owned()], options: Vec::new(), domains };
        for global in [global, GlobalDns::default()] {
            let value = BTreeMap::try_from(global.to_variant()).unwrap();
            assert_eq!(GlobalDns::of(value), global);
        }
    }
}
