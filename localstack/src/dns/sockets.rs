//! UDP and TCP on one port, on a thread of its own that ends on command and leaves the port free.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdTcpListener, UdpSocket as StdUdpSocket},
    sync::Arc,
    thread::JoinHandle,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::oneshot,
    time::sleep,
};

use super::answer::{Desk, Protocol};
use crate::port;

/// A bound port.
pub(crate) struct Sockets {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
}

/// A thread that serves until this is dropped; then its sockets are closed.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    udp: StdUdpSocket,
    tcp: StdTcpListener,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// Binds `addr` and runs `serve` on it; what `serve` spawns ends with it.
    pub(crate) fn start<F>(
        addr: SocketAddr,
        serve: impl FnOnce(Sockets) -> F + Send + 'static,
    ) -> io::Result<Self>
    where
        F: Future<Output = ()>,
    {
        let (udp, tcp) = bind(addr)?;
        let addr = udp.local_addr()?;
        let (own_udp, own_tcp) = (udp.try_clone()?, tcp.try_clone()?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sockets = {
            let _inside = runtime.enter();
            Sockets { udp: UdpSocket::from_std(udp)?, tcp: TcpListener::from_std(tcp)? }
        };
        let (stop, stopped) = oneshot::channel();
        let thread =
            std::thread::Builder::new().name(format!("sandbox {addr}")).spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = serve(sockets) => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self { addr, udp: own_udp, tcp: own_tcp, stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        // `port` says why closing is not enough. Connected to itself, a socket takes nobody else's datagrams.
        let _ = self.udp.connect(self.addr);
        port::end(&self.tcp);
    }
}

/// Binds the same port for UDP and TCP; when any will do, tries until both are free.
fn bind(addr: SocketAddr) -> io::Result<(StdUdpSocket, StdTcpListener)> {
    port::patiently(|| try_bind(addr)).map_err(|error| port::unbound(&error, addr))
}

fn try_bind(addr: SocketAddr) -> io::Result<(StdUdpSocket, StdTcpListener)> {
    // std binds it with SO_REUSEADDR: connections of an earlier server do not stand in the way
    let tcp = StdTcpListener::bind(addr)?;
    let udp = StdUdpSocket::bind(tcp.local_addr()?)?;
    tcp.set_nonblocking(true)?;
    udp.set_nonblocking(true)?;
    Ok((udp, tcp))
}

/// Answers requests from `desk`, each on a task of its own, so that a delayed answer holds nobody up.
pub(super) async fn serve(sockets: Sockets, desk: Arc<Desk>) {
    let Sockets { udp, tcp } = sockets;
    tokio::join!(serve_udp(Arc::new(udp), &desk), serve_tcp(tcp, &desk));
}

async fn serve_udp(socket: Arc<UdpSocket>, desk: &Desk) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let reply = desk.reply(buffer.get(..length).unwrap_or_default(), Protocol::Udp, peer);
        let socket = Arc::clone(&socket);
        let send = async move {
            for forged in reply.forged {
                let _ = socket.send_to(&forged, peer).await;
            }
            if let Some(answer) = reply.answer {
                if !reply.delay.is_zero() {
                    sleep(reply.delay).await;
                }
                let _ = socket.send_to(&answer, peer).await;
            }
        };
        tokio::spawn(send);
    }
}

async fn serve_tcp(listener: TcpListener, desk: &Arc<Desk>) {
    loop {
        let Ok((stream, peer)) = listener.accept().await else { continue };
        let desk = Arc::clone(desk);
        tokio::spawn(async move {
            let _ = serve_connection(stream, peer, &desk).await;
        });
    }
}

async fn serve_connection(mut stream: TcpStream, peer: SocketAddr, desk: &Desk) -> io::Result<()> {
    loop {
        let mut request = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut request).await?;
        let reply = desk.reply(&request, Protocol::Tcp, peer);
        let Some(answer) = reply.answer else { continue };
        if !reply.delay.is_zero() {
            sleep(reply.delay).await;
        }
        let length = u16::try_from(answer.len()).unwrap_or_default();
        stream.write_all(&[&length.to_be_bytes(), answer.as_slice()].concat()).await?;
    }
}
