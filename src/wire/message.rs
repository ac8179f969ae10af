//! DNS messages to and from octets: queries (RFC 1035) and dynamic updates (RFC 2136).

use std::{collections::BTreeMap, fmt, time::Duration};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query},
    rr::{
        DNSClass, RData, RecordType,
        rdata::{
            self,
            opt::{EdnsCode, EdnsOption},
        },
    },
};

use super::rdata::{empty, from_wire, record, to_wire, value_of};
use crate::core::{
    name::Name,
    rrset::{Rdata, Records, RrType, Rrset, RrsetKey},
};

/// What can be asked for beside the types that can be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The RRset of a type.
    Type(RrType),
    /// The start of authority: which zone is it, and who is its primary.
    Soa,
    /// Every RRset at the name.
    Any,
    /// The whole zone (RFC 5936).
    Transfer,
}

/// What must hold for an update to happen, after the headings of RFC 2136 section 2.4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prerequisite {
    /// "RRset exists (value dependent)": exactly these values, whatever the TTL.
    RrsetExistsExactly(RrsetKey, Rrset),
    /// "RRset exists (value independent)".
    RrsetExists(RrsetKey),
    /// "RRset does not exist".
    RrsetDoesNotExist(RrsetKey),
    /// "Name is not in use".
    NameNotInUse(Name),
}

/// What an update does, after the headings of RFC 2136 section 2.5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// "Add to an RRset".
    AddToRrset(RrsetKey, Rrset),
    /// "Delete an RRset".
    DeleteRrset(RrsetKey),
    /// "Delete an RR from an RRset", each of them.
    DeleteFromRrset(RrsetKey, Rrset),
}

/// A message that is ready to be signed and sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// The message id.
    pub id: u16,
    /// The encoded message, without a signature.
    pub octets: Vec<u8>,
}

/// What an answer says.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The response code.
    pub rcode: Rcode,
    /// Whether the server is an authority for the name.
    pub authoritative: bool,
    /// Whether the answer did not fit (TC).
    pub truncated: bool,
    /// The answer section.
    pub answers: Records,
    /// The start of authority, from the answer or the authority section.
    pub soa: Option<Soa>,
    /// How many of the answers are one: a transfer begins and ends with it (RFC 5936 section 2.2).
    pub starts: usize,
    /// After which time what an update added goes by itself (RFC 9664).
    pub lease: Option<Duration>,
}

/// A zone's start of authority (RFC 1035 section 3.3.13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Soa {
    /// The zone's apex.
    pub zone: Name,
    /// The primary server's name.
    pub mname: Name,
    /// The mailbox of its keeper.
    pub rname: Name,
    /// The zone's version.
    pub serial: u32,
}

/// A response code (RFC 6895 section 2.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rcode(pub u16);

impl Rcode {
    /// No error.
    pub const NOERROR: Self = Self(0);
    /// The server failed.
    pub const SERVFAIL: Self = Self(2);
    /// No such name; as a failed prerequisite, a name that should be in use is not.
    pub const NXDOMAIN: Self = Self(3);
    /// The server does not do this kind of request.
    pub const NOTIMP: Self = Self(4);
    /// The server will not do it for us.
    pub const REFUSED: Self = Self(5);
    /// A name that should not be in use is (RFC 2136 section 2.2).
    pub const YXDOMAIN: Self = Self(6);
    /// An RRset that should not exist does.
    pub const YXRRSET: Self = Self(7);
    /// An RRset that should exist does not, or has other values.
    pub const NXRRSET: Self = Self(8);
    /// The server is not an authority for the zone, or a signature is wrong (RFC 8945 section 5.2).
    pub const NOTAUTH: Self = Self(9);
    /// A name is outside the zone of the update.
    pub const NOTZONE: Self = Self(10);
}

impl Default for Rcode {
    fn default() -> Self {
        Self::NOERROR
    }
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mnemonics = [
            "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN",
            "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE",
        ];
        match mnemonics.get(usize::from(self.0)) {
            Some(mnemonic) => f.write_str(mnemonic),
            None => write!(f, "RCODE{}", self.0),
        }
    }
}

impl fmt::Debug for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Octets that are no DNS message, or a message that cannot be encoded.
#[derive(Debug, thiserror::Error)]
#[error("not a DNS message: {0}")]
pub struct MessageError(String);

impl MessageError {
    pub(super) fn of(error: impl fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// A query for `question` at `name`, not recursive unless asked for.
///
/// # Errors
/// The name cannot be encoded.
pub fn query(
    name: &Name,
    question: Question,
    recursion: Recursion,
) -> Result<Request, MessageError> {
    let mut message = Message::query();
    message.metadata.recursion_desired = recursion == Recursion::Desired;
    message.add_query(Query::query(to_wire(name)?, question.into()));
    finish(message)
}

/// Whether the server should ask others on our behalf (RD).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recursion {
    /// Only what the server itself knows.
    Unwanted,
    /// The whole answer.
    Desired,
}

/// An update of `zone` (RFC 2136 section 2): all of `updates` if every prerequisite holds, or nothing. What it adds shall go by
/// itself after `lease` (RFC 9664), in whole seconds.
///
/// # Errors
/// A name cannot be encoded.
pub fn update(
    zone: &Name,
    prerequisites: &[Prerequisite],
    updates: &[Update],
    lease: Option<Duration>,
) -> Result<Request, MessageError> {
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(to_wire(zone)?, RecordType::SOA));
    for prerequisite in prerequisites {
        match prerequisite {
            Prerequisite::RrsetExistsExactly(key, set) => {
                for value in &set.values {
                    message.add_answer(record(&key.name, 0, value)?);
                }
            }
            Prerequisite::RrsetExists(key) => {
                message.add_answer(empty(&key.name, key.rtype.into(), DNSClass::ANY)?);
            }
            Prerequisite::RrsetDoesNotExist(key) => {
                message.add_answer(empty(&key.name, key.rtype.into(), DNSClass::NONE)?);
            }
            Prerequisite::NameNotInUse(name) => {
                message.add_answer(empty(name, RecordType::ANY, DNSClass::NONE)?);
            }
        }
    }
    for update in updates {
        match update {
            Update::AddToRrset(key, set) => {
                for value in &set.values {
                    message.add_authority(record(&key.name, set.ttl, value)?);
                }
            }
            Update::DeleteRrset(key) => {
                message.add_authority(empty(&key.name, key.rtype.into(), DNSClass::ANY)?);
            }
            Update::DeleteFromRrset(key, set) => {
                for value in &set.values {
                    let mut gone = record(&key.name, 0, value)?;
                    gone.dns_class = DNSClass::NONE;
                    message.add_authority(gone);
                }
            }
        }
    }
    let lease = lease.map(|lease| {
        let seconds = u32::try_from(lease.as_secs()).unwrap_or(u32::MAX);
        EdnsOption::Unknown(UPDATE_LEASE, seconds.to_be_bytes().to_vec())
    });
    finish_with(message, lease)
}

/// A query for the TKEY record `name`, which has one of our own with it (RFC 3645 section 4.1.1).
///
/// # Errors
/// The name cannot be encoded.
pub fn key_query(name: &Name, key: Vec<u8>) -> Result<Request, MessageError> {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    let mut question = Query::query(to_wire(name)?, RecordType::from(TKEY));
    question.set_query_class(DNSClass::ANY);
    message.add_query(question);
    let mut own = record(name, 0, &Rdata::Other { rtype: TKEY, octets: key })?;
    own.dns_class = DNSClass::ANY;
    message.add_additional(own);
    Ok(Request { id: message.metadata.id, octets: message.to_vec().map_err(MessageError::of)? })
}

/// The type of records that keys are agreed on with (RFC 2930 section 2).
pub const TKEY: u16 = 249;

/// Reads an answer, without its signature (`tsig::verify` takes that off).
///
/// # Errors
/// The octets are no DNS response.
pub fn parse(octets: &[u8]) -> Result<Response, MessageError> {
    let message = Message::from_vec(octets).map_err(MessageError::of)?;
    if message.metadata.message_type != MessageType::Response {
        return Err(MessageError("it is a query, not a response".to_owned()));
    }
    let mut answers: Records = BTreeMap::new();
    let (mut soa, mut starts) = (None, 0);
    for answer in &message.answers {
        let name = from_wire(&answer.name)?;
        if let RData::SOA(data) = &answer.data {
            soa = Some(start_of_authority(&name, data)?);
            starts += 1;
        }
        let value = value_of(&answer.data)?;
        let key = RrsetKey::new(name, value.rtype());
        let set = answers.entry(key).or_insert_with(|| Rrset::new(answer.ttl, []));
        set.values.insert(value);
    }
    for authority in &message.authorities {
        if let RData::SOA(data) = &authority.data {
            soa = soa.or(Some(start_of_authority(&from_wire(&authority.name)?, data)?));
        }
    }
    Ok(Response {
        rcode: Rcode(u16::from(message.metadata.response_code)),
        authoritative: message.metadata.authoritative,
        truncated: message.metadata.truncation,
        answers,
        soa,
        starts,
        lease: message.edns.as_ref().and_then(granted),
    })
}

/// The LEASE of the Update Lease option, of either length (RFC 9664 section 4).
fn granted(edns: &Edns) -> Option<Duration> {
    let EdnsOption::Unknown(_, octets) = edns.option(EdnsCode::from(UPDATE_LEASE))? else {
        return None;
    };
    let lease = octets.get(..4)?.try_into().ok().map(u32::from_be_bytes)?;
    Some(Duration::from_secs(lease.into()))
}

/// The code of the Update Lease option (RFC 9664 section 4).
const UPDATE_LEASE: u16 = 2;

/// The largest UDP answer that we take: what passes every path without fragments (DNS flag day 2020).
pub const UDP_PAYLOAD: u16 = 1232;

fn finish(message: Message) -> Result<Request, MessageError> {
    finish_with(message, None)
}

fn finish_with(mut message: Message, option: Option<EdnsOption>) -> Result<Request, MessageError> {
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_PAYLOAD).set_version(0);
    if let Some(option) = option {
        edns.options_mut().insert(option);
    }
    message.set_edns(edns);
    Ok(Request { id: message.metadata.id, octets: message.to_vec().map_err(MessageError::of)? })
}

fn start_of_authority(zone: &Name, data: &rdata::SOA) -> Result<Soa, MessageError> {
    Ok(Soa {
        zone: zone.clone(),
        mname: from_wire(&data.mname)?,
        rname: from_wire(&data.rname)?,
        serial: data.serial,
    })
}

impl From<Question> for RecordType {
    fn from(question: Question) -> Self {
        match question {
            Question::Type(rtype) => rtype.into(),
            Question::Soa => Self::SOA,
            Question::Any => Self::ANY,
            Question::Transfer => Self::AXFR,
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Record;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn an_update_has_the_sections_of_rfc_2136() {
        let key = RrsetKey::new(name("web-1.corp.internal"), RrType::A);
        let before = Rrset::new(60, [Rdata::A([10, 0, 0, 1].into())]);
        let after = Rrset::new(60, [Rdata::A([10, 0, 0, 2].into())]);
        let request = update(
            &name("corp.internal"),
            &[
                Prerequisite::RrsetExistsExactly(key.clone(), before),
                Prerequisite::RrsetDoesNotExist(RrsetKey::new(
                    name("web-1.corp.internal"),
                    RrType::Cname,
                )),
                Prerequisite::NameNotInUse(name("new.corp.internal")),
            ],
            &[Update::DeleteRrset(key.clone()), Update::AddToRrset(key, after)],
            None,
        )
        .unwrap();
        let message = Message::from_vec(&request.octets).unwrap();
        let row = |record: &Record| {
            format!("{} {} {} {}", record.name, record.ttl, record.dns_class, record.record_type())
        };
        assert_eq!(message.metadata.op_code, OpCode::Update);
        assert_eq!(
            message.answers.iter().map(row).collect::<Vec<_>>(),
            [
                "web-1.corp.internal. 0 IN A",
                "web-1.corp.internal. 0 NONE CNAME",
                "new.corp.internal. 0 NONE ANY",
            ]
        );
        assert_eq!(
            message.authorities.iter().map(row).collect::<Vec<_>>(),
            ["web-1.corp.internal. 0 ANY A", "web-1.corp.internal. 60 IN A"]
        );
    }

    #[test]
    fn what_is_no_response_is_an_error() {
        let request = query(&name("a.b"), Question::Soa, Recursion::Unwanted).unwrap();
        assert!(parse(&request.octets).is_err(), "a query");
        assert!(parse(&[]).is_err());
        assert!(parse(&[0xff; 40]).is_err());
    }
}
