//! What the hooks reported, held against the metadata and the kernel: which addresses are awaited, and which are lost.

use std::{net::IpAddr, time::Duration};

use tokio::time::{Instant, sleep};

use super::Worker;
use crate::{cli::wiring::Host, core::facts::Facts, ec2::facts::mac_of, ports::Failure};

impl Worker<'_> {
    /// The facts, with what the hooks reported: an address that a lease gave is waited for, since the metadata may lag behind.
    pub(super) async fn facts(&self, host: &Host<'_>, deadline: Instant) -> Result<Facts, Failure> {
        let patience = Instant::now() + LAG;
        loop {
            let facts = host.facts(deadline).await?;
            let Some(awaited) = self.awaited(&facts) else { return Ok(facts) };
            if Instant::now() >= patience {
                tracing::warn!(
                    "the metadata do not list {awaited}, which a lease gave {} s ago",
                    LAG.as_secs()
                );
                self.given_up.borrow_mut().insert(awaited);
                return Ok(facts);
            }
            sleep(LAG_PAUSE).await;
        }
    }

    /// An address that a lease gave to one of EC2's interfaces, and that the facts do not have.
    fn awaited(&self, facts: &Facts) -> Option<IpAddr> {
        let is_ec2s = |interface: &str| {
            mac_of(interface).is_some_and(|mac| facts.interfaces.iter().any(|one| one.mac == mac))
        };
        let is_listed = |address: IpAddr| {
            facts.interfaces.iter().any(|one| match address {
                IpAddr::V4(ipv4) => one.local_ipv4s.contains(&ipv4),
                IpAddr::V6(ipv6) => one.ipv6s.contains(&ipv6),
            })
        };
        let held = self.leases.held().filter(|(lease, _)| is_ec2s(&lease.interface));
        held.map(|(_, address)| address)
            .find(|address| !is_listed(*address) && !self.given_up.borrow().contains(address))
    }
}

/// By when the metadata list what the link has.
const LAG: Duration = Duration::from_secs(10);
const LAG_PAUSE: Duration = Duration::from_millis(200);
