//! What a configuration may say, and what is said about one that may not.

use std::io::Write as _;

use super::*;
use crate::core::naming::Reverse;

fn of(text: &str) -> Result<Config, Vec<String>> {
    let mut settings = Settings::default();
    settings.read(Path::new("c.toml"), text).unwrap();
    Config::of(&settings).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn the_default_of_every_key_is_valid() {
    let config = of("version = 1").unwrap();
    assert_eq!(config.metadata_endpoint, "http://169.254.169.254");
    assert_eq!(
        config.vpc_resolver,
        ["169.254.169.253:53".parse().unwrap(), "[fd00:ec2::253]:53".parse().unwrap()]
    );
    assert_eq!(config.discovery.tag, "tagalong:dns-server");
    assert_eq!(config.discovery.refresh, Duration::from_secs(60));
    assert_eq!(config.discovery.port, 53);
    assert_eq!(config.resolver.manager, Manager::Auto);
    assert_eq!(config.resolver.fallback, Fallback::Vpc);
    assert_eq!(config.resolver.policy.options, ["timeout:1", "attempts:2"]);
    assert!(config.records.is_empty() && config.backends.is_empty());
}

#[test]
fn the_commented_default_file_is_a_valid_configuration_with_or_without_its_comments() {
    let commented = schema::default_toml();
    of(&commented).unwrap();
    let plain = commented.lines().filter_map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(' ') => None,
        Some(rest) => Some(rest.trim_start_matches('?')),
        None => Some(line),
    });
    let mut settings = Settings::default();
    settings.read(Path::new("default.toml"), &plain.collect::<Vec<_>>().join("\n")).unwrap();
    for key in schema::KEYS {
        let path = key.path.replace("[]", "[0]").replace('*', "NAME");
        assert!(settings.get(&path).is_some(), "{path} is not in default.toml");
    }
}

#[test]
fn the_whole_example_of_the_manual_is_read() {
    let config = of(r#"
version = 1
[metadata]
endpoint = "http://127.0.0.1:1338/"
[[record]]
name = "{tag:Name}.corp.internal"
addresses = ["private-ipv4"]
ttl = 60
reverse = true
shared = false
backend = "internal"
[backend.internal]
kind = "rfc2136"
servers = ["10.0.0.2", "10.0.1.2:5353", "2001:db8::2", "[2001:db8::3]:5353"]
key_file = "/etc/tagalong/tsig.key"
[backend.aws]
kind = "route53"
zone_id = "/hostedzone/Z0123456789"
[discovery]
tag = "tagalong:dns-server"
value = "corp.internal"
refresh = "60s"
[resolver]
manager = "auto"
search = ["corp.internal"]
options = ["timeout:1", "attempts:2"]
fallback = "vpc"
prefer = ["puppet.corp.internal"]
"#)
    .unwrap();
    assert_eq!(config.metadata_endpoint, "http://127.0.0.1:1338");
    assert_eq!(config.records[0].reverse, Reverse::Always);
    assert_eq!(config.tags(), ["Name"]);
    let BackendConfig::Rfc2136 { servers: Some(servers), keys, .. } = &config.backends["internal"]
    else {
        panic!("{:?}", config.backends)
    };
    let servers = servers.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(servers, ["10.0.0.2:53", "10.0.1.2:5353", "[2001:db8::2]:53", "[2001:db8::3]:5353"]);
    assert_eq!(*keys, Some(KeyPlace::File("/etc/tagalong/tsig.key".into())));
    assert!(
        matches!(&config.backends["aws"], BackendConfig::Route53 { zone_id: Some(id), .. } if id == "Z0123456789")
    );
}

#[test]
fn what_cannot_be_is_named_with_its_place() {
    let check = |text: &str, expect: &str| {
        let errors = of(text).unwrap_err().join("\n");
        assert!(errors.contains(expect), "`{text}` gave\n{errors}\nnot\n{expect}");
    };
    let record = "version = 1\n[[record]]\nname = \"a.x\"\n";
    check(record, "c.toml:3:1: no `[backend.NAME]` says where records are published");
    check(
        "version = 1\n[[record]]\nttl = 1\n[backend.b]\nkind=\"route53\"",
        "c.toml:3:1: record 1 has no `name`",
    );
    let with = |extra: &str| format!("{record}{extra}\n[backend.b]\nkind = \"rfc2136\"\n");
    check(&with("ttl = -1"), "c.toml:4:1: `-1` is not between 0 and 2147483647");
    check(
        &with("shared = true\nconflict = \"suffix\""),
        "c.toml:5:1: a name that many hosts share is nobody's to take over",
    );
    check(
        &format!("{record}shared = true\n[backend.b]\nkind = \"rfc2136\"\nmarker = \"dhcid\"\n"),
        "c.toml:4:1: a name that many hosts share is marked by TXT",
    );
    check(&with("conflict = \"take\""), "c.toml:4:1: `take` is none of: refuse, take-over-if-gone");
    check(&with("backend = \"c\""), "c.toml:4:1: there is no `[backend.c]`; there are: b");
    check(&with("addresses = [\"eth0\"]"), "c.toml:4:1: `eth0` selects no address");
    check(&with("addresses = []"), "c.toml:4:1: `addresses` is empty");
    check(&with("[backend.c]\nkind = \"route53\""), "there are several backends (b, c)");
    check(
        "version = 1\n[[record]]\nname = \"{x}\"\n[backend.b]\nkind=\"rfc2136\"",
        "c.toml:3:1: `{x}`: no placeholder `{x}`",
    );
    check(
        "version = 1\n[metadata]\nendpoint = \"http://imds.corp.internal:80\"",
        "c.toml:3:1: `imds.corp.internal:80` is no address, and the metadata service",
    );
    check("version = 1\n[backend.b]\nservers = \"x\"", "c.toml:3:1: backend `b` has no `kind`");
    check(
        "version = 1\n[backend.b]\nkind = \"bind\"",
        "c.toml:3:1: there is no kind of backend `bind`",
    );
    check(
        "version = 1\n[backend.b]\nkind = \"route53\"\nkey_file = \"x\"",
        "c.toml:4:1: `key_file` means nothing to a backend of kind route53",
    );
    check(
        "version = 1\n[backend.b]\nkind = \"route53\"\nzone_id = \"corp.internal\"",
        "c.toml:4:1: `corp.internal` is no id of a hosted zone",
    );
    check("version = 1\n[discovery]\nvalue = \"\"", "c.toml:3:1: `value` is empty; leave it out");
    let keys = |extra: &str| format!("version = 1\n[backend.b]\nkind = \"rfc2136\"\n{extra}");
    check(
        &keys("key_secret = \"a\"\nkey_file = \"b\""),
        "c.toml:4:1: `key_file` is there too; keep one of them",
    );
    check(&keys("key_credential = \"/a\""), "c.toml:4:1: `/a` is a path");
    check(&keys("zone_keys = [\"a b\"]"), "c.toml:4:1: `zone_keys` chooses among keys");
    check(
        &keys("key_parameter = \"/a\"\nzone_keys = [\"corp.internal\"]"),
        "c.toml:5:1: `corp.internal` is not `ZONE KEY`",
    );
    check(
        "version = 1\n[backend.b]\nkind = \"rfc2136\"\nservers = [\"ns1\"]",
        "c.toml:4:1: `ns1` is no address",
    );
    check(
        "version = 1\n[backend.b]\nkind = \"rfc2136\"\nservers = []",
        "c.toml:4:1: the list of servers is empty",
    );
    check(
        "version = 1\n[backend.b]\nkind = \"rfc2136\"\nservers = \"all\"",
        "c.toml:4:1: `all` is neither `discovered` nor",
    );
    check("version = 1\n[discovery]\nrefresh = \"soon\"", "c.toml:3:1: `soon` is no time");
    check("version = 1\n[discovery]\nport = 0", "c.toml:3:1: `0` is not between 1 and 65535");
    check(
        "version = 1\n[resolver]\nmanager = \"dnsmasq\"",
        "c.toml:3:1: `dnsmasq` is none of: auto, resolv-conf",
    );
    check(
        "version = 1\n[resolver]\nsearch = [\"a\\nnameserver 6.6.6.6\"]",
        "is not one word of resolv.conf",
    );
    check(
        "version = 1\n[metadata]\nendpoint = \"https://x\"",
        "c.toml:3:1: `https://x` is no URL that begins with http://",
    );
    for key in ["use_fips_endpoint", "use_dualstack_endpoint"] {
        check(
            &format!("version = 1\n[aws]\nendpoint = \"http://x\"\n{key} = true"),
            &format!("c.toml:4:1: `aws.{key}` chooses among AWS's own endpoints"),
        );
    }
    check(
        "version = 1\n[aws]\nvpc_resolver = [\"resolver\"]",
        "c.toml:3:1: `resolver` is no address",
    );
}

#[test]
fn all_errors_are_told_at_once() {
    let errors =
        of("version = 1\n[discovery]\nrefresh = \"x\"\nport = 0\n[resolver]\nmanager = \"y\"")
            .unwrap_err();
    assert_eq!(errors.len(), 3, "{errors:?}");
}

#[test]
fn a_named_file_must_be_there_and_say_its_version() {
    let none = |_: &str| None;
    let missing = read(Some(Path::new("/nonexistent/c.toml")), none).unwrap_err();
    assert_eq!(missing[0].to_string(), "/nonexistent/c.toml:1:1: there is no such file");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[discovery]\n").unwrap();
    let errors = read(Some(file.path()), none).unwrap_err();
    assert!(
        errors[0]
            .to_string()
            .ends_with(":1:1: `version` is missing; write `version = 1` at the top")
    );
}

#[test]
fn the_environment_wins_and_is_named() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(
        b"version = 1\n[metadata]\nendpoint = \"http://127.0.0.2\"\n[backend.aws]\nkind = \"route53\"",
    )
    .unwrap();
    let environment = |variable: &str| match variable {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT" => Some("http://127.0.0.3".to_owned()),
        "AWS_ENDPOINT_URL" => Some("http://c".to_owned()),
        "AWS_ENDPOINT_URL_ROUTE_53" => Some("http://d".to_owned()),
        _ => None,
    };
    let settings = read(Some(file.path()), environment).unwrap();
    let config = Config::of(&settings).unwrap();
    assert_eq!(config.metadata_endpoint, "http://127.0.0.3");
    assert_eq!(config.ec2_endpoint.as_deref(), Some("http://c"));
    assert!(
        matches!(&config.backends["aws"], BackendConfig::Route53 { endpoint: Some(url), .. } if url == "http://d")
    );
    let shown = effective(&settings);
    assert!(shown.iter().any(|(path, value, origin)| {
        path == "metadata.endpoint"
            && value == "\"http://127.0.0.3\""
            && origin.to_string() == "environment AWS_EC2_METADATA_SERVICE_ENDPOINT"
    }));
    assert!(shown.iter().any(|(path, value, origin)| {
        path == "discovery.port" && value == "53" && *origin == Origin::Default
    }));
    let ipv6 = |variable: &str| {
        (variable == "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE").then(|| "IPv6".to_owned())
    };
    let settings = read(Some(file.path()), ipv6).unwrap();
    assert_eq!(Config::of(&settings).unwrap().metadata_endpoint, "http://[fd00:ec2::254]");

    // What stands at a table's place is told of a file, and not of the environment beside it.
    file.write_all(b"\n[backend.b]\nservers = [\"10.0.0.2\"]\n").unwrap();
    let settings = read(Some(file.path()), environment).unwrap();
    let errors = Config::of(&settings).unwrap_err();
    let text = errors[0].to_string();
    assert!(text.contains(":7:1: backend `b` has no `kind`"), "{text}");
    // What means nothing to a kind is not shown of it.
    assert!(shown.iter().all(|(path, ..)| path != "backend.aws.index"), "{shown:?}");
    file.write_all(b"kind = \"rfc2136\"\n").unwrap();
    let shown = effective(&read(Some(file.path()), environment).unwrap());
    assert!(shown.iter().all(|(path, ..)| path != "backend.b.sharing"), "{shown:?}");

    let fips = |text: &'static str| {
        move |variable: &str| (variable == "AWS_USE_FIPS_ENDPOINT").then(|| text.to_owned())
    };
    file.write_all(b"\n[aws]\nuse_fips_endpoint = true\n").unwrap();
    let wants =
        |text| read(Some(file.path()), fips(text)).map(|settings| Endpoints::of(&settings).fips);
    assert_eq!(
        (wants("").unwrap(), wants("True ").unwrap(), wants("false").unwrap()),
        (true, true, false)
    );
    let error = wants("1").unwrap_err()[0].to_string();
    assert_eq!(error, "environment AWS_USE_FIPS_ENDPOINT: `1` is neither `true` nor `false`");
}
