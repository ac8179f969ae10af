//! Listening addresses that can be had again at once after their server has ended.
//!
//! A child that is being started elsewhere in this process holds copies of all sockets until it execs. Closing ours does
//! not end theirs: the kernel would go on to accept connections that nobody serves, and the address would be in use.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    thread::yield_now,
    time::{Duration, Instant},
};

use rustix::net::{Shutdown, shutdown};

/// Binds `addr` for TCP. The error names it.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    patiently(|| TcpListener::bind(addr)).map_err(|error| unbound(&error, addr))
}

/// Ends a listener in all processes that have a copy of it.
pub(crate) fn end(listener: &TcpListener) {
    // an error is a socket that listens no more
    let _ = shutdown(listener, Shutdown::Both);
}

/// Tries again while the address is in use: for a moment it may be held by a child that is being started.
pub(crate) fn patiently<T>(mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                yield_now();
            }
            bound => return bound,
        }
    }
}

/// The error, with the address that it is about.
pub(crate) fn unbound(error: &io::Error, addr: SocketAddr) -> io::Error {
    io::Error::new(error.kind(), format!("can't listen on {addr}: {error}"))
}

/// How long an address may be in use before it is somebody else's.
const PATIENCE: Duration = Duration::from_secs(1);
