//! An authoritative DNS server with RFC 2136 updates and RFC 8945 signatures, for tests and demonstrations.
//!
//! Why not hickory-server (0.26.3): its RFC 2136 is not the RFC's, in ways that tagalong depends on, and that cannot be
//! wrapped. "RRset exists (value dependent)" is met when one record is in the zone, where §3.2.3 asks for equal sets;
//! prerequisites are looked up as queries are, so a wildcard, a CNAME or a delegation meets them; an emptied RRset stays
//! in the zone; deleting all RRsets of a name keeps `NS` below the apex and deletes `SOA` and `NS` at the apex (§3.4.2.3
//! says the reverse); prerequisites and updates take the zone's lock one after another, so two updates can both win;
//! BADTIME carries neither the client's time nor the server's (RFC 8945 §5.2.3), so that no client can verify it; and it
//! links a database. What remains of hickory is the message format. `tests/dns.rs` holds this server and BIND's `named`
//! against the same tables of updates and queries.
//!
//! Reading order: `zone` (what is served), `update` (RFC 2136 §3), `lookup` (queries), `tsig` and `key` (signatures),
//! `answer` (one request to one reply, misbehaving as told), `switches` (how to misbehave), `server` (life and death),
//! `sockets` (UDP and TCP).
//!
//! Not here: DNSSEC, NOTIFY, IXFR, zone transfers above 64 KiB, GSS-TSIG, truncated MACs, `update-policy` (any key may
//! change any name, as with `allow-update`).

mod answer;
mod key;
mod lease;
mod lookup;
mod server;
pub(crate) mod sockets;
mod switches;
mod tsig;
mod update;
mod zone;

pub use answer::{Protocol, Received};
pub use key::{Algorithm, Key, KeyError};
pub use server::{Role, Server, Settings};
pub use tsig::{Answered, Signed};
pub use zone::{Zone, ZoneError, Zones};
