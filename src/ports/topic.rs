//! Where the manual says more about an error.

use std::fmt;

/// A section of docs/troubleshooting.md; shown, it is the section's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Deadlines that came, and what the system kept waiting.
    Deadline,
    /// Files and tags that say what to do.
    Configuration,
    /// The instance metadata service, and tags.
    Metadata,
    /// Calls of EC2.
    Ec2,
    /// Where TSIG keys are kept.
    Keys,
    /// Names that cannot be made, or that are left alone.
    Names,
    /// Publishing by dynamic update.
    Rfc2136,
    /// Tickets in place of keys.
    Kerberos,
    /// Publishing in Route 53.
    Route53,
    /// The fleet's DNS servers.
    DnsServers,
    /// Whoever owns the host's resolver.
    Resolver,
    /// What the agent keeps.
    Memory,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Deadline,
        Self::Configuration,
        Self::Metadata,
        Self::Ec2,
        Self::Keys,
        Self::Names,
        Self::Rfc2136,
        Self::Kerberos,
        Self::Route53,
        Self::DnsServers,
        Self::Resolver,
        Self::Memory,
    ];

    /// The section's heading, as it is in an address.
    #[must_use]
    pub fn anchor(self) -> &'static str {
        match self {
            Self::Deadline => "when-time-is-up",
            Self::Configuration => "configuration",
            Self::Metadata => "metadata",
            Self::Ec2 => "ec2",
            Self::Keys => "keys",
            Self::Names => "names",
            Self::Rfc2136 => "rfc-2136",
            Self::Kerberos => "kerberos",
            Self::Route53 => "route-53",
            Self::DnsServers => "dns-servers",
            Self::Resolver => "resolver",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // That of this version: it has the messages of this version.
        const PAGE: &str = concat!(
            env!("CARGO_PKG_REPOSITORY"),
            "/blob/v",
            env!("CARGO_PKG_VERSION"),
            "/docs/troubleshooting.md"
        );
        write!(f, "{PAGE}#{}", self.anchor())
    }
}
