//! Stand-ins for everything that tagalong talks to, so that it runs, is tested and is demonstrated without AWS.
//!
//! Reading order: `world` (the account's state) with `instance` and `zone`, `fault` (what can be made to go wrong),
//! `http` (the plumbing), `imds`, `ec2`, `sts`, `route53`, `vault` (each one service or two), `policy` (who may do what), `aws`
//! (one endpoint for the APIs),
//! `dns` (authoritative server with RFC 2136 and TSIG), `black_hole`, `name_servers` (both, by address), `control` (change
//! all of it over HTTP while it runs), `running` (everything on a thread of its own), `state_file` (what the program
//! begins with).

pub mod aws;
pub mod black_hole;
pub mod control;
pub mod dns;
pub mod fault;
pub mod imds;
pub mod instance;
pub mod journal;
pub mod name;
pub mod name_servers;
pub mod running;
pub mod state_file;
pub mod world;
pub mod zone;

mod bucket;
mod clock;
mod credentials;
mod ec2;
mod form;
mod http;
mod naming;
mod pattern;
mod policy;
mod port;
mod rest_error;
mod route53;
mod sts;
mod vault;
mod xml;
