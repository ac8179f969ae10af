//! Transaction signatures on raw octets: signing requests, verifying answers (RFC 8945).

use std::fmt;

use super::key::TsigKey;
use crate::core::name::Name;

/// A request's MAC, which its answer's is computed over (RFC 8945 section 5.3.1).
#[derive(Clone, Debug)]
pub struct RequestMac(Vec<u8>);

/// What the signature of an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the key holder's answer.
    Good,
    /// It is the key holder's answer: the request came at the wrong time by the server's clock.
    BadTime {
        /// The server's clock, seconds since 1970.
        server: u64,
    },
    /// It cannot be trusted: `error` is what its TSIG record claims, if it has one.
    Unverified {
        /// The claim, unsigned by design for a bad key or a bad signature.
        error: Option<TsigError>,
    },
}

/// TSIG's own error codes (RFC 8945 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TsigError {
    /// 16: the MAC is not what the server computes.
    BadSig,
    /// 17: the server does not know the key, or not with this algorithm.
    BadKey,
    /// 18: the server's clock and ours differ by more than the fudge.
    BadTime,
    /// 22: the MAC is too short.
    BadTrunc,
    /// Any other.
    Other(u16),
}

impl fmt::Display for TsigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSig => f.write_str("BADSIG"),
            Self::BadKey => f.write_str("BADKEY"),
            Self::BadTime => f.write_str("BADTIME"),
            Self::BadTrunc => f.write_str("BADTRUNC"),
            Self::Other(code) => write!(f, "TSIG error {code}"),
        }
    }
}

impl From<u16> for TsigError {
    fn from(code: u16) -> Self {
        match code {
            16 => Self::BadSig,
            17 => Self::BadKey,
            18 => Self::BadTime,
            22 => Self::BadTrunc,
            other => Self::Other(other),
        }
    }
}

/// How far clocks may differ, in seconds (RFC 8945 section 10 recommends it).
pub const FUDGE: u16 = 300;

impl TsigKey {
    /// Appends the signature to an encoded request; `now` is in seconds since 1970.
    #[must_use]
    pub fn sign(&self, message: &[u8], now: u64) -> (Vec<u8>, RequestMac) {
        let id = message.get(..2).unwrap_or(&[0, 0]);
        let timers = [&time48(now), FUDGE.to_be_bytes().as_slice()].concat();
        let variables = self.variables(&timers, 0, &[]);
        let mac = self.mac(&[message, &variables]);
        let rdata = [
            wire_name(self.algorithm_domain()),
            timers,
            length16(&mac),
            mac.clone(),
            id.to_vec(),
            vec![0, 0],
            vec![0, 0],
        ]
        .concat();
        let record =
            [wire_labels(self.name()), vec![0, 250, 0, 255, 0, 0, 0, 0], length16(&rdata), rdata]
                .concat();
        let mut signed = message.to_vec();
        signed.extend(record);
        add_additional(&mut signed, 1);
        (signed, RequestMac(mac))
    }

    /// Takes the signature off an answer and judges it; gives the message without it.
    #[must_use]
    pub fn verify(&self, answer: &[u8], request: &RequestMac, now: u64) -> (Vec<u8>, Verdict) {
        let (bare, verdict, _) = self.judge(answer, request, None, now);
        (bare, verdict)
    }

    /// The same, for the first of many messages; gives its own MAC too.
    #[must_use]
    pub fn verify_first(
        &self,
        answer: &[u8],
        request: &RequestMac,
        now: u64,
    ) -> (Vec<u8>, Verdict, RequestMac) {
        self.judge(answer, request, None, now)
    }

    /// The same for one of many messages that answer a request (RFC 8945 section 5.3.1): `before` is the MAC of the message
    /// before it, and `unsigned` what came without one since. Gives its own MAC too.
    #[must_use]
    pub fn verify_next(
        &self,
        answer: &[u8],
        before: &RequestMac,
        unsigned: &[u8],
        now: u64,
    ) -> (Vec<u8>, Verdict, RequestMac) {
        self.judge(answer, before, Some(unsigned), now)
    }

    fn judge(
        &self,
        answer: &[u8],
        request: &RequestMac,
        unsigned: Option<&[u8]>,
        now: u64,
    ) -> (Vec<u8>, Verdict, RequestMac) {
        let nothing = RequestMac(Vec::new());
        let Some(tsig) = TsigRecord::find(answer) else {
            return (answer.to_vec(), Verdict::Unverified { error: None }, nothing);
        };
        let own = RequestMac(tsig.mac.clone());
        let bare = tsig.without(answer);
        let claim = (tsig.error != 0).then(|| TsigError::from(tsig.error));
        let unverified = Verdict::Unverified { error: claim };
        let same_key = tsig.key == wire_labels(self.name())
            && tsig.algorithm == wire_name(self.algorithm_domain());
        if !same_key || tsig.mac.is_empty() {
            return (bare, unverified, nothing);
        }
        // The MAC covers the message as it was before TSIG, with the id that the signer gave it.
        let mut covered = bare.clone();
        if let Some(id) = covered.get_mut(..2) {
            id.copy_from_slice(&tsig.original_id);
        }
        let timers = [tsig.time.as_slice(), tsig.fudge.as_slice()].concat();
        // Of a message that follows another only the timers are covered.
        let variables = match unsigned {
            None => self.variables(&timers, tsig.error, &tsig.other),
            Some(_) => timers,
        };
        let unsigned = unsigned.unwrap_or_default();
        let prior = length16(&request.0);
        let (standard, without_length) = (
            [&prior, &request.0, unsigned, &covered, &variables],
            [[].as_slice(), &request.0, unsigned, &covered, &variables],
        );
        // Samba's own DNS server (dns_crypto.c) leaves out the length of the request's MAC, which says as much, since all that
        // Kerberos makes are of one length; BIND's clients take its answers for forged.
        let is_good = self.is_mac(&standard, &tsig.mac)
            || (self.is_of_context() && self.is_mac(&without_length, &tsig.mac));
        if !is_good {
            return (bare, unverified, nothing);
        }
        if claim == Some(TsigError::BadTime) {
            return (bare, Verdict::BadTime { server: seconds(&tsig.other) }, own);
        }
        let drift = seconds(&tsig.time).abs_diff(now);
        if drift > u64::from(u16::from_be_bytes(tsig.fudge)) {
            return (bare, Verdict::BadTime { server: seconds(&tsig.time) }, own);
        }
        (bare, if claim.is_some() { unverified } else { Verdict::Good }, own)
    }

    /// The TSIG variables of RFC 8945 section 4.3.3.
    fn variables(&self, timers: &[u8], error: u16, other: &[u8]) -> Vec<u8> {
        [
            wire_labels(self.name()),
            vec![0, 255, 0, 0, 0, 0],
            wire_name(self.algorithm_domain()),
            timers.to_vec(),
            error.to_be_bytes().to_vec(),
            length16(other),
            other.to_vec(),
        ]
        .concat()
    }
}

/// The TSIG record at the end of a message.
struct TsigRecord {
    start: usize,
    key: Vec<u8>,
    algorithm: Vec<u8>,
    time: [u8; 6],
    fudge: [u8; 2],
    mac: Vec<u8>,
    original_id: [u8; 2],
    error: u16,
    other: Vec<u8>,
}

impl TsigRecord {
    /// Finds the record, if it is the message's last one (RFC 8945 section 5.1); `None` for anything malformed.
    fn find(message: &[u8]) -> Option<Self> {
        let mut cursor = Cursor { message, at: 4 };
        let counts = [cursor.u16()?, cursor.u16()?, cursor.u16()?, cursor.u16()?];
        let [questions, answers, authorities, additionals] = counts;
        for _ in 0..questions {
            cursor.name()?;
            cursor.take(4)?;
        }
        let records = u32::from(answers) + u32::from(authorities) + u32::from(additionals);
        for _ in 1..records {
            cursor.name()?;
            cursor.take(8)?;
            let length = cursor.u16()?;
            cursor.take(usize::from(length))?;
        }
        if additionals == 0 {
            return None;
        }
        let start = cursor.at;
        let key = cursor.name()?;
        let fixed = cursor.take(10)?;
        if fixed.get(..2)? != [0, 250] {
            return None;
        }
        let algorithm = cursor.name()?;
        let time = cursor.take(6)?.try_into().ok()?;
        let fudge = cursor.take(2)?.try_into().ok()?;
        let mac_length = cursor.u16()?;
        let mac = cursor.take(usize::from(mac_length))?.to_vec();
        let original_id = cursor.take(2)?.try_into().ok()?;
        let error = cursor.u16()?;
        let other_length = cursor.u16()?;
        let other = cursor.take(usize::from(other_length))?.to_vec();
        (cursor.at == message.len()).then_some(Self {
            start,
            key,
            algorithm,
            time,
            fudge,
            mac,
            original_id,
            error,
            other,
        })
    }

    fn without(&self, message: &[u8]) -> Vec<u8> {
        let mut bare = message.get(..self.start).unwrap_or(message).to_vec();
        add_additional(&mut bare, -1);
        bare
    }
}

struct Cursor<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.message.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// The name at the cursor in uncompressed wire format and lower case; pointers lead backwards only, so this ends.
    fn name(&mut self) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        let (mut at, mut after) = (self.at, None);
        loop {
            let length = *self.message.get(at)?;
            match length {
                0 => {
                    name.push(0);
                    self.at = after.unwrap_or(at + 1);
                    return (name.len() <= 255).then_some(name);
                }
                1..=63 => {
                    let label = self.message.get(at..=at + usize::from(length))?;
                    name.extend(label.iter().map(u8::to_ascii_lowercase));
                    at += 1 + usize::from(length);
                }
                192.. => {
                    let target =
                        usize::from(length & 0x3f) << 8 | usize::from(*self.message.get(at + 1)?);
                    after = after.or(Some(at + 2));
                    if target >= at {
                        return None;
                    }
                    at = target;
                }
                _ => return None,
            }
        }
    }
}

pub(super) fn wire_labels(name: &Name) -> Vec<u8> {
    let labels = name
        .wire_labels()
        .flat_map(|label| [vec![u8::try_from(label.len()).unwrap_or(0)], label].concat());
    labels.chain([0]).collect()
}

pub(super) fn wire_name(text: &str) -> Vec<u8> {
    text.parse().map(|name| wire_labels(&name)).unwrap_or_default()
}

fn length16(octets: &[u8]) -> Vec<u8> {
    u16::try_from(octets.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec()
}

fn time48(now: u64) -> Vec<u8> {
    now.to_be_bytes().iter().skip(2).copied().collect()
}

fn seconds(octets: &[u8]) -> u64 {
    octets.iter().fold(0, |time, octet| time << 8 | u64::from(*octet))
}

/// Changes the header's count of additional records.
fn add_additional(message: &mut [u8], by: i16) {
    if let Some(Ok(count)) = message.get(10..12).map(<[u8; 2]>::try_from) {
        let count = u16::from_be_bytes(count).wrapping_add_signed(by);
        if let Some(place) = message.get_mut(10..12) {
            place.copy_from_slice(&count.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{
        key::Keyring,
        message::{self, Question, Recursion},
    };

    fn key(algorithm: &str) -> TsigKey {
        let text = format!("key \"k.\" {{ algorithm {algorithm}; secret \"c2VjcmV0\"; }};");
        text.parse::<Keyring>().unwrap().iter().next().unwrap().clone()
    }

    /// An answer signed as a server does: over the request's MAC, with `error` and `other`.
    fn answer(key: &TsigKey, request: &RequestMac, now: u64, error: u16, other: &[u8]) -> Vec<u8> {
        let query =
            message::query(&"a.b".parse().unwrap(), Question::Soa, Recursion::Unwanted).unwrap();
        let timers = [&time48(now), FUDGE.to_be_bytes().as_slice()].concat();
        let variables = key.variables(&timers, error, other);
        let mac = key.mac(&[&length16(&request.0), &request.0, &query.octets, &variables]);
        let id = query.octets[..2].to_vec();
        let rdata = [
            wire_name(key.algorithm_domain()),
            timers,
            length16(&mac),
            mac,
            id,
            error.to_be_bytes().to_vec(),
            length16(other),
            other.to_vec(),
        ]
        .concat();
        let mut signed = query.octets;
        signed.extend(
            [wire_labels(key.name()), vec![0, 250, 0, 255, 0, 0, 0, 0], length16(&rdata), rdata]
                .concat(),
        );
        add_additional(&mut signed, 1);
        signed
    }

    #[test]
    fn an_answer_is_good_only_with_the_right_key_request_and_time() {
        for algorithm in
            ["hmac-md5", "hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512"]
        {
            let key = key(algorithm);
            let (_, request) = key.sign(&[0; 12], 1000);
            let good = answer(&key, &request, 1000, 0, &[]);
            let (bare, verdict) = key.verify(&good, &request, 1010);
            assert_eq!(verdict, Verdict::Good, "{algorithm}");
            assert!(TsigRecord::find(&bare).is_none());
            let (_, other) = key.sign(&[1; 12], 1000);
            assert_eq!(key.verify(&good, &other, 1010).1, Verdict::Unverified { error: None });
            assert_eq!(key.verify(&good, &request, 1301).1, Verdict::BadTime { server: 1000 });
            let mut forged = good.clone();
            forged[3] ^= 5;
            assert_eq!(key.verify(&forged, &request, 1010).1, Verdict::Unverified { error: None });
        }
    }

    #[test]
    fn a_clock_that_differs_is_told_with_the_servers_time() {
        let key = key("hmac-sha256");
        let (_, request) = key.sign(&[0; 12], 1000);
        let late = answer(&key, &request, 1000, 18, &time48(5000));
        assert_eq!(key.verify(&late, &request, 1000).1, Verdict::BadTime { server: 5000 });
    }

    #[test]
    fn an_error_without_a_mac_is_only_a_claim() {
        let key = key("hmac-sha256");
        let (signed, request) = key.sign(&[0; 12], 1000);
        let record = TsigRecord::find(&signed).unwrap();
        let mac_at = signed.len() - 6 - record.mac.len();
        let mut claim = signed[..mac_at - 2].to_vec();
        claim.extend([0, 0, 0, 0, 0, 17, 0, 0]);
        let rdlength_at = record.start + wire_labels(key.name()).len() + 8;
        let rdlength = u16::try_from(claim.len() - rdlength_at - 2).unwrap();
        claim[rdlength_at..rdlength_at + 2].copy_from_slice(&rdlength.to_be_bytes());
        assert_eq!(
            key.verify(&claim, &request, 1000).1,
            Verdict::Unverified { error: Some(TsigError::BadKey) }
        );
    }

    #[test]
    fn octets_of_any_kind_are_judged_without_a_panic() {
        let key = key("hmac-sha256");
        let (signed, request) = key.sign(&[0; 12], 1000);
        for end in 0..signed.len() {
            let _ = key.verify(&signed[..end], &request, 1000);
        }
        let mut looped = vec![0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0xc0, 12, 0, 1, 0, 1];
        looped.extend([0xff; 20]);
        assert_eq!(key.verify(&looped, &request, 1000).1, Verdict::Unverified { error: None });
    }
}
