//! Settings to configuration: each value checked by itself and against the others, and the defaults filled in.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use super::{
    BackendConfig, Config, Discovery, Endpoints, Fallback, Manager, Marker, Resolver,
    USE_DUALSTACK, USE_FIPS,
    choices::{CONFLICTS, FALLBACKS, MANAGERS, OCCASIONS},
    duration, schema,
    settings::{ConfigError, Origin, Settings, Value},
    words,
};
use crate::core::{
    facts::metadata_address,
    naming::{Conflict, RecordPolicy, Reverse},
    resolv_conf::ResolverPolicy,
};

/// The configuration that the settings make.
pub(super) fn config(settings: &Settings) -> Result<Config, Vec<ConfigError>> {
    let mut check = Check { settings, errors: Vec::new() };
    let config = check.config();
    check.errors.sort_by_key(|error| error.origin.line_and_column());
    if check.errors.is_empty() { Ok(config) } else { Err(check.errors) }
}

pub(super) struct Check<'a> {
    pub(super) settings: &'a Settings,
    errors: Vec<ConfigError>,
}

impl Check<'_> {
    fn config(&mut self) -> Config {
        let backends: BTreeMap<_, _> = self
            .settings
            .backends()
            .into_iter()
            .filter_map(|name| Some((name.clone(), self.backend(&name)?)))
            .collect();
        self.one_keytab(&backends);
        let records = (0..self.settings.records())
            .filter_map(|index| self.record(index, &backends))
            .collect();
        Config {
            metadata_endpoint: self.metadata_endpoint(),
            vpc_resolver: self
                .list("aws.vpc_resolver")
                .iter()
                .filter_map(|text| self.server("aws.vpc_resolver", text))
                .collect(),
            ec2_endpoint: self.http("aws.endpoint", &["http", "https"]),
            endpoints: self.endpoints(&backends),
            records,
            backends,
            discovery: Discovery {
                tag: self.text("discovery.tag").unwrap_or_default(),
                value: self.discovery_value(),
                draining: self.text("discovery.draining").unwrap_or_default(),
                vpcs: self.words("discovery.vpcs", words::vpc),
                regions: self.words("discovery.regions", words::region),
                refresh: self.pause("discovery.refresh"),
                port: self.number("discovery.port", 1, u16::MAX.into()).try_into().unwrap_or(53),
            },
            resolver: Resolver {
                manager: self.one_of("resolver.manager", MANAGERS).unwrap_or(Manager::Auto),
                policy: ResolverPolicy {
                    search: self.words("resolver.search", words::domain),
                    options: self.words("resolver.options", words::option),
                    sortlist: None,
                },
                stale: self.pause("resolver.stale"),
                probe: self.pause("resolver.probe"),
                fallback: self.one_of("resolver.fallback", FALLBACKS).unwrap_or(Fallback::Vpc),
                prefer: self.words("resolver.prefer", words::host_name),
            },
            look: self.pause("metadata.refresh"),
            metrics: self.listener("metrics.listen"),
            withdraw: self.each_of("lifecycle.withdraw", OCCASIONS),
        }
    }

    /// The Kerberos library knows one keytab for a process.
    fn one_keytab(&mut self, backends: &BTreeMap<String, BackendConfig>) {
        let mut keytabs = backends.iter().filter_map(|(name, backend)| match backend {
            BackendConfig::Rfc2136 { keytab: Some(keytab), .. } => Some((name, &keytab.path)),
            _ => None,
        });
        let Some((first, path)) = keytabs.next() else { return };
        for (name, other) in keytabs.filter(|(_, other)| *other != path) {
            let what = format!(
                "`{}` is not that of backend `{first}`: there is one keytab for a host; merge them with `ktutil`, and tell the backends' principals apart",
                other.display()
            );
            self.error(&format!("backend.{name}.keytab"), what);
        }
    }

    fn endpoints(&mut self, backends: &BTreeMap<String, BackendConfig>) -> Endpoints {
        let others = backends.values().any(|backend| match backend {
            BackendConfig::Rfc2136 { endpoint, .. } | BackendConfig::Route53 { endpoint, .. } => {
                endpoint.is_some()
            }
        });
        let others = others || self.settings.get("aws.endpoint").is_some();
        let endpoints = Endpoints::of(self.settings);
        for (path, is_wanted) in [(USE_FIPS, endpoints.fips), (USE_DUALSTACK, endpoints.dual_stack)]
        {
            if is_wanted && others {
                let what = format!(
                    "`{path}` chooses among AWS's own endpoints, and `endpoint` names another; take one of them away"
                );
                self.error(path, what);
            }
        }
        endpoints
    }

    fn record(
        &mut self,
        index: usize,
        backends: &BTreeMap<String, BackendConfig>,
    ) -> Option<RecordPolicy> {
        let path = |word: &str| format!("record[{index}].{word}");
        if self.settings.get(&path("name")).is_none() {
            self.error(
                &path("name"),
                format!(
                    "record {} has no `name`; write `name = \"{{tag:Name}}.corp.internal\"`",
                    index + 1
                ),
            );
        }
        let name = self.parsed(&path("name"), |text| {
            text.parse().map_err(|error| format!("`{text}`: {error}"))
        });
        let shared = self.flag(&path("shared")) == Some(true);
        let addresses = self
            .list(&path("addresses"))
            .iter()
            .filter_map(|text| self.value_of(&path("addresses"), text))
            .collect::<Vec<_>>();
        if self.list(&path("addresses")).is_empty() {
            self.error(
                &path("addresses"),
                "`addresses` is empty; leave it out for the primary private address",
            );
        }
        let known = backends.keys().cloned().collect::<Vec<_>>();
        let backend = match (self.text(&path("backend")), known.as_slice()) {
            (Some(backend), _) if known.contains(&backend) => backend,
            (Some(backend), _) => {
                let all = self.settings.backends();
                if !all.contains(&backend) {
                    self.error(
                        &path("backend"),
                        format!("there is no `[backend.{backend}]`; there are: {}", all.join(", ")),
                    );
                }
                return None;
            }
            (None, [only]) => only.clone(),
            (None, []) if self.settings.backends().is_empty() => {
                self.error(&path("name"), "no `[backend.NAME]` says where records are published");
                return None;
            }
            (None, []) => return None,
            (None, _) => {
                self.error(
                    &path("name"),
                    format!(
                        "there are several backends ({}); say which with `backend = …`",
                        known.join(", ")
                    ),
                );
                return None;
            }
        };
        if shared
            && matches!(
                backends.get(&backend),
                Some(BackendConfig::Rfc2136 { marker: Marker::Dhcid, .. })
            )
        {
            let what = "a name that many hosts share is marked by TXT: give it a backend without `marker = \"dhcid\"`";
            self.error(&path("shared"), what);
        }
        let reverse = match self.flag(&path("reverse")) {
            Some(true) => Reverse::Always,
            Some(false) => Reverse::Never,
            // To find out costs Route 53 calls, of which an account has five a second.
            None if matches!(backends.get(&backend), Some(BackendConfig::Route53 { .. })) => {
                Reverse::Never
            }
            // An address has one name that it points back to, and that is the host's own.
            None if shared => Reverse::Never,
            None => Reverse::IfServed,
        };
        let ttl = self.number(&path("ttl"), 0, i32::MAX.into()).try_into().unwrap_or(60);
        let conflict = self.one_of(&path("conflict"), CONFLICTS).unwrap_or_default();
        if shared && conflict != Conflict::Refuse {
            self.error(
                &path("conflict"),
                "a name that many hosts share is nobody's to take over; leave `conflict` out",
            );
        }
        Some(RecordPolicy { name: name?, addresses, ttl, reverse, conflict, shared, backend })
    }

    fn discovery_value(&mut self) -> Option<String> {
        let value = self.text("discovery.value");
        if value.as_deref() == Some("") {
            self.error(
                "discovery.value",
                "`value` is empty; leave it out for servers whose tag has any value",
            );
        }
        value
    }

    // Each of these reads a value or its default, and notes what is wrong with it.

    fn value(&self, path: &str) -> Option<Value> {
        if let Some(setting) = self.settings.get(path) {
            return Some(setting.value.clone());
        }
        let default = schema::find(path)?.default;
        let table = toml::from_str::<toml::Table>(&format!("v = {default}")).ok()?;
        match table.get("v")? {
            toml::Value::String(text) => Some(Value::Text(text.clone())),
            toml::Value::Integer(number) => Some(Value::Number(*number)),
            toml::Value::Boolean(flag) => Some(Value::Flag(*flag)),
            toml::Value::Array(list) => Some(Value::List(
                list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
            )),
            _ => None,
        }
    }

    pub(super) fn text(&self, path: &str) -> Option<String> {
        match self.value(path) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(super) fn flag(&self, path: &str) -> Option<bool> {
        match self.value(path) {
            Some(Value::Flag(flag)) => Some(flag),
            _ => None,
        }
    }

    pub(super) fn list(&self, path: &str) -> Vec<String> {
        match self.value(path) {
            Some(Value::List(list)) => list,
            _ => Vec::new(),
        }
    }

    fn number(&mut self, path: &str, least: i64, most: i64) -> i64 {
        let Some(Value::Number(number)) = self.value(path) else { return least };
        if !(least..=most).contains(&number) {
            self.error(path, format!("`{number}` is not between {least} and {most}"));
        }
        number
    }

    pub(super) fn parsed<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(path)?;
        parse(&text).map_err(|what| self.error(path, what)).ok()
    }

    fn value_of<T: FromStr<Err: std::fmt::Display>>(
        &mut self,
        path: &str,
        text: &str,
    ) -> Option<T> {
        text.parse().map_err(|error: T::Err| self.error(path, error.to_string())).ok()
    }

    pub(super) fn one_of<T: Copy>(&mut self, path: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(path)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
            self.error(path, format!("`{text}` is none of: {known}"));
        }
        found
    }

    fn each_of<T: Copy>(&mut self, path: &str, words: &[(&str, T)]) -> Vec<T> {
        let mut found = Vec::new();
        for text in self.list(path) {
            match words.iter().find(|(word, _)| *word == text) {
                Some((_, value)) => found.push(*value),
                None => {
                    let known = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
                    self.error(path, format!("`{text}` is none of: {known}"));
                }
            }
        }
        found
    }

    /// An address to listen at.
    fn listener(&mut self, path: &str) -> Option<SocketAddr> {
        let text = self.text(path)?;
        self.parsed(path, |text| {
            text.parse()
                .map_err(|_| format!("`{text}` is no address with a port, such as 127.0.0.1:9721"))
        })
        .filter(|_| !text.is_empty())
    }

    /// The time between two of something that an agent does for ever: not so short that it does nothing else.
    fn pause(&mut self, path: &str) -> Duration {
        let pause = self.parsed(path, duration::parse).unwrap_or(SHORTEST_PAUSE);
        if pause < SHORTEST_PAUSE {
            self.error(
                path,
                format!("`{}` is less than a second", self.text(path).unwrap_or_default()),
            );
        }
        pause
    }

    /// Words of resolv.conf: none may hold what would end the line or the word.
    fn words(&mut self, path: &str, judge: impl Fn(&str) -> Result<(), String>) -> Vec<String> {
        let list = self.list(path);
        for word in &list {
            if let Err(why) = judge(word) {
                self.error(path, format!("`{}` {why}", word.escape_debug()));
            }
        }
        list
    }

    pub(super) fn server(&mut self, path: &str, text: &str) -> Option<SocketAddr> {
        let bare = || text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let server =
            text.parse().ok().or_else(|| bare().map(|address| SocketAddr::new(address, 53)));
        let server = server.filter(|server| server.port() != 0);
        if server.is_none() {
            self.error(path, format!("`{text}` is no address such as 10.0.0.2, 10.0.0.2:5353, 2001:db8::2 or [2001:db8::2]:5353"));
        }
        server
    }

    pub(super) fn http(&mut self, path: &str, schemes: &[&str]) -> Option<String> {
        let text = self.text(path)?;
        let rest = text
            .split_once("://")
            .filter(|(scheme, _)| schemes.contains(scheme))
            .map(|(_, rest)| rest);
        if rest.is_none_or(|rest| rest.is_empty() || rest.contains(char::is_whitespace)) {
            self.error(
                path,
                format!("`{text}` is no URL that begins with {}://", schemes.join(":// or ")),
            );
        }
        Some(text.trim_end_matches('/').to_owned())
    }

    fn metadata_endpoint(&mut self) -> String {
        let url = self.http("metadata.endpoint", &["http"]).unwrap_or_default();
        let authority = url.strip_prefix("http://").and_then(|rest| rest.split('/').next());
        let authority = authority.filter(|it| !it.is_empty());
        if let Some(Err(what)) = authority.map(metadata_address) {
            self.error("metadata.endpoint", what);
        }
        url
    }

    pub(super) fn error(&mut self, path: &str, what: impl Into<String>) {
        // A key that is missing has no line: its table's first key tells where it should be.
        let table = path.rsplit_once('.').map_or("", |(table, _)| table);
        let nearby = || {
            let inside = |other: &str| !table.is_empty() && other.starts_with(&format!("{table}."));
            let settings = self.settings.iter().filter(|(other, _)| inside(other));
            // What the environment adds is no place where a key could be written.
            settings.min_by_key(|(_, setting)| matches!(setting.origin, Origin::Environment(_)))
        };
        let origin = self.settings.get(path).or_else(|| nearby().map(|(_, setting)| setting));
        let origin = origin.map_or(Origin::Default, |setting| setting.origin.clone());
        self.errors.push(ConfigError { origin, what: what.into() });
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
