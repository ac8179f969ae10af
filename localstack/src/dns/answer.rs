//! Turns one request into one reply: RFC 1035 for queries, RFC 2136 §3.1 for updates, and misbehaviour where switched on.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, LowerName, RecordType},
};

use super::{
    key::Key,
    lease::Leases,
    lookup::{look_up, transfer},
    server::Role,
    switches::{Met, Switches},
    tsig::{self, Standing},
    update::update,
    zone::Zones,
};

/// What carried a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A datagram.
    Udp,
    /// A connection.
    Tcp,
}

/// A request that a server took, whatever it did with it.
#[derive(Clone, Debug)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// From whom.
    pub peer: SocketAddr,
    /// On what.
    pub protocol: Protocol,
    /// An UPDATE; else a query, or whatever else.
    pub is_update: bool,
    /// The name asked for, or the zone to update, as written in the request; empty when it cannot be read.
    pub name: String,
    /// The type asked for; `SOA` for an update.
    pub kind: String,
    /// The key whose signature held.
    pub signer: Option<String>,
}

/// What to send back, and when.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// At once: what somebody who saw the question, and not the secret, would send.
    pub(super) forged: Vec<Vec<u8>>,
    /// How long the answer waits.
    pub(super) delay: Duration,
    pub(super) answer: Option<Vec<u8>>,
}

/// All that a server answers from.
pub(super) struct Desk {
    pub(super) zones: Zones,
    pub(super) keys: Vec<Key>,
    pub(super) role: Role,
    pub(super) switches: Switches,
    pub(super) leases: Leases,
    pub(super) received: Mutex<VecDeque<Received>>,
}

impl Desk {
    pub(super) fn reply(&self, request: &[u8], protocol: Protocol, peer: SocketAddr) -> Reply {
        let Some(&[id_high, id_low, flags, ..]) = request.first_chunk::<12>() else {
            return Reply::default();
        };
        if flags & 0x80 != 0 {
            return Reply::default(); // an answer: RFC 8906 §3, never answered
        }
        self.leases.collect(&self.zones);
        let id = u16::from_be_bytes([id_high, id_low]);
        let is_update = (flags >> 3) & 0xf == 5;
        let met = self.switches.meet(is_update);
        let now = now(met.clock_skew);
        let read = tsig::check(request, &self.keys, now).ok().and_then(|(bare, standing)| {
            let message = Message::from_vec(&bare).ok()?;
            Some((message, standing))
        });
        self.log(read.as_ref(), is_update, protocol, peer);
        if met.fault.drop {
            return Reply::default();
        }

        let reply = Reply { delay: met.fault.delay(), ..Reply::default() };
        if met.fault.malformed {
            return Reply { answer: Some([&[id_high, id_low][..], &[0xff; 40]].concat()), ..reply };
        }
        let Some((message, standing)) = read else {
            let form_error = vec![id_high, id_low, flags & 0x79 | 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0];
            return Reply { answer: Some(form_error), ..reply };
        };
        let mut answer = self.answer(&message, standing.as_ref(), protocol, &met);
        answer.metadata.id = id;
        let limit = match (protocol, &message.edns) {
            (Protocol::Tcp, _) => usize::from(u16::MAX),
            (Protocol::Udp, Some(edns)) => usize::from(edns.max_payload().clamp(512, MAX_PAYLOAD)),
            (Protocol::Udp, None) => 512,
        };
        let forged = match protocol {
            Protocol::Udp if met.forge => forge(&answer, standing.as_ref(), now),
            _ => Vec::new(),
        };
        let answer = encode(&answer, limit, standing.as_ref(), now).filter(|_| !met.lose);
        Reply { forged, answer, ..reply }
    }

    fn answer(
        &self,
        request: &Message,
        standing: Option<&Standing>,
        protocol: Protocol,
        met: &Met,
    ) -> Message {
        let mut answer = Message::new(request.id, MessageType::Response, request.op_code);
        answer.metadata.recursion_desired = request.recursion_desired;
        answer.add_queries(request.queries.iter().cloned());
        if let Some(asked) = &request.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(MAX_PAYLOAD);
            edns.set_dnssec_ok(asked.flags().dnssec_ok);
            answer.set_edns(edns);
        }
        let is_signed = standing.is_some_and(|standing| standing.error == 0);
        let code = if standing.is_some() && !is_signed {
            Err(ResponseCode::NotAuth)
        } else if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            Err(ResponseCode::BADVERS)
        } else if met.fault.fail.is_some() {
            Err(ResponseCode::ServFail)
        } else if met.fault.throttle {
            Err(ResponseCode::Refused)
        } else if met.truncate_udp && protocol == Protocol::Udp {
            answer.metadata.truncation = true;
            Ok(())
        } else {
            match request.op_code {
                OpCode::Query => self.query(request, is_signed, protocol, &mut answer),
                OpCode::Update => self.update(request, is_signed).map(|zone| {
                    let lease =
                        self.leases.note(&zone, &request.authorities, request.edns.as_ref());
                    if let Some((lease, edns)) = lease.zip(answer.edns.as_mut()) {
                        edns.options_mut().insert(lease);
                    }
                }),
                _ => {
                    answer.queries.clear(); // what stands there need not be a question
                    Err(ResponseCode::NotImp)
                }
            }
        };
        if let Err(code) = code {
            answer.metadata.response_code = code;
        }
        answer
    }

    fn query(
        &self,
        request: &Message,
        is_signed: bool,
        protocol: Protocol,
        answer: &mut Message,
    ) -> Result<(), ResponseCode> {
        let [query] = request.queries.as_slice() else { return Err(ResponseCode::FormErr) };
        let zones = self.zones.lock();
        match query.query_type() {
            RecordType::AXFR => {
                let zone = zones.get(&LowerName::new(query.name())).ok_or(ResponseCode::NotAuth)?;
                match (protocol, is_signed) {
                    (Protocol::Udp, _) => return Err(ResponseCode::FormErr),
                    (Protocol::Tcp, false) => return Err(ResponseCode::Refused),
                    (Protocol::Tcp, true) => transfer(zone, answer),
                }
            }
            RecordType::IXFR => return Err(ResponseCode::NotImp),
            _ => look_up(&zones, query, answer),
        }
        Ok(())
    }

    /// RFC 2136 §3.1, then §3.3: who may not, learns nothing of the zone by its prerequisites. Gives the zone.
    fn update(&self, request: &Message, is_signed: bool) -> Result<LowerName, ResponseCode> {
        let [zone] = request.queries.as_slice() else { return Err(ResponseCode::FormErr) };
        if zone.query_type() != RecordType::SOA {
            return Err(ResponseCode::FormErr);
        }
        let mut zones = self.zones.lock();
        let contents = zones
            .get_mut(&LowerName::new(zone.name()))
            .filter(|_| zone.query_class() == DNSClass::IN);
        let contents =
            contents.filter(|_| self.role == Role::Primary).ok_or(ResponseCode::NotAuth)?;
        if !is_signed {
            return Err(ResponseCode::Refused);
        }
        update(contents, &request.answers, &request.authorities)?;
        Ok(contents.origin.clone())
    }

    fn log(
        &self,
        read: Option<&(Message, Option<Standing>)>,
        is_update: bool,
        protocol: Protocol,
        peer: SocketAddr,
    ) {
        let question: Option<&Query> = read.and_then(|(message, _)| message.queries.first());
        let received = Received {
            at: Instant::now(),
            peer,
            protocol,
            is_update,
            name: question.map(|question| question.name().to_ascii()).unwrap_or_default(),
            kind: question.map(|question| question.query_type().to_string()).unwrap_or_default(),
            signer: read.and_then(|(_, standing)| standing.as_ref()?.signer()),
        };
        let mut log = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == MAX_RECEIVED {
            log.pop_front();
        }
        log.push_back(received);
    }
}

/// The answer's bytes; cut to its question, with TC, when they are more than `limit`.
fn encode(
    answer: &Message,
    limit: usize,
    standing: Option<&Standing>,
    now: u64,
) -> Option<Vec<u8>> {
    let room = limit.saturating_sub(standing.map_or(0, Standing::len));
    let bytes = match answer.to_vec() {
        Ok(bytes) if bytes.len() <= room => bytes,
        // over TCP too: what does not fit 64 KiB cannot be sent in one message
        _ => answer.truncate().to_vec().ok()?,
    };
    Some(match standing {
        Some(standing) => standing.sign(&bytes, now),
        None => bytes,
    })
}

/// The two answers of somebody without the secret: one unsigned, one with a MAC made up. Both say REFUSED.
fn forge(answer: &Message, standing: Option<&Standing>, now: u64) -> Vec<Vec<u8>> {
    let mut forged = Message::error_msg(answer.id, answer.op_code, ResponseCode::Refused);
    forged.add_queries(answer.queries.iter().cloned());
    let Ok(bytes) = forged.to_vec() else { return Vec::new() };
    let signed = standing.map(|standing| standing.forge(&bytes, now));
    [bytes].into_iter().chain(signed).collect()
}

fn now(skew: i64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    now.saturating_add_signed(skew)
}

/// What BIND and the DNS flag day of 2020 say: 1232 bytes reach everybody.
const MAX_PAYLOAD: u16 = 1232;
/// The oldest are forgotten: a demonstration may run for days.
const MAX_RECEIVED: usize = 100_000;
