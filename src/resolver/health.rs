//! Asks a DNS server for the SOA of the zone that it is there for.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::{
    core::{
        name::Name,
        servers::{Answer, Health, NameServer},
    },
    ports::{Depth, Prober},
    sys::clock::now,
    wire::{
        exchange::{ExchangeError, Peer, Timing},
        message::{Question, Rcode, Recursion, Response, query},
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
    async fn probe(&self, server: &NameServer, depth: Depth) -> Health {
        let peer = Peer { server: server.address, key: None, clock: now, timing: PROBE };
        let requests = [(); 2].map(|()| query(&self.zone, Question::Soa, Recursion::Desired));
        let [Ok(over_udp), Ok(over_tcp)] = requests else { return Health::Silent { queries: 0 } };
        let asked = Instant::now();
        let answer = async { (peer.ask(&over_udp).await, asked.elapsed()) };
        let tcp = async {
            match depth {
                Depth::Quick => None,
                Depth::Thorough => Some(peer.ask_over_tcp(&over_tcp).await.is_ok()),
            }
        };
        let ((answer, time), over_tcp) = tokio::join!(answer, tcp);
        match answer {
            Ok(response) => self.judge(&response, time, over_tcp),
            Err(ExchangeError::Malformed { .. }) => {
                Health::Unwilling { rcode: "nonsense".to_owned() }
            }
            Err(_) => Health::Silent { queries: 2 },
        }
    }

    fn zone(&self) -> &Name {
        &self.zone
    }
}

impl SoaProber {
    fn judge(&self, response: &Response, time: Duration, over_tcp: Option<bool>) -> Health {
        let is_authoritative = response.authoritative;
        // A name below the apex is answered with the SOA of the zone that holds it.
        let zone = response.soa.as_ref().filter(|soa| self.zone.is_within(&soa.zone));
        let answer = |serial| Answer { time, serial, is_authoritative, over_tcp };
        match (response.rcode, zone) {
            (Rcode::NOERROR, Some(soa)) => Health::Alive(answer(soa.serial)),
            // Where no zone is known, any answer must do, and says nothing of a zone.
            (Rcode::NOERROR | Rcode::NXDOMAIN, _) if self.zone == Name::root() => {
                Health::Alive(Answer { is_authoritative: true, ..answer(0) })
            }
            (Rcode::NOERROR | Rcode::NXDOMAIN, _) => Health::Ignorant(time),
            (rcode, _) => Health::Unwilling { rcode: rcode.to_string() },
        }
    }
}

/// 300 ms for each of two queries, less the doubling of the second wait.
const PROBE: Timing =
    Timing { retransmit: Duration::from_millis(300), limit: Duration::from_millis(600) };
