//! Sending a change to the server that is the zone's primary, or leads to it.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use super::{Rfc2136, index::indexed, keys::InUse, lower, peer, refusal::answered};
use crate::{
    core::{name::Name, plan::ZoneChange},
    ports::error::BackendError,
    wire::message::{Rcode, Response, Update, update},
};

impl Rfc2136 {
    pub(super) async fn try_to_apply(
        &self,
        change: &ZoneChange,
    ) -> Result<Option<Duration>, BackendError> {
        let unknown = || BackendError::NoServers { backend: self.name.clone() };
        if self.home(&change.zone).is_none() {
            // Nobody has read the zone in this process: find out where it is.
            self.try_to_observe(std::slice::from_ref(&change.zone)).await?;
        }
        let home = self.home(&change.zone).ok_or_else(unknown)?;
        let is_elsewhere = |error: &BackendError| {
            matches!(
                error,
                BackendError::Refused { .. }
                    | BackendError::NotAuth { .. }
                    | BackendError::Answered { .. }
                    | BackendError::NoAnswer { .. }
                    | BackendError::TicketRefused { .. }
            )
        };
        let mut told = match self.send(home.server, change).await {
            Err(error) if is_elsewhere(&error) => error,
            outcome => return outcome,
        };
        // A secondary says one of these; the primary may say yes: by MNAME, or one of the zone's other servers, or of ours.
        let (mut primary, mut named) = (None, Vec::new());
        // One that is silent tells of nobody.
        if !matches!(told, BackendError::NoAnswer { .. }) {
            primary = self.primary(home.server, &home.soa).await;
            named = self.name_servers(home.server, &change.zone).await;
        }
        let others = primary.into_iter().chain(named).filter(|server| self.may_follow(*server));
        let mut tried = BTreeSet::from([home.server]);
        for server in others.chain(self.servers.iter().copied()) {
            if !tried.insert(server) {
                continue;
            }
            // What others than the primary think of our key says nothing of the update.
            let is_no_word = |error: &BackendError| {
                let is_about_key = matches!(
                    error,
                    BackendError::BadKey { .. }
                        | BackendError::BadSignature { .. }
                        | BackendError::BadTime { .. }
                );
                is_elsewhere(error)
                    || (is_about_key && primary.is_some_and(|primary| primary != server))
            };
            match self.send(server, change).await {
                Err(error) if is_no_word(&error) => {
                    // The primary's word counts more than a secondary's.
                    if primary == Some(server) {
                        told = error;
                    }
                }
                outcome => {
                    self.remember(server, &home.soa);
                    if let Ok(mut primaries) = self.primaries.lock() {
                        primaries.insert(change.zone.clone(), server);
                    }
                    return outcome;
                }
            }
        }
        Err(told)
    }

    async fn send(
        &self,
        server: SocketAddr,
        change: &ZoneChange,
    ) -> Result<Option<Duration>, BackendError> {
        let indexed = self.keeping.index.then(|| indexed(change));
        let change = indexed.as_ref().unwrap_or(change);
        let marked = self.marks.as_ref().map(|marks| marks.translate(change));
        let (prerequisites, updates) = lower::lower(marked.as_ref().unwrap_or(change));
        let unencodable =
            |error| BackendError::Failed { action: "encoding the update", source: Box::new(error) };
        let adds = updates.iter().any(|update| matches!(update, Update::AddToRrset(..)));
        let lease = self.keeping.lease.filter(|_| adds);
        let request = update(&change.zone, &prerequisites, &updates, lease).map_err(unencodable)?;
        if let Some(kerberos) = &self.kerberos {
            let change = marked.as_ref().unwrap_or(change);
            return self.send_by(kerberos, server, &request, change).await;
        }
        let zone = &change.zone;
        let keys = self.keys.in_use();
        let answer = peer(server, keys.of(zone)).ask(&request).await;
        let answer = answer
            .map_err(|error| self.situation(error, keys.of(zone), zone, update_by(&keys, zone)))?;
        self.outcome(server, &answer, change, update_by(&keys, zone))
    }

    /// What the answer to an update says.
    pub(super) fn outcome(
        &self,
        server: SocketAddr,
        answer: &Response,
        change: &ZoneChange,
        operation: &'static str,
    ) -> Result<Option<Duration>, BackendError> {
        match answer.rcode {
            Rcode::NOERROR => Ok(answer.lease),
            Rcode::YXDOMAIN | Rcode::YXRRSET | Rcode::NXRRSET | Rcode::NXDOMAIN => {
                self.note_in_use(&change.guards);
                Err(BackendError::Conflict { zone: change.zone.clone() })
            }
            rcode => Err(answered(server, rcode, &change.zone, operation)),
        }
    }
}

/// An update, and whether nobody vouches for it.
fn update_by(keys: &InUse, zone: &Name) -> &'static str {
    if keys.of(zone).is_some() { "update" } else { "unsigned update" }
}
