//! What can go wrong where TSIG keys are kept.

use std::time::Duration;

use super::{Disposition, Situation, Source, THROTTLED, Topic, no_way};

/// Why keys cannot be had. No variant holds any of a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is not there.
    #[error("there is no {place}")]
    Missing {
        /// `key file /etc/tagalong/tsig.key`
        place: String,
    },
    /// It cannot be read.
    #[error("the {place} cannot be read")]
    Unreadable {
        /// `key file /etc/tagalong/tsig.key`
        place: String,
        /// What the system says.
        source: Source,
    },
    /// It holds no key.
    #[error("the {place} holds no usable key")]
    NoKey {
        /// `key file /etc/tagalong/tsig.key`
        place: String,
        /// What is wrong.
        source: Source,
    },
    /// A zone's key is not among those that are there.
    #[error("the {place} has no key `{key}`, which `zone_keys` gives to {zone}")]
    NotThere {
        /// `key file /etc/tagalong/tsig.key`
        place: String,
        /// The key's name.
        key: String,
        /// The zone.
        zone: String,
    },
    /// The role lacks a right.
    #[error("AWS does not let this instance call {action} on the {place}")]
    NotAuthorized {
        /// `parameter /tagalong/tsig`
        place: String,
        /// `ssm:GetParameter`
        action: &'static str,
        /// What AWS says.
        source: Source,
    },
    /// The account's budget of calls is used up.
    #[error("AWS throttles {action}")]
    Throttled {
        /// `ssm:GetParameter`
        action: &'static str,
        /// What AWS says.
        source: Source,
    },
    /// Any other failure of a call.
    #[error("{action} failed")]
    Failed {
        /// `ssm:GetParameter`
        action: &'static str,
        /// What happened.
        source: Source,
    },
}

impl Situation for KeyError {
    fn topic(&self) -> Topic {
        Topic::Keys
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::Failed { .. } => Disposition::Retry { after: Duration::from_millis(500) },
            Self::Throttled { .. } => Disposition::Ease { after: Duration::from_secs(1) },
            Self::Missing { .. }
            | Self::Unreadable { .. }
            | Self::NoKey { .. }
            | Self::NotThere { .. }
            | Self::NotAuthorized { .. } => Disposition::Hold,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing { place } if place.starts_with("systemd credential") => vec![
                "give it to the unit: `LoadCredential=NAME:/path`, or `LoadCredentialEncrypted=`; by hand, run as root beside \
                 the agent"
                    .to_owned(),
            ],
            Self::NoKey { .. } | Self::NotThere { .. } => {
                vec!["write it as `tsig-keygen` does: `key \"NAME\" { algorithm …; secret \"…\"; };`".to_owned()]
            }
            Self::NotAuthorized { action, .. } => vec![format!(
                "allow {action} on it to the instance's role, and kms:Decrypt where its key is one of your own; `tagalong config \
                 iam-policy` prints both"
            )],
            Self::Missing { .. } => vec![
                "put it there, or say where it is: `key_file`, `key_credential`, `key_parameter` or `key_secret`".to_owned(),
            ],
            Self::Unreadable { .. } => vec!["run it as root, or let root read it: `ls -l` says who may".to_owned()],
            Self::Failed { action, source } => vec![no_way(action, source)],
            Self::Throttled { .. } => vec![THROTTLED.to_owned()],
        }
    }
}
