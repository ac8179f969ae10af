//! Records and names, as they are here and as the DNS crate has them.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::{
    rr::{
        self, DNSClass, RData, Record, RecordType,
        rdata::{self, NULL},
    },
    serialize::binary::{BinEncodable, BinEncoder},
};

use super::message::MessageError;
use crate::core::{
    name::Name,
    rrset::{Rdata, RrType},
};

pub(super) fn record(name: &Name, ttl: u32, value: &Rdata) -> Result<Record, MessageError> {
    let data = match value {
        Rdata::A(address) => RData::A((*address).into()),
        Rdata::Aaaa(address) => RData::AAAA((*address).into()),
        Rdata::Ptr(target) => RData::PTR(rdata::PTR(to_wire(target)?)),
        Rdata::Cname(target) => RData::CNAME(rdata::CNAME(to_wire(target)?)),
        Rdata::Ns(target) => RData::NS(rdata::NS(to_wire(target)?)),
        Rdata::Txt(strings) => {
            RData::TXT(rdata::TXT::from_bytes(strings.iter().map(Vec::as_slice).collect()))
        }
        Rdata::Other { rtype, octets } => {
            RData::Unknown { code: RecordType::from(*rtype), rdata: NULL::with(octets.clone()) }
        }
    };
    Ok(Record::from_rdata(to_wire(name)?, ttl, data))
}

pub(super) fn empty(
    name: &Name,
    rtype: RecordType,
    class: DNSClass,
) -> Result<Record, MessageError> {
    let mut record: Record = Record::update0(to_wire(name)?, 0, rtype).into_record_of_rdata();
    record.dns_class = class;
    Ok(record)
}

pub(super) fn value_of(data: &RData) -> Result<Rdata, MessageError> {
    Ok(match data {
        RData::A(address) => Rdata::A(Ipv4Addr::from(*address)),
        RData::AAAA(address) => Rdata::Aaaa(Ipv6Addr::from(*address)),
        RData::PTR(target) => Rdata::Ptr(from_wire(&target.0)?),
        RData::CNAME(target) => Rdata::Cname(from_wire(&target.0)?),
        RData::NS(target) => Rdata::Ns(from_wire(&target.0)?),
        RData::TXT(text) => {
            Rdata::Txt(text.txt_data.iter().map(|string| string.to_vec()).collect())
        }
        other => {
            let mut octets = Vec::new();
            other.emit(&mut BinEncoder::new(&mut octets)).map_err(MessageError::of)?;
            Rdata::Other { rtype: other.record_type().into(), octets }
        }
    })
}

pub(super) fn to_wire(name: &Name) -> Result<rr::Name, MessageError> {
    let mut wire = rr::Name::from_labels(name.wire_labels()).map_err(MessageError::of)?;
    wire.set_fqdn(true);
    Ok(wire)
}

pub(super) fn from_wire(name: &rr::Name) -> Result<Name, MessageError> {
    Name::from_labels(name.iter()).map_err(MessageError::of)
}

impl From<RrType> for RecordType {
    fn from(rtype: RrType) -> Self {
        match rtype {
            RrType::A => Self::A,
            RrType::Aaaa => Self::AAAA,
            RrType::Ptr => Self::PTR,
            RrType::Txt => Self::TXT,
            RrType::Cname => Self::CNAME,
            RrType::Ns => Self::NS,
            RrType::Dhcid => Self::from(49),
            RrType::Other(number) => Self::from(number),
        }
    }
}
