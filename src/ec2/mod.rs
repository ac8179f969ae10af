//! EC2: who this host is, and which DNS servers the fleet has.

pub mod api;
pub mod credentials;
pub mod facts;
pub mod imds;
pub mod instances;
pub mod interfaces;
pub mod life;
pub mod subnets;
pub mod tags;
