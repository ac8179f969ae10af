//! What the hooks reported, held against what the kernel has.

use std::{collections::BTreeSet, net::IpAddr, path::Path};

use crate::{
    core::lease::Lease,
    event::{hook::Hooks, network::Addresses},
};

/// The leases of this host.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    hooks: Hooks,
    addresses: Addresses,
}

impl Leases {
    /// The reports in the run directory, and the kernel's addresses.
    pub(super) fn of(run_dir: &Path, addresses: Addresses) -> Self {
        Self { hooks: Hooks::in_run_dir(run_dir), addresses }
    }

    /// Addresses that leases have lost, and that no interface has, as far as the kernel has told.
    pub(super) fn lost(&self) -> BTreeSet<IpAddr> {
        let leases = self.hooks.leases().into_iter();
        let lost = leases.flat_map(|lease| [lease.lost(), lease.tried()]).flatten();
        lost.filter(|address| self.addresses.has(*address) == Some(false)).collect()
    }

    /// Addresses that the kernel has, and that nobody should begin to talk to.
    pub(super) fn discouraged(&self) -> BTreeSet<IpAddr> {
        self.addresses.discouraged()
    }

    /// Leases whose address an interface has, as far as is known.
    pub(super) fn held(&self) -> impl Iterator<Item = (Lease, IpAddr)> {
        let held = self.hooks.leases().into_iter();
        let held = held.filter_map(|lease| lease.held().map(|address| (lease, address)));
        held.filter(|(_, address)| self.addresses.has(*address) != Some(false))
    }
}
