//! Everything that tagalong decides, as pure functions of values: no I/O, clock, randomness, `async` or third-party crate.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod membership;
pub mod metrics;
pub mod name;
pub mod rrset;

pub mod reap;
pub mod reason;
pub mod refresh;

pub mod address;
pub mod diff;
pub mod event;
pub mod facts;
pub mod naming;
pub mod suffix;
pub mod template;

pub mod ledger;
pub mod ownership;
pub mod pace;
pub mod plan;

pub mod affinity;
pub mod callers;
pub mod change;
pub mod detect;
pub mod diagnosis;
pub mod finding;
pub mod gai_conf;
pub mod job;
pub mod lease;
pub mod resolv_conf;
pub mod servers;

pub mod schedule;
pub mod trample;
