//! Whatever owns the host's resolver. To add a manager:
//!
//! 1. write `resolver/NAME.rs` with a type that implements [`ResolverManager`]: what is there now, set what is wanted, give
//!    back what was found;
//! 2. teach `core/detect.rs` its clues, and `resolver/probe.rs` how to see them;
//! 3. add an arm to [`open`] and a row to the tests of `core/detect.rs`, and run it against the real program.

pub mod direct;
pub mod health;
pub mod probe;

use std::path::Path;

use self::direct::Direct;
use crate::{
    config::Manager,
    core::detect::{Owner, Verdict, detect},
    ports::{ResolverManager, error::ResolverError},
};

/// Opens the manager that is configured, or that owns the resolver of the host at `root`; `None` for the manager `none`.
///
/// # Errors
/// resolv.conf cannot be looked at, or its owner is one that this version does not set.
pub fn open(
    manager: Manager,
    root: &Path,
    state: &Path,
) -> Result<Option<Box<dyn ResolverManager>>, ResolverError> {
    let found = || probe::probe(root).map(|probe| detect(&probe));
    let verdict = match manager {
        Manager::None => return Ok(None),
        Manager::ResolvConf => Verdict { owner: Owner::ResolvConf, ..found()? },
        Manager::Auto => found()?,
        Manager::SystemdResolved => Verdict { owner: Owner::SystemdResolved, ..found()? },
        Manager::NetworkManager => Verdict { owner: Owner::NetworkManager, ..found()? },
        Manager::Resolvconf => Verdict { owner: Owner::Resolvconf, ..found()? },
    };
    match verdict.owner {
        Owner::ResolvConf => Ok(Some(Box::new(Direct::new(root, state, verdict)))),
        Owner::SystemdResolved | Owner::NetworkManager | Owner::Resolvconf => {
            Err(ResolverError::Unsupported {
                owner: verdict.owner.to_string(),
                because: verdict
                    .because
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", "),
            })
        }
    }
}
