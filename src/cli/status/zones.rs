//! Which servers of the zones serve what was published, by their serial numbers.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::{
    backend::rfc2136::{Keys, Rfc2136, ZoneCopy},
    cli::known::Known,
    config::BackendConfig,
    core::{ledger::Ledger, name::Name},
    ports::Backend as _,
};

/// A zone that has names of ours.
#[derive(Serialize)]
pub(super) struct Published {
    zone: String,
    backend: String,
    servers: Vec<Copy>,
}

#[derive(Serialize)]
struct Copy {
    address: String,
    is_primary: bool,
    /// None where the server does not tell.
    serial: Option<u32>,
    /// Whether it has what the primary has.
    is_current: bool,
}

/// Asks the servers of the zones, unsigned and not for long; whoever tells nobody without a signature does not tell us.
pub(super) async fn look(known: &Known, ledger: &Ledger) -> Vec<Published> {
    let of_backends = known.config.backends.iter().filter_map(|(name, config)| {
        let BackendConfig::Rfc2136 { servers, .. } = config else { return None };
        let listed = || {
            let last = ledger.servers.iter().flat_map(|known| &known.servers);
            last.map(|server| server.address).collect()
        };
        let servers = servers.clone().unwrap_or_else(listed);
        let names = ledger.published.get(name)?.keys().cloned().collect::<Vec<_>>();
        (!names.is_empty()).then(|| of_backend(name, servers, names))
    });
    join_all(of_backends).await.into_iter().flatten().collect()
}

async fn of_backend(
    name: &str,
    servers: Vec<std::net::SocketAddr>,
    names: Vec<Name>,
) -> Vec<Published> {
    let backend = Rfc2136::new(name, servers.clone(), Keys::none());
    let by = Instant::now() + PATIENCE;
    let Ok(Ok(observed)) = timeout_at(by, backend.observe(&names)).await else {
        let silent = |server| ZoneCopy { server, is_primary: false, serial: None };
        let servers = servers.into_iter().map(silent).collect::<Vec<_>>();
        let (zone, backend) = ("not known,".to_owned(), name.to_owned());
        return vec![Published { zone, backend, servers: marked(&servers).collect() }];
    };
    let zones = observed.zones.into_values().collect::<BTreeSet<_>>();
    let zones = zones.iter().map(async |zone| {
        let copies = timeout_at(by, backend.copies(zone)).await.unwrap_or_default();
        Published {
            zone: zone.to_string(),
            backend: name.to_owned(),
            servers: marked(&copies).collect(),
        }
    });
    join_all(zones).await
}

fn marked(copies: &[ZoneCopy]) -> impl Iterator<Item = Copy> {
    let newest = copies.iter().find(|copy| copy.is_primary).and_then(|copy| copy.serial);
    copies.iter().map(move |copy| Copy {
        address: copy.server.to_string(),
        is_primary: copy.is_primary,
        serial: copy.serial,
        // RFC 1982: not before it on the circle.
        is_current: copy
            .serial
            .zip(newest)
            .is_some_and(|(serial, newest)| serial.wrapping_sub(newest) < 1 << 31),
    })
}

impl Published {
    pub(super) fn text(&self) -> String {
        let servers = self.servers.iter().map(|copy| {
            let Copy { address, is_primary, serial, is_current } = copy;
            let role = if *is_primary { " (primary)" } else { "" };
            match serial {
                None => format!("{address}{role} does not tell"),
                Some(serial) if *is_current => format!("{address}{role} has {serial}"),
                Some(serial) => format!("{address}{role} is behind at {serial}"),
            }
        });
        format!("zone          {} {}", self.zone, servers.collect::<Vec<_>>().join(" · "))
    }
}

/// Of one who looks at a terminal, in all.
const PATIENCE: Duration = Duration::from_secs(2);
