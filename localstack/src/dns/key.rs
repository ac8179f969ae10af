//! The shared secrets that updates are signed with (RFC 8945 §6), and the file form that `tsig-keygen` gives them.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hickory_proto::rr::Name;
use hmac::{Hmac, KeyInit, Mac};
use rustix::rand::{GetRandomFlags, getrandom};
use serde::Deserialize;
use sha2::{Sha256, Sha384, Sha512};

/// The hash that a key is used with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    /// `hmac-sha256`
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// `hmac-sha384`
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    /// `hmac-sha512`
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

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
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
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

    /// Reads a text that `tsig-keygen` or [`Key::to_key_file`] wrote.
    ///
    /// # Errors
    /// It is not of that form.
    pub fn from_key_file(text: &str) -> Result<Self, KeyError> {
        let rest = text.trim().strip_prefix("key").ok_or(KeyError::NotAKeyFile)?;
        let (name, rest) = rest.split_once('{').ok_or(KeyError::NotAKeyFile)?;
        let body = rest.trim_end().trim_end_matches(';').trim_end();
        let body = body.strip_suffix('}').ok_or(KeyError::NotAKeyFile)?;
        let value = |word: &str| {
            let mut statements =
                body.split(';').filter_map(|one| one.trim().split_once(char::is_whitespace));
            let found = statements.find(|(keyword, _)| *keyword == word);
            found.map(|(_, value)| unquoted(value)).ok_or(KeyError::NotAKeyFile)
        };
        let (algorithm, secret) = (value("algorithm")?, value("secret")?);
        let known = Algorithm::ALL.into_iter().find(|known| known.name() == algorithm);
        let algorithm = known.ok_or(KeyError::Algorithm(algorithm))?;
        Written { name: unquoted(name), algorithm, secret }.try_into()
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

/// Why a text is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not `key "NAME" { algorithm ALGORITHM; secret "SECRET"; };`.
    #[error("not a key file as `tsig-keygen` writes it")]
    NotAKeyFile,
    /// Not one that this server has.
    #[error("unknown algorithm `{0}`: there are hmac-sha256, hmac-sha384 and hmac-sha512")]
    Algorithm(String),
    /// The name is no domain name.
    #[error("key name `{0}` is not a domain name")]
    Name(String),
    /// Not what base64 allows; the secret itself is not repeated.
    #[error("the secret of key `{0}` is not base64")]
    Secret(String),
}

/// A key as a person writes it in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    algorithm: Algorithm,
    secret: String,
}

impl TryFrom<Written> for Key {
    type Error = KeyError;

    fn try_from(Written { name, algorithm, secret }: Written) -> Result<Self, KeyError> {
        let Ok(secret) = STANDARD.decode(&secret) else { return Err(KeyError::Secret(name)) };
        let key = Self { name, algorithm, secret };
        if key.domain_name().is_none() { Err(KeyError::Name(key.name)) } else { Ok(key) }
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

fn unquoted(text: &str) -> String {
    text.trim().trim_matches('"').to_owned()
}

fn hmac<M: Mac + KeyInit>(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC takes keys of any length: the error is the trait's, not the algorithm's
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(secret) else { return Vec::new() };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}
