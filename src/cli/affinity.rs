//! Which networks are near this host, and what the resolver's files say of them: `[resolver] prefer`.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    known::Known,
    lookup::{addresses, candidates},
    wiring::Host,
};
use crate::{
    agent::resolution::{Action, Mode, Resolved},
    core::{
        affinity::{Network, Surroundings, fits_sortlist, networks, sortlist},
        ledger::KnownSubnets,
        servers::NameServer,
    },
    ports::{Clock as _, Failure, topic::Topic},
    resolver::Resolvers,
    sys::clock::SystemClock,
};

/// The networks around this host, nearest first; none where no name is preferred, and `None` where it is not known.
pub(super) async fn near(
    host: &Host<'_>,
    known: &Known,
    mode: Mode<'_>,
    outcome: &mut Resolved,
) -> Option<Vec<Network>> {
    if known.config.resolver.prefer.is_empty() {
        return Some(Vec::new());
    }
    let facts = known.facts.as_ref()?;
    let vpc = facts.vpc_id()?;
    let kept = host.notebook.ledger().subnets.filter(|kept| kept.vpc_id == vpc);
    let is_due = kept.as_ref().is_none_or(|kept| SystemClock.now() >= kept.until);
    let mut subnets = kept.map(|kept| kept.subnets).unwrap_or_default();
    if is_due && mode.asks() {
        let late = |_| Err(Failure::told("EC2 did not tell the subnets in time", None, Topic::Ec2));
        let lasts = match timeout(PATIENCE, known.subnets()).await.unwrap_or_else(late) {
            Ok(found) => {
                subnets = found;
                A_DAY
            }
            Err(failure) => {
                outcome.notices.push(format!(
                    "near networks are this subnet and the VPC alone, or as before: {failure}"
                ));
                A_WHILE
            }
        };
        let until = SystemClock.now() + lasts.as_secs();
        let now_known = KnownSubnets { vpc_id: vpc.to_owned(), subnets: subnets.clone(), until };
        if mode.remembers() {
            let noted = host.notebook.note(|ledger| ledger.subnets = Some(now_known.clone()));
            outcome.failures.extend(noted.err().map(|error| Failure::of(&error)));
        }
    }
    Some(networks(&Surroundings::of(facts, &subnets)))
}

/// What resolv.conf's `sortlist` is to say of the networks: nothing where no name is preferred, `None` where that is not known.
///
/// Where it cannot hold them all, the preferred names' members decide which it needs.
pub(super) async fn sorted(
    host: &Host<'_>,
    known: &Known,
    listed: &Result<Vec<NameServer>, Failure>,
    networks: Option<&[Network]>,
) -> Option<String> {
    let networks = networks?;
    let mut members = Vec::new();
    if !fits_sortlist(networks) {
        let last = || host.notebook.ledger().servers.map(|known| known.servers);
        let servers = listed.as_ref().ok().cloned().or_else(last).unwrap_or_default();
        let resolver = &known.config.resolver;
        let names = resolver.prefer.iter().map(|name| candidates(name, &resolver.policy.search));
        let names = names.collect::<Vec<_>>();
        // All of them at once: a dead one before the others would cost each pass a second.
        let looks = servers.iter().flat_map(|server| {
            names.iter().map(async |names| addresses(&[server.address], names).await)
        });
        let found = join_all(looks).await;
        members.extend(found.into_iter().flatten().flat_map(|(_, _, members)| members));
        if members.is_empty() {
            return None;
        }
    }
    Some(sortlist(networks, &members).unwrap_or_default())
}

/// Puts the networks into gai.conf, or says what that would be.
pub(super) fn prefer(
    resolvers: &Resolvers,
    networks: Option<&[Network]>,
    mode: Mode<'_>,
    outcome: &mut Resolved,
) {
    let Some(networks) = networks else { return };
    let changed = resolvers.address_selection().and_then(|before| {
        let after = before.with(networks);
        if after == before {
            return Ok((Action::Unchanged, before));
        }
        if mode.applies() {
            resolvers.set_address_selection(&after)?;
        }
        let (before, text) = (before.to_string(), after.to_string());
        Ok((Action::Written { before, after: text }, after))
    });
    match changed {
        Ok((action, file)) => {
            let crowded = file.crowded(networks);
            if !crowded.is_empty() {
                let crowded = crowded.iter().map(|network| network.cidr.to_string());
                outcome.notices.push(format!(
                    "the `precedence` lines of gai.conf leave no value free for {}",
                    crowded.collect::<Vec<_>>().join(", ")
                ));
            }
            outcome.selection = Some(action);
        }
        Err(error) => outcome.failures.push(Failure::of(&error)),
    }
}

/// How long EC2 is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Subnets hardly ever change.
const A_DAY: Duration = Duration::from_secs(86_400);
/// Until EC2 is asked again if it did not tell.
const A_WHILE: Duration = Duration::from_secs(900);
