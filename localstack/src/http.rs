//! HTTP/1.1 plumbing of every stand-in: reads a request, lets it meet its fault, records it, writes the answer.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, SERVER},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

use crate::{fault::Service, world::World};

/// One stand-in: decides what to answer. Everything it needs is in memory, so that it answers at once.
pub(crate) trait Site: Clone + Send + Sync + 'static {
    /// The world that it shows.
    fn world(&self) -> &World;
    /// Whose fault switch and journal the request falls under, and its names there; `None` for the control API.
    fn subject(&self, call: &Call) -> Option<Subject>;
    /// The real answer.
    fn answer(&self, call: &Call) -> Answer;
    /// The answer when a fault forbids the real one.
    fn refuse(&self, call: &Call, refusal: Refusal) -> Answer;
}

/// What a request is to the fault switch and the journal of its service.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) service: Service,
    /// Its name in the journal: a path, or the action of a query API.
    pub(crate) target: String,
    /// Its name for [`Fault::only`](crate::fault::Fault::only).
    pub(crate) name: String,
}

/// Why the real answer is not given.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    Throttled,
    Failed(u16),
}

/// A request, whole.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) peer: SocketAddr,
}

impl Call {
    /// A header's value, when it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    /// The IP TTL of its packets, where it is not the system's.
    pub(crate) hops: Option<u8>,
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &str, body: String) -> Self {
        Self { status, headers: vec![("content-type", content_type.to_owned())], body, hops: None }
    }

    pub(crate) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Answers on `listener` until the task is dropped.
pub(crate) async fn serve<S: Site>(listener: TcpListener, site: S) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(converse(stream, peer, site.clone()));
            }
            // out of descriptors, most likely: let connections end
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn converse<S: Site>(stream: TcpStream, peer: SocketAddr, site: S) {
    let _ = stream.set_nodelay(true);
    let manner = Arc::new(Manner::default());
    let wire = Wire { stream, manner: Arc::clone(&manner) };
    let service =
        service_fn(move |request| respond(request, peer, site.clone(), Arc::clone(&manner)));
    // a client that goes away in the middle is no event
    let _ = http1::Builder::new().serve_connection(TokioIo::new(wire), service).await;
}

async fn respond<S: Site>(
    request: hyper::Request<Incoming>,
    peer: SocketAddr,
    site: S,
    manner: Arc<Manner>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
        return Ok(write(Answer::new(413, "text/plain", "request body too large\n".into()), false));
    };
    let call = Call {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: body.to_bytes(),
        peer,
    };
    let Some(Subject { service, target, name }) = site.subject(&call) else {
        return Ok(write(site.answer(&call), false));
    };
    let ticket = site.world().state().note(service, &call, target);
    let fault = site.world().faults().meet(service, &name);
    if fault.delay_ms > 0 {
        tokio::time::sleep(fault.delay()).await;
    }
    if fault.drop {
        pending::<()>().await;
    }
    let answer = match fault.fail {
        _ if fault.throttle => site.refuse(&call, Refusal::Throttled),
        Some(status) => site.refuse(&call, Refusal::Failed(status)),
        None => site.answer(&call),
    };
    site.world().state().settle(ticket, answer.status);
    manner.hops.store(answer.hops.unwrap_or(0), Ordering::Relaxed);
    manner.is_garbled.store(fault.malformed, Ordering::Relaxed);
    Ok(write(answer, fault.malformed))
}

fn write(answer: Answer, is_last: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("sandbox"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    if is_last {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

// ---------------------------------------------------------------------------------------------------------------------

/// How the next octets of a connection are sent; set just before hyper writes them.
#[derive(Debug, Default)]
struct Manner {
    /// With their top bits flipped, so that nothing of them is HTTP.
    is_garbled: AtomicBool,
    /// With this IP TTL; 0 is the system's.
    hops: AtomicU8,
}

/// A connection that sends as its manner says.
struct Wire {
    stream: TcpStream,
    manner: Arc<Manner>,
}

impl Wire {
    fn set_hops(&self) -> io::Result<()> {
        use rustix::net::sockopt::{set_ip_ttl, set_ipv6_unicast_hops};
        let wanted = self.manner.hops.load(Ordering::Relaxed);
        let is_v4 = self.stream.local_addr()?.is_ipv4();
        match (is_v4, wanted) {
            (true, 0) => set_ip_ttl(&self.stream, DEFAULT_TTL)?,
            (true, hops) => set_ip_ttl(&self.stream, hops.into())?,
            (false, 0) => set_ipv6_unicast_hops(&self.stream, None)?,
            (false, hops) => set_ipv6_unicast_hops(&self.stream, Some(hops))?,
        }
        Ok(())
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.set_hops()?;
        if !self.manner.is_garbled.load(Ordering::Relaxed) {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        let garbled: Vec<u8> = buf.iter().map(|octet| octet ^ 0x80).collect();
        Pin::new(&mut self.stream).poll_write(cx, &garbled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The largest request in the protocols, a full Route 53 batch, is well under 1 MiB.
const BODY_LIMIT: usize = 4 << 20;
/// Linux's `net.ipv4.ip_default_ttl`.
const DEFAULT_TTL: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::ip_ttl;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn pair() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        (Wire { stream, manner: Arc::default() }, client)
    }

    #[tokio::test]
    async fn a_wire_sends_with_the_hop_limit_of_the_answer_at_hand() {
        let (mut wire, _client) = pair().await;
        wire.manner.hops.store(2, Ordering::Relaxed);
        wire.write_all(b"token").await.unwrap();
        assert_eq!(ip_ttl(&wire.stream).unwrap(), 2);
        wire.manner.hops.store(0, Ordering::Relaxed);
        wire.write_all(b"value").await.unwrap();
        assert_eq!(ip_ttl(&wire.stream).unwrap(), DEFAULT_TTL);
    }

    #[tokio::test]
    async fn a_garbled_wire_sends_no_octet_of_ascii() {
        let (mut wire, mut client) = pair().await;
        wire.manner.is_garbled.store(true, Ordering::Relaxed);
        wire.write_all(b"HTTP/1.1 200 OK").await.unwrap();
        drop(wire);
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        assert_eq!(read.len(), 15);
        assert!(read.iter().all(|octet| *octet >= 0x80));
    }
}
