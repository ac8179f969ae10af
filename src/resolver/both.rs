//! systemd-resolved and a resolv.conf of nobody's, on a host where programs ask resolved first (nss-resolve(8)) and some read the file
//! all the same: dig(1), Go's own resolver, whatever is linked with musl. Both get the servers.
//!
//! What the file says stands in the settings as comments, so that a change of either is one.

use async_trait::async_trait;

use super::{direct::Direct, resolved::Resolved};
use crate::{
    core::{
        detect::Verdict,
        resolv_conf::{ResolvConf, Wanted},
    },
    ports::{ResolverManager, error::ResolverError},
};

/// The manager of both.
#[derive(Debug)]
pub struct Both {
    resolved: Resolved,
    file: Direct,
}

impl Both {
    /// The manager of what both of these manage.
    #[must_use]
    pub fn new(resolved: Resolved, file: Direct) -> Self {
        Self { resolved, file }
    }
}

#[async_trait]
impl ResolverManager for Both {
    async fn current(&self) -> Result<ResolvConf, ResolverError> {
        Ok(self.resolved.current().await?.beside(&self.file.current().await?))
    }

    fn becomes(&self, current: &ResolvConf, wanted: &Wanted) -> ResolvConf {
        let (settings, file) = current.apart();
        self.resolved.becomes(&settings, wanted).beside(&self.file.becomes(&file, wanted))
    }

    async fn apply(&self, wanted: &Wanted) -> Result<(), ResolverError> {
        // One is not to suffer from the other.
        let told = self.resolved.apply(wanted).await;
        told.and(self.file.apply(wanted).await)
    }

    async fn restore(&self) -> Result<bool, ResolverError> {
        let resolved = self.resolved.restore().await;
        let file = self.file.restore().await;
        Ok(resolved? | file?)
    }

    fn verdict(&self) -> &Verdict {
        self.resolved.verdict()
    }
}
