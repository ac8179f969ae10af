//! Agreeing on a key with a server by Kerberos (GSS-TSIG, RFC 3645 section 3; TKEY, RFC 2930).

use std::time::Duration;

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use super::{
    exchange::{ExchangeError, Peer, claim},
    gss::{Context, GssError},
    key::{GSS_TSIG, TsigKey},
    message::{self, Rcode, TKEY},
    tsig::{TsigError, wire_name},
};
use crate::core::{
    name::Name,
    rrset::{Rdata, RrType, RrsetKey},
};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum TkeyError {
    /// The Kerberos library has no ticket for the server, or does not believe it.
    #[error(transparent)]
    Kerberos(GssError),
    /// The Kerberos servers do not answer.
    #[error("no Kerberos server answered within {} s", .0.as_secs())]
    Silence(Duration),
    /// The ticket does not fit a message: an account of very many groups.
    #[error("the ticket of {0} octets does not fit a DNS message")]
    TooLarge(usize),
    /// The DNS server did not answer.
    #[error(transparent)]
    Exchange(ExchangeError),
    /// The DNS server does not want our ticket.
    #[error("it answered {rcode}{}", claim(*error))]
    Refused {
        /// The response code.
        rcode: Rcode,
        /// The TKEY record's own error.
        error: Option<TsigError>,
    },
}

impl Peer<'_> {
    /// Agrees on a key with the server, whose name is `host`, as `principal`, or as the first one of the keytab. `unique` is
    /// a number that no other agreement has.
    ///
    /// # Errors
    /// There is no ticket, or the server does not take it.
    pub async fn agree(
        &self,
        host: &Name,
        principal: Option<&str>,
        unique: u32,
    ) -> Result<TsigKey, TkeyError> {
        let unreadable =
            |source| TkeyError::Exchange(ExchangeError::Malformed { server: self.server, source });
        let name = host.child(&format!("sig-{unique:08x}")).unwrap_or_else(|_| host.clone());
        let (server, us) = (host.clone(), principal.map(str::to_owned));
        // One that hangs is left behind: it ends by itself, or with the process.
        let turn = AT_ONCE.try_acquire().map_err(|_| TkeyError::Silence(PATIENCE))?;
        let begun = spawn_blocking(move || {
            let begun = Context::begin(&server, us.as_deref());
            drop(turn);
            begun
        });
        let begun = timeout(PATIENCE, begun).await.map_err(|_| TkeyError::Silence(PATIENCE))?;
        let panicked = |_| TkeyError::Silence(Duration::ZERO);
        let (context, mut token) = begun.map_err(panicked)?.map_err(TkeyError::Kerberos)?;
        // Kerberos takes one round, and the negotiation around it another at most.
        for _ in 0..MOST_ROUNDS {
            if token.len() > MOST_OCTETS {
                return Err(TkeyError::TooLarge(token.len()));
            }
            let request = message::key_query(&name, rdata(&token, (self.clock)()));
            let request = request.map_err(unreadable)?;
            let answer = self.ask_over_tcp(&request).await.map_err(TkeyError::Exchange)?;
            let found = answer.answers.get(&RrsetKey::new(name.clone(), RrType::Other(TKEY)));
            let found = found.and_then(|set| set.values.first()).and_then(Agreement::read);
            let refused = |error| TkeyError::Refused { rcode: answer.rcode, error };
            let agreement = found.ok_or_else(|| refused(None))?;
            if answer.rcode != Rcode::NOERROR || agreement.error != 0 {
                return Err(refused(Some(agreement.error.into()).filter(|_| agreement.error != 0)));
            }
            // The server's token proves who it is (mutual authentication, RFC 4121 section 4.1.1.1): nothing of the answer but
            // that token is used, so the signature around it proves nothing more.
            let next = context.step(&agreement.token).map_err(TkeyError::Kerberos)?;
            token = next.unwrap_or_default();
            if context.is_complete() && token.is_empty() {
                return Ok(TsigKey::of_context(name, context));
            }
        }
        Err(TkeyError::Refused { rcode: Rcode::NOERROR, error: None })
    }
}

/// The data of a TKEY record (RFC 2930 section 2) that carries a token.
fn rdata(token: &[u8], now: u64) -> Vec<u8> {
    let seconds = |time: u64| u32::try_from(time & 0xffff_ffff).unwrap_or_default().to_be_bytes();
    let length = u16::try_from(token.len()).unwrap_or(u16::MAX).to_be_bytes();
    [
        wire_name(GSS_TSIG).as_slice(),
        &seconds(now),
        &seconds(now + LIFETIME.as_secs()),
        &GSS_API_NEGOTIATION.to_be_bytes(),
        &[0, 0],
        &length,
        token,
        &[0, 0],
    ]
    .concat()
}

/// What a server's TKEY record says.
#[derive(Debug, PartialEq, Eq)]
struct Agreement {
    error: u16,
    token: Vec<u8>,
}

impl Agreement {
    fn read(record: &Rdata) -> Option<Self> {
        let Rdata::Other { octets, .. } = record else { return None };
        // The name of the algorithm is never compressed (RFC 3597 section 4).
        let mut at = 0;
        loop {
            let label = usize::from(*octets.get(at)?);
            at += 1 + label;
            if label == 0 {
                break;
            }
        }
        let number = |at: usize| octets.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes);
        let (error, length) = (number(at + 10)?, number(at + 12)?);
        let token = octets.get(at + 14..at + 14 + usize::from(length))?.to_vec();
        Some(Self { error, token })
    }
}

/// How long Kerberos may take, whose servers are few and near.
const PATIENCE: Duration = Duration::from_secs(5);
const MOST_ROUNDS: usize = 5;
/// Threads that wait for Kerberos servers; where these hang, more would too.
static AT_ONCE: Semaphore = Semaphore::const_new(4);
/// Of a token: a message holds 64 KiB, and a little beside it.
const MOST_OCTETS: usize = 65_000;
/// What we ask for; the server and the ticket decide.
const LIFETIME: Duration = Duration::from_secs(3600);
/// A mode of RFC 2930 section 2.5.
const GSS_API_NEGOTIATION: u16 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_travels_in_a_record_and_what_is_cut_off_is_none() {
        let octets = rdata(b"token", 1_000);
        let record = |octets: &[u8]| Rdata::Other { rtype: TKEY, octets: octets.to_vec() };
        let read = Agreement::read(&record(&octets));
        assert_eq!(read, Some(Agreement { error: 0, token: b"token".to_vec() }));
        assert_eq!(octets[..10], *b"\x08gss-tsig\0");
        assert_eq!(octets[10..22], [0, 0, 3, 232, 0, 0, 17, 248, 0, 3, 0, 0]);
        for end in 0..octets.len() - 2 {
            assert_eq!(Agreement::read(&record(&octets[..end])), None, "{end}");
        }
    }
}
