//! Waiting for descriptors that are no sockets or pipes of the runtime's own: inotify, timers, netlink.

use std::{io, os::fd::OwnedFd};

use tokio::io::unix::AsyncFd;

/// `descriptor`, which must be non-blocking, to be waited for.
///
/// # Errors
/// It cannot be waited for.
#[expect(
    deprecated,
    reason = "what replaces it is `unsafe`, for types that may change their descriptor; an `OwnedFd` has the same one for life"
)]
pub fn waitable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::new(descriptor)
}
