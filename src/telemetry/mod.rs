//! What we say about ourselves while we work.

pub mod log;
pub mod metrics;
pub mod notify;
