//! What can go wrong where records are published.

use std::{net::SocketAddr, time::Duration};

use super::{Disposition, Situation, Source, THROTTLED, Topic, no_way, not_authorized};
use crate::core::name::Name;

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
    /// Some servers do not serve the name's zone, and others, which may, do not tell.
    #[error("it is not known whether a zone of the backend holds {name}")]
    ZoneUnknown {
        /// The name.
        name: Name,
        /// What became of a server.
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
    /// The machine's keytab gives no ticket for the server.
    #[error("Kerberos gives no ticket for {service} by the keytab {keytab}")]
    NoTicket {
        /// The server's principal: `DNS/ns1.corp.internal`.
        service: String,
        /// The keytab.
        keytab: String,
        /// What the library says.
        source: Source,
    },
    /// The server does not take the ticket.
    #[error("{server} does not take a Kerberos ticket for {service}")]
    TicketRefused {
        /// The server.
        server: SocketAddr,
        /// Who the ticket is for.
        service: String,
        /// What it says.
        source: Source,
    },
    /// The server's policy forbids it.
    #[error("{server} refused the {operation} of {zone} (REFUSED)")]
    Refused {
        /// The server.
        server: SocketAddr,
        /// The zone.
        zone: Name,
        /// `update`, `query`, `transfer`
        operation: &'static str,
    },
    /// The server is not the zone's authority.
    #[error("{server} is no authority for {zone} (NOTAUTH)")]
    NotAuth {
        /// The server.
        server: SocketAddr,
        /// The zone.
        zone: Name,
        /// `update`, `unsigned update`, `query`, `transfer`
        operation: &'static str,
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
    fn topic(&self) -> Topic {
        match self {
            // Others are not calls of AWS.
            Self::Failed { action, .. } if action.contains(':') => Topic::Route53,
            Self::NotAuthorized { .. }
            | Self::Throttled { .. }
            | Self::NoZone { .. }
            | Self::Rejected { .. } => Topic::Route53,
            Self::NoTicket { .. } | Self::TicketRefused { .. } => Topic::Kerberos,
            Self::Conflict { .. }
            | Self::Failed { .. }
            | Self::NoAnswer { .. }
            | Self::ZoneUnknown { .. }
            | Self::NoServers { .. }
            | Self::BadKey { .. }
            | Self::BadSignature { .. }
            | Self::BadTime { .. }
            | Self::Refused { .. }
            | Self::NotAuth { .. }
            | Self::NotZone { .. }
            | Self::Answered { .. } => Topic::Rfc2136,
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::Conflict { .. } => Disposition::Replan,
            Self::NoAnswer { .. }
            | Self::Failed { .. }
            | Self::NoServers { .. }
            | Self::ZoneUnknown { .. } => Disposition::Retry { after: Duration::from_millis(500) },
            // The machine, or the DNS server, may not have joined its realm yet.
            Self::NoTicket { .. } | Self::TicketRefused { .. } => {
                Disposition::Retry { after: Duration::from_secs(2) }
            }
            Self::Throttled { .. } => Disposition::Ease { after: Duration::from_secs(1) },
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
            Self::NoAnswer { .. } | Self::ZoneUnknown { .. } => {
                "see that the servers run and that port 53 is open to them from here, UDP and TCP: `tagalong doctor` asks each".to_owned()
            }
            Self::Failed { action, source } if action.contains(':') => no_way(action, source),
            Self::Failed { .. } | Self::Conflict { .. } => return Vec::new(),
            Self::Throttled { .. } => THROTTLED.to_owned(),
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
                "signatures allow 300 s; one of the clocks is wrong: move this host's {} (chrony, 169.254.169.123), or the server's {}",
                if *skew > 0 { "forward" } else { "back" },
                if *skew > 0 { "back" } else { "forward" }
            ),
            Self::Refused { operation: "update", zone, .. } => format!(
                "on BIND the zone needs `update-policy {{ grant KEY wildcard *.{zone} {}; }};`; on Knot \
                 an `acl` of the key with `action: update` and these types, on PowerDNS `pdnsutil set-meta {zone} \
                 TSIG-ALLOW-DNSUPDATE KEY`; TXT carries the owner marker (DHCID does with `marker = \"dhcid\"`), and `index` writes PTR below _tagalong",
                if zone.is_reverse() { "PTR TXT" } else { "A AAAA TXT" }
            ),
            Self::NoTicket { service, keytab, .. } => format!(
                "see `klist -k {keytab}`, and `kinit -k -t {keytab} PRINCIPAL` followed by `kvno {service}`: the keytab's principal must be one that gets tickets (`principal` \
                 chooses it; in Active Directory HOST$), and {service} must exist, by the name that the zone's SOA has for its primary"
            ),
            Self::TicketRefused { service, .. } => format!(
                "the DNS server needs the key of {service}: on BIND `tkey-gssapi-keytab`, readable by named and of the present version (`kvno {service}`)"
            ),
            Self::Refused { operation: "Kerberos update", zone, .. } => format!(
                "on BIND the zone needs `update-policy {{ grant REALM krb5-self . A AAAA TXT; }};` for {zone} (`ms-self` for principals such as HOST$), and a zone of PTR records \
                 `krb5-subdomain-self-rhs`; in Active Directory and Samba the name belongs to another account"
            ),
            Self::Refused { operation: "unsigned update", .. } => {
                "nobody signed it: set `key_file` of the backend, as the server's policy wants it".to_owned()
            }
            Self::Refused { operation: "transfer", zone, .. } => may_transfer(zone),
            Self::NotAuth { operation: "transfer", zone, .. } => {
                format!("if it does serve {zone} it does not give it (Samba gives none): {}", may_transfer(zone))
            }
            Self::Refused { .. } => "on BIND see `allow-query` and the view that this host falls into; PowerDNS answers so to a key that it does not have, or has with another secret or \
                 algorithm (`pdnsutil list-tsig-keys`), and to one whose time is more than 300 s off".to_owned(),
            Self::NotAuth { zone, operation: "unsigned update", .. } => format!(
                "set `key_file` of the backend: Knot answers so to an update that nobody signed; or send updates to the primary of {zone}"
            ),
            Self::NotAuth { zone, .. } => format!("send updates to the primary of {zone}, or create the zone there"),
            Self::NotZone { .. } => "the zone was cut while the change was on its way; see the delegations".to_owned(),
            Self::Answered { rcode, operation: "query", zone, .. } if rcode == "SERVFAIL" => format!(
                "the server's log says why: it has no zone that holds {zone} and reaches nobody to ask, as after a slip in the domain, or its zone has \
                 expired or could not be loaded"
            ),
            Self::Answered { rcode, .. } if rcode == "SERVFAIL" => {
                "the server's log says why; Samba answers so where its policy forbids the change".to_owned()
            }
            Self::Answered { .. } => "the server's log says why".to_owned(),
            Self::NotAuthorized { action, source } => {
                let place = if action.contains("ListHostedZones") { "" } else { " on the hosted zone" };
                not_authorized(action, source, place)
            }
            Self::NoZone { .. } => "see `zone_id` in the backend's configuration, or the name that was given; `aws route53 list-hosted-zones` has all".to_owned(),
            Self::Rejected { .. } => {
                "the cause is what Route 53 says of the request; it is not sent again in this pass, since the answer would be the same".to_owned()
            }
        };
        vec![hint]
    }
}

fn may_transfer(zone: &Name) -> String {
    format!(
        "on BIND the zone {zone} needs `allow-transfer {{ key KEY; }};`, on Knot an `acl` with `action: transfer`, on PowerDNS `pdnsutil set-meta {zone} TSIG-ALLOW-AXFR \
         KEY`; or let hosts keep an index in place of that (`index = true`)"
    )
}
