//! The command line: the only layer that knows every other. Verbs wire adapters to journeys and print what came of it.

mod affinity;
mod args;
mod config;
mod doctor;
mod generate;
mod hook;
mod kerberos;
mod known;
mod leases;
mod lookup;
mod once;
mod pass;
mod plan;
mod print;
mod reap;
pub mod reference;
mod restore;
mod run;
mod servers;
mod status;
mod wiring;
mod withdraw;
mod worker;

use std::{process::ExitCode, time::Instant};

use clap::Parser as _;

use self::args::{Args, Verb};
use crate::agent::reaping::Extent;

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let started = Instant::now();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return print::usage(&error),
    };
    kerberos::start_over(&args);
    // A pass reports by itself; the agent has nothing but its log.
    let is_agent = matches!(args.verb, Verb::Run);
    crate::telemetry::log::install(if is_agent { "info" } else { "warn" }, args.log_format.into());
    let code = match &args.verb {
        Verb::Run => run::run(&args),
        Verb::Hook { arguments } => hook::run(&args, arguments),
        Verb::Restore => restore::run(&args),
        Verb::Once { deadline } => once::run(&args, *deadline, started),
        Verb::Plan { deadline } => plan::run(&args, *deadline, started),
        Verb::Status => status::run(&args, started),
        Verb::Doctor { deadline, affinity: None } => doctor::run(&args, *deadline, started),
        Verb::Doctor { deadline, affinity: Some(name) } => {
            doctor::affinity(&args, name, *deadline, started)
        }
        Verb::Withdraw { deadline } => withdraw::run(&args, *deadline, started),
        Verb::Reap { zones, yes, grace, limit, deadline } => {
            let extent = if *yes { Extent::Apply } else { Extent::Plan };
            let wanted = reap::Wanted { zones, extent, grace: *grace, limit: *limit };
            reap::run(&args, &wanted, *deadline, started)
        }
        Verb::Config { verb } => config::run(&args, *verb, started),
        Verb::Completions { shell } => generate::completions(*shell),
        Verb::Man { page } => generate::man(*page),
    };
    ExitCode::from(print::outcome(code) as u8)
}

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Code {
    /// Done.
    Done = 0,
    /// Something failed.
    Failed = 1,
    /// `plan` found changes.
    Changes = 2,
    /// The command line is wrong (`EX_USAGE` of `sysexits(3)`).
    Usage = 64,
}

impl Code {
    const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::Changes, Self::Usage];

    /// What it says, for the manual.
    fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done; of `plan`: nothing would change; of `doctor`: nothing is wrong",
            Self::Failed => {
                "something failed, or is as it should not be: standard error says what, why, and what to do about it. What did not \
                 depend on it was done"
            }
            Self::Changes => "`plan` found changes, and nothing in their way",
            Self::Usage => "wrong usage of the command line; nothing was done",
        }
    }
}
