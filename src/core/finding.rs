//! What is found when each thing that can be wrong is looked at.

use std::fmt;

/// Something that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// What the operator said.
    Configuration,
    /// The files of TSIG keys.
    KeyFile,
    /// The agent's memory.
    State,
    /// Whether the agent runs.
    Agent,
    /// The last pass.
    LastPass,
    /// The instance metadata service.
    Metadata,
    /// The instance's tags.
    Tags,
    /// EC2, and what the instance's role may ask it for.
    Ec2,
    /// The VPC's resolver.
    VpcResolver,
    /// Who owns the host's resolver.
    Owner,
    /// The DNS servers.
    Server,
    /// What the resolver is told.
    ResolvConf,
    /// What it would cost if the first server died.
    FirstServer,
    /// Other programs that change the resolver.
    Overwritten,
    /// The names of which the nearest member is preferred.
    Affinity,
    /// The names that this host should have.
    Names,
    /// The zones of those names, and their primaries.
    Zone,
    /// The signatures of what is sent there.
    Tsig,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Configuration => "configuration",
            Self::KeyFile => "key_file",
            Self::State => "state",
            Self::Agent => "agent",
            Self::LastPass => "last_pass",
            Self::Metadata => "metadata",
            Self::Tags => "tags",
            Self::Ec2 => "ec2",
            Self::VpcResolver => "vpc_resolver",
            Self::Owner => "owner",
            Self::Server => "server",
            Self::ResolvConf => "resolv_conf",
            Self::FirstServer => "first_server",
            Self::Overwritten => "overwritten",
            Self::Affinity => "affinity",
            Self::Names => "names",
            Self::Zone => "zone",
            Self::Tsig => "tsig",
        })
    }
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// No fault, or none yet: somebody should know.
    Note,
    /// Something does not work.
    Wrong,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fine => "fine",
            Self::Note => "note",
            Self::Wrong => "wrong",
        })
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Finding {
    /// Where.
    pub check: Check,
    /// How it stands.
    pub verdict: Verdict,
    /// What it is.
    pub finding: String,
    /// What that rests on.
    pub because: Vec<String>,
    /// What the operator can do.
    pub remedy: Vec<String>,
    /// Where more is said of it, if not where the check's findings are.
    pub see: Option<String>,
}

impl Finding {
    /// It is as it should be.
    pub fn fine(check: Check, finding: impl fmt::Display) -> Self {
        Self::of(check, Verdict::Fine, finding)
    }

    /// Somebody should know.
    pub fn note(check: Check, finding: impl fmt::Display) -> Self {
        Self::of(check, Verdict::Note, finding)
    }

    /// It does not work.
    pub fn wrong(check: Check, finding: impl fmt::Display) -> Self {
        Self::of(check, Verdict::Wrong, finding)
    }

    /// How `check` stands.
    pub fn of(check: Check, verdict: Verdict, finding: impl fmt::Display) -> Self {
        let finding = finding.to_string();
        Self { check, verdict, finding, because: Vec::new(), remedy: Vec::new(), see: None }
    }

    /// This finding, which rests on these too.
    pub fn because<T: fmt::Display>(mut self, reasons: impl IntoIterator<Item = T>) -> Self {
        self.because.extend(reasons.into_iter().map(|reason| reason.to_string()));
        self
    }

    /// This finding, and what can be done.
    pub fn remedy<T: fmt::Display>(mut self, remedies: impl IntoIterator<Item = T>) -> Self {
        self.remedy.extend(remedies.into_iter().map(|remedy| remedy.to_string()));
        self
    }
}
