//! What an answer that is no success means: response codes and TSIG errors to situations. The servers say the same in
//! different ways, and all of them of a key that they do not take without a signature, by design (RFC 8945 section 5.2).

use std::net::SocketAddr;

use super::Rfc2136;
use crate::{
    core::name::Name,
    ports::error::BackendError,
    wire::{exchange::ExchangeError, key::TsigKey, message::Rcode, tsig::TsigError},
};

impl Rfc2136 {
    /// The situation that an exchange without a believable answer is.
    pub(super) fn situation(
        &self,
        error: ExchangeError,
        key: Option<&TsigKey>,
        zone: &Name,
        operation: &'static str,
    ) -> BackendError {
        let key = key.map(|key| (key.name().clone(), key.algorithm().to_owned()));
        match (error, key) {
            // Knot, of a key that may not: it has answered under that very key.
            (
                ExchangeError::Unverified { server, error: Some(TsigError::BadKey), .. },
                Some((key, _)),
            ) if operation != "query" && self.has_vouched(server, &key) => {
                BackendError::Refused { server, zone: zone.clone(), operation }
            }
            (
                ExchangeError::Unverified { server, error: Some(TsigError::BadKey), .. },
                Some((key, algorithm)),
            ) => BackendError::BadKey { server, key, algorithm },
            (
                ExchangeError::Unverified { server, error: Some(TsigError::BadSig), .. },
                Some((key, _)),
            ) => BackendError::BadSignature { server, key },
            // PowerDNS, of a key that it does not have, or has with another secret.
            (ExchangeError::Unverified { server, rcode: Rcode::NOTAUTH, error: None }, Some(_))
                if operation == "query" =>
            {
                BackendError::Refused { server, zone: zone.clone(), operation }
            }
            (ExchangeError::Unverified { server, rcode, error: None }, _)
                if rcode != Rcode::NOERROR =>
            {
                answered(server, rcode, zone, operation)
            }
            (ExchangeError::BadTime { server, skew }, _) => BackendError::BadTime { server, skew },
            (error, _) => {
                BackendError::NoAnswer { backend: self.name.clone(), source: Box::new(error) }
            }
        }
    }
}

/// The situation that a response code is.
pub(super) fn answered(
    server: SocketAddr,
    rcode: Rcode,
    zone: &Name,
    operation: &'static str,
) -> BackendError {
    let zone = zone.clone();
    match rcode {
        Rcode::REFUSED => BackendError::Refused { server, zone, operation },
        Rcode::NOTAUTH => BackendError::NotAuth { server, zone, operation },
        Rcode::NOTZONE => BackendError::NotZone { server, zone },
        rcode => BackendError::Answered { server, zone, operation, rcode: rcode.to_string() },
    }
}
