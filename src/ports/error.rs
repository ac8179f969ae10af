//! What can go wrong in the outside world: one error for each port, whose variants are situations.

use std::{error::Error, net::SocketAddr, time::Duration};

use super::{Disposition, Situation};
use crate::core::name::Name;

type Source = Box<dyn Error + Send + Sync>;

/// Why the facts cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FactError {
    /// The metadata service did not answer.
    #[error("the instance metadata service at {endpoint} does not answer")]
    NoAnswer {
        /// Where it was looked for.
        endpoint: String,
        /// What happened.
        source: Source,
    },
    /// The metadata service answered with an error of its own.
    #[error("the instance metadata service at {endpoint} answered {status} for {path}")]
    Failed {
        /// Where.
        endpoint: String,
        /// What was asked for.
        path: String,
        /// The HTTP status.
        status: u16,
    },
    /// The metadata service will not talk to us.
    #[error("the instance metadata service at {endpoint} refuses a session token (HTTP {status})")]
    Refused {
        /// Where.
        endpoint: String,
        /// The HTTP status.
        status: u16,
    },
    /// Something that every instance has is not there, or is not what it should be.
    #[error("the instance metadata service at {endpoint} gives no usable {path}")]
    Unusable {
        /// Where.
        endpoint: String,
        /// What was asked for.
        path: String,
    },
    /// Tags are needed, the metadata service has none, and EC2 would not give them either.
    #[error("the instance's tags are neither in its metadata nor to be had from EC2")]
    NoTags(#[source] DirectoryError),
}

impl Situation for FactError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::NoAnswer { .. } | Self::Failed { .. } | Self::Unusable { .. } => {
                Disposition::Retry { after: Duration::from_millis(200) }
            }
            Self::Refused { .. } => Disposition::Hold,
            Self::NoTags(source) => source.disposition(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoAnswer { .. } => vec![
                "inside a container the token's answer needs a hop limit of 2: `aws ec2 modify-instance-metadata-options \
                 --http-put-response-hop-limit 2`; elsewhere see whether the metadata endpoint is enabled"
                    .to_owned(),
            ],
            Self::Refused { .. } => vec![
                "is the metadata endpoint disabled (403), or a proxy in between? tagalong never uses one for it".to_owned(),
            ],
            Self::Failed { .. } | Self::Unusable { .. } => Vec::new(),
            Self::NoTags(source) => {
                let mut hints = vec![
                    "turn on tags in instance metadata: `aws ec2 modify-instance-metadata-options \
                     --instance-metadata-tags enabled`"
                        .to_owned(),
                ];
                hints.extend(source.hints());
                hints
            }
        }
    }
}

/// Why EC2 does not tell.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The role lacks a right.
    #[error("EC2 does not let this instance call {action}")]
    NotAuthorized {
        /// `ec2:DescribeInstances`
        action: &'static str,
        /// What EC2 says.
        source: Source,
    },
    /// The account's budget of calls is used up.
    #[error("EC2 throttles {action}")]
    Throttled {
        /// `ec2:DescribeInstances`
        action: &'static str,
        /// What EC2 says.
        source: Source,
    },
    /// No answer, or one that says nothing.
    #[error("{action} failed")]
    Failed {
        /// `ec2:DescribeInstances`
        action: &'static str,
        /// What happened.
        source: Source,
    },
    /// There is no role, so there are no credentials.
    #[error("there are no AWS credentials for {action}")]
    NoCredentials {
        /// `ec2:DescribeInstances`
        action: &'static str,
        /// What happened.
        source: Source,
    },
}

impl Situation for DirectoryError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::NotAuthorized { .. } => Disposition::Hold,
            Self::Throttled { .. } => Disposition::Retry { after: Duration::from_secs(1) },
            Self::Failed { .. } | Self::NoCredentials { .. } => {
                Disposition::Retry { after: Duration::from_millis(500) }
            }
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NotAuthorized { action, .. } => {
                vec![format!("allow {action} to the instance's role")]
            }
            Self::NoCredentials { .. } => {
                vec![
                    "attach an instance profile whose role may call ec2:DescribeInstances"
                        .to_owned(),
                ]
            }
            Self::Throttled { .. } | Self::Failed { .. } => Vec::new(),
        }
    }
}

/// Why records cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Somebody changed the records between our reading and our writing.
    #[error("the records of {zone} changed while the change was on its way")]
    Conflict {
        /// The zone.
        zone: Name,
    },
    /// No server answered, each for its own reason.
    #[error("no server of backend `{backend}` answers")]
    NoAnswer {
        /// The backend.
        backend: String,
        /// What the last one did.
        source: Source,
    },
    /// There is nobody to ask.
    #[error(
        "backend `{backend}` has no servers: none are configured, and none have been discovered yet"
    )]
    NoServers {
        /// The backend.
        backend: String,
    },
    /// The server does not know the key.
    #[error("{server} does not know TSIG key {key} with {algorithm} (BADKEY)")]
    BadKey {
        /// The server.
        server: SocketAddr,
        /// The key's name.
        key: Name,
        /// The key's algorithm.
        algorithm: String,
    },
    /// The server knows the key with another secret.
    #[error("{server} has another secret for TSIG key {key} (BADSIG)")]
    BadSignature {
        /// The server.
        server: SocketAddr,
        /// The key's name.
        key: Name,
    },
    /// Clocks differ too much for signatures.
    #[error("{server} refuses the time of our signature (BADTIME): its clock is {} s {} of ours", skew.unsigned_abs(), if *skew < 0 { "behind" } else { "ahead" })]
    BadTime {
        /// The server.
        server: SocketAddr,
        /// The server's clock less ours, in seconds.
        skew: i64,
    },
    /// The server's policy forbids it.
    #[error("{server} refused the {operation} of {zone} (REFUSED)")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// The zone.
        zone: Name,
        /// `update`, `query`
        operation: &'static str,
    },
    /// The server is not the zone's authority.
    #[error("{server} is no authority for {zone} (NOTAUTH)")]
    NotAuth {
        /// The server.
        server: SocketAddr,
        /// The zone.
        zone: Name,
    },
    /// A name is outside the zone.
    #[error("{server} says that a name of the update is outside {zone} (NOTZONE)")]
    NotZone {
        /// The server.
        server: SocketAddr,
        /// The zone.
        zone: Name,
    },
    /// Another response code.
    #[error("{server} answered the {operation} of {zone} with {rcode}")]
    Answered {
        /// The server.
        server: SocketAddr,
        /// The zone or the name.
        zone: Name,
        /// `update`, `query`
        operation: &'static str,
        /// The code's mnemonic.
        rcode: String,
    },
    /// AWS would not let us.
    #[error("Route 53 does not let this instance call {action}")]
    NotAuthorized {
        /// `route53:ChangeResourceRecordSets`
        action: &'static str,
        /// What Route 53 says.
        source: Source,
    },
    /// The account's budget of calls, or the zone's, is used up.
    #[error("Route 53 throttles {action}")]
    Throttled {
        /// `route53:ChangeResourceRecordSets`
        action: &'static str,
        /// What Route 53 says.
        source: Source,
    },
    /// No hosted zone holds the record, or the id in the configuration names none.
    #[error("Route 53 has no hosted zone {zone_id}")]
    NoZone {
        /// The id or the name.
        zone_id: String,
    },
    /// AWS got the call, and will not have it: not now, and not later.
    #[error("Route 53 rejects {action}")]
    Rejected {
        /// `route53:ChangeResourceRecordSets`
        action: &'static str,
        /// What Route 53 says.
        source: Source,
    },
    /// Any other failure of a call.
    #[error("{action} failed")]
    Failed {
        /// What was called.
        action: &'static str,
        /// What happened.
        source: Source,
    },
}

impl Situation for BackendError {
    fn disposition(&self) -> Disposition {
        match self {
            Self::Conflict { .. } => Disposition::Replan,
            Self::NoAnswer { .. } | Self::Failed { .. } | Self::NoServers { .. } => {
                Disposition::Retry { after: Duration::from_millis(500) }
            }
            Self::Throttled { .. } => Disposition::Retry { after: Duration::from_secs(1) },
            // A server that has just started, or that lost its own upstream.
            Self::Answered { rcode, .. } if rcode == "SERVFAIL" => {
                Disposition::Retry { after: Duration::from_millis(500) }
            }
            Self::BadKey { .. }
            | Self::BadSignature { .. }
            | Self::BadTime { .. }
            | Self::Refused { .. }
            | Self::NotAuth { .. }
            | Self::NotZone { .. }
            | Self::Answered { .. }
            | Self::NotAuthorized { .. }
            | Self::Rejected { .. }
            | Self::NoZone { .. } => Disposition::Hold,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Conflict { .. } | Self::NoAnswer { .. } | Self::Failed { .. } | Self::Throttled { .. } => return Vec::new(),
            Self::NoServers { .. } => {
                "name them (`servers = [\"10.0.0.2\"]`), or tag the DNS servers and check [discovery]".to_owned()
            }
            Self::BadKey { key, algorithm, .. } => format!(
                "put the same `key \"{key}\" {{ algorithm {algorithm}; … }}` into the server's configuration, or name the \
                 right `key_file`; the answer is unsigned by design, so this is what the server claims"
            ),
            Self::BadSignature { key, .. } => format!(
                "compare the secrets of `{key}` on both sides; the answer is unsigned by design, so this is what the \
                 server claims"
            ),
            Self::BadTime { skew, .. } => format!(
                "signatures allow 300 s; {} this host's clock (chrony, 169.254.169.123) or the server's",
                if *skew > 0 { "move forward" } else { "move back" }
            ),
            Self::Refused { operation: "update", zone, .. } => format!(
                "on BIND the zone needs `update-policy {{ grant KEY zonesub A AAAA PTR TXT; }};` (or per name) for {zone}; \
                 TXT carries the owner marker"
            ),
            Self::Refused { .. } => "on BIND see `allow-query` and the view that this host falls into".to_owned(),
            Self::NotAuth { zone, .. } => format!("send updates to the primary of {zone}, or create the zone there"),
            Self::NotZone { .. } => "the zone was cut while the change was on its way; see the delegations".to_owned(),
            Self::Answered { .. } => "the server's log says why".to_owned(),
            Self::NotAuthorized { action, .. } => format!("allow {action} on the hosted zone to the instance's role"),
            Self::NoZone { .. } => "see `zone_id` in the backend's configuration".to_owned(),
            Self::Rejected { .. } => {
                "the cause is what Route 53 says of the request; it is not sent again in this pass, since the answer would be the same".to_owned()
            }
        };
        vec![hint]
    }
}

/// Why the host's resolver cannot be read or set.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    /// A file cannot be read or written.
    #[error("cannot {operation} {path}")]
    File {
        /// `read`, `write`
        operation: &'static str,
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something else owns the resolver, and this version does not talk to it.
    #[error("{owner} owns this host's resolver, and this version of tagalong does not set it")]
    Unsupported {
        /// The owner.
        owner: String,
        /// The clues.
        because: String,
    },
}

impl Situation for ResolverError {
    fn disposition(&self) -> Disposition {
        Disposition::Hold
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::File { .. } => Vec::new(),
            Self::Unsupported { because, .. } => vec![format!(
                "seen: {because}; set `[resolver] manager = \"resolv-conf\"` to have the file written all the same, or \
                 \"none\" to leave the resolver alone"
            )],
        }
    }
}

/// Why the memory cannot be read or kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}")]
pub struct StoreError {
    /// `read`, `write`
    pub operation: &'static str,
    /// The file.
    pub path: String,
    /// What the system says.
    #[source]
    pub source: std::io::Error,
}

impl Situation for StoreError {
    fn disposition(&self) -> Disposition {
        Disposition::Hold
    }
}
