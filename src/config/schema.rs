//! Every key of the configuration: its form, its default, its meaning. Reading, `config show`, `default.toml` and the
//! README's table all come from here.

/// What form a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A string.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Flag,
    /// A list of strings.
    List,
    /// A string, or a list of strings.
    TextOrList,
}

impl Form {
    /// The form in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Number => "a whole number",
            Self::Flag => "`true` or `false`",
            Self::List => "a list of strings",
            Self::TextOrList => "a string or a list of strings",
        }
    }
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Where it stands: `record[]` is one of several tables, `backend.*` a table with a name of the user's.
    pub path: &'static str,
    /// What form its value has.
    pub form: Form,
    /// What it is when nobody sets it, as TOML; empty for a key without a default.
    pub default: &'static str,
    /// An example, as TOML, for a key without a default.
    pub example: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

const fn key(path: &'static str, form: Form, default: &'static str, meaning: &'static str) -> Key {
    Key { path, form, default, example: "", meaning }
}

const fn unset(
    path: &'static str,
    form: Form,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key { path, form, default: "", example, meaning }
}

/// All keys, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    unset(
        "version",
        Form::Number,
        "1",
        "the version of this format: 1. The only key that must be there",
    ),
    key(
        "metadata.endpoint",
        Form::Text,
        "\"http://169.254.169.254\"",
        "the instance metadata service; `AWS_EC2_METADATA_SERVICE_ENDPOINT` in the environment wins",
    ),
    key(
        "metadata.refresh",
        Form::Text,
        "\"5s\"",
        "how often the agent looks whether tags or addresses changed, or the instance's end was announced; it costs no API call",
    ),
    unset(
        "aws.endpoint",
        Form::Text,
        "\"http://127.0.0.1:4566\"",
        "where EC2, Route 53, Systems Manager and Secrets Manager are in place of AWS; `AWS_ENDPOINT_URL_EC2`, `AWS_ENDPOINT_URL_ROUTE_53` and \
         `AWS_ENDPOINT_URL` in the environment win",
    ),
    key(
        "aws.use_fips_endpoint",
        Form::Flag,
        "false",
        "AWS's endpoints whose cryptography is validated by FIPS 140; `AWS_USE_FIPS_ENDPOINT` in the environment wins",
    ),
    key(
        "aws.use_dualstack_endpoint",
        Form::Flag,
        "false",
        "AWS's endpoints that are reached by IPv6 too: for hosts that have no IPv4; `AWS_USE_DUALSTACK_ENDPOINT` in the environment wins",
    ),
    key(
        "aws.vpc_resolver",
        Form::List,
        "[\"169.254.169.253\", \"fd00:ec2::253\"]",
        "who resolves AWS's own names: never the resolver that tagalong manages",
    ),
    unset(
        "record[].name",
        Form::Text,
        "\"{tag:Name}.corp.internal\"",
        "{tag:KEY} {instance-id} {hostname} {az} {region} {account} {private-ipv4-dashed}",
    ),
    key(
        "record[].addresses",
        Form::List,
        "[\"private-ipv4\"]",
        "private-ipv4, public-ipv4, elastic-ipv4, ipv6, secondary, or a CIDR block, of the primary interface (a block: of all); or of those that what \
         follows describes: `device-index=N`, `interface=ENI`, `subnet=SUBNET`, `tag:KEY=VALUE` (the interface's), `cidr=BLOCK`",
    ),
    key("record[].ttl", Form::Number, "60", "seconds"),
    unset(
        "record[].reverse",
        Form::Flag,
        "true",
        "PTR records as well: `true` must, `false` must not; unset: with rfc2136 where a zone holds the \
         reverse name, with route53 not",
    ),
    key(
        "record[].shared",
        Form::Flag,
        "false",
        "many hosts share the name, and each adds and removes its own addresses; it is published while one of them is there",
    ),
    key(
        "record[].conflict",
        Form::Text,
        "\"refuse\"",
        "where the name is another instance's, or somebody else's: `refuse` leaves it alone; `take-over-if-gone` takes it from an \
         instance that EC2 says is terminated or does not exist; `suffix` takes the next free one of web-1-2, web-1-3, …",
    ),
    unset(
        "record[].backend",
        Form::Text,
        "\"internal\"",
        "the backend's name; unset: the only one there is",
    ),
    unset("backend.*.kind", Form::Text, "\"rfc2136\"", "rfc2136 or route53"),
    key(
        "backend.*.servers",
        Form::TextOrList,
        "\"discovered\"",
        "rfc2136: `discovered`, or addresses with or without a port; the primary is found by SOA",
    ),
    unset(
        "backend.*.key_file",
        Form::Text,
        "\"/etc/tagalong/tsig.key\"",
        "rfc2136: the file of the TSIG key, as `tsig-keygen` writes it; without it or one of the next three updates are not signed. Of several \
         keys the first that the servers take signs; one that they do not take is read again, once",
    ),
    unset(
        "backend.*.key_credential",
        Form::Text,
        "\"tsig.key\"",
        "rfc2136: the same in a credential that systemd hands to the unit (`LoadCredentialEncrypted=tsig.key`)",
    ),
    unset(
        "backend.*.key_parameter",
        Form::Text,
        "\"/tagalong/tsig\"",
        "rfc2136: the same in a parameter of Systems Manager (SecureString), by name or ARN",
    ),
    unset(
        "backend.*.key_secret",
        Form::Text,
        "\"tagalong/tsig\"",
        "rfc2136: the same in a secret of Secrets Manager, by name or ARN, as its text",
    ),
    key(
        "backend.*.zone_keys",
        Form::List,
        "[]",
        "rfc2136: `\"ZONE KEY\"`: the key that signs what is about the zone and the names below it",
    ),
    unset(
        "backend.*.keytab",
        Form::Text,
        "\"/etc/krb5.keytab\"",
        "rfc2136: the Kerberos credentials that sign updates in place of a key (GSS-TSIG, RFC 3645), for BIND with `tkey-gssapi-keytab` and for Active \
         Directory; needs a tagalong with the cargo feature `gssapi`. The same for all backends, and not from a tag",
    ),
    unset(
        "backend.*.principal",
        Form::Text,
        "\"HOST-A$@CORP.TEST\"",
        "rfc2136: who of the keytab this host is; unset: the first one. In Active Directory only `HOST$` gets tickets, not `host/NAME`",
    ),
    unset(
        "backend.*.lease",
        Form::Text,
        "\"2h\"",
        "rfc2136: the lease that is asked for with each update (RFC 9664): a server that grants one takes the records back by itself when this host has not \
         refreshed them in time, which the agent does; after `tagalong once` alone they go. Servers that know no leases (BIND 9.18, Knot, PowerDNS, Samba) ignore it. \
         30s at least",
    ),
    key(
        "backend.*.index",
        Form::Flag,
        "false",
        "rfc2136: whether each marked name is also listed below `_tagalong` in its zone (PTR records, parted by a digest of the name), in the same update: then \
         `reap` needs no zone transfer where the server refuses one. The server must let the host write them; not in Active Directory, where they would be the first host's",
    ),
    key(
        "backend.*.marker",
        Form::Text,
        "\"txt\"",
        "rfc2136: what says whose a name is: `txt`, a TXT record that names the instance; `dhcid`, a DHCID record (RFC 4701), for zones that Kea or ISC \
         DHCP update too. It is a digest: nobody can tell from it which instance is gone, so such names are neither taken over nor reaped. Names keep the \
         marker that they have, and with `txt` those with a DHCID are others': `tagalong withdraw` before it is set back",
    ),
    unset(
        "backend.*.zone_id",
        Form::Text,
        "\"Z0123456789\"",
        "route53: the hosted zone, for all names but reverse ones; unset: found by name, once",
    ),
    key(
        "backend.*.sharing",
        Form::Text,
        "\"multivalue\"",
        "route53: how names that hosts share are written, the same for all of them: `multivalue`, a multivalue answer set of each host, of which \
         Route 53 answers eight at a time; `simple`, one set for all, of 400 values at most, which hosts change one after another",
    ),
    unset(
        "backend.*.endpoint",
        Form::Text,
        "\"http://127.0.0.1:4566\"",
        "this backend's endpoint in place of AWS: of Route 53, or of whoever keeps its keys",
    ),
    key(
        "discovery.tag",
        Form::Text,
        "\"tagalong:dns-server\"",
        "the tag that makes a running instance a DNS server",
    ),
    unset("discovery.value", Form::Text, "\"corp.internal\"", "the tag's value; unset: any"),
    key(
        "discovery.draining",
        Form::Text,
        "\"tagalong:draining\"",
        "the tag of a DNS server that is about to be shut down, and is used last; so is one whose value ends in ` draining`",
    ),
    key("discovery.vpcs", Form::List, "[]", "the VPCs whose DNS servers are used; empty: this one"),
    key(
        "discovery.regions",
        Form::List,
        "[]",
        "the Regions in which they are looked for; empty: this one. In another Region without `vpcs`, any VPC's count",
    ),
    key(
        "discovery.refresh",
        Form::Text,
        "\"60s\"",
        "how often the agent reads the list again, jittered",
    ),
    key(
        "discovery.port",
        Form::Number,
        "53",
        "the port of the discovered servers; resolv.conf knows 53 only",
    ),
    key(
        "resolver.manager",
        Form::Text,
        "\"auto\"",
        "auto, resolv-conf, systemd-resolved, networkmanager, resolvconf, none",
    ),
    key("resolver.search", Form::List, "[]", "the search list; empty leaves the file's own"),
    key(
        "resolver.options",
        Form::List,
        "[\"timeout:1\", \"attempts:2\"]",
        "options; each replaces the file's of the same name",
    ),
    key(
        "resolver.fallback",
        Form::Text,
        "\"vpc\"",
        "vpc or none: used only when neither a discovered server nor one in use answers",
    ),
    key(
        "resolver.stale",
        Form::Text,
        "\"10m\"",
        "a server whose zone has been behind its peers' for so long is used after them",
    ),
    key(
        "resolver.probe",
        Form::Text,
        "\"10s\"",
        "how often the agent asks the servers in use whether they serve; a silent one is out within two of these, or 3 s where that is more",
    ),
    key(
        "resolver.prefer",
        Form::List,
        "[]",
        "shared names whose nearest member this host should use first: any makes `sortlist` and gai.conf put near networks first",
    ),
    key(
        "lifecycle.withdraw",
        Form::List,
        "[\"terminate\"]",
        "when the agent takes the records back: `terminate` (a spot interruption notice, or the Auto Scaling target state \
         Terminated), `poweroff` (the host is shut down; never for a reboot), `stop` (the agent is stopped, a reboot included)",
    ),
];

/// The key whose path, with indexes and names taken out, is `path`.
#[must_use]
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| matches(key.path, path))
}

/// The keys right below `path`, for the error that says what could stand there.
#[must_use]
pub fn below(path: &str) -> Vec<&'static str> {
    let words = KEYS.iter().filter_map(|key| {
        let mut pattern = key.path.split('.');
        let is_below = path.is_empty()
            || path.split('.').all(|word| pattern.next().is_some_and(|p| is_segment(p, word)));
        is_below.then(|| pattern.next()).flatten().map(|word| word.trim_end_matches("[]"))
    });
    let mut known: Vec<&'static str> = Vec::new();
    for word in words {
        if !known.contains(&word) {
            known.push(word);
        }
    }
    known
}

/// Whether `path` may be a table.
#[must_use]
pub fn is_table(path: &str) -> bool {
    !below(path).is_empty()
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('.'), path.split('.'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(pattern), Some(word)) if is_segment(pattern, word) => {}
            _ => return false,
        }
    }
}

/// Whether `word` is what `pattern` stands for: itself, any name for `*`, `record[3]` for `record[]`.
fn is_segment(pattern: &str, word: &str) -> bool {
    match pattern.strip_suffix("[]") {
        Some(table) => word
            .strip_prefix(table)
            .is_some_and(|rest| rest.starts_with('[') && rest.ends_with(']')),
        None => pattern == "*" || pattern == word,
    }
}

/// The commented file that `default.toml` is: commented lines are the defaults, or examples where there is none.
#[must_use]
pub fn default_toml() -> String {
    let mut text = String::from(
        "# tagalong's configuration: every key. A line that begins with `#key` shows its default;\n\
         # one that begins with `#?key` has no default, and shows an example.\n",
    );
    let mut table = String::new();
    for key in KEYS {
        let (head, word) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if head != table {
            head.clone_into(&mut table);
            let header = match head.strip_suffix("[]") {
                Some(several) => format!("[[{several}]]"),
                None => format!("[{}]", head.replace('*', "NAME")),
            };
            text.push_str(&format!("\n#{header}\n"));
        }
        text.push_str(&format!("# {}\n", key.meaning));
        match (key.path, key.default) {
            ("version", _) => text.push_str("version = 1\n"),
            (_, "") => text.push_str(&format!("#?{word} = {}\n", key.example)),
            (_, default) => text.push_str(&format!("#{word} = {default}\n")),
        }
    }
    text
}

/// The keys as a table in Markdown: the README's.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| key | default | meaning |\n|---|---|---|\n");
    for key in KEYS {
        let default = match (key.path, key.default) {
            ("version", _) => "must be there".to_owned(),
            (_, "") => "unset".to_owned(),
            (_, default) => format!("`{default}`"),
        };
        text.push_str(&format!(
            "| `{}` | {default} | {} |\n",
            key.path.replace('*', "NAME"),
            key.meaning.replace('|', "\\|")
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_keys() {
        assert_eq!(find("record[2].ttl").unwrap().path, "record[].ttl");
        assert_eq!(find("backend.internal.kind").unwrap().path, "backend.*.kind");
        assert!(find("record.ttl").is_none());
        assert!(find("backend.kind").is_none());
        assert!(find("ttl").is_none());
        assert_eq!(
            below(""),
            [
                "version",
                "metadata",
                "aws",
                "record",
                "backend",
                "discovery",
                "resolver",
                "lifecycle"
            ]
        );
        assert_eq!(
            below("backend.x"),
            [
                "kind",
                "servers",
                "key_file",
                "key_credential",
                "key_parameter",
                "key_secret",
                "zone_keys",
                "marker",
                "zone_id",
                "sharing",
                "endpoint"
            ]
        );
        assert!(is_table("backend") && is_table("backend.x") && !is_table("version"));
    }
}
