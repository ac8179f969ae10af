//! `tagalong restore`: the resolver as it was found before tagalong first set it; what a package does when it is removed.

use super::{Code, args::Args, once::resolvers, print, wiring::no_runtime};
use crate::{
    ports::{Failure, topic::Topic},
    store::managed::{self, AGENT_LOCK},
    sys::fs::is_locked,
};

pub(super) fn run(args: &Args) -> Code {
    if matches!(is_locked(&args.run_dir.join(AGENT_LOCK)), Ok(Some(true))) {
        // It would set the resolver again at once, and what was found would be gone.
        let text = "the agent runs, and would set the resolver again; nothing was changed";
        let hint = "`systemctl stop tagalong` first, or `[resolver] manager = \"none\"` and `systemctl reload tagalong`";
        print::failure(&Failure::told(text, Some(hint), Topic::Resolver));
        return Code::Failed;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            print::failure(&no_runtime(&error));
            return Code::Failed;
        }
    };
    if let Err(error) = managed::set(&args.run_dir, None) {
        print::notice(format!(
            "the hooks of DHCP clients still keep away from resolv.conf: {error}"
        ));
    }
    let mut code = Code::Done;
    let mut given_back = Vec::new();
    for (owner, outcome) in runtime.block_on(resolvers(args).restore()) {
        match outcome {
            Ok(true) => given_back.push(owner),
            Ok(false) => {}
            Err(error) => {
                print::failure(&Failure::of(&error));
                code = Code::Failed;
            }
        }
    }
    if !given_back.is_empty() {
        print::data(format!("the resolver is as it was found: {}", given_back.join(", ")));
    } else if code == Code::Done {
        print::data("nothing of ours is in the resolver, or nothing was found before");
    }
    code
}
