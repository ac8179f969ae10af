//! TSIG keys and the MACs that they make: shared secrets as `tsig-keygen` writes them (RFC 8945 section 6), and what was agreed
//! on with a server by Kerberos (RFC 3645).
//!
//! The DNS crate knows three of the algorithms; BIND takes six, so the MAC is `RustCrypto`'s HMAC.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use zeroize::Zeroizing;

use super::gss::Context;
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
    const fn domain(self) -> &'static str {
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

/// A key and its name. A secret is wiped from memory when it goes, and is never printed.
#[derive(Clone)]
pub struct TsigKey {
    name: Name,
    maker: Maker,
}

/// What makes the MACs.
#[derive(Clone)]
enum Maker {
    Secret(Algorithm, Zeroizing<Vec<u8>>),
    Context(Context),
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TsigKey({} {} [secret])", self.name, self.algorithm())
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
    let secret = secret.map_err(|_| KeyTextError::BadSecret(name.to_owned()))?;
    Ok(TsigKey {
        name: name.parse().map_err(|_| KeyTextError::BadName(name.to_owned()))?,
        maker: Maker::Secret(algorithm, Zeroizing::new(secret)),
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

    /// The key's algorithm, as named.conf's syntax has it.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match &self.maker {
            Maker::Secret(algorithm, _) => algorithm.word(),
            Maker::Context(_) => "gss-tsig",
        }
    }

    /// Who we are to the server by Kerberos; `None` for a shared secret.
    #[must_use]
    pub fn principal(&self) -> Option<String> {
        match &self.maker {
            Maker::Secret(..) => None,
            Maker::Context(context) => context.principal(),
        }
    }

    /// The key of a security context.
    pub(super) fn of_context(name: Name, context: Context) -> Self {
        Self { name, maker: Maker::Context(context) }
    }

    /// Whether Kerberos made it.
    pub(super) fn is_of_context(&self) -> bool {
        matches!(self.maker, Maker::Context(_))
    }

    /// The algorithm's name on the wire.
    pub(super) fn algorithm_domain(&self) -> &'static str {
        match &self.maker {
            Maker::Secret(algorithm, _) => algorithm.domain(),
            Maker::Context(_) => GSS_TSIG,
        }
    }

    /// The MAC over the parts, one after the other.
    pub(super) fn mac(&self, parts: &[&[u8]]) -> Vec<u8> {
        match &self.maker {
            Maker::Secret(algorithm, secret) => algorithm.mac(secret, parts),
            Maker::Context(context) => context.mic(&parts.concat()),
        }
    }

    /// Whether a MAC is the other side's, over the parts one after the other.
    pub(super) fn is_mac(&self, parts: &[&[u8]], given: &[u8]) -> bool {
        match &self.maker {
            Maker::Secret(algorithm, secret) => is_same(&algorithm.mac(secret, parts), given),
            Maker::Context(context) => context.is_mic(&parts.concat(), given),
        }
    }
}

/// Whether a MAC is ours: in constant time, and cut short only as far as RFC 8945 section 5.2.2.1 lets it.
fn is_same(expected: &[u8], given: &[u8]) -> bool {
    let shortest = (expected.len() / 2).max(10);
    if given.len() < shortest || given.len() > expected.len() {
        return false;
    }
    expected.iter().zip(given).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}

/// The algorithm of Kerberos (RFC 3645 section 5).
pub(super) const GSS_TSIG: &str = "gss-tsig.";

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
        assert_eq!(key.algorithm(), "hmac-sha512");
        assert!(matches!(&key.maker, Maker::Secret(_, secret) if **secret == b"secret"));
        assert_eq!(format!("{key:?}"), "TsigKey(host-a. hmac-sha512 [secret])");
        let unquoted = only("key k {secret c2VjcmV0; algorithm HMAC-MD5.SIG-ALG.REG.INT.;};");
        assert_eq!(unquoted.algorithm(), "hmac-md5");
        let several = "key b {secret c2VjcmV0; algorithm hmac-sha1;}; key a {secret YQ==; algorithm hmac-sha256;};";
        let several: Keyring = several.parse().unwrap();
        let names = several.iter().map(|key| key.name().to_string()).collect::<Vec<_>>();
        assert_eq!(names, ["b.", "a."]);
        let found = several.get(&"A".parse().unwrap()).unwrap();
        assert_eq!(found.algorithm(), "hmac-sha256");
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

    #[test]
    fn a_mac_may_be_cut_to_half_and_no_further() {
        assert!(is_same(&[7; 32], &[7; 32]));
        assert!(is_same(&[7; 32], &[7; 16]));
        assert!(!is_same(&[7; 32], &[7; 15]));
        assert!(!is_same(&[7; 16], &[7; 9]), "never under ten octets");
        assert!(!is_same(&[7; 32], &[8; 32]));
        assert!(!is_same(&[7; 16], &[7; 17]));
    }
}
