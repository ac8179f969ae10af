//! How AWS is called: one HTTP client, names looked up at the VPC's resolver only, and tries that end inside a pass.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    dns::{DnsFuture, ResolveDns, ResolveDnsError},
    http::SharedHttpClient,
    runtime_components::RuntimeComponents,
};

use super::credentials::InstanceCredentials;
use crate::{
    config::Endpoints,
    core::{
        name::Name,
        rrset::{Rdata, RrType},
    },
    wire::{
        exchange::{Peer, Timing},
        message::{Question, Recursion, query},
    },
};

/// What every AWS client of ours shares.
///
/// `plain` says that no endpoint is HTTPS; then the system's CA certificates, of which there are many, are not read.
#[must_use]
pub fn sdk_config(
    credentials: Arc<InstanceCredentials>,
    region: &str,
    vpc_resolver: &[SocketAddr],
    endpoints: Endpoints,
    plain: bool,
) -> SdkConfig {
    let retry = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(500))
        .with_max_backoff(Duration::from_secs(8));
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_millis(1500))
        .operation_attempt_timeout(Duration::from_secs(5))
        .build();
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .use_fips(endpoints.fips)
        .use_dual_stack(endpoints.dual_stack)
        .credentials_provider(SharedCredentialsProvider::from(
            credentials as Arc<dyn ProvideCredentials>,
        ))
        .http_client(http_client(VpcResolver { servers: vpc_resolver.into() }, plain))
        .retry_config(retry)
        .timeout_config(timeouts)
        .build()
}

fn http_client(resolver: VpcResolver, plain: bool) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let trust = if plain { TrustStore::empty() } else { TrustStore::default() };
        // The default context is the empty trust store's only alternative that cannot fail to build.
        let tls = TlsContext::builder().with_trust_store(trust).build().ok();
        let mut connector = Connector::builder().proxy_config(ProxyConfig::from_env());
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        let mut connector = connector.tls_provider(Provider::Rustls(CryptoMode::Ring));
        if let Some(tls) = tls {
            connector.set_tls_context(tls);
        }
        connector.build_with_resolver(resolver.clone())
    })
}

/// Tries of one call; throttled calls wait between them, with full jitter. The journeys try again until the pass's deadline,
/// and between two calls of theirs they learn what is wrong: with many tries in here they would only see their time run out.
const ATTEMPTS: u32 = 3;

/// Looks names up at the VPC's resolver, and nowhere else.
#[derive(Clone)]
struct VpcResolver {
    servers: Arc<[SocketAddr]>,
}

impl fmt::Debug for VpcResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VpcResolver({:?})", self.servers)
    }
}

impl ResolveDns for VpcResolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move { self.resolve(name).await.map_err(ResolveDnsError::new) })
    }
}

impl VpcResolver {
    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, Source> {
        if host == "localhost" || host.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let name: Name = host.parse()?;
        let lookups = self.servers.iter().map(|server| Box::pin(ask(*server, &name)));
        // The first resolver that knows it wins: on a host without IPv6 the other never answers.
        match futures_util::future::select_ok(lookups).await {
            Ok((addresses, _)) => Ok(addresses),
            Err(error) => Err(format!("the VPC resolver does not resolve {name}: {error}").into()),
        }
    }
}

async fn ask(server: SocketAddr, name: &Name) -> Result<Vec<IpAddr>, Source> {
    let questions = [Question::Type(RrType::A), Question::Type(RrType::Aaaa)];
    let requests = questions.iter().map(|question| query(name, *question, Recursion::Desired));
    let peer = Peer { server, key: None, clock: crate::sys::clock::now, timing: LOOKUP };
    let answers = peer.ask_all(&requests.collect::<Result<Vec<_>, _>>()?).await;
    let mut addresses = Vec::new();
    let mut failure = None;
    for answer in answers {
        match answer {
            Ok(response) => addresses
                .extend(response.answers.values().flat_map(|set| &set.values).filter_map(address)),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) if addresses.is_empty() => Err(error.into()),
        _ if addresses.is_empty() => Err(format!("{server} has no address of {name}").into()),
        _ => Ok(addresses),
    }
}

fn address(value: &Rdata) -> Option<IpAddr> {
    match value {
        Rdata::A(address) => Some((*address).into()),
        Rdata::Aaaa(address) => Some((*address).into()),
        _ => None,
    }
}

/// Shorter than the limit of a connection.
const LOOKUP: Timing =
    Timing { retransmit: Duration::from_millis(300), limit: Duration::from_millis(1200) };

type Source = Box<dyn std::error::Error + Send + Sync>;
