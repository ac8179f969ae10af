//! Sending requests to one server and believing the right answers (RFC 1035 section 4.2, RFC 5452, RFC 8945 section 5.4).
//!
//! Requests go over UDP side by side, and again when no answer comes; over TCP when an answer does not fit, or when a
//! request is large. With a key, a datagram that does not verify decides nothing: the wait goes on, and TCP, which nobody
//! off the path can forge, has the last word. An answer over TCP that does not verify is what the server really said
//! (errors for a bad key or a bad signature are unsigned by design), and it is reported as unverified.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout_at},
};

use super::{
    key::TsigKey,
    message::{self, MessageError, Rcode, Request, Response, UDP_PAYLOAD},
    tsig::{RequestMac, TsigError, Verdict},
};

/// How long to wait, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From the first datagram to the second; the wait doubles after each.
    pub retransmit: Duration,
    /// From the first datagram to giving up.
    pub limit: Duration,
}

/// Why a request has no answer that can be believed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// Nothing came.
    #[error("no answer from {server} within {} ms", waited.as_millis())]
    NoAnswer {
        /// Who was asked.
        server: SocketAddr,
        /// For how long.
        waited: Duration,
    },
    /// The network would not carry it, or nobody listens.
    #[error("cannot talk to {server}: {source}")]
    Unreachable {
        /// Who was asked.
        server: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// An answer came that is not provably the server's.
    #[error("{server} answered {rcode}{}, without a signature that verifies", claim(*error))]
    Unverified {
        /// Who was asked.
        server: SocketAddr,
        /// The response code.
        rcode: Rcode,
        /// What its TSIG record claims.
        error: Option<TsigError>,
    },
    /// The server's clock and ours are too far apart.
    #[error("{server} answered BADTIME: its clock is {} s {} of ours", skew.unsigned_abs(), if *skew < 0 { "behind" } else { "ahead" })]
    BadTime {
        /// Who was asked.
        server: SocketAddr,
        /// The server's clock less ours, in seconds.
        skew: i64,
    },
    /// What came is no DNS answer.
    #[error("{server} sent what cannot be read: {source}")]
    Malformed {
        /// Who was asked.
        server: SocketAddr,
        /// What is wrong with it.
        source: MessageError,
    },
}

pub(super) fn claim(error: Option<TsigError>) -> String {
    error.map_or_else(String::new, |error| format!(" ({error})"))
}

/// Who is asked, how it is signed, and how long it may take.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The server.
    pub server: SocketAddr,
    /// The key that signs requests and answers.
    pub key: Option<&'a TsigKey>,
    /// The wall clock, in seconds since 1970.
    pub clock: fn() -> u64,
    /// The patience.
    pub timing: Timing,
}

type Answer = Result<Response, ExchangeError>;

impl Peer<'_> {
    /// Sends one request.
    ///
    /// # Errors
    /// No answer came that can be believed.
    pub async fn ask(&self, request: &Request) -> Result<Response, ExchangeError> {
        let mut answers = self.ask_all(std::slice::from_ref(request)).await;
        answers.pop().unwrap_or_else(|| Err(self.no_answer()))
    }

    /// Sends one request over TCP alone.
    ///
    /// # Errors
    /// No answer came that can be believed.
    pub async fn ask_over_tcp(&self, request: &Request) -> Result<Response, ExchangeError> {
        let mut pending = [Pending::new(*self, request)];
        self.over_tcp(&mut pending, Instant::now() + self.timing.limit).await;
        let [one] = pending;
        one.answer.unwrap_or_else(|| Err(self.no_answer()))
    }

    /// Sends the requests side by side; the answers stand in the same order.
    pub async fn ask_all(&self, requests: &[Request]) -> Vec<Answer> {
        let deadline = Instant::now() + self.timing.limit;
        let mut pending =
            requests.iter().map(|request| Pending::new(*self, request)).collect::<Vec<_>>();
        if pending.iter().all(Pending::fits_a_datagram) {
            self.over_udp(&mut pending, deadline).await;
        }
        if pending.iter().any(|one| one.answer.is_none()) {
            self.over_tcp(&mut pending, deadline).await;
        }
        pending.into_iter().map(|one| one.answer.unwrap_or_else(|| Err(self.no_answer()))).collect()
    }

    fn no_answer(&self) -> ExchangeError {
        ExchangeError::NoAnswer { server: self.server, waited: self.timing.limit }
    }

    /// Leaves requests without an answer that TCP should take over, and errors at those that it should not.
    async fn over_udp(&self, pending: &mut [Pending], deadline: Instant) {
        if let Err(source) = self.try_udp(pending, deadline).await {
            for one in pending.iter_mut().filter(|one| one.answer.is_none()) {
                let source = io::Error::new(source.kind(), source.to_string());
                one.answer = Some(Err(ExchangeError::Unreachable { server: self.server, source }));
            }
        }
    }

    async fn try_udp(&self, pending: &mut [Pending], deadline: Instant) -> io::Result<()> {
        let any: SocketAddr = match self.server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(any).await?;
        socket.connect(self.server).await?;
        let mut buffer = vec![0; usize::from(u16::MAX)];
        let mut interval = self.timing.retransmit;
        while Instant::now() < deadline {
            for one in pending.iter().filter(|one| one.waits_for_udp()) {
                socket.send(&one.signed).await?;
            }
            let next = (Instant::now() + interval).min(deadline);
            interval *= 2;
            while pending.iter().any(Pending::waits_for_udp) {
                let Ok(received) = timeout_at(next, socket.recv(&mut buffer)).await else { break };
                let datagram = buffer.get(..received?).unwrap_or_default();
                for one in pending
                    .iter_mut()
                    .filter(|one| one.waits_for_udp() && one.is_answered_by(datagram))
                {
                    one.take_datagram(*self, datagram);
                }
            }
            // An answer that did not verify, and no other since: TCP has the last word.
            if pending.iter().all(|one| !one.waits_for_udp() || one.doubtful) {
                return Ok(());
            }
        }
        for one in pending.iter_mut().filter(|one| one.waits_for_udp() && !one.doubtful) {
            one.answer = Some(Err(self.no_answer()));
        }
        Ok(())
    }

    async fn over_tcp(&self, pending: &mut [Pending], deadline: Instant) {
        // At least a moment, even if UDP used up the time: the connection is what settles a doubtful answer.
        let deadline = deadline.max(Instant::now() + self.timing.retransmit);
        let failed = match timeout_at(deadline, self.try_tcp(pending)).await {
            Ok(Ok(())) => None,
            Ok(Err(source)) => Some(source),
            Err(_) => Some(io::Error::from(io::ErrorKind::TimedOut)),
        };
        for one in pending.iter_mut().filter(|one| one.answer.is_none()) {
            let fallback = one.hint.take().unwrap_or_else(|| match &failed {
                Some(source) if source.kind() != io::ErrorKind::TimedOut => {
                    let source = io::Error::new(source.kind(), source.to_string());
                    ExchangeError::Unreachable { server: self.server, source }
                }
                _ => self.no_answer(),
            });
            one.answer = Some(Err(fallback));
        }
    }

    async fn try_tcp(&self, pending: &mut [Pending]) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.server).await?;
        stream.set_nodelay(true)?;
        let mut octets = Vec::new();
        for one in pending.iter_mut().filter(|one| one.answer.is_none()) {
            one.sign(*self);
            let length =
                u16::try_from(one.signed.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            octets.extend(length.to_be_bytes());
            octets.extend(&one.signed);
        }
        stream.write_all(&octets).await?;
        while pending.iter().any(|one| one.answer.is_none()) {
            let length = stream.read_u16().await?;
            let mut message = vec![0; usize::from(length)];
            stream.read_exact(&mut message).await?;
            for one in pending
                .iter_mut()
                .filter(|one| one.answer.is_none() && one.is_answered_by(&message))
            {
                one.answer = Some(one.judge(*self, &message).0);
            }
        }
        Ok(())
    }
}

/// One request on its way.
struct Pending {
    octets: Vec<u8>,
    question: Vec<u8>,
    signed: Vec<u8>,
    mac: Option<RequestMac>,
    answer: Option<Answer>,
    /// What an answer that decides nothing said, for the person who reads the error.
    hint: Option<ExchangeError>,
    truncated: bool,
    doubtful: bool,
}

impl Pending {
    fn new(peer: Peer<'_>, request: &Request) -> Self {
        let mut pending = Self {
            octets: request.octets.clone(),
            question: question_of(&request.octets),
            signed: Vec::new(),
            mac: None,
            answer: None,
            hint: None,
            truncated: false,
            doubtful: false,
        };
        pending.sign(peer);
        pending
    }

    fn sign(&mut self, peer: Peer<'_>) {
        (self.signed, self.mac) = match peer.key {
            Some(key) => {
                let (signed, mac) = key.sign(&self.octets, (peer.clock)());
                (signed, Some(mac))
            }
            None => (self.octets.clone(), None),
        };
    }

    fn fits_a_datagram(&self) -> bool {
        self.signed.len() <= usize::from(UDP_PAYLOAD)
    }

    fn waits_for_udp(&self) -> bool {
        self.answer.is_none() && !self.truncated
    }

    /// Whether the octets are a response with our id and, if they repeat a question, ours (RFC 5452 section 9.1).
    fn is_answered_by(&self, message: &[u8]) -> bool {
        let same_id = message.get(..2).is_some_and(|id| Some(id) == self.octets.get(..2));
        let is_response = message.get(2).is_some_and(|flags| flags & 0x80 != 0);
        let questions = message.get(4..6).unwrap_or_default();
        let same_question = questions == [0, 0]
            || message
                .get(12..12 + self.question.len())
                .is_some_and(|q| q.eq_ignore_ascii_case(&self.question));
        message.len() >= 12 && same_id && is_response && same_question
    }

    fn take_datagram(&mut self, peer: Peer<'_>, datagram: &[u8]) {
        match self.judge(peer, datagram) {
            (Ok(response), _) if response.truncated => self.truncated = true,
            (answer, true) => self.answer = Some(answer),
            (Ok(_), false) => {}
            (Err(error), false) => {
                self.doubtful = true;
                self.hint = Some(error);
            }
        }
    }

    /// What a message says, and whether it may decide when anybody could have sent it.
    fn judge(&self, peer: Peer<'_>, message: &[u8]) -> (Answer, bool) {
        let server = peer.server;
        let malformed = |source| ExchangeError::Malformed { server, source };
        let (Some(key), Some(mac)) = (peer.key, &self.mac) else {
            let answer = message::parse(message).map_err(malformed);
            let decides = answer.is_ok();
            return (answer, decides);
        };
        let now = (peer.clock)();
        let (bare, verdict) = key.verify(message, mac, now);
        match verdict {
            Verdict::Good => (message::parse(&bare).map_err(malformed), true),
            Verdict::BadTime { server: theirs } => {
                let skew = i64::try_from(theirs).unwrap_or(i64::MAX).saturating_sub_unsigned(now);
                (Err(ExchangeError::BadTime { server, skew }), true)
            }
            Verdict::Unverified { error } => {
                let rcode = Rcode(u16::from(message.get(3).copied().unwrap_or_default() & 0x0f));
                (Err(ExchangeError::Unverified { server, rcode, error }), false)
            }
        }
    }
}

/// The question section of a request with one question.
fn question_of(octets: &[u8]) -> Vec<u8> {
    let rest = octets.get(12..).unwrap_or_default();
    let mut end = 0;
    while let Some(length) = rest.get(end).filter(|length| **length != 0) {
        end += usize::from(*length) + 1;
    }
    rest.get(..end + 5).unwrap_or_default().to_vec()
}
