//! What `doctor` finds about EC2: the metadata service, tags, the role's rights, the VPC's resolver.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use super::{failed, is_managed};
use crate::{
    agent::patience::out_of_time,
    cli::{
        known::Known,
        wiring::{Host, failure_of},
    },
    config::{BackendConfig, Fallback},
    core::{
        facts::{Facts, TagSource},
        finding::{Check, Finding, Verdict},
        name::Name,
        naming::{Conflict, Reverse},
        ownership::OwnerId,
        servers::{Health, NameServer},
    },
    ports::{Depth, Failure, InstanceDirectory as _, Prober as _, error::TURN_ON_TAGS},
    resolver::health::SoaProber,
};

/// What the metadata service said.
pub(super) struct Metadata {
    /// The facts; without tags that EC2 alone has, where EC2 does not give them.
    pub(super) facts: Option<Facts>,
    /// Why the service does not tell.
    silence: Option<Failure>,
    /// Why the tags are not there, where the service itself answers.
    without_tags: Option<Failure>,
    connects: bool,
}

/// Asks the metadata service, with EC2 for the tags that it has not, and beside that without.
pub(super) async fn read_metadata(host: &Host<'_>, deadline: Instant) -> Metadata {
    let (facts, alone, connects) = tokio::join!(
        host.facts(deadline),
        timeout_at(deadline, host.look()),
        host.reaches_metadata()
    );
    match (facts, alone) {
        (Ok(facts), _) => {
            Metadata { facts: Some(facts), silence: None, without_tags: None, connects }
        }
        (Err(why), Ok((Ok(facts), _))) => {
            Metadata { facts: Some(facts), silence: None, without_tags: Some(why), connects }
        }
        (Err(_), Ok((Err(error), _))) => {
            let silence = Some(Failure::of(&error));
            Metadata { facts: None, silence, without_tags: None, connects }
        }
        (Err(why), Err(_)) => {
            Metadata { facts: None, silence: Some(why), without_tags: None, connects }
        }
    }
}

/// The metadata service and the tags.
pub(super) fn metadata(host: &Host<'_>, read: &Metadata) -> Vec<Finding> {
    let endpoint = host.metadata_endpoint();
    if let Some(silence) = &read.silence {
        let reach = if read.connects {
            "a connection is made: where no answer follows, the token's answer is lost on its way, as a hop limit of 1 does it"
        } else {
            "no connection can be made: it is off, unroutable, or behind a firewall"
        };
        return vec![failed(Check::Metadata, Verdict::Wrong, silence).because([reach])];
    }
    let Some(facts) = &read.facts else { return Vec::new() };
    let identity = &facts.identity;
    let (id, zone) = (&identity.instance_id, &identity.availability_zone);
    let fine = Finding::fine(Check::Metadata, format!("{id} in {zone}"))
        .because([format!("version 2 answers at {endpoint}")]);
    let unread = facts.tags.unread.as_ref().map(failure_of);
    let source = format!("from {}", facts.tags.source);
    let tags = match (read.without_tags.as_ref().or(unread.as_ref()), facts.tags.source) {
        (Some(why), _) => failed(Check::Tags, Verdict::Wrong, why),
        (None, TagSource::Metadata) => Finding::fine(Check::Tags, source),
        (None, TagSource::DescribeTags) => Finding::note(Check::Tags, source)
            .because(["each reading costs a call of the account's budget"])
            .remedy([TURN_ON_TAGS]),
        (None, TagSource::Unavailable) => Finding::note(Check::Tags, source)
            .because(["nothing that was needed is missing; tags configure nothing"])
            .remedy([TURN_ON_TAGS]),
    };
    vec![fine, tags]
}

/// The listed servers; `None` where nobody needs them.
pub(super) async fn list(
    host: &Host<'_>,
    known: &Known,
    deadline: Instant,
) -> Option<Result<Vec<NameServer>, Failure>> {
    let discovers = known.config.backends.keys().any(|name| known.needs_discovery(name));
    if !is_managed(known) && !discovers {
        return None;
    }
    Some(host.servers(known, deadline).await)
}

/// What EC2 lets the instance's role see.
pub(super) fn ec2(
    known: &Known,
    listed: Option<&Result<Vec<NameServer>, Failure>>,
    untold: &[String],
) -> Vec<Finding> {
    let discovery = &known.config.discovery;
    let value = discovery.value.as_deref().unwrap_or_default();
    vec![match listed {
        None => Finding::fine(Check::Ec2, "not needed")
            .because(["the resolver is left alone, and no backend looks for its servers"]),
        Some(Err(failure)) => failed(Check::Ec2, Verdict::Wrong, failure),
        Some(Ok(servers)) if servers.is_empty() => {
            Finding::wrong(Check::Ec2, format!("no running instance carries {}", known.sought()))
                .remedy([format!(
                    "`aws ec2 create-tags --resources i-… --tags Key={},Value={value}` for each DNS server, or correct [discovery]",
                    discovery.tag
                )])
        }
        Some(Ok(servers)) if !untold.is_empty() => Finding::wrong(
            Check::Ec2,
            format!("ec2:DescribeInstances lists {} server(s), not all of them now", servers.len()),
        )
        .because(untold)
        .remedy(["let the role call it in every Region of `discovery.regions`, or leave out those that have no DNS server"]),
        Some(Ok(servers)) => Finding::fine(
            Check::Ec2,
            format!("ec2:DescribeInstances lists {} server(s)", servers.len()),
        )
        .because([known.sought()]),
    }]
}

/// Whether EC2 tells who still exists, where nothing else asks it.
pub(super) async fn owners(known: &Known, deadline: Instant) -> Option<Finding> {
    let (facts, instances) = (known.facts.as_ref()?, known.instances()?);
    let records = &known.config.records;
    let takes_over = records.iter().any(|it| it.conflict == Conflict::TakeOverIfGone);
    if !takes_over && records.iter().all(|it| it.reverse == Reverse::Never) {
        return None;
    }
    let us = BTreeSet::from([OwnerId::of(&facts.identity)]);
    let why = "whether the owner of a name in the way still exists is looked up there";
    let verdict = if takes_over { Verdict::Wrong } else { Verdict::Note };
    Some(match timeout_at(deadline, instances.lives(&us)).await {
        Ok(Ok(_)) => Finding::fine(Check::Ec2, "ec2:DescribeInstances is answered").because([why]),
        Ok(Err(error)) => {
            let failure = Failure::of(&error);
            failed(Check::Ec2, verdict, &failure).because([why])
        }
        Err(_) => failed(Check::Ec2, verdict, &out_of_time("EC2")).because([why]),
    })
}

/// Whoever resolves AWS's names, and takes over when nobody else answers.
pub(super) async fn vpc_resolver(known: &Known) -> Vec<Finding> {
    let config = &known.config;
    let asks = |endpoint: Option<&String>| {
        endpoint.is_none_or(|url| {
            let authority = url.split("//").nth(1).unwrap_or_default();
            let host = authority.split('/').next().unwrap_or_default();
            host.parse::<std::net::SocketAddr>().is_err()
                && host.parse::<std::net::IpAddr>().is_err()
        })
    };
    let of_route53 = |backend: &BackendConfig| match backend {
        BackendConfig::Route53 { endpoint, .. } => asks(endpoint.as_ref()),
        BackendConfig::Rfc2136 { .. } => false,
    };
    let for_names = asks(config.ec2_endpoint.as_ref()) || config.backends.values().any(of_route53);
    let for_rescue = is_managed(known) && config.resolver.fallback == Fallback::Vpc;
    let uses = [
        (for_names, "AWS's own names are looked up there"),
        (for_rescue, "it takes over when no other DNS server answers"),
    ];
    let uses = uses.iter().filter_map(|(is_so, text)| is_so.then_some((*text).to_owned()));
    let prober = SoaProber::new(Name::root());
    let questions = config.vpc_resolver.iter().map(|address| {
        let prober = &prober;
        async move { (*address, prober.probe(&NameServer::at(*address), Depth::Quick).await) }
    });
    let answers = join_all(questions).await;
    let told = answers.iter().map(|(address, health)| match health {
        Health::Alive(answer) => format!("{address} answered in {} ms", answer.time.as_millis()),
        Health::Ignorant(time) => format!("{address} answered in {} ms", time.as_millis()),
        Health::Unwilling { rcode } => format!("{address} answered {rcode}"),
        Health::Silent { queries } => format!("{address} is silent to {queries} queries"),
    });
    let told = told.collect::<Vec<_>>();
    if answers.iter().any(|(_, health)| health.answers()) {
        return vec![Finding::fine(Check::VpcResolver, "it answers").because(told)];
    }
    let verdict = if for_names || for_rescue { Verdict::Wrong } else { Verdict::Note };
    let speaks = answers.iter().any(|(_, health)| matches!(health, Health::Unwilling { .. }));
    let finding = if speaks { "it refuses or fails" } else { "it does not answer" };
    vec![
        Finding::of(Check::VpcResolver, verdict, finding).because(told).because(uses).remedy([
            "see whether the VPC has DNS support (`enableDnsSupport`) and whether a firewall lets DNS out; beyond 1024 packets a \
             second and interface it drops (`linklocal_allowance_exceeded` of `ethtool -S`)",
        ]),
    ]
}
