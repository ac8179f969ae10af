//! Updates that are signed by the machine's Kerberos credentials (GSS-TSIG, RFC 3645). Only these are: reads go unsigned, and
//! whatever was read must still hold for the update to happen.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use tokio::sync::Mutex;

use super::{Rfc2136, peer};
use crate::{
    config::Keytab,
    core::{name::Name, plan::ZoneChange},
    ports::error::BackendError,
    sys::clock::random,
    wire::{
        exchange::ExchangeError,
        key::TsigKey,
        message::{Rcode, Request, Response},
        tkey::TkeyError,
    },
};

/// The credentials, and what they were turned into.
#[derive(Debug)]
pub(super) struct Kerberos {
    pub(super) keytab: Keytab,
    agreed: Mutex<BTreeMap<SocketAddr, TsigKey>>,
}

/// The operation, as errors name it.
pub(super) const UPDATE: &str = "Kerberos update";

impl Rfc2136 {
    /// The same, whose updates the keytab signs.
    #[must_use]
    pub fn signing_by(self, keytab: Keytab) -> Self {
        Self { kerberos: Some(Kerberos { keytab, agreed: Mutex::default() }), ..self }
    }

    /// Whether the keytab and the primary of a zone that was observed agree: who we are to it; `None` where
    /// updates are signed otherwise.
    pub async fn agreement(&self, zone: &Name) -> Option<Result<String, BackendError>> {
        let kerberos = self.kerberos.as_ref()?;
        let place = self.place_of(zone).await?;
        let server = place.primary.unwrap_or(place.server);
        let key = kerberos.key(server, &place.mname).await;
        let told = |key: TsigKey| {
            let us = key.principal().unwrap_or_default();
            format!("{server} proved to be the DNS server of {zone}, and knows this host as {us}")
        };
        Some(key.map(told).map_err(|error| self.no_key(error, server, &place.mname, zone)))
    }

    /// Sends an update under a key that is agreed on for it, or was before; a server that has forgotten that one is agreed with
    /// once more. Over TCP, as nsupdate and Windows do it: what is not signed is then at least the server's.
    pub(super) async fn send_by(
        &self,
        kerberos: &Kerberos,
        server: SocketAddr,
        request: &Request,
        change: &ZoneChange,
    ) -> Result<Option<Duration>, BackendError> {
        let zone = &change.zone;
        let host = self.host_at(server, zone).await;
        let mut is_known = kerberos.agreed.lock().await.contains_key(&server);
        loop {
            let key = kerberos.key(server, &host).await;
            let key = key.map_err(|error| self.no_key(error, server, &host, zone))?;
            return match peer(server, Some(&key)).ask_over_tcp(request).await {
                Ok(answer) => self.outcome(server, &answer, change, UPDATE),
                // Samba signs no refusal.
                Err(ExchangeError::Unverified { rcode, error: None, .. })
                    if rcode != Rcode::NOERROR =>
                {
                    let answer = Response { rcode, ..Response::default() };
                    self.outcome(server, &answer, change, UPDATE)
                }
                Err(error @ ExchangeError::Unverified { error: Some(_), .. }) => {
                    kerberos.agreed.lock().await.remove(&server);
                    if std::mem::take(&mut is_known) {
                        continue;
                    }
                    Err(self.no_key(TkeyError::Exchange(error), server, &host, zone))
                }
                Err(error) => Err(self.situation(error, Some(&key), zone, UPDATE)),
            };
        }
    }

    /// The name that a server goes by: what it says of its zone's primary, which in Active Directory each takes for itself.
    async fn host_at(&self, server: SocketAddr, zone: &Name) -> Name {
        let home = self.home(zone);
        // What was remembered of one that another led to is the other's word.
        let is_own = self.led_to(zone).is_none();
        if let Some(home) = home.as_ref().filter(|home| home.server == server && is_own) {
            return home.soa.mname.clone();
        }
        let seen = self.observe_at(server, std::slice::from_ref(zone)).await;
        let said = seen.ok().and_then(|seen| seen.into_iter().find_map(|one| one.soa));
        let said = said.or(home.map(|home| home.soa)).map(|soa| soa.mname);
        said.unwrap_or_else(|| zone.clone())
    }

    fn no_key(
        &self,
        error: TkeyError,
        server: SocketAddr,
        host: &Name,
        zone: &Name,
    ) -> BackendError {
        let service = format!("DNS/{}", host.as_str().trim_end_matches('.'));
        match error {
            TkeyError::Exchange(error) if !matches!(error, ExchangeError::Unverified { .. }) => {
                self.situation(error, None, zone, UPDATE)
            }
            error @ (TkeyError::Refused { .. } | TkeyError::Exchange(_)) => {
                BackendError::TicketRefused { server, service, source: Box::new(error) }
            }
            error @ (TkeyError::Kerberos(_) | TkeyError::Silence(_) | TkeyError::TooLarge(_)) => {
                let keytab = self.kerberos.as_ref().map(|kerberos| &kerberos.keytab.path);
                let keytab = keytab.map_or_else(String::new, |path| path.display().to_string());
                BackendError::NoTicket { service, keytab, source: Box::new(error) }
            }
        }
    }
}

impl Kerberos {
    async fn key(&self, server: SocketAddr, host: &Name) -> Result<TsigKey, TkeyError> {
        let mut agreed = self.agreed.lock().await;
        if let Some(key) = agreed.get(&server) {
            return Ok(key.clone());
        }
        let us = self.keytab.principal.as_deref();
        let key = peer(server, None).agree(host, us, random()).await?;
        agreed.insert(server, key.clone());
        Ok(key)
    }
}
