//! A whole zone over TCP (RFC 5936), each message of it under the key (RFC 8945 section 5.3.1).

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{
    exchange::{ExchangeError, Peer},
    message::{self, Question, Rcode, Recursion, Response},
    tsig::{RequestMac, Verdict},
};
use crate::core::{name::Name, rrset::Records};

/// A zone, or the response code of a server that does not give it.
pub type Transfer = Result<Records, Rcode>;

impl Peer<'_> {
    /// Transfers `zone`, in the time of a request from one message to the next.
    ///
    /// # Errors
    /// No answer came that can be believed.
    pub async fn transfer(&self, zone: &Name) -> Result<Transfer, ExchangeError> {
        let server = self.server;
        let malformed = |source| ExchangeError::Malformed { server, source };
        let request = message::query(zone, Question::Transfer, Recursion::Unwanted);
        let request = request.map_err(malformed)?;
        let (signed, mut mac) = match self.key {
            Some(key) => {
                let (signed, mac) = key.sign(&request.octets, (self.clock)());
                (signed, Some(mac))
            }
            None => (request.octets, None),
        };
        let mut stream = self.in_time(send(self, &signed)).await?;
        let (mut records, mut starts) = (Records::new(), 0);
        let (mut is_first, mut unsigned) = (true, Vec::new());
        while starts < 2 {
            let octets = self.in_time(next(&mut stream)).await?;
            let (bare, is_signed) = self.believe(&octets, &mut mac, is_first, &mut unsigned)?;
            let Response { rcode, answers, starts: more, .. } =
                message::parse(&bare).map_err(malformed)?;
            if rcode != Rcode::NOERROR {
                return Ok(Err(rcode));
            }
            if is_first && more == 0 {
                // Neither a zone nor a refusal.
                return Ok(Err(Rcode::NOTAUTH));
            }
            starts += more;
            is_first = false;
            for (key, set) in answers {
                let whole = records.entry(key).or_insert_with(|| set.clone());
                whole.values.extend(set.values);
            }
            // What the last message has nobody vouches for unless it is signed.
            if starts >= 2 && !is_signed {
                let rcode = Rcode::NOERROR;
                return Err(ExchangeError::Unverified { server, rcode, error: None });
            }
        }
        Ok(Ok(records))
    }

    /// The message without its signature, and whether it had one: a server may sign one of a hundred.
    fn believe(
        &self,
        octets: &[u8],
        mac: &mut Option<RequestMac>,
        is_first: bool,
        unsigned: &mut Vec<u8>,
    ) -> Result<(Vec<u8>, bool), ExchangeError> {
        let server = self.server;
        let (Some(key), Some(before)) = (self.key, mac.as_ref()) else {
            return Ok((octets.to_vec(), true));
        };
        let now = (self.clock)();
        let (bare, verdict, own) = if is_first {
            key.verify_first(octets, before, now)
        } else {
            key.verify_next(octets, before, unsigned, now)
        };
        match verdict {
            Verdict::Good => {
                *mac = Some(own);
                unsigned.clear();
                Ok((bare, true))
            }
            Verdict::Unverified { error: None } if !is_first && bare.len() == octets.len() => {
                unsigned.extend(octets);
                if unsigned.len() > MOST_UNSIGNED {
                    let rcode = Rcode::NOERROR;
                    return Err(ExchangeError::Unverified { server, rcode, error: None });
                }
                Ok((bare, false))
            }
            Verdict::BadTime { server: theirs } => {
                let skew = i64::try_from(theirs).unwrap_or(i64::MAX).saturating_sub_unsigned(now);
                Err(ExchangeError::BadTime { server, skew })
            }
            Verdict::Unverified { error } => {
                let rcode = Rcode(u16::from(octets.get(3).copied().unwrap_or_default() & 0x0f));
                Err(ExchangeError::Unverified { server, rcode, error })
            }
        }
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = io::Result<T>>,
    ) -> Result<T, ExchangeError> {
        let (server, limit) = (self.server, self.timing.limit);
        match timeout_at(Instant::now() + limit, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(source)) => Err(ExchangeError::Unreachable { server, source }),
            Err(_) => Err(ExchangeError::NoAnswer { server, waited: limit }),
        }
    }
}

async fn send(peer: &Peer<'_>, message: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(peer.server).await?;
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
    Ok(stream)
}

async fn next(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// A hundred messages (RFC 8945 section 5.3.1), of 64 KiB at most.
const MOST_UNSIGNED: usize = 100 << 16;
