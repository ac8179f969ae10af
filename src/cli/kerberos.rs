//! The environment that the Kerberos library takes its keytab from. Only a new program can be given one: a process cannot
//! change its own while anything else may read it.

use std::{env, os::unix::process::CommandExt as _, process::Command};

use super::{
    args::{Args, Verb},
    print,
    wiring::read,
};
use crate::{
    config::{BackendConfig, Config},
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
    let mut keytabs = config.backends.values().filter_map(|backend| match backend {
        BackendConfig::Rfc2136 { keytab, .. } => keytab.as_ref(),
        BackendConfig::Route53 { .. } => None,
    });
    let Some(keytab) = keytabs.next() else { return };
    let wanted = environment(&keytab.path);
    if wanted.iter().all(|(name, value)| env::var_os(name).as_ref() == Some(value)) {
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
