//! The wall clock and the kernel's random numbers.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::ports::Clock;

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> u64 {
        now()
    }

    fn jitter(&self) -> f64 {
        jitter()
    }
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

/// A random number from 0 to 1.
#[must_use]
pub fn jitter() -> f64 {
    f64::from(random()) / f64::from(u32::MAX)
}

/// A random number.
#[must_use]
pub fn random() -> u32 {
    let mut octets = [0; 4];
    // Without randomness hosts retry in step; that is slow, and not wrong.
    let _ = rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty());
    u32::from_ne_bytes(octets)
}
