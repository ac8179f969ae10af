//! The words in which decisions explain themselves: the log, `plan`, `status` and the goldens print the same values.

use std::{fmt, net::IpAddr, time::Duration};

use super::{name::Name, ownership::OwnerId};

/// Why something was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A name comes from this template.
    Template(String),
    /// An address was taken by this selector from the interface with this device number.
    Selected {
        /// The selector as the configuration has it.
        selector: String,
        /// The address.
        address: IpAddr,
        /// EC2's device number; 0 is the primary interface.
        device_number: u32,
    },
    /// A selector found no address; the record's others were taken.
    NothingSelected {
        /// The selector as the configuration has it.
        selector: String,
    },
    /// Nothing stands at the name.
    Vacant,
    /// The name carries our marker.
    Ours,
    /// The instance whose marker the name carries does not exist any more.
    OwnerGone(OwnerId),
    /// The instance whose marker the reverse name carries has another address now.
    OwnerMoved(OwnerId),
    /// The name is shared by hosts that come and go.
    Shared,
    /// The wanted name was not ours to take.
    Suffixed {
        /// The wanted name.
        wanted: Name,
        /// Why.
        obstacle: Box<Obstacle>,
    },
    /// What stands at the name is sent again: for its lease, or for the index.
    Kept,
    /// The name was published by this host and is not wanted any more.
    Retired,
    /// No zone that the backend serves holds the name.
    Unserved(Name),
    /// The name that it would point to is not published.
    Awaits(Name),
    /// It is not known whether a zone holds the name: a server that could tell did not.
    Unanswered {
        /// The name.
        name: Name,
        /// What became of the server.
        why: String,
    },
    /// The server answered a query within this time.
    Alive(Duration),
    /// The server answered, and does not know the zone that it is listed for.
    Ignorant,
    /// The server did not answer.
    Silent {
        /// How many queries were sent.
        queries: u32,
    },
    /// The server answered, but not as an authority or a willing resolver of the zone does.
    Unwilling {
        /// The response code's mnemonic (RFC 6895 section 2.3).
        rcode: String,
    },
    /// The server answered, and not as an authority of the zone.
    NotAuthoritative,
    /// The server's zone has been older than its peers' for longer than that is tolerated.
    Stale {
        /// The zone's serial there.
        serial: u32,
        /// For how long.
        since: Duration,
    },
    /// The server answers over UDP only.
    NoTcp,
    /// A tag says that the server is about to be shut down.
    Draining,
    /// The server stands in this host's Availability Zone.
    SameZone(String),
    /// The server stands in another Availability Zone.
    OtherZone(String),
    /// The server is already in use, and is kept in its place.
    InUse,
    /// resolv.conf has room for three servers only.
    NoRoom,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Template(template) => write!(f, "template `{template}`"),
            Self::Selected { selector, address, device_number } => {
                write!(f, "{address} by `{selector}` from device {device_number}")
            }
            Self::NothingSelected { selector } => write!(f, "`{selector}` matches no address"),
            Self::Vacant => f.write_str("the name was vacant"),
            Self::Ours => f.write_str("the name is ours"),
            Self::OwnerGone(owner) => write!(f, "its owner {owner} is gone"),
            Self::OwnerMoved(owner) => write!(f, "its owner {owner} has another address now"),
            Self::Shared => f.write_str("the name is shared"),
            Self::Suffixed { wanted, obstacle } => {
                write!(f, "in place of {wanted}: {obstacle}")
            }
            Self::Kept => f.write_str("it is sent again, to be kept"),
            Self::Retired => f.write_str("published before, not wanted now"),
            Self::Awaits(name) => write!(f, "{name}, which it would point to, is not published"),
            Self::Unserved(name) => write!(f, "no zone of the backend holds {name}"),
            Self::Unanswered { name, why } => {
                write!(f, "whether a zone of the backend holds {name} is not known: {why}")
            }
            Self::Alive(time) => write!(f, "answered in {} ms", time.as_millis()),
            Self::Ignorant => f.write_str("does not know the zone"),
            Self::Silent { queries } => write!(f, "silent to {queries} queries"),
            Self::Unwilling { rcode } => write!(f, "answered {rcode}"),
            Self::NotAuthoritative => f.write_str("is no authority of the zone"),
            Self::Stale { serial, since } => {
                write!(f, "behind its peers for {} s, at serial {serial}", since.as_secs())
            }
            Self::NoTcp => f.write_str("does not answer over TCP"),
            Self::Draining => f.write_str("draining"),
            Self::SameZone(zone) => write!(f, "same zone {zone}"),
            Self::OtherZone(zone) => write!(f, "zone {zone}"),
            Self::InUse => f.write_str("in use"),
            Self::NoRoom => f.write_str("in reserve: resolv.conf holds three servers"),
        }
    }
}

/// Why a name is left as it is although a change is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The marker names another owner.
    Theirs(OwnerId),
    /// Records without any marker stand at the name.
    Foreign,
    /// Other hosts share the name, and it was to be ours alone.
    Shared,
    /// The name is an alias, and an alias excludes every other record (RFC 1034 section 3.6.2).
    Alias,
    /// The name must be in a zone of the backend, and is in none.
    Unserved,
    /// The configuration binds the backend to this zone, and the name is not in it.
    Outside(Name),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Theirs(owner) => write!(f, "it belongs to {owner}"),
            Self::Foreign => {
                f.write_str("it holds records without an owner marker, so somebody else made it")
            }
            Self::Shared => f.write_str("other hosts share it"),
            Self::Alias => f.write_str("it is an alias (CNAME)"),
            Self::Unserved => f.write_str("no zone that the backend serves holds it"),
            Self::Outside(zone) => write!(f, "it is outside {zone}, the backend's only zone"),
        }
    }
}

impl Obstacle {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Theirs(_) => {
                "choose another name, or withdraw it on the instance that owns it; `conflict = \"take-over-if-gone\"` takes it once \
                 EC2 says that the instance is gone, and not before"
            }
            Self::Foreign => {
                "choose another name, or remove the records there by hand; tagalong then takes the name"
            }
            Self::Shared => "choose another name, or set `shared = true`",
            Self::Alias => "remove the CNAME, or choose another name",
            Self::Unserved => {
                "create the zone, let this host ask for it (a server that refuses its queries is passed over), name another backend, or \
                 set `reverse = false` if it is a reverse name"
            }
            Self::Outside(_) => {
                "choose a name in that zone, name another backend, or correct its `zone_id`; without one the zone is found"
            }
        }
    }
}
