//! Whole hosts in network namespaces of their own: the real ISC dhclient with the packaged hooks, a real DHCP server, real named
//! servers, the metadata service at its real address, and the program as it is installed.
//!
//! They need root; without it each says that it was not run.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test fails by panicking, makes its files as it likes, and prints its figures"
)]

mod affinity;
#[path = "../../localstack/tests/dns/bind.rs"]
mod bind;
mod boot;
mod killed;
mod lab;
mod leases;
mod lookups;
mod machine;
mod manual;
mod outage_of_2015;
mod owners;
mod package;
mod packages;
#[cfg(feature = "gssapi")]
mod samba;
mod servers;
