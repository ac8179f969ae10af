//! The journeys: straight-line functions over the ports, which run unchanged in a pass, in `plan` and in simulations.

pub mod daemon;
pub mod notebook;
pub mod patience;
pub mod reaping;
pub mod registration;
pub mod report;
pub mod resolution;
pub mod standing;
