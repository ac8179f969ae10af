//! The environment that the Kerberos library takes its keytab from. Only a new program can be given one: a process cannot
//! change its own while anything else may read it.

use std::{env, os::unix::process::CommandExt as _, process::Command};

use super::{
    args::{Args, Verb},
    print,
    wiring::read,
};
use crate::{
    config::{
        BackendConfig, Config, Keytab,
        settings::{ConfigError, Origin},
    },
    wire::gss::{self, environment},
};

/// Starts this program over with that environment, in this process, where the configuration names a keytab and the verb signs
/// anything; returns where nothing is to be done, or nothing can be.
pub(super) fn start_over(args: &Args) {
    let signs = matches!(
        args.verb,
        Verb::Run
            | Verb::Once { .. }
            | Verb::Withdraw { .. }
            | Verb::Reap { .. }
            | Verb::Doctor { .. }
    );
    if !gss::BUILT_IN || !signs {
        return;
    }
    // What is wrong with the configuration is told by the verb.
    let Some(config) = read(args).ok().and_then(|settings| Config::of(&settings).ok()) else {
        return;
    };
    let Some((_, keytab)) = keytab_of(&config) else { return };
    let wanted = environment(&keytab.path);
    if is_in_force(keytab) {
        return;
    }
    let mut arguments = env::args_os();
    let own_name = arguments.next();
    let program = env::current_exe().map(|path| {
        let mut program = Command::new(path);
        if let Some(name) = &own_name {
            program.arg0(name);
        }
        program.args(arguments).envs(wanted).exec()
    });
    let error = program.unwrap_or_else(|error| error);
    print::notice(format!(
        "the program could not be started over with its keytab in the environment: {error}"
    ));
}

/// Whether the keytab of a configuration is the one that this process began with.
///
/// # Errors
/// It is another one.
pub(super) fn check(config: &Config) -> Result<(), Vec<ConfigError>> {
    match keytab_of(config) {
        Some((backend, keytab)) if !is_in_force(keytab) => {
            let what = format!(
                "`backend.{backend}.keytab`: the Kerberos library has it from the start of the agent on; `systemctl restart tagalong` makes it use {}",
                keytab.path.display()
            );
            Err(vec![ConfigError { origin: Origin::Default, what }])
        }
        _ => Ok(()),
    }
}

/// The one keytab that there is, and a backend that names it.
fn keytab_of(config: &Config) -> Option<(&String, &Keytab)> {
    config.backends.iter().find_map(|(name, backend)| match backend {
        BackendConfig::Rfc2136 { keytab, .. } => Some((name, keytab.as_ref()?)),
        BackendConfig::Route53 { .. } => None,
    })
}

fn is_in_force(keytab: &Keytab) -> bool {
    environment(&keytab.path).iter().all(|(name, value)| env::var_os(name).as_ref() == Some(value))
}
