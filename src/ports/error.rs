//! What can go wrong in the outside world: one error for each port, whose variants are situations.

pub mod backend;

use std::{error::Error, time::Duration};

pub use self::backend::BackendError;
use super::{Disposition, Situation};

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
            Self::Throttled { .. } => Disposition::Ease { after: Duration::from_secs(5) },
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
