//! Checks the signature of a request and signs its answer (RFC 8945), on the bytes and before hickory sees them: whether
//! hickory takes the TSIG record apart depends on a feature of its own.

use hickory_proto::{
    op::{Header, Query},
    rr::Name,
    serialize::binary::{BinDecodable, BinDecoder, DecodeError},
};

use super::key::Key;

/// The RCODE of the TSIG record (RFC 8945 §3).
pub(super) const BADSIG: u16 = 16;
pub(super) const BADKEY: u16 = 17;
pub(super) const BADTIME: u16 = 18;

/// A TSIG record that ended a message.
#[derive(Clone, Debug)]
struct Record {
    key: Name,
    algorithm: Name,
    time: u64,
    fudge: u16,
    mac: Vec<u8>,
    original_id: u16,
    error: u16,
    other: Vec<u8>,
}

/// How a signed request stands, and what its answer has to be signed with.
pub(super) struct Standing {
    /// Nought, or one of `BADSIG`, `BADKEY`, `BADTIME`.
    pub(super) error: u16,
    key: Option<Key>,
    record: Record,
}

/// The message is not one that RFC 8945 §5.2 lets be answered with anything but FORMERR.
#[derive(Debug)]
pub(super) struct Malformed;

impl From<DecodeError> for Malformed {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

/// Takes the signature off `message` and checks it as RFC 8945 §5.2 orders: key, MAC, time.
pub(super) fn check(
    message: &[u8],
    keys: &[Key],
    now: u64,
) -> Result<(Vec<u8>, Option<Standing>), Malformed> {
    let Some((bare, record)) = split(message)? else { return Ok((message.to_vec(), None)) };
    let key = keys.iter().find(|key| {
        key.domain_name().as_ref() == Some(&record.key)
            && algorithm(key).as_ref() == Some(&record.algorithm)
    });
    let Some(key) = key else {
        return Ok((bare, Some(Standing { error: BADKEY, key: None, record })));
    };

    let whole = key.algorithm.output_len();
    if record.mac.len() > whole || record.mac.len() < whole / 2 {
        return Err(Malformed); // §5.2.2.1
    }
    let error = if key.mac(&[&bare, &variables(&record)]) != record.mac {
        BADSIG
    } else if record.time.abs_diff(now) > u64::from(record.fudge) {
        BADTIME
    } else {
        0
    };
    let key = (error != BADSIG).then(|| key.clone());
    Ok((bare, Some(Standing { error, key, record })))
}

impl Standing {
    /// The name of the key that signed the request; `None` when the signature does not hold.
    pub(super) fn signer(&self) -> Option<String> {
        (self.error == 0).then(|| self.record.key.to_ascii())
    }

    /// How much `sign` adds to an answer.
    pub(super) fn len(&self) -> usize {
        let mac = self.key.as_ref().map_or(0, |key| key.algorithm.output_len());
        wire(&self.record.key).len() + 10 + wire(&self.record.algorithm).len() + 16 + mac + 6
    }

    /// Ends `answer` with its TSIG record. BADKEY and BADSIG are answered without a MAC (§5.3.2); BADTIME with the
    /// client's time, so that it verifies, and the server's in Other Data (§5.2.3).
    pub(super) fn sign(&self, answer: &[u8], now: u64) -> Vec<u8> {
        let mut record = Record {
            key: self.record.key.clone(),
            algorithm: self.record.algorithm.clone(),
            time: now,
            fudge: self.record.fudge,
            mac: Vec::new(),
            original_id: id(answer),
            error: self.error,
            other: Vec::new(),
        };
        if self.error == BADTIME {
            record.time = self.record.time;
            record.other = u48(now).to_vec();
        }
        if let Some(key) = &self.key {
            record.mac = key.mac(&[&prefixed(&self.record.mac), answer, &variables(&record)]);
        }
        join(answer, &record)
    }

    /// As `sign`, with a MAC that nobody's secret makes.
    pub(super) fn forge(&self, answer: &[u8], now: u64) -> Vec<u8> {
        let mac = vec![0x5a; self.record.mac.len()];
        let record = Record {
            time: now,
            mac,
            error: 0,
            other: Vec::new(),
            original_id: id(answer),
            ..self.record.clone()
        };
        join(answer, &record)
    }
}

/// A request with its signature.
#[derive(Clone, Debug)]
pub struct Signed {
    /// What to send.
    pub message: Vec<u8>,
    /// What the answer's signature covers too.
    pub mac: Vec<u8>,
}

/// What the signature of an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The MAC is that of the request's key over this answer to this request.
    pub verifies: bool,
    /// There is a MAC at all.
    pub signed: bool,
    /// The TSIG error: 0, 16 BADSIG, 17 BADKEY, 18 BADTIME.
    pub error: u16,
    /// The time it was signed at.
    pub time: u64,
    /// The server's time, that BADTIME brings.
    pub other: Vec<u8>,
}

impl Key {
    /// Signs a request as of `time`, seconds since 1970: for tests that send what no tool sends.
    #[must_use]
    pub fn sign(&self, message: &[u8], time: u64) -> Signed {
        let mut record = Record {
            key: self.domain_name().unwrap_or_default(),
            algorithm: algorithm(self).unwrap_or_default(),
            time,
            fudge: 300,
            mac: Vec::new(),
            original_id: id(message),
            error: 0,
            other: Vec::new(),
        };
        record.mac = self.mac(&[message, &variables(&record)]);
        Signed { message: join(message, &record), mac: record.mac }
    }

    /// What the signature of `answer` says, being the answer to a request with `mac`; `None` when it has none.
    #[must_use]
    pub fn read_answer(&self, answer: &[u8], mac: &[u8]) -> Option<Answered> {
        let (bare, record) = split(answer).ok()??;
        let verifies = self.mac(&[&prefixed(mac), &bare, &variables(&record)]) == record.mac;
        let Record { error, time, other, mac, .. } = record;
        Some(Answered { verifies, signed: !mac.is_empty(), error, time, other })
    }
}

/// The message without its TSIG record, and the record; `None` when it ends with none.
fn split(message: &[u8]) -> Result<Option<(Vec<u8>, Record)>, Malformed> {
    let mut decoder = BinDecoder::new(message);
    let counts = Header::read(&mut decoder)?.counts;
    for _ in 0..counts.queries {
        Query::read(&mut decoder)?;
    }
    let records =
        u32::from(counts.answers) + u32::from(counts.authorities) + u32::from(counts.additionals);
    for left in (0..records).rev() {
        let start = decoder.index();
        let key = Name::read(&mut decoder)?;
        let kind = decoder.read_u16()?.unverified();
        decoder.read_slice(6)?;
        let length = usize::from(decoder.read_u16()?.unverified());
        if kind != TSIG {
            decoder.read_slice(length)?;
            continue;
        }
        if left > 0 || counts.additionals == 0 {
            return Err(Malformed); // §5.1: the last record, and in the additional section
        }
        let record = read(&mut decoder, key)?;
        let mut bare = message.get(..start).ok_or(Malformed)?.to_vec();
        bare.splice(10..12, (counts.additionals - 1).to_be_bytes());
        return Ok(Some((with_id(bare, record.original_id), record)));
    }
    Ok(None)
}

fn read(decoder: &mut BinDecoder<'_>, key: Name) -> Result<Record, Malformed> {
    let algorithm = Name::read(decoder)?;
    let (high, low) = (decoder.read_u16()?.unverified(), decoder.read_u32()?.unverified());
    let fudge = decoder.read_u16()?.unverified();
    let length = usize::from(decoder.read_u16()?.unverified());
    let mac = decoder.read_slice(length)?.unverified().to_vec();
    let original_id = decoder.read_u16()?.unverified();
    let error = decoder.read_u16()?.unverified();
    let length = usize::from(decoder.read_u16()?.unverified());
    let other = decoder.read_slice(length)?.unverified().to_vec();
    let time = u64::from(high) << 32 | u64::from(low);
    Ok(Record { key, algorithm, time, fudge, mac, original_id, error, other })
}

/// The message with its TSIG record at the end.
fn join(message: &[u8], record: &Record) -> Vec<u8> {
    let mut data = wire(&record.algorithm);
    data.extend(u48(record.time));
    data.extend(record.fudge.to_be_bytes());
    data.extend(prefixed(&record.mac));
    data.extend(record.original_id.to_be_bytes());
    data.extend(record.error.to_be_bytes());
    data.extend(prefixed(&record.other));

    let mut joined = message.to_vec();
    if let Some(&[high, low]) = joined.get(10..12) {
        joined.splice(10..12, (u16::from_be_bytes([high, low]) + 1).to_be_bytes());
    }
    joined.extend(wire(&record.key));
    joined.extend(TSIG.to_be_bytes());
    joined.extend(ANY_WITH_NO_TTL);
    joined.extend(prefixed(&data));
    joined
}

/// The TSIG variables that a MAC covers after the message (§4.3.3).
fn variables(record: &Record) -> Vec<u8> {
    let mut variables = wire(&record.key);
    variables.extend(ANY_WITH_NO_TTL);
    variables.extend(wire(&record.algorithm));
    variables.extend(u48(record.time));
    variables.extend(record.fudge.to_be_bytes());
    variables.extend(record.error.to_be_bytes());
    variables.extend(prefixed(&record.other));
    variables
}

/// A name in canonical wire form: in lower case, not compressed.
fn wire(name: &Name) -> Vec<u8> {
    let mut wire = Vec::with_capacity(name.len() + 1);
    for label in name {
        wire.extend(u8::try_from(label.len()).ok());
        wire.extend(label.to_ascii_lowercase());
    }
    wire.push(0);
    wire
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let mut prefixed = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    prefixed.extend(bytes);
    prefixed
}

fn u48(time: u64) -> [u8; 6] {
    let [_, _, bytes @ ..] = time.to_be_bytes();
    bytes
}

fn id(message: &[u8]) -> u16 {
    message.first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
}

fn with_id(mut message: Vec<u8>, id: u16) -> Vec<u8> {
    if let Some(place) = message.first_chunk_mut() {
        *place = id.to_be_bytes();
    }
    message
}

fn algorithm(key: &Key) -> Option<Name> {
    let mut name = Name::from_ascii(key.algorithm.name()).ok()?;
    name.set_fqdn(true);
    Some(name)
}

const TSIG: u16 = 250;
/// The class ANY, and the TTL of nought, that every TSIG record has.
const ANY_WITH_NO_TTL: [u8; 6] = [0, 255, 0, 0, 0, 0];
