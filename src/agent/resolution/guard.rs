//! Journey 3, between two of its passes: another program changed what was set. It is put back if that makes nothing worse.

use std::net::SocketAddr;

use futures_util::future::join_all;

use crate::{
    core::{
        resolv_conf::{ResolvConf, Wanted},
        servers::{Health, NameServer},
    },
    ports::{Depth, Prober, ResolverManager, error::ResolverError},
};

/// What was set, and who can tell whether it still stands.
pub struct Guard<'a> {
    /// Who owns the resolver.
    pub manager: &'a dyn ResolverManager,
    /// Who probes.
    pub prober: &'a dyn Prober,
    /// What was set last.
    pub wanted: &'a Wanted,
    /// What a pass said it was about to set, whichever process made it.
    pub announced: Option<Wanted>,
    /// The port of servers in resolv.conf.
    pub port: u16,
}

/// What became of what was set.
#[derive(Debug)]
#[must_use]
pub enum Guarded {
    /// It stands.
    Stands,
    /// It cannot be told.
    Unknown(ResolverError),
    /// A pass beside the agent set something else, and may know better.
    SetByAPass,
    /// Another program wrote something else, and none of our servers serves any more: that can only be better.
    Outlived,
    /// Another program wrote something else, which was replaced unless the owner of the resolver says why not.
    Overwritten {
        /// What the other wrote.
        theirs: ResolvConf,
        /// The same with what was set before.
        ours: ResolvConf,
        /// What the owner says.
        put_back: Result<(), ResolverError>,
    },
}

impl Guard<'_> {
    /// Looks, and puts back what was set.
    pub async fn run(&self) -> Guarded {
        let current = match self.manager.current().await {
            Ok(current) => current,
            Err(error) => return Guarded::Unknown(error),
        };
        let ours = self.manager.becomes(&current, self.wanted);
        if ours == current {
            return Guarded::Stands;
        }
        let announced = self.announced.as_ref();
        if announced.is_some_and(|announced| self.manager.becomes(&current, announced) == current) {
            return Guarded::SetByAPass;
        }
        let asked = self.wanted.nameservers.iter().map(|address| async {
            let server = NameServer::at(SocketAddr::new(*address, self.port));
            self.prober.probe(&server, Depth::Quick).await
        });
        if !join_all(asked).await.iter().any(|health| matches!(health, Health::Alive(_))) {
            return Guarded::Outlived;
        }
        let put_back = self.manager.apply(self.wanted).await;
        Guarded::Overwritten { theirs: current, ours, put_back }
    }

    /// Whether nobody has changed what was set.
    pub async fn stands(manager: &dyn ResolverManager, wanted: &Wanted) -> bool {
        manager.current().await.is_ok_and(|current| manager.becomes(&current, wanted) == current)
    }
}
