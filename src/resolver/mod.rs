//! Whatever owns the host's resolver. To add a manager:
//!
//! 1. write `resolver/NAME.rs` with a type that implements [`ResolverManager`]: what is there now, set what is wanted, give
//!    back what was found;
//! 2. teach `core/detect.rs` its clues, and `resolver/probe.rs` how to see them;
//! 3. add an arm to `Resolvers::manager` and rows to `core/detect_tests.rs`, and run it against the real program in
//!    `tests/system/owners.rs`.

pub mod both;
pub mod bus;
pub mod direct;
pub mod gai_conf;
pub mod health;
pub mod network_manager;
pub mod probe;
pub mod resolvconf;
pub mod resolved;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use self::{
    both::Both,
    bus::Bus,
    direct::Direct,
    network_manager::NetworkManager,
    resolvconf::{DebianResolvconf, Openresolv},
    resolved::Resolved,
};
use crate::{
    config::Manager,
    core::{
        detect::{Clue, Owner, Resolvconf, Verdict, asks_resolved_first, detect},
        gai_conf::GaiConf,
    },
    ports::{ResolverManager, error::ResolverError},
};

/// A host's resolver, whoever owns it.
#[derive(Clone, Debug)]
pub struct Resolvers {
    root: PathBuf,
    state: PathBuf,
    run_dir: PathBuf,
    bus: Arc<Bus>,
}

impl Resolvers {
    /// The resolver of the host whose files are at `root`. What was found before us is kept in `state`, or in `run_dir` where
    /// the owner forgets it at a reboot.
    #[must_use]
    pub fn of(root: &Path, state: &Path, run_dir: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            state: state.to_path_buf(),
            run_dir: run_dir.to_path_buf(),
            bus: Arc::new(Bus::of(root)),
        }
    }

    /// Opens the manager that is configured, or that owns the resolver; `None` for the manager `none`.
    ///
    /// # Errors
    /// resolv.conf cannot be looked at.
    pub async fn open(
        &self,
        manager: Manager,
    ) -> Result<Option<Box<dyn ResolverManager>>, ResolverError> {
        let owner = match manager {
            Manager::None => return Ok(None),
            Manager::Auto => None,
            Manager::ResolvConf => Some(Owner::ResolvConf),
            Manager::SystemdResolved => Some(Owner::SystemdResolved),
            Manager::NetworkManager => Some(Owner::NetworkManager),
            Manager::Resolvconf => Some(Owner::Resolvconf),
        };
        let probe = probe::probe(&self.root, &self.bus).await?;
        let found = detect(&probe);
        let verdict = match owner {
            Some(owner) if owner != found.owner => {
                Verdict { owner, because: [vec![Clue::Configured], found.because].concat() }
            }
            _ => found,
        };
        Ok(Some(self.manager(verdict, probe.resolvconf)))
    }

    /// What is asked of systemd-resolved's other links although our servers are there for it: each link's number, and the domain.
    pub async fn beside(&self) -> Vec<(i32, String)> {
        let verdict = Verdict { owner: Owner::SystemdResolved, because: Vec::new() };
        let resolved = Resolved::new(self.bus.clone(), &self.root, &self.run_dir, verdict);
        resolved.beside().await.unwrap_or_default()
    }

    /// Whether programs ask systemd-resolved before they read resolv.conf (nss-resolve(8)).
    #[must_use]
    pub fn is_resolved_asked_first(&self) -> bool {
        asks_resolved_first(&probe::hosts(&self.root))
    }

    /// Gives back whatever was ever taken, whoever owns the resolver now; gives who got something back.
    pub async fn restore(&self) -> Vec<(String, Result<bool, ResolverError>)> {
        let resolvconf = probe::resolvconf(&self.root);
        let mut outcomes = Vec::new();
        for owner in
            [Owner::SystemdResolved, Owner::NetworkManager, Owner::Resolvconf, Owner::ResolvConf]
        {
            if owner == Owner::Resolvconf && resolvconf.is_none() {
                continue;
            }
            let manager = self.manager(Verdict { owner, because: Vec::new() }, resolvconf);
            outcomes.push((owner.to_string(), manager.restore().await));
        }
        outcomes.push(("gai.conf".to_owned(), gai_conf::restore(&self.root)));
        outcomes
    }

    /// gai.conf, which says in what order getaddrinfo(3) gives addresses.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn address_selection(&self) -> Result<GaiConf, ResolverError> {
        gai_conf::read(&self.root)
    }

    /// Replaces it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn set_address_selection(&self, file: &GaiConf) -> Result<(), ResolverError> {
        gai_conf::write(&self.root, file)
    }

    fn manager(
        &self,
        verdict: Verdict,
        resolvconf: Option<Resolvconf>,
    ) -> Box<dyn ResolverManager> {
        let Self { root, state, run_dir, bus } = self;
        match verdict.owner {
            Owner::ResolvConf => Box::new(Direct::new(root, state, run_dir, verdict)),
            Owner::SystemdResolved if is_beside_a_file(&verdict) => {
                let file = Direct::new(root, state, run_dir, verdict.clone());
                Box::new(Both::new(Resolved::new(bus.clone(), root, run_dir, verdict), file))
            }
            Owner::SystemdResolved => Box::new(Resolved::new(bus.clone(), root, run_dir, verdict)),
            Owner::NetworkManager => {
                Box::new(NetworkManager::new(bus.clone(), root, state, verdict))
            }
            Owner::Resolvconf if resolvconf == Some(Resolvconf::Debian) => {
                let file = Direct::new(root, state, run_dir, verdict);
                Box::new(DebianResolvconf::new(root, run_dir, file))
            }
            Owner::Resolvconf => Box::new(Openresolv::new(root, verdict)),
        }
    }
}

/// Whether programs ask resolved first, and resolv.conf is a file that nobody renders.
fn is_beside_a_file(verdict: &Verdict) -> bool {
    let has = |clue: &Clue| verdict.because.contains(clue);
    let is_rendered = verdict
        .because
        .iter()
        .any(|clue| matches!(clue, Clue::WrittenByOther(_) | Clue::WrittenBy(_) | Clue::LinkTo(_)));
    has(&Clue::AskedFirst) && has(&Clue::PlainFile) && !is_rendered
}
