//! tagalong: a host's name follows its address, and every host's resolver follows the fleet's DNS servers.
//!
//! In reading order: [`core`] decides, purely; [`ports`] is the outside world on one page; [`agent`] has the journeys.
//! [`ec2`], [`backend`], [`keys`], [`resolver`], [`event`] and [`store`] are adapters that never name each other; [`wire`] and [`sys`] are
//! leaves that they use; [`config`] is what the operator said; [`telemetry`] is what we say; [`cli`] wires it all.

pub mod core;
pub mod ports;

pub mod backend;
pub mod config;
pub mod ec2;
pub mod event;
pub mod keys;
pub mod resolver;
pub mod store;

pub mod sys;
pub mod wire;

pub mod agent;
pub mod cli;
pub mod telemetry;
