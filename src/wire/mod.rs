//! DNS on the wire: messages, signatures, and the exchange of one for the other.
//!
//! The only place that names the DNS crate: its releases rename and move much, and nobody else should notice.

pub mod dhcid;
pub mod exchange;
pub mod gss;
pub mod key;
pub mod message;
mod rdata;
pub mod tkey;
pub mod transfer;
pub mod tsig;
