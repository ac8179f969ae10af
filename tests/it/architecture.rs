//! The layers of ARCHITECTURE.md, as a table that every arrow in the code is held against.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What each module may use of ours, and which foreign crates it may name. `std` goes without saying.
const LAYERS: &[(&str, &[&str], &[&str])] = &[
    ("core", &[], &[]),
    ("ports", &["core"], &["async_trait", "thiserror", "tokio", "zeroize"]),
    ("sys", &["ports"], &["rustix", "tempfile", "tokio"]),
    (
        "wire",
        &["core"],
        &[
            "hickory_proto",
            "hmac",
            "md5",
            "sha1",
            "sha2",
            "base64",
            "libgssapi",
            "zeroize",
            "thiserror",
            "tokio",
        ],
    ),
    ("config", &["core", "sys"], &["serde", "toml", "thiserror", "tempfile"]),
    ("store", &["core", "ports", "sys"], &["serde", "serde_json", "thiserror", "tempfile"]),
    (
        "ec2",
        &["core", "ports", "sys", "config", "wire"],
        &[
            "async_trait",
            "aws_config",
            "aws_credential_types",
            "aws_sdk_ec2",
            "aws_smithy_http_client",
            "aws_smithy_runtime_api",
            "aws_smithy_types",
            "futures_util",
            "http_body_util",
            "hyper",
            "hyper_util",
            "rustix",
            "serde",
            "serde_json",
            "tokio",
        ],
    ),
    (
        "backend",
        &["core", "ports", "wire", "sys", "config"],
        &["async_trait", "aws_config", "aws_sdk_route53", "futures_util", "tokio", "zeroize"],
    ),
    (
        "keys",
        &["core", "ports", "sys", "config"],
        &["async_trait", "aws_config", "aws_sdk_secretsmanager", "aws_sdk_ssm", "tokio", "zeroize"],
    ),
    (
        "resolver",
        &["core", "ports", "wire", "sys", "config"],
        &["async_trait", "rustix", "serde", "serde_json", "tempfile", "tokio", "zbus"],
    ),
    (
        "event",
        &["core", "ports", "sys", "config"],
        &[
            "async_trait",
            "netlink_packet_core",
            "netlink_packet_route",
            "rustix",
            "tempfile",
            "tokio",
            "tracing",
        ],
    ),
    (
        "telemetry",
        &["ports", "sys"],
        &[
            "http_body_util",
            "hyper",
            "hyper_util",
            "sd_notify",
            "tokio",
            "tracing",
            "tracing_subscriber",
        ],
    ),
    (
        "agent",
        &["core", "ports", "telemetry"],
        &["async_trait", "futures_util", "tokio", "tracing"],
    ),
    (
        "cli",
        &[
            "agent",
            "backend",
            "config",
            "core",
            "ec2",
            "event",
            "keys",
            "ports",
            "resolver",
            "store",
            "sys",
            "telemetry",
            "wire",
        ],
        &[
            "anstream",
            "anstyle",
            "async_trait",
            "aws_config",
            "clap",
            "clap_complete",
            "clap_mangen",
            "futures_util",
            "serde",
            "serde_json",
            "tokio",
            "tracing",
        ],
    ),
];

/// Crates that only these files may name.
const CONFINED: &[(&str, &[&str])] = &[
    ("hickory_proto", &["wire/message.rs", "wire/rdata.rs"]),
    ("libgssapi", &["wire/gss.rs"]),
    (
        "aws_sdk_route53",
        &[
            "backend/route53/mod.rs",
            "backend/route53/lower.rs",
            "backend/route53/refusal.rs",
            "backend/route53/zones.rs",
        ],
    ),
    ("aws_sdk_ec2", &["ec2/instances.rs", "ec2/interfaces.rs", "ec2/subnets.rs", "ec2/tags.rs"]),
    ("aws_sdk_secretsmanager", &["keys/secrets_manager.rs"]),
    ("aws_sdk_ssm", &["keys/parameter_store.rs"]),
    ("hyper", &["ec2/imds.rs", "telemetry/metrics.rs"]),
    ("netlink_packet_route", &["event/network.rs"]),
    ("sd_notify", &["telemetry/notify.rs"]),
    ("zbus", &["resolver/bus.rs", "resolver/network_manager.rs", "resolver/resolved.rs"]),
    ("anstream", &["cli/print.rs"]),
    ("clap", &["cli/args.rs", "cli/mod.rs", "cli/generate.rs", "cli/print.rs", "cli/reference.rs"]),
];

#[test]
fn nothing_points_up() {
    let mut wrong = Vec::new();
    for file in sources() {
        let layer = layer_of(&file);
        let Some((_, ours, foreign)) = LAYERS.iter().find(|(name, ..)| *name == layer) else {
            assert!(
                ["lib.rs", "main.rs"].contains(&layer.as_str()),
                "src/{layer} is in no row of the table"
            );
            continue;
        };
        let text = fs::read_to_string(&file).unwrap();
        let mut group = "";
        for (number, line) in text.lines().enumerate() {
            let at = || format!("{}:{}", file.display(), number + 1);
            if line.trim_start_matches("pub ").starts_with("use ") {
                group = line;
            }
            let paths = if group == "use crate::{" {
                paths_after(line, "crate::")
            } else {
                direct_paths_after(line, "crate::")
            };
            for used in paths.into_iter().filter(|used| used != &layer) {
                if !ours.contains(&used.as_str()) {
                    wrong.push(format!("{}: {layer} uses {used}", at()));
                }
            }
            if let Some(name) = foreign_crate(line).filter(|name| !foreign.contains(&name.as_str()))
            {
                wrong.push(format!("{}: {layer} names {name}", at()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_confined_crate_is_named_in_its_own_files_only() {
    for (name, places) in CONFINED {
        for file in sources() {
            let text = fs::read_to_string(&file).unwrap();
            let short = file.strip_prefix(root()).unwrap().display().to_string();
            let named = text.lines().any(|line| {
                !line.trim_start().starts_with("//") && line.contains(&format!("{name}::"))
            });
            assert!(!named || places.contains(&short.as_str()), "{short} names {name}");
        }
    }
}

#[test]
fn adapters_never_name_each_other() {
    let adapters = ["ec2", "backend", "keys", "resolver", "event", "store"];
    for (name, ours, _) in LAYERS.iter().filter(|(name, ..)| adapters.contains(name)) {
        let others = ours.iter().filter(|other| adapters.contains(other)).collect::<Vec<_>>();
        assert!(others.is_empty(), "the table itself lets {name} use {others:?}");
    }
}

#[test]
fn every_file_says_what_it_is_and_keeps_its_size() {
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not begin with what it is", file.display());
        let code = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        let is_test = file.to_string_lossy().ends_with("_tests.rs");
        assert!(is_test || code <= 400, "{} has {code} lines", file.display());
    }
}

#[test]
fn the_core_has_neither_a_clock_nor_chance_nor_an_unordered_map() {
    for file in sources().into_iter().filter(|file| layer_of(file) == "core") {
        let text = fs::read_to_string(&file).unwrap();
        for banned in [
            "HashMap",
            "HashSet",
            "SystemTime",
            "Instant",
            "std::fs",
            "std::io",
            "std::env",
            "async fn",
            "thread::",
        ] {
            assert!(!text.contains(banned), "{} has {banned}", file.display());
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 40, "the sources are not where this test looks");
    files.sort();
    files
}

/// `core` of `src/core/name.rs`, `ports` of `src/ports.rs`.
fn layer_of(file: &Path) -> String {
    let short = file.strip_prefix(root()).unwrap();
    let first = short.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    if ["lib.rs", "main.rs"].contains(&first.as_str()) {
        first
    } else {
        first.trim_end_matches(".rs").to_owned()
    }
}

fn direct_paths_after(line: &str, prefix: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let direct = code.match_indices(prefix).map(|(at, _)| &code[at + prefix.len()..]);
    direct.map(word).filter(|name| !name.is_empty()).collect()
}

/// The modules named right after `prefix` in a line, in a group too: `crate::{core::x, ports::y}` over several lines is
/// seen because rustfmt puts each module at the start of a line.
fn paths_after(line: &str, prefix: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let mut found = direct_paths_after(line, prefix);
    let grouped = code.strip_prefix("    ").filter(|rest| !rest.starts_with(' '));
    let modules = LAYERS.iter().map(|(name, ..)| *name);
    found.extend(
        grouped
            .map(word)
            .filter(|name| modules.clone().any(|module| module == name) && code.contains("::")),
    );
    found
}

/// The foreign crate that a `use` line brings in.
fn foreign_crate(line: &str) -> Option<String> {
    let path =
        line.trim_start().strip_prefix("pub ").unwrap_or(line.trim_start()).strip_prefix("use ")?;
    let name = word(path);
    let own = ["std", "crate", "self", "super", "core", "tagalong"];
    (path.contains("::")
        && name.chars().next()?.is_ascii_lowercase()
        && !own.contains(&name.as_str()))
    .then_some(name)
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}
