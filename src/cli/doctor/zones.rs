//! What `doctor` finds about publishing: the names, the zones that hold them, their primaries, and the signatures. It asks
//! what a pass asks before it writes (signed queries), each server of a backend for itself too, and stops there.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::{SEE_SERVER, failed};
use crate::{
    agent::patience::out_of_time,
    backend::{
        Opened,
        rfc2136::{Rfc2136, Standing},
    },
    cli::{
        known::{Known, Wishes},
        once::open,
        wiring::Host,
    },
    core::{
        finding::{Check, Finding, Verdict},
        name::Name,
        ownership::OwnerId,
        plan::{Observed, plan},
        reason::Reason,
        servers::NameServer,
    },
    ports::{Failure, error::BackendError},
};

type Seen = Result<Result<Standing, BackendError>, tokio::time::error::Elapsed>;

/// Every backend, side by side.
pub(super) async fn findings(
    host: &Host<'_>,
    known: &Known,
    listed: Result<Vec<NameServer>, Failure>,
    deadline: Instant,
) -> Vec<Finding> {
    let wishes = known.wishes();
    let mut findings = wishes
        .failures
        .iter()
        .map(|failure| failed(Check::Names, Verdict::Wrong, failure))
        .collect::<Vec<_>>();
    if known.config.backends.is_empty() {
        findings.push(
            Finding::fine(Check::Names, "nothing is published")
                .because(["no backend is configured"]),
        );
    }
    let backends = known.config.backends.keys().map(|name| {
        let (wishes, listed) = (&wishes, listed.clone());
        async move { of_backend(host, known, name, wishes, listed, deadline).await }
    });
    findings.extend(join_all(backends).await.into_iter().flatten());
    findings
}

async fn of_backend(
    host: &Host<'_>,
    known: &Known,
    name: &str,
    wishes: &Wishes,
    listed: Result<Vec<NameServer>, Failure>,
    deadline: Instant,
) -> Vec<Finding> {
    let ledger = host.notebook.ledger();
    let nothing = BTreeMap::new();
    let desired = wishes.desired.get(name).unwrap_or(&nothing);
    let retired = ledger.retired(name, desired);
    let names = desired.keys().chain(&retired).cloned().collect::<Vec<_>>();
    if names.is_empty() {
        let why = if known.facts.is_some() {
            "it has no name to hold"
        } else {
            "no name is known without the metadata"
        };
        return vec![
            Finding::note(Check::Zone, format!("backend `{name}` was not asked"))
                .because([why])
                .remedy([
                    "a `[[record]]` names what this host is to hold; the metadata say who it is",
                ]),
        ];
    }
    let opened = match open(host, known, name, listed, deadline).await {
        Ok((opened, _)) => opened,
        // It is told where it was found: of the key, or of EC2.
        Err(failure) => {
            let finding = format!("backend `{name}` was not asked");
            let mend = ["mend first what is told of its key, or of EC2"];
            return vec![Finding::note(Check::Zone, finding).because([failure]).remedy(mend)];
        }
    };
    let whole = timeout_at(deadline, opened.port().observe(&names));
    let (whole, each) = tokio::join!(whole, each_server(&opened, &names, deadline));
    let mut findings = Vec::new();
    match whole {
        Ok(Ok(observed)) => {
            findings.extend(zones(&opened, name, &observed, deadline).await);
            findings.extend(agreements(&opened, &observed, deadline).await);
            if let (Some(facts), true) = (&known.facts, wishes.failures.is_empty()) {
                let owner = OwnerId::of(&facts.identity);
                findings.extend(names_found(&plan(&owner, desired, &retired, &observed)));
            }
            findings.extend(each.into_iter().flat_map(|one| server(&opened, one, true)));
        }
        Ok(Err(error)) => {
            let told = each.into_iter().flat_map(|one| server(&opened, one, false));
            findings.extend(told);
            findings.push(failed(check_of(&error), Verdict::Wrong, &Failure::of(&error)));
        }
        Err(_) => {
            findings.push(failed(Check::Zone, Verdict::Wrong, &out_of_time(&opened.port().place())))
        }
    }
    findings
}

/// What each server of the backend says alone.
async fn each_server(
    opened: &Opened,
    names: &[Name],
    deadline: Instant,
) -> Vec<(SocketAddr, Seen)> {
    let Opened::Rfc2136(backend) = opened else { return Vec::new() };
    let alone = backend.each();
    let asked = alone.iter().map(|(server, backend)| async move {
        (*server, timeout_at(deadline, backend.standing(names)).await)
    });
    join_all(asked).await
}

/// One server: whether its answers verify, whether it serves, and what it says if not.
fn server(opened: &Opened, (server, seen): (SocketAddr, Seen), others_serve: bool) -> Vec<Finding> {
    let Opened::Rfc2136(backend) = opened else { return Vec::new() };
    let least = if others_serve { Verdict::Note } else { Verdict::Wrong };
    match seen {
        Ok(Ok(Standing::Stranger)) => {
            vec![
                Finding::of(Check::Zone, least, format!("{server} serves none of the names' zones"))
                    .because(["it answers REFUSED, or knows no zone above the names"])
                .remedy(["see its configuration, and the view that this host falls into; or take it out of `servers`"]),
            ]
        }
        Ok(Ok(Standing::Serves)) => verified(backend, server).into_iter().collect(),
        Ok(Ok(Standing::Leads)) => hearsay(backend, server).into_iter().collect(),
        Ok(Err(error)) => {
            let check = check_of(&error);
            let verdict = if check == Check::Tsig { Verdict::Wrong } else { least };
            let mut finding = failed(check, verdict, &Failure::of(&error));
            if let BackendError::NoAnswer { .. } = error {
                finding.finding = format!("{server} does not answer");
                finding.remedy = vec![SEE_SERVER.to_owned()];
            }
            vec![finding]
        }
        Err(_) => vec![Finding::of(Check::Zone, least, format!("{server} did not answer in time"))],
    }
}

fn verified(backend: &Rfc2136, server: SocketAddr) -> Option<Finding> {
    let key = backend.key()?;
    Some(
        Finding::fine(Check::Tsig, format!("{key} is good for what {server} serves"))
            .because(["signed questions came back signed"]),
    )
}

/// A server that does not answer the key, and says who does.
fn hearsay(backend: &Rfc2136, server: SocketAddr) -> Option<Finding> {
    let key = backend.key()?;
    Some(
        Finding::note(Check::Tsig, format!("{server} does not answer {key} as an authority, and only leads to the primary"))
            .because([
                "a cache does so, and a secondary that does not know the key",
                "while the primary does not answer each pass fails, even where nothing is to be changed",
            ])
            .remedy(["give a secondary the key too; a cache need not be among `servers`"]),
    )
}

/// Whether Kerberos opens each zone's primary, where it signs updates.
async fn agreements(opened: &Opened, observed: &Observed, deadline: Instant) -> Vec<Finding> {
    let Opened::Rfc2136(backend) = opened else { return Vec::new() };
    let mut findings = Vec::new();
    for zone in observed.zones.values().collect::<BTreeSet<_>>() {
        match timeout_at(deadline, backend.agreement(zone)).await {
            Ok(None) => {}
            Ok(Some(Ok(told))) => findings.push(Finding::fine(Check::Tsig, told)),
            Ok(Some(Err(error))) => {
                findings.push(failed(Check::Tsig, Verdict::Wrong, &Failure::of(&error)));
            }
            Err(_) => {
                let place = opened.port().place();
                findings.push(failed(Check::Tsig, Verdict::Wrong, &out_of_time(&place)));
            }
        }
    }
    findings
}

/// What an error is about.
fn check_of(error: &BackendError) -> Check {
    match error {
        BackendError::BadKey { .. }
        | BackendError::BadSignature { .. }
        | BackendError::BadTime { .. }
        | BackendError::NoTicket { .. }
        | BackendError::TicketRefused { .. } => Check::Tsig,
        _ => Check::Zone,
    }
}

/// Which zone holds which names, and where it is at home.
async fn zones(
    opened: &Opened,
    backend: &str,
    observed: &Observed,
    deadline: Instant,
) -> Vec<Finding> {
    let mut held = BTreeMap::<&Name, BTreeSet<&Name>>::new();
    for (name, zone) in &observed.zones {
        held.entry(zone).or_default().insert(name);
    }
    let found = held.into_iter().map(|(zone, names)| async move {
        let names = names.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let place = match opened {
            Opened::Rfc2136(backend) => timeout_at(deadline, backend.place_of(zone)).await.ok().flatten(),
            Opened::Route53(_) => None,
        };
        let (at, why) = match place {
            None => (opened.place_of(zone), None),
            Some(place) => {
                let why = match place.primary {
                    Some(primary) => format!("its primary by MNAME is {} at {primary}", place.mname),
                    None => format!(
                        "its primary by MNAME, {}, has no address there; is {} a secondary, updates end in NOTAUTH",
                        place.mname, place.server
                    ),
                };
                (place.server.to_string(), Some(why))
            }
        };
        let finding = format!("{zone} at {at} holds {names} (backend `{backend}`)");
        Finding::fine(Check::Zone, finding).because(why)
    });
    join_all(found).await
}

/// How the names stand there.
fn names_found(plan: &crate::core::plan::Plan) -> Vec<Finding> {
    let blocked = plan.blocked.iter().map(|one| {
        Finding::wrong(Check::Names, format!("{} is left alone", one.name))
            .because([&one.by])
            .remedy([one.by.hint()])
    });
    let mut findings = blocked.collect::<Vec<_>>();
    findings.extend(plan.skipped.iter().map(|(name, why)| {
        Finding::fine(Check::Names, format!("{name} is left out")).because([why])
    }));
    findings.extend(plan.unanswered.iter().map(|(name, why)| {
        let reason = Reason::Unanswered { name: name.clone(), why: why.clone() };
        Finding::note(Check::Names, reason).remedy(["see the servers that do not answer"])
    }));
    if !plan.unchanged.is_empty() {
        let names = plan.unchanged.iter().map(ToString::to_string).collect::<Vec<_>>();
        findings
            .push(Finding::fine(Check::Names, format!("{} as they should be", names.join(", "))));
    }
    let swaps = plan.changes.iter().flat_map(|change| &change.swaps);
    let swaps = swaps.filter(|swap| swap.because != Reason::Kept).collect::<Vec<_>>();
    if !swaps.is_empty() {
        let count = swaps.len();
        findings.push(
            Finding::note(Check::Names, format!("{count} change(s) are still to be made"))
                .because(swaps)
                .remedy(["`tagalong once` makes them"]),
        );
    }
    findings
}
