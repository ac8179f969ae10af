//! The table of all keys, in the order of `default.toml`.

use super::schema::{Form, Key, key, unset};

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
        Form::Time,
        "\"5s\"",
        "how often the agent looks whether tags or addresses changed, or the instance's end was announced; it costs no API call",
    ),
    unset(
        "aws.endpoint",
        Form::Text,
        "\"http://127.0.0.1:4566\"",
        "where EC2, Route 53, Systems Manager and Secrets Manager are in place of AWS; `AWS_ENDPOINT_URL_EC2`, `AWS_ENDPOINT_URL_ROUTE_53`, \
         `AWS_ENDPOINT_URL_SSM`, `AWS_ENDPOINT_URL_SECRETS_MANAGER` and `AWS_ENDPOINT_URL` in the environment win",
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
        "rfc2136: the file of the TSIG key, as `tsig-keygen` writes it; without it, one of the next three, or `keytab`, updates are not signed. Of several \
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
         Directory; needs a tagalong with the cargo feature `gssapi`. Backends that have one have the same; in a file, not a tag",
    ),
    unset(
        "backend.*.principal",
        Form::Text,
        "\"HOST-A$@CORP.TEST\"",
        "rfc2136: who of the keytab this host is; unset: the first one. In Active Directory only `HOST$` gets tickets, not `host/NAME`",
    ),
    unset(
        "backend.*.lease",
        Form::Time,
        "\"2h\"",
        "rfc2136: the lease that is asked for with each update (RFC 9664): a server that grants one takes the records back by itself when this host has not \
         refreshed them in time, which the agent does; after `tagalong once` alone they go. Servers that know no leases (BIND 9.18, Knot, PowerDNS, Samba) ignore it. \
         Ten minutes at least",
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
        Form::Time,
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
    key(
        "resolver.search",
        Form::List,
        "[]",
        "the search list; empty leaves the file's own; the first one is also the zone that DNS servers are asked for (without one `discovery.value`, if it has a dot)",
    ),
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
        Form::Time,
        "\"10m\"",
        "a server whose zone has been behind its peers' for so long is used after them",
    ),
    key(
        "resolver.probe",
        Form::Time,
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
    unset(
        "metrics.listen",
        Form::Text,
        "\"127.0.0.1:9721\"",
        "where the agent answers `GET /metrics` for Prometheus: read when it starts, from the files alone; the same is always in metrics/tagalong.prom in the run directory, \
         for node_exporter's textfile collector",
    ),
];
