//! Who may call the AWS APIs: the role credentials that IMDS handed out, and access keys that were allowed by name.
//!
//! **The signature itself is not computed.** A request must carry a well-formed Signature Version 4 `Authorization` header with a
//! known access key, the service in its scope, and, for role credentials, the session token that belongs to the key.
//! A client that signs wrongly with a right key passes here and fails in AWS.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant, SystemTime},
};

use hyper::HeaderMap;
use rustix::rand::{GetRandomFlags, getrandom};

/// All credentials of the account.
#[derive(Debug)]
pub(crate) struct Credentials {
    issued: BTreeMap<String, Issued>,
    allowed: BTreeSet<String>,
    pub(crate) lifetime: Duration,
}

/// Temporary credentials of one role session.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) access_key: String,
    pub(crate) secret: String,
    pub(crate) token: String,
    pub(crate) role: String,
    pub(crate) session: String,
    pub(crate) since: SystemTime,
    pub(crate) expires: SystemTime,
    until: Instant,
}

/// Who a request comes from.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    Role { role: String, session: String },
    User(String),
}

/// Why a request comes from nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    Unsigned,
    Malformed,
    WrongScope,
    UnknownKey,
    WrongToken,
    Expired,
}

impl Default for Credentials {
    fn default() -> Self {
        let allowed = BTreeSet::from(["test".to_owned()]);
        Self { issued: BTreeMap::new(), allowed, lifetime: Duration::from_hours(6) }
    }
}

impl Credentials {
    pub(crate) fn allow(&mut self, access_key: &str) {
        self.allowed.insert(access_key.to_owned());
    }

    /// Of all that were issued, what is not their name.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = String> {
        self.issued.values().flat_map(|issued| [issued.secret.clone(), issued.token.clone()])
    }

    /// The session's current credentials: the same until half of their life is over, as IMDS does.
    pub(crate) fn of_session(&mut self, role: &str, session: &str) -> Issued {
        let now = Instant::now();
        self.issued.retain(|_, issued| issued.until + RETAINED > now);
        let fresh = self.issued.values().find(|issued| {
            issued.role == role
                && issued.session == session
                && now + self.lifetime / 2 < issued.until
        });
        if let Some(issued) = fresh {
            return issued.clone();
        }
        let issued = Issued {
            access_key: format!("ASIA{}", random_text(16).to_ascii_uppercase()),
            secret: random_text(40),
            token: format!("IQoJ{}", random_text(200)),
            role: role.to_owned(),
            session: session.to_owned(),
            since: SystemTime::now(),
            expires: SystemTime::now() + self.lifetime,
            until: now + self.lifetime,
        };
        self.issued.insert(issued.access_key.clone(), issued.clone());
        issued
    }

    /// The session whose access key a request names, whether or not it is good.
    pub(crate) fn session(&self, headers: &HeaderMap) -> Option<&str> {
        let issued = self.issued.get(scope(headers)?.next()?)?;
        Some(&issued.session)
    }

    /// Who signed a request to `service` (`ec2`, `sts` or `route53`).
    pub(crate) fn caller(&self, headers: &HeaderMap, service: &str) -> Result<Caller, Stranger> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let authorization = text("authorization").ok_or(Stranger::Unsigned)?;
        let fields = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or(Stranger::Malformed)?;
        let field = |name: &str| {
            fields
                .split(',')
                .find_map(|field| field.trim().strip_prefix(name))
                .filter(|value| !value.is_empty())
        };
        let scope = field("Credential=").ok_or(Stranger::Malformed)?;
        let signature = field("Signature=").ok_or(Stranger::Malformed)?;
        if field("SignedHeaders=").is_none()
            || signature.len() != 64
            || text("x-amz-date").is_none()
        {
            return Err(Stranger::Malformed);
        }
        let [access_key, _date, _region, scoped, "aws4_request"] =
            scope.split('/').collect::<Vec<_>>()[..]
        else {
            return Err(Stranger::Malformed);
        };
        if scoped != service {
            return Err(Stranger::WrongScope);
        }
        if self.allowed.contains(access_key) {
            return Ok(Caller::User(access_key.to_owned()));
        }
        let issued = self.issued.get(access_key).ok_or(Stranger::UnknownKey)?;
        if text("x-amz-security-token") != Some(issued.token.as_str()) {
            return Err(Stranger::WrongToken);
        }
        if issued.until <= Instant::now() {
            return Err(Stranger::Expired);
        }
        Ok(Caller::Role { role: issued.role.clone(), session: issued.session.clone() })
    }
}

/// The Region that a request is signed for.
pub(crate) fn region(headers: &HeaderMap) -> Option<&str> {
    scope(headers)?.nth(2)
}

/// The parts of a request's credential scope: access key, day, Region, service.
fn scope(headers: &HeaderMap) -> Option<std::str::Split<'_, char>> {
    let authorization = headers.get("authorization")?.to_str().ok()?;
    Some(authorization.split("Credential=").nth(1)?.split('/'))
}

/// `length` letters and digits that nobody can guess.
pub(crate) fn random_text(length: usize) -> String {
    let mut octets = vec![0_u8; length];
    // getrandom(2) gives up to 256 octets whole once the kernel's pool is ready; a short answer would repeat a digit
    let _ = getrandom(&mut octets, GetRandomFlags::empty());
    octets.iter().filter_map(|octet| char::from_digit(u32::from(octet % 36), 36)).collect()
}

/// How long an expired key is still known, so that it is told from one that never was.
const RETAINED: Duration = Duration::from_hours(1);
