//! What can go wrong in the outside world: one error for each port, whose variants are situations.

pub mod backend;
pub mod key;

use std::{error::Error, time::Duration};

pub use self::{backend::BackendError, key::KeyError};
use super::{Disposition, Situation, topic::Topic};
use crate::core::detect::Owner;

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
    fn topic(&self) -> Topic {
        Topic::Metadata
    }

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
                "see whether the instance's metadata endpoint is enabled, and `metadata.endpoint`; inside a container the token's answer needs a \
                 hop limit of 2: `aws ec2 modify-instance-metadata-options --instance-id INSTANCE --http-put-response-hop-limit 2`"
                    .to_owned(),
            ],
            Self::Refused { .. } => vec![
                "is the metadata endpoint disabled (403), or a proxy in between? tagalong never uses one for it".to_owned(),
            ],
            Self::Failed { .. } | Self::Unusable { .. } => vec![
                "ask it by hand, with a token: if it answers so to everybody, the metadata service is in trouble; if not, see \
                 `metadata.endpoint`"
                    .to_owned(),
            ],
            Self::NoTags(source) => {
                let mut hints = vec![TURN_ON_TAGS.to_owned()];
                hints.extend(source.hints());
                hints
            }
        }
    }
}

/// What to do where the metadata service has no tags.
pub const TURN_ON_TAGS: &str = "turn on tags in instance metadata: `aws ec2 modify-instance-metadata-options \
     --instance-id INSTANCE --instance-metadata-tags enabled`";

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
    fn topic(&self) -> Topic {
        Topic::Ec2
    }

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
            Self::NotAuthorized { action, source } => vec![not_authorized(action, source, "")],
            Self::NoCredentials { action, .. } => {
                vec![attach_a_role(action)]
            }
            Self::Throttled { .. } => vec![THROTTLED.to_owned()],
            Self::Failed { action, source } => vec![no_way(action, source)],
        }
    }
}

/// What to do where AWS refuses a call: about the role, or about who signed. `place` is what the right is for.
fn not_authorized(action: &str, source: &Source, place: &str) -> String {
    let said = source.to_string();
    let is_unknown =
        ["ExpiredToken", "SignatureDoesNotMatch", "InvalidClientTokenId", "AuthFailure"]
            .iter()
            .any(|code| said.contains(code));
    if is_unknown {
        "the credentials are refused, not the right: see this host's clock (chrony, 169.254.169.123), and whether the role was just \
         attached or taken away"
            .to_owned()
    } else {
        format!("allow {action}{place} to the instance's role")
    }
}

/// What to do where AWS throttles.
const THROTTLED: &str = "the account's calls are limited, whoever makes them: it is tried again, later and later; docs/scaling.md has who calls how often";

/// What to do where a call of AWS got no usable answer: none at all, or that it is AWS's own fault.
fn no_way(action: &str, source: &Source) -> String {
    let said = source.to_string();
    if said.contains(NO_PROFILE) {
        return attach_a_role(action);
    }
    let is_theirs = ["InternalError", "InternalFailure", "Unavailable"];
    if is_theirs.iter().any(|code| said.contains(code)) {
        "AWS answers that the fault is its own: it is tried again; see health.aws.amazon.com"
            .to_owned()
    } else {
        NO_WAY.to_owned()
    }
}

fn attach_a_role(action: &str) -> String {
    format!("attach an instance profile whose role may call {action}")
}

/// What is said of an instance that has no role, and so no credentials.
pub const NO_PROFILE: &str = "the instance has no instance profile";

const NO_WAY: &str = "see that this host reaches AWS's endpoints (route, security group, VPC endpoint), and that the VPC's resolver answers for them: \
     `tagalong doctor`";

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
    /// The owner cannot be reached over D-Bus, or did not answer in time.
    #[error("{owner} cannot be asked over D-Bus to {operation}")]
    Unreachable {
        /// The owner.
        owner: Owner,
        /// `set a link's servers`
        operation: &'static str,
        /// What happened.
        source: Source,
    },
    /// The owner refuses.
    #[error("{owner} refuses to {operation}")]
    Refused {
        /// The owner.
        owner: Owner,
        /// `set a link's servers`
        operation: &'static str,
        /// What it says.
        source: Source,
    },
    /// The owner's own program failed.
    #[error("`{command}` failed")]
    Command {
        /// The command.
        command: String,
        /// What it said, or why it could not be run.
        source: Source,
    },
    /// The owner took it, and does something else.
    #[error("{owner} was told the servers, and does not use them")]
    Ignored {
        /// The owner.
        owner: Owner,
    },
    /// There is no link to ask DNS servers through.
    #[error(
        "no link of this host has a default route, so systemd-resolved cannot be told where its servers are"
    )]
    NoLink,
}

impl Situation for ResolverError {
    fn topic(&self) -> Topic {
        Topic::Resolver
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::Unreachable { .. } | Self::NoLink => {
                Disposition::Retry { after: Duration::from_secs(1) }
            }
            Self::File { .. }
            | Self::Refused { .. }
            | Self::Command { .. }
            | Self::Ignored { .. } => Disposition::Hold,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::File { source, path, .. } if source.kind() == std::io::ErrorKind::ReadOnlyFilesystem => {
                vec![format!(
                    "the unit lets the agent write below /etc and some directories of /run only: if {path} is a link to another \
                     place, add that to `ReadWritePaths=` by `systemctl edit tagalong`; `tagalong once` is not held by the unit"
                )]
            }
            Self::File { source, path, .. } => vec![of_file(source, path)],
            Self::NoLink => vec![
                "it is told once a link has one: see `ip route`; `[resolver] manager = \"resolv-conf\"` writes the file itself".to_owned(),
            ],
            Self::Unreachable { owner, .. } => vec![format!(
                "is {owner} running, and the message bus? `[resolver] manager` says who shall be told instead: \"resolv-conf\" \
                 for the file itself, \"none\" to leave the resolver alone"
            )],
            Self::Ignored { owner: Owner::ResolvConf } => vec![
                "another program writes the file at the same time, or what is mounted over it: see `findmnt --target /etc/resolv.conf`".to_owned(),
            ],
            Self::Ignored { owner } => vec![format!(
                "see whether {owner} is configured to leave resolv.conf alone, and its log; `[resolver] manager` says who \
                 shall be told instead"
            )],
            Self::Refused { owner: Owner::NetworkManager, .. } => vec![
                "a [global-dns] section in NetworkManager.conf(5) cannot be changed over D-Bus: remove it, or set \
                 `[resolver] manager` to \"none\""
                    .to_owned(),
            ],
            Self::Refused { owner, .. } => {
                vec![format!("tagalong must run as root to tell {owner} anything")]
            }
            Self::Command { command, .. } => vec![format!("run `{command}` by hand to see more")],
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

/// What to do about a file that cannot be read or written.
fn of_file(source: &std::io::Error, path: &str) -> String {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, StorageFull};
    match source.kind() {
        PermissionDenied => format!(
            "run it as root; `lsattr {path}` says whether the file is immutable (`chattr -i`)"
        ),
        StorageFull | QuotaExceeded => format!("make room on the disk that holds {path}"),
        _ => format!("see `ls -ld {path}`, and whether its disk is healthy"),
    }
}

impl Situation for StoreError {
    fn topic(&self) -> Topic {
        Topic::Memory
    }

    fn disposition(&self) -> Disposition {
        Disposition::Hold
    }

    fn hints(&self) -> Vec<String> {
        vec![of_file(&self.source, &self.path)]
    }
}
