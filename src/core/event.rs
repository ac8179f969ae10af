//! The closed set of what wakes the agent.

use super::lease::Lease;

/// Everything that wakes the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A DHCP client's hook reported.
    Lease(Lease),
    /// The kernel has another link or address than before.
    Network,
    /// Somebody wrote, replaced or removed the resolver's file: we, or another program.
    ResolverTouched,
    /// The metadata say something else about this instance than at the last look.
    FactsChanged,
    /// A server in use is silent.
    ServerSilent,
    /// A server that was left out answers for the zone.
    ServerBack,
    /// The wall clock was set, or the machine slept.
    ClockStepped,
    /// The instance is about to end.
    Ending(Ending),
    /// It is not about to end any more.
    EndingRevoked,
    /// The configuration shall be read again.
    Reload,
    /// The agent shall stop.
    Stop,
}

/// How EC2 announces that an instance ends (EC2 User Guide, "Instance metadata categories").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// `spot/instance-action`
    Spot,
    /// `autoscaling/target-lifecycle-state` is `Terminated`.
    AutoScaling,
}
