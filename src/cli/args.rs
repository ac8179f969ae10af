//! What may stand on the command line.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::telemetry::log::Format;

/// An EC2-native DNS registration agent: this host's name follows its address, and its resolver follows the fleet's DNS
/// servers.
///
/// Results go to standard output, everything else to standard error. Exit status: 0 done, 1 failed, 2 `plan` found
/// changes, 64 wrong usage.
#[derive(Clone, Debug, Parser)]
#[command(name = "tagalong", version, max_term_width = 100)]
pub(super) struct Args {
    /// The configuration [default: /etc/tagalong/config.toml, then config.d/*.toml beside it]
    #[arg(long, global = true, value_name = "PATH", env = "TAGALONG_CONFIG")]
    pub(super) config: Option<PathBuf>,

    /// Where the agent keeps its memory
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/lib/tagalong")]
    pub(super) state_dir: PathBuf,

    /// Where the agent keeps what does not outlive a boot
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/tagalong")]
    pub(super) run_dir: PathBuf,

    /// The root of the files that it edits, for images, chroots and tests
    #[arg(long, global = true, value_name = "DIR", default_value = "/")]
    pub(super) root: PathBuf,

    /// Print JSON
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// How the log is written; what a verb reports is no log
    #[arg(long, global = true, value_name = "FORMAT", env = "TAGALONG_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,

    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For people
    Text,
    /// A line of JSON each
    Json,
}

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Verb {
    /// One whole pass: publish this host's names, set its resolver, and exit
    Once {
        /// When it must be over, whatever hangs
        #[arg(long, value_name = "TIME", default_value = "30s", value_parser = crate::config::duration::parse)]
        deadline: Duration,
    },
    /// The agent: publish, watch, keep the resolver right, until it is stopped
    Run,
    /// Tell the agent of a lease event; what hooks of DHCP clients and dispatchers call
    Hook {
        /// What NetworkManager's dispatcher says: interface and action
        #[arg(value_name = "ARGUMENT")]
        arguments: Vec<String>,
    },
    /// Give the resolver back as it was found
    Restore,
    /// Show what would change, and why; nothing is sent
    Plan {
        /// When it must be over, whatever hangs
        #[arg(long, value_name = "TIME", default_value = "10s", value_parser = crate::config::duration::parse)]
        deadline: Duration,
    },
    /// Show what is published, which servers are in use, and who owns the resolver
    Status,
    /// Look at each thing that can be wrong, and say how to mend it; changes nothing
    Doctor {
        /// When it must be over, whatever hangs
        #[arg(long, value_name = "TIME", default_value = "10s", value_parser = crate::config::duration::parse)]
        deadline: Duration,
        /// In place of that, which address of this shared name each kind of program uses on this host, and why
        #[arg(long, value_name = "NAME")]
        affinity: Option<String>,
    },
    /// Remove this host's own records
    Withdraw {
        /// When it must be over, whatever hangs
        #[arg(long, value_name = "TIME", default_value = "30s", value_parser = crate::config::duration::parse)]
        deadline: Duration,
    },
    /// Remove the records of instances that are gone; without `--yes` only say which
    Reap {
        /// The zones [default: those that this host's names are in]
        #[arg(value_name = "ZONE")]
        zones: Vec<String>,
        /// Remove them
        #[arg(long)]
        yes: bool,
        /// How long ago it must have been seen first that an instance is gone; from one run to the next this host remembers it
        #[arg(long, value_name = "TIME", default_value = "1h", value_parser = crate::config::duration::parse)]
        grace: Duration,
        /// How many names may be removed at once
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        limit: usize,
        /// When it must be over, whatever hangs
        #[arg(long, value_name = "TIME", default_value = "5m", value_parser = crate::config::duration::parse)]
        deadline: Duration,
    },
    /// Show or check the configuration
    Config {
        #[command(subcommand)]
        verb: ConfigVerb,
    },
    /// Print shell completions
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print a manual page
    Man {
        /// Which
        #[arg(value_enum, value_name = "PAGE", default_value_t = Page::Tagalong)]
        page: Page,
    },
}

/// A manual page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Page {
    /// tagalong(8)
    Tagalong,
    /// tagalong.toml(5)
    #[value(name = "tagalong.toml")]
    TagalongToml,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub(super) enum ConfigVerb {
    /// The effective value of every key that has one, and where it comes from
    Show,
    /// Say whether the configuration can be used, and what is wrong with it
    Check,
    /// Print what it needs of the instance's role, as an IAM policy
    IamPolicy,
}
