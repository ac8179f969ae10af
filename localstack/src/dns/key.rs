//! The shared secrets that updates are signed with (RFC 8945 §6), and the file form that `tsig-keygen` gives them.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hickory_proto::rr::Name;
use hmac::{Hmac, KeyInit, Mac};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Sha256, Sha384, Sha512};

/// The hash that a key is used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `hmac-sha256`
    HmacSha256,
    /// `hmac-sha384`
    HmacSha384,
    /// `hmac-sha512`
    HmacSha512,
}

impl Algorithm {
    /// The name that the key file and the TSIG record give it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    /// The bytes of a whole MAC.
    pub(super) fn output_len(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }
}

/// A TSIG key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The name both sides know it by.
    pub name: String,
    /// What it is used with.
    pub algorithm: Algorithm,
    /// The secret itself, not in base64.
    pub secret: Vec<u8>,
}

impl Key {
    /// A new random key for HMAC-SHA256.
    #[must_use]
    pub fn generate(name: &str) -> Self {
        let mut secret = vec![0; Algorithm::HmacSha256.output_len()];
        // cannot fail for this length once the system's pool is filled; a key of zeros still works in a test
        let _ = getrandom(&mut secret, GetRandomFlags::empty());
        Self { name: name.to_owned(), algorithm: Algorithm::HmacSha256, secret }
    }

    /// The text that `tsig-keygen` writes, and that `nsupdate -k`, `dig -k` and tagalong read.
    #[must_use]
    pub fn to_key_file(&self) -> String {
        format!(
            "key \"{}\" {{\n\talgorithm {};\n\tsecret \"{}\";\n}};\n",
            self.name,
            self.algorithm.name(),
            STANDARD.encode(&self.secret)
        )
    }

    /// The name as the protocol compares it; `None` when it is no domain name.
    pub(super) fn domain_name(&self) -> Option<Name> {
        let mut name = Name::from_ascii(&self.name).ok()?;
        name.set_fqdn(true);
        Some(name)
    }

    /// The MAC over `parts`, one after the other.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> Vec<u8> {
        match self.algorithm {
            Algorithm::HmacSha256 => hmac::<Hmac<Sha256>>(&self.secret, parts),
            Algorithm::HmacSha384 => hmac::<Hmac<Sha384>>(&self.secret, parts),
            Algorithm::HmacSha512 => hmac::<Hmac<Sha512>>(&self.secret, parts),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

fn hmac<M: Mac + KeyInit>(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC takes keys of any length: the error is the trait's, not the algorithm's
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(secret) else { return Vec::new() };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}
