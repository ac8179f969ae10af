//! The command line and the configuration in words: the manual pages tagalong(8) and tagalong.toml(5), and the book's page of verbs.

use clap::{Arg, Command, CommandFactory as _, builder::PossibleValue};
use clap_mangen::{
    Man,
    roff::{Inline, Roff, bold, italic, roman},
};

use super::{Code, args::Args};
use crate::config::schema::{Form, KEYS, Key};

/// The manual page of the program, in roff(7).
///
/// # Errors
/// None that a buffer in memory can have.
pub(super) fn program_page() -> std::io::Result<Vec<u8>> {
    let command = Args::command();
    let head = Man::new(command.clone()).section("8").manual("System Administration");
    let mut page = Vec::new();
    head.render_title(&mut page)?;
    head.render_name_section(&mut page)?;
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]);
    synopsis.text(words("`tagalong` [options] verb [arguments]"));
    synopsis.to_writer(&mut page)?;
    let mut description = Roff::new();
    description.control("SH", ["DESCRIPTION"]);
    let about = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    for paragraph in about.split("\n\n") {
        description.control("PP", []);
        description.text(words(paragraph));
    }
    description.to_writer(&mut page)?;
    head.render_options_section(&mut page)?;

    let mut roff = Roff::new();
    roff.control("SH", ["VERBS"]);
    for verb in verbs(&command) {
        roff.control("SS", [format!("tagalong {}", verb.usage).as_str()]);
        roff.text(words(&sentence(&verb.about)));
        for argument in verb.arguments {
            roff.control("TP", []);
            roff.text([bold(argument.form)]);
            roff.text(words(&sentence(&argument.meaning)));
        }
    }
    roff.control("SH", ["EXIT STATUS"]);
    for code in Code::ALL {
        roff.control("TP", []);
        roff.text([bold((code as u8).to_string())]);
        roff.text(words(&sentence(code.meaning())));
    }
    for (title, entries) in [("FILES", FILES), ("ENVIRONMENT", ENVIRONMENT)] {
        roff.control("SH", [title]);
        for (what, meaning) in entries {
            roff.control("TP", []);
            roff.text([italic(*what)]);
            roff.text(words(&sentence(meaning)));
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text(words(
        "`tagalong.toml`(5), `resolv.conf`(5), `dhclient-script`(8), `systemd-resolved.service`(8), `NetworkManager.conf`(5), `named.conf`(5)",
    ));
    roff.control("PP", []);
    roff.text(words("The manual is in `/usr/share/doc/tagalong/docs`, and at"));
    roff.text([roman(concat!(
        env!("CARGO_PKG_REPOSITORY"),
        "/tree/v",
        env!("CARGO_PKG_VERSION"),
        "/docs"
    ))]);
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// The manual page of the configuration, in roff(7).
///
/// # Errors
/// None that a buffer in memory can have.
pub(super) fn configuration_page() -> std::io::Result<Vec<u8>> {
    let mut roff = Roff::new();
    let version = concat!("tagalong ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["tagalong.toml", "5", "", version, "File Formats"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("tagalong.toml - the configuration of tagalong")]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([italic("/etc/tagalong/config.toml")]);
    roff.control("br", []);
    roff.text([italic("/etc/tagalong/config.d/*.toml")]);
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in DESCRIPTION {
        roff.control("PP", []);
        roff.text(words(paragraph));
    }
    roff.control("SH", ["KEYS"]);
    for key in KEYS {
        roff.control("TP", []);
        let mut head = vec![bold(key.path.replace('*', "NAME")), roman(", ")];
        head.extend(words(key.form.words()));
        roff.text(head);
        // Not as a sentence: it may begin with a value.
        roff.text(words(&format!("{}.", key.meaning.trim_end_matches('.'))));
        if let Some(default) = default_of(key) {
            roff.control("br", []);
            roff.text([roman(default)]);
        }
    }
    roff.control("SH", ["EXAMPLE"]);
    roff.control("nf", []);
    EXAMPLE.lines().for_each(|line| {
        roff.text([roman(line)]);
    });
    roff.control("fi", []);
    roff.control("SH", ["SEE ALSO"]);
    roff.text(words("`tagalong`(8), `resolv.conf`(5), `tsig-keygen`(8)"));
    let mut page = Vec::new();
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// All verbs with their arguments, and all exit statuses, in Markdown: the book's.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::new();
    let command = Args::command();
    text.push_str("| before or after any verb | |\n|---|---|\n");
    for argument in arguments(&command) {
        text.push_str(&row(&argument));
    }
    for verb in verbs(&command) {
        let Verb { usage, about, arguments } = verb;
        let name =
            usage.split_once(" [").or(usage.split_once(" <")).map_or(&*usage, |(name, _)| name);
        text.push_str(&format!(
            "\n## {name}\n\n```text\ntagalong {usage}\n```\n\n{}\n",
            sentence(&about)
        ));
        if !arguments.is_empty() {
            text.push_str("\n| argument | |\n|---|---|\n");
            arguments.iter().for_each(|argument| text.push_str(&row(argument)));
        }
    }
    text.push_str("\n## Exit status\n\n| status | |\n|---|---|\n");
    for code in Code::ALL {
        text.push_str(&format!("| {} | {} |\n", code as u8, code.meaning()));
    }
    text
}

struct Verb {
    /// `once [--deadline TIME]`
    usage: String,
    about: String,
    arguments: Vec<Argument>,
}

struct Argument {
    /// `--deadline TIME`
    form: String,
    meaning: String,
}

/// Those of the command line, and those below `config` in its place.
fn verbs(command: &Command) -> Vec<Verb> {
    let mut all = Vec::new();
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        if verb.has_subcommands() {
            for mut below in verbs(verb) {
                below.usage = format!("{} {}", verb.get_name(), below.usage);
                all.push(below);
            }
            continue;
        }
        let arguments = arguments(verb);
        let forms = arguments.iter().map(|argument| {
            let form = &argument.form;
            if form.starts_with('<') { form.clone() } else { format!("[{form}]") }
        });
        let usage = std::iter::once(verb.get_name().to_owned()).chain(forms).collect::<Vec<_>>();
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        all.push(Verb { usage: usage.join(" "), about, arguments });
    }
    all
}

fn arguments(command: &Command) -> Vec<Argument> {
    let own = |argument: &&Arg| !["help", "version"].contains(&argument.get_id().as_str());
    command.get_arguments().filter(own).map(argument).collect()
}

fn argument(argument: &Arg) -> Argument {
    let value = argument.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
    let form = match (argument.get_long(), argument.get_action().takes_values(), value) {
        (Some(long), true, Some(value)) => format!("--{long} {value}"),
        (Some(long), ..) => format!("--{long}"),
        (None, _, value) => {
            let value = value.unwrap_or_default();
            match (
                argument.is_required_set(),
                argument.get_num_args().map(|number| number.max_values()),
            ) {
                (true, _) => format!("<{value}>"),
                (false, Some(2..)) => format!("{value}..."),
                (false, _) => value,
            }
        }
    };
    let mut meaning = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let values = argument.get_possible_values();
    if !values.is_empty() && argument.get_action().takes_values() {
        let values = values.iter().map(PossibleValue::get_name).collect::<Vec<_>>();
        meaning.push_str(&format!(": {}", values.join(", ")));
    }
    if let Some(default) =
        argument.get_default_values().first().filter(|_| argument.get_action().takes_values())
    {
        meaning.push_str(&format!(" [default: {}]", default.to_string_lossy()));
    }
    if let Some(variable) = argument.get_env() {
        meaning.push_str(&format!(" [environment: {}]", variable.to_string_lossy()));
    }
    Argument { form, meaning }
}

fn row(argument: &Argument) -> String {
    format!("| `{}` | {} |\n", argument.form, argument.meaning.replace('|', "\\|"))
}

fn default_of(key: &Key) -> Option<String> {
    match (key.path, key.default) {
        ("version", _) => None,
        (_, "") if key.form == Form::Flag => Some("Unset by default.".to_owned()),
        (_, "") => Some(format!("Unset by default; for example {}", key.example)),
        (_, default) => Some(format!("Default: {default}")),
    }
}

/// What is between backticks is bold.
fn words(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts.map(|(index, part)| if index % 2 == 0 { roman(part) } else { bold(part) }).collect()
}

/// With a capital and a full stop, as a manual has it.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let stop = if text.ends_with(['.', ']']) { "" } else { "." };
    format!("{first}{}{stop}", letters.as_str())
}

const FILES: &[(&str, &str)] = &[
    (
        "/etc/tagalong/config.toml",
        "the configuration, see `tagalong.toml`(5); then those of `config.d` beside it",
    ),
    (
        "/var/lib/tagalong/state.json",
        "what was published and learnt last. The zone is the truth; without it a pass asks more",
    ),
    (
        "/var/lib/tagalong/resolv.conf.found",
        "resolv.conf as it was found in this boot before tagalong wrote it, where it is a plain file: what `tagalong restore` gives back",
    ),
    ("/run/tagalong/hook", "where hooks of DHCP clients report leases"),
    ("/run/tagalong/metrics/tagalong.prom", "metrics for node_exporter's textfile collector"),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    ("TAGALONG_CONFIG", "one configuration in place of the usual files, as `--config`"),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "the instance metadata service"),
    (
        "AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL_ROUTE_53, AWS_ENDPOINT_URL_SSM, AWS_ENDPOINT_URL_SECRETS_MANAGER",
        "who is asked in place of AWS",
    ),
    ("AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT", "as the keys of the same name"),
    ("RUST_LOG", "how much is logged: `tagalong=debug`"),
    ("TAGALONG_LOG_FORMAT", "how, as `--log-format`"),
    ("NO_COLOR", "no colours"),
];

const DESCRIPTION: &[&str] = &[
    "TOML. The files of `config.d` are read after `config.toml`, in the order of their names: a later one wins, key by key, and its \
     `[[record]]` tables come after the earlier ones'. A key that is not listed here is an error. `tagalong config check` says what is \
     wrong and where, `tagalong config show` what is in force and where it comes from.",
    "A key that no file has is taken from the instance's tag `tagalong:KEY`, for example `tagalong:discovery.value`, then from the default.",
    "A time is a whole number with `ms`, `s`, `m`, `h` or `d` behind it, in quotation marks: `\"90s\"`.",
];

const EXAMPLE: &str = r#"version = 1
[[record]]
name = "{tag:Name}.corp.internal"
[backend.internal]
kind     = "rfc2136"
key_file = "/etc/tagalong/tsig.key"
[discovery]
value = "corp.internal"
[resolver]
search = ["corp.internal"]"#;
