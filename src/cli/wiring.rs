//! Adapters to journeys: what every verb that touches the outside world is made of.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{args::Args, known::Known, leases::Leases, print, servers::Untold};
use crate::{
    agent::{notebook::Notebook, patience::insist, report::Inputs},
    config::{
        self, BackendConfig, Config, Endpoints, KeyPlace,
        settings::{ConfigError, Origin, Settings},
    },
    core::{
        event::Ending,
        facts::{Asked, Facts, Unread},
        ownership::OwnerId,
        template::Template,
    },
    ec2::{
        api::sdk_config,
        credentials::InstanceCredentials,
        facts::{MetadataFacts, kernel_macs},
        imds::{Imds, Patience},
        life,
        tags::DescribeTags,
    },
    event::network::Addresses,
    keys,
    ports::{Clock as _, FactSource as _, Failure, KeySource, error::FactError, topic::Topic},
    store::{Access, StateFile},
    sys::clock::SystemClock,
};

/// The files of the configuration.
pub(super) fn read(args: &Args) -> Result<Settings, Vec<ConfigError>> {
    config::read(args.config.as_deref(), |variable| std::env::var(variable).ok())
}

/// The files of the configuration; `None` after what is wrong with them was printed.
pub(super) fn settings(args: &Args) -> Option<Settings> {
    read(args).map_err(|errors| refused(&errors).iter().for_each(print::failure)).ok()
}

/// This process's way to EC2's metadata and to AWS.
pub(super) struct Host<'a> {
    pub(super) settings: Settings,
    pub(super) notebook: &'a Notebook<'a>,
    imds: Arc<Imds>,
    credentials: Arc<InstanceCredentials>,
    leases: Leases,
    /// Where processes of ours leave what others are to know.
    pub(super) run_dir: PathBuf,
    inputs: Mutex<Inputs>,
    /// What the last list of servers left untold.
    pub(super) untold: Mutex<Vec<Untold>>,
    /// Where keys are kept, and what was read there.
    keys: Mutex<BTreeMap<KeyPlace, Arc<dyn KeySource>>>,
}

impl<'a> Host<'a> {
    pub(super) fn new(
        settings: Settings,
        notebook: &'a Notebook<'a>,
        leases: Leases,
        run_dir: &Path,
        patience: Patience,
    ) -> Result<Self, Vec<ConfigError>> {
        // What the metadata service's tags may yet add does not change where it is.
        let endpoint = endpoint(&settings)?;
        let imds = Arc::new(Imds::new(&endpoint, patience));
        let role = notebook.ledger().role;
        let credentials = Arc::new(InstanceCredentials::new(imds.clone(), role));
        let run_dir = run_dir.to_path_buf();
        let (inputs, untold, keys) = Default::default();
        Ok(Self { settings, notebook, imds, credentials, leases, run_dir, inputs, untold, keys })
    }

    /// The facts, read again and again until they are there, or the deadline is.
    pub(super) async fn facts(&self, deadline: Instant) -> Result<Facts, Failure> {
        let who = format!(
            "the instance metadata service at {} (or EC2, where that has no tags)",
            self.imds.endpoint()
        );
        insist(deadline, &SystemClock, &who, async || self.read_facts().await).await
    }

    /// Whether the metadata service's port can be connected to, whatever it answers.
    pub(super) async fn reaches_metadata(&self) -> bool {
        self.imds.connects().await
    }

    /// Where the metadata service is looked for.
    pub(super) fn metadata_endpoint(&self) -> &str {
        self.imds.endpoint()
    }

    /// Connects anew for whatever is read next.
    pub(super) fn forget_connections(&self) {
        self.imds.forget_kept();
    }

    /// What the metadata service alone says now, and whether it announces the instance's end, each for itself: no call of EC2.
    pub(super) async fn look(
        &self,
    ) -> (Result<Facts, FactError>, Result<Option<Ending>, FactError>) {
        let source = self.metadata_facts(None);
        let (facts, ending) = tokio::join!(source.read(), life::ending(&self.imds));
        if facts.is_ok() {
            self.note_inputs(Inputs { metadata: Some(SystemClock.now()), ..Inputs::default() });
        }
        (facts.map(|facts| self.as_the_kernel_has_it(facts)), ending)
    }

    fn as_the_kernel_has_it(&self, facts: Facts) -> Facts {
        Facts { lost: self.leases.lost(), discouraged: self.leases.discouraged(), ..facts }
    }

    fn metadata_facts<'s>(&'s self, describe_tags: Option<&'s DescribeTags>) -> MetadataFacts<'s> {
        let mut expected_macs = self.notebook.ledger().macs;
        if expected_macs.is_empty() {
            expected_macs = kernel_macs();
        }
        MetadataFacts {
            imds: &self.imds,
            tags: tags_of_names(&self.settings),
            any_tag: self.settings.records() == 0 || self.settings.backends().is_empty(),
            expected_macs,
            describe_tags,
        }
    }

    async fn read_facts(&self) -> Result<Facts, FactError> {
        let resolver = vpc_resolver(&self.settings);
        let endpoint = self.settings.text("aws.endpoint").map(str::to_owned);
        let plain = is_plain(endpoint.as_deref());
        let endpoints = Endpoints::of(&self.settings);
        let credentials = self.credentials.clone();
        let shared = sdk_config(credentials, "us-east-1", &resolver, endpoints, plain);
        let describe_tags = DescribeTags { shared, endpoint };
        let source = self.metadata_facts(Some(&describe_tags));
        self.imds.prepare().await?;
        self.credentials.prefetch();
        let mut facts = self.as_the_kernel_has_it(source.read().await?);
        if let Ok(known) = self.complete(Some(&facts)) {
            facts.details = known.details().await;
        }
        // Before anything is noted: what came with a machine image is not ours.
        self.notebook.belongs_to(&OwnerId::of(&facts.identity));
        let now = Some(SystemClock.now());
        let tags = if facts.tags.unread.is_none() { now } else { None };
        self.note_inputs(Inputs { metadata: now, tags, servers: None });
        let macs =
            facts.interfaces.iter().map(|interface| interface.mac.clone()).collect::<Vec<_>>();
        // Only a hint for the next pass; what goes wrong with it is seen when something that matters is saved.
        let zone = Some(facts.identity.availability_zone.clone());
        let _ = self.notebook.note(|ledger| {
            ledger.macs.clone_from(&macs);
            ledger.availability_zone.clone_from(&zone);
        });
        Ok(facts)
    }

    /// Where the keys of a backend are kept: the same as before, with what it has read.
    pub(super) fn keys(&self, known: &Known, backend: &str) -> Option<Arc<dyn KeySource>> {
        let (place, endpoint) = match known.config.backends.get(backend)? {
            BackendConfig::Rfc2136 { keys, endpoint, .. } => (keys.as_ref()?, endpoint.as_deref()),
            BackendConfig::Route53 { .. } => return None,
        };
        let mut sources = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let source =
            sources.entry(place.clone()).or_insert_with(|| keys::open(place, &known.aws, endpoint));
        Some(Arc::clone(source))
    }

    /// When each input was read last by this process.
    pub(super) fn inputs(&self) -> Inputs {
        *self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_inputs(&self, read: Inputs) {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        *inputs = read.or(*inputs);
    }

    /// What the files and the tags say together; what the files say alone if the tags' part is wrong.
    pub(super) fn complete(&self, facts: Option<&Facts>) -> Result<Known, Vec<ConfigError>> {
        let (config, refused) = match (self.with_tags(facts), facts) {
            (Ok(config), _) => (config, Vec::new()),
            (Err(errors), Some(facts)) => {
                (self.without_wrong_tags(facts, &errors).ok_or_else(|| errors.clone())?, {
                    let unread = facts.tags.unread.iter().map(failure_of);
                    refused(&errors).into_iter().chain(unread).collect()
                })
            }
            (Err(errors), None) => return Err(errors),
        };
        let region = facts.map_or("us-east-1", |facts| facts.identity.region.as_str());
        let plain = is_plain(config.ec2_endpoint.as_deref())
            && config.backends.values().all(|backend| match backend {
                BackendConfig::Route53 { endpoint, .. }
                | BackendConfig::Rfc2136 {
                    keys: Some(KeyPlace::Parameter(_) | KeyPlace::Secret(_)),
                    endpoint,
                    ..
                } => is_plain(endpoint.as_deref()),
                BackendConfig::Rfc2136 { .. } => true,
            });
        let Config { vpc_resolver, endpoints, .. } = &config;
        let aws = sdk_config(self.credentials.clone(), region, vpc_resolver, *endpoints, plain);
        Ok(Known { facts: facts.cloned(), config, aws, refused })
    }

    fn with_tags(&self, facts: Option<&Facts>) -> Result<Config, Vec<ConfigError>> {
        let mut settings = self.settings.clone();
        if let Some(facts) = facts {
            settings.overlay_tags(&facts.tags.values)?;
        }
        Config::of(&settings)
    }

    /// The configuration without the tags that are wrong, and if that is no whole one, without what is about publishing;
    /// `None` if it is the files that are wrong.
    fn without_wrong_tags(&self, facts: &Facts, errors: &[ConfigError]) -> Option<Config> {
        let wrong = errors.iter().filter_map(|error| match &error.origin {
            Origin::Tag(tag) => Some(tag.as_str()),
            _ => None,
        });
        let wrong = wrong.collect::<BTreeSet<_>>();
        if let Ok(config) = Config::of(&self.settings)
            && wrong.is_empty()
        {
            return Some(config);
        }
        if wrong.is_empty() && facts.tags.unread.is_none() {
            return None;
        }
        let mut tags = facts.tags.values.clone();
        tags.retain(|tag, _| !wrong.contains(tag.as_str()));
        let mut sound = self.settings.clone();
        // A value that fits its key is taken whatever the others are.
        let _ = sound.overlay_tags(&tags);
        let candidates = [&sound, &without_publishing(&sound), &without_publishing(&self.settings)];
        candidates.into_iter().find_map(|settings| Config::of(settings).ok())
    }
}

/// Opens the memory and the way to the outside, and does `work` with them; gives its result and what the memory has to say.
pub(super) fn on_host<T>(
    settings: Settings,
    args: &Args,
    access: Access,
    patience: Patience,
    work: impl AsyncFnOnce(&Host<'_>) -> T,
) -> Result<(T, Vec<String>), Vec<Failure>> {
    let store = StateFile::new(&args.state_dir, access);
    let notebook = match access {
        Access::ReadOnly => Notebook::open_read_only(&store),
        Access::ReadWrite => Notebook::open(&store),
    };
    let leases = Leases::of(&args.run_dir, Addresses::now());
    let host = Host::new(settings, &notebook, leases, &args.run_dir, patience)
        .map_err(|errors| refused(&errors))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| vec![no_runtime(&error)])?;
    let result = runtime.block_on(work(&host));
    // A hint for the next pass, as the interfaces are.
    if let Some(role) = host.credentials.role() {
        let _ = notebook.note(|ledger| ledger.role = Some(role.clone()));
    }
    runtime.shutdown_background();
    Ok((result, memory_notices(&store, &notebook)))
}

/// What the memory has to say of itself.
pub(super) fn memory_notices(store: &StateFile, notebook: &Notebook<'_>) -> Vec<String> {
    let unread = notebook.unread();
    let unread =
        unread.map(|error| format!("the run went on without its memory: {}", Failure::of(error)));
    store.take_notices().into_iter().chain(unread).collect()
}

/// The system gives us nothing to run on.
pub(super) fn no_runtime(error: &std::io::Error) -> Failure {
    Failure::told(format!("no runtime: {error}"), None, Topic::Deadline)
}

/// Errors of the configuration as failures.
pub(super) fn refused(errors: &[ConfigError]) -> Vec<Failure> {
    errors.iter().map(|error| Failure::told(error, None, Topic::Configuration)).collect()
}

/// What of the settings is not about what is published, and where.
fn without_publishing(settings: &Settings) -> Settings {
    let mut rest = Settings::default();
    for (path, setting) in settings.iter() {
        if !path.starts_with("record[") && !path.starts_with("backend.") {
            rest.insert(path, setting.clone());
        }
    }
    rest
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
        if let Some(text) = settings.text(&format!("record[{index}].name"))
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

/// Tags that could not be read, as a failure.
pub(super) fn failure_of(why: &Unread) -> Failure {
    let Unread { asked, texts, hints, .. } = why.clone();
    let topic = match asked {
        Asked::Tags => Topic::Metadata,
        Asked::Interfaces => Topic::Ec2,
    };
    Failure { texts, hints, is_throttled: false, topic }
}

/// When a pass that began at `started` must be over, with a moment left to say how it went.
pub(super) fn deadline(started: std::time::Instant, limit: Duration) -> Instant {
    let reserve = (limit / 10).min(Duration::from_millis(500));
    Instant::from_std(started + limit.saturating_sub(reserve))
}
