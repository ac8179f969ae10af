//! The agent's jobs, how they end, and how often they are done.

use std::time::Duration;

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    /// Read the configuration again.
    Reload,
    /// Put the resolver's file back if another program changed it.
    Guard,
    /// Look whether the metadata changed, or announce the instance's end.
    Look,
    /// Publish what this host is.
    Register,
    /// Take back what this host published.
    Withdraw,
    /// Rank the servers that are known, and set the resolver.
    Rank,
    /// List the servers anew, rank them, and set the resolver.
    List,
    /// Ask the servers in use whether they serve.
    Probe,
}

impl Job {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Reload,
        Self::Guard,
        Self::Look,
        Self::Register,
        Self::Withdraw,
        Self::Rank,
        Self::List,
        Self::Probe,
    ];

    /// Whether all that it does is to put the resolver's file back. What becomes of the servers is learnt in a fight too, and
    /// set as long as the file is as it was set.
    pub(super) fn puts_back(self) -> bool {
        self == Self::Guard
    }
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is as it should be.
    Done,
    /// It is not, and the same is to be tried again.
    Failed,
    /// It is not, and only what somebody else does makes it so: a name is another's, or we may not.
    Blocked,
    /// It is not, because whoever answers is asked too much by all of us together.
    Throttled,
    /// It was given up on for something that makes it worth beginning anew.
    Interrupted,
    /// It is not, and the same is not tried again unless somebody asks for it.
    Refused,
    /// Another program had changed the resolver's file, which was put back.
    Trampled,
    /// There is a new configuration.
    Reloaded(Rhythm),
}

/// How often what is done without a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// Between two looks at the metadata.
    pub look: Duration,
    /// Between two probes of the servers in use.
    pub probe: Duration,
    /// Between two listings of the servers.
    pub refresh: Duration,
    /// Between two registrations that nothing asked for, which find out that a record was lost.
    pub renew: Duration,
    /// Whether records are taken back when the instance is about to end.
    pub withdraw_at_end: bool,
}

/// Whose the resolver's file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Possession {
    /// It is set, and put back.
    Ours,
    /// In a fight it is left to the other program for now: only what nobody else has changed is set.
    Contested,
}

/// What the operator is told about the schedule itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Another program keeps writing the resolver's file; it is left to it for this long.
    Held(Duration),
    /// It stopped.
    HoldOver,
}
