//! Adapters to journeys: what every verb that touches the outside world is made of.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use aws_config::SdkConfig;
use tokio::time::Instant;

use super::{args::Args, print};
use crate::{
    agent::{notebook::Notebook, patience::insist},
    backend::{self, Opened, Surroundings},
    config::{
        self, Config,
        settings::{ConfigError, Origin, Settings},
    },
    core::{
        facts::{Facts, TagSource, Unread},
        name::Name,
        naming::{Desired, NamingError, desire},
        servers::{Here, NameServer},
        template::Template,
    },
    ec2::{
        api::sdk_config,
        facts::{MetadataFacts, kernel_macs},
        imds::{Imds, Patience},
        tags::{DescribeTags, TaggedServers, client},
    },
    ports::{FactSource as _, Failure, ServerDirectory as _},
    store::{Access, StateFile},
    sys::clock::SystemClock,
};

/// The files of the configuration, read; `None` after the errors were printed.
pub(super) fn settings(args: &Args) -> Option<Settings> {
    match config::read(args.config.as_deref(), |variable| std::env::var(variable).ok()) {
        Ok(settings) => Some(settings),
        Err(errors) => {
            errors.iter().for_each(print::error);
            None
        }
    }
}

/// This process's way to EC2's metadata and to AWS.
pub(super) struct Host<'a> {
    pub(super) settings: Settings,
    pub(super) imds: Arc<Imds>,
    pub(super) notebook: &'a Notebook<'a>,
}

/// A configuration and the facts that completed it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) facts: Option<Facts>,
    pub(super) config: Config,
    pub(super) aws: SdkConfig,
    /// What is wrong with the tags' part of the configuration, which is left out then: nothing can be published.
    pub(super) refused: Vec<Failure>,
}

impl<'a> Host<'a> {
    pub(super) fn new(
        settings: Settings,
        notebook: &'a Notebook<'a>,
        patience: Patience,
    ) -> Result<Self, Vec<ConfigError>> {
        // What the metadata service's tags may yet add does not change where it is.
        let endpoint = endpoint(&settings)?;
        Ok(Self { imds: Arc::new(Imds::new(&endpoint, patience)), settings, notebook })
    }

    /// The facts, read again and again until they are there, or the deadline is.
    pub(super) async fn facts(&self, deadline: Instant) -> Result<Facts, Failure> {
        let who = format!(
            "the instance metadata service at {} (or EC2, where that has no tags)",
            self.imds.endpoint()
        );
        insist(deadline, &SystemClock, &who, async || self.read_facts().await).await
    }

    async fn read_facts(&self) -> Result<Facts, crate::ports::error::FactError> {
        let mut expected_macs = self.notebook.ledger().macs;
        if expected_macs.is_empty() {
            expected_macs = kernel_macs();
        }
        let resolver = vpc_resolver(&self.settings);
        let endpoint = self.settings_text("aws.endpoint");
        let shared =
            sdk_config(self.imds.clone(), "us-east-1", &resolver, is_plain(endpoint.as_deref()));
        let describe_tags = DescribeTags { shared, endpoint };
        let source = MetadataFacts {
            imds: &self.imds,
            tags: tags_of_names(&self.settings),
            any_tag: self.settings.records() == 0 || self.settings.backends().is_empty(),
            expected_macs,
            describe_tags: Some(&describe_tags),
        };
        let facts = source.read().await?;
        let macs =
            facts.interfaces.iter().map(|interface| interface.mac.clone()).collect::<Vec<_>>();
        // Only a hint for the next pass; what goes wrong with it is seen when something that matters is saved.
        let _ = self.notebook.note(|ledger| ledger.macs.clone_from(&macs));
        Ok(facts)
    }

    /// What the files and the tags say together; what the files say alone if the tags' part is wrong.
    pub(super) fn complete(&self, facts: Option<&Facts>) -> Result<Known, Vec<ConfigError>> {
        let (config, refused) = match (self.with_tags(facts), facts) {
            (Ok(config), _) => (config, Vec::new()),
            (Err(errors), Some(facts)) => {
                (self.without_tags(facts, &errors).ok_or_else(|| errors.clone())?, {
                    let unread = facts.tags.unread.iter().map(failure_of);
                    refused(&errors).into_iter().chain(unread).collect()
                })
            }
            (Err(errors), None) => return Err(errors),
        };
        let region = facts.map_or("us-east-1", |facts| facts.identity.region.as_str());
        let plain = is_plain(config.ec2_endpoint.as_deref())
            && config.backends.values().all(|backend| match backend {
                config::BackendConfig::Route53 { endpoint, .. } => is_plain(endpoint.as_deref()),
                config::BackendConfig::Rfc2136 { .. } => true,
            });
        let aws = sdk_config(self.imds.clone(), region, &config.vpc_resolver, plain);
        Ok(Known { facts: facts.cloned(), config, aws, refused })
    }

    fn with_tags(&self, facts: Option<&Facts>) -> Result<Config, Vec<ConfigError>> {
        let mut settings = self.settings.clone();
        if let Some(facts) = facts {
            settings.overlay_tags(&facts.tags.values)?;
        }
        Config::of(&settings)
    }

    /// The files' configuration, or what of it is not about publishing where that part needs the tags; `None` if it is the
    /// files that are wrong.
    fn without_tags(&self, facts: &Facts, errors: &[ConfigError]) -> Option<Config> {
        if let Ok(config) = Config::of(&self.settings) {
            return Some(config);
        }
        let of_tags = errors.iter().any(|error| matches!(error.origin, Origin::Tag(_)));
        if !of_tags && facts.tags.unread.is_none() {
            return None;
        }
        let mut rest = Settings::default();
        for (path, setting) in self.settings.iter() {
            if !path.starts_with("record[") && !path.starts_with("backend.") {
                rest.insert(path, setting.clone());
            }
        }
        Config::of(&rest).ok()
    }

    fn settings_text(&self, path: &str) -> Option<String> {
        match self.settings.get(path).map(|setting| &setting.value) {
            Some(config::settings::Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }
}

impl Known {
    /// The wanted names; waits for tags and addresses that are late, by reading the facts again, until the deadline.
    pub(super) async fn desired(
        &mut self,
        host: &Host<'_>,
        deadline: Instant,
    ) -> Result<Desired, Vec<Failure>> {
        let mut patience = crate::agent::patience::Patience::until(deadline);
        loop {
            let Some(facts) = &self.facts else { return Ok(Desired::new()) };
            let unread = facts.tags.unread.as_ref();
            let desired = desire(&self.config.records, facts);
            let (failures, may_pass, pause) = match (desired, unread) {
                _ if !self.refused.is_empty() => {
                    (self.refused.clone(), unread.is_some_and(|why| why.may_pass), SLOW)
                }
                // What tags would have published is not known, and must not be withdrawn for that.
                (Ok(_), Some(why)) if self.lacks_tags() && !self.is_idle() => {
                    (vec![failure_of(why)], why.may_pass, SLOW)
                }
                (Ok(desired), _) => return Ok(desired),
                (Err(NamingError::MissingTag { .. }), Some(why)) => {
                    (vec![failure_of(why)], why.may_pass, SLOW)
                }
                (Err(error), _) => (
                    vec![Failure::told(&error, Some(error.hint()))],
                    error.may_pass(),
                    pause_of(&error),
                ),
            };
            if !may_pass || !patience.wait(pause, &SystemClock).await {
                return Err(failures);
            }
            let Ok(facts) = host.facts(deadline).await else { return Err(failures) };
            *self = host.complete(Some(&facts)).map_err(|errors| refused(&errors))?;
        }
    }

    /// Whether nothing of the configuration was left out.
    pub(super) fn is_whole(&self) -> bool {
        let unread = self.facts.as_ref().is_some_and(|facts| facts.tags.unread.is_some());
        self.refused.is_empty() && !unread
    }

    /// Whether tags could not be read that might say what is to be published, since the files do not.
    fn lacks_tags(&self) -> bool {
        self.config.records.is_empty()
            && self.facts.as_ref().is_some_and(|facts| facts.tags.unread.is_some())
    }

    /// Whether tags are refused for good to a host whose files do not publish anything anywhere.
    fn is_idle(&self) -> bool {
        let unread = self.facts.as_ref().and_then(|facts| facts.tags.unread.as_ref());
        self.config.backends.is_empty() && unread.is_some_and(|why| !why.may_pass)
    }

    /// The listed DNS servers, tried again until the deadline.
    pub(super) async fn servers(&self, deadline: Instant) -> Result<Vec<NameServer>, Failure> {
        let Some(vpc) = self.facts.as_ref().and_then(Facts::vpc_id) else {
            return Err(Failure::told(
                "the VPC of this instance is not known, so its DNS servers cannot be listed",
                None,
            ));
        };
        let ec2 = client(&self.aws, self.config.ec2_endpoint.as_deref());
        let directory = TaggedServers::new(ec2, self.config.discovery.clone(), vpc);
        insist(deadline, &SystemClock, "ec2:DescribeInstances", async || directory.list().await)
            .await
    }

    /// Opens a backend.
    pub(super) fn open(
        &self,
        name: &str,
        discovered: &[NameServer],
        zone_ids: BTreeMap<String, Name>,
    ) -> Result<Opened, Failure> {
        let identity = self.facts.as_ref().map(|facts| &facts.identity);
        let config = self
            .config
            .backends
            .get(name)
            .ok_or_else(|| Failure::told(format!("there is no backend `{name}`"), None))?;
        let region = identity.map_or("us-east-1", |identity| identity.region.as_str());
        let around = Surroundings {
            aws: &self.aws,
            partition: identity.map_or("aws", |identity| identity.partition.as_str()),
            vpc: self.facts.as_ref().and_then(Facts::vpc_id).map(|vpc| (region, vpc)),
            discovered: discovered.iter().map(|server| server.address).collect(),
            zone_ids,
        };
        backend::open(name, config, around)
            .map_err(|error| Failure { texts: crate::ports::chain(&error), hints: Vec::new() })
    }

    /// Whether a backend's servers are the discovered ones.
    pub(super) fn needs_discovery(&self, backend: &str) -> bool {
        matches!(
            self.config.backends.get(backend),
            Some(config::BackendConfig::Rfc2136 { servers: None, .. })
        )
    }

    /// Where this host stands.
    pub(super) fn here(&self) -> Here {
        let identity = self.facts.as_ref().map(|facts| &facts.identity);
        Here {
            availability_zone: identity
                .map(|identity| identity.availability_zone.clone())
                .unwrap_or_default(),
            spread: identity.map(|identity| identity.instance_id.clone()).unwrap_or_default(),
        }
    }

    /// The zone that servers are probed for: the first search domain, or the tag's value if it can be one; else the root.
    pub(super) fn probe_zone(&self) -> Name {
        let search = self.config.resolver.policy.search.first();
        let value = self.config.discovery.value.as_ref().filter(|value| value.contains('.'));
        search.or(value).and_then(|text| text.parse().ok()).unwrap_or_else(Name::root)
    }

    /// What the operator should know about how the facts came together.
    pub(super) fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if self.facts.as_ref().is_some_and(|facts| facts.tags.source == TagSource::DescribeTags) {
            notices.push("instance tags were read with ec2:DescribeTags, since the instance's metadata does not hold them".to_owned());
        }
        if self.lacks_tags() && self.is_idle() && self.refused.is_empty() {
            let unread = self.facts.iter().filter_map(|facts| facts.tags.unread.as_ref());
            notices.extend(unread.map(|why| {
                format!(
                    "instance tags cannot be read, so they configure nothing: {}",
                    failure_of(why)
                )
            }));
        }
        if !self.config.resolver.prefer.is_empty() {
            notices.push("`resolver.prefer` is read, and does nothing in this version".to_owned());
        }
        notices
    }
}

/// Opens the memory and the way to the outside, and does `work` with them; gives its result and what the memory has to say.
pub(super) fn on_host<T>(
    settings: Settings,
    state: &Path,
    access: Access,
    patience: Patience,
    work: impl AsyncFnOnce(&Host<'_>) -> T,
) -> Result<(T, Vec<String>), Vec<Failure>> {
    let store = StateFile::new(state, access);
    let notebook = match access {
        Access::ReadOnly => Notebook::open_read_only(&store),
        Access::ReadWrite => Notebook::open(&store),
    };
    let host = Host::new(settings, &notebook, patience).map_err(|errors| refused(&errors))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| vec![Failure::told(format!("no runtime: {error}"), None)])?;
    let result = runtime.block_on(work(&host));
    runtime.shutdown_background();
    let mut notices = store.take_notices();
    notices.extend(
        notebook
            .unread()
            .map(|error| format!("the run went on without its memory: {}", Failure::of(error))),
    );
    Ok((result, notices))
}

/// Errors of the configuration as failures.
pub(super) fn refused(errors: &[ConfigError]) -> Vec<Failure> {
    errors.iter().map(|error| Failure::told(error, None)).collect()
}

/// Where the metadata service is, by the files and the environment.
fn endpoint(settings: &Settings) -> Result<String, Vec<ConfigError>> {
    let mut alone = Settings::default();
    if let Some(setting) = settings.get("metadata.endpoint") {
        alone.insert("metadata.endpoint", setting.clone());
    }
    Config::of(&alone).map(|config| config.metadata_endpoint)
}

fn vpc_resolver(settings: &Settings) -> Vec<SocketAddr> {
    let mut alone = Settings::default();
    if let Some(setting) = settings.get("aws.vpc_resolver") {
        alone.insert("aws.vpc_resolver", setting.clone());
    }
    Config::of(&alone).map(|config| config.vpc_resolver).unwrap_or_default()
}

/// The keys of the tags that the files' names are made of.
fn tags_of_names(settings: &Settings) -> Vec<String> {
    let mut tags = Vec::new();
    for index in 0..settings.records() {
        if let Some(config::settings::Value::Text(text)) =
            settings.get(&format!("record[{index}].name")).map(|setting| &setting.value)
            && let Ok(template) = text.parse::<Template>()
        {
            tags.extend(template.tags().map(str::to_owned));
        }
    }
    tags.sort();
    tags.dedup();
    tags
}

fn is_plain(endpoint: Option<&str>) -> bool {
    endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
}

/// Tags of the metadata service cost nothing to read again; DescribeTags comes out of the account's budget.
fn pause_of(error: &NamingError) -> Duration {
    match error {
        NamingError::MissingTag { source: TagSource::Metadata, .. } => Duration::from_millis(500),
        _ => SLOW,
    }
}

/// Between two questions to EC2.
const SLOW: Duration = Duration::from_secs(2);

/// Tags that could not be read, as a failure.
pub(super) fn failure_of(why: &Unread) -> Failure {
    Failure { texts: why.texts.clone(), hints: why.hints.clone() }
}

/// When a pass that began at `started` must be over, with a moment left to say how it went.
pub(super) fn deadline(started: std::time::Instant, limit: Duration) -> Instant {
    let reserve = (limit / 10).min(Duration::from_millis(500));
    Instant::from_std(started + limit.saturating_sub(reserve))
}
