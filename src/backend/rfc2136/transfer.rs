//! A zone read whole, from its primary (AXFR, RFC 5936), or else by the names in its index.

use super::{Home, Rfc2136, peer, refusal::answered};
use crate::{
    core::{name::Name, rrset::Records},
    ports::error::BackendError,
};

impl Rfc2136 {
    pub(super) async fn try_to_read(&self, zone: &Name) -> Result<Records, BackendError> {
        self.try_to_observe(std::slice::from_ref(zone)).await?;
        let unknown = || match self.servers.first() {
            Some(server) => {
                BackendError::NotAuth { server: *server, zone: zone.clone(), operation: "transfer" }
            }
            None => BackendError::NoServers { backend: self.name.clone() },
        };
        let Home { server, soa } = self.home(zone).ok_or_else(unknown)?;
        // A secondary may be behind, and what is planned on its word would only lose its race.
        let primary = self.primary(server, &soa).await.unwrap_or(server);
        let keys = self.keys.in_use();
        let mut last = None;
        for server in [primary, server] {
            match peer(server, keys.of(zone)).transfer(zone).await {
                Ok(Ok(records)) => return Ok(records),
                Ok(Err(rcode)) => last = Some(answered(server, rcode, zone, "transfer")),
                Err(error) => {
                    last = Some(self.situation(error, keys.of(zone), zone, "transfer"));
                }
            }
        }
        let refused = last.unwrap_or_else(unknown);
        if matches!(refused, BackendError::NoAnswer { .. }) {
            return Err(refused);
        }
        self.read_by_index(zone).await?.ok_or(refused)
    }
}
