//! `tagalong restore`: the resolver as it was found before tagalong first set it; what a package does when it is removed.

use super::{Code, args::Args, once::Places, print};
use crate::{config::Manager, ports::Failure, resolver, store::managed};

pub(super) fn run(args: &Args) -> Code {
    let Places { root, state } = Places::of(args);
    // Only the file is ever set, and the file says itself whether it is ours.
    let manager = match resolver::open(Manager::ResolvConf, &root, &state) {
        Ok(Some(manager)) => manager,
        Ok(None) => return Code::Done,
        Err(error) => {
            print::failure(&Failure::of(&error));
            return Code::Failed;
        }
    };
    if let Err(error) = managed::set(&args.run_dir, false) {
        print::notice(format!(
            "the hooks of DHCP clients still keep away from resolv.conf: {error}"
        ));
    }
    match manager.restore() {
        Ok(true) => {
            print::data("resolv.conf is as it was found");
            Code::Done
        }
        Ok(false) => {
            print::data("nothing of ours is in resolv.conf, or nothing was found before");
            Code::Done
        }
        Err(error) => {
            print::failure(&Failure::of(&error));
            Code::Failed
        }
    }
}
