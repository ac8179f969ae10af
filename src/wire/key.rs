//! TSIG keys as `tsig-keygen` writes them, and the MACs that they make (RFC 8945 section 6).
//!
//! The DNS crate knows three of the algorithms; BIND takes six, so the MAC is `RustCrypto`'s HMAC.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use zeroize::Zeroizing;

use crate::core::name::Name;

/// An HMAC algorithm of RFC 8945 section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `hmac-md5`, obsolete; BIND still takes it.
    Md5,
    /// `hmac-sha1`
    Sha1,
    /// `hmac-sha224`
    Sha224,
    /// `hmac-sha256`, what `tsig-keygen` makes by default.
    Sha256,
    /// `hmac-sha384`
    Sha384,
    /// `hmac-sha512`
    Sha512,
}

impl Algorithm {
    const ALL: [Self; 6] =
        [Self::Md5, Self::Sha1, Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];

    const fn word(self) -> &'static str {
        match self {
            Self::Md5 => "hmac-md5",
            Self::Sha1 => "hmac-sha1",
            Self::Sha224 => "hmac-sha224",
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }

    /// The algorithm's name on the wire.
    pub(super) const fn domain(self) -> &'static str {
        match self {
            Self::Md5 => "hmac-md5.sig-alg.reg.int.",
            other => other.word(),
        }
    }

    fn mac(self, secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        fn of<M: Mac + KeyInit>(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
            // HMAC takes keys of any length (RFC 2104 section 3), so this never is the empty vector.
            let Ok(mut mac) = <M as KeyInit>::new_from_slice(secret) else { return Vec::new() };
            for part in parts {
                mac.update(part);
            }
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Self::Md5 => of::<Hmac<md5::Md5>>(secret, parts),
            Self::Sha1 => of::<Hmac<sha1::Sha1>>(secret, parts),
            Self::Sha224 => of::<Hmac<sha2::Sha224>>(secret, parts),
            Self::Sha256 => of::<Hmac<sha2::Sha256>>(secret, parts),
            Self::Sha384 => of::<Hmac<sha2::Sha384>>(secret, parts),
            Self::Sha512 => of::<Hmac<sha2::Sha512>>(secret, parts),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A shared secret with its name and algorithm. Its secret is wiped from memory when it goes, and is never printed.
#[derive(Clone)]
pub struct TsigKey {
    name: Name,
    algorithm: Algorithm,
    secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TsigKey({} {} [secret])", self.name, self.algorithm)
    }
}

/// The keys of one text, in its order.
#[derive(Clone, Debug)]
pub struct Keyring(Vec<TsigKey>);

impl Keyring {
    /// The keys, first those that are to be tried first.
    pub fn iter(&self) -> impl Iterator<Item = &TsigKey> {
        self.0.iter()
    }

    /// The key of this name.
    #[must_use]
    pub fn get(&self, name: &Name) -> Option<&TsigKey> {
        self.iter().find(|key| key.name == *name)
    }
}

/// Why a text of keys cannot be used. No variant holds any of the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// There is no `key` statement.
    #[error("no `key \"NAME\" {{ … }};` statement, as `tsig-keygen` writes it")]
    NoKey,
    /// There are two of one name.
    #[error("two `key` statements for `{0}`; keep the right one")]
    SameName(String),
    /// The key's name is no domain name.
    #[error("the key's name `{0}` is no domain name")]
    BadName(String),
    /// A clause is missing.
    #[error("key `{key}` has no `{clause}` clause")]
    NoClause {
        /// The key.
        key: String,
        /// The clause.
        clause: &'static str,
    },
    /// The algorithm is none that we know.
    #[error(
        "key `{key}` has algorithm `{algorithm}`; known are hmac-md5, hmac-sha1, hmac-sha224, hmac-sha256, hmac-sha384, hmac-sha512"
    )]
    UnknownAlgorithm {
        /// The key.
        key: String,
        /// The word in the file.
        algorithm: String,
    },
    /// The secret is not base64.
    #[error("the secret of key `{0}` is not base64")]
    BadSecret(String),
    /// The statement is not closed, or something else stands in it.
    #[error("the `key` statement cannot be read near `{0}`")]
    Syntax(String),
}

impl FromStr for Keyring {
    type Err = KeyTextError;

    /// Reads the `key` statements of named.conf's syntax, which `tsig-keygen` and `rndc-confgen` write.
    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        let tokens = tokens(text);
        let mut rest = tokens.iter().map(String::as_str);
        let mut keys = Vec::<TsigKey>::new();
        while let Some(token) = rest.next() {
            if token != "key" {
                continue;
            }
            let name = rest.next().ok_or(KeyTextError::NoKey)?;
            let key = key_statement(name, &mut rest)?;
            if keys.iter().any(|other| other.name == key.name) {
                return Err(KeyTextError::SameName(key.name.to_string()));
            }
            keys.push(key);
        }
        if keys.is_empty() { Err(KeyTextError::NoKey) } else { Ok(Self(keys)) }
    }
}

fn key_statement<'a>(
    name: &str,
    rest: &mut impl Iterator<Item = &'a str>,
) -> Result<TsigKey, KeyTextError> {
    let (mut algorithm, mut secret) = (None, None);
    if rest.next() != Some("{") {
        return Err(KeyTextError::Syntax(name.to_owned()));
    }
    loop {
        match rest.next() {
            Some("algorithm") => algorithm = rest.next(),
            Some("secret") => secret = rest.next(),
            Some("}") => break,
            Some(";") => {}
            // Not the word itself: it may be a piece of the secret.
            _ => return Err(KeyTextError::Syntax(name.to_owned())),
        }
    }
    let missing = |clause| KeyTextError::NoClause { key: name.to_owned(), clause };
    let algorithm = algorithm.ok_or_else(|| missing("algorithm"))?;
    let word = algorithm.trim_end_matches('.').to_ascii_lowercase();
    let known = Algorithm::ALL
        .into_iter()
        .find(|known| known.word() == word || known.domain().trim_end_matches('.') == word);
    let algorithm = known.ok_or_else(|| KeyTextError::UnknownAlgorithm {
        key: name.to_owned(),
        algorithm: algorithm.to_owned(),
    })?;
    let secret = STANDARD.decode(secret.ok_or_else(|| missing("secret"))?);
    Ok(TsigKey {
        name: name.parse().map_err(|_| KeyTextError::BadName(name.to_owned()))?,
        algorithm,
        secret: Zeroizing::new(secret.map_err(|_| KeyTextError::BadSecret(name.to_owned()))?),
    })
}

/// The tokens of named.conf's syntax; its three kinds of comments are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => {
                let inner = rest.get(1..).unwrap_or_default();
                let end = inner.find('"').unwrap_or(inner.len());
                tokens.push(inner.get(..end).unwrap_or_default().to_owned());
                (end + 2).min(rest.len())
            }
            '{' | '}' | ';' => {
                tokens.push(first.to_string());
                1
            }
            _ => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || "{};\"".contains(c))
                    .unwrap_or(rest.len());
                tokens.push(rest.get(..end).unwrap_or_default().to_owned());
                end
            }
        };
        rest = rest.get(taken..).unwrap_or_default().trim_start();
    }
    tokens
}

impl TsigKey {
    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The key's algorithm.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The MAC over the parts, one after the other.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> Vec<u8> {
        self.algorithm.mac(&self.secret, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_tsig_keygen_writes_them() {
        let only = |text: &str| {
            let keys: Keyring = text.parse().unwrap();
            assert_eq!(keys.iter().count(), 1);
            keys.iter().next().unwrap().clone()
        };
        let key = only(
            "# a comment\nkey \"Host-A.\" { // another\n\talgorithm hmac-sha512;\n\tsecret \"c2VjcmV0\"; /* ; */\n};\n",
        );
        assert_eq!(key.name().to_string(), "host-a.");
        assert_eq!(key.algorithm(), Algorithm::Sha512);
        assert_eq!(*key.secret, b"secret".to_vec());
        assert_eq!(format!("{key:?}"), "TsigKey(host-a. hmac-sha512 [secret])");
        let unquoted = only("key k {secret c2VjcmV0; algorithm HMAC-MD5.SIG-ALG.REG.INT.;};");
        assert_eq!(unquoted.algorithm(), Algorithm::Md5);
        let several = "key b {secret c2VjcmV0; algorithm hmac-sha1;}; key a {secret YQ==; algorithm hmac-sha256;};";
        let several: Keyring = several.parse().unwrap();
        let names = several.iter().map(|key| key.name().to_string()).collect::<Vec<_>>();
        assert_eq!(names, ["b.", "a."]);
        let found = several.get(&"A".parse().unwrap()).unwrap();
        assert_eq!(found.algorithm(), Algorithm::Sha256);
        assert!(several.get(&"c".parse().unwrap()).is_none());
    }

    #[test]
    fn what_is_wrong_in_a_text_of_keys_is_named_and_its_secret_is_not() {
        let check = |text: &str, expect: &str| {
            let error = text.parse::<Keyring>().unwrap_err().to_string();
            assert!(error.contains(expect), "{error}");
            assert!(!error.contains("c2Vj"), "{error}");
        };
        check("", "no `key");
        check("key \"k\" { algorithm hmac-sha256; };", "no `secret` clause");
        check("key \"k\" { secret \"c2VjcmV0\"; };", "no `algorithm` clause");
        check("key \"k\" { algorithm hmac-sha3; secret \"c2VjcmV0\"; };", "algorithm `hmac-sha3`");
        check("key \"k\" { algorithm hmac-sha256; secret \"c2VjcmV0!\"; };", "not base64");
        check("key \"k\" { algorithm hmac-sha256; secret \"c2Vj\"; ", "cannot be read near `k`");
        check("key \"k\" { algorithm hmac-sha256; secret c2Vj cmV0; };", "cannot be read near `k`");
        let one = "key \"k\" { algorithm hmac-sha256; secret \"c2VjcmV0\"; };";
        check(&format!("{one}{one}"), "two `key` statements for `k.`");
    }
}
