//! Which servers of a zone have it, and how far each has got: serial numbers (RFC 1034 section 4.3.5, RFC 1982).

use std::{collections::BTreeSet, net::SocketAddr};

use futures_util::future::join_all;

use super::{Home, Rfc2136, peer};
use crate::{
    core::name::Name,
    wire::message::{Question, Recursion, query},
};

/// A server's copy of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneCopy {
    /// The server.
    pub server: SocketAddr,
    /// Whether it is the primary, by MNAME.
    pub is_primary: bool,
    /// The serial number; `None` for one that does not answer, or not as an authority.
    pub serial: Option<u32>,
}

impl Rfc2136 {
    /// The copies of a zone that was observed: at its primary, at its other servers by NS, and at ours.
    pub async fn copies(&self, zone: &Name) -> Vec<ZoneCopy> {
        let Some(Home { server, soa }) = self.home(zone) else { return Vec::new() };
        let (primary, named) =
            tokio::join!(self.primary(server, &soa), self.name_servers(server, zone));
        let primary = primary.unwrap_or(server);
        let servers = std::iter::once(primary).chain(named).chain(self.servers.iter().copied());
        let servers = servers.collect::<BTreeSet<_>>();
        let copies = servers.into_iter().map(async |server| ZoneCopy {
            server,
            is_primary: server == primary,
            serial: self.serial(server, zone).await,
        });
        let mut copies = join_all(copies).await;
        copies.sort_by_key(|copy| !copy.is_primary);
        copies
    }

    async fn serial(&self, server: SocketAddr, zone: &Name) -> Option<u32> {
        let request = query(zone, Question::Soa, Recursion::Unwanted).ok()?;
        let keys = self.keys.in_use();
        let answer = peer(server, keys.of(zone)).ask(&request).await.ok()?;
        answer.soa.filter(|soa| answer.authoritative && soa.zone == *zone).map(|soa| soa.serial)
    }
}
