//! The configuration: validated, and total: every value is there, and none is wrong.

mod backends;
mod check;
mod choices;
pub mod duration;
mod effective;
pub mod iam;
pub mod schema;
pub mod settings;
mod table;
mod words;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::effective::effective;
use self::settings::{ConfigError, Origin, Setting, Settings, Value};
use crate::core::{
    name::Name, naming::RecordPolicy, refresh::Keeping, resolv_conf::ResolverPolicy,
};

/// Which endpoints of AWS are called; those of the Region where nothing is said
/// (`use_fips_endpoint`, `use_dualstack_endpoint` of AWS's SDKs and Tools Reference Guide).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Those whose cryptography is validated by FIPS 140.
    pub fips: bool,
    /// Those that are reached by IPv6 too.
    pub dual_stack: bool,
}

impl Endpoints {
    /// What the settings say, whole or not.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        let flag =
            |path| settings.get(path).is_some_and(|setting| setting.value == Value::Flag(true));
        Self { fips: flag(USE_FIPS), dual_stack: flag(USE_DUALSTACK) }
    }
}

/// What to do, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// The metadata service, `http://HOST[:PORT]`.
    pub metadata_endpoint: String,
    /// AWS's own names are resolved here.
    pub vpc_resolver: Vec<SocketAddr>,
    /// EC2's endpoint in place of AWS.
    pub ec2_endpoint: Option<String>,
    /// Which of AWS's own endpoints are called.
    pub endpoints: Endpoints,
    /// What is published.
    pub records: Vec<RecordPolicy>,
    /// Where it is published, by name.
    pub backends: BTreeMap<String, BackendConfig>,
    /// How DNS servers are found.
    pub discovery: Discovery,
    /// What becomes of the host's resolver.
    pub resolver: Resolver,
    /// How often the agent looks at the metadata.
    pub look: Duration,
    /// Where the agent answers with metrics.
    pub metrics: Option<SocketAddr>,
    /// When the agent takes the records back.
    pub withdraw: Vec<Occasion>,
}

/// `[lifecycle] withdraw`: when the agent takes the records back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// EC2 announced the end of the instance.
    Terminate,
    /// The host is shut down, and will not come up again by itself.
    Poweroff,
    /// The agent is stopped.
    Stop,
}

/// One `[backend.NAME]`.
#[derive(Clone, Debug)]
pub enum BackendConfig {
    /// Dynamic updates.
    Rfc2136 {
        /// Whom to ask; `None` for the discovered servers.
        servers: Option<Vec<SocketAddr>>,
        /// Where the TSIG keys are kept; `None` where updates are not signed.
        keys: Option<KeyPlace>,
        /// The key's name for a zone and what is below it.
        zone_keys: BTreeMap<Name, Name>,
        /// The machine's Kerberos credentials that sign updates in their place.
        keytab: Option<Keytab>,
        /// What is kept about what is published.
        keeping: Keeping,
        /// What marks names as ours.
        marker: Marker,
        /// The endpoint in place of AWS, for keys that AWS keeps.
        endpoint: Option<String>,
    },
    /// Route 53.
    Route53 {
        /// The hosted zone.
        zone_id: Option<String>,
        /// The endpoint in place of AWS.
        endpoint: Option<String>,
        /// How names that hosts share are written.
        sharing: Sharing,
    },
}

/// Kerberos credentials of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keytab {
    /// The file.
    pub path: PathBuf,
    /// Who we are; `None` for the first principal in it.
    pub principal: Option<String>,
}

/// Where TSIG keys are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyPlace {
    /// A file.
    File(PathBuf),
    /// A systemd credential.
    Credential(String),
    /// A parameter of Systems Manager.
    Parameter(String),
    /// A secret of Secrets Manager.
    Secret(String),
}

impl KeyPlace {
    /// The word of the backend's table that names it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::File(_) => "key_file",
            Self::Credential(_) => "key_credential",
            Self::Parameter(_) => "key_parameter",
            Self::Secret(_) => "key_secret",
        }
    }
}

/// What says at a name whose it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Marker {
    /// A TXT record that names the instance.
    #[default]
    Txt,
    /// A DHCID record (RFC 4701), as DHCP servers write it (RFC 4703).
    Dhcid,
}

/// How Route 53 holds a name that hosts share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// A multivalue answer set of each host, with the instance id as its identifier: hosts change nothing of each other's.
    #[default]
    Multivalue,
    /// One simple set for all, replaced whole if it is still as it was read.
    Simple,
}

/// Which instances are DNS servers.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// The tag's key.
    pub tag: String,
    /// The tag's value; `None` for any.
    pub value: Option<String>,
    /// The tag's key of a server that is about to be shut down.
    pub draining: String,
    /// The VPCs; empty for this instance's.
    pub vpcs: Vec<String>,
    /// The Regions; empty for this instance's.
    pub regions: Vec<String>,
    /// How often the list is read.
    pub refresh: Duration,
    /// Where the servers listen.
    pub port: u16,
}

/// The host's resolver.
#[derive(Clone, Debug)]
pub struct Resolver {
    /// Who sets it.
    pub manager: Manager,
    /// What is set.
    pub policy: ResolverPolicy,
    /// What is used when no discovered server answers.
    pub fallback: Fallback,
    /// How long a server may be behind its peers.
    pub stale: Duration,
    /// How often the servers in use are probed.
    pub probe: Duration,
    /// Shared names to be ordered by nearness.
    pub prefer: Vec<String>,
}

/// `[resolver] manager`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// Whatever owns the resolver.
    Auto,
    /// The file, whoever owns it.
    ResolvConf,
    /// systemd-resolved.
    SystemdResolved,
    /// NetworkManager.
    NetworkManager,
    /// openresolv or Debian's resolvconf.
    Resolvconf,
    /// Nobody: the resolver is left alone.
    None,
}

/// `[resolver] fallback`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The VPC's resolver.
    Vpc,
    /// Nothing: the file is left as it is.
    None,
}

/// Reads the files that make up the configuration, and the environment.
///
/// `named` is the file of `--config` or `TAGALONG_CONFIG`, which must be there; otherwise it is
/// `/etc/tagalong/config.toml`, which need not, and then its drop-ins in `config.d`.
///
/// # Errors
/// Everything that is wrong in them.
pub fn read(
    named: Option<&Path>,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Settings, Vec<ConfigError>> {
    let mut settings = Settings::default();
    let mut errors = Vec::new();
    let main = named.unwrap_or(Path::new(DEFAULT_FILE));
    let mut files = vec![main.to_path_buf()];
    if named.is_none() {
        files.extend(drop_ins(Path::new(DROP_INS)));
    }
    for (index, file) in files.iter().enumerate() {
        let at_start = || Origin::File { path: file.clone(), line: 1, column: 1 };
        match crate::sys::fs::read_regular(file, FILE_LIMIT) {
            Ok(Some(content)) => match String::from_utf8(content) {
                Ok(text) => {
                    let read = settings.read(file, &text);
                    // In a file that is no TOML nothing is missing.
                    let table = text.parse::<toml::Table>();
                    errors.extend(read.err().into_iter().flatten());
                    if index == 0 && table.is_ok_and(|table| !table.contains_key("version")) {
                        let what =
                            "`version` is missing; write `version = 1` at the top".to_owned();
                        errors.push(ConfigError { origin: at_start(), what });
                    }
                }
                Err(_) => errors.push(ConfigError {
                    origin: at_start(),
                    what: "the file is not UTF-8".to_owned(),
                }),
            },
            Ok(None) if index == 0 && named.is_none() => {}
            Ok(None) => errors
                .push(ConfigError { origin: at_start(), what: "there is no such file".to_owned() }),
            Err(error) => errors.push(ConfigError {
                origin: at_start(),
                what: format!("the file cannot be read: {error}"),
            }),
        }
    }
    if let Some(endpoint) = environment(ENDPOINT_VARIABLE).filter(|text| !text.is_empty()) {
        settings.set_from_environment("metadata.endpoint", ENDPOINT_VARIABLE, endpoint);
    } else if environment(MODE_VARIABLE).is_some_and(|mode| mode.eq_ignore_ascii_case("ipv6")) {
        settings.set_from_environment("metadata.endpoint", MODE_VARIABLE, IPV6_ENDPOINT.to_owned());
    }
    for (variable, path) in
        [(ENDPOINT_OF_EC2, "aws.endpoint"), ("AWS_ENDPOINT_URL", "aws.endpoint")]
    {
        let unset = !matches!(
            settings.get("aws.endpoint"),
            Some(Setting { origin: Origin::Environment(_), .. })
        );
        if let Some(url) = environment(variable).filter(|url| unset && !url.is_empty()) {
            settings.set_from_environment(path, variable, url);
        }
    }
    for (variable, path) in
        [("AWS_USE_FIPS_ENDPOINT", USE_FIPS), ("AWS_USE_DUALSTACK_ENDPOINT", USE_DUALSTACK)]
    {
        if let Some(text) = environment(variable).filter(|text| !text.is_empty()) {
            match text.trim().to_ascii_lowercase().parse::<bool>() {
                Ok(flag) => settings.set_from_environment(path, variable, flag),
                Err(_) => errors.push(ConfigError {
                    origin: Origin::Environment(variable),
                    what: format!("`{text}` is neither `true` nor `false`"),
                }),
            }
        }
    }
    for backend in settings.backends() {
        let at = |word: &str| format!("backend.{backend}.{word}");
        let is_set = |word: &str| settings.get(&at(word)).is_some();
        let variable = match (is_set("key_parameter"), is_set("key_secret")) {
            (true, _) => "AWS_ENDPOINT_URL_SSM",
            (_, true) => "AWS_ENDPOINT_URL_SECRETS_MANAGER",
            (false, false) => "AWS_ENDPOINT_URL_ROUTE_53",
        };
        let general = (!is_set("endpoint")).then_some("AWS_ENDPOINT_URL");
        let mut variables = [Some(variable), general].into_iter().flatten();
        let named = variables.find_map(|variable| {
            environment(variable).filter(|url| !url.is_empty()).map(|url| (variable, url))
        });
        if let Some((variable, url)) = named {
            settings.set_from_environment(&at("endpoint"), variable, url);
        }
    }
    if errors.is_empty() { Ok(settings) } else { Err(errors) }
}

fn drop_ins(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files = entries
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect::<Vec<_>>();
    files.sort();
    files
}

impl Config {
    /// Checks the settings against each other and fills in the defaults.
    ///
    /// # Errors
    /// Everything that cannot be.
    pub fn of(settings: &Settings) -> Result<Self, Vec<ConfigError>> {
        check::config(settings)
    }

    /// The keys of the tags that names are made of.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        let mut tags = self
            .records
            .iter()
            .flat_map(|record| record.name.tags())
            .map(str::to_owned)
            .collect::<Vec<_>>();
        tags.sort();
        tags.dedup();
        tags
    }
}

const DEFAULT_FILE: &str = "/etc/tagalong/config.toml";
const DROP_INS: &str = "/etc/tagalong/config.d";
const ENDPOINT_VARIABLE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
const USE_FIPS: &str = "aws.use_fips_endpoint";
const USE_DUALSTACK: &str = "aws.use_dualstack_endpoint";
const ENDPOINT_OF_EC2: &str = "AWS_ENDPOINT_URL_EC2";
const MODE_VARIABLE: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE";
const IPV6_ENDPOINT: &str = "http://[fd00:ec2::254]";
const FILE_LIMIT: u64 = 1 << 20;

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
