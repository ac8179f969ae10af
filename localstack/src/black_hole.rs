//! A server that takes everything and answers nothing: what a dead host behind a firewall looks like.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, UdpSocket},
};

use crate::dns::sockets::{Running, Sockets};

/// A running black hole; dropping it ends it and closes its port.
pub struct BlackHole {
    running: Running,
    taken: Arc<Taken>,
}

#[derive(Default)]
struct Taken {
    datagrams: AtomicUsize,
    connections: AtomicUsize,
}

impl BlackHole {
    /// Takes datagrams and connections at `addr`; port 0 takes one that is free for both.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn start(addr: SocketAddr) -> io::Result<Self> {
        let taken = Arc::new(Taken::default());
        let counts = Arc::clone(&taken);
        let swallow = move |Sockets { udp, tcp }| async move {
            tokio::join!(swallow_datagrams(udp, &counts), swallow_connections(tcp, &counts));
        };
        Ok(Self { running: Running::start(addr, swallow)?, taken })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.running.addr
    }

    /// How many datagrams it took.
    #[must_use]
    pub fn datagrams(&self) -> usize {
        self.taken.datagrams.load(Ordering::SeqCst)
    }

    /// How many connections it took.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.taken.connections.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for BlackHole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlackHole").field("addr", &self.addr()).finish_non_exhaustive()
    }
}

async fn swallow_datagrams(socket: UdpSocket, taken: &Taken) {
    loop {
        // the rest of the datagram is thrown away with it
        if socket.recv_from(&mut [0; 1]).await.is_ok() {
            taken.datagrams.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn swallow_connections(listener: TcpListener, taken: &Taken) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        taken.connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            // reads, so that the sender's window never closes, until the sender has enough
            while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
        });
    }
}
