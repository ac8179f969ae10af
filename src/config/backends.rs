//! `[backend.NAME]`: settings to backends.

use std::{collections::BTreeMap, time::Duration};

use super::{
    BackendConfig, ENDPOINT_OF_EC2, KeyPlace, Keytab, Marker,
    check::Check,
    choices::{MARKERS, SHARINGS},
    duration,
    settings::{Origin, Value},
};
use crate::core::{name::Name, refresh::Keeping};

/// The keys that mean nothing to a backend of this kind.
pub(super) fn foreign(kind: &str) -> &'static [&'static str] {
    match kind {
        "rfc2136" => &["zone_id", "sharing"],
        "route53" => &[
            "servers",
            "key_file",
            "key_credential",
            "key_parameter",
            "key_secret",
            "zone_keys",
            "keytab",
            "principal",
            "lease",
            "index",
            "marker",
        ],
        _ => &[],
    }
}

impl Check<'_> {
    pub(super) fn backend(&mut self, name: &str) -> Option<BackendConfig> {
        let path = |word: &str| format!("backend.{name}.{word}");
        let kind = self.text(&path("kind"));
        let foreign = match kind.as_deref() {
            Some(known @ ("rfc2136" | "route53")) => foreign(known),
            Some(other) => {
                self.error(
                    &path("kind"),
                    format!("there is no kind of backend `{other}`; there are rfc2136 and route53"),
                );
                return None;
            }
            None => {
                self.error(
                    &path("kind"),
                    format!(
                        "backend `{name}` has no `kind`; write `kind = \"rfc2136\"` or \"route53\""
                    ),
                );
                return None;
            }
        };
        for word in foreign {
            let set = self.settings.get(&path(word));
            if set.is_some_and(|setting| !matches!(setting.origin, Origin::Environment(_))) {
                let kind = kind.as_deref().unwrap_or_default();
                self.error(
                    &path(word),
                    format!("`{word}` means nothing to a backend of kind {kind}"),
                );
            }
        }
        let endpoint = self
            .http(&path("endpoint"), &["http", "https"])
            .or_else(|| self.http("aws.endpoint", &["http", "https"]).filter(|_| !self.is_ec2s()));
        if kind.as_deref() == Some("route53") {
            let sharing = self.one_of(&path("sharing"), SHARINGS).unwrap_or_default();
            let zone_id = self.text(&path("zone_id"));
            // As the AWS CLI prints it, too.
            let zone_id = zone_id.map(|id| id.trim_start_matches("/hostedzone/").to_owned());
            if let Some(id) = &zone_id
                && !(id.len() <= 32
                    && !id.is_empty()
                    && id.chars().all(|it| it.is_ascii_alphanumeric()))
            {
                let what = format!(
                    "`{id}` is no id of a hosted zone: those are letters and digits, such as Z0123456789"
                );
                self.error(&path("zone_id"), what);
            }
            return Some(BackendConfig::Route53 { zone_id, endpoint, sharing });
        }
        let servers = match self.settings.get(&path("servers")).map(|setting| &setting.value) {
            None => None,
            Some(Value::Text(word)) if word == "discovered" => None,
            Some(Value::Text(word)) => {
                self.error(
                    &path("servers"),
                    format!("`{word}` is neither `discovered` nor a list of addresses"),
                );
                None
            }
            Some(_) => {
                let list = self.list(&path("servers"));
                if list.is_empty() {
                    self.error(&path("servers"), "the list of servers is empty; leave `servers` out to use the discovered ones");
                }
                Some(list.iter().filter_map(|text| self.server(&path("servers"), text)).collect())
            }
        };
        let keys = self.key_place(name);
        let zone_keys = self.zone_keys(name);
        if keys.is_none() && !zone_keys.is_empty() {
            let what =
                "`zone_keys` chooses among keys, and there are none; write `key_file` or its like";
            self.error(&path("zone_keys"), what);
        }
        let keytab = self.keytab(name, keys.as_ref());
        let marker = self.one_of(&path("marker"), MARKERS).unwrap_or_default();
        let index = self.flag(&path("index")) == Some(true);
        if index && marker == Marker::Dhcid {
            let what = "names that are marked by DHCID cannot be reaped, so that an index of them is of no use";
            self.error(&path("index"), what);
        }
        let keeping = Keeping { lease: self.lease(name), index };
        Some(BackendConfig::Rfc2136 { servers, keys, zone_keys, keytab, keeping, marker, endpoint })
    }

    fn lease(&mut self, name: &str) -> Option<Duration> {
        let path = format!("backend.{name}.lease");
        let text = self.text(&path)?;
        let lease = self.parsed(&path, duration::parse)?;
        if lease < SHORTEST_LEASE || lease.as_secs() > u32::MAX.into() {
            self.error(
                &path,
                format!("`{text}` is not between 10m and {} days", u32::MAX / 86_400),
            );
        }
        Some(lease)
    }

    fn keytab(&mut self, name: &str, keys: Option<&KeyPlace>) -> Option<Keytab> {
        let path = format!("backend.{name}.keytab");
        let of_principal = format!("backend.{name}.principal");
        let principal = self.text(&of_principal);
        let Some(keytab) = self.text(&path) else {
            if principal.is_some() {
                let what = "it chooses from a keytab, and there is none; write `keytab`";
                self.error(&of_principal, what);
            }
            return None;
        };
        if let Some(place) = keys {
            let what = format!("`{}` is there too; keep one of them", place.word());
            self.error(&path, what);
        }
        let setting = self.settings.get(&path);
        if setting.is_some_and(|setting| matches!(setting.origin, Origin::Tag(_))) {
            let what = "the Kerberos library wants it before any tag is read; name it in a file";
            self.error(&path, what);
        }
        if !keytab.starts_with('/') {
            self.error(&path, format!("`{keytab}` is no absolute path"));
        }
        if !cfg!(feature = "gssapi") {
            let what = "this tagalong is built without Kerberos; install the package \
                        `tagalong-kerberos`, or build it with `--features gssapi`";
            self.error(&path, what);
        }
        Some(Keytab { path: keytab.into(), principal })
    }

    /// Whether the environment says of EC2 alone where it is.
    fn is_ec2s(&self) -> bool {
        let setting = self.settings.get("aws.endpoint");
        let of_ec2 = Origin::Environment(ENDPOINT_OF_EC2);
        setting.is_some_and(|setting| setting.origin == of_ec2)
    }

    fn key_place(&mut self, name: &str) -> Option<KeyPlace> {
        let mut found: Option<KeyPlace> = None;
        for word in ["key_file", "key_credential", "key_parameter", "key_secret"] {
            let path = format!("backend.{name}.{word}");
            let Some(text) = self.text(&path) else { continue };
            if let Some(other) = &found {
                let what = format!("`{}` is there too; keep one of them", other.word());
                self.error(&path, what);
            }
            if word == "key_credential" && text.contains('/') {
                self.error(
                    &path,
                    format!(
                        "`{text}` is a path; a credential has a name (`LoadCredential=NAME:PATH`)"
                    ),
                );
            }
            found = Some(match word {
                "key_file" => KeyPlace::File(text.into()),
                "key_credential" => KeyPlace::Credential(text),
                "key_parameter" => KeyPlace::Parameter(text),
                _ => KeyPlace::Secret(text),
            });
        }
        found
    }

    fn zone_keys(&mut self, name: &str) -> BTreeMap<Name, Name> {
        let path = format!("backend.{name}.zone_keys");
        let mut keys = BTreeMap::new();
        for text in self.list(&path) {
            let words =
                text.split_ascii_whitespace().map(str::parse).collect::<Result<Vec<_>, _>>();
            match words.as_deref() {
                Ok([zone, key]) => drop(keys.insert(Name::clone(zone), Name::clone(key))),
                _ => self.error(&path, format!("`{text}` is not `ZONE KEY`, two names")),
            }
        }
        keys
    }
}

/// Below that a host that is restarted loses its name, and refreshing costs more than it is worth.
const SHORTEST_LEASE: Duration = Duration::from_secs(600);
