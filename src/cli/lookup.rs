//! The addresses of a name, asked of the DNS servers of this host.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use crate::{
    core::{
        name::Name,
        rrset::{Rdata, RrType},
    },
    sys::clock::now,
    wire::{
        exchange::{Peer, Timing},
        message::{Question, Rcode, Recursion, query},
    },
};

/// The names that a resolver would try, in its order (`ndots:1`).
pub(super) fn candidates(name: &str, search: &[String]) -> Vec<Name> {
    let as_is = name.parse().ok();
    let completed = search.iter().filter_map(|domain| format!("{name}.{domain}").parse().ok());
    if name.ends_with('.') {
        as_is.into_iter().collect()
    } else if name.contains('.') {
        as_is.into_iter().chain(completed).collect()
    } else {
        completed.chain(as_is).collect()
    }
}

/// The addresses of the first name that has any, at the first server that answers.
pub(super) async fn addresses(
    servers: &[SocketAddr],
    names: &[Name],
) -> Option<(SocketAddr, Name, Vec<IpAddr>)> {
    for server in servers {
        let peer = Peer { server: *server, key: None, clock: now, timing: LOOKUP };
        for name in names {
            let questions = [Question::Type(RrType::A), Question::Type(RrType::Aaaa)];
            let requests = questions.iter().map(|it| query(name, *it, Recursion::Desired));
            let requests = requests.collect::<Result<Vec<_>, _>>().ok()?;
            let answers = peer.ask_all(&requests).await.into_iter().flatten().collect::<Vec<_>>();
            // Silent or unwilling: the next server may tell.
            if answers.iter().all(|it| !matches!(it.rcode, Rcode::NOERROR | Rcode::NXDOMAIN)) {
                break;
            }
            // An alias's target counts as the name.
            let values =
                answers.iter().flat_map(|it| it.answers.values()).flat_map(|set| &set.values);
            let addresses = values.filter_map(|value| match value {
                Rdata::A(address) => Some(IpAddr::from(*address)),
                Rdata::Aaaa(address) => Some(IpAddr::from(*address)),
                _ => None,
            });
            let addresses = addresses.collect::<Vec<_>>();
            if !addresses.is_empty() {
                return Some((*server, name.clone(), addresses));
            }
        }
    }
    None
}

const LOOKUP: Timing =
    Timing { retransmit: Duration::from_millis(300), limit: Duration::from_millis(1000) };
