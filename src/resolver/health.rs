//! Asks a DNS server for the SOA of the zone that it is there for.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::{
    core::{
        name::Name,
        servers::{Health, NameServer},
    },
    ports::Prober,
    sys::clock::now,
    wire::{
        exchange::{ExchangeError, Peer, Timing},
        message::{Question, Rcode, Recursion, query},
    },
};

/// The prober of one zone.
#[derive(Clone, Debug)]
pub struct SoaProber {
    zone: Name,
}

impl SoaProber {
    /// A prober that asks for `zone`; the root serves where no zone is known.
    #[must_use]
    pub fn new(zone: Name) -> Self {
        Self { zone }
    }
}

#[async_trait]
impl Prober for SoaProber {
    async fn probe(&self, server: &NameServer) -> Health {
        let peer = Peer { server: server.address, key: None, clock: now, timing: PROBE };
        let Ok(request) = query(&self.zone, Question::Soa, Recursion::Desired) else {
            return Health::Silent { queries: 0 };
        };
        let asked = Instant::now();
        match peer.ask(&request).await {
            Ok(response) => match response.rcode {
                // A name below the apex is answered with the SOA of the zone that holds it.
                Rcode::NOERROR
                    if response.soa.is_some_and(|soa| self.zone.is_within(&soa.zone)) =>
                {
                    Health::Alive(asked.elapsed())
                }
                // Where no zone is known, any answer must do.
                Rcode::NOERROR | Rcode::NXDOMAIN if self.zone == Name::root() => {
                    Health::Alive(asked.elapsed())
                }
                Rcode::NOERROR | Rcode::NXDOMAIN => Health::Ignorant(asked.elapsed()),
                rcode => Health::Unwilling { rcode: rcode.to_string() },
            },
            Err(ExchangeError::Malformed { .. }) => {
                Health::Unwilling { rcode: "nonsense".to_owned() }
            }
            Err(_) => Health::Silent { queries: 2 },
        }
    }
}

/// 300 ms for each of two queries, less the doubling of the second wait.
const PROBE: Timing =
    Timing { retransmit: Duration::from_millis(300), limit: Duration::from_millis(600) };
