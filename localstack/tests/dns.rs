//! The DNS server against BIND's own tools, and against BIND's own server: it is a fake as long as it answers as that.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "dns/bind.rs"]
mod bind;
#[path = "dns/black_hole.rs"]
mod black_hole;
#[path = "dns/faults.rs"]
mod faults;
#[path = "dns/queries.rs"]
mod queries;
#[path = "dns/signatures.rs"]
mod signatures;
#[path = "dns/tools.rs"]
mod tools;
#[path = "dns/updates.rs"]
mod updates;
