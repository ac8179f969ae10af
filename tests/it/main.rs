//! tagalong as it is used: the program itself, against real servers and stand-ins, all on loopback.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and makes its files as it likes"
)]

mod addresses;
mod affinity;
mod agent;
mod architecture;
mod authority;
#[path = "../../localstack/tests/dns/bind.rs"]
mod bind;
mod conformance;
mod credentials;
mod docs;
mod doctor;
mod endpoints;
mod golden;
mod hooks;
mod iam;
mod imds;
mod infra;
mod kerberos;
mod keys;
mod localstack;
mod names;
mod once;
mod ownership;
#[path = "../system/manual/pages.rs"]
mod pages;
mod peers;
mod properties;
mod reap;
mod resolve;
mod rfc2136;
mod route53;
mod secrets;
mod shared;
mod simulation;
mod support;
