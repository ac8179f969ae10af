//! DHCID resource records (RFC 4701): whose a name is, told by a digest that only who knows the client can make.

use sha2::{Digest as _, Sha256};

use super::tsig::wire_labels;
use crate::core::{name::Name, rrset::Rdata};

/// The record's data for the client with this DUID (RFC 8415 section 11) at `name`: identifier type 2, digest type 1
/// (RFC 4701 section 3).
#[must_use]
pub fn dhcid(duid: &[u8], name: &Name) -> Rdata {
    let digest = Sha256::new().chain_update(duid).chain_update(wire_labels(name)).finalize();
    let octets = [&[0, 2, 1], digest.as_slice()].concat();
    Rdata::Other { rtype: TYPE, octets }
}

/// A DUID for an instance: one of type UUID (RFC 6355), with a UUID made of the instance id (RFC 9562 section 5.8).
#[must_use]
pub fn duid_of(instance_id: &str) -> Vec<u8> {
    let digest = Sha256::digest(instance_id);
    let octets = digest.iter().take(16).enumerate().map(|(place, octet)| match place {
        6 => octet & 0x0f | 0x80,
        8 => octet & 0x3f | 0x80,
        _ => *octet,
    });
    [0, 4].into_iter().chain(octets).collect()
}

const TYPE: u16 = 49;

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    #[test]
    fn the_example_of_rfc_4701_is_met() {
        // Section 3.6.1.
        let duid = [0x00, 0x01, 0x00, 0x06, 0x41, 0x2d, 0xf1, 0x66, 1, 2, 3, 4, 5, 6];
        let Rdata::Other { rtype: 49, octets } = dhcid(&duid, &"chi6.example.com".parse().unwrap())
        else {
            panic!("no DHCID")
        };
        assert_eq!(STANDARD.encode(octets), "AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=");
    }

    #[test]
    fn each_instance_has_a_duid_of_its_own() {
        let duid = duid_of("i-0123456789abcdef0");
        assert_eq!((duid.len(), &duid[..2], duid[8] >> 4, duid[10] >> 6), (18, &[0, 4][..], 8, 2));
        assert_eq!(duid, duid_of("i-0123456789abcdef0"));
        assert_ne!(duid, duid_of("i-0123456789abcdef1"));
    }
}
