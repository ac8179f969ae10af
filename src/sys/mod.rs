//! The operating system, as far as more than one adapter needs it.

pub mod clock;
pub mod fs;
pub mod inotify;
pub mod journal;
pub mod ready;
pub mod shutdown;
